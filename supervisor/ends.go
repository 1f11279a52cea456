package supervisor

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
)

// cause is why a process is to end. Commands leave theirs with the app that they
// work on (app.cause), and it goes on to the processes that have to leave for it.
type cause struct {
	Kind   control.Cause `json:"kind"`
	Detail string        `json:"detail,omitempty"` // one line
}

// commanded is the cause of a command that is called so.
func commanded(name string) cause { return cause{control.CauseCommand, name} }

// whyStopped is why what a slot has is to leave.
func (m *master) whyStopped(s *slot) cause {
	switch {
	case s.because != (cause{}):
		return s.because
	case m.stopping:
		return m.stopCause
	case s.app.cause != (cause{}):
		return s.app.cause
	}
	return cause{Kind: control.CauseCommand} // of an earlier master's
}

func (p *process) hasServed() bool { return p.tookOver || p.served }

// A slot remembers the ends of its last processes; they are in its record, which is
// written at every change, and so they are kept small: what the last one printed in
// 2 KiB, and what the others did in a quarter of that.
const (
	mostEnds      = 5
	endBytes      = 2 << 10
	olderEndBytes = endBytes / 4
	endLine       = 400 // bytes
)

// remember takes down how a process has ended.
func (m *master) remember(p *process, how ending) {
	s := p.slot
	e := control.End{
		At: s.exitedAt, PID: p.PID, StartedAt: p.startedAt, Served: p.hasServed(), How: how.text, CoreDumped: how.core,
		Cause: p.why.Kind, Detail: p.why.Detail,
	}
	switch {
	case how.code >= 0:
		e.ExitCode = &how.code
	case how.code < -128:
		e.Signal = unix.SignalName(unix.Signal(-how.code - 128))
	}
	switch {
	case e.Cause != "":
	case p.leaving: // told by a master that did not say why
		e.Cause = control.CauseCommand
	case final(p.spec, how):
		e.Cause = control.CauseExit
	default:
		e.Cause, e.Detail = control.CauseCrash, p.failure
	}
	if e.Cause == control.CauseCrash || e.Cause == control.CauseHung {
		m.countCrash(s.app)
	}
	ends := append([]control.End{e}, s.ends...)
	for i := range ends[1:] {
		ends[i+1].Output = lastOf(ends[i+1].Output, olderEndBytes)
	}
	s.ends = ends[:min(len(ends), mostEnds)]
	if e.Cause == control.CauseCrash || e.Cause == control.CauseHung || e.Cause == control.CauseExit {
		m.addLastWords(p, e)
	}
}

// addLastWords adds to the record what a process printed last, when it is there.
func (m *master) addLastWords(p *process, e control.End) {
	if p.pumps[0] == nil && p.pumps[1] == nil {
		return
	}
	go func() {
		output := lastOf(lastWords(p), endBytes)
		if len(output) == 0 {
			return
		}
		m.post(func() {
			s := p.slot
			i := slices.IndexFunc(s.ends, func(x control.End) bool { return x.PID == e.PID && x.At.Equal(e.At) })
			if i < 0 {
				return
			}
			s.ends = slices.Clone(s.ends)
			if i > 0 {
				output = lastOf(output, olderEndBytes)
			}
			s.ends[i].Output = output
			m.touch(s)
		})
	}()
}

// lastOf are the last of some lines, with at most so many bytes together.
func lastOf(lines []string, most int) []string {
	first := len(lines)
	for total := 0; first > 0; first-- {
		if total += min(len(lines[first-1]), endLine) + 1; total > most {
			break
		}
	}
	kept := slices.Clone(lines[first:])
	for i, line := range kept {
		if len(line) > endLine {
			kept[i] = fmt.Sprintf("%s… (%d bytes)", cutRunes(line, endLine-30), len(line))
		}
	}
	return kept
}

// cutRunes is the beginning of s, at most n bytes.
func cutRunes(s string, n int) string {
	for n > 0 && n < len(s) && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:min(n, len(s))]
}
