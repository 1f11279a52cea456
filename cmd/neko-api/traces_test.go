package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/tracing/otlp/otlptest"
)

// traced is a neko-api that sends its spans to a receiver.
type traced struct {
	*exec.Cmd
	*otlptest.Receiver
	url  string
	said chan string
}

func startTraced(t *testing.T, home string, env []string, args ...string) *traced {
	t.Helper()
	p := &traced{Cmd: command(t, home, append([]string{"--log-format", "json"}, args...)...), Receiver: otlptest.Open(t), said: make(chan string, 1)}
	p.Env = append(p.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+p.URL, "OTEL_BSP_SCHEDULE_DELAY=20", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip")
	p.Env = append(p.Env, env...)
	out, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	lines := bufio.NewScanner(out)
	var before []string
	for lines.Scan() {
		var line struct{ Msg string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		before = append(before, lines.Text())
		if _, url, ok := strings.Cut(line.Msg, "serves GraphQL on "); ok {
			p.url = url
			break
		}
	}
	if p.url == "" {
		t.Fatalf("it does not serve:\n%s", strings.Join(before, "\n"))
	}
	go func() {
		rest, _ := io.ReadAll(out)
		p.said <- strings.Join(before, "\n") + "\n" + string(rest)
	}()
	return p
}

func (p *traced) ask(t *testing.T, query string, header ...string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest("POST", p.url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// stop ends it, and returns what it has said.
func (p *traced) stop(t *testing.T) string {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	said := <-p.said
	if err := p.Wait(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	return said
}

// of are the spans of one trace.
func (p *traced) of(trace string) (list []*otlptest.Span) {
	for _, s := range p.Spans() {
		if hex.EncodeToString(s.TraceId) == trace {
			list = append(list, s)
		}
	}
	return list
}

const parentSpan = "00f067aa0ba902b7"

// A whole request in a collector: with the relations and the calls to SQLite below it, in the
// trace that the client began.
func TestTraceOfAWholeRequest(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	p := startTraced(t, home, []string{"OTEL_RESOURCE_ATTRIBUTES=team=cats"}, "--rate-limits", "")
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	answer := p.ask(t, `{ threatActors(first: 2) { nodes { name techniques(first: 1) { nodes { name } } } } }`, "traceparent", "00-"+trace+"-"+parentSpan+"-01")
	if !strings.Contains(answer, `"techniques"`) || strings.Contains(answer, "errors") {
		t.Fatal(answer)
	}
	want := `POST /graphql
  plan
  limiter
  cache
    execute
      List threat-actor
      load
        Related technique
`
	p.Until(t, "all of the request", func() bool { return len(p.of(trace)) >= strings.Count(want, "\n") })
	spans := p.of(trace)
	if got := otlptest.Tree(spans); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	by := map[string]*otlptest.Span{}
	for _, s := range spans {
		by[s.Name] = s
	}
	for _, c := range []struct{ span, key, want string }{
		{"POST /graphql", "http.request.method", "POST"}, {"POST /graphql", "http.route", "/graphql"}, {"POST /graphql", "http.response.status_code", "200"},
		{"POST /graphql", "graphql.operation.type", "query"}, {"POST /graphql", "neko.cache.state", "miss"}, {"limiter", "neko.limiter.allowed", "true"},
		{"List threat-actor", "db.system.name", "sqlite"}, {"List threat-actor", "db.operation.name", "List"}, {"List threat-actor", "db.collection.name", "threat-actor"},
		{"load", "neko.loader.relation", "uses technique"}, {"load", "neko.loader.keys", "2"},
	} {
		if by[c.span] == nil {
			continue
		}
		if got := by[c.span].Attr(c.key); got != c.want {
			t.Errorf("%s of %s is %q, not %q", c.key, c.span, got, c.want)
		}
	}
	root := by["POST /graphql"]
	if hex.EncodeToString(root.ParentSpanId) != parentSpan || root.Kind.String() != "SPAN_KIND_SERVER" || by["List threat-actor"].Kind.String() != "SPAN_KIND_CLIENT" {
		t.Errorf("%v", root)
	}
	if r := root.Resource; r["service.name"] != "neko-api" || r["team"] != "cats" || r["process.pid"] != fmt.Sprint(p.Process.Pid) {
		t.Errorf("the resource is %v", r)
	}
	p.stop(t)
}

// What answers are kept in is in the trace, too: the Redis that hosts share, and, in the log, the
// trace of a request that has failed.
func TestTraceWithRedis(t *testing.T) {
	t.Parallel()
	server, url := redistest.Start(t), mongotest.URL(t)
	home := t.TempDir()
	secret := filepath.Join(home, "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--load-sample=false", "--redis", server.URL(), "--store", url, "--auth-secret-file", secret}
	first := startTraced(t, home, nil, args...)
	id, used := "", 0
	// asked asks for so many tactics, and is the tree of that.
	asked := func(p *traced, first int) string {
		used++
		id = fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e%04d", used)
		if answer := p.ask(t, fmt.Sprintf(`{ tactics(first: %d) { nodes { name } } }`, first), "traceparent", "00-"+id+"-"+parentSpan+"-01"); strings.Contains(answer, "errors") {
			t.Fatal(answer)
		}
		tree := ""
		p.Until(t, "all of the request", func() bool {
			tree = otlptest.Tree(p.of(id))
			return strings.Contains(tree, "POST") && (!strings.Contains(tree, "LOCK") || strings.Contains(tree, "UNLOCK"))
		})
		return tree
	}
	// Until it is connected, and knows the generations, it keeps answers for itself.
	kept := 0
	for n := 1; kept == 0 && n < 50; n++ {
		if tree := asked(first, n); tree == "POST /graphql\n  plan\n  limiter\n  cache\n    LOAD\n    LOCK\n    execute\n      List tactic\n    STORE\n    UNLOCK\n" {
			kept = n
		} else if n > 40 {
			t.Logf("\n%s", tree)
		}
	}
	if kept == 0 {
		t.Fatal("no answer was put into Redis")
	}
	// Another host finds the answer there.
	second := startTraced(t, t.TempDir(), nil, args...)
	for n := 51; n < 100 && !strings.Contains(asked(second, n), "STORE"); n++ {
	}
	if tree := asked(second, kept); tree != "POST /graphql\n  plan\n  limiter\n  cache\n    LOAD\n" {
		t.Errorf("\n%s", tree)
	}
	for _, s := range second.of(id) {
		if s.Name == "cache" && (s.Attr("neko.cache.state") != "hit" || s.Attr("neko.cache.shared") != "true") {
			t.Errorf("%v", s)
		}
	}
	first.stop(t)
	second.stop(t)
}

// Nothing of what clients, operators and the store keep secret is in what is sent, nor in the
// log.
func TestNothingSecretIsSent(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	const password, header = "correct horse battery", "collector-key-hunter2"
	add := command(t, home, "user", "add", "miaow-the-analyst", "--role", "ANALYST", "--password-stdin")
	add.Stdin = strings.NewReader(password + "\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := startTraced(t, home, []string{"OTEL_EXPORTER_OTLP_HEADERS=api-key=" + header})
	var in struct {
		Data struct {
			Login struct{ AccessToken, RefreshToken string }
		}
	}
	if err := json.Unmarshal([]byte(p.ask(t, `mutation Hunter2 { login(input: {name: "miaow-the-analyst", password: "`+password+`"}) { accessToken refreshToken } }`)), &in); err != nil || in.Data.Login.AccessToken == "" {
		t.Fatal(err, in)
	}
	token := in.Data.Login.AccessToken
	for range 3 {
		p.ask(t, `query Hunter2 { threatActors(filter: {text: "hunter2"}) { nodes { name } } }`, "Authorization", "Bearer "+token, "X-Forwarded-For", "203.0.113.77", "X-Request-Id", "hunter2")
	}
	p.ask(t, `mutation { login(input: {name: "hunter2", password: "hunter2"}) { accessToken } }`)
	p.Until(t, "all that was asked", func() bool { return strings.Count(otlptest.Tree(p.Spans()), "POST /graphql") == 5 })
	said := p.stop(t)
	secret, err := os.ReadFile(filepath.Join(home, "auth.secret"))
	if err != nil {
		t.Fatal(err)
	}
	all := strings.ToLower(string(p.Raw()))
	if !strings.Contains(all, "usersbyname") && !strings.Contains(all, "userbyname") {
		t.Error("the login's call is not among the spans: nothing was looked at")
	}
	for _, word := range []string{password, "miaow-the-analyst", token, in.Data.Login.RefreshToken, header, "hunter2", "203.0.113", "127.0.0.1", strings.TrimSpace(string(secret)), home} {
		if strings.Contains(all, strings.ToLower(word)) {
			t.Errorf("%q is in what was sent", word)
		}
		if word != "hunter2" && word != "127.0.0.1" && word != home && word != "miaow-the-analyst" && strings.Contains(said, word) {
			t.Errorf("%q is in the log", word)
		}
	}
}

// A collector that is away, or never answers, keeps no request and no end of the process
// waiting.
func TestCollectorThatIsAway(t *testing.T) {
	t.Parallel()
	p := startTraced(t, t.TempDir(), []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:1/v1/traces", "OTEL_BSP_MAX_QUEUE_SIZE=8"})
	for range 50 {
		if answer := p.ask(t, `{ tactics(first: 1) { nodes { name } } }`); strings.Contains(answer, "errors") {
			t.Fatal(answer)
		}
	}
	began := time.Now()
	p.stop(t)
	if took := time.Since(began); took > 10*time.Second { // a call is given up after ten
		t.Errorf("it took %v to end", took)
	}
}

// A mistake in a variable ends the start, and not the night.
func TestTraceSettings(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]string{
		"OTEL_TRACES_EXPORTER=zipkin":             "error: OTEL_TRACES_EXPORTER: there is no exporter \"zipkin\"\nhint: write otlp or none\n",
		"OTEL_EXPORTER_OTLP_ENDPOINT=jaeger:4317": "error: OTEL_EXPORTER_OTLP_ENDPOINT: it is no URL that traces can be sent to\nhint: write it like http://localhost:4318\n",
	} {
		cmd := command(t, t.TempDir())
		cmd.Env = append(cmd.Env, env)
		if out, err := cmd.CombinedOutput(); err == nil || string(out) != want {
			t.Errorf("%s: %v, %s", env, err, out)
		}
	}
}

// What reads spans in tests is in no program.
func TestNoGeneratedTypesAreLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dep := range strings.Lines(string(out)) {
		switch dep = strings.TrimSpace(dep); {
		case strings.HasPrefix(dep, "google.golang.org/grpc"), strings.HasPrefix(dep, "go.opentelemetry.io/proto/"),
			strings.HasPrefix(dep, "google.golang.org/protobuf/") && strings.Contains(dep, "reflect"), strings.HasSuffix(dep, "/otlptest"):
			t.Errorf("neko-api links %s", dep)
		}
	}
}
