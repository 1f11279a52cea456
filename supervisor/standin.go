package supervisor

import (
	"time"

	"github.com/nekoctl/neko/supervisor/spec"
)

// cover gives a slot that has nobody to serve what has queued on it, and will not
// get anybody soon, a stand-in: a process of a sibling's make (its spec, its
// NEKO_SLOT) on this slot's socket, for steering cannot move what has queued, and
// its own program does not run. New connections do not come here, so one
// stand-in is enough until they do again. In Node's cluster mode the siblings are given
// what has queued (handoff.go).
func (m *master) cover(s *slot) {
	if s.standIn != nil && s.serving != nil {
		m.leave(s.standIn)
	}
	if s.want == stop || s.cycle || !s.dead() || s.covered || s.standIn != nil || !s.app.steerable() || s.app.spec.Node == spec.NodeCluster {
		return
	}
	m.steer(s.app)
	sibling := s.app.healthy()
	if s.steered || sibling == nil || s.expects() <= 0 && m.queued(s) == 0 {
		return
	}
	s.covered = true
	p := m.newProcess(s, sibling.spec)
	p.as, s.standIn = sibling.index, p
	if err := m.launch(p); err != nil {
		m.standInFailed(s, err.Error())
		return
	}
	m.log("%s: pid %d serves what has queued on it", s, pid(p.PID))
}

// dead says that nobody serves in a slot, or will soon.
func (s *slot) dead() bool {
	return s.serving == nil && s.starting == nil && (s.waiting != nil || s.errored || s.finished || s.replaceable())
}

// replaceable says of a slot that retires that a stand-in serves what is left to be
// served there, so that its own program need not start again.
func (s *slot) replaceable() bool {
	return s.want == retire && s.stopsAt.IsZero() && s.app.steerable() && s.app.spec.Node != spec.NodeCluster &&
		(s.standIn != nil || s.app.healthy() != nil)
}

// standInFailed tries again a little later.
func (m *master) standInFailed(s *slot, why string) {
	m.log("nobody serves what has queued on %s: %s", s, why)
	m.later(&s.covering, time.Second, func() {
		s.covered = false
		m.touch(s)
	})
}

// healthy is a slot that serves, if there is one.
func (a *app) healthy() *slot {
	for _, s := range a.slots {
		if s.steered && s.serving != nil {
			return s
		}
	}
	return nil
}

// standDown lets a stand-in leave when nothing comes to its slot any more.
func (m *master) standDown(p *process) {
	s := p.slot
	if s.standIn != p {
		return
	}
	if wait := s.expects(); wait > 0 {
		m.after(p, wait, func() { m.standDown(p) })
		return
	}
	if m.queued(s) > 0 {
		m.after(p, 20*time.Millisecond, func() { m.standDown(p) })
		return
	}
	m.leave(p)
	m.touch(s)
}
