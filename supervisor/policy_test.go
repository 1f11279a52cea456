package supervisor_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// ends is an app whose processes end with a code at SIGUSR1.
func ends(name string, instances int, code string) spec.App {
	a := web(name, instances)
	a.Env["END_WITH"] = code
	return a
}

func TestWithoutAutorestartAProcessThatEndsIsStopped(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := ends("api", 2, "1")
	a.Autorestart = false
	list := d.start(a).Processes
	kill(t, list[1].PID, syscall.SIGUSR1)
	list = d.until("stopped", func(l []control.Process) bool { return states(l) == "api:0 online, api:1 stopped" })
	if !strings.Contains(list[1].Reason, "exit code 1") || list[1].Restarts != 0 {
		t.Errorf("%+v", list[1])
	}
	for range 20 { // the other one serves all
		get(t, list[0].Listeners[0])
	}
	d.killMaster() // the next one does not start it either
	d.until("the same", func(l []control.Process) bool { return states(l) == "api:0 online, api:1 stopped" })
	if got := states(d.command("reload", "api").Processes); got != "api:0 online, api:1 stopped" {
		t.Errorf("after a reload: %s", got)
	}
	if got := states(d.command("restart", "api").Processes); got != "api:0 online, api:1 online" {
		t.Errorf("after a restart: %s", got)
	}
}

func TestAfterAStopExitCodeThereIsNoSuccessor(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	done, other := ends("done", 1, "78"), ends("other", 1, "79")
	done.StopExitCodes, other.StopExitCodes = []int{0, 78}, []int{0, 78}
	list := d.start(done, other).Processes
	for _, p := range list {
		kill(t, p.PID, syscall.SIGUSR1)
	}
	d.until("one stopped, one restarted", func(l []control.Process) bool {
		return states(l) == "done:0 stopped, other:0 online" && l[1].Restarts == 1
	})
	if again := d.start(done).Processes[0]; again.State != control.Online {
		t.Errorf("%+v", again)
	}
}

func TestARestartWaitsForTheDelay(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := ends("api", 1, "1")
	a.MinUptime, a.RestartDelay = 0, spec.Duration(time.Second)
	p := d.start(a).Processes[0]
	began := time.Now()
	kill(t, p.PID, syscall.SIGUSR1)
	d.until("waiting", func(l []control.Process) bool { return l[0].State == control.WaitingRestart })
	d.killMaster() // the next one goes on waiting
	d.until("back", func(l []control.Process) bool { return l[0].State == control.Online && l[0].PID != p.PID })
	if took := time.Since(began); took < a.RestartDelay.D() {
		t.Errorf("it was back after %v", took)
	}
}

func TestWhatCannotBeRunDoesNotKeepTheDaemonFromOtherThings(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("bad", 1, "die-at-start")
	a.MinUptime, a.Backoff.Initial, a.MaxRestarts = 0, 0, 1e6
	if _, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil); err == nil {
		t.Error("it was started")
	}
	if got := states(d.start(web("good", 1)).Processes); got != "good:0 online" {
		t.Error(got)
	}
	d.command("delete", "bad")
}

func TestTheStopSignalIsTheOneThatTheAppKnows(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 1, "stops-at-quit")
	a.StopSignal, a.DrainTimeout = "SIGQUIT", spec.Duration(time.Minute)
	d.start(a)
	d.command("reload", "api")
	d.eventually("the predecessor has ended", func() bool { return d.lastExit("api") == "exit code 0" })
	d.command("stop", "api")
	if got := d.lastExit("api"); got != "exit code 0" {
		t.Errorf("it ended by %s", got)
	}
}

// child is an app whose process has started another one that heeds no signal, and
// the pid of that.
func (d *daemon) child(a spec.App) (pid int) {
	d.t.Helper()
	d.start(a)
	d.eventually("there is a child", func() bool {
		workers, _ := d.family()
		for _, w := range workers {
			if w != d.list()[0].PID && strings.HasPrefix(commandLine(w), "sleep") {
				pid = w
			}
		}
		return pid != 0
	})
	return pid
}

func commandLine(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(text)
}

func TestWithoutTreekillOnlyTheProcessItselfEnds(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"stopped", "killed as it is stubborn", "crashed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			a := app("api", 1, "child")
			if how == "killed as it is stubborn" {
				a = app("api", 1, "child", "stubborn")
			}
			a.Treekill, a.DrainTimeout, a.KillTimeout, a.Autorestart = false, 0, spec.Duration(50*time.Millisecond), false
			child := d.child(a)
			if how == "crashed" {
				kill(t, d.list()[0].PID, syscall.SIGKILL)
				d.until("stopped", func(l []control.Process) bool { return l[0].State == control.Stopped })
			} else {
				d.command("stop", "api")
			}
			if err := syscall.Kill(child, 0); err != nil {
				t.Fatalf("its child has ended, too: %v", err)
			}
			if err := syscall.Kill(child, syscall.SIGKILL); err != nil { // the shell that waits for it ends by itself
				t.Fatal(err)
			}
		})
	}
}
