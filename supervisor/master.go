// Package supervisor is the master: it owns the sockets, starts the workers,
// and changes anything without losing a request.
//
// One goroutine, the loop, owns all state: apps, slots, processes. Commands and
// events reach it as functions through [master.do] and [master.post]; after
// each, the slots that it touched take their next step ([master.settle]). What
// would be lost with the master is with the keeper (package keeper): sockets and
// pipes as descriptors, specs and slots as records (record.go).
//
// Read on: states.go for the states, slot.go for what moves a slot, commands.go
// for what commands have in common (each is a file of its own), launch.go for
// how a process starts, ready.go and process.go for how it gets on and ends.
package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/events"
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/ownlog"
	"github.com/nekoctl/neko/supervisor/poll"
	"github.com/nekoctl/neko/supervisor/spec"
)

type master struct {
	version   string
	home      home.Dir
	system    system
	conn      holder
	line      *keeper.Conn // which conn is
	keeper    keeper.Who
	held      map[string][]int // descriptors that the keeper has, too: lock, control, notify
	listener  net.Listener     // of the control API
	accepting chan struct{}    // closed when no connection is accepted any more
	clients   sync.WaitGroup   // connections of the control API
	notify    notifySocket
	notifyAll notifySocket // for workers of other users; without a name: not open
	null      *os.File
	polls     *poll.Poller    // pidfds
	consoles  [2]*logs.Shared // standard output and error of a foreground daemon, else nil
	collector *collector      // of metrics
	printing  sync.WaitGroup  // of the processes whose output is not at its end
	asking    sync.WaitGroup  // questions of probes that are under way

	events  *events.Ring
	readers atomic.Int32 // of events
	stopped atomic.Bool  // the daemon ends, and there is no other master

	inbox chan func()
	ended chan struct{} // closed when the loop has ended

	signals chan os.Signal // without a keeper
	facts   *slog.Logger   // for lines with attributes; nil: neko.log is text

	// Only the loop touches what follows.
	settings      spec.Daemon
	metrics       *metricsListener // nil: there is none
	grant         grant            // what apps are sized by
	apps          map[string]*app
	order         []string // names in the order of their start
	processes     map[int]*process
	lastLaunch    int64
	lastOffer     int64 // begins anywhere: none is an earlier master's
	dirty         []*slot
	touched       map[*slot]bool
	onRecord      []func() // run when what an event has changed is with the keeper
	watchers      map[*watcher]bool
	stopping      bool
	stopCause     cause
	counting      bool                // connections of processes that leave are looked at
	code          int                 // what the daemon ends with
	commands      int                 // under way
	upgrading     bool                // it is this master's program that is on trial
	trial         chan struct{}       // closed when that is over; nil if there is none
	upgradeFailed string              // why the last one did
	yielding      bool                // there may be another master soon: no more commands
	offersNoMore  bool                // and no command is under way: no more connections are offered
	leaves        bool                // there will be: this one ends
	piped         map[string]*process // whose pipes are not at their ends, by their names
	triggers      map[*trigger]bool
	keeperGone    bool
	given         []keeper.Given       // sockets of the service manager that no app has
	taken         []string             // those that an app has, and is not deposited with yet
	transitions   int                  // for which the service manager waits: the start, reloads
	status        string               // that it was told last
	reloadFailed  string               // why, if none has gone well since
	losses        map[string]logs.Loss // of output, as the keeper has them on record
	warnings      map[string]string
	recovered     int // processes of an earlier daemon
	hooks         map[string]*hook
	mayRepeat     bool          // what is heard of a process an earlier master may have heard
	commandSlots  chan struct{} // of hooks
	saver         saver
	files         map[string]*logs.File // by path: a grandchild may still print for a slot that is gone
}

// Main is the master's process. It returns its exit code.
func Main(version string) int {
	// The state is one goroutine's; a second P is for its readers and pumps. The
	// collector runs a little more often for it: this process is to be small.
	runtime.GOMAXPROCS(2)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	leaveSignals()
	own := logs.NewShared(os.Stderr)
	facts := ownlog.Open(own, "master")
	conn, in, err := keeper.Connect()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	m := newMaster(conn)
	m.system, m.line = native{m}, conn
	m.version, m.keeper, m.facts = version, in.Keeper, facts
	m.held["lock"] = in.Files["lock"]
	if err := m.prepare(in); err != nil {
		if failErr := conn.Fail(err.Error()); failErr != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
		}
		return 1
	}
	code := m.loop(conn.Events)
	m.finishHooks()
	m.finishProbes()
	<-m.collector.done
	if !m.leaves {
		m.removeCounted()
	}
	m.finishControl()
	if !m.leaves {
		m.finishLogs()
	}
	own.Flush()
	return code
}

// leaveSignals leaves signals to the keeper. They are caught rather than ignored,
// for what is ignored stays so in the workers. SIGPIPE is caught because nobody
// needs to read the console of a foreground daemon.
func leaveSignals() {
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTTIN, unix.SIGTTOU, unix.SIGPIPE)
}

// heedSignals makes them this master's own, while it has no keeper.
func (m *master) heedSignals() {
	signal.Notify(m.signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1)
}

func newMaster(conn holder) *master {
	return &master{
		conn: conn, held: map[string][]int{}, inbox: make(chan func()), ended: make(chan struct{}),
		signals: make(chan os.Signal, 16),
		grant:   granted(), apps: map[string]*app{}, processes: map[int]*process{}, touched: map[*slot]bool{},
		watchers: map[*watcher]bool{}, piped: map[string]*process{}, triggers: map[*trigger]bool{}, warnings: map[string]string{},
		lastOffer: rand.Int64N(1 << 52), collector: newCollector(), events: events.New(),
		hooks: map[string]*hook{}, commandSlots: make(chan struct{}, mostCommands),
		saver: saver{changed: make(chan struct{}, 1)}, files: map[string]*logs.File{}, losses: map[string]logs.Loss{},
	}
}

// prepare takes over what the keeper holds and opens what it does not.
func (m *master) prepare(in *keeper.Inheritance) (err error) {
	if m.home, err = home.Find(); err != nil {
		return err
	}
	if m.null, err = os.Open(os.DevNull); err != nil {
		return err
	}
	if m.polls, err = poll.Shared(); err != nil {
		return err
	}
	m.grant = granted()
	if fds := in.Files["notify"]; len(fds) == 1 {
		m.notify = notifySocket{fd: fds[0], name: in.Records["notify-name"]}
	} else {
		if m.notify, err = openNotify(m.home); err != nil {
			return err
		}
		if err := m.conn.Put("notify", m.notify.fd); err != nil {
			return err
		}
		if err := m.conn.Set("notify-name", m.notify.name); err != nil {
			return err
		}
	}
	m.held["notify"] = []int{m.notify.fd}
	_, m.stopping = in.Records["stopping"]
	m.stopping = m.stopping || in.Stop
	if err := m.listenNotify(m.notify); err != nil {
		return err
	}
	if fds := in.Files["notify-all"]; len(fds) == 1 {
		m.notifyAll = notifySocket{fd: fds[0], name: in.Records["notify-all-name"]}
		m.held["notify-all"] = fds
		if err := m.listenNotify(m.notifyAll); err != nil {
			return err
		}
	}
	boot, foreground, err := in.Record("boot")
	if err != nil {
		return err
	}
	if foreground {
		m.consoles = [2]*logs.Shared{logs.NewShared(os.Stdout), logs.NewShared(os.Stderr)}
	}
	m.given = in.Given()
	sortGiven(m.given)
	m.keepEvents(in)
	if err := m.recoverLost(in); err != nil {
		return err
	}
	m.adoptSettings(in)
	m.loadCounted()
	m.adopt(in)
	m.keepHooks()
	m.tellOfMasters(in)
	for _, a := range m.apps {
		m.notifyNameFor(a.spec) // what their processes know is there again after both were killed
	}
	go m.save()
	if err := m.serveControl(in); err != nil {
		return err
	}
	m.adoptMetrics(in)
	go m.collect()
	go m.sample()
	go m.keepLosses()
	go m.tidyLogs()
	go m.beat()
	go m.watchGrant()
	if m.stopping {
		go m.shutdown("")
		return nil
	}
	booted := in.Records["booted"]
	if upgrade, ok := in.Records[keeper.UpgradeRecord]; ok {
		m.upgrading, m.upgradeFailed = upgrade == "", upgrade
		if m.upgrading {
			m.trial = make(chan struct{})
		}
		if upgrade != "" {
			m.log("%s", upgrade)
		}
	}
	m.transitions++ // until announce
	go func() {
		if foreground && booted == "" {
			booted = m.boot(boot)
		}
		m.do(m.endGiven)
		m.announce()
		if name, ok := in.Records["exit-with"]; ok {
			m.endWith(name)
		} else if foreground && booted != bootedSaved {
			m.endWhenAllHaveEnded()
		}
	}()
	return nil
}

// announce tells whoever started the daemon, and the service manager, that it
// serves.
func (m *master) announce() {
	stopping := true
	m.do(func() { stopping = m.stopping })
	if stopping {
		return
	}
	if err := m.conn.Ready(); err != nil {
		m.log("tell the keeper: %v", err)
	}
	m.do(m.settled)
}

// loop owns the state until the daemon ends, or this master. Events are what the
// keeper says.
func (m *master) loop(events <-chan any) int {
	defer close(m.ended)
	for {
		select {
		case f := <-m.inbox:
			f()
		case event, open := <-events:
			if open {
				m.keeperSays(event)
				break
			}
			events = nil
			m.loseKeeper()
		case s := <-m.signals:
			m.keeperSays(s)
		}
		m.settleAll()
		switch {
		case m.stopping && len(m.processes) == 0 && len(m.apps) == 0 && !m.saver.busy:
			return m.end()
		case m.leaves && m.commands == 0 && !m.keeperGone: // or there would be no other
			return 0
		}
	}
}

// loseKeeper goes on alone. Of the processes that an earlier master started
// nobody reports the end any more; their pidfds show that it has come.
func (m *master) loseKeeper() {
	m.keeperGone = true
	m.heedSignals()
	m.warn("keeper", "the keeper is gone, and is being replaced")
	for _, p := range m.processes {
		if p.adopted {
			m.atUnknownEnd(p)
		}
	}
	go m.becomeKeeper()
}

func (m *master) end() int {
	m.tellOfDaemon("stopped", "", "neko has stopped")
	m.stopped.Store(true)
	for _, path := range []string{m.home.Control(), m.home.Notify()} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			m.log("%v", err)
		}
	}
	if m.keeperGone {
		if err := m.home.RemovePID(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.log("%v", err)
		}
	}
	m.removeNotifyAll()
	if err := removeState(m.home); err != nil {
		m.log("%v", err)
	}
	m.kept("stop", m.conn.Stop(m.code))
	return m.code
}

func (m *master) keeperSays(event any) {
	switch event := event.(type) {
	case keeper.Exit:
		if p := m.processes[event.PID]; p != nil && p.Child == event.Child {
			m.endGroup(p)
			m.exited(p, endingOf(event.Status))
		}
		m.onRecord = append(m.onRecord, func() { m.kept("exit", m.conn.Ack(event.Child)) })
	case keeper.Who: // it is the new program now
		if m.upgrading {
			m.tellOfUpgrade(nil)
			close(m.trial)
		}
		m.keeper, m.upgrading, m.trial = event, false, nil
		m.kept(keeper.UpgradeRecord, m.conn.Delete(keeper.UpgradeRecord))
	case os.Signal:
		switch event {
		case unix.SIGTERM, unix.SIGINT:
			if m.stopping && event == unix.SIGINT { // Ctrl-C again: at once
				for _, p := range m.processes {
					m.kill(p)
				}
			}
			why := event.String()
			if event == unix.SIGINT {
				why += " (once more: at once)"
			}
			go m.shutdown(why)
		case unix.SIGHUP:
			go m.hangup()
		case unix.SIGUSR1:
			go func() {
				if err := m.reopenLogs(); err != nil {
					m.log("reopen the logs: %v", err)
				}
			}()
		case unix.SIGUSR2:
			go func() {
				if err := m.upgrade(quiet{}, "", 0); err != nil {
					m.log("%s", errorText(err))
				}
			}()
		default:
			m.log("signal %v: nothing is done for it", event)
		}
	}
}

// hangup is SIGHUP: everything is reloaded.
func (m *master) hangup() {
	end, err := m.begin()
	if err != nil {
		m.log("reload: %v", err)
		return
	}
	defer end()
	done := m.reloading()
	notes, err := m.reload(quiet{}, []string{"all"}, 0)
	done(err)
	for _, note := range notes {
		m.log("%s", note)
	}
	if err != nil {
		m.log("reload: %v", err)
	} else {
		m.log("reloaded all apps")
	}
}

// finishLogs waits for what the workers printed last. A process that outlives
// them may hold their pipes for ever.
func (m *master) finishLogs() {
	printed := make(chan struct{})
	go func() {
		m.printing.Wait()
		close(printed)
	}()
	select {
	case <-printed:
	case <-time.After(time.Second):
	}
	for _, console := range m.consoles {
		if console != nil {
			console.Flush()
		}
	}
}

// settleAll lets every touched slot take its next step, until none is left.
func (m *master) settleAll() {
	if m.stopping {
		m.stopInOrder()
	}
	var apps []*app
	for len(m.dirty) > 0 {
		s := m.dirty[0]
		m.dirty = m.dirty[1:]
		delete(m.touched, s)
		if !m.has(chosen{s.app, s}) {
			continue // its record must not come back
		}
		m.settle(s)
		m.tellWaits(s)
		m.record(s)
		m.keepPIDFile(s)
		if !slices.Contains(apps, s.app) {
			apps = append(apps, s.app)
		}
	}
	for _, a := range apps {
		m.steer(a)
		m.passOn(a) // to whoever is steered to now
		m.tellStopping(a)
		m.keepSchedule(a)
		m.keepWatch(a)
		m.prune(a)
	}
	for _, f := range m.onRecord {
		f()
	}
	m.onRecord = nil
	m.saver.look(m.conn.Revision())
	for w := range m.watchers {
		w.look()
	}
}

// touch makes the loop settle s after the current event.
func (m *master) touch(s *slot) {
	if !m.touched[s] {
		m.touched[s] = true
		m.dirty = append(m.dirty, s)
	}
}

// post hands f to the loop and does not wait until it has run. It may not be
// called in the loop.
func (m *master) post(f func()) {
	select {
	case m.inbox <- f:
	case <-m.ended:
	}
}

// do runs f in the loop and waits until it has run. It may not be called in the
// loop; if the loop has ended, f does not run.
func (m *master) do(f func()) {
	done := make(chan struct{})
	select {
	case m.inbox <- func() { f(); close(done) }:
		<-done
	case <-m.ended:
	}
}

// slots are all slots, by app in the order of their start.
func (m *master) slots() []*slot {
	var all []*slot
	for _, name := range m.order {
		all = append(all, m.apps[name].inUse()...)
	}
	return all
}

// warn keeps something that the daemon cannot do for ping to tell; "" ends it.
func (m *master) warn(about, text string) {
	if text == "" {
		delete(m.warnings, about)
		return
	}
	if m.warnings[about] != text {
		m.log("%s", text)
	}
	m.warnings[about] = text
}

// A watcher lets a command wait for a condition of the state.
type watcher struct {
	look func() // in the loop, after every event
}

// until waits until cond, which is asked in the loop after every event, is
// true, or the daemon ends.
func (m *master) until(cond func() bool) {
	reached := make(chan struct{})
	var once sync.Once
	w := &watcher{}
	w.look = func() {
		if cond() {
			delete(m.watchers, w)
			once.Do(func() { close(reached) })
		}
	}
	m.do(func() { m.watchers[w] = true })
	select {
	case <-reached:
	case <-m.ended:
	}
}

// A reporter is told of the steps of a command.
type reporter interface {
	report(control.Progress)
	reply(control.Reply)
}

type quiet struct{}

func (quiet) report(control.Progress) {}
func (quiet) reply(control.Reply)     {}

// tell reports a slot's state to the commands that look on.
func (m *master) tell(s *slot, message string) {
	step := control.Progress{Name: s.app.name, Slot: s.index, State: s.state, Message: message}
	s.told = control.Progress{State: s.state}
	for _, r := range s.app.reporters {
		r.report(step)
	}
}

// warningList is for ping.
func (m *master) warningList() []string {
	return slices.Sorted(maps.Values(m.warnings))
}

// announceURL is the line that says where an app can be looked at.
func announceURL(a *app) string {
	if a.spec.URLPath == "" || len(a.groups) == 0 {
		return ""
	}
	address := a.groups[0].Address
	for _, any := range []string{":", "0.0.0.0:", "[::]:"} {
		if rest, ok := strings.CutPrefix(address, any); ok {
			address = "127.0.0.1:" + rest
			break
		}
	}
	return "http://" + address + a.spec.URLPath
}

// newTails remember what a process prints while it starts.
func newTails() [2]*logs.Tail { return [2]*logs.Tail{{}, {}} }

// lastWords waits a moment for what a dead process has printed, and returns the
// end of it: errors last, where people look.
func lastWords(p *process) []string {
	if p == nil {
		return nil
	}
	patience := make(chan struct{}) // a grandchild may hold the pipes
	defer time.AfterFunc(250*time.Millisecond, func() { close(patience) }).Stop()
	for _, pump := range p.pumps {
		if pump == nil {
			continue
		}
		select {
		case <-pump.Done():
		case <-patience:
		}
	}
	if !p.tookOver {
		return append(p.tails[0].Lines(), p.tails[1].Lines()...)
	}
	var lines []string // since it serves only its files have them
	for _, pump := range p.pumps {
		if pump != nil {
			lines = append(lines, pump.LastLines()...)
		}
	}
	return lines
}
