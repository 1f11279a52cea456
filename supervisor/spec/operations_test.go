package spec

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// parsed is the app that has these keys.
func parsed(t *testing.T, keys string) App {
	t.Helper()
	apps, _, err := Parse("/srv/neko.yaml", []byte("apps: [{name: a, command: ./a, "+keys+"}]"), Options{NamesOnly: true})
	if err != nil {
		t.Fatalf("%s: %v", keys, err)
	}
	return apps[0]
}

func TestOperationKeysAreUnderstood(t *testing.T) {
	second := Duration(time.Second)
	for keys, want := range map[string]func(*App){
		"type: task":                                      func(a *App) { a.Type, a.Autorestart = Task, false },
		"type: task, autorestart: true":                   func(a *App) { a.Type = Task },
		"autorestart: false":                              func(a *App) { a.Autorestart = false },
		"restart_delay: 1s":                               func(a *App) { a.RestartDelay = second },
		"exp_backoff_restart_delay: 1s":                   func(a *App) { a.Backoff.Initial = second },
		"exp_backoff_restart_delay: 1m":                   func(a *App) { a.Backoff.Initial, a.Backoff.Max = 60*second, 60*second },
		"exp_backoff_restart_delay: {max: 1s, jitter: 0}": func(a *App) { a.Backoff.Max, a.Backoff.Jitter = second, 0 },
		"stop_exit_codes: [0, 78]":                        func(a *App) { a.StopExitCodes = []int{0, 78} },
		`cron_restart: "0 3 * * *"`:                       func(a *App) { a.CronRestart = "0 3 * * *" },
		"max_memory_restart: 1.5G":                        func(a *App) { a.MaxMemory = 3 << 29 },
		"watch: true":                                     func(a *App) { a.Watch = []string{"/srv"} },
		"watch: [src, /etc/a], ignore_watch: x":           func(a *App) { a.Watch, a.IgnoreWatch = []string{"/srv/src", "/etc/a"}, []string{"x"} },
		"ignore_watch: []":                                func(a *App) { a.IgnoreWatch = nil },
		"stop_signal: int":                                func(a *App) { a.StopSignal = "SIGINT" },
		"stop_signal: 3":                                  func(a *App) { a.StopSignal = "SIGQUIT" },
		"shutdown_delay: 1s, treekill: false":             func(a *App) { a.ShutdownDelay, a.Treekill = second, false },
		"readiness: {exec: [./ok, -v], timeout: 2s}": func(a *App) {
			a.Readiness = &Probe{Exec: []string{"./ok", "-v"}, Interval: 5 * second, Timeout: 2 * second, Failures: 3}
		},
		"startup: {tcp: 5432}": func(a *App) { a.Startup = &Probe{TCP: "5432", Interval: 5 * second, Timeout: second, Failures: 3} },
		"out_file: a.log, error_file: /dev/null, log_rotate: {size: 1M, keep: 0}": func(a *App) {
			a.OutFile, a.ErrorFile, a.LogRotate.Size, a.LogRotate.Keep = "/srv/a.log", "/dev/null", 1<<20, 0
		},
		"log_rotate: false": func(a *App) { a.LogRotate.Size = 0 },
		"umask: 027, nice: -3, pin: true, rlimits: {nofile: 10, core: unlimited, nproc: 1:2}": func(a *App) {
			a.Umask, a.Nice, a.Pin = "027", -3, true
			a.Rlimits = map[string]Rlimit{"nofile": {10, 10}, "core": {Unlimited, Unlimited}, "nproc": {1, 2}}
		},
	} {
		expected := parsed(t, "url_path: /")
		expected.URLPath = ""
		want(&expected)
		if got := parsed(t, keys); !reflect.DeepEqual(got, expected) {
			t.Errorf("%s:\n got %+v\nwant %+v", keys, got, expected)
		}
	}
}

// A master may be of another version than what it reads.
func TestWhatAnOlderVersionDoesNotSayIsTheDefault(t *testing.T) {
	var a App
	if err := json.Unmarshal([]byte(`{"name": "old", "instances": 3}`), &a); err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Name, want.Instances = "old", 3
	if !reflect.DeepEqual(a, want) {
		t.Errorf("%+v", a)
	}
	a.IgnoreWatch, a.LogRotate, a.Autorestart = nil, Rotate{}, false
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var again App
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, a) {
		t.Errorf("%v, %+v", err, again)
	}
}

func TestIgnoredIsWhatAGlobMatches(t *testing.T) {
	a := Defaults()
	a.IgnoreWatch = append(a.IgnoreWatch, "build/", "assets/**/*.map", "/srv/data")
	for path, want := range map[string]bool{
		"/srv/server.js": false, "/srv/node_modules/x/y.js": true, "/srv/.git/HEAD": true, "/srv/a/.env": true, "/srv/a/b.log": true,
		"/srv/build/x": true, "/srv/sub/build/x": true, "/srv/assets/js/a.map": true, "/srv/assets/a.map": true, "/srv/js/a.map": false, "/srv/data/1": true,
		"/srv": false, "/srv/buildings/x": false,
	} {
		if got := a.Ignores("/srv", path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestEachSlotHasALogFileOfItsOwn(t *testing.T) {
	a := parsed(t, "out_file: out.log, error_file: /dev/null")
	merged := parsed(t, "out_file: out.log, merge_logs: true")
	for _, x := range []struct {
		got, want string
	}{
		{a.LogFile(false, 0, 9), "/srv/out.log"}, {a.LogFile(false, 12, 9), "/srv/out-12.log"}, {a.LogFile(true, 3, 9), "/dev/null"},
		{merged.LogFile(false, 7, 9), "/srv/out.log"}, {merged.LogFile(true, 7, 9), ""},
	} {
		if x.got != x.want {
			t.Errorf("%q, and not %q", x.got, x.want)
		}
	}
}
