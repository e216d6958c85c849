package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// better is the direction in which the metric name improves: +1 where more is
// better, -1 where less is, 0 where nobody says and the name does not tell.
// ranked is results.best of the run, when it is known.
func better(name string, ranked *gitmodels.Best) int {
	if ranked != nil && ranked.Metric == name {
		if ranked.Mode == "min" {
			return -1
		}
		return 1
	}
	for part := range strings.FieldsFuncSeq(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune("_-./ @:", r) }) {
		switch {
		case slices.Contains(lessIsBetter, part) || strings.HasSuffix(part, "loss"):
			return -1
		case slices.Contains(moreIsBetter, part) || strings.HasPrefix(part, "map"):
			return 1
		}
	}
	return 0
}

// Words of metrics' names whose direction everybody knows.
var (
	lessIsBetter = []string{"loss", "error", "err", "mse", "rmse", "mae", "mape", "nll", "perplexity", "ppl", "wer", "cer", "fid", "logloss", "brier"}
	moreIsBetter = []string{"acc", "accuracy", "auc", "auroc", "auprc", "f1", "precision", "recall", "iou", "miou", "dice", "bleu", "rouge", "score", "reward", "r2"}
)

// order sorts rows by a key: took, created, or the name of a metric, whose best
// value then comes first. A minus before the key turns the order round. Rows
// without the key come last, in the order they had.
func order(rows []gitmodels.Listing, key string, reverse bool, took func(gitmodels.Listing) (float64, bool)) {
	if bare, ok := strings.CutPrefix(key, "-"); ok {
		key, reverse = bare, !reverse
	}
	value := took
	up := false
	switch key {
	case sortTook:
	case sortCreated:
		value = func(row gitmodels.Listing) (float64, bool) {
			if row.Created == nil {
				return unixOf(row.Started)
			}
			return unixOf(row.Created)
		}
	default:
		value = func(row gitmodels.Listing) (float64, bool) {
			n, ok := row.Values[key]
			return float64(n), ok && n.Finite()
		}
		up = better(key, rankOf(rows, key)) < 0
	}
	up = up != reverse
	slices.SortStableFunc(rows, func(a, b gitmodels.Listing) int {
		x, hasX := value(a)
		y, hasY := value(b)
		switch {
		case hasX != hasY && hasX, hasX && hasY && (x > y) != up && x != y:
			return -1
		case hasX != hasY, hasX && hasY && x != y:
			return 1
		}
		return 0
	})
}

// The keys that are no metrics.
const (
	sortTook    = "took"
	sortCreated = "created"
)

func unixOf(at *time.Time) (float64, bool) {
	if at == nil {
		return 0, false
	}
	return float64(at.UnixMilli()), true
}

// rankOf is what the newest row says that ranks by the metric key.
func rankOf(rows []gitmodels.Listing, key string) *gitmodels.Best {
	for _, row := range rows {
		if row.RankedBy != nil && row.RankedBy.Metric == key {
			return row.RankedBy
		}
	}
	return nil
}

// sortable is the error for a key that no row has, with what rows do have; nil
// where one has it.
func sortable(rows []gitmodels.Listing, key string) error {
	key = strings.TrimPrefix(key, "-")
	if key == sortTook || key == sortCreated || len(rows) == 0 {
		return nil
	}
	var names []string
	for _, row := range rows {
		if _, ok := row.Values[key]; ok {
			return nil
		}
		for name := range row.Values {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	near := gitmodels.Suggest(key, append(names, sortTook, sortCreated))
	e := &gitmodels.Error{Kind: gitmodels.Invalid, Message: "no run here has a metric " + shown(key)}
	switch {
	case near != "":
		e.Message += "; did you mean " + shown(near) + "?"
	case len(names) > 0:
		e.Message += "; there are " + clip(shown(strings.Join(names, ", ")), 200)
	}
	return e
}

// agoWords is a length of time as people write it: 2h, 3 days, 1 week ago.
var agoWords = pattern(`^(\d{1,6}) ?(s|sec|second|m|min|minute|h|hour|d|day|w|week|month|y|year)s?( ago)?$`)

// since reads WHEN: a length of time before now, a word for a day, or a date.
// What it cannot read is an error: git would take it for now and list nothing.
func since(text string, now time.Time) (time.Time, error) {
	word := strings.ToLower(strings.NewReplacer(".", " ", "_", " ").Replace(strings.TrimSpace(text)))
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	switch word {
	case "today":
		return midnight, nil
	case "yesterday":
		return midnight.AddDate(0, 0, -1), nil
	}
	if m := agoWords().FindStringSubmatch(word); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return time.Time{}, err
		}
		switch m[2] {
		case "s", "sec", "second":
			return now.Add(-time.Duration(n) * time.Second), nil
		case "m", "min", "minute":
			return now.Add(-time.Duration(n) * time.Minute), nil
		case "h", "hour":
			return now.Add(-time.Duration(n) * time.Hour), nil
		case "d", "day":
			return now.AddDate(0, 0, -n), nil
		case "w", "week":
			return now.AddDate(0, 0, -7*n), nil
		case "month":
			return now.AddDate(0, -n, 0), nil
		default:
			return now.AddDate(-n, 0, 0), nil
		}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05 -0700", "2006-01-02T15:04:05", "2006-01-02 15:04:05",
		"2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, strings.TrimSpace(text), now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, misuse("--since is "+gitmodels.Printable(text, 60)+", want such as 2h, 3d, \"2 weeks ago\", yesterday or 2026-01-31",
		"git models ls --since 3d")
}

// bestRefs starts to look up where the best branches are; the answer gives the
// commits. A clone knows them as its remote's.
func (s *site) bestRefs(ctx context.Context) func() (map[gitmodels.CommitID]bool, error) {
	type answer struct {
		refs []gitmodels.Ref
		err  error
	}
	got := make(chan answer, 1)
	prefix := "refs/remotes/origin/best"
	if s.server {
		prefix = "refs/heads/best"
	}
	go func() {
		refs, err := s.repo.Refs(ctx, prefix)
		got <- answer{refs, err}
	}()
	return func() (map[gitmodels.CommitID]bool, error) {
		a := <-got
		at := make(map[gitmodels.CommitID]bool, len(a.refs))
		for _, ref := range a.refs {
			at[ref.ID] = true
		}
		return at, a.err
	}
}

// checkSince reads the option --since; without it the time is zero.
func (p *program) checkSince(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return since(text, p.now().In(time.Local))
}

// tookOf is how long a row took, in seconds.
func (p *program) tookOf(row gitmodels.Listing) (float64, bool) {
	if row.Started == nil || row.State == nil || row.Finished == nil && row.State.Terminal() {
		return 0, false
	}
	end := p.now()
	if row.Finished != nil {
		end = *row.Finished
	}
	return max(0, end.Sub(*row.Started).Seconds()), true
}

// leftOut says how many rows were left out.
func leftOut(limit int, by string) string {
	if by == "" {
		return fmt.Sprintf("the newest %d; all of them: git models ls -n 0", limit)
	}
	return fmt.Sprintf("the first %d by %s; all of them: git models ls --sort %s -n 0", limit, shown(by), quote(by))
}
