package supervisor

import (
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
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
		abrupt := rapid.IntRange(0, 3).Draw(rt, "abrupt") == 3
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
		if rapid.IntRange(0, 2).Draw(rt, name+"?") == 2 {
			*d = rapid.SampledFrom(append(values, times...)).Draw(rt, name)
		}
	}
	t.forks = rapid.IntRange(0, 9).Draw(rt, "cannot be forked") < 9
	draw("ready", &t.readyIn, never, never)
	draw("obeys", &t.obeysIn, never, never)
	draw("ends", &t.endsIn)
	draw("drains", &t.drainsIn, never)
	draw("silent", &t.silentIn, never)
	draw("answers", &t.answersIn, never)
	draw("serves on", &t.servesFor, never)
	t.endsReady = rapid.IntRange(0, 9).Draw(rt, "ends when ready") == 9
	return t
}

// plainApp is one that the world can run, and whose times are short.
func plainApp(name string) spec.App {
	a := spec.Defaults()
	a.Name = name
	a.Command, a.Cwd = []string{"/proc/self/exe"}, "/"
	a.ListenTimeout, a.DrainTimeout, a.KillTimeout = spec.Duration(2*time.Second), spec.Duration(time.Second), spec.Duration(500*time.Millisecond)
	a.WaitReady, a.MinUptime, a.RestartWindow = true, 0, spec.Duration(10*time.Second)
	return a
}

func drawApp(rt *rapid.T, name string) spec.App {
	a := plainApp(name)
	a.Instances = rapid.IntRange(1, 3).Draw(rt, "instances")
	a.Spare = rapid.IntRange(0, 1).Draw(rt, "spare")
	a.WaitReady = rapid.Bool().Draw(rt, "wait_ready")
	a.MinUptime = spec.Duration(rapid.SampledFrom([]time.Duration{0, 300 * time.Millisecond, time.Second}).Draw(rt, "min_uptime"))
	a.MaxRestarts = rapid.IntRange(0, 4).Draw(rt, "max_restarts")
	a.ShutdownDelay = spec.Duration(rapid.SampledFrom([]time.Duration{0, 0, 0, 700 * time.Millisecond}).Draw(rt, "shutdown_delay"))
	a.RestartDelay = spec.Duration(rapid.SampledFrom([]time.Duration{0, 0, 0, 500 * time.Millisecond}).Draw(rt, "restart_delay"))
	a.Backoff.Initial = spec.Duration(rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond}).Draw(rt, "initial"))
	a.DrainConnections = rapid.Bool().Draw(rt, "drain_connections")
	a.Parallel = rapid.IntRange(1, 3).Draw(rt, "parallel")
	a.Autostart = rapid.IntRange(0, 4).Draw(rt, "autostart") < 4
	a.Autorestart = rapid.IntRange(0, 4).Draw(rt, "autorestart") < 4
	a.StopExitCodes = rapid.SampledFrom([][]int{nil, nil, nil, {0}, {1}}).Draw(rt, "stop_exit_codes")
	a.Watchdog = spec.Duration(rapid.SampledFrom([]time.Duration{0, 900 * time.Millisecond}).Draw(rt, "watchdog"))
	return a
}

// drawWeb is an app with a listener.
func drawWeb(rt *rapid.T) spec.App {
	a := drawApp(rt, "web")
	a.Listen = []spec.Listener{{Name: "http", Network: "tcp", Address: "127.0.0.1:0"}}
	probe := spec.Probe{HTTP: "/", Interval: spec.Duration(400 * time.Millisecond), Timeout: spec.Duration(time.Second), Failures: 2}
	for _, to := range []**spec.Probe{&a.Startup, &a.Readiness, &a.Liveness} {
		if rapid.IntRange(0, 3).Draw(rt, "probe") == 3 {
			*to = &probe
		}
	}
	if rapid.IntRange(0, 5).Draw(rt, "shared") == 5 {
		a.Balance = spec.BalanceShared
	}
	return a
}

// drawJob is an app without, which may be a task, and may depend on web.
func drawJob(rt *rapid.T) spec.App {
	a := drawApp(rt, "job")
	if rapid.IntRange(0, 3).Draw(rt, "task") == 3 {
		a.Type, a.Instances, a.Spare, a.WaitReady, a.Watchdog = spec.Task, 1, 0, false, 0
	}
	switch rapid.IntRange(0, 4).Draw(rt, "depends_on") {
	case 3:
		a.DependsOn = []spec.Dependency{{App: "web", Condition: spec.Started}}
	case 4:
		a.DependsOn = []spec.Dependency{{App: "web", Condition: spec.Ready}}
	}
	return a
}

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
			if app.Type != spec.Task {
				app.Instances = rapid.IntRange(1, 3).Draw(rt, "instances")
				app.Spare = rapid.IntRange(0, 1).Draw(rt, "spare")
			}
		}
		o := rapid.SampledFrom([]startOptions{{}, {}, {named: true}, {reload: true}, {restart: true}, {restart: true, parallel: 1}}).Draw(rt, "options")
		what := fmt.Sprintf("start %s ×%d spare %d %v %+v", app.Name, app.Instances, app.Spare, app.Env, o)
		return step{what, func(s *scene) { s.start(what, app, o) }}
	case "stop", "restart", "reload", "delete":
		to := target()
		parallel := rapid.IntRange(0, 3).Draw(rt, "parallel")
		what := fmt.Sprintf("%s %s parallel %d", kind, to, parallel)
		return step{what, func(s *scene) { s.command(what, kind, to, parallel) }}
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
