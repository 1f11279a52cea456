// Package dump is the file in which `nekoctl save` keeps apps for `nekoctl
// resurrect`: across a reboot, or to another machine.
//
// Unlike the state file it names no process. It holds the apps' environments,
// secrets too, and is the owner's alone.
package dump

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

// version is that of the file's layout. Fields are added without a new one.
const version = 1

// ErrNone says that nothing was ever saved.
var ErrNone = errors.New("nothing is saved")

type file struct {
	Version int             `json:"version"`
	Apps    []control.Saved `json:"apps"`
	Daemon  spec.Daemon     `json:"daemon,omitzero"`
}

// Backup is where the dump before the last is.
func Backup(h home.Dir) string { return h.Dump() + ".bak" }

// Write replaces the dump in one step. The one before becomes the backup, unless
// it is damaged: then the backup is worth more.
func Write(h home.Dir, apps []control.Saved, daemon spec.Daemon) error {
	text, err := json.MarshalIndent(file{version, apps, daemon}, "", "  ")
	if err != nil {
		return err
	}
	fresh := h.Dump() + ".new"
	if err := writeSynced(fresh, append(text, '\n')); err != nil {
		return err
	}
	if _, err := read(h.Dump()); err == nil || errors.As(err, new(*newer)) {
		if err := os.Rename(h.Dump(), Backup(h)); err != nil { // here a crash leaves the backup alone, which is enough
			return err
		}
	}
	if err := os.Rename(fresh, h.Dump()); err != nil {
		return err
	}
	return syncFolder(string(h))
}

func writeSynced(path string, text []byte) error {
	// A file of the same name may be of another mode.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// Read is what was saved last. If that cannot be read and the backup can, it is
// the backup, and instead says why. Without either it is [ErrNone].
func Read(h home.Dir) (apps []control.Saved, daemon spec.Daemon, instead, err error) {
	f, err := read(h.Dump())
	if err == nil || errors.As(err, new(*newer)) {
		return f.Apps, f.Daemon, nil, err
	}
	older, backupErr := read(Backup(h))
	switch {
	case backupErr == nil:
		return older.Apps, older.Daemon, err, nil
	case errors.Is(err, fs.ErrNotExist) && errors.Is(backupErr, fs.ErrNotExist):
		return nil, daemon, nil, ErrNone
	case errors.Is(err, fs.ErrNotExist):
		return nil, daemon, nil, backupErr
	}
	return nil, daemon, nil, err
}

// newer is a dump that a newer nekoctl has written. Its backup is no substitute: it
// may be years old.
type newer struct {
	path    string
	version int
}

func (e *newer) Error() string {
	return fmt.Sprintf("%s is of a newer nekoctl: its version is %d, and %d the latest that this one knows", e.path, e.version, version)
}

func read(path string) (f file, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return f, err
	}
	f, err = parse(text)
	if n := (*newer)(nil); errors.As(err, &n) {
		n.path = path
		return f, err
	}
	if err != nil {
		return f, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return f, nil
}

// parse takes a text apart and finds what no save would have written.
func parse(text []byte) (f file, err error) {
	var v struct{ Version int }
	if err := json.Unmarshal(text, &v); err != nil {
		return f, err
	}
	switch {
	case v.Version > version:
		return f, &newer{version: v.Version}
	case v.Version < 1:
		return f, errors.New("it has no version")
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, err
	}
	if err := f.Daemon.CheckValues(); err != nil {
		return f, fmt.Errorf("the daemon: %w", err)
	}
	names := map[string]bool{}
	for i := range f.Apps {
		app := &f.Apps[i].App
		if err := app.CheckValues(); err != nil {
			return f, fmt.Errorf("app %d: %w", i+1, err)
		}
		if !filepath.IsAbs(app.Cwd) {
			return f, fmt.Errorf("app %d: its folder is %q", i+1, app.Cwd)
		}
		if names[app.Name] {
			return f, fmt.Errorf("there are two apps %s", app.Name)
		}
		names[app.Name] = true
	}
	return f, nil
}
