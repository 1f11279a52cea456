package spec

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// YAML is a neko.yaml with apps as they are set: all keys that mean something for them, in
// the order of docs/configuration.md, with a remark where the value is the default. Read
// again it is the same apps, where the environment of whoever reads it has what inherited
// has: of the variables of an app only those are written that are not so there.
func YAML(apps []App, inherited map[string]string) ([]byte, error) {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range apps {
		list.Content = append(list.Content, apps[i].yaml(inherited))
	}
	root := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{text("apps"), list}}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

// written is a mapping on its way into a file.
type written struct{ *yaml.Node }

func (w written) add(key string, value *yaml.Node) {
	w.Content = append(w.Content, text(key), value)
}

// set adds a key whose default is known.
func (w written) set(key string, value, byDefault any, as *yaml.Node) {
	if reflect.DeepEqual(value, byDefault) {
		as.LineComment = "# default"
	}
	w.add(key, as)
}

func newMapping() written { return written{&yaml.Node{Kind: yaml.MappingNode}} }

func text(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode}
	n.SetString(s)
	return n
}

func bare(value any) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(value)}
}

func texts(list []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, s := range list {
		item := text(s)
		if item.Style == 0 && strings.ContainsAny(s, "#:,[]{}&*!|>'\"%@` ") {
			item.Style = yaml.DoubleQuotedStyle
		}
		n.Content = append(n.Content, item)
	}
	return n
}

func texted(list map[string]string) *yaml.Node {
	m := newMapping()
	for _, name := range slices.Sorted(maps.Keys(list)) {
		m.add(name, text(list[name]))
	}
	return m.Node
}

func (a *App) yaml(inherited map[string]string) *yaml.Node {
	d, m := Defaults(), newMapping()
	var remarks []string
	if a.Source != "" {
		remarks = append(remarks, "# from "+a.Source)
	}
	if a.PM2 != nil || a.ReadyAnyway || a.NumberByID || a.Title != "" {
		remarks = append(remarks, "# "+a.ShownName()+" was started by PM2's commands: some of that is no key of a neko.yaml")
	}
	if a.HasHidden() {
		remarks = append(remarks, "# what is "+Hidden+" is secret, and has to be put in again")
	}
	m.HeadComment = strings.ReplaceAll(strings.Join(remarks, "\n"), "\x00", "")

	m.add("name", text(a.Name))
	m.set("namespace", a.NamespaceName(), DefaultNamespace, text(a.NamespaceName()))
	m.set("type", a.Type, d.Type, bare(a.Type))
	m.add("command", texts(a.Command))
	if a.Node == NodeNone {
		m.add("interpreter", bare("none")) // it is in the command
	} else {
		m.add("exec_mode", bare(a.Node))
	}
	m.add("cwd", text(a.Cwd))
	number := bare(a.Instances)
	if a.Instances == Max {
		number = bare("max")
	}
	m.set("instances", a.Instances, d.Instances, number)
	m.set("instance_var", a.InstanceVar, d.InstanceVar, text(a.InstanceVar))
	given := func(key, value string) {
		if value != "" {
			m.add(key, text(value))
		}
	}
	given("increment_var", a.IncrementVar)
	env := maps.Clone(a.Env)
	maps.DeleteFunc(env, func(name, value string) bool { had, ok := inherited[name]; return ok && had == value })
	if len(env) > 0 {
		m.add("env", texted(env))
	}

	if len(a.Listen) > 0 {
		listen := newMapping()
		for _, l := range a.Listen {
			listen.add(l.Name, text(l.String()))
		}
		m.add("listen", listen.Node)
		m.set("balance", a.Balance, d.Balance, bare(a.Balance))
		m.set("listen_pid", a.ListenPID, d.ListenPID, bare(a.ListenPID))
	}
	given("url_path", a.URLPath)

	duration := func(key string, value, byDefault Duration) { m.set(key, value, byDefault, bare(value.D())) }
	yes := func(key string, value, byDefault bool) { m.set(key, value, byDefault, bare(value)) }
	yes("wait_ready", a.WaitReady, d.WaitReady)
	duration("listen_timeout", a.ListenTimeout, d.ListenTimeout)
	duration("shutdown_delay", a.ShutdownDelay, d.ShutdownDelay)
	m.set("stop_signal", a.StopSignal, d.StopSignal, text(a.StopSignal))
	if a.Node != NodeNone || a.ShutdownWithMessage {
		yes("shutdown_with_message", a.ShutdownWithMessage, d.ShutdownWithMessage)
	}
	duration("drain_timeout", a.DrainTimeout, d.DrainTimeout)
	duration("kill_timeout", a.KillTimeout, d.KillTimeout)
	yes("drain_connections", a.DrainConnections, d.DrainConnections)
	yes("treekill", a.Treekill, d.Treekill)
	yes("autostart", a.Autostart, d.Autostart)
	m.set("parallel", a.Parallel, d.Parallel, bare(a.Parallel))

	yes("autorestart", a.Autorestart, d.Autorestart)
	if len(a.StopExitCodes) > 0 {
		codes := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, code := range a.StopExitCodes {
			codes.Content = append(codes.Content, bare(code))
		}
		m.add("stop_exit_codes", codes)
	}
	duration("min_uptime", a.MinUptime, d.MinUptime)
	m.set("max_restarts", a.MaxRestarts, d.MaxRestarts, bare(a.MaxRestarts))
	duration("restart_window", a.RestartWindow, d.RestartWindow)
	duration("restart_delay", a.RestartDelay, d.RestartDelay)
	backoff := newMapping()
	backoff.set("initial", a.Backoff.Initial, d.Backoff.Initial, bare(a.Backoff.Initial.D()))
	backoff.set("max", a.Backoff.Max, d.Backoff.Max, bare(a.Backoff.Max.D()))
	backoff.set("jitter", a.Backoff.Jitter, d.Backoff.Jitter, bare(a.Backoff.Jitter))
	m.add("exp_backoff_restart_delay", backoff.Node)
	given("cron_restart", a.CronRestart)
	m.set("max_memory_restart", a.MaxMemory, d.MaxMemory, bare(int64(a.MaxMemory)))
	if len(a.Watch) > 0 {
		m.add("watch", texts(a.Watch))
		m.set("ignore_watch", a.IgnoreWatch, d.IgnoreWatch, texts(a.IgnoreWatch))
		duration("watch_delay", a.WatchDelay, d.WatchDelay)
	}

	for _, p := range []struct {
		key   string
		probe *Probe
	}{{"startup", a.Startup}, {"readiness", a.Readiness}, {"liveness", a.Liveness}} {
		if p.probe != nil {
			m.add(p.key, p.probe.yaml())
		}
	}
	duration("watchdog", a.Watchdog, d.Watchdog)
	m.set("spare", a.Spare, d.Spare, bare(a.Spare))
	if len(a.DependsOn) > 0 {
		needs := newMapping()
		for _, dep := range a.DependsOn {
			needs.add(dep.App, bare(dep.Condition))
		}
		m.add("depends_on", needs.Node)
	}

	given("out_file", a.OutFile)
	given("error_file", a.ErrorFile)
	given("log_file", a.AllFile)
	yes("merge_logs", a.MergeLogs, d.MergeLogs)
	m.set("log_type", a.LogType, d.LogType, text(a.LogType))
	given("log_date_format", a.LogDateFormat)
	rotate := newMapping()
	rotate.set("size", a.LogRotate.Size, d.LogRotate.Size, bare(int64(a.LogRotate.Size)))
	rotate.set("every", a.LogRotate.Every, d.LogRotate.Every, bare(a.LogRotate.Every.D()))
	rotate.set("keep", a.LogRotate.Keep, d.LogRotate.Keep, bare(a.LogRotate.Keep))
	rotate.set("gzip", a.LogRotate.Gzip, d.LogRotate.Gzip, bare(a.LogRotate.Gzip))
	m.add("log_rotate", rotate.Node)
	given("pid_file", a.PIDFile)

	given("uid", a.UID)
	given("gid", a.GID)
	given("umask", a.Umask)
	if len(a.Rlimits) > 0 {
		limits := map[string]string{}
		for name, l := range a.Rlimits {
			limits[name] = l.String()
		}
		m.add("rlimits", texted(limits))
	}
	m.set("nice", a.Nice, d.Nice, bare(a.Nice))
	yes("pin", a.Pin, d.Pin)
	return m.Node
}

func (p *Probe) yaml() *yaml.Node {
	m := newMapping()
	switch {
	case p.HTTP != "":
		m.add("http", text(p.HTTP))
	case p.TCP != "":
		m.add("tcp", text(p.TCP))
	default:
		m.add("exec", texts(p.Exec))
	}
	m.add("interval", bare(p.Interval.D()))
	m.add("timeout", bare(p.Timeout.D()))
	m.add("failures", bare(p.Failures))
	return m.Node
}
