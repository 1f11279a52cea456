package supervisor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// An app's probes are questions to each of its processes (ask.go), as Kubernetes has
// them: startup until it passes once, then readiness and liveness for as long as the
// process serves. A process that has a startup or a readiness probe is ready when it
// has passed, and not when it is seen to accept. A spare and a stand-in are not
// asked: what would answer is not they.

// probed says whether it is probes that make p ready.
func (p *process) probed() bool {
	return (p.spec.Startup != nil || p.spec.Readiness != nil) && p.slot.spare != p && p.slot.standIn != p
}

// firstQuestion is when a process that has just started is asked for the first
// time; then the wait grows until it is the probe's interval.
const firstQuestion = 10 * time.Millisecond

// awaitPass asks a process that starts until it has passed what makes it ready.
func (m *master) awaitPass(p *process) {
	go func() {
		for _, question := range []*spec.Probe{p.spec.Startup, p.spec.Readiness} {
			if question == nil {
				continue
			}
			for wait := firstQuestion; ; wait = min(wait*3/2, question.Interval.D()) {
				if !m.rest(wait) {
					return
				}
				err := m.system.ask(p, question)
				starts := false
				m.do(func() {
					if starts = !p.ready && !p.leaving && m.processes[p.PID] == p; starts && err != nil {
						p.unready = err.Error()
					}
				})
				if !starts {
					return
				}
				if err == nil {
					break
				}
			}
		}
		m.post(func() {
			p.passed, p.unready = true, ""
			if p.saidReady || !p.spec.WaitReady {
				m.becameReady(p)
			}
		})
	}()
}

// watchHealth asks a process that serves until it serves no more.
func (m *master) watchHealth(p *process) {
	m.examine(p, p.spec.Readiness, func(err error, failures int) {
		was := p.unready
		switch {
		case err == nil:
			p.unready = ""
		case failures >= p.spec.Readiness.Failures:
			p.unready = err.Error()
		}
		if (was == "") != (p.unready == "") {
			if m.steer(p.slot.app); p.unready == "" {
				m.log("%s: pid %d is ready again", p.slot, p.PID)
			} else {
				m.log("%s: pid %d is not ready (readiness, %d times in a row): %s", p.slot, p.PID, failures, p.unready)
			}
		}
	})
	m.examine(p, p.spec.Liveness, func(err error, failures int) {
		if err != nil && failures >= p.spec.Liveness.Failures {
			m.hung(p, fmt.Sprintf("pid %d does not answer (liveness, %d times in a row): %v", p.PID, failures, err))
		}
	})
}

// examine asks at every interval and tells what came of it, in the loop.
func (m *master) examine(p *process, question *spec.Probe, tell func(err error, failures int)) {
	if question == nil {
		return
	}
	go func() {
		interval := question.Interval.D()
		first := interval - rand.N(interval/2+1) // a thousand need not be asked in one instant
		for failures, wait := 0, first; m.rest(wait); wait = interval {
			began := time.Now()
			err := m.system.ask(p, question)
			if errors.Is(err, socket.ErrNotAddressable) { // which is not its fault
				m.post(func() { m.warn("probe of "+p.slot.app.name, fmt.Sprintf("%s cannot be asked: %v", p.slot, err)) })
				return
			}
			if failures++; err == nil {
				failures = 0
			}
			serves := false
			m.do(func() {
				if serves = p.slot.serving == p; serves {
					tell(err, failures)
				}
			})
			if !serves {
				return
			}
			interval = max(question.Interval.D()-time.Since(began), 0)
		}
	}()
}

// rest passes time, false if this master has ended.
func (m *master) rest(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-m.ended:
		return false
	}
}
