// Package examples runs the examples as their READMEs say, and reloads them under
// load.
package examples

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/load"
	"github.com/nekoctl/neko/supervisor/control"
)

// What a reload loses is counted with so many clients of each kind, and so often.
const (
	clients = 8
	reloads = 3
)

// example is a neko.yaml of a folder, and what it takes to run it.
type example struct {
	file  string
	needs runtime
	// drops: the server itself closes idle connections when it is told to stop.
	drops bool
}

var examples = []example{
	{file: "go/neko.yaml", needs: golang},
	{file: "python/plain/neko.yaml", needs: python},
	{file: "python/gunicorn/neko.yaml", needs: gunicorn},
	{file: "python/gunicorn/threads.yaml", needs: gunicorn, drops: true},
}

func TestAReloadUnderLoadLosesNothing(t *testing.T) {
	for _, e := range examples {
		if e.drops {
			continue
		}
		t.Run(e.name(), func(t *testing.T) {
			t.Parallel()
			e.needs.get(t)
			d := start(t, e.file, "127.0.0.1:0")
			for _, report := range reloadUnderLoad(t, d) {
				if report.Failed() {
					t.Error(report)
				}
			}
			stopsInOrder(t, d)
		})
	}
}

// A server may close the connections that are idle when it is told to stop. What
// their clients lose is counted and said in its README. Nothing else may be lost.
func TestAServerThatClosesIdleConnectionsLosesNothingElse(t *testing.T) {
	for _, e := range examples {
		if !e.drops {
			continue
		}
		t.Run(e.name(), func(t *testing.T) {
			t.Parallel()
			e.needs.get(t)
			d := start(t, e.file, "127.0.0.1:0")
			for _, report := range reloadUnderLoad(t, d) {
				t.Log(report)
			}
			stopsInOrder(t, d)
		})
	}
}

func (e example) name() string {
	return strings.TrimSuffix(strings.ReplaceAll(strings.TrimSuffix(e.file, ".yaml"), "/", "-"), "-neko")
}

// reloadUnderLoad reloads while clients with new connections, with connections
// that they keep and with requests that take long count what they lose.
func reloadUnderLoad(t *testing.T, d *daemon) (reports []load.Report) {
	t.Helper()
	url := "http://" + d.list()[0].Listeners[0] + "/"
	var runs []*load.Run
	for _, cfg := range []load.Config{
		{Mode: load.NewConnection, ThinkMax: 200 * time.Millisecond},
		{Mode: load.KeepAlive, ThinkMax: 50 * time.Millisecond},
		{Mode: load.Slow, SlowFor: 100 * time.Millisecond, ThinkMax: 200 * time.Millisecond},
	} {
		cfg.URL, cfg.Clients = url, clients
		cfg.Check = func(r *load.Response) error {
			if !strings.HasPrefix(string(r.Body), "hello from ") {
				return fmt.Errorf("the answer is %q", r.Body)
			}
			return nil
		}
		run, err := load.Start(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer run.Stop()
		runs = append(runs, run)
	}
	pass := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, run := range runs {
			if err := run.WaitRequests(ctx, clients); err != nil {
				t.Fatalf("%v\n%s", err, run.Stats())
			}
		}
	}
	pass()
	for range reloads {
		before := d.list()
		d.nekoctl("reload", "all")
		for i, p := range d.list() {
			if p.PID == before[i].PID || p.State != control.Online {
				t.Fatalf("not reloaded: %+v, and before %+v", p, before[i])
			}
		}
		pass()
	}
	d.waitFor("the last predecessors have drained", func() bool {
		for _, p := range d.describe().Processes {
			if len(p.Draining) > 0 {
				return false
			}
		}
		return true
	})
	pass()
	for _, run := range runs {
		reports = append(reports, run.Stop())
	}
	return reports
}

// stopsInOrder stops the app: each process drains and ends with 0.
func stopsInOrder(t *testing.T, d *daemon) {
	t.Helper()
	d.nekoctl("stop", "all")
	for _, p := range d.describe().Processes {
		if p.State != control.Stopped || p.LastExit != "exit code 0" {
			t.Errorf("slot %d is %s after a stop, its last process ended with %s", p.Slot, p.State, p.LastExit)
		}
	}
}
