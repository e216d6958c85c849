package prereceive

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gate"
	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/hook"
	"github.com/git-models/git-models/pkg/wire"
)

// planOnly is the last word of a push that asked for its plan: git's own, which
// follow, sound like a failure.
const planOnly = `PLAN ONLY: nothing moved. The "declined" below is expected.`

const (
	// asking bounds the question to the runner.
	asking = 200 * time.Millisecond
	// maxPaths is how many changed paths a plan lists.
	maxPaths = 8
	// maxCommand bounds the command in a plan, in characters.
	maxCommand = 600
)

// plans says what each tip would run: one block each, so that several fit.
func plans(ctx context.Context, sight hook.Sight, tips []tip, asked []gate.Asked) ([]*hook.Block, error) {
	updates := make([]gitmodels.Update, len(tips))
	for i, t := range tips {
		updates[i] = t.Update
	}
	receipts := ask(ctx, sight.Site, updates)
	var blocks []*hook.Block
	for i, t := range tips {
		s := sight
		if i >= len(tips)-controls(asked) {
			s.Steer.Again = true // what the commit would run, not whether it does
		}
		o, err := s.Outlook(ctx, t.Update, t.Files, receipts[i])
		if err != nil {
			return nil, err
		}
		if s.Steer.Again && !sight.Steer.Again && (o.Receipt == nil || o.Receipt.Own == nil) {
			o.Why = ""
		}
		if o.Plan != nil && o.Attempt != t.New.Short(sight.Site.Policy.Abbrev) {
			// The files were read before the attempt's name was known.
			if o.Files, err = s.Read(ctx, t.New, t.Ref, sight.Site.Name(), o.Attempt); err != nil {
				return nil, err
			}
		}
		b, err := planWords(ctx, s, o)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// controls counts the plans that control refs ask for; they come last.
func controls(asked []gate.Asked) (n int) {
	for _, a := range asked {
		if a.Control == gitmodels.ControlPlan {
			n++
		}
	}
	return n
}

// ask asks the runner what it knows of the updates, without waking it. A nil
// stands for what it did not tell.
func ask(ctx context.Context, site hook.Site, updates []gitmodels.Update) []*gitmodels.Receipt {
	receipts := make([]*gitmodels.Receipt, len(updates))
	if site.Policy.Home == "" {
		return receipts
	}
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	// A plan without a runner says so; the cause changes nothing.
	_ = wire.Call(ctx, site.Policy.Home, wire.Request{Op: wire.Receipts, Repository: site.Repo.Dir(), Updates: updates}, func(r wire.Response) error {
		hook.Match(receipts, updates, r.Receipts)
		return nil
	})
	return receipts
}

// planWords is the plan of one tip.
func planWords(ctx context.Context, sight hook.Sight, o hook.Outlook) (*hook.Block, error) {
	short := func(id gitmodels.CommitID) string { return id.Short(sight.Site.Policy.Abbrev) }
	b := (&hook.Block{}).Say("plan of %s on %s", short(o.New), gitmodels.Printable(o.Ref.Short(), 100))
	if o.Base != "" {
		against := "the last run on this ref"
		if o.Receipt == nil {
			against = "the tip before (no runner says what ran)"
		}
		b.Say("%s since %s, %s", hook.Plural(len(o.Paths), "changed path"), short(o.Base), against)
		for i, p := range o.Paths {
			if i == maxPaths {
				b.Whole(fmt.Sprintf("  and %d more", len(o.Paths)-i))
				break
			}
			b.Whole("  " + gitmodels.Printable(p, 100))
		}
	}
	if err := verdict(ctx, sight, b, o); err != nil {
		return nil, err
	}
	if o.Plan == nil {
		b.Say("its files are at fault: a run of it fails")
		return b, nil
	}
	b.Whole("command " + gitmodels.Printable(strings.Join(quoted(o.Plan.Command), " "), maxCommand))
	if o.Compared != "" {
		words := hook.ChangeWords(o.Changes)
		if words == "" {
			words = "no parameter"
		}
		b.Say("changed %s, since %s", words, short(o.Compared))
	}
	if o.Image != "" {
		b.Say("image: %s", o.Image)
	}
	engine := o.Plan.Engine
	if o.Plan.Missing != "" {
		engine = strings.TrimSpace(engine + " (it waits: " + gitmodels.Printable(o.Plan.Missing, 200) + ")")
	}
	b.Say("engine %s", engine)
	for _, place := range []struct{ kind, uri string }{{"artifacts ", o.Artifacts(sight.Site)}, {"metrics ", o.Metrics(sight.Site)}} {
		if place.uri != "" {
			b.Whole(place.kind + gitmodels.Printable(place.uri, 300))
		}
	}
	b.Whole("attempt " + o.Attempt)
	switch queue := hook.QueueWords(o.Receipt); {
	case queue != "":
		b.Say("queue: %s", queue)
	case o.Receipt == nil:
		b.Say("queue: no runner is answering, it would start when one does")
	}
	return b, nil
}

// verdict says whether it would run, and why.
func verdict(ctx context.Context, sight hook.Sight, b *hook.Block, o hook.Outlook) error {
	why := ""
	if o.Why != "" {
		why = ": " + o.Why
	}
	switch o.Decision {
	case gitmodels.DecisionSkipped:
		b.Say("it would be skipped%s", why)
		b.Say("to run it all the same, push with -o again")
	case gitmodels.DecisionAttached:
		b.Say("nothing new would run%s", why)
	case "":
		b.Say("it would be skipped if the tip before has run: nothing that trains changed since then")
	default:
		if o.Base != "" && o.Plan != nil && why == "" {
			path, ok, err := o.Plan.Filter.Match(ctx, o.Paths)
			if err != nil {
				return err
			}
			if ok {
				why = fmt.Sprintf(": %s is watched by %s", hook.Shown(path), gitmodels.Printable(o.Plan.Filter.String(), 200))
			}
		}
		b.Say("it would run%s", why)
		if sight.Steer.Each && !o.Creates() {
			b.Say("and so would every other new commit of the push, oldest first")
		}
	}
	return nil
}

// quoted is argv as a shell takes it. Beyond the first word an equals sign means
// nothing to a shell.
func quoted(argv []string) []string {
	words := make([]string, len(argv))
	for i, w := range argv {
		if plain := strings.ReplaceAll(w, "=", ""); i > 0 && plain != "" && gate.Quote(plain) == plain {
			words[i] = w
		} else {
			words[i] = gate.Quote(w)
		}
	}
	return words
}
