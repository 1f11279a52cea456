package supervisor

import (
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/nodeipc"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// In Node's cluster mode it is the program that says where it listens, and the master
// that binds: an app's groups are those of its `listen`, and after them those that its
// processes have asked for. These are opened for all slots with the first that asks,
// and stay until the app stops, or no process has them any more.

// maxAsked bounds how many addresses an app may ask for, and maxData what all who
// listen on one have in common.
const (
	maxAsked = 256
	maxData  = 1 << 10
)

// askedListener is an address that processes of an app have asked for.
type askedListener struct {
	spec.Listener
	// Port0 says that the kernel chose the port; Index tells such listeners of one
	// address apart, as Node numbers them.
	Port0 bool `json:"port0,omitempty"`
	Index int  `json:"index,omitempty"`
}

// listeners are the app's own, and those that were asked for, in the order of groups.
func (a *app) listeners() []spec.Listener {
	list := slices.Clone(a.spec.Listen)
	for _, l := range a.asked {
		list = append(list, l.Listener)
	}
	return list
}

// askFor is the index of the group for what a process of the app asks for. It is opened
// if there is none.
func (m *master) askFor(a *app, q nodeipc.Query) (group int, err error) {
	network, address, ok := q.Listener()
	if !ok {
		return 0, unix.EINVAL
	}
	if network == "unix" && !strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "@") {
		return 0, unix.EINVAL // Node has made it absolute
	}
	want := askedListener{Listener: spec.Listener{Network: network, Address: address}, Port0: q.Port == 0}
	if want.Port0 {
		want.Index = q.Index
	}
	hole := -1
	for i, l := range a.spec.Listen {
		if l.Network == network && l.Address == address && i < len(a.groups) {
			return i, nil
		}
	}
	for i, have := range a.asked {
		group := len(a.spec.Listen) + i
		if a.groups[group].Len() == 0 {
			hole = i
		} else if have.wanted() == want {
			return group, nil
		}
	}
	if hole < 0 && len(a.asked) >= maxAsked {
		return 0, unix.EMFILE
	}
	if hole < 0 {
		hole = len(a.asked)
	}
	group = len(a.spec.Listen) + hole
	g, err := m.openAsked(a, group, want)
	if err != nil {
		return 0, err
	}
	want.Address = g.Address // with its port
	if hole == len(a.asked) {
		a.asked, a.groups = append(a.asked, want), append(a.groups, g)
	} else {
		a.asked[hole], a.groups[group] = want, g
	}
	m.recordApp(a)
	m.depositSockets(a)
	return group, nil
}

// share makes data what all have in common who listen on a group, if the first of them
// says so: what a TLS session's ticket was sealed with by one is opened by any.
func (a *app) share(group int, data json.RawMessage) {
	if _, known := a.data[group]; known || data == nil || string(data) == "null" {
		return
	}
	if a.data == nil {
		a.data = map[int]json.RawMessage{}
	}
	a.data[group] = data
}

// groupOf is the group on a port, or on an address; -1: there is none.
func (a *app) groupOf(address string) int {
	return slices.IndexFunc(a.groups, func(g *socket.Group) bool {
		return g.Len() > 0 && (g.Address == address || strings.HasSuffix(g.Address, ":"+address))
	})
}

// wanted is what was asked for that has become l.
func (l askedListener) wanted() askedListener {
	if l.Port0 {
		l.Address = l.Address[:strings.LastIndexByte(l.Address, ':')] + ":0"
	}
	return l
}

// openAsked opens a group for all slots of an app. The file of a unix socket is made
// with the rights of the app's user: root's master must not make one where that user
// could not.
func (m *master) openAsked(a *app, group int, want askedListener) (g *socket.Group, err error) {
	open := func() {
		g, err = m.openGroup(a.name, group, want.Listener, max(a.size, len(a.slots)), a.spec.Balance == spec.BalanceShared)
	}
	uid, gid := runsAs(a.spec)
	if want.Network != "unix" || uid == os.Geteuid() {
		open()
		return g, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The thread alone: setfsuid(2) takes the capabilities of root over files with it.
	gidBefore, _ := unix.SetfsgidRetGid(gid)
	uidBefore, _ := unix.SetfsuidRetUid(uid)
	defer func() {
		_, _ = unix.SetfsuidRetUid(uidBefore)
		_, _ = unix.SetfsgidRetGid(gidBefore)
	}()
	open()
	return g, err
}

// errnoOf is what a program would have got from bind or listen.
func errnoOf(q nodeipc.Query, err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case errors.As(err, new(*socket.InUseError)):
		return unix.EADDRINUSE
	case q.Port < 0 && errors.Is(err, unix.ENOENT):
		return unix.EACCES // as libuv has it
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, os.ErrPermission):
		return unix.EACCES
	}
	return unix.EINVAL
}

// dropUnused closes what the app's processes have asked for once and do not any more,
// since a reload into another port say: who connects there is refused and does not
// wait for nobody. While a process is missing it stays, for its successor.
func (m *master) dropUnused(a *app) {
	if len(a.asked) == 0 || slices.ContainsFunc(a.slots, func(s *slot) bool { return s.want == run && (s.serving == nil || s.starting != nil) }) {
		return
	}
	used := map[int]bool{}
	for _, s := range a.slots {
		for _, p := range s.processes() {
			for _, h := range p.handles {
				used[h.Group] = true
			}
		}
	}
	for i := range a.asked {
		group := len(a.spec.Listen) + i
		if used[group] || a.groups[group].Len() == 0 {
			continue
		}
		m.log("%s listens on %s no more", a, a.groups[group].Address)
		for _, s := range a.slots {
			m.endRelay(s, group)
		}
		if err := a.groups[group].Close(); err != nil {
			m.log("close %s: %v", a.groups[group].Address, err)
		}
		delete(a.data, group)
	}
	m.recordApp(a)
	m.depositSockets(a)
}

// processes are all that a slot has.
func (s *slot) processes() (list []*process) {
	for _, p := range []*process{s.serving, s.starting, s.standIn, s.spare} {
		if p != nil {
			list = append(list, p)
		}
	}
	return append(list, s.leaving...)
}

// liveFor is which of the live slots listen on a group: in Node's cluster mode not each
// need. If none does it is who does elsewhere, on probation say, and if nobody does yet
// it is all.
func (a *app) liveFor(group int, live []int) []int {
	if a.spec.Node != spec.NodeCluster {
		return live
	}
	listens := slices.DeleteFunc(slices.Clone(live), func(i int) bool {
		p := a.slots[i].serving
		return p == nil || !p.has(group)
	})
	if len(listens) > 0 {
		return listens
	}
	for _, s := range a.slots {
		if s.want == run && s.serving != nil && s.serving.has(group) || s.starting != nil && s.starting.has(group) {
			listens = append(listens, s.index)
		}
	}
	if len(listens) > 0 {
		return listens
	}
	return live
}

// handle is a socket of the master's that a process has, or awaits.
type handle struct {
	Key   string        `json:"key"` // as Node knows it
	Group int           `json:"group"`
	Query nodeipc.Query `json:"query"`
	// Seq is the number of the query that asked for it.
	Seq int `json:"seq,omitempty"`
	// Awaits is Seq until it is answered, 0: the process has it.
	Awaits int `json:"awaits,omitempty"`
	// Listens is what the process says.
	Listens bool `json:"listens,omitempty"`
}

// listensOn is the key by which p listens on a group, "" if it does not.
func (p *process) listensOn(group int) (key string) {
	for _, h := range p.handles {
		if h.Group == group && h.Listens {
			return h.Key
		}
	}
	return ""
}

// has says whether p may accept from a group.
func (p *process) has(group int) bool {
	return slices.ContainsFunc(p.handles, func(h handle) bool { return h.Group == group && h.Awaits == 0 })
}
