package pm2diff

// lifecycle is what commands do with processes, one after the other.
var lifecycle = []scenario{
	{name: "first command", core: true, cold: true, text: `
		pm2 list
		ls -A $PM2_HOME
		ls -A $PM2_HOME/logs $PM2_HOME/pids
		pm2 kill
		pm2 kill
		ls -A $PM2_HOME
	`},
	{name: "two instances", core: true, text: `
		pm2 start web.js -i 2 --name web
		await ^web:0:online:0 web:1:online:0$
		pm2 jlist
		sorted pm2 prettylist
		pm2 list
		pm2 list -m
		pm2 id web
		pm2 pid web
		pm2 pid
		pm2 describe web
		sorted pm2 env 0
		ls -A $PM2_HOME/logs $PM2_HOME/pids
		pm2 restart web
		await ^web:0:online:1 web:1:online:1$
		pm2 reload web
		await ^web:0:online:2 web:1:online:2$
		pm2 reset web
		await ^web:0:online:0 web:1:online:0$
		pm2 stop web
		pm2 list
		pm2 jlist
		pm2 describe 0
		ls -A $PM2_HOME/pids
		pm2 restart web
		await ^web:0:online:0 web:1:online:0$
		sorted pm2 delete web
		pm2 jlist
		sorted pm2 prettylist
		ls -A $PM2_HOME/pids
	`},
	{name: "one process", text: `
		pm2 start web.js
		await ^web:0:online:0$
		pm2 jlist
		sorted pm2 prettylist
		pm2 show web
		pm2 restart 0
		await ^web:0:online:1$
		pm2 reload web
		await ^web:0:online:2$
		pm2 stop 0
		pm2 stop 0
		pm2 start web
		await ^web:0:online:2$
		pm2 start web
		await ^web:0:online:3$
		pm2 start 0
		await ^web:0:online:4$
		pm2 start web.js
		pm2 start web.js -f
		await ^web:0:online:4 web:1:online:0$
		pm2 stop 1
		pm2 start web.js
		pm2 delete web.js
		pm2 list
		pm2 del 0
		pm2 delete all
	`},
	{name: "numbers", core: true, text: `
		quietly pm2 start web.js --name a
		quietly pm2 start web.js --name b
		quietly pm2 start web.js --name c
		quietly pm2 delete b
		pm2 start web.js --name d
		await ^a:0:online:0 .*c:2:online:0
		pm2 id d
		quietly pm2 delete d
		pm2 start web.js --name e
		pm2 id e
		quietly pm2 delete all
		pm2 start web.js --name f
		await ^f:
		pm2 id f
		ls -A $PM2_HOME/pids
	`},
	{name: "scale", core: true, text: `
		quietly pm2 start web.js -i 2 --name web
		pm2 scale web 4
		await ^web:0:online:0 web:1:online:0 web:2:online:0 web:3:online:0$
		pm2 scale web 4
		pm2 scale web 2
		await ^web:2:online:0 web:3:online:0$
		# The new ones have other numbers: see there.
		quietly pm2 scale web +1
		await ^web:.:online:0 web:.:online:0 web:.:online:0$
		quietly pm2 scale web 4
		await ^web:.:online:0 web:.:online:0 web:.:online:0 web:.:online:0$
		pm2 scale nobody 3
		pm2 scale web
		pm2 scale web x
	`},
	{name: "namespaces", core: true, text: `
		quietly pm2 start web.js --name a --namespace red
		quietly pm2 start web.js --name b --namespace red
		quietly pm2 start web.js --name c
		await ^a:0:online:0 b:1:online:0 c:2:online:0$
		pm2 list
		pm2 restart red
		await ^a:0:online:1 b:1:online:1 c:2:online:0$
		pm2 start red
		await ^a:0:online:2 b:1:online:2 c:2:online:0$
		pm2 reload red
		await ^a:0:online:3 b:1:online:3 c:2:online:0$
		pm2 stop red
		pm2 delete red
		pm2 list
		pm2 stop default
	`},
	{name: "patterns", text: `
		quietly pm2 start web.js --name api-1
		quietly pm2 start web.js --name api-2
		quietly pm2 start web.js --name job
		pm2 stop '/api-[12]/'
		await ^api-1:0:stopped:0 api-2:1:stopped:0 job:2:online:0$
		pm2 restart /api/
		await ^api-1:0:online:0 api-2:1:online:0 job:2:online:0$
		pm2 restart /nothing/
		pm2 reload '/^job$/'
		pm2 delete /api/
		await ^job:2:online:1$
		pm2 list
	`},
	{name: "several targets", text: `
		pm2 start web.js heeds.js prints.js
		await ^web:0:online:0 heeds:1:online:0 prints:2:online:0$
		pm2 restart web heeds prints
		await ^web:0:online:1 heeds:1:online:1 prints:2:online:1$
		pm2 stop web nobody prints
		pm2 stop web heeds prints
		pm2 delete web 1 prints
		pm2 jlist
	`},
	{name: "names that are numbers", text: `
		quietly pm2 start web.js --name 455
		pm2 restart 455
		await ^455:0:online:1$
		pm2 restart 0
		await ^455:0:online:2$
		pm2 stop 455
		pm2 describe 455
		pm2 delete 455
		pm2 jlist
	`},
	{name: "new names", text: `
		quietly pm2 start web.js --name old
		pm2 restart old --name new
		await ^new:0:online:1$
		pm2 restart new
		await ^new:0:online:2$
		pm2 start 0 --name newer
		await ^newer:0:online:3$
		pm2 jlist
		ls -A $PM2_HOME/logs $PM2_HOME/pids
	`},
	{name: "signals", core: true, text: `
		quietly pm2 start heeds.js -o heard.log
		until grep -q begun heard.log
		pm2 sendSignal SIGUSR2 heeds
		until grep -q SIGUSR2 heard.log
		pm2 sendSignal SIGHUP 0
		until grep -q SIGHUP heard.log
		pm2 sendSignal SIGHUP nobody
		pm2 sendSignal SIGHUP 17
		pm2 sendSignal NONSENSE heeds
		pm2 stop heeds
		until grep -q SIGINT heard.log
		cat heard.log
		pm2 sendSignal SIGHUP heeds
	`},
	{name: "slow stop", core: true, text: `
		quietly ENDS_AFTER=60000 pm2 start heeds.js -o heard.log
		until grep -q begun heard.log
		pm2 stop heeds
		await ^heeds:0:stopped:0$
		cat heard.log
		pm2 restart heeds
		await ^heeds:0:online:0$
		until test $(grep -c begun heard.log) = 2
		pm2 delete heeds
		until test $(grep -c SIGINT heard.log) = 2
		cat heard.log
	`},
	{name: "stop by message", text: `
		quietly pm2 start heeds.js -o heard.log --shutdown-with-message
		until grep -q begun heard.log
		pm2 jlist
		pm2 stop heeds
		cat heard.log
		pm2 restart heeds
		await ^heeds:0:online:0$
		pm2 delete heeds
	`},
	{name: "stop by message in cluster mode", text: `
		quietly pm2 start heeds.js -i 1 -o heard.log --merge-logs --shutdown-with-message
		until grep -q begun heard.log
		pm2 stop heeds
		cat heard.log
	`},
	{name: "standard input", text: `
		quietly pm2 start prints.js -o heard.log
		until grep -q out heard.log
		pm2 send 0 'a line'
		until grep -q 'heard a line' heard.log
		pm2 send 7 'a line'
		pm2 send prints 'a line'
		pm2 send 0
		cat heard.log
		echo hello | timeout 2 pm2 attach 0
	`},
	{name: "actions", text: `
		quietly pm2 start acts.js
		await ^acts:0:online:0$
		until pm2 jlist | grep -q greet
		pm2 trigger acts greet
		pm2 trigger acts greet you
		pm2 trigger 0 greet
		pm2 trigger acts nothing
		pm2 trigger nobody greet
		pm2 trigger acts
		pm2 jlist
	`},
	{name: "ready by message", core: true, text: `
		(pm2 start ready.js --wait-ready --listen-timeout 60000 > started.log 2>&1; echo $? > code) & sleep 0
		await ^ready:0:launching:0$
		test -e code
		pm2 list
		touch go
		until test -s code
		await ^ready:0:online:0$
		cat started.log code
		pm2 jlist
		pm2 restart ready --wait-ready
		await ^ready:0:online:1$
	`},
	{name: "ready by message in cluster mode", text: `
		(pm2 start ready.js -i 1 --wait-ready --listen-timeout 20000 > started.log 2>&1; echo $? > code) & sleep 0
		await ^ready:0:launching:0$
		touch go
		until test -s code
		await ^ready:0:online:0$
		cat started.log code
		pm2 reload ready
		await ^ready:0:online:1$
		pm2 jlist
	`},
	{name: "never ready", text: `
		pm2 start ready.js --wait-ready --listen-timeout 500
		await ^ready:0:online:0$
		pm2 reload ready
		await ^ready:0:online:1$
		pm2 jlist
	`},
	{name: "not started", text: `
		pm2 start web.js --no-autostart
		pm2 list
		pm2 jlist
		pm2 start web
		pm2 restart web
		pm2 jlist
	`},
	{name: "without a daemon", cold: true, text: `
		quietly pm2 jlist
		pm2 kill
		quietly pm2 ping
		pm2 kill
		pm2 list | grep -c Spawning
		cat $PM2_HOME/pm2.pid
		pm2 ping
		kill $(cat $PM2_HOME/pm2.pid)
		until ! test -e $PM2_HOME/pm2.pid
		ls -A $PM2_HOME
	`},
	{name: "end of the daemon ends programs", core: true, text: `
		quietly pm2 start heeds.js -o heard.log
		until grep -q begun heard.log
		pm2 pid heeds > program
		kill $(cat $PM2_HOME/pm2.pid)
		until ! kill -0 $(cat program)
		until grep -q SIGINT heard.log
		cat heard.log
		until ! test -e $PM2_HOME/pm2.pid
	`},
	{name: "update", text: `
		quietly pm2 start web.js -i 2 --name web
		quietly pm2 start heeds.js
		quietly pm2 stop heeds
		pm2 update
		await ^web:0:online:0 web:1:online:0 heeds:2:stopped:0$
		pm2 jlist
		pm2 updatePM2
		ls -A $PM2_HOME
	`},
	{name: "all", text: `
		quietly pm2 start web.js
		quietly pm2 start heeds.js
		pm2 restart all
		await ^web:0:online:1 heeds:1:online:1$
		pm2 reload all
		await ^web:0:online:2 heeds:1:online:2$
		pm2 reset all
		pm2 stop all
		pm2 start all
		await ^web:0:online:0 heeds:1:online:0$
		pm2 flush
		pm2 reloadLogs
		pm2 jlist
		pm2 delete all
		pm2 list
	`},
}
