package runner

import (
	"path/filepath"
	"strconv"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// folders knows where the files of one attempt lie:
//
//	<home>/runs/<repository id>/<commit>/checkpoints          shared by attempts that resume
//	<home>/runs/<repository id>/<commit>/<n>/tree             the export
//	<home>/runs/<repository id>/<commit>/<n>/{artifacts,metrics}
//	<home>/runs/<repository id>/<commit>/<n>/{train,evaluate}  the engine's own
//	<home>/runs/<repository id>/<commit>/<n>/{build,train,evaluate}.log
type folders struct {
	run string // <home>/runs/<repository id>/<commit>
	n   int
}

func attemptFolders(home, repositoryID string, commit gitmodels.CommitID, n int) folders {
	return folders{run: filepath.Join(home, "runs", repositoryID, string(commit)), n: n}
}

func (f folders) attempt() string     { return filepath.Join(f.run, strconv.Itoa(f.n)) }
func (f folders) checkpoints() string { return filepath.Join(f.run, "checkpoints") }
func (f folders) tree() string        { return filepath.Join(f.attempt(), "tree") }
func (f folders) artifacts() string   { return filepath.Join(f.attempt(), "artifacts") }
func (f folders) metrics() string     { return filepath.Join(f.attempt(), "metrics") }

// logs is where logs are gathered for the store.
func (f folders) logs() string { return filepath.Join(f.attempt(), "logs") }

// outcome keeps the outcome from before anything shows it until it is published.
func (f folders) outcome() string { return filepath.Join(f.attempt(), "outcome.json") }

// engine is the folder that belongs to the engine for the job of stage.
func (f folders) engine(stage gitmodels.StageName) string {
	return filepath.Join(f.attempt(), string(stage))
}

// log is the log of stage.
func (f folders) log(stage gitmodels.StageName) string {
	return filepath.Join(f.attempt(), string(stage)+".log")
}

// loggedStages are the stages that write a log, in the order they run.
var loggedStages = []gitmodels.StageName{gitmodels.StageBuild, gitmodels.StageTrain, gitmodels.StageEvaluate}
