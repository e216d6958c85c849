package ledger

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// fill adds n runs to the first repository, as n pushes would, of which all but
// the last live ones have succeeded, each with an outcome of about 2 KB; two of
// three were pushed to another ref as well.
func (b *bench) fill(n, live int) {
	b.t.Helper()
	ctx := b.t.Context()
	const numbers = "WITH RECURSIVE numbers (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < $1) "
	const id = "printf('%08x%031d1', i * 2654435761 & 4294967295, 0)" // spread over all prefixes
	o := gitmodels.Outcome{State: gitmodels.Succeeded, Cause: "exit status 0", Attempt: 1, Overrides: []string{"optimizer.lr=0.01"}}
	for i := range 40 {
		o.Values = append(o.Values, gitmodels.Metric{Name: fmt.Sprint("metric_", i), Final: gitmodels.Number(i) / 7})
	}
	text, err := encode("outcome", o)
	b.must(err)
	b.must(b.write(ctx, "filling", func(tx *txn) error {
		for _, statement := range []string{
			numbers + `INSERT INTO runs SELECT 'run-' || i, $2, ` + id + `, substr(` + id + `, 1, 8), $3,
				iif(i < $4, 'succeeded', 'queued'), '', iif(i < $4, 'exit status 0', ''), 1, 0, '', $5, iif(i < $4, $5, 0), iif(i < $4, $5 + i, 0),
				0, '', 0, 0, 0, 'process', i + 1 FROM numbers WHERE $6 <> ''`,
			numbers + `INSERT INTO attempts SELECT 'run-' || i, 1, substr(` + id + `, 1, 8), 'push', 'ann', 0,
				iif(i < $4, 'succeeded', 'queued'), '', '', '', $5, 0, '', '', iif(i < $4, '{"loss":0.25}', ''), iif(i < $4, $6, NULL)
				FROM numbers WHERE $2 <> $3`,
			numbers + `INSERT INTO stages SELECT 'run-' || i, 1, 'build', 'done', 1, '', '/log', $5, $5, '{"overrides":["optimizer.lr=0.01"]}'
				FROM numbers WHERE i < $4 AND $2 <> $3 AND $6 <> ''`,
			numbers + `INSERT INTO pushes SELECT i * 2 + 1, 'push-' || i, $2, $3, '', ` + id + `, 7, 'ann', '', '[]', '', 'hook', 'run', '',
				'run-' || i, $5 + i FROM numbers WHERE $4 >= 0 AND $6 <> ''`,
			numbers + `INSERT INTO pushes SELECT i * 2 + 2, 'push-' || i, $2, $3 || '/x', '', ` + id + `, 7, 'ann', '', '[]', '', 'hook',
				'attached', 'has a run', 'run-' || i, $5 + i FROM numbers WHERE i % 3 > 0 AND $4 >= 0 AND $6 <> ''`,
		} {
			if _, err := tx.ExecContext(ctx, statement, n, b.repo.ID, models, n-live, b.clock().UnixMilli(), text); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "UPDATE counters SET value = $1 WHERE name IN ('pushes', 'places')", 2*n)
		return err
	}))
}

// big is a ledger of 100,000 runs that the benchmarks of this process share.
var big struct {
	once sync.Once
	home string // its folder, also of one that was not completed
	*bench
}

const bigRuns = 100_000

// bigLedger is what a ledger holds after years: a repository with 98,000 runs that
// succeeded and 2,000 that are queued, and nineteen small ones.
func bigLedger(t testing.TB) *bench {
	t.Helper()
	big.once.Do(func() {
		home, err := os.MkdirTemp("", "ledger")
		if err != nil {
			t.Fatal(err)
		}
		big.home = home
		b := &bench{t: t, home: home, now: time.UnixMilli(1_800_000_000_000)}
		if b.Ledger, err = Open(t.Context(), home, WithClock(b.clock), WithIDs(b.nextID)); err != nil {
			t.Fatal(err)
		}
		b.repo = b.register("/srv/git/dogs.git", "dogs")
		b.fill(bigRuns, 2000)
		for i := range 19 {
			other := b.register(fmt.Sprintf("/srv/git/cats-%d.git", i), "cats")
			p := b.newPush("p", models, commit("aa"))
			p.RepositoryID = other.ID
			b.record(p)
		}
		big.bench = b
	})
	if big.bench == nil {
		t.Skip("the large ledger was not made")
	}
	big.t = t
	return big.bench
}

// closeBig closes and removes the large ledger, if it was made, at the end of the
// process.
func closeBig() error {
	if big.home == "" {
		return nil
	}
	var err error
	if big.bench != nil {
		err = big.Close()
	}
	return errors.Join(err, os.RemoveAll(big.home))
}

// commitOf is the commit of fill's i-th run.
func commitOf(i int) gitmodels.CommitID {
	return gitmodels.CommitID(fmt.Sprintf("%08x%s1", uint32(i*2654435761), strings.Repeat("0", 31)))
}

// reportCPU adds the time of the processors to a benchmark's figures: on a machine
// that is shared it says more than the clock.
func reportCPU(b *testing.B) (done func()) {
	spent := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := spent()
	return func() {
		b.ReportMetric(float64((spent()-start).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	}
}

func BenchmarkBig(b *testing.B) {
	l := bigLedger(b)
	ctx := b.Context()
	fresh := gitmodels.Update{Old: commitOf(bigRuns - 1), New: commit("99"), Ref: models}
	refuse := func(gitmodels.Candidate, []gitmodels.Candidate) bool { return false }
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"Open", func() error {
			l, err := Open(ctx, l.home)
			if err != nil {
				return err
			}
			return l.Close()
		}},
		{"List31", func() error { _, err := l.List(ctx, l.repo.ID, 31); return err }},
		{"List31All", func() error { _, err := l.List(ctx, "", 31); return err }},
		{"ListEverything", func() error { _, err := l.List(ctx, l.repo.ID, 0); return err }},
		{"Show", func() error { _, err := l.Show(ctx, l.repo.ID, commitOf(500)); return err }},
		{"ShowQueued", func() error { _, err := l.Show(ctx, l.repo.ID, commitOf(bigRuns-1)); return err }},
		{"Receipt", func() error { _, err := l.Receipt(ctx, l.repo.ID, fresh); return err }},
		{"Known", func() error { _, err := l.Known(ctx, l.repo.ID); return err }},
		{"Live", func() error { _, err := l.Live(ctx); return err }},
		{"Outbox", func() error { _, err := l.NextOutbox(ctx); return err }},
		{"ClaimAndRelease", func() error {
			c, err := l.Claim(ctx, "w", time.Minute, 1, nil)
			if err != nil {
				return err
			}
			return l.Release(ctx, c, "", time.Time{})
		}},
		{"ClaimRefused", func() error { _, err := l.Claim(ctx, "w", time.Minute, 1, refuse); return err }},
		{"ClaimNoPlace", func() error { _, err := l.Claim(ctx, "w", time.Minute, 0, nil); return err }},
	} {
		b.Run(c.name, func(b *testing.B) {
			defer reportCPU(b)()
			for b.Loop() {
				if err := c.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkClaim is the claim alone: what it gave is given back beside the clock.
func BenchmarkClaim(b *testing.B) {
	l := bigLedger(b)
	ctx := b.Context()
	for b.Loop() {
		c, err := l.Claim(ctx, "w", time.Minute, 1, nil)
		b.StopTimer()
		l.must(err)
		if c == nil {
			b.Fatal("nothing was claimed")
		}
		l.must(l.Release(ctx, c, "", time.Time{}))
		b.StartTimer()
	}
}

func BenchmarkRecord(b *testing.B) {
	l := bigLedger(b)
	defer reportCPU(b)()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		repo := l.register(fmt.Sprintf("/srv/git/many-%d-%d.git", b.N, i), "many")
		b.StartTimer()
		l.must(l.Batch(b.Context(), func(r gitmodels.PushRecorder) error {
			for n := range 10_000 {
				p := l.newPush(fmt.Sprint("push-", n), models, commitOf(n))
				p.RepositoryID = repo.ID
				if _, err := r.RecordPush(b.Context(), p); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}
