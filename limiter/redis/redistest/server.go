// Package redistest gives tests real servers of Redis's: one alone, a Cluster, or a
// master with a replica and Sentinels. They listen on free ports of 127.0.0.1, have
// folders of their own, and end with the test, or with its process.
package redistest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nekoctl/neko/scripts/debian"
	"github.com/nekoctl/neko/scripts/freeport"
)

// Server is a redis-server.
type Server struct {
	path, folder, port string
	args               []string
	password           string

	cmd   *exec.Cmd
	ended chan struct{}
	out   *output
}

// Start starts a server without persistence. Each of config is a line of redis.conf.
func Start(t testing.TB, config ...string) *Server {
	t.Helper()
	return startAnew(t, func() []string { return config })
}

// startAnew starts a server with a new configuration for each try: between the choice of a port
// and its use another process may take it.
func startAnew(t testing.TB, config func() []string) *Server {
	t.Helper()
	var err error
	for range attempts {
		var s *Server
		if s, err = start(t, freePort(t), nil, config()...); err == nil {
			return s
		}
	}
	t.Fatal(err)
	return nil
}

const attempts = 5

func start(t testing.TB, port string, args []string, config ...string) (*Server, error) {
	t.Helper()
	s := &Server{path: debian.Need(t, "redis-server", "redis-server"), folder: t.TempDir(), port: port, args: args}
	for _, line := range config {
		if word, rest, _ := strings.Cut(line, " "); word == "requirepass" {
			s.password = rest
		}
	}
	t.Cleanup(s.Kill)
	base := []string{"bind 127.0.0.1", "port " + port, "dir " + s.folder, `save ""`, "appendonly no",
		"enable-debug-command yes", "repl-diskless-sync-delay 0"}
	text := strings.Join(append(base, config...), "\n") + "\n"
	if err := os.WriteFile(s.config(), []byte(text), 0o600); err != nil {
		return nil, err
	}
	return s, s.run()
}

// freePort stays the server's while it is away.
func freePort(t testing.TB) string {
	t.Helper()
	return strconv.Itoa(freeport.For(t))
}

func (s *Server) config() string { return filepath.Join(s.folder, "redis.conf") }

// Addr is where it listens.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// URL is what clients take, with the password, if there is one.
func (s *Server) URL() string {
	if s.password != "" {
		return "redis://:" + s.password + "@" + s.Addr()
	}
	return "redis://" + s.Addr()
}

// run returns when the server accepts connections.
func (s *Server) run() error {
	s.out = &output{ready: make(chan struct{})}
	s.ended = make(chan struct{})
	s.cmd = exec.Command(s.path, append([]string{s.config()}, s.args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	// The signal comes when the thread ends that has started the process: this one
	// does not before the process has.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan struct{}) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}(s.cmd, s.ended)
	if err := <-started; err != nil {
		return err
	}
	select {
	case <-s.out.ready:
		return nil
	case <-s.ended:
	case <-time.After(Patience):
		s.Kill()
	}
	return fmt.Errorf("redis-server does not start:\n%s", s.out.text())
}

// Kill ends it at once.
func (s *Server) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// Restart starts it anew where it was; without persistence it has forgotten all.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

// Stop lets it stand still, and returns when it does.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if _, state, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(state, "T") {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// Continue lets it go on.
func (s *Server) Continue(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// Try gives it a command on a connection of its own. Clients of an answer: ToString,
// AsInt64, AsStrSlice and the like.
func (s *Server) Try(command ...string) rueidis.RedisResult { return s.TryAs(s.password, command...) }

// TryAs is Try with another password.
func (s *Server) TryAs(password string, command ...string) rueidis.RedisResult {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{s.Addr()}, Password: password, ForceSingleClient: true, DisableCache: true,
		PipelineMultiplex: -1, RingScaleEachConn: 1, ReadBufferEachConn: 4096, WriteBufferEachConn: 4096,
		DisableRetry: true, ClientSetInfo: rueidis.DisableClientSetInfo,
	})
	if err != nil {
		return rueidis.NewErrorResult(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	return client.Do(ctx, client.B().Arbitrary(command...).Build())
}

// Do is Try for what cannot fail, but for an answer that is nil.
func (s *Server) Do(t testing.TB, command ...string) *rueidis.RedisResult {
	t.Helper()
	r := s.Try(command...)
	if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%.200s: %v", strings.Join(command, " "), err)
	}
	return &r
}

// output keeps what a server prints, and tells when it is ready.
type output struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	done  bool
	ready chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len() < 1<<20 {
		o.buf.Write(p)
	}
	if !o.done && (bytes.Contains(o.buf.Bytes(), []byte("Ready to accept connections")) ||
		bytes.Contains(o.buf.Bytes(), []byte("Sentinel ID is"))) {
		o.done = true
		close(o.ready)
	}
	return len(p), nil
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
