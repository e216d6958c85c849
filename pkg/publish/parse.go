package publish

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// Parsed is what a note says. Nothing of it is proven: a clone gets notes from
// wherever it fetches.
type Parsed struct {
	gitmodels.Outcome            // the fields that a note holds; Values have no points
	Previous          []Previous // earlier attempts, oldest first
	MoreMetrics       int        // metrics that were left out of the note
}

// Previous is an earlier attempt whose note was replaced.
type Previous struct {
	N     int
	State gitmodels.State
	Cause string
}

// String is the value of a Previous line.
func (p Previous) String() string { return fmt.Sprintf("attempt %d %s: %s", p.N, p.State, p.Cause) }

// parsePrevious undoes String.
func parsePrevious(s string) (p Previous, ok bool) {
	head, cause, _ := strings.Cut(s, ": ")
	words := strings.Fields(head)
	if len(words) != 3 || words[0] != "attempt" {
		return p, false
	}
	p = Previous{N: parseCount(words[1]), State: gitmodels.State(words[2]), Cause: cause}
	return p, p.N > 0 && p.State.Terminal()
}

// maxNote bounds what is read of a note, in bytes. Ours are far smaller; what
// lies beyond belongs to somebody else.
const maxNote = 1 << 20

// ParseNote reads the note of commit. ok is false when it holds no outcome of
// ours for that commit. It is tolerant: keys it does not know and values it
// cannot read are passed over, so a note of another version still says what it
// can; of a key that is repeated without reason the first counts.
func ParseNote(text string, commit gitmodels.CommitID) (p Parsed, ok bool) {
	_, p, ok = split(text, commit)
	return p, ok
}

// split separates our part of a note (headline and trailers) from what others
// wrote into it.
func split(text string, commit gitmodels.CommitID) (foreign string, p Parsed, found bool) {
	tail := ""
	if len(text) > maxNote {
		text, tail = text[:maxNote], text[maxNote:]
	}
	var rest []string
	for _, part := range paragraphs(text) {
		q, ok := parseTrailers(part, commit)
		if !ok {
			rest = append(rest, part)
			continue
		}
		// Of two of ours, which only a merge of notes can leave, the newest counts.
		if !found || q.Attempt > p.Attempt {
			p = q
		}
		found = true
		if n := len(rest); n > 0 && isHeadline(rest[n-1], q.State) {
			rest = rest[:n-1]
		}
	}
	if !found {
		return strings.TrimRight(text+tail, " \t\r\n"), p, false
	}
	return strings.TrimRight(strings.Join(rest, "\n\n")+tail, " \t\r\n"), p, true
}

// paragraphs cuts text at empty lines.
func paragraphs(text string) []string {
	var out []string
	var lines []string
	flush := func() {
		if len(lines) > 0 {
			out = append(out, strings.Join(lines, "\n"))
			lines = nil
		}
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" {
			flush()
			continue
		}
		lines = append(lines, line)
	}
	flush()
	return out
}

// isHeadline reports whether the paragraph is the line that Note puts above its
// trailers.
func isHeadline(paragraph string, state gitmodels.State) bool {
	return !strings.Contains(paragraph, "\n") &&
		(paragraph == string(state) || strings.HasPrefix(paragraph, string(state)+"  "))
}

// parseTrailers reads one paragraph. It is ours if it names an end, an attempt
// and this commit.
func parseTrailers(paragraph string, commit gitmodels.CommitID) (p Parsed, ok bool) {
	seen := map[string]bool{}
	var took time.Duration
	for line := range strings.Lines(paragraph) {
		key, value, isTrailer := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !isTrailer {
			continue
		}
		value = unescape(strings.TrimSpace(value))
		switch key {
		case "Metric":
			if m, good := parseMetric(value); good && len(p.Values) < maxMetrics {
				p.Values = append(p.Values, m)
			}
			continue
		case "Previous":
			if before, good := parsePrevious(value); good && len(p.Previous) < maxPrevious {
				p.Previous = append(p.Previous, before)
			}
			continue
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		switch key {
		case "State":
			p.State = gitmodels.State(value)
		case "Run":
			p.Run = value
		case "Attempt":
			p.Attempt = parseCount(value)
		case "Commit":
			p.Commit = gitmodels.CommitID(value)
		case "Ref":
			p.Ref = gitmodels.RefName(value)
		case "Engine":
			p.Engine, p.Job, _ = strings.Cut(value, " ")
		case "Image":
			p.Image, p.Digest, _ = strings.Cut(value, "@")
		case "Cause":
			p.Cause = value
		case "Artifacts":
			p.Artifacts = value
		case "Metrics":
			p.Metrics = value
		case "Log":
			p.Log = value
		case "Name":
			p.Name = value
		case "Best":
			p.Best = parseBest(value)
		case "More-Metrics":
			p.MoreMetrics = parseCount(value)
		case "Finished":
			if at, err := time.Parse(time.RFC3339, value); err == nil {
				p.Finished = at
			}
		case "Duration":
			took = time.Duration(parseCount(value)) * time.Second
		}
	}
	if !p.Finished.IsZero() && seen["Duration"] {
		p.Started = p.Finished.Add(-took)
	}
	if p.Name == "" {
		p.Name = gitmodels.AttemptName(p.Run, p.Attempt)
	}
	return p, p.State.Terminal() && p.Attempt >= 1 && commit != "" && p.Commit == commit
}

// parseMetric reads name=value. A name may hold an equals sign, a number not.
func parseMetric(s string) (gitmodels.Metric, bool) {
	i := strings.LastIndexByte(s, '=')
	if i < 1 {
		return gitmodels.Metric{}, false
	}
	f, err := strconv.ParseFloat(s[i+1:], 64)
	if err != nil {
		return gitmodels.Metric{}, false
	}
	return gitmodels.Metric{Name: s[:i], Final: gitmodels.Number(f)}, true
}

// parseCount reads a number of at most nine digits; anything else is 0.
func parseCount(s string) int {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || len(s) > 9 {
		return 0
	}
	return int(n)
}

// Listing is the row of what a note says, of the repository that is called so.
func (n Parsed) Listing(repository string) gitmodels.Listing {
	row := gitmodels.Listing{
		Commit: n.Commit, Short: n.Run, Repository: repository,
		Refs: []gitmodels.RefName{}, Decision: gitmodels.DecisionRun,
		State: gitmodels.Absent(n.State), Cause: gitmodels.Absent(n.Cause), Attempt: gitmodels.Absent(n.Attempt),
		Engine: gitmodels.Absent(n.Engine), Job: gitmodels.Absent(n.Job),
		Image: gitmodels.Absent(n.Image), Digest: gitmodels.Absent(n.Digest), Artifacts: gitmodels.Absent(n.Artifacts), Metrics: gitmodels.Absent(n.Metrics),
		Name: n.Name, Log: n.Log, RankedBy: n.Best,
	}
	// A name that is not the beginning of the commit it names says nothing.
	if n.Run == "" || !strings.HasPrefix(string(n.Commit), n.Run) {
		row.Short = n.Commit.Short(7)
	}
	row.Run = &row.Short
	if n.Ref != "" {
		row.Refs = append(row.Refs, n.Ref)
	}
	for _, m := range n.Values {
		if row.Values == nil {
			row.Values = map[string]gitmodels.Number{}
		}
		row.Values[m.Name] = m.Final
	}
	if !n.Finished.IsZero() {
		row.Finished = &n.Finished
	}
	if !n.Started.IsZero() {
		row.Started = &n.Started
	}
	for _, before := range n.Previous {
		row.Attempts = append(row.Attempts, gitmodels.AttemptRow{
			N: before.N, Name: gitmodels.AttemptName(n.Run, before.N), State: before.State, EndCause: before.Cause})
	}
	return row
}
