package pm2diff

// differences are those that are meant.
var differences = []difference{
	{
		step: `^ls -A`, at: "first command",
		pm2:  `out: (rpc|pub)\.sock`,
		neko: `out: (neko\.(lock|log|pid|sock)|notify\.sock|state\.json(\.new)?|.*\.idx)`,
		why:  "each has files of its own beside those that are PM2's",
	},
	{
		step: `^pm2 list$`, at: "first command", in: `^first command$`,
		pm2: `out: (| *-+| *[_\\/]+[_\\/ ]*| .*(Runtime Edition|PM2 is a Production|Load Balancer|Start and Daemonize|Load Balance 4|Monitor in production|Make pm2 auto-boot|To go further|http://pm2\.io/).*| +\$ pm2 (start|monitor|startup).*)`,
		why: "the first command shows no banner",
	},
	{
		step: `^(pm2 (jlist|prettylist)|cat \$PM2_HOME/dump\.pm2)`, at: "environments",
		pm2: `out: \[\d+\](\.pm2_env)?\.(_tree_pids is there|prev_restart_delay = 0)`,
		why: "what PM2's daemon notes for itself is of no use to others",
	},
	{
		step: `^(pm2 (jlist|prettylist)|cat \$PM2_HOME/dump\.pm2)`, at: "two instances",
		pm2: `out: \[\d+\](\.pm2_env)?\.merge_logs = true`,
		why: "a restart does not change where an app prints to; PM2 says so, and does not do it either",
	},
	{
		step: `^pm2 jlist`, at: "json", in: `^(json|javascript|yaml|only some|start or|a file changes|watch in a file|options beside a file|key .*)$`,
		pm2:  `out: \[\d+\]\.pm2_env(\.env)?\.(script = "\./(web|heeds)\.js"|updateEnv = true)`,
		neko: `out: \[\d+\]\.pm2_env\.env\.[A-Za-z_0-9]+ = .*`,
		why:  "after a restart from a file env has all that the processes are given, and the rest is as it was after the start",
	},
	{
		step: `^pm2 jlist`, at: "save and resurrect", in: `resurrect`,
		pm2: `out: \[\d+\]\.pm2_env\.(exit_code = 0|node_version = .*|version = .*)`,
		why: "of what has not run since a resurrect nothing is told of its run before",
	},
	{
		step: `^cat \$HOME/view`, at: "start view.js -l all.log --name app",
		pm2:  `out: \.(argv\[0\] = ".*/node"|argv\[1\] = ".*/ProcessContainer(Fork)?\.js"|title = "node .*")`,
		neko: `out: \.(argv\[[01]\] = ".*(/node|\.[cm]?js)"|title = "node")`,
		why:  "a program is started itself, not by a program of the supervisor's that loads it",
	},
	{
		step: `^cat \$HOME/view`, at: "start view.js --namespace red --name app -i 2 -o out.log -- -x -y=1",
		pm2: `out: \.env\.(SILENT|_pm2_version) = .*`,
		why: "the two are set by PM2's own loading of programs in cluster mode",
	},
	{
		step: `^cat \$HOME/view`, at: "restart --parallel 1", in: `^(restart|reload) |^a file changes$`,
		pm2: `out: \.env\.((exit_code|merge_logs|node_version|prev_restart_delay|script|version) = .*|_tree_pids is there)`,
		why: "after a restart a program gets what it got before, and not what PM2 has noted since",
	},
	{
		step: `^pm2 jlist$`, at: "reload --parallel 1", in: `^reload `,
		neko: `out: \[\d+\]\.pm2_env\.exit_code = 0`,
		why:  "the exit code is that of the process that was replaced; PM2 does not look at it in a reload",
	},
	{
		step: `^cat \$HOME/view`, at: "a program of Python's",
		pm2: `out: (\.env\.)?NODE_CHANNEL_(FD|SERIALIZATION_MODE) ?= ?.*`,
		why: "only programs of Node's have a channel for messages",
	},
	{
		step: `^cat \$HOME/view`, at: "start view.js -l all.log --name app",
		neko: `out: (\.env\.)?(NEKO_\w+|NOTIFY_SOCKET|INSTANCE_ID|GOMAXPROCS) ?= ?.*`,
		why:  "the worker contract: what is not read does no harm",
	},
	{
		step: `^pm2 (describe|show|desc|info) `, at: "start view.js -l all.log --name app",
		pm2: `out: (| Actions available |┌─┐|└─┘|│ km:\S+ │|│ \S+ │| Trigger via: .*)`,
		why: "the actions are those of @pm2/io, which PM2 loads into every program; without it there is nothing to trigger",
	},
	{
		step: `^pm2 (start|stop|restart|reload|delete) broken\.`, at: "no good file",
		pm2:  `(out|err): .*`,
		neko: `err: (error|hint): .*|err: `,
		why:  "a file that cannot be read is named with line and column, without a trace of the supervisor's own functions",
	},
	{
		step: `pm2 start (noscript|empty|object)\.json$`, at: "no good file",
		pm2:  `exit code 0|(out|err): .*`,
		neko: `exit code 1|err: .*`,
		why:  "a file in which there is nothing to start is in error, and the place is named",
	},
	{
		step: `^pm2 start web\.js --name . --?\S+ \S+`, at: "values that are no good",
		pm2:  `exit code 0|(out|err): .*`,
		neko: `exit code 1|(out: |err: (error|hint): .*|err: )`,
		why:  "a value that is no good is an error before anything is started, and one is enough",
	},
	{
		step: `--log-type nonsense`, at: "values that are no good",
		neko: `err: (\[PM2\]\[WARN\] n: log_type: .*|)`,
		why:  "what is not used is said",
	},
	{
		step: `\bpm2 `, at: "nobody",
		neko: `err: hint: .*`,
		why:  "an error tells what to do about it",
	},
	{
		step: `^pm2 reset \d+`, at: "nobody",
		pm2:  `exit code 0|(out|err): .*`,
		neko: `exit code 1|err: (Unknown process name|)`,
		why:  "a reset of what is not there fails, by an id as by a name",
	},
	{
		step: `^pm2 sendSignal SIGHUP heeds$`, at: "signals",
		pm2:  `exit code 0|out: .*`,
		neko: `exit code 1|out: |err: .*`,
		why:  "a signal that nobody has got was not sent",
	},
	{
		step: `^pm2 scale web x$`, at: "scale",
		pm2:  `err: \[PM2\]\[ERROR\] Nothing to do`,
		neko: `err: error: expected a number, not "x"`,
		why:  "a word that is no number is named",
	},
	{
		step: `^pm2 (start web\.js --name [de]|id [de])$`, at: "numbers", in: `^numbers$`,
		pm2:  `out: (\[0\] = \d|│ \d │ [de] │ .*)`,
		neko: `out: (\[0\] = \d|│ \d │ [de] │ .*)`,
		why:  "a process has the lowest number that is free",
	},
	{
		step: `^pm2 (get|conf)\b`, at: "configuration",
		neko: `out: (\$ pm2 set key1 val1|)`,
		why:  "a value that is not of a module is shown too",
	},
	{
		step: `^pm2 set$`, at: "configuration",
		pm2:  `exit code \d|(out|err): .*`,
		neko: `exit code 1|err: .*`,
		why:  "no editor is opened",
	},
	{
		step: `^cat .*\.log$`, at: "forms of lines",
		pm2:  `out: \.message = ".*\\n"`,
		neko: `out: \.message = ".*"`,
		why:  "the end of the line is no part of what is said in it",
	},
	{
		step: `^pm2 logs --nostream$`, at: "lines shown",
		pm2: `out: (PM2        \| .*|)`,
		why: "the daemon's log has what went wrong, and not each event",
	},
	{
		step: `^pm2 logs red --nostream$`, at: "lines shown",
		neko: `out: .*`,
		why:  "the lines of a namespace are shown; PM2 only follows them",
	},
	{
		step: `^pm2 jlist$`, at: "restart after a delay", in: `^restart after`,
		pm2:  `out: \[0\]\.pid = <pid>`,
		neko: `out: \[0\]\.pid = 0`,
		why:  "what waits for its restart has no pid: the process is gone",
	},
	{
		step: `^pm2 list$`, at: "restart after a delay", in: `^restart after`,
		pm2:  `out: │ 0 │ ends │ default │ N/A │ fork │ <pid> │ .*`,
		neko: `out: │ 0 │ ends │ default │ N/A │ fork │ 0 │ .* │ waiting … │ .*`,
		why:  "the same, and a status that is too long is cut as a text: PM2 cuts the color before it",
	},
	{
		step: `^pm2 restart ends$`, at: "restart after a delay", in: `^restart after`,
		pm2:  `exit code 1|(out|err): .*`,
		neko: `exit code 0|out: .*|err: `,
		why:  "what waits for its restart can be restarted at once",
	},
	{
		step: `<escape>`, at: "colours",
		pm2:  `out: .*<escape>.*`,
		neko: `out: .*`,
		why:  "what is not a terminal gets no escape sequences",
	},
}
