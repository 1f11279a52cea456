package pm2diff

import (
	"fmt"
	"strings"
)

// keys are those of PM2's schema (trace and deep_monitoring are only false: with them PM2
// installs packages into its own folder), and the names that it has for them besides, with values.
var keys = []struct{ key, value string }{
	{"name", `"other"`}, {"name_prefix", `"pre"`}, {"namespace", `"red"`}, {"install_url", `"x"`},
	{"filter_env", `true`}, {"filter_env", `["SHELL", "LANG"]`}, {"filter_env", `"SHELL"`},
	{"cwd", `"./sub"`}, {"cwd", `"../app"`},
	{"args", `"a 'b c' d"`}, {"args", `["a", "b c"]`},
	{"exec_interpreter", `"node"`}, {"interpreter", `"node"`},
	{"node_args", `"--no-warnings"`}, {"node_args", `["--no-warnings", "--stack-size=900"]`},
	{"interpreter_args", `"--no-warnings"`}, {"interpreterArgs", `"--no-warnings"`},
	{"out_file", `"out.log"`}, {"out", `"out.log"`}, {"output", `"out.log"`}, {"out_log", `"out.log"`}, {"out_file", `"NULL"`},
	{"error_file", `"err.log"`}, {"error", `"err.log"`}, {"err", `"err.log"`}, {"err_file", `"err.log"`}, {"err_log", `"err.log"`},
	{"log_file", `"all.log"`}, {"log", `"all.log"`}, {"log", `true`}, {"log_file", `false`},
	{"disable_logs", `true`}, {"log_type", `"json"`}, {"log_date_format", `"YYYY"`}, {"time", `true`},
	{"env", `{"A": "b", "N": 1, "T": true, "O": {"deep": [1]}, "E": "", "Z": null}`},
	{"env_production", `{"A": "p"}`}, {"env", `"no object"`},
	{"max_memory_restart", `"300M"`}, {"max_memory_restart", `300000000`}, {"max_memory_restart", `"1.5G"`}, {"max_memory_restart", `"300X"`},
	{"pid_file", `"app.pid"`}, {"pid", `"app.pid"`},
	{"restart_delay", `100`}, {"restart_delay", `"100"`}, {"exp_backoff_restart_delay", `100`},
	{"source_map_support", `true`}, {"disable_source_map_support", `true`},
	{"wait_ready", `false`}, {"instances", `2`}, {"instances", `"2"`}, {"instances", `"x"`}, {"instances", `-100`},
	{"kill_timeout", `700`}, {"kill_timeout", `"700"`}, {"shutdown_with_message", `true`}, {"listen_timeout", `700`},
	{"cron_restart", `"0 0 1 1 *"`}, {"cron", `"0 0 1 1 *"`}, {"cron_restart", `"nonsense"`}, {"cron_restart", `0`},
	{"merge_logs", `true`}, {"combine_logs", `true`}, {"vizion", `false`}, {"autostart", `false`}, {"autorestart", `false`},
	{"stop_exit_codes", `[1, 2]`}, {"stop_exit_codes", `3`}, {"stop_exit_codes", `"3"`},
	{"watch", `true`}, {"watch", `["watched", "sub"]`}, {"watch", `"watched"`}, {"watch_delay", `100`},
	{"ignore_watch", `["sub"]`}, {"ignore_watch", `"sub"`}, {"watch_options", `{"followSymlinks": false}`},
	{"min_uptime", `"5s"`}, {"min_uptime", `5000`}, {"min_uptime", `"1h"`}, {"min_uptime", `10`}, {"min_uptime", `"x"`},
	{"max_restarts", `3`}, {"max_restarts", `-1`}, {"max_restarts", `0`}, {"execute_command", `true`},
	{"exec_mode", `"cluster"`}, {"exec_mode", `"cluster_mode"`}, {"exec_mode", `"fork"`}, {"exec_mode", `"nonsense"`},
	{"force", `true`}, {"append_env_to_name", `true`}, {"post_update", `["true"]`},
	{"trace", `false`}, {"disable_trace", `true`}, {"v8", `true`}, {"event_loop_inspector", `true`}, {"deep_monitoring", `false`},
	{"increment_var", `"PORT"`}, {"instance_var", `"NUMBER"`}, {"pmx", `false`}, {"pmx", `"false"`}, {"automation", `false`},
	{"treekill", `false`}, {"port", `3000`}, {"uid", `"root"`}, {"uid", `0`}, {"gid", `0`}, {"user", `"root"`}, {"username", `"x"`},
	{"kill_retry_time", `50`}, {"write", `true`}, {"windowsHide", `false`}, {"exec", `"web.js"`}, {"cmd", `"web.js"`},
	{"nonsense", `1`}, {"script", `1`}, {"name", `1`}, {"args", `{}`}, {"autorestart", `"false"`}, {"watch", `1`},
}

// keyed is a scenario for each key, in JSON, and a few in which many keys are in files of
// other kinds.
func keyed() (all []scenario) {
	for _, k := range keys {
		script := `"script": "view.js", `
		if k.key == "script" || k.key == "exec" || k.key == "cmd" {
			script = ""
		}
		name := `"name": "app", `
		if k.key == "name" {
			name = ""
		}
		all = append(all, scenario{name: fmt.Sprintf("key %s %s", k.key, k.value), text: `
			printf '%s' '{` + name + script + `"` + k.key + `": ` + strings.ReplaceAll(k.value, "'", `'"'"'`) + `}' > app.json
			pm2 start app.json
			until test -s $HOME/view-0.json || test "$(pm2 jlist)" = '[]' || pm2 jlist | grep -q 'stopped\|errored\|web.js'
			cat $HOME/view-0.json
			pm2 jlist
			find . -newer view.js '(' -name '*.log' -o -name '*.pid' -o -name '*-pm2.json' ')' | sort
			ls -A $PM2_HOME/logs $PM2_HOME/pids
			pm2 restart app.json
			pm2 jlist
		`})
	}
	return all
}

// files are process files of all kinds.
var files = []scenario{
	{name: "json", core: true, text: `
		sorted pm2 start several.json
		await ^one:.:online:0 heeds:.:online:0 two:.:online:0 two:.:online:0$
		pm2 jlist
		sorted pm2 start several.json
		await ^one:.:online:1 heeds:.:online:1 two:.:online:1 two:.:online:1$
		sorted pm2 restart several.json --env production
		await ^one:.:online:2 heeds:.:online:2 two:.:online:2 two:.:online:2$
		pm2 jlist
		sorted pm2 reload several.json
		await ^one:.:online:3 heeds:.:online:3 two:.:online:3 two:.:online:3$
		pm2 jlist
		sorted pm2 stop several.json
		await ^one:.:stopped:3 heeds:.:stopped:3 two:.:stopped:3 two:.:stopped:3$
		sorted pm2 start several.json
		await ^one:.:online:3 heeds:.:online:3 two:.:online:3 two:.:online:3$
		sorted pm2 delete several.json
		pm2 jlist
		sorted pm2 restart several.json
		await ^one:.:online:0 heeds:.:online:0 two:.:online:0 two:.:online:0$
		sorted pm2 delete several.json
		sorted pm2 reload several.json
		await ^one:.:online:0 heeds:.:online:0 two:.:online:0 two:.:online:0$
	`},
	{name: "only some", text: `
		sorted pm2 start several.json --only one
		await ^one:0:online:0$
		sorted pm2 start several.json --only 'one,two'
		await ^one:0:online:1 two:1:online:0 two:2:online:0$
		sorted pm2 restart several.json --only two
		await ^one:0:online:1 two:1:online:1 two:2:online:1$
		sorted pm2 reload several.json --only two
		await ^one:0:online:1 two:1:online:2 two:2:online:2$
		sorted pm2 stop several.json --only one
		await ^one:0:stopped:1 two:1:online:2 two:2:online:2$
		sorted pm2 delete several.json --only one
		sorted pm2 start several.json --only nobody
		pm2 jlist
	`},
	{name: "start or", text: `
		sorted pm2 startOrRestart several.json
		await ^one:.:online:0 heeds:.:online:0 two:.:online:0 two:.:online:0$
		sorted pm2 startOrRestart several.json
		await ^one:.:online:1 heeds:.:online:1 two:.:online:1 two:.:online:1$
		sorted pm2 startOrReload several.json
		await ^one:.:online:2 heeds:.:online:2 two:.:online:2 two:.:online:2$
		sorted pm2 startOrGracefulReload several.json
		await ^one:.:online:3 heeds:.:online:3 two:.:online:3 two:.:online:3$
	`},
	{name: "javascript", text: `
		pm2 start ecosystem.config.js --env staging
		await ^eco:0:online:0$
		pm2 jlist
		pm2 restart ecosystem.config.js
		await ^eco:0:online:1$
		pm2 jlist
		pm2 delete ecosystem.config.js
		pm2 start
		await ^eco:0:online:0$
		sorted pm2 start ecosystem.config.js --env nonsense
		await ^eco:0:online:1$
	`},
	{name: "javascript of other kinds", text: `
		cp ecosystem.config.js eco.config.cjs; pm2 start eco.config.cjs
		await ^eco:0:online:0$
		pm2 delete all
		echo 'module.exports = [{ name: "list", script: "web.js" }]' > list.config.js; pm2 start list.config.js
		pm2 list
		echo 'module.exports = { name: "single", script: "web.js" }' > single.config.js; pm2 start single.config.js
		pm2 list
		cp ecosystem.config.js process.js
		# It ends at once, over and over.
		quietly pm2 start process.js --name script
		pm2 id script
		echo 'export default { apps: [{ name: "m", script: "web.js" }] }' > m.config.mjs; pm2 start m.config.mjs 2>/dev/null
	`},
	{name: "yaml", text: `
		sorted pm2 start apps.yaml
		await ^one:0:online:0 two:1:online:0 two:2:online:0$
		pm2 jlist
		sorted pm2 restart apps.yaml
		await ^one:0:online:1 two:1:online:1 two:2:online:1$
		sorted pm2 stop apps.yaml
		sorted pm2 delete apps.yaml
		cp apps.yaml apps.yml; pm2 start apps.yml
		await ^one:.:online:0 two:.:online:0 two:.:online:0$
	`},
	{name: "files on standard input", core: true, text: `
		sorted cat several.json | pm2 start -
		await ^one:.:online:0 heeds:.:online:0 two:.:online:0 two:.:online:0$
		sorted cat several.json | pm2 restart -
		pm2 list
		sorted cat several.json | pm2 stop -
		pm2 list
		sorted cat several.json | pm2 delete -
		pm2 jlist
	`},
	{name: "name of the environment in the name", text: `
		echo '[{"name":"web","script":"web.js","append_env_to_name":true,"env_dev":{"A":"d"},"env_prod":{"A":"p"}}]' > a.json
		pm2 start a.json --env dev
		await ^web-dev:0:online:0$
		pm2 start a.json --env prod
		await web-prod:1:online:0
		pm2 jlist
	`},
	{name: "numbered variables", text: `
		echo '[{"name":"a","script":"view.js","instances":2,"increment_var":"PORT","env":{"PORT":3000}},{"name":"b","script":"view.js","instances":2,"exec_mode":"fork","instance_var":"NUMBER"}]' > a.json
		quietly pm2 start a.json --only a
		quietly pm2 start a.json --only b
		until for i in 0 1 2 3; do test -s $HOME/view-$i.json || exit 1; done
		for i in 0 1 2 3; do grep -o '"\(PORT\|NUMBER\|NODE_APP_INSTANCE\)":"[^"]*"' $HOME/view-$i.json; done
		pm2 jlist
		pm2 scale a 3
		await a:4:online:0
		pm2 jlist
	`},
	{name: "a file changes", text: `
		echo '{"name":"a","script":"view.js","env":{"A":"1"}}' > a.json
		quietly pm2 start a.json
		until test -s $HOME/view-0.json; rm $HOME/view-0.json
		echo '{"name":"a","script":"view.js","args":"new","env":{"B":"2"},"kill_timeout":500,"max_restarts":3,"autorestart":false}' > a.json
		pm2 restart a.json
		until test -s $HOME/view-0.json
		cat $HOME/view-0.json
		pm2 jlist
		rm $HOME/view-0.json
		echo '{"name":"a","script":"web.js"}' > a.json
		pm2 reload a.json
		await ^a:0:online:2$
		pm2 jlist
	`},
	{name: "options beside a file", text: `
		sorted pm2 start several.json --only one -i 2 --name other -o out.log --watch --namespace red --kill-timeout 100 -- x
		pm2 jlist
		sorted pm2 start several.json -f --only one
		pm2 list
		sorted pm2 start several.json -s --only heeds
		sorted pm2 start several.json -m --only heeds
	`},
	{name: "other words for apps", text: `
		echo '{"pm2":[{"name":"a","script":"web.js"}]}' > a.json; pm2 start a.json
		await ^a:0:online:0$
		echo '{"script":"web.js"}' > b.json; pm2 start b.json
		echo '[{"script":"sub/web.js","name":"c"}]' > c.json; pm2 start c.json
		mkdir d; echo '[{"script":"../web.js","name":"d"}]' > d/d.json; pm2 start d/d.json
		pm2 list
		pm2 jlist
	`},
	{name: "samples", text: `
		pm2 init
		ls ecosystem.config.js
		rm ecosystem.config.js; pm2 init
		node -p 'JSON.stringify(Object.keys(require("./ecosystem.config.js")))'
		rm ecosystem.config.js; pm2 init simple
		node -p 'JSON.stringify(require("./ecosystem.config.js"))'
		rm ecosystem.config.js; pm2 ecosystem
		ls ecosystem.config.js
	`},
}
