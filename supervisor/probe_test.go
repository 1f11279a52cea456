package supervisor_test

import (
	"errors"
	"os"
	"path/filepath"
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

func (d *daemon) unready(app string, slot int) string {
	d.t.Helper()
	detail, err := d.App(d.t.Context(), app)
	if err != nil {
		d.t.Fatal(err)
	}
	return detail.Processes[slot].Unready
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
	b.Startup, b.ListenTimeout = often(shell("echo cold; exit 7")), spec.Duration(300*time.Millisecond)
	_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{b}}, nil)
	var e *control.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "was not ready within 300ms: it did not pass its probe: /bin/sh: exit code 7: cold") {
		t.Errorf("%v", err)
	}
}

// Both accept on the same socket, and the one that leaves would pass.
func TestASuccessorIsAskedAndNotItsPredecessor(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*spec.App){
		"slots":  func(*spec.App) {},
		"shared": func(a *spec.App) { a.Balance = spec.BalanceShared },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			a := web("api", 2)
			change(&a)
			a.Readiness, a.ListenTimeout, a.MinUptime = often(spec.Probe{HTTP: "/livez"}), spec.Duration(time.Second), 0
			before := d.start(a).Processes
			sick, fall := flag(t)
			fall()
			b := a
			b.Env = map[string]string{"PATH": a.Env["PATH"], "GORACE": a.Env["GORACE"], "SICK_IF": sick}
			_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{b}}, nil)
			var e *control.Error
			if !errors.As(err, &e) || !strings.Contains(e.Message, "GET /livez: 503 Service Unavailable") {
				t.Errorf("a sick successor has passed: %v", err)
			}
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
	a.Liveness.Timeout = spec.Duration(300 * time.Millisecond)
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
	d := newDaemon(t)
	a := web("api", 1)
	a.Listen[0].Address = "[::1]:0"
	a.Liveness = often(spec.Probe{HTTP: "/livez"})
	before := d.start(a).Processes[0]
	d.eventually("ping warns of it", func() bool {
		ping, err := d.Ping(t.Context())
		return err == nil && len(ping.Warnings) == 1 && strings.HasPrefix(ping.Warnings[0], "api:0 cannot be asked: ")
	})
	if got := d.list()[0]; got.PID != before.PID {
		t.Errorf("%+v", got)
	}
}

// What a probe has started ends with it, also where it is late, or its master is
// killed; and nobody takes it for a worker.
func TestNothingOfAProbeIsLeftBehind(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 1)
	a.Readiness = often(shell("test ! -e " + d.t.TempDir() + "/x || exit 1"))
	dir := t.TempDir()
	a.Readiness.Exec[2] = "test -e " + dir + "/hang || exit 0; touch " + dir + "/hangs; sleep 1000 & sleep 1000"
	a.Readiness.Timeout = spec.Duration(200 * time.Millisecond)
	before := d.start(a).Processes[0]
	family := func() int {
		workers, _ := d.family()
		return len(workers)
	}
	touch(t, filepath.Join(dir, "hang"))
	d.eventually("it is not ready", func() bool { return d.unready("api", 0) == "no answer within 200ms" })
	if err := os.Remove(filepath.Join(dir, "hang")); err != nil {
		t.Fatal(err)
	}
	d.eventually("it is ready", func() bool { return d.unready("api", 0) == "" })
	d.eventually("nothing is left", func() bool { return family() == 1 })

	if err := os.Remove(filepath.Join(dir, "hangs")); err != nil {
		t.Fatal(err)
	}
	touch(t, filepath.Join(dir, "hang"))
	d.eventually("a probe hangs", func() bool { return there(filepath.Join(dir, "hangs")) })
	d.killMaster()
	if err := os.Remove(filepath.Join(dir, "hang")); err != nil {
		t.Fatal(err)
	}
	d.eventually("nothing is left", func() bool { return family() == 1 })
	if got := d.list(); len(got) != 1 || got[0].PID != before.PID {
		t.Errorf("%+v", got)
	}
}
