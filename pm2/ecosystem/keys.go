package ecosystem

import (
	"slices"
	"strings"
	"sync"
)

// kind is a type of JavaScript's, as PM2's schema names it.
type kind string

const (
	boolean kind = "boolean"
	number  kind = "number"
	text    kind = "string"
	list    kind = "array"
	mapping kind = "object"
)

// Key is one of PM2's keys of an app.
type Key struct {
	Name string
	// Aliases are other names, the strongest first. Each key has also its name in
	// camel case.
	Aliases []string
	// About says what the key is here.
	About string

	kinds  []kind
	valid  func(string) bool // of a text; nil: any is
	want   string            // what is expected, where the kinds do not say it
	least  float64
	units  map[byte]float64 // of a text with a unit at its end
	preset any              // what PM2 has where nothing is given
}

var (
	sizes = map[byte]float64{'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}
	times = map[byte]float64{'s': 1000, 'm': 60_000, 'h': 3_600_000}
)

// Keys are PM2's keys in the order of its schema, which is the order in which it
// lists them, too. Beside them there is env_NAME for each environment.
var Keys = []Key{
	{Name: "script", Aliases: []string{"cmd", "command", "exec"}, kinds: []kind{text}, About: "The file or program; what has a blank in it is a command line, run by a shell only where it needs one."},
	{Name: "name", kinds: []kind{text}, About: "The app's title; its unique name is made of it. The script without its ending, if there is none."},
	{Name: "name_prefix", kinds: []kind{text}, About: "Kept only for PM2's lists; --name-prefix is what names are given."},
	{Name: "filter_env", kinds: []kind{boolean, list, text}, About: "Variables that are not inherited: those with one of a list in their names, one by its whole name, or all (true)."},
	{Name: "namespace", kinds: []kind{text}, About: "The app's namespace."},
	{Name: "install_url", kinds: []kind{text}, About: "Kept only for PM2's lists: nothing is installed."},
	{Name: "cwd", kinds: []kind{text}, About: "The folder in which the processes start."},
	{Name: "args", kinds: []kind{list, text}, About: "What follows the script; a text is split as PM2 splits it."},
	{Name: "exec_interpreter", Aliases: []string{"interpreter"}, kinds: []kind{text}, About: "What runs the script; none: nothing does; node@VERSION: a version of nvm's."},
	{Name: "node_args", Aliases: []string{"interpreter_args", "interpreterArgs"}, kinds: []kind{list, text}, About: "What goes between the interpreter and the script."},
	{Name: "out_file", Aliases: []string{"out_log", "output", "out"}, kinds: []kind{text}, About: "Where standard output goes; NULL or /dev/null: nowhere. A folder that is missing is made."},
	{Name: "error_file", Aliases: []string{"err_log", "err_file", "err", "error"}, kinds: []kind{text}, About: "Where standard error goes, as out_file."},
	{Name: "log_file", Aliases: []string{"log"}, kinds: []kind{boolean, text}, About: "A file that gets both, too; true: NAME.log in the home."},
	{Name: "disable_logs", kinds: []kind{boolean}, About: "Both outputs go nowhere."},
	{Name: "log_type", kinds: []kind{text}, About: "json: an object for each line."},
	{Name: "log_date_format", kinds: []kind{text}, About: "A date before each line, in day.js's tokens."},
	{Name: "time", kinds: []kind{boolean}, About: "The same as log_date_format: YYYY-MM-DDTHH:mm:ss."},
	{Name: "env", kinds: []kind{mapping, text}, About: "Variables of the processes; a list or an object in it becomes JSON."},
	{Name: "max_memory_restart", kinds: []kind{text, number}, valid: digitsWith("KMG"), want: "a number of bytes, or one with K, M or G after it", units: sizes,
		About: "A process with more resident memory is replaced."},
	{Name: "pid_file", Aliases: []string{"pid"}, kinds: []kind{text}, About: "Where the pid of a process is written."},
	{Name: "restart_delay", kinds: []kind{number}, want: "a number of milliseconds", About: "The least time between an end and the start after it."},
	{Name: "exp_backoff_restart_delay", kinds: []kind{number}, want: "a number of milliseconds", About: "The first of the waits, which grow to 15 s with unstable ends in a row."},
	{Name: "source_map_support", kinds: []kind{boolean}, About: "Source maps are used by PM2 unless disable_source_map_support is true; here by node_args: --enable-source-maps."},
	{Name: "disable_source_map_support", kinds: []kind{boolean}, About: "Kept only for PM2's lists: Node is left as it is."},
	{Name: "wait_ready", kinds: []kind{boolean}, About: "Ready is what has said process.send('ready') or READY=1; called as pm2, also what has said nothing when listen_timeout is over, as in PM2."},
	{Name: "instances", kinds: []kind{number}, want: "a number, or max", About: "The number of processes; max or 0: one for each CPU that is granted, -1: one fewer. With it a program of Node's is a cluster."},
	{Name: "kill_timeout", kinds: []kind{number}, want: "a number of milliseconds", About: "How long a process has after its signal, or the end of its drain, until SIGKILL."},
	{Name: "shutdown_with_message", kinds: []kind{boolean}, About: "The message 'shutdown', and no signal, tells a program of Node's to finish."},
	{Name: "listen_timeout", kinds: []kind{number}, want: "a number of milliseconds", About: "How long a process may take to become ready; called as pm2 30 s at least, if it has no wait_ready."},
	{Name: "cron_restart", Aliases: []string{"cron"}, kinds: []kind{text, number}, want: "a cron expression, or 0", About: "When the app is replaced; 0: never."},
	{Name: "merge_logs", Aliases: []string{"combine_logs"}, kinds: []kind{boolean}, About: "All processes print to one file."},
	{Name: "vizion", kinds: []kind{boolean}, preset: true, About: "Kept only for PM2's lists: no repository is looked at."},
	{Name: "autostart", kinds: []kind{boolean}, preset: true, About: "Else the app is known and stopped."},
	{Name: "autorestart", kinds: []kind{boolean}, preset: true, About: "A process that ends by itself gets a successor."},
	{Name: "stop_exit_codes", kinds: []kind{list, number}, want: "an exit code, or a list of them", About: "Exit codes after which there is no successor."},
	{Name: "watch_delay", kinds: []kind{number}, want: "a number of milliseconds", About: "For how long nothing must have changed."},
	{Name: "watch", kinds: []kind{boolean, list, text}, About: "Paths whose changes restart the app; true is cwd."},
	{Name: "ignore_watch", kinds: []kind{list, text}, About: "Globs of what is not watched; simple regular expressions are understood."},
	{Name: "watch_options", kinds: []kind{mapping}, About: "Of chokidar's options ignored is read; the others are about how it watches."},
	{Name: "min_uptime", kinds: []kind{number, text}, valid: digitsWith("smh"), want: "a number of milliseconds, or one with s, m or h after it", least: 100, units: times,
		About: "A process that ends sooner counts as unstable."},
	{Name: "max_restarts", kinds: []kind{number}, About: "So many unstable ends, and the process is errored."},
	{Name: "execute_command", kinds: []kind{boolean}, About: "The same as exec_mode: fork."},
	{Name: "exec_mode", kinds: []kind{text}, valid: isExecMode, want: "cluster or fork", About: "cluster: a program of Node's gets its sockets from the daemon; fork: it listens by itself."},
	{Name: "force", kinds: []kind{boolean}, About: "A script that runs already is started once more."},
	{Name: "append_env_to_name", kinds: []kind{boolean}, About: "The NAME of --env is put after the name."},
	{Name: "post_update", kinds: []kind{list}, About: "Not run: there is no update from outside."},
	{Name: "trace", kinds: []kind{boolean}, About: "Kept only for PM2's lists: nothing is traced."},
	{Name: "disable_trace", kinds: []kind{boolean}, About: "trace: false."},
	{Name: "v8", kinds: []kind{boolean}, About: "Kept only for PM2's lists."},
	{Name: "event_loop_inspector", kinds: []kind{boolean}, About: "Kept only for PM2's lists."},
	{Name: "deep_monitoring", kinds: []kind{boolean}, About: "Kept only for PM2's lists."},
	{Name: "increment_var", kinds: []kind{text}, About: "A variable that is larger by one in each process than in the one before."},
	{Name: "instance_var", kinds: []kind{text}, preset: "NODE_APP_INSTANCE", About: "The variable that has the number of the process."},
	{Name: "pmx", kinds: []kind{boolean, text}, preset: true, About: "Kept only for PM2's lists: programs are not wrapped."},
	{Name: "automation", kinds: []kind{boolean}, preset: true, About: "Kept only for PM2's lists; false makes pmx false."},
	{Name: "treekill", kinds: []kind{boolean}, preset: true, About: "What a process has started ends with it."},
	{Name: "port", kinds: []kind{number}, want: "a port", About: "PORT in env."},
	{Name: "username", kinds: []kind{text}, About: "Who started the app, for PM2's lists."},
	{Name: "uid", Aliases: []string{"user"}, kinds: []kind{number, text}, want: "a user", About: "Whom the processes run as; only a daemon of root's can do that."},
	{Name: "gid", kinds: []kind{number, text}, want: "a group", About: "Their group; the user's if not given."},
	{Name: "windowsHide", kinds: []kind{boolean}, preset: true, About: "Kept only for PM2's lists."},
	{Name: "kill_retry_time", kinds: []kind{number}, preset: 100, About: "Kept only for PM2's lists: an end is seen at once, not by asking again."},
	{Name: "write", kinds: []kind{boolean}, About: "Of the command line's: kept only for PM2's lists."},
	{Name: "io", kinds: []kind{mapping}, About: "The variable io has it, as JSON; there is no agent that reads it."},
}

// named are the keys by all of their names.
var named = sync.OnceValue(func() map[string]*Key {
	keys := map[string]*Key{}
	for i := range Keys {
		keys[Keys[i].Name] = &Keys[i]
		for _, alias := range Keys[i].names() {
			keys[alias] = &Keys[i]
		}
	}
	return keys
})

// names are the aliases of a key, the strongest first.
func (k *Key) names() []string {
	if camel := camelCase(k.Name); camel != k.Name {
		return append(slices.Clone(k.Aliases), camel)
	}
	return k.Aliases
}

// digitsWith is a number, and perhaps one of some units after it.
func digitsWith(units string) func(string) bool {
	return func(s string) bool {
		if n := len(s); n > 1 && strings.IndexByte(units, s[n-1]) >= 0 {
			s = s[:n-1]
		}
		return s != "" && strings.Trim(s, "0123456789") == ""
	}
}

func isExecMode(s string) bool {
	mode := strings.TrimSuffix(s, "_mode")
	return mode == "cluster" || mode == "fork"
}

func camelCase(name string) string {
	parts := strings.Split(name, "_")
	for i, part := range parts {
		if i > 0 && len(part) > 1 {
			parts[i] = strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return strings.Join(parts, "")
}

// Canonical is the name of a key of which name may be an alias.
func Canonical(name string) string {
	if k := named()[name]; k != nil {
		return k.Name
	}
	return name
}

// isEnvironment tells env_NAME, of which a file may have any number.
func isEnvironment(name string) bool {
	return strings.HasPrefix(name, "env_") && !strings.ContainsAny(name, " \t\r\n")
}

// keyOf is the key of a canonical name, nil if PM2 has none.
func keyOf(name string) *Key {
	if isEnvironment(name) {
		name = "env"
	}
	if k := named()[name]; k != nil && k.Name == name {
		return k
	}
	return nil
}
