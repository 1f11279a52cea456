package supervisor

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/spec"
)

// A worker of Node's cluster module takes connections that its primary has accepted;
// Node's own round robin does nothing else. So what queues on the socket of a slot that
// nobody serves need not wait until a process has started: the slot's siblings are
// given it.
//
// Each is offered one connection at a time, since what is still in the kernel's queue
// is lost with nobody; and the master keeps what it has offered until that was taken,
// so that it can be offered to another.

// relay is a socket of a slot of which the siblings are given what queues on it.
type relay struct {
	fd    int   // a duplicate: the group may close its own before the slot is settled
	wait  int32 // names the wait for connections
	given int
}

// refusal is how long a process is not asked again whether it takes a connection: it may
// have had as many as it wants.
const refusal = 100 * time.Millisecond

// offer is a connection that a process is to take.
type offer struct {
	seq     int64
	conn    int // its descriptor
	group   int
	refused []*process
}

// handOff begins to give what queues on a slot to its siblings, or ends it: as soon as its
// next process listens, that takes what queues there itself. Where its process does not
// listen connections come as well, while nobody does.
func (m *master) handOff(s *slot) {
	a := s.app
	clustered := a.spec.Node == spec.NodeCluster && len(a.slots) > 1
	lacks := func(group int) bool {
		served := s.serving != nil && s.serving.has(group) || s.starting.takes(group)
		return clustered && s.want != stop && !served
	}
	for group := range s.relays {
		if !lacks(group) {
			m.endRelay(s, group)
		}
	}
	for group, g := range a.groups {
		if fd := g.FD(s.index); lacks(group) && s.relays[group] == nil && fd >= 0 && !g.Shared() {
			if err := m.beginRelay(s, group, fd); err != nil {
				m.log("what queues on %s waits for its next process: %v", s, err)
			}
		}
	}
}

func (m *master) beginRelay(s *slot, group, fd int) (err error) {
	r := &relay{}
	if r.fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return err
	}
	if err = unix.SetNonblock(r.fd, true); err == nil { // as Node wants it, too
		r.wait, err = m.polls.Watch(r.fd, func() { m.post(func() { m.passOn(s.app) }) })
	}
	if err != nil {
		unix.Close(r.fd)
		return err
	}
	if s.relays == nil {
		s.relays = map[int]*relay{}
	}
	s.relays[group] = r
	return nil
}

func (m *master) endRelay(s *slot, group int) {
	r := s.relays[group]
	if r == nil {
		return
	}
	if r.given > 0 {
		m.log("%s: its siblings were given %d connections that nobody served there", s, r.given)
	}
	m.polls.Forget(r.wait)
	unix.Close(r.fd)
	delete(s.relays, group)
}

// passOn offers what there is to the processes that can take it now.
func (m *master) passOn(a *app) {
	again := a.unplaced
	a.unplaced = nil
	for _, o := range again {
		m.place(a, o)
	}
	if m.offersNoMore { // the next master would not know of more
		return
	}
	// As long as nobody wants one, the others of its listener wait where they are.
	waits := func(group int) bool {
		return slices.ContainsFunc(a.unplaced, func(o *offer) bool { return o.group == group })
	}
	for _, s := range a.slots {
		for group, r := range s.relays {
			for !waits(group) && a.taker(group, nil) != nil {
				conn, _, err := unix.Accept4(r.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
				if err == unix.EINTR || err == unix.ECONNABORTED {
					continue
				}
				if err != nil {
					if err != unix.EAGAIN && err != unix.EINVAL { // it is shut down
						m.log("accept what queues on %s: %v", s, err)
					}
					break
				}
				r.given++
				m.place(a, &offer{conn: conn, group: group})
			}
		}
	}
}

// taker is the process whose turn it is to be offered a connection, one that new
// connections of its listener are sent to; nil: none can be offered one now.
func (a *app) taker(group int, refused []*process) *process {
	live := a.liveFor(group, a.live())
	for i := range a.slots {
		s := a.slots[(a.turn+i)%len(a.slots)]
		if p := s.serving; slices.Contains(live, s.index) && p.takes(group) && p.offered == nil && !slices.Contains(refused, p) {
			return p
		}
	}
	return nil
}

// takes says that p listens on a group, and hears the master.
func (p *process) takes(group int) bool {
	return p != nil && p.channel != nil && p.listensOn(group) != ""
}

// place offers a connection to a process. It waits while there is none, or none that can be
// offered one now, and is closed if nobody wants it, as Node's own primary would see
// to it.
func (m *master) place(a *app, o *offer) {
	for p := a.taker(o.group, o.refused); p != nil; p = a.taker(o.group, o.refused) {
		m.lastOffer++
		o.seq, a.turn = m.lastOffer, p.slot.index+1
		if err := p.channel.Offer(o.seq, p.listensOn(o.group), o.conn); err != nil {
			m.sent(p, err)
			o.refused = append(o.refused, p)
			continue
		}
		p.offered = o
		return
	}
	wanted := func(s *slot) bool {
		p := s.serving
		if p == nil {
			return s.want != stop && !s.errored && !s.finished
		}
		// Many say that they are ready before Node says that they listen.
		return p.channel != nil && p.has(o.group) && !slices.Contains(o.refused, p)
	}
	if !slices.ContainsFunc(a.slots, wanted) || begun(o.conn) {
		unix.Close(o.conn)
		return
	}
	a.unplaced = append(a.unplaced, o)
}

// answered is what p says of a connection that it was offered.
func (m *master) answered(p *process, seq int64, accepted bool) {
	a, o := p.slot.app, p.offered
	if o == nil || o.seq != seq {
		return // of an earlier master's
	}
	p.offered = nil
	if accepted {
		unix.Close(o.conn)
	} else {
		o.refused = append(o.refused, p)
		a.unplaced = append(a.unplaced, o)
		time.AfterFunc(refusal, func() {
			m.post(func() {
				o.refused = slices.DeleteFunc(o.refused, func(q *process) bool { return q == p })
				m.passOn(a)
			})
		})
	}
	m.passOn(a)
}

// takeBack is the end of a process that was offered a connection, and not only of its
// channel: nobody else may read from the connection. What it had begun to serve ends with it.
func (m *master) takeBack(p *process) {
	o := p.offered
	if o == nil {
		return
	}
	p.offered = nil
	if begun(o.conn) {
		unix.Close(o.conn)
		return
	}
	p.slot.app.unplaced = append(p.slot.app.unplaced, o) // exited touches the slot
}

// begun says that somebody has read from a connection, or written to it.
func begun(conn int) bool {
	info, err := unix.GetsockoptTCPInfo(conn, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return true
	}
	unread, err := unix.IoctlGetInt(conn, unix.TIOCINQ)
	if err != nil {
		return true
	}
	if info.State == closeWait {
		unread++ // the client's FIN counts
	}
	return info.Bytes_sent > 0 || info.Bytes_received > uint64(unread)
}

// closeWait is TCP_CLOSE_WAIT of linux/include/net/tcp_states.h.
const closeWait = 8

// offers are how many connections wait to be taken.
func (m *master) offers() (n int) {
	for _, a := range m.apps {
		n += len(a.unplaced)
	}
	for _, p := range m.processes {
		if p.offered != nil {
			n++
		}
	}
	return n
}
