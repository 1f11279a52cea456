package supervisor

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// The records are what a master knows and the system does not show. They are
// deposited with the keeper at every change, and read by the next master, which
// may be of another version: fields are only ever added.

// appRecord is "app/NAME".
type appRecord struct {
	Order    int                     `json:"order"` // among the apps
	Spec     *spec.App               `json:"spec"`
	Size     int                     `json:"size"`
	Asked    []askedListener         `json:"asked,omitempty"` // in Node's cluster mode
	Data     map[int]json.RawMessage `json:"data,omitempty"`  // by listeners: what those who listen there have in common
	Lent     []int                   `json:"lent,omitempty"`  // the listeners whose first socket is the service manager's
	Blind    bool                    `json:"blind,omitempty"` // its sockets cannot be steered
	Grant    grant                   `json:"grant,omitzero"`
	UniqueID string                  `json:"unique_id,omitempty"`
	// RunDir is where its processes have been told that their run folder is.
	RunDir string `json:"run_dir,omitempty"`
}

// slotRecord is "slot/NAME/INDEX".
type slotRecord struct {
	ID        int             `json:"id"`
	Want      want            `json:"want"`
	Cycle     bool            `json:"cycle,omitempty"`
	Errored   bool            `json:"errored,omitempty"`
	Finished  bool            `json:"finished,omitempty"`
	Awaits    bool            `json:"awaits,omitempty"`
	Vacant    bool            `json:"vacant,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Restarts  int             `json:"restarts"`
	LastStart time.Time       `json:"last_start,omitzero"`
	Unstable  int             `json:"unstable,omitempty"`
	LastCode  int             `json:"last_code,omitempty"`
	CreatedAt time.Time       `json:"created_at,omitzero"`
	LastExit  string          `json:"last_exit,omitempty"`
	ExitCode  int             `json:"exit_code,omitempty"` // if it is finished
	ExitedAt  time.Time       `json:"exited_at,omitzero"`
	StopsAt   time.Time       `json:"stops_at,omitzero"` // the end of shutdown_delay
	Owed      string          `json:"owed,omitempty"`    // why it is to have another process
	Ends      []control.End   `json:"ends,omitempty"`
	Processes []processRecord `json:"processes,omitempty"`
}

// processRecord with PID 0 is a launch that is under way.
type processRecord struct {
	Launch    int64     `json:"launch"`
	PID       int       `json:"pid"`
	Start     uint64    `json:"start"`
	StartedAt time.Time `json:"started_at"`
	Role      role      `json:"role"`
	As        int       `json:"as"`                   // the slot that it was told it is in
	Ready     bool      `json:"ready,omitempty"`      // though it may not serve yet
	SaidReady bool      `json:"said_ready,omitempty"` // though its probes may not have passed
	Unready   string    `json:"unready,omitempty"`    // what its readiness probe has against it, though it serves
	Handles   []handle  `json:"handles,omitempty"`    // in Node's cluster mode
	Actions   []string  `json:"actions,omitempty"`    // of @pm2/io
	Input     uint64    `json:"input,omitempty"`      // the inode of its standard input
	Why       cause     `json:"why,omitzero"`         // it was told to end
	Because   cause     `json:"because,omitzero"`     // of a successor: its predecessor is to end
	Served    bool      `json:"served,omitempty"`     // though it is leaving
}

type role string

const (
	starting role = "starting"
	serving  role = "serving"
	standIn  role = "stand-in"
	spare    role = "spare"
	leaving  role = "leaving"
)

func appRecordName(name string) string { return "app/" + name }

func (s *slot) recordName() string { return fmt.Sprintf("slot/%s/%d", s.app.name, s.index) }

// recordApp deposits an app's spec and size if they have changed.
func (m *master) recordApp(a *app) {
	r := appRecord{Order: slices.Index(m.order, a.name), Spec: a.spec, Size: a.size, Asked: slices.Clone(a.asked), Data: maps.Clone(a.data), Grant: a.grant, Lent: a.lent(), Blind: slices.ContainsFunc(a.groups, (*socket.Group).Blind), RunDir: a.runDir, UniqueID: a.uniqueID}
	if reflect.DeepEqual(r, a.recorded) {
		return
	}
	a.recorded = r
	m.deposit(appRecordName(a.name), r)
}

// record deposits a slot if it has changed.
func (m *master) record(s *slot) {
	r := slotRecord{
		ID: s.id, Want: s.want, Cycle: s.cycle, Errored: s.errored, Finished: s.finished, Awaits: s.awaits, Vacant: s.vacant, Reason: s.reason,
		Restarts: s.restarts, LastExit: s.lastExit, ExitCode: s.exitCode, ExitedAt: s.exitedAt, StopsAt: s.stopsAt,
		Unstable: s.unstable, LastCode: s.lastCode, CreatedAt: s.createdAt, LastStart: s.lastStart, Ends: s.ends, Owed: s.owed,
	}
	add := func(p *process, as role) {
		if p != nil {
			pr := processRecord{
				Launch: p.launch, PID: p.PID, Start: p.Start, StartedAt: p.startedAt, Role: as, As: p.as,
				Ready: p.ready, SaidReady: p.saidReady && !p.ready, Handles: slices.Clone(p.handles),
				Actions: slices.Clone(p.actions), Input: p.input, Why: p.why, Because: p.because, Served: as == leaving && p.hasServed(),
			}
			if as == serving {
				pr.Unready = p.unready
			}
			r.Processes = append(r.Processes, pr)
		}
	}
	add(s.serving, serving)
	add(s.starting, starting)
	add(s.standIn, standIn)
	add(s.spare, spare)
	for _, p := range s.leaving {
		add(p, leaving)
	}
	if r.same(s.recorded) {
		return
	}
	s.recorded = r
	m.deposit(s.recordName(), r)
}

func (r slotRecord) same(other slotRecord) bool {
	a, b := r.Processes, other.Processes
	r.Processes, other.Processes = nil, nil
	return slices.EqualFunc(a, b, processRecord.same) && reflect.DeepEqual(r, other)
}

func (r processRecord) same(other processRecord) bool {
	a, b := r.Handles, other.Handles
	r.Handles, other.Handles = nil, nil
	return reflect.DeepEqual(r, other) && (len(a)+len(b) == 0 || reflect.DeepEqual(a, b))
}

func (m *master) deposit(name string, record any) {
	text, err := json.Marshal(record)
	if err != nil {
		m.log("record %s: %v", name, err)
		return
	}
	m.kept(name, m.conn.Set(name, string(text)))
}

func (m *master) withdraw(name string) { m.kept(name, m.conn.Delete(name)) }

// kept reports what could not be told to the keeper. That it is gone is known.
func (m *master) kept(name string, err error) {
	if err != nil && !m.keeperGone {
		m.log("tell the keeper of %s: %v", name, err)
	}
}

// adopt takes over what an earlier master left with the keeper: everything goes
// on as it was, and what died in between is seen to by the first settle.
func (m *master) adopt(in *keeper.Inheritance) {
	records := map[string]appRecord{}
	for _, name := range names(in, "app/") {
		var r appRecord
		if m.parse(in, name, &r) {
			records[strings.TrimPrefix(name, "app/")] = r
			m.order = append(m.order, strings.TrimPrefix(name, "app/"))
		}
	}
	slices.SortFunc(m.order, func(a, b string) int { return records[a].Order - records[b].Order })
	var last *app
	for _, name := range m.order {
		a := m.adoptApp(in, name, records[name])
		if last != nil {
			a.spec.ShareEnv(last.spec)
		}
		m.apps[name], last = a, a
	}
	// Known processes first: what is left over then can be the launch that the
	// last master had just begun.
	var begun []*process
	for _, s := range m.slots() {
		begun = append(begun, m.adoptSlot(in, s)...)
	}
	endProbes(in)
	for _, p := range begun {
		m.adoptBegun(in, p)
	}
	m.adoptLosses(in)
	m.adoptPipes(in)
	m.adoptChannels(in)
	for _, e := range in.Exits {
		m.keeperSays(e)
	}
	m.dropStrays(in)
	for _, s := range m.slots() {
		s.pidFile = pidFile{s.spec.PIDFileOf(s.index, s.id), unknownPID}
		m.goOnWaiting(s)
		s.state = s.observe()
	}
	for _, name := range m.order {
		a := m.apps[name]
		m.resize(a, a.size) // the last master may not have come so far
		m.steer(a)
	}
	if len(m.order) > 0 {
		m.log("took over %d apps with %d processes from an earlier master", len(m.order), len(m.processes))
	}
	m.settleAll()
}

// goOnWaiting keeps restart_delay, of which only the end is on record from which
// it counts.
func (m *master) goOnWaiting(s *slot) {
	left := s.spec.RestartDelay.D() - time.Since(s.exitedAt)
	if s.want == stop || s.cycle || s.errored || s.finished || s.serving != nil || s.starting != nil || s.waiting != nil || s.exitedAt.IsZero() || left <= 0 {
		return
	}
	s.nextAt = time.Now().Add(min(left, s.spec.RestartDelay.D()))
	m.later(&s.waiting, min(left, s.spec.RestartDelay.D()), func() { m.startAgain(s) }) // the clock may have been set back
}

// dropStrays lets go of sockets and records of which the last master was about
// to let go itself: those of slots and apps that are not there any more.
func (m *master) dropStrays(in *keeper.Inheritance) {
	for _, name := range append(names(in, "socket/"), names(in, "slot/")...) {
		for _, fd := range in.Files[name] {
			_ = unix.Shutdown(fd, unix.SHUT_RD) // fails for a memfd
			unix.Close(fd)
		}
		m.withdraw(name)
	}
}

func names(in *keeper.Inheritance, prefix string) []string {
	var list []string
	for name := range in.Records {
		if strings.HasPrefix(name, prefix) {
			list = append(list, name)
		}
	}
	for name := range in.Files {
		if strings.HasPrefix(name, prefix) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

func (m *master) parse(in *keeper.Inheritance, name string, into any) bool {
	text, ok, err := in.Record(name)
	if err == nil && ok {
		err = json.Unmarshal([]byte(text), into)
	}
	if err != nil {
		m.log("record %s: %v", name, err)
	}
	return ok && err == nil
}

func (m *master) adoptApp(in *keeper.Inheritance, name string, r appRecord) *app {
	a := &app{name: name, spec: r.Spec, size: r.Size, grant: r.Grant, busy: make(chan struct{}, 1), runDir: r.RunDir, uniqueID: r.UniqueID}
	if a.uniqueID == "" { // of a master that had none
		a.uniqueID = newUUID()
	}
	if a.grant == (grant{}) { // of a master that did not follow it
		a.grant = m.grant
	}
	a.toldStopping = a.isToldStopping()
	a.asked, a.data = r.Asked, r.Data
	for i, l := range a.listeners() {
		fds := takeSockets(in, name, i)
		g, err := socket.Adopt(l.Network, l.Address, r.Spec.Balance == spec.BalanceShared, fds)
		if err != nil {
			m.log("the sockets of %s: %v", name, err)
		}
		if r.Blind {
			g.StayBlind()
		}
		if slices.Contains(r.Lent, i) {
			g.SetLent()
		}
		if g.Blind() {
			m.warn("blind "+name, fmt.Sprintf("a socket of %s was lost while there was no daemon, with a worker that ended or as it had none: new connections cannot be kept from a single worker until %s is stopped and started again", name, name))
		}
		a.groups = append(a.groups, g)
		a.deposited = append(a.deposited, len(fds))
	}
	if !slices.ContainsFunc(a.groups, func(g *socket.Group) bool { return g.Len() > 0 }) {
		a.groups, a.asked, a.data, a.deposited = nil, nil, nil, nil // the app is stopped, or has not asked yet
	}
	for i := 0; ; i++ {
		s := &slot{app: a, index: i, spec: a.spec, want: stop, state: control.Stopped, steered: true}
		var sr slotRecord
		if !m.parse(in, s.recordName(), &sr) {
			break
		}
		delete(in.Records, s.recordName())
		s.id, s.want, s.cycle, s.errored, s.finished, s.awaits, s.reason = sr.ID, sr.Want, sr.Cycle, sr.Errored, sr.Finished, sr.Awaits, sr.Reason
		s.restarts, s.lastExit, s.exitCode, s.exitedAt, s.stopsAt = sr.Restarts, sr.LastExit, sr.ExitCode, sr.ExitedAt, sr.StopsAt
		s.unstable, s.lastCode, s.createdAt, s.lastStart, s.vacant = sr.Unstable, sr.LastCode, sr.CreatedAt, sr.LastStart, sr.Vacant
		s.ends, s.owed = sr.Ends, sr.Owed
		s.inherited = sr.Processes
		a.slots = append(a.slots, s)
	}
	return a
}

// takeSockets are the sockets of an app's listener, in slot order: -1 for a slot
// whose socket is lost, as its worker ended after keeper and master.
func takeSockets(in *keeper.Inheritance, app string, listener int) (fds []int) {
	prefix := fmt.Sprintf("socket/%s/%d/", app, listener)
	for _, name := range names(in, prefix) {
		index, err := strconv.Atoi(strings.TrimPrefix(name, prefix))
		if err != nil || len(in.Files[name]) != 1 {
			continue
		}
		for len(fds) <= index {
			fds = append(fds, -1)
		}
		fds[index] = in.Files[name][0]
		delete(in.Files, name)
	}
	return fds
}

// adoptSlot takes over the processes that a slot's record names, and returns
// those whose pid the last master had no time to record.
func (m *master) adoptSlot(in *keeper.Inheritance, s *slot) (begun []*process) {
	retire := s.want == retire
	for _, r := range s.inherited {
		p := &process{
			Child: keeper.Child{PID: r.PID, Start: r.Start}, launch: r.Launch, slot: s, as: r.As, spec: s.spec,
			startedAt: r.StartedAt, tails: newTails(),
			ready: r.Role == serving || r.Ready, saidReady: r.SaidReady, unready: r.Unready, tookOver: r.Role == serving, leaving: r.Role == leaving,
			handles: r.Handles, actions: r.Actions, input: r.Input, why: r.Why, because: r.Because, served: r.Served,
		}
		p.watchdog.every = s.spec.Watchdog.D()
		m.lastLaunch = max(m.lastLaunch, r.Launch)
		switch r.Role {
		case serving:
			s.serving = p
		case starting:
			s.starting = p
		case standIn:
			s.standIn = p
		case spare:
			s.spare = p
		case leaving:
			s.leaving = append(s.leaving, p)
		}
		if r.PID == 0 {
			begun = append(begun, p)
			continue
		}
		m.adoptProcess(in, p)
	}
	s.inherited = nil
	switch {
	case retire && !s.stopsAt.IsZero():
		m.stopLater(s)
	case retire:
		s.want = run
		m.beginRetire(s)
	}
	return begun
}

// adoptProcess watches over a process that is a child of the keeper now. If it
// is none any more it has ended, and the keeper says how; or it lives and is
// nobody's child that we could ask, as the keeper that started it is gone too:
// then its pidfd shows its end, and we will never know how it came.
func (m *master) adoptProcess(in *keeper.Inheritance, p *process) {
	p.adopted = true
	m.processes[p.PID] = p
	if slices.ContainsFunc(in.Exits, func(e keeper.Exit) bool { return e.Child == p.Child }) {
		return
	}
	if pidfd, err := unix.PidfdOpen(p.PID, 0); err == nil {
		if start, err := keeper.StartTime(p.PID); err != nil || start != p.Start {
			unix.Close(pidfd) // it has ended, and this is another
		} else {
			p.pidfd = openPidfd(pidfd)
		}
	}
	if in.Children[p.PID] == p.Child {
		delete(in.Children, p.PID)
	} else if p.pidfd == nil {
		m.exited(p, unknownEnding)
		return
	} else {
		m.atUnknownEnd(p)
	}
	switch {
	case p.tookOver:
		m.watchHealth(p)
	case p.leaving && p.served && p.why.Kind == control.CauseHung:
		m.after(p, p.spec.KillTimeout.D(), func() { m.expire(p) })
	case p.leaving:
		m.giveTime(p, true)
	case !p.ready:
		m.awaitReady(p)
	case p == p.slot.standIn:
		m.standDown(p)
	case p == p.slot.starting: // it is on trial, and only the last master knew since when
		m.after(p, trial(p.spec), func() { m.takeOver(p) })
	}
	m.alive(p) // as far as we know
}

// atUnknownEnd awaits the end of a process that is nobody's child that we could
// ask how it ended.
func (m *master) atUnknownEnd(p *process) {
	m.atEnd(p, func() {
		m.endGroup(p)
		m.exited(p, unknownEnding)
	})
}

// adoptBegun finds the process of a launch that was not yet recorded: a leader
// of its own group that no record names and whose environment, if it can be
// read, names the slot.
func (m *master) adoptBegun(in *keeper.Inheritance, p *process) {
	s := p.slot
	for pid, child := range in.Children {
		if env := environment(pid); len(env) > 0 &&
			!(slices.Contains(env, "NEKO_APP="+s.app.name) && slices.Contains(env, "NEKO_SLOT="+strconv.Itoa(s.index))) {
			continue
		}
		if group, err := unix.Getpgid(pid); err != nil || group != pid {
			continue
		}
		p.Child = child
		m.adoptProcess(in, p)
		return
	}
	s.drop(p) // it was not forked, or has ended
}

// environment is what a process was started with, if we may see it. One that was
// forked a moment ago still has its master's.
func environment(pid int) []string {
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			return nil
		}
		env := strings.Split(string(text), "\x00")
		if !slices.ContainsFunc(env, keeper.IsMastersVariable) || time.Since(began) > time.Second {
			return env
		}
	}
}

// adoptPipes goes on moving what the workers print, also the last words of those
// that have ended.
func (m *master) adoptPipes(in *keeper.Inheritance) {
	byLaunch := map[int64]*process{}
	for _, p := range m.processes {
		byLaunch[p.launch] = p
	}
	for _, name := range names(in, "pipes/") {
		fds := in.Files[name]
		parts := strings.Split(name, "/")
		if len(fds) < 2 || len(parts) != 4 {
			continue
		}
		launch, _ := strconv.ParseInt(parts[3], 10, 64)
		m.lastLaunch = max(m.lastLaunch, launch)
		p := byLaunch[launch]
		if p == nil {
			index, _ := strconv.Atoi(parts[2])
			a := m.apps[parts[1]]
			if a == nil || index >= len(a.slots) {
				gone := &slot{app: &app{name: parts[1]}, index: index}
				p = &process{launch: launch, slot: gone, tails: newTails()}
			} else {
				p = &process{launch: launch, slot: a.slots[index], spec: a.slots[index].spec, tails: newTails()}
			}
		}
		m.usePipes(p, fds, !p.ready)
	}
}
