package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/api"
	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/scripts/debian"
	"github.com/nekoctl/neko/scripts/source"
	"github.com/nekoctl/neko/worker"
)

// oneByOne has a connection for each request, which any worker may take, and leaves none
// for a drain to wait for.
var oneByOne = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// loginAs tries to log in, and returns what was answered.
func loginAs(t *testing.T, url, name string, header ...string) (resp *http.Response, body string) {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"query":     `mutation Login($n: String!, $p: String!) {login(input: {name: $n, password: $p}) {accessToken}}`,
		"variables": map[string]string{"n": name, "p": "not the right one"},
	})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/graphql", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	if resp, err = oneByOne.Do(req); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// Who tries passwords for one name from one address is told to wait after the fifth in a
// minute, however the name is written and wherever the request claims to be from. Others
// are not.
func TestLoginsAreLimited(t *testing.T) {
	home := t.TempDir()
	metrics := filepath.Join(home, "metrics")
	t.Setenv("NEKO_METRICS_SOCKET", metrics)
	url, cmd, ended := startServer(t, home)
	began := time.Now()
	admitted, refused := 0, 0
	// until tries until it is refused: hashing takes its time, and one more comes in twelve seconds.
	until := func(name, claims string) (*http.Response, string) {
		t.Helper()
		for {
			resp, body := loginAs(t, url, name, "X-Forwarded-For: "+claims)
			if resp.StatusCode == 429 {
				refused++
				return resp, body
			}
			if admitted++; resp.StatusCode != 200 || !strings.Contains(body, "BAD_CREDENTIALS") || resp.Header.Get("RateLimit-Policy") != `"identity";q=1000;w=60, "login";q=5;w=60, "login-address";q=30;w=60` {
				t.Fatalf("login %d: %d %q %s", admitted, resp.StatusCode, resp.Header, body)
			}
			if took := time.Since(began); admitted > 5+int(took/(12*time.Second)) {
				t.Fatalf("%d logins in %v", admitted, took)
			}
		}
	}
	if until("Mia", "192.0.2.1"); admitted < 5 {
		t.Errorf("only %d logins", admitted)
	}
	for i, name := range []string{"mia", "MIA", "ｍｉａ", "Mía"} {
		resp, body := until(name, fmt.Sprintf("198.51.100.%d", i))
		after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err != nil || after < 1 || after > 12 {
			t.Fatalf("%s: Retry-After %q: %s", name, resp.Header.Get("Retry-After"), body)
		}
		want := fmt.Sprintf(`{"errors":[{"message":"too many requests: the rate limit \"login\" is 5 in 1m. Try again in %d s","extensions":{"code":"REQUEST_RATE_LIMITED","policy":"login","retryAfter":%d}}]}`, after, after)
		if rate := resp.Header.Get("RateLimit"); body != want || rate != fmt.Sprintf(`"login";r=0;t=%d`, after) {
			t.Errorf("%q %s", rate, body)
		}
	}
	if resp, body := loginAs(t, url, "leo"); resp.StatusCode != 200 || !strings.Contains(body, "BAD_CREDENTIALS") {
		t.Errorf("another name: %d %s", resp.StatusCode, body)
	}
	if status, body := post(t, url, "", `{ me { name } }`); status != 200 {
		t.Errorf("a query: %d %s", status, body)
	}

	text := readMetrics(t, metrics)
	for _, want := range []string{
		fmt.Sprintf(`neko_limiter_denied_total{policy="login"} %d`, refused),
		fmt.Sprintf(`neko_limiter_allowed_total{policy="login"} %d`, admitted+1),
		fmt.Sprintf(`neko_limiter_allowed_total{policy="login-address"} %d`, admitted+1),
		"neko_limiter_away 0",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
	if series, v, _ := strings.Cut(text[strings.Index(text, "\nneko_changelog_lag_seconds")+1:], " "); series != "neko_changelog_lag_seconds" || strings.HasPrefix(v, "-") {
		t.Errorf("%s is %.20s", series, v)
	}
	check := exec.Command(debian.Need(t, "promtool", "prometheus"), "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if said, err := check.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v\n%s", err, said)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(metrics); err == nil {
		t.Error("the socket of the metrics is left")
	}
	last, err := os.ReadFile(metrics + ".last")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`neko_graphql_errors_total{code="REQUEST_RATE_LIMITED"} %d`, refused); !strings.Contains(string(last), want+"\n") {
		t.Errorf("%s is not in what was counted last\n%s", want, last)
	}
	record, err := os.ReadFile(filepath.Join(home, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(record), `"event":"refused"`); n != refused || strings.Count(string(record), `"code":"REQUEST_RATE_LIMITED"`) != refused {
		t.Errorf("%d refused logins are on record, of %d\n%s", n, refused, record)
	}
}

func readMetrics(t *testing.T, path string) string {
	t.Helper()
	text, err := scrape(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func scrape(path string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	resp, err := client.Get("http://worker/metrics")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return string(text), err
}

// Four workers under nekoctl have one bucket for an address. A reload under load does not
// fill it, and a file that changes does not empty it: what it says counts, for all of them.
func TestWorkersShareTheirRateLimits(t *testing.T) {
	source.LookAt(t, "../nekoctl", "../../supervisor")
	dir, err := os.MkdirTemp("", "limits") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "nekoctl")
	if err := source.Build(program, "../nekoctl"); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string { // at once: nobody reads half of it
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	nekoctl := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), "NEKO_HOME="+filepath.Join(dir, "home"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("nekoctl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	rules := write("limits.yaml", "- {name: all, per: ip, limit: 100/1h}\n")
	nekoctl("start", write("neko.yaml", fmt.Sprintf(`
apps:
  - name: api
    command: [%q, --rate-limits, %q, --store, %q, --load-sample=false]
    env: {NEKO_API_TEST_PROCESS: "1", GORACE: atexit_sleep_ms=10}
    instances: 4
    listen: 127.0.0.1:0
    listen_pid: false
    wait_ready: true
    listen_timeout: 1m
`, os.Args[0], rules, filepath.Join(dir, "api.db"))))
	defer nekoctl("kill")
	var list []struct{ Listeners []string }
	if err := json.Unmarshal([]byte(nekoctl("list", "--json")), &list); err != nil || len(list) != 4 {
		t.Fatal(list, err)
	}
	url := "http://" + list[0].Listeners[0] + "/graphql"

	// admitted is how many of the requests that were sent so far have passed.
	var admitted, refused atomic.Int64
	began := time.Now()
	ask := func() {
		resp, err := oneByOne.Post(url, "application/json", strings.NewReader(`{"query":"{__typename}"}`))
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		switch body, err := io.ReadAll(resp.Body); {
		case err == nil && resp.StatusCode == 200:
			admitted.Add(1)
		case err == nil && resp.StatusCode == 429:
			refused.Add(1)
		default:
			t.Errorf("%d %s %v", resp.StatusCode, body, err)
		}
	}
	// What an hour's hundred adds meanwhile is one in 36 seconds.
	check := func(when string, burst int64) {
		t.Helper()
		most := burst + int64(math.Ceil(time.Since(began).Seconds()/36))
		if n := admitted.Load(); n < burst || n > most {
			t.Errorf("%s %d have passed, of %d: not from %d to %d", when, n, n+refused.Load(), burst, most)
		}
	}
	var burst sync.WaitGroup
	for range 16 {
		burst.Go(func() {
			for range 20 {
				ask()
			}
		})
	}
	burst.Wait()
	check("after a burst", 100)

	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 2 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					ask()
				}
			}
		})
	}
	before := refused.Load()
	nekoctl("reload", "api")
	for end := time.Now().Add(30 * time.Second); refused.Load() < before+200 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond) // by the workers that have come
	}
	check("after a reload", 100)

	// allSay waits until each worker has said something.
	allSay := func(what string) {
		t.Helper()
		logs := ""
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if logs = nekoctl("logs", "api", "--nostream", "--lines", "200"); len(regexp.MustCompile(what).FindAllString(logs, -1)) == 4 {
				return
			}
		}
		t.Errorf("not all say %s:\n%s", what, logs)
	}
	write("limits.yaml", "- {name: all, per: ip, limit: 100/1h, burst: 150}\n")
	allSay(`have changed, and are in force: all`)
	for end := time.Now().Add(30 * time.Second); admitted.Load() < 150 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	write("limits.yaml", "- {name: all, per: ip, limit: 100/1}\n") // which is none
	allSay(`warning: the rate limits stay as they were: \S+limits.yaml:1:31: "100/1" is no limit`)
	close(stop)
	load.Wait()
	check("after a change", 150)
}

// Two workers that share no memory, as if they were two hosts, count together in Redis.
// Without it each has its part, and is ready; with it again they go on together.
func TestHostsCountTogetherInRedis(t *testing.T) {
	server := redistest.Start(t)
	rules := filepath.Join(t.TempDir(), "limits.yaml")
	if err := os.WriteFile(rules, []byte("- {name: all, per: ip, limit: 10/1h}\n- {name: closed, per: ip, limit: 100/1h, fail: closed, fields: [Query.me]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "redis")
	if err := os.WriteFile(file, []byte(server.URL()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--rate-limits", rules, "--redis-file", file, "--redis-prefix", "test:", "--load-sample=false"}
	var hosts [2]struct {
		url, metrics string
		cmd          *exec.Cmd
		ended        <-chan error
	}
	for i := range hosts {
		h := &hosts[i]
		h.metrics = filepath.Join(t.TempDir(), "metrics")
		t.Setenv("NEKO_METRICS_SOCKET", h.metrics)
		h.url, h.cmd, h.ended = startServer(t, filepath.Join(t.TempDir(), "home"), args...)
	}
	health := func(url, want string) {
		t.Helper()
		text := ""
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			resp, err := oneByOne.Get(url + "/health")
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if text = string(data); err != nil || strings.Contains(text, want) {
				return
			}
		}
		t.Fatalf("%s is not in %s", want, text)
	}
	ask := func(url, query string) int {
		t.Helper()
		status, body := post(t, url, "", query)
		if status != 200 && status != 429 && status != 503 {
			t.Fatalf("%d %s", status, body)
		}
		return status
	}
	for _, h := range hosts {
		health(h.url, `"limiter":{"away":false,"hosts":2,"rules":2}`)
	}
	passed := 0
	for i := range 14 {
		if ask(hosts[i%2].url, `{__typename}`) == 200 {
			passed++
		}
	}
	alone := false // a busy machine's Redis may be too slow for a decision
	for _, h := range hosts {
		alone = alone || !strings.Contains(readMetrics(t, h.metrics), "neko_limiter_alone_total 0\n")
	}
	if passed != 10 && !alone {
		t.Errorf("%d requests of 10 have passed at two hosts", passed)
	}
	if keys, err := server.Do(t, "KEYS", "test:*").AsStrSlice(); err != nil || len(keys) == 0 {
		t.Errorf("%q, %v", keys, err)
	}

	server.Kill()
	for _, h := range hosts {
		ask(h.url, `{me {name}}`) // which notices
		health(h.url, `"away":true`)
		resp, err := oneByOne.Get(h.url + "/readyz?verbose")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil || resp.StatusCode != 200 || !strings.Contains(string(text), "[+] rate limits: what the hosts share is away, and this one decides alone\n") {
			t.Errorf("%d %s", resp.StatusCode, text)
		}
	}
	if status := ask(hosts[0].url, `{__typename}`); status != 429 && !alone {
		t.Errorf("%d: no fresh burst because Redis has gone", status)
	}
	server.Restart(t)
	for _, h := range hosts {
		health(h.url, `"away":false,"hosts":2`)
		_ = h.cmd.Process.Signal(syscall.SIGTERM)
		if err := <-h.ended; err != nil {
			t.Error(err)
		}
	}
}

// The rules that docs/graphql.md shows are those that there are, and a file of them is one
// that can be used.
func TestDefaultRateLimitsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/graphql.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(text), "\n## Rate limits\n")
	_, shown, _ = strings.Cut(shown, "```yaml\n")
	shown, _, _ = strings.Cut(shown, "```\n")
	file := filepath.Join(t.TempDir(), "limits.yaml")
	if err := os.WriteFile(file, []byte(shown), 0o600); err != nil {
		t.Fatal(err)
	}
	policies := func(args ...string) (all []string) {
		o := newOptions()
		if _, err := o.Load(args); err != nil {
			t.Fatal(err)
		}
		host, err := hostmem.Anonymous(0)
		if err != nil {
			t.Fatal(err)
		}
		defer host.Close()
		counts, err := limiter.NewHost(host)
		if err != nil {
			t.Fatal(err)
		}
		c := worker.Config{Schema: api.Schema, Resolver: api.NewResolver(nil), SchemaOptions: api.SchemaOptions(), DefaultRole: defaultRole(o), Limiter: counts, Log: logtext.Logger(t.Output())}
		if err := o.rateLimits.apply(&c); err != nil {
			t.Fatal(err)
		}
		w, err := worker.New(c)
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- w.Serve(l) }()
		for _, query := range []string{
			`{__typename}`, `mutation {login(input: {name: "a", password: "b"}) {accessToken}}`, `mutation {refreshSession(input: {refreshToken: "x"}) {accessToken}}`,
		} {
			req, _ := http.NewRequest("POST", "http://"+l.Addr().String()+"/graphql", strings.NewReader(fmt.Sprintf(`{"query":%q}`, query)))
			req.Header.Set("Content-Type", "application/json")
			resp, err := oneByOne.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			all = append(all, resp.Header.Get("RateLimit-Policy"))
		}
		if err := w.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		<-served
		return all
	}
	want := []string{
		`"identity";q=1000;w=60`, `"identity";q=1000;w=60, "login";q=5;w=60, "login-address";q=30;w=60`, `"identity";q=1000;w=60, "refresh-address";q=100;w=60`,
	}
	if got := policies(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := policies("--rate-limits", file); !slices.Equal(got, want) {
		t.Errorf("of docs/graphql.md: %q", got)
	}
	if got := policies("--rate-limit", "7/s"); got[0] != `"identity";q=7;w=1` {
		t.Errorf("%q", got)
	}
}

// What is set becomes rules, or an error that says why not.
func TestRateLimitSettings(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--rate-limit 5", 2, `error: --rate-limit: "5" is no limit\nhint: write how many in how long, like .*\n`},
		{"--rate-limit 9999999/1s", 2, `error: --rate-limit: 9999999 in 1s is more than 1000000 a second\nhint: write it like 1000/1m\n`},
		{"--rate-limit 5/1m --rate-limits off", 2, `error: both --rate-limits and --rate-limit are given\nhint: .*\n`},
		{"--rate-limits DIR/none", 1, `error: cannot read the rate limits in DIR/none: no such file or directory\nhint: name a YAML file with a list of rules\n`},
		{"--rate-limits DIR/bad.yaml", 1, `error: DIR/bad.yaml:2:3: unknown key "limt"\nhint: did you mean "limit"\?\n`},
		{"--rate-limits DIR/field.yaml", 1, `error: DIR/field.yaml:1:34: rate limit "a": the schema has no field Mutation.logn\nhint: did you mean "Mutation.login"\?\n`},
		{"--redis redis://a --redis-file b", 2, `error: both --redis and --redis-file are given\nhint: give one of them\n`},
		{"--redis-file DIR/none", 2, `error: cannot read the URL of Redis from DIR/none: no such file or directory\nhint: .*\n`},
		{"--redis http://user:hunter2@127.0.0.1", 1, `error: the URL of Redis: begins with neither redis:// nor rediss://\nhint: redis://USER:PASSWORD@HOST:PORT, .*\n`},
		{"--redis redis://127.0.0.1 --redis-prefix {x}", 1, `error: the prefix "\{x\}" of keys in Redis .*\nhint: .*\n`},
	} {
		for name, text := range map[string]string{"bad.yaml": "- name: a\n  limt: 5/s\n", "field.yaml": "- {name: a, limit: 5/s, fields: [Mutation.logn]}\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		args := append(strings.Fields(strings.ReplaceAll(c.args, "DIR", dir)), "--load-sample=false")
		cmd := command(t, filepath.Join(dir, "home"), args...)
		out, _ := cmd.CombinedOutput()
		want := regexp.MustCompile("^" + strings.ReplaceAll(c.want, "DIR", regexp.QuoteMeta(dir)) + "$")
		if code := cmd.ProcessState.ExitCode(); code != c.code || !want.Match(out) {
			t.Errorf("%s: exit code %d\n%s\nwant %d\n%s", c.args, code, out, c.code, want)
		}
	}
}
