package pipeline

import (
	"slices"
	"strconv"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

const (
	// ModelsFile configures a repository's runs.
	ModelsFile = ".models.yaml"
	// DefaultJob and DefaultParams are read when the file names no others.
	DefaultJob    = "deploy/sagemaker-job-config.yaml"
	DefaultParams = "deploy/train-config.yaml"
	// DefaultContext and DefaultDockerfile are what an image is built from when
	// the file does not say.
	DefaultContext    = "src"
	DefaultDockerfile = "src/Dockerfile"
)

// MisspeltModelsFiles are names that people mean ModelsFile by.
var MisspeltModelsFiles = []string{".models.yml", "models.yaml"}

// Field is a value of a file with its place. One that is not set has its default
// and no place.
type Field struct {
	Value  string
	Set    bool
	Line   int
	Column int
}

// Fault is a fault at the field's place, or at the head of the file when it is
// not set.
func (f Field) Fault(message, suggestion string) Fault {
	return Fault{File: ModelsFile, Line: max(f.Line, 1), Column: max(f.Column, 1), Message: message, Suggestion: suggestion}
}

// Models is `.models.yaml` with its defaults.
type Models struct {
	Filter   Filter
	Build    Build
	Engine   Field    // empty: policy's
	Command  []string // nil: not given
	Job      Field    // path
	Params   Field    // path
	Evaluate []string // nil: none
	// Artifacts and Metrics are URI prefixes; empty: the store's.
	Artifacts, Metrics Field
	Best               *gitmodels.Best // nil: none
	// Unsure marks a file whose faults leave open what it says about training.
	Unsure bool
}

// Build says how the image is made. An engine that needs no image reads none of
// it.
type Build struct {
	Context    Field             // path of a folder
	Dockerfile Field             // path
	Image      Field             // name in the registry; empty: aws.ecr_repository of the job file, else the repository's name
	Args       map[string]string // build arguments
	ArgsAt     map[string]Field  // where each is named
	Cache      string            // inline, registry, none
	Always     bool              // build even if an image of the same inputs exists
	Refresh    bool              // look for newer base images
}

// modelsKeys are the sections of the file and what each may hold.
var modelsKeys = map[string][]string{
	"on":       {"paths", "paths-ignore"},
	"build":    {"context", "dockerfile", "image", "args", "cache", "always", "refresh"},
	"train":    {"engine", "command", "job", "params"},
	"evaluate": {"command"},
	"results":  {"artifacts", "metrics", "best"},
}

// sections is the order in which the file's documentation has them.
var sections = []string{"on", "build", "train", "evaluate", "results"}

// ParseModels reads the file. No data is an empty file. All faults are returned
// at once. What is at fault has its default in the Models, which then serves to
// find the faults of other files; see Unsure.
func ParseModels(data []byte) (*Models, []Fault) {
	m := &Models{
		Build: Build{
			Context:    Field{Value: DefaultContext},
			Dockerfile: Field{Value: DefaultDockerfile},
			Cache:      "inline",
		},
		Job:    Field{Value: DefaultJob},
		Params: Field{Value: DefaultParams},
	}
	p := &modelsReader{reader: reader{file: ModelsFile}, m: m}
	root := p.parse(data)
	m.Unsure = len(p.faults) > 0
	if root != nil {
		seen := map[string]int{}
		for _, pair := range root.Pairs {
			if line, twice := seen[pair.Key.Text]; twice {
				p.fault(pair.Key, "keep one of the two", "key %s is already there in line %d", document.Quote(pair.Key.Text), line)
				continue
			}
			seen[pair.Key.Text] = pair.Key.Line
			p.section(pair)
		}
	}
	if !p.filtered && len(p.faults) == 0 {
		m.Filter = defaultFilter(m)
	}
	return m, document.Sort(p.faults)
}

type modelsReader struct {
	reader
	m        *Models
	filtered bool // the file has a filter of its own
}

func (p *modelsReader) section(pair document.Pair) {
	name := pair.Key.Text
	known, ok := modelsKeys[name]
	if !ok {
		p.fault(pair.Key, suggestSection(name), "unknown key %s", document.Quote(name))
		p.m.Unsure = true
		return
	}
	before := len(p.faults)
	seen := map[string]*document.Node{}
	for _, entry := range p.known(name, pair.Value, known) {
		seen[entry.Key.Text] = entry.Key
		p.entry(name+"."+entry.Key.Text, entry.Value)
	}
	if name == "train" && len(p.faults) > before {
		p.m.Unsure = true
	}
	if name == "on" {
		p.filter(seen["paths"], seen["paths-ignore"])
	}
}

// known are the entries of a mapping whose keys it may hold, each once; the
// others are faults.
func (p *modelsReader) known(name string, n *document.Node, keys []string) []document.Pair {
	var good []document.Pair
	seen := map[string]int{}
	for _, entry := range p.mapping(name, n) {
		key := entry.Key.Text
		if !slices.Contains(keys, key) {
			p.fault(entry.Key, suggestKey(name, key, keys), "unknown key %s", document.Quote(name+"."+key))
			continue
		}
		if line, twice := seen[key]; twice {
			p.fault(entry.Key, "keep one of the two", "key %s is already there in line %d", document.Quote(name+"."+key), line)
			continue
		}
		seen[key] = entry.Key.Line
		good = append(good, entry)
	}
	return good
}

// suggestSection names the section that was meant, or the one that has such a
// key.
func suggestSection(name string) string {
	if near := gitmodels.Suggest(name, sections); near != "" {
		return "did you mean " + near + "?"
	}
	for _, section := range sections {
		if slices.Contains(modelsKeys[section], name) {
			return "did you mean " + section + "." + name + "?"
		}
	}
	return "known are " + strings.Join(sections, ", ")
}

func suggestKey(section, key string, known []string) string {
	if near := gitmodels.Suggest(key, known); near != "" {
		return "did you mean " + section + "." + near + "?"
	}
	for _, other := range sections {
		if slices.Contains(modelsKeys[other], key) {
			return "did you mean " + other + "." + key + "?"
		}
	}
	return "known in " + section + " are " + strings.Join(known, ", ")
}

// entry reads one key; its name is known.
func (p *modelsReader) entry(key string, n *document.Node) {
	m := p.m
	switch key {
	case "on.paths", "on.paths-ignore":
		p.patterns(key, n)
	case "build.context":
		p.pathField(key, n, &m.Build.Context)
	case "build.dockerfile":
		p.pathField(key, n, &m.Build.Dockerfile)
	case "build.image":
		p.image(key, n)
	case "build.args":
		p.args(key, n)
	case "build.cache":
		if s, ok := p.word(key, n, "inline", "registry", "none"); ok {
			m.Build.Cache = s
		}
	case "build.always":
		m.Build.Always = p.boolean(key, n)
	case "build.refresh":
		m.Build.Refresh = p.boolean(key, n)
	case "train.engine":
		if s, ok := p.line(key, n, 100); ok {
			m.Engine = field(s, n)
		}
	case "train.command":
		m.Command = p.command(key, n)
	case "train.job":
		p.pathField(key, n, &m.Job)
	case "train.params":
		p.pathField(key, n, &m.Params)
	case "evaluate.command":
		m.Evaluate = p.command(key, n)
	case "results.artifacts":
		p.uriField(key, n, &m.Artifacts)
	case "results.metrics":
		p.uriField(key, n, &m.Metrics)
	case "results.best":
		m.Best = p.best(key, n)
	}
}

// maxMetricName is the longest name that a metric file may use, in bytes.
const maxMetricName = 200

// best reads by which metric the runs of a branch are ranked. Both keys are
// wanted: a loss that is ranked as an accuracy would crown the worst run.
func (p *modelsReader) best(key string, n *document.Node) *gitmodels.Best {
	const example = "{metric: val_accuracy, mode: max}"
	if p.isNull(n) {
		return nil
	}
	if n.Kind != document.Map {
		p.fault(n, "write "+example, "%s must be a mapping, and this is %s", key, p.shown(n))
		return nil
	}
	var b gitmodels.Best
	before := len(p.faults)
	seen := map[string]bool{}
	for _, entry := range p.known(key, n, []string{"metric", "mode"}) {
		name := key + "." + entry.Key.Text
		if seen[entry.Key.Text] = true; entry.Key.Text == "mode" {
			b.Mode, _ = p.word(name, entry.Value, "max", "min")
			continue
		}
		s, ok := p.line(name, entry.Value, maxMetricName)
		if ok && gitmodels.Printable(s, 0) != s {
			p.fault(entry.Value, "metrics have their names in print, such as val_accuracy", "%s %s holds a character that cannot be seen", name, document.Quote(s))
		}
		b.Metric = s
	}
	if len(p.faults) > before {
		return nil
	}
	for _, want := range []string{"metric", "mode"} {
		if !seen[want] {
			p.fault(n, "write "+example+", or mode: min where less is better", "%s.%s is not given", key, want)
			return nil
		}
	}
	return &b
}

func field(s string, n *document.Node) Field {
	return Field{Value: s, Set: true, Line: n.Line, Column: n.Column}
}

func (p *modelsReader) pathField(key string, n *document.Node, f *Field) {
	if s, ok := p.path(key, n); ok {
		*f = field(s, n)
	}
}

func (p *modelsReader) uriField(key string, n *document.Node, f *Field) {
	if s, ok := p.line(key, n, 1024); ok {
		*f = field(s, n)
	}
}

// image takes what registries and ECR take for a repository's name.
func (p *modelsReader) image(key string, n *document.Node) {
	s, ok := p.line(key, n, 1000)
	switch {
	case !ok:
	case len(s) > 256 || !gitmodels.ImagePath(s):
		p.fault(n, "write small letters, digits and - _ . between them, such as team/dog-classifier", "%s %s is no name of an image", key, document.Quote(s))
	default:
		p.m.Build.Image = field(s, n)
	}
}

const maxArgs = 100

func (p *modelsReader) args(key string, n *document.Node) {
	pairs := p.mapping(key, n)
	if len(pairs) > maxArgs {
		p.fault(n, "", "%s has %d entries; at most %d are allowed", key, len(pairs), maxArgs)
		return
	}
	p.m.Build.Args, p.m.Build.ArgsAt = map[string]string{}, map[string]Field{}
	for _, pair := range pairs {
		name := pair.Key.Text
		if !isName(name) {
			p.fault(pair.Key, "write letters, digits and _", "%s %s is no name of an argument", key, document.Quote(name))
			continue
		}
		if s, ok := p.text(key+"."+name, pair.Value); ok {
			if hasControl(s) {
				p.fault(pair.Value, "", "%s.%s holds a control character", key, name)
			}
			p.m.Build.Args[name], p.m.Build.ArgsAt[name] = s, field(name, pair.Key)
		}
	}
}

// isName reports whether s can name a variable of the environment.
func isName(s string) bool {
	for i, c := range s {
		if c != '_' && (alnum(c) == 0 || i == 0 && alnum(c) == 3) {
			return false
		}
	}
	return s != "" && len(s) <= 512
}

func (p *modelsReader) filter(paths, ignore *document.Node) {
	if paths != nil && ignore != nil {
		p.fault(ignore, "write exclusions into on.paths, as '!docs/**'", "on.paths and on.paths-ignore cannot both be there")
	}
}

// patterns reads the filter of changed paths.
func (p *modelsReader) patterns(key string, n *document.Node) {
	p.filtered = true
	items, ok := p.list(key, n, "write ['src/**']")
	if !ok {
		return
	}
	if len(items) == 0 {
		p.fault(n, "remove it, or name paths", "%s is empty", key)
		return
	}
	if len(items) > MaxPatterns {
		p.fault(n, "", "%s has %d patterns; at most %d are allowed", key, len(items), MaxPatterns)
		return
	}
	var texts []string
	var nodes []*document.Node
	positive := false
	for i, item := range items {
		if s, ok := p.text("pattern "+strconv.Itoa(i+1)+" of "+key, item); ok {
			texts, nodes = append(texts, s), append(nodes, item)
			positive = positive || !strings.HasPrefix(s, "!")
		}
	}
	f, errs := NewFilter(texts, key == "on.paths-ignore")
	for i, err := range errs {
		if err != nil {
			p.fault(nodes[i], "", "%s pattern %s: %s", key, document.Quote(texts[i]), err)
		}
	}
	if len(texts) == len(items) && !positive {
		p.fault(n, "put a pattern without ! before it, such as '**'", "%s has only patterns with !, which take out what an earlier one brought in", key)
	}
	p.m.Filter = f
}

// defaultFilter watches the usual folders and the files that the pipeline file
// names.
func defaultFilter(m *Models) Filter {
	list := []string{"src/**", "deploy/**", ModelsFile}
	named := []string{
		literal(m.Build.Context.Value) + "/**", literal(m.Build.Dockerfile.Value),
		literal(m.Job.Value), literal(m.Params.Value),
	}
	for _, t := range named {
		if !strings.HasPrefix(t, "src/") && !strings.HasPrefix(t, "deploy/") && !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	f, errs := NewFilter(list, false)
	if errs != nil {
		return Filter{} // a named path is longer than a pattern may be: every path starts a run
	}
	return f
}

// literal escapes a path so that a pattern means it and nothing else.
func literal(p string) string {
	var b strings.Builder
	for i, c := range p {
		if strings.ContainsRune(`*?+[]\`, c) || c == '!' && i == 0 {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}
