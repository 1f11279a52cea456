package ecosystem

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nekoctl/neko/pm2/object"
	"github.com/nekoctl/neko/supervisor/spec"
)

// PM2's defaults, where they are others than neko's.
const (
	pm2MaxRestarts   = 16
	pm2MinUptime     = time.Second
	pm2KillTimeout   = 1600 * time.Millisecond
	pm2ListenTimeout = 3 * time.Second

	// pm2Patience is how long a process may take at least until it listens. To PM2
	// listen_timeout is how long a reload waits before it goes on regardless; here it
	// would be its end, and an app that loads for five seconds could not be reloaded.
	pm2Patience = spec.Duration(30 * time.Second)
)

// Defaults are those of an app that PM2's commands start.
func Defaults() spec.App {
	app := spec.Defaults()
	app.StopSignal = "SIGINT"
	app.KillTimeout, app.DrainConnections = spec.Duration(pm2KillTimeout), true
	app.ListenTimeout = pm2Patience
	app.MinUptime = spec.Duration(pm2MinUptime)
	app.MaxRestarts, app.RestartWindow = givingUp(pm2MaxRestarts, app.MinUptime)
	app.Backoff = spec.Backoff{}
	app.IgnoreWatch = []string{".*", "node_modules"}
	app.LogRotate = spec.Rotate{}
	app.NumberByID = true
	app.Parallel = 2 // PM2's CONCURRENT_ACTIONS
	return app
}

// givingUp is how neko has PM2's rule: so many ends, the last one counted, while the app
// is not older than all of them together could have been stable.
func givingUp(ends int, minUptime spec.Duration) (restarts int, window spec.Duration) {
	window = min(max(minUptime*spec.Duration(ends), spec.Duration(time.Second)), spec.MaxDuration)
	return max(ends-1, 0), window
}

// builder makes an app of a Config.
type builder struct {
	*Config
	o    Options
	v    *object.Object // the values as PM2's look at them has left them
	app  spec.App
	run  spec.Run
	base string // what a relative cwd is relative to
	errs spec.Errors

	folders       []folderOf
	all, out, err string // the files of both outputs as PM2 lists them, even where nothing goes there
}

// App is the app, complete and checked; its folders of logs are made. Its Name comes from
// its title and is for the caller to make unique. An error is [spec.Errors].
func (c *Config) App(o Options) (spec.App, error) {
	if errs := c.check(); len(errs) > 0 {
		return spec.App{}, errs
	}
	b := &builder{Config: c, o: o, v: c.verified(o), app: spec.Defaults()}
	if o.PM2 {
		b.app = Defaults()
	}
	b.app.Source = c.source
	if b.base = o.Cwd; !o.PM2 {
		b.base = b.besideFile()
	}
	b.app.Cwd = b.base
	if cwd := b.text("cwd"); cwd != "" {
		b.app.Cwd = b.absolute(b.base, cwd)
	}
	b.name()
	b.app.Env = b.environment()
	b.policy()
	b.watch()
	b.logs()
	b.command()
	if len(b.errs) == 0 && !o.NamesOnly {
		b.makeFolders()
	}
	if len(b.errs) > 0 {
		return spec.App{}, b.errs
	}
	if o.PM2 {
		raw, err := b.shape().MarshalJSON()
		if err != nil {
			return spec.App{}, spec.Errors{c.fail("", &spec.Error{Message: err.Error()})}
		}
		b.app.PM2 = raw
	}
	return b.app, nil
}

func (b *builder) fail(key string, err *spec.Error) { b.errs = append(b.errs, b.Config.fail(key, err)) }

func (b *builder) note(format string, args ...any) {
	b.o.note(b.text("name") + ": " + fmt.Sprintf(format, args...))
}

func (b *builder) warn(format string, args ...any) {
	b.o.warn(b.text("name") + ": " + fmt.Sprintf(format, args...))
}

// text is a value as a text, "" if there is none.
func (b *builder) text(key string) string {
	if value := b.v.Get(key); value != nil {
		return asText(value)
	}
	return ""
}

func (b *builder) bool(key string) bool { return b.v.Get(key) == true }

// number is a value that is a number, false if there is none.
func (b *builder) number(key string) (float64, bool) {
	n, ok := b.v.Get(key).(json.Number)
	f, _ := n.Float64()
	return f, ok
}

// milliseconds sets a time, if it is given; one that is longer than all that neko
// knows is the longest.
func (b *builder) milliseconds(key string, to *spec.Duration) {
	if f, ok := b.number(key); ok {
		*to = min(spec.Duration(min(max(f, -1), 1e12)*float64(time.Millisecond)), spec.MaxDuration)
	}
}

func (b *builder) absolute(base, path string) string {
	if path == "~" || strings.HasPrefix(path, "~/") {
		path = b.userHome() + path[1:]
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(base, path)
	}
	return filepath.Clean(path)
}

func (b *builder) userHome() string {
	for _, entry := range b.o.Environ {
		if home, ok := strings.CutPrefix(entry, "HOME="); ok && home != "" {
			return home
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "/"
	}
	return home
}

// besideFile is what a relative cwd or script is relative to: the file's folder, or the
// caller's where only that has it, as people of PM2 are used to.
func (b *builder) besideFile() string {
	if b.source == "" {
		return b.o.Cwd
	}
	folder, what := filepath.Dir(b.source), b.text("cwd")
	if what == "" {
		what = b.text("script")
	}
	if _, err := os.Stat(filepath.Join(folder, what)); err == nil || filepath.IsAbs(what) {
		return folder
	}
	if _, err := os.Stat(filepath.Join(b.o.Cwd, what)); err == nil {
		return b.o.Cwd
	}
	return folder
}

// name finds the app's title and makes its name of it.
func (b *builder) name() {
	title := b.text("name")
	if b.app.Name = NameOf(title); b.o.PM2 || b.app.Name != title {
		b.app.Title = title
	}
	if namespace := b.text("namespace"); namespace != spec.DefaultNamespace {
		b.app.Namespace = namespace
	}
}

// policy is what the keys say about the life of processes.
func (b *builder) policy() {
	app := &b.app
	if f, ok := b.number("instances"); ok {
		// Less than one fewer than there are CPUs is no number of a cluster's to PM2.
		app.Instances, b.run.Counted = int(f), !b.o.PM2 || f >= -1
	}
	b.milliseconds("kill_timeout", &app.KillTimeout)
	if app.ReadyAnyway = b.o.PM2 && b.v.Get("wait_ready") == true; app.ReadyAnyway {
		app.ListenTimeout = spec.Duration(pm2ListenTimeout)
	}
	b.milliseconds("listen_timeout", &app.ListenTimeout)
	if b.o.PM2 && !app.ReadyAnyway {
		app.ListenTimeout = max(app.ListenTimeout, pm2Patience)
	}
	b.milliseconds("restart_delay", &app.RestartDelay)
	b.milliseconds("min_uptime", &app.MinUptime)
	b.milliseconds("watch_delay", &app.WatchDelay)
	if b.v.Has("exp_backoff_restart_delay") {
		b.milliseconds("exp_backoff_restart_delay", &app.Backoff.Initial)
		app.Backoff.Max = max(app.Backoff.Max, spec.Duration(15*time.Second), app.Backoff.Initial)
	}
	ends, given := b.number("max_restarts")
	switch {
	case b.o.PM2:
		if !given {
			ends = pm2MaxRestarts
		}
		app.MaxRestarts, app.RestartWindow = givingUp(int(ends), app.MinUptime)
	case given:
		app.MaxRestarts = int(ends)
	}
	app.Autostart = b.v.Get("autostart") != false
	app.Autorestart = b.v.Get("autorestart") != false
	app.Treekill = b.v.Get("treekill") != false
	app.WaitReady = b.bool("wait_ready")
	app.ShutdownWithMessage = b.bool("shutdown_with_message")
	for _, code := range texts(b.v.Get("stop_exit_codes")) {
		f, ok := parseNumber(code)
		if !ok {
			b.fail("stop_exit_codes", &spec.Error{Message: fmt.Sprintf("expected exit codes, not %q", clip(code))})
			continue
		}
		app.StopExitCodes = append(app.StopExitCodes, int(f))
	}
	if f, ok := b.number("max_memory_restart"); ok {
		app.MaxMemory = spec.Size(f)
	}
	app.CronRestart = b.text("cron_restart")
	app.InstanceVar = b.text("instance_var")
	if app.IncrementVar = b.text("increment_var"); app.IncrementVar != "" {
		if _, ok := parseNumber(app.Env[app.IncrementVar]); !ok {
			app.Env[app.IncrementVar] = "0"
		}
	}
	app.UID, app.GID = b.text("uid"), b.text("gid")
	for _, key := range []string{"install_url", "post_update"} {
		if b.v.Has(key) {
			b.note("%s does nothing here", key)
		}
	}
}

// command finds out what runs the script, and completes the app.
func (b *builder) command() {
	script := b.text("script")
	b.run.Script = true
	b.run.Args = texts(b.v.Get("args"))
	b.run.Interpreter = b.text("exec_interpreter")
	b.run.InterpreterArgs = texts(b.v.Get("node_args"))
	b.run.ExecMode = strings.TrimSuffix(b.text("exec_mode"), "_mode")
	if script = b.absoluteScript(script); strings.ContainsRune(script, ' ') && !isFile(filepath.Join(b.app.Cwd, script)) && !isFile(script) {
		if len(b.run.Args) > 0 {
			b.warn("args are not used, for script is a command line")
		}
		b.run.Line, b.run.Args, b.run.Interpreter, b.run.InterpreterArgs = script, nil, "", nil
	} else {
		b.run.Words = []string{script}
		if b.o.PM2 && b.run.Interpreter == "" && filepath.Ext(script) == ".sh" && hasBash() {
			b.run.Interpreter = "bash" // whatever its first line says, and many rely on it
		}
	}
	if b.run.Interpreter == "none" && len(b.run.InterpreterArgs) > 0 {
		b.run.InterpreterArgs = nil
	}
	opts := spec.Options{Environ: b.o.Environ, NamesOnly: b.o.NamesOnly, NodeVersion: b.o.Node, Note: b.o.Note}
	resolved, err := b.resolve(opts)
	for _, tolerated := range []struct {
		key, warning string
		drop         func()
	}{
		{"interpreter_args", "node_args are not used, for no interpreter runs it", func() { b.run.InterpreterArgs = nil }},
		{"exec_mode", "cluster mode is for programs of Node's; it runs in fork mode", func() { b.run.ExecMode = "" }},
		{"shutdown_with_message", "shutdown_with_message is not used, for only a program of Node's gets messages", func() { b.app.ShutdownWithMessage = false }},
	} {
		if e, ok := errors.AsType[*spec.Error](err); ok && e.Key == tolerated.key {
			b.warn("%s", tolerated.warning)
			tolerated.drop()
			resolved, err = b.resolve(opts)
		}
	}
	if e, ok := errors.AsType[*spec.Error](err); ok {
		b.blame(e)
		return
	}
	b.app = resolved
	b.app.Complete(b.base)
	errs, _ := errors.AsType[spec.Errors](b.check())
	for _, e := range errs {
		b.blame(e)
	}
}

func hasBash() bool {
	_, err := exec.LookPath("bash")
	return err == nil
}

func (b *builder) resolve(opts spec.Options) (spec.App, error) {
	app := b.app
	app.Env = map[string]string{}
	for key, value := range b.app.Env {
		app.Env[key] = value
	}
	return app, app.Resolve(b.run, opts)
}

func (b *builder) check() error {
	if b.o.NamesOnly {
		return b.app.CheckValues()
	}
	return b.app.Check()
}

// blame reports an error in PM2's words for the key.
func (b *builder) blame(e *spec.Error) {
	key := e.Key
	switch {
	case key == "command":
		key = "script"
	case key == "interpreter":
		key = "exec_interpreter"
	case key == "interpreter_args":
		key = "node_args"
	case key == "restart_window": // follows from the two
		key = "min_uptime"
	}
	place := *e
	place.Message = strings.TrimPrefix(place.Message, e.Key+": ")
	b.fail(key, &place)
}

// absoluteScript resolves what is only for PM2 a script: a folder, as Node understands
// it, and a path in somebody's home.
func (b *builder) absoluteScript(script string) string {
	if strings.HasPrefix(script, "~/") {
		script = b.userHome() + script[1:]
	}
	dir := script
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(b.app.Cwd, dir)
	}
	if info, err := os.Stat(dir); b.o.NamesOnly || err != nil || !info.IsDir() {
		return script
	}
	if data, err := os.ReadFile(filepath.Join(dir, "package.json")); err == nil {
		var p struct{ Main string }
		if json.Unmarshal(data, &p) == nil && p.Main != "" {
			for _, file := range []string{p.Main, p.Main + ".js", filepath.Join(p.Main, "index.js")} {
				if isFile(filepath.Join(dir, file)) {
					return filepath.Join(dir, file)
				}
			}
		}
	}
	if index := filepath.Join(dir, "index.js"); isFile(index) {
		return index
	}
	return script
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// watch is what is watched, and what is not.
func (b *builder) watch() {
	switch watch := b.v.Get("watch").(type) {
	case bool:
		if watch {
			b.app.Watch = []string{b.app.Cwd}
		}
	case []any:
		if len(watch) == 0 {
			b.app.Watch = []string{b.app.Cwd}
		}
		for _, path := range texts(watch) {
			b.watchPath(path)
		}
	case string:
		if watch != "" {
			b.watchPath(watch)
		}
	}
	ignored := b.v.Get("ignore_watch")
	if options, ok := b.v.Get("watch_options").(*object.Object); ok {
		if options.Has("ignored") {
			ignored = options.Get("ignored")
		}
		for key := range options.All() {
			if !slices.Contains([]string{"ignored", "followSymlinks", "persistent", "ignoreInitial"}, key) && len(b.app.Watch) > 0 {
				b.note("watch_options: %s is of no use here", key)
			}
		}
	}
	if ignored == nil {
		return
	}
	b.app.IgnoreWatch = []string{}
	entries, isList := ignored.([]any)
	if !isList {
		entries = []any{ignored}
	}
	for _, entry := range entries {
		glob, ok := globOf(entry)
		if !ok {
			b.warn("ignore_watch: %s cannot be written as a glob, and is not looked at", shownPattern(entry))
			continue
		}
		b.app.IgnoreWatch = append(b.app.IgnoreWatch, glob)
	}
}

// watchPath adds a path; of a glob it is the folder that all of it is in.
func (b *builder) watchPath(path string) {
	whole := path
	if i := strings.IndexAny(path, "*?[{!"); i >= 0 {
		path = path[:strings.LastIndexByte(path[:i], '/')+1]
		b.note("watch: for %s all of %s is watched", whole, b.absolute(b.app.Cwd, path))
	}
	path = b.absolute(b.app.Cwd, path)
	if _, err := os.Stat(path); err != nil && !b.o.NamesOnly {
		b.warn("watch: %s is not there, and is not watched", path)
		return
	}
	if !slices.Contains(b.app.Watch, path) {
		b.app.Watch = append(b.app.Watch, path)
	}
}
