package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

// lookout sees changes of the files that an app watches. It runs in a goroutine of
// its own, for a large tree takes a while, and tells the loop.
type lookout struct {
	spec    *spec.App
	home    home.Dir // which the daemon writes itself
	warn    func(string)
	changed func(file string) // and for a while nothing any more
	done    chan struct{}

	files   *fsnotify.Watcher
	watched map[string]bool // folders
	most    int             // of these
	full    bool            // no more can be watched, which was said
	roots   []*root
}

// root is an element of spec.Watch.
type root struct {
	path   string
	folder string      // that is watched for it: a file is so by way of its folder, for editors replace it; "": it was never there
	info   os.FileInfo // of folder; nil: it is not there
}

const (
	// mostFolders bounds what one app takes of fs.inotify.max_user_watches and of the
	// kernel's memory, about a KiB each.
	mostFolders = 8192
	// lookEvery is how often is looked whether what is to be watched is still there, or
	// again, or another: no event tells of what is above it.
	lookEvery   = time.Second
	reopenEvery = 10 * time.Second
)

// keepWatch has an app watched as its spec says, as long as it is to run.
func (m *master) keepWatch(a *app) {
	wanted := len(a.spec.Watch) > 0 && !m.stopping && a.any(func(s *slot) bool { return s.want == run })
	if l := a.lookout; l != nil && (!wanted || !l.watches(a.spec)) {
		m.stopWatch(a)
	}
	if wanted && a.lookout == nil {
		a.lookout = m.watch(a)
	}
}

func (m *master) stopWatch(a *app) {
	if a.lookout != nil {
		close(a.lookout.done)
		a.lookout = nil
		m.warn("watch "+a.name, "")
	}
}

func (m *master) watch(a *app) *lookout {
	l := &lookout{spec: a.spec, home: m.home, done: make(chan struct{}), most: mostFolders}
	current := func(f func()) {
		m.post(func() {
			if a.lookout == l {
				f()
			}
		})
	}
	l.warn = func(text string) { current(func() { m.warn("watch "+a.name, text) }) }
	l.changed = func(file string) { current(func() { m.filesChanged(a, file) }) }
	go l.run()
	return l
}

// filesChanged renews an app. A change during a reload may have come too late for
// it, and calls for another.
func (m *master) filesChanged(a *app, file string) {
	const why = "watch"
	what := file + " has changed"
	if r := a.renewals[why]; r != nil {
		if r.again == "" {
			m.log("%s is to be reloaded once more (%s): %s", a, why, what)
		}
		r.again = what
		return
	}
	m.renew(a, why, what)
}

// watches says whether l is right for a spec.
func (l *lookout) watches(app *spec.App) bool {
	return slices.Equal(l.spec.Watch, app.Watch) && slices.Equal(l.spec.IgnoreWatch, app.IgnoreWatch) && l.spec.WatchDelay == app.WatchDelay &&
		l.spec.OutFile == app.OutFile && l.spec.ErrorFile == app.ErrorFile && l.spec.AllFile == app.AllFile && l.spec.PIDFile == app.PIDFile
}

// longestQuiet is after how many times watch_delay an app is reloaded though its files
// change on and on.
const longestQuiet = 10

func (l *lookout) run() {
	for {
		var err error
		if l.files, err = fsnotify.NewWatcher(); err == nil {
			break
		}
		l.warn(fmt.Sprintf("the files of %s cannot be watched: %v; fs.inotify.max_user_instances may be too low", l.spec.Name, err))
		select {
		case <-time.After(reopenEvery):
		case <-l.done:
			return
		}
	}
	defer l.files.Close()
	l.watched = map[string]bool{}
	for _, path := range l.spec.Watch {
		r := &root{path: path}
		l.roots = append(l.roots, r)
		l.look(r)
	}
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	first, since := "", time.Time{} // that has changed
	note := func(file string) {
		if first == "" {
			first, since = file, time.Now()
		}
		delay := l.spec.WatchDelay.D()
		quiet.Reset(max(min(delay, time.Until(since.Add(longestQuiet*delay))), 0))
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case event := <-l.files.Events:
			if l.concerns(event) {
				note(event.Name)
			}
		case err := <-l.files.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) { // nobody knows what
				for _, r := range l.roots {
					l.drop(r.folder)
					r.info = nil
					l.look(r)
				}
				note("something")
			}
		case <-look.C:
			for _, r := range l.roots {
				if l.look(r) {
					note(r.path)
				}
			}
		case <-quiet.C:
			l.changed(first)
			first = ""
		case <-l.done:
			return
		}
	}
}

// look watches a root that it finds, and says whether it is there again or another.
func (l *lookout) look(r *root) (changed bool) {
	if r.folder == "" {
		info, err := os.Stat(r.path)
		if err != nil {
			return false
		}
		if r.folder = r.path; !info.IsDir() {
			r.folder = filepath.Dir(r.path)
		}
	}
	info, err := os.Stat(r.folder)
	switch {
	case err != nil: // that it goes is an event
		r.info = nil
		l.drop(r.folder)
		return false
	// A new one may have the inode of the old one, whose watch has gone with it.
	case r.info != nil && os.SameFile(info, r.info) && l.watched[r.folder]:
		return false
	}
	l.drop(r.folder)
	r.info = info
	if r.folder != r.path {
		return l.add(r.folder)
	}
	if l.isHome(r.folder) {
		l.warn(r.folder + " is the daemon's own home: it is not watched")
	}
	l.addTree(r.folder)
	return l.watched[r.folder]
}

// addTree watches a folder and those in it. Symlinks are not followed.
func (l *lookout) addTree(folder string) {
	if l.isHome(folder) || !l.add(folder) { // before it is read, or something would be missed
		return
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return // it has gone again
	}
	for _, e := range entries {
		if path := filepath.Join(folder, e.Name()); e.IsDir() && l.wanted(path) {
			l.addTree(path)
		}
	}
}

func (l *lookout) add(folder string) bool {
	if l.full {
		return false
	}
	if l.full = len(l.watched) >= l.most; l.full {
		l.warn(fmt.Sprintf("%s has more than %d folders to watch, and changes in %s and others are not seen: name fewer in watch, or more in ignore_watch", l.spec.Name, l.most, folder))
		return false
	}
	switch err := l.files.Add(folder); {
	case err == nil:
		l.watched[folder] = true
		return true
	case errors.Is(err, os.ErrNotExist):
	case errors.Is(err, syscall.ENOSPC):
		l.full = true
		l.warn(fmt.Sprintf("fs.inotify.max_user_watches is reached, and changes in %s and others are not seen by %s: name fewer folders in watch, or more in ignore_watch, or set it higher", folder, l.spec.Name))
	default:
		l.warn(fmt.Sprintf("%s is not watched: %v", folder, err))
	}
	return false
}

// concerns says whether an event is one of the app's files, and follows what it
// does to folders.
func (l *lookout) concerns(event fsnotify.Event) bool {
	path := event.Name
	switch {
	case !l.watched[path]:
	case event.Has(fsnotify.Rename): // those in it would be known by their old names
		l.drop(path)
	case event.Has(fsnotify.Remove): // it was empty
		delete(l.watched, path)
	}
	if event.Op == fsnotify.Chmod || !l.wanted(path) {
		return false
	}
	if info, err := os.Lstat(path); event.Has(fsnotify.Create) && err == nil && info.IsDir() {
		if l.isHome(path) {
			return false
		}
		l.addTree(path)
	}
	return true
}

// drop watches a folder and those in it no more.
func (l *lookout) drop(path string) {
	for folder := range l.watched {
		if within(path, folder) {
			_ = l.files.Remove(folder) // unless it has gone by itself
			delete(l.watched, folder)
		}
	}
	l.full = false
}

// wanted says whether changes of a path are of interest: it is in an element of
// spec.Watch, not ignored there, and not what the daemon writes.
func (l *lookout) wanted(path string) bool {
	return !l.spec.IsOwnFile(path) && slices.ContainsFunc(l.spec.Watch, func(root string) bool {
		return within(root, path) && !l.spec.Ignores(root, path)
	})
}

// within says whether a path is a folder or in it.
func within(folder, path string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// isHome says whether a folder is the daemon's, by whatever name.
func (l *lookout) isHome(folder string) bool {
	info, err := os.Stat(folder)
	for _, own := range []string{string(l.home), l.home.Logs()} {
		if its, ownErr := os.Stat(own); err == nil && ownErr == nil && os.SameFile(info, its) {
			return true
		}
	}
	return false
}
