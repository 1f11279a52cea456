package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/load"
	"github.com/nekoctl/neko/supervisor/control"
)

// size is how much of everything there is.
type size struct {
	clients  int           // for each app and each kind of connection
	slowFor  time.Duration // a slow request is in flight
	requests [3]int64      // at least, in a cell, by modes
	random   time.Duration // the row of random events
	soon     time.Duration // within which a new connection is answered, whatever happens
}

// A short run has other tests beside it, and gets more time.
var (
	short = size{clients: 12, slowFor: 200 * time.Millisecond, requests: [3]int64{300, 300, 48}, random: 15 * time.Second, soon: 10 * time.Second}
	whole = size{clients: 64, slowFor: 500 * time.Millisecond, requests: [3]int64{5000, 5000, 5000}, random: 5 * time.Minute, soon: time.Second}
)

var modes = [3]load.Mode{load.NewConnection, load.KeepAlive, load.Slow}

// stage is a daemon with its apps under load, while something happens to it.
type stage struct {
	*testing.T
	*daemon
	size size
	rand *rand.Rand
	apps []*app
}

// app is one of the kinds of workers and its clients.
type app struct {
	name     string
	keys     string // its lines of neko.yaml
	sockets  int    // that a worker has without a client
	path     string // of a request
	url      string
	livez    string
	body     string
	check    func(*load.Response) error
	loads    []*load.Run
	lines    *lines // if it prints one for each request
	accepted int64  // connections that workers had when they were killed
}

// programs stands, in an app's keys, for the folder of the workers' programs.
const programs = "PROGRAMS/"

// native are neko-api, and a program that keeps the worker contract by itself. Both
// commands begin with the latter, which does what setFault says and then goes on as
// the app.
func native() []*app {
	const keys, foreign = "listen: 127.0.0.1:0\nwait_ready: true\n", programs + "foreign"
	heard := newLines()
	return []*app{
		// Its clients are one address: a rate that they do not get to.
		{name: "neko-api", keys: "command: " + foreign + " " + programs + "neko-api --rate-limit 1000000/1s\nlisten_pid: false\n" + keys, sockets: 1,
			path: "graphql", body: query, check: checkActors},
		{name: "foreign", keys: "command: " + foreign + "\n" + keys, sockets: 1,
			body: "a question", check: func(r *load.Response) error { return heard.hear(r.Body) }, lines: heard},
	}
}

// setUp starts the apps with n instances and further keys of neko.yaml.
func setUp(t *testing.T, d *daemon, size size, seed uint64, apps []*app, n int, keys string) *stage {
	t.Helper()
	if text, err := os.ReadFile(store()); err == nil {
		file := filepath.Join(d.dir, "api.db")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		d.give(file)
	}
	s := &stage{T: t, daemon: d, size: size, rand: rand.New(rand.NewPCG(seed, 0)), apps: apps}
	s.nekoctl("start", s.configure(n, keys))
	for _, a := range s.apps {
		var where []string
		s.waitFor(a.name+" listens", func() bool { // Node's may be online before
			where = a.of(s.list())[0].Listeners
			return len(where) > 0
		})
		base := "http://" + where[0] + "/"
		a.url, a.livez = base+a.path, base+"livez"
	}
	return s
}

// configure writes the neko.yaml.
func (s *stage) configure(n int, keys string) string {
	s.Helper()
	var b strings.Builder
	b.WriteString("apps:\n")
	for _, a := range s.apps {
		fmt.Fprintf(&b, "  - name: %s\n    instances: %d\n", a.name, n)
		for line := range strings.Lines(strings.ReplaceAll(a.keys, programs, s.programs) + keys) {
			b.WriteString("    " + line)
		}
	}
	file := filepath.Join(s.dir, "neko.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		s.Fatal(err)
	}
	s.give(file)
	return file
}

const query = `{"query":"{ threatActors(first: 3) { nodes { attackId name techniques(first: 2) { totalCount nodes { attackId } } } } }"}`

func checkActors(r *load.Response) error {
	if !strings.Contains(string(r.Body), `"attackId":"G`) {
		return fmt.Errorf("the answer is %.200s", r.Body)
	}
	return nil
}

func (a *app) config(s *stage, mode load.Mode) load.Config {
	c := load.Config{
		URL: a.url, Mode: mode, Clients: s.size.clients, Body: []byte(a.body), Header: []string{"Content-Type: application/json"},
		Check: a.check, SlowFor: s.size.slowFor, Seed: s.rand.Uint64(),
	}
	switch mode {
	case load.NewConnection: // the dearest: more of them, and each waits for the machine and not for a worker
		c.ThinkMax = 200 * time.Millisecond
	case load.KeepAlive:
		c.ThinkMax = 50 * time.Millisecond
	}
	return c
}

// begin starts the load: for each app so many clients with a connection for
// each request, so many that keep theirs, and so many whose requests take long.
func (s *stage) begin() {
	s.Helper()
	for _, a := range s.apps {
		for _, mode := range modes {
			run, err := load.Start(context.Background(), a.config(s, mode))
			if err != nil {
				s.Fatal(err)
			}
			a.loads = append(a.loads, run)
		}
	}
	s.pass()
}

// pass lets as many requests pass as there are clients, on each kind of
// connection: nearly every client has met then what has just happened.
func (s *stage) pass() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	for _, a := range s.apps {
		for _, run := range a.loads {
			if err := run.WaitRequests(ctx, int64(s.size.clients)); err != nil {
				s.Fatalf("%s: %v\n%s", a.name, err, run.Stats())
			}
		}
	}
}

// fill lets the load go on until there are enough requests in each cell.
func (s *stage) fill() {
	s.Helper()
	for _, a := range s.apps {
		for i, run := range a.loads {
			if more := s.size.requests[i] - run.Stats().Requests; more > 0 {
				if err := run.WaitRequests(s.Context(), more); err != nil {
					s.Fatalf("%s: %v\n%s", a.name, err, run.Stats())
				}
			}
		}
	}
}

// endLoad ends the load; requests that have begun are finished.
func (s *stage) endLoad() {
	for _, a := range s.apps {
		for _, run := range a.loads {
			run.Stop()
		}
	}
}

// finish ends the load, counts, and writes the lines of the matrix. A promise is
// broken if more requests failed than the killed workers had accepted
// connections, or in a way that their death does not explain, or if a line is
// missing in the logs.
func (s *stage) finish(row string) (lines []result) {
	for _, a := range s.apps {
		r := result{row: row, app: a.name, accepted: a.accepted}
		var failed, explained int64
		var reports []load.Report
		for i, run := range a.loads {
			report := run.Stop()
			reports = append(reports, report)
			r.cells[i] = cellOf(report)
			failed += report.Failures()
			explained += report.Failures(load.KindReset, load.KindEOF, load.KindTruncated)
		}
		if failed > a.accepted || failed > explained {
			r.broken = true
			for _, report := range reports {
				if report.Failed() {
					s.Errorf("%s, %s: killed workers had accepted %d connections, and\n%s", row, a.name, a.accepted, report)
				}
			}
		}
		if a.lines != nil {
			r.cells[3] = s.audit(a)
			if r.cells[3].failures() > 0 {
				r.broken = true
				s.Errorf("%s: lines printed by the workers: %s", row, r.cells[3])
			}
		}
		r.broken = r.broken || s.Failed()
		lines = append(lines, r)
	}
	return lines
}

// audit waits until the daemon has moved what is in its pipes.
func (s *stage) audit(a *app) (c cell) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); ; <-tick.C {
		var err error
		if c, err = a.lines.audit(filepath.Join(s.home, "logs", a.name+"-out-*.log")); err != nil {
			s.Error(err)
			return c
		}
		if c.failures() == 0 || time.Now().After(end) {
			return c
		}
	}
}

// eachApp does something to all apps at the same time.
func (s *stage) eachApp(do func(*app) error) {
	s.Helper()
	errs := make([]error, len(s.apps))
	var all sync.WaitGroup
	for i, a := range s.apps {
		all.Go(func() { errs[i] = do(a) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		s.Fatal(err)
	}
}

// of are an app's processes among all.
func (a *app) of(list []control.Process) []control.Process {
	var own []control.Process
	for _, p := range list {
		if p.Name == a.name {
			own = append(own, p)
		}
	}
	return own
}

// online waits until every slot is, and returns them.
func (s *stage) online() (list []control.Process) {
	s.Helper()
	s.waitFor("all slots are online", func() bool {
		list = s.list()
		return !slices.ContainsFunc(list, func(p control.Process) bool { return p.State != control.Online })
	})
	return list
}

// untouched demands the same processes as before, in the same slots, and online.
func (s *stage) untouched(before []control.Process) {
	s.Helper()
	identity := func(list []control.Process) map[string]string {
		m := map[string]string{}
		for _, p := range list {
			m[fmt.Sprintf("%s slot %d", p.Name, p.Slot)] = fmt.Sprintf("id %d, pid %d, %s, %d restarts", p.ID, p.PID, p.State, p.Restarts)
		}
		return m
	}
	if was, is := identity(before), identity(s.list()); !maps.Equal(was, is) {
		s.Fatalf("the processes have changed: before %v, now %v", was, is)
	}
}

// victim is a random process of an app.
func (s *stage) victim(a *app) control.Process {
	s.Helper()
	list := a.of(s.online())
	return list[s.rand.IntN(len(list))]
}

// nobodyRead is [lines.nobodyRead] of all apps that print, from what they had printed
// before.
func (s *stage) nobodyRead(printed []map[int]int) {
	for i, a := range s.apps {
		if a.lines != nil {
			a.lines.nobodyRead(printed[i], 4*s.size.clients)
		}
	}
}

// printed is what each app has so far, for nobodyRead.
func (s *stage) printed() []map[int]int {
	last := make([]map[int]int, len(s.apps))
	for i, a := range s.apps {
		if a.lines != nil {
			last[i] = a.lines.last()
		}
	}
	return last
}
