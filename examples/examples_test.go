// Package examples runs the examples as their READMEs say, and reloads them under
// load.
package examples

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/freeport"
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
	// loses is what the server itself loses when it is told to stop, of connections
	// that it has accepted.
	loses []load.Mode
}

var (
	kept = []load.Mode{load.KeepAlive}
	all  = []load.Mode{load.NewConnection, load.KeepAlive, load.Slow}
)

var examples = []example{
	{file: "go/neko.yaml", needs: golang},
	{file: "python/plain/neko.yaml", needs: python},
	{file: "python/gunicorn/neko.yaml", needs: gunicorn},
	{file: "python/gunicorn/threads.yaml", needs: gunicorn, loses: kept},
	{file: "python/uvicorn/neko.yaml", needs: uvicorn},
	{file: "python/uvicorn/as-it-is.yaml", needs: uvicorn, loses: all},
	{file: "python/hypercorn/neko.yaml", needs: hypercorn},
	{file: "python/hypercorn/as-it-is.yaml", needs: hypercorn, loses: all},
	{file: "ruby/neko.yaml", needs: puma},
	{file: "ruby/as-it-is.yaml", needs: puma, loses: all}, // also what it has accepted and not read anything of
	{file: "bun/neko.yaml", needs: bun},
	{file: "deno/neko.yaml", needs: deno},
}

func TestAReloadUnderLoadLosesNothing(t *testing.T) {
	for _, e := range examples {
		if e.loses != nil {
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
			askWhileItStops(t, d)
			stopsInOrder(t, d)
		})
	}
}

// Many servers close connections as soon as they are told to stop. Their READMEs
// say how many requests that costs, and nothing else may be lost.
func TestAServerThatClosesConnectionsLosesNothingElse(t *testing.T) {
	for _, e := range examples {
		if e.loses == nil {
			continue
		}
		t.Run(e.name(), func(t *testing.T) {
			t.Parallel()
			e.needs.get(t)
			d := start(t, e.file, "127.0.0.1:0")
			for _, report := range reloadUnderLoad(t, d) {
				t.Log(report)
				closed := report.Failures(load.KindReset, load.KindEOF)
				if report.Failures() > closed || closed > 0 && !slices.Contains(e.loses, report.Mode) {
					t.Errorf("mode %s: %d requests failed, %d of them with their connection", report.Mode, report.Failures(), closed)
				}
			}
			stopsInOrder(t, d)
		})
	}
}

func (e example) name() string {
	return strings.TrimSuffix(strings.ReplaceAll(strings.TrimSuffix(e.file, ".yaml"), "/", "-"), "-neko")
}

// reloadUnderLoad reloads while clients with new connections, with connections
// that they keep and with requests that take long count what they lose. It ends
// when the last predecessor has drained.
func reloadUnderLoad(t *testing.T, d *daemon) (reports []load.Report) {
	t.Helper()
	url := "http://" + d.list()[0].Listeners[0] + "/"
	var runs []*load.Run
	for _, cfg := range []load.Config{
		{Mode: load.NewConnection, ThinkMax: 200 * time.Millisecond},
		{Mode: load.KeepAlive, ThinkMax: 50 * time.Millisecond},
		{Mode: load.KeepAlive, ThinkMax: 50 * time.Millisecond, LookBeforeReuse: true}, // as most clients do
		{Mode: load.Slow, SlowFor: 100 * time.Millisecond, ThinkMax: 200 * time.Millisecond},
	} {
		cfg.URL, cfg.Clients, cfg.Timeout = url, clients, time.Minute
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
	pass := reloadUnder(t, d, "all", runs)
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

// reloadUnder reloads several times what serves runs, and returns what waits until
// each of these has got some more answers.
func reloadUnder(t *testing.T, d *daemon, target string, runs []*load.Run) (pass func()) {
	t.Helper()
	pass = func() {
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
		d.nekoctl("reload", target)
		for i, p := range d.list() {
			if p.PID == before[i].PID || p.State != control.Online {
				t.Fatalf("not reloaded: %+v, and before %+v", p, before[i])
			}
		}
		pass()
	}
	return pass
}

// askWhileItStops stops the app while a client has an idle connection, on which its
// next request is answered all the same.
func askWhileItStops(t *testing.T, d *daemon) {
	t.Helper()
	conn, err := net.Dial("tcp", d.list()[0].Listeners[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	ask := func() (last bool) {
		t.Helper()
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: example\r\n\r\n")
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil || !strings.HasPrefix(string(body), "hello from ") {
			t.Fatalf("%s: %q, %v", answer.Status, body, err)
		}
		return answer.Close
	}
	if ask() {
		return // it keeps no connections
	}
	var stop sync.WaitGroup
	stop.Go(func() { d.nekoctl("stop", "all") })
	defer stop.Wait()
	defer conn.Close() // a client that has been told
	d.waitFor("the app is stopping", func() bool {
		return !slices.ContainsFunc(d.list(), func(p control.Process) bool { return p.State == control.Online })
	})
	ask()
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

// PHP's own server binds its port itself. One process can, and nobody listens
// while one ends and the next begins; what it has accepted ends with it.
func TestAProgramThatBindsItsPortItselfIsRestartedAndSaysSo(t *testing.T) {
	php.get(t)
	port := freeport.Address(t)
	d := start(t, "php/neko.yaml", port)
	run, err := load.Start(context.Background(), load.Config{
		URL: "http://" + port + "/", Clients: clients, ThinkMax: 50 * time.Millisecond,
		BodyUntilEOF: true, // it says no Content-Length
	})
	if err != nil {
		t.Fatal(err)
	}
	defer run.Stop()
	for range reloads {
		before := d.list()[0].PID
		said := d.nekoctl("reload", "all")
		if want := "php:0 was restarted, not reloaded: it binds " + port + " itself"; !strings.Contains(said, want) {
			t.Errorf("reload does not say %q: %s", want, said)
		}
		if after := d.list()[0]; after.PID == before || after.State != control.Online {
			t.Fatalf("not restarted: %+v", after)
		}
		if err := run.WaitRequests(t.Context(), 10*clients); err != nil {
			t.Fatal(err)
		}
	}
	report := run.Stop()
	t.Log(report)
	refused, cut := report.Failures(load.KindRefused), report.Failures(load.KindReset, load.KindEOF)
	if report.OK == 0 || cut > clients*reloads || report.Failures() > refused+cut {
		t.Errorf("%d requests were answered; of %d that were not, %d found nobody listening, and %d the end of a process", report.OK, report.Failures(), refused, cut)
	}
	stopsInOrder(t, d)
}
