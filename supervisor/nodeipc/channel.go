// Package nodeipc is the master's end of the channel between Node and a process that
// it has forked, as child_process and cluster of Node 18 to 24 speak: a program of
// Node's that is started with it has process.send, and can be a worker of Node's
// cluster module although its parent is not Node.
//
// The wire is that of lib/internal/child_process.js and lib/internal/cluster: a stream
// socket, a JSON value a line, handles by SCM_RIGHTS. Node reads its end's number from
// NODE_CHANNEL_FD.
//
// The package knows nothing of the master. drain.cjs is the other half: what a program
// loads before it starts, so that it can end without losing a request.
package nodeipc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// longest is how long a message may be that a program sends, and how much may wait
	// for one that does not read.
	longest = 4 << 20
	// sendBuffer is what the kernel takes at once, as far as it lets us.
	sendBuffer = 1 << 20
	// longestPeek is how long a message may be to be left in the socket until it has
	// been seen to.
	longestPeek = 64 << 10
)

// ErrTooLong says that a program has sent a message that no memory is spent on: it is
// passed over, and others come. ErrStuck says that it has not read for so long that there is no more
// room.
var (
	ErrTooLong = fmt.Errorf("a message is longer than %d MiB", longest>>20)
	ErrStuck   = errors.New("the process does not read its messages")
)

// Pair makes a channel: our end, and the one that the process inherits.
func Pair() (ours, theirs int, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, err
	}
	return ends[0], ends[1], nil
}

// Channel is our end. Read is for one goroutine, the rest for any.
type Channel struct {
	conn *net.UnixConn
	raw  syscall.RawConn
	buf  []byte // what is at the head of the socket, and still in it
	read int    // bytes of it that the last message took
	torn bool   // the first line may be the rest of a long one
	skip bool   // what comes is the rest of a line that was too long

	mu      sync.Mutex
	queue   []packet // what could not be sent at once, in order
	size    int      // bytes in it
	writing bool
	inHand  bool     // a handle is on its way: the next one waits for its ACK
	offered int64    // what is on its way is the connection of this offer, 0: a listener
	handles []packet // those
	closed  bool
}

// packet is a line, and what comes with its first byte.
type packet struct {
	text  []byte
	fd    int   // 0: nothing. No os.File, whose Fd would make a listener block
	offer int64 // of which that is the connection
}

// Open takes over our end. With resume an earlier master had it: what comes first may
// be the rest of a message.
func Open(fd int, resume bool) (*Channel, error) {
	file := os.NewFile(uintptr(fd), "ipc")
	defer file.Close() // FileConn has a duplicate
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("descriptor %d is no unix socket", fd)
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &Channel{conn: unixConn, raw: raw, buf: make([]byte, 4<<10), torn: resume}, nil
}

// Dup is another descriptor of our end, which the caller owns.
func (c *Channel) Dup() (fd int, err error) {
	var dupErr error
	err = c.raw.Control(func(own uintptr) { fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, dupErr)
}

// Close lets go of our end. The process does not notice as long as anybody has another
// descriptor of it.
func (c *Channel) Close() error {
	c.mu.Lock()
	c.closed = true
	for _, p := range append(c.queue, c.handles...) {
		p.close()
	}
	c.queue, c.handles = nil, nil
	c.mu.Unlock()
	return c.conn.Close()
}

func (p packet) close() {
	if p.fd > 0 {
		unix.Close(p.fd)
	}
}

// Read waits for the next message. The one before leaves the socket only now: if the
// master was killed while it saw to that, the next master hears it again. What belongs to the channel itself, the receipts for
// handles, is seen to here and not returned.
func (c *Channel) Read() (Message, error) {
	for {
		line, err := c.line()
		if err != nil {
			return Message{}, err
		}
		m, err := parse(line)
		first := c.torn
		c.torn = false
		switch {
		case err != nil && first:
			continue
		case err != nil:
			return Message{}, err
		case m.Command == handleACK:
			c.received()
		case m.Command == handleNACK: // the process has no descriptor free
			if offer := c.received(); offer > 0 {
				return Message{Command: cluster, ACK: offer}, nil
			}
		case m.Command == handle: // nobody here has a use for it, and the process waits for that
			_ = c.Send(command{Command: handleACK})
		default:
			return m, nil
		}
	}
}

// line is the next, with its end. It stays in the socket until the next call, unless
// it is a very long one.
func (c *Channel) line() ([]byte, error) {
	if err := c.consume(); err != nil {
		return nil, err
	}
	var begun []byte // of a long one
	for {
		n, err := c.peek()
		if err != nil {
			return nil, err
		}
		line := c.buf[:n]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			c.read = end + 1
			if c.skip {
				c.skip = false
				if err := c.consume(); err != nil {
					return nil, err
				}
				continue
			}
			return append(begun, line[:end+1]...), nil
		}
		if n == len(c.buf) && n < longestPeek {
			c.buf = make([]byte, min(4*n, longestPeek))
			continue
		}
		// It is long, or the kernel would have taken it in one piece. Who sends it may
		// wait for room in the socket, which what is left in it takes.
		if !c.skip {
			begun = append(begun, line...)
		}
		c.read = n
		if err := c.consume(); err != nil {
			return nil, err
		}
		if len(begun) > longest {
			c.skip = true
			return nil, ErrTooLong
		}
	}
}

// peek waits until there is something in the socket, or the end.
func (c *Channel) peek() (n int, err error) {
	waitErr := c.raw.Read(func(fd uintptr) bool {
		for {
			n, _, err = unix.Recvfrom(int(fd), c.buf, unix.MSG_PEEK)
			if err != unix.EINTR {
				break
			}
		}
		return err != unix.EAGAIN
	})
	switch {
	case waitErr != nil:
		return 0, waitErr
	case err == nil && n == 0:
		return 0, io.EOF
	}
	return n, err
}

// consume takes what has been read out of the socket.
func (c *Channel) consume() error {
	for c.read > 0 {
		n, err := c.conn.Read(c.buf[:c.read])
		if err != nil {
			return err
		}
		c.read -= n
	}
	return nil
}

// Send sends a message, and does not wait: what the kernel does not take now is sent
// when the process has read.
func (c *Channel) Send(message any) error {
	text, err := encode(message)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.send(packet{text: text})
}

// SendHandle sends a duplicate of a socket with a message to Node's cluster module. It
// is to be non-blocking: Node takes that for granted, and would wait in accept(2), with
// all that it serves, for a connection that a sibling has been faster to accept. As
// Node has room for one handle only, each waits until the one before was received.
func (c *Channel) SendHandle(message any, fd int) error { return c.sendHandle(message, fd, 0) }

func (c *Channel) sendHandle(message any, fd int, offer int64) error {
	text, err := encode(handleMessage{Command: handle, Type: "net.Native", Message: message})
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 1)
	if err != nil {
		return err
	}
	p := packet{text, own, offer}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inHand {
		c.handles = append(c.handles, p)
		return nil
	}
	c.inHand, c.offered = true, offer
	return c.send(p)
}

// received lets the next handle go, and returns of which offer the last one was.
func (c *Channel) received() (offer int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	offer, c.offered = c.offered, 0
	if c.inHand = len(c.handles) > 0; !c.inHand {
		return offer
	}
	p := c.handles[0]
	c.handles, c.offered = c.handles[1:], p.offer
	_ = c.send(p) // who does not read is found out by whoever waits for it
	return offer
}

// send is for who has the lock.
func (c *Channel) send(p packet) error {
	if c.closed {
		p.close()
		return net.ErrClosed
	}
	if c.size+len(p.text) > longest {
		p.close()
		return ErrStuck
	}
	if !c.writing {
		// A master that is killed must not leave half a line, which Node could not read:
		// it goes in one piece if there is room.
		n, err := c.try(p)
		if err == nil && n == len(p.text) {
			p.close()
			return nil
		}
		if err != nil && err != unix.EAGAIN {
			p.close()
			return err
		}
		if n > 0 {
			p.close()
			p = packet{text: p.text[n:]}
		}
	}
	c.queue, c.size = append(c.queue, p), c.size+len(p.text)
	if !c.writing {
		c.writing = true
		go c.flush()
	}
	return nil
}

func (p packet) rights() []byte {
	if p.fd <= 0 {
		return nil
	}
	return unix.UnixRights(p.fd)
}

func (c *Channel) try(p packet) (n int, err error) {
	rights := p.rights()
	controlErr := c.raw.Control(func(fd uintptr) {
		n, err = unix.SendmsgN(int(fd), p.text, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	if controlErr != nil {
		return 0, controlErr
	}
	return max(n, 0), err
}

// flush sends what waits, until nothing does.
func (c *Channel) flush() {
	for {
		c.mu.Lock()
		if len(c.queue) == 0 {
			c.writing = false
			c.mu.Unlock()
			return
		}
		p := c.queue[0]
		c.queue = c.queue[1:]
		c.mu.Unlock()
		n, _, err := c.conn.WriteMsgUnix(p.text, p.rights(), nil)
		p.close()
		for err == nil && n < len(p.text) {
			var more int
			more, err = c.conn.Write(p.text[n:])
			n += more
		}
		c.mu.Lock()
		c.size -= len(p.text)
		c.mu.Unlock()
		if err != nil {
			return // the process has ended, or we have; nothing is sent any more
		}
	}
}

func encode(message any) ([]byte, error) {
	text, err := json.Marshal(message)
	return append(text, '\n'), err
}
