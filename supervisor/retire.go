package supervisor

import (
	"slices"
	"time"
)

// handshakes is how long a client may need to complete a handshake that began
// before the steering left out a slot. No counter shows these; a SYN+ACK is
// sent again after 1 s and 2 s more.
const handshakes = 3 * time.Second

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

// expects says for how long connections may still come to a slot that new ones
// are kept from.
func (s *slot) expects() time.Duration { return time.Until(s.awayAt.Add(handshakes)) }

// beginRetire takes the slot out of the steering, and stops it when what was on
// its way to it has been served. Until then it lives on as ever: should its
// process crash there will be another, or a stand-in if a sibling serves. The last
// slot that runs has nobody to leave new connections to, and stops as its app does.
func (m *master) beginRetire(s *slot) {
	if s.want != run {
		return
	}
	if s.because == (cause{}) {
		s.because = m.whyStopped(s) // the command may not wait for its end
	}
	s.want = retire
	m.touch(s)
	last := !slices.ContainsFunc(s.app.slots, func(o *slot) bool { return o.want == run })
	if last || !s.app.steerable() {
		m.stopLater(s)
		return
	}
	m.steer(s.app)
	m.retireLater(s, s.expects(), time.Now().Add(handshakes+s.spec.DrainTimeout.D()))
}

// stopLater stops a slot after shutdown_delay: until then all goes on as ever, new
// connections too, so that balancers have the time to see that it will. Who does
// not serve has nobody to wait for.
func (m *master) stopLater(s *slot) {
	delay := s.spec.ShutdownDelay.D()
	switch {
	case s.want == stop || s.serving == nil || s.cycle || delay == 0:
		m.retired(s)
		return
	case s.want != retire || s.stopsAt.IsZero(): // else it was asked for before
		s.want, s.stopsAt = retire, time.Now().Add(delay)
		m.touch(s)
	}
	m.later(&s.retiring, min(time.Until(s.stopsAt), delay), func() { m.retired(s) })
}

func (m *master) retireLater(s *slot, wait time.Duration, limit time.Time) {
	m.later(&s.retiring, wait, func() {
		switch {
		case s.want != retire:
		case m.queued(s) > 0 && time.Now().Before(limit):
			if p := s.starting; p != nil && s.serving == nil && s.replaceable() {
				p.why = m.whyStopped(s)
				m.leave(p) // a stand-in serves them sooner
				m.touch(s)
			}
			m.retireLater(s, 20*time.Millisecond, limit)
		default:
			m.retired(s)
		}
	})
}

// retired lets the process of a slot go to which nothing comes any more.
func (m *master) retired(s *slot) {
	s.cancel(&s.retiring)
	s.want, s.cycle, s.reason = stop, false, "" // what it was about is no reason any more
	m.touch(s)
}
