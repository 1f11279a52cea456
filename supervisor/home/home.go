// Package home is the layout of $NEKO_HOME, the folder that one daemon owns.
package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dir is the absolute path of a home.
type Dir string

// The files of a home.
func (d Dir) Control() string { return filepath.Join(string(d), "neko.sock") }   // control API
func (d Dir) Notify() string  { return filepath.Join(string(d), "notify.sock") } // sd_notify of workers
func (d Dir) Lock() string    { return filepath.Join(string(d), "neko.lock") }   // held while a daemon lives
func (d Dir) PID() string     { return filepath.Join(string(d), "neko.pid") }    // the keeper's
func (d Dir) Log() string     { return filepath.Join(string(d), "neko.log") }    // the daemon's own
func (d Dir) State() string   { return filepath.Join(string(d), "state.json") }  // what keeper and master know, for when both are killed
func (d Dir) Dump() string    { return filepath.Join(string(d), "dump.json") }   // what `nekoctl save` has kept
func (d Dir) Logs() string    { return filepath.Join(string(d), "logs") }        // the workers'

// RemovePID removes the file of the pid, and if it is a link what it leads to.
func (d Dir) RemovePID() error {
	target, err := filepath.EvalSymlinks(d.PID())
	if err == nil && target != d.PID() {
		err = os.Remove(target)
	} else {
		err = nil
	}
	return errors.Join(err, os.Remove(d.PID()))
}

// OutLog and ErrLog are the files that a slot's processes print to, or, for slot
// -1, those of all slots of an app.
func (d Dir) OutLog(app string, slot int) string { return d.log(app+"-out", slot) }

func (d Dir) ErrLog(app string, slot int) string { return d.log(app+"-error", slot) }

func (d Dir) log(name string, slot int) string {
	if slot >= 0 {
		name += fmt.Sprintf("-%d", slot)
	}
	return filepath.Join(d.Logs(), name+".log")
}

// places are where a home can be without a home folder of the user, which a
// container's user often lacks: on a tmpfs that is there even if nothing else can
// be written.
var places = []string{"/dev/shm", "/tmp"}

// Find is $NEKO_HOME, else ~/.neko, else (where nothing can be made in ~) a folder
// of the user's in one of places. It creates nothing, and finds the same for all
// processes of a user with the same environment.
func Find() (Dir, error) {
	if d := os.Getenv("NEKO_HOME"); d != "" {
		abs, err := filepath.Abs(d)
		return Dir(abs), err
	}
	user := os.Getenv("HOME")
	if user != "" {
		abs, err := filepath.Abs(filepath.Join(user, ".neko"))
		if err != nil || usable(abs, user) {
			return Dir(abs), err
		}
	}
	own := fmt.Sprintf("neko-%d", os.Geteuid())
	for _, place := range places {
		if d := filepath.Join(place, own); usable(d, place) {
			return Dir(d), nil
		}
	}
	if user == "" {
		user = "not set"
	}
	return "", fmt.Errorf("NEKO_HOME is not set, and nothing can be made in HOME (%s), nor in %s", user, strings.Join(places, " or "))
}

// usable says that there is something called d, which may be good or bad, or that
// it can be made.
func usable(d, parent string) bool {
	if _, err := os.Lstat(d); err == nil {
		return true
	}
	return unix.Access(parent, unix.W_OK|unix.X_OK) == nil
}

// Check says why d cannot be used: not a folder, not ours, or writable by
// others. A d that does not exist is fine.
func (d Dir) Check() error {
	info, err := os.Stat(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", d)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d, and this is uid %d", d, st.Uid, os.Geteuid())
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return fmt.Errorf("%s can be written by others (mode %04o)", d, perm)
	}
	return nil
}

// Create makes the folder and its logs folder, 0700, and checks them.
func (d Dir) Create() error {
	if err := d.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(d.Logs(), 0o700); err != nil {
		return err
	}
	if err := unix.Access(string(d), unix.W_OK); err != nil {
		return fmt.Errorf("%s cannot be written: %w", d, err)
	}
	return nil
}
