package ecosystem

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nekoctl/neko/supervisor/spec"
)

// written is a value as JSON.
func written(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// problems are the lines of an error.
func problems(err error) string {
	if err == nil {
		return ""
	}
	list, ok := errors.AsType[spec.Errors](err)
	if !ok {
		return "not Errors: " + err.Error()
	}
	lines := []string{}
	for _, e := range list {
		line := e.Error()
		if e.Hint != "" {
			line += " | " + e.Hint
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestJSONIsReadAsJavaScriptAllowsIt(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": 1}`:                              `{"a":1}`,
		"{a: 'x', // why\n b: [1,2,],}":         `{"a":"x","b":[1,2]}`,
		"/* all */ [ {$x_1: null} ] //":         `[{"$x_1":null}]`,
		"({a: `b`})":                            `{"a":"b"}`,
		`{'a b': "\x41\u00e9\ud83d\ude00\n\'"}`: `{"a b":"Aé😀\n'"}`,
		"['one \\\n two']":                      `["one  two"]`,
		`[1.50, -2, +3, .5, 1e3, 0x10, 1_000, 1e21, 1e-7, -0]`: `[1.5,-2,3,0.5,1000,16,1000,1e+21,1e-7,0]`,
		`[undefined, NaN, Infinity]`:                           `[null,null,null]`,
		`{a: 1, b: 2, a: 3}`:                                   `{"a":3,"b":2}`,
		"\ufeff{\"a\": true}":                                  `{"a":true}`,
	} {
		tree, err := read("x.json", []byte(text), formatJSON)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := written(t, tree.plain()); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestWhatIsNoJSONHasAPlace(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "x.json: is empty",
		"  \n":                   "x.json: is empty",
		"{\n  a: 1\n  b: 2\n}":   "x.json:3:3: not JSON: expected a comma or }, not b",
		"{\n  apps: [\n":         "x.json:2:9: not JSON: what begins here is not closed: there is no ]",
		"{a: }":                  `x.json:1:5: not JSON: expected a value, not '}'`,
		"{a 1}":                  `x.json:1:4: not JSON: expected a colon after the key a, not 1`,
		"{a: 'x\n'}":             "x.json:1:5: not JSON: the text that begins here is not closed: there is no ' in its line",
		"{a: process.env.HOME}":  "x.json:1:5: not JSON: expected a value, not process",
		"{a: `${b}`}":            "x.json:1:6: not JSON: ${…} is a program's: give the file a name that ends with .config.js",
		"{a: 1} {":               "x.json:1:8: not JSON: expected the end of the file, not '{'",
		"{a: 1.2.3}":             `x.json:1:5: not JSON: "1.2.3" is not a number`,
		"/* a":                   "x.json:1:1: not JSON: the comment is not closed",
		"{\"a\xff\": 1}":         "x.json:1:4: is not UTF-8 text",
		`{a: "\u12"}`:            `x.json:1:6: not JSON: \u is followed by 4 hexadecimal digits`,
		strings.Repeat("[", 200): "x.json:1:101: not JSON: it is nested too deep",
		"nul":                    "x.json:1:1: not JSON: expected a value, not nul",
	} {
		_, err := read("x.json", []byte(text), formatJSON)
		if got := problems(err); got != want {
			t.Errorf("%.20q:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func TestYAMLIsReadAsPM2ReadsIt(t *testing.T) {
	const text = `
x-base: &base {instances: 2, env: {A: 1}}
apps:
  - <<: *base
    name: yes
    script: ./a.js
    instances: 3
    env: {B: 0x10, C: 1.50, D: "on", E: ~, F: true, G: 2001-12-14}
`
	tree, err := read("x.yaml", []byte(text), formatYAML)
	if err != nil {
		t.Fatal(err)
	}
	got := written(t, tree.field("apps").plain())
	if want := `[{"name":"yes","script":"./a.js","instances":3,"env":{"B":16,"C":1.5,"D":"on","E":null,"F":true,"G":"2001-12-14T00:00:00.000Z"}}]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for text, want := range map[string]string{
		"a: [":               "x.yaml:2:1: not YAML: did not find expected node content, while parsing a flow node",
		"a: 1\na: 2":         "x.yaml:2:1: the key a is here twice",
		"a: 1\n---\nb: 2":    "x.yaml:3:1: a second document begins here | one file is one document: list all apps under one apps:",
		"apps:\n\t- name: a": "x.yaml:2:1: not YAML: found character that cannot start any token, while scanning for the next token | YAML is indented with spaces, not with tabs",
		"? [a]\n: 1":         "x.yaml:1:3: expected a key that is a text",
	} {
		_, err := read("x.yaml", []byte(text), formatYAML)
		if got := problems(err); got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func TestASmallYAMLDoesNotBecomeALargeOne(t *testing.T) {
	text := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		text += "a" + string(rune('1'+i)) + ": &a" + string(rune('1'+i)) + " [" + strings.Repeat("*a"+string(rune('0'+i))+",", 10) + "]\n"
	}
	if _, err := read("x.yaml", []byte(text), formatYAML); !strings.Contains(problems(err), "too large or too deep") {
		t.Errorf("%v", err)
	}
}

func TestTOMLHasThePlacesAndTheOrderOfItsKeys(t *testing.T) {
	const text = `
[[apps]]
script = "./b.js"
name = "b"
[apps.env]
Z = 1
A = true

[[apps]]
name = "a"
script = "./a.js"
kill_timeout = "soon"
env = { Y = 1.5, B = 2001-12-14 }
`
	tree, err := read("apps.toml", []byte(text), formatTOML)
	if err != nil {
		t.Fatal(err)
	}
	got := written(t, tree.plain())
	want := `{"apps":[{"script":"./b.js","name":"b","env":{"Z":1,"A":true}},{"name":"a","script":"./a.js","kill_timeout":"soon","env":{"Y":1.5,"B":"2001-12-14"}}]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	_, err = Parse(t.Context(), "apps.toml", []byte(text), Options{})
	if got, want := problems(err), `apps.toml:12:1: kill_timeout: expected a number of milliseconds, not "soon"`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	_, err = Parse(t.Context(), "apps.toml", []byte("a = \n"), Options{})
	if got := problems(err); !strings.HasPrefix(got, "apps.toml:1:") {
		t.Errorf("got %s", got)
	}
}

func TestAppsAreFoundWhereverPM2FindsThem(t *testing.T) {
	for text, want := range map[string]string{
		`{apps: [{script: 'a'}, {script: 'b'}]}`:           "a b",
		`{apps: {script: 'a'}}`:                            "a",
		`{pm2: [{script: 'a'}], name: 'package'}`:          "a",
		`[{script: 'a'}]`:                                  "a",
		`{script: 'a.b.js'}`:                               "a.b",
		`{exec: 'a'}`:                                      "a",
		`{apps: [], deploy: {}}`:                           "",
		`{apps: [{command: './dir/x.sh', name: 'given'}]}`: "given",
	} {
		list, err := Parse(t.Context(), "pipe", []byte(text), Options{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		names := []string{}
		for _, c := range list {
			names = append(names, c.Name())
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		`{}`:                             "pipe:1:1: there are no apps in it",
		`[]`:                             "pipe:1:1: there are no apps in it",
		`'app'`:                          `pipe:1:1: expected apps: a list of apps, not "app"`,
		`{apps: 'web'}`:                  `pipe:1:2: expected apps: a list of apps, not "web"`,
		"{apps: [\n{script: 'a'}, 'b']}": `pipe:2:16: apps[1]: expected an app: keys and values, not "b"`,
		`{apps: [{name: 'x'}]}`:          "pipe:1:9: there is no script to run | script: ./server.js, say",
	} {
		_, err := Parse(t.Context(), "pipe", []byte(text), Options{})
		if got := problems(err); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func TestOnlyTakesAppsByTheirNames(t *testing.T) {
	list, err := Parse(t.Context(), "pipe", []byte(`[{script: 'a'}, {script: 'b', name: 'a b'}, {script: 'c'}]`), Options{Only: []string{"a b", "c", "none"}})
	if err != nil || len(list) != 2 || list[0].Name() != "a b" || list[1].Name() != "c" {
		t.Errorf("%v, %v", list, err)
	}
}

func TestOfSeveralNamesOfAKeyTheStrongestThatHasAValueCounts(t *testing.T) {
	for text, want := range map[string]string{
		`{exec: 'e', script: 's'}`:                              `{"script":"s"}`,
		`{exec: 'e', command: 'c', cmd: 'm'}`:                   `{"script":"m"}`,
		`{script: '', exec: 'e'}`:                               `{"script":"e"}`,
		`{script: 's', interpreter: 'i', execInterpreter: 'c'}`: `{"script":"s","exec_interpreter":"i"}`,
		`{script: 's', out: 'o', out_log: 'l', outFile: 'f'}`:   `{"script":"s","out_file":"l"}`,
		`{script: 's', maxMemoryRestart: '1G', env_x: {A: 1}}`:  `{"script":"s","max_memory_restart":"1G","env_x":{"A":1}}`,
		`{script: 's', user: 'u', cron: 0, name: null}`:         `{"script":"s","uid":"u","cron_restart":0}`,
		`{odd: [1], script: 's'}`:                               `{"odd":[1],"script":"s"}`,
	} {
		list, err := Parse(t.Context(), "pipe", []byte(text), Options{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := written(t, &list[0].Object); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestASlipInAKeyIsAWarning(t *testing.T) {
	var warned []string
	_, err := Parse(t.Context(), "pm2.json", []byte("[{script: 's',\n error_log: 'e', max_memory: 1, monitoring: true, env_file: '.env', entirely_else: 1}]"),
		Options{Warn: func(text string) { warned = append(warned, text) }})
	want := `pm2.json:1:2: there is no key "error_log", and it does nothing: did you mean "err_log"?`
	if err != nil || len(warned) != 1 || warned[0] != want {
		t.Errorf("%v, %q", err, warned)
	}
}

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(t.Context(), "gone.json", Options{Cwd: dir})
	if got, want := problems(err), "gone.json: no such file"; got != want {
		t.Errorf("got %q", got)
	}
	large := filepath.Join(dir, "large.json")
	if err := os.WriteFile(large, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(t.Context(), large, Options{Cwd: "/"})
	if got, want := problems(err), large+": is larger than 1 MiB"; got != want {
		t.Errorf("got %q", got)
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{"{apps: [{script: 'a', env: {A: `1`}, args: [0x1, 1e3]}]} // x", "a: &a [1]\nb: {<<: *a, c: *a}\n", "[[apps]]\nscript = 'a'\nenv.A = 1\n"} {
		for kind := range 3 {
			f.Add([]byte(seed), byte(kind))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, kind byte) {
		name := []string{"x.json", "x.yaml", "x.toml"}[kind%3]
		list, err := Parse(t.Context(), name, data, Options{})
		if err != nil && problems(err) == "" {
			t.Fatalf("an error that says nothing: %v", err)
		}
		for _, c := range list {
			if _, err := json.Marshal(&c.Object); err != nil {
				t.Fatal(err)
			}
			_, _ = c.App(Options{Cwd: "/", Home: "/home", PM2: kind > 3, NamesOnly: true})
		}
		if len(list) > 0 {
			text, _, err := Convert(list, Options{Cwd: "/"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := read("neko.yaml", text, formatYAML); err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
		}
	})
}
