package supervisor_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// spare waits until a slot has a spare other than those before, and returns its pid.
func (d *daemon) spare(app string, slot int, not ...int) (pid int) {
	d.t.Helper()
	d.eventually("a spare", func() bool {
		detail, err := d.App(d.t.Context(), app)
		if err != nil || detail.Processes[slot].State != control.Online {
			return false
		}
		pid = detail.Processes[slot].Spare
		for _, old := range not {
			if pid == old {
				return false
			}
		}
		return pid != 0
	})
	return pid
}

func withSpare(args ...string) spec.App {
	a := web("api", 1, args...)
	a.Spare = 1
	return a
}

func TestASpareTakesOverFromACrashedProcess(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"gated", "twin"} { // the twin knows nothing of gates
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			p := d.start(withSpare(kind)).Processes[0]
			for i := range 3 {
				spare := d.spare("api", 0, p.PID)
				kill(t, p.PID, syscall.SIGKILL)
				get(t, p.Listeners[0])
				p = d.until("taken over", func(l []control.Process) bool { return l[0].PID != p.PID && l[0].State == control.Online })[0]
				if p.PID != spare || p.Restarts != i+1 {
					t.Errorf("the spare was %d, and now: %+v", spare, p)
				}
			}
		})
	}
}

// With the settings change the spares: one of the old make must never serve.
func TestAReloadReplacesTheSpareToo(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := withSpare("gated")
	d.start(a)
	old := d.spare("api", 0)
	a.Env["VERSION"] = "two"
	p := d.start(a).Processes[0]
	spare := d.spare("api", 0, old)
	if !strings.Contains(environment(t, spare), "VERSION=two") {
		t.Error("the spare is of the old make")
	}
	kill(t, p.PID, syscall.SIGKILL)
	get(t, p.Listeners[0])
	d.command("stop", "api")
	d.nobodyRuns()
}

func TestASpareOutlivesItsMaster(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	p := d.start(withSpare("gated")).Processes[0]
	spare := d.spare("api", 0)
	d.killMaster()
	if now := d.spare("api", 0); now != spare {
		t.Errorf("the spare was %d, and is %d", spare, now)
	}
	kill(t, p.PID, syscall.SIGKILL)
	get(t, p.Listeners[0])
	if now := d.list()[0]; now.PID != spare {
		t.Errorf("the spare was %d, and now: %+v", spare, now)
	}
}

// A spare that cannot be is a nuisance, and costs nobody who serves anything.
func TestASpareThatDiesIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	trap, set := flag(t)
	a := withSpare("gated")
	a.Env["DIE_IF"] = trap
	p := d.start(a).Processes[0]
	spare := d.spare("api", 0)
	kill(t, spare, syscall.SIGKILL)
	next := d.spare("api", 0, spare)
	set()
	kill(t, next, syscall.SIGKILL)
	d.eventually("there is none", func() bool {
		detail, err := d.App(t.Context(), "api")
		return err == nil && detail.Processes[0].Spare == 0
	})
	if now := d.list()[0]; now.PID != p.PID || now.State != control.Online || now.Restarts != 0 {
		t.Errorf("before %+v, after %+v", p, now)
	}
}
