package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
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

// A prober asks one process one question, again and again. Between two questions it
// is a timer, and no goroutine: there may be thousands.
type prober struct {
	question *spec.Probe
	result   *probed
	timer    *time.Timer        // until the next time
	cancel   context.CancelFunc // of the question that is under way, if one is
	over     bool
}

// ask asks p when wait is over, and lets heard decide what its answer means: nil is
// a pass.
func (m *master) ask(p *process, by *prober, wait time.Duration, heard func(error)) {
	m.later(&by.timer, wait, func() {
		ctx, cancel := context.WithTimeout(context.Background(), by.question.Timeout.D())
		by.cancel = cancel
		m.asking.Add(1)
		go func() {
			began := time.Now()
			err := m.system.ask(ctx, p, by.question)
			took := time.Since(began)
			cancel()
			m.asking.Done()
			m.post(func() {
				if by.cancel = nil; !by.over {
					by.result.note(err, took)
					heard(err)
				}
			})
		}()
	})
}

func (p *process) newProber(question *spec.Probe) *prober {
	by := &prober{question: question, result: p.probeOf(question)}
	p.probers = append(p.probers, by)
	return by
}

// stopAsking ends all questions to p, and what runs for one.
func (m *master) stopAsking(p *process) {
	for _, by := range p.probers {
		by.over = true
		if p.slot.cancel(&by.timer); by.cancel != nil {
			by.cancel()
		}
	}
	p.probers = nil
}

// finishProbes waits until nothing runs any more that would outlive this master.
func (m *master) finishProbes() {
	for _, p := range m.processes {
		m.stopAsking(p)
	}
	m.asking.Wait()
}

// firstQuestion is when a process that has just started is asked for the first
// time; then the wait grows until it is the probe's interval.
const firstQuestion = 10 * time.Millisecond

// awaitPass asks a process that starts until it has passed what makes it ready.
func (m *master) awaitPass(p *process) {
	var questions []*spec.Probe
	for _, question := range []*spec.Probe{p.spec.Startup, p.spec.Readiness} {
		if question != nil {
			questions = append(questions, question)
		}
	}
	var next func()
	next = func() {
		if len(questions) == 0 {
			p.passed, p.unready = true, ""
			if p.saidReady || !p.spec.WaitReady {
				m.becameReady(p)
			}
			return
		}
		by := p.newProber(questions[0])
		questions = questions[1:]
		wait := min(firstQuestion, by.question.Interval.D())
		var heard func(error)
		heard = func(err error) {
			if err == nil {
				next()
				return
			}
			p.unready = err.Error()
			wait = min(wait*3/2, by.question.Interval.D())
			m.ask(p, by, wait, heard)
		}
		m.ask(p, by, wait, heard)
	}
	next()
}

// awaitedPass is which probe a process that starts is to pass, and what that has
// against it.
func (p *process) awaitedPass() string {
	kind, question := "startup", p.spec.Startup
	if n := len(p.probers); question == nil || n > 0 && p.probers[n-1].question == p.spec.Readiness {
		kind, question = "readiness", p.spec.Readiness
	}
	if p.unready == "" {
		return fmt.Sprintf("pass %s (%s)", kind, question)
	}
	return fmt.Sprintf("pass %s: %s", kind, p.unready)
}

// watchHealth asks a process that serves until it serves no more.
func (m *master) watchHealth(p *process) {
	m.warn("probes "+p.slot.app.name, "") // it is told again if it is still so
	m.examine(p, p.spec.Readiness, func(err error, failures int) {
		was := p.unready
		switch {
		case err == nil:
			p.unready = ""
		case failures >= p.spec.Readiness.Failures:
			p.unready = err.Error()
		}
		if (was == "") == (p.unready == "") {
			return
		}
		m.steer(p.slot.app)
		m.touch(p.slot) // a new master is to know
		if p.unready == "" {
			m.log("%s: pid %d is ready again", p.slot, pid(p.PID))
			m.happened(ofProcess(p), control.EventReady, "", nil, "pid %d is ready again", p.PID)
		} else {
			m.log("%s: pid %d is not ready (readiness, %d times in a row): %s", p.slot, pid(p.PID), failures, p.unready)
			m.happened(ofProcess(p), control.EventUnready, "", map[string]string{"failures": strconv.Itoa(failures)}, "pid %d is not ready: %s", p.PID, p.unready)
		}
	})
	m.examine(p, p.spec.Liveness, func(err error, failures int) {
		if err != nil && failures >= p.spec.Liveness.Failures {
			m.hung(p, fmt.Sprintf("pid %d does not answer (liveness, %d times in a row): %v", p.PID, failures, err))
		}
	})
}

// examine asks at every interval, and tells what came of it and how often in a row
// it has failed. What p could not be asked is not held against it.
func (m *master) examine(p *process, question *spec.Probe, tell func(err error, failures int)) {
	if question == nil {
		return
	}
	by, failures := p.newProber(question), 0
	interval := question.Interval.D()
	began := time.Now().Add(-rand.N(interval/2 + 1)) // a thousand need not be asked in one instant
	var heard func(error)
	again := func() {
		wait := max(interval-time.Since(began), 0)
		began = time.Now().Add(wait)
		m.ask(p, by, wait, heard)
	}
	heard = func(err error) {
		if unasked := new(unaskedError); errors.As(err, &unasked) {
			if name := p.slot.app.name; errors.Is(err, socket.ErrNotAddressable) {
				m.warn("probes "+name, fmt.Sprintf("the processes of %s are not asked (%s): none of several can be reached alone over IPv6", name, question))
			}
			again()
			return
		}
		if failures++; err == nil {
			failures = 0
		}
		if tell(err, failures); !by.over {
			again()
		}
	}
	again()
}
