package supervisor

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ends awaits the ends of many processes, which their pidfds show, in one goroutine.
type ends struct {
	epoll int
	raw   syscall.RawConn
	mu    sync.Mutex
	last  int32
	then  map[int32]func() // a pidfd's number may be another's by the time it is told of
}

func newEnds() (*ends, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(epoll, true); err != nil { // so that the runtime's own epoll watches it
		return nil, err
	}
	e := &ends{epoll: epoll, then: map[int32]func(){}}
	if e.raw, err = os.NewFile(uintptr(epoll), "ends").SyscallConn(); err != nil {
		return nil, err
	}
	go e.run()
	return e, nil
}

// await runs f once, when the process of a pidfd has ended. What it returns is for
// forget.
func (e *ends) await(pidfd int, f func()) (int32, error) {
	e.mu.Lock()
	for e.last++; e.last <= 0 || e.then[e.last] != nil; e.last++ {
		e.last = max(e.last, 0)
	}
	id := e.last
	e.then[id] = f
	e.mu.Unlock()
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: id}
	return id, unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, pidfd, &event)
}

// forget is for when the pidfd is closed.
func (e *ends) forget(id int32) {
	e.mu.Lock()
	delete(e.then, id)
	e.mu.Unlock()
}

func (e *ends) run() {
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		err := e.raw.Read(func(epoll uintptr) bool {
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
			e.mu.Lock()
			f := e.then[event.Fd]
			delete(e.then, event.Fd)
			e.mu.Unlock()
			if f != nil {
				f()
			}
		}
	}
}
