package ecosystem

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/spec"
)

// converter writes one app in neko's words.
type converter struct {
	v     *object.Object
	name  string
	keys  *yaml.Node // a mapping
	notes []string
}

// Convert is a neko.yaml that starts the same apps. What it cannot say is in notes, by
// app and key, and in comments in the file. With o.Env the file has that environment.
func Convert(configs []*Config, o Options) (text []byte, notes []string, err error) {
	apps := &yaml.Node{Kind: yaml.SequenceNode}
	names := map[string]bool{}
	for _, c := range configs {
		v := c.verified(Options{Env: o.Env})
		name := Unique(NameOf(asText(v.Get("name"))), func(name string) bool { return names[name] })
		names[name] = true
		w := &converter{v: v, name: name, keys: &yaml.Node{Kind: yaml.MappingNode}}
		w.app(c, o)
		if len(w.notes) > 0 {
			lines := make([]string, len(w.notes))
			for i, note := range w.notes {
				lines[i] = "# " + strings.ReplaceAll(note, "\n", " ")
				notes = append(notes, name+": "+note)
			}
			w.keys.HeadComment = strings.Join(lines, "\n")
		}
		apps.Content = append(apps.Content, w.keys)
	}
	source := "PM2's process file"
	if len(configs) > 0 && configs[0].file != "" {
		source = filepath.Base(configs[0].file)
	}
	root := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{scalar("apps"), apps}}
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Made of %s by nekoctl convert.\n# Where PM2 sends SIGINT to stop a program neko sends SIGTERM; stop_signal: SIGINT keeps that.\n", source)
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, nil, err
	}
	return out.Bytes(), notes, encoder.Close()
}

func scalar(value any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: asText(value)}
	if s, isText := value.(string); isText {
		n.SetString(s) // in quotes, where it would be something else
	}
	return n
}

func (w *converter) note(key, format string, args ...any) {
	w.notes = append(w.notes, key+": "+fmt.Sprintf(format, args...))
}

func (w *converter) set(key string, value any) {
	w.keys.Content = append(w.keys.Content, scalar(key), node(value))
}

func node(value any) *yaml.Node {
	switch v := value.(type) {
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range v {
			n.Content = append(n.Content, node(item))
		}
		return n
	case *object.Object:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for key, value := range v.All() {
			n.Content = append(n.Content, scalar(key), node(value))
		}
		return n
	}
	return scalar(value)
}

// app writes the keys of one app, in an order in which people would.
func (w *converter) app(c *Config, o Options) {
	w.set("name", w.name)
	if title := asText(w.v.Get("name")); NameOf(title) == title && title != w.name {
		w.note("name", "it was %s, as another app's", shown(title))
	} else if title != w.name {
		w.note("name", "it was %s, which is not a name here", shown(title))
	}
	if namespace := asText(w.v.Get("namespace")); namespace != spec.DefaultNamespace {
		w.set("namespace", namespace)
	}
	w.command(c, o)
	w.copy("cwd", "cwd")
	if n, ok := w.v.Get("instances").(json.Number); ok {
		if n == "0" {
			w.set("instances", "max")
		} else {
			w.set("instances", n)
		}
	}
	w.environment(c, o)
	for _, key := range []string{"wait_ready", "listen_timeout", "shutdown_with_message", "kill_timeout", "restart_delay", "exp_backoff_restart_delay",
		"cron_restart", "stop_exit_codes", "min_uptime"} {
		w.copy(key, key)
	}
	for _, key := range []string{"treekill", "autorestart"} {
		if w.v.Get(key) == false {
			w.set(key, false)
		}
	}
	w.copy("max_restarts", "max_restarts")
	if n, ok := w.v.Get("max_memory_restart").(json.Number); ok {
		w.set("max_memory_restart", size(n))
	}
	w.watch()
	w.logs()
	w.copy("uid", "uid")
	w.copy("gid", "gid")
	if w.v.Get("autostart") == false {
		w.set("autostart", false)
	}
	if name := w.v.Get("instance_var"); name != "NODE_APP_INSTANCE" {
		w.set("instance_var", name)
	}
	if name := w.v.Get("increment_var"); name != nil {
		w.set("increment_var", name)
	}
	w.rest(c)
}

// copy takes a key that means the same.
func (w *converter) copy(key, from string) {
	if value := w.v.Get(from); value != nil && value != "" {
		w.set(key, value)
	}
}

func (w *converter) command(c *Config, o Options) {
	script := asText(w.v.Get("script"))
	dir := o.Cwd
	if c.source != "" {
		dir = filepath.Dir(c.source)
	}
	if cwd := asText(w.v.Get("cwd")); w.v.Has("cwd") && filepath.IsAbs(cwd) {
		dir = cwd
	} else if w.v.Has("cwd") {
		dir = filepath.Join(dir, cwd)
	}
	if strings.ContainsRune(script, ' ') && !isFile(filepath.Join(dir, script)) && !isFile(script) {
		w.set("command", script)
		if w.v.Has("args") {
			w.note("args", "PM2 does not use them where script is a command line")
		}
		return
	}
	w.set("script", script)
	if args, ok := w.v.Get("args").([]any); ok && len(args) > 0 {
		w.set("args", args)
	}
	w.copy("interpreter", "exec_interpreter")
	if args, ok := w.v.Get("node_args").([]any); ok && len(args) > 0 && w.v.Get("exec_interpreter") != "none" {
		w.set("interpreter_args", args)
	}
	if mode, ok := w.v.Get("exec_mode").(string); ok {
		w.set("exec_mode", strings.TrimSuffix(mode, "_mode"))
	}
}

// environment writes env, with that of o.Env over it.
func (w *converter) environment(c *Config, o Options) {
	env := &object.Object{}
	put := func(values any, null bool) {
		o, _ := values.(*object.Object)
		for key, value := range o.All() {
			switch {
			case slices.Contains(spec.Contract, key):
				w.note("env", "%s is set by neko itself, for each process", key)
			case key == "" || strings.ContainsAny(key, "= \t\n"):
				w.note("env", "%s cannot be the name of a variable", shown(key))
			case value == nil && !null:
				env.Delete(key)
			default:
				env.Set(key, asText(value))
			}
		}
	}
	if stage, ok := c.deploy.Get(o.Env).(*object.Object); ok && o.Env != "" {
		put(stage.Get("env"), true)
	}
	put(w.v.Get("env"), true)
	if io := w.v.Get("io"); io != nil {
		env.Set("io", asText(io))
	}
	if port := w.v.Get("port"); port != nil {
		env.Set("PORT", asText(port))
	}
	for key, value := range c.environments() {
		switch name := strings.TrimPrefix(key, "env_"); {
		case name == o.Env:
			put(value, false)
		case kindOf(value) != mapping:
			w.note(key, "to PM2 a text has no variables; env_file of a neko.yaml reads a file of them")
		default:
			w.note(key, "a neko.yaml has one environment; nekoctl convert --env %s writes one with this", name)
		}
	}
	if env.Len() > 0 {
		w.set("env", env)
	}
}

func (w *converter) watch() {
	watched := true
	switch watch := w.v.Get("watch").(type) {
	case bool:
		if watched = watch; watch {
			w.set("watch", true)
		}
	case []any:
		if len(watch) == 0 {
			w.set("watch", true)
			break
		}
		w.set("watch", watch)
	case string:
		w.set("watch", watch)
	default:
		watched = false
	}
	ignored := w.v.Get("ignore_watch")
	if options, ok := w.v.Get("watch_options").(*object.Object); ok {
		if options.Has("ignored") {
			ignored = options.Get("ignored")
		}
		for key := range options.All() {
			if key != "ignored" {
				w.note("watch_options", "%s is about how chokidar watches", key)
			}
		}
	}
	if entries, isList := ignored.([]any); isList || ignored != nil {
		if !isList {
			entries = []any{ignored}
		}
		globs := []any{}
		for _, entry := range entries {
			if glob, ok := globOf(entry); ok {
				globs = append(globs, glob)
			} else {
				w.note("ignore_watch", "%s cannot be written as a glob", shownPattern(entry))
			}
		}
		w.set("ignore_watch", globs)
	}
	if watched || w.v.Has("watch_delay") {
		w.copy("watch_delay", "watch_delay")
	}
}

func (w *converter) logs() {
	for _, key := range []string{"out_file", "error_file"} {
		file, _ := w.v.Get(key).(string)
		if file == "NULL" || w.v.Get("disable_logs") == true {
			file = "/dev/null"
		}
		if file != "" {
			w.set(key, file)
		}
	}
	if file := w.v.Get("log_file"); file == true {
		w.note("log_file", "a neko.yaml names a file")
	} else if truthy(file) && file != "NULL" && file != "/dev/null" {
		w.set("log_file", file)
	}
	if w.v.Has("pid_file") {
		w.set("pid_file", w.v.Get("pid_file"))
	}
	if w.v.Get("merge_logs") == true {
		w.set("merge_logs", true)
	}
	if w.v.Get("log_type") == "json" {
		w.set("log_type", "json")
	}
	w.copy("log_date_format", "log_date_format")
}

// rest names what is left, unless it makes no difference here.
func (w *converter) rest(c *Config) {
	if filter := w.v.Get("filter_env"); truthy(filter) && len(texts(filter)) > 0 {
		w.note("filter_env", "all of the environment is inherited")
	}
	if w.v.Get("source_map_support") == true {
		w.note("source_map_support", "interpreter_args: --enable-source-maps does that")
	}
	for _, key := range []string{"install_url", "post_update", "trace", "v8", "event_loop_inspector", "deep_monitoring", "force"} {
		if truthy(w.v.Get(key)) {
			w.note(key, "there is no such thing in a neko.yaml")
		}
	}
	for key := range c.All() {
		if keyOf(key) == nil {
			w.note(key, "neither PM2 nor neko knows this key")
		}
	}
}

// size is a number of bytes as people write it.
func size(n json.Number) any {
	f, _ := n.Float64()
	for _, unit := range []string{"G", "M", "K"} {
		if whole := f / sizes[unit[0]]; whole >= 1 && whole == float64(int64(whole)) {
			return strconv.FormatInt(int64(whole), 10) + unit
		}
	}
	return n
}
