package supervisor_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slowLink joins two networks of this test's own, as a long way would: what a
// packet needs from one to the other is its delay. In each is a TUN device, and
// the test carries the packets between them.
type slowLink struct {
	client, server network
	delay          time.Duration

	mu      sync.Mutex
	greeted map[uint16]bool // ports whose SYN has come to the server, and nothing since
	opened  int             // handshakes that were completed
	changed *sync.Cond
}

type network struct {
	space *os.File // its namespace
	tun   *os.File
}

var serverAddress, clientAddress = [4]byte{192, 0, 2, 1}, [4]byte{192, 0, 2, 2}

// newSlowLink locks the test to a thread of its own, for good: threads are in
// networks, and this one is left where no other goroutine should find itself.
func newSlowLink(t *testing.T, delay time.Duration) *slowLink {
	t.Helper()
	runtime.LockOSThread()
	l := &slowLink{delay: delay, greeted: map[uint16]bool{}}
	l.changed = sync.NewCond(&l.mu)
	l.client = newNetwork(t, clientAddress, serverAddress)
	l.server = newNetwork(t, serverAddress, clientAddress)
	go l.carry(l.client.tun, l.server.tun, l.arrived)
	go l.carry(l.server.tun, l.client.tun, func([]byte) {})
	return l
}

// newNetwork leaves the thread in a new network whose one device leads to peer.
func newNetwork(t *testing.T, address, peer [4]byte) network {
	t.Helper()
	err := unix.Unshare(unix.CLONE_NEWNET)
	var n network
	if err == nil {
		n.space, err = os.Open("/proc/thread-self/ns/net")
	}
	if err == nil {
		t.Cleanup(func() { n.space.Close() })
		n.tun, err = openTUN(t.TempDir(), address, peer)
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("a network with a TUN device: %v", err)
		}
		t.Skipf("needs the right to make a network, and /dev/net/tun: %v", err)
	}
	t.Cleanup(func() { n.tun.Close() })
	return n
}

// openTUN makes a device. Its file may be missing on a machine whose kernel has
// it: then there is one in dir.
func openTUN(dir string, address, peer [4]byte) (*os.File, error) {
	const flags = unix.O_RDWR | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := unix.Open("/dev/net/tun", flags, 0)
	if errors.Is(err, unix.ENOENT) {
		node := filepath.Join(dir, "tun")
		if err = unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))); err == nil {
			fd, err = unix.Open(node, flags, 0)
		}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	device, err := unix.NewIfreq("slow0")
	if err != nil {
		return nil, err
	}
	device.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	err = interfaceControl(fd, unix.TUNSETIFF, device)
	if err == nil {
		err = configure(device, address, peer)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

func configure(device *unix.Ifreq, address, peer [4]byte) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	for _, set := range []struct {
		request uintptr
		address [4]byte
	}{{unix.SIOCSIFADDR, address}, {unix.SIOCSIFDSTADDR, peer}} {
		if err := device.SetInet4Addr(set.address[:]); err != nil {
			return err
		}
		if err := interfaceControl(socket, set.request, device); err != nil {
			return err
		}
	}
	device.SetUint16(unix.IFF_UP)
	return interfaceControl(socket, unix.SIOCSIFFLAGS, device)
}

func interfaceControl(fd int, request uintptr, device *unix.Ifreq) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(device)))
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

// enter puts the test's thread, and what it starts from now on, into a network.
func (n network) enter(t *testing.T) {
	t.Helper()
	if err := unix.Setns(int(n.space.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// carry brings packets from one device to the other, in order, until the first
// is closed.
func (l *slowLink) carry(from, to *os.File, arrived func(packet []byte)) {
	type travelling struct {
		packet []byte
		due    time.Time
	}
	way := make(chan travelling, 1<<14)
	defer close(way)
	go func() {
		for p := range way {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.packet); err == nil {
				arrived(p.packet)
			}
		}
	}()
	for packet := make([]byte, 1<<16); ; {
		n, err := from.Read(packet)
		if err != nil {
			return
		}
		way <- travelling{append([]byte(nil), packet[:n]...), time.Now().Add(l.delay)}
	}
}

// arrived notes what a packet that has come to the server means for a handshake.
func (l *slowLink) arrived(packet []byte) {
	const tcp, syn = 6, 2
	if len(packet) < 40 || packet[0]>>4 != 4 || packet[9] != tcp {
		return
	}
	segment := packet[int(packet[0]&15)*4:]
	port, flags := binary.BigEndian.Uint16(segment), segment[13]
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case flags&syn != 0:
		l.greeted[port] = true
	case l.greeted[port]:
		delete(l.greeted, port)
		l.opened++
	}
	l.changed.Broadcast()
}

// awaitHandshakes waits until so many have been completed, and so many others
// have begun and not ended; it returns the number of these.
func (l *slowLink) awaitHandshakes(t *testing.T, completed, begun int) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.opened < completed || len(l.greeted) < begun {
		if ctx.Err() != nil {
			t.Fatalf("%d handshakes were completed, and %d are under way", l.opened, len(l.greeted))
		}
		l.changed.Wait()
	}
	return len(l.greeted)
}
