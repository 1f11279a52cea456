package pm2diff

// logs are what is kept and shown of what programs print.
var logs = []scenario{
	{name: "lines shown", core: true, text: `
		quietly pm2 start counts.js --name one
		quietly pm2 start counts.js --name two --namespace red -i 1
		until test $(cat $PM2_HOME/logs/*.log | wc -l) -ge 12
		# What was written to last is shown last.
		touch -d 2026-01-01 $PM2_HOME/logs/*-out*; touch -d 2026-01-02 $PM2_HOME/logs/one-error.log
		pm2 logs --nostream
		pm2 logs one --nostream
		pm2 logs 1 --nostream
		pm2 logs one --nostream --lines 2
		pm2 logs one --nostream --lines 0
		pm2 logs one --nostream --out
		pm2 logs one --nostream --err
		pm2 logs one --nostream --raw
		pm2 logs one --nostream --raw --out --lines 1
		pm2 logs one --nostream --timestamp
		pm2 logs one --nostream --timestamp HH:mm
		pm2 logs one --nostream --json
		pm2 logs one --nostream --format
		pm2 logs one --nostream --highlight line
		pm2 logs /o/ --nostream
		pm2 logs red --nostream
		pm2 log one --nostream
		pm2 logs nobody --nostream
		pm2 flush one
		# All were written to at once then: which is the last is chance.
		sorted pm2 logs one --nostream
		pm2 flush
		sorted pm2 logs --nostream
	`},
	{name: "lines followed", text: `
		quietly pm2 start prints.js --name one
		quietly pm2 start prints.js --name two
		until test $(cat $PM2_HOME/logs/*.log | wc -l) -ge 4
		pm2 logs one --lines 0 > followed & echo $! > reader
		pm2 logs --lines 0 --raw > raw & echo $! >> reader
		pm2 logs one --lines 0 --json > json & echo $! >> reader
		pm2 logs one --lines 0 --format > format & echo $! >> reader
		pm2 logs one --lines 0 --timestamp YYYY > stamped & echo $! >> reader
		until pm2 send 0 more > /dev/null; for f in followed raw json format stamped; do grep -q 'heard more' $f || exit 1; done
		quietly kill $(cat reader)
		grep -m 1 heard followed
		grep -m 1 heard raw
		grep -m 1 heard json
		grep -m 1 heard format
		grep -m 1 heard stamped
	`},
	{name: "followed before the app is there", text: `
		pm2 logs red --lines 0 > followed & echo $! > reader
		until pm2 delete late > /dev/null 2>&1; pm2 start prints.js --name late --namespace red > /dev/null; pm2 send late x > /dev/null; grep -q 'to out' followed
		quietly kill $(cat reader)
		grep -m 1 'to out' followed
	`},
	{name: "files of logs", core: true, text: `
		quietly pm2 start prints.js --name fork -o fork.out -e fork.err -l fork.all
		quietly pm2 start prints.js --name cluster -i 1 -o cluster.out -e cluster.err -l cluster.all
		quietly pm2 start prints.js --name merged -i 1 -o merged.out -e merged.err -l merged.all --merge-logs
		quietly pm2 start prints.js --name deep -o a/b/c/deep.log
		quietly pm2 start prints.js --name slash/in/it
		quietly pm2 start prints.js --name 'blank in it'
		quietly pm2 start prints.js --name fork2 -i 2 -x
		until test $(cat fork*.out fork*.err fork*.all cluster*.out cluster*.err cluster*.all merged* a/b/c/* | wc -l) -ge 13
		ls -A . a/b/c $PM2_HOME/logs $PM2_HOME/pids
		sort fork.all
		pm2 jlist
	`},
	{name: "forms of lines", core: true, text: `
		quietly pm2 start prints.js --name json --log-type json -o json.log -e json-err.log
		quietly pm2 start counts.js --name dated --log-date-format 'YYYY-MM-DD HH:mm:ss Z' -o dated.log
		quietly pm2 start counts.js --name timed --time -o timed.log
		quietly pm2 start prints.js --name both --time --log-type json -o both.log
		quietly pm2 start counts.js --name cluster -i 1 --time -o cluster.log --merge-logs
		until test $(cat json.log json-err.log dated.log timed.log both.log cluster.log | wc -l) -ge 15
		cat json.log
		cat json-err.log
		cat dated.log
		cat timed.log
		cat both.log
		cat cluster.log
	`},
	{name: "logs opened anew", text: `
		quietly pm2 start prints.js -o out.log
		until grep -q out out.log
		mv out.log moved.log
		pm2 reloadLogs
		until pm2 send 0 more > /dev/null; grep -q more out.log
		grep -c more moved.log
	`},
	{name: "logs emptied by hand", text: `
		quietly pm2 start prints.js -o out.log
		until grep -q out out.log
		: > out.log
		pm2 send 0 more
		until grep -q more out.log
		cat out.log
	`},
	{name: "no logs", text: `
		quietly pm2 start prints.js --name a -o NULL -e NULL
		quietly pm2 start prints.js --name b -o /dev/null -e /dev/null -i 1
		quietly pm2 start prints.js --name c --disable-logs
		await ^a:0:online:0 b:1:online:0 c:2:online:0$
		ls -A $PM2_HOME/logs
		pm2 jlist
		pm2 logs --nostream
	`},
	{name: "restarts go on in the log", text: `
		quietly pm2 start counts.js -o out.log
		until test $(wc -l < out.log) = 4
		quietly pm2 restart counts
		until test $(wc -l < out.log) = 8
		quietly pm2 delete counts
		quietly pm2 start counts.js -o out.log
		until test $(wc -l < out.log) = 12
	`},
}
