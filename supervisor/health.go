package supervisor

import (
	"errors"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// probed is what a process has answered to a probe, for people.
type probed struct {
	kind     string
	question *spec.Probe
	at       time.Time
	took     time.Duration
	err      error
	failures int // in a row
}

// note takes down an answer. What p could not be asked is not held against it.
func (r *probed) note(err error, took time.Duration) {
	if unasked := new(unaskedError); errors.As(err, &unasked) {
		r.err = err
		return
	}
	r.at, r.took, r.err = time.Now(), took, err
	if r.failures++; err == nil {
		r.failures = 0
	}
}

// probeOf is where the answers to a question are taken down.
func (p *process) probeOf(question *spec.Probe) *probed {
	for _, r := range p.answers {
		if r.question == question {
			return r
		}
	}
	kind := "liveness"
	switch question {
	case p.spec.Startup:
		kind = "startup"
	case p.spec.Readiness:
		kind = "readiness"
	}
	r := &probed{kind: kind, question: question}
	p.answers = append(p.answers, r)
	return r
}

// showHealth adds what is known of how a slot gets on.
func (m *master) showHealth(s *slot, v *control.ProcessExtra) {
	for i, g := range s.app.groups {
		length, most, err := g.Queue(s.index)
		if err != nil {
			continue // no connections come to it, or the kernel does not tell
		}
		q := control.Queue{Address: g.Address, Length: length, Max: most, Shared: g.Shared()}
		if g.Network == "unix" {
			q.Address = "unix:" + g.Address
		}
		if i < len(s.app.spec.Listen) {
			q.Listener = s.app.spec.Listen[i].Name
		}
		v.Queues = append(v.Queues, q)
	}
	p := s.serving
	if p == nil {
		p = s.starting
	}
	if p != nil {
		for _, r := range p.answers {
			state := control.ProbeState{Kind: r.kind, At: r.at, OK: r.err == nil && !r.at.IsZero(), Failures: r.failures, LatencyMS: float64(r.took.Microseconds()) / 1000}
			if r.err != nil {
				state.Error = r.err.Error()
			}
			v.Probes = append(v.Probes, state)
		}
		if w := p.watchdog; w.every > 0 {
			v.Watchdog = &control.WatchdogState{At: w.last, LimitMS: w.every.Milliseconds()}
		}
	}
	if s.spec.Autorestart {
		left := s.backoff.left(s.spec, time.Now())
		if s.errored {
			left = 0
		}
		v.RestartsLeft = &left
	}
	if s.state == control.WaitingRestart {
		v.NextAttempt = s.nextAt
	}
}

// countOf counts the connections of processes, outside of the loop.
func countOf(list []control.ProcessExtra) {
	var groups []int
	of := func(p control.ProcessExtra) (pids []int) {
		for _, pid := range append([]int{p.PID, p.Starting, p.StandIn}, p.Draining...) {
			if pid > 0 {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	for _, p := range list {
		groups = append(groups, of(p)...)
	}
	if len(groups) == 0 {
		return
	}
	counts, err := connectionsOf(groups)
	if err != nil {
		return // the figure is a courtesy
	}
	for i := range list {
		if list[i].PID == 0 {
			continue
		}
		total := 0
		for _, pid := range of(list[i]) {
			total += counts[pid]
		}
		list[i].Connections = &total
	}
}
