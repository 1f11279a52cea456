package pm2diff

// failures are commands that cannot be carried out.
var failures = []scenario{
	{name: "nobody", core: true, text: `
		pm2 restart nobody
		pm2 restart 666
		pm2 restart all
		pm2 reload nobody
		pm2 reload all
		pm2 reload 666
		pm2 stop nobody
		pm2 stop 666
		pm2 stop all
		pm2 delete nobody
		pm2 delete 666
		pm2 delete all
		pm2 describe nobody
		pm2 describe 666
		pm2 show nobody
		pm2 env 666
		pm2 env nobody
		pm2 id nobody
		pm2 pid nobody
		pm2 reset nobody
		pm2 reset 666
		pm2 reset all
		pm2 scale nobody 2
		pm2 send 666 hello
		pm2 trigger nobody act
		pm2 flush nobody
		pm2 logs nobody --nostream
		pm2 start nobody
		pm2 start 666
		pm2 start all
		pm2 restart /nobody/
	`},
	{name: "no such file", text: `
		pm2 start missing.js
		pm2 start missing.json
		pm2 start missing.config.js
		pm2 start missing.yaml
		pm2 start missing.yml
		pm2 start ./missing
		pm2 start missing/web.js
		pm2 restart missing.json
		pm2 reload missing.json
		pm2 stop missing.json
		pm2 delete missing.json
		pm2 startOrRestart missing.json
		pm2 startOrReload missing.json
		pm2 startOrGracefulReload missing.json
		pm2 jlist
	`},
	{name: "no good file", core: true, text: `
		pm2 start broken.json
		pm2 start broken.yaml
		pm2 start noscript.json
		pm2 stop broken.json
		pm2 delete broken.json
		pm2 restart broken.json
		pm2 reload broken.json
		echo '[]' > empty.json; pm2 start empty.json
		echo '{}' > object.json; pm2 start object.json
		echo '{"apps":[{"script":"missing.js"}]}' > gone.json; pm2 start gone.json
		echo '{"apps":[{"script":"missing.js"},{"script":"web.js"}]}' > half.json; pm2 start half.json
		await ^web:0:online:0$
		pm2 jlist
	`},
	{name: "no good script file", text: `
		pm2 start broken.config.js 2>/dev/null
		pm2 jlist
	`},
	{name: "too few arguments", text: `
		pm2
		pm2 stop
		pm2 restart
		pm2 reload
		pm2 delete
		pm2 describe
		pm2 env
		pm2 id
		pm2 scale
		pm2 scale web
		pm2 send
		pm2 sendSignal
		pm2 trigger
		pm2 reset
		pm2 unset
		pm2 multiset
		pm2 startOrRestart
		pm2 startOrReload
		pm2 startOrGracefulReload
		pm2 attach
		pm2 inspect
		pm2 pull
		pm2 forward
		pm2 backward
		pm2 deploy
		pm2 install
		pm2 uninstall
		pm2 start
	`},
	{name: "too many arguments", text: `
		pm2 kill now
		pm2 save now
		pm2 dump now
		pm2 cleardump now
		pm2 resurrect now
		pm2 prettylist now
		pm2 list now
		pm2 jlist now
		pm2 ping now
		pm2 id a b
		pm2 env 0 1
	`},
	{name: "unknown words", core: true, text: `
		pm2 nonsense
		pm2 nonsense --help
		pm2 list --nonsense
		pm2 start web.js --nonsense
		pm2 start web.js --name
		pm2 start web.js -i
		pm2 start web.js -o
		pm2 start web.js -Z
		pm2 jlist
	`},
	{name: "values that are no good", core: true, text: `
		pm2 start web.js --name a -i x
		quietly pm2 delete a; true
		pm2 start web.js --name b --max-memory-restart 10X
		pm2 start web.js --name c --kill-timeout x
		pm2 start web.js --name d --restart-delay x
		pm2 start web.js --name e --cron-restart '* * * asdf'
		pm2 start web.js --name f --cron-restart nonsense
		pm2 start web.js --name g --max-restarts x
		pm2 start web.js --name h --uid nobody-of-that-name
		pm2 start web.js --name i --gid nobody-of-that-name
		pm2 start web.js --name j --interpreter nonsense
		pm2 start web.js --name k --exp-backoff-restart-delay x
		pm2 start web.js --name l --listen-timeout x
		pm2 start web.js --name m --cwd /nowhere
		pm2 start web.js --name n --log-type nonsense
		pm2 start web.js --name o --stop-exit-codes x
		pm2 list
		pm2 jlist
	`},
	{name: "reload twice", text: `
		quietly pm2 start web.js
		date +%s000 > $PM2_HOME/reload.lock
		pm2 reload web
		pm2 reload web --force
		ls -A $PM2_HOME
	`},
}
