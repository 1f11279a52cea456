package nodeipc_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/load"
)

func TestReplacementsUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	p := run(t, nil, "server.cjs", "http", "quiet")
	var runs []*load.Run
	for _, mode := range []load.Mode{load.KeepAlive, load.NewConnection, load.Slow} {
		r, err := load.Start(t.Context(), load.Config{
			URL: fmt.Sprintf("http://%s/body", p.address()), Body: []byte("a body"), Mode: mode, Clients: 8,
			ThinkMax: 50 * time.Millisecond, SlowFor: 100 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	for range 6 {
		for _, r := range runs {
			if err := r.WaitRequests(t.Context(), 20); err != nil {
				t.Fatal(err)
			}
		}
		p.order("replace " + drainMessage(2*time.Second, far, "signal"))
		for kinds := map[string]bool{}; !kinds["exit"]; {
			e := p.next("")
			kinds[e.Event] = true
			if e.Event == "exit" && (e.Code == nil || *e.Code != 0) {
				t.Errorf("a predecessor ended with %v %s", e.Code, e.Signal)
			}
		}
	}
	for _, r := range runs {
		if report := r.Stop(); report.Failed() {
			t.Error(report)
		} else {
			t.Log(report)
		}
	}
}

func TestNothingOfItCanBeSeen(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"CLUSTER=1", "FORK=1"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			seen := func(preloads string) (events []any) {
				p := launchWith(t, preloads, []string{mode}, "traces.cjs")
				for range 3 {
					events = append(events, p.next("message").Message)
				}
				return events
			}
			without, with := seen(""), seen(preload(t))
			for i := range with {
				if !reflect.DeepEqual(with[i], without[i]) {
					t.Errorf("with it:\n%v\nand without:\n%v", with[i], without[i])
				}
			}
		})
	}
}

func TestLoadedTwiceItActsOnce(t *testing.T) {
	t.Parallel()
	p := launchWith(t, preload(t)+","+preload(t), nil, "server.cjs", "http", "counts")
	p.port = p.next("listening").Port
	p.tell(far, far, "signal")
	p.ends(6)
}

func TestASecondMessageChangesNothing(t *testing.T) {
	t.Parallel()
	p, c := serve(t, "http")
	idle := another(c, p, "http")
	c.get("/slow")
	p.says("waits")
	p.drain(near, far)
	p.drain(far, time.Millisecond)
	idle.closed()
	p.send("go")
	c.answer("slow", true)
	p.ends(0)
}

func TestAChannelThatClosesChangesNothing(t *testing.T) {
	t.Parallel()
	p, c := serve(t, "http")
	idle := another(c, p, "http")
	c.get("/slow")
	p.says("waits")
	p.drain(near, far)
	p.order("disconnect")
	idle.closed()
	p.order("SIGUSR2")
	c.answer("slow", true)
	c.closed()
	p.ends(0)
}

func TestAProgramThatIsNoClusterWorkerIsDrainedAsWell(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	p := launch(t, []string{"FORK=1", "SOCKET=" + path}, "server.cjs", "http", "closes")
	p.says("listens")
	c := connect(t, "unix", path, false)
	c.get("/")
	c.answer("hello", false)
	p.drain(far, far)
	c.get("/")
	c.answer("hello", true)
	c.closed()
	p.ends(0)
}

func TestAnESModuleIsDrainedAsWell(t *testing.T) {
	t.Parallel()
	p := run(t, nil, "server.mjs")
	c := connect(t, "tcp", p.address(), false)
	c.get("/")
	c.answer("hello", false)
	p.drain(far, far)
	c.get("/")
	c.answer("hello", true)
	c.closed()
	p.ends(0)
}

func TestAProgramThatHasAClusterOfItsOwnHasNothingToWaitFor(t *testing.T) {
	t.Parallel()
	for _, replaces := range []string{"", "disconnect", "exit"} { // whatever has it fork another worker
		p := launch(t, []string{"FORK=1", "REPLACES=" + replaces}, "ownprimary.cjs")
		p.says("listens")
		begun := time.Now()
		p.tell(far, far, "signal")
		p.ends(0)
		if d := time.Since(begun); d >= far {
			t.Errorf("it took %v where %q has it fork another", d, replaces)
		}
	}
}

func TestAProgramThatHeedsNoMessageEndsAtOnceWhereOneWasToEndIt(t *testing.T) {
	t.Parallel()
	for _, env := range []string{"CLUSTER=1", "FORK=1"} {
		p := launch(t, []string{env}, "nothing.cjs")
		p.says("runs")
		p.tell(far, far, "message")
		p.ends(0)
	}
}
