package spec

import (
	"iter"
	"os"
	"path/filepath"
	"strings"
)

// find is the file that a command means, "" if there is none.
func (r *resolver) find(name string) string {
	here := r.absolute(name)
	switch {
	case strings.ContainsRune(name, '/') || r.Script && isFile(here):
	case r.look(name) != "":
		return r.look(name)
	}
	if isFile(here) {
		return here
	}
	return r.installed(name)
}

// installed is a program that has been installed for the app's folder alone, and is
// not on PATH: in node_modules, or in a virtualenv.
func (r *resolver) installed(name string) string {
	folders := []string{filepath.Join(r.Cwd, "venv", "bin"), filepath.Join(r.Cwd, ".venv", "bin")}
	for dir := range above(r.Cwd) {
		folders = append(folders, filepath.Join(dir, "node_modules", ".bin"))
	}
	for _, dir := range folders {
		if file := filepath.Join(dir, name); !strings.ContainsRune(name, '/') && isFile(file) {
			return file
		}
	}
	return ""
}

// findOr is the word for a command that is run as it is.
func (r *resolver) findOr(name string) string {
	if file := r.find(name); file != "" && file != r.look(name) {
		return file
	}
	return name
}

// program is the file of a program on PATH or installed for the folder, "" if there is
// none.
func (r *resolver) program(name string) string {
	if file := r.look(name); file != "" {
		return file
	}
	return r.installed(name)
}

// look finds a program on the app's PATH.
func (r *resolver) look(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return lookPath(name, r.Cwd, r.path())
}

func (r *resolver) absolute(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(r.Cwd, file)
}

// above are a folder and those that it is in.
func above(dir string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for yield(dir) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
		}
	}
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
