package registrytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// PushBase makes an image of this machine's python3 with its standard library, a
// shell and what the two are linked with, and pushes it. The tag is host/name:tag.
func PushBase(tag string) error {
	out, err := exec.Command("python3", "-I", "-c", "import os, sys; print(os.path.realpath(sys.executable))").Output()
	if err != nil {
		return fmt.Errorf("asking python3 where it is: %w", err)
	}
	python := strings.TrimSpace(string(out)) // what is first in PATH may be a wrapper
	files, err := baseFiles(python)
	if err != nil {
		return err
	}
	layer, err := layerOf(python, files)
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = v1.Config{Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}, WorkingDir: "/"}
	if image, err = mutate.ConfigFile(image, file); err != nil {
		return err
	}
	ref, err := name.NewTag(tag, name.Insecure)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, image); err != nil {
		return fmt.Errorf("pushing %s: %w", tag, err)
	}
	return nil
}

// tools are the programs beside python3.
var tools = []string{"/bin/sh", "/bin/cat", "/bin/ls", "/bin/sleep"}

// baseFiles lists the files of the image by their paths on this machine; a link is
// followed, and its target stands at the link's path.
func baseFiles(python string) ([]string, error) {
	out, err := exec.Command(python, "-I", "-c", "import sysconfig; print(sysconfig.get_paths()['stdlib'])").Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its library: %w", python, err)
	}
	library := strings.TrimSpace(string(out))
	files := slices.Concat([]string{python}, tools)
	err = filepath.WalkDir(library, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"__pycache__", "test", "tests", "site-packages", "dist-packages", "idlelib", "ensurepip"}, d.Name()),
			d.IsDir() && strings.HasPrefix(d.Name(), "config-"):
			return fs.SkipDir
		case d.Type().IsRegular():
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Clone(files) {
		if path != python && !slices.Contains(tools, path) && !strings.HasSuffix(path, ".so") {
			continue
		}
		linked, err := linkedWith(path)
		if err != nil {
			return nil, err
		}
		files = append(files, linked...)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// linkedWith lists the libraries of a program, its loader among them.
func linkedWith(path string) (list []string, err error) {
	out, err := exec.Command("ldd", path).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not a dynamic executable") && !strings.Contains(string(out), "statically linked") {
		return nil, fmt.Errorf("ldd %s: %w: %s", path, err, out)
	}
	for line := range strings.Lines(string(out)) {
		for word := range strings.FieldsSeq(line) {
			if filepath.IsAbs(word) {
				list = append(list, filepath.Clean(word))
			}
		}
	}
	return list, nil
}

// layerOf packs the files at their paths. python is found by the PATH of the image
// wherever it is here.
func layerOf(python string, files []string) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	heads := []tar.Header{{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}}
	if link := "/usr/local/bin/python3"; python != link {
		heads = append(heads, tar.Header{Name: link[1:], Typeflag: tar.TypeSymlink, Linkname: python})
	}
	for _, h := range heads {
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
	}
	for _, path := range files {
		if err := pack(w, path); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching)
}

func pack(w *tar.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		err = w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(path, "/"), Typeflag: tar.TypeReg, Size: info.Size(), Mode: int64(info.Mode().Perm() | 0o444)})
	}
	if err == nil {
		_, err = io.Copy(w, f)
	}
	return errors.Join(err, f.Close())
}
