package supervisor

import (
	"slices"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// renewal is a reload that nobody has commanded.
type renewal struct {
	again string // something has happened meanwhile that calls for another: what
}

// renew reloads what runs of an app, starts again what has ended by itself or has
// failed, and leaves what a person has stopped. It waits its turn behind commands.
func (m *master) renew(a *app, why, what string) {
	r := &renewal{}
	if a.renewals == nil {
		a.renewals = map[string]*renewal{}
	}
	a.renewals[why] = r
	m.log("%s is reloaded (%s): %s", a, why, what)
	go func() {
		err := m.renewNow(a, renewalCause(why, what))
		m.do(func() {
			delete(a.renewals, why)
			if m.apps[a.name] != a || m.stopping {
				return
			}
			if err != nil {
				m.log("%s (%s): %s", a, why, errorText(err))
			}
			if r.again != "" {
				m.renew(a, why, r.again)
			}
		})
	}()
}

// renewalCause is what a renewal is for who is replaced.
func renewalCause(why, what string) cause {
	switch why {
	case "watch":
		return cause{control.CauseWatch, what}
	case "cron_restart":
		return cause{control.CauseCron, what}
	}
	return cause{control.CauseReload, what}
}

func (m *master) renewNow(a *app, why cause) error {
	end, err := m.begin()
	if err != nil {
		return err
	}
	defer end()
	unlock, err := m.lock(chosen{app: a}, quiet{}, why)
	if err != nil {
		return err
	}
	defer unlock()
	var next *spec.App
	var slots []*slot
	m.do(func() {
		next = a.spec
		for _, s := range a.slots {
			switch {
			case s.want != run:
			case s.errored || s.finished:
				m.revive(s)
			default:
				slots = append(slots, s)
			}
		}
	})
	if next == nil { // this master has ended
		return errStopping
	}
	began := time.Now()
	notes, err := m.replaceAll(slots, next, 0)
	if len(slots) > 0 {
		m.countReload(a, err)
	}
	m.do(func() { m.tellOfReload(chosen{app: a}, slots, string(why.Kind), began, err) })
	for _, note := range notes {
		m.log("%s", note)
	}
	if err != nil {
		return err
	}
	if next.Type == spec.Task { // it takes as long as it takes
		return nil
	}
	return m.untilOnline(a, nil)
}

// any says whether this is so of a slot of the app.
func (a *app) any(is func(*slot) bool) bool { return slices.ContainsFunc(a.slots, is) }
