package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/socket"
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
func (m *master) lock(c chosen, r reporter) (unlock func(), err error) {
	a := c.app
	select {
	case a.busy <- struct{}{}:
	case <-m.ended:
		return nil, errStopping
	}
	err = errStopping
	m.do(func() {
		switch {
		case m.stopping:
		case !m.knows(c):
			err = fmt.Errorf("%s %w", c, errGone)
		default:
			err = nil
			a.reporters = append(a.reporters, r)
		}
	})
	if err != nil {
		<-a.busy
		return nil, err
	}
	return func() {
		m.do(func() { a.reporters = slices.DeleteFunc(a.reporters, func(x reporter) bool { return x == r }) })
		<-a.busy
	}, nil
}

// knows says whether an app and a slot of it have not been removed.
func (m *master) knows(c chosen) bool {
	return m.apps[c.app.name] == c.app && (c.slot == nil || slices.Contains(c.app.slots, c.slot))
}

func failure(hint, format string, args ...any) *control.Error {
	return &control.Error{Message: fmt.Sprintf(format, args...), Hint: hint}
}

// start brings apps up. What cannot be checked or bound is found before any
// process starts, and then nothing starts. With reload, apps that run are
// reloaded even if their specs are the same. It returns notes worth telling.
func (m *master) start(r reporter, specs []spec.App, reload bool) (notes []string, err error) {
	for i := range specs {
		if err := specs[i].Check(); err != nil {
			return nil, specError(err)
		}
		if slices.ContainsFunc(specs[:i], func(other spec.App) bool { return other.Name == specs[i].Name }) {
			return nil, failure("give each app a name of its own", "there are two apps %s", specs[i].Name)
		}
	}
	tasks, err := m.enroll(specs, reload)
	if err != nil {
		return nil, err
	}
	for i, t := range tasks {
		more, startErr := m.startApp(r, t.app, &specs[i], t.renew)
		for errors.Is(startErr, errGone) {
			var again []task
			if again, startErr = m.enroll(specs[i:i+1], reload); startErr == nil {
				more, startErr = m.startApp(r, again[0].app, &specs[i], again[0].renew)
			}
		}
		notes = append(notes, more...)
		err = errors.Join(err, startErr)
	}
	return notes, err
}

// task is an app that start is to bring up, in another spec if renew is set.
type task struct {
	app   *app
	renew bool
}

// enroll makes apps known, with their sockets: all or none.
func (m *master) enroll(specs []spec.App, reload bool) (tasks []task, err error) {
	err = errStopping
	m.do(func() {
		if m.stopping {
			return
		}
		err = nil
		var fresh []*app
		abandon := func(problem error) {
			for _, a := range fresh {
				m.closeSockets(a)
			}
			tasks, err = nil, problem
		}
		for i := range specs {
			want := &specs[i]
			if a := m.apps[want.Name]; a != nil {
				same := sameSpec(a.spec, want)
				if problem := a.sameSockets(want); problem != nil {
					abandon(problem)
					return
				}
				tasks = append(tasks, task{a, !same || reload})
				continue
			}
			a := &app{name: want.Name, spec: want, size: instances(want), busy: make(chan struct{}, 1)}
			if problem := m.listen(a, a.size); problem != nil {
				abandon(m.listenError(a.name, problem))
				return
			}
			fresh = append(fresh, a)
			tasks = append(tasks, task{a, false})
		}
		for _, a := range fresh {
			m.apps[a.name] = a
			m.order = append(m.order, a.name)
			m.recordApp(a)
		}
	})
	return tasks, err
}

// startApp starts the slots of an app that do not run, or reloads it into
// another spec if it runs with an older one.
func (m *master) startApp(r reporter, a *app, next *spec.App, renew bool) (notes []string, err error) {
	unlock, err := m.lock(chosen{app: a}, r)
	if err != nil {
		return nil, err
	}
	defer unlock()
	running := false
	m.do(func() {
		err = a.sameSockets(next) // they may have been opened meanwhile
		running = slices.ContainsFunc(a.slots, func(s *slot) bool { return s.want == run && s.state == control.Online })
	})
	if err != nil {
		return nil, err
	}
	if renew && running {
		notes, err := m.roll(a, next, nil)
		if err != nil {
			return nil, err
		}
		m.do(func() {
			n := max(instances(next), 1)
			if err = m.listen(a, max(n, len(a.slots))); err != nil { // the sockets of new slots
				err = m.listenError(a.name, err)
				return
			}
			for _, s := range a.slots {
				if s.want != run {
					m.revive(s)
				}
			}
			m.resize(a, n)
		})
		if err != nil {
			return nil, err
		}
		return append(notes, a.name+" was reloaded into its new settings"), m.untilOnline(a, nil)
	}
	idle := true
	m.do(func() {
		if renew {
			a.spec = next
			a.size = instances(next)
			for _, s := range a.slots {
				s.spec = next
			}
		}
		if err = m.listen(a, max(a.size, len(a.slots))); err != nil {
			err = m.listenError(a.name, err)
			return
		}
		for _, s := range a.slots {
			if s.index < a.size && (s.want != run || s.errored || s.waiting != nil) {
				m.revive(s)
				idle = false
			}
		}
		idle = idle && len(a.slots) >= a.size
		m.resize(a, a.size)
	})
	if err != nil {
		return nil, err
	}
	if idle {
		notes = []string{a.name + " is already online"}
	}
	return notes, m.untilOnline(a, nil)
}

// untilOnline waits until every slot that shall run does, or one has failed.
func (m *master) untilOnline(a *app, only *slot) error {
	var failed *slot
	var reason string
	var victim *process
	stopping := true
	m.until(func() bool {
		failed, stopping = nil, m.stopping
		for _, s := range a.slots {
			if only != nil && s != only || s.want != run || s.serving != nil && !s.cycle {
				continue
			}
			if s.attempts == 0 {
				return false
			}
			failed, reason, victim = s, s.reason, s.victim
		}
		return true
	})
	switch {
	case stopping:
		return errStopping
	case failed == nil:
		return nil
	}
	words := lastWords(victim)
	return &control.Error{
		Message: fmt.Sprintf("%s: %s", failed, reason),
		Hint:    fmt.Sprintf("%sit is being tried again; see `nekoctl logs %s`, or `nekoctl delete %s` to give it up", advice(a.spec, words), a.name, a.name),
		Output:  words,
	}
}

// advice is what to do about the one mistake that every program words alike: it
// binds a port that is taken.
func advice(app *spec.App, output []string) string {
	if !slices.ContainsFunc(output, func(line string) bool {
		return strings.Contains(line, "EADDRINUSE") || strings.Contains(strings.ToLower(line), "address already in use")
	}) {
		return ""
	}
	switch {
	case len(app.Listen) > 0:
		return "neko has opened the sockets of `listen:` for it: it should take them as LISTEN_FDS says, or do without `listen:`; "
	case app.Instances != 1:
		return "it binds its port itself, which one process can: run one instance, or let neko open the socket with `listen:`; "
	}
	return "something else has its port; "
}

func instances(app *spec.App) int {
	if app.Instances == spec.Max {
		return cpus()
	}
	return app.Instances
}

// sameSpec compares what a person has chosen.
func sameSpec(a, b *spec.App) bool {
	x, y := *a, *b
	x.Source, y.Source = "", ""
	return reflect.DeepEqual(x, y)
}

// sameSockets says why an app that runs cannot go into another spec.
func (a *app) sameSockets(next *spec.App) error {
	running := len(a.groups) > 0 || slices.ContainsFunc(a.slots, func(s *slot) bool { return s.serving != nil || s.starting != nil })
	if !running || slices.Equal(a.spec.Listen, next.Listen) && a.spec.Balance == next.Balance {
		return nil
	}
	return failure(fmt.Sprintf("nekoctl delete %s, then start it again", a.name),
		"%s is online on other addresses; a reload keeps its sockets and cannot change them", a.name)
}

func (m *master) listenError(app string, err error) error {
	var inUse *socket.InUseError
	if errors.As(err, &inUse) {
		for _, other := range m.apps {
			for _, g := range other.groups {
				if g.Address == inUse.Address {
					inUse.Holder = "the app " + other.name
				}
			}
		}
		return failure("stop what uses it, or choose another address with --listen or `listen:`", "%s: %v", app, err)
	}
	hint := "choose another address with --listen or `listen:`"
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		hint = "this machine does not have that address; :8080, say, is port 8080 of all that it has"
	case errors.Is(err, unix.EACCES):
		hint = "a port below 1024 takes root or CAP_NET_BIND_SERVICE; a unix socket, the right to write to its folder"
	case errors.Is(err, unix.ENOENT):
		hint = "make the socket's folder first"
	}
	return failure(hint, "%s: %v", app, err)
}

func specError(err error) error {
	var first *spec.Error
	if errors.As(err, &first) {
		return failure(first.Hint, "%v", err)
	}
	return failure("", "%v", err)
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
		for _, target := range targets {
			if target == "all" {
				for _, name := range m.order {
					list = append(list, chosen{app: m.apps[name]})
				}
				continue
			}
			if a := m.apps[target]; a != nil {
				list = append(list, chosen{app: a})
				continue
			}
			found := false
			for _, s := range m.slots() {
				if strconv.Itoa(s.id) == target {
					list = append(list, chosen{s.app, s})
					found = true
				}
			}
			if !found {
				err = m.unknown(target)
				return
			}
		}
		var distinct []chosen
		for _, c := range list {
			if !slices.Contains(distinct, c) && (c.slot == nil || !slices.Contains(list, chosen{app: c.app})) {
				distinct = append(distinct, c)
			}
		}
		list = distinct
	})
	return list, err
}

func (m *master) unknown(target string) error {
	hint := "nothing runs; `nekoctl start` starts something"
	if len(m.order) > 0 {
		hint = "there is " + strings.Join(m.order, ", ") + "; `nekoctl list` shows all"
		if near := spec.Nearest(target, m.order); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
	}
	return failure(hint, "there is no app or process %q", target)
}

// each runs a command on all that the targets mean, side by side, and joins
// the errors in their order.
func (m *master) each(r reporter, targets []string, f func(chosen) error) error {
	list, err := m.choose(targets)
	if err != nil {
		return err
	}
	errs := make([]error, len(list))
	done := make(chan struct{})
	for i, c := range list {
		go func() {
			defer func() { done <- struct{}{} }()
			unlock, err := m.lock(c, r)
			if err != nil {
				errs[i] = err
				return
			}
			defer unlock()
			errs[i] = f(c)
		}()
	}
	for range list {
		<-done
	}
	return errors.Join(errs...)
}

func (c chosen) slots() []*slot {
	if c.slot != nil {
		return []*slot{c.slot}
	}
	return c.app.slots
}

func (m *master) stop(r reporter, targets []string) error {
	return m.each(r, targets, m.stopChosen)
}

func (m *master) stopChosen(c chosen) error {
	m.do(func() {
		for _, s := range c.slots() {
			s.cycle = false
			switch {
			case c.slot != nil && len(c.app.slots) > 1:
				m.beginRetire(s) // its siblings serve on
			default:
				m.retired(s)
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
				m.revive(s)
				s.cycle = s.serving != nil || s.starting != nil
				s.restarts++
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

// reload replaces processes one by one by ones that are ready. What is stopped
// stays so. It returns notes worth telling.
func (m *master) reload(r reporter, targets []string) (notes []string, err error) {
	err = m.each(r, targets, func(c chosen) error {
		more, err := m.roll(c.app, c.app.spec, c.slot)
		m.do(func() { notes = append(notes, more...) })
		return err
	})
	return notes, err
}

// roll gives every running slot a successor with the next spec, one at a time.
// If one fails, its predecessor and the slots after it stay as they are.
func (m *master) roll(a *app, next *spec.App, only *slot) (notes []string, err error) {
	var slots []*slot
	m.do(func() { slots = slices.Clone(a.slots) })
	for _, s := range slots {
		if only != nil && s != only {
			continue
		}
		note, err := m.replace(s, next)
		if note != "" {
			notes = append(notes, note)
		}
		if err != nil {
			return notes, err
		}
	}
	if only == nil {
		m.do(func() {
			a.spec = next
			m.recordApp(a)
		})
	}
	return notes, nil
}

// replace starts a successor and waits until it serves. While a predecessor of
// an earlier reload still drains it waits, so that processes do not pile up.
//
// A process that has bound a port by itself, and alone, is restarted: its
// successor could not bind the port.
func (m *master) replace(s *slot, next *spec.App) (note string, err error) {
	m.until(func() bool { return s.want != run || len(s.leaving) == 0 && s.starting == nil })
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
	skip := true
	m.do(func() {
		skip = s.want != run
		switch {
		case skip:
			return
		case s.serving == nil: // it crashes; the reload may well be the cure
			m.revive(s)
			s.spec = next
			return
		case port != "" && s.serving.PID == pid:
			s.spec = next
			m.revive(s)
			s.cycle = true
			s.restarts++
			note = fmt.Sprintf("%s was restarted, not reloaded: it binds %s itself, which its successor could not do beside it", s, port)
			return
		}
		// Until the successor serves, a crash of the slot is answered with what is
		// known to work.
		if successor, err = m.launch(s, next); err == nil {
			m.touch(s)
		}
	})
	switch {
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
		reason, ready = successor.failure, successor.ready
		return ready || s.starting != successor
	})
	if ready {
		m.do(func() {
			s.restarts++
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
	return m.each(r, targets, func(c chosen) error {
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
	m.prune(a)
	delete(m.apps, a.name)
	m.order = slices.DeleteFunc(m.order, func(name string) bool { return name == a.name })
}

// scale sets the number of slots: "4", "+1", "-1" or "max". New ones must become
// ready; the ones that are too many serve what is on its way to them first.
func (m *master) scale(r reporter, name, text string) error {
	list, err := m.choose([]string{name})
	if err != nil {
		return err
	}
	a := list[0].app
	if name == "all" || len(list) != 1 || list[0].slot != nil {
		return failure("give the name of one app", "%q is not an app", name)
	}
	unlock, err := m.lock(list[0], r)
	if err != nil {
		return err
	}
	defer unlock()
	m.do(func() {
		var n int
		if n, err = scaled(a.size, text); err != nil {
			return
		}
		if a.runs() {
			if err = m.listen(a, max(n, len(a.slots))); err != nil {
				err = m.listenError(a.name, err)
				return
			}
		}
		resized := *a.spec
		resized.Instances = n
		a.spec = &resized
		m.resize(a, n)
	})
	if err != nil {
		return err
	}
	m.until(func() bool { return len(a.slots) <= a.size })
	return m.untilOnline(a, nil)
}

func scaled(now int, text string) (int, error) {
	if text == "max" {
		return cpus(), nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || text == "" {
		return 0, failure("give a number, +N, -N or max", "%q is no number of instances", text)
	}
	if text[0] == '+' || text[0] == '-' {
		n += now
	}
	if n < 1 || n > spec.MaxInstances {
		return 0, failure("`nekoctl stop` stops an app", "%d instances: there can be 1 to %d", n, spec.MaxInstances)
	}
	return n, nil
}

// shutdown stops every app, and then the daemon ends. It returns when all
// processes have ended.
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
		if err := m.conn.Notify("STOPPING=1"); err != nil {
			m.log("tell the service manager: %v", err)
		}
		for _, s := range m.slots() {
			m.touch(s)
		}
	})
	m.until(func() bool { return len(m.processes) == 0 })
	m.do(func() {
		for _, name := range slices.Clone(m.order) {
			a := m.apps[name]
			m.closeSockets(a)
			delete(m.apps, name)
		}
		m.order = nil
	})
}

// boot starts what a foreground daemon was given. A mistake in it ends the
// daemon; an app that does not come up is tried again like any other.
func (m *master) boot(text string) {
	var specs []spec.App
	fail := func(err error) {
		if err := m.conn.Fail(errorText(err)); err != nil {
			m.log("tell the keeper: %v", err)
		}
		os.Exit(1)
	}
	if err := json.Unmarshal([]byte(text), &specs); err != nil {
		fail(err)
	}
	_, err := m.start(quiet{}, specs, false)
	known, stopping := false, true
	m.do(func() { known, stopping = len(m.apps) > 0, m.stopping })
	if stopping {
		return
	}
	if err != nil && !known {
		fail(err)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, errorText(err))
	}
	m.do(func() {
		m.kept("booted", m.conn.Set("booted", "1"))
		for _, name := range m.order {
			a := m.apps[name]
			online := 0
			for _, s := range a.slots {
				if s.state == control.Online {
					online++
				}
			}
			line := fmt.Sprintf("%s: %d of %d online", name, online, a.size)
			if url := announceURL(a); url != "" {
				line += " at " + url
			}
			fmt.Fprintln(os.Stderr, line)
		}
	})
}

// endWhenAllHaveFailed makes a foreground daemon, a container's one purpose, end
// when nothing of it will ever serve again.
func (m *master) endWhenAllHaveFailed() {
	m.until(func() bool {
		all := m.slots()
		return !m.stopping && len(all) > 0 && !slices.ContainsFunc(all, func(s *slot) bool { return s.state != control.Errored })
	})
	m.do(func() { m.code = 1 })
	m.shutdown("every app has failed for good")
}

// errorText is an error as a person reads it on standard error.
func errorText(err error) string {
	var e *control.Error
	if !errors.As(err, &e) {
		return "error: " + err.Error()
	}
	text := "error: " + e.Message
	for _, line := range e.Output {
		text += "\n  | " + line
	}
	if e.Hint != "" {
		text += "\nhint: " + e.Hint
	}
	return text
}
