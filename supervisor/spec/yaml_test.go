package spec

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// What is written of an app is, when it is read, the same app, and all keys that mean
// something for it are there.
func TestWhatIsWrittenOfAnAppIsReadAsTheSame(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/conf.d", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"nothing but a command": `apps: [{name: web, command: [/bin/sleep, "1000"]}]`,
		"a line for a shell":    `apps: [{name: web, command: "echo 'a: b' # c && exec sleep 1000 > /dev/null"}]`,
		"all": `apps:
  - {name: db, type: task, command: /bin/true}
  - name: web
    namespace: front
    command: [/bin/sh, -c, "exec sleep \"$0\"", "a: b", "#c", "- d", "", "yes", "0x10", "null", "ä\n\tb"]
    instances: -1
    instance_var: NTH
    increment_var: PORT
    env: {PORT: "4000", MODE: "on", EMPTY: ""}
    listen: {http: "127.0.0.1:4000", admin: "unix:/run/x.sock", v6: "[::1]:80"}
    balance: shared
    listen_pid: false
    url_path: /graphql
    wait_ready: true
    listen_timeout: 1m30s
    shutdown_delay: 1s
    stop_signal: SIGINT
    drain_timeout: 0
    kill_timeout: 500ms
    drain_connections: true
    treekill: false
    autostart: false
    parallel: 3
    autorestart: false
    stop_exit_codes: [0, 143]
    min_uptime: 2s
    max_restarts: 3
    restart_window: 2m
    restart_delay: 100ms
    exp_backoff_restart_delay: {initial: 1s, max: 2s, jitter: 0.25}
    cron_restart: "0 4 * * *"
    max_memory_restart: 300M
    watch: [".", "conf.d"]
    ignore_watch: ["*.tmp", "a: b"]
    watch_delay: 1s
    startup: {exec: "test -e '/tmp/a b'"}
    readiness: {http: /readyz, interval: 2s, timeout: 1s, failures: 2}
    liveness: {tcp: http}
    watchdog: 10s
    spare: 1
    depends_on: {db: completed}
    out_file: out.log
    error_file: /dev/null
    log_file: all.log
    merge_logs: true
    log_type: json
    log_date_format: "YYYY-MM-DD HH:mm:ss"
    log_rotate: {size: 1M, every: 24h, keep: 3, gzip: false}
    pid_file: web.pid
    uid: nobody
    gid: nogroup
    umask: "027"
    rlimits: {nofile: "100:200", core: unlimited}
    nice: -5
    pin: true
`,
		"of Node's": `apps: [{name: web, command: [/bin/sleep, "1"], exec_mode: fork}]`,
	} {
		t.Run(name, func(t *testing.T) {
			before, _, err := Parse(dir+"/neko.yaml", []byte(file), Options{})
			if err != nil {
				t.Fatal(err)
			}
			text, err := YAML(before, nil)
			if err != nil {
				t.Fatal(err)
			}
			after, _, err := Parse(t.TempDir()+"/neko.yaml", text, Options{})
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			for i := range before {
				before[i].Source, after[i].Source = "", ""
				before[i].Namespace = before[i].NamespaceName() // the default is written
			}
			if !reflect.DeepEqual(before, after) {
				x, _ := json.MarshalIndent(before, "", " ")
				y, _ := json.MarshalIndent(after, "", " ")
				t.Errorf("before\n%s\nafter\n%s\nby way of\n%s", x, y, text)
			}
			if name != "all" {
				return
			}
			var unwritten []string
			for _, key := range Keys() {
				if !strings.Contains(string(text), " "+key+":") {
					unwritten = append(unwritten, key)
				}
			}
			// They have been used up: what came of them is in command and env.
			if want := []string{"script", "args", "interpreter_args", "node_args", "exec_mode", "env_file", "shutdown_with_message"}; !slices.Equal(unwritten, want) {
				t.Errorf("there is nothing of %q, want %q", unwritten, want)
			}
		})
	}
}

func TestWhatIsWrittenSaysWhatIsDefaultAndWhatIsHidden(t *testing.T) {
	a := Defaults()
	a.Name, a.Command, a.Cwd, a.DrainTimeout = "web", []string{"server", "--token=abc"}, "/", Duration(1)
	a.Env = map[string]string{"API_KEY": "abc", "MODE": "on"}
	text, err := YAML([]App{a.WithoutSecrets()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"    kill_timeout: 2s # default\n", "    drain_timeout: 1ns\n", "  # what is [hidden] is secret, and has to be put in again\n", "      API_KEY: '[hidden]'\n"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("there is no %q in\n%s", line, text)
		}
	}
	if strings.Contains(string(text), "abc") {
		t.Errorf("it tells the secret:\n%s", text)
	}
}
