// Package shape makes of what the daemon knows what PM2's daemon would answer: the
// list of processes that `pm2 jlist` prints, and the dump of `pm2 save`.
//
// Nothing here looks at files or at the clock.
package shape

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// Context is what the list says of the daemon, and not of an app.
type Context struct {
	Version string // _pm2_version
	Home    string
	// User is whom the daemon runs as, for apps that do not say who started them.
	User string
	// NodeVersion is of the Node that the daemon's apps run with, "20.20.2"; "": not
	// known. An app may say another.
	NodeVersion string
}

// List has an entry for each process, ordered by pm_id: pid, name, pm2_env, pm_id and
// monit.
//
// What [spec.App.PM2] has comes first, in its order, with the environment where PM2 has
// it; version and node_version are put where they are there, and paths of logs and pids
// give way to those that are in use.
func List(apps []control.AppDetail, c Context) []*object.Object {
	list := []*object.Object{}
	for i := range apps {
		app := &apps[i]
		static := &object.Object{}
		if app.Spec.PM2 == nil || json.Unmarshal(app.Spec.PM2, static) != nil {
			static = native(app, c)
		}
		for j := range app.Processes {
			list = append(list, entry(app, &app.Processes[j], c, static))
		}
	}
	slices.SortStableFunc(list, func(a, b *object.Object) int {
		return cmp.Compare(a.Get("pm_id").(int), b.Get("pm_id").(int))
	})
	return list
}

func entry(app *control.AppDetail, p *control.ProcessExtra, c Context, static *object.Object) *object.Object {
	name := cmp.Or(app.Spec.Title, app.Spec.Name, app.Name)
	e := &object.Object{}
	if began(p) || !app.Spec.Autostart { // else PM2 has not even 0
		e.Set("pid", p.PID)
	}
	return e.
		Set("name", name).
		Set("pm2_env", describe(app, p, c, static, name)).
		Set("pm_id", p.ID).
		Set("monit", (&object.Object{}).
			Set("memory", p.MemoryBytes).
			Set("cpu", math.Round(p.CPUPercent*10)/10))
}

var (
	// late are keys of the static part whose place is after what changes.
	late = []string{"version", "node_version", "axm_options"}
	// beforeEnv are those that PM2's schema has before the environment.
	beforeEnv = []string{"name", "name_prefix", "filter_env", "namespace", "install_url", "cwd", "args", "exec_interpreter",
		"node_args", "disable_logs", "log_type", "log_date_format", "time"}
)

func describe(app *control.AppDetail, p *control.ProcessExtra, c Context, static *object.Object, name string) *object.Object {
	env := environment(app, p, c, name)
	e := &object.Object{}
	e.Set("name", name)
	for key, value := range static.All() {
		if slices.Contains(late, key) || key == "env" || key == "name" {
			continue
		}
		if !slices.Contains(beforeEnv, key) && !e.Has("env") {
			e.Set("env", env)
		}
		if key == "pm_out_log_path" && p.AllLog != "" && !static.Has("pm_log_path") {
			e.Set("pm_log_path", p.AllLog)
		}
		if key == "instances" && !positive(value) { // 0 is one for each CPU, -1 one fewer
			value = max(len(app.Processes), 1)
		}
		e.Set(key, value)
	}
	if !e.Has("env") {
		e.Set("env", env)
	}
	if len(app.Spec.Watch) == 0 && e.Has("watch") { // a stop has ended it
		e.Set("watch", false)
	}
	inUse(e, "pm_log_path", p.AllLog)
	inUse(e, "pm_out_log_path", p.OutLog)
	inUse(e, "pm_err_log_path", p.ErrLog)
	inUse(e, "pm_pid_path", p.PIDFile)
	if !e.Has("vizion_running") {
		e.Set("vizion_running", false)
	}
	if app.Spec.InstanceVar != "" {
		e.Set(app.Spec.InstanceVar, p.Slot)
	}
	for key, value := range env.All() {
		if _, object := value.(*object.Object); !object && !e.Has(key) {
			e.Set(key, value)
		}
	}
	changing(e, app, p, c, static)
	return e
}

func positive(value any) bool {
	number, ok := value.(json.Number)
	n, err := number.Float64()
	return ok && err == nil && n > 0
}

func inUse(e *object.Object, key, path string) {
	// What goes nowhere has its file in PM2's list all the same.
	if path != "" && (path != os.DevNull || !e.Has(key)) {
		e.Set(key, path)
	}
}

// environment is what the processes of a slot are given. The daemon does not keep its
// order: it is by name, and what PM2 adds comes last, as it does there.
func environment(app *control.AppDetail, p *control.ProcessExtra, c Context, name string) *object.Object {
	env := &object.Object{}
	id := "unique_id"
	for _, key := range slices.Sorted(maps.Keys(app.Spec.Env)) {
		switch {
		case key == id || key == name:
		case key == app.Spec.IncrementVar:
			first, err := strconv.Atoi(app.Spec.Env[key])
			if err != nil {
				first = 0
			}
			env.Set(key, first+p.Slot)
		default:
			env.Set(key, app.Spec.Env[key])
		}
	}
	// PM2 has the settings of a module of this name there.
	if value, set := app.Spec.Env[name]; set {
		env.Set(name, value)
	} else {
		env.Set(name, &object.Object{})
	}
	return env.Set(id, app.UniqueID)
}

// options are what PM2's agent would say of itself in a program of Node's. There is
// none here, so it is only what the program is called.
func options(app *control.AppDetail, e *object.Object, c Context) *object.Object {
	o := &object.Object{}
	if ofNode(app, e) && e.Get("pmx") != false {
		o.Set("module_conf", &object.Object{}).Set("module_name", e.Get("name")).Set("module_version", c.Version)
	}
	return o
}

// changing adds what is known of the process.
func changing(e *object.Object, app *control.AppDetail, p *control.ProcessExtra, c Context, static *object.Object) {
	errored := p.State == control.Errored
	since := p.StartedAt
	for _, t := range []time.Time{p.LastExitAt, p.CreatedAt} {
		if since.IsZero() {
			since = t
		}
	}
	e.Set("status", string(p.State))
	e.Set("pm_uptime", milliseconds(since))
	e.Set("axm_actions", actions(p.Actions))
	e.Set("axm_monitor", monitor(p.Metrics))
	e.Set("axm_options", either(static.Get("axm_options"), options(app, e, c)))
	e.Set("axm_dynamic", &object.Object{})
	if errored {
		e.Set("created_at", nil)
	} else {
		e.Set("created_at", milliseconds(p.CreatedAt))
	}
	e.Set("pm_id", p.ID)
	e.Set("restart_time", p.Restarts)
	if errored {
		e.Set("unstable_restarts", 0) // PM2 counts anew
	} else {
		e.Set("unstable_restarts", p.Unstable)
	}
	if e.Get("exec_mode") == "cluster_mode" {
		e.Set("_pm2_version", c.Version)
	}
	if began(p) {
		e.Set("version", either(static.Get("version"), "N/A"))
		if version := either(static.Get("node_version"), c.NodeVersion); version != "" && ofNode(app, e) {
			e.Set("node_version", version)
		}
	}
	if p.LastExit != "" {
		e.Set("exit_code", p.ExitCode)
	}
	if wait := app.Spec.Backoff.Initial.D(); static.Has("exp_backoff_restart_delay") && p.Unstable > 0 {
		for range p.Unstable - 1 {
			wait = min(2*wait, app.Spec.Backoff.Max.D())
		}
		e.Set("prev_restart_delay", wait.Milliseconds())
	}
}

// began says that a process has run.
func began(p *control.ProcessExtra) bool {
	return !p.StartedAt.IsZero() || p.PID != 0 || p.LastExit != ""
}

func ofNode(app *control.AppDetail, e *object.Object) bool {
	return app.Spec.Node != spec.NodeNone || e.Get("exec_interpreter") == "node"
}

func either(value, other any) any {
	if value == nil {
		return other
	}
	return value
}

func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func actions(names []string) []any {
	list := []any{}
	for _, name := range names {
		kind := "custom"
		if len(name) > 3 && name[:3] == "km:" {
			kind = "internal"
		}
		list = append(list, (&object.Object{}).Set("action_name", name).Set("action_type", kind))
	}
	return list
}

// wellKnown are the metrics that @pm2/io has of every program, as it has them. The
// daemon does not keep their order; others follow by name.
var wellKnown = []string{"Heap Size", "Heap Usage", "Used Heap Size", "Active requests", "Active handles",
	"Event Loop Latency", "Event Loop Latency p95"}

func monitor(metrics map[string]json.RawMessage) *object.Object {
	o := &object.Object{}
	for _, name := range slices.Concat(wellKnown, slices.Sorted(maps.Keys(metrics))) {
		if value, err := object.Parse(metrics[name]); err == nil {
			o.Set(name, value)
		}
	}
	return o
}
