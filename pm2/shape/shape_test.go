package shape

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// listOfPM2s is a list that the real PM2 has printed.
func listOfPM2s(t *testing.T) []*object.Object {
	t.Helper()
	text, err := os.ReadFile("testdata/list.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []*object.Object
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// takeApart makes of an entry of PM2's what our daemon would know of that process.
func takeApart(t *testing.T, entry *object.Object) control.AppDetail {
	t.Helper()
	env := entry.Get("pm2_env").(*object.Object)
	integer := func(o *object.Object, key string) int {
		if o.Get(key) == nil {
			return 0
		}
		n, err := o.Get(key).(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	at := func(key string) time.Time {
		if ms := integer(env, key); ms != 0 {
			return time.UnixMilli(int64(ms))
		}
		return time.Time{}
	}
	text := func(key string) string { s, _ := env.Get(key).(string); return s }

	s := spec.Defaults()
	s.Name = "made-up"
	s.Title = text("name")
	s.Namespace = text("namespace")
	s.InstanceVar = text("instance_var")
	s.Autostart = env.Get("autostart") != false
	s.Env = map[string]string{}
	for key, value := range env.Get("env").(*object.Object).All() {
		if v, isText := value.(string); isText {
			s.Env[key] = v
		}
	}
	static := &object.Object{}
	for key, value := range env.All() {
		if _, variable := s.Env[key]; !variable && key != s.InstanceVar && key != "env" {
			static.Set(key, value)
		}
		if key == "vizion_running" {
			break
		}
	}
	// What comes after that and does not change is with it, wherever it is put.
	for _, key := range []string{"version", "node_version", "axm_options"} {
		if env.Has(key) {
			static.Set(key, env.Get(key))
		}
	}
	var err error
	if s.PM2, err = static.MarshalJSON(); err != nil {
		t.Fatal(err)
	}
	s.Backoff = spec.Backoff{Initial: spec.Duration(100 * time.Millisecond), Max: spec.Duration(15 * time.Second)}

	monit := entry.Get("monit").(*object.Object)
	cpu, _ := monit.Get("cpu").(json.Number).Float64()
	p := control.ProcessExtra{
		Process: control.Process{
			ID: integer(entry, "pm_id"), PID: integer(entry, "pid"), Slot: integer(env, s.InstanceVar),
			State: control.State(text("status")), Restarts: integer(env, "restart_time"),
			MemoryBytes: int64(integer(monit, "memory")), CPUPercent: cpu + 0.04,
			Metrics: map[string]json.RawMessage{},
		},
		CreatedAt: at("created_at"), Unstable: integer(env, "unstable_restarts"), ExitCode: integer(env, "exit_code"),
		PIDFile: text("pm_pid_path"), AllLog: text("pm_log_path"), OutLog: text("pm_out_log_path"), ErrLog: text("pm_err_log_path"),
	}
	if env.Has("version") {
		p.StartedAt = at("pm_uptime")
	} else {
		p.CreatedAt = at("pm_uptime")
	}
	if env.Has("exit_code") {
		p.LastExit = "exit code"
	}
	for _, action := range env.Get("axm_actions").([]any) {
		p.Actions = append(p.Actions, action.(*object.Object).Get("action_name").(string))
	}
	for name, value := range env.Get("axm_monitor").(*object.Object).All() {
		p.Metrics[name], _ = value.(*object.Object).MarshalJSON()
	}
	return control.AppDetail{Name: s.Name, Spec: s, UniqueID: text("unique_id"), Processes: []control.ProcessExtra{p}}
}

func TestAProcessIsListedAsPM2ListsIt(t *testing.T) {
	list := listOfPM2s(t)
	apps := []control.AppDetail{}
	for _, entry := range list {
		apps = append(apps, takeApart(t, entry))
	}
	slices.Reverse(apps)
	got := List(apps, Context{Version: "7.0.4", Home: "/home/app/.pm2"})
	if len(got) != len(list) {
		t.Fatalf("got %d entries of %d", len(got), len(list))
	}
	for i := range list {
		name := Text(list[i].Get("name"))
		if a, b := keys(got[i]), keys(list[i]); !slices.Equal(a, b) {
			t.Errorf("%s has %v, want %v", name, a, b)
		}
		a, b := got[i].Get("pm2_env").(*object.Object), list[i].Get("pm2_env").(*object.Object)
		if a, b := steady(a), steady(b); !slices.Equal(a, b) {
			t.Errorf("pm2_env of %s has\n%v\nwant\n%v", name, a, b)
		}
		for key, value := range b.All() {
			switch key {
			case "env": // its order is by name
				x, y := keys(a.Get(key).(*object.Object)), keys(value.(*object.Object))
				slices.Sort(x)
				slices.Sort(y)
				if !slices.Equal(x, y) {
					t.Errorf("%s of %s has %v, want %v", key, name, x, y)
				}
			case "axm_actions":
				if x, y := a.Get(key).([]any), value.([]any); len(x) != len(y) {
					t.Errorf("%s has %d actions, want %d", name, len(x), len(y))
				}
			case "filter_env", "prev_restart_delay", "merge_logs": // PM2 adds them at a restart
			default:
				if x, y := Stringify(a.Get(key)), Stringify(value); x != y {
					t.Errorf("%s of %s is %s, want %s", key, name, x, y)
				}
			}
		}
		if x, y := Stringify(got[i].Get("monit")), Stringify(list[i].Get("monit")); x != y {
			t.Errorf("%s has %s, want %s", name, x, y)
		}
	}
}

func TestMetricsOfAProgramsOwnComeAfterThoseThatAllHave(t *testing.T) {
	got := app(control.Online, func(a *control.AppDetail) {
		a.Processes[0].Metrics = map[string]json.RawMessage{
			"Jobs": json.RawMessage("1"), "Active handles": json.RawMessage("2"), "Heap Size": json.RawMessage("3"), "A": json.RawMessage("4")}
	}).Get("axm_monitor")
	if want := `{"Heap Size":3,"Active handles":2,"A":4,"Jobs":1}`; Stringify(got) != want {
		t.Errorf("got %s, want %s", Stringify(got), want)
	}
}

func keys(o *object.Object) []string {
	all := []string{}
	for key := range o.All() {
		all = append(all, key)
	}
	return all
}

// steady are the keys of a pm2_env whose place is always the same: not those of the
// program's variables, which are ordered by name, nor what PM2 adds at the end when
// something has happened, in whatever order.
func steady(env *object.Object) []string {
	variables := env.Get("env").(*object.Object)
	late := []string{"version", "node_version", "prev_restart_delay", "exit_code", "_pm2_version"}
	all, tail := []string{}, []string{}
	for key := range env.All() {
		switch {
		case variables.Has(key):
		case slices.Contains(late, key):
			if key != "prev_restart_delay" {
				tail = append(tail, key)
			}
		case len(tail) > 0:
		default:
			all = append(all, key)
		}
	}
	slices.Sort(tail)
	return append(all, tail...)
}

func app(state control.State, change ...func(*control.AppDetail)) *object.Object {
	s := spec.Defaults()
	s.Name = "web"
	s.Command = []string{"/usr/bin/node", "--inspect", "server.js", "-p", "80"}
	s.Cwd = "/srv/site"
	s.Node = spec.NodeFork
	s.Env = map[string]string{"PORT": "80", "name": "mine", "A": "1"}
	a := control.AppDetail{Name: s.Name, Spec: s, Processes: []control.ProcessExtra{{
		Process:   control.Process{ID: 3, PID: 17, State: state, Metrics: map[string]json.RawMessage{}},
		CreatedAt: time.UnixMilli(1000), StartedAt: time.UnixMilli(2000), OutLog: "/o", ErrLog: "/e",
	}}}
	for _, c := range change {
		c(&a)
	}
	return List([]control.AppDetail{a}, Context{Home: "/home/app/.pm2", User: "app", NodeVersion: "20.1.0"})[0].Get("pm2_env").(*object.Object)
}

func TestAnAppOfOurOwnIsListedAsIfPM2HadStartedIt(t *testing.T) {
	got := app(control.Online)
	got.Get("env").(*object.Object).Delete("unique_id")
	got.Delete("unique_id")
	want := `{"name":"web","filter_env":[],"namespace":"default","args":["-p","80"],"env":{"A":"1","PORT":"80","name":"mine","web":{}},` +
		`"instances":1,"vizion":false,"autostart":true,"autorestart":true,"watch":false,"instance_var":"NODE_APP_INSTANCE",` +
		`"pmx":false,"automation":false,"treekill":true,"username":"app","windowsHide":true,"kill_retry_time":100,` +
		`"listen_timeout":10000,"kill_timeout":2000,"min_uptime":1000,"max_restarts":10,"exp_backoff_restart_delay":100,` +
		`"node_args":["--inspect"],"pm_exec_path":"/srv/site/server.js","pm_cwd":"/srv/site","exec_interpreter":"node","exec_mode":"fork_mode",` +
		`"pm_out_log_path":"/o","pm_err_log_path":"/e","pm_pid_path":"","km_link":false,"vizion_running":false,"NODE_APP_INSTANCE":0,` +
		`"A":"1","PORT":"80","status":"online","pm_uptime":2000,"axm_actions":[],"axm_monitor":{},"axm_options":{},"axm_dynamic":{},` +
		`"created_at":1000,"pm_id":3,"restart_time":0,"unstable_restarts":0,"version":"N/A","node_version":"20.1.0"}`
	if Stringify(got) != want {
		t.Errorf("got\n%s\nwant\n%s", Stringify(got), want)
	}
}

func TestInstancesAreCountedWhereTheCPUsSayHowManyThereAre(t *testing.T) {
	for given, want := range map[string]string{"0": "2", "-1": "2", "3": "3"} {
		got := app(control.Online, func(a *control.AppDetail) {
			a.Spec.PM2 = json.RawMessage(`{"instances":` + given + `}`)
			a.Processes = append(a.Processes, a.Processes[0])
		})
		if is := Stringify(got.Get("instances")); is != want {
			t.Errorf("there are %s instances of %s, want %s", is, given, want)
		}
	}
}

func TestWhatIsSaidOfAProcessInEachState(t *testing.T) {
	ended := func(a *control.AppDetail) {
		p := &a.Processes[0]
		p.StartedAt, p.PID, p.LastExit, p.ExitCode, p.Unstable = time.Time{}, 0, "exit code 3", 3, 4
		p.LastExitAt = time.UnixMilli(5000)
	}
	for _, c := range []struct {
		what string
		got  *object.Object
		want map[string]string
	}{
		{"one that was never started", app(control.Stopped, func(a *control.AppDetail) {
			a.Processes[0].StartedAt, a.Processes[0].PID = time.Time{}, 0
		}), map[string]string{"status": `"stopped"`, "pm_uptime": "1000", "version": "", "node_version": "", "exit_code": "", "prev_restart_delay": ""}},
		{"one that waits", app(control.WaitingRestart, ended), map[string]string{
			"status": `"waiting restart"`, "exit_code": "3", "unstable_restarts": "4", "prev_restart_delay": "800", "pm_uptime": "5000", "created_at": "1000"}},
		{"one that has failed", app(control.Errored, ended), map[string]string{
			"status": `"errored"`, "unstable_restarts": "0", "created_at": "null"}},
		{"one in cluster mode", app(control.Online, func(a *control.AppDetail) { a.Spec.Node = spec.NodeCluster }), map[string]string{
			"exec_mode": `"cluster_mode"`, "_pm2_version": `""`}},
		{"one with a variable that counts", app(control.Online, func(a *control.AppDetail) {
			a.Spec.IncrementVar, a.Spec.InstanceVar, a.Processes[0].Slot = "PORT", "N", 2
		}), map[string]string{"PORT": "82", "N": "2", "NODE_APP_INSTANCE": ""}},
		{"a program without an interpreter", app(control.Online, func(a *control.AppDetail) {
			a.Spec.Node, a.Spec.Command = spec.NodeNone, []string{"/usr/bin/redis-server", "--port", "0"}
		}), map[string]string{"pm_exec_path": `"/usr/bin/redis-server"`, "exec_interpreter": `"none"`, "args": `["--port","0"]`, "node_version": ""}},
		{"a log of all", app(control.Online, func(a *control.AppDetail) { a.Processes[0].AllLog = "/all" }), map[string]string{"pm_log_path": `"/all"`}},
	} {
		for key, want := range c.want {
			got := ""
			if c.got.Has(key) {
				got = Stringify(c.got.Get(key))
			}
			if got != want {
				t.Errorf("%s has %s %s, want %s", c.what, key, got, want)
			}
		}
	}
}

func TestWhatHasNotRunHasNoPID(t *testing.T) {
	for _, autostart := range []bool{true, false} {
		s := spec.Defaults()
		s.Name, s.Command, s.Autostart = "web", []string{"/bin/web"}, autostart
		a := control.AppDetail{Name: s.Name, Spec: s, Processes: []control.ProcessExtra{{Process: control.Process{State: control.Stopped}}}}
		e := List([]control.AppDetail{a}, Context{})[0]
		if e.Has("pid") == autostart {
			t.Errorf("with autostart %v a pid is %v; PM2 has 0 for what was not to start, and none for what was saved as stopped", autostart, e.Has("pid"))
		}
	}
}

func TestWhatIsStartedTogetherHasTheUniqueIDThatTheDaemonGaveIt(t *testing.T) {
	e := app(control.Online, func(a *control.AppDetail) { a.UniqueID = "7c9e6679-7425-40de-944b-e07fc1f90ae7" })
	if e.Get("unique_id") != "7c9e6679-7425-40de-944b-e07fc1f90ae7" {
		t.Errorf("got %v", e.Get("unique_id"))
	}
}

func TestADumpHasNothingThatTheNextDaemonSaysAnew(t *testing.T) {
	list := listOfPM2s(t)[:1]
	text := string(Dump(list))
	if !strings.HasPrefix(text, "[\n  {\n    \"name\": \"web\",\n    \"env\": {\n      \"PATH\"") || !strings.HasSuffix(text, "\n  }\n]") {
		t.Errorf("got %s", text)
	}
	dump, err := object.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	env := list[0].Get("pm2_env").(*object.Object)
	for key := range env.All() {
		gone := key == "instances" || key == "pm_id" || key == "prev_restart_delay"
		if dump.([]any)[0].(*object.Object).Has(key) == gone {
			t.Errorf("%s: gone should be %v", key, gone)
		}
	}
	if !env.Has("pm_id") {
		t.Error("the list has lost it, too")
	}
	if string(Dump(nil)) != "[]" || string(JSON(nil)) != "[]" {
		t.Errorf("nothing is %s and %s", Dump(nil), JSON(nil))
	}
}

func TestTheListIsOneLine(t *testing.T) {
	list := listOfPM2s(t)
	text, err := os.ReadFile("testdata/list.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(JSON(list)); got != strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "") {
		t.Errorf("it was printed as %.200s", got)
	}
}
