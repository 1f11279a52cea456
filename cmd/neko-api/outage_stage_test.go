package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/scripts/slowproxy"
)

// stage is a store and a Redis, each behind a network that can be bad, and workers of one
// host that use them: real processes, all of them.
type stage struct {
	*testing.T
	home, runDir string
	args         []string

	mongo    *mongotest.Server
	mongoWay *slowproxy.Proxy
	redis    *redistest.Server
	redisWay *slowproxy.Proxy

	file   string // of SQLite
	unlock func()

	workers []*member
}

// member is a worker of the stage.
type member struct {
	url, metrics string
	cmd          *exec.Cmd
	ended        <-chan error
}

// outageBundle is little, so that a slow server has it at once: 40 actors, each with a description of
// so many letters.
func outageBundle(t *testing.T, letters int) string {
	t.Helper()
	var objects []string
	for i := range 40 {
		description := ""
		for len(description) < letters {
			description += rand.Text()
		}
		objects = append(objects, fmt.Sprintf(`{"type":"intrusion-set","id":"intrusion-set--00000000-0000-4000-8000-%012d","name":"actor %d","description":"%.*s","created":"2026-01-01T00:00:00Z","modified":"2026-01-01T00:00:00Z",
			"external_references":[{"source_name":"mitre-attack","external_id":"G%04d"}]}`, i, i, letters, description, 9000+i))
	}
	return bundleOf(t, objects...)
}

func bundleOf(t *testing.T, objects ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle.json")
	text := `{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000001","objects":[` + strings.Join(objects, ",") + `]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newStage has no workers yet. Store is "mongodb", "sqlite" or "sqlite on a small disk".
func newStage(t *testing.T, store string, withRedis bool) *stage {
	t.Helper()
	return newStageWith(t, store, withRedis, outageBundle(t, 0))
}

func newStageWith(t *testing.T, store string, withRedis bool, bundle string) *stage {
	t.Helper()
	s := &stage{T: t, home: t.TempDir(), runDir: t.TempDir()}
	if err := os.Chmod(s.runDir, 0o700); err != nil {
		t.Fatal(err)
	}
	switch store {
	case "mongodb":
		s.mongo = mongotest.Start(t)
		s.mongoWay = s.way(s.mongo.Address())
		store = "mongodb://" + s.mongoWay.Addr() + "/neko"
		s.args = sharedSecret(t)
	default:
		disk := t.TempDir()
		if store == "sqlite on a small disk" {
			smallDisk(t, disk)
		}
		s.file = filepath.Join(disk, "api.db")
		store = s.file
		s.args = []string{"--audit-log", filepath.Join(s.home, "audit.log"), "--auth-secret-file", writeSecret(t, "secret ")}
	}
	s.args = append(s.args, "--store", store, "--load-sample=false", "--rate-limit", "1000000/1m")
	if withRedis {
		s.redis = redistest.Start(t)
		s.redisWay = s.way(s.redis.Addr())
		s.args = append(s.args, "--redis", "redis://"+s.redisWay.Addr())
	}
	s.run("import", bundle)
	return s
}

func (s *stage) way(to string) *slowproxy.Proxy {
	s.Helper()
	p, err := slowproxy.New(to)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(p.Close)
	return p
}

// run runs a command of neko-api to its end, with the settings of the stage.
func (s *stage) run(args ...string) string {
	s.Helper()
	cmd := command(s.T, s.home, append(args, s.args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.Fatalf("neko-api %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// stdout is run, without what it says on standard error.
func (s *stage) stdout(args ...string) string {
	s.Helper()
	cmd := command(s.T, s.home, append(args, s.args...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("neko-api %s: %v\n%s", strings.Join(args, " "), err, said.String())
	}
	return string(out)
}

func (s *stage) resume(p *slowproxy.Proxy) {
	s.Helper()
	if err := p.Resume(); err != nil {
		s.Error(err)
	}
}

// start adds a worker.
func (s *stage) start(args ...string) *member {
	s.Helper()
	w := &member{metrics: filepath.Join(s.TempDir(), "metrics")}
	cmd := command(s.T, s.home, append(args, s.args...)...)
	cmd.Env = append(cmd.Env, "NEKO_RUN_DIR="+s.runDir, "NEKO_METRICS_SOCKET="+w.metrics, "NEKO_INSTANCES=2")
	w.cmd = cmd
	w.url, w.ended = serving(s.T, cmd)
	s.workers = append(s.workers, w)
	return w
}

// smallDisk is one of 8 MiB.
func smallDisk(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		t.Skip("cannot make a small disk: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// lock locks the SQLite file for writing, as a program that is no worker does, until the
// function is called.
func (s *stage) lock() (unlock func()) {
	s.Helper()
	db, err := sql.Open("sqlite", s.file)
	if err != nil {
		s.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE"); err != nil {
		s.Fatal(err)
	}
	return func() {
		if _, err := db.Exec("ROLLBACK"); err != nil {
			s.Error(err)
		}
		if err := db.Close(); err != nil {
			s.Error(err)
		}
	}
}

// fill leaves no room on the disk of the SQLite file, until the function is called.
func (s *stage) fill() (free func()) {
	s.Helper()
	path := filepath.Join(filepath.Dir(s.file), "filler")
	f, err := os.Create(path)
	if err != nil {
		s.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	f.Close()
	if !errors.Is(err, unix.ENOSPC) {
		s.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			s.Error(err)
		}
	}
}

// watch is what a worker says of a breaker, as time goes by.
type watch struct {
	mu           sync.Mutex
	opened, left time.Time // when it was OPEN first, and when it ceased to be last
}

// watch looks until the test ends. Metrics ask nobody anything: they are no trials.
func (w *member) watch(t *testing.T, breaker string) *watch {
	t.Helper()
	y := &watch{}
	stop, done := make(chan struct{}), make(chan struct{})
	look := regexp.MustCompile(`(?m)^neko_breaker_state\{[^}]*name="` + breaker + `"[^}]*\} (\d)`)
	go func() {
		defer close(done)
		open := false
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			text, err := scrape(w.metrics)
			m := look.FindStringSubmatch(text)
			if m == nil {
				t.Errorf("no state of the breaker %s: %v", breaker, err)
				return
			}
			y.mu.Lock()
			switch is := m[1] == "2"; {
			case is && y.opened.IsZero():
				y.opened = time.Now()
			case !is && open:
				y.left = time.Now()
			}
			open = m[1] == "2"
			y.mu.Unlock()
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return y
}

// forget has it begin anew.
func (y *watch) forget() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.opened, y.left = time.Time{}, time.Time{}
}

func (y *watch) seen() (opened, left time.Time) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.opened, y.left
}

// firstFresh asks until there is a fresh answer, and says when there was.
func (w *member) firstFresh(t *testing.T, query func(int) string) time.Time {
	t.Helper()
	for i := 0; ; i++ {
		if got := w.ask(t.Context(), query(i)); got.kind() == isFresh {
			return time.Now()
		} else if i > 2000 {
			t.Fatalf("never fresh again: %v", got)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// outcome is what came of a request.
type outcome struct {
	by     *member
	began  time.Time
	status int
	code   string // of the first error, "" if there is none
	warned bool   // it says that it is out of date
	age    int    // -1: it does not say
	took   time.Duration
	err    error // no answer
	header http.Header
	body   string
}

func (o outcome) String() string {
	if o.err != nil {
		return fmt.Sprintf("no answer after %v: %v", o.took.Round(time.Millisecond), o.err)
	}
	return fmt.Sprintf("%d %s (Age %d, %v, %s) %.300s", o.status, o.kind(), o.age, o.took.Round(time.Millisecond), o.header.Get("Cache-Control"), o.body)
}

// kind is fresh, stale, or the code of an error.
func (o outcome) kind() string {
	switch {
	case o.err != nil:
		return "no answer"
	case o.code != "":
		return o.code
	case o.warned:
		return "stale"
	}
	return "fresh"
}

// hangs is longer than anything may take.
const hangs = 15 * time.Second

var outageClient = &http.Client{Timeout: hangs, Transport: &http.Transport{MaxIdleConnsPerHost: 128}}

// ask asks a worker, as a client does that neither tries again nor has credentials.
func (w *member) ask(ctx context.Context, query string) outcome { return w.askAs(ctx, "", query) }

func (w *member) askAs(ctx context.Context, token, query string) (o outcome) {
	began := time.Now()
	defer func() { o.by, o.began, o.took = w, began, time.Since(began) }()
	o.age = -1
	data, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		return outcome{err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/graphql", bytes.NewReader(data))
	if err != nil {
		return outcome{err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := outageClient.Do(req)
	if err != nil {
		return outcome{err: err, age: -1}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return outcome{err: err, age: -1}
	}
	o.status, o.header, o.body = resp.StatusCode, resp.Header, string(text)
	if age := resp.Header.Get("Age"); age != "" {
		if o.age, err = strconv.Atoi(age); err != nil {
			return outcome{err: fmt.Errorf("Age: %w", err)}
		}
	}
	var answer struct {
		Data       json.RawMessage
		Errors     []struct{ Extensions struct{ Code string } }
		Extensions struct{ Warnings []json.RawMessage }
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return outcome{err: fmt.Errorf("%w: %.200s", err, text)}
	}
	o.warned = len(answer.Extensions.Warnings) > 0
	if len(answer.Errors) > 0 {
		if o.code = answer.Errors[0].Extensions.Code; o.code == "" {
			o.code = "no code"
		}
	} else if len(answer.Data) == 0 || string(answer.Data) == "null" {
		o.code = "no data"
	}
	return o
}

// get is the body and the status of a path of the worker.
func (w *member) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := oneByOne.Get(w.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// metric is the sum of what a worker counts under a name.
func (w *member) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(readMetrics(t, w.metrics)) {
		if strings.HasPrefix(line, name+" ") || strings.HasPrefix(line, name+"{") {
			fields := strings.Fields(line)
			n, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			sum += n
		}
	}
	return sum
}

// tally counts outcomes by their kind.
type tally struct {
	sync.Mutex
	n     map[string]int
	all   []outcome
	worst time.Duration
	some  map[string]outcome // one of each
}

func (y *tally) add(o outcome) {
	y.Lock()
	defer y.Unlock()
	if y.n == nil {
		y.n, y.some = map[string]int{}, map[string]outcome{}
	}
	y.n[o.kind()]++
	y.some[o.kind()] = o
	y.all = append(y.all, o)
	y.worst = max(y.worst, o.took)
}

// wait waits until what is wanted is so.
func wait(t *testing.T, what string, patience time.Duration, so func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !so() {
		if time.Since(began) > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

func actorQuery(i int) string { return fmt.Sprintf(`{threatActor(id: "G%d") {name}}`, 9000+i) }
