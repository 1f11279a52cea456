package supervisor_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// flag is a file that tells a worker something once it is there.
func flag(t *testing.T) (path string, set func()) {
	path = filepath.Join(t.TempDir(), "flag")
	return path, func() {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// replaced waits until a slot has another process, and returns why the last one
// has gone.
func (d *daemon) replaced(slot, pid int) {
	d.t.Helper()
	d.until("replaced", func(l []control.Process) bool {
		return l[slot].PID != pid && l[slot].State == control.Online
	})
}

func TestAProcessThatGivesNoSignOfLifeIsReplaced(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 2)
	a.Watchdog, a.DrainTimeout, a.KillTimeout = spec.Duration(1500*time.Millisecond), spec.Duration(2*time.Minute), spec.Duration(time.Second)
	list := d.start(a).Processes
	kill(t, list[0].PID, syscall.SIGSTOP)
	d.replaced(0, list[0].PID)
	for range 20 { // what is stopped is killed, and nothing waits for it
		get(t, list[0].Listeners[0])
	}
	if got := d.list()[1]; got.PID != list[1].PID {
		t.Errorf("the other one was replaced, too: %+v", got)
	}
	// A new master expects as much of those that it finds.
	d.killMaster()
	kill(t, list[1].PID, syscall.SIGSTOP)
	d.replaced(1, list[1].PID)
	d.killMaster() // and the next one gives what hangs no more time
	d.eventually("the stopped ones have ended", func() bool {
		return syscall.Kill(list[0].PID, 0) != nil && syscall.Kill(list[1].PID, 0) != nil
	})
	if got := d.lastExit("api"); got != "signal: killed" {
		t.Errorf("the first one ended by %s", got)
	}
}

// All stand still, the master too, when a machine is suspended or overloaded:
// that is no reason to kill everybody.
func TestNobodyIsHungAfterAPauseOfTheMaster(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 2)
	a.Watchdog = spec.Duration(time.Second)
	before := d.start(a).Processes
	ping, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, ping.Master, syscall.SIGSTOP)
	time.Sleep(3 * a.Watchdog.D() / 2) // the pause itself
	kill(t, ping.Master, syscall.SIGCONT)
	time.Sleep(3 * a.Watchdog.D() / 2) // the time to do wrong
	for i, p := range d.list() {
		if p.PID != before[i].PID {
			t.Errorf("before %+v, after %+v", before[i], p)
		}
	}
}

func TestAProcessThatDoesNotAnswerIsReplaced(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	sick, fall := flag(t)
	a := web("api", 2)
	a.Env["SICK_IF"] = sick
	probe := spec.DefaultProbe()
	probe.HTTP, probe.Interval, probe.Timeout, probe.Failures = "/livez", spec.Duration(50*time.Millisecond), spec.Duration(500*time.Millisecond), 4
	a.Liveness, a.KillTimeout = &probe, spec.Duration(100*time.Millisecond)
	list := d.start(a).Processes
	kill(t, list[1].PID, syscall.SIGSTOP) // the questions reach the one that they mean
	d.replaced(1, list[1].PID)
	if got := d.list()[0]; got.PID != list[0].PID {
		t.Errorf("the other one was replaced: %+v", got)
	}
	fall()
	d.replaced(0, list[0].PID)
	if text, err := os.ReadFile(d.home.Log()); err != nil || !strings.Contains(string(text), "503 Service Unavailable") {
		t.Errorf("neko.log does not say why (%v)", err)
	}
}

// One that stops by itself, or by somebody's SIGTERM, drains while its successor
// serves already.
func TestAProcessThatStopsByItselfHasASuccessorAtOnce(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 1)
	a.Command = []string{"/bin/sh", "-c", "trap stop=1 USR1; " + a.Command[0] + " say READY=1; while [ -z \"$stop\" ]; do sleep 0.01; done; " + a.Command[0] + " say STOPPING=1; exec sleep 1000"}
	p := d.start(a).Processes[0]
	kill(t, p.PID, syscall.SIGUSR1)
	d.replaced(0, p.PID)
	detail, err := d.App(t.Context(), "api")
	if err != nil || len(detail.Processes[0].Draining) != 1 || detail.Processes[0].Draining[0] != p.PID {
		t.Errorf("%+v, %v", detail.Processes, err)
	}
	kill(t, p.PID, syscall.SIGKILL) // it would drain for as long as it may
}
