package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// watched is an app that watches a folder, whose home is in there, and what a
// developer does in the folder.
type watched struct {
	*daemon
	app    spec.App
	folder string
	pid    int
}

func newWatched(t *testing.T, change func(*spec.App)) *watched {
	t.Helper()
	d := newDaemon(t)
	w := &watched{daemon: d, app: web("api", 1), folder: filepath.Dir(string(d.home))}
	w.app.Watch, w.app.WatchDelay, w.app.MinUptime = []string{w.folder}, spec.Duration(20*time.Millisecond), spec.Duration(time.Millisecond)
	if change != nil {
		change(&w.app)
	}
	w.pid = d.start(w.app).Processes[0].PID
	w.watching()
	return w
}

// watching waits until the master has as many folders in its inotify as there are.
func (w *watched) watching() {
	w.t.Helper()
	want := 0
	for _, root := range w.app.Watch {
		if info, err := os.Stat(root); err == nil && !info.IsDir() {
			want++ // its folder
		}
		_ = filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() && !strings.HasPrefix(path, string(w.home)) && e.Name() != "node_modules" {
				want++
			}
			return nil
		})
	}
	w.eventually("all folders are watched", func() bool { return w.inotify() == want })
}

// inotify is how many folders the master watches; -1: it has no inotify.
func (w *watched) inotify() int {
	ping, err := w.Ping(w.t.Context())
	if err != nil {
		return -1
	}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", ping.Master))
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.Contains(target, "inotify") {
			text, _ := os.ReadFile(strings.Replace(link, "/fd/", "/fdinfo/", 1))
			return strings.Count(string(text), "inotify wd:")
		}
	}
	return -1
}

func (w *watched) path(name string) string { return filepath.Join(w.folder, name) }

func (w *watched) write(name string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(name), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) mkdir(name string) {
	w.t.Helper()
	if err := os.MkdirAll(w.path(name), 0o700); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) remove(name string) {
	w.t.Helper()
	if err := os.RemoveAll(w.path(name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) rename(from, to string) {
	w.t.Helper()
	if err := os.Rename(w.path(from), w.path(to)); err != nil {
		w.t.Fatal(err)
	}
}

// reloaded waits for one more reload, or more than one, for a file.
func (w *watched) reloaded(name string) {
	w.t.Helper()
	w.until("reloaded for "+name, func(l []control.Process) bool {
		return l[0].PID != w.pid && l[0].State == control.Online && w.log("(watch): "+w.path(name)+" has changed") > 0
	})
	w.pid = w.list()[0].PID
}

func TestAChangedFileReloadsTheAppThatWatchesIt(t *testing.T) {
	t.Parallel()
	w := newWatched(t, nil)
	w.mkdir("node_modules/x")
	w.write("node_modules/x/a.js")
	w.write(".hidden")
	w.write("debug.log")
	w.write("a.js")
	w.reloaded("a.js") // and not for what is ignored, or what the daemon writes itself
	w.write("a.js.new")
	w.reloaded("a.js.new")
	w.rename("a.js.new", "a.js") // as editors do
	w.reloaded("a.js")
	w.remove("a.js")
	w.reloaded("a.js")
	for _, never := range []string{"node_modules", ".hidden", "debug.log", "home"} {
		if w.log("(watch): "+w.path(never)) > 0 {
			t.Errorf("reloaded for %s", never)
		}
	}
}

func TestNewFoldersAreWatchedAndSymlinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	w := newWatched(t, nil)
	w.mkdir("src/deep/deeper")
	w.reloaded("src")
	w.watching()
	w.write("src/deep/deeper/a.js")
	w.reloaded("src/deep/deeper/a.js")
	w.rename("src", "lib") // those in it have other names now
	w.reloaded("src")
	w.watching()
	w.write("lib/deep/deeper/b.js")
	w.reloaded("lib/deep/deeper/b.js")
	outside := t.TempDir()
	if err := os.Symlink(outside, w.path("link")); err != nil {
		t.Fatal(err)
	}
	w.reloaded("link")
	if err := os.WriteFile(filepath.Join(outside, "c.js"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.write("d.js")
	w.reloaded("d.js")
	if w.log("c.js has changed") > 0 {
		t.Error("a symlink was followed")
	}
}

func TestAFolderThatComesBackIsWatchedAgain(t *testing.T) {
	t.Parallel()
	w := newWatched(t, func(a *spec.App) {
		a.Watch = []string{filepath.Join(a.Watch[0], "project/src")}
		if err := os.MkdirAll(a.Watch[0], 0o700); err != nil {
			t.Fatal(err)
		}
	})
	w.remove("project") // its parent, too
	w.reloaded("project/src")
	w.mkdir("project/src")
	w.reloaded("project/src")
	w.watching()
	w.write("project/src/a.js")
	w.reloaded("project/src/a.js")
}

// What is above a watched folder tells nothing: a deployment moves a link, or a
// project is put aside for another.
func TestAFolderThatIsAnotherIsWatchedInItsPlace(t *testing.T) {
	t.Parallel()
	w := newWatched(t, func(a *spec.App) {
		for _, release := range []string{"1", "2"} {
			if err := os.MkdirAll(filepath.Join(a.Watch[0], "releases", release, "src"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		current := filepath.Join(a.Watch[0], "current")
		if err := os.Symlink("releases/1", current); err != nil {
			t.Fatal(err)
		}
		a.Watch = []string{filepath.Join(current, "src")}
	})
	replaceLink(t, w.path("current"), "releases/2")
	w.reloaded("current/src")
	w.watching()
	w.write("current/src/a.js")
	w.reloaded("current/src/a.js")
	w.rename("releases/2", "releases/3")
	w.mkdir("releases/2/src")
	w.until("reloaded", func(l []control.Process) bool { return l[0].PID != w.pid && l[0].State == control.Online })
	w.pid = w.list()[0].PID
	w.watching()
	w.write("current/src/b.js")
	w.reloaded("current/src/b.js")
}

func TestASingleFileIsWatchedThoughEditorsReplaceIt(t *testing.T) {
	t.Parallel()
	w := newWatched(t, func(a *spec.App) {
		file := filepath.Join(a.Watch[0], "conf/a.conf")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		a.Watch = []string{file}
	})
	for range 2 {
		w.write("conf/other")
		w.rename("conf/other", "conf/a.conf")
		w.reloaded("conf/a.conf")
	}
	if w.log("conf/other has changed") > 0 {
		t.Error("its neighbours are watched, too")
	}
}

func TestWhatFailedIsStartedAgainWhenTheMistakeIsMended(t *testing.T) {
	t.Parallel()
	w := newWatched(t, func(a *spec.App) {
		a.Env["DIE_IF"], a.MaxRestarts = filepath.Join(a.Watch[0], "mistake"), 0
	})
	w.write("mistake") // a reload fails, and the process stays
	w.eventually("failed", func() bool { return w.log("api (watch): error:") > 0 })
	if got := w.list()[0]; got.PID != w.pid || got.State != control.Online {
		t.Errorf("%+v", got)
	}
	kill(t, w.pid, 9)
	w.until("errored", func(l []control.Process) bool { return l[0].State == control.Errored })
	w.remove("mistake")
	w.until("online", func(l []control.Process) bool { return l[0].State == control.Online })
}

func TestAChangeDuringAReloadIsNotLost(t *testing.T) {
	t.Parallel()
	gate, open := flag(t)
	w := newWatched(t, nil)
	a := w.app
	a.Env["READY_IF"] = gate
	open()
	w.pid = w.start(a).Processes[0].PID
	if err := os.Remove(gate); err != nil {
		t.Fatal(err)
	}
	w.write("a.js")
	w.eventually("the reload is under way", func() bool {
		detail, err := w.App(t.Context(), "api")
		return err == nil && detail.Processes[0].Starting != 0
	})
	w.write("b.js")
	w.eventually("it was seen", func() bool { return w.log("api is to be reloaded once more (watch): "+w.path("b.js")) > 0 })
	open()
	w.reloaded("b.js")
}

func TestNobodyIsWatchedForNothing(t *testing.T) {
	t.Parallel()
	w := newWatched(t, nil)
	w.command("stop", "api")
	w.eventually("a stopped app is not watched", func() bool { return w.inotify() == -1 })
	w.command("restart", "api")
	w.watching()
	w.killMaster() // the next one goes on
	w.watching()
	w.pid = w.list()[0].PID
	w.write("a.js")
	w.reloaded("a.js")
	other := w.app
	other.Watch = nil
	w.start(other)
	w.eventually("it does not watch any more", func() bool { return w.inotify() == -1 })
	other.Watch = []string{filepath.Join(w.folder, "none")}
	if _, err := w.Start(t.Context(), control.StartRequest{Apps: []spec.App{other}}, nil); err == nil {
		t.Error("what is not there can be watched")
	}
	w.start(w.app)
	w.watching()
	w.command("delete", "api")
	w.eventually("nobody is left", func() bool { return w.inotify() == -1 })
}
