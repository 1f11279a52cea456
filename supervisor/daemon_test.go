package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	flags "flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/home"
	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/spec"
)

// The test binary is also the daemon that it tests and the workers of it.
func TestMain(m *testing.M) {
	if d, err := time.ParseDuration(os.Getenv("NEKO_TEST_PATIENCE")); err == nil {
		keeper.Patience = d
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case keeper.Mode:
			os.Exit(keeper.Main("test"))
		case keeper.MasterMode:
			if exe, _ := os.Readlink("/proc/self/exe"); strings.HasSuffix(exe, ".doomed") {
				os.Exit(1)
			}
			os.Exit(supervisor.Main("test"))
		case supervisor.CheckMode:
			os.Exit(supervisor.CheckMain("test"))
		case supervisor.ExecMode:
			os.Exit(supervisor.ExecMain(os.Args[2:]))
		case supervisor.CompressMode:
			os.Exit(supervisor.CompressMain(os.Args[2:]))
		case "worker":
			worker(os.Args[2:])
		case "counting":
			counting(os.Args[2:])
		case "say":
			say(os.Args[2])
			barrier()
			os.Exit(0)
		case "strangers":
			strangers(os.Args[2])
			os.Exit(0)
		case "foreground":
			var apps []spec.App
			if err := json.Unmarshal([]byte(os.Args[2]), &apps); err != nil {
				panic(err)
			}
			h, err := home.Find()
			if err != nil {
				panic(err)
			}
			os.Exit(supervisor.Foreground(h, "test", apps, spec.Daemon{}, os.Getenv("EXIT_WITH")))
		case "foreground-saved":
			var saved []control.Saved
			if err := json.Unmarshal([]byte(os.Args[2]), &saved); err != nil {
				panic(err)
			}
			h, err := home.Find()
			if err != nil {
				panic(err)
			}
			os.Exit(supervisor.ForegroundSaved(h, "test", saved, spec.Daemon{}))
		}
	}
	// Most of what a test does is to wait for processes.
	flags.Parse()
	asked := false
	flags.Visit(func(f *flags.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		if err := flags.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	// A program with the race detector would sleep a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// say sends a message as sd_notify(3) does.
func say(text string) {
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err == nil {
		fmt.Fprint(conn, text)
		conn.Close()
	}
}

// barrier waits, as systemd-notify does, until what was said has been heard: who
// has ended by then is nobody's child any more.
func barrier() {
	read, write, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		panic(err)
	}
	to := &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}
	if err := unix.Sendmsg(socket, []byte("BARRIER=1"), unix.UnixRights(int(write.Fd())), to, 0); err != nil {
		panic(err)
	}
	write.Close()
	_, _ = read.Read(make([]byte, 1)) // until the other end is closed
}

// growth is what a worker needs no memory for.
var growth []byte

// worker is a program that keeps the contract; its arguments make it fail.
func worker(args []string) {
	fmt.Println("hello from", os.Getpid())
	has := func(flag string) bool {
		for _, a := range args {
			if a == flag {
				return true
			}
		}
		return false
	}
	if has("die-at-start") {
		fmt.Fprintln(os.Stderr, "I cannot start: the moon is wrong")
		os.Exit(3)
	}
	if slot := os.Getenv("DIE_IN_SLOT"); slot == "" || slot == os.Getenv("NEKO_SLOT") {
		if file := os.Getenv("DIE_IF"); there(file) {
			fmt.Fprintln(os.Stderr, "I cannot start: there is", file)
			os.Exit(4)
		}
	}
	if usec, _ := strconv.Atoi(os.Getenv("WATCHDOG_USEC")); usec > 0 {
		go func() {
			for range time.Tick(time.Duration(usec) * time.Microsecond / 4) {
				say("WATCHDOG=1")
			}
		}()
	}
	if code, err := strconv.Atoi(os.Getenv("END_WITH")); err == nil {
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGUSR1)
		go func() {
			<-end
			os.Exit(code)
		}()
	}
	if file := os.Getenv("GROW_IF"); file != "" {
		go func() {
			for !there(file) {
				time.Sleep(time.Millisecond)
			}
			growth = bytes.Repeat([]byte("memory"), 32<<20/6)
		}()
	}
	stop := make(chan os.Signal, 1)
	if has("stops-at-quit") { // SIGTERM is caught, and has no effect
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
		signal.Notify(stop, syscall.SIGQUIT)
	} else {
		signal.Notify(stop, syscall.SIGTERM)
	}
	if has("child") { // of its group; it holds the pipes, and listens to nothing but SIGKILL
		if _, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "trap '' TERM; sleep 1000 & wait; wait"},
			&os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}}); err != nil {
			panic(err)
		}
	}
	if gate := os.ExpandEnv(os.Getenv("READY_IF")); gate != "" {
		for _, err := os.Stat(gate); err != nil && len(stop) == 0; _, err = os.Stat(gate) {
			time.Sleep(time.Millisecond)
		}
	}
	if loads, err := time.ParseDuration(os.Getenv("READY_AFTER")); err == nil {
		time.Sleep(loads)
	}
	if !has("silent") {
		say("READY=1\nSTATUS=serving")
	}
	if text := os.Getenv("SAYS"); text != "" {
		say(text)
	}
	if file := os.Getenv("DIE_READY_IF"); there(file) {
		barrier()
		fmt.Fprintln(os.Stderr, "ready, and out of luck")
		os.Exit(6)
	}
	if fd, err := strconv.Atoi(os.Getenv("NEKO_SPARE_FD")); err == nil && has("gated") {
		opened := make(chan bool, 1)
		go func() {
			n, _ := os.NewFile(uintptr(fd), "gate").Read(make([]byte, 1))
			opened <- n > 0
		}()
		select {
		case is := <-opened:
			if !is {
				os.Exit(0)
			}
		case <-stop:
			os.Exit(0)
		}
	}
	if has("flood") {
		for len(stop) == 0 {
			say("STATUS=" + strings.Repeat("\xff=\x00", 1000))
			say("")
			say(strings.Repeat("READY=1\n", 1000))
		}
	}
	for _, call := range []string{"accept", "accept-elsewhere", "poll", "epoll-nothing"} {
		if has(call) {
			go waitIn(call)
			<-stop
			os.Exit(0)
		}
	}
	if n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS")); n > 0 {
		if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
			fmt.Fprintln(os.Stderr, "LISTEN_PID is", os.Getenv("LISTEN_PID"))
			os.Exit(5)
		}
		listener, err := net.FileListener(os.NewFile(3, "listener"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(6)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if there(os.Getenv("SICK_IF")) && r.URL.Path == "/livez" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			if r.URL.Query().Has("flush") {
				_ = http.NewResponseController(w).Flush()
			}
			if d, err := time.ParseDuration(r.FormValue("sleep")); err == nil {
				time.Sleep(d)
			}
			fmt.Fprintf(w, "%s %d", os.Getenv("NEKO_SLOT"), os.Getpid())
		})}
		go server.Serve(listener)
		<-stop
		if has("stubborn") {
			select {}
		}
		if has("slow-stop") {
			time.Sleep(50 * time.Millisecond)
		}
		server.Shutdown(context.Background())
		os.Exit(0)
	}
	<-stop
	if has("stubborn") {
		select {}
	}
	if has("slow-stop") {
		time.Sleep(50 * time.Millisecond)
	}
	if has("last-words") {
		fmt.Print(strings.Repeat("goodbye\n", 50000), "the very last words\n")
	}
	os.Exit(0)
}

func there(file string) bool {
	_, err := os.Stat(file)
	return file != "" && err == nil
}

// waitIn waits as programs of other makes do.
func waitIn(call string) {
	listener := 3
	switch call {
	case "accept":
		unix.Accept(listener)
	case "accept-elsewhere":
		other, _ := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		unix.Listen(other, 1)
		unix.Accept(other)
	case "poll":
		unix.Poll([]unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}, -1)
	case "epoll-nothing":
		epoll, _ := unix.EpollCreate1(0)
		unix.EpollWait(epoll, make([]unix.EpollEvent, 1), -1)
	}
}

type daemon struct {
	*control.Client
	t      *testing.T
	home   home.Dir
	keeper int // pid, and the session of all that it started
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	h := home.Dir(filepath.Join(t.TempDir(), "home"))
	pid, err := keeper.Spawn(h)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{control.NewClient(h.Control()), t, h, pid}
	t.Cleanup(func() {
		d.end()
		text, _ := os.ReadFile(h.Log())
		for _, word := range []string{"BUG:", "panic:", "DATA RACE"} {
			if strings.Contains(string(text), word) {
				t.Errorf("neko.log has %q", word)
			}
		}
		if t.Failed() {
			t.Logf("neko.log:\n%s", text)
		}
	})
	return d
}

// end ends the daemon, and waits until nothing of it is left: it writes to its logs after
// it has answered.
func (d *daemon) end() {
	d.t.Helper()
	keeper := -1
	if now, err := d.Ping(context.Background()); err == nil {
		if keeper, err = unix.PidfdOpen(now.Keeper, 0); err == nil {
			defer unix.Close(keeper)
		}
	}
	if _, err := d.Kill(context.Background(), nil); err != nil && !errors.Is(err, control.ErrNoDaemon) {
		d.t.Errorf("kill: %v", err)
	}
	if keeper >= 0 {
		d.eventually("the keeper has ended", func() bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(keeper), Events: unix.POLLIN}}, 0)
			return n == 1 && err == nil
		})
	}
}

// app is a spec that runs the test's worker.
func app(name string, instances int, args ...string) spec.App {
	a := spec.Defaults()
	a.Name, a.Instances = name, instances
	a.Command = append([]string{"/proc/self/exe", "worker"}, args...)
	if exe, err := os.Executable(); err == nil {
		a.Command[0] = exe
	}
	a.Cwd = "/"
	a.Env = map[string]string{"PATH": os.Getenv("PATH"), "GORACE": os.Getenv("GORACE")}
	a.WaitReady = true
	a.ListenTimeout = spec.Duration(time.Minute)
	return a
}

func web(name string, instances int, args ...string) spec.App {
	a := app(name, instances, args...)
	a.Listen = []spec.Listener{{Name: "http", Network: "tcp", Address: "127.0.0.1:0"}}
	return a
}

func (d *daemon) start(apps ...spec.App) control.Done {
	d.t.Helper()
	done, err := d.Start(d.t.Context(), control.StartRequest{Apps: apps}, nil)
	if err != nil {
		d.t.Fatalf("start: %v", err)
	}
	return done
}

func (d *daemon) command(name string, targets ...string) control.Done {
	d.t.Helper()
	done, err := d.Command(d.t.Context(), name, control.TargetRequest{Targets: targets}, nil)
	if err != nil {
		d.t.Fatalf("%s %v: %v", name, targets, err)
	}
	return done
}

func (d *daemon) list() []control.Process {
	d.t.Helper()
	list, err := d.Processes(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

// until polls the list, for that is how the world sees the daemon.
func (d *daemon) until(what string, cond func([]control.Process) bool) []control.Process {
	d.t.Helper()
	var list []control.Process
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if list = d.list(); cond(list) {
			return list
		}
	}
	d.t.Fatalf("never %s: %+v", what, list)
	return nil
}

// eventually polls what no list shows.
func (d *daemon) eventually(what string, cond func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("never: %s", what)
		}
	}
}

// family are the processes of the daemon's workers, and what else lives or is
// dead and not reaped in its session, other than keeper and master.
func (d *daemon) family() (workers, zombies []int) {
	d.t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		d.t.Fatal(err)
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has just ended
		}
		pid, _ := strconv.Atoi(strings.Split(stat, "/")[2])
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if session := fields[3]; session != strconv.Itoa(d.keeper) || pid == d.keeper {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(stat), "cmdline"))
		switch {
		case fields[0] == "Z":
			zombies = append(zombies, pid)
		case !bytes.HasPrefix(cmdline, []byte("neko: ")):
			workers = append(workers, pid)
		}
	}
	return workers, zombies
}

// isZombie says of a child of the test that it has ended; nobody waits for it.
func (d *daemon) isZombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.HasPrefix(text[bytes.LastIndexByte(text, ')')+1:], []byte(" Z"))
}

// environment is what a process was started with.
func environment(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\x00", "\n")
}

// replaceLink makes path a link to target, in one step.
func replaceLink(t *testing.T, path, target string) {
	t.Helper()
	if err := os.Symlink(target, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func states(list []control.Process) string {
	var words []string
	for _, p := range list {
		words = append(words, fmt.Sprintf("%s:%d %s", p.Name, p.Slot, p.State))
	}
	return strings.Join(words, ", ")
}

func get(t *testing.T, address string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestStartReturnsWhenTheWorkersServe(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	done := d.start(web("api", 3))
	if got, want := states(done.Processes), "api:0 online, api:1 online, api:2 online"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	slots := map[string]bool{}
	for range 100 {
		slot, _, _ := strings.Cut(get(t, done.Processes[0].Listeners[0]), " ")
		slots[slot] = true
	}
	if len(slots) != 3 {
		t.Errorf("the slots that answered are %v", slots)
	}
}

func TestACrashedWorkerIsBackAndNothingIsRefused(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	p := d.start(web("api", 1)).Processes[0]
	for i := range 3 {
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		get(t, p.Listeners[0]) // waits in the queue of the socket
		p = d.until("restarted", func(l []control.Process) bool { return l[0].Restarts == i+1 && l[0].State == control.Online })[0]
	}
	detail, err := d.App(t.Context(), "api")
	if err != nil {
		t.Fatal(err)
	}
	if got := detail.Processes[0].LastExit; got != "signal: killed" {
		t.Errorf("the last exit is %q", got)
	}
}

func TestNewConnectionsGoAroundASlotThatCannotServe(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	trap := filepath.Join(t.TempDir(), "trap")
	a := web("api", 3)
	a.Env["DIE_IF"], a.MaxRestarts = trap, 0
	list := d.start(a).Processes
	if err := os.WriteFile(trap, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(list[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.until("given up", func(l []control.Process) bool { return l[1].State == control.Errored })
	for range 60 { // one of three would wait in the socket of the dead slot for ever
		if slot, _, _ := strings.Cut(get(t, list[0].Listeners[0]), " "); slot == "1" {
			t.Fatal("the dead slot has answered")
		}
	}
}

func TestAProgramThatNeverStartsIsGivenUp(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	bad := app("bad", 1, "die-at-start")
	bad.MaxRestarts = 3
	_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{bad}}, nil)
	var e *control.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "exit code 3") || strings.Join(e.Output, "\n") == "" {
		t.Fatalf("got %#v", err)
	}
	if last := e.Output[len(e.Output)-1]; last != "I cannot start: the moon is wrong" {
		t.Errorf("the last words are %q", e.Output)
	}
	list := d.until("errored", func(l []control.Process) bool { return l[0].State == control.Errored })
	if list[0].Restarts != 3 || !strings.Contains(list[0].Reason, "gave up after 3 restarts") {
		t.Errorf("got %+v", list[0])
	}
}

func TestAProgramOfWhichNothingIsKnownMustTakeItsFirstSteps(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	script := app("script", 1, "die-at-start")
	script.WaitReady = false
	if _, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{script}}, nil); err == nil || !strings.Contains(err.Error(), "exit code 3") {
		t.Errorf("a script that dies at once: %v", err)
	}
	long := app("long", 1, "silent")
	long.WaitReady = false
	if got, want := states(d.start(long).Processes), "long:0 online"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReloadReplacesEveryWorker(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	before := d.start(web("api", 2)).Processes
	after := d.command("reload", "api").Processes
	for i := range before {
		if before[i].PID == after[i].PID || after[i].State != control.Online || after[i].ID != before[i].ID {
			t.Errorf("before %+v, after %+v", before[i], after[i])
		}
	}
}

func TestAReloadThatFailsKeepsTheOldWorkers(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	trap := filepath.Join(t.TempDir(), "trap")
	a := web("api", 2)
	a.Env["DIE_IF"] = trap
	before := d.start(a).Processes
	if err := os.WriteFile(trap, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := d.Command(t.Context(), "reload", control.TargetRequest{Targets: []string{"all"}}, nil)
	var e *control.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "exit code 4") || !strings.Contains(strings.Join(e.Output, "\n"), "I cannot start") {
		t.Fatalf("got %#v", err)
	}
	for i, p := range d.list() {
		if p.PID != before[i].PID || p.State != control.Online {
			t.Errorf("before %+v, now %+v", before[i], p)
		}
	}
}

func TestAReloadWhoseSuccessorIsNeverReadyFails(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	good := web("api", 1)
	pid := d.start(good).Processes[0].PID
	silent := good
	silent.Command = append(append([]string{}, good.Command...), "silent")
	silent.ListenTimeout = spec.Duration(300 * time.Millisecond)
	_, err := d.Start(t.Context(), control.StartRequest{Apps: []spec.App{silent}}, nil)
	if err == nil || !strings.Contains(err.Error(), "was not ready within 300ms") {
		t.Fatalf("got %v", err)
	}
	if p := d.list()[0]; p.PID != pid || p.State != control.Online {
		t.Errorf("the old process is gone: %+v", p)
	}
	d.command("restart", "api") // with the spec that works
}

func TestStopStartDelete(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	p := d.start(web("api", 2)).Processes[0]
	d.command("stop", "api")
	if got, want := states(d.list()), "api:0 stopped, api:1 stopped"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := net.Dial("tcp", p.Listeners[0]); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial a stopped app: %v", err)
	}
	d.command("restart", "api")
	if got, want := states(d.list()), "api:0 online, api:1 online"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	d.command("stop", "1")
	if got, want := states(d.list()), "api:0 online, api:1 stopped"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	d.command("delete", "all")
	if list := d.list(); len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
	if _, err := d.Command(t.Context(), "stop", control.TargetRequest{Targets: []string{"api"}}, nil); err == nil {
		t.Error("a deleted app was stopped")
	}
}

func TestScale(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start(web("api", 1))
	for _, step := range []struct {
		to   string
		want int
	}{{"+2", 3}, {"1", 1}, {"2", 2}} {
		done, err := d.Scale(t.Context(), control.ScaleRequest{Name: "api", Instances: step.to}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(done.Processes) != step.want || strings.Count(states(done.Processes), "online") != step.want {
			t.Fatalf("scale %s: %s", step.to, states(done.Processes))
		}
	}
}

func TestAStubbornProgramIsKilled(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	a := app("mule", 1, "stubborn")
	a.DrainTimeout, a.KillTimeout = spec.Duration(100*time.Millisecond), spec.Duration(100*time.Millisecond)
	pid := d.start(a).Processes[0].PID
	d.command("stop", "mule")
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("pid %d: %v", pid, err)
	}
}

func TestAKilledMasterIsReplacedAndTheWorkersNeverKnow(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	before := d.start(web("api", 2), app("cron", 1)).Processes
	for i := range 5 {
		ping, err := d.Ping(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(ping.Master, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 { // and meanwhile a worker ends
			if err := syscall.Kill(before[0].PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		get(t, before[0].Listeners[0])
		d.nextMaster(ping)
		after := d.until("online", func(l []control.Process) bool { return strings.Count(states(l), "online") == 3 })
		for j := range before {
			same := i%2 == 0 || j > 0
			if (after[j].PID == before[j].PID) != same || after[j].ID != before[j].ID {
				t.Errorf("kill %d: before %+v, after %+v", i, before[j], after[j])
			}
		}
		if i%2 == 1 && after[0].Restarts != before[0].Restarts+1 {
			t.Errorf("kill %d: restarts %d, then %d", i, before[0].Restarts, after[0].Restarts)
		}
		before = after
	}
	detail, err := d.App(t.Context(), "api")
	if err != nil {
		t.Fatal(err)
	}
	if got := detail.Processes[0].LastExit; got != "signal: killed" {
		t.Errorf("the last exit is %q", got)
	}
	d.command("reload", "all")
	d.command("delete", "all")
}

func TestASecondDaemonOnAHomeIsRefused(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	_, err := keeper.Spawn(d.home)
	if err == nil || !strings.Contains(err.Error(), "a daemon already runs") {
		t.Errorf("got %v", err)
	}
}
