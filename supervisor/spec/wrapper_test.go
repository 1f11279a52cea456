package spec

import (
	"strings"
	"testing"
)

func TestInClusterModeTheProgramBehindNpmIsRun(t *testing.T) {
	const node = "#!/usr/bin/env node\n"
	files := map[string]string{
		"bin/node": program, "bin/npm": node, "bin/npx": node, "bin/yarn": node, "bin/pnpm": node, "bin/bunx": program,
		"node_modules/.bin/next": node, "node_modules/.bin/tool": program, "node_modules/.bin/nodemon": node, "node_modules/tsx/dist/loader.mjs": "",
		"www": node, "app.ts": "",
		"package.json": `{"name": "shop", "version": "1.2.3", "scripts": {
			"start": "node server.js", "env": "NODE_ENV=production node server.js", "cross": "cross-env A=1 B='x y' node --inspect server.js",
			"next": "next start -p 80", "again": "npm run env", "loop": "yarn loop", "tsx": "tsx app.ts", "own": "./www", "tool": "tool", "py": "./app.py",
			"two": "tsc && node a.js", "pipe": "node a.js | log", "watch": "nodemon a.js", "built": "node dist", "prebuilt": "tsc", "open": "node 'a", "no": "A=1",
			"gone": "gone start", "empty": "", "slot": "NEKO_SLOT=1 node a.js"
		}}`,
	}
	fork := func(why string) string {
		return "\na: it runs in fork mode, where each process listens by itself: " + why
	}
	for command, want := range map[string]string{
		"npm start":                    "node server.js (cluster)",
		"bin/npm start":                "node server.js (cluster)",
		"bin/npm ci":                   "DIR/bin/npm ci\na: it runs in fork mode, where each process listens by itself: npm ci is not looked into",
		"npm run start":                "node server.js (cluster)",
		"npm -s run-script env":        "node server.js (cluster)",
		"npm start -- --port 80 -- x":  "node server.js --port 80 -- x (cluster)",
		"npm run cross a -- -b":        "node --inspect server.js a -b (cluster)",
		"npm run next":                 "node DIR/node_modules/.bin/next start -p 80 (cluster)",
		"npm run again":                "node server.js (cluster)",
		"npm run tsx":                  "node --import tsx app.ts (cluster)",
		"npm run own":                  "node DIR/www (cluster)",
		"npm exec -- next start":       "node DIR/node_modules/.bin/next start (cluster)",
		"npx next start":               "node DIR/node_modules/.bin/next start (cluster)",
		"npx --yes cross-env A=1 next": "node DIR/node_modules/.bin/next (cluster)",
		"bunx next":                    "node DIR/node_modules/.bin/next (cluster)",
		"yarn start --port 80":         "node server.js --port 80 (cluster)",
		"yarn run env":                 "node server.js (cluster)",
		"yarn exec next start":         "node DIR/node_modules/.bin/next start (cluster)",
		"yarn node x.js":               "node x.js (cluster)",
		"pnpm env":                     "node server.js (cluster)",
		"pnpm exec next":               "node DIR/node_modules/.bin/next (cluster)",

		"npm run two":          fork(`its script "two" takes a shell: tsc && node a.js`),
		"npm run pipe":         fork(`its script "pipe" takes a shell: node a.js | log`),
		"npm run built":        fork(`there is a script before or after "built"`),
		"npm run watch":        fork("nodemon starts the program itself"),
		"npm run loop":         fork("its scripts call each other"),
		"npm run tool":         fork("tool is no program of Node's"),
		"npm run py":           fork("app.py is no program of Node's"),
		"npm run open":         fork(`its script "open" is not understood: node 'a`),
		"npm run no":           fork(`its script "no" starts nothing: A=1`),
		"npm run slot":         "1:8: env: NEKO_SLOT is set by neko itself, for each process",
		"npm run gone":         fork("there is no gone in node_modules/.bin"),
		"npm run nowhere":      fork(`DIR/package.json has no script "nowhere"`),
		"npm --prefix x start": fork("npm --prefix is not looked into"),
		"npm ci":               fork("npm ci is not looked into"),
		"npm run":              fork("it starts nothing"),
		"npm start --port 80":  fork("the option --port of npm is not looked into"),
		"npx -p next next":     fork("the option -p of npx is not looked into"),
		"npx next@14":          fork("next@14 is not looked into"),
		"npx nodemon a.js":     fork("nodemon starts the program itself"),
		"yarn":                 fork("it starts nothing"),
		"yarn --cwd x start":   fork("the option --cwd of yarn is not looked into"),
	} {
		if strings.HasPrefix(want, "\n") {
			want = command + want
		}
		if _, got := how(t, files, "command: "+command+", instances: 2", ""); got != want {
			t.Errorf("%s:\n got %s\nwant %s", command, got, want)
		}
	}

	// Only where sockets are to come from the master, and not if fork mode is wanted.
	for keys, want := range map[string]string{
		"command: npm start": "npm start",
		"command: npm start, instances: 2, exec_mode: fork": "npm start",
		"command: npm start, type: task":                    "npm start",
		"command: npm start, exec_mode: cluster":            "node server.js (cluster)",
		"command: npm start, listen: 80":                    "node server.js",
		"command: npm run two, listen: 80":                  "npm run two\na: what it starts may not get the sockets of listen: its script \"two\" takes a shell: tsc && node a.js",
		"script: npm, args: run env, instances: max":        "node server.js (cluster)",
		"command: npm start, instances: 2, node_args: -r x": "node -r x server.js (cluster)",
		"command: npm start, node_args: -r x":               "1:49: interpreter_args: npm is run without an interpreter that could get them | say by what it is run with interpreter; what npm and its like start gets them by NODE_OPTIONS in env",
	} {
		if _, got := how(t, files, keys, ""); got != want {
			t.Errorf("%s:\n got %s\nwant %s", keys, got, want)
		}
	}
}

func TestAProgramBehindNpmFindsWhatNpmWouldHaveSet(t *testing.T) {
	files := map[string]string{"bin/node": program, "bin/npm": "#!/usr/bin/env node\n", "sub/dir/x": "", "node_modules/.bin/x": "",
		"package.json": `{"name": "shop", "version": "1.2.3", "scripts": {"web": "cross-env NODE_ENV=production PORT=80 node server.js"}}`}
	a, got := how(t, files, "command: npm run web, cwd: sub/dir, instances: 2, env: {PORT: 1}", "")
	if got != "node server.js (cluster)" || a.Cwd != "DIR" || a.Name != "a" {
		t.Errorf("%s in %s", got, a.Cwd)
	}
	for key, want := range map[string]string{"NODE_ENV": "production", "PORT": "80", "npm_package_name": "shop", "npm_package_version": "1.2.3",
		"npm_lifecycle_event": "web", "npm_package_json": "DIR/package.json", "PWD": "DIR", "PATH": "DIR/node_modules/.bin:DIR/bin"} {
		if a.Env[key] != want {
			t.Errorf("%s=%s, and not %s", key, a.Env[key], want)
		}
	}
	files["package.json"], files["server.js"] = "{}", ""
	if _, got := how(t, files, "command: npm start, instances: 2", ""); got != "node server.js (cluster)" {
		t.Errorf("without a script: %s", got)
	}
	files["package.json"] = `{"scripts": []}`
	if _, got := how(t, files, "command: npm start, instances: 2", ""); !strings.Contains(got, "DIR/package.json: json: cannot unmarshal array") {
		t.Error(got)
	}
	delete(files, "package.json")
	if _, got := how(t, files, "command: npm start, instances: 2", ""); !strings.HasSuffix(got, "there is no package.json") {
		t.Error(got)
	}
}

func FuzzPackage(f *testing.F) {
	f.Add(`{"name": "a", "scripts": {"start": "cross-env A=1 node x"}}`, "A=1 env B='2 3' node \"x\"")
	f.Fuzz(func(t *testing.T, text, line string) {
		_, _ = parsePackage([]byte(text))
		words, env, why := scriptCommand(line)
		if (why == "") == (len(words) == 0) {
			t.Fatalf("%q: %q, %q", line, words, why)
		}
		for key := range env {
			if !isEnvKey(key) {
				t.Fatalf("%q sets %q", line, key)
			}
		}
	})
}
