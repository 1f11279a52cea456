package supervisor

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

// A master lives in a world without processes and without time: commands overlap,
// processes refuse to start, to be ready, to end, end by themselves, hang. After
// every event each process has its place and each slot something to wait for
// (invariants_test.go); in the end there is what the commands have asked for, and
// after that nothing.
//
// A failure says how to repeat it; -rapid.checks=20000 looks longer.
func TestNoSequenceOfEventsLeavesASlotStuck(t *testing.T) {
	if !flagSet("rapid.checks") {
		flag.Set("rapid.checks", "300")
	}
	defer log.SetOutput(log.Writer())
	defer log.SetFlags(log.Flags())
	log.SetFlags(0)
	dir := home.Dir(t.TempDir())
	var story string
	defer func() {
		if t.Failed() {
			t.Log(story) // of the shortest sequence that failed
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		apps := []spec.App{drawWeb(rt), drawJob(rt)}
		tempers := rapid.SliceOfN(rapid.Custom(drawTemper), 0, 24).Draw(rt, "tempers")
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step { return drawStep(rt, apps) }), 1, 24).Draw(rt, "steps")
		abrupt := rapid.IntRange(0, 3).Draw(rt, "abrupt") == 0
		var problem, told string
		before := openSockets()
		// What fails in there is told out here, for only so can rapid look for a
		// shorter sequence.
		synctest.Test(t, func(*testing.T) {
			s := newScene(dir, tempers)
			problem = s.play(steps, abrupt)
			told = s.text.String()
		})
		if problem == "" {
			for inode := range openSockets() {
				if !before[inode] {
					problem = "a socket is still open"
				}
			}
		}
		if problem != "" {
			story = told // and no part of the error, for times differ from run to run
			rt.Fatal(problem)
		}
	})
}

func flagSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// openSockets are the inodes of all sockets that this process has.
func openSockets() map[string]bool {
	open := map[string]bool{}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if link, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(link, "socket:") {
			open[link] = true
		}
	}
	return open
}

// Times are a few, so that things coincide, around the limits of the apps.
var times = []time.Duration{0, time.Millisecond, 30 * time.Millisecond, 400 * time.Millisecond, 999 * time.Millisecond,
	time.Second, 1700 * time.Millisecond, 2500 * time.Millisecond, 4 * time.Second, 20 * time.Second}

func drawTemper(rt *rapid.T) temper {
	t := good
	draw := func(name string, d *time.Duration, values ...time.Duration) {
		if rapid.IntRange(0, 2).Draw(rt, name+"?") == 0 {
			*d = rapid.SampledFrom(append(values, times...)).Draw(rt, name)
		}
	}
	t.forks = rapid.IntRange(0, 9).Draw(rt, "forks") > 0
	draw("ready", &t.readyIn, never, never)
	draw("obeys", &t.obeysIn, never, never)
	draw("ends", &t.endsIn)
	draw("drains", &t.drainsIn, never)
	draw("silent", &t.silentIn, never)
	t.endsReady = rapid.IntRange(0, 9).Draw(rt, "ends when ready") == 9
	return t
}

func drawApp(rt *rapid.T, name string) spec.App {
	a := spec.Defaults()
	a.Name = name
	a.Command, a.Cwd = []string{"/proc/self/exe"}, "/"
	a.Instances = rapid.IntRange(1, 3).Draw(rt, "instances")
	a.Spare = rapid.IntRange(0, 1).Draw(rt, "spare")
	a.WaitReady = rapid.Bool().Draw(rt, "wait_ready")
	a.ListenTimeout, a.DrainTimeout, a.KillTimeout = spec.Duration(2*time.Second), spec.Duration(time.Second), spec.Duration(500*time.Millisecond)
	a.MinUptime = spec.Duration(rapid.SampledFrom([]time.Duration{0, 300 * time.Millisecond, time.Second}).Draw(rt, "min_uptime"))
	a.MaxRestarts, a.RestartWindow = rapid.IntRange(0, 4).Draw(rt, "max_restarts"), spec.Duration(10*time.Second)
	a.Watchdog = spec.Duration(rapid.SampledFrom([]time.Duration{0, 900 * time.Millisecond}).Draw(rt, "watchdog"))
	return a
}

// drawWeb is an app with a listener.
func drawWeb(rt *rapid.T) spec.App {
	a := drawApp(rt, "web")
	a.Listen = []spec.Listener{{Name: "http", Network: "tcp", Address: "127.0.0.1:0"}}
	if rapid.IntRange(0, 5).Draw(rt, "shared") == 5 {
		a.Balance = spec.BalanceShared
	}
	return a
}

func drawJob(rt *rapid.T) spec.App { return drawApp(rt, "job") }

// step is one thing that happens.
type step struct {
	what string
	do   func(*scene)
}

func (s step) GoString() string { return s.what }

func drawStep(rt *rapid.T, apps []spec.App) step {
	target := func() string {
		return rapid.SampledFrom([]string{"web", "web", "job", "all", "0", "1", "2", "3"}).Draw(rt, "target")
	}
	which := func() int { return rapid.IntRange(0, 7).Draw(rt, "process") }
	switch kind := rapid.SampledFrom([]string{
		"start", "start", "stop", "restart", "reload", "reload", "scale", "scale", "delete",
		"kill", "kill", "ready", "hung", "terminate", "drain", "connect", "connect", "pass", "pass", "pass", "pass", "await",
	}).Draw(rt, "kind"); kind {
	case "start":
		app := rapid.SampledFrom(apps).Draw(rt, "app")
		if rapid.IntRange(0, 2).Draw(rt, "other") == 2 {
			app.Env = map[string]string{"VERSION": "2"}
			app.Instances = rapid.IntRange(1, 3).Draw(rt, "instances")
			app.Spare = rapid.IntRange(0, 1).Draw(rt, "spare")
		}
		reload := rapid.IntRange(0, 3).Draw(rt, "reload") == 3
		what := fmt.Sprintf("start %s ×%d spare %d %v reload=%v", app.Name, app.Instances, app.Spare, app.Env, reload)
		return step{what, func(s *scene) { s.start(what, app, reload) }}
	case "stop", "restart", "reload", "delete":
		to := target()
		what := kind + " " + to
		return step{what, func(s *scene) { s.command(what, kind, to) }}
	case "scale":
		name := rapid.SampledFrom(apps).Draw(rt, "app").Name
		n := rapid.SampledFrom([]string{"1", "2", "3", "+1", "-1"}).Draw(rt, "n")
		what := "scale " + name + " " + n
		return step{what, func(s *scene) { s.scale(what, name, n) }}
	case "pass":
		d := rapid.SampledFrom(times[1:]).Draw(rt, "time")
		return step{fmt.Sprintf("pass %v", d), func(*scene) { time.Sleep(d) }}
	case "await":
		return step{kind, func(s *scene) { s.await(time.Minute) }}
	case "connect":
		i := which()
		return step{fmt.Sprintf("connect %d", i), func(s *scene) { s.m.do(func() { s.fail(s.connect(i)) }) }}
	default:
		i := which()
		return step{fmt.Sprintf("%s process %d", kind, i), func(s *scene) { s.blow(kind, i) }}
	}
}

// scene is a world with a master whose state is compared with what its commands
// have asked for.
type scene struct {
	*world
	model    map[string]*wish
	commands map[*order]bool // under way
	text     bytes.Buffer    // what happens, and the master's log
	mu       sync.Mutex      // of text
	problem  string          // the first
	over     chan struct{}   // closed when the loop has ended
}

// wish is what the commands on an app have come to.
type wish struct {
	known bool   // no: they overlapped, or failed half-way
	runs  []bool // by slot; nil: there is no such app
}

// order is a command that is under way.
type order struct {
	what   string
	apps   []string // that it works on
	alone  bool     // on all of these, from its begin to its end
	effect func(*wish)
}

func newScene(dir home.Dir, tempers []temper) *scene {
	s := &scene{
		world: newWorld(tempers), commands: map[*order]bool{}, over: make(chan struct{}),
		model: map[string]*wish{"web": {known: true}, "job": {known: true}},
	}
	s.m.home = dir
	s.printf("tempers:")
	for _, t := range tempers {
		s.printf("    %v", t)
	}
	log.SetOutput(s)
	s.m.watchers[&watcher{look: func() { s.serveAll(); s.fail(s.invariants()) }}] = true // after every event
	go func() {
		s.m.loop(nil)
		close(s.over)
	}()
	return s
}

// Write takes down what the master logs.
func (s *scene) Write(line []byte) (int, error) {
	s.printf("    %s", bytes.TrimSpace(line))
	if bytes.Contains(line, []byte("BUG:")) {
		s.fail(string(line))
	}
	return len(line), nil
}

func (s *scene) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.text, "%s %s\n", time.Now().Format("04:05.000"), fmt.Sprintf(format, args...))
}

func (s *scene) fail(problem string) {
	if problem == "" {
		return
	}
	s.printf("PROBLEM: %s", problem)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem == "" {
		s.problem = problem
	}
}

func (s *scene) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem != ""
}

// play does all steps, and then brings everything to its end, abruptly or when
// all have come to rest. It returns the first problem.
func (s *scene) play(steps []step, abrupt bool) string {
	for _, step := range steps {
		s.printf("%s", step.what)
		step.do(s)
		s.settled()
		if s.failed() {
			break
		}
	}
	if !abrupt && !s.failed() {
		s.comeToRest()
	}
	s.printf("shut down")
	go s.m.shutdown("the play is over")
	select {
	case <-s.over:
	case <-time.After(time.Hour):
		s.fail("the daemon does not end")
		s.m.do(func() { clear(s.m.processes); clear(s.m.apps) }) // now it does
		<-s.over
	}
	closeAll(s.clients)
	time.Sleep(5 * time.Minute) // for whoever waits for something yet
	synctest.Wait()
	switch {
	case len(s.bodies) > 0:
		s.fail(fmt.Sprintf("%d processes live on", len(s.bodies)))
	case len(s.commands) > 0:
		s.fail(fmt.Sprintf("%v hang", s.underWay()))
	case !s.stopped:
		s.fail("the keeper does not know that the daemon has ended")
	}
	for name := range s.names {
		s.fail("the keeper still has " + name)
	}
	return s.problem
}

// settled waits until nothing happens any more unless time passes.
func (s *scene) settled() {
	synctest.Wait()
	s.m.do(func() {
		s.fail(s.reach())
		s.fail(s.compare())
	})
	synctest.Wait()
}

// comeToRest lets everything behave, and time pass.
func (s *scene) comeToRest() {
	s.printf("everything behaves from now on")
	s.m.do(func() { s.become(good) })
	time.Sleep(10 * time.Minute)
	s.settled()
	if len(s.commands) > 0 {
		s.fail(fmt.Sprintf("%v hang", s.underWay()))
		return
	}
	s.m.do(func() { s.fail(s.atRest(false)) })
	s.printf("restart all")
	s.command("restart all", "restart", "all")
	s.await(time.Minute)
	s.settled()
	time.Sleep(time.Minute)
	s.settled()
	s.m.do(func() { s.fail(s.atRest(true)) })
	if s.failed() {
		return
	}
	s.printf("delete all")
	s.command("delete all", "delete", "all")
	s.await(time.Minute)
	s.settled()
	s.m.do(func() {
		switch {
		case len(s.m.apps) > 0 || len(s.m.order) > 0:
			s.fail("apps are left")
		case len(s.bodies) > 0 || len(s.m.processes) > 0:
			s.fail("processes are left")
		case len(s.m.watchers) > 1:
			s.fail("watchers are left")
		case len(s.names) > 0 || len(s.records) > 0:
			s.fail(fmt.Sprintf("the keeper still has %v and %v", s.names, s.records))
		}
	})
}

// begin starts a command in a goroutine of its own.
func (s *scene) begin(c *order, f func() error) {
	c.alone = true
	s.m.do(func() {
		for other := range s.commands {
			if slices.ContainsFunc(other.apps, func(name string) bool { return slices.Contains(c.apps, name) }) {
				c.alone, other.alone = false, false
			}
		}
		s.commands[c] = true
		for _, name := range c.apps {
			s.model[name].known = s.model[name].known && c.alone
		}
	})
	go func() {
		err := f()
		s.printf("    %s: %v", c.what, err)
		ran := false
		s.m.do(func() {
			ran = true
			delete(s.commands, c)
			for _, name := range c.apps {
				if w := s.model[name]; !c.alone || err != nil {
					w.known = false
				} else {
					c.effect(w)
				}
			}
		})
		if !ran { // the loop has ended, and others end at the same time
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.commands, c)
		}
	}()
}

// start is the command of that name.
func (s *scene) start(what string, app spec.App, reload bool) {
	c := &order{what: what, apps: []string{app.Name}, effect: func(w *wish) { w.runs = slices.Repeat([]bool{true}, app.Instances) }}
	s.begin(c, func() error {
		_, err := s.m.start(quiet{}, []spec.App{app}, reload)
		return err
	})
}

// command begins one that takes targets.
func (s *scene) command(what, kind, target string) {
	c := &order{what: what}
	index := -1 // of the slot that is meant; all
	s.m.do(func() {
		if target == "all" {
			c.apps = slices.Clone(s.m.order)
			return
		}
		if s.m.apps[target] != nil {
			c.apps = []string{target}
			return
		}
		for _, slot := range s.m.slots() {
			if strconv.Itoa(slot.id) == target {
				c.apps, index = []string{slot.app.name}, slot.index
			}
		}
	})
	set := func(to bool) func(*wish) {
		return func(w *wish) {
			for i := range w.runs {
				if index < 0 || i == index {
					w.runs[i] = to
				}
			}
		}
	}
	var f func(reporter, []string) error
	switch kind {
	case "stop":
		f, c.effect = s.m.stop, set(false)
	case "restart":
		f, c.effect = s.m.restart, set(true)
	case "delete":
		f, c.effect = s.m.delete, func(w *wish) { w.runs = nil }
	case "reload":
		c.effect = func(*wish) {}
		f = func(r reporter, targets []string) error {
			_, err := s.m.reload(r, targets)
			return err
		}
	}
	s.begin(c, func() error {
		err := f(quiet{}, []string{target})
		if len(c.apps) == 0 && target != "all" && err == nil {
			err = errors.New("worked, and there is no such app")
			s.fail(c.what + " " + err.Error())
		}
		return err
	})
}

func (s *scene) scale(what, name, n string) {
	c := &order{what: what, effect: func(w *wish) {
		size, _ := strconv.Atoi(n)
		if n[0] == '+' || n[0] == '-' {
			size += len(w.runs)
		}
		running := slices.Contains(w.runs, true)
		for len(w.runs) < size {
			w.runs = append(w.runs, running)
		}
		w.runs = w.runs[:size]
	}}
	s.m.do(func() {
		if s.m.apps[name] != nil {
			c.apps = []string{name}
		}
	})
	s.begin(c, func() error { return s.m.scale(quiet{}, name, n) })
}

// await waits until the commands that are under way have ended, or for a limit.
func (s *scene) await(limit time.Duration) {
	for range limit / time.Second {
		synctest.Wait()
		if len(s.underWay()) == 0 {
			return
		}
		time.Sleep(time.Second)
	}
}

func (s *scene) underWay() (list []string) {
	s.m.do(func() {
		for c := range s.commands {
			list = append(list, c.what)
		}
	})
	return list
}

// blow does something to one of the living processes.
func (s *scene) blow(kind string, which int) {
	s.m.do(func() {
		all := s.living()
		if len(all) == 0 {
			return
		}
		b := all[which%len(all)]
		s.printf("    pid %d of %s", b.PID, b.slot)
		switch kind {
		case "kill":
			s.end(b, "killed by SIGKILL")
		case "ready":
			s.say(b, "READY=1")
		case "hung":
			s.say(b, "WATCHDOG=trigger")
		case "terminate":
			_ = s.signal(b.process, 15)
		case "drain":
			s.drain(b)
		}
	})
}
