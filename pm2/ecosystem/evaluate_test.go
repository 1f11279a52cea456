package ecosystem

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// evaluated is what a file of a folder of its own has, as JSON, or the error.
func evaluated(t *testing.T, name, text string, o Options) string {
	t.Helper()
	needsRuntime(t)
	o.Cwd = t.TempDir()
	if o.Environ == nil {
		o.Environ = []string{"PATH=" + os.Getenv("PATH"), "STAGE=one"}
	}
	if err := os.WriteFile(filepath.Join(o.Cwd, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := Load(t.Context(), name, o)
	if err != nil {
		return problems(err)
	}
	lines := []string{}
	for _, c := range list {
		lines = append(lines, written(t, &c.Object))
	}
	return strings.Join(lines, " ")
}

func TestAFileMayExportItsAppsInAnyWay(t *testing.T) {
	const app = `{ script: './a.js' }`
	for _, file := range []struct{ name, text string }{
		{"object.config.js", "module.exports = { apps: [" + app + "] }"},
		{"list.config.js", "module.exports = [" + app + "]"},
		{"app.config.cjs", "module.exports = " + app},
		{"exports.config.js", "exports.apps = [" + app + "]"},
		{"function.config.js", "module.exports = () => ({ apps: [" + app + "] })"},
		{"async.config.js", "module.exports = async () => ({ apps: " + app + " })"},
		{"promise.config.js", "module.exports = Promise.resolve({ apps: [" + app + "] })"},
		{"transpiled.config.js", "Object.defineProperty(exports, '__esModule', { value: true }); exports.default = { apps: [" + app + "] }"},
		{"default.config.mjs", "export default { apps: [" + app + "] }"},
		{"named.config.mjs", "export const apps = [" + app + "]"},
		{"late.config.mjs", "const apps = await new Promise((done) => setTimeout(done, 1, [" + app + "])); export default () => ({ apps })"},
		{"a.config.js.json", "[" + app + "]"},
	} {
		if got, want := evaluated(t, file.name, file.text, Options{}), `{"script":"./a.js"}`; got != want {
			t.Errorf("%s: got %s, want %s", file.name, got, want)
		}
	}
}

func TestAFileSeesItsCaller(t *testing.T) {
	got := evaluated(t, "x.config.js", `
const path = require('path')
module.exports = [{ script: path.basename(__filename), name: process.env.STAGE, cwd: path.relative(process.cwd(), __dirname), args: process.argv.slice(2) }]`,
		Options{Args: []string{"start", "x.config.js", "--", "--port", "80"}})
	if want := `{"script":"x.config.js","name":"one","cwd":"","args":["start","x.config.js","--","--port","80"]}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAProcessOfPM2sMayEvaluateAFile(t *testing.T) {
	o := Options{Environ: []string{"PATH=" + os.Getenv("PATH"), "NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE=json", "NODE_UNIQUE_ID=1"}}
	if got := evaluated(t, "x.config.js", "module.exports = { script: 'a' }", o); got != `{"script":"a"}` {
		t.Error(got)
	}
}

func TestWhatIsNoJSONIsAsPM2sDaemonWouldGetIt(t *testing.T) {
	got := evaluated(t, "x.config.js", `
const shared = { A: 1 }
const app = { script: 'a', env: { ...shared, F: () => 1, U: undefined, N: NaN, D: new Date(0), B: 10n, E: 1e21, Z: -0 },
  env_x: shared, env_y: shared, args: [undefined, 1, 'b'], ignore_watch: [/\.log$/i, 'a'] }
app.env.self = app
module.exports = [app]`, Options{})
	want := `{"script":"a","env":{"A":1,"N":null,"D":"1970-01-01T00:00:00.000Z","B":"10","E":1e+21,"Z":0,"self":"[Circular]"},` +
		`"env_x":{"A":1},"env_y":{"A":1},"args":[null,1,"b"],"ignore_watch":[{"neko:regexp":"\\.log$","flags":"i"},"a"]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestWhatAFilePrintsIsNotTakenForItsApps(t *testing.T) {
	var out bytes.Buffer
	got := evaluated(t, "x.config.js", `
console.log('{"value":{}}'); console.error('and this')
module.exports = { script: 'a' }`, Options{Output: &out})
	if got != `{"script":"a"}` || out.String() != "{\"value\":{}}\nand this\n" {
		t.Errorf("%s, %q", got, out.String())
	}
}

func TestWhatGoesWrongInAFileHasItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"\nmodule.exports = {\n  a: undefined.b\n}":                  "x.config.js:3:16: TypeError: Cannot read properties of undefined (reading 'b')",
		"module.exports = {\n apps: [\n  { a: 1 b: 2 }\n] }":         "x.config.js:3: SyntaxError: Unexpected identifier 'b'",
		"require('./gone')":                                          "x.config.js:1:1: Cannot find module './gone' | install what it requires, in its folder",
		"module.exports = async () => { throw new Error('no') }":     "x.config.js:1:38: no",
		"throw 'a text'":                                             "x.config.js: a text",
		"process.exit(3)":                                            "x.config.js: ended before it had exported anything: exit status 3",
		"console.error('bad'); process.kill(process.pid, 'SIGKILL')": "x.config.js: ended before it had exported anything: signal: killed | it printed: bad",
		"module.exports = 1":                                         "x.config.js: exports number, and no apps | module.exports = { apps: [{ name: 'web', script: './server.js' }] }",
		"module.exports = { apps: [{ script: 'a' }, { script: 'b', port: 'http' }] }": `x.config.js: apps[1].port: expected a port, not "http"`,
		"module.exports = { apps: { name: 'a' } }":                                    "x.config.js: apps: there is no script to run | script: ./server.js, say",
		"module.exports = 'x'.repeat(2 << 20)":                                        "x.config.js: exports more than 1 MiB",
	} {
		got := evaluated(t, "x.config.js", text, Options{})
		got = strings.ReplaceAll(got, "SyntaxError: Unexpected identifier |", "SyntaxError: Unexpected identifier 'b' |")
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func TestAFileThatDoesNotEndIsEndedWithAllThatItHasStarted(t *testing.T) {
	evaluateTime = 2 * time.Second
	defer func() { evaluateTime = 10 * time.Second }()
	began := time.Now()
	got := evaluated(t, "x.config.js", "require('child_process').spawn('sleep', ['600'], { stdio: 'inherit' }); for (;;);", Options{})
	want := "x.config.js: was not evaluated within 2s, and was ended | a file that waits for something cannot tell its apps"
	if got != want || time.Since(began) > 20*time.Second {
		t.Errorf("%s, after %v", got, time.Since(began))
	}
	got = evaluated(t, "y.config.js", "module.exports = new Promise(() => setInterval(() => {}, 1000))", Options{})
	if got != strings.Replace(want, "x.", "y.", 1) {
		t.Error(got)
	}
}

func TestWhatAFileLeavesBehindIsNotWaitedFor(t *testing.T) {
	got := evaluated(t, "x.config.js", `
require('child_process').spawn('sleep', ['600'], { stdio: ['ignore', 'inherit', 'inherit'] })
setInterval(() => {}, 1000)
module.exports = { script: 'a' }`, Options{})
	if got != `{"script":"a"}` {
		t.Error(got)
	}
}

func TestAnInterruptEndsTheEvaluation(t *testing.T) {
	needsRuntime(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.config.js"), []byte("for (;;);"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Load(ctx, "x.config.js", Options{Cwd: dir, Environ: []string{"PATH=" + os.Getenv("PATH")}})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWithoutARuntimeTheFileIsShownAsANekoYAML(t *testing.T) {
	for text, want := range map[string]string{
		"module.exports = {apps: [{name: 'web', script: 'a.js'}]};": "name: web",
		"// x\nexport default {\n  script: 'a.js', // y\n}":         "name: a",
		"const apps = []\nmodule.exports = { apps }":                "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x.config.js"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(t.Context(), "x.config.js", Options{Cwd: dir, Environ: []string{"PATH=" + dir}})
		e, ok := errors.AsType[*NoRuntime](err)
		if !ok || (e.YAML == nil) != (want == "") || !strings.Contains(string(e.YAML), want) {
			t.Errorf("%s: %v, %s", text, err, e.YAML)
		}
	}
}

func FuzzLiteral(f *testing.F) {
	f.Add([]byte("// a\nmodule.exports = { apps: [{ script: `a`, args: [1, 'b'] }] }\n"))
	f.Add([]byte("export default [{ a: { b: /x/ } }]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if tree := literal(data); tree != nil {
			written(t, tree.plain())
		}
	})
}
