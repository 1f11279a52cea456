package main

import (
	"fmt"
	"slices"
	"strings"
)

// pm2Option is an option of PM2's command line. They are read as commander 2 reads
// them, which PM2 uses: an option of the command line as a whole can stand before
// and after the command, one that takes a value takes what follows whatever it is,
// and one that may take a value takes what follows unless it begins with a dash.
type pm2Option struct {
	flags string // "-n --name <name>", as the help has it
	about string
}

// pm2Options are those of the command line as a whole.
var pm2Options = []pm2Option{
	{"-V, --version", "output the version number"},
	{"-v --version", "print pm2 version"},
	{"-s --silent", "hide all messages"},
	{"--ext <extensions>", "watch only this file extensions"},
	{"-n --name <name>", "set a name for the process in the process list"},
	{"-m --mini-list", "display a compacted list without formatting"},
	{"--interpreter <interpreter>", "what runs the file, if not what its extension says"},
	{"--interpreter-args <arguments>", "arguments of the interpreter (the same as --node-args)"},
	{"--node-args <node_args>", "arguments of node, with spaces between them"},
	{"-o --output <path>", "the log file of standard output"},
	{"-e --error <path>", "the log file of standard error"},
	{"-l --log [path]", "a log file of both"},
	{"--filter-env [envs]", "leave out variables of this environment whose names contain this; can be repeated"},
	{"--log-type <type>", "raw, or json: an object for each line"},
	{"--log-date-format <date format>", "put a date before each line"},
	{"--time", "put the time before each line"},
	{"--disable-logs", "keep no logs"},
	{"--env <environment_name>", "merge env_NAME of the file over env"},
	{"-a --update-env", "update the environment with restart/reload"},
	{"-f --force", "force actions"},
	{"-i --instances <number>", "the number of processes; max: one for each CPU"},
	{"--parallel <number>", "how many processes are restarted or reloaded at a time"},
	{"--shutdown-with-message", "the message 'shutdown', and no signal, tells a program to finish"},
	{"-p --pid <pid>", "the file of the pid"},
	{"-k --kill-timeout <delay>", "the time from the signal to SIGKILL"},
	{"--listen-timeout <delay>", "how long a process may take to become ready"},
	{"--max-memory-restart <memory>", "replace a process that has more memory: 300M, 1G"},
	{"--restart-delay <delay>", "the wait before a restart, in milliseconds"},
	{"--exp-backoff-restart-delay <delay>", "the first wait before a restart, which grows"},
	{"-x --execute-command", "fork mode, whatever it is"},
	{"--max-restarts [count]", "give up after so many unstable restarts"},
	{"-u --user <username>", "the user of the startup script"},
	{"--uid <uid>", "the user that the processes run as"},
	{"--gid <gid>", "the group that the processes run as"},
	{"--namespace <ns>", "the namespace of the app"},
	{"--cwd <path>", "the folder that the processes start in"},
	{"--hp <home path>", "the home folder in the startup script"},
	{"--wait-ip", "the startup script waits for the network"},
	{"--service-name <name>", "the name of the service in the startup script"},
	{"-c --cron <cron_pattern>", "when to restart: \"0 3 * * *\""},
	{"-c --cron-restart <cron_pattern>", "(alias) when to restart"},
	{"-w --write", "write the configuration into a file here"},
	{"--no-daemon", "run in the foreground"},
	{"--source-map-support", "is accepted; Node has --enable-source-maps"},
	{"--only <application-name>", "of a file only this app, or these"},
	{"--disable-source-map-support", "is accepted"},
	{"--wait-ready", "ready is what has said process.send('ready')"},
	{"--merge-logs", "all processes of an app print to one file"},
	{"--watch [paths]", "restart when files change"},
	{"--ignore-watch <folders|files>", "but not for these"},
	{"--watch-delay <delay>", "for how long nothing must have changed: 4 (seconds) or 4000ms"},
	{"--no-color", "no colors"},
	{"--no-vizion", "is accepted; nothing looks at version control"},
	{"--no-autostart", "the app is in the list, and not started"},
	{"--no-autorestart", "what ends is not restarted"},
	{"--stop-exit-codes <exit_codes...>", "exit codes after which nothing is restarted"},
	{"--no-treekill", "only the process itself is killed, and not what it has started"},
	{"--no-pmx", "is accepted; nothing is put into programs"},
	{"--no-automation", "is accepted; nothing is put into programs"},
	{"--trace", "is accepted; nothing is put into programs"},
	{"--disable-trace", "is accepted"},
	{"--sort <field_name:sort>", "sort the list: memory:desc"},
	{"--attach", "show the logs after the command"},
	{"--v8", "is accepted; nothing is put into programs"},
	{"--event-loop-inspector", "is accepted; nothing is put into programs"},
	{"--deep-monitoring", "is accepted; nothing is put into programs"},
	{"-h, --help", "output usage information"},
}

// names are the short form, "" if there is none, and the long one.
func (o pm2Option) names() (short, long string) {
	for _, word := range strings.FieldsFunc(o.flags, func(r rune) bool { return r == ' ' || r == ',' }) {
		switch {
		case strings.HasPrefix(word, "--"):
			long = word
		case strings.HasPrefix(word, "-"):
			short = word
		}
	}
	return short, long
}

// key is how commander calls its value: --no-color is color.
func (o pm2Option) key() string {
	_, long := o.names()
	return strings.TrimPrefix(strings.TrimPrefix(long, "--"), "no-")
}

func (o pm2Option) required() bool { return strings.Contains(o.flags, "<") }
func (o pm2Option) optional() bool { return strings.Contains(o.flags, "[") }
func (o pm2Option) negates() bool  { return strings.Contains(o.flags, "--no-") }

func optionOf(options []pm2Option, arg string) (pm2Option, bool) {
	i := slices.IndexFunc(options, func(o pm2Option) bool {
		short, long := o.names()
		return arg == long || short != "" && arg == short
	})
	if i < 0 {
		return pm2Option{}, false
	}
	return options[i], true
}

// given are the options that a command line has, by their keys, in their order.
// One without a value has "true", or "false" if it negates.
type given struct {
	keys   []string
	values map[string][]string
}

func (g *given) add(key, value string) {
	if g.values == nil {
		g.values = map[string][]string{}
	}
	if _, known := g.values[key]; !known {
		g.keys = append(g.keys, key)
	}
	g.values[key] = append(g.values[key], value)
}

func (g *given) has(key string) bool { return len(g.values[key]) > 0 }

// last is the value that counts, "" if there is none.
func (g *given) last(key string) string {
	if v := g.values[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// is says that a switch is on.
func (g *given) is(key string) bool { return g.last(key) == "true" }

// pm2Line is a command line of PM2's, taken apart.
type pm2Line struct {
	command string
	words   []string // what follows it, and is no option
	after   []string // what follows --
	dashes  bool     // there was one
	given   given
}

// usageText is what is wrong with a command line, as commander words it.
type usageText string

func (e usageText) Error() string { return string(e) }

// parseLine reads a command line. Options that are no one's are an error only if
// the command does not know them either, which own tells.
func parseLine(args []string, options []pm2Option, own func(command string) ([]pm2Option, bool)) (line pm2Line, err error) {
	if i := slices.Index(args, "--"); i >= 0 {
		line.after, line.dashes, args = args[i+1:], true, args[:i]
	}
	words, unknown, err := line.take(normalize(args, options), options)
	if err != nil || len(words) == 0 {
		if err == nil && len(unknown) > 0 {
			err = usageText("unknown option `" + unknown[0] + "'")
		}
		return line, err
	}
	line.command, line.words = words[0], words[1:]
	mine, known := own(line.command)
	if !known {
		return line, nil
	}
	left, unknown, err := line.take(unknown, mine)
	if err == nil && len(unknown) > 0 {
		err = usageText("unknown option `" + unknown[0] + "'")
	}
	line.words = append(left, line.words...)
	return line, err
}

// normalize takes -abc and --key=value apart.
func normalize(args []string, options []pm2Option) (list []string) {
	for i, arg := range args {
		var before pm2Option
		if i > 0 {
			before, _ = optionOf(options, args[i-1])
		}
		key, value, cut := strings.Cut(arg, "=")
		switch {
		case before.required():
			list = append(list, arg)
		case len(arg) > 1 && arg[0] == '-' && arg[1] != '-':
			for _, c := range arg[1:] {
				list = append(list, "-"+string(c))
			}
		case strings.HasPrefix(arg, "--") && cut:
			list = append(list, key, value)
		default:
			list = append(list, arg)
		}
	}
	return list
}

// take takes the options out of args. What looks like one and is not known takes a
// word that follows along.
func (l *pm2Line) take(args []string, options []pm2Option) (words, unknown []string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		next, follows := "", i+1 < len(args)
		if follows {
			next = args[i+1]
		}
		o, known := optionOf(options, arg)
		switch {
		case known && o.required():
			if !follows {
				return nil, nil, usageText(fmt.Sprintf("option `%s' argument missing", o.flags))
			}
			l.given.add(o.key(), next)
			i++
		case known && o.optional() && follows && (!strings.HasPrefix(next, "-") || next == "-"):
			l.given.add(o.key(), next)
			i++
		case known:
			value := "true"
			if o.negates() {
				value = "false"
			}
			l.given.add(o.key(), value)
		case len(arg) > 1 && arg[0] == '-':
			unknown = append(unknown, arg)
			if follows && !strings.HasPrefix(next, "-") {
				unknown = append(unknown, next)
				i++
			}
		default:
			words = append(words, arg)
		}
	}
	return words, unknown, nil
}
