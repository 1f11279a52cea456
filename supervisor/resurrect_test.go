package supervisor_test

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

func (d *daemon) specs() []control.Saved {
	d.t.Helper()
	saved, err := d.Specs(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return saved
}

func TestWhatWasSavedIsThereAgainWithItsSizesAndWhatWasStoppedIsStopped(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	stopped, secret := web("stopped", 2), app("secret", 1)
	secret.Env["TOKEN"] = "geheim"
	d.start(stopped, secret, web("scaled", 1))
	if _, err := d.Scale(t.Context(), control.ScaleRequest{Name: "scaled", Instances: "+2"}, nil); err != nil {
		t.Fatal(err)
	}
	d.command("stop", "stopped")
	saved := d.specs()
	if len(saved) != 3 || !saved[0].Stopped || saved[1].Stopped || saved[2].Stopped || saved[2].App.Instances != 3 || saved[1].App.Env["TOKEN"] != "geheim" {
		t.Fatalf("%+v", saved)
	}

	other := newDaemon(t)
	done, err := other.Resurrect(t.Context(), control.ResurrectRequest{Apps: saved}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := states(done.Processes); got != "stopped:0 stopped, stopped:1 stopped, secret:0 online, scaled:0 online, scaled:1 online, scaled:2 online" {
		t.Errorf("states %s", got)
	}
	if got := states(other.list()); got != states(done.Processes) { // by their ids
		t.Errorf("states %s", got)
	}
	if again := other.specs(); !reflect.DeepEqual(again, saved) {
		t.Errorf("saved again it is\n%+v, and was\n%+v", again, saved)
	}
	other.command("restart", "stopped") // it was only stopped
	if got := states(other.list()); strings.Count(got, "online") != 6 {
		t.Errorf("states %s", got)
	}
}

func TestWhatRunsStaysWhenItIsResurrected(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("runs", 1), web("stopped", 1))
	saved := d.specs()
	saved[0].App.Env["SINCE"] = "changed"
	d.command("stop", "stopped")
	before := d.list()
	done, err := d.Resurrect(t.Context(), control.ResurrectRequest{Apps: saved}, nil)
	if err != nil || states(done.Processes) != "runs:0 online, stopped:0 online" || done.Processes[0].PID != before[0].PID {
		t.Errorf("%+v, %v; it was %+v", done, err, before)
	}
	saved[0].Stopped = true // the dump says so, and it has been started since
	if _, err := d.Resurrect(t.Context(), control.ResurrectRequest{Apps: saved}, nil); err != nil || d.list()[0].PID != before[0].PID {
		t.Errorf("%+v, %v", d.list(), err)
	}
}

func TestAnAppThatCannotBeStartedKeepsNoOtherFromBeingResurrected(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	gone, busy, alone := app("gone", 1), web("busy", 2), app("alone", 1)
	gone.Command[0] = filepath.Join(t.TempDir(), "server")
	busy.Listen[0].Address = taken.Addr().String()
	alone.DependsOn = []spec.Dependency{{App: "deleted", Condition: spec.Ready}}
	d := newDaemon(t)
	_, err = d.Resurrect(t.Context(), control.ResurrectRequest{Apps: []control.Saved{{App: gone}, {App: busy}, {App: alone}, {App: web("good", 1)}}}, nil)
	if err == nil || !strings.Contains(err.Error(), gone.Command[0]+": no such file") || !strings.Contains(err.Error(), "is in use by") ||
		!strings.Contains(err.Error(), "alone depends on deleted") {
		t.Errorf("%v", err)
	}
	list := d.list()
	if got := states(list); got != "gone:0 stopped, busy:0 stopped, busy:1 stopped, alone:0 stopped, good:0 online" {
		t.Errorf("states %s", got)
	}
	for _, p := range list[:4] {
		if p.Reason == "" {
			t.Errorf("%s:%d does not say why", p.Name, p.Slot)
		}
	}
	taken.Close()
	d.command("restart", "busy")
	for _, p := range d.list()[1:3] {
		if p.State != control.Online || p.Reason != "" {
			t.Errorf("%+v", p)
		}
	}
}

func TestWhatNoAppCouldBeIsNotResurrected(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	bad := app("../bad", 1)
	if _, err := d.Resurrect(t.Context(), control.ResurrectRequest{Apps: []control.Saved{{App: app("good", 1)}, {App: bad, Stopped: true}}}, nil); err == nil || len(d.list()) > 0 {
		t.Errorf("%v, %+v", err, d.list())
	}
}

// It is what the unit of nekoctl startup runs.
func TestAForegroundDaemonThatIsResurrectedServesWhatItCanAndDoesNotEndWithItsApps(t *testing.T) {
	t.Parallel()
	gone, bad := app("gone", 1), app("bad", 1, "die-at-start")
	gone.Command[0] = filepath.Join(t.TempDir(), "server")
	bad.MaxRestarts = 1
	f := runForeground(t, "foreground-saved", []control.Saved{{App: gone}, {App: bad}, {App: app("later", 1), Stopped: true}}, nil)
	if got := f.told(); got != "READY=1" {
		t.Fatalf("told %q", got)
	}
	f.until("given up", func(l []control.Process) bool { return states(l) == "gone:0 stopped, bad:0 errored, later:0 stopped" })
	f.command("delete", "gone", "bad")
	f.command("restart", "later")
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := f.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestAForegroundDaemonOfNothingThatWasSavedWaitsForApps(t *testing.T) {
	t.Parallel()
	f := runForeground(t, "foreground-saved", []control.Saved{}, nil)
	if got := f.told(); got != "READY=1" {
		t.Fatalf("told %q", got)
	}
	f.start(app("later", 1))
	ping, err := f.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(ping.Master, syscall.SIGKILL); err != nil { // the next knows, too, that it stays
		t.Fatal(err)
	}
	f.eventually("another master", func() bool {
		now, err := f.Ping(t.Context())
		return err == nil && now.Master != ping.Master
	})
	bad := app("bad", 1, "die-at-start")
	bad.MaxRestarts = 1
	if _, err := f.Start(t.Context(), control.StartRequest{Apps: []spec.App{bad}}, nil); err == nil {
		t.Error("it has started")
	}
	f.command("delete", "later")
	f.until("given up", func(l []control.Process) bool { return states(l) == "bad:0 errored" })
	if _, err := f.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestADaemonThatStopsHasNothingToSave(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	d := newDaemon(t)
	slow := app("slow", 1)
	slow.WaitReady = false
	slow.Command = []string{"/bin/sh", "-c", "trap '' TERM; until test -e '" + gate + "'; do sleep 0.01; done"}
	d.start(slow)
	ended := make(chan error, 1)
	go func() {
		_, err := d.Kill(t.Context(), nil)
		ended <- err
	}()
	d.until("stopping", func(l []control.Process) bool { return len(l) == 1 && l[0].State == control.Stopping })
	if saved, err := d.Specs(t.Context()); err == nil || !strings.Contains(err.Error(), "the daemon is stopping") {
		t.Errorf("%+v, %v", saved, err)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
