package node

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nekoctl/neko/scripts/freeport"
	"github.com/nekoctl/neko/scripts/load"
)

// The kernel chooses a port once: all workers get it, and those that come after them.
func TestEachListenerOfAProgramIsSharedAndStaysWhereItIsOverAReload(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := start(t, n, "testdata/process/listeners.cjs")
		before := places(a)
		var all []*loads
		for _, name := range []string{"path", "admin"} {
			l := beginAt(t, "http://app/", before[name])
			l.pass(nil)
			all = append(all, l)
		}
		shared := beginAt(t, "http://app/", before["first"])
		shared.pass(pids(a))
		a.reload()
		shared.pass(pids(a))
		for _, l := range all {
			l.pass(nil)
		}
		a.drained()
		for _, l := range append(all, shared) {
			l.ends()
		}
		after := places(a)
		for name, at := range before {
			if after[name] != at {
				t.Errorf("%s was %s, and is %s", name, at, after[name])
			}
		}
		if got := len(a.list()[0].Listeners); got != len(before) {
			t.Errorf("there are %d listeners, and not %d: %v", got, len(before), a.list()[0].Listeners)
		}
		a.stops()
	})
}

// places are where the servers of listeners.cjs are: all workers say the same of each,
// and one alone listens as admin.
func places(a *app) map[string]string {
	a.t.Helper()
	list := pids(a)
	places := map[string]string{}
	for slot, pid := range list {
		names := []string{"first", "second", "path", "six"}
		if slot == 0 {
			names = append(names, "admin")
		}
		for _, name := range names {
			a.prints("out", slot, fmt.Sprintf(" %d\n", pid), len(names))
			said := regexp.MustCompile(fmt.Sprintf(`(?m)^%s (.*) %d$`, name, pid)).FindStringSubmatch(a.log("out", slot))
			if said == nil {
				a.t.Fatalf("pid %d does not say where %s is", pid, name)
			}
			at := "unix:" + filepath.Join(a.dir, "web.sock")
			if name != "path" {
				var address struct {
					Address string
					Port    int
				}
				if err := json.Unmarshal([]byte(said[1]), &address); err != nil {
					a.t.Fatalf("%s: %v", said[0], err)
				}
				host := "127.0.0.1"
				if name == "six" {
					host = "::1"
				}
				at = net.JoinHostPort(host, fmt.Sprint(address.Port))
			}
			if was, known := places[name]; known && was != at {
				a.t.Errorf("pid %d has %s at %s, and another at %s", pid, name, at, was)
			}
			places[name] = at
		}
	}
	return places
}

// What a worker binds by itself the supervisor does not have. With reusePort successors
// bind it beside their predecessors; what the kernel has sent to one of them is lost
// if it goes before it has accepted that.
func TestAPortThatWorkersShareByThemselvesIsReloadedToo(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		n.atLeast(t, 23, 1) // reusePort
		a := prepare(t, n, "testdata/process")
		port := freeport.For(t)
		at := fmt.Sprintf("127.0.0.1:%d", port)
		a.env = append(a.env, fmt.Sprintf("FREE=%d", port))
		a.start("alone.cjs")
		l := begin(t, "http://"+at+"/")
		l.pass(pids(a))
		a.reload()
		l.pass(pids(a))
		a.drained()
		for _, run := range l.runs {
			if report := run.Stop(); report.Failures() > 0 {
				t.Log(report)
			}
		}
		if list := a.list()[0].Listeners; slices.Contains(list, at) {
			t.Errorf("the supervisor listens on %v", list)
		}
		a.stops()
	})
}

// Other workers have the connections meanwhile.
func TestAWorkerMayStopListeningForAWhile(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		a := start(t, n, "testdata/process/pauses.cjs")
		run, err := load.Start(t.Context(), load.Config{URL: "http://" + a.address() + "/", Clients: 2 * clients})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			a.gets("/pause")
			a.waitFor("a worker has paused", func() bool {
				return strings.Count(a.log("out", 0)+a.log("out", 1), "listens again") > i
			})
		}
		if report := run.Stop(); report.Failed() {
			t.Error(report)
		}
		a.stops()
	})
}
