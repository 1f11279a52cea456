package supervisor

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// asker is a master with one app, of two slots, whose processes are given by their
// pids. It opens no connections by itself.
func asker(t *testing.T, g *socket.Group, pids ...int) (native, []*process) {
	t.Helper()
	m := newWorld(nil).m
	m.home = home.Dir(t.TempDir())
	a := &app{name: "api", groups: []*socket.Group{g}}
	var list []*process
	for i, pid := range pids {
		s := &slot{app: a, index: i}
		s.serving = &process{Child: keeper.Child{PID: pid}, slot: s, spec: &spec.App{}}
		a.slots, list = append(a.slots, s), append(list, s.serving)
	}
	go m.loop(nil)
	t.Cleanup(func() {
		m.do(func() { m.stopping = true })
		<-m.ended
	})
	return native{m}, list
}

// bystander is a process that lives and has none of our sockets.
func bystander(t *testing.T) int {
	t.Helper()
	pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setpgid: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Kill(pid, unix.SIGKILL), keeper.Reap(pid)); err != nil {
			t.Error(err)
		}
	})
	return pid
}

// answers serves every request on a socket with 200, and counts those that end before
// their end.
func answers(t *testing.T, fd int) (halves *atomic.Int64) {
	t.Helper()
	halves = new(atomic.Int64)
	dup, err := unix.Dup(fd)
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
			go func() {
				defer conn.Close()
				request := ""
				for buf := make([]byte, 1024); !strings.HasSuffix(request, "\r\n\r\n"); {
					n, err := conn.Read(buf)
					if err != nil {
						if request != "" {
							halves.Add(1)
						}
						return
					}
					request += string(buf[:n])
				}
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
			}()
		}
	}()
	return halves
}

func openGroup(t *testing.T, slots int, shared bool) *socket.Group {
	t.Helper()
	g, err := socket.Open("tcp", "127.0.0.1:0", slots, shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// It may be hung, or have no luck: which of two that wait on one socket gets a
// connection is the kernel's choice, and may always be the same one.
func TestWhoNeverGetsAConnectionHasNotFailed(t *testing.T) {
	t.Parallel()
	halves := int64(0)
	for range 3 { // who is not quick to accept, as on a busy machine, is spoken to first
		if halves = whoNeverGetsAConnection(t); halves == 0 {
			return
		}
	}
	t.Errorf("it has seen %d halves of requests", halves)
}

func whoNeverGetsAConnection(t *testing.T) (halves int64) {
	g := openGroup(t, 2, true)
	seen := answers(t, g.FD(0))
	n, list := asker(t, g, os.Getpid(), bystander(t))
	for _, question := range []spec.Probe{{HTTP: "/"}, {TCP: "http"}} {
		question.Timeout = spec.Duration(200 * time.Millisecond)
		for _, p := range list {
			p.spec.Listen = []spec.Listener{{Name: "http"}}
		}
		patient := question
		patient.Timeout = spec.Duration(time.Minute)
		if err := n.ask(t.Context(), list[0], &patient); err != nil {
			t.Errorf("%s: who has answered: %v", &question, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), question.Timeout.D())
		defer cancel()
		err := n.ask(ctx, list[1], &question)
		if unasked := new(unaskedError); !errors.As(err, &unasked) || !strings.Contains(err.Error(), "other processes") {
			t.Errorf("%s: who could not answer: %v", &question, err)
		}
	}
	return seen.Load()
}

func TestWhoDoesNotAcceptHasFailedWhereNobodyElseHas(t *testing.T) {
	t.Parallel()
	g := openGroup(t, 2, true)
	n, list := asker(t, g, bystander(t), bystander(t))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := n.ask(ctx, list[0], &spec.Probe{HTTP: "/", Timeout: spec.Duration(100 * time.Millisecond)})
	if err == nil || err.Error() != "no answer within 100ms" {
		t.Errorf("%v", err)
	}
}

// In such a group the kernel alone knows which socket is whose, and nobody accepts on
// some.
func TestAProbeFindsItsProcessInABlindGroup(t *testing.T) {
	t.Parallel()
	g := openGroup(t, 3, false)
	g.StayBlind()
	answers(t, g.FD(1))
	n, list := asker(t, g, bystander(t), os.Getpid(), bystander(t))
	for range 5 {
		if err := n.ask(t.Context(), list[1], &spec.Probe{HTTP: "/", Timeout: spec.Duration(time.Minute)}); err != nil {
			t.Error(err)
		}
	}
}

func TestWhoAcceptsOnlyWhatSpeaksFirstIsAskedToo(t *testing.T) {
	t.Parallel()
	g := openGroup(t, 2, true)
	if err := unix.SetsockoptInt(g.FD(0), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 5); err != nil {
		t.Fatal(err)
	}
	answers(t, g.FD(0))
	n, list := asker(t, g, os.Getpid(), bystander(t))
	if err := n.ask(t.Context(), list[0], &spec.Probe{HTTP: "/", Timeout: spec.Duration(time.Minute)}); err != nil {
		t.Error(err)
	}
}

// Many a server forks, and its children accept.
func TestAChildOfTheProcessMayAnswerForIt(t *testing.T) {
	t.Parallel()
	g := openGroup(t, 1, false)
	leader := bystander(t)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	child, err := syscall.ForkExec("/proc/self/exe", []string{"worker", "worker", "accept"}, &syscall.ProcAttr{
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), uintptr(g.FD(0))}, Sys: &syscall.SysProcAttr{Setpgid: true, Pgid: leader},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(unix.Kill(child, unix.SIGKILL), keeper.Reap(child)); err != nil {
			t.Error(err)
		}
	}()
	n, list := asker(t, g, leader)
	list[0].spec.Listen = []spec.Listener{{Name: "http"}}
	if err := n.ask(t.Context(), list[0], &spec.Probe{TCP: "http", Timeout: spec.Duration(time.Minute)}); err != nil {
		t.Error(err)
	}
}
