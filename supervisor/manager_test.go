package supervisor_test

import (
	"net"
	"os"
	"path/filepath"
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

// A socket of the service manager's must not be stored with it besides: the next
// daemon would have it twice, and shut it down as what is left over.
func TestASocketThatTheServiceManagerListensOnIsNotStored(t *testing.T) {
	t.Parallel()
	file, address := listening(t, false, "127.0.0.1:0")
	lent, own := web("lent", 1), web("own", 1)
	lent.Listen[0].Address = address
	f := newManaged(t, []string{"LISTEN_FDNAMES=neko.socket"}, []*os.File{file}, lent, own)
	var stored []string
	for {
		state, name, _ := strings.Cut(f.hears(), "\n")
		if state == "READY=1" {
			break
		}
		if state == "FDSTORE=1" {
			stored = append(stored, name)
		}
	}
	if got, want := strings.Join(stored, " "), "FDNAME=socket/own/0/0"; got != want {
		t.Errorf("stored is %q, and not %q", got, want)
	}
}

// Should it be stored all the same, that one is not what is left over.
func TestASocketThatIsGivenTwiceServesOn(t *testing.T) {
	t.Parallel()
	file, address := listening(t, false, "127.0.0.1:0")
	a := web("api", 2)
	a.Listen[0].Address, a.Balance = address, spec.BalanceShared
	f := newManaged(t, []string{"LISTEN_FDNAMES=neko.socket:socket/api/0/0"}, []*os.File{file, file}, a)
	if got := f.told(); got != "READY=1" {
		t.Fatalf("told %q", got)
	}
	get(t, address)
}

// Of a group whose first socket is the service manager's the others were stored, and
// what has queued on them is served.
func TestTheSocketsBesideALentOneComeBack(t *testing.T) {
	t.Parallel()
	own, address := listening(t, true, "127.0.0.1:0")
	second, _ := listening(t, true, address)
	var early []net.Conn
	for range 32 { // enough for both
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		early = append(early, conn)
	}
	a := web("api", 2)
	a.Listen[0].Address = address
	f := newManaged(t, []string{"LISTEN_FDNAMES=neko.socket:socket/api/0/1"}, []*os.File{own, second}, a)
	if got := f.told(); got != "READY=1" {
		t.Fatalf("told %q", got)
	}
	second.Close()
	for i, conn := range early {
		if _, err := conn.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 100)); n == 0 || err != nil {
			t.Errorf("connection %d got %d bytes, %v", i, n, err)
		}
	}
	if got := slotsThatAnswer(t, address); got != "01" {
		t.Errorf("answers come from slots %s", got)
	}
	f.command("stop", "api")
	late, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("the service manager's socket was shut down: %v", err)
	}
	late.Close()
}

// A name in the store is that of the socket that has it now, and not of one that an
// earlier life of the daemon had on another address.
func TestAStoredSocketOfAnotherAddressGivesUpItsName(t *testing.T) {
	t.Parallel()
	old, oldAddress := listening(t, true, "127.0.0.1:0")
	a := web("api", 1)
	a.Listen[0].Network, a.Listen[0].Address = "unix", filepath.Join(t.TempDir(), "api.sock")
	f := newManaged(t, []string{"LISTEN_FDNAMES=socket/api/0/0", "WATCHDOG_USEC=300000"}, []*os.File{old}, a)
	old.Close()
	stored := false
	for ready, heard := false, ""; !ready || heard != "WATCHDOG=1"; { // all that belongs to the start is said by then
		heard = strings.ReplaceAll(f.hears(), "\n", " ")
		switch {
		case heard == "FDSTORE=1 FDNAME=socket/api/0/0":
			stored = true
		case heard == "FDSTOREREMOVE=1 FDNAME=socket/api/0/0":
			stored = false
		case strings.HasPrefix(heard, "READY=1"):
			ready = true
		case heard == "":
			t.FailNow()
		}
	}
	if !stored {
		t.Error("the socket that serves is not in the store")
	}
	if conn, err := net.Dial("tcp", oldAddress); err == nil {
		conn.Close()
		t.Error("the socket of the address before is still open")
	}
}

func TestAUnixSocketOfTheServiceManagerIsUsed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close(); l.Close() })
	a := web("api", 2)
	a.Listen[0].Network, a.Listen[0].Address = "unix", path
	f := newManaged(t, nil, []*os.File{file}, a)
	if got := f.told(); got != "READY=1" {
		t.Fatalf("told %q", got)
	}
	answers := func() {
		t.Helper()
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 100)); n == 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	answers()
	f.command("stop", "api")
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the service manager's socket has lost its file: %v", err)
	}
	f.command("restart", "api")
	answers()
}

// The reason stays in the status for as long as no reload has gone well.
func TestTheServiceManagerIsToldWhyAReloadFailed(t *testing.T) {
	t.Parallel()
	ill := filepath.Join(t.TempDir(), "ill")
	a := web("api", 2)
	a.Env["DIE_IF"] = ill
	f := newManaged(t, nil, nil, a)
	if got := f.told(); got != "READY=1" {
		t.Fatalf("told %q", got)
	}
	if err := os.WriteFile(ill, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kill(t, f.keeper, syscall.SIGHUP)
	statusWith := func(text string) string {
		for {
			if _, status, _ := strings.Cut("\n"+f.hears(), "\nSTATUS="); strings.Contains(status+"\n", text) {
				return status
			}
			if t.Failed() {
				return ""
			}
		}
	}
	const failed = "1 apps, 2 of 2 processes online; the reload failed: api:0: the new process"
	if got := statusWith("the reload failed"); !strings.HasPrefix(got, failed) {
		t.Errorf("the status is %q", got)
	}
	f.command("stop", "api")
	if got := statusWith("0 of 2"); !strings.Contains(got, "the reload failed") {
		t.Errorf("then it is %q", got)
	}
	if err := os.Remove(ill); err != nil {
		t.Fatal(err)
	}
	f.command("restart", "api")
	f.command("reload", "api")
	statusWith("2 of 2 processes online\n") // after one that went well
}

// A service manager takes READY=1 for the end of whatever was under way.
func TestAReloadThatIsCutOffByAStopIsNotReady(t *testing.T) {
	t.Parallel()
	a, open := gated(t, "api")
	f := newManaged(t, nil, nil, a)
	f.awaken()
	f.until("launching", func(l []control.Process) bool { return states(l) == "api:0 launching" })
	kill(t, f.keeper, syscall.SIGHUP)
	if got := f.told(); got != "RELOADING=1" {
		t.Fatalf("told %q", got)
	}
	kill(t, f.keeper, syscall.SIGTERM)
	if got := f.told(); got != "STOPPING=1" {
		t.Errorf("told %q", got)
	}
	open()
	if code := f.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	f.says("END=1")
	if got := f.told(); got != "END=1" {
		t.Errorf("told %q after STOPPING=1", got)
	}
}
