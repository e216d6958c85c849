package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/publish"
)

// showText prints everything about one run. What is there to be pasted (ids,
// paths, the command) keeps to one line, however long.
func (p *program) showText(d details) {
	row := d.Listing
	word, state := stateOf(row)
	line := p.bold(shown(row.Short)) + "  " + p.paint(word, state)
	room := p.columns - width(row.Short) - width(word) - 4
	took := p.took(row)
	if took != "" {
		room -= width(took) + 2
	}
	// A cause and a reason have lines of their own below.
	if state == gitmodels.Succeeded && (len(row.Values) > 0 || row.Best) {
		line += "  " + clip(resultOf(row, ""), room)
	}
	if took != "" {
		line += "  " + took
	}
	p.printf("%s\n\n", line)

	p.field("commit", shown(string(row.Commit)))
	p.field("subject", clip(shown(row.Subject), p.columns-fieldWidth))
	p.field("repository", shown(row.Repository))
	p.field("refs", strings.Join(shortRefs(row.Refs), ", "))
	p.prose("reason", text(row.Reason))
	p.prose("cause", text(row.Cause))
	p.prose("waiting", text(row.Waiting))
	if row.Ahead != nil {
		p.field("queue", fmt.Sprintf("%d before it", *row.Ahead))
	}
	if row.Priority != 0 {
		p.field("priority", fmt.Sprint(row.Priority))
	}
	if row.Attempt != nil {
		p.field("attempt", fmt.Sprintf("%d (%s)", *row.Attempt, shown(row.Name)))
	}
	p.field("engine", strings.TrimSpace(text(row.Engine)+" "+text(row.Job)))
	if len(row.Command) > 0 {
		p.field("command", commandText(row.Command))
	}
	p.prose("image", text(row.Image)+imageStory(row))
	p.field("digest", text(row.Digest))
	p.field("build key", text(row.BuildKey))
	p.field("artifacts", text(row.Artifacts))
	p.field("metrics", text(row.Metrics))
	p.field("log", shown(row.Log))
	p.at("created", row.Created)
	p.at("started", row.Started)
	p.at("finished", row.Finished)
	for _, w := range row.Warnings {
		p.prose("warning", shown(w))
	}
	p.showParameters(d)
	p.showMetrics(row)
	p.showCurves(d.curves)
	p.showStages(row)
	p.showAttempts(row)
	p.showPushes(row)
	if state == gitmodels.Failed || state == gitmodels.Cancelled {
		p.printf("\n")
		p.field("again", gitmodels.ControlRerun.PushCommand(shown(row.Short)))
	}
}

// imageStory says where the image of a run comes from.
func imageStory(row gitmodels.Listing) string {
	var words string
	switch took := publish.Duration(time.Duration(row.ImageSeconds * float64(time.Second))); {
	case row.Built == nil:
		return ""
	case *row.Built:
		words = ", built in " + took
	case row.ImageFrom != "":
		words = ", reused from " + row.ImageFrom.Short(len(row.Short))
	default:
		words = ", reused"
	}
	if row.ImageSize > 0 {
		words += ", " + sizeText(row.ImageSize)
	}
	return words
}

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	size, unit := float64(n), 0
	for size >= 1000 && unit < 4 {
		size, unit = size/1000, unit+1
	}
	if unit == 0 {
		return count(int(n), "byte")
	}
	return fmt.Sprintf("%.1f %cB", size, " kMGT"[unit])
}

// maxParameters is how many parameters `show` and `compare` list before they only
// count.
const maxParameters = 40

// showParameters lists parameters, those that changed first.
func (p *program) showParameters(d details) {
	type line struct{ text, note string }
	var lines []line
	changed := map[string]bool{}
	for _, c := range d.changes {
		changed[c.Key] = true
		switch {
		case !c.HadBefore:
			lines = append(lines, line{c.Key + "=" + c.After, "new"})
		case !c.HasAfter:
			lines = append(lines, line{c.Key, "gone, was " + c.Before})
		default:
			lines = append(lines, line{c.Key + "=" + c.After, "was " + c.Before})
		}
	}
	for _, o := range d.Overrides {
		if key, _, _ := strings.Cut(o, "="); !changed[key] {
			lines = append(lines, line{text: o})
		}
	}
	if len(lines) == 0 {
		return
	}
	head := p.bold("parameters")
	if d.before.Run != nil && len(d.changes) > 0 {
		head += "  against " + shown(d.before.Short)
	}
	p.printf("\n%s\n", head)
	longest := 0
	for i := range lines {
		lines[i].text = clip(shown(lines[i].text), p.columns/2)
		if lines[i].note != "" {
			longest = max(longest, width(lines[i].text))
		}
	}
	for i, l := range lines {
		if i == maxParameters && len(lines) > maxParameters+1 {
			p.printf("  … %s\n", count(len(lines)-i, "more parameter"))
			break
		}
		text := "  " + l.text
		if l.note != "" {
			text += strings.Repeat(" ", longest-width(l.text)) + "  " + clip(shown(l.note), p.columns-longest-4)
		}
		p.printf("%s\n", text)
	}
}

// maxCurves is how many curves are drawn.
const maxCurves = 20

// showCurves draws each series with where it began and ended.
func (p *program) showCurves(curves []gitmodels.Metric) {
	if len(curves) == 0 {
		return
	}
	p.printf("\n%s\n", p.bold("curves"))
	longest := 0
	for _, m := range curves[:min(len(curves), maxCurves)] {
		longest = max(longest, min(width(shown(m.Name)), p.columns/3))
	}
	for i, m := range curves {
		if i == maxCurves {
			p.printf("  … %s\n", count(len(curves)-i, "more curve"))
			break
		}
		name := clip(shown(m.Name), longest)
		p.printf("  %s%s  %s  %s -> %s\n", name, strings.Repeat(" ", longest-width(name)),
			spark(m.Points, sparkColumns, spanOf(m.Points)), publish.Brief(m.Points[0].Value), publish.Brief(m.Final))
	}
}

// sparkColumns is how wide a curve is drawn.
const sparkColumns = 32

const fieldWidth = 12

func (p *program) field(name, value string) {
	if value != "" {
		p.printf("%-*s%s\n", fieldWidth, name, value)
	}
}

// prose is a field that is read, not pasted: it may take several lines.
func (p *program) prose(name, value string) {
	p.field(name, strings.TrimLeft(wrap(value, fieldWidth, p.columns), " "))
}

func (p *program) at(name string, at *time.Time) {
	if at != nil {
		p.field(name, at.Local().Format("2006-01-02 15:04:05 -0700")+"  "+p.ago(*at))
	}
}

func (p *program) showMetrics(row gitmodels.Listing) {
	names := metricNames(row)
	if len(names) == 0 {
		return
	}
	longest := 0
	for _, n := range names {
		longest = max(longest, min(width(shown(n)), p.columns/2))
	}
	p.printf("\n%s\n", p.bold("final values"))
	for _, n := range names {
		name := clip(shown(n), longest)
		p.printf("  %s%s  %s\n", name, strings.Repeat(" ", longest-width(name)), row.Values[n])
	}
}

func (p *program) showStages(row gitmodels.Listing) {
	if len(row.Stages) == 0 {
		return
	}
	p.printf("\n")
	tb := table{head: []string{"STAGE", "STATE", "TRIES", "TOOK", "ERROR"}, flex: 4, sparse: true}
	for _, st := range row.Stages {
		took := ""
		if st.Started != nil && st.Finished != nil {
			took = publish.Duration(st.Finished.Sub(*st.Started))
		}
		tb.rows = append(tb.rows, []cell{plain(shown(string(st.Name))), plain(shown(string(st.State))),
			plain(fmt.Sprint(st.Tries)), plain(took), plain(shown(st.Error))})
	}
	p.table(tb)
}

func (p *program) showAttempts(row gitmodels.Listing) {
	// One that the fields above tell of already needs no table.
	if len(row.Attempts) == 0 || len(row.Attempts) == 1 && row.Attempt != nil && row.Attempts[0].N == *row.Attempt {
		return
	}
	p.printf("\n")
	tb := table{head: []string{"ATTEMPT", "NAME", "STATE", "WHY", "BY", "CAUSE"}, flex: 5, sparse: true}
	for _, a := range row.Attempts {
		tb.rows = append(tb.rows, []cell{plain(fmt.Sprint(a.N)), plain(shown(a.Name)),
			{text: shown(string(a.State)), paint: func(s string) string { return p.paint(s, a.State) }},
			plain(clip(shown(a.Cause), 20)), plain(clip(shown(a.Actor), 20)), plain(shown(a.EndCause))})
	}
	p.table(tb)
}

func (p *program) showPushes(row gitmodels.Listing) {
	if len(row.Pushes) == 0 {
		return
	}
	p.printf("\n")
	tb := table{head: []string{"PUSHED TO", "BY", "WHEN", "DECISION", "REASON"}, flex: 4, sparse: true}
	for _, push := range row.Pushes {
		tb.rows = append(tb.rows, []cell{plain(clip(shown(push.Ref.Short()), 24)), plain(clip(shown(push.Pusher), 20)),
			plain(p.ago(push.At)), plain(shown(string(push.Decision))), plain(shown(push.Reason))})
	}
	p.table(tb)
}

// commandText is a command as a shell would read it.
func commandText(argv []string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = quote(a)
	}
	return strings.Join(quoted, " ")
}
