package ecosystem

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/spec"
)

// site is a folder with some programs, and options to start them from there.
func site(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"app.js": "", "w.py": "", "run": "#!/bin/sh\n", "package.json": `{"version": "1.2.3"}`, "dist/index.js": "", "two words.js": "",
		"bin/node": "#!/bin/sh\n", "bin/python3": "#!/bin/sh\n", "bin/bash": "#!/bin/sh\n", "bin/npm": "#!/usr/bin/env node\n", "bin/gunicorn": "\x7fELF\x00",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return Options{Cwd: dir, Home: dir + "/home", PM2: true, Environ: []string{"PATH=" + dir + "/bin", "HOME=" + dir, "SHLVL=1", "TOKEN=inherited"},
		Node: func(string) string { return "v20.20.2\n" }}
}

// started are the apps of a text.
func started(t *testing.T, text string, o Options) ([]spec.App, error) {
	t.Helper()
	list, err := Parse(t.Context(), "pm2.json", []byte(text), o)
	if err != nil {
		return nil, err
	}
	var apps []spec.App
	for _, c := range list {
		app, err := c.App(o)
		if err != nil {
			return nil, err
		}
		apps = append(apps, app)
	}
	return apps, nil
}

// one is the one app with these keys.
func one(t *testing.T, keys string, o Options) spec.App {
	t.Helper()
	apps, err := started(t, "{"+keys+"}", o)
	if err != nil {
		t.Fatalf("%s: %v", keys, err)
	}
	return apps[0]
}

func TestPM2sDefaultsHoldForWhoCallsPM2(t *testing.T) {
	o := site(t)
	app := one(t, "script: './app.js'", o)
	want := spec.Defaults()
	want.Name, want.Title, want.Command, want.Cwd, want.Node = "app", "app", []string{"node", o.Cwd + "/app.js"}, o.Cwd, spec.NodeFork
	want.StopSignal, want.DrainConnections = "SIGINT", true
	want.Parallel = 2
	want.KillTimeout, want.ListenTimeout = spec.Duration(1600*time.Millisecond), spec.Duration(30*time.Second)
	want.MaxRestarts, want.MinUptime, want.RestartWindow = 15, spec.Duration(time.Second), spec.Duration(16*time.Second) // the 16th end counts
	want.Backoff, want.LogRotate = spec.Backoff{}, spec.Rotate{}
	want.IgnoreWatch = []string{".*", "node_modules"}
	want.OutFile, want.ErrorFile = o.Home+"/logs/app-out.log", o.Home+"/logs/app-error.log"
	want.PIDFile, want.NumberByID, want.MergeLogs = o.Home+"/pids/app.pid", true, true
	want.Env, want.PM2 = app.Env, app.PM2
	if !reflect.DeepEqual(app, want) {
		t.Errorf("got  %+v\nwant %+v", app, want)
	}
	env := map[string]string{"PATH": o.Cwd + "/bin", "HOME": o.Cwd, "SHLVL": "1", "TOKEN": "inherited", "PWD": o.Cwd, "PM2_HOME": o.Home,
		"PM2_USAGE": "CLI", "PM2_JSON_PROCESSING": "true", "app": "{}"}
	if !maps.Equal(app.Env, env) {
		t.Errorf("got  %v\nwant %v", app.Env, env)
	}
}

func TestOnlyWhatIsWrittenCountsForWhoCallsNeko(t *testing.T) {
	o := site(t)
	o.PM2 = false
	app := one(t, "script: './app.js', kill_timeout: 5000", o)
	want := spec.Defaults()
	want.Name, want.Command, want.Cwd, want.Node = "app", []string{"node", o.Cwd + "/app.js"}, o.Cwd, spec.NodeFork
	want.KillTimeout = spec.Duration(5 * time.Second)
	want.Env = map[string]string{"PATH": o.Cwd + "/bin", "HOME": o.Cwd, "TOKEN": "inherited", "PWD": o.Cwd}
	if !reflect.DeepEqual(app, want) {
		t.Errorf("got  %+v\nwant %+v", app, want)
	}
}

func TestWhatIsRelativeIsSoToTheCallersFolderOrForNekoToTheFiles(t *testing.T) {
	o := site(t)
	if err := os.MkdirAll(o.Cwd+"/config", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"pm2.json": "[{script: './app.js'}, {script: '../run', cwd: 'dist'}, {script: './own.js', name: 'own'}]", "own.js": ""} {
		if err := os.WriteFile(o.Cwd+"/config/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := Load(t.Context(), "config/pm2.json", o)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		app  int
		pm2  bool
		want string
	}{{0, true, "."}, {0, false, "."}, {1, true, "./dist"}, {1, false, "./dist"}, {2, true, "an error"}, {2, false, "./config"}} {
		o.PM2 = x.pm2
		app, err := list[x.app].App(o)
		got := strings.Replace(app.Cwd, o.Cwd, ".", 1)
		if err != nil {
			got = "an error"
		}
		if got != x.want {
			t.Errorf("app %d, PM2 %v: %s (%v)", x.app, x.pm2, got, err)
		}
	}
}

// Each key, as an app has it in the end.
func TestWhatBecomesOfKeys(t *testing.T) {
	o := site(t)
	const script = "script: './app.js', "
	ms := func(n int) spec.Duration { return spec.Duration(time.Duration(n) * time.Millisecond) }
	for _, x := range []struct {
		keys string
		got  func(a spec.App) any
		want any
	}{
		{"script: 'app.js', name: 'my app/x'", func(a spec.App) any { return a.Name + " " + a.Title + " " + filepath.Base(a.OutFile) }, "my-app-x my app/x my-app-x-out.log"},
		{"script: 'app.js', name: 'my_app'", func(a spec.App) any { return a.Name + " " + filepath.Base(a.PIDFile) }, "my_app my-app.pid"},
		{"script: 'app.js', name: 'all'", func(a spec.App) any { return a.Name + " " + a.Title }, "app-all all"},
		{"script: 'app.js', name: '12'", func(a spec.App) any { return a.Name + " " + a.Title }, "app-12 12"},
		{"script: 'app.js', name: '日本'", func(a spec.App) any { return a.Name + " " + a.Title }, "app 日本"},
		{"script: 'app.js', namespace: 'ns'", func(a spec.App) any { return a.Namespace }, "ns"},
		{"script: 'app.js', namespace: 'default'", func(a spec.App) any { return a.Namespace }, ""},

		{"script: 'w.py', cwd: '.', interpreter: '', args: ''", func(a spec.App) any { return a.Command }, []string{"python3", "./w.py"}},
		{"script: 'w.py'", func(a spec.App) any { return a.Env["PYTHONUNBUFFERED"] }, "1"},
		{"script: 'run'", func(a spec.App) any { return a.Command }, []string{"./run"}},
		{"script: './dist'", func(a spec.App) any { return a.Command }, []string{"node", "./dist/index.js"}},
		{"script: 'two words.js'", func(a spec.App) any { return a.Command }, []string{"node", "./two words.js"}},
		{"script: '~/app.js'", func(a spec.App) any { return a.Command }, []string{"node", "./app.js"}},
		{"script: 'gunicorn', args: 'main:app -b :80', interpreter: 'none', node_args: '-x'", func(a spec.App) any { return a.Command }, []string{"gunicorn", "main:app", "-b", ":80"}},
		{"script: 'gunicorn', interpreter: 'python3'", func(a spec.App) any { return a.Command }, []string{"python3", "./bin/gunicorn"}},
		{"script: 'npm', args: 'start'", func(a spec.App) any { return a.Command }, []string{"npm", "start"}},
		{"script: 'npm run x', args: 'one two'", func(a spec.App) any { return a.Command }, []string{"npm", "run", "x"}},
		{"script: 'run a && run b', interpreter: 'none', exec_mode: 'fork'", func(a spec.App) any { return a.Command[:2] }, []string{"bash", "-c"}},
		{"script: 'python3 x.py --ok'", func(a spec.App) any { return a.Title + "|" + a.Name }, "python3 x|python3-x"},
		{script + `args: 'a "b c" --x="1 2" d\'e'`, func(a spec.App) any { return a.Command[2:] }, []string{"a", "b c", `--x="1 2"`, "d'e"}},
		{script + "args: ['a b', 1, true]", func(a spec.App) any { return a.Command[2:] }, []string{"a b", "1", "true"}},
		{script + "node_args: '--inspect --x=1'", func(a spec.App) any { return a.Command[:3] }, []string{"node", "--inspect", "--x=1"}},

		{script + "instances: 'max'", func(a spec.App) any { return []any{a.Instances, a.Node, a.MergeLogs} }, []any{0, spec.NodeCluster, true}},
		{script + "instances: 0, exec_mode: 'cluster'", func(a spec.App) any { return []any{a.Instances, a.Node, a.MergeLogs} }, []any{0, spec.NodeCluster, false}},
		{script + "instances: '2'", func(a spec.App) any { return []any{a.Instances, a.Node, a.MergeLogs} }, []any{2, spec.NodeCluster, false}},
		{script + "instances: -1", func(a spec.App) any { return []any{a.Instances, a.Node} }, []any{-1, spec.NodeCluster}},
		{script + "instances: -2", func(a spec.App) any { return []any{a.Instances, a.Node} }, []any{-2, spec.NodeFork}},
		{script + "instances: 1", func(a spec.App) any { return []any{a.Instances, a.Node} }, []any{1, spec.NodeCluster}},
		{script + "instances: 2, exec_mode: 'fork_mode'", func(a spec.App) any { return a.Node }, spec.NodeFork},
		{script + "instances: 2, execute_command: true", func(a spec.App) any { return a.Node }, spec.NodeFork},
		{"script: 'w.py', exec_mode: 'cluster'", func(a spec.App) any { return a.Node }, spec.NodeNone},
		{"script: 'w.py', instances: 2", func(a spec.App) any { return []any{a.Instances, a.Node} }, []any{2, spec.NodeNone}},

		{script + "max_memory_restart: '200M'", func(a spec.App) any { return a.MaxMemory }, spec.Size(200 << 20)},
		{script + "max_memory_restart: 1000", func(a spec.App) any { return a.MaxMemory }, spec.Size(1000)},
		{script + "min_uptime: '10s'", func(a spec.App) any { return []any{a.MinUptime, a.RestartWindow} }, []any{ms(10_000), ms(160_000)}},
		{script + "min_uptime: '500'", func(a spec.App) any { return a.MinUptime }, ms(500)},
		{script + "max_restarts: 0, kill_timeout: 0, instance_var: ''", func(a spec.App) any { return []any{a.MaxRestarts, a.KillTimeout, a.InstanceVar} }, []any{15, ms(1600), "NODE_APP_INSTANCE"}},
		{script + "max_restarts: 1", func(a spec.App) any { return a.MaxRestarts }, 0},
		{script + "max_restarts: 3", func(a spec.App) any { return []any{a.MaxRestarts, a.RestartWindow} }, []any{2, ms(3000)}},
		{script + "restart_delay: '60'", func(a spec.App) any { return a.RestartDelay }, ms(60)},
		{script + "exp_backoff_restart_delay: 100", func(a spec.App) any { return a.Backoff }, spec.Backoff{Initial: ms(100), Max: ms(15_000)}},
		{script + "kill_timeout: 1e15", func(a spec.App) any { return a.KillTimeout }, spec.MaxDuration},
		{script + "kill_timeout: 3000, listen_timeout: 5000", func(a spec.App) any { return []any{a.KillTimeout, a.ListenTimeout, a.ReadyAnyway} }, []any{ms(3000), pm2Patience, false}},
		{script + "listen_timeout: 50000", func(a spec.App) any { return a.ListenTimeout }, ms(50_000)},
		{script + "wait_ready: true", func(a spec.App) any { return []any{a.ListenTimeout, a.ReadyAnyway} }, []any{ms(3000), true}},
		{script + "wait_ready: true, listen_timeout: 5000", func(a spec.App) any { return []any{a.ListenTimeout, a.ReadyAnyway} }, []any{ms(5000), true}},
		{script + "wait_ready: true, shutdown_with_message: true", func(a spec.App) any { return a.WaitReady && a.ShutdownWithMessage }, true},
		{"script: 'w.py', shutdown_with_message: true", func(a spec.App) any { return a.ShutdownWithMessage }, false},
		{script + "autorestart: false, autostart: false, treekill: false", func(a spec.App) any { return a.Autorestart || a.Autostart || a.Treekill }, false},
		{script + "stop_exit_codes: 3", func(a spec.App) any { return a.StopExitCodes }, []int{3}},
		{script + "stop_exit_codes: [1, '2']", func(a spec.App) any { return a.StopExitCodes }, []int{1, 2}},
		{script + "cron_restart: '0 3 * * *'", func(a spec.App) any { return a.CronRestart }, "0 3 * * *"},
		{script + "cron: '0'", func(a spec.App) any { return a.CronRestart }, ""},

		{script + "watch: true", func(a spec.App) any { return a.Watch }, []string{"."}},
		{script + "watch: ['dist', 'src/**/*.js', 'gone']", func(a spec.App) any { return a.Watch }, []string{"./dist"}},
		{script + "watch: [], watch_delay: 1000", func(a spec.App) any { return []any{a.Watch, a.WatchDelay} }, []any{[]string{"."}, ms(1000)}},
		{script + "ignore_watch: 'logs tmp'", func(a spec.App) any { return a.IgnoreWatch }, []string{"logs", "tmp"}},
		{script + "ignore_watch: ['a'], watch_options: {ignored: 'b', usePolling: true}", func(a spec.App) any { return a.IgnoreWatch }, []string{"b"}},

		{script + "out_file: 'logs/o.log', err: 'NULL'", func(a spec.App) any { return []string{a.OutFile, a.ErrorFile} }, []string{"./logs/o.log", "/dev/null"}},
		{script + "out: '~/o.log', cwd: 'dist/..'", func(a spec.App) any { return a.OutFile }, "./o.log"},
		{script + "log_file: true", func(a spec.App) any { return a.AllFile }, "./home/logs/app.log"},
		{script + "log: 'logs/all.log'", func(a spec.App) any { return a.AllFile }, "./logs/all.log"},
		{script + "log_file: false", func(a spec.App) any { return a.AllFile }, ""},
		{script + "log_type: 'json', time: true", func(a spec.App) any { return a.LogType + " " + a.LogDateFormat }, "json YYYY-MM-DDTHH:mm:ss"},
		{script + "disable_logs: true", func(a spec.App) any { return []string{a.OutFile, a.ErrorFile, a.AllFile} }, []string{"/dev/null", "/dev/null", ""}},
		{script + "pid: 'p/x.pid'", func(a spec.App) any { return a.PIDFile }, "./p/x.pid"},

		{script + "port: 3000", func(a spec.App) any { return a.Env["PORT"] }, "3000"},
		{script + "port: '3000', env: {PORT: 1}, increment_var: 'PORT', instance_var: 'INSTANCE_ID'",
			func(a spec.App) any { return a.Env["PORT"] + a.IncrementVar + a.InstanceVar }, "3000PORTINSTANCE_ID"},
		{script + "increment_var: 'N'", func(a spec.App) any { return a.Env["N"] }, "0"},
		{script + "io: {a: 1}", func(a spec.App) any { return a.Env["io"] }, `{"a":1}`},
		{script + "cwd: 'dist/..'", func(a spec.App) any { return a.Env["PWD"] }, "."},
		{script + "filter_env: ['TOK', 'SHL']", func(a spec.App) any { return a.Env["TOKEN"] + a.Env["SHLVL"] + a.Env["PM2_USAGE"] }, "CLI"},
		{script + "filter_env: 'TOKEN'", func(a spec.App) any { return a.Env["TOKEN"] + a.Env["SHLVL"] }, "1"},
		{script + "filter_env: true", func(a spec.App) any { return a.Env["TOKEN"] }, "inherited"},
	} {
		got := x.got(one(t, x.keys, o))
		text, _ := json.Marshal(got)
		want, _ := json.Marshal(x.want)
		if said := strings.ReplaceAll(strings.ReplaceAll(string(text), `"`+o.Cwd+`"`, `"."`), `"`+o.Cwd, `".`); said != string(want) {
			t.Errorf("%s: got %s, want %s", x.keys, said, want)
		}
	}
}

func TestVariablesAreThoseThatPM2Gives(t *testing.T) {
	const text = `{
  apps: {
    script: './app.js', append_env_to_name: true,
    env: {N: 1, T: true, S: 'text', O: {a: [1]}, L: [1, 'b'], Z: null, TOKEN: 'own', E: ''},
    env_production: {N: 2, O: {b: 2}, S: null, TOKEN: null, NEW: 1e21},
  },
  deploy: {production: {env: {DEPLOYED: 1, HOME: '/other'}}},
}`
	const base = `E= L=[1,"b"] N=1 O={"a":[1]} S=text T=true TOKEN=own Z=null`
	for env, want := range map[string]string{
		"":           "app " + base,
		"production": `app-production DEPLOYED=1 E= L=[1,"b"] N=2 NEW=1e+21 O={"b":2} T=true Z=null`,
		"staging":    "app-staging " + base,
	} {
		var warned []string
		o := site(t)
		o.Env, o.Warn = env, func(text string) { warned = append(warned, text) }
		apps, err := started(t, text, o)
		if err != nil {
			t.Fatal(err)
		}
		said := []string{apps[0].Title}
		for _, name := range slices.Sorted(maps.Keys(apps[0].Env)) {
			if !strings.HasPrefix(name, "PM2_") && !slices.Contains([]string{"PATH", "HOME", "PWD", "SHLVL", apps[0].Title}, name) {
				said = append(said, name+"="+apps[0].Env[name])
			}
		}
		if got := strings.Join(said, " "); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", env, got, want)
		}
		if missing := env == "staging"; missing != slices.Equal(warned, []string{"Environment [staging] is not defined in process file"}) {
			t.Errorf("%s: %q", env, warned)
		}
		if apps[0].Env["HOME"] != o.Cwd {
			t.Errorf("%s: HOME is %s", env, apps[0].Env["HOME"])
		}
	}
}

func TestAnAppStartedFromWithinAnAppInheritsNothingOfThat(t *testing.T) {
	o := site(t)
	o.Environ = append(o.Environ, "pm_id=3", "name=other", "NODE_APP_INSTANCE=2", "exec_mode=fork_mode", "unique_id=x", "MINE=1")
	env := one(t, "script: './app.js'", o).Env
	for _, name := range []string{"pm_id", "name", "NODE_APP_INSTANCE", "exec_mode", "unique_id"} {
		if value, there := env[name]; there {
			t.Errorf("%s is %s", name, value)
		}
	}
	if env["MINE"] != "1" {
		t.Error("MINE is gone")
	}
}

func TestMistakesAreToldAllAtOnceWithTheirPlaces(t *testing.T) {
	o := site(t)
	for text, want := range map[string]string{
		"[{script: 'app.js',\n instances: 'abc',\n kill_timeout: true,\n min_uptime: 50, watch: 5},\n {script: 'app.js', exec_mode: 'clustre'}]": `pm2.json:2:2: instances: expected a number, or max, not "abc"
pm2.json:3:2: kill_timeout: expected a number of milliseconds, not true
pm2.json:4:2: min_uptime: expected at least 100, not 50
pm2.json:4:18: watch: expected true or false or a list or a text, not 5
pm2.json:5:21: exec_mode: expected cluster or fork, not "clustre"`,
		"{script: 'gone.js'}":                             "pm2.json:1:2: script: " + o.Cwd + "/gone.js: no such file | a program on PATH is named without a slash, another by its path",
		"{script: 'app.js',\ncwd: '/gone'}":               "pm2.json:2:1: cwd: /gone: no such file | cwd is the folder in which the processes start",
		"{script: 'app.js', interpreter: 'gone'}":         `pm2.json:1:20: exec_interpreter: there is no program "gone" on PATH | install gone, or check PATH`,
		"{script: 'app.js', cron: 'daily at 3'}":          `pm2.json:1:20: cron_restart: expected a cron expression, not "daily at 3" | minute, hour, day of the month, month, day of the week: "0 3 * * *" is every night at three`,
		"{script: 'app.js', stop_exit_codes: ['x', 300]}": `pm2.json:1:20: stop_exit_codes: expected exit codes, not "x"` + "\n" + `pm2.json:1:20: stop_exit_codes: expected a number from 0 to 255, not "300"`,
		"{script: 'app.js', log: '/proc/gone/x.log'}":     "pm2.json:1:20: log_file: its folder cannot be made: mkdir /proc/gone: no such file or directory",
		"{script: 'app.js', uid: 'no-such-user'}":         `pm2.json:1:20: uid: there is no user "no-such-user"`,
		"{script: 'app.js', kill_timeout: -1}":            `pm2.json:1:20: kill_timeout: expected a time from 0 to 24h, not "-1ms"`,
	} {
		_, err := started(t, text, o)
		if got := problems(err); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func TestFilesAreInTheFoldersOfTheCaller(t *testing.T) {
	o := site(t)
	o.Logs, o.PIDs = "/l", "/p"
	app := one(t, "script: './app.js', log_file: true", o)
	if got := app.OutFile + app.ErrorFile + app.AllFile + app.PIDFile; got != "/l/app-out.log/l/app-error.log/l/app.log/p/app.pid" {
		t.Error(got)
	}
}

func TestFoldersOfLogsAreMadeAndSaidSo(t *testing.T) {
	var said []string
	o := site(t)
	o.Warn = func(text string) { said = append(said, "warn: "+text) }
	o.Note = func(text string) { said = append(said, "note: "+text) }
	one(t, "script: './app.js', out_file: 'a/b/o.log', error_file: 'a/b/e.log', pid_file: 'x.pid'", o)
	want := []string{"warn: Folder does not exist: " + o.Cwd + "/a/b", "note: Creating folder: " + o.Cwd + "/a/b"}
	if _, err := os.Stat(o.Cwd + "/a/b"); err != nil || !slices.Equal(said, want) {
		t.Errorf("%v, %q", err, said)
	}
	o.NamesOnly = true
	one(t, "script: './gone.js', out_file: 'c/o.log'", o)
	if _, err := os.Stat(o.Cwd + "/c"); err == nil {
		t.Error("it was made for nothing")
	}
}

// The orders are those of the real PM2 7.0.4.
func TestTheShapeHasPM2sKeysInPM2sOrder(t *testing.T) {
	o := site(t)
	for keys, want := range map[string]string{
		"name: 'plain', script: './app.js'": `{"name":"plain","merge_logs":true,"vizion":true,"autostart":true,"autorestart":true,"instance_var":"NODE_APP_INSTANCE",` +
			`"pmx":true,"automation":true,"treekill":true,"username":"USER","windowsHide":true,"kill_retry_time":100,"namespace":"default","node_args":[],` +
			`"pm_exec_path":"./app.js","pm_cwd":".","exec_interpreter":"node","exec_mode":"fork_mode","instances":1,"pm_out_log_path":"./home/logs/plain-out.log",` +
			`"pm_err_log_path":"./home/logs/plain-error.log","pm_pid_path":"./home/pids/plain.pid","km_link":false,"vizion_running":false,"version":"1.2.3","node_version":"20.20.2"}`,
		`interpreter: 'python3', script: 'w.py', filter_env: true, cwd: 'dist/..', time: true, args: 'a b', instances: '2', env_x: {A: 1}, max_memory_restart: '1K', unknown: 1, vizion: false, ignore_watch: ['a'], log_file: '/dev/null'`: `{"name":"w",` +
			`"filter_env":true,"cwd":"dist/..","args":["a","b"],"exec_interpreter":"python3","log_date_format":"YYYY-MM-DDTHH:mm:ss","time":true,"max_memory_restart":1024,"instances":2,` +
			`"vizion":false,"autostart":true,"autorestart":true,"ignore_watch":["a"],"instance_var":"NODE_APP_INSTANCE","pmx":true,"automation":true,"treekill":true,"username":"USER",` +
			`"windowsHide":true,"kill_retry_time":100,"env_x":{"A":1},"namespace":"default","node_args":[],"pm_exec_path":"./w.py","pm_cwd":".","exec_mode":"fork_mode","pm_log_path":"/dev/null",` +
			`"pm_out_log_path":"./home/logs/w-out.log","pm_err_log_path":"./home/logs/w-error.log","pm_pid_path":"./home/pids/w.pid","km_link":false,"vizion_running":false,"version":"1.2.3"}`,
		`script: 'run 1 && run "x.y"', namespace: 'n'`: `{"name":"run 1 \u0026\u0026 run \"x","namespace":"n","args":["-c","run 1 \u0026\u0026 run \"x.y\""],"merge_logs":true,"vizion":true,"autostart":true,` +
			`"autorestart":true,"instance_var":"NODE_APP_INSTANCE","pmx":true,"automation":true,"treekill":true,"username":"USER","windowsHide":true,"kill_retry_time":100,"node_args":[],` +
			`"pm_exec_path":"./bin/bash","pm_cwd":".","exec_interpreter":"none","exec_mode":"fork_mode","instances":1,"pm_out_log_path":"./home/logs/run-1----run--x-out.log",` +
			`"pm_err_log_path":"./home/logs/run-1----run--x-error.log","pm_pid_path":"./home/pids/run-1----run--x.pid","km_link":false,"vizion_running":false,"version":"1.2.3"}`,
	} {
		app := one(t, keys, o)
		got := strings.ReplaceAll(strings.ReplaceAll(string(app.PM2), `"`+o.Cwd+`"`, `"."`), `"`+o.Cwd, `".`)
		got = strings.ReplaceAll(got, `"username":"`+username(nil)+`"`, `"username":"USER"`)
		if got = strings.ReplaceAll(got, "&", `\u0026`); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", keys, got, want)
		}
	}
}

func TestAnAppOfTheCommandLineIsMadeKeyByKey(t *testing.T) {
	o := site(t)
	c := &Config{}
	for _, set := range []struct {
		key   string
		value any
	}{{"name", "cli"}, {"filterEnv", []string{}}, {"exec", "./app.js"}, {"instances", "2"}, {"max_memory_restart", "1G"}, {"killTimeout", 3000}, {"watch", true}, {"watch", nil}} {
		if err := c.Set(set.key, set.value); err != nil {
			t.Fatal(err)
		}
	}
	app, err := c.App(o)
	if err != nil {
		t.Fatal(err)
	}
	if app.Instances != 2 || app.MaxMemory != 1<<30 || app.KillTimeout != spec.Duration(3*time.Second) || app.Watch != nil || app.Env["PM2_JSON_PROCESSING"] != "" || app.Env["cli"] != "" {
		t.Errorf("%+v", app)
	}
	if want := `{"name":"cli","filter_env":[],"namespace":"default","max_memory_restart"`; !strings.HasPrefix(string(app.PM2), want) {
		t.Errorf("%s", app.PM2)
	}
	err = c.Set("instances", "many")
	if e, ok := err.(*spec.Error); !ok || e.Key != "instances" || e.Message != `expected a number, or max, not "many"` {
		t.Errorf("%v", err)
	}
	clone := c.Clone()
	clone.Delete("exec")
	if c.Get("script") != "./app.js" || clone.Has("script") || !c.Has("exec") {
		t.Error("they are one")
	}
	if _, err := clone.App(o); problems(err) != "there is no script to run | script: ./server.js, say" {
		t.Error(err)
	}
}

func TestThereAreAllOfPM2sKeys(t *testing.T) {
	if len(Keys) != 64 { // and env_NAME
		t.Errorf("there are %d", len(Keys))
	}
	for _, k := range Keys {
		if k.About == "" || len(k.kinds) == 0 || !strings.HasSuffix(k.About, ".") {
			t.Errorf("%s: nothing says what it is", k.Name)
		}
	}
}

func TestRegularExpressionsBecomeGlobs(t *testing.T) {
	for source, want := range map[string]string{
		`node_modules`: "*node_modules*", `\.log$`: "*.log", `^logs`: "logs*", `\.git`: "*.git*", `[\/\\]\.`: ".*", `(^|[\/\\])\..`: ".*",
		`\/tmp\/`: "tmp", `a\/b$`: "**/*a/b", `a.*b|c`: "", `(a)`: "", ``: "",
	} {
		got, ok := globOf((&object.Object{}).Set(regexpMark, source))
		if got != want || ok != (want != "") {
			t.Errorf("/%s/: %q, %v", source, got, ok)
		}
	}
}

func TestNamesAreUnique(t *testing.T) {
	taken := map[string]bool{"web": true, "web-2": true, strings.Repeat("x", spec.MaxName): true}
	for name, want := range map[string]string{"web": "web-3", "api": "api", strings.Repeat("x", spec.MaxName): strings.Repeat("x", spec.MaxName-2) + "-2"} {
		if got := Unique(name, func(name string) bool { return taken[name] }); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func FuzzNameOf(f *testing.F) {
	for _, title := range []string{"web", "", "-.", "all", "007", "日本 app", strings.Repeat("-x", 100), "..a"} {
		f.Add(title)
	}
	f.Fuzz(func(t *testing.T, title string) {
		app := spec.Defaults()
		app.Name, app.Command = NameOf(title), []string{"/bin/true"}
		if err := app.CheckValues(); err != nil {
			t.Errorf("%q: %v", title, err)
		}
	})
}

func TestArgumentsAreSplitAsPM2SplitsThem(t *testing.T) {
	for line, want := range map[string][]string{
		`a  b`: {"a", "b"}, `"a b" 'c d'`: {"a b", "c d"}, `--x="1 2"`: {`--x="1 2"`}, `--x='1 2' y`: {`--x='1 2'`, "y"}, `a"b c"`: {`a"b`, `c"`},
		``: {}, `""`: {}, `"`: {`"`}, `don't`: {"don't"}, `x="`: {`x="`},
	} {
		if got := splitArgs(line); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
