package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	graphql "github.com/graph-gophers/graphql-go"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/logtext"
	"github.com/valyala/fasthttp"
)

// fakeLimiter is buckets in a map, on a clock that stands still until a test moves it.
type fakeLimiter struct {
	mu      sync.Mutex
	now     time.Duration
	full    map[string]time.Duration // when each is full again
	decided []string                 // "policy:cost" of each charge
	alone   bool
	closed  bool
}

func (f *fakeLimiter) Decide(_ context.Context, charges []limiter.Charge) limiter.Decision {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full == nil {
		f.full = map[string]time.Duration{}
	}
	d := limiter.Decision{Refused: -1, Alone: f.alone}
	for i := range charges {
		c := &charges[i]
		p := c.Policy
		f.decided = append(f.decided, fmt.Sprintf("%s:%d", p.Name, c.Cost))
		each := p.Window / time.Duration(p.Limit)
		tat := max(f.full[p.Name+string(c.Key)], f.now)
		room := f.now + each*time.Duration(p.Burst) - tat
		c.Left, c.Full = int64(room/each), tat-f.now
		switch {
		case d.Refused >= 0:
		case c.Cost > p.Burst:
			d.Refused, d.RetryAfter = i, limiter.Never
		case f.alone && p.Fail == limiter.FailClosed:
			d.Refused, d.RetryAfter = i, time.Second
		case time.Duration(c.Cost)*each > room:
			d.Refused, d.RetryAfter = i, time.Duration(c.Cost)*each-room
		}
	}
	if d.OK() {
		for i := range charges {
			c := &charges[i]
			key := c.Policy.Name + string(c.Key)
			each := c.Policy.Window / time.Duration(c.Policy.Limit)
			f.full[key] = max(f.full[key], f.now) + time.Duration(c.Cost)*each
			c.Left -= c.Cost
		}
	}
	return d
}

func (f *fakeLimiter) Stats() limiter.Stats {
	return limiter.Stats{Allowed: map[string]uint64{"a": 1}, Hosts: 3, Away: f.alone}
}

func (f *fakeLimiter) Close(context.Context) error { f.closed = true; return nil }

// decisions are what was charged since the last call.
func (f *fakeLimiter) decisions() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := strings.Join(f.decided, " ")
	f.decided = nil
	return text
}

const rateSchema = `
enum Role { ANYONE ADMIN }
directive @requires(role: Role!) on FIELD_DEFINITION
directive @cost(weight: Int!) on FIELD_DEFINITION
type Query { hello: String! items(first: Int! = 2, kind: Kind = DOG, near: Float): [Item!]! secret: String! @requires(role: ADMIN) }
type Item { id: ID! }
enum Kind { CAT DOG }
type Mutation { login(input: LoginInput!): String! rename(id: ID!, to: LoginInput = {name: "default"}): String! logout: String! }
input LoginInput { name: String! = "nobody" password: String }
`

type rateRoot struct{}
type rateItem struct{ ID graphql.ID }
type loginInput struct {
	Name     string
	Password *string
}

func (*rateRoot) Hello() string  { return "world" }
func (*rateRoot) Secret() string { return "s" }
func (*rateRoot) Items(a struct {
	First int32
	Kind  string
	Near  *float64
}) []rateItem {
	return nil
}
func (*rateRoot) Login(a struct{ Input loginInput }) string { return "in" }
func (*rateRoot) Logout() string                            { return "out" }
func (*rateRoot) Rename(a struct {
	ID graphql.ID
	To loginInput
}) string {
	return "renamed"
}

// rateWorker knows "Bearer SUBJECT", and nobody as "Bearer forged".
func rateWorker(t testing.TB, c Config) (*Worker, *fakeLimiter) {
	t.Helper()
	f := &fakeLimiter{}
	c.Limiter, c.Resolver = f, &rateRoot{}
	c.Schema = rateSchema
	c.FoldArgument = strings.ToLower
	c.Identify = func(_ context.Context, c Credentials) (Identity, error) {
		switch who := strings.TrimPrefix(c.Authorization, "Bearer "); who {
		case "forged":
			return Identity{}, NewError(CodeUnauthenticated, "nobody's")
		case "away":
			return Identity{}, errors.New("no store")
		default:
			return Identity{Subject: who, Role: "ANYONE"}, nil
		}
	}
	return newTestWorker(t, c), f
}

func perMinute(name string, n int64, more ...func(*RateLimit)) RateLimit {
	l := RateLimit{Name: name, Limit: n, Window: time.Minute}
	for _, m := range more {
		m(&l)
	}
	return l
}

func per(terms ...string) func(*RateLimit)      { return func(l *RateLimit) { l.Per = terms } }
func on(fields ...string) func(*RateLimit)      { return func(l *RateLimit) { l.Fields = fields } }
func operations(ops ...string) func(*RateLimit) { return func(l *RateLimit) { l.Operations = ops } }
func counting(what string) func(*RateLimit)     { return func(l *RateLimit) { l.Count = what } }

// What each rule takes of what is asked.
func TestWhatRateLimitsCount(t *testing.T) {
	w, f := rateWorker(t, Config{MaxBatch: 200, MaxCost: 1000, RateLimits: []RateLimit{
		perMinute("identity", 10_000),
		perMinute("key", 10_000, per("key")),
		perMinute("op", 10_000, per("operation"), operations("A", "B")),
		perMinute("login", 10_000, per("ip", "argument:input.name"), on("Mutation.login")),
		perMinute("mutations", 10_000, per("ip"), on("Mutation.*")),
		perMinute("cost", 10_000, counting("cost")),
		perMinute("costly", 10_000, counting("cost"), per("argument:kind"), on("Query.items")),
	}})
	const hash = `"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38" + `"}}`
	for _, c := range []struct {
		what, who, body string
		status          int
		want            string
	}{
		{"a query", "", `{"query":"{hello}"}`, 200, "identity:1 cost:1"},
		{"of a key", "key:1", `{"query":"{hello}"}`, 200, "identity:1 key:1 cost:1"},
		{"of a user, who is no key", "user:1", `{"query":"{hello}"}`, 200, "identity:1 cost:1"},
		{"by its operation", "", `{"query":"query A {hello}"}`, 200, "identity:1 op:1 cost:1"},
		{"of another operation", "", `{"query":"query C {hello}"}`, 200, "identity:1 cost:1"},
		{"by its cost", "", `{"query":"query($n: Int!) {items(first: $n) {id}}","variables":{"n":30}}`, 200, "identity:1 cost:30 costly:30"},
		{"a field twice: it costs once, and counts once for each kind", "", `{"query":"{a: items(first: 4) {id} b: items(first: 5, kind: DOG) {id} c: items(first: 0, kind: CAT) {id}}"}`, 200, "identity:1 cost:9 costly:9 costly:9"},
		{"a login", "", `{"query":"mutation {login(input: {name: \"Mia\"})}"}`, 200, "identity:1 login:1 mutations:1 cost:10"},
		{"logins by aliases", "", `{"query":"mutation {login(input: {name: \"Mia\"}) b: login(input: {name: \"mia\"}) c: login(input: {name: \"leo\"}) logout}"}`, 200, "identity:1 login:2 login:1 mutations:4 cost:40"},
		{"in a fragment, and twice the same", "", `{"query":"mutation {...F ...F login(input: {name: \"mia\"})} fragment F on Mutation {login(input: {name: \"mia\"})}"}`, 200, "identity:1 login:1 mutations:1 cost:30"},
		{"a batch, added up", "", `[{"query":"mutation {login(input: {name: \"mia\"})}"},{"query":"mutation M($i: LoginInput!) {login(input: $i)}","variables":{"i":{"name":"MIA"}}},{"query":"{items(first: 3) {id}}"},{"query":"{items(first: 4) {id}}"}]`, 200, "identity:4 login:2 mutations:2 cost:27 costly:7"},
		{"a batch with one that is none", "", `[{"query":"{hello}"},{"query":"{"}]`, 200, "identity:2 cost:2"},

		{"no JSON", "", `{`, 400, "identity:1 cost:1"},
		{"no syntax", "", `{"query":"{"}`, 400, "identity:1 cost:1"},
		{"not valid", "user:1", `{"query":"{none}"}`, 422, "identity:1 cost:1"},
		{"variables that are none", "", `{"query":"mutation($i: LoginInput!) {login(input: $i)}"}`, 422, "identity:1 cost:1"},
		{"too expensive to run", "", `{"query":"{items(first: 5000) {id}}"}`, 422, "identity:1 cost:1 costly:1"},
		{"bad credentials", "forged", `{"query":"mutation {login(input: {name: \"mia\"})}"}`, 401, "identity:1 cost:1"},
		{"not without credentials", "", `{"query":"query A {secret}"}`, 401, "identity:1 cost:1"},
		{"not allowed", "key:1", `{"query":"{secret}"}`, 403, "identity:1 key:1 cost:1"},
		{"a hash that is not known", "", `{` + hash + `}`, 404, ""},
		{"and one that is not the text's", "", `{"query":"{hello}",` + hash + `}`, 400, "identity:1 cost:1"},
		{"the store is away", "away", `{"query":"{hello}"}`, 503, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			header := asGraphQL
			if c.who != "" {
				header += "\nAuthorization: Bearer " + c.who
			}
			ctx := w.ask("POST", "/graphql", header, c.body)
			if got := f.decisions(); got != c.want || ctx.Response.StatusCode() != c.status {
				t.Errorf("%d, %q, want %d, %q\n%s", ctx.Response.StatusCode(), got, c.status, c.want, ctx.Response.Body())
			}
		})
	}
	t.Run("what is no GraphQL request", func(t *testing.T) {
		for _, path := range []string{"/livez", "/readyz", "/health", "/nothing"} {
			w.ask("GET", path, "", "")
		}
		ctx := new(fasthttp.RequestCtx) // a page of another site
		ctx.Request.SetRequestURI("/graphql?query={hello}")
		w.server.Handler(ctx)
		w.warmUp()
		if got := f.decisions(); got != "" || ctx.Response.StatusCode() != 400 {
			t.Errorf("%d, %q", ctx.Response.StatusCode(), got)
		}
	})
}

// Which requests share a bucket.
func TestKeysOfRateLimits(t *testing.T) {
	w, _ := rateWorker(t, Config{})
	planner := w.planner
	key := func(t *testing.T, ip, subject string, terms []string, query, variables string) string {
		t.Helper()
		plan, errs := planner.make(query, "")
		if errs != nil {
			t.Fatal(errs[0])
		}
		rules, err := compileRates(planner.schema, []RateLimit{perMinute("r", 1, per(terms...), on(plan.asked[0].coordinate))})
		if err != nil {
			t.Fatal(err)
		}
		given, bad := parseVariables([]byte(variables))
		if bad != nil {
			t.Fatal(bad.reason)
		}
		in := planner.input(plan, given)
		if in.err != nil {
			t.Fatal(in.err)
		}
		tally := &tally{subject: subject, fold: strings.ToLower, maxCost: math.MaxInt}
		if ip != "" {
			tally.ip = plainAddr(netip.MustParseAddr(ip))
		}
		tally.operation(rules, plan, in.values, -1)
		var keys []string
		for _, c := range tally.charges() {
			keys = append(keys, fmt.Sprintf("%q", c.Key))
		}
		return strings.Join(keys, " ")
	}
	const login = `mutation {login(input: {name: "mia"})}`
	type asked struct{ ip, subject, query, variables string }
	for _, c := range []struct {
		what  string
		terms []string
		same  bool
		a, b  asked
	}{
		{"an address", []string{"ip"}, true, asked{"192.0.2.1", "user:1", login, "null"}, asked{"192.0.2.1", "", login, "null"}},
		{"two addresses", []string{"ip"}, false, asked{"192.0.2.1", "", login, "null"}, asked{"192.0.2.2", "", login, "null"}},
		{"one network of IPv6", []string{"ip"}, true, asked{"2001:db8::1", "", login, "null"}, asked{"2001:db8::ffff:1:2:3", "", login, "null"}},
		{"two networks of IPv6", []string{"ip"}, false, asked{"2001:db8::1", "", login, "null"}, asked{"2001:db8:0:1::1", "", login, "null"}},
		{"IPv4 in IPv6", []string{"ip"}, true, asked{"::ffff:192.0.2.1", "", login, "null"}, asked{"192.0.2.1", "", login, "null"}},
		{"IPv4 behind a translator", []string{"ip"}, true, asked{"64:ff9b::192.0.2.1", "", login, "null"}, asked{"192.0.2.1", "", login, "null"}},
		{"two of it", []string{"ip"}, false, asked{"64:ff9b::192.0.2.1", "", login, "null"}, asked{"64:ff9b::192.0.2.2", "", login, "null"}},
		{"no address", []string{"ip"}, true, asked{"", "", login, "null"}, asked{"", "user:1", login, "null"}},
		{"an identity anywhere", []string{"identity"}, true, asked{"192.0.2.1", "user:1", login, "null"}, asked{"192.0.2.2", "user:1", login, "null"}},
		{"two identities", []string{"identity"}, false, asked{"192.0.2.1", "user:1", login, "null"}, asked{"192.0.2.1", "user:2", login, "null"}},
		{"an identity, and nobody known", []string{"identity"}, false, asked{"192.0.2.1", "user:1", login, "null"}, asked{"192.0.2.1", "", login, "null"}},
		{"somebody unknown, by address", []string{"identity"}, false, asked{"192.0.2.1", "", login, "null"}, asked{"192.0.2.2", "", login, "null"}},
		{"two terms that look like two others when they are put together", []string{"identity", "operation"}, false, asked{"", "ao", `mutation c {login(input: {name: "mia"})}`, "null"}, asked{"", "a", `mutation oc {login(input: {name: "mia"})}`, "null"}},
		{"a name in another case", []string{"argument:input.name"}, true, asked{"", "", login, "null"}, asked{"", "", `mutation {login(input: {name: "MIA"})}`, "null"}},
		{"a name by a variable", []string{"argument:input.name"}, true, asked{"", "", login, "null"}, asked{"", "", `mutation($n: String!) {login(input: {name: $n})}`, `{"n":"Mia"}`}},
		{"by another", []string{"argument:input.name"}, true, asked{"", "", login, "null"}, asked{"", "", `mutation($i: LoginInput!) {login(input: $i)}`, `{"i":{"name":"mia","password":"x"}}`}},
		{"by a default of it", []string{"argument:input.name"}, true, asked{"", "", login, "null"}, asked{"", "", `mutation($n: String = "mia") {login(input: {name: $n})}`, `{}`}},
		{"by an alias", []string{"argument:input.name"}, true, asked{"", "", login, "null"}, asked{"", "", `mutation {x: login(input: {name: "mia"})}`, `{}`}},
		{"by a block string", []string{"argument:input.name"}, true, asked{"", "", login, "null"}, asked{"", "", `mutation {login(input: {name: """mia"""})}`, `{}`}},
		{"by an escape", []string{"argument:input.name"}, true, asked{"", "", login, "null"}, asked{"", "", `mutation {login(input: {name: "mi\u0061"})}`, `{}`}},
		{"two names", []string{"argument:input.name"}, false, asked{"", "", login, "null"}, asked{"", "", `mutation {login(input: {name: "leo"})}`, "null"}},
		{"a default of the schema", []string{"argument:input.name"}, true, asked{"", "", `mutation {login(input: {})}`, "null"}, asked{"", "", `mutation {login(input: {name: "nobody"})}`, "null"}},
		{"of the argument", []string{"argument:to.name"}, true, asked{"", "", `mutation {rename(id: "1")}`, "null"}, asked{"", "", `mutation {rename(id: "2", to: {name: "default"})}`, "null"}},
		{"by a variable that is left out", []string{"argument:to.name"}, true, asked{"", "", `mutation($t: LoginInput) {rename(id: "1", to: $t)}`, "{}"}, asked{"", "", `mutation {rename(id: "2", to: {name: "default"})}`, "null"}},
		{"or null", []string{"argument:to.name"}, true, asked{"", "", `mutation($t: LoginInput) {rename(id: "1", to: $t)}`, `{"t":null}`}, asked{"", "", `mutation {rename(id: "2", to: {name: "default"})}`, "null"}},
		{"an ID that is a number", []string{"argument:id"}, true, asked{"", "", `mutation {rename(id: 12)}`, "null"}, asked{"", "", `mutation($i: ID!) {rename(id: $i)}`, `{"i":"12"}`}},
		{"an enum", []string{"argument:kind"}, true, asked{"", "", `{items {id}}`, "null"}, asked{"", "", `query($k: Kind) {items(kind: $k) {id}}`, `{"k":"DOG"}`}},
		{"a number in another form", []string{"argument:near"}, true, asked{"", "", `{items(near: 1.0) {id}}`, "null"}, asked{"", "", `query($n: Float) {items(near: $n) {id}}`, `{"n":10e-1}`}},
		{"minus nothing", []string{"argument:near"}, true, asked{"", "", `{items(near: 0) {id}}`, "null"}, asked{"", "", `query($n: Float) {items(near: $n) {id}}`, `{"n":-0.0}`}},
		{"null, and nothing", []string{"argument:near"}, true, asked{"", "", `{items(near: null) {id}}`, "null"}, asked{"", "", `{items {id}}`, `{}`}},
		{"nothing, and an empty text", []string{"argument:input.password"}, false, asked{"", "", `mutation {login(input: {password: ""})}`, "null"}, asked{"", "", `mutation {login(input: {})}`, `{}`}},
	} {
		t.Run(c.what, func(t *testing.T) {
			a, b := key(t, c.a.ip, c.a.subject, c.terms, c.a.query, c.a.variables), key(t, c.b.ip, c.b.subject, c.terms, c.b.query, c.b.variables)
			if a == "" || (a == b) != c.same {
				t.Errorf("%v: %s and %s", c.terms, a, b)
			}
		})
	}
}

func rateHeaders(ctx *fasthttp.RequestCtx) (policy, rate, after string) {
	for k, v := range ctx.Response.Header.All() {
		switch string(k) {
		case "RateLimit-Policy":
			policy = string(v)
		case "RateLimit":
			rate = string(v)
		case fasthttp.HeaderRetryAfter:
			after = string(v)
		}
	}
	return policy, rate, after
}

// Five logins a minute for an address and a name: the sixth is told when to come back,
// and others are not.
func TestTheSixthLogin(t *testing.T) {
	var events []string
	w, f := rateWorker(t, Config{
		TrustedProxies: []string{"10.0.0.0/8"},
		RateLimits: []RateLimit{
			perMinute("identity", 1000),
			perMinute("login", 5, per("ip", "argument:input.name"), on("Mutation.login")),
		},
		Audit: func(e AuditEvent) error {
			events = append(events, fmt.Sprint(e.Stage, " ", e.Caller.IP, " ", e.Fields, " ", e.Code))
			return nil
		},
	})
	login := func(forwarded, name string) *fasthttp.RequestCtx {
		return w.ask("POST", "/graphql", asGraphQL+"\nX-Forwarded-For: "+forwarded, fmt.Sprintf(`{"query":"mutation L($n: String!) {login(input: {name: $n})}","variables":{"n":%q}}`, name))
	}
	for i := range 5 {
		ctx := login(fmt.Sprintf("192.0.2.%d", i), "mia")
		policy, rate, after := rateHeaders(ctx)
		wantRate := fmt.Sprintf(`"identity";r=%d;t=60, "login";r=%d;t=%d`, 999-i, 4-i, max(12*(4-i), 12))
		if ctx.Response.StatusCode() != 200 || policy != `"identity";q=1000;w=60, "login";q=5;w=60` || rate != wantRate || after != "" {
			t.Fatalf("login %d: %d, %q, %q, want %q, %q", i+1, ctx.Response.StatusCode(), policy, rate, wantRate, after)
		}
	}
	events = nil
	// The peer is no trusted proxy: what it says of others is not heard.
	ctx := login("192.0.2.77", "MIA")
	policy, rate, after := rateHeaders(ctx)
	const want = `{"errors":[{"message":"too many requests: the rate limit \"login\" is 5 in 1m. Try again in 12 s","extensions":{"code":"REQUEST_RATE_LIMITED","policy":"login","retryAfter":12}}]}`
	if ctx.Response.StatusCode() != 429 || string(ctx.Response.Body()) != want {
		t.Errorf("%d %s\nwant %s", ctx.Response.StatusCode(), ctx.Response.Body(), want)
	}
	if policy != `"identity";q=1000;w=60, "login";q=5;w=60` || rate != `"login";r=0;t=12` || after != "12" {
		t.Errorf("%q, %q, %q", policy, rate, after)
	}
	if got := fmt.Sprint(events); got != "[refused 0.0.0.0 [Mutation.login] REQUEST_RATE_LIMITED]" {
		t.Error("on record:", got)
	}
	// Nothing was charged: the next query has what it had.
	if _, rate, _ := rateHeaders(w.ask("POST", "/graphql", asGraphQL, `{"query":"{hello}"}`)); rate != `"identity";r=994;t=60` {
		t.Error(rate)
	}
	if ctx := login("", "leo"); ctx.Response.StatusCode() != 200 {
		t.Errorf("another's login: %d", ctx.Response.StatusCode())
	}
	f.now += 11900 * time.Millisecond
	if _, _, after := rateHeaders(login("", "mia")); after != "1" {
		t.Errorf("%q: what is left of a second is one", after)
	}
	f.now += 100 * time.Millisecond
	if ctx := login("", "mia"); ctx.Response.StatusCode() != 200 {
		t.Errorf("after the time: %d %s", ctx.Response.StatusCode(), ctx.Response.Body())
	}
}

// What a refusal looks like where it is no plain one.
func TestRefusalsByRateLimits(t *testing.T) {
	w, f := rateWorker(t, Config{MaxBatch: 5, RateLimits: []RateLimit{
		{Name: "tight", Limit: 2, Window: 1500 * time.Millisecond, Per: []string{"ip"}},
		perMinute("cost", 100, counting("cost")),
		perMinute("closed", 100, func(l *RateLimit) { l.Fail, l.Fields = limiter.FailClosed, []string{"Mutation.logout"} }),
	}})
	t.Run("a cost that never passes", func(t *testing.T) {
		ctx := w.ask("POST", "/graphql", asGraphQL, `{"query":"{items(first: 500) {id}}"}`)
		policy, rate, after := rateHeaders(ctx)
		const want = `{"errors":[{"message":"this takes 500 of the rate limit \"cost\", which never has more than 100: ask for less at once","extensions":{"code":"REQUEST_RATE_LIMITED","cost":{"estimated":500,"max":100},"policy":"cost"}}]}`
		if ctx.Response.StatusCode() != 429 || string(ctx.Response.Body()) != want || rate != "" || after != "" {
			t.Errorf("%d %q %q %s", ctx.Response.StatusCode(), rate, after, ctx.Response.Body())
		}
		if policy != `"tight";q=2;w=2, "cost";q=100;qu="neko-cost";w=60` {
			t.Error(policy)
		}
	})
	t.Run("a batch, none of which runs", func(t *testing.T) {
		f.now += time.Hour
		ctx := w.ask("POST", "/graphql", asJSON, `[{"query":"{hello}"},{"query":"mutation M {logout}"},{"query":"{"}]`)
		if ctx.Response.StatusCode() != 429 || !strings.HasPrefix(string(ctx.Response.Body()), `{"errors":[{"message":"this takes 3 of`) {
			t.Errorf("%d %s", ctx.Response.StatusCode(), ctx.Response.Body())
		}
		got := fmt.Sprint(outcomes(ctx))
		if !strings.Contains(got, "[{query ") || !strings.Contains(got, "mutation M") || strings.Count(got, "REQUEST_RATE_LIMITED") != 2 || !strings.Contains(got, "GRAPHQL_PARSE_FAILED") {
			t.Error(got)
		}
	})
	t.Run("what was refused already", func(t *testing.T) {
		f.now += time.Hour
		for _, want := range []int{400, 400, 429} {
			ctx := w.ask("POST", "/graphql", asGraphQL, `{"query`)
			if _, rate, _ := rateHeaders(ctx); ctx.Response.StatusCode() != want || rate == "" {
				t.Errorf("%d, want %d: %q", ctx.Response.StatusCode(), want, rate)
			}
			if got := fmt.Sprint(outcomes(ctx)); want == 429 && got != "[{   [REQUEST_RATE_LIMITED] false}]" {
				t.Error(got)
			}
		}
	})
	t.Run("nobody can be asked", func(t *testing.T) {
		f.now += time.Hour
		f.alone = true
		defer func() { f.alone = false }()
		ctx := w.ask("POST", "/graphql", asGraphQL, `{"query":"mutation {logout}"}`)
		_, _, after := rateHeaders(ctx)
		if ctx.Response.StatusCode() != 503 || after != "1" || !strings.Contains(string(ctx.Response.Body()), `"code":"UNAVAILABLE"`) {
			t.Errorf("%d %q %s", ctx.Response.StatusCode(), after, ctx.Response.Body())
		}
		if ctx := w.ask("POST", "/graphql", asGraphQL, `{"query":"{hello}"}`); ctx.Response.StatusCode() != 200 {
			t.Errorf("a rule that is not closed: %d", ctx.Response.StatusCode())
		}
	})
}

// What a rate limit refuses is not kept for others.
func TestRefusedDocumentIsNotKept(t *testing.T) {
	w, f := rateWorker(t, Config{RateLimits: []RateLimit{perMinute("identity", 1)}})
	named := `"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + hashOf("{hello}").String() + `"}}`
	w.ask("POST", "/graphql", asGraphQL, `{"query":"{hello}"}`)
	for _, c := range []struct {
		body   string
		status int
	}{
		{`{"query":"{hello}",` + named + `}`, 429},
		{`{` + named + `}`, 404},
	} {
		if ctx := w.ask("POST", "/graphql", asGraphQL, c.body); ctx.Response.StatusCode() != c.status {
			t.Errorf("%s: %d %s", c.body, ctx.Response.StatusCode(), ctx.Response.Body())
		}
	}
	f.now += time.Hour
	if ctx := w.ask("POST", "/graphql", asGraphQL, `{"query":"{hello}",`+named+`}`); ctx.Response.StatusCode() != 200 {
		t.Errorf("%d", ctx.Response.StatusCode())
	}
	f.now += time.Hour
	if ctx := w.ask("POST", "/graphql", asGraphQL, `{`+named+`}`); ctx.Response.StatusCode() != 200 {
		t.Errorf("%d", ctx.Response.StatusCode())
	}
}

// Of several buckets of one rule the header tells of the one that has least.
func TestHeaderHasEachRateLimitOnce(t *testing.T) {
	w, _ := rateWorker(t, Config{RateLimits: []RateLimit{perMinute("login", 5, per("argument:input.name"), on("Mutation.login"))}})
	for _, c := range []struct{ query, want string }{
		{`mutation {a: login(input: {name: \"mia\"}) b: login(input: {name: \"leo\"}) c: login(input: {name: \"leo\"})}`, `"login";r=3;t=36`},
		{`mutation {a: login(input: {name: \"leo\"}) b: login(input: {name: \"mia\"})}`, `"login";r=2;t=24`},
		{`mutation {a: login(input: {name: \"mia\"}) b: login(input: {name: \"leo\"}) c: login(input: {name: \"kim\"})}`, `"login";r=1;t=12`},
	} {
		policy, rate, _ := rateHeaders(w.ask("POST", "/graphql", asJSON, `{"query":"`+c.query+`"}`))
		if policy != `"login";q=5;w=60` || rate != c.want {
			t.Errorf("%s: %q, %q, want %q", c.query, policy, rate, c.want)
		}
	}
}

// The header says what a rule lets pass, in whole seconds, and its burst where that is another
// number than the first that it says.
func TestRateLimitsAreAdvertised(t *testing.T) {
	for text, want := range map[string]string{
		"{limit: 1000/1m}":                         `"a";q=1000;w=60`,
		"{limit: 1000/1m, burst: 1000}":            `"a";q=1000;w=60`,
		"{limit: 1000/1m, burst: 20}":              `"a";q=1000;w=60;neko-burst=20`,
		"{limit: 1000/1m, count: cost}":            `"a";q=1000;qu="neko-cost";w=60`,
		"{limit: 10/100ms}":                        `"a";q=100;w=1;neko-burst=10`, // windows are in whole seconds
		"{limit: 10/100ms, burst: 100}":            `"a";q=100;w=1`,
		"{limit: 3/1500ms}":                        `"a";q=4;w=2;neko-burst=3`,
		"{limit: 604800000000/7d, burst: 5000}":    `"a";q=604800000000;w=604800;neko-burst=5000`,
		"{limit: 657321017/1h}":                    `"a";q=657321017;w=3600`,
		"{limit: 999999999999/30d, burst: 999999}": `"a";q=999999999999;w=2592000;neko-burst=999999`,
	} {
		limits, err := parseRateLimits("FILE", []byte("- "+strings.Replace(text, "{", "{name: a, ", 1)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := limits[0].compile(nil)
		if err != nil || string(r.advertised) != want {
			t.Errorf("%s: %s, %v, want %s", text, r.advertised, err, want)
		}
	}
}

// A request that would count in more buckets than there may be does not run.
func TestTooManyBuckets(t *testing.T) {
	w, f := rateWorker(t, Config{MaxBatch: 2_000, MaxBody: 8 << 20, RateLimits: []RateLimit{
		perMinute("name", 10, per("argument:input.name"), on("Mutation.login")),
	}})
	batch := func(n, names int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`{"query":"mutation($n: String!) {login(input: {name: $n})}","variables":{"n":"%d"}}`, i%names))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	if ctx := w.ask("POST", "/graphql", asJSON, batch(maxCharges, maxCharges)); ctx.Response.StatusCode() != 200 || strings.Count(f.decisions(), "name:1") != maxCharges {
		t.Errorf("as many as may be: %d", ctx.Response.StatusCode())
	}
	ctx := w.ask("POST", "/graphql", asJSON, batch(maxCharges+1, maxCharges+1))
	if _, _, after := rateHeaders(ctx); ctx.Response.StatusCode() != 429 || after != "" || f.decisions() != "" {
		t.Errorf("one more: %d %s", ctx.Response.StatusCode(), ctx.Response.Body())
	}
	f.now += time.Hour
	if ctx := w.ask("POST", "/graphql", asJSON, batch(200, 20)); ctx.Response.StatusCode() != 200 || f.decisions() != strings.TrimSpace(strings.Repeat("name:10 ", 20)) {
		t.Errorf("the same ones again: %d", ctx.Response.StatusCode())
	}
}

// Who stands behind a proxy that nobody has named is one client, and the log says so.
func TestUnknownProxyIsToldOf(t *testing.T) {
	var out strings.Builder
	w, _ := rateWorker(t, Config{Log: logtext.Logger(&out), TrustedProxies: []string{"10.9.0.0/16"}, RateLimits: []RateLimit{perMinute("identity", 1)}})
	ask := func(peer string) int {
		ctx := new(fasthttp.RequestCtx)
		ctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.ParseIP(peer)}, nil)
		ctx.Request.Header.SetMethod("POST")
		ctx.Request.SetRequestURI("/graphql")
		ctx.Request.Header.SetContentType("application/json")
		ctx.Request.Header.Set("X-Forwarded-For", "192.0.2.1")
		ctx.Request.SetBodyString(`{"query":"{hello}"}`)
		w.server.Handler(ctx)
		return ctx.Response.StatusCode()
	}
	ask("203.0.113.1")
	ask("10.9.0.1") // whom we believe
	ask("10.9.0.1")
	if status := ask("203.0.113.1"); status != 429 || out.String() != "" { // anybody can send the header
		t.Errorf("%d %s", status, out.String())
	}
	for range 3 {
		ask("10.0.0.7")
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "X-Forwarded-For from 10.0.0.7") {
		t.Error(got)
	}
}

// The way of a usual request through its limits leaves nothing to collect.
func TestRateLimitsAllocateNothing(t *testing.T) {
	decide := oneDecision(t)
	if n := testing.AllocsPerRun(1000, decide); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkRateLimit is what limits cost a request: two rules of three apply, and the
// header tells of both.
func BenchmarkRateLimit(b *testing.B) {
	decide := oneDecision(b)
	b.ReportAllocs()
	for b.Loop() {
		decide()
	}
}

// oneDecision decides on a login, with room enough.
func oneDecision(t testing.TB) (decide func()) {
	w, _ := rateWorker(t, Config{})
	rules, err := compileRates(w.planner.schema, []RateLimit{
		{Name: "identity", Limit: 1_000_000, Window: time.Second, Burst: limiter.MaxBurst},
		{Name: "login", Per: []string{"ip", "argument:input.name"}, Fields: []string{"Mutation.login"}, Limit: 1_000_000, Window: time.Second, Burst: limiter.MaxBurst},
		{Name: "other", Fields: []string{"Query.hello"}, Limit: 1, Window: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	plan, errs := w.planner.make(`mutation($n: String!) {login(input: {name: $n})}`, "")
	if errs != nil {
		t.Fatal(errs[0])
	}
	values := map[string]any{"n": "mia"}
	host := newHostLimiter(t)
	ta, h := &tally{}, &fasthttp.ResponseHeader{}
	return func() {
		ta.fold, ta.maxCost, ta.ip = strings.ToLower, 1000, netip.AddrFrom4([4]byte{192, 0, 2, 1})
		ta.operation(rules, plan, values, -1)
		if d := host.Decide(t.Context(), ta.charges()); !d.OK() || len(ta.list) != 2 {
			t.Fatal(d, len(ta.list))
		}
		ta.tell(h)
		ta.reset()
	}
}
