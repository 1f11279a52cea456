package supervisor

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// serveSpecs answers what `nekoctl save` keeps. A daemon that stops has none:
// there, everything is stopped.
func (m *master) serveSpecs(w http.ResponseWriter, _ *http.Request) {
	saved := []control.Saved{}
	stopping := false
	m.look(func() {
		stopping = m.stopping
		for _, name := range m.order {
			a := m.apps[name]
			saved = append(saved, control.Saved{App: *a.spec, Stopped: !a.runs()})
		}
	})
	if stopping {
		answer(w, http.StatusServiceUnavailable, errStopping)
		return
	}
	answer(w, http.StatusOK, saved)
}

// resurrect brings up what `nekoctl save` has kept. An app that is known stays
// what it is. One that cannot be started is stopped, with the reason at its slots,
// and the others start: after a reboot nobody may be there to look.
func (m *master) resurrect(r reporter, saved []control.Saved, daemon spec.Daemon) (notes []string, err error) {
	for i := range saved {
		if err := saved[i].App.CheckValues(); err != nil {
			return nil, specError(err)
		}
		if i > 0 {
			saved[i].App.ShareEnv(&saved[i-1].App)
		}
	}
	var before spec.Daemon
	m.do(func() { before = m.settings })
	settings, err := m.prepareSettings(before.Over(daemon))
	if err != nil { // it is no reason to start nothing after a reboot
		notes = append(notes, err.Error())
	} else {
		m.do(func() { m.take(settings) })
	}
	if err := m.makeKnown(saved); err != nil {
		return nil, err
	}
	var specs []spec.App
	var errs []error
	for _, s := range saved {
		if s.Stopped {
			continue
		}
		// Each for itself: start takes all or none.
		app, err := m.makeStartable(s.App.Name)
		switch {
		case err != nil:
			errs = append(errs, err)
			m.do(func() {
				m.tellOfCommand(control.Event{Name: s.App.Name, Title: s.App.Title}, control.EventStart, nil, err, "")
			})
		case app != nil:
			specs = append(specs, *app)
		}
	}
	more, err := m.start(r, specs, startOptions{named: true})
	m.do(func() { // the sockets of those that did not come to it are closed
		for _, s := range m.slots() {
			m.touch(s)
		}
	})
	return append(notes, more...), errors.Join(append(errs, err)...)
}

// makeKnown adds apps in their order, all stopped.
func (m *master) makeKnown(saved []control.Saved) (err error) {
	err = errStopping
	m.do(func() {
		if m.stopping {
			return
		}
		err = nil
		m.grant = granted()
		for i := range saved {
			want := &saved[i].App
			if m.apps[want.Name] == nil {
				a := m.newApp(want)
				m.add(a)
				for _, s := range a.slots {
					m.touch(s)
				}
			}
		}
	})
	return err
}

// makeStartable finds what start would refuse an app for, and opens its sockets.
// It returns its settings, nil if it has been deleted.
func (m *master) makeStartable(name string) (found *spec.App, err error) {
	m.do(func() {
		if a := m.apps[name]; a != nil {
			copied := *a.spec
			found = &copied
		}
	})
	if found == nil {
		return nil, nil
	}
	if problem := found.Check(); problem != nil {
		err = specError(fmt.Errorf("%s: %w", name, problem))
	}
	m.do(func() {
		a := m.apps[name]
		if a == nil || m.stopping {
			found = nil
			return
		}
		if err == nil {
			err = m.checkDependencies([]spec.App{*found})
		}
		if err == nil {
			if problem := m.listen(a, max(a.size, len(a.slots))); problem != nil {
				err = m.listenError(name, problem)
			}
		}
		if err != nil {
			for _, s := range a.slots {
				if s.want == stop {
					s.reason = err.Error()
					m.touch(s)
				}
			}
		}
	})
	return found, err
}
