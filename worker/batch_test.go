package worker

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestBatch(t *testing.T) {
	w := newTestWorker(t, Config{MaxBatch: 5})
	const hello, world = `{"query":"{hello}"}`, `{"data":{"hello":"world"}}`
	for _, c := range []struct {
		what, header, body string
		status             int
		media, want        string
	}{
		{"two", asJSON, `[` + hello + `,{"query":"query($n:ID!){node(id:$n){id}}","variables":{"n":1}}]`, 200, typeJSON, `[` + world + `,{"data":{"node":{"id":"1"}}}]`},
		{"one", asGraphQL, ` [ ` + hello + ` ] `, 200, typeGraphQL, `[` + world + `]`},
		{"one that is wrong", asGraphQL, `[{"query":"{"},` + hello + `]`, 200, typeGraphQL, `[{"errors":[{"message":"Expected Name, found \u003cEOF\u003e","locations":[{"line":1,"column":2}],"extensions":{"code":"GRAPHQL_PARSE_FAILED"}}]},` + world + `]`},
		{"one that is no request", asJSON, `[{"qeury":"{"},` + hello + `]`, 200, typeJSON, `[{"errors":[{"message":"there is no query, or it is empty","extensions":{"code":"BAD_REQUEST"}}]},` + world + `]`},
		{"all of them", asJSON, `[{},{}]`, 200, typeJSON, `[{"errors":[{"message":"there is no query, or it is empty","extensions":{"code":"BAD_REQUEST"}}]},{"errors":[{"message":"there is no query, or it is empty","extensions":{"code":"BAD_REQUEST"}}]}]`},
		{"one that fails", asJSON, `[{"query":"{fail(how: CODED)}"},` + hello + `]`, 200, typeJSON, `[{"errors":[{"message":"short and stout","path":["fail"],"extensions":{"code":"TEAPOT"}}],"data":{"fail":null}},` + world + `]`},
		{"one that is only named", asJSON, `[{"extensions":` + persistedHash("{x:hello}") + `},` + hello + `]`, 200, typeJSON, `[{"errors":[{"message":"PersistedQueryNotFound","extensions":{"code":"PERSISTED_QUERY_NOT_FOUND"}}]},` + world + `]`},
		{"one that is sent with its hash", asJSON, `[{"query":"{x:hello}","extensions":` + persistedHash("{x:hello}") + `}]`, 200, typeJSON, `[{"data":{"x":"world"}}]`},
		{"and named again", asJSON, `[{"extensions":` + persistedHash("{x:hello}") + `}]`, 200, typeJSON, `[{"data":{"x":"world"}}]`},
		{"as many as may be", asJSON, `[` + strings.Repeat(hello+",", 4) + hello + `]`, 200, typeJSON, `[` + strings.Repeat(world+",", 4) + world + `]`},
		{"one more", asJSON, `[` + strings.Repeat(hello+",", 5) + hello + `]`, 413, typeGraphQL, `{"errors":[{"message":"a batch may have 5 requests","extensions":{"code":"BATCH_TOO_LARGE"}}]}`},
		{"more than anybody would read", asJSON, `[` + strings.Repeat("{},", 20_000), 413, typeGraphQL, `{"errors":[{"message":"a batch may have 5 requests","extensions":{"code":"BATCH_TOO_LARGE"}}]}`},
		{"none", asJSON, `[]`, 422, typeGraphQL, `{"errors":[{"message":"the batch is empty","extensions":{"code":"BAD_REQUEST"}}]}`},
		{"no object", asJSON, `[` + hello + `,1]`, 422, typeGraphQL, `{"errors":[{"message":"request 2 of the batch is no JSON object","extensions":{"code":"BAD_REQUEST"}}]}`},
		{"a batch in it", asJSON, `[[` + hello + `]]`, 422, typeGraphQL, `{"errors":[{"message":"request 1 of the batch is no JSON object","extensions":{"code":"BAD_REQUEST"}}]}`},
		{"cut off", asJSON, `[` + hello, 400, typeGraphQL, `{"errors":[{"message":"the body is no JSON: unexpected end of JSON input","extensions":{"code":"BAD_REQUEST"}}]}`},
		{"cut off in the middle", asJSON, `[{"query`, 400, typeGraphQL, `{"errors":[{"message":"the body is no JSON: unexpected end of JSON input","extensions":{"code":"BAD_REQUEST"}}]}`},
		{"no JSON", asJSON, `[` + hello + ` nope]`, 400, typeGraphQL, `"code":"BAD_REQUEST"`},
		{"two values", asJSON, `[` + hello + `] {}`, 400, typeGraphQL, `invalid character '{' after top-level value`},
		{"introspection once", asJSON, `[{"query":"{__type(name:\"Query\"){name}}"},` + hello + `]`, 200, typeJSON, `[{"data":{"__type":{"name":"Query"}}},` + world + `]`},
		{"introspection twice", asJSON, `[{"query":"{__type(name:\"Query\"){name}}"},{"query":"{__schema{description}}"}]`, 200, typeJSON, `[{"data":{"__type":{"name":"Query"}}},{"errors":[{"message":"only one request of a batch may ask for __schema or __type","extensions":{"code":"BATCH_TOO_LARGE"}}]}]`},
	} {
		t.Run(c.what, func(t *testing.T) {
			ctx := w.ask("POST", "/graphql", c.header, c.body)
			media, body := string(ctx.Response.Header.ContentType()), string(ctx.Response.Body())
			if ctx.Response.StatusCode() != c.status || media != c.media || !strings.Contains(body, c.want) {
				t.Errorf("\n got %d %s %s\nwant %d %s %s", ctx.Response.StatusCode(), media, body, c.status, c.media, c.want)
			}
			if !json.Valid([]byte(body)) {
				t.Error("no JSON")
			}
		})
	}
}

// A batch may have what one request may have: fields and time are those of all
// together.
func TestBatchHasTheBoundsOfOne(t *testing.T) {
	const list = `{"query":"{nodes {id} search {... on Actor {friends(first: 20) {id name}}}}"}` // 91 fields
	ask := func(w *Worker, n int) (ok, refused int) {
		body := "[" + strings.TrimSuffix(strings.Repeat(list+",", n), ",") + "]"
		var answers []struct {
			Data   any
			Errors []struct{ Extensions struct{ Code Code } }
		}
		if err := json.Unmarshal(w.ask("POST", "/graphql", asJSON, body).Response.Body(), &answers); err != nil || len(answers) != n {
			t.Fatal(err, len(answers))
		}
		for _, a := range answers {
			switch {
			case len(a.Errors) == 0 && a.Data != nil:
				ok++
			case a.Data == nil && a.Errors[0].Extensions.Code == CodeResponseTooLarge:
				refused++
			default:
				t.Errorf("%+v", a)
			}
		}
		return ok, refused
	}
	w := newTestWorker(t, Config{MaxBatch: 20, MaxFields: 500})
	if ok, refused := ask(w, 3); ok != 3 {
		t.Errorf("of three %d were answered and %d refused", ok, refused)
	}
	if ok, refused := ask(w, 20); ok > 5 || ok+refused != 20 {
		t.Errorf("of twenty %d were answered and %d refused", ok, refused)
	}

	w = newTestWorker(t, Config{MaxBatch: 20, ExecutionTimeout: 300 * time.Millisecond})
	began := time.Now()
	slow := strings.TrimSuffix(strings.Repeat(`{"query":"{fail(how: SLOW)}"},`, 20), ",")
	body := string(w.ask("POST", "/graphql", asJSON, "["+slow+"]").Response.Body())
	if took := time.Since(began); took > 3*time.Second || strings.Count(body, "TIMEOUT") != 20 {
		t.Errorf("%v: %s", took, body)
	}
}

// Who asks is found out once, and decided for each request.
func TestBatchIsOfOneCaller(t *testing.T) {
	w := rolesWorker(t, Config{MaxBatch: 5})
	identify := w.config.Identify
	var asked atomic.Int32
	w.config.Identify = func(ctx context.Context, c Credentials) (Identity, error) {
		asked.Add(1)
		return identify(ctx, c)
	}
	body := string(w.ask("POST", "/graphql", asJSON+"\nAuthorization: Bearer READER",
		`[{"query":"{version}"},{"query":"{secret{about}}"},{"query":"{note{id}}"}]`).Response.Body())
	if want := `[{"data":{"version":"1"}},{"errors":[{"message":"Query.secret`; asked.Load() != 1 || !strings.Contains(body, `{"data":{"version":"1"}},{"errors":`) ||
		!strings.Contains(body, `"code":"FORBIDDEN"}}]},{"data":{"note"`) {
		t.Errorf("asked %d times: %s, want %s…", asked.Load(), body, want)
	}
	ctx := w.ask("POST", "/graphql", asJSON+"\nAuthorization: Bearer FORGED", `[{"query":"{version}"},{"query":"{note{id}}"}]`)
	if ctx.Response.StatusCode() != 401 || string(ctx.Response.Header.Peek("WWW-Authenticate")) != "Bearer" {
		t.Errorf("%d %s", ctx.Response.StatusCode(), ctx.Response.Body())
	}
}

// Few of a batch run at once, and a panic costs one of them.
func TestBatchRunsAFewAtOnce(t *testing.T) {
	root := newTestRoot()
	w := newTestWorker(t, Config{MaxBatch: 20, Resolver: root})
	answered := make(chan string)
	go func() {
		answered <- string(w.ask("POST", "/graphql", asJSON, "["+strings.TrimSuffix(strings.Repeat(`{"query":"{wait}"},`, 12), ",")+"]").Response.Body())
	}()
	for range batchConcurrency {
		<-root.waiting
	}
	select {
	case <-root.waiting:
		t.Error("more than some run at once")
	case <-time.After(20 * time.Millisecond): // nothing is to happen
	}
	close(root.release)
	if got, want := <-answered, "["+strings.TrimSuffix(strings.Repeat(`{"data":{"wait":true}},`, 12), ",")+"]"; got != want {
		t.Errorf("%s", got)
	}

	w = newTestWorker(t, Config{MaxBatch: 20, Context: func(ctx context.Context) context.Context {
		if CallerFrom(ctx) != nil && ctx.Err() == nil {
			panic("no context")
		}
		return ctx
	}})
	if got := string(w.ask("POST", "/graphql", asJSON, `[{"query":"{hello}"},{"query":"{"}]`).Response.Body()); !strings.Contains(got, "INTERNAL") || !strings.Contains(got, "GRAPHQL_PARSE_FAILED") {
		t.Error(got)
	}
}

// What an access log is told of an answer.
func TestOutcomes(t *testing.T) {
	w := newTestWorker(t, Config{MaxBatch: 3})
	of := func(text string) string { return hashOf(text).String()[:16] }
	for _, c := range []struct {
		target, body string
		want         []outcome
	}{
		{"/livez", "", nil},
		{"/graphql", `{"query":"query A {hello}"}`, []outcome{{"query", "A", of("query A {hello}"), nil, false}}},
		{"/graphql?query=mutation{touch(name:%22x%22)}", "", []outcome{{"mutation", "", of(`mutation{touch(name:"x")}`), []Code{CodeMethodNotAllowed}, false}}},
		{"/graphql", `{"query":"{a:fail(how:CODED) b:fail(how:CODED) c:fail(how:DEADLINE)}"}`, []outcome{{"query", "", of("{a:fail(how:CODED) b:fail(how:CODED) c:fail(how:DEADLINE)}"), []Code{"TEAPOT", CodeTimeout}, false}}},
		{"/graphql", `{"query":"{nope}"}`, []outcome{{"", "", of("{nope}"), []Code{CodeValidationFailed}, false}}},
		{"/graphql", `{"extensions":` + persistedHash("x") + `}`, []outcome{{"", "", "", []Code{CodeNotPersisted}, true}}},
		{"/graphql", `{`, []outcome{{"", "", "", []Code{CodeBadRequest}, false}}},
		{"/graphql", `[{"query":"{hello}"},{}]`, []outcome{{"query", "", of("{hello}"), nil, false}, {"", "", "", []Code{CodeBadRequest}, false}}},
	} {
		method := "POST"
		if c.body == "" {
			method = "GET"
		}
		got := outcomes(w.ask(method, c.target, asJSON, c.body))
		if len(got) != len(c.want) || len(got) > 0 && !reflect.DeepEqual(sortCodes(got), sortCodes(c.want)) {
			t.Errorf("%s %s:\n got %+v\nwant %+v", c.target, c.body, got, c.want)
		}
	}
}

// sortCodes: fields fail in no order.
func sortCodes(list []outcome) []outcome {
	for i := range list {
		if c := list[i].Codes; len(c) == 2 && c[0] > c[1] {
			c[0], c[1] = c[1], c[0]
		}
	}
	return list
}
