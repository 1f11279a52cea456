package show

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/pm2/shape"
)

// Describe is all about one process. local is the environment of whoever asks: where
// the process has another value, that is shown.
func Describe(w io.Writer, entry *object.Object, local map[string]string, s Style) {
	p := processOf(entry)
	name, id := said(p.env, "name"), said(p.env, "pm_id")

	fmt.Fprintln(w, s.paint(fmt.Sprintf(" Describing process with id %s - name %s ", id, name), bold, inverse))
	g := p.facts(s)
	fmt.Fprintln(w, g.text(s))
	p.actions(w, s, name)
	p.metrics(w, s)

	fmt.Fprintln(w, s.paint(" Divergent env variables from local env ", inverse, bold))
	env, width := grid{}, s.Width
	if width == 0 {
		width = 300
	}
	own := p.variables()
	for _, key := range slices.Sorted(maps.Keys(local)) {
		if value := own.Get(key); truthy(value) && shape.Text(value) != local[key] {
			env.add(key, cut(shape.Text(value), width-60))
		}
	}
	fmt.Fprintln(w, env.text(s))
	fmt.Fprintln(w)
	for _, hint := range []string{
		" Add your own code metrics: http://bit.ly/code-metrics",
		" Use `pm2 logs " + name + " [--lines 1000]` to display logs",
		" Use `pm2 env " + id + "` to display environment variables",
	} {
		s.Print(w, s.paint(hint, white, italic))
	}
	s.Print(w, s.paint(" Use `pm2 monit` to monitor CPU and Memory usage", white, italic)+" "+name)
}

// cut is the beginning of a text; a width below 0 cuts so much from its end.
func cut(text string, width int) string {
	runes := []rune(text)
	if width < 0 {
		width = max(len(runes)+width, 0)
	}
	return string(runes[:min(width, len(runes))])
}

func (p process) facts(s Style) grid {
	g := grid{}
	fact := func(title string, value any) { g.add(title, cell(value)) }
	key := func(title, key string) { fact(title, p.env.Get(key)) }

	fact("status", s.status(said(p.env, "status")))
	key("name", "name")
	key("namespace", "namespace")
	key("version", "version")
	key("restarts", "restart_time")
	fact("uptime", p.uptime(s))
	key("script path", "pm_exec_path")
	fact("script args", arguments(p.env.Get("args")))
	key("error log path", "pm_err_log_path")
	key("out log path", "pm_out_log_path")
	key("pid path", "pm_pid_path")
	key("interpreter", "exec_interpreter")
	flags, _ := p.env.Get("node_args").([]any)
	cells := make([]string, len(flags))
	for i, flag := range flags { // each has a column of its own
		cells[i] = cell(flag)
	}
	if len(cells) == 0 {
		cells = []string{"N/A"}
	}
	g.add("interpreter args", cells...)
	key("script id", "pm_id")
	key("exec cwd", "pm_cwd")
	key("exec mode", "exec_mode")
	key("node.js version", "node_version")
	env, _ := p.env.Get("env").(*object.Object)
	fact("node env", env.Get("NODE_ENV"))
	if truthy(p.env.Get("watch")) {
		fact("watch & reload", s.paint("✔", green, bold))
	} else {
		fact("watch & reload", "✘")
	}
	key("unstable restarts", "unstable_restarts")
	if at, ok := number(p.env.Get("created_at")); ok {
		fact("created at", time.UnixMilli(int64(at)).UTC().Format(isoTime))
	} else {
		fact("created at", "N/A")
	}

	if p.env.Has("pm_log_path") {
		g.insert(6, "entire log path", shape.Text(p.env.Get("pm_log_path")))
	}
	if p.env.Has("cron_restart") {
		g.insert(5, "cron restart", shape.Text(p.env.Get("cron_restart")))
	}
	if memory := p.env.Get("max_memory_restart"); truthy(memory) {
		g.insert(5, "max memory restart", shape.Text(memory))
	}
	return g
}

// isoTime is how JavaScript writes times in JSON.
const isoTime = "2006-01-02T15:04:05.000Z"

func arguments(args any) any {
	switch v := args.(type) {
	case []any:
		parts := make([]string, len(v))
		for i, arg := range v {
			parts[i] = shape.Text(arg)
		}
		return strings.Join(parts, " ")
	case string:
		if v != "" {
			return v
		}
	}
	return nil
}

func (p process) actions(w io.Writer, s Style, name string) {
	actions, _ := p.env.Get("axm_actions").([]any)
	if len(actions) == 0 {
		return
	}
	g := grid{}
	for _, action := range actions {
		if o, ok := action.(*object.Object); ok {
			g.rows = append(g.rows, row{cells: []string{cell(o.Get("action_name"))}})
		}
	}
	fmt.Fprintln(w, s.paint(" Actions available ", inverse, bold))
	fmt.Fprintln(w, g.text(s))
	s.Print(w, s.paint(" Trigger via: pm2 trigger "+name+" <action_name>\n", white, italic))
}

func (p process) metrics(w io.Writer, s Style) {
	metrics, _ := p.env.Get("axm_monitor").(*object.Object)
	if metrics.Len() == 0 {
		return
	}
	g := grid{}
	for name, value := range metrics.All() {
		unit := ""
		if metric, ok := value.(*object.Object); ok {
			if metric.Has("unit") {
				unit = shape.Text(metric.Get("unit"))
			}
			if metric.Has("value") {
				value = metric.Get("value")
			}
		}
		g.add(name, shape.Text(value)+" "+unit)
	}
	fmt.Fprintln(w, s.paint(" Code metrics value ", inverse, bold))
	fmt.Fprintln(w, g.text(s))
}

// ownKeys are those of pm2_env that PM2 does not take for variables of the program,
// by which it means that it does not print them; some that are none it does print.
var ownKeys = []string{
	"name", "exec_mode", "env", "args", "pm_cwd", "exec_interpreter", "pm_exec_path", "node_args",
	"pm_out_log_path", "pm_err_log_path", "pm_pid_path", "pm_id", "status", "pm_uptime", "created_at",
	"windowsHide", "username", "merge_logs", "kill_retry_time", "prev_restart_delay", "instance_var",
	"unstable_restarts", "restart_time", "axm_actions", "pmx_module", "command", "watch", "filter_env",
	"versioning", "pmx", "axm_options", "vizion", "axm_dynamic", "axm_monitor", "instances", "automation",
	"autostart", "autorestart", "stop_exit_codes", "treekill", "exit_code",
}

func (p process) variables() *object.Object {
	o := &object.Object{}
	for key, value := range p.env.All() {
		if !slices.Contains(ownKeys, key) && shape.Text(value) != "[object Object]" {
			o.Set(key, value)
		}
	}
	return o
}

// Env is what `pm2 env` prints of a process, the last variable first.
func Env(w io.Writer, entry *object.Object, s Style) {
	lines := []string{}
	for key, value := range processOf(entry).variables().All() {
		text := ""
		if value != nil {
			text = shape.Text(value)
		} else if !s.Color {
			text = "null"
		}
		lines = append(lines, key+": "+s.paint(text, green))
	}
	slices.Reverse(lines)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
}
