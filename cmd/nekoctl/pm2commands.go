package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/nekoctl/neko/supervisor/spec"
)

// pm2Commands are all of PM2's commands, in the order of its help.
func pm2Commands() []pm2Command {
	watch := pm2Option{"--watch", "toggle watching"}
	return []pm2Command{
		{name: "start", args: "[name|namespace|file|ecosystem|id...]", about: "start an app", run: (*face).start, options: []pm2Option{
			watch, {"--container", ""}, {"--dist", ""}, {"--fresh", ""}, {"--daemon", ""}, {"--dockerdaemon", ""},
			{"--image-name [name]", ""}, {"--node-version [major]", ""}}},
		{name: "trigger", args: "<id|proc_name|namespace|all> <action_name> [params]", about: "run an action of a program", run: (*face).trigger},
		{name: "startOrRestart", args: "<json>", about: "start the apps of a file, or restart them", run: (*face).startOrRestart},
		{name: "startOrReload", aliases: []string{"startOrGracefulReload"}, args: "<json>", about: "start the apps of a file, or reload them", run: (*face).startOrReload},
		{name: "pid", args: "[app_name]", about: "the pids of an app, or of all", bare: true, run: (*face).pids},
		{name: "stop", args: "<id|name|namespace|all|json|stdin...>", about: "stop processes", options: []pm2Option{watch}, run: (*face).stop},
		{name: "restart", args: "<id|name|namespace|all|json|stdin...>", about: "restart processes", options: []pm2Option{watch}, run: (*face).restart},
		{name: "scale", args: "<app_name> <number>", about: "change the number of processes: 4, +1, -1", run: (*face).scale},
		{name: "reload", aliases: []string{"gracefulReload"}, args: "<id|name|namespace|all>", about: "replace processes without losing a request", run: (*face).reload},
		{name: "id", args: "<name>", about: "the ids of an app", bare: true, run: (*face).ids},
		{name: "delete", aliases: []string{"del"}, args: "<name|id|namespace|script|all|json|stdin...>", about: "stop processes and forget them", run: (*face).delete},
		{name: "sendSignal", args: "<signal> <pm2_id|name>", about: "send a signal to processes", run: (*face).sendSignal},
		{name: "ping", about: "say whether the daemon runs, and begin it if not", run: (*face).ping},
		{name: "update", aliases: []string{"updatePM2"}, about: "replace the daemon by this version, in place", run: (*face).update},
		{name: "set", args: "[key] [value]", about: "set a value", run: (*face).setConf},
		{name: "multiset", args: "<value>", about: "set several: \"key1 val1 key2 val2\"", run: (*face).multiset},
		{name: "get", args: "[key]", about: "show a value, or all", run: (*face).getConf},
		{name: "conf", args: "[key] [value]", about: "show all values", run: (*face).showConf},
		{name: "config", args: "<key> [value]", about: "show or set a value", run: (*face).confKey},
		{name: "unset", args: "<key>", about: "forget a value", run: (*face).unset},
		{name: "report", about: "what a bug report needs", run: (*face).bugReport},
		{name: "dump", aliases: []string{"save"}, about: "save the list of apps", options: []pm2Option{{"--force", "even an empty one"}}, alone: true, run: (*face).save},
		{name: "cleardump", about: "save an empty list", alone: true, run: (*face).clearDump},
		{name: "send", args: "<pm_id> <line>", about: "send a line to standard input", run: (*face).sendLine},
		{name: "attach", args: "<pm_id> [command separator]", about: "be at the other end of a process", run: (*face).attach},
		{name: "resurrect", about: "start what was saved", alone: true, run: (*face).resurrect},
		{name: "unstartup", args: "[platform]", about: "undo startup", apart: true, run: (*face).unstartup},
		{name: "startup", args: "[platform]", about: "have systemd start what was saved, at each boot", apart: true, run: (*face).startup},
		{name: "ecosystem", aliases: []string{"init"}, args: "[mode]", about: "write an ecosystem.config.js to begin with", apart: true, run: (*face).sample},
		{name: "reset", args: "<name|id|all>", about: "count restarts from 0", run: (*face).reset},
		{name: "describe", aliases: []string{"desc", "info", "show"}, args: "<name|id>", about: "all about processes", run: (*face).describe},
		{name: "env", args: "<id>", about: "the environment of a process", run: (*face).env},
		{name: "list", aliases: []string{"ls", "l", "ps", "status"}, about: "all processes", run: (*face).list},
		{name: "jlist", about: "all processes as JSON", bare: true, run: (*face).jlist},
		{name: "prettylist", about: "all processes as JSON that is read by people", bare: true, alone: true, run: (*face).prettylist},
		{name: "slist", aliases: []string{"sysinfos"}, about: "the machine", options: []pm2Option{{"-t --tree", "as a tree"}}, run: notHere("free, df and uptime tell of the machine")},
		{name: "monit", aliases: []string{"imonit", "dashboard", "dash"}, about: "watch all processes", run: (*face).monit},
		{name: "flush", args: "[api]", about: "empty logs", run: (*face).flush},
		{name: "reloadLogs", about: "open the logs anew", run: (*face).reloadLogs},
		{name: "logs", aliases: []string{"log"}, args: "[id|name|namespace]", about: "show what apps print", run: (*face).logs, options: []pm2Option{
			{"--json", "an object for each line"}, {"--format", "key=value"}, {"--raw", "the lines alone"},
			{"--err", "standard error only"}, {"--out", "standard output only"}, {"--lines <n>", "begin with the last n (15)"},
			{"--timestamp [format]", "the time before each line"}, {"--nostream", "print the last lines and end"},
			{"--highlight [value]", "mark a text"}, {"--exclude <name>", "not of this app; can be repeated"}}},
		{name: "kill", about: "stop every app and the daemon", alone: true, run: (*face).killAll},
		{name: "logrotate", about: "rotation by logrotate", run: notHere(noRotation)},
		{name: "examples", about: "how it is used", apart: true, run: (*face).examples},

		// What is not here: it is recognised, does nothing, and says what to use.
		{name: "deploy", args: "<file|environment>", about: "not here yet", apart: true, run: notHere("git pull && pm2 reload ecosystem.config.js")},
		{name: "serve", aliases: []string{"expose"}, args: "[path] [port]", about: "not here yet", apart: true, run: notHere("pm2 start 'python3 -m http.server 8080', or any server of files"), options: []pm2Option{
			{"--port [port]", ""}, {"--spa", ""}, {"--ftp", ""}, {"--basic-auth-username [username]", ""}, {"--basic-auth-password [password]", ""}, {"--monitor [frontend-app]", ""}}},
		{name: "inspect", args: "<name>", about: "not here yet", apart: true, run: notHere("pm2 restart NAME --node-args=--inspect")},
		{name: "pull", args: "<name> [commit_id]", about: "not here yet", apart: true, run: notHere("git pull && pm2 reload NAME")},
		{name: "forward", args: "<name>", about: "not here yet", apart: true, run: notHere("git checkout COMMIT && pm2 reload NAME")},
		{name: "backward", args: "<name>", about: "not here yet", apart: true, run: notHere("git checkout COMMIT && pm2 reload NAME")},
		{name: "deepUpdate", about: "not here", apart: true, run: notHere("install the new binary, then pm2 update")},
		{name: "profile:mem", args: "[time]", about: "not here", apart: true, run: notHere("the daemon is no program of Node's; pm2 trigger NAME km:heapdump profiles an app")},
		{name: "profile:cpu", args: "[time]", about: "not here", apart: true, run: notHere("the daemon is no program of Node's; pm2 trigger NAME km:cpu:profiling:start profiles an app")},
		{name: "create", about: "not here", apart: true, run: notHere("pm2 init writes an ecosystem.config.js")},
		{name: "install", aliases: []string{"module:install", "module:update"}, args: "<module|git:/>", about: "not here", apart: true, run: (*face).installModule, options: []pm2Option{
			{"--tarball", ""}, {"--install", ""}, {"--docker", ""}, {"--v1", ""}, {"--safe [time]", ""}}},
		{name: "uninstall", aliases: []string{"module:uninstall"}, args: "<module>", about: "not here", apart: true, run: notHere("there are no modules")},
		{name: "module:generate", args: "[app_name]", about: "not here", apart: true, run: notHere("there are no modules")},
		{name: "package", args: "[target]", about: "not here", apart: true, run: notHere("there are no modules")},
		{name: "publish", aliases: []string{"module:publish"}, args: "[folder]", about: "not here", apart: true, options: []pm2Option{{"--npm", ""}}, run: notHere("there are no modules")},
		{name: "link", args: "[secret] [public] [name]", about: "not here", apart: true, options: []pm2Option{{"--info-node [url]", ""}}, run: notHere("nothing is sent anywhere; pm2 monit shows what there is")},
		{name: "unlink", about: "not here", apart: true, run: notHere("nothing is linked")},
		{name: "monitor", args: "[name]", about: "not here", apart: true, run: notHere("pm2 monit")},
		{name: "unmonitor", args: "[name]", about: "not here", apart: true, run: notHere("nothing is monitored elsewhere")},
		{name: "open", about: "not here", apart: true, run: notHere("pm2 monit")},
		{name: "plus", aliases: []string{"register"}, args: "[command] [option]", about: "not here", apart: true, run: notHere("pm2 monit"), options: []pm2Option{
			{"--info-node [url]", ""}, {"-d --discrete", ""}, {"-a --install-all", ""}}},
		{name: "login", about: "not here", apart: true, run: notHere("pm2 monit")},
		{name: "logout", about: "not here", apart: true, run: notHere("pm2 monit")},
		{name: "autoinstall", about: "not here", apart: true, run: notHere("pm2 start starts what you name")},
		{name: "install-otel", about: "not here", apart: true, run: notHere("npm install @opentelemetry/auto-instrumentations-node, and --node-args '--require @opentelemetry/auto-instrumentations-node/register'")},
		{name: "uninstall-otel", about: "not here", apart: true, run: notHere("npm uninstall")},
		{name: "completion", args: "[command]", about: "print a completion script", apart: true, run: (*face).completion},
	}
}

// noRotation is for who has had a module for it: apps that pm2 starts have PM2's
// defaults, with logs that grow, and nobody may believe otherwise.
const noRotation = "logs grow, as PM2's do: have logrotate run `pm2 reloadLogs` after it has renamed them; " +
	"or `nekoctl convert FILE > neko.yaml`, as apps of a neko.yaml have theirs rotated"

// notHere is a command of PM2's that neko does not have: it does nothing, and fails,
// so that no script believes otherwise.
func notHere(instead string) func(*face, context.Context) error {
	return func(f *face, _ context.Context) error {
		return failed(instead, "pm2 %s is not here", f.line.command)
	}
}

// installModule tells what takes the place of the modules that people have.
func (f *face) installModule(context.Context) error {
	instead := "there are no modules; start it as an app of its own"
	for module, hint := range map[string]string{
		"pm2-logrotate":       noRotation,
		"pm2-server-monit":    "pm2 monit shows the figures of all apps",
		"pm2-auto-pull":       "git pull && pm2 reload NAME, in a timer of systemd's",
		"pm2-health":          "liveness and readiness of a neko.yaml",
		"typescript":          "TypeScript runs as it is: pm2 start app.ts",
		"coffeescript":        "npm install -g coffeescript, and --interpreter coffee",
		"profiler":            "pm2 trigger NAME km:cpu:profiling:start",
		"@pm2/io":             "npm install @pm2/io in the app; its metrics and actions are understood",
		"pm2-githook":         "git pull && pm2 reload NAME, in a hook of your own",
		"pm2-log-rotate":      noRotation,
		"pm2-elasticsearch":   "ship the files of the logs folder",
		"pm2-discord-webhook": "journald and neko.log have the events",
	} {
		if strings.HasPrefix(f.line.words[0], module) {
			instead = hint
		}
	}
	return failed(instead, "pm2 install is not here: %s was not installed", printable(f.line.words[0]))
}

const pm2Usage = `usage: pm2 [options] <command>

pm2 -h, --help             all available commands and options
pm2 examples               display pm2 usage examples
pm2 <command> -h           help on a specific command

Access pm2 files in ~/.pm2
`

func (f *face) examples(context.Context) error {
	f.print("%s", `[PM2] pm2 usage examples:

- Start and add a process to the pm2 process list:

  $ pm2 start app.js --name app

- Show the process list:

  $ pm2 ls

- Stop and delete a process from the pm2 process list:

  $ pm2 delete app

- Stop, start and restart a process from the process list:

  $ pm2 stop app
  $ pm2 start app
  $ pm2 restart app

- Clusterize an app to all CPU cores available, and replace its processes
  without losing a request:

  $ pm2 start app.js -i max
  $ pm2 reload app

- Update the daemon; apps serve on:

  $ pm2 update

- Install completion:

  $ pm2 completion install
`)
	return nil
}

// nearPM2Command is the command that a word nearly is, "" if there is none.
func nearPM2Command(word string) string {
	var all []string
	for _, c := range pm2Commands() {
		all = append(append(all, c.name), c.aliases...)
	}
	return spec.Nearest(word, all)
}

// signature is how the help shows a command.
func (c pm2Command) signature() string {
	words := []string{strings.Join(append([]string{c.name}, c.aliases...), "|")}
	if len(c.options) > 0 {
		words = append(words, "[options]")
	}
	if c.args != "" {
		words = append(words, c.args)
	}
	return strings.Join(words, " ")
}

func pm2Help() string {
	var b strings.Builder
	b.WriteString("\n  Usage: pm2 [cmd] app\n\n  Options:\n\n")
	writeOptions(&b, pm2Options)
	b.WriteString("\n  Commands:\n\n")
	width := 0
	for _, c := range pm2Commands() {
		width = max(width, len(c.signature()))
	}
	for _, c := range pm2Commands() {
		fmt.Fprintf(&b, "    %-*s  %s\n", width, c.signature(), c.about)
	}
	return b.String()
}

func pm2CommandHelp(c pm2Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  Usage: %s [options] %s\n\n  %s\n\n  Options:\n\n", c.name, c.args, c.about)
	writeOptions(&b, append(c.options, pm2Options[len(pm2Options)-1]))
	b.WriteString("\n  The options of pm2 --help go with every command.\n")
	return b.String()
}

func writeOptions(b *strings.Builder, options []pm2Option) {
	width := 0
	for _, o := range options {
		width = max(width, len(o.flags))
	}
	for _, o := range options {
		if o.about != "" {
			fmt.Fprintf(b, "    %-*s  %s\n", width, o.flags, o.about)
		}
	}
}
