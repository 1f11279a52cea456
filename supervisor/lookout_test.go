package supervisor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

func newLookout(t *testing.T, most int) (l *lookout, changed, warned <-chan string) {
	t.Helper()
	app := spec.Defaults()
	app.Name, app.Watch, app.WatchDelay = "api", []string{t.TempDir()}, spec.Duration(time.Millisecond)
	changes, warnings := make(chan string, 100), make(chan string, 100)
	l = &lookout{
		spec: &app, home: home.Dir(filepath.Join(app.Watch[0], "home")), done: make(chan struct{}), most: most,
		changed: func(file string) { changes <- file }, warn: func(text string) { warnings <- text },
	}
	t.Cleanup(func() { close(l.done) })
	return l, changes, warnings
}

func TestTheNumberOfWatchedFoldersIsBounded(t *testing.T) {
	l, changed, warned := newLookout(t, 5)
	root := l.spec.Watch[0]
	for i := range 10 {
		if err := os.Mkdir(filepath.Join(root, strconv.Itoa(i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	go l.run()
	if text := <-warned; !strings.Contains(text, "api has more than 5 folders to watch") {
		t.Error(text)
	}
	file := filepath.Join(root, "a.js")
	for { // until it is seen: the watch may not have been there the first time
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-changed:
			if got != file {
				t.Errorf("%s has changed, and not %s", got, file)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// One change of many files is one.
func TestChangesAreAnsweredWhenTheyAreOver(t *testing.T) {
	l, changed, _ := newLookout(t, 100)
	l.spec.WatchDelay = spec.Duration(300 * time.Millisecond)
	go l.run()
	root := l.spec.Watch[0]
	began := time.Now()
	last, pause := began, time.Duration(0)
	for i := 0; time.Since(began) < time.Second; i++ {
		if err := os.WriteFile(filepath.Join(root, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		pause, last = max(pause, time.Since(last)), time.Now()
		time.Sleep(time.Millisecond) // the pace of the changes
	}
	<-changed
	if len(changed) > 0 && pause < l.spec.WatchDelay.D()/2 { // else this test stood still
		t.Errorf("and %s, too", <-changed)
	}
}

func TestWhatTheDaemonWritesIsNotWatched(t *testing.T) {
	l, _, _ := newLookout(t, 100)
	l.spec.OutFile, l.spec.ErrorFile, l.spec.IgnoreWatch = "/srv/out.txt", "/srv/errors", nil
	l.spec.Watch = []string{"/srv"}
	for path, want := range map[string]bool{
		"/srv/out.txt": false, "/srv/out-3.txt": false, "/srv/out.txt.1.gz": false, "/srv/out-12.txt.2": false,
		"/srv/errors": false, "/srv/errors-1": false, "/srv/errors-x": true, "/srv/errorsome": true, "/srv/errors.1": false,
		"/srv/outer.txt": true, "/srv/out.js": true, "/srv/output/x": true, "/elsewhere": false,
	} {
		if got := l.wanted(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// A build that writes on and on is not waited for for ever.
func TestFilesThatChangeOnAndOnAreToldOfAllTheSame(t *testing.T) {
	l, changed, _ := newLookout(t, 5)
	l.spec.WatchDelay = spec.Duration(300 * time.Millisecond)
	go l.run()
	file := filepath.Join(l.spec.Watch[0], "a.js")
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("it was not told")
}
