package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/nekoctl/neko/supervisor/spec"
)

// An app's depends_on holds back its slots when they are started: they await what
// the other apps must have come to (slot.awaits), however long that takes and
// whichever master is there by then. Once they have started they are on their own:
// no crash of the other app stops them. A command that works on several apps goes
// by the same order, and a stop by its reverse.

// met says whether an app has come to what another needs.
func (m *master) met(dep spec.Dependency) bool {
	a := m.apps[dep.App]
	if a == nil || len(a.slots) == 0 {
		return false
	}
	return !slices.ContainsFunc(a.inUse(), func(s *slot) bool {
		switch {
		case s.index >= a.size:
			return false // it is about to go
		case dep.Condition == spec.Completed:
			return !s.finished
		case s.want != run:
			return true
		case dep.Condition == spec.Started:
			return s.serving == nil && s.starting == nil && !s.finished
		}
		return s.serving == nil || s.cycle
	})
}

// awaited is the first of what a slot waits for, nil if it can start.
func (m *master) awaited(s *slot) *spec.Dependency {
	for i := range s.spec.DependsOn {
		if !m.met(s.spec.DependsOn[i]) {
			return &s.spec.DependsOn[i]
		}
	}
	return nil
}

// startSlot makes a slot run that does not, once what its app depends on is there.
func (m *master) startSlot(s *slot) {
	fresh := s.want != run || s.errored || s.finished || s.awaits
	m.revive(s)
	s.awaits = fresh && s.serving == nil && s.starting == nil && len(s.spec.DependsOn) > 0
}

// release lets a slot start that has awaited what is there now.
func (m *master) release(s *slot) {
	if s.awaits {
		s.reason = m.heldBack(s)
		s.awaits = s.reason != ""
	}
}

// heldBack is why a slot that awaits something goes on to, "" if it does not.
func (m *master) heldBack(s *slot) string {
	if dep := m.awaited(s); dep != nil && s.want == run {
		return "waits for " + dep.App + m.trouble(dep)
	}
	return ""
}

// trouble is why an app will not come up soon, "" if it may.
func (m *master) trouble(dep *spec.Dependency) string {
	a := m.apps[dep.App]
	if a == nil {
		return ", which is not there"
	}
	for _, s := range a.inUse() {
		switch {
		case s.want != run:
			return ", which is stopped"
		case s.awaits: // its own turn has not come
		case s.errored, s.attempts > 0 && s.serving == nil:
			return ", which failed: " + s.reason
		case s.finished && dep.Condition == spec.Ready:
			return ", which has ended: " + s.reason
		}
	}
	return ""
}

// dependents are the apps that depend on one.
func (m *master) dependents(name string) (list []*app) {
	for _, other := range m.order {
		if a := m.apps[other]; a.spec.DependsOnApp(name) {
			list = append(list, a)
		}
	}
	return list
}

// wakeDependents lets those look for which something has changed with this app. Not only
// the states of its slots count: it is met, too, when the last that did not serve goes.
func (m *master) wakeDependents(a *app) {
	for _, other := range m.dependents(a.name) {
		for _, s := range other.slots {
			if s.awaits && m.heldBack(s) != s.reason {
				m.touch(s)
			}
		}
	}
}

// present says whether an app has processes.
func (a *app) present() bool {
	return slices.ContainsFunc(a.slots, func(s *slot) bool { return !s.empty() })
}

// needed are the names of the apps that others depend on which have not gone yet.
func (m *master) needed() map[string]bool {
	var needed map[string]bool
	for _, a := range m.apps {
		if len(a.spec.DependsOn) == 0 || !a.present() {
			continue
		}
		if needed == nil {
			needed = map[string]bool{}
		}
		for _, dep := range a.spec.DependsOn {
			needed[dep.App] = true
		}
	}
	// In a cycle, which only a damaged state can have, nobody could be the first.
	for _, a := range m.apps {
		if a.present() && !needed[a.name] {
			return needed
		}
	}
	return nil
}

// heldUp says whether an app stays on in a daemon that stops, as others that depend
// on it have not gone yet.
func (m *master) heldUp(a *app) bool { return m.needed()[a.name] }

// stopInOrder stops, in a daemon that does, what nobody needs any more.
func (m *master) stopInOrder() {
	needed := m.needed()
	for _, name := range m.order {
		a := m.apps[name]
		held := needed[name]
		for _, s := range a.slots {
			switch {
			case s.serving != nil && held:
			case s.want == run, s.want == retire && (s.stopsAt.IsZero() || s.serving == nil):
				m.stopLater(s)
			}
		}
	}
}

// checkDependencies says why specs cannot be started: what they depend on is
// neither among them nor known, or a cycle.
func (m *master) checkDependencies(specs []spec.App) error {
	all := slices.Clone(specs)
	var names []string
	for i := range specs {
		names = append(names, specs[i].Name)
	}
	for _, name := range m.order {
		if !slices.Contains(names, name) {
			all = append(all, *m.apps[name].spec)
			names = append(names, name)
		}
	}
	for i := range specs {
		for _, dep := range specs[i].DependsOn {
			if slices.Contains(names, dep.App) {
				continue
			}
			hint := "start it along with this one, from one file for example"
			if near := spec.Nearest(dep.App, names); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			return failure(hint, "%s depends on %s, which is not there", specs[i].Name, dep.App)
		}
	}
	if path := spec.Cycle(all); path != nil {
		return failure("none of them could be the first", "depends_on has a cycle: %s", strings.Join(path, " → "))
	}
	return nil
}

// withDependencies adds to specs those of known apps that they depend on and that
// have not come to what is needed: who starts an app wants it to work. Needed are the
// names of all that apps depend on which are started.
func (m *master) withDependencies(specs []spec.App, o startOptions) (all []spec.App, needed map[string]bool) {
	needed = map[string]bool{}
	has := func(name string) bool {
		return slices.ContainsFunc(specs, func(a spec.App) bool { return a.Name == name })
	}
	for again := true; again; {
		again = false
		for i := 0; i < len(specs); i++ {
			if !o.starts(&specs[i], m.apps[specs[i].Name] != nil) && !needed[specs[i].Name] {
				continue
			}
			for _, dep := range specs[i].DependsOn {
				if a := m.apps[dep.App]; a != nil && !has(dep.App) && !m.met(dep) {
					specs = append(specs, *a.spec)
				}
				again = again || !needed[dep.App]
				needed[dep.App] = true
			}
		}
	}
	return specs, needed
}

// line is the order of a command's work on several apps.
type line struct {
	mu   sync.Mutex
	apps map[string]*turn
}

type turn struct {
	left int           // pieces of work
	done chan struct{} // closed when none is
	err  error         // of one that has failed
}

// newLine has a piece of work for each name.
func newLine(names []string) *line {
	l := &line{apps: map[string]*turn{}}
	for _, name := range names {
		if l.apps[name] == nil {
			l.apps[name] = &turn{done: make(chan struct{})}
		}
		l.apps[name].left++
	}
	return l
}

// ended takes down how a piece of work on an app has ended.
func (l *line) ended(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.apps[name]
	if err != nil {
		t.err = err
	}
	if t.left--; t.left == 0 {
		close(t.done)
	}
}

// pending is the first of others of which there is work to be done, "" if there is none.
func (l *line) pending(others []string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, other := range others {
		if t := l.apps[other]; t != nil && t.left > 0 {
			return other
		}
	}
	return ""
}

// after waits for the work on others, and returns one that has failed, "" if none
// has.
func (l *line) after(others []string) (failed string) {
	for _, other := range others {
		if t := l.apps[other]; t != nil {
			if <-t.done; t.err != nil && failed == "" {
				failed = other
			}
		}
	}
	return failed
}
