// Package chaos does to a running system what happens to systems, under load,
// and counts what the clients lose: the real nekoctl and neko-api, as they are
// shipped, a program of another make, programs of Node's that know nothing of
// neko, and the project's own load client, which forgives nothing. What may be
// lost is in docs/guarantees.md.
//
// `go test ./scripts/chaos` does each thing once, `make chaos` the whole matrix,
// and prints it. Of Node's programs the short form has http, and some events.
//
//	NEKO_CHAOS=whole      the whole matrix
//	NEKO_CHAOS_ROW=scale  only rows whose event has this regular expression; those
//	                      with Node's programs end with ", http" and so on
//	NEKO_CHAOS_SEED=N     the choices of an earlier run
package chaos

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// row is an event of the matrix.
type row struct {
	event     string
	times     [2]int                    // in a short run, and in the whole; 0 is once
	instances int                       // of each app
	keys      string                    // further lines of the apps' neko.yaml
	prepare   func(*testing.T, *daemon) // before the daemon starts
	do        func(s *stage, i int)
	after     func(s *stage) // while there is load still
	rest      func(s *stage) // when it has ended
	wholeOnly bool           // it is not in a short run
}

var matrix = []row{
	{event: "reload", times: [2]int{2, 10}, instances: 2, do: reload},
	{event: "reload, three processes at a time", times: [2]int{1, 10}, instances: 4, keys: "parallel: 3\n", do: reload},
	{event: "reload, and the successor never becomes ready, dies at start, or becomes ready and dies", times: [2]int{1, 1}, instances: 2,
		keys: shortListenTimeout, do: reloadIntoEachFault},
	{event: "reload faster than a drain lasts", times: [2]int{1, 1}, instances: 2, do: reloadFast},
	{event: "cron_restart comes due", times: [2]int{1, 5}, instances: 2, keys: oftenDue, do: awaitDue},
	{event: "scale 4→1→4, with the socket leaked", times: [2]int{1, 5}, instances: 4, prepare: leakSockets, do: scaleDownAndUp, after: socketsAreLeaked},
	{event: "worker kill -9", times: [2]int{2, 10}, instances: 4, do: killWorkers},
	{event: "worker SIGSTOP, found by the watchdog or by liveness", times: [2]int{2, 3}, instances: 4, keys: watchdog, do: hangWorkers},
	{event: "worker crash-loops beside healthy ones", times: [2]int{1, 3}, instances: 4, do: crashLoop},
	{event: "upgrade in place", times: [2]int{2, 20}, instances: 2, do: upgrade},
	{event: "upgrade to what fails its check", times: [2]int{1, 3}, instances: 2, do: upgradeToEachBadBinary},
	{event: "upgrade to what dies after its start", times: [2]int{1, 3}, instances: 2, do: upgradeToDying},
	{event: "master kill -9", times: [2]int{2, 10}, instances: 2, do: killMaster, rest: exitStatusesAreRight},
	{event: "keeper kill -9", times: [2]int{1, 3}, instances: 2, do: killKeeper},
	{event: "keeper and master kill -9", times: [2]int{1, 3}, instances: 2, do: killBoth},
	{event: "master kill -9 and upgrade by turns, without root", times: [2]int{2, 20}, instances: 2,
		prepare: unprivileged, do: replaceDaemon, after: workersAreOfTheirUser, rest: exitStatusesAreRight},
	{event: "master kill -9 and upgrade by turns, workers may not be traced", times: [2]int{2, 20}, instances: 2,
		prepare: unseen, do: replaceDaemon, after: workersAreOfTheirUser, rest: exitStatusesAreRight},
	{event: "master kill -9 and upgrade by turns, workers of another user", times: [2]int{2, 20}, instances: 2,
		prepare: otherUser, keys: asNobody, do: replaceDaemon, after: workersAreOfTheirUser, rest: exitStatusesAreRight},
	{event: "home full", times: [2]int{1, 3}, instances: 2, prepare: smallHome, do: fillHome},
	{event: "home read-only", times: [2]int{1, 3}, instances: 2, prepare: mustMount, do: protectHome},
	{event: "state file truncated, or of a newer version", times: [2]int{2, 4}, instances: 2, do: spoilState},
	{event: "all of these in random order, and imports", instances: 3, keys: shortListenTimeout + watchdog, do: random},
}

func TestMatrix(t *testing.T) {
	lookAtSources(t)
	size, column := short, 0
	if os.Getenv("NEKO_CHAOS") == "whole" {
		size, column = whole, 1
	}
	only, err := regexp.Compile(os.Getenv("NEKO_CHAOS_ROW"))
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("NEKO_CHAOS_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	found := false
	for _, c := range casts() {
		if row := c.row; only.MatchString(c.name()) && !(row.wholeOnly && column == 0) {
			found = true
			c.play(t, size, max(row.times[column], 1), seed)
		}
	}
	if !found {
		t.Fatalf("no event of the matrix is like %s", only)
	}
}

// cast is who an event happens to.
type cast struct {
	row
	kind string // of Node's programs, "" if it is the native ones
	apps func(*testing.T) []*app
}

func (c cast) name() string {
	if c.kind == "" {
		return c.event
	}
	return c.event + ", " + c.kind
}

// casts are all there are, in the order of the matrix.
func casts() (all []cast) {
	for _, row := range matrix {
		all = append(all, cast{row, "", func(*testing.T) []*app { return native() }})
	}
	for _, row := range nodeMatrix {
		for _, k := range kinds {
			row.wholeOnly = row.wholeOnly || k.module != ""
			all = append(all, cast{row, k.name, func(t *testing.T) []*app { return nodeApps(t, k.name, k.module) }})
		}
	}
	return all
}

// play has the event happen to its cast, and writes the lines of the matrix.
func (c cast) play(t *testing.T, size size, times int, seed uint64) {
	title, place := c.event, len(results)
	if times > 1 {
		title += fmt.Sprintf(" ×%d", times)
	}
	results = append(results, nil)
	t.Run(c.name(), func(t *testing.T) {
		if size == short {
			t.Parallel()
			stages <- struct{}{}
			t.Cleanup(func() { <-stages })
		}
		t.Logf("NEKO_CHAOS_SEED=%d", seed)
		results[place] = []result{{row: title, app: "not started", broken: true}}
		defer func() {
			if t.Skipped() {
				results[place] = []result{{row: title, app: "skipped"}}
			}
		}()
		apps := c.apps(t)
		s := setUp(t, newDaemon(t, c.prepare), size, seed, apps, c.instances, c.keys)
		defer func() { results[place] = s.finish(title) }()
		c.run(s, times)
	})
}

// stages are those of a short run that there may be at once: on each most is waiting.
var stages = make(chan struct{}, 2)

func (r *row) run(s *stage, times int) {
	s.begin()
	for i := range times {
		r.do(s, i)
		s.pass()
	}
	if r.after != nil {
		r.after(s)
	}
	s.fill()
	s.endLoad()
	if r.rest != nil {
		r.rest(s)
	}
}
