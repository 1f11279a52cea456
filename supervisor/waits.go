package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// waits is what keeps a slot from being where a command wants it.
type waits struct {
	what        string // "": nothing
	since       time.Time
	limit       time.Duration // then something happens; 0: it may take any time
	connections int           // that are served still; 0: none, or nobody knows
}

// waitsFor is derived from what the slot has, as its state is.
func (m *master) waitsFor(s *slot) waits {
	switch {
	case s.want == retire && !s.stopsAt.IsZero():
		delay := s.spec.ShutdownDelay.D()
		return waits{what: "serves on before it stops (shutdown_delay)", since: s.stopsAt.Add(-delay), limit: delay}
	case s.want == retire && s.expects() > 0:
		return waits{what: "waits for connections that are on their way to it", since: s.awayAt, limit: handshakes}
	case s.want == retire:
		w := waits{what: "serves what has queued for it", connections: m.queued(s)}
		if !s.awayAt.IsZero() { // else it was never sent any
			w.since, w.limit = s.awayAt.Add(handshakes), s.spec.DrainTimeout.D()
		}
		return w
	case s.state == control.Stopping && len(s.leaving) > 0:
		return s.leaving[len(s.leaving)-1].leaves("")
	case s.awaits:
		return waits{what: s.reason}
	case s.starting != nil && s.serving != nil:
		w := s.starting.gettingReady()
		w.what = fmt.Sprintf("new process, pid %d: %s", s.starting.PID, w.what)
		return w
	case s.starting != nil:
		return s.starting.gettingReady()
	case s.state == control.WaitingRestart:
		return waits{what: s.reason + "; is started again", since: s.exitedAt, limit: max(s.nextAt.Sub(s.exitedAt), 0)}
	case s.state == control.Errored:
		return waits{what: s.reason}
	case s.serving != nil && s.spec.Type == spec.Task && !s.serving.leaving:
		return waits{what: "does its work", since: s.serving.startedAt}
	case s.held > 0 && len(s.leaving) > 0:
		p := s.leaving[len(s.leaving)-1]
		return p.leaves(fmt.Sprintf("predecessor, pid %d: ", p.PID))
	}
	return waits{}
}

// gettingReady is what a process that starts is waited for with.
func (p *process) gettingReady() waits {
	w := waits{since: p.startedAt, limit: p.spec.ListenTimeout.D()}
	switch awaited := p.awaited(); {
	case p.ready:
		w = waits{what: "is ready, and on trial", since: p.deadlineSet, limit: p.deadlineIn}
	case strings.HasPrefix(awaited, "say "):
		w.what = "waits for " + strings.TrimPrefix(awaited, "say ")
	case awaited != "":
		w.what = "waits for it to " + awaited
	default:
		w.what, w.limit = "takes its first steps", 0
	}
	return w
}

// leaves is what a process that was told to finish does.
func (p *process) leaves(prefix string) waits {
	w := waits{what: prefix + "draining", since: p.deadlineSet, limit: p.deadlineIn, connections: p.connections}
	if !p.drains {
		w.what = prefix + "has had its time, and is killed"
	}
	return w
}

// tellWaits tells those who look on what a slot waits for, if it is something else
// than they were told last.
func (m *master) tellWaits(s *slot) {
	if len(s.app.reporters) == 0 {
		return
	}
	w := m.waitsFor(s)
	step := control.Progress{Name: s.app.name, Slot: s.index, State: s.state, Message: w.what, Connections: w.connections, LimitMS: w.limit.Milliseconds()}
	if step == s.told || w.what == "" && s.told.Message == "" && s.told.State == s.state {
		return
	}
	s.told = step
	if !w.since.IsZero() {
		step.SinceMS = max(time.Since(w.since).Milliseconds(), 0)
	}
	for _, r := range s.app.reporters {
		r.report(step)
	}
}

// lookAgain is how often those who look on are told what has changed without an event.
const lookAgain = 500 * time.Millisecond

// tellAll is tellWaits for all that somebody looks on at.
func (m *master) tellAll(r reporter) {
	var leaving []*process
	for _, a := range m.apps {
		if !slices.Contains(a.reporters, r) {
			continue
		}
		for _, s := range a.slots {
			m.tellWaits(s)
			leaving = append(leaving, s.leaving...)
		}
	}
	m.countConnections(leaving)
}

// countConnections looks how many connections processes that leave still have, outside
// of the loop, for that reads much of /proc.
func (m *master) countConnections(list []*process) {
	if m.counting || len(list) == 0 {
		return
	}
	m.counting = true
	groups := make([]int, len(list))
	for i, p := range list {
		groups[i] = p.PID
	}
	go func() {
		counts, _ := connectionsOf(groups) // a courtesy
		m.post(func() {
			m.counting = false
			for i, p := range list {
				p.connections = counts[groups[i]]
			}
		})
	}()
}

// connectionsOf are how many connections process groups have accepted and still have.
func connectionsOf(groups []int) (map[int]int, error) { return socket.Accepted(groups, socket.Ports()) }

// lookOn has a reporter told of all apps, for what is about all of them.
func (m *master) lookOn(r reporter) {
	for _, a := range m.apps {
		a.reporters = append(a.reporters, r)
		a.forgetTold()
	}
}

// forgetTold has all be told again, as somebody new looks on.
func (a *app) forgetTold() {
	for _, s := range a.slots {
		s.told = control.Progress{State: s.state}
	}
}

// waitInLine tells that all of an app waits for something; "": no longer.
func (m *master) waitInLine(r reporter, a *app, what string) {
	m.do(func() { r.report(control.Progress{Name: a.name, Whole: true, Message: what}) })
}

// inTurn is line.after for a command on an app, which tells that it waits.
func (m *master) inTurn(r reporter, a *app, l *line, others []string) (failed string) {
	if first := l.pending(others); first != "" {
		m.waitInLine(r, a, "waits for "+first+", whose turn is first")
		defer m.waitInLine(r, a, "")
	}
	return l.after(others)
}
