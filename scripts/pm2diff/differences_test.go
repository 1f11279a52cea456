package pm2diff

// differences are those that are meant.
var differences = []difference{
	{
		step: `^ls -A`, at: "first command",
		pm2:  `out: (rpc|pub)\.sock`,
		neko: `out: (neko\.(lock|log|pid|sock)|notify\.sock|state\.json|.*\.idx)`,
		why:  "each has files of its own beside those that are PM2's",
	},
	{
		step: `^cat \$HOME/view`, at: "start view.js -l all.log --name app",
		pm2:  `out: \.(argv\[0\] = ".*/node"|argv\[1\] = ".*/ProcessContainerFork\.js"|title = "node .*")`,
		neko: `out: \.(argv\[[01]\] = ".*(/node|\.js)"|title = "node")`,
		why:  "a program is started itself, not by a program of the supervisor's that loads it",
	},
	{
		step: `^cat \$HOME/view`, at: "start view.js -l all.log --name app",
		neko: `out: \.env\.(NEKO_\w+|NOTIFY_SOCKET|INSTANCE_ID|GOMAXPROCS) = .*`,
		why:  "the worker contract: what is not read does no harm",
	},
	{
		step: `^pm2 (describe|show|desc|info) `, at: "start view.js -l all.log --name app",
		pm2: `out: ( Actions available |┌─┐|└─┘|│ km:\S+ │|│ \S+ │| Trigger via: .*)`,
		why: "the actions are those of @pm2/io, which PM2 loads into every program; without it there is nothing to trigger",
	},
	{
		step: `^pm2 (start|stop|restart|reload|delete) broken\.`, at: "no good file",
		pm2:  `(out|err): .*`,
		neko: `err: (error|hint): .*|err: `,
		why:  "a file that cannot be read is named with line and column, without a trace of the supervisor's own functions",
	},
	{
		step: `<escape>`, at: "colours",
		pm2:  `out: .*<escape>.*`,
		neko: `out: .*`,
		why:  "what is not a terminal gets no escape sequences",
	},
}
