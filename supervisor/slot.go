package supervisor

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// want is what a slot shall come to.
type want string

const (
	run  want = "run"
	stop want = "stop"
	// retire is stop by way of the steering: no new connection is sent here any
	// more, and what has queued is served first; or after shutdown_delay, in which
	// all goes on as ever.
	retire want = "retire"
)

// slot is one place of an app: a socket of its own and at most one process that
// serves, one that starts, one that waits to take over (spare.go), and any that
// finish what they serve. While it has none that serves, one of a sibling's make
// may stand in (standin.go). Only the loop touches it.
//
// Commands set what a slot wants; settle, after every event, does the next step
// towards it. So no order of events leaves it stuck.
type slot struct {
	app   *app
	index int
	id    int
	spec  *spec.App // what its processes are started with
	want  want
	// vacant says that its process was deleted, and the slot is kept for its number.
	vacant bool
	cycle  bool // restart: start again when all processes are gone

	serving  *process
	starting *process
	standIn  *process
	spare    *process
	leaving  []*process

	state         control.State
	errored       bool
	awaits        bool           // what its app depends on, before it starts
	finished      bool           // its process has ended by itself, and is to have no successor
	waiting       *time.Timer    // until the next attempt
	retiring      *time.Timer    // until the queue must be empty, or shutdown_delay is over
	stopsAt       time.Time      // when that is; zero: there is no such delay
	sparing       *time.Timer    // until the next attempt at a spare
	covering      *time.Timer    // until the next attempt at a stand-in
	relays        map[int]*relay // by groups: its sockets of which the siblings are given what queues
	probation     *time.Timer    // until new connections are sent to one that crashed at once
	steered       bool           // new connections are sent here
	awayAt        time.Time      // since when they are not; zero: they never were
	covered       bool           // has had a stand-in since
	backoff       backoff
	heavy         heavy
	spareFailures int // since the last one was ready
	restarts      int
	reason        string // why it is not online
	lastExit      string
	exitCode      int       // of the process after which there is no other
	lastStart     time.Time // of the process that has begun last, of those that have ended
	unstable      int       // ends in a row that were; unlike those of backoff they are on record
	lastCode      int       // of the last process that has ended and had no successor by then; 0: a signal has killed it
	createdAt     time.Time // or last started anew by a command
	pidFile       pidFile   // as it is on disk
	exitedAt      time.Time
	nextAt        time.Time        // of one that waits: when it is started again
	held          int              // commands that wait until its predecessors have left
	told          control.Progress // what those who look on know of it
	attempts      int              // launches that have failed since the slot was told to run
	victim        *process         // the last of them, nil if it could not even be forked
	ends          []control.End    // the last ones of its processes, the last one first; never changed in place
	lostTo        control.Cause    // what has ended the process that served, if that was no crash
	because       cause            // of a command that has stopped it before it was its turn
	owed          string           // why it is to have another process, which is told when that serves

	recorded slotRecord // as the keeper has it

	inherited []processRecord // while a new master takes over
}

func (s *slot) String() string { return fmt.Sprintf("%s:%d", s.app.name, s.index) }

// observe derives the state.
func (s *slot) observe() control.State {
	switch {
	case s.want != stop && !s.cycle:
		switch {
		case s.want == retire:
			return control.Stopping
		case s.serving != nil:
			return control.Online
		case s.starting != nil:
			return control.Launching
		case s.errored:
			return control.Errored
		case s.awaits:
			return control.Stopped
		case s.finished:
			return control.Stopped // though another slot's stand-in may still be here
		case s.waiting != nil:
			return control.WaitingRestart
		}
		return s.state
	case !s.empty():
		return control.Stopping
	}
	return control.Stopped
}

// empty says that the slot has no process.
func (s *slot) empty() bool {
	return s.serving == nil && s.starting == nil && s.standIn == nil && s.spare == nil && len(s.leaving) == 0
}

// idle says that the slot is done with.
func (s *slot) idle() bool { return (s.want == stop || s.finished) && s.empty() }

// settle does what the slot's wish and its processes call for. In a daemon that
// stops nothing else counts, whatever a command may still wish; who serves on
// before that must not be started again.
func (m *master) settle(s *slot) {
	if m.stopping && (s.serving == nil || (s.want != retire || s.stopsAt.IsZero()) && !m.heldUp(s.app)) {
		s.cancel(&s.retiring)
		s.want, s.cycle = stop, false
	}
	if s.want == stop && s.empty() {
		s.stopsAt = time.Time{}
	}
	m.release(s)
	switch {
	case s.want == stop || s.cycle:
		s.cancel(&s.waiting)
		if s.serving != nil {
			m.steer(s.app) // before it stops to accept
		}
		for _, p := range []*process{s.starting, s.serving, s.standIn, s.spare} {
			if p != nil {
				p.why = m.whyStopped(s)
				m.leave(p)
			}
		}
		if s.cycle && len(s.leaving) == 0 {
			s.cycle = false
			m.fill(s)
		}
	case s.serving == nil && s.starting != nil && s.starting.ready:
		m.takeOver(s.starting) // it need not prove itself any longer
	case s.serving == nil && s.starting != nil:
		m.takeSpare(s) // until that one is ready
	case s.serving == nil && s.waiting == nil && !s.errored && !s.finished && !s.awaits && !s.replaceable():
		m.fill(s)
	}
	m.cover(s)
	m.handOff(s)
	m.keepSpare(s)
	if state := s.observe(); state != s.state {
		if !legal(s.state, state) {
			m.log("BUG: %s went from %s to %s", s, s.state, state)
		}
		s.state = state
		if state == control.Online {
			s.reason = ""
		}
	}
	m.wakeDependents(s.app)
}

// fill launches a process into an empty slot, or takes the one that waits.
func (m *master) fill(s *slot) {
	if m.takeSpare(s) {
		return
	}
	p := m.newProcess(s, s.spec)
	s.starting = p
	if err := m.launch(p); err != nil {
		s.victim = nil
		m.countCrash(s.app)
		if s.want != stop && !m.stopping {
			s.owe(byCrash)
			m.tellOfEnd(p, control.EventCrash, nil, "%v", err)
		}
		m.crashed(s, err.Error(), 0)
	}
}

// later runs f in the loop when d is over, unless the timer at t is cancelled or
// set anew before.
func (m *master) later(t **time.Timer, d time.Duration, f func()) {
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		m.post(func() {
			if *t == timer {
				*t = nil
				f()
			}
		})
	})
	*t = timer
}

func (s *slot) cancel(t **time.Timer) {
	if *t != nil {
		(*t).Stop()
		*t = nil
	}
}

// becameReady is the moment from which a process can serve. If its predecessor
// still does, it may be on trial first (see [master.roll]).
func (m *master) becameReady(p *process) {
	s := p.slot
	if p.ready || p.leaving {
		return // it says so twice, or is on its way out
	}
	p.ready = true
	m.alive(p)
	p.cancelDeadline()
	for _, g := range s.app.groups {
		if err := g.Relisten(s.index); err != nil {
			m.log("listen again on %s: %v", g.Address, err)
		}
	}
	m.touch(s)
	switch {
	case s.standIn == p:
		m.standDown(p)
	case s.spare == p:
		s.spareFailures = 0
	case s.serving != nil && p.trial > 0:
		m.after(p, p.trial, func() { m.takeOver(p) })
	default:
		m.takeOver(p)
	}
}

// takeOver makes a process that is ready the one that serves.
func (m *master) takeOver(p *process) {
	s := p.slot
	if s.starting != p {
		return
	}
	predecessor := s.serving
	s.starting = nil
	m.serve(p)
	if predecessor != nil {
		if predecessor.uptime() >= predecessor.spec.MinUptime.D() {
			s.backoff.streak = 0
		}
		predecessor.why = p.because
		if p.because == (cause{}) { // p was to fill a gap, and no command replaces anything
			predecessor.why = cause{control.CauseExit, "a spare that served until the next process was ready"}
		}
		m.leave(predecessor)
		m.steer(s.app)
		m.tell(s, fmt.Sprintf("pid %d took over from pid %d", p.PID, predecessor.PID))
	}
}

// serve makes p the process that serves in its slot.
func (m *master) serve(p *process) {
	s := p.slot
	p.tookOver = true
	p.cancelDeadline()
	for _, pump := range p.pumps {
		if pump != nil {
			pump.Copy(nil)
		}
	}
	s.serving, s.spec = p, p.spec
	s.errored, s.finished, s.attempts = false, false, 0
	m.tellOfRestart(p)
	m.putOnProbation(p)
	m.watchHealth(p)
	m.touch(s)
	if len(s.app.groups) == 0 {
		return
	}
	for _, sibling := range s.app.slots {
		if sibling.dead() {
			m.touch(sibling) // a stand-in can be had now
		}
	}
}

// failed gives up a process that did not become ready, or not for long enough. It
// leaves in peace: it may have accepted connections already.
func (m *master) failed(p *process) {
	s := p.slot
	if p.leaving || s.serving == p {
		return
	}
	starting, spare, standIn := s.starting == p, s.spare == p, s.standIn == p
	if starting && s.serving == nil && s.want != stop && !s.cycle {
		s.owe(byCrash)
		m.tellOfEnd(p, control.EventCrash, nil, "pid %d %s", p.PID, p.failure)
	}
	if p.why == (cause{}) {
		p.why = cause{control.CauseCrash, p.failure}
	}
	m.leave(p)
	switch {
	case standIn:
		m.standInFailed(s, p.failure)
	case spare:
		m.spareFailed(p)
	case starting && s.serving == nil:
		s.victim = p
		m.crashed(s, p.failure, 0)
	}
	m.touch(s)
}

// exited is the end of a process.
func (m *master) exited(p *process, end ending) {
	if m.processes[p.PID] != p {
		return // reported twice
	}
	delete(m.processes, p.PID)
	p.cancelDeadline()
	p.watchdog.stop()
	m.stopAsking(p)
	p.closeGate()
	m.hangUp(p, nil)
	m.takeBack(p)
	if p.pidfd != nil {
		m.polls.Forget(p.watch)
		p.pidfd.Close()
	}
	s := p.slot
	s.lastExit, s.exitedAt = end.text, time.Now()
	if p.startedAt.After(s.lastStart) { // a predecessor may drain for longer
		s.lastStart = p.startedAt
	}
	if s.serving == p || s.starting == p || s.serving == nil && s.standIn != p {
		s.lastCode = max(end.code, 0)
	}
	how := fmt.Sprintf("pid %d ended: %s", p.PID, s.lastExit)
	worthy := p.hasServed() || s.starting == p || p.failure != ""
	if !p.leaving {
		m.log("%s: pid %d ended: %s", s, pid(p.PID), s.lastExit)
	}
	switch {
	case s.serving == p:
		s.serving = nil
		if final(p.spec, end) {
			m.tellOfEnd(p, control.EventExit, &end, "%s", how)
			m.finish(s, how, end)
		} else {
			s.owe(byCrash)
			m.tellOfEnd(p, control.EventCrash, &end, "%s", how)
			m.lose(s, how, p)
		}
	case s.starting == p:
		s.starting = nil
		if p.failure == "" && p.ready {
			p.failure = fmt.Sprintf("became ready, and ended %v after its start: %s", time.Since(p.startedAt).Round(time.Millisecond), s.lastExit)
		} else if p.failure == "" {
			p.failure = "ended before it was ready: " + s.lastExit
		} else {
			how = p.failure // the exec shim has said why
		}
		switch {
		case s.serving != nil:
		case final(p.spec, end):
			s.victim = p
			m.tellOfEnd(p, control.EventExit, &end, "%s", how)
			m.finish(s, how, end)
		default:
			s.victim = p
			s.owe(byCrash)
			m.tellOfEnd(p, control.EventCrash, &end, "pid %d %s", p.PID, p.failure)
			m.crashed(s, p.failure, 0)
		}
	case s.standIn == p:
		s.standIn = nil
		m.standInFailed(s, how)
	case s.spare == p:
		s.spare = nil
		p.failure = how
		m.spareFailed(p)
	default:
		s.leaving = slices.DeleteFunc(s.leaving, func(q *process) bool { return q == p })
	}
	m.retireMetrics(p)
	if worthy {
		m.remember(p, end)
	}
	m.dropUnused(s.app) // who was killed has not said that it listens no more
	m.touch(s)
}

// final says that a process which has ended by itself so has no successor.
func final(app *spec.App, end ending) bool {
	return !app.Autorestart || slices.Contains(app.StopExitCodes, end.code) || app.Type == spec.Task && end.code == 0
}

// finish leaves a slot empty whose process has ended by itself. A task that has
// not done its work has failed for good.
func (m *master) finish(s *slot, reason string, end ending) {
	s.reason = reason
	if s.want == stop || s.cycle || s.starting != nil {
		return
	}
	s.exitCode = end.passedOn()
	bad := end.code != 0 && !slices.Contains(s.spec.StopExitCodes, end.code)
	if bad {
		s.attempts++ // whoever waits for it is to know
	}
	s.errored = s.spec.Type == spec.Task && bad
	s.finished, s.owed = !s.errored, ""
	if s.errored {
		m.tellOfGivingUp(s)
	}
	m.steer(s.app)
	m.touch(s)
}

// crashed decides when a slot that has lost its process gets another one.
// Uptime is 0 for one that was never ready.
func (m *master) crashed(s *slot, reason string, uptime time.Duration) {
	s.reason = reason
	s.attempts++
	if s.want == stop || s.cycle || s.starting != nil {
		return
	}
	if !s.spec.Autorestart { // it hangs, or cannot even be run
		m.finish(s, reason, unknownEnding)
		return
	}
	if s.unstable++; uptime > 0 && uptime >= s.spec.MinUptime.D() {
		s.unstable = 0
	}
	delay, giveUp := s.backoff.exit(s.spec, time.Now(), uptime)
	if giveUp {
		s.unstable = 0 // as PM2 has it
		s.errored = true
		s.owed = ""
		s.reason = fmt.Sprintf("%s; gave up after %d restarts within %s", reason, s.spec.MaxRestarts, s.spec.RestartWindow.D())
		m.log("%s: %s", s, s.reason)
		m.tellOfGivingUp(s)
		return
	}
	if delay == 0 && s.backoff.streak <= 1 {
		m.startAgain(s)
		return
	}
	// Also without a delay: a program that cannot be run must not keep the loop from
	// everything else.
	s.nextAt = time.Now().Add(delay)
	m.later(&s.waiting, delay, func() { m.startAgain(s) })
}

// startAgain is when a slot that has crashed is to have another process: that counts
// as a restart, and the crash does not.
func (m *master) startAgain(s *slot) {
	s.restarts++
	m.countRestart(s.app, cmp.Or(s.lostTo, control.CauseCrash))
	s.lostTo = ""
	m.touch(s)
}
