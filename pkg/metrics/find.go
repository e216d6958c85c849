package metrics

import (
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// kind is how a file is read.
type kind int

const (
	none      kind = iota
	summary        // metrics.json
	jsonLines      // *.jsonl
	table          // metrics.csv, results.csv
	curve          // plots/metrics/**/*.tsv
	history        // trainer_state.json
)

func kindOf(p string) kind {
	switch base := path.Base(p); {
	case base == "metrics.json":
		return summary
	case strings.HasSuffix(base, ".jsonl"):
		return jsonLines
	case base == "metrics.csv", base == "results.csv":
		return table
	case base == "trainer_state.json":
		return history
	case strings.HasSuffix(base, ".tsv") && strings.Contains("/"+p, curvesFolder):
		return curve
	}
	return none
}

// find lists the metric files, sorted by path.
func (r *reader) find() ([]string, error) {
	var found []string
	entries := 0
	folders := []string{"."}
	for len(folders) > 0 {
		folder := folders[0]
		folders = folders[1:]
		f, err := r.root.Open(folder)
		if err != nil {
			if folder == "." {
				return nil, err
			}
			r.warn("%s: %v", show(folder), bare(err))
			continue
		}
		for {
			batch, err := f.ReadDir(256)
			for _, e := range batch {
				p := path.Join(folder, e.Name())
				switch entries++; {
				case e.IsDir() && strings.Count(p, "/") < MaxFolders:
					folders = append(folders, p)
				case e.IsDir():
					r.warn("%s: left out, folders go deeper than %d", show(p), MaxFolders)
				case kindOf(p) != none && !e.Type().IsRegular():
					r.warn("%s: left out, not a regular file", show(p))
				case kindOf(p) != none:
					found = append(found, p)
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				r.warn("%s: %v", show(folder), bare(err))
				break
			}
			if entries > MaxEntries {
				r.warn("only the first %d entries of the folder were looked at", MaxEntries)
				folders = nil
				break
			}
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	found = newest(found)
	slices.Sort(found)
	if len(found) > MaxFiles {
		r.warn("%d metric files, only the first %d are read", len(found), MaxFiles)
		found = found[:MaxFiles]
	}
	return found, nil
}

// Folders that loggers make themselves.
const (
	liveFolder      = "dvclive"
	curvesFolder    = "/plots/metrics/" // below it
	lightningFolder = "lightning_logs"
	versionFolder   = "version_"    // and a number
	checkpoint      = "checkpoint-" // and a number
)

// newest leaves of the files that a logger wrote in folders with a number, side
// by side, the one with the highest: an earlier version is another training,
// and a later checkpoint repeats what an earlier one says.
func newest(found []string) []string {
	highest := map[string]int64{}
	for _, p := range found {
		if group, n, ok := numbered(p); ok {
			highest[group] = max(highest[group], n)
		}
	}
	return slices.DeleteFunc(found, func(p string) bool {
		group, n, ok := numbered(p)
		return ok && n < highest[group]
	})
}

// numbered splits the path of a file of which the folder's number counts.
func numbered(p string) (group string, n int64, ok bool) {
	marker := map[kind]string{table: versionFolder, history: checkpoint}[kindOf(p)]
	folder, file := path.Split(p)
	above, last := path.Split(strings.TrimSuffix(folder, "/"))
	digits, ok := strings.CutPrefix(last, marker)
	if marker == "" || !ok || strings.Trim(digits, "0123456789") != "" {
		return "", 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return above + marker + file, n, err == nil
}

// prefix is what the folder of p adds to names.
func prefix(p string) string {
	folder := path.Dir(p)
	if kindOf(p) == curve {
		folder = strings.Trim(("/" + p)[:strings.Index("/"+p, curvesFolder)], "/")
	}
	if _, _, ok := numbered(p); ok {
		folder = path.Dir(folder)
	}
	var kept []string
	for part := range strings.SplitSeq(folder, "/") {
		if part != "." && part != "" && part != liveFolder && part != lightningFolder {
			kept = append(kept, part)
		}
	}
	if len(kept) == 0 {
		return ""
	}
	return strings.Join(kept, "/") + "/"
}
