package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	graphql "github.com/graph-gophers/graphql-go"
	"github.com/valyala/fasthttp"

	"github.com/nekoctl/neko/cache"
)

const cachingSchema = cachingDirectives + `
	type Query {
		note(id: ID! = "d"): Note @cacheTag(format: "Note:{$args.id}")
		notes(first: Int = 2): [Note!]!
		mine: Note @cacheControl(scope: PRIVATE)
		read: Note @requires(role: READER)
		count: Int! @cacheControl(maxAge: 60) @cacheTag(format: "Note:list")
		brief: Note @cacheControl(maxAge: 1, staleWhileRevalidate: 0)
		fresh: String!
	}
	type Mutation { write(id: ID!, text: String!): Note }
	type Note @cacheControl(maxAge: 60) { id: ID! text: String! long: String! }
`

// notes is a program whose answers are kept. It counts how often each of its fields
// is resolved.
type notes struct {
	mu       sync.Mutex
	texts    map[string]string
	resolved map[string]int
	err      error
	gate     chan struct{} // if there is one, resolvers wait at it
	begun    chan string   // the fields of those that do
	caller   *Caller
	written  func(ctx context.Context) error // by a mutation, after it
}

type note struct {
	ID         graphql.ID
	Text, Long string
}

func (n *notes) resolve(ctx context.Context, field string, id string) (*note, error) {
	n.mu.Lock()
	n.resolved[field]++
	n.caller = CallerFrom(ctx)
	text, ok := n.texts[id]
	err, gate := n.err, n.gate
	n.mu.Unlock()
	if gate != nil {
		n.begun <- field
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err != nil || !ok {
		return nil, err
	}
	return &note{graphql.ID(id), text, strings.Repeat(text+" ", 400)}, nil
}

func (n *notes) Note(ctx context.Context, a struct{ ID graphql.ID }) (*note, error) {
	return n.resolve(ctx, "note", string(a.ID))
}

func (n *notes) Notes(ctx context.Context, _ struct{ First int32 }) ([]*note, error) {
	one, err := n.resolve(ctx, "notes", "a")
	if err != nil {
		return nil, err
	}
	return []*note{one}, nil
}

func (n *notes) Mine(ctx context.Context) (*note, error) {
	one, err := n.resolve(ctx, "mine", "a")
	if one != nil {
		one.Text = "for " + CallerFrom(ctx).Identity.Subject
	}
	return one, err
}

func (n *notes) Read(ctx context.Context) (*note, error)  { return n.resolve(ctx, "read", "a") }
func (n *notes) Brief(ctx context.Context) (*note, error) { return n.resolve(ctx, "brief", "a") }

func (n *notes) Count(ctx context.Context) (int32, error) {
	_, err := n.resolve(ctx, "count", "a")
	n.mu.Lock()
	defer n.mu.Unlock()
	return int32(len(n.texts)), err
}

func (n *notes) Fresh(ctx context.Context) (string, error) {
	_, err := n.resolve(ctx, "fresh", "a")
	return "", err
}

func (n *notes) Write(ctx context.Context, a struct {
	ID   graphql.ID
	Text string
}) (*note, error) {
	n.mu.Lock()
	n.texts[string(a.ID)] = a.Text
	n.mu.Unlock()
	Invalidate(ctx, CacheTag("Note", string(a.ID)), "note:LIST")
	if n.written != nil {
		if err := n.written(ctx); err != nil {
			return nil, err
		}
	}
	return &note{a.ID, a.Text, ""}, nil
}

func (n *notes) times(field string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.resolved[field]
}

func (n *notes) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
}

// newNotes is a worker with a cache, and the program that it serves. Who sends "Bearer
// SUBJECT ROLE SCOPE…" is them.
func newNotes(t testing.TB, c Config, o cache.Options) (*Worker, *notes) {
	t.Helper()
	n := &notes{texts: map[string]string{"a": "one", "b": "two", "d": "default"}, resolved: map[string]int{}, begun: make(chan string, 100)}
	c.Schema, c.Resolver = cachingSchema, n
	var err error
	if c.Cache, err = cache.New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := c.Cache.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if c.Identify == nil {
		c.Identify = func(_ context.Context, c Credentials) (Identity, error) {
			text, _ := strings.CutPrefix(c.Authorization, "Bearer ")
			if c.APIKey != "" {
				text = c.APIKey
			}
			words := strings.Fields(text)
			if len(words) < 2 || words[0] == "disabled" {
				return Identity{}, NewError(CodeUnauthenticated, "nobody's")
			}
			who := Identity{Subject: words[0], Name: words[0], Role: words[1]}
			if len(words) > 2 {
				who.Scopes = words[2:]
			}
			return who, nil
		}
	}
	return newTestWorker(t, c), n
}

func (w *Worker) query(header, query string) *fasthttp.RequestCtx {
	return w.ask("POST", "/graphql", asGraphQL+"\n"+header, fmt.Sprintf(`{"query":%q}`, query))
}

func head(ctx *fasthttp.RequestCtx, name string) string {
	var all []string
	for _, v := range ctx.Response.Header.PeekAll(name) {
		all = append(all, string(v))
	}
	return strings.Join(all, ", ")
}

// What is asked again is answered without being made, until something that it shows has
// changed.
func TestCached(t *testing.T) {
	w, n := newNotes(t, Config{}, cache.Options{})
	expect := func(query, body string, field string, times int) {
		t.Helper()
		ctx := w.query("", query)
		if got := string(ctx.Response.Body()); ctx.Response.StatusCode() != 200 || got != body {
			t.Errorf("%s: %d %s, want %s", query, ctx.Response.StatusCode(), got, body)
		}
		if got := n.times(field); got != times {
			t.Errorf("%s: %s was resolved %d times, want %d", query, field, got, times)
		}
	}
	const one, two = `{note(id: "a") {text}}`, `{note(id: "b") {text}}`
	expect(one, `{"data":{"note":{"text":"one"}}}`, "note", 1)
	expect(one, `{"data":{"note":{"text":"one"}}}`, "note", 1)
	expect(two, `{"data":{"note":{"text":"two"}}}`, "note", 2)
	expect(`{notes {text}}`, `{"data":{"notes":[{"text":"one"}]}}`, "notes", 1)
	expect(`{count}`, `{"data":{"count":3}}`, "count", 1)
	expect(`{fresh}`, `{"data":{"fresh":""}}`, "fresh", 1)
	expect(`{fresh}`, `{"data":{"fresh":""}}`, "fresh", 2)

	ctx := w.query("", `mutation {write(id: "a", text: "new") {text}}`)
	if got := string(ctx.Response.Body()); got != `{"data":{"write":{"text":"new"}}}` {
		t.Fatal(got)
	}
	expect(one, `{"data":{"note":{"text":"new"}}}`, "note", 3)
	expect(two, `{"data":{"note":{"text":"two"}}}`, "note", 3) // another note
	expect(`{notes {text}}`, `{"data":{"notes":[{"text":"new"}]}}`, "notes", 2)
	expect(`{count}`, `{"data":{"count":3}}`, "count", 2)
}

// An error is answered and not kept; but if what the answer is made from is away, an
// older answer is better, and says that it is one.
func TestCachedErrors(t *testing.T) {
	w, n := newNotes(t, Config{BrowserMaxAge: time.Minute}, cache.Options{})
	n.fail(NewError("SOME", "no"))
	for range 2 {
		if got := string(w.query("", `{note {text}}`).Response.Body()); !strings.Contains(got, `"code":"SOME"`) {
			t.Error(got)
		}
	}
	if n.times("note") != 2 {
		t.Error("an error was kept")
	}
	n.fail(nil)
	const query = `{brief {text}}`
	if got := string(w.query("", query).Response.Body()); got != `{"data":{"brief":{"text":"one"}}}` {
		t.Fatal(got)
	}
	n.fail(NewError(CodeUnavailable, "the store is away"))
	var ctx *fasthttp.RequestCtx
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if ctx = w.query("", query); strings.Contains(string(ctx.Response.Body()), "warnings") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got := string(ctx.Response.Body()); !strings.HasPrefix(got, `{"data":{"brief":{"text":"one"}},"extensions":{"warnings":[{"code":"STALE","message":"`) || ctx.Response.StatusCode() != 200 {
		t.Fatalf("%d %s", ctx.Response.StatusCode(), got)
	}
	if head(ctx, "Age") == "0" || head(ctx, "ETag") != "" || head(ctx, "Cache-Control") != "max-age=1, public" || head(ctx, "CDN-Cache-Control") != "no-store" {
		t.Error(ctx.Response.Header.String())
	}
	n.fail(errors.New("boom"))
	if got := w.query("", `{note(id: "b") {text}}`); got.Response.StatusCode() == 200 && head(got, "Cache-Control") != "no-store" {
		t.Errorf("%s", got.Response.Header.String())
	}
}

// What is counted, and how it is with the cache, can be seen from outside.
func TestCacheIsSeen(t *testing.T) {
	w, _ := newNotes(t, Config{}, cache.Options{})
	for range 3 {
		w.query("", `{note(id: "a") {text}}`)
	}
	w.query("", `{note(id: "none") {text}}`)
	w.query("", `mutation {write(id: "a", text: "new") {text}}`)
	text := string(w.appendMetrics(nil))
	for _, line := range []string{
		`neko_cache_served_total{state="fresh"} 2`, `neko_cache_served_total{state="made"} 2`, `neko_cache_served_total{state="stale_on_error"} 0`,
		"neko_cache_fills_total 2", "neko_cache_invalidated_tags_total 2", "neko_cache_entries 2", "neko_cache_shared_away 0",
		"# TYPE neko_cache_bytes gauge", "# TYPE neko_cache_evictions_total counter",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%s is not in\n%s", line, text)
		}
	}
	if got := string(w.ask("GET", "/readyz?verbose", "", "").Response.Body()); !strings.Contains(got, "[+] cache ok\n") {
		t.Error(got)
	}
	if got := string(w.ask("GET", "/health", "", "").Response.Body()); !strings.Contains(got, `"cache":{"away":false,"entries":2,`) {
		t.Error(got)
	}
}
