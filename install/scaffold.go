package install

import (
	"context"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// template is a whole training repository, dotfiles too.
//
//go:embed all:template
var template embed.FS

// Scaffold writes the template of a training repository to the folder dir,
// which must be empty or absent, and says on out how to begin.
func Scaffold(ctx context.Context, dir string, out io.Writer) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return &gitmodels.Error{Op: "scaffold", Err: err}
	}
	there, err := occupied(abs)
	if err != nil {
		return err
	}
	if there {
		return &gitmodels.Error{Kind: gitmodels.Invalid, Op: "scaffold",
			Message: shown(abs) + " exists already and is not empty",
			Hint:    "git models scaffold " + quote(filepath.Join(abs, "training"))}
	}
	if err := writeTemplate(ctx, abs); err != nil {
		return &gitmodels.Error{Op: "scaffold", Message: shown(abs) + " could not be filled", Err: err}
	}
	fmt.Fprintf(out, `%s
  a training repository: a classifier of iris flowers in plain python3
  try it:   cd %[2]s && python3 src/train.py
  keep it:  cd %[2]s && git init -b main && git add -A && git commit -m 'first version'
  train it: git remote add origin SERVER && git push origin main:models
`, shown(abs), quote(abs))
	return nil
}

// writeTemplate copies the embedded files. A file that somebody put there in
// the meantime is never overwritten.
func writeTemplate(ctx context.Context, dir string) error {
	return fs.WalkDir(template, "template", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		// What python leaves behind when the template is tried in place.
		if d.IsDir() && d.Name() == "__pycache__" || name == "template/outputs" {
			return fs.SkipDir
		}
		to := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(strings.TrimPrefix(name, "template"), "/")))
		if d.IsDir() {
			return os.MkdirAll(to, 0o777)
		}
		data, err := template.ReadFile(path.Clean(name))
		if err != nil {
			return err
		}
		file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return err
		}
		_, err = file.Write(data)
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
		return err
	})
}
