package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

// killKeeper returns when there is another.
func (d *daemon) killKeeper() {
	d.t.Helper()
	before, err := d.Ping(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	kill(d.t, before.Keeper, syscall.SIGKILL)
	d.eventually("another keeper", func() bool {
		now, err := d.Ping(d.t.Context())
		return err == nil && now.Keeper != before.Keeper && len(now.Warnings) == 0
	})
}

// lastExit is how the last process of an app's first slot ended.
func (d *daemon) lastExit(app string) string {
	d.t.Helper()
	detail, err := d.App(d.t.Context(), app)
	if err != nil {
		d.t.Fatal(err)
	}
	return detail.Processes[0].LastExit
}

// The master takes the place of its keeper. What it has started is its own still,
// so nothing is unknown of how these end.
func TestAKilledKeeperIsReplaced(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	before := d.start(web("api", 2)).Processes
	for range 3 {
		d.killKeeper()
		for i, p := range d.list() {
			if p.PID != before[i].PID || p.ID != before[i].ID || p.Restarts != before[i].Restarts {
				t.Errorf("before %+v, after %+v", before[i], p)
			}
		}
		d.killMaster() // the new keeper starts another
		pid := before[0].PID
		kill(t, pid, syscall.SIGKILL)
		before = d.until("the crashed worker is back", func(l []control.Process) bool {
			return l[0].PID != pid && strings.Count(states(l), "online") == 2
		})
		if got := d.lastExit("api"); got != "signal: killed" && got != "unknown" {
			t.Errorf("the last exit is %q", got)
		}
	}
	pid, err := os.ReadFile(d.home.PID())
	if ping, pingErr := d.Ping(t.Context()); err != nil || pingErr != nil || strings.TrimSpace(string(pid)) != fmt.Sprint(ping.Keeper) {
		t.Errorf("neko.pid has %q, and the keeper is %d (%v, %v)", pid, ping.Keeper, err, pingErr)
	}
}

func TestTheReplacedKeeperKnowsHowItsWorkersEnd(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	p := d.start(app("api", 1)).Processes[0]
	d.killKeeper()
	kill(t, p.PID, syscall.SIGKILL)
	d.until("back", func(l []control.Process) bool { return l[0].PID != p.PID && l[0].State == control.Online })
	if got, want := d.lastExit("api"), "signal: killed"; got != want {
		t.Errorf("the last exit is %q, want %q", got, want)
	}
}

func TestADaemonWithItsSecondKeeperCanDoAllThings(t *testing.T) {
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

func TestASecondKeeperDrainsOnTERM(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(app("api", 2))
	d.killKeeper()
	ping, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, ping.Keeper, syscall.SIGTERM)
	d.eventually("all processes have ended", func() bool { workers, _ := d.family(); return len(workers) == 0 })
}

// killBoth kills keeper and master at once. Nobody looks after the workers then.
func (d *daemon) killBoth() {
	d.t.Helper()
	ping, err := d.Ping(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for _, pid := range []int{ping.Master, ping.Keeper} { // or each would replace the other
		d.freeze(pid)
	}
	kill(d.t, ping.Master, syscall.SIGKILL)
	kill(d.t, ping.Keeper, syscall.SIGKILL)
}

// freeze stops a process, and returns when none of its threads runs any more.
func (d *daemon) freeze(pid int) {
	d.t.Helper()
	kill(d.t, pid, syscall.SIGSTOP)
	d.eventually("it stands still", func() bool {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		return !slices.ContainsFunc(stats, func(stat string) bool {
			text, err := os.ReadFile(stat)
			return err == nil && !bytes.Contains(text, []byte(") T "))
		})
	})
}

// spawn starts another daemon on the same home.
func (d *daemon) spawn() {
	d.t.Helper()
	d.eventually("the home is free", func() bool { // the lock goes last
		pid, err := keeper.Spawn(d.home)
		d.keeper = pid
		return err == nil
	})
}

// When both are gone the workers serve on, and the next daemon finds them again:
// sockets, output and all.
func TestAfterTheDeathOfKeeperAndMasterTheWorkersAreFoundAgain(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 2)
	a.Spare = 1
	before := d.start(a, app("mule", 1)).Processes
	d.until("all have what they need", func([]control.Process) bool {
		detail, err := d.App(t.Context(), "api")
		return err == nil && detail.Processes[0].Spare > 0 && detail.Processes[1].Spare > 0
	})
	for range 2 {
		d.command("reload", "mule") // the state is saved when a command has ended
		before = d.list()
		d.killBoth()
		get(t, before[0].Listeners[0])
		d.spawn()
		for i, p := range d.list() {
			if p.PID != before[i].PID || p.ID != before[i].ID || p.Restarts != before[i].Restarts || p.State != control.Online {
				t.Errorf("before %+v, after %+v", before[i], p)
			}
		}
	}
	// All of it can still be used.
	kill(t, before[0].PID, syscall.SIGKILL)
	d.until("the crashed worker is back", func(l []control.Process) bool {
		return l[0].PID != before[0].PID && strings.Count(states(l), "online") == 3
	})
	slots := map[string]bool{}
	for range 100 {
		slot, _, _ := strings.Cut(get(t, before[0].Listeners[0]), " ")
		slots[slot] = true
	}
	if len(slots) != 2 {
		t.Errorf("the slots that answered are %v", slots)
	}
	d.command("reload", "all")
	d.scale("api", "3")
	d.scale("api", "1")
	d.command("delete", "all")
	d.nobodyRuns()
}

// listeners counts the sockets that listen on a port of 127.0.0.1.
func listeners(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	// /proc/net is the network of the first thread, which a test may have put into another (newSlowLink).
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const listen = "0A"
	return strings.Count(string(table), fmt.Sprintf(" 0100007F:%04X 00000000:0000 %s ", n, listen))
}

// A worker that ends while there is no daemon takes its socket with it. The others
// serve on, and it gets another.
func TestAWorkerThatEndsWhileThereIsNoDaemonIsReplaced(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	before := d.start(web("api", 3)).Processes
	d.killBoth()
	kill(t, before[1].PID, syscall.SIGKILL)
	d.eventually("its socket is closed", func() bool { return listeners(t, before[0].Listeners[0]) == 2 })
	get(t, before[0].Listeners[0])
	d.spawn()
	d.until("all three serve", func(l []control.Process) bool { return strings.Count(states(l), "online") == 3 })
	slots := map[string]bool{}
	for range 100 {
		slot, _, _ := strings.Cut(get(t, before[0].Listeners[0]), " ")
		slots[slot] = true
	}
	if len(slots) != 3 {
		t.Errorf("the slots that answered are %v", slots)
	}
	warned := func() bool {
		ping, err := d.Ping(t.Context())
		return err == nil && strings.Contains(strings.Join(ping.Warnings, ""), "was lost while there was no daemon")
	}
	if !warned() {
		t.Error("ping does not say that connections cannot be steered")
	}
	d.killMaster()
	if !warned() {
		t.Error("the next master does not know that it cannot steer")
	}
	d.scale("api", "4")
	d.scale("api", "2")
	d.command("stop", "api")
	d.command("restart", "api")
	if warned() {
		t.Error("ping warns though all is new")
	}
}

// What was in the pipe, and what is printed from then on, is in the log.
func TestWhatIsPrintedWhileThereIsNoDaemonIsInTheLog(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("counter", 1)
	// Like any shell it would end by a SIGPIPE, were there nobody to read.
	a.Command = []string{"/bin/sh", "-c", "trap '' PIPE; i=0; while sleep 0.01; do i=$((i+1)); echo $i; done"}
	a.WaitReady = false
	d.start(a)
	lines := func() []string {
		text, _ := os.ReadFile(d.home.OutLog("counter", 0))
		return strings.Fields(string(text))
	}
	d.eventually("it counts", func() bool { return len(lines()) > 10 })
	d.killBoth()
	d.spawn()
	found := len(lines())
	d.eventually("it counts on", func() bool { return len(lines()) > found+10 })
}

// A state that cannot be read is left alone as long as there are processes that
// only it explains; mended, they are found.
func TestAStateThatCannotBeReadIsNoReasonToLoseAnything(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, text, says string }{
		{"truncated", `{"version":1,"where":"`, "is damaged"},
		{"newer", `{"version":99}`, "is of a newer nekoctl"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			before := d.start(web("api", 2)).Processes
			good, err := os.ReadFile(d.home.State())
			if err != nil {
				t.Fatal(err)
			}
			d.killBoth()
			if err := os.WriteFile(d.home.State(), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			d.eventually("the home is free", func() bool {
				_, err = keeper.Spawn(d.home)
				return err != nil && !strings.Contains(err.Error(), "already runs")
			})
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), fmt.Sprint(before[0].PID)) {
				t.Errorf("got %v", err)
			}
			if text, err := os.ReadFile(d.home.State()); err != nil || string(text) != c.text {
				t.Errorf("the state is %q (%v)", text, err)
			}
			get(t, before[0].Listeners[0])
			if err := os.WriteFile(d.home.State(), good, 0o600); err != nil {
				t.Fatal(err)
			}
			d.spawn()
			for i, p := range d.list() {
				if p.PID != before[i].PID {
					t.Errorf("before %+v, after %+v", before[i], p)
				}
			}
		})
	}
}

// hasEnded waits for the keeper, which goes last.
func (d *daemon) hasEnded() {
	d.t.Helper()
	d.eventually("the daemon has ended", func() bool { return syscall.Kill(d.keeper, 0) != nil || d.isZombie(d.keeper) })
}

func TestAStateOfWhichNothingRunsIsPutAside(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	if _, err := d.Kill(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	d.hasEnded()
	if err := os.WriteFile(d.home.State(), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.spawn()
	if text, err := os.ReadFile(d.home.State() + ".bad"); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
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
	if code := f.wait(); code != 4 {
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
	d.hasEnded()
	for slot := range 2 {
		text, err := os.ReadFile(d.home.OutLog("api", slot))
		if err != nil || !strings.HasSuffix(string(text), "the very last words\n") {
			t.Errorf("slot %d: %d bytes, %v", slot, len(text), err)
		}
	}
}

// A record that is too long for a message goes on with the keeper that inherits it.
func TestAKeeperIsReplacedThatHoldsALongRecord(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 1)
	for i := range 3 {
		a.Env[fmt.Sprint("LONG", i)] = strings.Repeat("x", 60<<10)
	}
	before := d.start(a).Processes
	d.killKeeper()
	d.killMaster()
	if after := d.list(); len(after) != 1 || after[0].PID != before[0].PID {
		t.Errorf("before %+v, after %+v", before, after)
	}
}
