package supervisor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/nodeipc"
	"github.com/nekoctl/neko/supervisor/spec"
)

// A program of Node's has an IPC channel (package nodeipc). In cluster mode it asks on
// it for its sockets, and says when it listens; when it is to go it is told there, and
// drain.cjs, which it has loaded, ends it without losing a request.
//
// The channel must outlive this master, and its keeper: a cluster worker whose channel
// closes ends at once. So the keeper has a descriptor of our end, and so has the
// process itself, which Node passes on to nobody.

// silence is how long a program in cluster mode must have run that listens nowhere to be
// taken for one that will not.
const silence = 3 * time.Second

// settling is for how long a process must go on to listen: many look for a port that is
// free by listening on it for a moment.
const settling = 10 * time.Millisecond

// straggling is how long a process may take, from its first listener on, to listen
// wherever its predecessor does.
const straggling = time.Second

// ends are those of the channel of a process of Node's while it is started.
type ends struct{ ours, theirs int }

func (p *process) channelName() string {
	return fmt.Sprintf("ipc/%s/%d/%d", p.slot.app.name, p.slot.index, p.launch)
}

// clustered says that p gets its sockets by its channel.
func (p *process) clustered() bool { return p.spec != nil && p.spec.Node == spec.NodeCluster }

// openChannel makes the channel of a process that is about to be started.
func (m *master) openChannel(p *process) (e *ends, err error) {
	if p.spec.Node == spec.NodeNone {
		return nil, nil
	}
	ours, theirs, err := nodeipc.Pair()
	if err != nil {
		return nil, fmt.Errorf("channel: %w", err)
	}
	m.kept(p.channelName(), m.conn.Put(p.channelName(), ours))
	return &ends{ours, theirs}, nil
}

// command is p's, with what a program of Node's loads before it starts.
func (m *master) command(p *process) (argv []string, err error) {
	argv = p.spec.Command
	if p.spec.Node == spec.NodeNone {
		return argv, nil
	}
	script, err := m.drainScript(p.slot.app)
	if err != nil {
		return nil, fmt.Errorf("write what a Node program loads: %w", err)
	}
	return slices.Insert(slices.Clone(argv), 1, "--require", script), nil
}

// drainScript is the path of drain.cjs, beside the run folders, where every user may
// read it. Its name has its version: what has loaded another may still fork.
func (m *master) drainScript(a *app) (string, error) {
	folder := string(m.home)
	if a.runDir != "" {
		folder = filepath.Dir(a.runDir)
	}
	path := filepath.Join(folder, nodeipc.DrainName)
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() == int64(len(nodeipc.Drain)) {
		return path, nil
	}
	file, err := os.CreateTemp(folder, "."+nodeipc.DrainName)
	if err != nil {
		return "", err
	}
	_, err = file.Write(nodeipc.Drain)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return path, err
}

// removeDrainScripts removes what [master.drainScript] has written, and the masters
// before this one.
func removeDrainScripts(folder string) {
	scripts, _ := filepath.Glob(filepath.Join(folder, "drain-*.cjs"))
	unfinished, _ := filepath.Glob(filepath.Join(folder, ".drain-*.cjs*"))
	for _, path := range append(scripts, unfinished...) {
		_ = os.Remove(path) // the folder stays with it, and is tried again with the next last app
	}
}

// variables are those by which Node finds the channel, of which the process has the end
// at fd.
func (p *process) variables(fd int) []string {
	list := []string{fmt.Sprintf("NODE_CHANNEL_FD=%d", fd), "NODE_CHANNEL_SERIALIZATION_MODE=json"}
	if p.clustered() {
		list = append(list, "NODE_UNIQUE_ID="+strconv.FormatInt(p.launch, 10))
	}
	return list
}

// useChannel takes over our end and hears the process by it.
func (m *master) useChannel(p *process, fd int, resume bool) {
	p.lineInode = inodes(fd)
	channel, err := nodeipc.Open(fd, resume)
	if err != nil {
		m.log("channel of %s: %v", p.slot, err)
		return
	}
	p.channel = channel
	go func() {
		for {
			message, err := channel.Read()
			heard := false
			m.do(func() {
				heard = p.channel == channel
				switch {
				case !heard:
				case err == nil:
					m.hear(p, message)
				case errors.Is(err, nodeipc.ErrTooLong):
					m.sendsTooMuch(p, err)
				default:
					m.hangUp(p, err)
				}
			})
			if !heard || err != nil && !errors.Is(err, nodeipc.ErrTooLong) {
				return
			}
		}
	}()
}

// hangUp ends our side of a channel.
func (m *master) hangUp(p *process, why error) {
	if p.channel == nil {
		return
	}
	if why != nil && !errors.Is(why, io.EOF) && !errors.Is(why, net.ErrClosed) && !errors.Is(why, unix.ECONNRESET) {
		m.log("pid %d of %s is not heard any more: %v", pid(p.PID), p.slot, why)
	}
	if err := p.channel.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		m.log("close the channel of %s: %v", p.slot, err)
	}
	p.channel = nil
	m.withdraw(p.channelName())
}

// sendsTooMuch says so once for each process: some send such messages all the time.
func (m *master) sendsTooMuch(p *process, err error) {
	if !p.sentTooMuch {
		p.sentTooMuch = true
		m.log("%s: pid %d: %v, and is passed over", p.slot, pid(p.PID), err)
	}
}

// hear carries out what a process has said on its channel.
func (m *master) hear(p *process, message nodeipc.Message) {
	if !message.IsCluster() {
		if message.Command == "" {
			m.hearProgram(p, message.Text)
		}
		return
	}
	if message.ACK > 0 {
		m.answered(p, message.ACK, message.Accepted)
		return
	}
	switch message.Act {
	case "queryServer":
		m.heedQuery(p, message)
	case "listening":
		for i, h := range p.handles {
			if h.Awaits == 0 && h.means(message.Query) {
				p.handles[i].Listens = true
			}
		}
		m.listens(p)
		m.touch(p.slot)
	case "close":
		p.handles = slices.DeleteFunc(p.handles, func(h handle) bool { return h.Key == message.Key })
		m.record(p.slot)
		m.touch(p.slot) // somebody else may listen there
		m.steer(p.slot.app)
		m.dropUnused(p.slot.app)
	default: // online, exitedAfterDisconnect
		if message.Seq > 0 {
			m.sent(p, p.channel.Acknowledge(message.Seq))
		}
	}
}

// sent reports what could not be sent. Who has ended need not be told.
func (m *master) sent(p *process, err error) {
	if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, net.ErrClosed) {
		m.log("tell pid %d of %s: %v", pid(p.PID), p.slot, err)
	}
}

// means says whether a process that listens speaks of h. Where it left the port to the
// kernel it says which it became.
func (h handle) means(q nodeipc.Query) bool {
	a, b := h.Query, q
	host := func(q nodeipc.Query) string {
		if q.Address == nil {
			return ""
		}
		return *q.Address
	}
	return a.Index == b.Index && host(a) == host(b) && fmt.Sprint(a.AddressType) == fmt.Sprint(b.AddressType) && (a.Port == b.Port || a.Port == 0)
}

// heedQuery answers a process that wants to listen. A spare is answered when it is to
// serve: until then it has started, and accepts nothing. A query that the last master
// has answered may be heard again, and is answered again: Node passes over a second
// answer, and the first may have ended with that master.
func (m *master) heedQuery(p *process, message nodeipc.Message) {
	a, q := p.slot.app, message.Query
	group, err := 0, error(unix.E2BIG)
	if len(message.Data) <= maxData {
		group, err = m.askFor(a, q)
	}
	key := fmt.Sprintf("%s %d", keyOf(q), q.Index)
	twice := func(h handle) bool { return h.Group == group && h.Seq != message.Seq }
	if err == nil && slices.ContainsFunc(p.handles, twice) {
		err = unix.EADDRINUSE
	}
	if err == nil && a.groups[group].FD(p.slot.index) < 0 {
		err = unix.EADDRNOTAVAIL
	}
	if err != nil {
		m.log("%s: pid %d cannot listen on %s: %v", p.slot, pid(p.PID), keyOf(q), err)
		m.sent(p, p.channel.Refuse(message.Seq, key, message.Data, errnoOf(q, err)))
		return
	}
	a.share(group, message.Data)
	h := handle{Key: key, Group: group, Query: q, Seq: message.Seq, Awaits: message.Seq}
	p.handles = append(slices.DeleteFunc(p.handles, func(h handle) bool { return h.Key == key }), h)
	if p.slot.spare == p {
		m.record(p.slot)
		m.becameReady(p)
		return
	}
	m.record(p.slot)
	m.recordApp(a)
	m.sent(p, p.letIn())
	m.record(p.slot)
	m.steer(a)
	for _, s := range a.slots { // the group may be new to them
		m.touch(s)
	}
}

func keyOf(q nodeipc.Query) string {
	if network, address, ok := q.Listener(); ok {
		return network + ":" + address
	}
	return fmt.Sprintf("port %d of type %v", q.Port, q.AddressType)
}

// letIn gives p the sockets that it awaits.
func (p *process) letIn() error {
	if p.channel == nil {
		return net.ErrClosed
	}
	for i, h := range p.handles {
		if h.Awaits == 0 {
			continue
		}
		if err := p.channel.Grant(h.Awaits, h.Key, p.slot.app.data[h.Group], p.slot.app.groups[h.Group].FD(p.slot.index)); err != nil {
			return err
		}
		p.handles[i].Awaits = 0
	}
	return nil
}

// listens is when p has begun to listen somewhere: it is ready in a moment if that is
// wherever its predecessor does, or a little later.
func (m *master) listens(p *process) {
	m.record(p.slot)
	if p.ready || p.probed() || p.spec.WaitReady {
		return
	}
	wait := settling
	if before := p.slot.serving; before != nil && before != p {
		for _, h := range before.handles {
			if p.listensOn(h.Group) == "" {
				wait = straggling
			}
		}
	}
	time.AfterFunc(wait, func() {
		m.post(func() {
			if m.processes[p.PID] == p && slices.ContainsFunc(p.handles, func(h handle) bool { return h.Listens }) {
				m.becameReady(p)
			}
		})
	})
}

// awaitListening is awaitReady for cluster mode: what comes is heard. Where nobody has
// listened yet it may be a program that does not.
func (m *master) awaitListening(p *process) {
	if len(p.slot.app.groups) > 0 {
		return
	}
	wait := min(silence, p.spec.ListenTimeout.D()*9/10)
	if before := p.slot.serving; before != nil && before != p && len(before.handles) == 0 {
		wait = min(firstSteps, p.spec.MinUptime.D()) // it does not either
	}
	time.AfterFunc(wait, func() {
		m.post(func() {
			if len(p.handles) == 0 && m.processes[p.PID] == p {
				m.becameReady(p)
			}
		})
	})
}

// tellToLeave tells p to finish what it serves and go: one of Node's that runs by its
// channel, any other by its signal.
func (m *master) tellToLeave(p *process) {
	if p.channel != nil && (p.ready || len(p.handles) > 0) {
		if err := p.channel.Drain(p.drain()); err == nil {
			return
		}
	}
	if err := m.system.signal(p, p.spec.Signal()); err != nil {
		m.log("signal pid %d of %s: %v", pid(p.PID), p.slot, err)
	}
}

// drain is how p is to end. What has a successor, or a socket of ours in which new
// connections can wait, leaves idle connections open for a while; in fork mode every
// moment of it is one in which nobody can connect.
func (p *process) drain() nodeipc.DrainOrder {
	hard := p.spec.DrainTimeout.D()
	d := nodeipc.DrainOrder{Hard: int(hard.Milliseconds()), End: nodeipc.EndSignal}
	if p.clustered() {
		d.Soft = int(min(hard*4/5, softDeadline).Milliseconds())
	}
	if p.spec.ShutdownWithMessage {
		d.End = nodeipc.EndMessage
	}
	return d
}

// softDeadline is until when idle connections are left open at the most, as package
// worker has it.
const softDeadline = 10 * time.Second

// adoptChannels goes on hearing what the processes of an earlier master say, and lets
// go of the channels of those that have ended.
func (m *master) adoptChannels(in *keeper.Inheritance) {
	byName := map[string]*process{}
	for _, p := range m.processes {
		byName[p.channelName()] = p
	}
	for _, name := range names(in, "ipc/") {
		fds, p := in.Files[name], byName[name]
		if len(fds) != 1 || p == nil {
			closeAll(fds)
			m.withdraw(name)
			continue
		}
		m.useChannel(p, fds[0], true)
		if p.slot.spare != p {
			m.sent(p, p.letIn()) // the last master may not have come so far
		}
	}
}
