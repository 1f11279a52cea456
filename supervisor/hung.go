package supervisor

import (
	"fmt"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
)

// watchdog expects a sign of life of a process at least every so often, from the
// moment on in which it was ready, as systemd does.
type watchdog struct {
	every time.Duration // 0: it expects nothing
	last  time.Time
	timer *time.Timer
}

// pause is how long nobody who is late is taken for hung after the first look: if
// the whole machine stood still, or we did, what the others said meanwhile must
// be heard first.
const pause = 250 * time.Millisecond

func (w *watchdog) stop() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// alive takes note of a sign of life.
func (m *master) alive(p *process) {
	w := &p.watchdog
	if w.every == 0 || !p.ready || p.leaving {
		return
	}
	w.last = time.Now()
	if w.timer == nil {
		m.expect(p, w.every-w.tolerance())
	}
}

func (w *watchdog) tolerance() time.Duration { return min(pause, w.every/4) }

// expect looks for a sign of life after d, and once more after a pause before it
// believes that there is none.
func (m *master) expect(p *process, d time.Duration) {
	w := &p.watchdog
	w.stop()
	var t *time.Timer
	again := false
	t = time.AfterFunc(d, func() {
		m.post(func() {
			switch late := time.Since(w.last); {
			case w.timer != t || p.leaving:
			case late < w.every-w.tolerance():
				m.expect(p, w.every-w.tolerance()-late)
			case !again:
				again = true
				t.Reset(w.tolerance())
			default:
				w.stop()
				m.hung(p, fmt.Sprintf("pid %d gave no sign of life for %v (watchdog)", p.PID, w.every))
			}
		})
	})
	w.timer = t
}

// hung gives up a process that lives and does not serve, as if it had crashed:
// new connections go elsewhere at once, and a successor takes its slot. Should it
// come to itself it may finish what it had accepted, within kill_timeout.
func (m *master) hung(p *process, why string) {
	s := p.slot
	switch p {
	case s.serving:
		m.log("%s: %s", s, why)
		s.owe(byHang)
		m.tellOfEnd(p, control.EventHung, nil, "%s", why)
		p.why = cause{control.CauseHung, why}
		m.leave(p)
		m.after(p, p.spec.KillTimeout.D(), func() { m.expire(p) })
		m.lose(s, why, p)
	case s.starting, s.standIn, s.spare:
		p.failure, p.why = why, cause{control.CauseHung, why}
		m.failed(p)
	}
}

// stopsItself takes note that a process has begun to drain unasked, as one does
// that renews itself after so many requests, or that somebody sent a SIGTERM.
func (m *master) stopsItself(p *process) {
	s := p.slot
	switch p {
	case s.serving:
		s.owe(byItself)
		p.why = cause{control.CauseExit, "it began to stop by itself"}
		m.letGo(p)
		m.giveTime(p, false)
		m.lose(s, fmt.Sprintf("pid %d stopped by itself", p.PID), p)
	case s.starting, s.standIn, s.spare:
		p.failure = "stopped by itself"
		m.failed(p)
	}
}

// lose answers that a slot has lost the process that served.
func (m *master) lose(s *slot, why string, p *process) {
	m.steer(s.app) // before anything else is sent its way
	s.lostTo = p.why.Kind
	m.crashed(s, why, p.uptime())
	m.touch(s)
}
