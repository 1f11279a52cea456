package supervisor_test

import (
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// scale is Scale, which must succeed.
func (d *daemon) scale(name, instances string) control.Done {
	d.t.Helper()
	done, err := d.Scale(d.t.Context(), control.ScaleRequest{Name: name, Instances: instances}, nil)
	if err != nil {
		d.t.Fatalf("scale %s %s: %v", name, instances, err)
	}
	return done
}

// killMaster returns when the next master answers.
func (d *daemon) killMaster() {
	d.t.Helper()
	before, err := d.Ping(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	if err := syscall.Kill(before.Master, syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	d.nextMaster(before)
}

// nextMaster waits for the one after the one that has just been killed.
func (d *daemon) nextMaster(before control.Ping) {
	d.t.Helper()
	d.eventually("a new master", func() bool {
		now, err := d.Ping(d.t.Context())
		return err == nil && now.Master != before.Master
	})
}

// sideBySide runs commands at the same time and waits for all of them.
func sideBySide(commands ...func()) {
	var all sync.WaitGroup
	for _, c := range commands {
		all.Go(c)
	}
	all.Wait()
}

func TestAStoppedAppCanBeScaled(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 2))
	d.command("stop", "api")
	for _, step := range []struct{ to, want string }{
		{"1", "api:0 stopped"},
		{"3", "api:0 stopped, api:1 stopped, api:2 stopped"},
	} {
		if got := states(d.scale("api", step.to).Processes); got != step.want {
			t.Errorf("scaled to %s: %s, want %s", step.to, got, step.want)
		}
	}
	if got, want := states(d.command("restart", "api").Processes), "api:0 online, api:1 online, api:2 online"; got != want {
		t.Errorf("then restarted: %s, want %s", got, want)
	}
}

func TestAnAppIsStartedOnceByTwoAtTheSameTime(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := web("api", 2)
	start := func() {
		if _, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil); err != nil {
			t.Error(err)
		}
	}
	sideBySide(start, start, start)
	if got, want := states(d.list()), "api:0 online, api:1 online"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{app("twin", 1), app("twin", 1)}}, nil); err == nil || !strings.Contains(err.Error(), "two apps twin") {
		t.Errorf("two apps of one name: %v", err)
	}
}

func TestATargetThatIsNamedTwiceIsMeantOnce(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(app("api", 1))
	if got := d.command("reload", "api", "all", "0").Processes[0].Restarts; got != 1 {
		t.Errorf("%d restarts", got)
	}
	d.command("delete", "api", "all", "api")
}

// Commands that wait in line for an app find it deleted when their turn comes.
// They must not bring it back, for it has no name any more by which anybody
// could stop it.
func TestADeletedAppDoesNotComeBack(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	slow := app("slow", 2, "slow-stop")
	slow.Listen = []spec.Listener{{Name: "http", Network: "unix", Address: filepath.Join(t.TempDir(), "s")}}
	for range 5 {
		d.start(slow)
		again := func(command string) func() {
			return func() { _, _ = d.Command(t.Context(), command, control.TargetRequest{Targets: []string{"slow"}}, nil) }
		}
		sideBySide(again("delete"), again("restart"), again("reload"), again("delete"), again("restart"),
			func() { _, _ = d.Scale(t.Context(), control.ScaleRequest{Name: "slow", Instances: "+1"}, nil) })
		d.killMaster() // nor may the next master find anything of it
		if list := d.list(); len(list) != 0 {
			t.Fatalf("it is back: %+v", list)
		}
		if conn, err := net.Dial("unix", slow.Listen[0].Address); err == nil {
			conn.Close()
			t.Fatal("somebody listens")
		}
		d.nobodyRuns()
	}
}

// A start that races with a delete wins or loses, but it never says that the app
// is online when it is not.
func TestStartAndDeleteAtTheSameTime(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 1)
	for range 20 {
		d.start(a)
		var startErr error
		sideBySide(
			func() { _, _ = d.Command(t.Context(), "delete", control.TargetRequest{Targets: []string{"api"}}, nil) },
			func() { _, startErr = d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil) },
		)
		if startErr != nil {
			t.Fatalf("start: %v", startErr)
		}
		for _, p := range d.list() {
			if p.State != control.Online {
				t.Fatalf("got %+v", p)
			}
		}
	}
}

// nobodyRuns fails if the daemon has a child besides its master.
func (d *daemon) nobodyRuns() {
	d.t.Helper()
	d.eventually("no process is left", func() bool {
		workers, zombies := d.family()
		return len(workers) == 0 && len(zombies) == 0
	})
}

func TestKillEndsADaemonThatIsBusy(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(app("api", 2))
	never := app("never", 1, "silent")
	ignore := func(f func() error) func() { return func() { _ = f() } }
	command := func(name, target string) func() {
		return ignore(func() error {
			_, err := d.Command(t.Context(), name, control.TargetRequest{Targets: []string{target}}, nil)
			return err
		})
	}
	began := time.Now()
	sideBySide(
		command("restart", "api"), command("reload", "api"), command("restart", "api"),
		ignore(func() error {
			_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{never}}, nil)
			return err
		}),
		func() {
			d.until("never is launching", func(l []control.Process) bool { return strings.Contains(states(l), "never:0 launching") })
			sideBySide(ignore(func() error { _, err := d.Kill(t.Context(), nil); return err }),
				command("restart", "api"), command("restart", "never"))
		},
	)
	if took := time.Since(began); took > 30*time.Second { // and not never's minute
		t.Errorf("it took %s", took)
	}
	d.nobodyRuns()
}

// Only a change of state that the table has may happen; neko.log has the others
// as BUG, which newDaemon looks for.
func TestAProgramThatIsGoneMakesNoBug(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	gone := app("gone", 1, "stubborn")
	gone.MaxRestarts = 2
	gone.DrainTimeout, gone.KillTimeout = spec.Duration(50*time.Millisecond), spec.Duration(50*time.Millisecond)
	link := filepath.Join(t.TempDir(), "program")
	replaceLink(t, link, gone.Command[0])
	gone.Command[0] = link
	d.start(gone)
	replaceLink(t, link, "/nowhere")
	for _, command := range []string{"restart", "stop", "restart", "restart"} {
		_, err := d.Command(t.Context(), command, control.TargetRequest{Targets: []string{"gone"}}, nil)
		if command == "restart" && err == nil {
			t.Error("a program that is not there was started")
		}
	}
	d.until("errored", func(l []control.Process) bool { return l[0].State == control.Errored })
	d.command("stop", "gone")
	replaceLink(t, link, app("", 1).Command[0])
	d.command("restart", "gone")
}

// A slot that is stopped alone runs, when it is started again, with what its app
// has become in the meantime.
func TestAStoppedSlotIsStartedWithTheNewSettings(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 2)
	d.start(a)
	d.command("stop", "1")
	a.Env["VERSION"] = "two"
	for _, p := range d.start(a).Processes {
		if !strings.Contains(environment(t, p.PID), "VERSION=two") {
			t.Errorf("slot %d runs with the old settings", p.Slot)
		}
	}
}

func TestAppsOfOneStartDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	slow := app("slow", 1, "silent")
	slow.ListenTimeout = spec.Duration(time.Minute)
	started := make(chan error, 1)
	go func() {
		_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{slow, app("one", 2), app("two", 1)}}, nil)
		started <- err
	}()
	list := d.until("online beside a slow one", func(l []control.Process) bool {
		return len(l) == 4 && states(l) == "slow:0 launching, one:0 online, one:1 online, two:0 online"
	})
	for id, p := range list {
		if p.ID != id {
			t.Errorf("ids are not in the order of the apps: %+v", list)
		}
	}
	d.command("delete", "one") // others do not wait for the command either
	if _, err := d.Kill(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err == nil {
		t.Error("a start that was cut off has succeeded")
	}
}
