package pm2diff

import "strings"

// options are those of start (but --trace and --deep-monitoring, with which PM2 installs
// packages into its own folder), each with what it needs, in fork mode; in cluster mode
// too, where that may make a difference.
var options = []struct {
	words   string
	core    bool
	cluster bool
}{
	{words: "", cluster: true},
	{words: "--name other", cluster: true},
	{words: "-n other"},
	{words: "--interpreter node"},
	{words: "--interpreter-args '--no-warnings --stack-size=900'", cluster: true},
	{words: "--node-args='--no-warnings'", cluster: true},
	{words: "--node-args '--title=called'"},
	{words: "-o logs/out.log", cluster: true},
	{words: "--output out.log -e err.log", cluster: true},
	{words: "-l all.log", core: true, cluster: true},
	{words: "-l all.log --merge-logs", cluster: true},
	{words: "-l"},
	{words: "-o NULL -e NULL", cluster: true},
	{words: "-o /dev/null -e /dev/null", cluster: true},
	{words: "--merge-logs", cluster: true},
	{words: "--disable-logs", cluster: true},
	{words: "--log-type json"},
	{words: "--log-date-format 'YYYY-MM-DD'"},
	{words: "--time"},
	{words: "--filter-env SHELL", cluster: true},
	{words: "--filter-env true"},
	{words: "--filter-env"},
	{words: "--env production"},
	{words: "-a"},
	{words: "-i 2"},
	{words: "-i -100"},
	{words: "--parallel 4"},
	{words: "--shutdown-with-message", cluster: true},
	{words: "-p app.pid", cluster: true},
	{words: "-p pids/app.pid"},
	{words: "-k 500"},
	{words: "--kill-timeout 700", core: true, cluster: true},
	{words: "--listen-timeout 700", cluster: true},
	{words: "--max-memory-restart 300M"},
	{words: "--max-memory-restart 300000000"},
	{words: "--restart-delay 100"},
	{words: "--exp-backoff-restart-delay 100"},
	{words: "-x"},
	{words: "-x -i 2"},
	{words: "--max-restarts 3"},
	{words: "--max-restarts"},
	{words: "--namespace red", cluster: true},
	{words: "--cwd sub", cluster: true},
	{words: "-c '0 0 1 1 *'"},
	{words: "--cron-restart '0 0 1 1 *'", cluster: true},
	{words: "--cron-restart 0"},
	{words: "--cron '@yearly'"},
	{words: "-w"},
	{words: "--source-map-support"},
	{words: "--disable-source-map-support"},
	{words: "--watch", cluster: true},
	{words: "--watch watched"},
	{words: "--watch watched --ignore-watch sub"},
	{words: "--watch watched --ignore-watch 'sub logs'"},
	{words: "--watch watched --watch-delay 200ms"},
	{words: "--watch watched --watch-delay 2"},
	{words: "--watch --ext js,txt"},
	{words: "--no-color"},
	{words: "--no-vizion"},
	{words: "--no-autorestart"},
	{words: "--stop-exit-codes 3"},
	{words: "--stop-exit-codes 3 4"},
	{words: "--stop-exit-codes 3,4"},
	{words: "--no-treekill", cluster: true},
	{words: "--no-pmx", cluster: true},
	{words: "--no-automation"},
	{words: "--disable-trace"},
	{words: "--v8"},
	{words: "--event-loop-inspector"},
	{words: "-s"},
	{words: "--silent"},
	{words: "-m"},
	{words: "-f"},
	{words: "--only app"},
	{words: "--sort name"},
	{words: "-u tester"},
	{words: "--hp /tmp"},
	{words: "--service-name x"},
	{words: "--wait-ip"},
	{words: "-- a 'b c' --name x"},
	{words: "--name first --name second"},
	{words: "--namespace red --name app -i 2 -o out.log -- -x -y=1", core: true},
}

// started is a scenario for each option, with all that can be seen of the process.
func started() (all []scenario) {
	add := func(words string, core bool, mode string) {
		words = strings.TrimSpace(mode + " " + words)
		if strings.Contains(words, "-n ") || strings.Contains(words, "--name ") {
			// It has one.
		} else if before, after, ok := strings.Cut(words, "-- "); ok {
			words = before + "--name app -- " + after
		} else {
			words += " --name app"
		}
		all = append(all, scenario{name: "start view.js " + words, core: core, text: `
			pm2 start view.js ` + words + `
			until test -s $HOME/view-0.json || test "$(pm2 jlist)" = '[]'
			cat $HOME/view-0.json
			pm2 jlist
			pm2 describe 0
			find . -newer view.js '(' -name '*.log' -o -name '*.pid' -o -name '*-pm2.json' ')' | sort
			ls -A $PM2_HOME/logs $PM2_HOME/pids
			pm2 restart 0
			await ^$|:0:online:1
			pm2 jlist
		`})
	}
	for _, o := range options {
		add(o.words, o.core, "")
		if o.cluster {
			add(o.words, false, "-i 1")
		}
	}
	return all
}

// changed are options given to a restart or reload of an app that is there.
func changed() (all []scenario) {
	for _, words := range []string{
		"--node-args='--no-warnings'", "--node-args=null", "--kill-timeout 500", "--max-memory-restart 400M", "--watch",
		"--no-autorestart", "--cron-restart '0 0 1 1 *'", "--cron-restart 0", "--log-date-format YYYY", "-o new.log",
		"--restart-delay 10", "--exp-backoff-restart-delay 10", "--max-restarts 2", "--stop-exit-codes 3", "--namespace blue",
		"--update-env", "-a", "-i 3", "--cwd sub", "--merge-logs", "--time", "--shutdown-with-message", "--listen-timeout 100",
		"--no-treekill", "--wait-ready --listen-timeout 100", "--parallel 1", "--name other", "-p new.pid",
		"--interpreter node", "--filter-env SHELL", "-- new arguments",
	} {
		for _, command := range []string{"restart", "reload"} {
			all = append(all, scenario{name: command + " " + words, text: `
				quietly pm2 start view.js -i 1 --name app -- old
				until test -s $HOME/view-0.json
				rm $HOME/view-0.json
				NEW=new pm2 ` + command + ` app ` + words + `
				until test -s $HOME/view-0.json
				cat $HOME/view-0.json
				pm2 jlist
			`})
		}
	}
	return all
}

// programs are what is started, of different kinds.
var programs = []scenario{
	{name: "a program of Python's", core: true, text: `
		pm2 start view.py -- a b
		until test -s $HOME/view-0.json
		cat $HOME/view-0.json
		pm2 jlist
		pm2 list
		pm2 restart view
		await ^view:0:online:1$
		pm2 reload view
		await ^view:0:online:2$
	`},
	{name: "two of Python's", text: `
		pm2 start view.py -i 2
		await ^view:0:online:0 view:1:online:0$
		pm2 jlist
		pm2 scale view 3
		await ^view:0:online:0 view:1:online:0 view:2:online:0$
	`},
	{name: "a program of the shell's", text: `
		pm2 start view.sh -- a 'b c'
		until test -s $HOME/view
		cat $HOME/view
		pm2 jlist
		pm2 describe view
	`},
	{name: "another interpreter", text: `
		pm2 start view.sh --interpreter bash --name bash
		until test -s $HOME/view
		cat $HOME/view; rm $HOME/view
		chmod +x view.sh; pm2 start view.sh --interpreter none --name none
		until test -s $HOME/view
		cat $HOME/view
		pm2 jlist
	`},
	{name: "a program by its path", text: `
		pm2 start ./view.sh --name here
		await ^here:0:online:0$
		pm2 start $(pwd)/view.sh --name absolute
		await absolute:1:online:0$
		pm2 jlist
	`},
	{name: "a program of PATH", text: `
		pm2 start sleep -- 1000
		await ^sleep:0:online:0$
		pm2 jlist
		pm2 start /bin/sleep --name again -- 1000
		await again:1:online:0$
		pm2 jlist
	`},
	{name: "a line of shell", core: true, text: `
		pm2 start "node -e 'console.log(process.env.WORD); setInterval(() => {}, 1000)'" -o out.log
		until grep -q undefined out.log
		pm2 jlist
		WORD=said pm2 restart 0 --update-env
		until grep -q said out.log
		pm2 list
	`},
	{name: "a line of shell with a name", text: `
		pm2 start 'sleep 1000 & wait' --name line
		await ^line:0:online:0$
		pm2 jlist
		pm2 stop line
		pm2 jlist
	`},
	{name: "a module", text: `
		pm2 start view.mjs
		until test -s $HOME/view-0.json
		cat $HOME/view-0.json
		quietly pm2 delete all
		rm $HOME/view-*.json
		pm2 start view.mjs -i 1
		until test -s $HOME/view-0.json
		cat $HOME/view-0.json
		pm2 jlist
	`},
	{name: "a file that no program is", text: `
		pm2 start notes.txt
		pm2 jlist | wc -l
		pm2 list -m | grep -c notes
	`},
	{name: "a script without its extension", text: `
		pm2 start web
		pm2 jlist
	`},
	{name: "files of node", text: `
		cp view.js view.cjs; cp view.js 001-view.js
		pm2 start view.cjs
		until test -s $HOME/view-0.json
		cat $HOME/view-0.json
		pm2 start 001-view.js
		until test -s $HOME/view-1.json
		pm2 stop 001-view
		pm2 jlist
	`},
}
