package spec

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// write makes a folder with files in it.
func write(t testing.TB, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestParse(t *testing.T) {
	dir := write(t, map[string]string{
		"bin/server": "#!/bin/sh\n",
		".env":       "WHO=dotenv\nA=dotenv\nB=dotenv\nC=dotenv\n",
		"one.env":    "B=one\nC=one\n",
		"two.env":    "C=two\n",
		"neko.yaml": `
x-shared: &shared
  drain_timeout: 30s
  env: {SHARED: yes}
apps:
  - name: web
    <<: *shared
    command: ./bin/server --title "two words" ''
    cwd: .
    env: {PORT: 8080, VERSION: 1.10, EMPTY: "", D: file}
    env_file: [one.env, two.env]
    instances: max
    listen: [4000, ":4001", "unix:run/web.sock"]
    balance: shared
    url_path: /graphql
    listen_pid: false
    wait_ready: true
    listen_timeout: 1500
    drain_timeout: 1m30s
    kill_timeout: 0
    min_uptime: 2s
    max_restarts: 3
    restart_window: 30s
  - command: [sh, -c, 'echo $HOME | cat']
    listen: {http: "[::1]:80", admin: localhost:81}
    <<: *shared
`})
	file := filepath.Join(dir, "neko.yaml")
	apps, _, err := Read(file, Options{Environ: []string{"WHO=shell", "A=shell", "SHELL_ONLY=1", "_=x", "NEKO_SLOT=7", "NEKO_HOME=/h", "PATH=/bin:/usr/bin", "D=shell"}})
	if err != nil {
		t.Fatal(err)
	}
	first := Defaults()
	first.Name, first.Command, first.Cwd, first.Source = "web", []string{dir + "/bin/server", "--title", "two words", ""}, dir, file
	first.Env = map[string]string{"WHO": "dotenv", "A": "dotenv", "B": "one", "C": "two", "D": "file", "PORT": "8080", "VERSION": "1.10", "EMPTY": "",
		"SHELL_ONLY": "1", "NEKO_HOME": "/h", "PATH": "/bin:/usr/bin", "PWD": dir}
	first.Instances, first.Balance, first.URLPath = Max, BalanceShared, "/graphql"
	first.Listen = []Listener{{"listen", "tcp", "127.0.0.1:4000"}, {"listen2", "tcp", ":4001"},
		{"listen3", "unix", dir + "/run/web.sock"}}
	first.ListenPID, first.WaitReady = false, true
	first.ListenTimeout, first.DrainTimeout, first.KillTimeout = Duration(1500*time.Millisecond), Duration(90*time.Second), 0
	first.MinUptime, first.MaxRestarts, first.RestartWindow = Duration(2*time.Second), 3, Duration(30*time.Second)
	second := Defaults()
	second.Name, second.Command, second.Cwd, second.Source = "sh", []string{"sh", "-c", "echo $HOME | cat"}, dir, file
	second.Env = map[string]string{"WHO": "dotenv", "A": "dotenv", "B": "dotenv", "C": "dotenv", "D": "shell", "SHARED": "yes",
		"SHELL_ONLY": "1", "NEKO_HOME": "/h", "PATH": "/bin:/usr/bin", "PWD": dir}
	second.Listen = []Listener{{"http", "tcp", "[::1]:80"}, {"admin", "tcp", "127.0.0.1:81"}}
	second.DrainTimeout = Duration(30 * time.Second)
	for i, want := range []App{first, second} {
		if !reflect.DeepEqual(apps[i], want) {
			t.Errorf("app %d:\n got %+v\nwant %+v", i, apps[i], want)
		}
	}
}

// Every error says where it is, which key it is about and what was expected.
func TestParseErrors(t *testing.T) {
	dir := write(t, map[string]string{
		"ok":      "#!/bin/sh\n",
		"plain":   "console.log(1)\n",
		"main.go": "package main\n",
		"lost":    "#!/usr/bin/no-such-interpreter\n",
		"crlf":    "#!/bin/sh\r\n",
		"bad.env": "A=1\nnonsense\n",
	})
	t.Chdir(dir)
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", "apps:\n  - name: a\n    command: ./ok\n    instnces: 2\n",
			`neko.yaml:4:5: unknown key "instnces" | did you mean "instances"?`},
		{"unknown key by dashes", "apps: [{name: a, command: ./ok, wait-ready: true}]",
			`neko.yaml:1:33: unknown key "wait-ready" | did you mean "wait_ready"?`},
		{"key of another tool", "apps: [{name: a, cmd: ./ok}]", "neko.yaml:1:18: unknown key \"cmd\" | did you mean \"command\"?"},
		{"unknown top key", "app: []\n", `neko.yaml:1:1: unknown key "app" | did you mean "apps"?`},
		{"cycle", "apps:\n- {name: a, command: ./ok, depends_on: b}\n- {name: b, command: ./ok, depends_on: [c]}\n- {name: c, command: ./ok, depends_on: {b: started}}",
			`neko.yaml:3:40: depends_on: a cycle: b → c → b | none of them could be the first`},
		{"of itself", "apps: [{name: a, command: ./ok, depends_on: a}]", `neko.yaml:1:45: depends_on: a cycle: a → a | none of them could be the first`},
		{"dependency misspelt", "apps: [{name: api, command: ./ok}, {name: b, command: ./ok, depends_on: [apj]}]", `neko.yaml:1:74: depends_on: there is no app "apj" in this file | did you mean "api"?`},
		{"service that completes", "apps: [{name: a, command: ./ok}, {name: b, command: ./ok, depends_on: {a: completed}}]",
			`neko.yaml:1:72: depends_on: a is a service, which never completes | await that it is ready, or give it type: task`},
		{"condition", "apps: [{name: a, command: ./ok}, {name: b, command: ./ok, depends_on: {a: up}}]",
			`neko.yaml:1:75: depends_on: a: expected started, ready or completed, not "up"`},
		{"task with a socket", "apps: [{name: a, command: ./ok, type: task, listen: 80}]", `neko.yaml:1:53: listen: a task does its work and ends; this is for a service`},
		{"probe of two ways", "apps: [{name: a, command: ./ok, listen: 80, liveness: {http: /, tcp: listen}}]", `neko.yaml:1:55: liveness: a probe asks by one of http, tcp and exec`},
		{"probe without a socket", "apps: [{name: a, command: ./ok, readiness: /readyz}]",
			`neko.yaml:1:44: readiness: the app has no socket by which its processes could be asked | give it one with listen; or write a URL, http://127.0.0.1:8080/readyz for example`},
		{"cron", `apps: [{name: a, command: ./ok, cron_restart: "61 * * * *"}]`,
			`neko.yaml:1:47: cron_restart: expected a cron expression, not "61 * * * *" | minute, hour, day of the month, month, day of the week: "0 3 * * *" is every night at three`},
		{"size", "apps: [{name: a, command: ./ok, max_memory_restart: -1}]", `neko.yaml:1:53: max_memory_restart: expected a number of bytes such as 300M or 1.5G, not "-1"`},
		{"limit", "apps: [{name: a, command: ./ok, rlimits: {nofile: 2:1}}]", `neko.yaml:1:42: rlimits: nofile: the soft limit, 2, is above the hard one, 1`},
		{"limit misspelt", "apps: [{name: a, command: ./ok, rlimits: {nofiles: 2}}]", `neko.yaml:1:43: unknown key "nofiles" | did you mean "nofile"?`},
		{"user", "apps: [{name: a, command: ./ok, uid: nobody-of-this-name}]", `neko.yaml:1:38: uid: there is no user "nobody-of-this-name"`},
		{"watched", "apps: [{name: a, command: ./ok, watch: [gone]}]", `neko.yaml:1:40: watch: DIR/gone: no such file`},
		{"key far from all", "apps: [{name: a, command: ./ok, zzz: 1}]", `neko.yaml:1:33: unknown key "zzz" | https://github.com/nekoctl/neko/blob/main/docs/configuration.md has all keys`},
		{"all errors at once", "apps:\n- name: all\n  command: ./ok\n- name: 12\n  command: ./ok\n  instances: no\n  balance: x\n",
			"neko.yaml:2:9: \"all\" cannot be a name: it means every app\n" +
				"neko.yaml:4:9: \"12\" cannot be a name: a number means the id of a process\n" +
				"neko.yaml:6:14: instances: expected a number from 1 to 1024, or max, not \"no\" | max is one for each CPU, -1 one fewer\n" +
				"neko.yaml:7:12: balance: expected slots or shared, not \"x\""},
		{"number as a name", "apps: [{name: 12, command: ./ok}]", `neko.yaml:1:15: "12" cannot be a name: a number means the id of a process`},
		{"slash in a name", "apps: [{name: a/b, command: ./ok}]", `neko.yaml:1:15: "a/b" cannot be a name | a name has letters, digits, dots, dashes, underscores`},
		{"dash before a name", "apps: [{name: -b, command: ./ok}]", `neko.yaml:1:15: "-b" cannot be a name: it starts with a -`},
		{"same name", "apps:\n- {name: a, command: ./ok}\n- {name: a, command: ./ok}\n",
			`neko.yaml:3:10: there are two apps with the name "a", the first on line 2 | give each a name of its own`},
		{"same address", "apps:\n- {name: a, command: ./ok, listen: 80}\n- {name: b, command: ./ok, listen: ':80'}\n",
			`neko.yaml:3:36: listen: :80 is taken by a on 127.0.0.1:80 | give each app an address of its own`},
		{"same address in an app", "apps: [{name: a, command: ./ok, listen: [80, '*:80']}]",
			`neko.yaml:1:41: listen: 127.0.0.1:80 and :80 cannot both be listened on`},
		{"no port", "apps: [{name: a, command: ./ok, listen: web}]",
			`neko.yaml:1:41: listen: expected an address, not "web" | for example 4000 (this machine only), :4000 (all addresses), 10.0.0.7:4000 or unix:/run/app.sock`},
		{"port too high", "apps: [{name: a, command: ./ok, listen: 70000}]",
			`neko.yaml:1:41: listen: expected an address, not "70000" | a port is a number from 1 to 65535, or 0 for one that the kernel chooses`},
		{"a URL", "apps: [{name: a, command: ./ok, listen: 'http://127.0.0.1:80/'}]",
			`neko.yaml:1:41: listen: expected an address, not "http://127.0.0.1:80/" | without the http://: 127.0.0.1:80`},
		{"no program", "apps: [{name: a, command: ./okk}]", `neko.yaml:1:27: DIR/okk: no such file | there is DIR/ok`},
		{"not on PATH", "apps: [{name: a, command: no-such-program}]",
			`neko.yaml:1:27: there is no program "no-such-program" on PATH, nor a file of that name in DIR | give the path of the program, or check PATH`},
		{"not executable", "apps: [{name: a, command: plain}]", `neko.yaml:1:27: DIR/plain: not executable | chmod +x DIR/plain`},
		{"a program's source", "apps: [{name: a, command: main.go}]", `neko.yaml:1:27: DIR/main.go: not executable | go build it, and give the path of what that makes`},
		{"a folder", "apps: [{name: a, command: ./}]", `neko.yaml:1:27: DIR is a folder, not a program`},
		{"no interpreter", "apps: [{name: a, command: ./lost}]", `neko.yaml:1:27: DIR/lost: its first line names /usr/bin/no-such-interpreter, and there is no such file`},
		{"CR LF", "apps: [{name: a, command: ./crlf}]", `neko.yaml:1:27: DIR/crlf: its first line ends with CR LF, which no interpreter is found by | sed -i 's/\r$//' DIR/crlf`},
		{"no cwd", "apps: [{name: a, command: ./ok, cwd: no/where}]", `neko.yaml:1:38: DIR/no/where: no such file | cwd is the folder in which the processes start`},
		{"a shell's line beside args", "apps: [{name: a, command: './ok && ./ok', args: x}]",
			`neko.yaml:1:49: args: a shell runs the line ./ok && ./ok | write all of it into the line; or one program alone, without what only a shell knows`},
		{"a variable in args", `apps: [{name: a, command: ./ok, args: $HOME}]`,
			`neko.yaml:1:39: args: $ has a meaning in a shell only, and none runs here | for a shell write: sh -c '…'; for the character itself put it in single quotes: '$'`},
		{"open quote", `apps: [{name: a, command: "./ok 'x"}]`, `neko.yaml:1:27: command: the ' quote is not closed`},
		{"no command", "apps: [{name: a}]", `neko.yaml:1:8: there is no command to run`},
		{"no value", "apps:\n- name: a\n  command:\n", `neko.yaml:3:11: command: there is no value`},
		{"no bool", "apps: [{name: a, command: ./ok, wait_ready: yes}]", `neko.yaml:1:45: wait_ready: expected true or false, not "yes"`},
		{"no time", "apps: [{name: a, command: ./ok, kill_timeout: soon}]",
			`neko.yaml:1:47: kill_timeout: expected a time such as 1.5s, 500ms or 2m, or a number of milliseconds, not "soon"`},
		{"time below 0", "apps: [{name: a, command: ./ok, kill_timeout: -5}]", `neko.yaml:1:47: kill_timeout: expected a time from 0 to 24h, not "-5ms"`},
		{"time too long", "apps: [{name: a, command: ./ok, kill_timeout: 25h}]", `neko.yaml:1:47: kill_timeout: expected a time from 0 to 24h, not "25h0m0s"`},
		{"no path", "apps: [{name: a, command: ./ok, url_path: graphql}]", `neko.yaml:1:43: url_path: expected a path such as /graphql, not "graphql"`},
		{"env is a list", "apps: [{name: a, command: ./ok, env: [A=1]}]", `neko.yaml:1:38: env: expected KEY: value, not a list`},
		{"env in env", "apps: [{name: a, command: ./ok, env: {A: {B: 1}}}]", `neko.yaml:1:42: env: A: expected a text or a number, not keys and values | for an empty one write ""`},
		{"env of neko", "apps: [{name: a, command: ./ok, env: {NEKO_SLOT: 1}}]", `neko.yaml:1:39: env: NEKO_SLOT is set by neko itself, for each process`},
		{"no env file", "apps: [{name: a, command: ./ok, env_file: x.env}]", `neko.yaml:1:43: env_file: x.env: no such file`},
		{"bad env file", "apps: [{name: a, command: ./ok, env_file: bad.env}]", `bad.env:2: expected KEY=VALUE | a line that is no setting starts with #`},
		{"twice", "apps:\n- name: a\n  command: ./ok\n  name: b\n", `neko.yaml:4:3: the key "name" is here twice, first on line 2`},
		{"empty", "# nothing\n", `neko.yaml: is empty | a first app is:  apps: [{name: web, command: ./server}]`},
		{"no apps", "x-a: 1\n", `neko.yaml:1:1: there is no key apps | a first app is:  apps: [{name: web, command: ./server}]`},
		{"apps no list", "apps:\n  web: {command: ./ok}\n", `neko.yaml:2:3: apps: expected a list, each of whose entries begins with a dash, not keys and values | a first app is:  apps: [{name: web, command: ./server}]`},
		{"two documents", "apps: [{name: a, command: ./ok}]\n---\napps: []\n", `neko.yaml:3:1: a second document begins here | one file is one document: list all apps under one apps:`},
		{"tab", "apps:\n\t- name: a\n", `neko.yaml:2:1: not YAML: found character that cannot start any token, while scanning for the next token | YAML is indented with spaces, not with tabs`},
		{"bare IPv6", "apps:\n- name: a\n  listen: [::1]:80\n", `neko.yaml:2:3: not YAML: did not find expected key, while parsing a block mapping`},
		{"open flow", "apps: [{name: a\n", `neko.yaml:1:8: not YAML: did not find expected ',' or '}', while parsing a flow mapping`},
		{"not UTF-8", "apps:\n  \xff", "neko.yaml:2:3: is not UTF-8 text"},
		{"unknown alias", "apps: *no\n", `neko.yaml:1:7: not YAML: unknown anchor 'no' referenced`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := Parse("neko.yaml", []byte(test.text), Options{Environ: []string{"PATH=/bin:/usr/bin"}})
			if got := strings.ReplaceAll(show(err), dir, "DIR"); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

// show is an error as "where: what | hint" lines.
func show(err error) string {
	list, _ := errors.AsType[Errors](err)
	lines := make([]string, 0, len(list))
	for _, e := range list {
		line := e.Error()
		if e.Hint != "" {
			line += " | " + e.Hint
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 && err != nil {
		return "not Errors: " + err.Error()
	}
	return strings.Join(lines, "\n")
}

func TestParseDotenvError(t *testing.T) {
	dir := write(t, map[string]string{"ok": "#!/bin/sh\n", ".env": "A='1\n\n2'\n B C=1\n", "neko.yaml": "apps: [{name: a, command: ./ok}]"})
	t.Chdir(dir)
	_, _, err := Read("neko.yaml", Options{})
	if got, want := show(err), `.env:4: "B C" is no name of a variable: expected letters, digits, underscores`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A small file must not become a large one.
func TestParseBombs(t *testing.T) {
	lists := "x-a: &a [" + strings.Repeat("word, ", 50_000) + "word]\napps:\n" + strings.Repeat("- {command: *a}\n", 400)
	merges := "x-a: &a {name: a}\n"
	for i, name := 0, "a"; i < 12; i++ {
		next := name + "a"
		merges += "x-" + next + ": &" + next + " {<<: [" + strings.Repeat("*"+name+",", 9) + "*" + name + "]}\n"
		name = next
	}
	merges += "apps: [*" + strings.Repeat("a", 13) + "]\n"
	for name, text := range map[string]string{
		"lists": lists, "merges": merges,
		"self":  "apps: &a [*a]\n",
		"merge": "apps:\n- &a\n  <<: *a\n",
		"deep":  "apps: " + strings.Repeat("[", 100_000),
		"large": strings.Repeat("#", MaxFile+1),
	} {
		start := time.Now()
		if _, _, err := Parse("neko.yaml", []byte(text), Options{NamesOnly: true}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: took %v", name, d)
		}
	}
}

func TestNamesOnly(t *testing.T) {
	apps, _, err := Parse("/no/such/folder/neko.yaml", []byte("apps: [{name: a, command: ./gone, env_file: gone.env}]"), Options{NamesOnly: true})
	if err != nil || len(apps) != 1 || apps[0].Name != "a" {
		t.Errorf("%+v, %v", apps, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("apps:\n- name: a\n  command: ./ok 'x y'\n  listen: {a: 80, b: ':0'}\n  env: {A: 1}\n")
	f.Add("x: &a {<<: *a}\napps: [*a]\n")
	f.Add("apps: [{command: [a, b], instances: max, drain_timeout: 1.5s, listen: [unix:x]}]")
	f.Add("apps: [{name: a, command: ./a, depends_on: {a: {condition: ready}, b: started}, rlimits: {nofile: 1:2}, umask: 077, nice: -1, log_rotate: {size: 1G}}]")
	f.Add("apps: [{name: a, command: ./a, type: task, watch: [x, y], ignore_watch: '**/[a-z', cron_restart: '*/5 * * * 1-5', max_memory_restart: 1e3M, stop_exit_codes: [1, 2]}]")
	f.Add("apps: [{name: a, command: ./a, liveness: {exec: 'x y', failures: 1}, readiness: /r, startup: {tcp: a}, exp_backoff_restart_delay: {jitter: NaN}, stop_signal: rtmin}]")
	f.Fuzz(func(t *testing.T, text string) {
		apps, _, err := Parse("neko.yaml", []byte(text), Options{NamesOnly: true})
		if (err == nil) == (apps == nil) {
			t.Fatalf("%v and %v", apps, err)
		}
		if err != nil {
			list, ok := errors.AsType[Errors](err)
			if !ok || len(list) == 0 {
				t.Fatalf("no Errors: %v", err)
			}
			for _, e := range list {
				if strings.ContainsAny(e.Error(), "\n\x00") {
					t.Fatalf("not one line: %q", e.Error())
				}
			}
		}
		for _, a := range apps {
			if errs := a.checkValues(); errs != nil {
				t.Fatalf("parsed and not valid: %v", errs)
			}
		}
	})
}

func FuzzParseEnv(f *testing.F) {
	f.Add("export A='1\n2' # c\nB=\"\\n$\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		env, err := ParseEnv(".env", []byte(text))
		if err != nil && !strings.HasPrefix(err.Error(), ".env") {
			t.Fatalf("no place: %v", err)
		}
		for k, v := range env {
			if !isEnvKey(k) || strings.ContainsRune(v, 0) {
				t.Fatalf("%q=%q", k, v)
			}
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add(`a 'b c' "d \" e" f\ g`)
	f.Fuzz(func(t *testing.T, line string) {
		words, err := Words(line)
		if err != nil {
			return
		}
		// Quoted again they are the same words.
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		again, err := Words(strings.Join(quoted, " "))
		if err != nil || strings.Join(again, "\x00") != strings.Join(words, "\x00") {
			t.Fatalf("%q: %q, then %q, %v", line, words, again, err)
		}
	})
}
