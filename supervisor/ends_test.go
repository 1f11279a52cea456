package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// ends are those of an app's first slot, the last one first.
func (d *daemon) ends(app string) []control.End {
	d.t.Helper()
	detail, err := d.App(d.t.Context(), app)
	if err != nil {
		d.t.Fatal(err)
	}
	return detail.Processes[0].Ends
}

// Whatever has a process replaced, its slot remembers why, how it ended and what it
// printed last; so does the next master, and the keeper after that.
func TestASlotRemembersWhyItsProcessesEnded(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	watched := filepath.Join(t.TempDir(), "watched.js")
	write := func() {
		if err := os.WriteFile(watched, []byte(time.Now().String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	grow, grows := flag(t)
	quick := func(name string, set func(*spec.App)) spec.App {
		a := app(name, 1)
		a.MinUptime, a.KillTimeout = spec.Duration(50*time.Millisecond), spec.Duration(100*time.Millisecond)
		a.ListenTimeout = spec.Duration(time.Minute) // a reload that fails is not tried again
		set(&a)
		return a
	}
	d.start(
		quick("code", func(a *spec.App) { a.Env["END_WITH"] = "7" }),
		quick("signal", func(*spec.App) {}),
		quick("hung", func(a *spec.App) { a.Watchdog = spec.Duration(1500 * time.Millisecond) }),
		quick("watch", func(a *spec.App) { a.Watch, a.WatchDelay = []string{watched}, spec.Duration(time.Millisecond) }),
		quick("memory", func(a *spec.App) { a.Env["GROW_IF"], a.MaxMemory = grow, 40<<20 }),
		quick("restart", func(*spec.App) {}),
		quick("reload", func(*spec.App) {}),
		quick("done", func(a *spec.App) { a.Env["END_WITH"], a.StopExitCodes = "5", []int{5} }),
	)
	pids := map[string]int{}
	for _, p := range d.list() {
		pids[p.Name] = p.PID
	}
	kill(t, pids["code"], syscall.SIGUSR1)
	kill(t, pids["signal"], syscall.SIGKILL)
	kill(t, pids["hung"], syscall.SIGSTOP)
	kill(t, pids["done"], syscall.SIGUSR1)
	write()
	grows()
	d.command("restart", "restart")
	d.command("reload", "reload")
	code := func(n int) *int { return &n }
	tests := map[string]control.End{
		"code":    {Cause: control.CauseCrash, ExitCode: code(7), How: "exit code 7"},
		"signal":  {Cause: control.CauseCrash, Signal: "SIGKILL", How: "signal: killed"},
		"hung":    {Cause: control.CauseHung, Detail: "gave no sign of life for 1.5s (watchdog)", Signal: "SIGKILL", How: "signal: killed"},
		"watch":   {Cause: control.CauseWatch, Detail: watched + " has changed", ExitCode: code(0), How: "exit code 0"},
		"memory":  {Cause: control.CauseMemory, Detail: "max_memory_restart is 40.0 MiB", ExitCode: code(0), How: "exit code 0"},
		"restart": {Cause: control.CauseCommand, Detail: "restart", ExitCode: code(0), How: "exit code 0"},
		"reload":  {Cause: control.CauseReload, Detail: "reload", ExitCode: code(0), How: "exit code 0"},
		"done":    {Cause: control.CauseExit, ExitCode: code(5), How: "exit code 5"},
	}
	check := func(when string) {
		t.Helper()
		for name, want := range tests {
			own := slices.Contains([]control.Cause{control.CauseCrash, control.CauseHung, control.CauseExit}, want.Cause)
			hello := fmt.Sprintf("hello from %d", pids[name])
			var got control.End
			d.eventually(name+" tells of its end, "+when, func() bool {
				for _, e := range d.ends(name) {
					if got = e; e.PID == pids[name] {
						return !own || len(e.Output) > 0
					}
				}
				return false
			})
			if got.Cause != want.Cause || got.How != want.How || got.Signal != want.Signal || !strings.Contains(got.Detail, want.Detail) || !got.Served {
				t.Errorf("%s, %s: %+v", name, when, got)
			}
			if (got.ExitCode == nil) != (want.ExitCode == nil) || got.ExitCode != nil && *got.ExitCode != *want.ExitCode {
				t.Errorf("%s, %s: exit code %v, want %v", name, when, got.ExitCode, want.ExitCode)
			}
			if got.StartedAt.IsZero() || got.At.Before(got.StartedAt) || time.Since(got.At) > 10*time.Minute {
				t.Errorf("%s, %s: from %v to %v", name, when, got.StartedAt, got.At)
			}
			if own != slices.Contains(got.Output, hello) {
				t.Errorf("%s, %s: it printed %q", name, when, got.Output)
			}
		}
	}
	check("at first")
	d.killMaster()
	check("after the master was killed")
	d.killKeeper()
	check("after the keeper was killed")
}

// One that does not get there is remembered, with its reason; and of many ends only the
// last ones are.
func TestASlotRemembersOnlyItsLastEnds(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 1, "die-at-start")
	a.MaxRestarts, a.Backoff.Initial = 7, spec.Duration(time.Millisecond)
	_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, nil)
	if err == nil {
		t.Fatal("it has come up")
	}
	d.until("given up", func(l []control.Process) bool { return l[0].State == control.Errored })
	var ends []control.End
	d.eventually("what it printed", func() bool {
		ends = d.ends("api")
		return len(ends) == 5 && len(ends[0].Output) > 0
	})
	for i, e := range ends {
		if e.Cause != control.CauseCrash || e.Detail != "ended before it was ready: exit code 3" || e.Served || *e.ExitCode != 3 {
			t.Errorf("%+v", e)
		}
		if i > 0 && e.At.After(ends[i-1].At) {
			t.Errorf("%v is not before %v", e.At, ends[i-1].At)
		}
	}
	if got := strings.Join(ends[0].Output, "\n"); !strings.Contains(got, "the moon is wrong") {
		t.Errorf("it printed %q", got)
	}
}

// What is to be told of a process that serves on is not lost with the master that told
// it to go: the next one knows why.
func TestTheNextMasterKnowsWhyAProcessLeaves(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 1)
	told, tell := flag(t) // the first process alone is stubborn
	a.Command = []string{"/bin/sh", "-c", "test -e " + told + ` || exec "$0" worker stubborn; exec "$0" worker`, a.Command[0]}
	a.DrainTimeout, a.KillTimeout = spec.Duration(time.Minute), spec.Duration(100*time.Millisecond)
	p := d.start(a).Processes[0]
	tell()
	done := make(chan error, 1)
	go func() {
		_, err := d.Command(t.Context(), "reload", control.TargetRequest{Targets: []string{"api"}}, nil)
		done <- err
	}()
	d.until("replaced", func(l []control.Process) bool { return l[0].PID != p.PID && l[0].State == control.Online })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	d.killMaster()
	kill(t, p.PID, syscall.SIGKILL)
	d.eventually("the end is known", func() bool { return len(d.ends("api")) > 0 })
	ends := d.ends("api")
	if e := ends[len(ends)-1]; e.PID != p.PID || e.Cause != control.CauseReload || !e.Served {
		t.Errorf("%+v", e)
	}
}
