package supervisor_test

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// steps are those that a command has told of so far, a line each.
type steps struct {
	mu    sync.Mutex
	lines []string
	all   []control.Progress
}

func (s *steps) add(p control.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, p)
	line := fmt.Sprintf("%s:%d %s: %s", p.Name, p.Slot, p.State, p.Message)
	if p.Whole {
		line = p.Name + ": " + p.Message
	}
	s.lines = append(s.lines, line)
}

func (s *steps) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// last is the last step that has a message which matches.
func (s *steps) last(pattern string) (p control.Progress, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, line := range slices.Backward(s.lines) {
		if regexp.MustCompile("^" + pattern + "$").MatchString(line) {
			return s.all[i], true
		}
	}
	return p, false
}

// watched has a command run beside the test.
func (d *daemon) watched(command func(step func(control.Progress)) (control.Done, error)) (s *steps, wait func() error) {
	s = &steps{}
	ended := make(chan error, 1)
	go func() {
		_, err := command(s.add)
		ended <- err
	}()
	return s, func() error {
		select {
		case err := <-ended:
			return err
		case <-time.After(time.Minute):
			d.t.Fatalf("the command does not end; it has told of\n%s", s)
			return nil
		}
	}
}

// tells waits for a step.
func (d *daemon) tells(s *steps, pattern string) control.Progress {
	d.t.Helper()
	var p control.Progress
	for end := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		var found bool
		if p, found = s.last(pattern); found {
			return p
		}
		if time.Now().After(end) {
			d.t.Fatalf("it does not tell of %q, but of\n%s", pattern, s)
		}
	}
}

func (d *daemon) target(command, target string) func(func(control.Progress)) (control.Done, error) {
	return func(step func(control.Progress)) (control.Done, error) {
		return d.Command(d.t.Context(), command, control.TargetRequest{Targets: []string{target}}, step)
	}
}

// Whatever a command waits for, it says so of each process, with the time that is left.
func TestCommandsTellWhatTheyWaitFor(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	end := func(wait func() error) {
		t.Helper()
		if err := wait(); err != nil {
			t.Error(err)
		}
	}
	began := time.Now()
	limit := func(p control.Progress, want time.Duration) {
		t.Helper()
		if p.LimitMS != want.Milliseconds() || p.SinceMS < 0 || p.SinceMS > time.Since(began).Milliseconds() {
			t.Errorf("%+v, want a limit of %v", p, want)
		}
	}
	gate, opens := flag(t)
	a := web("api", 2)
	a.Env["READY_IF"], a.WaitReady, a.ListenTimeout = gate, true, spec.Duration(30*time.Second)
	a.MinUptime, a.DrainTimeout = spec.Duration(600*time.Millisecond), spec.Duration(20*time.Second)
	after := app("after", 1)
	after.DependsOn = []spec.Dependency{{App: "api", Condition: spec.Ready}}

	s, wait := d.watched(func(step func(control.Progress)) (control.Done, error) {
		return d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a, after}}, step)
	})
	limit(d.tells(s, "api:0 launching: waits for READY=1"), 30*time.Second)
	d.tells(s, "api:1 launching: waits for READY=1")
	d.tells(s, "after:0 stopped: waits for api")
	other, waitOther := d.watched(d.target("restart", "api"))
	d.tells(other, `api: waits for another command to end \(start\)`)
	opens()
	d.tells(s, "api:0 online: ")
	end(wait)
	d.tells(other, "api: ")
	end(waitOther)

	// A reload: the successor is on trial, and in the next one its predecessor drains.
	list := d.list()
	conn, err := net.Dial("tcp", list[0].Listeners[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /?sleep=60s&flush HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := conn.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	s, wait = d.watched(d.target("reload", "api"))
	limit(d.tells(s, `api:0 online: new process, pid \d+: is ready, and on trial`), 600*time.Millisecond)
	d.tells(s, `api:0 online: pid \d+ took over from pid \d+`)
	end(wait)
	s, wait = d.watched(d.target("reload", "api"))
	held := d.tells(s, `api:[01] online: predecessor, pid \d+: draining`)
	limit(held, 20*time.Second)
	d.eventually("the connection is counted", func() bool {
		p, _ := s.last(`api:[01] online: predecessor, pid \d+: draining`)
		return p.Connections == 1
	})
	conn.Close()
	for _, p := range list {
		_ = syscall.Kill(p.PID, syscall.SIGKILL)
	}
	end(wait)

	s, wait = d.watched(func(step func(control.Progress)) (control.Done, error) {
		return d.Scale(t.Context(), control.ScaleRequest{Name: "api", Instances: "1"}, step)
	})
	limit(d.tells(s, "api:1 stopping: waits for connections that are on their way to it"), 3*time.Second)
	end(wait)

	slow := app("slow", 1, "stubborn")
	slow.ShutdownDelay, slow.DrainTimeout, slow.KillTimeout = spec.Duration(300*time.Millisecond), spec.Duration(300*time.Millisecond), spec.Duration(200*time.Millisecond)
	d.start(slow)
	s, wait = d.watched(func(step func(control.Progress)) (control.Done, error) { return d.Kill(t.Context(), step) })
	limit(d.tells(s, `slow:0 stopping: serves on before it stops \(shutdown_delay\)`), 300*time.Millisecond)
	limit(d.tells(s, "slow:0 stopping: draining"), 300*time.Millisecond)
	d.tells(s, "after:0 stopped: ")
	end(wait)
}

// What is not told by an event, as how a probe fails, is told all the same; a process
// that waits for another attempt says why, and an upgrade for which commands it waits.
func TestCommandsTellWhatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("api", 1)
	passes, pass := flag(t)
	a.Startup = &spec.Probe{Exec: []string{"/bin/sh", "-c", "echo not yet; test -e " + passes}, Interval: spec.Duration(20 * time.Millisecond), Timeout: spec.Duration(5 * time.Second), Failures: 1}
	a.ListenTimeout = spec.Duration(30 * time.Second)
	s, wait := d.watched(func(step func(control.Progress)) (control.Done, error) {
		return d.Start(t.Context(), control.StartRequest{Apps: []spec.App{a}}, step)
	})
	d.tells(s, "api:0 launching: waits for it to pass startup.*not yet.*")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	upgrade, waitUpgrade := d.watched(func(step func(control.Progress)) (control.Done, error) {
		return d.Upgrade(t.Context(), control.UpgradeRequest{Program: exe}, step)
	})
	d.tells(upgrade, `: waits for commands that are under way: 1, on api \(start\)`)
	pass()
	if err := wait(); err != nil {
		t.Error(err)
	}
	if err := waitUpgrade(); err != nil {
		t.Error(err)
	}
}
