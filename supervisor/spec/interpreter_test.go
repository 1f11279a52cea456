package spec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program is what stands for a program on PATH.
const program = "#!/bin/sh\n"

// how is how the app with these keys is run in a folder of files: its command, its
// mode if it has one, and what is noted. PATH is the folder's bin alone.
func how(t *testing.T, files map[string]string, keys string, node string) (App, string) {
	t.Helper()
	dir := write(t, files)
	short := func(s string) string { return strings.ReplaceAll(s, dir, "DIR") }
	var notes []string
	apps, _, err := Parse(filepath.Join(dir, "neko.yaml"), []byte("apps: [{name: a, "+keys+"}]"), Options{
		Environ:     []string{"PATH=" + dir + "/bin", "HOME=" + dir + "/home"},
		NodeVersion: func(string) string { return node },
		Note:        func(text string) { notes = append(notes, text) },
	})
	if err != nil {
		return App{}, short(strings.ReplaceAll(show(err), dir+"/neko.yaml:", ""))
	}
	a := apps[0]
	line := strings.Join(a.Command, " ")
	if a.Node != NodeNone {
		line += " (" + string(a.Node) + ")"
	}
	for i, word := range a.Command {
		a.Command[i] = short(word)
	}
	for key, value := range a.Env {
		a.Env[key] = short(value)
	}
	a.Cwd = short(a.Cwd)
	return a, short(strings.Join(append([]string{line}, notes...), "\n"))
}

func TestAFileIsRunByWhatItsEndingOrItsFirstLineSays(t *testing.T) {
	files := map[string]string{
		"bin/node": program, "bin/python3": program, "bin/ruby": program, "bin/bash": program, "bin/perl": program, "bin/java": program,
		"bin/server": program, "bin/global": "#!/usr/bin/env node\n",
		"server.js": "serve()\n", "server.mjs": "", "server.cjs": "", "app.py": "", "app.rb": "", "run.sh": "", "app.pl": "", "app.jar": "", "app.php": "",
		"www": "#!/usr/bin/env node\n", "www.strict": "#!/usr/bin/env -S node --use-strict\n", "shebang.js": "#!/bin/sh\n", "bare": "", "own": program,
		"node_modules/next/dist/bin/next": "#!/usr/bin/env node\n",
		"main.coffee":                     "", "main.ls": "", "node_modules/.bin/coffee": "#!/usr/bin/env node\n", "folder/x": "", "a folder/own": program,
		"node_modules/.bin/tool": program, "node_modules/.bin/web": "#!/usr/bin/env node\n", ".venv/bin/gunicorn": program,
		"node_modules/.bin/shim": "#!/bin/sh\nbasedir=$(dirname \"$0\")\nif [ -x \"$basedir/node\" ]; then\n" +
			"  exec \"$basedir/node\"  \"$basedir/../next/dist/bin/next\" \"$@\"\nelse\n  exec node  \"$basedir/../next/dist/bin/next\" \"$@\"\nfi\n",
	}
	for keys, want := range map[string]string{
		"command: server.js":                                     "node DIR/server.js (fork)",
		"command: ./server.js --port 80":                         "node DIR/server.js --port 80 (fork)",
		"script: server.mjs, args: [a b]":                        "node DIR/server.mjs a b (fork)",
		"script: server.cjs, args: --port 80":                    "node DIR/server.cjs --port 80 (fork)",
		"command: app.py":                                        "python3 DIR/app.py",
		"command: app.rb":                                        "ruby DIR/app.rb",
		"command: run.sh":                                        "bash DIR/run.sh",
		"command: app.pl":                                        "perl DIR/app.pl",
		"command: app.jar":                                       "java -jar DIR/app.jar",
		"command: app.php":                                       `1:27: DIR/app.php: there is no program "php" on PATH | install PHP (php-cli), or check PATH`,
		"command: ./bare":                                        `1:27: DIR/bare: not executable | chmod +x DIR/bare`,
		"script: gone.js":                                        `1:26: DIR/gone.js: no such file | a program on PATH is named without a slash, another by its path`,
		"script: servr.js":                                       `1:26: DIR/servr.js: no such file | there is DIR/server.js`,
		"command: bin/node server.js, instances: 2":              "DIR/bin/node server.js (cluster)",
		"command: server --x":                                    "server --x",
		"command: ./own":                                         "DIR/own",
		"script: own":                                            "DIR/own",
		"command: ./www":                                         "node DIR/www (fork)",
		"command: ./www.strict a":                                "node --use-strict DIR/www.strict a (fork)",
		"command: ./shebang.js":                                  "DIR/shebang.js",
		"command: global":                                        "node DIR/bin/global (fork)",
		"command: node_modules/.bin/shim start":                  "node DIR/node_modules/next/dist/bin/next start (fork)",
		"command: server.js, interpreter: none":                  `1:27: DIR/server.js: not executable | chmod +x DIR/server.js`,
		"command: own, interpreter: none":                        "DIR/own",
		"command: server.js, interpreter: python3":               "python3 DIR/server.js",
		"command: ./bare, interpreter: ruby -w":                  "ruby -w DIR/bare",
		"command: ./bare, interpreter: ./own":                    "DIR/own DIR/bare",
		"command: ./bare, interpreter: '$X'":                     "1:48: interpreter: $ has a meaning in a shell only, and none runs here | for a shell write: sh -c '…'; for the character itself put it in single quotes: '$'",
		"command: ./bare, interpreter: ' '":                      "1:48: interpreter: there is no program",
		"command: ./folder":                                      "1:27: DIR/folder is a folder, not a program",
		"command: ./bare, interpreter: gone":                     `1:48: interpreter: there is no program "gone" on PATH | install gone, or check PATH`,
		"command: ./bare, interpreter: ./gone":                   `1:48: interpreter: DIR/gone: no such file | a program on PATH is named without a slash, another by its path`,
		"command: http.server, interpreter: python3, args: 80":   `1:27: DIR/http.server: no such file | a program on PATH is named without a slash, another by its path`,
		"command: m, interpreter: python3, interpreter_args: -m": "python3 -m m",
		"command: server.js, node_args: --inspect --use-strict":  "node --inspect --use-strict DIR/server.js (fork)",
		"command: node server.js, interpreter_args: [--inspect]": "node --inspect server.js (fork)",
		"command: server, node_args: --inspect":                  "1:46: interpreter_args: server is run without an interpreter that could get them | say by what it is run with interpreter; what npm and its like start gets them by NODE_OPTIONS in env",
		"command: server.js, script: app.py":                     "1:46: script: there is a command already, which is the same | leave one of them out",
		"command: main.coffee, instances: 2":                     "node DIR/node_modules/.bin/coffee DIR/main.coffee (cluster)",
		"command: main.ls, interpreter: coffee":                  "node DIR/node_modules/.bin/coffee DIR/main.ls (fork)",
		"command: ./www, interpreter: ./node_modules/.bin/coffee, node_args: --fast": "node DIR/node_modules/.bin/coffee --fast DIR/www (fork)",
		"command: ./bare, interpreter: a folder/own":                                 "DIR/a folder/own DIR/bare",
		"command: tool --x":                                   "DIR/node_modules/.bin/tool --x",
		"command: web start":                                  "node DIR/node_modules/.bin/web start (fork)",
		"command: gunicorn a:app":                             "DIR/.venv/bin/gunicorn a:app",
		"command: A=1 B=two server":                           "server",
		"command: exec server":                                "server",
		"command: env server":                                 "server",
		"command: cross-env A=1 node server.js, instances: 2": "node server.js (cluster)",
		"command: NEKO_SLOT=1 server":                         "1:8: env: NEKO_SLOT is set by neko itself, for each process",
		"command: A=1":                                        "1:27: there is no command to run",
		"command: A=1 node server.js":                         "node server.js (fork)",
	} {
		if _, got := how(t, files, keys, ""); got != want {
			t.Errorf("%s:\n got %s\nwant %s", keys, got, want)
		}
	}
}

// A first line counts even where nobody may execute the file.
func TestAScriptThatIsNotExecutableIsRunByWhatItsFirstLineSays(t *testing.T) {
	dir := write(t, map[string]string{"bin/ruby": program, "a.rb": "#!/usr/bin/env -S ruby -w\n", "b": "#!/usr/bin/env python9\n", "c": "#!/no/such/sh\n"})
	for name, want := range map[string]string{
		"a.rb": "ruby -w DIR/a.rb",
		"b":    "1:17: DIR/b: its first line names python9, and there is no such program",
		"c":    "1:17: DIR/c: its first line names /no/such/sh, and there is no such program",
	} {
		if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
		apps, _, err := Parse(dir+"/neko.yaml", []byte("apps: [{script: ./"+name+"}]"), Options{Environ: []string{"PATH=" + dir + "/bin"}})
		got := strings.TrimPrefix(show(err), dir+"/neko.yaml:")
		if err == nil {
			got = strings.Join(apps[0].Command, " ")
		}
		if got = strings.ReplaceAll(got, dir, "DIR"); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestAFileOfPythonIsRunByItsVirtualenv(t *testing.T) {
	files := map[string]string{"bin/python3": program, "app.py": "", "env.py": "#!/usr/bin/env python3\n", "own.py": "#!/bin/sh\n"}
	for venv, want := range map[string]string{
		"":                   "python3 DIR/app.py",
		"venv":               "DIR/venv/bin/python DIR/app.py",
		".venv":              "DIR/.venv/bin/python DIR/app.py",
		"other, VIRTUAL_ENV": "DIR/other/bin/python DIR/app.py",
	} {
		keys := "script: app.py"
		name, active, ok := strings.Cut(venv, ", ")
		if ok {
			keys += ", env: {" + active + ": DIR/" + name + "}"
		}
		if venv != "" {
			files[name+"/bin/python"] = program
		}
		dir := write(t, files)
		apps, _, err := Parse(filepath.Join(dir, "neko.yaml"), []byte("apps: [{"+strings.ReplaceAll(keys, "DIR", dir)+"}]"), Options{Environ: []string{"PATH=" + dir + "/bin"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(strings.Join(apps[0].Command, " "), dir, "DIR"); got != want || apps[0].Env["PYTHONUNBUFFERED"] != "1" {
			t.Errorf("%s: %s", venv, got)
		}
		delete(files, name+"/bin/python")
	}
	files["venv/bin/python"] = program
	for keys, want := range map[string]string{
		"script: env.py":                      "DIR/venv/bin/python DIR/env.py",
		"script: own.py":                      "DIR/own.py",
		"script: app.py, interpreter: python": "python3 DIR/app.py",
	} {
		if _, got := how(t, files, keys, ""); got != want {
			t.Errorf("%s: %s", keys, got)
		}
	}
}

func TestTypeScriptIsRunByWhatIsThere(t *testing.T) {
	local, beside := "node_modules/tsx/dist/loader.mjs", "sub/node_modules/tsx/dist/loader.mjs"
	for _, test := range []struct {
		there, node, script, want string
	}{
		{"node " + local, "v20.20.2", "bang.ts", "node --import tsx DIR/sub/bang.ts (fork)"},
		{"node", "v22.18.0\n", "a.ts", "node DIR/sub/a.ts (fork)"},
		{"node", "v23.6.0", "a.mts", "node DIR/sub/a.mts (fork)"},
		{"node " + local, "v23.5.0", "a.ts", "node --import tsx DIR/sub/a.ts (fork)"},
		{"node " + local, "v24.1.0", "a.tsx", "node --import tsx DIR/sub/a.tsx (fork)"},
		{"node " + beside, "v20.20.2", "a.ts", "node --import DIR/" + beside + " DIR/sub/a.ts (fork)"},
		{"node", "v22.6.0", "a.ts", "node --experimental-strip-types DIR/sub/a.ts (fork)"},
		{"node bun", "v20.20.2", "a.ts", "bun DIR/sub/a.ts"},
		{"deno", "", "a.ts", "deno run --allow-all DIR/sub/a.ts"},
		{"node", "v20.20.2", "a.ts", "1:26: DIR/sub/a.ts: Node 20.20.2 does not run TypeScript | npm install tsx; or install Node 22.18 or later, Bun or Deno"},
		{"", "", "a.ts", "1:26: DIR/sub/a.ts: nothing is there that runs TypeScript | npm install tsx; or install Node 22.18 or later, Bun or Deno"},
	} {
		files := map[string]string{"sub/" + test.script: ""}
		if test.script == "bang.ts" {
			files["sub/bang.ts"] = "#!/usr/bin/env node\n"
		}
		for _, name := range strings.Fields(test.there) {
			if !strings.Contains(name, "/") {
				name = "bin/" + name
			}
			files[name] = program
		}
		if _, got := how(t, files, "script: sub/"+test.script, test.node); got != test.want {
			t.Errorf("%s with %q, Node %s:\n got %s\nwant %s", test.script, test.there, test.node, got, test.want)
		}
	}
	dir := write(t, map[string]string{"bin/node": program, "lib/tsx/dist/cli.mjs": "#!/usr/bin/env node\n", "lib/tsx/dist/loader.mjs": "", "a.ts": ""})
	if err := os.Symlink("../lib/tsx/dist/cli.mjs", dir+"/bin/tsx"); err != nil {
		t.Fatal(err)
	}
	apps, _, err := Parse(dir+"/neko.yaml", []byte("apps: [{script: a.ts}]"), Options{Environ: []string{"PATH=" + dir + "/bin"}})
	if err != nil || apps[0].Command[2] != dir+"/lib/tsx/dist/loader.mjs" {
		t.Errorf("a global tsx: %v, %+v", err, apps)
	}
	files := map[string]string{"bin/node": program, "a.ts": "", local: "", "node_modules/.bin/tsx": "#!/usr/bin/env node\n"}
	for keys, want := range map[string]string{
		"script: a.ts, interpreter: tsx, instances: 2": "node --import tsx DIR/a.ts (cluster)",
		"command: tsx watch a.ts, instances: 2":        "node DIR/node_modules/.bin/tsx watch a.ts (fork)\na: it runs in fork mode, where each process listens by itself: tsx starts the program itself",
		"command: tsx a.ts":                            "node --import tsx a.ts (fork)",
	} {
		if _, got := how(t, files, keys, "v24.0.0"); got != want {
			t.Errorf("%s: %s", keys, got)
		}
	}
}

func TestNodeIsOfTheVersionThatTheFolderAsksFor(t *testing.T) {
	const versions = "home/.nvm/versions/node/"
	files := map[string]string{"bin/node": program, "server.js": "",
		versions + "v18.20.4/bin/node": program, versions + "v20.9.0/bin/node": program, versions + "v20.11.1/bin/node": program,
		"home/.nvm/alias/lts/iron": "v20.9.0\n", "home/.nvm/alias/lts/*": "lts/iron\n", "home/.nvm/alias/mine": "18\n", "home/.nvm/alias/loop": "loop",
	}
	for asked, want := range map[string]string{
		"20": "v20.11.1", "v20.9": "v20.9.0", "20.9.0\n": "v20.9.0", "lts/iron": "v20.9.0", "lts/*": "v20.9.0", "node": "v20.11.1", "mine": "v18.20.4",
		"# ours\n18 # old\n": "v18.20.4",
	} {
		files[".nvmrc"] = asked
		a, got := how(t, files, "command: node server.js", "")
		if bin := "DIR/" + versions + want + "/bin"; got != bin+"/node server.js (fork)" || a.Env["PATH"] != bin+":DIR/bin" {
			t.Errorf("%q: %s, PATH=%s", asked, got, a.Env["PATH"])
		}
	}
	files[".nvmrc"] = "22"
	if _, got := how(t, files, "script: server.js", ""); got != "node DIR/server.js (fork)\na: DIR/.nvmrc asks for Node 22, which nvm has not installed: it runs with the node on PATH" {
		t.Error(got)
	}
	files[".nvmrc"] = "loop"
	if _, got := how(t, files, "script: server.js", ""); !strings.Contains(got, "asks for Node loop, which nvm has not installed") {
		t.Error(got)
	}
	delete(files, ".nvmrc")
	files[".node-version"] = "18"
	for keys, want := range map[string]string{
		"script: server.js": "DIR/" + versions + "v18.20.4/bin/node DIR/server.js (fork)",
		"script: server.js, interpreter: node@20, instances: 2": "DIR/" + versions + "v20.11.1/bin/node DIR/server.js (cluster)",
		"script: server.js, interpreter: node@16":               "1:50: interpreter: nvm has not installed Node 16 | nvm install 16",
	} {
		if _, got := how(t, files, keys, ""); got != want {
			t.Errorf("%s: %s", keys, got)
		}
	}
	if _, got := how(t, map[string]string{"server.js": ""}, "script: server.js, interpreter: node@16", ""); !strings.Contains(got, "there is no nvm") {
		t.Error(got)
	}
	if _, got := how(t, map[string]string{"server.js": ""}, "script: server.js, interpreter: node", ""); got != `1:50: interpreter: there is no program "node" on PATH | install Node.js, or check PATH` {
		t.Error(got)
	}
	if _, got := how(t, map[string]string{"server.js": ""}, "script: server.js", ""); got != `1:26: there is no program "node" on PATH | install Node.js, or check PATH` {
		t.Error(got)
	}
}

func TestANumberOfInstancesMakesACluster(t *testing.T) {
	files := map[string]string{"bin/node": program, "bin/server": program, "server.js": "", "node_modules/.bin/nodemon": "#!/usr/bin/env node\n"}
	for keys, want := range map[string]string{
		"":                                   "(fork)",
		"instances: 4":                       "(cluster)",
		"instances: 1":                       "(cluster)",
		"instances: max":                     "(cluster)",
		"instances: -1":                      "(cluster)",
		"exec_mode: cluster":                 "(cluster)",
		"exec_mode: cluster_mode":            "(cluster)",
		"instances: 4, exec_mode: fork":      "(fork)",
		"instances: 4, exec_mode: fork_mode": "(fork)",
		"instances: 4, listen: 80":           "",
		"listen: 80, exec_mode: cluster":     "(cluster)",
		"type: task, instances: 1":           "(fork)",
	} {
		for _, command := range []string{"script: server.js", "command: node server.js"} {
			if _, got := how(t, files, strings.TrimSuffix(command+", "+keys, ", "), ""); !strings.HasSuffix(got, strings.TrimSpace("server.js "+want)) {
				t.Errorf("%s, %s: %s", command, keys, got)
			}
		}
	}
	for keys, want := range map[string]string{
		"command: server, instances: 4":                         "server",
		"command: server, exec_mode: cluster":                   "1:46: exec_mode: cluster mode is for programs of Node's, and server is none | a program of another make shares the sockets that listen gives it",
		"command: server, exec_mode: threads":                   `1:46: exec_mode: expected cluster or fork, not "threads"`,
		"command: server, shutdown_with_message: true":          "1:58: shutdown_with_message: only a program of Node's that runs in cluster or fork mode gets messages",
		"script: server.js, type: task, exec_mode: cluster":     "1:60: exec_mode: a task does its work and ends; this is for a service",
		"command: node --watch server.js, instances: 2":         "node --watch server.js (fork)\na: it runs in fork mode, where each process listens by itself: node --watch starts the program itself",
		"command: node_modules/.bin/nodemon x.js, instances: 2": "node DIR/node_modules/.bin/nodemon x.js (fork)\na: it runs in fork mode, where each process listens by itself: nodemon starts the program itself",
	} {
		if _, got := how(t, files, keys, ""); got != want {
			t.Errorf("%s:\n got %s\nwant %s", keys, got, want)
		}
	}
	if a, _ := how(t, files, "script: server.js, instances: 2, shutdown_with_message: true", ""); !a.ShutdownWithMessage {
		t.Error("no message")
	}
}

func TestInstancesBelowOneAreFewerThanTheCPUs(t *testing.T) {
	for text, want := range map[string]int{"max": 8, "0": 8, "-1": 7, "-7": 1, "-8": 1, "-100": 1, "3": 3, "1": 1} {
		n, err := ParseInstances(text)
		if a := (App{Instances: n}); err != nil || a.Slots(8) != want || a.FollowsCPUs() != (n <= 0) {
			t.Errorf("%s: %d of 8, %v", text, a.Slots(8), err)
		}
	}
	for _, text := range []string{"", "many", "1025", "-1025", "1.5", "2x"} {
		if n, err := ParseInstances(text); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}

func TestAShebangNamesAnInterpreter(t *testing.T) {
	for line, want := range map[string]string{
		"#!/bin/sh": "/bin/sh", "#! /usr/bin/python3 -u": "/usr/bin/python3 -u", "#!/usr/bin/env node": "node", "#!/usr/bin/env -S node --a b": "node --a b",
		"#!/usr/bin/env -Snode": "node", "#!/usr/bin/env": "/usr/bin/env", "#!/usr/bin/env -i node": "", "#!/usr/bin/env A=1 node": "", "#!": "", "sh": "", "#!/bin/sh\r": "",
	} {
		if got := strings.Join(shebang([]byte(line+"\nmore\n")), " "); got != want {
			t.Errorf("%s: %q", line, got)
		}
	}
}

func FuzzShebang(f *testing.F) {
	f.Add([]byte("#!/usr/bin/env -S node --a b\nx"))
	f.Add([]byte("#! /bin/sh -e"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, word := range shebang(text) {
			if word == "" || strings.ContainsAny(word, "\x00\n\r ") {
				t.Fatalf("%q: %q", text, word)
			}
		}
	})
}
