package supervisor

import (
	"fmt"
	"slices"

	"github.com/nekoctl/neko/supervisor/spec"
)

func (m *master) stop(r reporter, targets []string) error {
	return m.eachLast(r, targets, m.stopChosen)
}

func (m *master) stopChosen(c chosen) error {
	m.do(func() {
		for _, s := range c.slots() {
			switch {
			case c.slot != nil && len(c.app.slots) > 1:
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

func (m *master) restart(r reporter, targets []string) error {
	return m.each(r, targets, func(c chosen) error {
		var err error
		m.do(func() {
			if err = m.listen(c.app, max(c.app.size, 1)); err != nil {
				err = m.listenError(c.app.name, err)
				return
			}
			for _, s := range c.slots() {
				if s.index >= c.app.size {
					continue
				}
				m.recycle(s, c.app.spec)
			}
			if c.slot == nil {
				m.resize(c.app, c.app.size) // it may have been scaled while it was stopped
			}
		})
		if err != nil {
			return err
		}
		return m.untilOnline(c.app, c.slot)
	})
}

// recycle ends what a slot has, and starts it again with a spec when all of it is
// gone.
func (m *master) recycle(s *slot, next *spec.App) {
	m.revive(s)
	s.spec = next
	s.cycle = s.serving != nil || s.starting != nil
	s.restarts++
}

func (m *master) delete(r reporter, targets []string) error {
	list, err := m.choose(targets)
	if err != nil {
		return err
	}
	m.do(func() {
		for _, c := range list {
			if c.slot != nil && len(c.app.slots) > 1 {
				err = failure(fmt.Sprintf("nekoctl scale %s -1, or delete %s", c.app.name, c.app.name),
					"%d is one of %d processes of %s", c.slot.id, len(c.app.slots), c.app.name)
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return m.eachLast(r, targets, func(c chosen) error {
		if err := m.stopChosen(chosen{app: c.app}); err != nil {
			return err
		}
		m.do(func() { m.remove(c.app) })
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
		m.stopping = true
		m.log("stopping: %s", why)
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
