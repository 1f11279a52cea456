package examples

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/source"
	"github.com/nekoctl/neko/supervisor/control"
)

// program is nekoctl, and bin the folder that it is in.
var bin, program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "neko-examples"); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			return 1
		}
		defer os.RemoveAll(bin)
		program = filepath.Join(bin, "nekoctl")
		if err := source.Build(program, "../cmd/nekoctl"); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			return 1
		}
		return m.Run()
	}())
}

// daemon is a nekoctl with a home of its own that runs an example.
type daemon struct {
	t   *testing.T
	env []string
	app string
}

// start starts an example from a copy of its folder, on the address given in the
// place of 127.0.0.1:8000.
func start(t *testing.T, file, address string) *daemon {
	t.Helper()
	source.LookAt(t, "go", "../cmd/nekoctl", "../supervisor")
	dir, err := os.MkdirTemp("", "example") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.CopyFS(filepath.Join(dir, "app"), os.DirFS(filepath.Dir(file))); err != nil {
		t.Fatal(err)
	}
	if name := map[string]string{"go": "hello", "own-worker": "notes"}[filepath.Dir(file)]; name != "" {
		if err := source.Build(filepath.Join(dir, "app", name), "./"+filepath.Dir(file)); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "app", filepath.Base(file))
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	// On a busy machine a program may be more than ten seconds on its way.
	moved := strings.NewReplacer("    listen: 8000", "    listen_timeout: 1m\n    listen: "+address, "metrics: 9464", "metrics: 0", "127.0.0.1:8000", address).Replace(string(text))
	if err := os.WriteFile(config, []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, env: append(environment(), "NEKO_HOME="+filepath.Join(dir, "home"))}
	t.Cleanup(d.end)
	d.nekoctl("start", config)
	d.app = d.list()[0].Name
	return d
}

// nekoctl gives a command and returns what it printed.
func (d *daemon) nekoctl(args ...string) string {
	d.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = d.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("nekoctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (d *daemon) list() (list []control.Process) {
	d.t.Helper()
	d.ask(&list, "list")
	return list
}

func (d *daemon) describe() (app control.AppDetail) {
	d.t.Helper()
	d.ask(&app, "describe", d.app)
	return app
}

func (d *daemon) ask(answer any, args ...string) {
	d.t.Helper()
	out := d.nekoctl(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		d.t.Fatalf("nekoctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// waitFor looks until something is so.
func (d *daemon) waitFor(what string, is func() bool) {
	d.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !is(); <-tick.C {
		if time.Now().After(end) {
			d.t.Fatalf("waited a minute for this: %s\n%s", what, d.nekoctl("describe", d.app))
		}
	}
}

func (d *daemon) end() {
	if d.t.Failed() {
		cmd := exec.Command(program, "logs", "--nostream", "--lines", "30")
		cmd.Env = d.env
		out, _ := cmd.CombinedOutput()
		d.t.Logf("%s", out)
	}
	d.nekoctl("kill")
}
