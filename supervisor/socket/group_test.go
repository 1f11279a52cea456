package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// accepting counts what each socket of the group accepts until it is closed.
func accepting(t *testing.T, g *Group, slot int, accepted chan<- int) {
	t.Helper()
	dup, err := unix.FcntlInt(uintptr(g.FD(slot)), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(dup), "listener")
	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
			accepted <- slot
		}
	}()
}

func dial(t *testing.T, address string, n int) {
	t.Helper()
	for range n {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}

// queues are those of all slots once so many connections are in them: when connect returns, the last packet of
// its handshake may still be on the way. More than that is an error at once.
func queues(t *testing.T, g *Group, total int) []int {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		counts, sum := make([]int, g.Len()), 0
		for slot := range counts {
			n, err := g.Queued(slot)
			if err != nil {
				t.Fatal(err)
			}
			counts[slot], sum = n, sum+n
		}
		if sum == total {
			return counts
		}
		if sum > total || time.Now().After(end) {
			t.Fatalf("%d connections are in the queues, and not %d: %v", sum, total, counts)
		}
	}
}

func TestSteerSendsNewConnectionsToLiveSlotsOnly(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		for _, live := range [][]int{{0}, {2}, {0, 2}, {1, 3}, {0, 1, 2, 3}, {}} {
			t.Run(fmt.Sprint(address, live), func(t *testing.T) {
				g, err := Open("tcp", address, 4, false)
				if err != nil {
					t.Fatal(err)
				}
				defer g.Close()
				if err := g.Steer(live); err != nil {
					t.Fatal(err)
				}
				accepted := make(chan int, 400)
				for slot := range 4 {
					accepting(t, g, slot, accepted)
				}
				dial(t, g.Address, 400)
				counts := make([]int, 4)
				for range 400 {
					select {
					case slot := <-accepted:
						counts[slot]++
					case <-time.After(10 * time.Second):
						t.Fatalf("connections are missing: %v", counts)
					}
				}
				want := live
				if len(want) == 0 {
					want = []int{0, 1, 2, 3}
				}
				total := 0
				for _, slot := range want {
					total += counts[slot]
					if counts[slot] < 400/len(want)/2 {
						t.Errorf("slot %d got %d of 400 connections: %v", slot, counts[slot], counts)
					}
				}
				if total != 400 {
					t.Errorf("slots outside %v got connections: %v", want, counts)
				}
			})
		}
	}
}

func TestQueuedCountsWhatNobodyHasAccepted(t *testing.T) {
	g, err := Open("tcp", "127.0.0.1:0", 2, false)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Steer([]int{1}); err != nil {
		t.Fatal(err)
	}
	dial(t, g.Address, 3)
	if got, want := queues(t, g, 3), []int{0, 3}; !slices.Equal(got, want) {
		t.Errorf("the slots have %v queued, want %v", got, want)
	}
}

func TestGroupGrowsAndShrinksAtItsEnd(t *testing.T) {
	g, err := Open("tcp", "127.0.0.1:0", 1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	accepted := make(chan int, 100)
	for _, n := range []int{4, 2, 3, 1} {
		for g.Len() > n {
			if err := g.Shrink(); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.Grow(n); err != nil {
			t.Fatal(err)
		}
		if err := g.Steer([]int{n - 1}); err != nil {
			t.Fatal(err)
		}
		accepting(t, g, n-1, accepted)
		dial(t, g.Address, 20)
		for range 20 {
			if slot := <-accepted; slot != n-1 {
				t.Fatalf("with %d sockets slot %d accepted, want %d", n, slot, n-1)
			}
		}
	}
}

func TestADeafSocketLetsAClientTryAgain(t *testing.T) {
	g, err := Open("tcp", "127.0.0.1:0", 1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	dial(t, g.Address, 1)
	queues(t, g, 1)
	if err := deafen(g.FD(0)); err != nil {
		t.Fatal(err)
	}
	dialer := net.Dialer{Timeout: 50 * time.Millisecond} // and not refused or reset
	_, err = dialer.Dial("tcp", g.Address)
	if timeout := (net.Error)(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("dial: %v", err)
	}
	if n, err := g.Queued(0); n != 1 {
		t.Errorf("%d connections are in the queue, not the one from before (%v)", n, err)
	}
}

func TestAnAddressInUseIsRefusedEvenIfItsHolderWouldShare(t *testing.T) {
	first, err := Open("tcp", "127.0.0.1:0", 1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = Open("tcp", first.Address, 1, false)
	var inUse *InUseError
	if !errors.As(err, &inUse) {
		t.Fatalf("got %v, want an InUseError", err)
	}
	if want := fmt.Sprintf("(pid %d)", os.Getpid()); len(inUse.Holder) < len(want) || inUse.Holder[len(inUse.Holder)-len(want):] != want {
		t.Errorf("holder is %q, want ours %s", inUse.Holder, want)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.sock")
	open := func() *Group {
		g, err := Open("unix", path, 4, false)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	g := open()
	if _, err := Open("unix", path, 1, false); err == nil {
		t.Fatal("a second group on a live socket file was opened")
	}
	for _, fd := range g.FDs() {
		unix.Close(fd) // as after a crash: the file stays, nobody listens
	}
	again := open()
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket file is still there: %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("unix", path, 1, false); err == nil {
		t.Error("a plain file was replaced")
	}
	if text, _ := os.ReadFile(path); string(text) != "precious" {
		t.Error("a plain file was touched")
	}
}

// What a reload asks of a program that binds its own port: can a second process
// bind it, too?
func TestShareable(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::]:0"} {
		for _, reuse := range []int{0, 1} {
			config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
				_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, reuse) })
				return err
			}}
			l, err := config.Listen(t.Context(), "tcp", address)
			if err != nil {
				t.Skip(err) // no IPv6 here
			}
			bound := l.Addr().(*net.TCPAddr).AddrPort()
			found := false
			for _, a := range listening("/proc/thread-self/net") {
				found = found || a == bound
			}
			if !found {
				t.Errorf("%v is not seen to listen", bound)
			}
			if got := shareable(bound.String()); got != (reuse == 1) {
				t.Errorf("%v with SO_REUSEPORT %d: shareable is %v", bound, reuse, got)
			}
			l.Close()
		}
	}
}

// A service manager's socket without SO_REUSEPORT makes no group in the kernel.
func TestALentSocketThatIsAloneIsNotSteered(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	g, err := Adopt("tcp", l.Addr().String(), false, []int{fd})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	g.SetLent()
	if err := g.Steer([]int{0}); g.Steerable() || err != nil {
		t.Errorf("steerable is %v, and steering it: %v", g.Steerable(), err)
	}
}
