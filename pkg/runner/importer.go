package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Bounds of what is recorded at once: what is prepared before anything of it is
// recorded, and how long a transaction may last, during which nobody else writes.
const (
	chunkRecords    = 500
	chunkTime       = 100 * time.Millisecond
	transactionTime = 60 * time.Millisecond
	decideAgain     = 3 // how often a base may have changed before the filter is given up
)

// importer takes in the entries of the spool, in their order: it prepares many,
// asking git, then records them in one transaction, which asks nobody.
type importer struct {
	in     *intake
	res    imported
	rounds map[string]*round // by the path that entries name
	opened map[string]*round // by repository id
	repos  []gitmodels.Repository
	ctx    context.Context // of the rounds' children

	entries []*entry // prepared, in order
	records []*record
	began   time.Time // when the first of them was added
}

// entry is a spool file on its way.
type entry struct {
	gitmodels.SpoolEntry
	round  *round // nil when it is no push
	aside  error  // what of it is no push of ours
	fault  error  // why it stays in the spool
	undone int    // records that are not in the ledger yet
}

func newImporter(ctx context.Context, in *intake) *importer {
	return &importer{in: in, res: imported{Left: map[string]string{}}, ctx: ctx,
		rounds: map[string]*round{}, opened: map[string]*round{}}
}

func (im *importer) close() {
	for _, r := range im.opened {
		r.close()
	}
}

// add prepares an entry, and records what is prepared when that is enough.
func (im *importer) add(ctx context.Context, e gitmodels.SpoolEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(im.entries) == 0 {
		im.began = time.Now()
	}
	item := &entry{SpoolEntry: e}
	im.entries = append(im.entries, item)
	if err := im.prepare(ctx, item); asideOf(err) != "" {
		item.aside = err
	} else if err != nil {
		item.fault = err
	}
	if len(im.records) >= chunkRecords || time.Since(im.began) >= chunkTime || len(e.Push.Acts) > 0 {
		return im.flush(ctx)
	}
	return nil
}

// prepare makes the records of an entry. Updates that are none of ours do not
// keep the others from being recorded.
func (im *importer) prepare(ctx context.Context, e *entry) error {
	if e.Err != nil {
		return aside("not a push: %v", e.Err)
	}
	p := e.Push
	if p.ID == "" || len(p.Updates)+len(p.Acts) == 0 {
		return aside("not a push: it has no id, or asks for nothing")
	}
	var err error
	if e.round, err = im.round(ctx, p.Repository); err != nil {
		return err
	}
	var refused error
	until := time.Now().Add(im.in.cfg.Pace.Decide)
	for _, u := range p.Updates {
		records, err := e.round.prepare(ctx, until, p, u)
		switch {
		case asideOf(err) != "":
			refused = errors.Join(refused, err)
			continue
		case err != nil:
			return err
		}
		for _, rec := range records {
			rec.entry = e
		}
		e.undone += len(records)
		im.records = append(im.records, records...)
	}
	if refused != nil {
		return aside("%v", refused)
	}
	return nil
}

// round is that of the registered repository at path.
func (im *importer) round(ctx context.Context, path string) (*round, error) {
	if r := im.rounds[path]; r != nil {
		return r, nil
	}
	if im.repos == nil {
		var err error
		if im.repos, err = im.in.cfg.Ledger.Repositories(ctx); err != nil {
			return nil, err
		}
	}
	repo, err := repositoryAt(im.repos, path)
	if isKind(err, gitmodels.NotFound) {
		return nil, aside("%v", err)
	}
	r := im.opened[repo.ID]
	if r == nil {
		if r, err = im.in.newRound(im.ctx, repo); err != nil {
			return nil, err
		}
		im.opened[repo.ID] = r
	}
	im.rounds[path] = r
	return r, nil
}

// flush records what is prepared and removes the files of what is recorded. Its
// error is the context's alone.
func (im *importer) flush(ctx context.Context) error {
	im.record(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, e := range im.entries {
		if err := im.settle(ctx, e); err != nil && ctx.Err() == nil {
			im.res.Left[e.ID] = fmt.Sprintf("push %s stays in the spool: %v", e.ID, err)
			im.in.say.warn("spool "+e.ID, "a push stays in the spool", "push", e.ID, "cause", err.Error())
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		im.in.say.over("spool " + e.ID)
		im.res.Pushes++
	}
	im.entries, im.records = nil, nil
	return nil
}

// settle does what else an entry asks for, and takes its file away.
func (im *importer) settle(ctx context.Context, e *entry) error {
	if e.fault != nil || e.undone > 0 {
		return errors.Join(e.fault, ctx.Err())
	}
	if e.round == nil {
		return im.in.setAside(ctx, "", e.SpoolEntry, e.aside.Error())
	}
	if len(e.Push.Acts) > 0 {
		told, err := e.round.act(ctx, e.Push)
		im.res.Told = append(im.res.Told, told...)
		if asideOf(err) == "" && err != nil {
			return err
		}
		e.aside = errors.Join(e.aside, err)
	}
	im.touched(e.round.repo)
	if e.aside != nil {
		return im.in.setAside(ctx, e.round.repo.ID, e.SpoolEntry, e.aside.Error())
	}
	return im.in.cfg.Spool.Remove(e.SpoolEntry)
}

func (im *importer) touched(repo gitmodels.Repository) {
	for _, r := range im.res.Touched {
		if r.ID == repo.ID {
			return
		}
	}
	im.res.Touched = append(im.res.Touched, repo)
}

// record puts the prepared records into the ledger, in order, in as few
// transactions as their bound allows. A record that the ledger does not take
// keeps its file in the spool and holds up no other.
func (im *importer) record(ctx context.Context) {
	upto := len(im.records)
	for next, stale := 0, 0; next < len(im.records) && ctx.Err() == nil; {
		n, why, err := im.batch(ctx, im.records[next:upto])
		if err == nil {
			if next += n; n > 0 {
				stale = 0
			}
			if upto = len(im.records); why != nil {
				stale++
				im.decideAgain(ctx, why, stale)
			}
			continue
		}
		if n > 0 { // it was the n-th: those before it go without it
			upto = next + n
			continue
		}
		im.fault(im.records[next], err)
		next, upto = next+1, len(im.records)
	}
}

// fault keeps an entry in the spool, or has it set aside when the ledger says
// that it can never be recorded.
func (im *importer) fault(rec *record, err error) {
	if isKind(err, gitmodels.Invalid) || isKind(err, gitmodels.NotFound) {
		rec.entry.aside = errors.Join(rec.entry.aside, aside("%v", err))
		rec.entry.undone--
		return
	}
	rec.entry.fault = errors.Join(rec.entry.fault, err)
}

// batch records as many as it has time for, in one transaction, and returns how
// many. One whose filter was decided against a base that is no longer true ends
// it: stale. With an error nothing was recorded, and n is which one failed.
func (im *importer) batch(ctx context.Context, records []*record) (n int, stale *record, err error) {
	var done []gitmodels.PushRecord
	err = im.in.cfg.Ledger.Batch(ctx, func(to gitmodels.PushRecorder) error {
		n, stale, done = 0, nil, done[:0]
		for began := time.Now(); n < len(records) && time.Since(began) < transactionTime; n++ {
			rec := records[n]
			if rec.filtered {
				base, _, err := to.Base(ctx, rec.RepositoryID, rec.Ref)
				if err != nil {
					return err
				}
				if base != rec.base {
					stale = rec
					return nil
				}
			}
			made, err := to.RecordPush(ctx, rec.NewPush)
			if err != nil {
				return err
			}
			done = append(done, made)
		}
		return nil
	})
	if err != nil {
		return n, nil, err
	}
	for i, made := range done {
		records[i].entry.undone--
		im.in.logRecord(records[i].entry.round.repo, made)
	}
	return n, stale, nil
}

// decideAgain has the filter of a record decided against what the ledger says by
// now; when that changes all the time, the commit runs.
func (im *importer) decideAgain(ctx context.Context, rec *record, times int) {
	r := rec.entry.round
	delete(r.bases, rec.Ref)
	rec.Skip = ""
	err := error(nil)
	if times < decideAgain {
		err = r.decide(ctx, time.Now().Add(im.in.cfg.Pace.Decide), rec)
	}
	if err != nil || times >= decideAgain {
		rec.Skip, rec.filtered = "", false
	}
}
