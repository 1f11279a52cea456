// Package chaos changes a running system under load and counts what its clients
// lose: the real nekoctl and neko-api, as they are shipped, and the project's
// own load client, which forgives nothing.
package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nekoctl/neko/scripts/load"
	"github.com/nekoctl/neko/supervisor/control"
)

// bin is the folder of the binaries under test, built once.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "neko-chaos"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		build := exec.Command("go", "build", "-o", bin, "../../cmd/nekoctl", "../../cmd/neko-api")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// daemon is a nekoctl with a home of its own, used through the command line.
type daemon struct {
	t    *testing.T
	home string
	url  string
}

// serve starts neko-api with imported data on n workers.
func serve(t *testing.T, n int) *daemon {
	t.Helper()
	d := &daemon{t: t, home: t.TempDir()}
	if folder := os.Getenv("NEKO_TEST_ATTACK"); folder != "" {
		bundles, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil || len(bundles) == 0 {
			t.Fatalf("no bundles in NEKO_TEST_ATTACK=%s (%v)", folder, err)
		}
		for _, bundle := range bundles {
			d.run("neko-api", "import", bundle)
		}
	} else {
		t.Log("NEKO_TEST_ATTACK names no folder of ATT&CK bundles (attack.mitre.org): serving the sample data")
	}
	config := fmt.Sprintf(`
apps:
  - name: api
    command: %s/neko-api
    instances: %d
    listen: 127.0.0.1:0
    wait_ready: true
    listen_pid: false
`, bin, n)
	file := filepath.Join(d.home, "neko.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.nekoctl("kill")
		if t.Failed() {
			for _, name := range []string{"neko.log", "logs/api-error-0.log"} {
				text, _ := os.ReadFile(filepath.Join(d.home, name))
				t.Logf("%s:\n%s", name, text)
			}
		}
	})
	d.nekoctl("start", file)
	d.url = "http://" + d.list()[0].Listeners[0] + "/graphql"
	return d
}

func (d *daemon) run(program string, args ...string) string {
	d.t.Helper()
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Env = append(os.Environ(), "NEKO_HOME="+d.home)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

func (d *daemon) nekoctl(args ...string) string {
	d.t.Helper()
	return d.run("nekoctl", args...)
}

func (d *daemon) list() []control.Process {
	d.t.Helper()
	var list []control.Process
	if err := json.Unmarshal([]byte(d.nekoctl("list", "--json")), &list); err != nil {
		d.t.Fatal(err)
	}
	return list
}

const query = `{"query":"{ threatActors(first: 3) { nodes { attackId name techniques(first: 2) { totalCount nodes { attackId } } } } }"}`

// clients are 64 clients with a connection for each request, and 64 that keep
// theirs and think for up to 50 ms.
type clients struct {
	t    *testing.T
	runs []*load.Run
}

func (d *daemon) load() *clients {
	d.t.Helper()
	c := &clients{t: d.t}
	for _, mode := range []load.Mode{load.NewConnection, load.KeepAlive} {
		config := load.Config{
			URL: d.url, Mode: mode, Clients: 64, Body: []byte(query), Header: []string{"Content-Type: application/json"},
			Check: func(r *load.Response) error {
				if !strings.Contains(string(r.Body), `"attackId":"G`) {
					return fmt.Errorf("the answer is %.200s", r.Body)
				}
				return nil
			},
		}
		if mode == load.KeepAlive {
			config.ThinkMax = 50e6
		}
		run, err := load.Start(d.t.Context(), config)
		if err != nil {
			d.t.Fatal(err)
		}
		c.runs = append(c.runs, run)
	}
	c.wait(200)
	return c
}

// wait lets n more requests pass on each kind of connection.
func (c *clients) wait(n int64) {
	c.t.Helper()
	for _, run := range c.runs {
		if err := run.WaitRequests(c.t.Context(), n); err != nil {
			c.t.Fatalf("%v\n%s", err, run.Stats())
		}
	}
}

// stop ends the load and returns what it has seen.
func (c *clients) stop() []load.Report {
	var reports []load.Report
	for _, run := range c.runs {
		reports = append(reports, run.Stop())
	}
	return reports
}

// nothingLost fails the test if any client saw any error.
func (c *clients) nothingLost() {
	c.t.Helper()
	for _, report := range c.stop() {
		if report.Failed() {
			c.t.Errorf("%s", report)
		}
		c.t.Logf("%s: %d requests, %d errors", report.Mode, report.Requests, report.Failures())
	}
}
