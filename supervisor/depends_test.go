package supervisor_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// script is an app of a shell script.
func script(name, text string, needs ...spec.Dependency) spec.App {
	a := app(name, 1)
	a.Command, a.WaitReady, a.DependsOn = []string{"/bin/sh", "-c", text}, false, needs
	return a
}

func task(name, text string, needs ...spec.Dependency) spec.App {
	a := script(name, text, needs...)
	a.Type, a.Autorestart = spec.Task, false
	return a
}

// readyIf is an app that is ready when there is a file.
func readyIf(name, gate string, needs ...spec.Dependency) spec.App {
	a := app(name, 1)
	a.Env["READY_IF"], a.DependsOn = gate, needs
	return a
}

func touch(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// stateOf is that of each app.
func stateOf(list []control.Process) map[string]control.State {
	found := map[string]control.State{}
	for _, p := range list {
		found[p.Name] = p.State
	}
	return found
}

func reason(list []control.Process, name string) string {
	for _, p := range list {
		if p.Name == name {
			return p.Reason
		}
	}
	return ""
}

func TestAnAppStartsWhenWhatItDependsOnIsReady(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	gate := filepath.Join(t.TempDir(), "gate")
	started := make(chan control.Done)
	go func() {
		started <- d.start(app("web", 2), readyIf("db", gate), readyIf("api", gate, spec.Dependency{App: "db", Condition: spec.Ready}),
			app("early", 1), script("soon", "exec sleep 1000", spec.Dependency{App: "db", Condition: spec.Started}))
	}()
	d.until("all but what waits is there", func(list []control.Process) bool {
		s := stateOf(list)
		return s["web"] == control.Online && s["early"] == control.Online && s["soon"] == control.Online && s["db"] == control.Launching &&
			s["api"] == control.Stopped && reason(list, "api") == "waits for db"
	})
	touch(t, gate)
	for _, p := range (<-started).Processes {
		if p.State != control.Online {
			t.Errorf("%+v", p)
		}
	}
}

// A dependency that was needed to start is not needed to go on.
func TestAnAppThatRunsOutlivesWhatItDependsOn(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	web := app("web", 1)
	web.DependsOn = []spec.Dependency{{App: "db", Condition: spec.Ready}}
	d.start(web, app("db", 1))
	before := d.list()
	d.command("stop", "db")
	d.command("restart", "web")
	after := d.list()
	if stateOf(after)["web"] != control.Online || after[0].PID == before[0].PID {
		t.Errorf("%+v", after)
	}
	d.command("stop", "web")
	if _, err := d.Start(t.Context(), control.StartRequest{Targets: []string{"web"}}, nil); err != nil {
		t.Fatal(err)
	}
	if s := stateOf(d.list()); s["db"] != control.Online || s["web"] != control.Online {
		t.Errorf("who starts an app starts what it needs, too: %v", s)
	}
}

func TestWhoWaitsGoesOnToWaitWhenTheMasterIsKilled(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	gate := filepath.Join(t.TempDir(), "gate")
	go func() {
		_, _ = d.Start(t.Context(), control.StartRequest{Apps: []spec.App{readyIf("db", gate), script("web", "exec sleep 1000", spec.Dependency{App: "db", Condition: spec.Ready})}}, nil)
	}()
	d.until("web waits", func(list []control.Process) bool { return reason(list, "web") == "waits for db" })
	d.killMaster()
	if list := d.list(); stateOf(list)["web"] != control.Stopped {
		t.Errorf("%+v", list)
	}
	touch(t, gate)
	d.until("both are there", func(list []control.Process) bool {
		s := stateOf(list)
		return s["db"] == control.Online && s["web"] == control.Online
	})
}

func TestAMigrationRunsBeforeTheAPI(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	file := filepath.Join(t.TempDir(), "schema")
	apps := []spec.App{
		task("migrate", "sleep 0.4; echo migrated >> "+file),
		script("api", "cat "+file+" && exec sleep 1000", spec.Dependency{App: "migrate", Condition: spec.Completed}),
	}
	d.start(apps...)
	before := d.list()
	if s := stateOf(before); s["migrate"] != control.Stopped || s["api"] != control.Online {
		t.Fatalf("%+v", before)
	}
	// A reload of the file runs it again, before the new API starts.
	if _, err := d.Start(t.Context(), control.StartRequest{Apps: apps, Reload: true}, nil); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "migrated\nmigrated\n" || d.list()[1].PID == before[1].PID {
		t.Errorf("%q, %v, %+v", text, err, d.list())
	}
	// What has been done is left alone by a reload of what runs.
	d.command("reload", "all")
	d.killMaster()
	if again, err := os.ReadFile(file); err != nil || string(again) != string(text) {
		t.Errorf("%q, %v", again, err)
	}
}

func TestAMigrationThatFailsKeepsTheAPIFromStarting(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dir := t.TempDir()
	apps := []spec.App{
		task("migrate", "test -e "+dir+"/cure || { echo no such column >&2; exit 3; }"),
		script("api", "exec sleep 1000", spec.Dependency{App: "migrate", Condition: spec.Completed}),
	}
	_, err := d.Start(t.Context(), control.StartRequest{Apps: apps}, nil)
	var e *control.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "migrate:0: pid") || !strings.Contains(e.Message, "exit code 3") ||
		!strings.Contains(e.Message, "api:0: waits for migrate, which failed") || fmt.Sprint(e.Output) != "[no such column]" {
		t.Fatalf("%+v", err)
	}
	if s := stateOf(d.list()); s["migrate"] != control.Errored || s["api"] != control.Stopped {
		t.Errorf("%v", s)
	}
	touch(t, filepath.Join(dir, "cure"))
	d.command("restart", "migrate")
	before := d.until("the API starts then", func(list []control.Process) bool { return stateOf(list)["api"] == control.Online })
	// Later the old API stays, if the migration to the next one fails.
	if err := os.Remove(filepath.Join(dir, "cure")); err != nil {
		t.Fatal(err)
	}
	_, err = d.Start(t.Context(), control.StartRequest{Apps: apps, Reload: true}, nil)
	if !errors.As(err, &e) || !strings.Contains(e.Message, "api was not reloaded, for it depends on migrate, which failed") {
		t.Errorf("%v", err)
	}
	if list := d.list(); list[1].PID != before[1].PID || list[1].State != control.Online {
		t.Errorf("%+v", list)
	}
}

func TestDependenciesThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	need := func(name string) spec.Dependency { return spec.Dependency{App: name, Condition: spec.Ready} }
	d.start(script("a", "exec sleep 1000"), script("b", "exec sleep 1000", need("a")))
	for want, apps := range map[string][]spec.App{
		"depends_on has a cycle: a → b → a":  {script("a", "exec sleep 1000", need("b"))},
		"depends_on has a cycle: c → c":      {script("c", "exec sleep 1000", need("c"))},
		"c depends on d, which is not there": {script("c", "exec sleep 1000", need("d"))},
	} {
		_, err := d.Start(t.Context(), control.StartRequest{Apps: apps}, nil)
		var e *control.Error
		if !errors.As(err, &e) || e.Message != want || e.Hint == "" {
			t.Errorf("%v, and not %s", err, want)
		}
	}
	if list := d.list(); len(list) != 2 {
		t.Errorf("%+v", list)
	}
}

// inOrder are apps that write down when they end, the first of which all others
// need, one after the other.
func inOrder(file string) []spec.App {
	text := func(name string) string {
		return "trap 'sleep 0.1; echo " + name + " >> " + file + "; exit' TERM; while :; do sleep 0.01; done"
	}
	return []spec.App{
		script("db", text("db")),
		script("api", text("api"), spec.Dependency{App: "db", Condition: spec.Ready}),
		script("web", text("web"), spec.Dependency{App: "api", Condition: spec.Ready}),
	}
}

func TestAppsStopBeforeWhatTheyDependOn(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*daemon){
		"stop":   func(d *daemon) { d.command("stop", "all") },
		"delete": func(d *daemon) { d.command("delete", "all") },
		"kill": func(d *daemon) {
			if _, err := d.Kill(d.t.Context(), nil); err != nil {
				d.t.Fatal(err)
			}
		},
		"kill, and the master is killed, too": func(d *daemon) {
			go func() { _, _ = d.Kill(d.t.Context(), nil) }()
			d.until("it has begun", func(list []control.Process) bool { return stateOf(list)["web"] == control.Stopping })
			d.killMaster()
			d.hasEnded()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			file := filepath.Join(t.TempDir(), "ended")
			d.start(inOrder(file)...)
			stop(d)
			if text, err := os.ReadFile(file); err != nil || string(text) != "web\napi\ndb\n" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

func TestForegroundEndsWhenAllTasksAreDone(t *testing.T) {
	t.Parallel()
	first := spec.Dependency{App: "first", Condition: spec.Completed}
	for want, apps := range map[int][]spec.App{
		0: {task("second", "echo 2", first), task("first", "echo 1")},
		1: {task("second", "echo 2", first), task("first", "exit 7")},
	} {
		f := newForeground(t, apps...)
		if code := f.wait(); code != want {
			t.Errorf("exit code %d, and not %d", code, want)
		}
		slices.Sort(f.stdout) // lines of two processes come as they are read
		if out := strings.Join(f.stdout, "; "); (out == "first:0 | 1; second:0 | 2") != (want == 0) {
			t.Errorf("standard output is %q", out)
		}
	}
}
