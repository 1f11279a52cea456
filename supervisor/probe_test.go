package supervisor_test

import (
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
	"github.com/nekoctl/neko/supervisor/spec"
)

// often is a probe that loses no time.
func often(p spec.Probe) *spec.Probe {
	p.Interval, p.Timeout, p.Failures = spec.Duration(30*time.Millisecond), spec.Duration(2*time.Second), 2
	return &p
}

func shell(text string) spec.Probe { return spec.Probe{Exec: []string{"/bin/sh", "-c", text}} }

// unready is what readiness has against a process.
func (d *daemon) unready(app string, slot int) string {
	d.t.Helper()
	for _, p := range d.list() {
		if p.Name == app && p.Slot == slot {
			return p.Unready
		}
	}
	d.t.Fatalf("there is no %s:%d", app, slot)
	return ""
}

// slotsThatAnswer are those that new connections reach.
func slotsThatAnswer(t *testing.T, address string) string {
	t.Helper()
	seen := [3]bool{}
	for range 60 {
		slot, _, _ := strings.Cut(get(t, address), " ")
		n, _ := strconv.Atoi(slot)
		seen[n] = true
	}
	text := ""
	for n, there := range seen {
		if there {
			text += strconv.Itoa(n)
		}
	}
	return text
}

func TestWhoIsNotReadyGetsNoNewConnections(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dir := t.TempDir()
	a := web("api", 3)
	a.Readiness = often(shell("test ! -e " + dir + "/$NEKO_SLOT || { echo slot $NEKO_SLOT is full; exit 1; }"))
	before := d.start(a).Processes
	address := before[0].Listeners[0]
	sick := filepath.Join(dir, "1")
	touch(t, sick)
	d.eventually("slot 1 is not ready", func() bool { return d.unready("api", 1) != "" })
	if why := d.unready("api", 1); why != "/bin/sh: exit code 1: slot 1 is full" {
		t.Errorf("why is %q", why)
	}
	if got := slotsThatAnswer(t, address); got != "02" {
		t.Errorf("answers come from slots %s", got)
	}
	// Where nobody is ready, somebody who serves is better than nobody.
	touch(t, filepath.Join(dir, "0"))
	touch(t, filepath.Join(dir, "2"))
	d.eventually("nobody is ready", func() bool { return d.unready("api", 0) != "" && d.unready("api", 2) != "" })
	if got := slotsThatAnswer(t, address); got != "012" {
		t.Errorf("answers come from slots %s", got)
	}
	if err := os.Remove(sick); err != nil {
		t.Fatal(err)
	}
	d.eventually("slot 1 is ready again", func() bool { return d.unready("api", 1) == "" })
	if got := slotsThatAnswer(t, address); got != "1" {
		t.Errorf("answers come from slots %s", got)
	}
	for i, p := range d.list() {
		if p.PID != before[i].PID || p.State != control.Online {
			t.Errorf("it was restarted: %+v", p)
		}
	}
}

func TestAProcessIsReadyWhenItHasPassedItsProbes(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	warm, warmUp := flag(t)
	a := web("api", 1)
	a.Startup, a.Readiness = often(shell("test -e "+warm)), often(spec.Probe{HTTP: "/livez"})
	a.WaitReady = false
	done := make(chan control.Done)
	go func() { done <- d.start(a) }()
	d.until("it starts", func(l []control.Process) bool { return len(l) == 1 && l[0].State == control.Launching && l[0].PID > 0 })
	warmUp()
	if p := (<-done).Processes[0]; p.State != control.Online {
		t.Errorf("%+v", p)
	}

	b := app("cold", 1)
	b.Startup = often(shell("echo cold; exit 7"))
	d.doesNotPass(b, "startup", "/bin/sh: exit code 7: cold")
}

// doesNotPass starts an app that a probe is to keep from being ready, and that is to say why. Until its time is over
// a probe has to have ended: a slow machine needs more of it.
func (d *daemon) doesNotPass(a spec.App, probe, why string) {
	d.t.Helper()
	for _, limit := range []time.Duration{500 * time.Millisecond, 5 * time.Second, 30 * time.Second} {
		a.ListenTimeout = spec.Duration(limit)
		_, err := d.Start(d.t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil)
		want := fmt.Sprintf("was not ready within %s: it did not pass %s", limit, probe)
		var e *control.Error
		if !errors.As(err, &e) || !strings.Contains(e.Message, want) {
			d.t.Fatalf("it has passed: %v", err)
		}
		if strings.Contains(e.Message, want+": "+why) {
			return
		}
	}
	d.t.Errorf("it never says that it does not pass %s: %s", probe, why)
}

// Both accept on the same socket, and the one that leaves would pass.
func TestASuccessorIsAskedAndNotItsPredecessor(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*spec.App){
		"slots":  func(*spec.App) {},
		"shared": func(a *spec.App) { a.Balance = spec.BalanceShared },
		"unix": func(a *spec.App) {
			a.Listen[0] = spec.Listener{Name: "http", Network: "unix", Address: filepath.Join(t.TempDir(), "api.sock")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			a := web("api", 2)
			change(&a)
			a.Readiness, a.ListenTimeout, a.MinUptime = often(spec.Probe{HTTP: "/livez"}), spec.Duration(time.Minute), 0
			before := d.start(a).Processes
			sick, fall := flag(t)
			fall()
			b := a
			b.Env = map[string]string{"PATH": a.Env["PATH"], "GORACE": a.Env["GORACE"], "SICK_IF": sick}
			d.doesNotPass(b, "readiness", "GET /livez: 503 Service Unavailable")
			for i, p := range d.list() {
				if p.PID != before[i].PID {
					t.Errorf("before %+v, after %+v", before[i], p)
				}
			}
			d.command("reload", "api")
			for i, p := range d.list() {
				if p.PID == before[i].PID || p.State != control.Online {
					t.Errorf("before %+v, after %+v", before[i], p)
				}
			}
		})
	}
}

// The kernel accepts for a process that stands still.
func TestATCPProbeAsksTheProcessAndNotTheKernel(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 2)
	a.Liveness, a.KillTimeout = often(spec.Probe{TCP: "http"}), spec.Duration(100*time.Millisecond)
	a.Liveness.Timeout, a.Liveness.Failures = spec.Duration(500*time.Millisecond), 4
	list := d.start(a).Processes
	kill(t, list[1].PID, syscall.SIGSTOP)
	d.replaced(1, list[1].PID)
	if got := d.list()[0]; got.PID != list[0].PID {
		t.Errorf("the other one was replaced: %+v", got)
	}
}

func TestAProbeMayGoToAnAddress(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	address := d.start(web("api", 1)).Processes[0].Listeners[0]
	_, port, _ := strings.Cut(address, ":")
	for name, probe := range map[string]spec.Probe{"url": {HTTP: "http://" + address + "/livez"}, "port": {TCP: port}, "address": {TCP: address}} {
		a := app(name, 1)
		a.Readiness = often(probe)
		d.start(a)
	}
	d.command("stop", "api")
	for _, name := range []string{"url", "port", "address"} {
		d.eventually(name+" is not ready", func() bool { return d.unready(name, 0) != "" })
	}
}

func TestWhoCannotBeAskedIsLeftAlone(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip(err) // no IPv6 here
	} else {
		l.Close()
	}
	d := newDaemon(t)
	a := web("api", 2)
	a.Listen[0].Address = "[::1]:0"
	a.Liveness = often(spec.Probe{HTTP: "/livez"})
	before := d.start(a).Processes
	d.eventually("ping warns of it", func() bool {
		ping, err := d.Ping(t.Context())
		return err == nil && len(ping.Warnings) == 1 && strings.HasPrefix(ping.Warnings[0], "the processes of api are not asked (GET /livez): ")
	})
	for i, p := range d.list() {
		if p.PID != before[i].PID {
			t.Errorf("before %+v, after %+v", before[i], p)
		}
	}
	// A single one can be asked: nothing else is reached there.
	d.command("delete", "api")
	a.Instances, a.Readiness = 1, often(spec.Probe{HTTP: "/livez"})
	d.start(a)
	if ping, err := d.Ping(t.Context()); err != nil || len(ping.Warnings) > 0 {
		t.Errorf("%v, %v", ping.Warnings, err)
	}
}

// hangs is a probe that passes, but hangs with a child while there is the file hang;
// then the file that it names has its pid.
func hangs(t *testing.T) (probe *spec.Probe, hang, pid string) {
	dir := t.TempDir()
	hang, pid = filepath.Join(dir, "hang"), filepath.Join(dir, "pid")
	probe = often(shell("test -e " + hang + " || exit 0; sleep 1000 & echo $$ $! > " + pid + ".new; mv " + pid + ".new " + pid + "; wait"))
	return probe, hang, pid
}

// hung waits until a probe hangs, and returns it and its child.
func (d *daemon) hung(file string) (pids []int) {
	d.t.Helper()
	d.eventually("a probe hangs", func() bool {
		text, _ := os.ReadFile(file)
		for _, word := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(word)
			pids = append(pids, pid)
		}
		return len(pids) > 0
	})
	return pids
}

// gone waits until nothing lives of some processes.
func (d *daemon) gone(pids []int) {
	d.t.Helper()
	d.eventually("nothing is left of a probe", func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool { return syscall.Kill(pid, 0) == nil && !d.isZombie(pid) })
	})
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// What a probe has started ends with it.
func TestNothingIsLeftOfAProbeThatIsLate(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 1)
	var hang, pid string
	a.Readiness, hang, pid = hangs(t)
	a.Readiness.Timeout = spec.Duration(200 * time.Millisecond)
	d.start(a)
	touch(t, hang)
	d.gone(d.hung(pid))
	d.eventually("it is not ready", func() bool { return d.unready("api", 0) == "no answer within 200ms" })
	remove(t, hang)
	d.eventually("it is ready", func() bool { return d.unready("api", 0) == "" })
	d.eventually("nothing is left", func() bool { workers, _ := d.family(); return len(workers) == 1 })
}

// It ends with whatever it is for, whoever is killed; and nobody takes it for a worker.
func TestNothingOfAProbeOutlivesItsProcessOrItsMaster(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 1)
	var hang, pid string
	a.Liveness, hang, pid = hangs(t)
	a.Liveness.Timeout = spec.Duration(time.Minute)
	before := d.start(a).Processes[0]
	for what, end := range map[string]func(){
		"its process":       func() { d.command("restart", "api"); before = d.list()[0] },
		"the master":        d.killMaster,
		"keeper and master": func() { d.killBoth(); d.spawn() },
	} {
		touch(t, hang)
		pids := d.hung(pid)
		remove(t, hang)
		end()
		d.gone(pids)
		if got := d.list(); len(got) != 1 || got[0].PID != before.PID {
			t.Errorf("after the end of %s: %+v", what, got)
		}
		remove(t, pid)
	}
	touch(t, hang)
	pids := d.hung(pid)
	if _, err := d.Kill(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	d.gone(pids)
}

func TestTheLastLineOfAProbeIsTheReasonHoweverMuchItPrints(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 1)
	full, fill := flag(t)
	a.Readiness = often(shell("test -e " + full + " || exit 0; head -c 300000 /dev/zero | tr '\\0' x; echo; echo the disk is full; exit 1"))
	d.start(a)
	fill()
	d.eventually("it is not ready", func() bool { return d.unready("api", 0) == "/bin/sh: exit code 1: the disk is full" })
}

func TestWhatAProbeHasAgainstAProcessOutlivesTheMaster(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	sick, fall := flag(t)
	a := web("api", 2)
	a.Readiness = often(shell("test $NEKO_SLOT = 0 || test ! -e " + sick))
	a.Readiness.Failures = 50 // so that the next master does not find it out by itself
	list := d.start(a).Processes
	fall()
	d.eventually("slot 1 is not ready", func() bool { return d.unready("api", 1) != "" })
	d.killMaster()
	if why := d.unready("api", 1); why != "/bin/sh: exit code 1" {
		t.Errorf("why is %q", why)
	}
	if got := slotsThatAnswer(t, list[0].Listeners[0]); got != "0" {
		t.Errorf("answers come from slots %s", got)
	}
}

func TestThatAProcessHasSaidItIsReadyOutlivesTheMasterBeforeItHasPassed(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	warm, warmUp := flag(t)
	said := filepath.Join(t.TempDir(), "said")
	a := app("api", 1)
	a.Command = []string{"/bin/sh", "-c", a.Command[0] + " say READY=1; touch " + said + "; exec sleep 1000"}
	a.Startup = often(shell("test -e " + warm))
	go func() { _, _ = d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil) }() // which the master's end cuts off
	d.eventually("it has said so", func() bool { return there(said) })
	before := d.list()[0]
	d.killMaster()
	warmUp()
	after := d.until("it is ready", func(l []control.Process) bool { return l[0].State == control.Online })
	if before.State != control.Launching || before.PID != after[0].PID {
		t.Errorf("before %+v, after %+v", before, after[0])
	}
}
