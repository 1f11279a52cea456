package supervisor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// listener collects what a client of the events is told.
type listener struct {
	d      *daemon
	mu     sync.Mutex
	list   []control.Event
	missed []control.Missed
	ended  chan error
}

// listen follows the events from the daemon's first one on.
func (d *daemon) listen() *listener {
	d.t.Helper()
	l := &listener{d: d, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.ended <- d.Events(ctx, control.EventsRequest{Last: -1, Follow: true}, func(e control.Event) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.list = append(l.list, e)
			return nil
		}, func(m control.Missed) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.missed = append(l.missed, m)
		})
	}()
	d.t.Cleanup(func() {
		cancel()
		<-done
		for i, e := range l.list {
			if i > 0 && e.ID != l.list[i-1].ID+1 {
				d.t.Errorf("after event %d comes %d", l.list[i-1].ID, e.ID)
			}
		}
		if len(l.missed) > 0 {
			d.t.Errorf("missed %v", l.missed)
		}
		if d.t.Failed() {
			d.t.Logf("events:\n%s", l)
		}
	})
	return l
}

// String has a line for each event: what it is about, its kind, and its message.
func (l *listener) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, e := range l.list {
		lines = append(lines, e.Subject()+" "+string(e.Kind)+" "+e.Message)
	}
	return strings.Join(lines, "\n")
}

// kinds are what has come, as "api:0 crash".
func (l *listener) kinds() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.list {
		list = append(list, e.Subject()+" "+string(e.Kind))
	}
	return list
}

// until waits for the n-th event of a kind, and gives it.
func (l *listener) until(n int, kind control.Kind) (found control.Event) {
	l.d.t.Helper()
	l.d.eventually(strconv.Itoa(n)+" events "+string(kind), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		i := 0
		for _, e := range l.list {
			if e.Kind == kind {
				if i++; i == n {
					found = e
					return true
				}
			}
		}
		return false
	})
	return found
}

func details(t *testing.T, e control.Event, want ...string) {
	t.Helper()
	for _, pair := range want {
		key, value, _ := strings.Cut(pair, "=")
		if got, there := e.Details[key]; !there || got != value {
			t.Errorf("%s %s: %s is %q, and not %q: %+v", e.Subject(), e.Kind, key, got, value, e)
		}
	}
	for key := range e.Details {
		known := slices.ContainsFunc(control.EventKinds, func(k control.EventKind) bool { return k.Kind == e.Kind && slices.Contains(k.Details, key) })
		if !known {
			t.Errorf("%s has a detail %q that is in no table", e.Kind, key)
		}
	}
}

func TestACrashIsToldWithHowAndTheLastWords(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	l := d.listen()
	a := web("api", 2)
	a.Env["END_WITH"] = "7"
	list := d.start(a).Processes
	details(t, l.until(1, control.EventStart), "instances=2", "result=ok")
	kill(t, list[1].PID, syscall.SIGUSR1)
	e := l.until(1, control.EventCrash)
	details(t, e, "exit_code=7", "restarts=0")
	if e.Name != "api" || *e.Slot != 1 || *e.ProcessID != list[1].ID || e.PID != list[1].PID || !slices.Contains(e.Output, "hello from "+strconv.Itoa(e.PID)) {
		t.Errorf("%+v", e)
	}
	e = l.until(1, control.EventRestart)
	details(t, e, "reason=crash", "result=ok", "restarts=1")
	if *e.Slot != 1 || e.PID == list[1].PID || e.PID == 0 {
		t.Errorf("%+v", e)
	}
	kill(t, list[0].PID, syscall.SIGKILL)
	details(t, l.until(2, control.EventCrash), "signal=killed")
	l.until(2, control.EventRestart)
	if got, want := l.kinds(), []string{"daemon daemon", "api start", "api:1 crash", "api:1 restart", "api:0 crash", "api:0 restart"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestWhatCannotStartIsGivenUpAndThatIsTold(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	l := d.listen()
	bad := app("bad", 1, "die-at-start")
	bad.MaxRestarts = 1
	if _, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{bad}}, nil); err == nil {
		t.Fatal("it has started")
	}
	e := l.until(2, control.EventCrash)
	details(t, e, "exit_code=3", "restarts=1")
	if !slices.Contains(e.Output, "I cannot start: the moon is wrong") {
		t.Errorf("%+v", e)
	}
	e = l.until(1, control.EventErrored)
	details(t, e, "restarts=1")
	if !strings.Contains(e.Message, "gave up after 1 restarts") {
		t.Errorf("%+v", e)
	}
	details(t, l.until(1, control.EventStart), "result=failed")
}

// Events wait for last words, and those for no descendant that has the pipes.
func TestAGrandchildHoldsNoEventsUp(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	l := d.listen()
	file := filepath.Join(t.TempDir(), "pid")
	bad := spec.Defaults()
	bad.Name, bad.Cwd, bad.MaxRestarts, bad.WaitReady = "bad", t.TempDir(), 0, true
	bad.Command = []string{"/bin/sh", "-c", "setsid sleep 300 & echo $! >" + file + "; echo my last words; exit 3"}
	t.Cleanup(func() {
		text, err := os.ReadFile(file)
		pid, err2 := strconv.Atoi(strings.TrimSpace(string(text)))
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH { // the daemon may have ended it
			t.Error(err)
		}
	})
	if _, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{bad}}, nil); err == nil {
		t.Fatal("it has started")
	}
	if e := l.until(1, control.EventCrash); !slices.Contains(e.Output, "my last words") {
		t.Errorf("%+v", e)
	}
	l.until(1, control.EventStart)
}

func TestACommandIsOneEvent(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	l := d.listen()
	trap := filepath.Join(t.TempDir(), "trap")
	a := web("api", 3)
	a.Title, a.Env["DIE_IF"] = "The API", trap
	d.start(a)
	d.command("reload", "api")
	e := l.until(1, control.EventReload)
	details(t, e, "result=ok", "reason=command", "processes=3")
	if e.Name != "api" || e.Title != "The API" || e.Slot != nil {
		t.Errorf("%+v", e)
	}
	if _, err := d.Scale(t.Context(), control.ScaleRequest{Name: "api", Instances: "2"}, nil); err != nil {
		t.Fatal(err)
	}
	details(t, l.until(1, control.EventScale), "from=3", "to=2", "reason=command", "result=ok")
	d.command("restart", "api")
	details(t, l.until(1, control.EventRestart), "reason=command", "result=ok")
	if err := os.WriteFile(trap, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Command(t.Context(), "reload", control.TargetRequest{Targets: []string{"api"}}, nil); err == nil {
		t.Fatal("the reload went well")
	}
	e = l.until(2, control.EventReload)
	details(t, e, "result=failed", "reason=command")
	if !strings.Contains(e.Message, "exit code 4") || !slices.ContainsFunc(e.Output, func(s string) bool { return strings.HasPrefix(s, "I cannot start") }) {
		t.Errorf("%+v", e)
	}
	d.command("stop", "1")
	d.command("stop", "api")
	d.command("delete", "api")
	l.until(1, control.EventDelete)
	want := []string{"daemon daemon", "The API start", "The API reload", "The API scale", "The API restart", "The API reload", "The API:1 stop", "The API stop", "The API delete"}
	if got := l.kinds(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestAHungProcessAndOneThatIsSickAreTold(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	l := d.listen()
	sick := filepath.Join(t.TempDir(), "sick")
	a := web("api", 1)
	a.Env["SICK_IF"] = sick
	probe := spec.Probe{HTTP: "/livez", Interval: spec.Duration(20 * time.Millisecond), Timeout: spec.Duration(5 * time.Second), Failures: 2}
	a.Readiness = &probe
	d.start(a)
	if err := os.WriteFile(sick, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	details(t, l.until(1, control.EventUnready), "failures=2")
	if err := os.Remove(sick); err != nil {
		t.Fatal(err)
	}
	l.until(1, control.EventReady)
	a.Readiness, a.Liveness = nil, &probe
	d.start(a)
	details(t, l.until(1, control.EventReload), "reason=settings", "result=ok")
	if err := os.WriteFile(sick, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e := l.until(1, control.EventHung)
	details(t, e, "restarts=1")
	if !strings.Contains(e.Message, "liveness") {
		t.Errorf("%+v", e)
	}
	if err := os.Remove(sick); err != nil {
		t.Fatal(err)
	}
	details(t, l.until(1, control.EventRestart), "reason=hung")
}

func TestNoEventIsLostOrDoubledOverUpgradesAndKills(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	l := d.listen()
	p := d.start(web("api", 1)).Processes[0]
	crash := func() {
		t.Helper()
		kill(t, p.PID, syscall.SIGKILL)
		p = d.until("back", func(l []control.Process) bool { return l[0].PID != p.PID && l[0].State == control.Online })[0]
	}
	crash()
	d.upgrade(program(t, "next"))
	details(t, l.until(1, control.EventUpgrade), "from=test", "to=test", "result=ok")
	crash()
	d.killMaster()
	details(t, l.until(2, control.EventDaemon), "state=replaced")
	crash()
	ping, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, ping.Master, syscall.SIGKILL)
	crash() // maybe while there is no master
	d.upgrade(program(t, "not-for-long.doomed"))
	e := l.until(2, control.EventUpgrade)
	details(t, e, "result=failed", "from=test", "to=test")
	crash()
	l.until(5, control.EventRestart)
	want := []string{"daemon daemon", "api start", "api:0 crash", "api:0 restart", "daemon upgrade", "api:0 crash", "api:0 restart", "daemon daemon", "api:0 crash", "api:0 restart"}
	if got := l.kinds(); !slices.Equal(got[:len(want)], want) || len(got) != len(want)+6 {
		t.Errorf("%v", got)
	}
	for _, kind := range []control.Kind{control.EventCrash, control.EventRestart} {
		pids := map[int]bool{}
		for _, e := range l.list {
			if e.Kind == kind && pids[e.PID] {
				t.Errorf("%s of pid %d is told twice", kind, e.PID)
			}
			pids[e.PID] = pids[e.PID] || e.Kind == kind
		}
	}
	d.end()
	if err := <-l.ended; err != nil {
		t.Errorf("the stream ends with %v", err)
	}
	l.ended <- nil
	if got := l.kinds(); !slices.Equal(got[len(got)-2:], []string{"daemon daemon", "daemon daemon"}) {
		t.Errorf("at the end: %v", got)
	}
}

func TestAKilledKeeperIsToldToo(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	l := d.listen()
	d.start(web("api", 1))
	ping, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, d.keeper, syscall.SIGKILL)
	details(t, l.until(2, control.EventDaemon), "state=keeper-replaced")
	d.nextMaster(ping)
	d.command("reload", "api")
	l.until(1, control.EventReload)
}

func TestEventsOfThePastAndFilters(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(app("api", 1), app("web", 1))
	d.command("reload", "web")
	d.command("stop", "api")
	for _, c := range []struct {
		want string
		r    control.EventsRequest
	}{
		{"web reload, api stop", control.EventsRequest{Last: 2}},
		{"", control.EventsRequest{}},
		{"api stop", control.EventsRequest{Last: 1, Apps: []string{"api"}}},
		{"api start, api stop", control.EventsRequest{Last: -1, Apps: []string{"api"}}},
		{"web reload", control.EventsRequest{Last: -1, Events: []string{"re*"}}},
		{"daemon daemon, web reload", control.EventsRequest{Last: -1, Events: []string{"daemon", "reload"}}},
		{"web reload, api stop", control.EventsRequest{Since: time.Now().Add(-time.Hour), Events: []string{"stop", "reload"}}},
		{"", control.EventsRequest{Since: time.Now().Add(time.Hour)}},
	} {
		var got []string
		if err := d.Events(t.Context(), c.r, func(e control.Event) error {
			got = append(got, e.Subject()+" "+string(e.Kind))
			return nil
		}, nil); err != nil {
			t.Errorf("%+v: %v", c.r, err)
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%+v: %s", c.r, text)
		}
	}
	for want, r := range map[string]control.EventsRequest{
		`there is no event "crsh"`:         {Events: []string{"crsh"}},
		`there is no app or process "wob"`: {Apps: []string{"wob"}},
	} {
		err := d.Events(t.Context(), r, nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	enough := errors.New("enough")
	if err := d.Events(t.Context(), control.EventsRequest{Last: 1, Follow: true}, func(control.Event) error { return enough }, nil); err != enough {
		t.Errorf("got %v", err)
	}
}
