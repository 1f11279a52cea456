package k8s

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nekoctl/neko/cache"
	cacheredis "github.com/nekoctl/neko/cache/redis"
	"github.com/nekoctl/neko/limiter"
	limiterredis "github.com/nekoctl/neko/limiter/redis"
	"github.com/nekoctl/neko/scripts/debian"
)

const patience = time.Minute

// pod is a Redis as a pod runs it: the same scripts, the same configuration, the same users, in other folders.
type pod struct {
	conf, data, run, secrets string
	port                     string
	env                      []string

	cmd   *exec.Cmd
	ended chan struct{}
	out   *lines
}

// lines keeps what a pod prints.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

const password = "p4ss"

// newPod has the users of the documented Secret, with a password.
func newPod(t *testing.T, component, users string) *pod {
	t.Helper()
	for _, program := range []string{"redis-server", "redis-cli", "redis-check-rdb"} {
		debian.Need(t, program, map[bool]string{true: "redis-server", false: "redis-tools"}[program == "redis-server"])
	}
	conf, err := filepath.Abs(filepath.Join("components", component))
	must(t, err)
	dir := t.TempDir()
	p := &pod{conf: conf, data: filepath.Join(dir, "data"), run: filepath.Join(dir, "run"), secrets: filepath.Join(dir, "secrets"), port: freePort(t)}
	for _, folder := range []string{p.data, p.run, p.secrets} {
		must(t, os.Mkdir(folder, 0o700))
	}
	p.secret(t, "users.acl", strings.ReplaceAll(users, "PASSWORD", password))
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s:\n%s", p.port, p.out)
		}
	})
	return p
}

func (p *pod) secret(t *testing.T, name, value string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(p.secrets, name), []byte(value), 0o600))
}

// freePort is below those that the kernel gives to clients and those that other tests take, and so is, of the
// former, what a Cluster adds to it. None is given twice: a pod that is away for a while comes back to its own.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := 2000 + rand.IntN(7900)
		if _, taken := givenPorts.LoadOrStore(port, true); taken {
			continue
		}
		free := true
		for _, n := range []int{port, port + 10_000} {
			l, err := net.Listen("tcp", ":"+strconv.Itoa(n))
			if err != nil {
				free = false
				continue
			}
			l.Close()
		}
		if free {
			return strconv.Itoa(port)
		}
	}
	t.Fatal("no free port")
	return ""
}

var givenPorts sync.Map

func (p *pod) environ() []string {
	return append(append(os.Environ(), "NEKO_REDIS_CONF="+p.conf, "NEKO_REDIS_DATA="+p.data, "NEKO_REDIS_RUN="+p.run,
		"NEKO_REDIS_SECRETS="+p.secrets, "NEKO_REDIS_PORT="+p.port), p.env...)
}

// start runs what the container runs, and does not wait for anything.
func (p *pod) start(t *testing.T) {
	t.Helper()
	p.out, p.ended = &lines{}, make(chan struct{})
	p.cmd = exec.Command("sh", filepath.Join(p.conf, "start.sh"))
	p.cmd.Env = p.environ()
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, p.cmd.Start())
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait()
	}(p.cmd, p.ended)
}

// await returns when the probe of the pod passes.
func (p *pod) await(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		select {
		case <-p.ended:
			t.Fatalf("it has ended:\n%s", p.out)
		default:
		}
		return p.script("health.sh").Run()
	})
}

func (p *pod) script(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("sh", append([]string{filepath.Join(p.conf, name)}, args...)...)
	cmd.Env = p.environ()
	return cmd
}

// admin is what a person does by kubectl exec.
func (p *pod) admin(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.script("cli.sh", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// kill ends all of it at once, as when the node loses its power.
func (p *pod) kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// stop is kubelet's, and returns with what exit code the container has ended.
func (p *pod) stop(t *testing.T) int {
	t.Helper()
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	return p.exit(t)
}

func (p *pod) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("it does not end:\n%s", p.out)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *pod) url() string { return "redis://neko:" + password + "@127.0.0.1:" + p.port }

// as makes a command on a connection of its own.
func (p *pod) as(user, password string, from *net.TCPAddr, command ...string) (string, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{"127.0.0.1:" + p.port}, Username: user, Password: password, ForceSingleClient: true, DisableCache: true,
		DisableRetry: true, ClientSetInfo: rueidis.DisableClientSetInfo, Dialer: net.Dialer{LocalAddr: from},
	})
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return client.Do(ctx, client.B().Arbitrary(command...).Build()).ToString()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, f func() error) {
	t.Helper()
	// Each look may be a process: fewer and fewer of them.
	pause := 5 * time.Millisecond
	for began := time.Now(); ; time.Sleep(pause) {
		err := f()
		if err == nil {
			return
		}
		pause = min(pause*3/2, 200*time.Millisecond)
		if time.Since(began) > patience {
			t.Fatal(err)
		}
	}
}

// host is one that shares answers by way of Redis, and has none in its memory yet.
type host struct{ *cache.Cache }

func newHost(t *testing.T, url string) *host {
	t.Helper()
	shared, err := cacheredis.New(t.Context(), url, cacheredis.Options{Prefix: "neko:abcdefgh:"})
	must(t, err)
	// Whoever waits for Redis waits for it as long as it takes here: a slow machine is no fault.
	c, err := cache.New(cache.Options{Bytes: cache.MinBytes, Shared: shared, SharedWait: patience})
	must(t, err)
	h := &host{c}
	t.Cleanup(h.die)
	eventually(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := shared.Load(ctx, cache.Key{}, []string{cache.Everything})
		return err
	})
	return h
}

// die is the end of all its workers: nothing of what it knows is told to anybody.
func (h *host) die() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = h.Close(ctx)
}

// thing is what a store has: a version of each object.
type thing struct{ version atomic.Int64 }

func (h *host) ask(t *testing.T, n int, s *thing) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	served, err := h.Get(ctx, cache.Request{Key: cache.Key{byte(n), 1}, Tags: []string{tag(n), "Thing"}, Policy: cache.Policy{MaxAge: time.Hour}},
		func(context.Context) cache.Filled {
			return cache.Filled{Body: strconv.AppendInt(nil, s.version.Load(), 10), Keep: true}
		})
	must(t, err)
	body := served.Filled.Body
	if served.Answer != nil {
		body = served.Answer.Body
	}
	version, err := strconv.ParseInt(string(body), 10, 64)
	must(t, err)
	return version
}

func tag(n int) string { return "Thing:" + strconv.Itoa(n) }

// stored waits until an answer and the generations of its tags are in Redis.
func (p *pod) stored(t *testing.T, n int) {
	t.Helper()
	eventually(t, func() error {
		if got := p.admin(t, "--scan", "--pattern", "*:cache:answer:*"); strings.Count(got, "answer") < n {
			return fmt.Errorf("of %d answers Redis has:\n%s", n, got)
		}
		return nil
	})
}

// What docs/caching.md promises of a Redis that keeps its snapshots: that comes back with answers of before, and with the
// tags by which they were good.
func TestNoAnswerOfBeforeACrashIsServedAfterIt(t *testing.T) {
	t.Parallel()
	for name, plain := range map[string]bool{"by start.sh": false, "by redis-server alone, which has to be seen": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "redis", users(t))
			p.start(t)
			p.await(t)
			var s thing
			writer, reader := newHost(t, p.url()), newHost(t, p.url())
			writer.ask(t, 1, &s)
			reader.ask(t, 1, &s)
			p.stored(t, 1)
			p.admin(t, "SAVE")
			s.version.Add(1)
			// The mutation is answered when it is told; on a slow machine it is told later, and once more.
			eventually(t, func() error { return writer.Invalidate(t.Context(), tag(1)) })
			p.kill()
			writer.die() // so that nobody can say it again
			if plain {
				p.startPlain(t)
			} else {
				p.start(t)
			}
			p.await(t)
			newcomer := newHost(t, p.url())
			if got, stale := newcomer.ask(t, 1, &s), s.version.Load() != 1; stale || (got != 1) != plain {
				t.Errorf("a host that knows nothing is given version %d, and there is version 1", got)
			}
			if plain {
				return
			}
			if got := reader.ask(t, 1, &s); got != 1 {
				t.Errorf("one that was there before gives version %d, and there is version 1", got)
			}
		})
	}
}

// startPlain is what a StatefulSet without start.sh would do.
func (p *pod) startPlain(t *testing.T) {
	t.Helper()
	p.out, p.ended = &lines{}, make(chan struct{})
	p.cmd = exec.Command("redis-server", filepath.Join(p.conf, "redis.conf"), "--dir", p.data, "--aclfile", filepath.Join(p.run, "users.acl"), "--port", p.port)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, p.cmd.Start())
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait()
	}(p.cmd, p.ended)
}

// Changes go on while Redis takes snapshots and is killed, at some moment.
func TestCrashesInTheMidstOfInvalidations(t *testing.T) {
	t.Parallel()
	rounds := 3
	if n, err := strconv.Atoi(os.Getenv("NEKO_K8S_CRASHES")); err == nil {
		rounds = n
	}
	const objects = 20
	p := newPod(t, "redis", users(t))
	var store [objects]thing
	for round := range rounds {
		p.start(t)
		p.await(t)
		h := newHost(t, p.url())
		for n := range objects {
			if got, want := h.ask(t, n, &store[n]), store[n].version.Load(); got != want {
				t.Fatalf("round %d: a new host gives version %d of object %d, and there is version %d", round, got, n, want)
			}
		}
		p.stored(t, objects)
		ctx, stop := context.WithCancel(t.Context())
		var work sync.WaitGroup
		changes := make(chan struct{}, 1000)
		work.Go(func() {
			for ctx.Err() == nil {
				n := rand.IntN(objects)
				store[n].version.Add(1)
				_ = h.Invalidate(ctx, tag(n)) // Redis may be dead by now
				h.ask(t, n, &store[n])
				select {
				case changes <- struct{}{}:
				default:
				}
			}
		})
		await := func(n int) {
			for range n {
				select {
				case <-changes:
				case <-time.After(patience):
					t.Fatal("nothing changes any more")
				}
			}
		}
		await(10 + rand.IntN(40))
		p.admin(t, "BGSAVE")
		await(rand.IntN(40))
		p.kill()
		stop()
		work.Wait()
		h.die()
	}
}

func TestBucketsOutliveRedis(t *testing.T) {
	t.Parallel()
	p := newPod(t, "redis", users(t))
	rule, err := limiter.NewPolicy("small", 10, time.Hour, 10, limiter.FailLocal)
	must(t, err)
	take := func(tokens int64) int64 {
		t.Helper()
		s, err := limiterredis.New(t.Context(), p.url(), limiterredis.Options{})
		must(t, err)
		defer s.Close()
		var g limiter.Grant
		eventually(t, func() error {
			// Its answer is waited for: asked again, Redis would grant again.
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			g, err = s.Grant(ctx, rule, limiter.ID{1}, 1, tokens)
			return err
		})
		return g.Tokens
	}
	p.start(t)
	p.await(t)
	if got := take(4); got != 4 {
		t.Fatalf("%d of 4 tokens", got)
	}
	if code := p.stop(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}

	p.start(t)
	p.await(t)
	if got := take(3); got != 3 {
		t.Fatalf("%d of 3 tokens", got)
	}
	p.admin(t, "SAVE")
	if got := take(10); got != 3 {
		t.Errorf("after an orderly stop there are %d tokens, and not the 3 that were left", got)
	}
	p.kill()

	p.start(t)
	p.await(t)
	if got := take(10); got != 3 {
		t.Errorf("after a crash there are %d tokens, and not the 3 of the last snapshot", got)
	}
	if !strings.Contains(p.out.String(), "1 buckets of rate limits kept") {
		t.Error("it does not say what was kept")
	}
}

// Tags can be called as buckets are.
func TestNothingButBucketsIsKept(t *testing.T) {
	t.Parallel()
	p := newPod(t, "redis", users(t))
	p.start(t)
	p.await(t)
	keys := []string{
		"neko:limit:a:AAAA", "eu:neko:limit:limit%3Acache%3A:AAAA",
		"neko:abcdefgh:cache:tag:limit:list", "neko:abcdefgh:cache:answer:AAAA", "neko:abcdefgh:cache:lock:AAAA", "neko:abcdefgh:cache:tag:%2A",
		"neko:hosts", "neko:something:new",
	}
	for _, key := range keys {
		p.admin(t, "SET", key, "1")
	}
	for n := range 5000 {
		if n%1000 == 0 {
			p.admin(t, "EVAL", "for i = 1, 1000 do redis.call('SET', 'neko:abcdefgh:cache:tag:' .. ARGV[1] .. ':' .. i, '1') end", "0", strconv.Itoa(n))
		}
	}
	if code := p.stop(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	p.start(t)
	p.await(t)
	got := strings.Fields(p.admin(t, "--scan"))
	if len(got) != 2 || !strings.Contains(got[0], "limit:") || !strings.Contains(got[1], "limit:") {
		t.Errorf("kept: %q", got)
	}
}

// redis-cli is replaced by one that does what a test says at some command.
func (p *pod) meddle(t *testing.T, script string) {
	t.Helper()
	real, err := exec.LookPath("redis-cli")
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "redis-cli"), []byte("#!/bin/sh\n"+script+"\nexec "+real+" \"$@\"\n"), 0o700))
	p.env = append(p.env, "PATH="+dir+":"+os.Getenv("PATH"))
}

func TestNobodyCanConnectBeforeTheCacheIsGone(t *testing.T) {
	t.Parallel()
	p := newPod(t, "redis", users(t))
	dir := t.TempDir()
	p.meddle(t, `case "$*" in *EVAL*) : >`+dir+`/about; until [ -e `+dir+`/go ]; do sleep 0.02; done;; esac`)
	p.start(t)
	eventually(t, func() error {
		_, err := os.Stat(filepath.Join(dir, "about"))
		return err
	})
	if c, err := net.Dial("tcp", "127.0.0.1:"+p.port); err == nil {
		c.Close()
		t.Error("the port is open")
	}
	if err := p.script("health.sh").Run(); err == nil {
		t.Error("the probe passes")
	}
	must(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	p.await(t)
}

func TestIfTheCacheCannotBeRemovedThereIsNoPort(t *testing.T) {
	t.Parallel()
	p := newPod(t, "redis", users(t))
	p.meddle(t, `case "$*" in *EVAL*) echo ERR no; exit 1;; esac`)
	p.start(t)
	if code := p.exit(t); code != 1 || !strings.Contains(p.out.String(), "error: the cache of before cannot be removed: ERR no") {
		t.Errorf("exit code %d:\n%s", code, p.out)
	}
}

func TestWhatAnOperatorMayHaveWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ users, want string }{
		"the default user is not off": {"user neko on >PASSWORD ~neko:* -@all +get\n", `has no line "user default off"`},
		"it is on again":              {"user default off on nopass +@all\n", `has no line "user default off"`},
		"a command is misspelt":       {"user default off\nuser neko on >PASSWORD ~neko:* -@all +gett\n", "Unknown command"},
		"a user is there twice":       {"user default off\nuser admin on nopass\n", "Duplicate user"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "redis", c.users)
			p.start(t)
			if code := p.exit(t); code == 0 || !strings.Contains(p.out.String(), c.want) {
				t.Errorf("exit code %d, without %q:\n%s", code, c.want, p.out)
			}
		})
	}
	t.Run("the snapshot is damaged", func(t *testing.T) {
		t.Parallel()
		p := newPod(t, "redis", users(t))
		must(t, os.WriteFile(filepath.Join(p.data, "dump.rdb"), []byte("REDIS0010 and then nonsense"), 0o600))
		p.start(t)
		p.await(t)
		if _, err := os.Stat(filepath.Join(p.data, "dump.rdb.unreadable")); err != nil || !strings.Contains(p.out.String(), "warning: the snapshot cannot be read") {
			t.Error(err, p.out)
		}
	})
}

// elsewhere is an address that Redis does not take for its own host's.
var elsewhere = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}

func TestWhoMayDoWhatInRedis(t *testing.T) {
	t.Parallel()
	p := newPod(t, "redis", users(t))
	p.start(t)
	p.await(t)
	for _, c := range []struct {
		user, password, want string
		command              []string
	}{
		{"neko", password, "OK", []string{"SET", "neko:limit:a:b", "1"}},
		{"neko", password, "NOPERM", []string{"SET", "other", "1"}},
		{"neko", password, "NOPERM", []string{"KEYS", "*"}},
		{"neko", password, "NOPERM", []string{"FLUSHALL"}},
		{"neko", password, "NOPERM", []string{"CONFIG", "GET", "*"}},
		{"neko", password, "NOPERM", []string{"ACL", "LIST"}},
		{"neko", "wrong", "WRONGPASS", []string{"GET", "neko:a"}},
		{"health", "any", "PONG", []string{"PING"}},
		{"health", "any", "NOPERM", []string{"GET", "neko:a"}},
		{"health", "any", "NOPERM", []string{"INFO"}},
		{"admin", "any", "WRONGPASS", []string{"PING"}},
		{"admin", "", "WRONGPASS", []string{"PING"}},
		{"", "", "NOAUTH", []string{"PING"}},
		{"default", "", "WRONGPASS", []string{"PING"}},
	} {
		got, err := p.as(c.user, c.password, elsewhere, c.command...)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%q by %q: %s, and not %s", c.command, c.user, got, c.want)
		}
	}
	for name, want := range map[string]string{"maxmemory-policy": "allkeys-lru", "appendonly": "no", "save": "60 1", "stop-writes-on-bgsave-error": "no"} {
		if _, got, _ := strings.Cut(p.admin(t, "CONFIG", "GET", name), "\n"); got != want {
			t.Errorf("%s is %s, and not %s", name, got, want)
		}
	}
}

// A disk that is full, or read-only, costs the snapshot: invalidations go on.
func TestADiskThatFailsStopsNothing(t *testing.T) {
	t.Parallel()
	p := newPod(t, "redis", users(t))
	p.start(t)
	p.await(t)
	p.admin(t, "CONFIG", "SET", "rdbcompression", "yes")
	must(t, os.RemoveAll(p.data))
	p.admin(t, "SET", "neko:limit:a:b", "1")
	p.admin(t, "BGSAVE")
	eventually(t, func() error {
		if info := p.admin(t, "INFO", "persistence"); !strings.Contains(info, "rdb_last_bgsave_status:err") {
			return fmt.Errorf("the snapshot has not failed:\n%s", info)
		}
		return nil
	})
	var s thing
	h := newHost(t, p.url())
	h.ask(t, 1, &s)
	s.version.Add(1)
	eventually(t, func() error { return h.Invalidate(t.Context(), tag(1)) })
	if got := newHost(t, p.url()).ask(t, 1, &s); got != 1 {
		t.Errorf("version %d", got)
	}
}

// users is users.acl of the documented Secret.
func users(t *testing.T) string { return usersOf(t, "base/secrets.example.yaml") }

func usersOf(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	objects, err := decode(text)
	must(t, err)
	for _, o := range objects {
		if users := o.text("stringData", "users.acl"); users != "" {
			return users
		}
	}
	t.Fatalf("%s has no users.acl", file)
	return ""
}

// Who copies from one place gets what the other says, too.
func TestTheUsersAreThoseOfThePages(t *testing.T) {
	page, err := os.ReadFile("../docs/caching.md")
	must(t, err)
	rights := ""
	for line := range strings.Lines(string(page)) {
		if rest, ok := strings.CutPrefix(line, "ACL SETUSER "); ok && strings.Contains(rest, "+zadd") {
			rights = strings.TrimSpace(rest)
		}
	}
	want := "user default off\nuser " + rights + "\n"
	if got := users(t); got != want {
		t.Errorf("k8s/base/secrets.example.yaml has\n%sand docs/caching.md\n%s", got, want)
	}
	if got, want := clusterUsers(t), strings.TrimSpace(want)+" +cluster|slots +cluster|shards\n"; got != want {
		t.Errorf("k8s/components/redis-cluster/secrets.example.yaml has\n%sand docs/caching.md\n%s", got, want)
	}
	for _, s := range stacks(t) {
		for _, o := range s.of("Secret") {
			if acl, _ := at(map[string]any(o), "data", "users.acl").(string); acl != "" {
				got, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(acl, "\n", ""))
				must(t, err)
				if got := strings.ReplaceAll(string(got), "for-local-use-only", "PASSWORD"); strings.TrimSpace(got) != strings.TrimSpace(want) {
					t.Errorf("%s has\n%sand docs/caching.md\n%s", s.name, got, want)
				}
			}
		}
	}
}
