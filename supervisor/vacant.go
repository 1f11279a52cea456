package supervisor

import (
	"slices"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// A single process of an app can be deleted, as in PM2. Its slot cannot go, if it is
// not the last one: the kernel numbers the sockets of a group, and would move another
// into the gap. So it stays as a vacant one, which has no id, is in no list and to
// which no command comes, until the app is to have more slots again.

// noID is that of a vacant slot.
const noID = -1

// inUse are the slots that are not vacant.
func (a *app) inUse() []*slot {
	return slices.DeleteFunc(slices.Clone(a.slots), func(s *slot) bool { return s.vacant })
}

// instances is how many slots are to be in use: the vacant ones are not, nor are those
// that are about to go.
func (a *app) instances() int {
	n := a.size
	for _, s := range a.slots[:min(a.size, len(a.slots))] {
		if s.vacant {
			n--
		}
	}
	return n
}

// sizeFor is the size with which so many slots are in use, the vacant ones left as
// they are.
func (a *app) sizeFor(instances int) int {
	size := 0
	for instances > 0 {
		if size >= len(a.slots) || !a.slots[size].vacant {
			instances--
		}
		size++
	}
	return size
}

// vacate makes a slot vacant that is stopped and idle, and has the app remember that
// it has one process less.
func (m *master) vacate(s *slot) {
	a := s.app
	m.retired(s) // one that has ended by itself is idle, whatever it was to come to
	s.cancel(&s.waiting)
	s.vacant, s.id = true, noID
	s.errored, s.finished, s.restarts, s.unstable, s.reason, s.lastExit, s.backoff = false, false, 0, 0, "", "", backoff{}
	s.ends = nil
	m.touch(s)
	fewer := *a.spec
	fewer.Instances = a.instances()
	a.spec = &fewer
	for a.size > 1 && a.size == len(a.slots) && a.slots[a.size-1].vacant {
		a.size--
		m.prune(a)
	}
	m.recordApp(a)
	m.wakeDependents(a) // this slot may be gone by now, and be settled no more
}

// occupy takes vacant slots into use until so many slots are, those with the lowest
// numbers first. They run if the app does.
func (m *master) occupy(a *app, instances int) {
	runs, used := a.runs(), a.instances()
	for _, s := range a.slots {
		if used >= instances {
			break
		}
		if !s.vacant {
			if s.index >= a.size {
				used++ // it was about to go, and stays
			}
			continue
		}
		used++
		s.vacant, s.id, s.createdAt, s.spec = false, m.freeID(), time.Now(), a.spec
		s.state = control.Stopped
		if runs {
			m.revive(s)
			s.awaits = a.slots[0].awaits && a.slots[0] != s
		}
		m.touch(s)
	}
}

// deleteOne deletes the process of one slot, whose siblings serve on. If there are
// none any more, it was the last of its app: those that are about to go are no
// siblings, and the app goes when they have gone.
func (m *master) deleteOne(c chosen) error {
	if err := m.stopChosen(c); err != nil {
		return err
	}
	a, last := c.app, false
	m.do(func() { last = m.knows(c) && c.slot.index < a.size && a.instances() == 1 })
	if last {
		m.until(func() bool { return len(a.slots) <= a.size })
	}
	m.do(func() {
		switch {
		case m.stopping || !m.knows(c) || !c.slot.idle():
		case last:
			m.remove(a)
		default:
			m.vacate(c.slot)
		}
	})
	return nil
}

// unwatch lets no change of a file reload an app any more.
func (m *master) unwatch(a *app) {
	if len(a.spec.Watch) == 0 {
		return
	}
	m.setSpec(a, func(next *spec.App) { next.Watch = nil })
	m.stopWatch(a)
}

// setSpec changes a setting of an app that concerns none of its processes.
func (m *master) setSpec(a *app, change func(next *spec.App)) {
	next := *a.spec
	change(&next)
	for _, s := range a.slots {
		if s.spec == a.spec {
			s.spec = &next
		}
	}
	a.spec = &next
	m.recordApp(a)
}
