package supervisor_test

import (
	"errors"
	"fmt"
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

// only is the one process of an app, with all that is known of it.
func (d *daemon) only(app string) control.ProcessExtra {
	d.t.Helper()
	detail, err := d.App(d.t.Context(), app)
	if err != nil || len(detail.Processes) != 1 {
		d.t.Fatalf("%+v, %v", detail, err)
	}
	return detail.Processes[0]
}

func TestRestartsAreCountedAsPM2Does(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 1)
	a.Env["END_WITH"], a.MinUptime = "7", spec.Duration(time.Minute)
	d.start(a)
	for _, step := range []struct {
		does     string
		restarts int
	}{
		{"stop", 0}, {"restart", 0}, {"restart", 1}, {"reload", 2}, {"stop", 2}, {"start", 2}, {"start", 2}, {"reset", 0}, {"crash", 1},
	} {
		before := d.only("api")
		switch step.does {
		case "start":
			if _, err := d.Start(t.Context(), control.StartRequest{Targets: []string{"api"}}, nil); err != nil {
				t.Fatal(err)
			}
		case "crash":
			kill(t, before.PID, syscall.SIGUSR1)
			d.until("it is back", func(l []control.Process) bool { return l[0].PID != before.PID && l[0].State == control.Online })
		default:
			d.command(step.does, "api")
		}
		after := d.only("api")
		if after.Restarts != step.restarts {
			t.Errorf("after a %s there are %d restarts, want %d", step.does, after.Restarts, step.restarts)
		}
		if step.does == "stop" && !after.StartedAt.Equal(before.StartedAt) {
			t.Errorf("its last process was started at %v, and not at %v", before.StartedAt, after.StartedAt)
		}
		if anew := step.does != "stop" && step.does != "crash" && !(step.does == "start" && before.State == control.Online); after.CreatedAt.After(before.CreatedAt) != anew {
			t.Errorf("after a %s it is of %v, and was of %v", step.does, after.CreatedAt, before.CreatedAt)
		}
	}
	crashed := d.only("api")
	if crashed.ExitCode != 7 || crashed.Unstable != 1 {
		t.Errorf("it has ended with 7, soon after its start: %+v", crashed)
	}
	d.killMaster()
	if now := d.only("api"); now.ExitCode != 7 || now.Unstable != 1 || now.Restarts != 1 || !now.CreatedAt.Equal(crashed.CreatedAt) {
		t.Errorf("another master says %+v", now)
	}
	d.command("reset", "all")
	if now := d.only("api"); now.Unstable != 0 || now.Restarts != 0 || now.PID != crashed.PID {
		t.Errorf("after a reset it is %+v", now)
	}
}

// A predecessor that drains for longer than its successor has lived was not the last process.
func TestTheLastProcessIsTheOneThatHasBegunLast(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	slow := app("api", 1, "stubborn")
	slow.DrainTimeout, slow.KillTimeout = spec.Duration(time.Minute), spec.Duration(100*time.Millisecond)
	d.start(slow)
	d.start(app("api", 1))
	before := d.only("api")
	if len(before.Draining) != 1 {
		t.Fatalf("the predecessor does not drain: %+v", before)
	}
	stopped := d.begin(t.Context(), "stop", "api")
	d.eventually("the successor has ended", func() bool { return syscall.Kill(before.PID, 0) != nil })
	kill(t, before.Draining[0], syscall.SIGKILL) // or it would take a minute
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if after := d.only("api"); !after.StartedAt.Equal(before.StartedAt) {
		t.Errorf("its last process was started at %v, and not at %v", before.StartedAt, after.StartedAt)
	}
}

func TestAnAppWithoutAutostartIsStartedByItsName(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	quiet, needed, other := app("quiet", 2), app("needed", 1), app("other", 1)
	quiet.Autostart, needed.Autostart = false, false
	other.DependsOn = []spec.Dependency{{App: "needed", Condition: spec.Ready}}
	done := d.start(quiet, needed, other)
	want := "quiet:0 stopped, quiet:1 stopped, needed:0 online, other:0 online"
	if got := states(done.Processes); got != want {
		t.Errorf("started: %s, want %s", got, want)
	}
	if !strings.Contains(strings.Join(done.Notes, "\n"), "quiet is not started (autostart: false)") {
		t.Errorf("it was told %q", done.Notes)
	}
	if got := states(d.start(quiet).Processes); got != "quiet:0 stopped, quiet:1 stopped" {
		t.Errorf("started again: %s", got)
	}
	d.killMaster()
	done, err := d.Start(t.Context(), control.StartRequest{Targets: []string{"quiet"}}, nil)
	if got := states(done.Processes); err != nil || got != "quiet:0 online, quiet:1 online" {
		t.Errorf("started by its name: %s, %v", got, err)
	}
	saved := d.specs()
	d.command("delete", "all")
	if _, err := d.Resurrect(t.Context(), control.ResurrectRequest{Apps: saved}, nil); err != nil {
		t.Fatal(err)
	}
	if got := states(d.list()); got != "quiet:0 online, quiet:1 online, needed:0 online, other:0 online" {
		t.Errorf("resurrected: %s", got)
	}
}

func TestARestartIntoAFileStopsAndStartsWhatRuns(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 2)
	before := d.start(a).Processes
	other := app("other", 1)
	other.Autostart = false
	a.Instances, a.Env = 3, map[string]string{"VERSION": "2", "PATH": os.Getenv("PATH")}
	done, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a, other}, Restart: true, Parallel: 1}, nil)
	if got := states(done.Processes); err != nil || got != "api:0 online, api:1 online, api:2 online, other:0 stopped" {
		t.Fatalf("%s, %v", got, err)
	}
	for i, p := range done.Processes[:3] {
		if env := environmentIn(t, fmt.Sprintf("/proc/%d/environ", p.PID)); env["VERSION"] != "2" {
			t.Errorf("slot %d has %v", i, env)
		}
		if i < 2 && (p.PID == before[i].PID || p.Restarts != 1) {
			t.Errorf("slot %d was not restarted: %+v", i, p)
		}
	}
	known, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{other}, Restart: true}, nil)
	if got := states(known.Processes); err != nil || got != "other:0 online" {
		t.Errorf("what was known and stopped: %s, %v", got, err)
	}
	// The same spec is no reason to leave it alone.
	again, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}, Restart: true}, nil)
	if err != nil || again.Processes[2].PID == done.Processes[2].PID || again.Processes[2].Restarts != 1 {
		t.Errorf("%+v, %v", again, err)
	}
	a.Listen = web("x", 1).Listen
	d.command("reload", "api")
	_, err = d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}, Restart: true}, nil)
	if err == nil || !strings.Contains(err.Error(), "online on other addresses") {
		t.Errorf("%v", err)
	}
}

func TestAStartThatWasLaunchedAndFailedSaysSo(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	crashing, final, gone := app("crashing", 1, "die-at-start"), app("final", 1, "die-at-start"), app("gone", 1)
	final.Autorestart = false
	gone.Cwd = filepath.Join(t.TempDir(), "nowhere")
	for _, c := range []struct {
		apps []spec.App
		want bool
	}{
		{[]spec.App{crashing}, true}, {[]spec.App{final}, true}, {[]spec.App{crashing, final}, true}, {[]spec.App{gone}, false},
	} {
		_, err := d.Start(t.Context(), control.StartRequest{Apps: c.apps}, nil)
		e, ok := errors.AsType[*control.Error](err)
		if !ok || e.Launched != c.want {
			t.Errorf("%s: %+v", c.apps[0].Name, err)
		}
		if len(d.list()) > 0 {
			d.command("delete", "all")
		}
	}
}

func TestASignalGoesToWhoServes(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "told")
	a := script("told", "trap 'echo $NEKO_SLOT >> "+file+"' USR2; while :; do sleep 0.01; done")
	a.Instances = 2
	d.start(a, app("stopped", 1))
	d.command("stop", "stopped")
	for i, signal := range []string{"SIGUSR2", "usr2", "12"} {
		done, err := d.Signal(t.Context(), control.SignalRequest{Targets: []string{"all"}, Signal: signal})
		if err != nil || len(done.Processes) != 3 {
			t.Fatalf("%s: %+v, %v", signal, done, err)
		}
		d.eventually("both have it", func() bool { return strings.Count(logText(t, file), "\n") == 2*(i+1) })
	}
	for _, c := range []struct{ target, signal, message, hint string }{
		{"told", "SIGUSR3", `there is no signal "SIGUSR3"`, "did you mean SIGUSR"},
		{"told", "0", `there is no signal "0"`, "HUP, INT,"},
		{"told", "SIG", `there is no signal "SIG"`, ""},
		{"stopped", "HUP", "none of these is online", "nekoctl list"},
		{"nobody", "HUP", `there is no app or process "nobody"`, ""},
	} {
		_, err := d.Signal(t.Context(), control.SignalRequest{Targets: []string{c.target}, Signal: c.signal})
		e, ok := errors.AsType[*control.Error](err)
		if !ok || !strings.Contains(e.Message, c.message) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%s to %s: %v (%+v)", c.signal, c.target, err, e)
		}
	}
}

func TestAllAppsAreTold(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	if list, err := d.Apps(t.Context()); err != nil || list == nil || len(list) != 0 {
		t.Errorf("of nothing: %v, %v", list, err)
	}
	b, a := app("b", 2), app("a", 1)
	a.Env["TOKEN"] = "secret"
	d.start(b, a)
	list, err := d.Apps(t.Context())
	if err != nil || len(list) != 2 || list[0].Name != "b" || len(list[0].Processes) != 2 || list[1].Spec.Env["TOKEN"] != "secret" {
		t.Errorf("%+v, %v", list, err)
	}
	if detail, err := d.App(t.Context(), "a"); err != nil || detail.Spec.Env["TOKEN"] != "[hidden]" {
		t.Errorf("%+v, %v", detail, err)
	}
}

// The first successor is alone until it has proved itself; then so many are replaced at
// a time as the app has it, or the command.
func TestAReloadReplacesSeveralAtATime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ spec, command, want int }{{1, 0, 1}, {3, 0, 3}, {1, 2, 2}, {3, 1, 1}} {
		t.Run(fmt.Sprintf("%d and %d", c.spec, c.command), func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			dir := t.TempDir()
			gate := func(slot int) string { return filepath.Join(dir, strconv.Itoa(slot)) }
			open := func(slot int) {
				if err := os.WriteFile(gate(slot), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			a := web("api", 5)
			a.Parallel, a.MinUptime, a.ListenTimeout = c.spec, spec.Duration(time.Millisecond), spec.Duration(time.Minute)
			a.Env["READY_IF"] = filepath.Join(dir, "$NEKO_SLOT")
			for slot := range 5 {
				open(slot)
			}
			d.start(a)
			for slot := range 5 {
				if err := os.Remove(gate(slot)); err != nil {
					t.Fatal(err)
				}
			}
			ended := make(chan error, 1)
			go func() {
				_, err := d.Command(t.Context(), "reload", control.TargetRequest{Targets: []string{"api"}, Parallel: c.command}, nil)
				ended <- err
			}()
			starting := func() (slots []int) {
				detail, err := d.App(t.Context(), "api")
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range detail.Processes {
					if p.Starting != 0 {
						slots = append(slots, p.Slot)
					}
				}
				return slots
			}
			for first := 0; first < 5; { // those that are next
				want := min(c.want, 5-first)
				if first == 0 {
					want = 1
				}
				var now []int
				d.eventually(fmt.Sprintf("%d start", want), func() bool {
					now = starting()
					return len(now) >= want && now[0] == first
				})
				if len(now) > want {
					t.Fatalf("after %d, %v are replaced at a time, want %d", first, now, want)
				}
				for range want {
					open(first)
					first++
				}
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		})
	}
}
