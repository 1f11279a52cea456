package supervisor

import "time"

// A spare is a second process of a slot that has started and waits to take over:
// when the first crashes it need not be forked, loaded and prepared. It waits at
// its gate, a pipe (NEKO_SPARE_FD): a byte means serve, the pipe's end means that
// nobody needs it any more. A program that knows nothing of gates serves along
// with the first, on the same socket, and so takes over even faster.

// open lets a spare through its gate. If that fails the gate stays what it is.
func (p *process) open() error {
	if p.clustered() {
		return p.letIn()
	}
	if p.gate == nil {
		return nil
	}
	if _, err := p.gate.Write([]byte{1}); err != nil {
		return err
	}
	p.closeGate()
	return nil
}

func (p *process) closeGate() {
	if p.gate != nil {
		p.gate.Close()
		p.gate = nil
	}
}

// hurry lets the spare of a process that has just ended serve, before anything
// else is done about that end: clients wait. What follows makes it the one that
// serves ([master.takeSpare]), unless the slot has to wait.
func (m *master) hurry(p *process) {
	s := p.slot
	if s.serving == p && s.hasSpare() && s.spec.Autorestart && s.spec.RestartDelay == 0 && s.want != stop && !s.cycle && s.backoff.streak == 0 {
		_ = s.spare.open() // takeSpare tries again, and says what is wrong
	}
}

// hasSpare says whether the slot has one that is ready and of the slot's spec.
func (s *slot) hasSpare() bool {
	return s.spare != nil && s.spare.ready && s.spare.spec == s.spec
}

// respite is how long a spare that has just begun to serve has the CPUs for
// itself, before the next spare is started.
const respite = 200 * time.Millisecond

// takeSpare lets the spare of a slot serve that has nobody who does, if it has
// one.
func (m *master) takeSpare(s *slot) bool {
	if !s.hasSpare() {
		return false
	}
	p := s.spare
	if err := p.open(); err != nil {
		m.log("%s: its spare (pid %d) cannot be told to serve: %v", s, pid(p.PID), err)
		return false
	}
	s.spare = nil
	p.tookAt = time.Now()
	m.serve(p)
	m.later(&s.sparing, respite, func() { m.touch(s) })
	m.log("%s: pid %d, its spare, serves", s, pid(p.PID))
	return true
}

// keepSpare sees to it that a slot that serves has a spare if it is to have one,
// and one that is up to date.
func (m *master) keepSpare(s *slot) {
	wanted := s.want == run && !s.cycle && !s.errored && !s.finished && !s.awaits && s.spec.Spare > 0
	if p := s.spare; p != nil && (!wanted || p.spec != s.spec) {
		m.leave(p)
	}
	if !wanted || s.spare != nil || s.serving == nil || s.starting != nil || s.sparing != nil {
		return
	}
	p := m.newProcess(s, s.spec)
	s.spare = p
	if err := m.launch(p); err != nil {
		p.failure = err.Error()
		m.spareFailed(p)
	}
}

// longestSpareDelay is between attempts at a spare: nobody waits for it.
const longestSpareDelay = time.Minute

// spareFailed tries again later. That there is none costs nobody anything yet.
func (m *master) spareFailed(p *process) {
	s := p.slot
	m.log("%s has no spare at present: %s", s, p.failure)
	delay := min(time.Second<<min(s.spareFailures, 10), longestSpareDelay)
	s.spareFailures++
	m.later(&s.sparing, delay, func() { m.touch(s) })
}
