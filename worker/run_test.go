package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// runAsWorker is what the test binary is when a test starts it as a worker.
func runAsWorker() {
	config := Config{
		Schema: testSchema, Resolver: newTestRoot(), Name: "cat",
		TLSCert: os.Getenv("WORKER_TEST_CERT"), TLSKey: os.Getenv("WORKER_TEST_KEY"),
	}
	config.MaxBatch, _ = strconv.Atoi(os.Getenv("WORKER_TEST_MAX_BATCH"))
	config.MaxDocuments, _ = strconv.Atoi(os.Getenv("WORKER_TEST_MAX_DOCUMENTS"))
	if path := os.Getenv("WORKER_TEST_WAIT_FOR"); path != "" {
		config.Checks = []Check{{Name: "file", Run: func(context.Context) error {
			_, err := os.Stat(path)
			return err
		}}}
	}
	if how := os.Getenv("WORKER_TEST_PREPARE"); how != "" {
		config.Prepare = func(ctx context.Context, c *Config) error {
			fmt.Fprintln(os.Stderr, "prepares")
			switch how {
			case "fails":
				return &adviceError{errors.New("no luck"), "try again"}
			case "for ever":
				<-ctx.Done()
				fmt.Fprintln(os.Stderr, "gives up")
				return ctx.Err()
			}
			c.Name = how
			return nil
		}
	}
	if err := Run(context.Background(), config); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		var advice interface{ Hint() string }
		if errors.As(err, &advice) {
			fmt.Fprintln(os.Stderr, "hint:", advice.Hint())
		}
		os.Exit(1)
	}
}

// printed is what a process has written so far.
type printed struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *printed) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *printed) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// process is a worker process under test, with this test as its supervisor.
type process struct {
	*exec.Cmd
	stderr printed
	notify *net.UnixConn
	done   chan struct{}
}

// start runs a worker with the sockets as its descriptors from 3 on.
func start(t *testing.T, supervised bool, env []string, sockets ...*os.File) *process {
	t.Helper()
	return startCommand(t, exec.Command(os.Args[0]), supervised, env, sockets...)
}

func startCommand(t *testing.T, cmd *exec.Cmd, supervised bool, env []string, sockets ...*os.File) *process {
	t.Helper()
	p := &process{Cmd: cmd, done: make(chan struct{})}
	p.Env = append(os.Environ(), "WORKER_TEST_PROCESS=1")
	if supervised {
		dir := t.TempDir()
		if cmd.Path == os.Args[0] {
			dir = filepath.Join(dir, strings.Repeat("long/", 30)) // sun_path holds 107 bytes
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "notify")
		short, done, err := shortAddress(path)
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		if p.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: short, Net: "unixgram"}); err != nil {
			t.Fatal(err)
		}
		p.notify.SetDeadline(time.Now().Add(30 * time.Second))
		t.Cleanup(func() { p.notify.Close() })
		p.Env = append(p.Env, "NOTIFY_SOCKET="+path)
	}
	if len(sockets) > 0 {
		p.ExtraFiles = sockets
		p.Env = append(p.Env, fmt.Sprintf("LISTEN_FDS=%d", len(sockets)))
	}
	p.Env = append(p.Env, env...)
	p.Stderr = &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
	})
	return p
}

// told is the next thing that the worker told its supervisor.
func (p *process) told(t *testing.T) string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := p.notify.Read(buf)
	if err != nil {
		t.Fatalf("%v; the worker printed: %s", err, p.output(t))
	}
	return string(buf[:n])
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// end waits for the process and returns its exit code.
func (p *process) end(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Fatal("the worker did not end")
	}
	return p.ProcessState.ExitCode()
}

// output kills the process and returns what it printed.
func (p *process) output(t *testing.T) string {
	t.Helper()
	_ = p.Process.Kill()
	p.end(t)
	return p.stderr.String()
}

func listenLocal(t *testing.T) (*net.TCPListener, *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return l.(*net.TCPListener), f
}

func TestLifeUnderASupervisor(t *testing.T) {
	l, f := listenLocal(t)
	p := start(t, true, []string{"LISTEN_FDNAMES=http", "NEKO_DRAIN_TIMEOUT=5s"}, f)
	if got := p.told(t); !strings.Contains(got, "READY=1") {
		t.Errorf("first told: %q", got)
	}
	c := dial(t, l.Addr().String())
	if closing := c.ask(t, "/readyz"); closing {
		t.Error("Connection: close before the drain")
	}
	p.signal(t, syscall.SIGHUP)
	c.ask(t, "/readyz") // ignored

	p.signal(t, syscall.SIGTERM)
	if got := p.told(t); !strings.Contains(got, "STOPPING=1") {
		t.Errorf("at the drain told: %q", got)
	}
	c.ask(t, "/readyz")
	if code := p.end(t); code != 0 || p.stderr.String() != "" {
		t.Errorf("exit code %d: %s", code, p.stderr.String())
	}
	// The socket is the supervisor's, and has not been shut down.
	if c, err := net.Dial("tcp", l.Addr().String()); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

// Until a worker is ready, connections are not its: they wait for it, or its
// predecessor serves them.
func TestAcceptsWhenReady(t *testing.T) {
	l, f := listenLocal(t)
	path := filepath.Join(t.TempDir(), "store")
	p := start(t, true, []string{"WORKER_TEST_WAIT_FOR=" + path}, f)
	if got := p.told(t); !strings.HasPrefix(got, "STATUS=waiting for file: ") {
		t.Errorf("told: %q", got)
	}
	c := dial(t, l.Addr().String())
	c.send(t, "/livez")
	_ = l.SetDeadline(time.Now().Add(10 * time.Second))
	mine, err := l.Accept() // the predecessor's part, which nobody else took
	if err != nil {
		t.Fatal(err)
	}
	mine.Close()

	waiting := dial(t, l.Addr().String())
	waiting.send(t, "/livez")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for got := ""; !strings.Contains(got, "READY=1"); {
		got = p.told(t)
	}
	if body, _ := waiting.receive(t); body != "ok\n" {
		t.Errorf("%q", body)
	}
}

func TestWatchdog(t *testing.T) {
	_, f := listenLocal(t)
	p := start(t, true, []string{"WATCHDOG_USEC=20000"}, f)
	for seen := 0; seen < 3; {
		if p.told(t) == "WATCHDOG=1" {
			seen++
		}
	}
}

// A spare is ready and accepts nothing before it is needed.
func TestSpare(t *testing.T) {
	for _, needed := range []bool{true, false} {
		l, f := listenLocal(t)
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := startCommand(t, exec.Command(os.Args[0]), true, []string{"LISTEN_FDS=1", "NEKO_SPARE_FD=4"}, f, read)
		read.Close()
		if got, want := p.told(t), "READY=1\nSTATUS=waiting to take over"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		c := dial(t, l.Addr().String())
		c.send(t, "/livez")
		if needed {
			if _, err := write.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			if body, _ := c.receive(t); body != "ok\n" {
				t.Errorf("%q", body)
			}
			if got, want := p.told(t), "STATUS=serving"; got != want {
				t.Errorf("told %q, want %q", got, want)
			}
			p.signal(t, syscall.SIGTERM)
		}
		write.Close()
		if code := p.end(t); code != 0 || p.stderr.String() != "" {
			t.Errorf("exit code %d: %s", code, p.stderr.String())
		}
		if !needed {
			_ = l.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := l.Accept(); err != nil { // it is still there for another
				t.Error(err)
			}
		}
	}
}

// Alone it listens by itself and says where.
func TestLifeAlone(t *testing.T) {
	l, f := listenLocal(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	f.Close()
	// Sockets that are meant for another process are not touched.
	_, other := listenLocal(t)
	p := start(t, false, []string{"PORT=" + port, "LISTEN_PID=1"}, other)
	want := "cat serves GraphQL on http://127.0.0.1:" + port + "/graphql\n"
	var c net.Conn
	waitUntil(t, func() (ok bool) {
		var err error
		c, err = net.Dial("tcp", "127.0.0.1:"+port)
		return err == nil
	})
	defer c.Close()
	p.signal(t, syscall.SIGINT)
	c.Close()
	if code := p.end(t); code != 0 || p.stderr.String() != want {
		t.Errorf("exit code %d: %q, want %q", code, p.stderr.String(), want)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	var p *process
	for range 3 { // on a slow machine a signal may come too late for an echo
		if p = echoed(t); p != nil {
			break
		}
	}
	if p == nil {
		t.Fatal("ended by an echo")
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.end(t); code != 1 || !strings.Contains(p.stderr.String(), "second signal") {
		t.Errorf("exit code %d: %s", code, p.stderr.String())
	}
}

// echoed is a worker that serves a request for ever and has been sent SIGTERM, and at once again: nil if it has ended.
func echoed(t *testing.T) *process {
	l, f := listenLocal(t)
	p := start(t, true, []string{"NEKO_DRAIN_TIMEOUT=1h"}, f)
	p.told(t)
	c := dial(t, l.Addr().String())
	c.send(t, "/graphql?query={wait}")
	c2 := dial(t, l.Addr().String())
	c2.ask(t, "/livez") // accepted after c, so c is too
	p.signal(t, syscall.SIGTERM)
	for got := ""; !strings.Contains(got, "STOPPING=1"); {
		got = p.told(t)
	}
	p.signal(t, syscall.SIGTERM) // the echo of the first
	select {
	case <-p.done:
		t.Logf("ended by an echo: %s", p.stderr.String())
		return nil
	case <-time.After(echo):
		return p
	}
}

// A worker that is stopped while it prepares ends well, and never serves.
func TestPrepare(t *testing.T) {
	_, f := listenLocal(t)
	for _, c := range []struct {
		how, want string
		code      int
	}{
		{"for ever", "prepares\ngives up\n", 0},
		{"fails", "prepares\nerror: no luck\nhint: try again\n", 1},
		{"lion", "prepares\nlion serves GraphQL on ", 0},
	} {
		t.Run(c.how, func(t *testing.T) {
			p := start(t, false, []string{"WORKER_TEST_PREPARE=" + c.how}, f)
			switch c.how {
			case "for ever":
				waitUntil(t, func() bool { return strings.Contains(p.stderr.String(), "prepares") })
				p.signal(t, syscall.SIGTERM)
			case "lion":
				waitUntil(t, func() bool { return strings.Contains(p.stderr.String(), "serves") })
				p.signal(t, syscall.SIGTERM)
			}
			if code := p.end(t); code != c.code || !strings.HasPrefix(p.stderr.String(), c.want) {
				t.Errorf("exit code %d: %s\nwant %d: %s", code, p.stderr.String(), c.code, c.want)
			}
		})
	}
}

func TestWhatRunRefuses(t *testing.T) {
	l, f := listenLocal(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	datagrams, err := udp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	for _, c := range []struct {
		what    string
		env     []string
		sockets []*os.File
		want    string
	}{
		{"a descriptor that is no socket", []string{"LISTEN_FDNAMES=http:admin"}, []*os.File{f, null}, "error: inherited descriptor 4 (admin) is no listening stream socket: "},
		{"one that does not listen", nil, []*os.File{datagrams}, "error: inherited descriptor 3 (unknown) is no listening stream socket: it does not listen"},
		{"one that is not there", []string{"LISTEN_FDS=2"}, []*os.File{f}, "error: inherited descriptor 4 (unknown) is no listening stream socket: "},
		{"nonsense", []string{"LISTEN_FDS=many"}, nil, `error: LISTEN_FDS is "many", not a number of descriptors`},
		{"a port in use", []string{"PORT=" + port}, nil, "error: 127.0.0.1:" + port + " is in use by another program\nhint: stop that program"},
		{"a drain of no duration", []string{"NEKO_DRAIN_TIMEOUT=5"}, nil, "error: NEKO_DRAIN_TIMEOUT is \"5\", not a duration\nhint: write it like 10s"},
	} {
		t.Run(c.what, func(t *testing.T) {
			p := start(t, false, c.env, c.sockets...)
			if code := p.end(t); code != 1 || !strings.HasPrefix(p.stderr.String(), c.want) {
				t.Errorf("exit code %d: %s\nwant %s", code, p.stderr.String(), c.want)
			}
		})
	}
}

// The program of another make in the reference of the contract keeps it.
func TestExampleOfTheContract(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	doc, err := os.ReadFile("../docs/worker-contract.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(doc), "```python file=hello.py\n")
	program, _, ok := strings.Cut(program, "```")
	if !ok {
		t.Fatal("docs/worker-contract.md has no example in Python")
	}
	l, f := listenLocal(t)
	p := startCommand(t, exec.Command(python, "-c", program), true, nil, f)
	if got := p.told(t); got != "READY=1" {
		t.Errorf("told: %q", got)
	}
	c := dial(t, l.Addr().String())
	c.send(t, "/")
	if body, _ := c.receive(t); body != "hello\n" {
		t.Errorf("%q", body)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.end(t); code != 0 {
		t.Errorf("exit code %d: %s", code, p.stderr.String())
	}
}
