package spec

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

// key is one key of an app: how its value is read, and what the JSON Schema of
// neko.yaml says of it (schema.go).
type key struct {
	name  string
	about string
	form  string // the name of its form in the schema
	read  func(p *parser, d *draft, value *yaml.Node)
}

// nekoKeys are those of neko.yaml, in the order of docs/configuration.md.
var nekoKeys = []key{
	{"name", "Unique: letters, digits, dots, dashes, underscores.", "name",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a name", &d.Name) }},
	{"namespace", "A name for several apps together.", "text",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a name", &d.Namespace) }},
	{"type", "A service serves until it is stopped; a task does its work and ends.", "type",
		func(p *parser, d *draft, v *yaml.Node) { p.choice(v, (*string)(&d.Type), "service", "task") }},
	{"command", "The program and its arguments; a line that only a shell understands is run by one.", "command", (*parser).command},
	{"script", "In the place of command, as PM2 has it: a file in cwd, or a command line.", "text", (*parser).script},
	{"args", "What follows the command.", "words", (*parser).args},
	{"interpreter", "The program that runs the command's file; none: nothing does.", "text",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a program", &d.Interpreter) }},
	{"interpreter_args", "What goes between the interpreter and the file.", "words", (*parser).interpreterArgs},
	{"node_args", "The same as interpreter_args, in PM2's words.", "words", (*parser).interpreterArgs},
	{"exec_mode", "A program of Node's gets its sockets from the master, or listens by itself.", "exec mode", (*parser).execMode},
	{"cwd", "The folder in which the processes start; relative to the file.", "text",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a folder", &d.Cwd) }},
	{"instances", "The number of processes, max (one for each CPU that the cgroup grants), or -1 (one fewer).", "instances", (*parser).instances},
	{"instance_var", "The variable that tells a process the number of its slot.", "text",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "the name of a variable", &d.InstanceVar) }},
	{"increment_var", "A variable of env, a number, that is larger by one in each slot than in the one before.", "text",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "the name of a variable", &d.IncrementVar) }},
	{"env", "Variables of the processes.", "settings", (*parser).env},
	{"env_file", "Files of KEY=VALUE lines; relative to the neko.yaml.", "texts", (*parser).envFile},

	{"listen", "The sockets that the master opens and the processes inherit.", "listen", (*parser).listen},
	{"balance", "A socket for each process, or one for all.", "balance",
		func(p *parser, d *draft, v *yaml.Node) { p.choice(v, (*string)(&d.Balance), "slots", "shared") }},
	{"listen_pid", "The program looks at LISTEN_PID, as sd_listen_fds(3) does.", "bool",
		func(p *parser, d *draft, v *yaml.Node) { p.bool(v, &d.ListenPID) }},
	{"url_path", "A path such as /graphql, for the URL that start prints.", "path", (*parser).urlPath},

	{"wait_ready", "A process is ready only when it says READY=1.", "bool",
		func(p *parser, d *draft, v *yaml.Node) { p.bool(v, &d.WaitReady) }},
	{"listen_timeout", "How long a process may take to become ready.", "duration",
		func(p *parser, d *draft, v *yaml.Node) { p.duration(v, &d.ListenTimeout) }},
	{"shutdown_delay", "How long a process serves on before it is told to stop.", "duration",
		func(p *parser, d *draft, v *yaml.Node) { p.duration(v, &d.ShutdownDelay) }},
	{"stop_signal", "The signal that tells a process to finish.", "signal", (*parser).stopSignal},
	{"shutdown_with_message", "The message 'shutdown', and no signal, tells a program of Node's to finish.", "bool",
		func(p *parser, d *draft, v *yaml.Node) { p.bool(v, &d.ShutdownWithMessage) }},
	{"drain_timeout", "How long a process may take to finish what it serves.", "duration",
		func(p *parser, d *draft, v *yaml.Node) { p.duration(v, &d.DrainTimeout) }},
	{"kill_timeout", "The time from the end of the drain to SIGKILL.", "duration",
		func(p *parser, d *draft, v *yaml.Node) { p.duration(v, &d.KillTimeout) }},
	{"drain_connections", "Who has no connection left need not be given drain_timeout.", "bool",
		func(p *parser, d *draft, v *yaml.Node) { p.bool(v, &d.DrainConnections) }},
	{"treekill", "What a process has started ends with it.", "bool",
		func(p *parser, d *draft, v *yaml.Node) { p.bool(v, &d.Treekill) }},
	{"autostart", "The processes are started with the app; false: when a command names it.", "bool",
		func(p *parser, d *draft, v *yaml.Node) { p.bool(v, &d.Autostart) }},
	{"parallel", "How many processes a reload replaces at a time.", "parallel",
		func(p *parser, d *draft, v *yaml.Node) { p.number(v, &d.Parallel) }},

	{"autorestart", "A process that ends by itself gets a successor.", "bool",
		func(p *parser, d *draft, v *yaml.Node) { p.bool(v, &d.Autorestart) }},
	{"stop_exit_codes", "Exit codes after which there is no successor.", "exit codes", (*parser).stopExitCodes},
	{"min_uptime", "A process that ends sooner counts as unstable.", "duration",
		func(p *parser, d *draft, v *yaml.Node) { p.duration(v, &d.MinUptime) }},
	{"max_restarts", "So many unstable ends within restart_window, and the process is errored.", "number",
		func(p *parser, d *draft, v *yaml.Node) { p.number(v, &d.MaxRestarts) }},
	{"restart_window", "See max_restarts.", "duration",
		func(p *parser, d *draft, v *yaml.Node) { p.duration(v, &d.RestartWindow) }},
	{"restart_delay", "The least time between an end and the start after it.", "duration",
		func(p *parser, d *draft, v *yaml.Node) { p.duration(v, &d.RestartDelay) }},
	{"exp_backoff_restart_delay", "How the wait grows with unstable ends in a row.",
		"backoff", (*parser).backoff},
	{"cron_restart", "When to reload, as cron has it.", "text",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a cron expression", &d.CronRestart) }},
	{"max_memory_restart", "A process with more resident memory is replaced.", "size",
		func(p *parser, d *draft, v *yaml.Node) { p.size(v, &d.MaxMemory) }},
	{"watch", "Paths whose changes reload the app; true is cwd.", "watch", (*parser).watch},
	{"ignore_watch", "Globs of what is not watched.", "texts", (*parser).ignoreWatch},
	{"watch_delay", "For how long nothing must have changed any more.", "duration",
		func(p *parser, d *draft, v *yaml.Node) { p.duration(v, &d.WatchDelay) }},

	{"startup", "What a process is asked until it passes for the first time.", "probe",
		func(p *parser, d *draft, v *yaml.Node) { d.Startup = p.probe(v) }},
	{"readiness", "What a process must pass to get connections.", "probe",
		func(p *parser, d *draft, v *yaml.Node) { d.Readiness = p.probe(v) }},
	{"liveness", "What a process must pass not to be taken for hung.", "probe",
		func(p *parser, d *draft, v *yaml.Node) { d.Liveness = p.probe(v) }},
	{"watchdog", "How often a process must say WATCHDOG=1 not to be taken for hung.", "duration",
		func(p *parser, d *draft, v *yaml.Node) { p.duration(v, &d.Watchdog) }},
	{"spare", "Each slot has a second process that waits to take over.", "spare",
		func(p *parser, d *draft, v *yaml.Node) { p.number(v, &d.Spare) }},
	{"depends_on", "Apps that must have come to something before this one starts.", "dependencies", (*parser).dependsOn},

	{"out_file", "Where standard output goes.", "text",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "the path of a file", &d.OutFile) }},
	{"error_file", "Where standard error goes.", "text",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "the path of a file", &d.ErrorFile) }},
	{"log_file", "Where both go, beside the two.", "text",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "the path of a file", &d.AllFile) }},
	{"merge_logs", "All processes of the app print to one file.", "bool",
		func(p *parser, d *draft, v *yaml.Node) { p.bool(v, &d.MergeLogs) }},
	{"log_type", "Lines as they are printed, or a JSON object for each.", "log type",
		func(p *parser, d *draft, v *yaml.Node) { p.choice(v, &d.LogType, "raw", "json") }},
	{"log_date_format", "A date before each line, as YYYY-MM-DD HH:mm:ss.SSS Z.", "text",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a form of dates", &d.LogDateFormat) }},
	{"log_rotate", "When a log file is put aside, and how many are kept; false: never.",
		"rotate", (*parser).logRotate},
	{"pid_file", "Where the pid of each process is.", "text",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "the path of a file", &d.PIDFile) }},

	{"uid", "The user that the processes run as.", "name or number",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a user", &d.UID) }},
	{"gid", "The group that the processes run as.", "name or number",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, "a group", &d.GID) }},
	{"umask", "Which rights new files do not have, in octal.", "umask",
		func(p *parser, d *draft, v *yaml.Node) { p.text(v, `an octal number such as "022"`, &d.Umask) }},
	{"rlimits", "Resource limits, SOFT or SOFT:HARD or unlimited.", "rlimits", (*parser).rlimits},
	{"nice", "From -20, which goes first, to 19.", "nice", (*parser).nice},
	{"pin", "Each process is tied to a CPU.", "bool",
		func(p *parser, d *draft, v *yaml.Node) { p.bool(v, &d.Pin) }},
}

// Keys are the keys that an app in a neko.yaml can have.
func Keys() []string {
	names := make([]string, len(nekoKeys))
	for i, k := range nekoKeys {
		names[i] = k.name
	}
	return names
}

// field is a key of a mapping that is the value of a key.
type field struct {
	name  string
	about string
	form  string // the name of its form in the schema
	read  func(p *parser, v *yaml.Node)
}

// fields reads a mapping; what is in it is reported with the key that it is of.
func (p *parser) fields(v *yaml.Node, fields []field) {
	key := p.key
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	p.each(v, key, func(k, v *yaml.Node) {
		v = p.follow(v)
		for _, f := range fields {
			if f.name == k.Value {
				p.key = key + ": " + f.name
				f.read(p, v)
				return
			}
		}
		p.unknown(k, names, "the keys of "+key+" are "+strings.Join(names, ", "))
	})
	p.key = key
}
