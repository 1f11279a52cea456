package spec

import (
	"os/exec"
	"strings"
	"testing"
)

func TestALineForAShellIsRunByOne(t *testing.T) {
	files := map[string]string{"bin/server": program, "bin/node": program}
	for keys, want := range map[string]string{
		"command: 'server; server'":                     "/bin/sh -c server; exec server",
		"command: 'server > log'":                       "/bin/sh -c exec server > log",
		"script: 'server $HOME'":                        "/bin/sh -c exec server $HOME",
		"command: 'server *.js'":                        "/bin/sh -c exec server *.js",
		`command: "server\nserver"`:                     "/bin/sh -c server\nexec server",
		`command: "server --x\n"`:                       "server --x",
		"command: \"server '*;$'\"":                     "server *;$",
		"command: [server, '*;$']":                      "server *;$",
		"command: 'cd x && node a.js', instances: 2":    "/bin/sh -c cd x && exec node a.js\na: it runs in fork mode, where each process listens by itself: a shell runs it",
		"command: 'server | server', instances: 2":      "/bin/sh -c server | server",
		"command: 'server; server', interpreter: node":  "1:58: interpreter: a shell runs the line server; server | write all of it into the line; or one program alone, without what only a shell knows",
		"command: 'server; server', exec_mode: cluster": "/bin/sh -c server; exec server\na: it runs in fork mode, where each process listens by itself: a shell runs it",
	} {
		if _, got := how(t, files, keys, ""); got != want {
			t.Errorf("%s:\n got %s\nwant %s", keys, got, want)
		}
	}
	files["bin/bash"] = program
	if _, got := how(t, files, "command: 'server; server'", ""); got != "bash -c server; exec server" {
		t.Error(got)
	}
}

// What the shell becomes gets the signals; where it would not do the same it stays.
func TestTheLastProgramOfALineTakesTheShellsPlaceIfThatIsSafe(t *testing.T) {
	for line, want := range map[string]string{
		"cc hello.c; ./a.out":            "cc hello.c; exec ./a.out",
		"a && b || c":                    "a && b || exec c",
		"a $X > log 2>&1":                "exec a $X > log 2>&1",
		"a &> log":                       "exec a &> log",
		"a | b; c":                       "a | b; exec c",
		"A=1 B='x y' c *":                "A=1 B='x y' exec c *",
		`a "x; y" *`:                     `exec a "x; y" *`,
		"a\nb":                           "a\nexec b",
		"a | b":                          "",
		"a & b":                          "",
		"a &":                            "",
		"a; b;":                          "",
		"(a; b)":                         "",
		"a $(b)":                         "",
		"a `b`":                          "",
		"trap 'x' EXIT; a":               "",
		"if a; then b; fi":               "",
		"while a; do b; done":            "",
		"for i in 1 2; do a $i; done; b": "",
		"a; exec b":                      "",
		"a; cd b":                        "",
		"a; X=1":                         "",
		"a # b; c":                       "",
		"a; >log b":                      "",
		"f() { a; }; f":                  "",
		"! a; b":                         "",
		"a 'x":                           "",
		"cat <<E; a":                     "",
		"a; echo done":                   "a; exec echo done",
	} {
		if want == "" {
			want = line
		}
		if got := execLast(line); got != want {
			t.Errorf("%s: %s", line, got)
		}
	}
}

func TestALineForAShellIsNamedAfterWhatItIsAbout(t *testing.T) {
	for line, want := range map[string]string{
		"cc hello.c; ./a.out": "a", "cd app && node server.js": "server", "./server | tee log": "server", "A=1 ./x > log": "x",
		"cd a; exec node b.js": "b", "(cd x; ./y)": "cd", "$RUN it": "RUN", "'*'": "sh", "a && NODE_ENV=x npm start": "npm",
	} {
		a := Defaults()
		a.Cwd = "/"
		if err := a.Resolve(Run{Line: line + " $X"}, Options{NamesOnly: true}); err != nil || a.Name != want {
			t.Errorf("%s: %q, %v", line, a.Name, err)
		}
	}
}

// Whatever is written there, a shell finds its syntax as right or wrong as before.
func FuzzExecLast(f *testing.F) {
	for _, line := range []string{"cc hello.c; ./a.out", "a && b || c > x 2>&1", "A='x' b \"c;d\" | e\nf", "if a; then b; fi"} {
		f.Add(line)
	}
	valid := func(line string) bool {
		sh := exec.Command("/bin/sh", "-n")
		sh.Stdin = strings.NewReader(line)
		return sh.Run() == nil
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := execLast(line)
		mainCommand(line)
		if got == line || strings.ContainsRune(line, 0) {
			return
		}
		// The longest beginning that both have may reach into an exec of the line's own.
		same := 0
		for same < len(line) && line[same] == got[same] {
			same++
		}
		if at := strings.LastIndex(got[:min(same+len("exec "), len(got))], "exec "); at < 0 || got[:at]+got[at+len("exec "):] != line {
			t.Fatalf("%q: %q", line, got)
		}
		if valid(line) != valid(got) {
			t.Fatalf("%q: %q", line, got)
		}
	})
}
