package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/api/store/mongo/mongotest"
)

// serving is a neko-api that is measured: its workers, where they run, and their store.
type serving struct {
	workers int
	// alone has its only worker on the machine's last CPU, while whoever drives it has
	// the others, see driving.Aside.
	alone bool
	store string // a URL of MongoDB, or "" for a SQLite file of its own
	args  []string
}

// serve starts it, with the bench's data in its store.
func (b *bench) serve(v serving) (*cacheServer, error) {
	s, err := b.neko()
	if err != nil {
		return nil, err
	}
	c := &cacheServer{side: s}
	s.keys = `, env: {GOMAXPROCS: "1"}`
	c.settings = []string{}
	if v.store != "" {
		secret := filepath.Join(s.home, "auth.secret")
		if err := os.WriteFile(secret, []byte(strings.Repeat("a secret of the bench ", 4)), 0o600); err != nil {
			return nil, err
		}
		c.settings = append(c.settings, "--store", v.store, "--auth-secret-file", secret)
	}
	if b.bundle != "" {
		if err := c.api("import", b.bundle); err != nil {
			c.end()
			return nil, err
		}
	}
	command := []string{b.api()}
	if v.alone && runtime.NumCPU() > 1 {
		command = append([]string{"taskset", "-c", strconv.Itoa(runtime.NumCPU() - 1)}, command...)
	}
	command = append(append(command, c.settings...), v.args...)
	workers := strconv.Itoa(v.workers)
	t, err := startWorker(s, workers, command...)
	if err == nil {
		err = c.started(t.url, workers)
	}
	if err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// open is what is measured without limits in its way: limits are on, and nobody gets to them.
func open(args ...string) []string {
	return append([]string{"--rate-limit", generous, "--max-cost", "1000000"}, args...)
}

// api runs a command of neko-api on the store of a server.
func (s *cacheServer) api(args ...string) error {
	cmd := exec.CommandContext(s.side.b.ctx, s.side.b.api(), append(args, s.settings...)...)
	cmd.Env = append(os.Environ(), s.side.env...)
	cmd.Stdin = strings.NewReader(benchPassword + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("neko-api %s: %w: %s", args[0], err, out)
	}
	return nil
}

// reload gives the server new workers, with nothing in their memory.
func (s *cacheServer) reload() error {
	if _, err := s.side.run("reload", "app"); err != nil {
		return err
	}
	var err error
	s.pids, err = s.side.online("app", len(s.pids))
	return err
}

// login is an access token of a user that has the role.
func (s *cacheServer) login(role string) (string, error) {
	if err := s.api("user", "add", role, "--role", role, "--password-stdin"); err != nil {
		return "", err
	}
	var a struct {
		Data struct{ Login struct{ AccessToken string } }
	}
	err := s.ask(`mutation { login(input: {name: "`+role+`", password: "`+benchPassword+`"}) { accessToken } }`, nil, &a)
	if err == nil && a.Data.Login.AccessToken == "" {
		err = errors.New("neko-api: the login has brought no token")
	}
	return a.Data.Login.AccessToken, err
}

// ask asks a server once.
func (s *cacheServer) ask(query string, variables map[string]any, answer any) error {
	resp, err := http.Post("http://"+s.address+"/graphql", "application/json", bytes.NewReader(requestBody(query, variables)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != 200 || bytes.Contains(text, []byte(`"errors"`))) {
		err = fmt.Errorf("neko-api: %s: %.400s", resp.Status, text)
	}
	if err == nil {
		err = json.Unmarshal(text, answer)
	}
	return err
}

// counted is the sum of what the workers have counted under a name, those with all of the
// labels, as in name="store".
func (s *cacheServer) counted(metric string, labels ...string) (sum float64, err error) {
	out, err := s.side.run("metrics")
	if err != nil {
		return 0, err
	}
	found := false
lines:
	for line := range strings.Lines(string(out)) {
		rest, ok := strings.CutPrefix(line, metric+"{")
		if !ok {
			continue
		}
		in, value, ok := strings.Cut(rest, "} ")
		if !ok {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(","+in+",", ","+label+",") {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return 0, fmt.Errorf("%q: %w", line, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("the metrics have no %s with %q", metric, labels)
	}
	return sum, nil
}

func (s *cacheServer) storeCalls() (float64, error) {
	reads, err := s.counted("neko_breaker_calls_total", `name="store"`)
	if err != nil {
		return 0, err
	}
	changes, err := s.counted("neko_breaker_calls_total", `name="store-changes"`)
	return reads + changes, err
}

// mongoServer is the server of scripts/ferretdb, in MongoDB's place: what it does is what a
// MongoDB does, and how long that takes is not.
type mongoServer struct {
	cmd     *exec.Cmd
	in      io.Closer
	address string
}

func startMongo(b *bench) (*mongoServer, error) {
	program, err := mongotest.Build()
	if err != nil {
		return nil, err
	}
	m := &mongoServer{cmd: exec.CommandContext(b.ctx, program, "memory", "127.0.0.1:0")}
	m.cmd.Env = append(os.Environ(), "GOGC=800") // it makes much garbage
	m.cmd.Stderr = os.Stderr
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := m.cmd.StdoutPipe()
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		m.end()
		return nil, fmt.Errorf("the server of scripts/ferretdb does not start: %w", err)
	}
	m.address = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "mongodb://"), "/")
	return m, nil
}

// end has it remove its files, which it does when its input ends.
func (m *mongoServer) end() {
	m.in.Close()
	ended := make(chan struct{})
	go func() {
		m.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		m.cmd.Process.Kill()
		<-ended
	}
}
