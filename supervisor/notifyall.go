package supervisor

import (
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

// Workers of another user cannot reach a socket in the home, which is its owner's
// alone. A daemon with such workers has a second notify socket in a folder of its
// own below /run, where anybody may say something; who is heard is decided by the
// pid that the kernel gives.

// notifyAllPlaces are where that folder may be: root's alone, or on a tmpfs that a
// container has even if nothing else can be written.
var notifyAllPlaces = []string{"/run", "/dev/shm"}

func notifyAllName(place string, h home.Dir) string {
	hash := fnv.New64a()
	hash.Write([]byte(h))
	return filepath.Join(place, fmt.Sprintf("neko-%x", hash.Sum64()), "notify.sock")
}

// notifyNames are all that masters of a home can have told their workers.
func notifyNames(h home.Dir) []string {
	names := []string{notifyName(h)}
	for _, place := range notifyAllPlaces {
		names = append(names, notifyAllName(place, h))
	}
	return names
}

// notifyNameFor is the socket that an app's processes are told.
func (m *master) notifyNameFor(app *spec.App) string {
	if id, err := app.Identity(); err != nil || id == nil || int(id.UID) == os.Geteuid() {
		return m.notify.name
	}
	if m.notifyAll.name == "" {
		if err := m.openNotifyAll(); err != nil {
			m.warn("notify", fmt.Sprintf("what workers of other users say (READY=1) cannot be heard: %v", err))
			return m.notify.name
		}
		m.warn("notify", "")
	}
	return m.notifyAll.name
}

// openNotifyAll opens the second socket, at the first app that needs it.
func (m *master) openNotifyAll() (err error) {
	var n notifySocket
	for _, place := range notifyAllPlaces {
		if n, err = bindNotifyAll(notifyAllName(place, m.home)); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	m.notifyAll, m.held["notify-all"] = n, []int{n.fd}
	m.kept("notify-all", m.conn.Put("notify-all", n.fd))
	m.kept("notify-all-name", m.conn.Set("notify-all-name", n.name))
	return m.listenNotify(n)
}

func bindNotifyAll(name string) (n notifySocket, err error) {
	folder := filepath.Dir(name)
	if err := os.Mkdir(folder, 0o711); err != nil && !os.IsExist(err) {
		return n, err
	}
	info, err := os.Lstat(folder)
	if err != nil {
		return n, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(st.Uid) != os.Geteuid() {
		return n, fmt.Errorf("%s is somebody else's", folder)
	}
	if err := os.Chmod(folder, 0o711|fs.ModeDir); err != nil { // whatever the umask is
		return n, err
	}
	if n, err = bindNotify(name); err != nil {
		return n, err
	}
	return n, os.Chmod(name, 0o666)
}

// removeNotifyAll is done at the daemon's end.
func (m *master) removeNotifyAll() {
	if m.notifyAll.name == "" {
		return
	}
	for _, path := range []string{m.notifyAll.name, filepath.Dir(m.notifyAll.name)} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			m.log("%v", err)
		}
	}
}
