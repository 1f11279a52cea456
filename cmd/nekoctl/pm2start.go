package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nekoctl/neko/pm2/ecosystem"
	"github.com/nekoctl/neko/supervisor"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// pm2Keys are the options that are keys of an app, by the names that these have in
// a file.
var pm2Keys = map[string]string{
	"name": "name", "interpreter": "exec_interpreter", "interpreter-args": "node_args", "node-args": "node_args",
	"output": "out_file", "error": "error_file", "log": "log_file", "filter-env": "filter_env", "log-type": "log_type",
	"log-date-format": "log_date_format", "time": "time", "disable-logs": "disable_logs", "instances": "instances",
	"shutdown-with-message": "shutdown_with_message", "pid": "pid_file", "kill-timeout": "kill_timeout",
	"listen-timeout": "listen_timeout", "max-memory-restart": "max_memory_restart", "restart-delay": "restart_delay",
	"exp-backoff-restart-delay": "exp_backoff_restart_delay", "execute-command": "execute_command", "max-restarts": "max_restarts",
	"uid": "uid", "gid": "gid", "namespace": "namespace", "cwd": "cwd", "cron": "cron_restart", "cron-restart": "cron_restart",
	"write": "write", "source-map-support": "source_map_support", "disable-source-map-support": "disable_source_map_support",
	"wait-ready": "wait_ready", "merge-logs": "merge_logs", "watch": "watch", "ignore-watch": "ignore_watch",
	"watch-delay": "watch_delay", "vizion": "vizion", "autostart": "autostart", "autorestart": "autorestart",
	"stop-exit-codes": "stop_exit_codes", "treekill": "treekill", "pmx": "pmx", "automation": "automation", "trace": "trace",
	"disable-trace": "disable_trace", "v8": "v8", "event-loop-inspector": "event_loop_inspector",
	"deep-monitoring": "deep_monitoring", "force": "force", "user": "uid",
}

// config are the options of this command line that are keys of an app.
func (f *face) config() (*ecosystem.Config, error) {
	c := &ecosystem.Config{}
	for _, option := range f.line.given.keys {
		key := pm2Keys[option]
		if key == "" {
			continue
		}
		values := f.line.given.values[option]
		var value any = values[len(values)-1]
		switch {
		case key == "filter_env": // without a value it takes nothing away
			value = texts(slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "true" }))
		case key == "watch":
			if paths := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "true" }); len(paths) > 0 {
				value = texts(paths)
			} else {
				value = true
			}
		case key == "stop_exit_codes" && strings.Trim(strings.Join(values, ""), ", ") != "":
			codes := strings.FieldsFunc(strings.Join(values, ","), func(r rune) bool { return r == ',' || r == ' ' })
			value = texts(codes)
			if _, err := strconv.Atoi(codes[0]); err == nil && len(codes) == 1 { // PM2 has a number then
				value = json.Number(codes[0])
			}
		case key == "watch_delay":
			delay, err := watchDelay(values[len(values)-1])
			if err != nil {
				return nil, err
			}
			value = delay
		case value == "null": // the key is to go
			c.Object.Set(key, nil)
			continue
		case value == "true":
			value = true
		case value == "false":
			value = false
		}
		if err := c.Set(key, value); err != nil {
			return nil, fmt.Errorf("--%s: %w", option, err)
		}
	}
	if os.Getenv("PM2_DEEP_MONITORING") != "" {
		if err := c.Set("deep_monitoring", true); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func texts(list []string) []any {
	values := make([]any, len(list))
	for i, v := range list {
		values[i] = v
	}
	return values
}

// watchDelay is in milliseconds: 4 are seconds, 4000ms are milliseconds.
func watchDelay(text string) (json.Number, error) {
	number, ms := strings.CutSuffix(text, "ms")
	delay, err := strconv.ParseFloat(strings.TrimSuffix(number, "s"), 64)
	if err != nil || delay < 0 {
		return "", failed("4 are seconds, 4000ms milliseconds", "--watch-delay: expected a time, not %q", text)
	}
	if !ms {
		delay *= 1000
	}
	return json.Number(strconv.FormatInt(int64(delay), 10)), nil
}

// start starts what the words mean, one after the other: files of apps, apps that
// are known, scripts and commands.
func (f *face) start(ctx context.Context) error {
	for _, option := range []string{"container", "dist", "dockerdaemon"} {
		if f.line.given.has(option) {
			return failed("docs/containers.md has a Dockerfile, with pm2-runtime as its entrypoint", "--%s is not here", option)
		}
	}
	if f.line.given.last("daemon") == "false" {
		return f.foreground(ctx)
	}
	words := f.line.words
	if len(words) == 0 {
		words = []string{defaultFile()}
	}
	for _, word := range words {
		var err error
		switch {
		case word == "-":
			err = f.startFile(ctx, "", "restartProcessId")
		case ecosystem.IsFile(word):
			err = f.startFile(ctx, word, "restartProcessId")
		default:
			err = f.startScript(ctx, word)
		}
		if err != nil {
			return err
		}
	}
	if err := f.speedList(ctx); err != nil {
		return err
	}
	if f.line.given.is("attach") {
		return f.stream(ctx, "all")
	}
	return nil
}

// defaultFile is the file of apps that is meant where none is named.
func defaultFile() string {
	for _, name := range ecosystem.Candidates() {
		if exists(name) {
			return name
		}
	}
	return sampleFile
}

// startScript starts one word: a known app by its name, namespace or id, else a
// script or a command.
func (f *face) startScript(ctx context.Context, script string) error {
	config, err := f.config()
	if err != nil {
		return err
	}
	list, apps, err := f.processes(ctx)
	if err != nil {
		return err
	}
	again := func(target string) error {
		if err := f.setArgs(config); err != nil {
			return err
		}
		if err := f.operate(ctx, "restartProcessId", target, &changes{config: config, updateEnv: f.line.given.is("update-env")}); err != nil {
			return err
		}
		f.ok("Process successfully started")
		return nil
	}
	if !isNaN(script) {
		return again(script)
	}
	if !strings.Contains(script, "/") && filepath.Ext(script) == "" {
		known := slices.ContainsFunc(list, func(e entry) bool { return e.isNamed(script) || e.namespace() == script })
		if known || script == "all" {
			return again(script)
		}
	}
	if err := f.fillIn(config, script); err != nil {
		return err
	}
	f.tellCron(config)
	app, err := f.app(config)
	if err != nil {
		return f.badApp(err)
	}
	path := shapePath(app)
	var same *entry // the last of them, as with PM2
	for i := range list {
		if list[i].text("pm_exec_path") == path && list[i].name() == app.Title {
			same = &list[i]
		}
	}
	switch {
	case same == nil:
	case same.status() != string(control.Online) && same.status() != string(control.Launching) && same.status() != string(control.WaitingRestart):
		return again(same.name())
	case !f.line.given.is("force"):
		f.fail("Script already launched, add -f option to force re-execution")
		return pm2Exit(1)
	}
	if f.line.given.is("write") {
		if err := f.writeConfig(config); err != nil {
			return err
		}
	}
	app.Name = ecosystem.Unique(app.Name, taken(apps, nil))
	maps.Copy(app.Env, f.confEnv(app.Title))
	n := app.Slots(supervisor.GrantedCPUs())
	f.ok("Starting %s in %s (%d instance%s)", path, execMode(app), n, plural(n))
	if err := f.forgive(f.client.Start(ctx, control.StartRequest{Apps: []spec.App{app}}, nil)); err != nil {
		return f.badApp(err)
	}
	f.ok("Done.")
	return nil
}

// fillIn gives the keys of a new app what PM2's command line gives them.
func (f *face) fillIn(config *ecosystem.Config, script string) error {
	if err := config.Set("script", script); err != nil {
		return err
	}
	presets := map[string]any{"namespace": spec.DefaultNamespace, "watch": false, "filter_env": []any{}}
	for _, key := range []string{"namespace", "watch", "filter_env"} {
		if config.Get(key) != nil {
			continue
		}
		if err := config.Set(key, presets[key]); err != nil {
			return err
		}
	}
	return f.setArgs(config)
}

// setArgs gives an app what stands behind "--", if that is there.
func (f *face) setArgs(config *ecosystem.Config) error {
	if !f.line.dashes {
		return nil
	}
	return config.Set("args", texts(f.line.after))
}

// badApp tells why an app cannot be started. A script that is not there is told in
// PM2's words, which scripts look for.
func (f *face) badApp(err error) error {
	list, _ := errors.AsType[spec.Errors](err)
	var others spec.Errors
	for _, e := range list {
		missing, is := strings.CutSuffix(e.Message, ": no such file")
		script := strings.TrimPrefix(missing, "script: ")
		if !is || e.Key != "script" {
			others = append(others, e)
			continue
		}
		f.fail("%sScript not found: %s", map[bool]string{true: "Error: "}[e.Pos.Line > 0], printable(script))
		if e.Hint != "" && !f.silent {
			f.hint("%s", e.Hint)
		}
	}
	if len(list) > len(others) {
		if err = others; len(others) == 0 {
			return pm2Exit(1)
		}
	}
	if !f.silent {
		f.report(err)
	}
	return pm2Exit(1)
}

// taken says which names apps have already.
func taken(apps []control.AppDetail, more []spec.App) func(string) bool {
	names := map[string]bool{}
	for _, a := range apps {
		names[a.Name] = true
	}
	for _, a := range more {
		names[a.Name] = true
	}
	return func(name string) bool { return names[name] }
}

func plural(n int) string {
	if n > 1 {
		return "s"
	}
	return ""
}

// load reads a file of apps, or standard input without a name, and tells what is
// wrong with it in PM2's words.
func (f *face) load(ctx context.Context, file string) ([]*ecosystem.Config, error) {
	var configs []*ecosystem.Config
	var err error
	if file == "" {
		var text []byte
		if text, err = io.ReadAll(io.LimitReader(os.Stdin, spec.MaxFile+1)); err == nil {
			configs, err = ecosystem.Parse(ctx, "pipe", text, f.ecosystem())
		}
		file = "pipe"
	} else {
		if !exists(file) {
			f.fail("File %s not found", printable(file))
			return nil, pm2Exit(1)
		}
		configs, err = ecosystem.Load(ctx, file, f.ecosystem())
	}
	if err != nil {
		f.fail("File %s malformated", printable(file))
		return nil, f.badApp(unevaluated(err))
	}
	for _, c := range configs {
		f.tellCron(c)
	}
	return configs, nil
}

// tellCron tells when an app is restarted.
func (f *face) tellCron(c *ecosystem.Config) {
	switch cron := c.Get("cron_restart"); cron {
	case nil, "":
	case "0", json.Number("0"):
		f.ok("disabling cron restart")
	default:
		f.ok("cron restart at %s", printable(fmt.Sprint(cron)))
	}
}

func (f *face) startOrRestart(ctx context.Context) error {
	return f.startOr(ctx, "restartProcessId")
}

func (f *face) startOrReload(ctx context.Context) error {
	return f.startOr(ctx, "reloadProcessId")
}

func (f *face) startOr(ctx context.Context, action string) error {
	if err := f.startFile(ctx, f.line.words[0], action); err != nil {
		return err
	}
	return f.speedList(ctx)
}

// startFile starts the apps of a file, and restarts or reloads those that are known
// into the settings that they have there.
func (f *face) startFile(ctx context.Context, file, action string) error {
	configs, err := f.load(ctx, file)
	if err != nil {
		return err
	}
	for _, c := range configs {
		if err := f.overFile(c); err != nil {
			return err
		}
	}
	list, apps, err := f.processes(ctx)
	if err != nil {
		return err
	}
	var fresh []*ecosystem.Config
	var missing []string
	for _, c := range configs {
		title := c.Title(f.ecosystem())
		known := slices.DeleteFunc(slices.Clone(list), func(e entry) bool { return e.name() != title })
		if len(known) == 0 {
			fresh = append(fresh, c)
			missing = append(missing, title)
			continue
		}
		f.applying(action, title, known)
		if err := f.renewFromFile(ctx, c, known, apps, action); err != nil {
			return err
		}
		f.ticked(known)
	}
	if len(missing) > 0 {
		f.caution("Applications %s not running, starting...", strings.Join(missing, ", "))
	}
	var specs []spec.App
	var bad error
	for _, c := range fresh {
		app, err := f.app(c)
		if err != nil {
			bad = f.badApp(err) // the others start, as with PM2
			continue
		}
		app.Name = ecosystem.Unique(app.Name, taken(apps, specs))
		maps.Copy(app.Env, f.confEnv(app.Title))
		if app.WaitReady {
			f.caution("App %s has option 'wait_ready' set, waiting for app to be ready...", app.Title)
		}
		specs = append(specs, app)
	}
	if len(specs) > 0 {
		if err := f.forgive(f.client.Start(ctx, control.StartRequest{Apps: specs}, nil)); err != nil {
			return f.badApp(err)
		}
		for _, app := range specs {
			f.ok("App [%s] launched (%d instances)", app.Title, app.Slots(supervisor.GrantedCPUs()))
		}
	}
	return bad
}

// overFile sets what the command line has over a file.
func (f *face) overFile(c *ecosystem.Config) error {
	given, err := f.config()
	if err != nil {
		return err
	}
	for _, key := range []string{"namespace", "watch", "ignore_watch", "uid", "gid", "cwd", "deep_monitoring"} {
		if value := given.Get(key); value != nil && (!c.Has(key) || slices.Contains([]string{"uid", "gid", "cwd"}, key)) {
			if err := c.Set(key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// renewFromFile brings the processes of an app into the settings of a file.
func (f *face) renewFromFile(ctx context.Context, c *ecosystem.Config, known []entry, apps []control.AppDetail, action string) error {
	next, err := f.app(c)
	if err != nil {
		return f.badApp(err)
	}
	var specs []spec.App
	for _, a := range apps {
		if !concerns(a, known) {
			continue
		}
		renewed := next
		renewed.Name = a.Name
		renewed.Env = maps.Clone(a.Spec.Env) // what it had stays, unless the file says otherwise
		maps.Copy(renewed.Env, next.Env)
		renewed.Instances = a.Spec.Instances // a restart does not scale: pm2 scale does
		specs = append(specs, renewed)
	}
	return f.command(ctx, action, known, specs)
}

// writeConfig is --write.
func (f *face) writeConfig(c *ecosystem.Config) error {
	file := pathOf(c.Name() + "-pm2.json")
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	f.ok("Writing configuration to %s", file)
	return os.WriteFile(file, text, 0o600)
}

// execMode is what PM2 says of how an app runs.
func execMode(app spec.App) string {
	if app.Node == spec.NodeCluster {
		return "cluster_mode"
	}
	return "fork_mode"
}
