package ecosystem

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nekoctl/neko/supervisor/spec"
)

// Files as people write them, and what a neko.yaml of them is.
func TestConvert(t *testing.T) {
	o := site(t)
	o.PM2 = false
	for _, x := range []struct{ about, text, env, want, notes string }{
		{"a server with two environments", `{apps: [{
  name: 'api', script: './app.js', instances: 'max', exec_mode: 'cluster', watch: false, max_memory_restart: '500M',
  min_uptime: '10s', max_restarts: 10, log_date_format: 'YYYY-MM-DD HH:mm:ss Z', out_file: './o.log', error_file: 'NULL', merge_logs: true,
  env: {NODE_ENV: 'development', PORT: 3000}, env_production: {NODE_ENV: 'production', DEBUG: false},
}]}`, "production", `apps:
  - name: api
    script: ./app.js
    exec_mode: cluster
    instances: max
    env:
      NODE_ENV: production
      PORT: "3000"
      DEBUG: "false"
    min_uptime: 10000
    max_restarts: 10
    max_memory_restart: 500M
    out_file: ./o.log
    error_file: /dev/null
    merge_logs: true
    log_date_format: YYYY-MM-DD HH:mm:ss Z
`, ""},
		{"what has no place in a neko.yaml", `[{name: 'my app', script: 'npm run x', args: 'y', env_dev: {A: 1}, env_file: '.env', post_update: ['npm i'],
  ignore_watch: [{'neko:regexp': '(a|b)', flags: ''}, 'logs'], watch: true, odd: 1}]`, "", `apps:
  # name: it was "my app", which is not a name here
  # args: PM2 does not use them where script is a command line
  # env_dev: a neko.yaml has one environment; nekoctl convert --env dev writes one with this
  # env_file: to PM2 a text has no variables; env_file of a neko.yaml reads a file of them
  # ignore_watch: /(a|b)/ cannot be written as a glob
  # post_update: there is no such thing in a neko.yaml
  # odd: neither PM2 nor neko knows this key
  - name: my-app
    command: npm run x
    watch: true
    ignore_watch: [logs]
`, "7"},
		{"what PM2 has beside us", `[{script: './app.js', namespace: 'site', autostart: false, instances: 2, instance_var: 'INSTANCE_ID', increment_var: 'PORT', port: 3000,
  log_file: 'all.log', pid_file: 'app.pid', disable_logs: false, source_map_support: true}, {script: 'w.py', log: true, treekill: false, uid: '', time: true}]`, "", `apps:
  # source_map_support: interpreter_args: --enable-source-maps does that
  - name: app
    namespace: site
    script: ./app.js
    instances: 2
    env:
      PORT: "3000"
    log_file: all.log
    pid_file: app.pid
    autostart: false
    instance_var: INSTANCE_ID
    increment_var: PORT
  # log_file: a neko.yaml names a file
  - name: w
    script: w.py
    treekill: false
    log_date_format: YYYY-MM-DDTHH:mm:ss
`, "2"},
		{"Python, and words that YAML would take for something else", `[{script: 'w.py', interpreter: 'python3', args: ['--x', 'yes', '1'], node_args: '-u', port: 80, env: {ON: 'on', N: '0x10', L: [1]}},
  {script: 'w.py', cron: '0 3 * * *', autorestart: false, stop_exit_codes: [0], kill_timeout: 100}]`, "", `apps:
  - name: w
    script: w.py
    args: [--x, yes, "1"]
    interpreter: python3
    interpreter_args: [-u]
    env:
      ON: on
      N: "0x10"
      L: '[1]'
      PORT: "80"
  # name: it was "w", as another app's
  - name: w-2
    script: w.py
    kill_timeout: 100
    cron_restart: 0 3 * * *
    stop_exit_codes: [0]
    autorestart: false
`, "1"},
	} {
		o.Env = x.env
		list, err := Parse(t.Context(), "pm2.json", []byte(x.text), o)
		if err != nil {
			t.Fatal(err)
		}
		text, notes, err := Convert(list, o)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(text), "keeps that.\n")
		if body != x.want {
			t.Errorf("%s:\n%s\nwant\n%s", x.about, body, x.want)
		}
		if len(notes) != strings.Count(x.want, "  # ") {
			t.Errorf("%s: %q", x.about, notes)
		}
		sameApps(t, x.about, text, list, o)
	}
}

// sameApps says whether a neko.yaml beside them makes the apps that PM2's file does.
func sameApps(t *testing.T, about string, text []byte, list []*Config, o Options) {
	t.Helper()
	apps, _, err := spec.Parse(filepath.Join(o.Cwd, "neko.yaml"), text, spec.Options{Environ: o.Environ, NodeVersion: o.Node})
	if err != nil {
		t.Errorf("%s: %v in\n%s", about, err, text)
		return
	}
	for i, c := range list {
		want, err := c.App(o)
		if err != nil {
			t.Fatal(err)
		}
		if c.Get("log_file") == true {
			want.AllFile = "" // of which a note tells
		}
		want.Name, want.Title, want.Source = apps[i].Name, "", apps[i].Source
		if !reflect.DeepEqual(apps[i], want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", about, apps[i], want)
		}
	}
}
