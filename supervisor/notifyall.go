package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

// Workers of another user cannot reach a socket in the home, which is its owner's
// alone. A daemon with such workers has a second notify socket, beside the run
// folders of its apps, where anybody may say something; who is heard is decided by
// the pid that the kernel gives.

// notifyAllNames are where it may be. No app can have a name with an @.
func notifyAllNames(h home.Dir) (names []string) {
	parents := runDirs(h)
	for _, parent := range parents[:len(parents)-1] { // the last is in the home
		names = append(names, filepath.Join(parent, "@notify.sock"))
	}
	return names
}

// notifyNames are all that masters of a home can have told their workers.
func notifyNames(h home.Dir) []string { return append(notifyAllNames(h), notifyName(h)) }

// notifyNameFor is the socket that an app's processes are told.
func (m *master) notifyNameFor(app *spec.App) string {
	if uid, _ := runsAs(app); uid == os.Geteuid() {
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
func (m *master) openNotifyAll() error {
	err := errors.New("there is no tmpfs for their socket")
	var n notifySocket
	for _, name := range notifyAllNames(m.home) {
		if err = ownDir(filepath.Dir(name), 0o711, os.Geteuid()); err != nil {
			continue
		}
		if n, err = bindNotify(name); err == nil {
			err = os.Chmod(name, 0o666)
		}
		if err == nil {
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

// removeNotifyAll is done at the daemon's end.
func (m *master) removeNotifyAll() {
	if m.notifyAll.name == "" {
		return
	}
	if err := os.Remove(m.notifyAll.name); err != nil && !os.IsNotExist(err) {
		m.log("%v", err)
	}
	_ = os.Remove(filepath.Dir(m.notifyAll.name)) // unless run folders are left
}
