// Package poll awaits many descriptors in one goroutine, where one for each would
// cost some KiB: a thousand processes that sleep are three thousand of them.
package poll

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Poller waits until descriptors can be read, or are at their end.
type Poller struct {
	epoll int
	raw   syscall.RawConn
	mu    sync.Mutex
	last  int32
	waits map[int32]wait // a descriptor's number may be another's by the time it is told of
}

type wait struct {
	fd    int
	then  func()
	again bool
}

// Shared is the one of this process.
var Shared = sync.OnceValues(New)

// New starts a poller, which never ends.
func New() (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(epoll, true); err != nil { // so that the runtime's own epoll watches it
		return nil, err
	}
	p := &Poller{epoll: epoll, waits: map[int32]wait{}}
	if p.raw, err = os.NewFile(uintptr(epoll), "epoll").SyscallConn(); err != nil {
		return nil, err
	}
	go p.run()
	return p, nil
}

// Await runs then once, in the poller's goroutine, when fd can be read. It is not to
// be closed before that, unless Forget is told what Await has returned.
func (p *Poller) Await(fd int, then func()) (id int32, err error) {
	return p.add(fd, unix.EPOLLONESHOT, wait{fd, then, false})
}

// Watch runs then, in the poller's goroutine, when fd can be read, and each time that
// more has come, until Forget is told what it has returned.
func (p *Poller) Watch(fd int, then func()) (id int32, err error) {
	return p.add(fd, unix.EPOLLET, wait{fd, then, true})
}

func (p *Poller) add(fd int, mode uint32, w wait) (id int32, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.last = max(p.last+1, 1); ; p.last = max(p.last+1, 1) {
		if _, taken := p.waits[p.last]; !taken {
			break
		}
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | mode, Fd: p.last}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return 0, err
	}
	p.waits[p.last] = w
	return p.last, nil
}

// Forget waits no longer. It goes before the descriptor is closed.
func (p *Poller) Forget(id int32) { p.take(id, true) }

func (p *Poller) take(id int32, last bool) (then func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, ok := p.waits[id]
	if ok && (last || !w.again) {
		delete(p.waits, id)
		// Others may hold the same pipe, so that a close would not do it.
		_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, w.fd, nil)
	}
	return w.then
}

func (p *Poller) run() {
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		err := p.raw.Read(func(epoll uintptr) bool {
			var err error
			for n, err = unix.EpollWait(int(epoll), events, 0); err == unix.EINTR; {
				n, err = unix.EpollWait(int(epoll), events, 0)
			}
			return n > 0
		})
		if err != nil {
			return
		}
		for _, event := range events[:n] {
			if then := p.take(event.Fd, false); then != nil {
				then()
			}
		}
	}
}
