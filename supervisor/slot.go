package supervisor

import (
	"fmt"
	"slices"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/spec"
)

// want is what a slot shall come to.
type want string

const (
	run  want = "run"
	stop want = "stop"
	// retire is stop by way of the steering: no new connection is sent here any
	// more, and what has queued is served first.
	retire want = "retire"
)

// handshakes is how long a client may need to complete a handshake that began
// before the steering left out a slot. No counter shows these; a SYN+ACK is
// sent again after 1 s and 2 s more.
const handshakes = 3 * time.Second

// slot is one place of an app: a socket of its own and at most one process that
// serves, one that starts, and any that finish what they serve. Only the loop
// touches it.
//
// Commands set what a slot wants; settle, after every event, does the next step
// towards it. So no order of events leaves it stuck.
type slot struct {
	app   *app
	index int
	id    int
	spec  *spec.App // what its processes are started with
	want  want
	cycle bool // restart: start again when all processes are gone

	serving  *process
	starting *process
	leaving  []*process

	state    control.State
	errored  bool
	waiting  *time.Timer // until the next attempt
	retiring *time.Timer // until the queue must be empty
	backoff  backoff
	restarts int
	reason   string // why it is not online
	lastExit string
	exitedAt time.Time
	attempts int      // launches that have failed since the slot was told to run
	victim   *process // the last of them, nil if it could not even be forked

	logs     [2]*logs.File // out, err
	recorded string        // the record as the keeper has it

	inherited []processRecord // while a new master takes over
}

func (s *slot) String() string { return fmt.Sprintf("%s:%d", s.app.name, s.index) }

// observe derives the state.
func (s *slot) observe() control.State {
	busy := s.serving != nil || s.starting != nil || len(s.leaving) > 0
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
		case s.waiting != nil:
			return control.WaitingRestart
		}
		return s.state
	case busy:
		return control.Stopping
	}
	return control.Stopped
}

// why is what a command waits for that looks on, or what went wrong.
func (s *slot) why() string {
	switch {
	case s.reason != "":
	case s.want == retire:
		return "serves what is on its way to it, which takes some seconds"
	case s.state == control.Stopping && len(s.leaving) > 0:
		p := s.leaving[len(s.leaving)-1]
		return "has " + (p.spec.DrainTimeout + p.spec.KillTimeout).D().String() + " to finish what it serves"
	case s.state == control.Launching && s.starting != nil && s.starting.awaited() != "":
		return "is to " + s.starting.awaited()
	}
	return s.reason
}

// idle says that the slot is done with.
func (s *slot) idle() bool {
	return s.want == stop && s.serving == nil && s.starting == nil && len(s.leaving) == 0
}

// settle does what the slot's wish and its processes call for. In a daemon that
// stops nothing else counts, whatever a command may still wish.
func (m *master) settle(s *slot) {
	if m.stopping {
		s.want, s.cycle = stop, false
	}
	switch {
	case s.want == stop || s.cycle:
		s.cancel(&s.waiting)
		for _, p := range []*process{s.starting, s.serving} {
			if p != nil {
				m.leave(p)
			}
		}
		if s.cycle && len(s.leaving) == 0 {
			s.cycle = false
			m.fill(s)
		}
	case s.want == retire && s.serving == nil && s.starting == nil && m.queued(s) == 0:
		m.retired(s)
	case s.serving == nil && s.starting == nil && s.waiting == nil && !s.errored:
		m.fill(s)
	}
	if state := s.observe(); state != s.state {
		if !legal(s.state, state) {
			m.log("BUG: %s went from %s to %s", s, s.state, state)
		}
		s.state = state
		if state == control.Online {
			s.reason = ""
		}
		m.tell(s, s.why())
		m.steer(s.app)
	}
}

// fill launches a process into an empty slot.
func (m *master) fill(s *slot) {
	if _, err := m.launch(s, s.spec); err != nil {
		s.victim = nil
		m.crashed(s, err.Error(), 0)
	}
}

func (s *slot) cancel(t **time.Timer) {
	if *t != nil {
		(*t).Stop()
		*t = nil
	}
}

// becameReady makes a process that starts the one that serves.
func (m *master) becameReady(p *process) {
	s := p.slot
	if s.starting != p {
		return // it leaves already, or says so twice
	}
	p.ready = true
	if p.deadline != nil {
		p.deadline.Stop()
		p.deadline = nil
	}
	for i, pump := range p.pumps {
		if pump != nil {
			pump.Copy(copies(p.consoles[i], nil))
		}
	}
	predecessor := s.serving
	s.starting, s.serving = nil, p
	s.spec = p.spec
	s.errored, s.attempts = false, 0
	for _, g := range s.app.groups {
		if err := g.Relisten(s.index); err != nil {
			m.log("listen again on %s: %v", g.Address, err)
		}
	}
	if predecessor != nil {
		m.leave(predecessor)
		m.tell(s, fmt.Sprintf("pid %d took over from pid %d", p.PID, predecessor.PID))
	}
	m.touch(s)
}

// failed gives up a process that did not become ready. It leaves in peace: it
// may have accepted connections already.
func (m *master) failed(p *process) {
	s := p.slot
	if s.starting != p {
		return
	}
	m.leave(p)
	if s.serving == nil {
		s.victim = p
		m.crashed(s, p.failure, 0)
	}
	m.touch(s)
}

// exited is the end of a process.
func (m *master) exited(p *process, exit string) {
	if m.processes[p.PID] != p {
		return // reported twice
	}
	delete(m.processes, p.PID)
	if p.deadline != nil {
		p.deadline.Stop()
	}
	if p.pidfd != nil {
		p.pidfd.Close()
	}
	s := p.slot
	s.lastExit, s.exitedAt = exit, time.Now()
	how := fmt.Sprintf("pid %d ended: %s", p.PID, s.lastExit)
	if !p.leaving {
		m.log("%s: %s", s, how)
	}
	switch {
	case s.serving == p:
		s.serving = nil
		m.steer(s.app) // before anything else is sent its way
		m.crashed(s, how, time.Since(p.startedAt))
	case s.starting == p:
		s.starting = nil
		if p.failure == "" {
			p.failure = "ended before it was ready: " + s.lastExit
		}
		if s.serving == nil {
			s.victim = p
			m.crashed(s, p.failure, 0)
		}
	default:
		s.leaving = slices.DeleteFunc(s.leaving, func(q *process) bool { return q == p })
	}
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
	delay, giveUp := s.backoff.exit(s.spec, time.Now(), uptime)
	if giveUp {
		s.errored = true
		s.reason = fmt.Sprintf("%s; gave up after %d restarts within %s", reason, s.spec.MaxRestarts, s.spec.RestartWindow.D())
		m.log("%s: %s", s, s.reason)
		return
	}
	s.restarts++
	if delay == 0 {
		m.touch(s)
		return
	}
	var t *time.Timer
	t = time.AfterFunc(delay, func() {
		m.post(func() {
			if s.waiting == t {
				s.waiting = nil
				m.touch(s)
			}
		})
	})
	s.waiting = t
}

// queued is the number of connections that wait for this slot alone.
func (m *master) queued(s *slot) int {
	total := 0
	for _, g := range s.app.groups {
		if g.Shared() || s.index >= g.Len() {
			continue
		}
		n, err := g.Queued(s.index)
		if err != nil {
			m.log("queue of %s: %v", s, err)
		}
		total += n
	}
	return total
}

// beginRetire takes the slot out of the steering, and stops it when what was on
// its way to it has been served.
func (m *master) beginRetire(s *slot) {
	if s.want != run {
		return
	}
	s.want = retire
	m.steer(s.app)
	m.touch(s)
	if s.serving == nil || !s.app.steered() {
		m.retired(s)
		return
	}
	m.retireLater(s, handshakes, time.Now().Add(handshakes+s.spec.DrainTimeout.D()))
}

func (m *master) retireLater(s *slot, wait time.Duration, limit time.Time) {
	var t *time.Timer
	t = time.AfterFunc(wait, func() {
		m.post(func() {
			if s.retiring != t || s.want != retire {
				return
			}
			if m.queued(s) > 0 && time.Now().Before(limit) {
				m.retireLater(s, 20*time.Millisecond, limit)
				return
			}
			m.retired(s)
		})
	})
	s.retiring = t
}

// retired lets the process of a slot go to which nothing comes any more.
func (m *master) retired(s *slot) {
	s.cancel(&s.retiring)
	s.want = stop
	m.touch(s)
}
