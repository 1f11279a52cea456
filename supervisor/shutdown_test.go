package supervisor_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// patient is an app that serves on for a while before it stops.
func patient(instances int, delay time.Duration) spec.App {
	a := web("api", instances)
	a.ShutdownDelay = spec.Duration(delay)
	return a
}

// runDir is what a process was told.
func runDir(t *testing.T, pid int) string {
	t.Helper()
	for line := range strings.Lines(environment(t, pid)) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "NEKO_RUN_DIR="); ok {
			return dir
		}
	}
	t.Fatalf("pid %d has no NEKO_RUN_DIR", pid)
	return ""
}

// begin gives a command and does not wait for its end.
func (d *daemon) begin(ctx context.Context, name, target string) (ended <-chan error) {
	done := make(chan error, 1)
	go func() {
		_, err := d.Command(ctx, name, control.TargetRequest{Targets: []string{target}}, nil)
		done <- err
	}()
	return done
}

func (d *daemon) stopping() {
	d.t.Helper()
	d.until("stopping", func(l []control.Process) bool { return l[0].State == control.Stopping })
}

func TestAStopLetsBalancersSeeItComing(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := patient(2, 4*time.Second)
	list := d.start(a).Processes
	told := filepath.Join(runDir(t, list[0].PID), "stopping")
	if info, err := os.Stat(filepath.Dir(told)); err != nil || info.Mode().Perm() != 0o700 || there(told) {
		t.Errorf("the run folder: %v, %v", info, err)
	}
	began := time.Now()
	ended := d.begin(t.Context(), "stop", "api")
	d.stopping()
	if !there(told) {
		t.Error("the processes are not told that they will stop")
	}
	for range 20 {
		get(t, list[0].Listeners[0])
	}
	again := d.begin(t.Context(), "stop", "api") // waits for the same end
	for _, end := range []<-chan error{ended, again} {
		if err := <-end; err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < a.ShutdownDelay.D() || took > 2*a.ShutdownDelay.D()-50*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	if got := states(d.list()); got != "api:0 stopped, api:1 stopped" || there(told) {
		t.Errorf("%s; told to stop: %v", got, there(told))
	}
	if got := d.lastExit("api"); got != "exit code 0" {
		t.Errorf("it ended by %s", got)
	}
	if got := states(d.command("restart", "api").Processes); got != "api:0 online, api:1 online" || there(told) {
		t.Errorf("%s; told to stop: %v", got, there(told))
	}
	d.command("delete", "api")
	if there(filepath.Dir(told)) {
		t.Error("the run folder is left")
	}
}

func TestWhatHasASuccessorDoesNotWait(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := patient(2, time.Hour)
	d.start(a)
	d.command("reload", "api")
	d.command("restart", "api")
	d.scale("api", "1")    // the others serve on
	a.ShutdownDelay = 0    // or the end of this test would take an hour
	d.start(a)             // a reload
	d.command("stop", "0") // the app's last
}

func TestAStartDuringTheDelayComesAfterTheStop(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := patient(1, 3*time.Second)
	p := d.start(a).Processes[0]
	ended := d.begin(t.Context(), "stop", "api")
	d.stopping()
	again := d.start(a).Processes[0]
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if again.PID == p.PID || again.State != control.Online {
		t.Errorf("%+v", again)
	}
}

func TestAMasterThatIsKilledDuringTheDelayHasAnHeirThatStopsInTime(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := patient(1, 5*time.Second)
	p := d.start(a).Processes[0]
	began := time.Now()
	gone, leave := context.WithCancel(t.Context())
	d.begin(gone, "stop", "api")
	d.stopping()
	leave() // and nobody asks the next master for it
	d.killMaster()
	get(t, p.Listeners[0])
	d.until("stopped", func(l []control.Process) bool { return l[0].State == control.Stopped })
	if took := time.Since(began); took < a.ShutdownDelay.D() || took > a.ShutdownDelay.D()+10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestWhatIsStartedAgainUnderANewMasterServesOn(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := patient(1, time.Hour)
	p := d.start(a).Processes[0]
	told := filepath.Join(runDir(t, p.PID), "stopping")
	gone, leave := context.WithCancel(t.Context())
	d.begin(gone, "stop", "api")
	d.stopping()
	leave()
	d.killMaster()
	if !there(told) {
		t.Error("the processes are not told any more")
	}
	if got := d.start(a).Processes[0]; got.PID != p.PID || got.State != control.Online || there(told) {
		t.Errorf("%+v, told to stop: %v", got, there(told))
	}
	a.ShutdownDelay = 0
	d.start(a)
}

func TestWhatCrashesDuringTheDelayServesOn(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := patient(1, 5*time.Second)
	p := d.start(a).Processes[0]
	ended := d.begin(t.Context(), "stop", "api")
	d.stopping()
	kill(t, p.PID, syscall.SIGKILL)
	get(t, p.Listeners[0])
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestADaemonThatEndsServesOnFirst(t *testing.T) {
	t.Parallel()
	const delay = 4 * time.Second
	f := newForeground(t, patient(1, delay), app("quick", 1))
	f.told()
	list := f.list()
	dir := runDir(t, list[0].PID)
	began := time.Now()
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.stopping()
	get(t, list[0].Listeners[0])
	if ping, err := f.Ping(t.Context()); err != nil {
		t.Error(err)
	} else {
		kill(t, ping.Master, syscall.SIGKILL) // the next one is to stop, too, in time
	}
	if code := f.wait(); code != 0 || time.Since(began) < delay || there(dir) || there(filepath.Dir(dir)) {
		t.Errorf("exit code %d after %v; its run folder is there: %v", code, time.Since(began), there(dir))
	}
}

func TestASecondCtrlCEndsTheDelay(t *testing.T) {
	t.Parallel()
	f := newForeground(t, patient(2, time.Hour))
	f.told()
	if err := f.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	f.stopping()
	get(t, f.list()[0].Listeners[0])
	if err := f.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := f.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// What a dead daemon has left is no hindrance, and says nothing to the next.
func TestAStaleRunFolderIsEmptied(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dir := runDir(t, d.start(app("api", 1)).Processes[0].PID)
	_, err := d.Kill(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	d.hasEnded()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stopping", "host-v2.shm"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.spawn()
	d.start(app("api", 1))
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// A folder that somebody else has made is not used.
func TestAForeignRunFolderIsNotUsed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a folder away takes root")
	}
	t.Parallel()
	d := newDaemon(t)
	dir := runDir(t, d.start(app("first", 1)).Processes[0].PID)
	d.command("delete", "first")
	parent := filepath.Dir(dir)
	d.eventually("there is no such folder", func() bool { return os.Mkdir(parent, 0o777) == nil })
	defer os.RemoveAll(parent)
	if err := os.Chown(parent, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if got := runDir(t, d.start(app("second", 1)).Processes[0].PID); filepath.Dir(got) == parent {
		t.Errorf("it is %s", got)
	}
}
