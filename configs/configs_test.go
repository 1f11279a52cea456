package configs

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/nekoctl/neko/supervisor/spec"
)

// systemd only warns of keys that it does not know, so any word from it fails. The
// scores are those of `systemd-analyze security`, ten times.
func TestUnitsAreWhatSystemdUnderstands(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not there")
	}
	for name, score := range map[string]string{"neko.service": "40", "neko-api.service": "20", "neko.socket": ""} {
		text, err := os.ReadFile("systemd/" + name)
		if err != nil {
			t.Fatal(err)
		}
		// verify wants the programs to be there, and this machine need not have neko.
		dir := t.TempDir()
		for _, unit := range []string{name, "neko.service"} {
			if unit != name {
				if text, err = os.ReadFile("systemd/" + unit); err != nil {
					t.Fatal(err)
				}
			}
			unit = filepath.Join(dir, unit)
			if err := os.WriteFile(unit, bytes.ReplaceAll(text, []byte("/usr/bin/nekoctl"), []byte("/bin/true")), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(dir, name)
		out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
		if err != nil || strings.Contains(string(out), name) {
			t.Errorf("systemd-analyze verify %s: %v\n%s", name, err, out)
		}
		if score == "" {
			continue
		}
		out, err = exec.Command(analyze, "security", "--offline=true", "--threshold="+score, "--no-pager", file).CombinedOutput()
		if err != nil {
			t.Errorf("%s is less closed than it was: %v\n%s", name, err, out)
		}
	}
}

func TestExampleIsOneThatNekoUnderstands(t *testing.T) {
	text, err := os.ReadFile("neko.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, program := range []string{"neko-api", "shop", "node", "site.js"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "shop.env"), []byte("COLOR=red\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	read := func(text string) []spec.App {
		t.Helper()
		file := filepath.Join(dir, "neko.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		apps, _, err := spec.Read(file, spec.Options{Environ: []string{"PATH=" + dir}})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return apps
	}
	if apps := read(string(text)); len(apps) != 1 || apps[0].Instances != spec.Max {
		t.Errorf("as it is: %+v", apps)
	}

	// The app that is commented out, with one of its two forms of listen.
	above, below, _ := strings.Cut(string(text), "# A program of your own.\n")
	below = strings.ReplaceAll(below, "\n  # ", "\n  ")
	below = strings.Replace("\n"+below, "\n  # ", "\n  ", 1)
	var lines []string
	for line := range strings.Lines(below) {
		if !strings.HasPrefix(strings.TrimSpace(line), "listen: [") {
			lines = append(lines, line)
		}
	}
	apps := read(above + "\n" + strings.Join(lines, ""))
	if len(apps) != 4 {
		t.Fatalf("with the comments taken away: %+v", apps)
	}
	shop := apps[1]
	if len(shop.Listen) != 2 || shop.Env["COLOR"] != "red" || shop.Env["SHOP_MODE"] != "production" || shop.URLPath != "/admin" {
		t.Errorf("%+v", shop)
	}
	// What it shows as defaults are the defaults. All else is for example.
	want := shop
	defaults := spec.Defaults()
	for _, key := range []string{"Instances", "Balance", "ListenPID", "WaitReady", "ListenTimeout", "ShutdownDelay", "StopSignal", "DrainTimeout",
		"KillTimeout", "Treekill", "Autorestart", "MinUptime", "MaxRestarts", "RestartWindow", "RestartDelay", "Backoff", "IgnoreWatch", "WatchDelay",
		"MergeLogs", "LogType", "InstanceVar", "DrainConnections", "Autostart", "Parallel", "LogRotate", "Pin"} {
		reflect.ValueOf(&want).Elem().FieldByName(key).Set(reflect.ValueOf(defaults).FieldByName(key))
	}
	probe := spec.DefaultProbe()
	probe.HTTP = "/livez"
	want.Liveness = &probe
	if !reflect.DeepEqual(shop, want) {
		t.Errorf("shown are other defaults:\n%+v\n%+v", shop, want)
	}
	for _, key := range spec.Keys() {
		if !strings.Contains(below, " "+key+":") {
			t.Errorf("the example does not show %s", key)
		}
	}
}

var update = flag.Bool("update", false, "write what is generated anew")

// The schema is generated from the parser's own table of keys: after a change
// there, go test ./configs -update.
func TestSchemaIsThatOfTheParser(t *testing.T) {
	schema, err := spec.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("neko.schema.json", schema, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	there, err := os.ReadFile("neko.schema.json")
	if err != nil || !bytes.Equal(there, schema) {
		t.Errorf("neko.schema.json is not what the parser knows; go test ./configs -update writes it (%v)", err)
	}
}

// compiled is the schema as an editor has it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := os.Open("neko.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	doc, err := jsonschema.UnmarshalJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("neko.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("neko.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// valid says what the schema has against a file.
func valid(t *testing.T, schema *jsonschema.Schema, text string) error {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return schema.Validate(value)
}

func TestSchemaAllowsWhatTheDocumentsShow(t *testing.T) {
	schema := compiled(t)
	example, err := os.ReadFile("neko.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{string(example)}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		texts = append(texts, m[1])
	}
	above, below, _ := strings.Cut(string(example), "# A program of your own.\n")
	below = strings.ReplaceAll("\n"+below, "\n  # ", "\n  ")
	texts = append(texts, above+strings.Replace(below, "listen: [", "x: [", 1))
	texts[len(texts)-1] = regexp.MustCompile("(?m)^ *x: .*$").ReplaceAllString(texts[len(texts)-1], "")
	for _, text := range texts {
		if err := valid(t, schema, text); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}

// Where the schema has something against a value, so has the parser, and the
// other way round.
func TestSchemaAndParserAgree(t *testing.T) {
	schema := compiled(t)
	for text, good := range map[string]bool{
		`instances: max`: true, `instances: 4`: true, `instances: 0`: true, `instances: -1`: true, `instances: -2000`: false, `instances: many`: false,
		`listen: 4000`: true, `listen: [":80", 81]`: true, `listen: {http: ":80"}`: true, `listen: [[80]]`: false,
		`drain_timeout: 1.5s`: true, `drain_timeout: 1500`: true, `drain_timeout: soon`: false, `drain_timeout: -1`: false,
		`max_memory_restart: 300M`: true, `max_memory_restart: 1.5GiB`: true, `max_memory_restart: lots`: false,
		`stop_exit_codes: 3`: true, `stop_exit_codes: [0, 255]`: true, `stop_exit_codes: 256`: false,
		`exp_backoff_restart_delay: 100`: true, `exp_backoff_restart_delay: {max: 1m}`: true, `exp_backoff_restart_delay: {jitter: 2}`: false, `exp_backoff_restart_delay: {most: 1m}`: false,
		`watch: true`: true, `watch: [src]`: true, `watch: {}`: false,
		`liveness: {exec: ./ok, failures: 1}`: true, `liveness: {exec: ./ok, failures: 0}`: false, `liveness: {udp: 1}`: false,
		`depends_on: a`: true, `depends_on: {a: ready}`: true, `depends_on: {a: {condition: started}}`: true, `depends_on: {a: gone}`: false,
		`log_rotate: false`: true, `log_rotate: {size: 10M}`: true, `log_rotate: true`: true, `log_rotate: {keep: -1}`: false,
		`log_type: json`: true, `log_type: xml`: false,
		`umask: "022"`: true, `umask: "9"`: false,
		`rlimits: {nofile: "1024:65536"}`: true, `rlimits: {core: unlimited}`: true, `rlimits: {nofile: few}`: false, `rlimits: {files: 1}`: false,
		`nice: -5`: true, `nice: 20`: false, `pin: true`: true, `pin: "yes"`: false, `pins: true`: false,
		`stop_signal: INT`: true, `stop_signal: 2`: true, `stop_signal: stop it`: false,
		`args: --port 80`: true, `args: [a, 1]`: true, `args: {a: 1}`: false, `interpreter: none`: true, `interpreter: [node]`: false,
		`node_args: --inspect`: true, `interpreter_args: [--inspect]`: true, `exec_mode: cluster_mode`: true, `exec_mode: threads`: false,
		`shutdown_with_message: false`: true, `shutdown_with_message: 1`: false, `script: ./b.js`: false, // beside a command
		`type: service`: true, `type: cron`: false, `env: {A: 1, B: two}`: true, `env: [A=1]`: false,
	} {
		file := "apps: [{name: a, command: ./a}, {name: b, command: ./b, " + text + "}]"
		if err := valid(t, schema, file); (err == nil) != good {
			t.Errorf("%s: the schema says %v", text, err)
		}
		_, _, err := spec.Parse("neko.yaml", []byte(file), spec.Options{NamesOnly: true})
		if (err == nil) != good {
			t.Errorf("%s: the parser says %v", text, err)
		}
	}
}
