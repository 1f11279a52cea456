package supervisor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/logs"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// The records are what a master knows and the system does not show. They are
// deposited with the keeper at every change, and read by the next master, which
// may be of another version: fields are only ever added.

// appRecord is "app/NAME".
type appRecord struct {
	Order     int       `json:"order"` // among the apps
	Spec      *spec.App `json:"spec"`
	Size      int       `json:"size"`
	Addresses []string  `json:"addresses,omitempty"` // as bound, of each listener
}

// slotRecord is "slot/NAME/INDEX".
type slotRecord struct {
	ID        int             `json:"id"`
	Want      want            `json:"want"`
	Cycle     bool            `json:"cycle,omitempty"`
	Errored   bool            `json:"errored,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Restarts  int             `json:"restarts"`
	LastExit  string          `json:"last_exit,omitempty"`
	ExitedAt  time.Time       `json:"exited_at,omitzero"`
	Processes []processRecord `json:"processes,omitempty"`
}

// processRecord with PID 0 is a launch that is under way.
type processRecord struct {
	Launch    int64     `json:"launch"`
	PID       int       `json:"pid"`
	Start     uint64    `json:"start"`
	StartedAt time.Time `json:"started_at"`
	Role      role      `json:"role"`
}

type role string

const (
	starting role = "starting"
	serving  role = "serving"
	leaving  role = "leaving"
)

func appRecordName(name string) string { return "app/" + name }

func (s *slot) recordName() string { return fmt.Sprintf("slot/%s/%d", s.app.name, s.index) }

// recordApp deposits an app's spec and size if they have changed.
func (m *master) recordApp(a *app) {
	r := appRecord{Order: slices.Index(m.order, a.name), Spec: a.spec, Size: a.size}
	for _, g := range a.groups {
		r.Addresses = append(r.Addresses, g.Address)
	}
	m.deposit(appRecordName(a.name), r, &a.recorded)
}

// record deposits a slot if it has changed.
func (m *master) record(s *slot) {
	r := slotRecord{
		ID: s.id, Want: s.want, Cycle: s.cycle, Errored: s.errored, Reason: s.reason,
		Restarts: s.restarts, LastExit: s.lastExit, ExitedAt: s.exitedAt,
	}
	add := func(p *process, as role) {
		if p != nil {
			r.Processes = append(r.Processes, processRecord{p.launch, p.PID, p.Start, p.startedAt, as})
		}
	}
	add(s.serving, serving)
	add(s.starting, starting)
	for _, p := range s.leaving {
		add(p, leaving)
	}
	m.deposit(s.recordName(), r, &s.recorded)
}

func (m *master) deposit(name string, record any, last *string) {
	text, err := json.Marshal(record)
	if err != nil {
		m.log("record %s: %v", name, err)
		return
	}
	if string(text) == *last {
		return
	}
	*last = string(text)
	if err := m.conn.Set(name, *last); err != nil && !m.keeperGone {
		m.log("deposit the record %s: %v", name, err)
	}
}

func (m *master) withdraw(name string) {
	if err := m.conn.Delete(name); err != nil && !m.keeperGone {
		m.log("withdraw %s: %v", name, err)
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
	for _, name := range m.order {
		m.apps[name] = m.adoptApp(in, name, records[name])
	}
	if len(m.order) == 0 {
		return
	}
	// Known processes first: what is left over then can be the launch that the
	// last master had just begun.
	var begun []*process
	for _, s := range m.slots() {
		begun = append(begun, m.adoptSlot(in, s)...)
	}
	for _, p := range begun {
		m.adoptBegun(in, p)
	}
	m.adoptPipes(in)
	for _, e := range in.Exits {
		m.keeperSays(e)
	}
	for _, s := range m.slots() {
		s.state = s.observe()
		m.touch(s)
	}
	for _, name := range m.order {
		m.steer(m.apps[name])
	}
	m.log("took over %d apps with %d processes from an earlier master", len(m.order), len(m.processes))
	m.settleAll()
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
	a := &app{name: name, spec: r.Spec, size: r.Size, busy: make(chan struct{}, 1)}
	for i, l := range r.Spec.Listen {
		var fds []int
		for {
			found := in.Files[socketsName(name, i, len(fds))]
			if len(found) != 1 {
				break
			}
			fds = append(fds, found[0])
		}
		if len(fds) == 0 {
			continue // the app is stopped
		}
		address := l.Address
		if i < len(r.Addresses) {
			address = r.Addresses[i]
		}
		a.groups = append(a.groups, socket.Adopt(l.Network, address, r.Spec.Balance == spec.BalanceShared, fds))
		a.deposited = append(a.deposited, len(fds))
	}
	for i := 0; ; i++ {
		s := &slot{app: a, index: i, spec: a.spec, want: stop, state: control.Stopped,
			logs: [2]*logs.File{logs.NewFile(m.home.OutLog(name, i)), logs.NewFile(m.home.ErrLog(name, i))}}
		var sr slotRecord
		if !m.parse(in, s.recordName(), &sr) {
			break
		}
		s.id, s.want, s.cycle, s.errored, s.reason = sr.ID, sr.Want, sr.Cycle, sr.Errored, sr.Reason
		s.restarts, s.lastExit, s.exitedAt = sr.Restarts, sr.LastExit, sr.ExitedAt
		s.inherited = sr.Processes
		a.slots = append(a.slots, s)
	}
	return a
}

// adoptSlot takes over the processes that a slot's record names, and returns
// those whose pid the last master had no time to record.
func (m *master) adoptSlot(in *keeper.Inheritance, s *slot) (begun []*process) {
	retire := s.want == retire
	for _, r := range s.inherited {
		p := &process{
			Child: keeper.Child{PID: r.PID, Start: r.Start}, launch: r.Launch, slot: s, spec: s.spec,
			startedAt: r.StartedAt, tails: newTails(),
			ready: r.Role == serving, leaving: r.Role == leaving,
		}
		m.lastLaunch = max(m.lastLaunch, r.Launch)
		switch r.Role {
		case serving:
			s.serving = p
		case starting:
			s.starting = p
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
	if retire {
		s.want = run
		m.beginRetire(s)
	}
	return begun
}

// adoptProcess watches over a process that is a child of the keeper now. If it
// is none any more it has ended, and the keeper says how; else we will never
// know.
func (m *master) adoptProcess(in *keeper.Inheritance, p *process) {
	m.processes[p.PID] = p
	if in.Children[p.PID] != p.Child {
		for _, e := range in.Exits {
			if e.Child == p.Child {
				return
			}
		}
		m.exited(p, unix.WaitStatus(0))
		p.slot.lastExit = "unknown"
		return
	}
	delete(in.Children, p.PID)
	if pidfd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK); err == nil {
		p.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	}
	switch {
	case p.leaving:
		m.giveTime(p, true)
	case !p.ready:
		m.awaitReady(p)
	}
}

// adoptBegun finds the process of a launch that was not yet recorded: a leader
// of its own group that no record names and whose environment, if it can be
// read, names the slot.
func (m *master) adoptBegun(in *keeper.Inheritance, p *process) {
	s := p.slot
	for pid, child := range in.Children {
		group, err := unix.Getpgid(pid)
		if err != nil || group != pid {
			continue
		}
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil && len(env) > 0 {
			list := bytes.Split(env, []byte{0})
			has := func(entry string) bool {
				return slices.ContainsFunc(list, func(e []byte) bool { return string(e) == entry })
			}
			if !has("NEKO_APP="+s.app.name) || !has("NEKO_SLOT="+strconv.Itoa(s.index)) {
				continue
			}
		}
		p.Child = child
		m.adoptProcess(in, p)
		return
	}
	s.starting = nil // it was not forked, or has ended
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
		if len(fds) != 2 || len(parts) != 4 {
			continue
		}
		launch, _ := strconv.ParseInt(parts[3], 10, 64)
		m.lastLaunch = max(m.lastLaunch, launch)
		p := byLaunch[launch]
		if p == nil {
			index, _ := strconv.Atoi(parts[2])
			a := m.apps[parts[1]]
			if a == nil || index >= len(a.slots) {
				a = &app{name: parts[1]}
				orphan := &slot{app: a, index: index, logs: [2]*logs.File{
					logs.NewFile(m.home.OutLog(a.name, index)), logs.NewFile(m.home.ErrLog(a.name, index))}}
				p = &process{launch: launch, slot: orphan, tails: newTails()}
			} else {
				p = &process{launch: launch, slot: a.slots[index], tails: newTails()}
			}
		}
		m.pump(p, fds[0], fds[1], !p.ready)
	}
}
