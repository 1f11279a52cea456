package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"slices"
	"strconv"
	"sync"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

// scene is a world with a master whose state is compared with what its commands
// have asked for.
type scene struct {
	*world
	model    map[string]*wish
	commands map[*order]bool // under way
	text     bytes.Buffer    // what happens, and the master's log
	mu       sync.Mutex      // of text and problem
	problem  string          // the first
	over     chan struct{}   // closed when the loop has ended
}

// wish is what the commands on an app have come to.
type wish struct {
	known bool   // no: they overlapped, or failed half-way
	runs  []bool // by slot; nil: there is no such app
	empty []bool // by slot: it is vacant
}

func (w *wish) inUse() (n int) {
	for _, empty := range w.empty {
		if !empty {
			n++
		}
	}
	return n
}

func (w *wish) running() bool { return slices.Contains(w.runs, true) }

// resize leaves so many slots in use, those that are new running or not.
func (w *wish) resize(n int, running bool) {
	size := 0
	for ; n > 0; size++ {
		if size == len(w.runs) {
			w.runs, w.empty = append(w.runs, running), append(w.empty, false)
		}
		if !w.empty[size] {
			n--
		}
	}
	w.runs, w.empty = w.runs[:size], w.empty[:size]
}

// delete leaves a slot vacant.
func (w *wish) delete(index int) {
	if w.inUse() == 1 {
		w.runs, w.empty = nil, nil
		return
	}
	w.runs[index], w.empty[index] = false, true
	for w.empty[len(w.empty)-1] {
		w.runs, w.empty = w.runs[:len(w.runs)-1], w.empty[:len(w.empty)-1]
	}
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
	s.command("restart all", "restart", "all", 0)
	s.await(time.Minute)
	s.settled()
	time.Sleep(time.Minute)
	s.settled()
	s.m.do(func() { s.fail(s.atRest(true)) })
	if s.failed() {
		return
	}
	s.printf("delete all")
	s.command("delete all", "delete", "all", 0)
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
func (s *scene) start(what string, app spec.App, o startOptions) {
	c := &order{what: what, apps: []string{app.Name}, effect: func(w *wish) {
		if w.known = w == s.model[app.Name]; w.known {
			// What the app is before the command is not known if a shutdown_delay is not over.
			starts := o.starts(&app, w.runs != nil)
			w.known = starts || app.ShutdownDelay == 0
			runs := starts || w.running()
			w.resize(app.Instances, runs)
			for i := range w.runs {
				w.runs[i] = runs && !w.empty[i]
			}
		}
	}}
	s.m.do(func() {
		for _, name := range app.Dependencies() {
			if s.m.apps[name] != nil { // it may be started, too
				c.apps = append(c.apps, name)
			}
		}
	})
	s.begin(c, func() error {
		_, err := s.m.start(quiet{}, []spec.App{app}, o)
		return err
	})
}

// command begins one that takes targets.
func (s *scene) command(what, kind, target string, parallel int) {
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
				if (index < 0 || i == index) && !w.empty[i] {
					w.runs[i] = to
				}
			}
		}
	}
	var f func(reporter, []string) error
	switch kind {
	case "stop":
		c.effect = set(false)
		f = func(r reporter, targets []string) error { return s.m.stop(r, targets, false) }
	case "restart":
		c.effect = set(true)
		f = func(r reporter, targets []string) error { return s.m.restart(r, targets, parallel) }
	case "delete":
		f, c.effect = s.m.delete, func(w *wish) {
			switch {
			case index < 0:
				w.runs, w.empty = nil, nil
			case index < len(w.runs): // else it was about to go
				w.delete(index)
			}
		}
	case "reload":
		c.effect = func(*wish) {}
		f = func(r reporter, targets []string) error {
			_, err := s.m.reload(r, targets, parallel)
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
			size += w.inUse()
		}
		running := w.running()
		for i := range w.runs {
			if w.empty[i] && w.inUse() < size {
				w.empty[i], w.runs[i] = false, running
			}
		}
		w.resize(size, running)
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
			s.end(b, ending{code: -1, text: "killed by SIGKILL"})
		case "ready":
			s.say(b, "READY=1")
		case "hung":
			s.say(b, "WATCHDOG=trigger")
		case "terminate":
			_ = s.signal(b.process, unix.SIGTERM)
		case "drain":
			s.drain(b)
		}
	})
}
