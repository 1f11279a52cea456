package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// A command runs in a goroutine of its own. It sets what slots want, in the
// loop, and waits until they have come to it. One command at a time works on an
// app; others wait in line.

var (
	errStopping = failure("", "the daemon is stopping")
	errGone     = errors.New("was deleted while the command waited for its turn")
)

// lock takes an app, or the slot of it that is meant, for a command with its
// reporter. It is gone if the command before has deleted it: to go on would
// bring back processes that have no name.
func (m *master) lock(c chosen, r reporter, why cause) (unlock func(), err error) {
	a := c.app
	select {
	case a.busy <- struct{}{}:
	default:
		m.do(func() {
			what := "waits for another command to end"
			if a.cause.Detail != "" {
				what += " (" + a.cause.Detail + ")"
			}
			r.report(control.Progress{Name: a.name, Whole: true, Message: what})
		})
		select {
		case a.busy <- struct{}{}:
		case <-m.ended:
			return nil, errStopping
		}
		m.waitInLine(r, a, "")
	}
	err = errStopping
	m.do(func() {
		switch {
		case m.stopping:
		case !m.knows(c):
			err = fmt.Errorf("%s %w", c, errGone)
		default:
			err = nil
			a.reporters, a.cause = append(a.reporters, r), why
			a.forgetTold()
			if t, ok := r.(interface{ traceOf() *control.Trace }); ok {
				a.trace.Store(t.traceOf())
			}
		}
	})
	if err != nil {
		<-a.busy
		return nil, err
	}
	return func() {
		m.do(func() {
			a.trace.Store(nil)
			a.reporters, a.cause = slices.DeleteFunc(a.reporters, func(x reporter) bool { return x == r }), cause{}
		})
		<-a.busy
	}, nil
}

// knows says whether an app and a process of it have not been deleted.
func (m *master) knows(c chosen) bool {
	return m.has(c) && (c.slot == nil || !c.slot.vacant)
}

// has says whether an app and a slot of it have not been removed. A vacant slot is
// still there, and on record.
func (m *master) has(c chosen) bool {
	slots := c.app.slots
	return m.apps[c.app.name] == c.app && (c.slot == nil || c.slot.index < len(slots) && slots[c.slot.index] == c.slot)
}

func failure(hint, format string, args ...any) *control.Error {
	return &control.Error{Message: fmt.Sprintf(format, args...), Hint: hint}
}

// chosen is what a target means: an app, or one slot of it.
type chosen struct {
	app  *app
	slot *slot // nil: all
}

func (c chosen) String() string {
	if c.slot != nil {
		return c.slot.String()
	}
	return c.app.name
}

// choose finds targets, in the order of their start; all must exist. What two
// targets mean is there once.
func (m *master) choose(targets []string) (list []chosen, err error) {
	m.do(func() {
		var all []control.Process
		for _, s := range m.slots() {
			all = append(all, s.identity())
		}
		for _, target := range targets {
			found, byID, bad := control.Choose(all, target)
			if bad != nil {
				err = bad
				return
			}
			if len(found) == 0 && target != "all" {
				err = m.unknown(target)
				return
			}
			for _, p := range found {
				c := chosen{app: m.apps[p.Name]}
				if byID {
					c.slot = c.app.slots[p.Slot]
				}
				list = append(list, c)
			}
		}
		var distinct []chosen
		for _, c := range list {
			if !slices.Contains(distinct, c) && (c.slot == nil || !slices.Contains(list, chosen{app: c.app})) {
				distinct = append(distinct, c)
			}
		}
		list = wholeApps(distinct)
	})
	return list, err
}

// wholeApps has an app in the place of all of its slots, for what goes for an app as
// a whole: it can be deleted, and a reload has a trial.
func wholeApps(list []chosen) (whole []chosen) {
	slots := map[*app]int{}
	for _, c := range list {
		slots[c.app]++
	}
	for _, c := range list {
		if c.slot != nil && slots[c.app] == len(c.app.inUse()) {
			c.slot = nil
		}
		if !slices.Contains(whole, c) {
			whole = append(whole, c)
		}
	}
	return whole
}

func (m *master) unknown(target string) error {
	hint := "nothing runs; `nekoctl start` starts something"
	if len(m.order) > 0 {
		var names, more []string // more: what is worth to be near to, too
		for _, name := range m.order {
			p := m.apps[name].spec
			if !slices.Contains(names, p.ShownName()) {
				names = append(names, p.ShownName())
			}
			more = append(more, p.Name, p.NamespaceName())
		}
		hint = "there is " + strings.Join(names, ", ") + "; `nekoctl list` shows all"
		if near := spec.Nearest(target, append(slices.Clone(names), more...)); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
	}
	if _, err := strconv.Atoi(target); err == nil {
		return failure(hint, "there is no process with the id %s", target)
	}
	return failure(hint, "there is no app or process %q", target)
}

// each runs a command on all that the targets mean, what they depend on first and
// else side by side, and joins the errors in their order. What depends on an app
// that has failed is left alone.
func (m *master) each(r reporter, targets []string, why cause, f func(chosen) error) error {
	return m.inLine(r, targets, why, func(l *line, a *app) error {
		var others []string
		m.do(func() { others = a.spec.Dependencies() })
		if failed := m.inTurn(r, a, l, others); failed != "" {
			return failure("", "%s was left alone, for it depends on %s, which failed", a.name, failed)
		}
		return nil
	}, f)
}

// eachLast is each the other way round, for what makes apps stop: those that depend
// on others go first, and whatever becomes of them the others follow.
func (m *master) eachLast(r reporter, targets []string, why cause, f func(chosen) error) error {
	m.cutOff(targets, why)
	return m.inLine(r, targets, why, func(l *line, a *app) error {
		var others []string
		m.do(func() {
			for _, other := range m.dependents(a.name) {
				others = append(others, other.name)
			}
		})
		m.inTurn(r, a, l, others)
		return nil
	}, f)
}

// cutOff stops what is to be stopped and has not come up: a command that waits for that
// has ended then, and not only when listen_timeout is over. A single process has what
// queues for it already, as its siblings have: it retires.
func (m *master) cutOff(targets []string, why cause) {
	list, err := m.choose(targets)
	if err != nil {
		return // the command itself will say so
	}
	m.do(func() {
		for _, c := range list {
			if !m.knows(c) {
				continue
			}
			for _, s := range c.slots() {
				if s.want == run && s.serving == nil && s.starting != nil {
					s.because = why
					if c.slot != nil {
						m.beginRetire(s)
					} else {
						m.retired(s)
					}
				}
			}
		}
	})
}

// inLine runs a command on all that the targets mean, on each app when it is its
// turn.
func (m *master) inLine(r reporter, targets []string, why cause, turn func(*line, *app) error, f func(chosen) error) error {
	list, err := m.choose(targets)
	if err != nil {
		return err
	}
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.app.name
	}
	l := newLine(names)
	errs := make([]error, len(list))
	var work sync.WaitGroup
	for i, c := range list {
		work.Go(func() {
			defer func() { l.ended(c.app.name, errs[i]) }()
			if errs[i] = turn(l, c.app); errs[i] != nil {
				return
			}
			unlock, err := m.lock(c, r, why)
			if err != nil {
				errs[i] = err
				return
			}
			defer unlock()
			errs[i] = f(c)
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

func (c chosen) slots() []*slot {
	if c.slot != nil {
		return []*slot{c.slot}
	}
	return c.app.inUse()
}
