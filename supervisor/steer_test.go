package supervisor_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// What is on its way to a slot that does not come back, because its own program
// cannot start, is served by a process of a sibling's make.
func TestWhatHasQueuedOnASlotThatDoesNotComeBackIsServed(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	trap, set := flag(t)
	a := web("api", 2)
	a.Env["DIE_IF"], a.Env["DIE_IN_SLOT"], a.MaxRestarts = trap, "1", 0
	list := d.start(a).Processes
	set()
	d.freeze(list[1].PID)
	waiting := queue(t, list[0].Listeners[0], 40)
	kill(t, list[1].PID, syscall.SIGKILL)
	answered(t, waiting)
	d.until("given up", func(l []control.Process) bool { return l[1].State == control.Errored })
	d.eventually("the stand-in has gone", func() bool {
		detail, err := d.App(t.Context(), "api")
		return err == nil && detail.Processes[1].StandIn == 0
	})
	// It is no reason not to come back.
	if err := os.Remove(trap); err != nil {
		t.Fatal(err)
	}
	d.command("restart", "1")
}

// A slot in a crash loop gets no new connections in the moments in which it looks
// well.
func TestNewConnectionsGoAroundASlotInACrashLoop(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 2)
	a.MinUptime, a.MaxRestarts = spec.Duration(3*time.Second), 1000
	list := d.start(a).Processes
	for range 3 { // each comes back at once, or after a while, and says that it is ready
		kill(t, list[1].PID, syscall.SIGKILL)
		d.replaced(1, list[1].PID)
		list = d.list()
		for range 20 {
			if slot, _, _ := strings.Cut(get(t, list[0].Listeners[0]), " "); slot == "1" && d.list()[1].UptimeMS < 2000 {
				t.Fatal("a slot that has just crashed twice has answered")
			}
		}
	}
	slots := map[string]bool{}
	d.eventually("it is trusted again", func() bool {
		slot, _, _ := strings.Cut(get(t, list[0].Listeners[0]), " ")
		slots[slot] = true
		return len(slots) == 2
	})
}

// Many a mistake shows only when a program has begun to work: the first successor
// of a reload, once it is ready, must live for min_uptime beside its predecessor.
func TestASuccessorThatIsReadyAndDiesDoesNotReplaceAnything(t *testing.T) {
	t.Parallel()
	for name, loads := range map[string]time.Duration{"it is ready at once": 0, "it loads for longer than min_uptime": 700 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := web("api", 2)
			a.MinUptime, a.Env["READY_AFTER"] = spec.Duration(500*time.Millisecond), loads.String()
			diesOnTrial(t, a)
		})
	}
}

func diesOnTrial(t *testing.T, a spec.App) {
	d := newDaemon(t)
	trap, set := flag(t)
	a.Env["DIE_READY_IF"] = trap
	before := d.start(a).Processes
	set()
	_, err := d.Command(t.Context(), "reload", control.TargetRequest{Targets: []string{"api"}}, nil)
	var e *control.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "became ready, and ended") || !strings.Contains(strings.Join(e.Output, ""), "out of luck") {
		t.Fatalf("got %#v", err)
	}
	for i, p := range d.list() {
		if p.PID != before[i].PID || p.State != control.Online {
			t.Errorf("before %+v, after %+v", before[i], p)
		}
	}
}
