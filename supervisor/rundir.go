package supervisor

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

// The run folder of an app, NEKO_RUN_DIR, is for what its processes share and what
// may be gone after a reboot: it is theirs, on tmpfs, and the master reads nothing
// there. It makes one file in it, stoppingFile, while it lets the app serve on
// before a stop.

// stoppingFile tells the processes that a stop was asked for.
const stoppingFile = "stopping"

// runDirs are where the run folders of a home can be, the best first. Root's are
// not in root's session, for other users must get through to theirs.
func runDirs(h home.Dir) (list []string) {
	hash := fnv.New64a()
	hash.Write([]byte(h))
	name := fmt.Sprintf("%x", hash.Sum64())
	if session := os.Getenv("XDG_RUNTIME_DIR"); os.Geteuid() != 0 && inMemory(session) {
		list = append(list, filepath.Join(session, "neko-"+name))
	}
	const system = "/run/neko" // RuntimeDirectory=neko of a unit
	if os.Geteuid() == 0 && inMemory(filepath.Dir(system)) {
		_ = os.Mkdir(system, 0o755) // it may be there
	}
	if inMemory(system) {
		list = append(list, filepath.Join(system, name))
	}
	if inMemory("/dev/shm") {
		list = append(list, fmt.Sprintf("/dev/shm/neko-%d-%s", os.Geteuid(), name))
	}
	return append(list, filepath.Join(string(h), "run"))
}

// inMemory says whether a folder is on tmpfs, and nobody else can replace what is
// ours there.
func inMemory(folder string) bool {
	var system unix.Statfs_t
	if !filepath.IsAbs(folder) || unix.Statfs(folder, &system) != nil || system.Type != unix.TMPFS_MAGIC && system.Type != unix.RAMFS_MAGIC {
		return false
	}
	info, err := os.Stat(folder)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid()) && (info.Mode().Perm()&0o022 == 0 || info.Mode()&fs.ModeSticky != 0)
}

// makeRunDir makes the folder of an app before a process starts, "" if that
// cannot be. It is made anew if it has gone: the end of a session takes with it
// what is in XDG_RUNTIME_DIR.
func (m *master) makeRunDir(a *app) string {
	var err error
	for _, parent := range m.runDirsFor(a) {
		var dir string
		if dir, err = makeRunDir(parent, a.name, a.spec, a.runDir == ""); err == nil {
			a.runDir = dir
			m.recordApp(a)
			m.warn("run folder "+a.name, "")
			return dir
		}
	}
	m.warn("run folder "+a.name, fmt.Sprintf("%s has no run folder (NEKO_RUN_DIR): %v", a.name, err))
	return ""
}

// runDirsFor is where an app has its folder, or may have it.
func (m *master) runDirsFor(a *app) []string {
	if a.runDir != "" {
		return []string{filepath.Dir(a.runDir)}
	}
	return runDirs(m.home)
}

func makeRunDir(parent, name string, app *spec.App, fresh bool) (string, error) {
	if err := ownDir(parent, 0o711, os.Geteuid()); err != nil { // other users pass, and see nothing
		return "", err
	}
	dir := filepath.Join(parent, name)
	if fresh { // what an earlier daemon has left
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
	}
	uid, gid := runsAs(app)
	err := os.Mkdir(dir, 0o700)
	if there := errors.Is(err, fs.ErrExist); (err == nil || there) && os.Geteuid() == 0 {
		err = os.Lchown(dir, uid, gid) // it may be another's since a reload
	}
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = ownDir(dir, 0o700, uid)
	}
	return dir, err
}

// runsAs is whom the processes of an app run as, to whom its folder belongs.
func runsAs(app *spec.App) (uid, gid int) {
	if id, err := app.Identity(); err == nil && id != nil {
		return int(id.UID), int(id.GID)
	}
	return os.Geteuid(), os.Getegid()
}

// ownDir makes a folder, or sees that the one which is there is what it would have
// made: in /dev/shm anybody can have been quicker.
func ownDir(path string, mode fs.FileMode, uid int) error {
	if err := os.Mkdir(path, mode); err == nil {
		return os.Chmod(path, mode) // whatever the umask
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(st.Uid) != uid || info.Mode().Perm()&^mode != 0 {
		return fmt.Errorf("%s is there, and not a folder of uid %d with the mode %04o", path, uid, mode)
	}
	return nil
}

// removeRunDir removes an app's folder, and that of the home with the last.
func (m *master) removeRunDir(a *app) {
	if a.runDir == "" {
		return
	}
	if err := os.RemoveAll(a.runDir); err != nil {
		m.log("%v", err)
	}
	parent := filepath.Dir(a.runDir)
	if !m.othersHaveRunDir(a) {
		removeDrainScripts(parent)
	}
	_ = os.Remove(parent) // unless others have theirs there
	a.runDir, a.toldStopping = "", false
	m.warn("run folder "+a.name, "")
}

func (m *master) othersHaveRunDir(a *app) bool {
	for _, other := range m.apps {
		if other != a && other.runDir != "" {
			return true
		}
	}
	return false
}

func (a *app) isToldStopping() bool {
	_, err := os.Lstat(filepath.Join(a.runDir, stoppingFile))
	return a.runDir != "" && err == nil
}

// tellStopping has the file stopping in an app's folder while a stop was asked for
// and its processes serve on, or leave.
func (m *master) tellStopping(a *app) {
	stopping := a.goesDown()
	if stopping == a.toldStopping || a.runDir == "" {
		return
	}
	path := filepath.Join(a.runDir, stoppingFile)
	var err error
	if stopping {
		// O_EXCL follows no link: the folder may be another user's.
		var file *os.File
		if file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err == nil {
			err = file.Close()
		} else if errors.Is(err, fs.ErrExist) {
			err = nil
		}
	} else if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		m.log("%s is not told that it is to stop: %v", a, err)
	}
	a.toldStopping = stopping
}
