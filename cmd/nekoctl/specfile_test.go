package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestAFileThatNothingCanEvaluateIsShownAsTheNekoYAMLThatItCouldBe(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("NEKO_HOME", filepath.Join(dir, "home"))
	t.Setenv("PATH", dir)
	for name, text := range map[string]string{
		"ecosystem.config.js": "// The site.\nmodule.exports = {\n  apps: [{ name: 'web', script: './server.js', instances: 'max', env: { PORT: 80 } }]\n}\n",
		"computed.config.js":  "module.exports = require('./apps')\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{
		"ecosystem.config.js": `error: ecosystem.config.js: there is no node, bun or deno on PATH to evaluate it
  | # Made of ecosystem.config.js by nekoctl convert.
  | # Where PM2 sends SIGINT to stop a program neko sends SIGTERM; stop_signal: SIGINT keeps that.
  | apps:
  |   - name: web
  |     script: ./server.js
  |     instances: max
  |     env:
  |       PORT: "80"
hint: install node, or write a neko.yaml, which could be like that
`,
		"computed.config.js": `error: computed.config.js: there is no node, bun or deno on PATH to evaluate it
hint: install node, or write its apps down in a neko.yaml
`,
	} {
		for _, command := range []string{"start", "convert"} {
			var out, err bytes.Buffer
			if code := run([]string{command, file}, &out, &err); code != exitFailed || out.Len() > 0 || err.String() != want {
				t.Errorf("%s %s: exit code %d, %q, and\n%swant\n%s", command, file, code, out.String(), err.String(), want)
			}
		}
	}
}

func TestFilesOfPM2AreToldByTheirNames(t *testing.T) {
	for file, want := range map[string]bool{
		"ecosystem.config.js": true, "a/b.config.mjs": true, "ecosystem.json": true, "pm2.yml": true, "process.yaml": true, "apps.toml": true,
		"neko.yaml": false, "config.json": false, "server.js": false, "ecosystem": false, "ecosystem.js": false,
	} {
		if got := isPM2File(file); got != want {
			t.Errorf("%s: %v", file, got)
		}
	}
}
