package socket

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probed fails unless a probe of each slot reaches it: nobody accepts, so each
// queue shows what came to it.
func probed(t *testing.T, g *Group) {
	t.Helper()
	total := 0
	for slot := range g.Len() {
		n, err := g.Queued(slot)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	for slot := range g.Len() {
		probe, err := g.Probe(slot)
		if err != nil {
			t.Fatal(err)
		}
		before, err := g.Queued(slot)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			conn, err := probe.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
		total += 10
		if after := queues(t, g, total)[slot]; after != before+10 {
			t.Errorf("%s, %d slots: of 10 probes %d came to slot %d", g.Address, g.Len(), after-before, slot)
		}
	}
}

func everyProbeReachesItsSlot(t *testing.T, address string) {
	g, err := Open("tcp", address, 4, false)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	probed(t, g) // as opened
	for _, live := range [][]int{{1}, {0, 3}, nil} {
		if err := g.Steer(live); err != nil {
			t.Fatal(err)
		}
		probed(t, g)
	}
	if err := g.Steer([]int{1, 3}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{6, 3, 2} { // with the steering as it is
		for g.Len() > n {
			if err := g.Shrink(); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.Grow(n); err != nil {
			t.Fatal(err)
		}
		probed(t, g)
	}
}

func TestAProbeReachesItsSlotWhateverTheSteering(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "127.0.0.2:0", "0.0.0.0:0", ":0", "[::]:0"} {
		t.Run(address, func(t *testing.T) { everyProbeReachesItsSlot(t, address) })
	}
}

// With a network of its own, for a machine may have no other address, or one that
// is not ours to use.
func TestAProbeReachesASlotOnAnAddressOfTheNetwork(t *testing.T) {
	t.Run("192.0.2.1:0", func(t *testing.T) {
		runtime.LockOSThread() // for good: the thread ends with the subtest
		if err := unix.Unshare(unix.CLONE_NEWNET); errors.Is(err, unix.EPERM) && os.Getenv("CI") != "true" {
			t.Skip("needs CAP_SYS_ADMIN for a network of its own")
		} else if err != nil {
			t.Fatal(err)
		}
		addAddress(t, [4]byte{192, 0, 2, 1})
		everyProbeReachesItsSlot(t, "192.0.2.1:0")
	})
}

// addAddress brings up lo, with another address beside its own.
func addAddress(t *testing.T, ip [4]byte) {
	t.Helper()
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(control)
	up, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	up.SetUint16(unix.IFF_UP)
	alias, err := unix.NewIfreq("lo:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := alias.SetInet4Addr(ip[:]); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		call    uintptr
		request *unix.Ifreq
	}{{unix.SIOCSIFFLAGS, up}, {unix.SIOCSIFADDR, alias}} {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(control), r.call, uintptr(unsafe.Pointer(r.request))); errno != 0 {
			t.Fatal(errno)
		}
	}
}

func TestAConnectionFromElsewhereIsNoProbe(t *testing.T) {
	g, err := Open("tcp", ":0", 2, false)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Steer([]int{1}); err != nil {
		t.Fatal(err)
	}
	probe, err := g.Probe(0)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(g.Address)
	if err != nil {
		t.Fatal(err)
	}
	from := func(source, target string) {
		t.Helper()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		conn, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(target, port))
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	for _, source := range []string{"127.0.0.1", "127.64.0.0", "127.65.0.2", "127.65.255.255", "127.66.0.0"} {
		from(source, "127.0.0.1")
	}
	want := 5
	if haveIPv6() {
		from("::1", "::1") // whose bytes 12 to 15 are some of its source, too
		want++
	}
	if n := queues(t, g, want)[1]; n != want {
		t.Errorf("%d of %d connections came to the slot that lives", n, want)
	}
	if _, err := probe.Dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := queues(t, g, want+1)[0]; n != 1 {
		t.Errorf("%d connections came to the slot that was probed", n)
	}
}

func TestWhatCannotBeProbedAloneIsToldOrReachedAsAWhole(t *testing.T) {
	six, err := Open("tcp", "[::1]:0", 2, false)
	if err != nil {
		t.Skip(err) // no IPv6 here
	}
	defer six.Close()
	four, err := Open("tcp", "127.0.0.1:0", 2, false)
	if err != nil {
		t.Fatal(err)
	}
	defer four.Close()
	for _, c := range []struct {
		group *Group
		slot  int
	}{{six, 1}, {four, 2}} {
		if _, err := c.group.Probe(c.slot); !errors.Is(err, ErrNotAddressable) {
			t.Errorf("slot %d of %s: %v", c.slot, c.group.Address, err)
		}
	}
	for _, c := range []struct{ network, address string }{
		{"tcp", "127.0.0.1:0"}, {"tcp", ":0"}, {"tcp", "[::1]:0"}, {"unix", filepath.Join(t.TempDir(), "app.sock")},
	} {
		g, err := Open(c.network, c.address, 4, true)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		probe, err := g.Probe(3)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := probe.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}

func TestAProbeMayBeDialledWhileTheGroupChanges(t *testing.T) {
	g, err := Open("tcp", "127.0.0.1:0", 2, false)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	accepted := make(chan int, 1000)
	accepting(t, g, 0, accepted)
	probe, err := g.Probe(0)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for range 200 {
			conn, err := probe.Dial(t.Context())
			if err != nil {
				failed <- err
				return
			}
			conn.Close()
		}
	}()
	for n := 2; ; n = 5 - n { // two sockets, three sockets
		select {
		case err := <-failed:
			if err != nil {
				t.Fatal(err)
			}
			for range 200 {
				select {
				case <-accepted:
				case <-time.After(10 * time.Second):
					t.Fatal("a probe has not come to its slot")
				}
			}
			return
		default:
		}
		for g.Len() > n {
			if err := g.Shrink(); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(g.Grow(n), g.Steer([]int{1})); err != nil {
			t.Fatal(err)
		}
	}
}
