package ecosystem

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/control"
)

// maxDump is how large a dump may be: each process has its whole environment in it twice.
const maxDump = 64 << 20

// ReadDump reads a dump of PM2's, or of ours in its shape: a list of the pm2_env of each
// process. Processes that were started together, or look so, are one app with so many
// instances. What cannot be started is left out, with a warning; an error is of the file
// as a whole.
func ReadDump(text []byte, o Options) ([]control.Saved, error) {
	if len(text) > maxDump {
		return nil, errors.New("is larger than 64 MiB")
	}
	value, err := object.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	entries, ok := value.([]any)
	if !ok {
		return nil, errors.New("is not a list of processes")
	}
	o.PM2 = true
	o.Env, o.Only = "", nil
	var (
		groups [][]*object.Object
		saved  []control.Saved
	)
	for i, entry := range entries {
		e, ok := plain(entry).(*object.Object)
		if !ok {
			return nil, fmt.Errorf("entry %d is not that of a process", i)
		}
		if e.Get("pmx_module") == true {
			o.note(asText(e.Get("name")) + ": it is a module of PM2's, and is left out")
			continue
		}
		at := slices.IndexFunc(groups, func(g []*object.Object) bool { return together(g[0], e) })
		if at < 0 {
			groups = append(groups, nil)
			at = len(groups) - 1
		}
		groups[at] = append(groups[at], e)
	}
	for _, g := range groups {
		app, err := savedConfig(g).App(o)
		if err != nil {
			o.warn(err.Error())
			continue
		}
		app.Name = Unique(app.Name, func(name string) bool {
			return slices.ContainsFunc(saved, func(s control.Saved) bool { return s.App.Name == name })
		})
		runs := slices.ContainsFunc(g, func(e *object.Object) bool { return e.Get("status") != "stopped" && e.Get("status") != "stopping" })
		saved = append(saved, control.Saved{App: app, Stopped: !runs})
	}
	return saved, nil
}

// together says that two processes are instances of one app.
func together(a, b *object.Object) bool {
	for _, key := range []string{"name", "namespace", "pm_exec_path", "pm_cwd", "exec_mode"} {
		if asText(a.Get(key)) != asText(b.Get(key)) {
			return false
		}
	}
	return asText(a.Get("args")) == asText(b.Get("args")) && sameEnvironment(a, b)
}

// sameEnvironment says that two processes were given the same variables, but for those
// that PM2 itself gives each its own of. In a cluster they listen on one port, which two
// apps could not, so there only another PORT tells them apart.
func sameEnvironment(a, b *object.Object) bool {
	own := []string{"unique_id", asText(a.Get("increment_var")), asText(a.Get("instance_var"))}
	ofA, _ := a.Get("env").(*object.Object)
	ofB, _ := b.Get("env").(*object.Object)
	covers := func(x, y *object.Object) bool {
		for key, value := range x.All() {
			if a.Get("exec_mode") == "cluster_mode" && key != "PORT" || slices.Contains(own, key) {
				continue
			}
			if asText(value) != asText(y.Get(key)) {
				return false
			}
		}
		return true
	}
	return covers(ofA, ofB) && covers(ofB, ofA)
}

// savedConfig makes a Config of the pm2_env of an app's processes.
func savedConfig(group []*object.Object) *Config {
	first := group[0]
	c := &Config{path: asText(first.Get("name")), saved: first}
	take := func(key, from string) {
		value := first.Get(from)
		if k := keyOf(key); value == nil || k == nil {
			return
		} else if _, err := k.check(value); err == nil { // else a variable of the same name lies over it
			c.Object.Set(key, value)
		}
	}
	for i := range Keys {
		take(Keys[i].Name, Keys[i].Name)
	}
	for key, value := range first.All() {
		if isEnvironment(key) && kindOf(value) == mapping {
			take(key, key)
		}
	}
	for _, moved := range [][2]string{{"script", "pm_exec_path"}, {"cwd", "pm_cwd"}, {"log_file", "pm_log_path"}, {"out_file", "pm_out_log_path"},
		{"error_file", "pm_err_log_path"}, {"pid_file", "pm_pid_path"}} {
		take(moved[0], moved[1])
	}
	if with, _ := c.Get("exec_interpreter").(string); filepath.IsAbs(with) && filepath.Base(with) == "node" && filepath.Ext(asText(c.Get("script"))) == "" {
		c.Delete("exec_interpreter") // PM2's own, for what has no ending that says more: npm, say
	}
	c.Object.Set("instances", plain(len(group)))
	return c
}
