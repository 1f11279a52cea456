package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// reload replaces processes by ones that are ready, so many of an app at a time; 0: as
// its spec says. What is stopped stays so. It returns notes worth telling.
func (m *master) reload(r reporter, targets []string, parallel int) (notes []string, err error) {
	err = m.each(r, targets, cause{control.CauseReload, "reload"}, func(c chosen) error {
		more, err := m.roll(c.app, c.app.spec, c.slot, parallel)
		m.do(func() { notes = append(notes, more...) })
		return err
	})
	if err == nil {
		m.do(func() { m.reloadFailed = "" })
	}
	return notes, err
}

// longestTrial bounds min_uptime where it is the time for which the first successor
// of a reload, once it is ready, must live beside its predecessor.
const longestTrial = 5 * time.Second

func trial(app *spec.App) time.Duration { return min(app.MinUptime.D(), longestTrial) }

// roll gives every running slot a successor with the next spec.
func (m *master) roll(a *app, next *spec.App, only *slot, parallel int) (notes []string, err error) {
	var slots []*slot
	var sized grant
	m.do(func() {
		m.grant = granted()
		slots, sized = a.inUse(), m.grant
	})
	if only != nil {
		slots = []*slot{only}
	}
	began, reason := time.Now(), byCommand
	if next != a.spec {
		reason = bySettings
	}
	notes, err = m.replaceAll(slots, next, parallel)
	m.countReload(a, err)
	m.do(func() { m.tellOfReload(chosen{a, only}, slots, reason, began, err) })
	if err == nil && only == nil {
		m.do(func() {
			a.spec, a.grant = next, sized
			m.recordApp(a)
		})
	}
	return notes, err
}

// replaceAll gives slots successors, so many at a time; 0: as the spec says. If one
// fails, its predecessor and the slots after it stay as they are. The first successor
// is alone and on trial: it must have been ready for min_uptime before its predecessor
// leaves, for many a mistake shows only when a program has begun to work, however long
// it took to load.
func (m *master) replaceAll(slots []*slot, next *spec.App, parallel int) (notes []string, err error) {
	if len(slots) == 0 {
		return nil, nil
	}
	note, err := m.replace(slots[0], next, trial(next))
	if note != "" {
		notes = append(notes, note)
	}
	if parallel <= 0 {
		parallel = next.Parallel
	}
	var mu sync.Mutex
	var work sync.WaitGroup
	free := make(chan struct{}, max(parallel, 1))
	for _, s := range slots[1:] {
		free <- struct{}{}
		mu.Lock()
		failed := err != nil
		mu.Unlock()
		if failed {
			break
		}
		work.Go(func() {
			defer func() { <-free }()
			note, bad := m.replace(s, next, 0)
			mu.Lock()
			defer mu.Unlock()
			if note != "" {
				notes = append(notes, note)
			}
			err = errors.Join(err, bad)
		})
	}
	work.Wait()
	return notes, err
}

// replace starts a successor and waits until it serves. While a predecessor of
// an earlier reload still drains it waits, so that processes do not pile up.
//
// A process that has bound a port by itself, and alone, is restarted: its
// successor could not bind the port.
func (m *master) replace(s *slot, next *spec.App, trial time.Duration) (note string, err error) {
	m.do(func() { s.held++ })
	m.until(func() bool { return s.want != run || len(s.leaving) == 0 && s.starting == nil })
	m.do(func() { s.held-- })
	pid, port := 0, ""
	m.do(func() {
		if s.serving != nil && len(s.spec.Listen) == 0 {
			pid = s.serving.PID
		}
	})
	if pid != 0 {
		port = socket.Exclusive(pid)
	}
	var successor *process
	skip, again := true, false
	m.do(func() {
		skip = s.want != run || s.finished || s.awaits || s.spec.Type == spec.Task
		switch {
		case skip:
			return
		case s.starting != nil: // since it was looked at: two have no place
			again = true
			return
		case s.serving == nil: // it crashes; the reload may well be the cure
			m.revive(s)
			s.spec = next
			return
		case port != "" && s.serving.PID == pid:
			m.recycle(s, next)
			note = fmt.Sprintf("%s was restarted, not reloaded: it binds %s itself, which its successor could not do beside it", s, port)
			return
		}
		// Until the successor serves, a crash of the slot is answered with what is
		// known to work.
		successor = m.newProcess(s, next)
		successor.trial, successor.because, s.starting = trial, s.app.cause, successor
		err = m.launch(successor)
		m.touch(s)
	})
	switch {
	case again:
		return m.replace(s, next, trial)
	case err != nil:
		return "", failure("the running process stays", "%s: %v", s, err)
	case skip:
		return "", nil
	case successor == nil:
		return note, m.untilOnline(s.app, s)
	}
	var reason string
	var ready bool
	m.until(func() bool {
		reason, ready = successor.failure, successor.tookOver
		return ready || s.starting != successor
	})
	if ready {
		m.do(func() {
			s.restarts++
			m.countRestart(s.app, cmp.Or(s.app.cause.Kind, control.CauseReload))
			s.unstable, s.createdAt = 0, time.Now()
			m.touch(s)
		})
		return "", nil
	}
	if reason == "" {
		reason = "was stopped before it was ready"
	}
	words := lastWords(successor)
	return "", &control.Error{
		Message: fmt.Sprintf("%s: the new process %s", s, reason),
		Hint:    advice(next, words) + "the running process stays and serves on; see `nekoctl logs " + s.app.name + "`",
		Output:  words,
	}
}
