package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	graphql "github.com/graph-gophers/graphql-go"
	"github.com/valyala/fasthttp"

	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/logtext"
)

const hitSchema = `
directive @cacheControl(maxAge: Int, scope: CacheControlScope, inheritMaxAge: Boolean, staleWhileRevalidate: Int) on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
enum CacheControlScope { PUBLIC PRIVATE }
directive @cacheTag(format: String!) repeatable on FIELD_DEFINITION
directive @requires(role: Role!) on FIELD_DEFINITION | OBJECT
enum Role { ANYONE READER ADMIN }
type Query {
	thing(id: ID!): Thing @cacheControl(maxAge: 3600) @cacheTag(format: "Thing:{$args.id}")
	things(first: Int = 2): [Thing!]! @cacheControl(maxAge: 3600)
	readers: Thing @cacheControl(maxAge: 3600) @requires(role: READER)
	mine: Thing @cacheControl(maxAge: 3600, scope: PRIVATE)
	never: Thing
	broken: Thing @cacheControl(maxAge: 3600)
}
type Mutation { change(id: ID!): Thing }
type Thing { id: ID!, name: String!, long: String!, friend: Thing @cacheControl(inheritMaxAge: true) }
`

// hitRoot answers what it has been told to change.
type hitRoot struct{ version atomic.Int32 }

type hitThing struct {
	ID         graphql.ID
	Name, Long string
	Friend     *hitThing
}

func (r *hitRoot) make(id string) *hitThing {
	return &hitThing{
		ID: graphql.ID(id), Name: fmt.Sprintf("%s, version %d", id, r.version.Load()), Long: strings.Repeat("long ", 400),
		Friend: &hitThing{ID: "friend", Name: "friend"},
	}
}
func (r *hitRoot) Thing(args struct{ ID graphql.ID }) *hitThing {
	if args.ID == "none" {
		return nil
	}
	return r.make(string(args.ID))
}
func (r *hitRoot) Things(args struct{ First int32 }) (list []*hitThing) {
	for i := range args.First {
		list = append(list, r.make(strconv.Itoa(int(i))))
	}
	return list
}
func (r *hitRoot) Readers(ctx context.Context) *hitThing {
	return r.make("for " + CallerFrom(ctx).Identity.Role)
}
func (r *hitRoot) Mine(ctx context.Context) *hitThing {
	return r.make("of " + CallerFrom(ctx).Identity.Subject)
}
func (r *hitRoot) Never() *hitThing           { return r.make("never") }
func (r *hitRoot) Broken() (*hitThing, error) { return nil, errors.New("broken") }
func (r *hitRoot) Change(ctx context.Context, args struct{ ID graphql.ID }) *hitThing {
	r.version.Add(1)
	Invalidate(ctx, "Thing:list", CacheTag("Thing", string(args.ID)))
	return r.make(string(args.ID))
}

// hitIdentities are who is known by a token or a key. One whose text has "slow" in it is
// never known without being asked for.
var hitIdentities = map[string]*Identity{
	"Bearer reader":      {Subject: "user:1", Name: "r", Role: "READER"},
	"Bearer other":       {Subject: "user:2", Name: "o", Role: "READER"},
	"Bearer admin":       {Subject: "user:3", Name: "a", Role: "ADMIN"},
	"Bearer slow reader": {Subject: "user:1", Name: "r", Role: "READER"},
	"key":                {Subject: "key:1", Name: "k", Role: "READER", Scopes: []string{"Query.thing", "Query.mine"}},
	"all":                {Subject: "key:2", Name: "k", Role: "ADMIN", Scopes: []string{"Query.*"}},
}

func newHitWorker(t testing.TB, change func(*Config)) *Worker {
	t.Helper()
	c, err := cache.New(cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	config := Config{
		Schema: hitSchema, Resolver: &hitRoot{}, Cache: c, Log: logtext.Logger(io.Discard),
		SchemaOptions: []graphql.SchemaOpt{graphql.UseFieldResolvers()},
		Identify: func(_ context.Context, c Credentials) (Identity, error) {
			id := hitIdentities[c.Authorization+c.APIKey]
			if id == nil || c.Authorization != "" && c.APIKey != "" {
				return Identity{}, NewError(CodeUnauthenticated, "not known")
			}
			return *id, nil
		},
		IdentifyKnown: func(authorization, apiKey []byte) (*Identity, bool) {
			if len(authorization) > 0 && len(apiKey) > 0 || bytes.Contains(authorization, []byte("slow")) {
				return nil, false
			}
			id := hitIdentities[string(authorization)+string(apiKey)]
			return id, id != nil
		},
	}
	if change != nil {
		change(&config)
	}
	w, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// askRaw serves a request as it comes over a connection, and says whether it was a hit.
func (w *Worker) askRaw(t testing.TB, text string) (ctx *fasthttp.RequestCtx, hit bool) {
	t.Helper()
	var req fasthttp.Request
	if err := req.Read(bufio.NewReaderSize(strings.NewReader(text), 64<<10)); err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	ctx = new(fasthttp.RequestCtx)
	ctx.Init(&req, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, nil)
	w.serveEnveloped(ctx, func(ctx *fasthttp.RequestCtx) {
		e := envelopeOf(ctx)
		w.handle(ctx)
		hit = e.known != nil
	})
	return ctx, hit
}

// hitParts are of what requests are put together.
var hitParts = struct {
	queries []string // JSON
	headers [][]string
}{
	queries: []string{
		`{"query":"{ thing(id: \"1\") { name } }"}`,
		`{"query":"{ thing(id: \"1\") { name long } }"}`,
		`{"query":"{ thing(id: \"1\") { name } } "}`,
		`{"query":"query Q($id: ID!) { thing(id: $id) { name } }","variables":{"id":"1"}}`,
		`{"query":"query Q($id: ID!) { thing(id: $id) { name } }","variables":{"id":2}}`,
		`{"query":"query Q($id: ID!) { thing(id: $id) { name } }","variables":{"id":"2"},"operationName":"Q"}`,
		`{"query":"query Q($id: ID!) { thing(id: $id) { name } }","variables":{}}`,
		`{"query":"query Q($n: Int) { things(first: $n) { name friend { name } } }"}`,
		`{"query":"query Q($n: Int) { things(first: $n) { name friend { name } } }","variables":{"n":30}}`,
		`{"query":"query Q($n: Int) { things(first: $n) { name friend { name } } }","variables":{"n":null}}`,
		`{"query":"query A { things { id } } query B { readers { name } }","operationName":"B"}`,
		`{"query":"query A { things { id } } query B { readers { name } }","operationName":"A"}`,
		`{"query":"{ readers { name long } }"}`,
		`{"query":"{ mine { name long } }"}`,
		`{"query":"{ mine { name } never { name } }"}`,
		`{"query":"{ never { name } }"}`,
		`{"query":"{ broken { name } }"}`,
		`{"query":"{ nothing }"}`,
		`{"query":"{"}`,
		`{"query":`,
		`[{"query":"{ thing(id: 1) { name } }"}]`,
		"\xef\xbb\xbf" + `{"query":"{ thing(id: 1) { name } }"}`,
		`{"query":"{ __schema { queryType { name } } }"}`,
		`{"query":"mutation { change(id: 1) { name } }"}`,
		`{"query":"mutation { change(id: 2) { name } }"}`,
		`{"documentId":"trusted"}`,
		`{"documentId":"missing"}`,
		persistedHit(true), persistedHit(false),
		`{"documentId":"sha256:` + hashOf(persistedText).String() + `"}`,
	},
	headers: [][]string{
		{"Content-Type: application/json", "Content-Type: application/json;charset=utf-8", "Content-Type: Application/JSON", "Content-Type: text/plain", ""},
		{"", "Accept: application/json", "Accept: application/graphql-response+json, application/json;q=0.9", "Accept: text/html", "Accept: */*\r\nAccept: application/json"},
		{"", "Accept-Encoding: gzip", "Accept-Encoding: gzip, deflate, br, zstd", "Accept-Encoding: identity;q=0, br", "Accept-Encoding: br\r\nAccept-Encoding: gzip"},
		{"", "Authorization: Bearer reader", "Authorization: Bearer other", "Authorization: Bearer admin", "Authorization: Bearer slow reader", "Authorization: Bearer nobody", "Authorization: ",
			"X-API-Key: key", "X-API-Key: all", "X-API-Key: key\r\nX-API-Key: key", "Authorization: Bearer reader\r\nX-API-Key: key",
			"Authorization: Bearer reader\r\nX-API-Key: ", "Authorization:\r\nX-API-Key: key", "authorization: Bearer reader", "x-api-KEY: key", "Authorization: Bearer reader\r\nauthorization: Bearer admin"},
		{"", "If-None-Match: *", "If-None-Match: \"x\"", "If-None-Match: ETAG"},
		{"", "Origin: https://app.example.org", "Origin: https://evil.example.org"},
		{"", "X-Request-Id: given", "X-Forwarded-For: 198.51.100.7"},
		{"Apollo-Require-Preflight: yes", ""},
		{"", "Content-Encoding: identity", "Cookie: a=b"},
	},
}

const persistedText = `{ things(first: 1) { name } }`

func persistedHit(whole bool) string {
	query := ""
	if whole {
		query = `"query":` + strconv.Quote(persistedText) + `,`
	}
	return `{` + query + `"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + hashOf(persistedText).String() + `"}}}`
}

// hitRequest puts a request together. pick is a number from 0 to n-1.
func hitRequest(pick func(n int) int, etag string) string {
	body := hitParts.queries[pick(len(hitParts.queries))]
	method := []string{"POST", "POST", "POST", "GET", "GET", "HEAD"}[pick(6)]
	var lines []string
	for _, group := range hitParts.headers {
		line := group[0]
		if pick(4) == 0 {
			line = group[pick(len(group))]
		}
		lines = append(lines, line)
	}
	return hitText(method, body, lines, etag)
}

// hitText is a request with a body of JSON, or with what that says in its URL.
func hitText(method, body string, lines []string, etag string) string {
	target := "/graphql"
	if method != "POST" {
		var fields map[string]any
		if json.Unmarshal([]byte(strings.TrimPrefix(body, "\xef\xbb\xbf")), &fields) != nil {
			fields = map[string]any{"query": body}
		}
		values := url.Values{}
		for name, value := range fields {
			if s, ok := value.(string); ok {
				values.Set(name, s)
			} else if text, err := json.Marshal(value); err == nil {
				values.Set(name, string(text))
			}
		}
		target += "?" + values.Encode()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: x\r\n", method, target)
	for _, line := range lines {
		if line != "" {
			b.WriteString(strings.ReplaceAll(line, "ETAG", etag) + "\r\n")
		}
	}
	if method == "POST" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	} else {
		b.WriteString("\r\n")
	}
	return b.String()
}

// shownAnswer is all of an answer but what is another each time.
func shownAnswer(ctx *fasthttp.RequestCtx) string {
	var lines []string
	for name, value := range ctx.Response.Header.All() {
		switch string(name) {
		case "Date":
			continue
		case "Age":
			value = []byte("N")
		case requestIDHeader:
			if len(value) == 32 {
				value = []byte("N")
			}
		}
		lines = append(lines, fmt.Sprintf("%s: %s", name, value))
	}
	slices.Sort(lines)
	return fmt.Sprintf("%d\n%s\n\n%s", ctx.Response.StatusCode(), strings.Join(lines, "\n"), ctx.Response.Body())
}

// saidByLimits is what rate limits say in an answer: how many tokens are left, and when there are more.
var saidByLimits = regexp.MustCompile(`(;r=|;t=|Retry-After: |Try again in |"retryAfter":)(\d+)`)

// sameButForTime compares two answers that were made one after the other: meanwhile a token may have come back.
// What is charged otherwise adds up, and is seen soon.
func sameButForTime(a, b string) bool {
	as, bs := saidByLimits.FindAllStringSubmatch(a, -1), saidByLimits.FindAllStringSubmatch(b, -1)
	if len(as) != len(bs) {
		return false
	}
	for i := range as {
		x, _ := strconv.Atoi(as[i][2])
		y, _ := strconv.Atoi(bs[i][2])
		if as[i][1] == ";t=" && as[i-1][2] != bs[i-1][2] { // it follows from what is left
			continue
		}
		most := 60
		if as[i][1] == ";r=" {
			most = 1
		}
		if x-y > most || y-x > most {
			return false
		}
	}
	return saidByLimits.ReplaceAllString(a, "$1") == saidByLimits.ReplaceAllString(b, "$1")
}

// hitPair are two workers, of which one knows no request by its bytes.
type hitPair struct {
	fast, whole *Worker
	logs        [2]string
	events      [2][]string // of the audit
	hits, all   int
	audited     int
	etag        string
}

func newHitPair(t testing.TB, limit int64) *hitPair {
	p := &hitPair{}
	dir := t.TempDir()
	trusted := filepath.Join(dir, "trusted.json")
	if err := os.WriteFile(trusted, []byte(`{"trusted":"{ thing(id: 7) { name } }"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	make := func(i int) *Worker {
		p.logs[i] = filepath.Join(dir, fmt.Sprintf("access%d.log", i))
		return newHitWorker(t, func(c *Config) {
			c.AccessLog, c.CORSOrigins, c.TrustedDocuments, c.MaxBatch = p.logs[i], []string{"https://app.example.org"}, trusted, 3
			c.TrustedProxies = []string{"192.0.2.0/24"}
			c.Audit = func(e AuditEvent) error {
				p.events[i] = append(p.events[i], fmt.Sprint(e.Stage, " ", e.Caller.Identity, " ", e.Caller.IP, " ", e.Kind, " ", e.Operation, " ", e.Fields, " ", e.Code, " ", e.Objects, " ", e.Notes))
				return nil
			}
			c.Limiter = newHostLimiter(t)
			c.RateLimits = []RateLimit{
				{Name: "identity", Limit: limit, Window: 700 * time.Hour},
				{Name: "cost", Count: "cost", Per: []string{"ip"}, Limit: 10 * limit, Window: 700 * time.Hour},
				{Name: "thing", Per: []string{"identity", "argument:id"}, Fields: []string{"Query.thing"}, Limit: 1 + limit/15, Window: 700 * time.Hour},
				{Name: "operation", Per: []string{"operation", "ip"}, Operations: []string{"Q"}, Limit: 1 + limit/3, Window: 700 * time.Hour},
			}
		})
	}
	p.fast, p.whole = make(0), make(1)
	p.whole.known = nil
	return p
}

// ask sends a request to both, and looks for differences.
func (p *hitPair) ask(t testing.TB, text string) {
	t.Helper()
	a, hit := p.fast.askRaw(t, text)
	b, _ := p.whole.askRaw(t, text)
	if p.all++; hit {
		p.hits++
	}
	got, want := shownAnswer(a), shownAnswer(b)
	if !sameButForTime(got, want) {
		t.Fatalf("%s\n\nhit: %v\n%s\n\nwhole way:\n%s", text, hit, got, want)
	}
	if !slices.Equal(p.events[0], p.events[1]) {
		t.Fatalf("%s\n\nhit: %v\n%s\n\nwhole way:\n%s", text, hit, p.events[0], p.events[1])
	}
	p.audited, p.events = p.audited+len(p.events[0]), [2][]string{}
	if etag := a.Response.Header.Peek("Etag"); len(etag) > 0 {
		p.etag = string(etag)
	}
}

// same compares what the access logs have, and what the caches say that they have served.
func (p *hitPair) same(t testing.TB) {
	t.Helper()
	kept, whole := p.fast.config.Cache.Stats(), p.whole.config.Cache.Stats()
	if kept.Fresh != whole.Fresh || kept.Negative != whole.Negative {
		t.Errorf("served %d, of nothing %d; by the whole way %d and %d", kept.Fresh, kept.Negative, whole.Fresh, whole.Negative)
	}
	var texts [2][]string
	for i, w := range []*Worker{p.fast, p.whole} {
		w.access.close()
		data, err := os.ReadFile(p.logs[i])
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			delete(l, "time")
			delete(l, "duration_ms")
			if id, _ := l["request_id"].(string); len(id) == 32 {
				delete(l, "request_id")
			}
			shown, _ := json.Marshal(l)
			texts[i] = append(texts[i], string(shown))
		}
	}
	if len(texts[0]) != p.all || len(texts[1]) != p.all {
		t.Fatalf("%d and %d lines of %d requests", len(texts[0]), len(texts[1]), p.all)
	}
	for i := range texts[0] {
		if texts[0][i] != texts[1][i] {
			t.Fatalf("request %d:\n%s\n%s", i, texts[0][i], texts[1][i])
		}
	}
	// And what is counted.
	a, b := p.fast.counted(t), p.whole.counted(t)
	for series := range a {
		switch name, _, _ := strings.Cut(series, "{"); name {
		case "neko_http_requests_total", "neko_http_request_duration_seconds_count",
			"neko_graphql_operations_total", "neko_graphql_errors_total", "neko_graphql_persisted_documents_total":
			if a[series] != b[series] {
				t.Fatalf("%s is %v if requests are known, and else %v", series, a[series], b[series])
			}
		}
	}
	if n := a["neko_graphql_known_requests_total"]; n != float64(p.hits) {
		t.Fatalf("%v hits, and not %d", n, p.hits)
	}
}

// A request that is known is answered as if it were not: status, headers, body, what it
// is charged, what is in the access log.
func TestHitsAreAsTheWholeWay(t *testing.T) {
	hits, all, audited := 0, 0, 0
	for seed := range uint64(5) {
		p := newHitPair(t, 150)
		r := rand.New(rand.NewPCG(seed, 1))
		var recent []string
		for range 300 {
			if len(recent) < 4 || r.IntN(8) == 0 { // most come again, and again
				recent = append(recent, hitRequest(r.IntN, p.etag))
				recent = recent[max(len(recent)-12, 0):]
			}
			p.ask(t, recent[r.IntN(len(recent))])
		}
		p.same(t)
		hits, all, audited = hits+p.hits, all+p.all, audited+p.audited
	}
	if audited < 50 {
		t.Errorf("%d events of the audit of %d requests: that shows little", audited, all)
	}
	if hits < all/20 {
		t.Errorf("%d hits of %d requests: that shows little", hits, all)
	}
}

// Each request that is known, but for one of its headers.
func TestHitsWithAnyHeader(t *testing.T) {
	p := newHitPair(t, 20_000)
	for _, method := range []string{"POST", "GET", "HEAD"} {
		for _, query := range hitParts.queries {
			if strings.Contains(query, "mutation") || method == "HEAD" && !strings.Contains(query, "mine") {
				continue // others are known no more, and HEAD never is
			}
			usual := make([]string, len(hitParts.headers))
			for i, group := range hitParts.headers {
				usual[i] = group[0]
			}
			if strings.Contains(query, "readers") || strings.Contains(query, "mine") {
				usual[3] = "Authorization: Bearer reader"
			}
			for range 4 {
				p.ask(t, hitText(method, query, usual, p.etag))
			}
			for i, group := range hitParts.headers {
				for _, line := range group {
					lines := slices.Clone(usual)
					lines[i] = line
					p.ask(t, hitText(method, query, lines, p.etag))
				}
			}
		}
	}
	p.same(t)
}

// What is a hit, and what is not, when it comes for the fourth time.
func TestHits(t *testing.T) {
	w := newHitWorker(t, nil)
	thing := hitParts.queries[0]
	for _, c := range []struct {
		what, method, query, headers string
		hit                          bool
	}{
		{"a query", "POST", thing, asJSON, true},
		{"with variables", "POST", hitParts.queries[3], asJSON, true},
		{"in the newer media type", "POST", thing, asGraphQL, true},
		{"compressed", "POST", hitParts.queries[1], asJSON + "\nAccept-Encoding: gzip", true},
		{"by GET", "GET", thing, "Apollo-Require-Preflight: yes", true},
		{"a document by its id", "POST", persistedHit(false), asJSON, true},
		{"one that is to be kept by its id", "POST", persistedHit(true), asJSON, false}, // or it might be forgotten
		{"somebody's", "POST", thing, asJSON + "\nAuthorization: Bearer reader", true},
		{"by an API key", "POST", thing, asJSON + "\nX-API-Key: key", true},
		{"for a role", "POST", hitParts.queries[12], asJSON + "\nAuthorization: Bearer reader", true},
		{"private", "POST", hitParts.queries[13], asJSON + "\nAuthorization: Bearer reader", true},
		{"private, of nobody", "POST", hitParts.queries[13], asJSON, false},
		{"for a role, of nobody", "POST", hitParts.queries[12], asJSON, false},
		{"by who is not known", "POST", thing, asJSON + "\nAuthorization: Bearer nobody", false},
		{"by who must be asked for", "POST", thing, asJSON + "\nAuthorization: Bearer slow reader", false},
		{"not cached", "POST", `{"query":"{ never { name } }"}`, asJSON, false},
		{"a mutation", "POST", `{"query":"mutation { change(id: 9) { name } }"}`, asJSON, false},
		{"with an error", "POST", `{"query":"{ broken { name } }"}`, asJSON, false},
		{"introspection", "POST", `{"query":"{ __schema { queryType { name } } }"}`, asJSON, false},
		{"without the preflight", "GET", thing, "", false},
		{"long", "POST", strings.TrimSuffix(thing, "}") + strings.Repeat(" ", maxKnownText) + "}", asJSON, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			text := hitText(c.method, c.query, strings.Split(c.headers, "\n"), "")
			w.askRaw(t, hitText("POST", persistedHit(true), []string{asJSON}, ""))
			for range 3 {
				w.askRaw(t, text)
			}
			if ctx, hit := w.askRaw(t, text); hit != c.hit {
				t.Errorf("hit: %v\n%s", hit, ctx.Response.Body())
			}
		})
	}
}

// A hit is answered in a content coding, the one that the client likes best, and says so.
func TestHitsAreCompressed(t *testing.T) {
	w := newHitWorker(t, nil)
	for _, c := range []struct{ accept, coding string }{{"", ""}, {"gzip", "gzip"}, {"gzip, deflate, br", "br"}, {"gzip;q=0.5, br;q=0.2", "gzip"}, {"identity", ""}} {
		text := hitText("POST", hitParts.queries[1], []string{asJSON, "Accept-Encoding: " + c.accept}, "")
		if c.accept == "" {
			text = hitText("POST", hitParts.queries[1], []string{asJSON}, "")
		}
		for range 3 {
			w.askRaw(t, text)
		}
		ctx, hit := w.askRaw(t, text)
		if got := string(ctx.Response.Header.ContentEncoding()); !hit || got != c.coding {
			t.Errorf("Accept-Encoding: %s: hit %v, %q", c.accept, hit, got)
		}
		if body, err := ctx.Response.BodyUncompressed(); err != nil || !strings.Contains(string(body), "long long") {
			t.Errorf("Accept-Encoding: %s: %.100q, %v", c.accept, body, err)
		}
		if vary := varies(&ctx.Response.Header, "Accept-Encoding"); !vary {
			t.Errorf("Accept-Encoding: %s: the answer does not say that it depends on that", c.accept)
		}
	}
}

// The bytes of a body are not a query string, though they be the same, nor the other way
// round.
func TestHitsByMethod(t *testing.T) {
	p := newHitPair(t, 20_000)
	body := `{"query":"{thing(id:1){name}}"}`
	post := hitText("POST", body, []string{asJSON}, "")
	get := "GET /graphql?" + body + " HTTP/1.1\r\nHost: x\r\nApollo-Require-Preflight: yes\r\n\r\n"
	for range 4 {
		p.ask(t, post)
	}
	for range 4 {
		p.ask(t, get)
	}
	if p.hits != 2 {
		t.Errorf("%d hits", p.hits)
	}
	// Nor if they had one hash.
	k := newKnownRequests()
	k.again(1)
	k.put(&known{hash: 1, text: []byte(body)})
	if k.find(1, []byte(body), false) == nil || k.find(1, []byte(body), true) != nil {
		t.Error("a body is found as a query string")
	}
}

// An answer that is good no more is not served: what was invalidated, and what is stale
// goes its whole way, so that it is made anew.
func TestHitsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHitWorker(t, func(c *Config) { c.CacheStaleWhileRevalidate = time.Hour })
		text := hitText("POST", hitParts.queries[0], []string{asJSON}, "")
		ask := func(want bool, body string) {
			t.Helper()
			ctx, hit := w.askRaw(t, text)
			synctest.Wait()
			if hit != want || !strings.Contains(string(ctx.Response.Body()), body) {
				t.Errorf("hit: %v, %s", hit, ctx.Response.Body())
			}
		}
		ask(false, "version 0")
		ask(false, "version 0")
		ask(true, "version 0")
		w.askRaw(t, hitText("POST", `{"query":"mutation { change(id: 1) { name } }"}`, []string{asJSON}, ""))
		ask(false, "version 1")
		ask(true, "version 1")
		w.config.Resolver.(*hitRoot).version.Add(1)
		time.Sleep(time.Hour - time.Second)
		ask(true, "version 1")
		time.Sleep(2 * time.Second)
		ask(false, "version 1") // stale
		ask(true, "version 2")
	})
}

// Two texts of one hash are told apart: nobody is answered what another text asks for.
func TestKnownOfOneHash(t *testing.T) {
	k := newKnownRequests()
	const hash = 7
	k.again(hash)
	for _, text := range []string{"one", "two"} {
		if k.find(hash, []byte(text), false) != nil {
			t.Fatalf("%s is known by its hash alone", text)
		}
		k.put(&known{hash: hash, text: []byte(text), bytes: 1})
		if r := k.find(hash, []byte(text), false); r == nil || string(r.text) != text {
			t.Fatalf("%s is not known", text)
		}
		if k.find(hash, []byte(text), true) != nil {
			t.Fatalf("the body %s is known as a query string", text)
		}
	}
	if k.find(hash, []byte("one"), false) != nil || k.bytes != 1 {
		t.Errorf("two of one hash have two places, %d bytes", k.bytes)
	}
}

// What is known takes no more than it may, and what was asked for last stays.
func TestKnownIsBounded(t *testing.T) {
	k := newKnownRequests()
	if k.find(1, nil, false) != nil || k.table.Load() != nil || k.again(1<<40) {
		t.Error("before anything has come there is something")
	}
	text := func(i int) []byte { return fmt.Appendf(nil, "%d", i) }
	put := func(i, bytes int) {
		k.put(&known{hash: k.hash(text(i), false), text: text(i), bytes: bytes})
	}
	find := func(i int) bool { return k.find(k.hash(text(i), false), text(i), false) != nil }
	put(0, 1<<10)
	lost := 0
	for i := range 30_000 {
		put(i+1, 1<<10)
		if !find(i + 1) {
			t.Fatal("the last is gone")
		}
		if !find(0) {
			lost++
			put(0, 1<<10)
		}
		if k.bytes > maxKnownBytes {
			t.Fatalf("%d bytes", k.bytes)
		}
	}
	n, sum := 0, 0
	for i := range k.table.Load().buckets {
		for j := range k.table.Load().buckets[i] {
			if r := k.table.Load().buckets[i][j].of.Load(); r != nil {
				n, sum = n+1, sum+r.bytes
			}
		}
	}
	if sum != k.bytes || n < maxKnownBytes>>10*9/10 {
		t.Errorf("%d requests, %d bytes, counted as %d", n, sum, k.bytes)
	}
	if lost > 10 {
		t.Errorf("what is asked for all the time was gone %d times", lost)
	}
	if k.again(1) || !k.again(1) {
		t.Error("what has come twice is not told from what has come once")
	}
}

// A hit allocates nothing, whoever asks, and whether there is a CDN in front or not.
func TestHitAllocates(t *testing.T) {
	for name, browser := range map[string]time.Duration{"no CDN": 0, "a CDN": time.Minute} {
		t.Run(name, func(t *testing.T) { testHitAllocates(t, browser) })
	}
}

func testHitAllocates(t *testing.T, browser time.Duration) {
	w := newHitWorker(t, func(c *Config) {
		c.BrowserMaxAge = browser
		c.Limiter = newHostLimiter(t)
		c.RateLimits = []RateLimit{{Name: "identity", Limit: 1_000_000, Window: time.Second}}
	})
	for _, c := range []struct{ what, method, query, headers string }{
		{"anonymous", "POST", hitParts.queries[0], asJSON},
		{"with a token", "POST", hitParts.queries[0], asJSON + "\nAuthorization: Bearer reader"},
		{"for a role", "POST", hitParts.queries[12], asJSON + "\nAuthorization: Bearer reader"},
		{"private", "POST", hitParts.queries[13], asJSON + "\nAuthorization: Bearer reader"},
		{"by GET", "GET", hitParts.queries[0], "Apollo-Require-Preflight: yes\nAccept: application/graphql-response+json,application/json;q=0.9"},
		{"that there is nothing", "POST", `{"query":"{ thing(id: \"none\") { name } }"}`, asJSON},
		{"compressed", "POST", hitParts.queries[1], asJSON + "\nAccept-Encoding: gzip, deflate, br"},
		{"by GET and its hash, compressed", "GET", persistedHit(false), "Apollo-Require-Preflight: yes\nAccept-Encoding: gzip"},
	} {
		t.Run(c.what, func(t *testing.T) {
			w.askRaw(t, hitText("POST", persistedHit(true), []string{asJSON}, ""))
			text := hitText(c.method, c.query, strings.Split(c.headers, "\n"), "")
			for range 3 {
				w.askRaw(t, text)
			}
			var req fasthttp.Request
			if err := req.Read(bufio.NewReader(strings.NewReader(text))); err != nil {
				t.Fatal(err)
			}
			ctx := new(fasthttp.RequestCtx)
			ctx.Init(&req, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, nil)
			handler := func(ctx *fasthttp.RequestCtx) {
				if !w.serveHit(ctx) {
					t.Fatal("no hit")
				}
			}
			if n := testing.AllocsPerRun(200, func() {
				ctx.Response.Reset()
				w.serveEnveloped(ctx, handler)
			}); n > 0 && (!underRace || n > 4) { // under the race detector pools lose some of what they have
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// With all that HTTP takes, over a connection: by POST fasthttp allocates once, as it
// streams bodies.
func TestHitAllocatesOverTheNetwork(t *testing.T) {
	if underRace {
		t.Skip("under the race detector pools lose some of what they have")
	}
	w := newHitWorker(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.Serve(l) }()
	w.askRaw(t, hitText("POST", persistedHit(true), []string{asJSON}, ""))
	for _, c := range []struct {
		what, method, query, headers string
		most                         float64
	}{
		{"anonymous", "POST", hitParts.queries[0], asJSON, 1},
		{"with a token", "POST", hitParts.queries[0], asJSON + "\nAuthorization: Bearer reader", 1},
		{"compressed", "POST", hitParts.queries[1], asJSON + "\nAccept-Encoding: gzip, deflate, br", 1},
		{"long", "POST", `{"query":"{ things(first: 9) { name long } }"}`, asJSON, 1},
		{"by GET and its hash", "GET", persistedHit(false), "Apollo-Require-Preflight: yes\nAccept-Encoding: gzip", 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			text := []byte(hitText(c.method, c.query, strings.Split(c.headers, "\n"), ""))
			conn := send(t, l.Addr().String(), "")
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			in := make([]byte, 64<<10)
			ask := func(length int) (n int) {
				if _, err := conn.Write(text); err != nil {
					t.Fatal(err)
				}
				for {
					m, err := conn.Read(in[n:])
					if n += m; err != nil {
						t.Fatal(err)
					}
					if length == 0 {
						resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in[:n])), nil)
						if err == nil {
							_, err = io.ReadAll(resp.Body)
						}
						if err == nil {
							return n
						}
					} else if n >= length { // Age only grows
						return n
					}
				}
			}
			length := 0
			for range 500 {
				length = ask(0)
			}
			const times = 2000
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range times {
				ask(length)
			}
			runtime.ReadMemStats(&after)
			if n := float64(after.Mallocs-before.Mallocs) / times; n > c.most+0.2 {
				t.Errorf("%.3f allocations for a hit", n)
			}
		})
	}
}

// FuzzHits looks for sequences of requests, each byte a choice, that are answered
// otherwise when they are known.
func FuzzHits(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{3, 1, 4, 1, 5, 9, 2, 6}, 20))
	f.Fuzz(func(t *testing.T, choices []byte) {
		p := newHitPair(t, 150)
		next := func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := choices[0]
			choices = choices[1:]
			return int(c) % n
		}
		var recent []string
		for len(choices) > 0 && p.all < 60 {
			if len(recent) == 0 || next(3) == 0 {
				recent = append(recent, hitRequest(next, p.etag))
			}
			p.ask(t, recent[next(len(recent))])
		}
		if p.all > 0 {
			p.same(t)
		}
	})
}
