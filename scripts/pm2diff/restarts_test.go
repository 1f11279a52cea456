package pm2diff

// restarts are programs that end by themselves, and what is done about it.
var restarts = []scenario{
	{name: "crashes until errored", core: true, text: `
		# Who lives for min_uptime, or all in all for three times that, starts with three restarts again: a start may take long.
		echo '{"name":"ends","script":"ends.js","args":"1","max_restarts":3,"min_uptime":20000}' > ends.json
		quietly pm2 start ends.json
		await ^ends:0:errored:
		pm2 jlist
		pm2 list
		pm2 describe ends
		quietly pm2 restart ends
		await ^ends:0:errored:
		pm2 jlist
		quietly pm2 start ends
		await ^ends:0:errored:
		pm2 reset ends
		await ^ends:0:errored:0$
		pm2 stop ends
		await ^ends:0:stopped:0$
	`},
	{name: "crashes until errored by default", text: `
		quietly pm2 start ends.js -- 1
		await ^ends:0:errored:
		pm2 jlist
	`},
	{name: "crashes in cluster mode", text: `
		quietly pm2 start ends.js -i 1 --max-restarts 2 -- 1
		await ^ends:0:errored:
		pm2 jlist
	`},
	{name: "killed", core: true, text: `
		quietly pm2 start web.js -i 1 --name web
		await ^web:0:online:0$
		kill -9 $(pm2 pid web)
		await ^web:0:online:1$
		pm2 jlist
		kill $(pm2 pid web)
		await ^web:0:online:2$
		pm2 jlist
	`},
	{name: "ends well", text: `
		quietly pm2 start ends.js --max-restarts 2 -- 0 20
		await ^ends:0:errored:
		pm2 jlist
	`},
	{name: "no restart", text: `
		# Whether the list still shows them is chance, here as below.
		quietly pm2 start ends.js --no-autorestart -- 3 100
		await ^ends:0:stopped:0$
		pm2 jlist
		pm2 list
		quietly pm2 restart ends
		await ^ends:0:stopped:
		pm2 jlist
	`},
	{name: "codes that stop", text: `
		quietly pm2 start ends.js --stop-exit-codes 42 --name wanted -- 42 50
		await ^wanted:0:stopped:0$
		quietly pm2 start ends.js --stop-exit-codes 3 --name other --max-restarts 1 -- 42 50
		await other:1:errored:
		pm2 jlist
	`},
	{name: "codes that stop in a file", text: `
		echo '[{"name":"a","script":"ends.js","args":"42 50","stop_exit_codes":[12,42]}]' > a.json
		quietly pm2 start a.json
		await ^a:0:stopped:0$
		pm2 jlist
	`},
	{name: "restart after a delay", core: true, text: `
		quietly pm2 start ends.js --restart-delay 60000 -- 1 50
		await ^ends:0:waiting restart:0$
		pm2 jlist
		pm2 list
		pm2 restart ends
		await ^ends:0:waiting restart:
		pm2 stop ends
		await ^ends:0:stopped:
		pm2 jlist
	`},
	{name: "restart after ever longer delays", text: `
		quietly pm2 start ends.js --exp-backoff-restart-delay 60000 -- 1 50
		await ^ends:0:waiting restart:0$
		pm2 jlist
		pm2 delete ends
		quietly pm2 start ends.js --exp-backoff-restart-delay 50 -- 1 20
		await :(online|waiting restart):[3-9]
		quietly pm2 stop ends
		await :stopped:
	`},
	{name: "least uptime", text: `
		echo '{"name":"a","script":"ends.js","args":"1 400","min_uptime":100,"max_restarts":2}' > a.json
		quietly pm2 start a.json
		await ^a:0:online:[3-9]$
		quietly pm2 stop a
		echo '{"name":"b","script":"ends.js","args":"1 400","min_uptime":"5s","max_restarts":2}' > b.json
		quietly pm2 start b.json
		await b:1:errored:
		quietly pm2 delete a
		pm2 jlist
	`},
	{name: "thrown", text: `
		quietly pm2 start throws.js --max-restarts 1 -e err.log
		await ^throws:0:errored:
		grep -c thrown err.log
		cat err.log
	`},
	{name: "too much memory", text: `
		quietly pm2 kill
		PM2_WORKER_INTERVAL=100 pm2 ping
		pm2 start grows.js --max-memory-restart 100M
		await ^grows:0:online:[1-9]
		quietly pm2 stop grows
	`},
	{name: "by the clock", text: `
		quietly pm2 start web.js -i 1 --name web --cron-restart '* * * * * *'
		await ^web:0:online:[2-9]
		quietly pm2 stop web
		await ^web:0:online:
		quietly pm2 restart web --cron-restart 0
		quietly pm2 stop web
		await ^web:0:stopped:
	`},
	{name: "watched", core: true, text: `
		quietly pm2 start web.js --watch watched --name web
		await ^web:0:online:0$
		until echo more >> watched/file.txt; pm2 jlist | grep -q '"restart_time":[1-9]'
		pm2 describe web | grep -i watch
		# How often it was restarted is chance.
		quietly pm2 stop web
		pm2 jlist | grep -o '"watch":[^,]*'
		quietly pm2 start web
		pm2 jlist | grep -o '"watch":[^,]*'
		quietly pm2 restart web --watch
		pm2 jlist | grep -o '"watch":[^,]*'
		quietly pm2 restart web --watch
		pm2 jlist | grep -o '"watch":[^,]*'
	`},
	{name: "watch in a file", text: `
		echo '{"name":"a","script":"web.js","watch":true,"ignore_watch":["watched","sub"],"watch_delay":10}' > a.json
		quietly pm2 start a.json
		await ^a:0:online:0$
		pm2 jlist
		pm2 stop a.json
		pm2 jlist
		pm2 restart a.json
		await ^a:0:online:
		pm2 jlist
		pm2 stop a --watch
		pm2 jlist
	`},
	{name: "a stop while a restart is waited for", text: `
		quietly pm2 start ends.js --restart-delay 9000 -- 1 20
		await waiting
		pm2 stop ends
		await ^ends:0:stopped:
		pm2 jlist
		quietly pm2 start ends
		await ^ends:0:(online|waiting restart):
		pm2 delete ends
		pm2 jlist
	`},
	{name: "a stop while it starts", text: `
		(pm2 start ready.js --wait-ready --listen-timeout 60000 > /dev/null 2>&1; echo $? > code) & sleep 0
		await ^ready:0:launching:0$
		# With PM2 it goes on starting for ever.
		pm2 stop ready
	`},
	{name: "two at once", text: `
		pm2 start web.js --name a > /dev/null 2>&1 & pm2 start web.js --name b > /dev/null 2>&1; wait
		await ^[ab]:[01]:online:0 [ab]:[01]:online:0$
		pm2 restart a > /dev/null 2>&1 & pm2 restart a > /dev/null 2>&1; wait
		await a:[01]:online:
	`},
}
