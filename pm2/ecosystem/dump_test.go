package ecosystem

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nekoctl/neko/supervisor/spec"
)

// dumped is the dump of a cluster of two, in the words of PM2 7, with more or other keys.
func dumped(o Options, keys ...string) string {
	const entry = `{"name":"web","filter_env":[],"namespace":"default","env":{"PATH":"DIR/bin","TOKEN":"saved","GONE":null,"N":1,"web":"{}","my app":"{}","unique_id":"u"},
	"vizion":true,"autostart":true,"autorestart":true,"watch":false,"instance_var":"NODE_APP_INSTANCE","pmx":true,"automation":true,"treekill":true,
	"username":"root","windowsHide":true,"kill_retry_time":100,"node_args":[],"pm_exec_path":"DIR/app.js","pm_cwd":"DIR","exec_interpreter":"node",
	"exec_mode":"cluster_mode","pm_out_log_path":"DIR/logs/web-out-ID.log","pm_err_log_path":"DIR/logs/web-error-ID.log","pm_pid_path":"DIR/pids/web-ID.pid",
	"km_link":false,"vizion_running":false,"NODE_APP_INSTANCE":ID,"PATH":"DIR/bin","TOKEN":"saved","unique_id":"u","status":"online","pm_uptime":1,
	"axm_actions":[{"action_name":"x"}],"axm_monitor":{},"created_at":1,"restart_time":3,"unstable_restarts":0,"version":"1.2.3","node_version":"20.20.2" KEYS}`
	if len(keys) == 0 {
		keys = []string{"", ""}
	}
	var entries []string
	for i, more := range keys {
		if more != "" {
			more = ", " + more
		}
		entries = append(entries, strings.NewReplacer("DIR", o.Cwd, "ID", string(rune('0'+i)), "KEYS", more).Replace(entry))
	}
	return "[" + strings.Join(entries, ",") + "]"
}

func TestADumpOfPM2sIsTheSameApps(t *testing.T) {
	o := site(t)
	saved, err := ReadDump([]byte(dumped(o)), o)
	if err != nil || len(saved) != 1 || saved[0].Stopped {
		t.Fatalf("%+v, %v", saved, err)
	}
	app := saved[0].App
	got := written(t, []any{app.Name, app.Title, app.Command[1:], app.Cwd, app.Instances, app.Node, app.MergeLogs, app.OutFile, app.PIDFile, app.NumberByID, app.StopSignal, app.Env})
	want := `["web","web",["DIR/app.js"],"DIR",2,"cluster",false,"DIR/logs/web-out-0.log","DIR/pids/web-0.pid",true,"SIGINT",` +
		`{"N":"1","PATH":"DIR/bin","PWD":"DIR","TOKEN":"saved","unique_id":"u","web":"{}"}]`
	if want = strings.ReplaceAll(want, "DIR", o.Cwd); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, part := range []string{`"exec_mode":"cluster_mode"`, `"pm_exec_path"`, `"filter_env":[]`} {
		if !strings.Contains(string(app.PM2), part) {
			t.Errorf("%s is not in %s", part, app.PM2)
		}
	}
	for _, part := range []string{`"cwd"`, `"instances"`} { // PM2 does not save them
		if strings.Contains(string(app.PM2), part) {
			t.Errorf("there is %s: %s", part, app.PM2)
		}
	}
}

func TestAnEmptyObjectInASavedEnvironmentIsNoVariable(t *testing.T) {
	o := site(t)
	text := strings.ReplaceAll(dumped(o), `"web":"{}"`, `"web":{}`)
	saved, err := ReadDump([]byte(text), o)
	if err != nil || len(saved) != 1 {
		t.Fatalf("%+v, %v", saved, err)
	}
	if value, there := saved[0].App.Env["web"]; there {
		t.Errorf("PM2 had nothing set for the app, and it gets web=%s", value)
	}
}

func TestProcessesOfADumpAreOneAppIfTheyLookSo(t *testing.T) {
	o := site(t)
	for _, x := range []struct {
		keys []string
		want string
	}{
		{[]string{"", ""}, "web 2 false"},
		{[]string{`"status":"stopped"`, `"status":"stopped"`}, "web 2 true"},
		{[]string{`"status":"stopped"`, ""}, "web 2 false"},
		{[]string{`"status":"errored"`}, "web 1 false"},
		{[]string{"", `"namespace":"other"`}, "web 1 false, web-2 1 false"},
		{[]string{"", `"args":["x"]`, ""}, "web 2 false, web-2 1 false"},
		{[]string{`"name":"a b"`, `"name":"a-b","pm_exec_path":"/gone"`, `"name":"a/b"`}, "a-b 1 false, a-b-2 1 false"},
		{[]string{`"pmx_module":true`, ""}, "web 1 false"},
		{[]string{`"exec_mode":"fork_mode","env":{"PORT":"1","unique_id":"u"}`, `"exec_mode":"fork_mode","env":{"PORT":"1","unique_id":"v"}`}, "web 2 false"},
		{[]string{`"exec_mode":"fork_mode","env":{"MARK":"a"}`, `"exec_mode":"fork_mode","env":{"MARK":"b"}`}, "web 1 false, web-2 1 false"},
		{[]string{`"exec_mode":"fork_mode","env":{}`, `"exec_mode":"fork_mode","env":{"MARK":"b"}`}, "web 1 false, web-2 1 false"},
		{[]string{`"exec_mode":"fork_mode","increment_var":"PORT","env":{"PORT":1}`, `"exec_mode":"fork_mode","increment_var":"PORT","env":{"PORT":2}`}, "web 2 false"},
		{[]string{`"env":{"PORT":1}`, `"env":{"PORT":2}`}, "web 1 false, web-2 1 false"},
		{[]string{`"env":{"PORT":1}`, `"env":{"PORT":1,"MARK":"b"}`}, "web 2 false"},
		{[]string{`"min_uptime":"nonsense","name":"x"`}, "x 1 false"},
	} {
		saved, err := ReadDump([]byte(dumped(o, x.keys...)), o)
		if err != nil {
			t.Error(err)
		}
		lines := []string{}
		for _, s := range saved {
			lines = append(lines, strings.Trim(written(t, []any{s.App.Name, s.App.Instances, s.Stopped}), "[]"))
		}
		if got := strings.NewReplacer(`"`, "", ",", " ").Replace(strings.Join(lines, "; ")); strings.ReplaceAll(got, ";", ",") != x.want {
			t.Errorf("%q: got %s, want %s", x.keys, got, x.want)
		}
	}
}

func TestWhatCannotBeStartedIsLeftOutOfADumpWithAWarning(t *testing.T) {
	var warned []string
	o := site(t)
	o.Warn = func(text string) { warned = append(warned, text) }
	saved, err := ReadDump([]byte(dumped(o, "", `"pm_cwd":"/gone","name":"lost"`)), o)
	if err != nil || len(saved) != 1 || len(warned) != 1 || warned[0] != "lost.cwd: /gone: no such file" {
		t.Errorf("%d, %v, %q", len(saved), err, warned)
	}
}

func TestABrokenDumpIsAnError(t *testing.T) {
	for text, want := range map[string]string{
		"":        "is not JSON: unexpected EOF",
		"[{":      "is not JSON: unexpected EOF",
		`{"a":1}`: "is not a list of processes",
		`[1]`:     "entry 0 is not that of a process",
		`[{}] {`:  "is not JSON: something follows the value at byte 6",
	} {
		_, err := ReadDump([]byte(text), Options{Cwd: "/"})
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	if saved, err := ReadDump([]byte("[]"), Options{}); err != nil || len(saved) != 0 {
		t.Error(saved, err)
	}
}

// What a dump holds is the app's environment, and not that of whoever reads it.
func TestADumpInheritsNothing(t *testing.T) {
	o := site(t)
	o.Environ = append(o.Environ, "NEW=1")
	saved, err := ReadDump([]byte(dumped(o)), o)
	if err != nil || saved[0].App.Env["NEW"] != "" || saved[0].App.Env["HOME"] != "" {
		t.Errorf("%v, %v", saved, err)
	}
}

func FuzzReadDump(f *testing.F) {
	f.Add([]byte(dumped(Options{Cwd: "/tmp"})))
	f.Add([]byte(`[{"name":1,"env":"x","pm_exec_path":["a"],"uid":1}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		saved, err := ReadDump(text, Options{Cwd: "/", Home: "/home", NamesOnly: true})
		if err != nil {
			return
		}
		names := map[string]bool{}
		for _, s := range saved {
			if names[s.App.Name] {
				t.Fatalf("two are called %s", s.App.Name)
			}
			names[s.App.Name] = true
			encoded, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var app struct{ App spec.App }
			if err := json.Unmarshal(encoded, &app); err != nil {
				t.Fatal(err)
			}
		}
	})
}
