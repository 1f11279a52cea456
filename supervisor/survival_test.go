package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/spec"
)

func kill(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// killKeeper returns when the master knows that it is alone.
func (d *daemon) killKeeper() {
	d.t.Helper()
	kill(d.t, d.keeper, syscall.SIGKILL)
	d.eventually("the master misses its keeper", func() bool {
		ping, err := d.Ping(d.t.Context())
		return err == nil && len(ping.Warnings) > 0
	})
}

func TestAMasterWithoutAKeeperServesOn(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 2))
	d.killMaster() // so that the workers are children of the keeper
	list := d.list()
	d.killKeeper()
	kill(t, list[0].PID, syscall.SIGKILL)
	d.until("the crashed worker is back", func(l []control.Process) bool {
		return l[0].PID != list[0].PID && strings.Count(states(l), "online") == 2
	})
	kill(t, list[1].PID, syscall.SIGSTOP) // and one must be ended by force
	d.command("reload", "0")
	d.start(web("more", 1))
	d.scale("more", "2")
	d.command("restart", "more")
	if got, want := states(d.list()), "api:0 online, api:1 online, more:0 online, more:1 online"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	kill(t, list[1].PID, syscall.SIGCONT)
	if _, err := d.Kill(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	d.eventually("all processes have ended", func() bool { workers, _ := d.family(); return len(workers) == 0 })
	d.eventually("nothing is left behind", func() bool {
		left, err := os.ReadDir(string(d.home))
		return err == nil && len(left) == 3 // logs, neko.lock, neko.log
	})
}

func TestAMasterWithoutAKeeperDrainsOnTERM(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(app("api", 2))
	ping, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.killKeeper()
	kill(t, ping.Master, syscall.SIGTERM)
	d.eventually("all processes have ended", func() bool { workers, _ := d.family(); return len(workers) == 0 })
}

// When both are gone the workers serve on and keep their ports. Who starts the
// app again is told by whom its port is taken.
func TestAfterTheDeathOfKeeperAndMasterTheHomeCanBeUsedAgain(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 1)
	p := d.start(a).Processes[0]
	ping, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, ping.Keeper, syscall.SIGKILL)
	kill(t, ping.Master, syscall.SIGKILL)
	t.Cleanup(func() { _ = syscall.Kill(p.PID, syscall.SIGKILL) })
	get(t, p.Listeners[0])
	d.eventually("the home is free", func() bool {
		_, err := d.Ping(t.Context())
		return errors.Is(err, control.ErrNoDaemon)
	})
	if d.keeper, err = keeper.Spawn(d.home); err != nil {
		t.Fatal(err)
	}
	a.Listen[0].Address = p.Listeners[0]
	_, err = d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil)
	if err == nil || !strings.Contains(err.Error(), "is in use by") {
		t.Errorf("got %v", err)
	}
	if list := d.list(); len(list) != 0 {
		t.Errorf("half started: %+v", list)
	}
}

// The kernel chooses another port each time that the app is started; a new
// master must know the present one, and open new sockets on it.
func TestANewMasterKnowsThePortThatTheKernelChose(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 1))
	d.command("stop", "api")
	before := d.command("restart", "api").Processes[0].Listeners[0]
	d.killMaster()
	for _, p := range d.scale("api", "3").Processes {
		if p.Listeners[0] != before {
			t.Errorf("slot %d listens on %s, and the app on %s", p.Slot, p.Listeners[0], before)
		}
	}
	slots := map[string]bool{}
	for range 100 {
		slot, _, _ := strings.Cut(get(t, before), " ")
		slots[slot] = true
	}
	if len(slots) != 3 {
		t.Errorf("the slots that answered are %v", slots)
	}
}

func TestAKillOutlivesTheMasterThatWasTold(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	mule := app("mule", 1, "stubborn")
	mule.DrainTimeout, mule.KillTimeout = spec.Duration(500*time.Millisecond), spec.Duration(100*time.Millisecond)
	d.start(mule, app("api", 2))
	ping, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{})
	go func() {
		_, _ = d.Kill(context.Background(), nil)
		close(told)
	}()
	d.until("the mule is asked to stop", func(l []control.Process) bool { return strings.Contains(states(l), "mule:0 stopping") })
	kill(t, ping.Master, syscall.SIGKILL)
	<-told
	d.eventually("the daemon has ended", func() bool {
		_, err := d.Ping(t.Context())
		return errors.Is(err, control.ErrNoDaemon)
	})
	d.eventually("all processes have ended", func() bool { workers, _ := d.family(); return len(workers) == 0 })
}

// gated is a worker that is not ready before a file is there.
func gated(t *testing.T, name string) (a spec.App, open func()) {
	gate := filepath.Join(t.TempDir(), "gate")
	a = app(name, 1)
	a.Env["READY_IF"] = gate
	return a, func() {
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestForegroundGoesOnWhenItsMasterIsKilledBeforeItIsReady(t *testing.T) {
	t.Parallel()
	a, open := gated(t, "api")
	f := newForeground(t, a)
	f.awaken()
	launching := func(l []control.Process) bool { return states(l) == "api:0 launching" && l[0].PID > 0 }
	before := f.until("launching", launching)[0].PID
	f.killMaster()
	if after := f.until("launching", launching)[0].PID; after != before {
		t.Errorf("pid %d is pid %d now", before, after)
	}
	open()
	if got := f.told(); got != "READY=1" {
		t.Errorf("told %q", got)
	}
	if got, want := states(f.list()), "api:0 online"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestForegroundThatIsStoppedBeforeItIsReadyEndsInPeace(t *testing.T) {
	t.Parallel()
	a, _ := gated(t, "api")
	f := newForeground(t, a)
	f.awaken()
	f.until("launching", func(l []control.Process) bool { return states(l) == "api:0 launching" })
	for range 3 {
		kill(t, f.cmd.Process.Pid, syscall.SIGTERM) // once is enough, and more does no harm
	}
	if code := f.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := f.told(); got != "STOPPING=1" {
		t.Errorf("told %q", got)
	}
}

func TestForegroundDoesNotWaitForTheStubbornAfterASecondINT(t *testing.T) {
	t.Parallel()
	a := app("mule", 2, "stubborn")
	f := newForeground(t, a)
	f.told()
	kill(t, f.cmd.Process.Pid, syscall.SIGINT)
	f.until("stopping", func(l []control.Process) bool { return states(l) == "mule:0 stopping, mule:1 stopping" })
	began := time.Now()
	kill(t, f.cmd.Process.Pid, syscall.SIGINT)
	if code := f.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestForegroundEndsWhenEveryAppHasFailedUnderANewMaster(t *testing.T) {
	t.Parallel()
	trap := filepath.Join(t.TempDir(), "trap")
	a := app("api", 1)
	a.Env["DIE_IF"], a.MaxRestarts = trap, 1
	f := newForeground(t, a)
	f.told()
	f.killMaster()
	if err := os.WriteFile(trap, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kill(t, f.list()[0].PID, syscall.SIGKILL)
	if code := f.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// As in `nekoctl start --no-daemon | head -1`.
func TestForegroundServesOnWhenItsOutputIsGone(t *testing.T) {
	t.Parallel()
	f := newForeground(t, web("api", 2))
	f.told()
	f.closeOutput()
	before, err := f.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.command("restart", "api") // the new ones say hello
	f.killMaster()              // and keeper and master have something to say, too
	f.command("restart", "api")
	after, err := f.Ping(t.Context())
	if err != nil || after.Keeper != before.Keeper {
		t.Errorf("before %+v, after %+v (%v)", before, after, err)
	}
	kill(t, f.cmd.Process.Pid, syscall.SIGTERM)
	if code := f.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A script that holds a lock on descriptor 9, say, must not find it held by the
// daemon that it has started.
func TestADaemonKeepsNoDescriptorsOfWhoStartedIt(t *testing.T) {
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil { // not close-on-exec
		t.Fatal(err)
	}
	defer syscall.Close(pipe[0])
	defer syscall.Close(pipe[1])
	ours, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", pipe[1]))
	if err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t)
	d.start(app("api", 1))
	for i, open := range d.descriptors() {
		if slices.Contains(open, ours) {
			t.Errorf("%s has %s", []string{"the keeper", "the master"}[i], ours)
		}
	}
}

func TestTheLastWordsOfAStoppedDaemonAreInItsLogs(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(app("api", 2, "last-words"))
	if _, err := d.Kill(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	d.eventually("the daemon has ended", func() bool { return syscall.Kill(d.keeper, 0) != nil || d.isZombie(d.keeper) })
	for slot := range 2 {
		text, err := os.ReadFile(d.home.OutLog("api", slot))
		if err != nil || !strings.HasSuffix(string(text), "the very last words\n") {
			t.Errorf("slot %d: %d bytes, %v", slot, len(text), err)
		}
	}
}
