package supervisor

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// startOptions say what start does with apps that are known.
type startOptions struct {
	reload   bool        // apps that run are reloaded even if their specs are the same
	restart  bool        // or their processes are stopped, and started with the new specs
	named    bool        // apps without autostart are started, too
	daemon   spec.Daemon // is set before
	parallel int         // processes of an app that are replaced at a time; 0: as its spec says
}

// start brings apps up. What cannot be checked or bound is found before any
// process starts, and then nothing starts. It returns notes worth telling.
func (m *master) start(r reporter, specs []spec.App, o startOptions) (notes []string, err error) {
	for i := range specs {
		if err := specs[i].Check(); err != nil {
			return nil, specError(err)
		}
		if slices.ContainsFunc(specs[:i], func(other spec.App) bool { return other.Name == specs[i].Name }) {
			return nil, failure("give each app a name of its own", "there are two apps %s", specs[i].Name)
		}
		if i > 0 {
			specs[i].ShareEnv(&specs[i-1])
		}
	}
	var needed map[string]bool // whatever autostart says
	m.do(func() { specs, needed = m.withDependencies(specs, o) })
	settings, err := m.prepareSettings(o.daemon)
	if err != nil {
		return nil, err
	}
	list, err := m.enroll(specs, o)
	if err != nil {
		settings.drop()
		return nil, err
	}
	m.do(func() { m.take(settings) })
	// Side by side: none waits for another that takes its time, unless it depends on
	// it.
	names := make([]string, len(specs))
	for i := range specs {
		names[i] = specs[i].Name
	}
	l := newLine(names)
	all := make([][]string, len(list))
	errs := make([]error, len(list))
	var apps sync.WaitGroup
	for i, e := range list {
		apps.Go(func() {
			defer func() { l.ended(names[i], errs[i]) }()
			o := o
			o.named = o.named || needed[names[i]]
			all[i], errs[i] = m.startApp(r, e, &specs[i], o, l)
			for errors.Is(errs[i], errGone) {
				var again []enrolled
				if again, errs[i] = m.enroll(specs[i:i+1], o); errs[i] == nil {
					all[i], errs[i] = m.startApp(r, again[0], &specs[i], o, l)
				}
			}
		})
	}
	apps.Wait()
	return slices.Concat(all...), errors.Join(errs...)
}

// startKnown is start for apps that are known.
func (m *master) startKnown(r reporter, targets []string) (notes []string, err error) {
	list, err := m.choose(targets)
	if err != nil {
		return nil, err
	}
	var specs []spec.App
	m.do(func() {
		for _, c := range list {
			if !slices.ContainsFunc(specs, func(a spec.App) bool { return a.Name == c.app.name }) {
				specs = append(specs, *c.app.spec)
			}
		}
	})
	return m.start(r, specs, startOptions{named: true})
}

// starts says whether what does not run of an app is started. A restart does so with
// those that are known, as PM2 has it.
func (o startOptions) starts(app *spec.App, known bool) bool {
	return app.Autostart || o.named || o.restart && known
}

// enrolled is an app that start is to bring up, in another spec if renew is set.
type enrolled struct {
	app   *app
	renew bool
	fresh bool // it was not known
}

// enroll makes apps known, with their sockets and the ids of their slots, in
// the order of specs: all or none.
func (m *master) enroll(specs []spec.App, o startOptions) (list []enrolled, err error) {
	err = errStopping
	m.do(func() {
		if m.stopping {
			return
		}
		m.grant = granted()
		if err = m.checkDependencies(specs); err != nil {
			return
		}
		var fresh []*app
		abandon := func(problem error) {
			for _, a := range fresh {
				m.closeSockets(a)
			}
			list, err = nil, problem
		}
		for i := range specs {
			want := &specs[i]
			if a := m.apps[want.Name]; a != nil {
				same := sameSpec(a.spec, want)
				if problem := a.sameSockets(want); problem != nil {
					abandon(problem)
					return
				}
				list = append(list, enrolled{app: a, renew: !same || o.reload || o.restart})
				continue
			}
			a := m.newApp(want)
			if problem := m.listen(a, a.size); problem != nil {
				abandon(m.listenError(a.name, problem))
				return
			}
			fresh = append(fresh, a)
			list = append(list, enrolled{app: a, fresh: true})
		}
		for _, a := range fresh {
			m.add(a)
		}
	})
	return list, err
}

func (m *master) newApp(want *spec.App) *app {
	return &app{name: want.Name, spec: want, size: m.instances(want), grant: m.grant, busy: make(chan struct{}, 1), uniqueID: newUUID()}
}

// add makes an app known; its slots are stopped.
func (m *master) add(a *app) {
	m.apps[a.name] = a
	m.warn("lost "+a.name, "")
	m.order = append(m.order, a.name)
	m.recordApp(a)
	for len(a.slots) < a.size {
		a.slots = append(a.slots, m.newSlot(a, len(a.slots)))
	}
}

// startApp starts the slots of an app that do not run, or reloads it into
// another spec if it runs with an older one; that, when what it depends on has had
// its turn. A task that has ended runs again.
func (m *master) startApp(r reporter, e enrolled, next *spec.App, o startOptions, l *line) (notes []string, err error) {
	a, renew := e.app, e.renew
	why := cause{control.CauseReload, "reload"}
	switch {
	case o.restart:
		why = commanded("restart")
	case !o.reload:
		why.Detail = "start"
	}
	unlock, err := m.lock(chosen{app: a}, r, why)
	if err != nil {
		return nil, err
	}
	defer unlock()
	running, toRun := false, false
	if next.Type == spec.Task {
		m.until(func() bool { return !slices.ContainsFunc(a.slots, (*slot).works) })
	}
	m.do(func() {
		err = a.sameSockets(next) // they may have been opened meanwhile
		running = slices.ContainsFunc(a.slots, func(s *slot) bool { return s.want == run && s.state == control.Online })
		toRun = a.any(func(s *slot) bool { return s.want == run })
	})
	if err != nil {
		return nil, err
	}
	if o.restart && toRun {
		if failed := m.inTurn(r, a, l, next.Dependencies()); failed != "" {
			return nil, failure("the running processes stay", "%s was not restarted, for it depends on %s, which failed", a.name, failed)
		}
		return nil, m.restartInto(a, next, o.parallel)
	}
	if renew && running {
		if failed := m.inTurn(r, a, l, next.Dependencies()); failed != "" {
			return nil, failure("the running processes stay", "%s was not reloaded, for it depends on %s, which failed", a.name, failed)
		}
		if !o.reload {
			m.do(func() { a.cause.Detail = "start, with other settings" })
		}
		notes, err := m.roll(a, next, nil, o.parallel)
		if err != nil {
			return nil, err
		}
		m.do(func() {
			n := a.sizeFor(max(m.instances(next), 1))
			if err = m.listen(a, max(n, len(a.slots))); err != nil { // the sockets of new slots
				err = m.listenError(a.name, err)
				return
			}
			for _, s := range a.inUse() {
				if s.index < n && (s.want != run || s.finished) {
					m.startSlot(s)
				}
			}
			m.resize(a, n)
		})
		if err != nil {
			return nil, err
		}
		return append(notes, a.name+" was reloaded into its new settings"), m.untilOnline(a, nil)
	}
	idle, dormant := true, false
	m.do(func() {
		if renew {
			a.spec = next
			a.size = a.sizeFor(m.instances(next))
			for _, s := range a.slots {
				s.spec = next
			}
		}
		if dormant = !o.starts(next, !e.fresh) && !a.any(func(s *slot) bool { return s.want == run }); dormant {
			m.resize(a, a.size)
			return
		}
		if err = m.listen(a, max(a.size, len(a.slots))); err != nil {
			err = m.listenError(a.name, err)
			return
		}
		for _, s := range a.inUse() {
			if s.index < a.size && (s.want != run || s.errored || s.finished || s.waiting != nil) {
				if idle = false; renew && s.serving != nil { // it was about to stop, and is of the settings before
					m.recycle(s, next)
				} else {
					m.startSlot(s)
				}
			}
		}
		idle = idle && len(a.slots) >= a.size
		m.resize(a, a.size)
	})
	if err != nil {
		return nil, err
	}
	if dormant {
		return []string{fmt.Sprintf("%s is not started (autostart: false); `nekoctl start %s` does that", a.name, a.name)}, nil
	}
	if idle {
		return []string{a.name + " is already online"}, m.untilOnline(a, nil)
	}
	m.inTurn(r, a, l, next.Dependencies()) // what they were before says nothing
	err = m.untilOnline(a, nil)
	m.do(func() {
		n := a.instances()
		m.tellOfCommand(ofApp(a), control.EventStart, map[string]string{"instances": strconv.Itoa(n)}, err, fmt.Sprintf("started, instances: %d", n))
	})
	return nil, err
}

// works says of a task's slot that its process has not ended.
func (s *slot) works() bool { return s.serving != nil || s.starting != nil }

// untilOnline waits until every slot that shall run does, a task's until it has
// done its work, or one has failed.
func (m *master) untilOnline(a *app, only *slot) error {
	var failed *slot
	var reason string
	var victim *process
	var awaits, final bool
	stopping := true
	m.until(func() bool {
		failed, stopping = nil, m.stopping
		for _, s := range a.slots {
			if only != nil && s != only || s.want != run || s.serving != nil && !s.cycle && s.spec.Type != spec.Task {
				continue
			}
			switch {
			case s.awaits:
				if dep := m.awaited(s); dep == nil || m.trouble(dep) == "" {
					return false
				}
			case s.attempts > 0:
			case s.finished: // it has done what it was to do
				continue
			default:
				return false
			}
			failed, reason, victim = s, s.reason, s.victim
			awaits, final = s.awaits, s.finished || s.errored
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
	next := fmt.Sprintf("it is being tried again; see `nekoctl logs %s`, or `nekoctl delete %s` to give it up", a.name, a.name)
	switch {
	case awaits:
		next = "it starts as soon as that has come up"
	case final:
		next = fmt.Sprintf("see `nekoctl logs %s`; `nekoctl start %s` tries again", a.name, a.name)
	}
	return &control.Error{
		Message:  fmt.Sprintf("%s: %s", failed, reason),
		Hint:     advice(a.spec, words) + next,
		Output:   words,
		Launched: !awaits && victim != nil,
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
	case app.Instances != 1 && app.Node != spec.NodeCluster:
		return "it binds its port itself, which one process can: run one instance, or let neko open the socket with `listen:`; "
	}
	return "something else has its port; "
}

func (m *master) instances(app *spec.App) int {
	return min(app.Slots(m.grant.CPUs), spec.MaxInstances)
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
	if e, ok := errors.AsType[*control.Error](err); ok {
		return failure(e.Hint, "%s: %s", app, e.Message)
	}
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
