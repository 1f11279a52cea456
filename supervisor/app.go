package supervisor

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// app is a spec with its sockets and its slots. Only the loop touches it.
type app struct {
	name     string
	spec     *spec.App               // what start, restart and reload use
	size     int                     // slots that are wanted
	grant    grant                   // that its processes were sized by, at the last look
	groups   []*socket.Group         // in the order of spec.Listen, then of asked; none while stopped
	asked    []askedListener         // of Node's cluster mode
	data     map[int]json.RawMessage // by groups: what those who listen there have in common
	slots    []*slot                 // by index; those from size on are about to go
	turn     int                     // from which slot on a process is looked for that can be offered a connection
	unplaced []*offer                // connections that are to be offered again, one for each process and listener at the most
	busy     chan struct{}           // held by the one command that works on the app
	cause    cause                   // what that is

	reporters []reporter                    // of commands that look on
	breakers  map[string]*agreement         // by name, as workers say
	trace     atomic.Pointer[control.Trace] // that the command which works on it belongs to

	schedule schedule    // of cron_restart
	due      *time.Timer // until it is looked at again
	lookout  *lookout    // of watch
	renewals map[string]*renewal

	uniqueID     string // of all its processes, in PM2's words
	runDir       string // NEKO_RUN_DIR; "": there has been no process yet
	toldStopping bool   // the file stopping is there

	recorded  appRecord // as the keeper has it
	deposited []int     // sockets of each group that the keeper holds
}

func socketsName(app string, group, index int) string {
	return fmt.Sprintf("socket/%s/%d/%d", app, group, index)
}

// listen opens the sockets for n slots; all or none.
func (m *master) listen(a *app, n int) error {
	defer m.withdrawTaken()
	if len(a.groups) == 0 {
		var groups []*socket.Group
		for i, l := range a.spec.Listen {
			g, err := m.openGroup(a.name, i, l, n, a.spec.Balance == spec.BalanceShared)
			if err != nil {
				for _, g := range groups {
					g.Close()
				}
				return err
			}
			groups = append(groups, g)
		}
		a.groups = groups
	}
	for i, g := range a.groups {
		if i >= len(a.spec.Listen) && g.Len() == 0 {
			continue // nobody asks for it any more
		}
		if err := g.Grow(n); err != nil {
			return err
		}
	}
	m.depositSockets(a)
	return nil
}

// depositSockets makes the keeper hold exactly the sockets that are open.
func (m *master) depositSockets(a *app) {
	for len(a.deposited) < len(a.groups) {
		a.deposited = append(a.deposited, 0)
	}
	for i := range a.deposited {
		open := 0
		if i < len(a.groups) {
			open = a.groups[i].Len()
		}
		for ; a.deposited[i] < open; a.deposited[i]++ {
			m.depositSocket(a, i, a.deposited[i])
		}
		for ; a.deposited[i] > open; a.deposited[i]-- {
			m.withdraw(socketsName(a.name, i, a.deposited[i]-1))
		}
	}
}

func (m *master) depositSocket(a *app, group, index int) {
	name := socketsName(a.name, group, index)
	if fd := a.groups[group].FD(index); fd >= 0 {
		m.kept(name, m.conn.Put(name, fd))
	}
}

// fillSockets opens those that a slot has not which is to have a process.
func (m *master) fillSockets(s *slot) error {
	for i, g := range s.app.groups {
		filled, err := g.Fill(s.index)
		if err != nil {
			return err
		}
		if filled {
			m.depositSocket(s.app, i, s.index)
		}
	}
	return nil
}

// dropSockets closes those to which connections come and that nobody serves or will: of
// slots that are stopped or vacant, or have given up, in groups that cannot be steered.
func (m *master) dropSockets(a *app) {
	for i, g := range a.groups {
		if !g.Blind() {
			continue
		}
		for _, s := range a.slots {
			if !s.empty() || s.want != stop && !(s.errored || s.finished) || s.relays[i] != nil {
				continue
			}
			dropped, err := g.Drop(s.index)
			if err != nil {
				m.log("close a socket of %s: %v", g.Address, err)
			}
			if dropped {
				m.withdraw(socketsName(a.name, i, s.index))
			}
		}
	}
}

// close ends the sockets of an app that has no process left.
func (m *master) closeSockets(a *app) {
	for _, g := range a.groups {
		if err := g.Close(); err != nil {
			m.log("close %s: %v", g.Address, err)
		}
	}
	a.groups, a.asked, a.data = nil, nil, nil
	m.warn("blind "+a.name, "")
	m.warn("probes "+a.name, "")
	if m.apps[a.name] == a {
		m.recordApp(a)
	}
	m.depositSockets(a)
	a.deposited = nil
}

func (a *app) String() string { return a.name }

// runs says that some slot of the app is to run, or all that will come.
func (a *app) runs() bool {
	return len(a.slots) == 0 || slices.ContainsFunc(a.slots, func(s *slot) bool { return s.want == run })
}

// goesDown says that the app serves on before a stop, or has not ended after that.
func (a *app) goesDown() bool {
	return !slices.ContainsFunc(a.slots, func(s *slot) bool { return s.want == run }) &&
		slices.ContainsFunc(a.slots, func(s *slot) bool { return !s.stopsAt.IsZero() })
}

// resize adds slots, or marks those that are too many for retirement. If the app
// runs, those that are added run; sockets for them are open already.
func (m *master) resize(a *app, n int) {
	runs, before := a.runs(), a.size
	a.size = n
	for len(a.slots) < n {
		s := m.newSlot(a, len(a.slots))
		a.slots = append(a.slots, s)
		if runs {
			m.revive(s)
			s.awaits = a.slots[0].awaits
		}
	}
	for _, s := range a.slots {
		switch {
		case s.index >= n:
			m.beginRetire(s)
		case s.index >= before && s.want != run && runs: // it was about to go
			m.revive(s)
		}
		m.touch(s)
	}
	m.recordApp(a)
}

func (m *master) newSlot(a *app, index int) *slot {
	return &slot{
		app: a, index: index, id: m.freeID(), spec: a.spec, want: stop, state: control.Stopped, createdAt: time.Now(),
	}
}

// freeID is the lowest id that is free, as in PM2.
func (m *master) freeID() int {
	count := 0
	for _, other := range m.apps {
		count += len(other.slots)
	}
	used := make([]bool, count+1)
	for _, other := range m.apps {
		for _, s := range other.slots {
			if !s.vacant && s.id < len(used) {
				used[s.id] = true
			}
		}
	}
	return slices.Index(used, false)
}

// revive makes a slot run that was stopped or has given up.
func (m *master) revive(s *slot) {
	s.cancel(&s.retiring)
	s.cancel(&s.waiting)
	s.want, s.errored, s.finished, s.awaits, s.attempts, s.backoff = run, false, false, false, 0, backoff{}
	s.unstable, s.createdAt = 0, time.Now()
	s.stopsAt, s.because, s.owed = time.Time{}, cause{}, ""
	s.spec = s.app.spec
	m.touch(s)
}

// prune removes the slots beyond the app's size that have nothing left, from
// the end, for a group of sockets shrinks at its end only.
func (m *master) prune(a *app) {
	for len(a.slots) > a.size {
		s := a.slots[len(a.slots)-1]
		if !s.idle() {
			return
		}
		if n := m.queued(s); n > 0 {
			m.log("%s: %d connections are lost with its socket", s, n)
		}
		a.slots = a.slots[:len(a.slots)-1]
		for _, g := range a.groups {
			if g.Shared() || g.Len() <= s.index {
				continue
			}
			if err := g.Shrink(); err != nil {
				m.log("close a socket of %s: %v", g.Address, err)
			}
		}
		m.depositSockets(a)
		m.withdraw(s.recordName())
	}
	if len(a.groups) > 0 && !slices.ContainsFunc(a.slots, func(s *slot) bool { return !s.idle() }) {
		m.closeSockets(a)
	}
	m.dropSockets(a)
}
