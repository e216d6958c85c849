// Package ledgertest has what tests of other rooms need around a ledger. No
// program imports it.
package ledgertest

import (
	"context"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Writes are the names of the methods that Crashing stops at: every one that may
// write. A crash matrix walks them.
var Writes = []string{
	"Register", "Unregister", "RecordPush", "Batch", "Wait",
	"Claim", "Rescue", "Heartbeat", "BeginStage", "SetState", "EndStage", "Intend", "Confirm", "Release", "Retry", "Finish",
	"Cancel", "Rerun", "DoneOutbox", "RetryOutbox", "Event",
}

// Crashing wraps l so that at is called before and after each of its writes,
// with the method's name, in the goroutine that writes. A test kills its process
// there: before, nothing is written yet; after, the transaction is durable, but
// the caller has not learned of it. at runs after a write that failed as well.
func Crashing(l gitmodels.Ledger, at func(op string, after bool)) gitmodels.Ledger {
	return &crashing{Ledger: l, at: at}
}

// crashing passes reads through by embedding.
type crashing struct {
	gitmodels.Ledger
	at func(op string, after bool)
}

// around calls at before the write, and what it returns after it.
func (c *crashing) around(op string) func() {
	c.at(op, false)
	return func() { c.at(op, true) }
}

func (c *crashing) Register(ctx context.Context, path, name string, tips []gitmodels.Tip) (gitmodels.Repository, bool, error) {
	defer c.around("Register")()
	return c.Ledger.Register(ctx, path, name, tips)
}

func (c *crashing) Unregister(ctx context.Context, path string) error {
	defer c.around("Unregister")()
	return c.Ledger.Unregister(ctx, path)
}

func (c *crashing) RecordPush(ctx context.Context, p gitmodels.NewPush) (gitmodels.PushRecord, error) {
	defer c.around("RecordPush")()
	return c.Ledger.RecordPush(ctx, p)
}

func (c *crashing) Batch(ctx context.Context, fn func(gitmodels.PushRecorder) error) error {
	defer c.around("Batch")()
	return c.Ledger.Batch(ctx, fn)
}

func (c *crashing) Wait(ctx context.Context, runID, waiting string) error {
	defer c.around("Wait")()
	return c.Ledger.Wait(ctx, runID, waiting)
}

func (c *crashing) Claim(ctx context.Context, owner string, lease time.Duration, maxRuns int,
	admit func(gitmodels.Candidate, []gitmodels.Candidate) bool) (*gitmodels.Claim, error) {
	defer c.around("Claim")()
	return c.Ledger.Claim(ctx, owner, lease, maxRuns, admit)
}

func (c *crashing) Rescue(ctx context.Context, alive func(owner string) bool) (int, error) {
	defer c.around("Rescue")()
	return c.Ledger.Rescue(ctx, alive)
}

func (c *crashing) Heartbeat(ctx context.Context, claim *gitmodels.Claim, lease time.Duration) (string, bool, error) {
	defer c.around("Heartbeat")()
	return c.Ledger.Heartbeat(ctx, claim, lease)
}

func (c *crashing) BeginStage(ctx context.Context, claim *gitmodels.Claim, stage gitmodels.StageName, state gitmodels.State, logPath string) error {
	defer c.around("BeginStage")()
	return c.Ledger.BeginStage(ctx, claim, stage, state, logPath)
}

func (c *crashing) SetState(ctx context.Context, claim *gitmodels.Claim, state gitmodels.State, waiting string) error {
	defer c.around("SetState")()
	return c.Ledger.SetState(ctx, claim, state, waiting)
}

func (c *crashing) EndStage(ctx context.Context, claim *gitmodels.Claim, stage gitmodels.StageName, state gitmodels.StageState, output []byte, cause string) error {
	defer c.around("EndStage")()
	return c.Ledger.EndStage(ctx, claim, stage, state, output, cause)
}

func (c *crashing) Intend(ctx context.Context, claim *gitmodels.Claim, stage gitmodels.StageName, jobName, engine string) (gitmodels.Submission, error) {
	defer c.around("Intend")()
	return c.Ledger.Intend(ctx, claim, stage, jobName, engine)
}

func (c *crashing) Confirm(ctx context.Context, claim *gitmodels.Claim, stage gitmodels.StageName, engineID string) error {
	defer c.around("Confirm")()
	return c.Ledger.Confirm(ctx, claim, stage, engineID)
}

func (c *crashing) Release(ctx context.Context, claim *gitmodels.Claim, waiting string, until time.Time) error {
	defer c.around("Release")()
	return c.Ledger.Release(ctx, claim, waiting, until)
}

func (c *crashing) Retry(ctx context.Context, claim *gitmodels.Claim, endCause, cause string) error {
	defer c.around("Retry")()
	return c.Ledger.Retry(ctx, claim, endCause, cause)
}

func (c *crashing) Finish(ctx context.Context, claim *gitmodels.Claim, o gitmodels.Outcome) error {
	defer c.around("Finish")()
	return c.Ledger.Finish(ctx, claim, o)
}

func (c *crashing) Cancel(ctx context.Context, runID, by string) (gitmodels.Run, error) {
	defer c.around("Cancel")()
	return c.Ledger.Cancel(ctx, runID, by)
}

func (c *crashing) Rerun(ctx context.Context, repositoryID string, commit gitmodels.CommitID, by string, abbrev int) (gitmodels.Run, error) {
	defer c.around("Rerun")()
	return c.Ledger.Rerun(ctx, repositoryID, commit, by, abbrev)
}

func (c *crashing) DoneOutbox(ctx context.Context, id string, next gitmodels.OutboxKind) error {
	defer c.around("DoneOutbox")()
	return c.Ledger.DoneOutbox(ctx, id, next)
}

func (c *crashing) RetryOutbox(ctx context.Context, id, cause string, at time.Time) error {
	defer c.around("RetryOutbox")()
	return c.Ledger.RetryOutbox(ctx, id, cause, at)
}

func (c *crashing) Event(ctx context.Context, repositoryID, kind, text string) error {
	defer c.around("Event")()
	return c.Ledger.Event(ctx, repositoryID, kind, text)
}
