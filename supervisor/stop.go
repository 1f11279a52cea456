package supervisor

import (
	"cmp"
	"slices"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// stop stops what the targets mean; with unwatch it is not watched any more either,
// when it is started again.
func (m *master) stop(r reporter, targets []string, unwatch bool) error {
	return m.eachLast(r, targets, commanded("stop"), func(c chosen) error {
		if unwatch {
			m.do(func() { m.unwatch(c.app) })
		}
		ran := false
		m.do(func() { ran = slices.ContainsFunc(c.slots(), func(s *slot) bool { return s.want != stop }) })
		err := m.stopChosen(c)
		m.do(func() {
			if ran {
				m.tellOfCommand(ofChosen(c), control.EventStop, nil, err, "stopped")
			}
		})
		return err
	})
}

func (m *master) stopChosen(c chosen) error {
	m.do(func() {
		for _, s := range c.slots() {
			switch {
			case c.slot != nil && len(c.app.inUse()) > 1:
				s.cycle = false
				m.beginRetire(s) // its siblings serve on
			default:
				m.stopLater(s)
			}
		}
	})
	m.until(func() bool {
		return !slices.ContainsFunc(c.slots(), func(s *slot) bool { return !s.idle() })
	})
	return nil
}

// restart stops processes and starts them again, so many of an app at a time; 0: all.
func (m *master) restart(r reporter, targets []string, parallel int) error {
	return m.each(r, targets, commanded("restart"), func(c chosen) error {
		if c.slot == nil {
			return m.restartInto(c.app, c.app.spec, parallel)
		}
		var err error
		m.do(func() {
			if err = m.listen(c.app, max(c.app.size, 1)); err != nil {
				err = m.listenError(c.app.name, err)
			} else if c.slot.index < c.app.size {
				m.recycle(c.slot, c.app.spec)
			}
		})
		if err != nil {
			return err
		}
		began := time.Now()
		err = m.untilOnline(c.app, c.slot)
		m.do(func() { m.tellOfReplacing(ofSlot(c.slot), control.EventRestart, byCommand, 1, began, err) })
		return err
	})
}

// restartInto restarts an app with a spec, so many processes at a time; 0: all.
func (m *master) restartInto(a *app, next *spec.App, parallel int) (err error) {
	var slots []*slot
	m.do(func() {
		n := a.size // it may have been scaled while it was stopped
		if next != a.spec {
			n = a.sizeFor(m.instances(next))
		}
		if err = m.listen(a, max(n, len(a.slots))); err != nil {
			err = m.listenError(a.name, err)
			return
		}
		a.spec = next
		before := len(a.slots)
		m.resize(a, n)
		for _, s := range a.slots[:n] {
			if !s.vacant && (s.index < before || s.want != run) { // else it starts already
				slots = append(slots, s)
			}
		}
	})
	if err != nil || len(slots) == 0 { // or this master has ended
		return err
	}
	if parallel <= 0 {
		parallel = len(slots)
	}
	began := time.Now()
	for some := range slices.Chunk(slots, parallel) {
		m.do(func() {
			for _, s := range some {
				if m.knows(chosen{a, s}) {
					m.recycle(s, next)
				}
			}
		})
		for _, s := range some {
			_ = m.untilOnline(a, s) // the others are to have the spec, too
		}
	}
	err = m.untilOnline(a, nil)
	m.do(func() { m.tellOfReplacing(ofApp(a), control.EventRestart, byCommand, len(slots), began, err) })
	return err
}

// recycle ends what a slot has, and starts it again with a spec when all of it is
// gone.
// It counts as a restart, as in PM2, if there is something to end.
func (m *master) recycle(s *slot, next *spec.App) {
	m.revive(s)
	s.spec = next
	if s.cycle = s.serving != nil || s.starting != nil; s.cycle {
		s.restarts++
		m.countRestart(s.app, cmp.Or(s.app.cause.Kind, control.CauseCommand))
	}
}

// reset counts restarts from 0 on.
func (m *master) reset(targets []string) error {
	list, err := m.choose(targets)
	if err != nil {
		return err
	}
	m.do(func() {
		for _, c := range list {
			for _, s := range c.slots() {
				s.restarts, s.unstable, s.createdAt = 0, 0, time.Now()
				m.touch(s)
			}
		}
	})
	return nil
}

// delete forgets apps, or single processes of theirs.
func (m *master) delete(r reporter, targets []string) error {
	return m.eachLast(r, targets, commanded("delete"), func(c chosen) error {
		var about control.Event // as long as it is there
		m.do(func() { about = ofChosen(c) })
		if c.slot != nil {
			err := m.deleteOne(c)
			m.do(func() { m.tellOfCommand(about, control.EventDelete, nil, err, "deleted") })
			return err
		}
		if err := m.stopChosen(chosen{app: c.app}); err != nil {
			return err
		}
		m.do(func() {
			m.remove(c.app)
			m.tellOfCommand(about, control.EventDelete, nil, nil, "deleted")
		})
		return nil
	})
}

// remove forgets an app that has no process left. Its record goes first: of
// slots and sockets without one the next master disposes.
func (m *master) remove(a *app) {
	m.withdraw(appRecordName(a.name))
	a.size = 0
	a.stopSchedule()
	m.stopWatch(a)
	m.prune(a)
	m.removeRunDir(a)
	m.forgetMetrics(a)
	delete(m.apps, a.name)
	m.order = slices.DeleteFunc(m.order, func(name string) bool { return name == a.name })
}

// shutdown stops every app, and then the daemon ends. It returns when all
// processes have ended, and nothing is written to the home any more: whoever waits
// for it may remove that.
//
// It does not go by way of the line: a command that waits for a worker must not
// delay a stop. Such a command finds its slots stopped and ends.
func (m *master) shutdown(why string) {
	m.do(func() {
		if m.stopping {
			return
		}
		m.stopping, m.stopCause = true, commanded(why)
		m.log("stopping: %s", why)
		m.tellOfDaemon("stopping", why, "neko stops")
		m.kept("stopping", m.conn.Set("stopping", "1"))
		m.tellManager("STOPPING=1")
		m.stopInOrder()
	})
	m.until(func() bool { return len(m.processes) == 0 && !m.saver.busy })
	m.do(func() {
		for _, name := range slices.Clone(m.order) {
			a := m.apps[name]
			m.closeSockets(a)
			m.removeRunDir(a)
			delete(m.apps, name)
		}
		m.order = nil
	})
}
