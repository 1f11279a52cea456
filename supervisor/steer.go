package supervisor

import (
	"slices"
	"time"

	"github.com/nekoctl/neko/supervisor/socket"
)

// longestProbation bounds min_uptime where it is the time that a slot which
// crashed at once gets no new connections.
const longestProbation = 10 * time.Second

// steerable says whether new connections can be kept from a single slot.
func (a *app) steerable() bool {
	return slices.ContainsFunc(a.groups, (*socket.Group).Steerable)
}

// live are the slots that new connections shall go to, in order: those that
// serve. Where there is none: those that serve and are on probation or not ready; or
// those that soon will serve, so that connections wait for them.
func (a *app) live() (live []int) {
	wanted := func(s *slot) bool { return s.want == run }
	serves := func(s *slot) bool { return wanted(s) && !s.cycle && s.serving != nil }
	proven := func(s *slot) bool { return serves(s) && s.probation == nil && s.serving.unready == "" }
	for _, which := range []func(*slot) bool{proven, serves, wanted} {
		for _, s := range a.slots {
			if which(s) {
				live = append(live, s.index)
			}
		}
		if len(live) > 0 {
			break
		}
	}
	return live
}

// steer sends new connections to the live slots. It costs a system call where
// these have changed.
func (m *master) steer(a *app) {
	live := a.live()
	for i, g := range a.groups {
		if err := g.Steer(a.liveFor(i, live)); err != nil {
			m.log("%v", err)
		}
	}
	next := live // both are in the order of the slots
	for _, s := range a.slots {
		to := len(live) == 0
		if len(next) > 0 && next[0] == s.index {
			to, next = true, next[1:]
		}
		if s.steered && !to {
			s.awayAt = time.Now()
		} else if to && !s.steered {
			s.covered = false
		}
		s.steered = to
	}
}

// putOnProbation keeps new connections from a process whose predecessor crashed
// at once, until it has lived for longer, if there are others that serve: each
// connection that a slot in a crash loop accepts is lost.
func (m *master) putOnProbation(p *process) {
	s := p.slot
	s.cancel(&s.probation)
	wait := min(p.spec.MinUptime.D(), longestProbation) - p.uptime()
	if s.backoff.streak == 0 || wait <= 0 {
		return
	}
	m.later(&s.probation, wait, func() { m.touch(s) })
}
