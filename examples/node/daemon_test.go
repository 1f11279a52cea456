// Package node runs programs of Node's as people have them under a real nekoctl, and
// compares with Node's own cluster module.
package node

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/source"
	"github.com/nekoctl/neko/supervisor/control"
)

// nekoctl is the program, of this source.
var nekoctl string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		bin, err := os.MkdirTemp("", "neko-node")
		if err == nil {
			defer os.RemoveAll(bin)
			nekoctl = filepath.Join(bin, "nekoctl")
			err = source.Build(nekoctl, "../../cmd/nekoctl")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			return 1
		}
		return m.Run()
	}())
}

// app is a program in two processes of a nekoctl with a home of its own.
type app struct {
	t    *testing.T
	dir  string // a copy of the program's folder
	home string
	env  []string
}

// prepare copies a folder to where a program finds what npm has installed, if it
// needs that. Ports are left to the kernel.
func prepare(t *testing.T, n node, folder string) *app {
	t.Helper()
	source.LookAt(t, ".", "../../cmd/nekoctl", "../../supervisor")
	where := ""
	if needs := dependencies(folder); needs != "" {
		where = modules(t, needs)
	}
	dir, err := os.MkdirTemp(where, "run") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.CopyFS(filepath.Join(dir, "app"), os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	a := &app{t: t, dir: filepath.Join(dir, "app"), home: filepath.Join(dir, "home")}
	a.env = append(os.Environ(), "PATH="+n.path(), "NEKO_HOME="+a.home, "PORT=0")
	t.Cleanup(a.end)
	return a
}

// start starts the program of an example with these options of `nekoctl start`; two
// processes of it in cluster mode if there are none.
func start(t *testing.T, n node, program string, options ...string) *app {
	t.Helper()
	a := prepare(t, n, filepath.Dir(program))
	a.start(filepath.Base(program), options...)
	return a
}

func (a *app) start(program string, options ...string) {
	a.t.Helper()
	if len(options) == 0 {
		options = []string{"-i", "2", "--min-uptime", "200ms"}
	}
	// On a busy machine Node may be more than ten seconds on its way.
	a.nekoctl(append([]string{"start", program, "--name", "app", "--listen-timeout", "1m"}, options...)...)
}

// configure starts a program by a neko.yaml with these keys, and two processes of it
// in cluster mode.
func configure(t *testing.T, n node, program, keys string) *app {
	t.Helper()
	a := prepare(t, n, filepath.Dir(program))
	a.configure(filepath.Base(program), keys)
	return a
}

func (a *app) configure(program, keys string) {
	a.t.Helper()
	text := "apps:\n  - name: app\n    script: " + program + "\n    listen_timeout: 1m\n"
	if !strings.Contains(keys, "instances:") {
		text += "    instances: 2\n"
	}
	for line := range strings.Lines(keys) {
		text += "    " + line
	}
	file := filepath.Join(a.dir, "neko.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	a.nekoctl("start", file)
}

func (a *app) try(args ...string) (string, error) {
	cmd := exec.Command(nekoctl, args...)
	cmd.Dir, cmd.Env = a.dir, a.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("nekoctl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (a *app) nekoctl(args ...string) string {
	a.t.Helper()
	out, err := a.try(args...)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

func (a *app) list() (list []control.Process) {
	a.t.Helper()
	a.ask(&list, "list")
	return list
}

func (a *app) describe() (detail control.AppDetail) {
	a.t.Helper()
	a.ask(&detail, "describe", "app")
	return detail
}

func (a *app) ask(answer any, args ...string) {
	a.t.Helper()
	out := a.nekoctl(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		a.t.Fatalf("nekoctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// address is where the app listens first. Who has not listened for three seconds may be a program that never does, and
// is taken for ready: on a busy machine Node takes longer than that.
func (a *app) address() string {
	a.t.Helper()
	list := a.list()[0].Listeners
	if len(list) == 0 {
		a.waitFor("it listens", func() bool {
			list = a.list()[0].Listeners
			return len(list) > 0
		})
	}
	return local(list[0])
}

// local is how an address is reached from here.
func local(address string) string {
	for _, all := range []string{"*", "0.0.0.0", "[::]", ""} {
		if port, ok := strings.CutPrefix(address, all+":"); ok {
			return "127.0.0.1:" + port
		}
	}
	return address
}

// reload replaces all processes and waits until the last predecessor has gone.
func (a *app) reload() {
	a.t.Helper()
	before := a.list()
	if out := a.nekoctl("reload", "app"); strings.Contains(out, "restarted") {
		a.t.Fatal(out)
	}
	for i, p := range a.list() {
		if p.PID == before[i].PID || p.State != control.Online {
			a.t.Fatalf("not reloaded: %+v, and before %+v", p, before[i])
		}
	}
}

// drained waits until no predecessor is left.
func (a *app) drained() {
	a.t.Helper()
	a.waitFor("the predecessors have drained", func() bool {
		return !slices.ContainsFunc(a.describe().Processes, func(p control.ProcessExtra) bool { return len(p.Draining) > 0 })
	})
}

// stops stops the app: each process drains and ends with 0.
func (a *app) stops() {
	a.t.Helper()
	a.stopsWith("exit code 0")
}

// stopsWith is stops of a program that says something else at its end.
func (a *app) stopsWith(exit string) {
	a.t.Helper()
	a.nekoctl("stop", "app")
	for _, p := range a.describe().Processes {
		if p.State != control.Stopped || p.LastExit != exit {
			a.t.Errorf("slot %d is %s after a stop, its last process ended with %s", p.Slot, p.State, p.LastExit)
		}
	}
}

// log is what a slot's processes have printed so far: on out or error.
func (a *app) log(kind string, slot int) string {
	text, _ := os.ReadFile(filepath.Join(a.home, "logs", fmt.Sprintf("app-%s-%d.log", kind, slot)))
	return string(text)
}

// prints waits until a slot's processes have printed a text so many times.
func (a *app) prints(kind string, slot int, text string, times int) {
	a.t.Helper()
	a.waitFor(fmt.Sprintf("slot %d prints %q %d times", slot, text, times), func() bool {
		return strings.Count(a.log(kind, slot), text) >= times
	})
}

// waitFor looks until something is so.
func (a *app) waitFor(what string, is func() bool) {
	a.t.Helper()
	defer func() {
		if a.t.Failed() {
			list, err := a.try("describe", "app")
			a.t.Logf("%s%v", list, err)
		}
	}()
	waitFor(a.t, what, is)
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v for this: %s", patience, what)
		}
	}
}

func (a *app) end() {
	if _, err := a.try("kill"); err != nil {
		a.t.Error(err)
	}
	text, _ := os.ReadFile(filepath.Join(a.home, "neko.log"))
	if strings.Contains(string(text), "BUG") || strings.Contains(string(text), "panic") {
		a.t.Error("neko.log tells of a bug")
	}
	if !a.t.Failed() {
		return
	}
	names, _ := filepath.Glob(filepath.Join(a.home, "logs", "*.log"))
	for _, name := range append(names, filepath.Join(a.home, "neko.log")) {
		if text, _ := os.ReadFile(name); len(text) > 0 {
			const most = 4000
			a.t.Logf("%s:\n%s", filepath.Base(name), text[max(len(text)-most, 0):])
		}
	}
}
