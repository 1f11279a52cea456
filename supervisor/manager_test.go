package supervisor_test

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

func TestAMasterThatStandsStillIsReplacedByTheKeeper(t *testing.T) {
	t.Setenv("NEKO_TEST_PATIENCE", "3s") // more than a beat
	d := newDaemon(t)
	before := d.start(web("api", 2)).Processes
	ping, err := d.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, ping.Master, syscall.SIGSTOP)
	d.nextMaster(ping)
	get(t, before[0].Listeners[0])
	for i, p := range d.list() {
		if p.PID != before[i].PID || p.State != control.Online {
			t.Errorf("before %+v, after %+v", before[i], p)
		}
	}
	if text, err := os.ReadFile(d.home.Log()); err != nil || !strings.Contains(string(text), "has given no sign of life") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestTheServiceManagerHearsThatTheKeeperLives(t *testing.T) {
	t.Parallel()
	f := newManaged(t, []string{"WATCHDOG_USEC=300000"}, nil, web("api", 1))
	if got := f.told(); got != "READY=1" {
		t.Fatalf("told %q", got)
	}
	for heard := 0; heard < 3; {
		if f.hears() == "WATCHDOG=1" {
			heard++
		}
	}
	kill(t, f.keeper, syscall.SIGHUP)
	for _, want := range []string{"RELOADING=1", "READY=1"} {
		if got := f.told(); got != want {
			t.Errorf("told %q, and not %q", got, want)
		}
	}
}

// listening is a socket as a service manager makes it, and its address.
func listening(t *testing.T, reuse bool, address string) (*os.File, string) {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			if reuse {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
		})
	}}
	config.SetMultipathTCP(false) // as service managers have it
	l, err := config.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file, l.Addr().String()
}

// Who connects before the daemon has started waits, and is served.
func TestSocketsOfTheServiceManagerAreUsed(t *testing.T) {
	t.Parallel()
	for name, balance := range map[string]spec.Balance{"reuseport": spec.BalanceSlots, "shared": spec.BalanceShared} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, address := listening(t, balance == spec.BalanceSlots, "127.0.0.1:0")
			early, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer early.Close()
			a := web("api", 3)
			a.Listen[0].Address, a.Balance = address, balance
			f := newManaged(t, []string{"LISTEN_FDNAMES=neko.socket"}, []*os.File{file}, a)
			if got := f.told(); got != "READY=1" {
				t.Fatalf("told %q", got)
			}
			if _, err := early.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			if n, err := early.Read(make([]byte, 100)); n == 0 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			if balance == spec.BalanceSlots {
				if got := slotsThatAnswer(t, address); got != "012" {
					t.Errorf("answers come from slots %s", got)
				}
			}
			f.killMaster()
			f.command("reload", "api")
			get(t, address)
			// The service manager goes on to listen, whatever becomes of the app here.
			f.command("stop", "api")
			late, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatalf("its socket was shut down: %v", err)
			}
			defer late.Close()
			f.command("restart", "api")
			get(t, address)
		})
	}
}

func TestASocketOfTheServiceManagerForOneProcessIsRefusedToMany(t *testing.T) {
	t.Parallel()
	file, address := listening(t, false, "127.0.0.1:0")
	a := web("api", 3)
	a.Listen[0].Address = address
	f := newManaged(t, nil, []*os.File{file}, a)
	if code := f.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if text := strings.Join(f.stderr, "\n"); !strings.Contains(text, "hint: write balance: shared for the app") {
		t.Errorf("%s", text)
	}
}

// The service manager keeps the sockets that the daemon stores with it. When all of
// the daemon has been killed the next one has them again, and what had queued.
func TestStoredSocketsComeBack(t *testing.T) {
	t.Parallel()
	one, address := listening(t, true, "127.0.0.1:0")
	two, _ := listening(t, true, address)
	gone, goneAddress := listening(t, true, "127.0.0.1:0")
	early, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	a := web("api", 2)
	a.Listen[0].Address = address
	f := newManaged(t, []string{"LISTEN_FDNAMES=socket/api/0/1:socket/old/0/0:socket/api/0/0"}, []*os.File{two, gone, one}, a)
	waited := map[string]bool{"FDSTORE=1 FDNAME=socket/api/0/0": true, "FDSTORE=1 FDNAME=socket/api/0/1": true, "FDSTOREREMOVE=1 FDNAME=socket/old/0/0": true}
	for len(waited) > 0 {
		delete(waited, strings.ReplaceAll(f.hears(), "\n", " "))
	}
	for _, file := range []*os.File{one, two, gone} {
		file.Close()
	}
	if _, err := early.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := early.Read(make([]byte, 100)); n == 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	f.until("all serve", func(l []control.Process) bool { return states(l) == "api:0 online, api:1 online" })
	if got := slotsThatAnswer(t, address); got != "01" {
		t.Errorf("answers come from slots %s", got)
	}
	if conn, err := net.Dial("tcp", goneAddress); err == nil {
		conn.Close()
		t.Error("the socket of an app that is gone is still open")
	}
}
