package main

import (
	"reflect"
	"strings"
	"testing"
)

// The forms that PM2's users write, and what commander makes of each.
func TestOptionsOfPM2AreReadAsCommanderReadsThem(t *testing.T) {
	for _, c := range []struct {
		line    string
		command string
		words   string
		after   string
		given   map[string][]string
		err     string
	}{
		{line: "start app.js", command: "start", words: "app.js"},
		{line: "start app.js --name web -i 4", command: "start", words: "app.js", given: map[string][]string{"name": {"web"}, "instances": {"4"}}},
		{line: "-s start app.js", command: "start", words: "app.js", given: map[string][]string{"silent": {"true"}}},
		{line: "start -xf app.js", command: "start", words: "app.js", given: map[string][]string{"execute-command": {"true"}, "force": {"true"}}},
		{line: "start --name=web app.js", command: "start", words: "app.js", given: map[string][]string{"name": {"web"}}},
		{line: "start app.js -- --port 80 -x", command: "start", words: "app.js", after: "--port 80 -x"},
		{line: "start app.js --watch src --ignore-watch node_modules", command: "start", words: "app.js",
			given: map[string][]string{"watch": {"src"}, "ignore-watch": {"node_modules"}}},
		{line: "start app.js --watch", command: "start", words: "app.js", given: map[string][]string{"watch": {"true"}}},
		{line: "start --watch -i 2 app.js", command: "start", words: "app.js", given: map[string][]string{"watch": {"true"}, "instances": {"2"}}},
		{line: "start app.js --no-autorestart", command: "start", words: "app.js", given: map[string][]string{"autorestart": {"false"}}},
		{line: "start app.js -i -1", command: "start", words: "app.js", given: map[string][]string{"instances": {"-1"}}},
		{line: "logs --lines 5 --nostream web", command: "logs", words: "web", given: map[string][]string{"lines": {"5"}, "nostream": {"true"}}},
		{line: "logs web --timestamp HH:mm --raw", command: "logs", words: "web", given: map[string][]string{"timestamp": {"HH:mm"}, "raw": {"true"}}},
		{line: "save --force", command: "save", given: map[string][]string{"force": {"true"}}},
		{line: "stop 0 1 web", command: "stop", words: "0 1 web"},
		{line: "start - ", command: "start", words: "-"},
		{line: "start app.js -n", command: "", err: "option `-n --name <name>' argument missing"},
		{line: "start app.js --nmae web", command: "start", err: "unknown option `--nmae'"},
		{line: "list --lines 3", command: "list", err: "unknown option `--lines'"},
		{line: "--frob", err: "unknown option `--frob'"},
		{line: ""},
	} {
		t.Run(c.line, func(t *testing.T) {
			line, err := parseLine(strings.Fields(c.line), pm2Options, func(name string) ([]pm2Option, bool) {
				command, known := pm2CommandOf(name)
				return command.options, known
			})
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Fatalf("the error is %v, expected %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if line.command != c.command || strings.Join(line.words, " ") != c.words || strings.Join(line.after, " ") != c.after {
				t.Errorf("it is %q %q -- %q", line.command, line.words, line.after)
			}
			if !reflect.DeepEqual(line.given.values, c.given) {
				t.Errorf("the options are %v, expected %v", line.given.values, c.given)
			}
		})
	}
}

func TestEachOptionOfPM2IsDefinedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range pm2Options {
		_, long := o.names()
		if seen[long] && long != "--version" {
			t.Errorf("%s is there twice", long)
		}
		seen[long] = true
	}
	names := map[string]bool{}
	for _, c := range pm2Commands() {
		for _, name := range append([]string{c.name}, c.aliases...) {
			if names[name] {
				t.Errorf("the command %s is there twice", name)
			}
			names[name] = true
		}
	}
}

func FuzzALineOfPM2(f *testing.F) {
	f.Add("start app.js -i 4 --watch -- -x")
	f.Add("-sf --name= --x=y -")
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Fields(text)
		line, err := parseLine(args, pm2Options, func(name string) ([]pm2Option, bool) {
			command, known := pm2CommandOf(name)
			return command.options, known
		})
		if err == nil && len(line.words)+len(line.after) > 2*len(args) {
			t.Errorf("%q became %q and %q", args, line.words, line.after)
		}
	})
}
