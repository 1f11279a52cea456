package node

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/freeport"
	"github.com/nekoctl/neko/scripts/load"
)

// clients is how many there are of each kind.
const clients = 4

// servers are programs that answer a GET of / with who they are, over HTTP/1.
var servers = []struct {
	program string
	scheme  string
}{
	{"http/server.js", "http"},
	{"https/server.js", "https"},
	{"http2/server.js", "https"}, // whose clients may speak HTTP/1 too
	{"express/server.js", "http"},
	{"fastify/server.js", "http"},
	{"koa/server.js", "http"},
	{"esm/server.mjs", "http"},
	{"own-cluster/server.js", "http"}, // which takes itself for a worker then
	{"typescript/server.ts", "http"},  // without a compiler from Node 22.18 on, by tsx before
}

func TestAServerIsReloadedUnderLoadAndLosesNothing(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		for _, s := range servers {
			t.Run(folderOf(s.program), func(t *testing.T) {
				t.Parallel()
				a := prepare(t, n, folderOf(s.program))
				a.env = append(a.env, certificate(t)...)
				a.start(fileOf(s.program))
				reloadUnderLoad(t, a, s.scheme+"://"+a.address()+"/")
				a.stops()
			})
		}
	})
}

// In fork mode a program has its port by itself, and nobody can connect from its end to
// its successor's beginning: so what is idle is not waited for.
func TestAServerInForkModeIsRestartedAtOnceAndFinishesWhatItServes(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := prepare(t, n, "testdata/process")
		port := freeport.For(t)
		at := fmt.Sprintf("127.0.0.1:%d", port)
		a.env = append(a.env, fmt.Sprintf("PORT=%d", port), "IDLE=60000")
		a.configure("server.cjs", "exec_mode: fork\ninstances: 1\nmin_uptime: 200ms\ndrain_timeout: 1m\n")
		waitFor(t, "it listens", func() bool {
			c, err := net.Dial("tcp", at)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		idle, busy := connect(t, "tcp", at), connect(t, "tcp", at)
		idle.asks("/", "hello from ")
		busy.write("GET /slow HTTP/1.1\r\nHost: neko\r\n\r\n")
		a.prints("out", 0, "answers slowly", 1)
		begun := time.Now()
		if out := a.nekoctl("reload", "app"); !strings.Contains(out, "restarted, not reloaded") {
			t.Error(out)
		}
		if d := time.Since(begun); d > 30*time.Second { // a connection may be idle for a minute
			t.Errorf("it took %v", d)
		}
		busy.answers("at last")
		a.stops()
	})
}

func folderOf(program string) string { return program[:strings.IndexByte(program, '/')] }
func fileOf(program string) string   { return program[strings.IndexByte(program, '/')+1:] }

// reloadUnderLoad reloads while clients with new connections, with connections that
// they keep and with requests that take long count what they lose. Each of the
// processes has answered before and after.
func reloadUnderLoad(t *testing.T, a *app, url string) {
	t.Helper()
	l := begin(t, url)
	before := pids(a)
	l.pass(before)
	a.reload()
	l.pass(pids(a))
	a.drained()
	l.ends()
}

func pids(a *app) (list []int) {
	a.t.Helper()
	for _, p := range a.list() {
		list = append(list, p.PID)
	}
	return list
}

// loads are clients of three kinds.
type loads struct {
	t    *testing.T
	runs []*load.Run
}

// begin starts clients of a server that says who it is. Header may be further lines.
func begin(t *testing.T, url string) *loads {
	t.Helper()
	return beginAt(t, url, "")
}

// beginAt connects to another address than that of the URL, if there is one.
func beginAt(t *testing.T, url, address string) *loads {
	t.Helper()
	l := &loads{t: t}
	for _, cfg := range []load.Config{
		{Mode: load.NewConnection, ThinkMax: 100 * time.Millisecond},
		{Mode: load.KeepAlive, ThinkMax: 50 * time.Millisecond},
		{Mode: load.Slow, SlowFor: 100 * time.Millisecond, ThinkMax: 100 * time.Millisecond},
	} {
		cfg.URL, cfg.Address, cfg.Clients, cfg.Timeout = url, address, clients, patience
		cfg.Check = func(r *load.Response) error {
			if !strings.HasPrefix(string(r.Body), "hello from ") {
				return fmt.Errorf("the answer is %q", r.Body)
			}
			return nil
		}
		cfg.Who = func(r *load.Response) string {
			return strings.TrimSpace(strings.TrimPrefix(string(r.Body), "hello from "))
		}
		run, err := load.Start(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { run.Stop() })
		l.runs = append(l.runs, run)
	}
	return l
}

// pass lets requests pass until each client has had its turn, and each of these
// processes has answered.
func (l *loads) pass(pids []int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	for _, run := range l.runs {
		if err := run.WaitRequests(ctx, 2*clients); err != nil {
			l.t.Fatalf("%v\n%s", err, run.Stats())
		}
	}
	for _, pid := range pids {
		for l.runs[0].Stats().By[fmt.Sprint(pid)] == 0 {
			if err := l.runs[0].WaitRequests(ctx, 1); err != nil {
				l.t.Fatalf("pid %d has never answered: %v\n%s", pid, err, l.runs[0].Stats())
			}
		}
	}
}

// ends ends the load. Nothing may be lost.
func (l *loads) ends() {
	l.t.Helper()
	for _, run := range l.runs {
		if report := run.Stop(); report.Failed() {
			l.t.Error(report)
		}
	}
}
