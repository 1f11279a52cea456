package supervisor

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/socket"
)

// The sockets are the kernel's, and so is the steering. Only system calls are made
// on them, for which virtual time waits.

// serveAll lets every process that serves take what has queued on its slot.
func (w *world) serveAll() {
	for _, b := range w.bodies {
		if !b.ready || !b.told.IsZero() {
			continue
		}
		for _, g := range b.slot.app.groups {
			for n, _ := g.Queued(b.slot.index); n > 0; n-- {
				take(g, b.slot.index)
			}
		}
	}
}

// take accepts a connection that waits for a slot, and closes it.
func take(g *socket.Group, slot int) {
	if fd, _, err := unix.Accept4(g.FD(slot), unix.SOCK_CLOEXEC); err == nil {
		unix.Close(fd)
	}
}

// dial makes a connection, which leaves nothing behind when it is closed, and
// finds the slot that it waits for.
func dial(g *socket.Group) (fd, slot int, err error) {
	before := make([]int, g.Len())
	for i := range before {
		before[i], _ = g.Queued(i)
	}
	address, err := unix.Getsockname(g.FD(0))
	if err != nil {
		return -1, 0, err
	}
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, 0, err
	}
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	err = unix.Connect(fd, address)
	for range 1000 {
		for i := range before {
			if n, _ := g.Queued(i); err == nil && n > before[i] {
				return fd, i, nil
			}
		}
		_, _ = unix.Poll(nil, 1) // its last packet is on the way yet
	}
	unix.Close(fd)
	return -1, 0, errors.Join(errors.New("a new connection came to no slot"), err)
}

// web is the group of sockets of the app that has one, and the slots that new
// connections are to go to.
func (w *world) web() (g *socket.Group, live []int) {
	a := w.m.apps["web"]
	if a == nil || len(a.groups) == 0 || a.groups[0].Shared() {
		return nil, nil
	}
	if live = a.live(); len(live) == 0 {
		for i := range a.groups[0].Len() {
			live = append(live, i)
		}
	}
	return a.groups[0], live
}

// reach makes a connection and says if the kernel sends it to the wrong slot.
func (w *world) reach() string {
	g, live := w.web()
	if g == nil {
		return ""
	}
	fd, slot, err := dial(g)
	if err != nil {
		return err.Error()
	}
	take(g, slot)
	unix.Close(fd)
	if !slices.Contains(live, slot) {
		return fmt.Sprintf("a new connection came to slot %d, and live are %v", slot, live)
	}
	return ""
}

// connect is a client whose connection waits for one of the live slots. As the
// kernel chooses among these at random, it takes some tries.
func (w *world) connect(which int) string {
	g, live := w.web()
	for range 100 {
		if g == nil {
			break
		}
		fd, slot, err := dial(g)
		if err != nil {
			return err.Error()
		}
		if slot == live[which%len(live)] {
			w.clients = append(w.clients, fd)
			break
		}
		take(g, slot)
		unix.Close(fd)
	}
	return ""
}
