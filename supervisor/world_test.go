package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/spec"
)

// never is a time that does not come.
const never time.Duration = -1

// temper is how a process behaves. The zero temper cannot be run; good is one
// that gives no trouble.
type temper struct {
	forks     bool
	readyIn   time.Duration // says READY=1 so long after its start
	obeysIn   time.Duration // ends so long after its SIGTERM
	endsIn    time.Duration // ends by itself so long after its start
	drainsIn  time.Duration // says STOPPING=1 by itself so long after its start, and obeys that
	silentIn  time.Duration // gives signs of life until so long after its start; never: for ever
	answersIn time.Duration // takes so long to answer a probe
	servesFor time.Duration // has connections so long after its SIGTERM
	endsReady bool          // ends in the instant in which it becomes ready
}

var good = temper{forks: true, readyIn: 10 * time.Millisecond, obeysIn: 10 * time.Millisecond, endsIn: never, drainsIn: never, silentIn: never}

func (t temper) GoString() string { return t.String() }

func (t temper) String() string {
	if !t.forks {
		return "cannot be forked"
	}
	traits := []string{}
	add := func(what string, d time.Duration) {
		switch {
		case d != never:
			traits = append(traits, fmt.Sprintf("%s in %v", what, d))
		case what == "ready" || what == "obeys" || what == "answers":
			traits = append(traits, "never "+what)
		}
	}
	add("ready", t.readyIn)
	add("obeys", t.obeysIn)
	add("ends", t.endsIn)
	add("drains", t.drainsIn)
	add("silent", t.silentIn)
	add("answers", t.answersIn)
	add("serves on", t.servesFor)
	if t.endsReady {
		traits = append(traits, "ends when ready")
	}
	return strings.Join(traits, ", ")
}

// body is what the world knows of a process.
type body struct {
	*process
	temper  temper
	sockets []uint64  // the inodes of those that it has inherited
	told    time.Time // to end, or began to by itself
	left    time.Time // its place, as the scene has seen it
}

// world is the operating system and the keeper of one master. Only the loop
// touches it: what happens in it is posted.
type world struct {
	m       *master
	tempers []temper // of the next processes; those that come after them are good
	behave  bool     // no task fails any more
	bodies  map[int]*body
	lastPID int
	clients []int // connections, those that wait among them

	names    map[string]bool // of the descriptors that the keeper has
	records  map[string]string
	revision int64
	stopped  bool // the keeper was told that the daemon has ended
}

// No real process has such a pid: whatever is looked up in /proc is not there.
const beyondPIDs = 1 << 22

func newWorld(tempers []temper) *world {
	w := &world{
		tempers: tempers, bodies: map[int]*body{}, lastPID: beyondPIDs,
		names: map[string]bool{}, records: map[string]string{},
	}
	w.m = newMaster(w)
	w.m.system = w
	return w
}

// fork implements [system].
func (w *world) fork(p *process) error {
	t := good
	if len(w.tempers) > 0 {
		t, w.tempers = w.tempers[0], w.tempers[1:]
	}
	if !t.forks {
		return errors.New("cannot be forked")
	}
	if p.spec.Type == spec.Task && t == good {
		t.endsIn = 700 * time.Millisecond
	}
	w.lastPID++
	p.PID, p.Start = w.lastPID, uint64(w.lastPID)
	b := &body{process: p, temper: t}
	for _, g := range p.slot.app.groups {
		b.sockets = append(b.sockets, inodes(g.FD(p.slot.index))...)
	}
	w.bodies[p.PID] = b
	w.in(t.readyIn, b, func() { w.say(b, "READY=1") })
	w.in(t.endsIn, b, func() { w.endByItself(b) })
	w.in(t.drainsIn, b, func() { w.drain(b) })
	w.in(0, b, func() { w.giveSigns(b) })
	return nil
}

// in lets something happen to a process that still lives by then.
func (w *world) in(d time.Duration, b *body, f func()) {
	if d == never {
		return
	}
	time.AfterFunc(d, func() {
		w.m.post(func() {
			if w.bodies[b.PID] == b {
				f()
			}
		})
	})
}

func (w *world) say(b *body, text string) {
	w.m.heard(b.PID, b.PID, text)
	if text == "READY=1" && b.temper.endsReady {
		w.end(b, ending{code: 1, text: "exit code 1"})
	}
}

func (w *world) giveSigns(b *body) {
	silent := b.temper.silentIn != never && time.Since(b.startedAt) >= b.temper.silentIn
	if b.spec.Watchdog > 0 && !silent {
		w.say(b, "WATCHDOG=1")
		w.in(b.spec.Watchdog.D()*2/3, b, func() { w.giveSigns(b) })
	}
}

// drain is a process that begins to end unasked.
func (w *world) drain(b *body) {
	if b.told.IsZero() {
		b.told = time.Now()
		w.say(b, "STOPPING=1")
		w.in(b.temper.obeysIn, b, func() { w.end(b, ending{code: 0, text: "exit code 0"}) })
	}
}

// endByItself is what a task does when its work is done, and other programs when
// they fail.
func (w *world) endByItself(b *body) {
	if b.spec.Type == spec.Task && w.behave {
		w.end(b, ending{code: 0, text: "exit code 0"})
	} else {
		w.end(b, ending{code: 1, text: "exit code 1"})
	}
}

// end is what the real master hears of its child.
func (w *world) end(b *body, exit ending) {
	if w.bodies[b.PID] == b {
		delete(w.bodies, b.PID)
		w.m.exited(b.process, exit)
	}
}

// signal implements [system].
func (w *world) signal(p *process, s syscall.Signal) error {
	b := w.bodies[p.PID]
	switch {
	case b == nil:
	case s == unix.SIGKILL:
		w.in(0, b, func() { w.end(b, ending{code: -1, text: "killed by SIGKILL"}) })
	case b.told.IsZero():
		b.told = time.Now()
		w.in(b.temper.obeysIn, b, func() { w.end(b, ending{code: 0, text: "exit code 0"}) })
	}
	return nil
}

// ask implements [system]: who is silent fails for two seconds, and passes again.
func (w *world) ask(ctx context.Context, p *process, _ *spec.Probe) (err error) {
	takes := never
	w.m.do(func() {
		if b := w.bodies[p.PID]; b != nil {
			takes = b.temper.answersIn
		}
	})
	// A timer that is due at once would be run by whoever selects, and two that do so
	// in one bubble of synctest crash the race detector of Go 1.26.
	if takes != 0 {
		answer := make(<-chan time.Time)
		if takes != never {
			answer = time.After(takes)
		}
		select {
		case <-answer:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w.m.do(func() {
		b := w.bodies[p.PID]
		switch {
		case b == nil:
			err = errors.New("it is not there")
		case b.temper.readyIn == never || time.Since(b.startedAt) < b.temper.readyIn:
			err = errors.New("it is not ready yet")
		case b.temper.silentIn != never && time.Since(b.startedAt) >= b.temper.silentIn && time.Since(b.startedAt) < b.temper.silentIn+2*time.Second:
			err = errors.New("it is silent")
		}
	})
	return err
}

// connections implements [system].
func (w *world) connections(p *process) (left func() bool) {
	return func() (left bool) {
		w.m.do(func() {
			b := w.bodies[p.PID]
			left = b != nil && (b.temper.servesFor == never || time.Since(b.told) < b.temper.servesFor)
		})
		return left
	}
}

// endGroup implements [system]. Here nobody starts anything.
func (w *world) endGroup(*process) {}

// become makes everything behave from now on.
func (w *world) become(t temper) {
	w.tempers, w.behave = nil, true
	for _, b := range w.living() {
		if b.spec.Type == spec.Task {
			w.in(time.Second, b, func() { w.endByItself(b) })
		}
		if b.temper.obeysIn == never {
			b.temper.obeysIn = t.obeysIn
			if !b.told.IsZero() {
				w.in(t.obeysIn, b, func() { w.end(b, ending{code: 0, text: "exit code 0"}) })
			}
		}
		b.temper.endsReady, b.temper.answersIn = false, t.answersIn
	}
}

// living are all processes, the oldest first.
func (w *world) living() (list []*body) {
	for _, pid := range slices.Sorted(maps.Keys(w.bodies)) {
		list = append(list, w.bodies[pid])
	}
	return list
}

// The world is the keeper, too: it implements [holder].

func (w *world) Put(name string, fds ...int) error {
	w.names[name] = true
	return nil
}

func (w *world) Set(name, record string) error {
	w.records[name] = record
	w.revision++
	return nil
}

func (w *world) Delete(name string) error {
	delete(w.names, name)
	delete(w.records, name)
	w.revision++
	return nil
}

func (w *world) Stop(int) error {
	w.stopped = true
	return nil
}

func (w *world) Records() map[string]string { return maps.Clone(w.records) }
func (w *world) Revision() int64            { return w.revision }
func (w *world) Ack(keeper.Child) error     { return nil }
func (w *world) Notify(string) error        { return nil }
func (w *world) Alive() error               { return nil }
func (w *world) Ready() error               { return nil }
func (w *world) Fail(string) error          { return nil }
