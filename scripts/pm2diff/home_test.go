package pm2diff

// places are PM2's home, and the variables that change it.
var places = []scenario{
	{name: "save and resurrect", core: true, text: `
		quietly pm2 start web.js -i 2 --name web -- an argument
		quietly pm2 start heeds.js --namespace red
		# A program tells the version of its Node a little later.
		until test $(pm2 jlist | grep -o '"node_version"' | wc -l) = 3
		quietly pm2 stop heeds
		pm2 save
		ls -A $PM2_HOME
		cat $PM2_HOME/dump.pm2
		pm2 dump
		ls -A $PM2_HOME
		pm2 resurrect | sort
		await ^web:0:online:0 web:1:online:0 heeds:2:stopped:0$
		sorted pm2 kill
		pm2 resurrect | sort
		await ^web:0:online:0 web:1:online:0 heeds:2:stopped:0$
		pm2 jlist
		pm2 delete heeds
		pm2 save
		cat $PM2_HOME/dump.pm2
		stat -c %a $PM2_HOME/dump.pm2
	`},
	{name: "saves of nothing", text: `
		pm2 resurrect
		pm2 save
		ls -A $PM2_HOME
		quietly pm2 start web.js
		quietly pm2 save
		quietly pm2 delete all
		pm2 save
		grep -c web $PM2_HOME/dump.pm2
		pm2 save --force
		cat $PM2_HOME/dump.pm2
		pm2 resurrect
		quietly pm2 start web.js
		quietly pm2 save
		pm2 cleardump
		cat $PM2_HOME/dump.pm2
	`},
	{name: "broken dump", text: `
		quietly pm2 start web.js
		quietly pm2 save
		quietly pm2 save
		quietly pm2 delete all
		echo '[{' > $PM2_HOME/dump.pm2
		pm2 resurrect
		await ^web:0:online:0$
		test -e $PM2_HOME/dump.pm2
		quietly pm2 delete all
		pm2 resurrect
		await ^web:0:online:0$
		quietly pm2 delete all
		echo '[{' > $PM2_HOME/dump.pm2.bak
		pm2 resurrect
		pm2 jlist
	`},
	{name: "configuration", core: true, text: `
		pm2 get
		pm2 set key1 val1
		cat $PM2_HOME/module_conf.json
		pm2 get key1
		pm2 get key2
		pm2 get
		pm2 set mod.key val
		pm2 set mod:other 1
		pm2 get mod
		pm2 get mod.key
		pm2 conf mod
		pm2 conf
		pm2 config mod
		pm2 config mod val
		pm2 multiset 'a 1 b 2'
		pm2 multiset 'a 1 b'
		cat $PM2_HOME/module_conf.json
		pm2 unset key1
		pm2 unset nothing
		pm2 unset mod
		cat $PM2_HOME/module_conf.json
		pm2 set key
		pm2 set
		pm2 unset all
		cat $PM2_HOME/module_conf.json
	`},
	{name: "configuration of an app", text: `
		quietly pm2 start view.js --name app
		until test -s $HOME/view-0.json
		pm2 set app.word said
		await ^app:0:online:1$
		pm2 jlist
		pm2 multiset 'app.word again'
		await ^app:0:online:2$
		pm2 unset app
		pm2 restart app
		pm2 jlist
	`},
	{name: "environments", core: true, text: `
		COLOUR=red pm2 start view.js --name app
		until test -s $HOME/view-0.json; grep -o '"COLOUR":"[^"]*"' $HOME/view-0.json && rm $HOME/view-0.json
		COLOUR=blue pm2 restart app
		until test -s $HOME/view-0.json
		grep -o '"COLOUR":"[^"]*"' $HOME/view-0.json; rm $HOME/view-0.json
		COLOUR=blue OTHER=x pm2 restart app --update-env
		until test -s $HOME/view-0.json
		grep -o '"\(COLOUR\|OTHER\)":"[^"]*"' $HOME/view-0.json; rm $HOME/view-0.json
		pm2 restart app --update-env
		until test -s $HOME/view-0.json
		grep -o '"\(COLOUR\|OTHER\)":"[^"]*"' $HOME/view-0.json; rm $HOME/view-0.json
		COLOUR=green pm2 reload app --update-env
		until test -s $HOME/view-0.json
		grep -o '"\(COLOUR\|OTHER\)":"[^"]*"' $HOME/view-0.json
		pm2 env 0 | grep COLOUR
		pm2 restart app --env production
		pm2 reload app --env production
		pm2 jlist
	`},
	{name: "silence", text: `
		PM2_SILENT=true pm2 start web.js
		PM2_SILENT=true pm2 list
		PM2_SILENT=true pm2 jlist
		sorted PM2_SILENT=true pm2 prettylist
		PM2_SILENT=true pm2 pid web
		PM2_SILENT=true pm2 stop nobody
		PM2_SILENT=true pm2 describe web
		quietly PM2_SILENT=true pm2 logs --nostream
		PM2_SILENT=false pm2 list
		pm2 list -s
		pm2 jlist --silent
		pm2 restart web -s
		pm2 restart nobody -s
		pm2 stop web --silent
		pm2 -s delete web
		pm2 kill -s
	`},
	{name: "colours", core: true, text: `
		pm2 start web.js | sed 's/\x1b/<escape>/g'
		pm2 list | sed 's/\x1b/<escape>/g'
		NO_COLOR=1 pm2 list | sed 's/\x1b/<escape>/g'
		pm2 list --no-color | sed 's/\x1b/<escape>/g'
		FORCE_COLOR=0 pm2 list | sed 's/\x1b/<escape>/g'
		pm2 stop nobody 2>&1 | sed 's/\x1b/<escape>/g'
	`},
	{name: "orders of a list", text: `
		quietly pm2 start web.js --name b
		quietly pm2 start web.js --name a
		quietly pm2 start web.js --name c -i 2
		quietly pm2 stop a
		pm2 list --sort name
		pm2 list --sort name:desc
		pm2 list --sort id:desc
		pm2 list --sort status
		pm2 list --sort restart
		pm2 list --sort nonsense
		pm2 ls
		pm2 l
		pm2 ps
		pm2 status
	`},
	{name: "other places", cold: true, text: `
		PM2_PID_FILE_PATH=$HOME/other.pid pm2 list
		test -s $HOME/other.pid
		ls -A $PM2_HOME
		PM2_PID_FILE_PATH=$HOME/other.pid pm2 kill
		PM2_LOG_FILE_PATH=$HOME/other.log PM2_DUMP_FILE_PATH=$HOME/other.dump pm2 start web.js
		PM2_DUMP_FILE_PATH=$HOME/other.dump pm2 save
		ls -A $HOME $PM2_HOME
		unset PM2_HOME; pm2 ping | tail -1
		PM2_HOME=$HOME/elsewhere pm2 ping | tail -1
		ls -A $HOME $HOME/elsewhere
		PM2_HOME=$HOME/elsewhere pm2 kill
	`},
	{name: "defaults by variables", text: `
		quietly pm2 kill
		PM2_KILL_TIMEOUT=300 PM2_KILL_SIGNAL=SIGTERM pm2 ping
		quietly ENDS_AFTER=60000 pm2 start heeds.js -o heard.log
		until grep -q begun heard.log
		pm2 stop heeds
		cat heard.log
		pm2 kill
		PM2_KILL_USE_MESSAGE=true pm2 ping
		quietly pm2 start heeds.js -o message.log
		until grep -q begun message.log
		pm2 stop heeds
		cat message.log
		quietly pm2 start web.js
		PM2_LOG_DATE_FORMAT=YYYY pm2 list
		PM2_CONCURRENT_ACTIONS=4 pm2 restart all
	`},
	{name: "version and help", text: `
		pm2 --version
		pm2 -V
		pm2 -v
		pm2 --help
		pm2 -h
		pm2 start --help
		pm2 logs -h
		pm2 examples
	`},
	{name: "startup", text: `
		test $(id -u) = 0 || pm2 startup systemd -u tester --hp /home/tester
		pm2 startup nonsense
		pm2 unstartup nonsense
	`},
	{name: "what comes later or never", text: `
		pm2 link delete
		pm2 unlink
		pm2 monitor nobody
		pm2 unmonitor nobody
		pm2 pull nobody
		pm2 forward nobody
		pm2 backward nobody
		pm2 deploy nonsense
		pm2 inspect nobody
		pm2 uninstall nothing
	`},
	{name: "in the foreground", text: `
		quietly pm2 kill
		pm2 start heeds.js -o heard.log --no-daemon > shown & echo $! > daemon
		until grep -q begun heard.log
		await ^heeds:0:online:0$
		quietly kill $(cat daemon)
		until ! kill -0 $(cat daemon) 2> /dev/null
		cat heard.log
	`},
	{name: "for containers", text: `
		quietly pm2 kill
		timeout 20 pm2-runtime ends.js --no-autorestart -- 0 > out 2>&1; test $? != 124
		pm2-runtime heeds.js > shown 2>&1 & echo $! > program
		until grep -q begun shown
		quietly kill -INT $(cat program)
		until ! kill -0 $(cat program) 2> /dev/null
		grep -o 'begun\|SIG[A-Z0-9]*' shown | sort -u
	`},
}
