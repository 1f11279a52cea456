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
	a.MinUptime, a.RestartDelay = 0, spec.Duration(2*time.Second)
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

// log counts the lines of neko.log in which there is a text.
func (d *daemon) log(text string) int {
	d.t.Helper()
	all, err := os.ReadFile(string(d.home.Log()))
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.Count(string(all), text)
}

func TestCronRestartReloads(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 2) // whose reload takes a second: the next due time is left out
	a.CronRestart = "* * * * * *"
	list := d.start(a).Processes
	d.until("reloaded", func(l []control.Process) bool {
		return l[0].PID != list[0].PID && l[1].PID != list[1].PID && strings.Count(states(l), "online") == 2
	})
	d.eventually("left out", func() bool { return d.log("cron_restart is due again") > 0 })
	a.CronRestart = "" // a start with other settings waits for its turn
	d.start(a)
	reloads := d.log("api is reloaded (cron_restart)")
	d.command("reload", "api") // takes longer than a second
	if now := d.log("api is reloaded (cron_restart)"); now != reloads {
		t.Error("it is reloaded by a schedule that it does not have any more")
	}
}

func TestCronRestartStartsWhatHasEndedAndNotWhatWasStopped(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	trap, set := flag(t)
	done, failed, stopped := ends("done", 1, "0"), web("failed", 1), web("stopped", 1)
	done.Autorestart = false
	failed.Env["DIE_IF"], failed.MaxRestarts = trap, 0
	for _, a := range []*spec.App{&done, &failed, &stopped} {
		a.CronRestart = "* * * * * *"
	}
	d.start(stopped)
	d.command("stop", "stopped")
	stops := d.list()[0]
	list := d.start(done, failed).Processes
	kill(t, list[0].PID, syscall.SIGUSR1)
	set()
	d.until("errored", func(l []control.Process) bool {
		if l[2].State == control.Online { // maybe of a reload that was under way
			_ = syscall.Kill(l[2].PID, syscall.SIGKILL)
		}
		return l[2].State == control.Errored
	})
	d.killMaster() // the next one has the same schedule
	if err := os.Remove(trap); err != nil {
		t.Fatal(err)
	}
	l := d.until("started again", func(l []control.Process) bool {
		return l[1].State == control.Online && l[2].State == control.Online && l[1].PID != list[0].PID
	})
	if l[0].State != control.Stopped || l[0].Restarts != stops.Restarts {
		t.Errorf("%+v", l[0])
	}
}

func TestAProcessWithTooMuchMemoryIsReplaced(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	gate, grow := flag(t)
	a := web("api", 2)
	a.Env["GROW_IF"] = gate
	list := d.start(a).Processes
	a.MaxMemory = spec.Size(max(list[0].MemoryBytes, list[1].MemoryBytes)) + 16<<20
	list = d.start(a).Processes // a reload
	grow()
	d.until("replaced", func(l []control.Process) bool { return l[0].PID != list[0].PID && l[1].PID != list[1].PID })
	get(t, list[0].Listeners[0])
	if d.log("MiB of memory, and max_memory_restart is") < 2 {
		t.Error("neko.log does not say why")
	}
	// The successors are over the limit at once.
	time.Sleep(3 * time.Second) // the time to do wrong
	if n := d.log("MiB of memory, and max_memory_restart is"); n > 2 {
		t.Errorf("replaced %d times", n)
	}
}

func TestAProcessWithTooMuchMemoryStaysUntilItsSuccessorServes(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	gate, grow := flag(t)
	trap, set := flag(t)
	a := web("api", 1)
	a.Env["GROW_IF"], a.Env["DIE_IF"] = gate, trap
	a.MaxMemory = spec.Size(d.start(a).Processes[0].MemoryBytes) + 16<<20
	p := d.start(a).Processes[0]
	set()
	grow()
	d.eventually("tried", func() bool { return d.log("(max_memory_restart): error:") > 0 })
	if got := d.list()[0]; got.PID != p.PID || got.State != control.Online {
		t.Errorf("%+v", got)
	}
}
