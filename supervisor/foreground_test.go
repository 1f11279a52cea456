package supervisor_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/spec"
)

// foreground is a daemon as systemd or a container runs it: its process is the
// keeper.
type foreground struct {
	*daemon
	cmd    *exec.Cmd
	notify *net.UnixConn // what systemd listens on
	stdout []string      // read them after wait
	stderr []string
	pipes  []io.Closer
	output sync.WaitGroup
}

func newForeground(t *testing.T, apps ...spec.App) *foreground {
	t.Helper()
	return runForeground(t, "foreground", apps, nil)
}

// newManaged is one to which the service manager gives sockets, and tells of more in
// its environment.
func newManaged(t *testing.T, env []string, sockets []*os.File, apps ...spec.App) *foreground {
	t.Helper()
	return runForeground(t, "foreground", apps, env, sockets...)
}

// runForeground gives one of the modes of TestMain what it begins with.
func runForeground(t *testing.T, mode string, with any, env []string, sockets ...*os.File) *foreground {
	t.Helper()
	folder := t.TempDir()
	h := home.Dir(filepath.Join(folder, "home"))
	socket := filepath.Join(folder, "systemd")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { notify.Close() })
	boot, err := json.Marshal(with)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := &foreground{daemon: &daemon{Client: control.NewClient(h.Control()), t: t, home: h}, notify: notify}
	f.cmd = exec.Command(exe, mode, string(boot))
	if len(sockets) > 0 { // LISTEN_PID is known after the fork
		f.cmd = exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$1" "$2"`, exe, mode, string(boot))
		f.cmd.ExtraFiles = sockets
		env = append(env, fmt.Sprintf("LISTEN_FDS=%d", len(sockets)))
	}
	f.cmd.Env = append(os.Environ(), "NEKO_HOME="+string(h), "NOTIFY_SOCKET="+socket)
	f.cmd.Env = append(f.cmd.Env, env...)
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := f.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	collect := func(pipe io.Reader, into *[]string) {
		f.output.Go(func() {
			for scanner := bufio.NewScanner(pipe); scanner.Scan(); {
				*into = append(*into, scanner.Text())
			}
		})
	}
	f.pipes = []io.Closer{stdout, stderr}
	collect(stdout, &f.stdout)
	collect(stderr, &f.stderr)
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.keeper = f.cmd.Process.Pid
	t.Cleanup(func() {
		_ = f.cmd.Process.Signal(syscall.SIGTERM)
		f.wait()
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", strings.Join(f.stdout, "\n"), strings.Join(f.stderr, "\n"))
		}
	})
	return f
}

// awaken waits until the daemon answers: it need not be ready for that.
func (f *foreground) awaken() {
	f.t.Helper()
	f.eventually("the daemon answers", func() bool {
		_, err := f.Ping(f.t.Context())
		return err == nil
	})
}

// closeOutput is the end of whoever reads standard output and error.
func (f *foreground) closeOutput() {
	for _, pipe := range f.pipes {
		pipe.Close()
	}
}

// told is the next change of state that the service manager hears of.
func (f *foreground) told() string {
	f.t.Helper()
	for {
		state, _, _ := strings.Cut(f.hears(), "\n")
		key, _, _ := strings.Cut(state, "=")
		if !slices.Contains([]string{"STATUS", "EXTEND_TIMEOUT_USEC", "WATCHDOG", "FDSTORE", "FDSTOREREMOVE"}, key) {
			return state
		}
	}
}

// hears is the next message to the service manager.
func (f *foreground) hears() string {
	f.t.Helper()
	buf := make([]byte, 4096)
	if err := f.notify.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		f.t.Fatal(err)
	}
	n, err := f.notify.Read(buf)
	if err != nil {
		f.t.Fatalf("the service manager hears nothing: %v", err)
	}
	return string(buf[:n])
}

// says adds to what the service manager hears.
func (f *foreground) says(state string) {
	f.t.Helper()
	conn, err := net.Dial("unixgram", f.notify.LocalAddr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		f.t.Fatal(err)
	}
}

// wait returns the exit code.
func (f *foreground) wait() int {
	f.output.Wait()
	var exit *exec.ExitError
	if err := f.cmd.Wait(); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return f.cmd.ProcessState.ExitCode()
}

func TestForegroundTellsTheServiceManagerAndDrainsOnTERM(t *testing.T) {
	t.Parallel()
	f := newForeground(t, web("api", 2))
	if got := f.told(); got != "READY=1" {
		t.Fatalf("told %q", got)
	}
	list := f.list()
	if got, want := states(list), "api:0 online, api:1 online"; got != want {
		t.Errorf("at READY=1 the list is %s", got)
	}
	// That it has begun to answer says that its worker knows of the request: that the connection is accepted does not.
	response, err := http.Get("http://" + list[0].Listeners[0] + "/?flush&sleep=500ms")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 200 || len(body) == 0 {
		t.Errorf("the request that was under way: %s, %q, %v", response.Status, body, err)
	}
	if got := f.told(); got != "STOPPING=1" {
		t.Errorf("told %q", got)
	}
	if code := f.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out := strings.Join(f.stdout, "\n"); !strings.Contains(out, "api:0 | hello from") || !strings.Contains(out, "api:1 | hello from") {
		t.Errorf("standard output is %q", out)
	}
	if left, _ := os.ReadDir(string(f.home)); len(left) != 2 { // logs, neko.lock
		t.Errorf("left behind: %v", left)
	}
}

func TestForegroundReloadsOnHUP(t *testing.T) {
	t.Parallel()
	f := newForeground(t, web("api", 2))
	f.told()
	before := f.list()
	if err := f.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	f.until("reloaded", func(l []control.Process) bool {
		return l[0].PID != before[0].PID && l[1].PID != before[1].PID && strings.Count(states(l), "online") == 2
	})
}

func TestForegroundWithAMistakeEndsAtOnce(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a := web("api", 1)
	a.Listen[0].Address = taken.Addr().String()
	f := newForeground(t, a)
	if code := f.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if text := strings.Join(f.stderr, "\n"); !strings.Contains(text, "error: api: address "+a.Listen[0].Address+" is in use by") || !strings.Contains(text, "hint: ") {
		t.Errorf("standard error is %q", text)
	}
}

func TestForegroundEndsWithTheSignalOfItsOnlyApp(t *testing.T) {
	t.Parallel()
	a := app("killed", 1)
	a.Command, a.WaitReady, a.Autorestart = []string{"/bin/sh", "-c", "sleep 0.3; kill -KILL $$"}, false, false
	if code := newForeground(t, a).wait(); code != 128+int(syscall.SIGKILL) {
		t.Errorf("exit code %d", code)
	}
}

func TestForegroundEndsWhenEveryAppHasFailedForGood(t *testing.T) {
	t.Parallel()
	a := app("bad", 1, "die-at-start")
	a.MaxRestarts = 1
	f := newForeground(t, a)
	if code := f.wait(); code != 3 {
		t.Errorf("exit code %d", code)
	}
	if text := strings.Join(f.stderr, "\n"); !strings.Contains(text, "every app has failed for good") {
		t.Errorf("standard error is %q", text)
	}
}

func TestForegroundGoesOnWhenItsMasterIsKilled(t *testing.T) {
	t.Parallel()
	f := newForeground(t, web("api", 2))
	f.told()
	before := f.list()
	ping, err := f.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if ping.Keeper != f.cmd.Process.Pid {
		t.Errorf("the keeper is pid %d, and the main process %d", ping.Keeper, f.cmd.Process.Pid)
	}
	if err := syscall.Kill(ping.Master, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	after := f.list()
	for i := range before {
		if before[i].PID != after[i].PID {
			t.Errorf("before %+v, after %+v", before[i], after[i])
		}
	}
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := f.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
