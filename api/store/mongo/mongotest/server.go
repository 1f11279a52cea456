// Package mongotest gives tests a server that speaks MongoDB's protocol: the one
// of scripts/ferretdb, which it builds and starts, or a real MongoDB, if
// NEKO_TEST_MONGODB has its URL.
package mongotest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/scripts/source"
)

// Real tells whether the tests run against a MongoDB.
func Real() bool { return os.Getenv("NEKO_TEST_MONGODB") != "" }

var (
	shared     *Server
	sharedOnce sync.Once
	sharedErr  error
)

// URL is that of an empty database, which goes with the test. All tests of a
// process share a server.
func URL(t testing.TB) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text()[:12])
	base := os.Getenv("NEKO_TEST_MONGODB")
	if base == "" {
		sharedOnce.Do(func() {
			var path string
			if path, sharedErr = Build(); sharedErr == nil {
				shared, sharedErr = start(path, "memory", "127.0.0.1:0")
			}
		})
		missing(t, sharedErr)
		base = shared.url
	}
	rest, query, _ := strings.Cut(base, "?")
	scheme, rest, _ := strings.Cut(rest, "://")
	hosts, _, _ := strings.Cut(rest, "/")
	url := scheme + "://" + hosts + "/" + name
	if query != "" {
		url += "?" + query
	}
	t.Cleanup(func() { drop(t, url, name) })
	return url
}

func drop(t testing.TB, url, name string) {
	client, err := driver.Connect(options.Client().ApplyURI(url))
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := errors.Join(client.Database(name).Drop(ctx), client.Disconnect(ctx)); err != nil {
		t.Error("cannot drop the database:", err)
	}
}

// missing ends a test that has no server: loudly in CI, and else with a line.
func missing(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip("no server to test with: ", err)
	}
}

// Server is a server of the test's own, to be stopped and killed.
type Server struct {
	path, folder, address string
	url                   string
	cmd                   *exec.Cmd
	in                    io.Closer
}

// Start starts a server whose data survive it. It ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	path, err := Build()
	missing(t, err)
	s, err := start(path, t.TempDir(), "127.0.0.1:0")
	missing(t, err)
	t.Cleanup(s.Kill)
	return s
}

// URL is that of a database.
func (s *Server) URL(database string) string { return s.url + database }

// Address is where it listens.
func (s *Server) Address() string { return s.address }

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

// Kill ends it at once.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.in.Close()
		s.cmd = nil
	}
}

// Restart starts it anew, with the data that it had, where it was.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill()
	again, err := start(s.path, s.folder, s.address)
	if err != nil {
		t.Fatal(err)
	}
	*s = *again
}

func start(path, folder, address string) (*Server, error) {
	s := &Server{path: path, folder: folder, cmd: exec.Command(path, folder, address)}
	s.cmd.Env = append(os.Environ(), "GOGC=800") // it makes much garbage
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.in = in
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.Kill()
		return nil, fmt.Errorf("the server of scripts/ferretdb does not start: %w", err)
	}
	s.url = strings.TrimSpace(line)
	s.address = strings.TrimSuffix(strings.TrimPrefix(s.url, "mongodb://"), "/")
	return s, nil
}

// Build builds the server, once for all test processes and runs.
func Build() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("no source files here")
	}
	return source.Tool(filepath.Join(filepath.Dir(file), "../../../../scripts/ferretdb"), ".", "-tags", "ferretdb_no_postgresql")
}
