package worker

import (
	"bytes"
	"fmt"
	"log"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// ask serves one request without a network.
func (w *Worker) ask(method, target, header, body string) *fasthttp.RequestCtx {
	ctx := new(fasthttp.RequestCtx)
	ctx.Request.Header.SetMethod(method)
	ctx.Request.SetRequestURI(target)
	ctx.Request.Header.Set("Apollo-Require-Preflight", "yes")
	for line := range strings.SplitSeq(header, "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			ctx.Request.Header.Set(name, value)
		}
	}
	ctx.Request.SetBodyString(body)
	w.server.Handler(ctx)
	return ctx
}

const (
	asJSON    = "Content-Type: application/json"
	asGraphQL = asJSON + "\nAccept: application/graphql-response+json"
)

// GraphQL over HTTP: what a request is answered with under each media type.
func TestGraphQLOverHTTP(t *testing.T) {
	w := newTestWorker(t, Config{ExecutionTimeout: 30 * time.Millisecond})
	const (
		plain    = "application/json; charset=utf-8"
		graphql  = "application/graphql-response+json; charset=utf-8"
		ok       = `{"data":{"hello":"world"}}`
		mutation = `mutation{touch(name:"x")}`
	)
	get := func(query string, more ...string) string {
		return "/graphql?query=" + url.QueryEscape(query) + strings.Join(more, "")
	}
	for _, c := range []struct {
		what, method, target, header, body string
		status                             int
		media, want                        string // want is contained in the answer
	}{
		{"a query", "POST", "/graphql", asJSON, `{"query":"{hello}"}`, 200, plain, ok},
		{"in the newer media type", "POST", "/graphql", asGraphQL, `{"query":"{hello}"}`, 200, graphql, ok},
		{"by GET", "GET", get("{hello}"), "", "", 200, plain, ok},
		{"with everything", "POST", "/graphql", asJSON + "; charset=UTF-8", `{"query":"query A{x:hello} query B($n:ID!){node(id:$n){id}}","operationName":"B","variables":{"n":1},"extensions":{}}`, 200, plain, `{"data":{"node":{"id":"1"}}}`},
		{"with everything by GET", "GET", get("query A{x:hello} query B($n:ID!){node(id:$n){id}}", "&operationName=B&variables=", url.QueryEscape(`{"n":1}`), "&extensions={}"), "", "", 200, plain, `{"data":{"node":{"id":"1"}}}`},
		{"nulls for what may be left out", "POST", "/graphql", asJSON, `{"query":"{hello}","operationName":null,"variables":null,"extensions":null}`, 200, plain, ok},
		{"an error in a field", "POST", "/graphql", asGraphQL, `{"query":"{fail(how: CODED)}"}`, 200, graphql, `{"errors":[{"message":"short and stout","path":["fail"],"extensions":{"code":"TEAPOT"}}],"data":{"fail":null}}`},

		{"a syntax error is 200 as JSON", "POST", "/graphql", asJSON, `{"query":"{"}`, 200, plain, `"code":"GRAPHQL_PARSE_FAILED"`},
		{"and 400 in the newer type", "POST", "/graphql", asGraphQL, `{"query":"{"}`, 400, graphql, `"code":"GRAPHQL_PARSE_FAILED"`},
		{"where it is", "POST", "/graphql", asGraphQL, `{"query":"{\n  nope\n}"}`, 400, graphql, `"locations":[{"line":2,"column":3}]`},
		{"no such operation", "POST", "/graphql", asGraphQL, `{"query":"{hello}","operationName":"X"}`, 400, graphql, `"code":"OPERATION_RESOLUTION_FAILURE"`},
		{"a variable of the wrong type", "POST", "/graphql", asGraphQL, `{"query":"query($n:ID!){node(id:$n){id}}","variables":{"n":true}}`, 400, graphql, `"code":"BAD_USER_INPUT"`},
		{"the same as JSON", "POST", "/graphql", asJSON, `{"query":"query($n:ID!){node(id:$n){id}}","variables":{"n":true}}`, 200, plain, `"code":"BAD_USER_INPUT"`},
		{"too slow", "POST", "/graphql", asGraphQL, `{"query":"{wait}"}`, 504, graphql, `{"errors":[{"message":"the operation took too long","extensions":{"code":"TIMEOUT"}}]}`},
		{"too slow as JSON", "POST", "/graphql", asJSON, `{"query":"{fail(how: SLOW)}"}`, 200, plain, `"code":"TIMEOUT"`},
		{"a subscription", "POST", "/graphql", asGraphQL, `{"query":"subscription{ticks}"}`, 400, graphql, `subscriptions are not served here`},

		{"a byte order mark", "POST", "/graphql", asJSON, "\xef\xbb\xbf" + `{"query":"{hello}"}`, 200, plain, ok},
		{"no UTF-8", "POST", "/graphql", asJSON, "{\"query\":\"{hello}#\xff\"}", 400, plain, `the body must be in UTF-8`},
		{"no UTF-8 by GET", "GET", "/graphql?query={hello}%23%ff", "", "", 400, plain, `\"query\" must be in UTF-8`},
		{"no JSON", "POST", "/graphql", asJSON, `{"query":`, 400, plain, `"code":"BAD_REQUEST"`},
		{"two values", "POST", "/graphql", asJSON, `{"query":"{hello}"}{}`, 400, plain, `the body is no JSON`},
		{"a batch", "POST", "/graphql", asJSON, `[{"query":"{hello}"}]`, 400, plain, `the body must be a JSON object with a query`},
		{"no query", "POST", "/graphql", asJSON, `{"qeury":"{hello}"}`, 400, plain, `the body has no \"query\"`},
		{"an empty one", "POST", "/graphql", asJSON, `{"query":" "}`, 400, plain, `the query is empty`},
		{"a query that is no string", "POST", "/graphql", asGraphQL, `{"query":{}}`, 400, graphql, `\"query\" must be a string`},
		{"variables that are no object", "POST", "/graphql", asJSON, `{"query":"{hello}","variables":"{}"}`, 400, plain, `\"variables\" must be an object`},
		{"extensions that are none", "POST", "/graphql", asJSON, `{"query":"{hello}","extensions":[]}`, 400, plain, `\"extensions\" must be an object`},
		{"an operation name that is no string", "POST", "/graphql", asJSON, `{"query":"{hello}","operationName":1}`, 400, plain, `\"operationName\" must be a string`},
		{"GET without a query", "GET", "/graphql", "", "", 400, plain, `the query is empty`},
		{"GET with bad variables", "GET", get("{hello}", "&variables=[1]"), "", "", 400, plain, `\"variables\" must be an object`},
		{"a mutation by GET", "GET", get(mutation), "", "", 405, plain, `"code":"METHOD_NOT_ALLOWED"`},
		{"a form", "POST", "/graphql", "Content-Type: application/x-www-form-urlencoded", "query={hello}", 415, plain, `"code":"UNSUPPORTED_MEDIA_TYPE"`},
		{"plain text, which a page of another site may send", "POST", "/graphql", "Content-Type: text/plain", `{"query":"{hello}"}`, 415, plain, `the body must be application/json`},
		{"no content type", "POST", "/graphql", "Content-Type: ", `{"query":"{hello}"}`, 415, plain, `the body must be application/json`},
		{"another charset", "POST", "/graphql", asJSON + "; charset=latin1", `{"query":"{hello}"}`, 415, plain, `the body must be in UTF-8`},
		{"a compressed body", "POST", "/graphql", asJSON + "\nContent-Encoding: gzip", "\x1f\x8b", 415, plain, `the body must not be compressed`},
		{"another method", "PUT", "/graphql", asJSON, `{"query":"{hello}"}`, 405, plain, `the method must be GET or POST`},
		{"another path", "GET", "/", "", "", 404, plain, `"code":"NOT_FOUND"`},
	} {
		t.Run(c.what, func(t *testing.T) {
			ctx := w.ask(c.method, c.target, c.header, c.body)
			media := string(ctx.Response.Header.ContentType())
			body := string(ctx.Response.Body())
			if ctx.Response.StatusCode() != c.status || media != c.media || !strings.Contains(body, c.want) {
				t.Errorf("\n got %d %s %s\nwant %d %s %s", ctx.Response.StatusCode(), media, body, c.status, c.media, c.want)
			}
			if c.status == 405 && ctx.Response.Header.Peek("Allow") == nil {
				t.Error("405 without Allow")
			}
		})
	}
	if touched := len(w.config.Resolver.(*testRoot).touched); touched != 0 {
		t.Errorf("%d mutations ran", touched)
	}
	close(w.config.Resolver.(*testRoot).release)
}

func TestAccept(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                                  false,
		"*/*":                               false,
		"application/json":                  false,
		"application/graphql-response+json": true,
		"application/graphql-response+json; charset=utf-8, application/json; charset=utf-8": true,
		"application/graphql-response+json, application/json;q=0.9":                         true,
		"application/json, application/graphql-response+json;q=0.5":                         false,
		"application/graphql-response+json;q=0":                                             false,
		"text/html, Application/GraphQL-Response+JSON":                                      false, // nobody writes it so
	} {
		if got := wantsGraphQL([]byte(accept)); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

// What a resolver does wrong goes to the log, and the client learns its code.
func TestErrorsOfResolvers(t *testing.T) {
	for how, want := range map[string]struct{ answer, log string }{
		"CODED":    {`{"fail":null} !TEAPOT short and stout`, ``},
		"PLAIN":    {`{"fail":null} !INTERNAL internal error`, `error: fail: password=hunter2`},
		"PANIC":    {`{"fail":null} !INTERNAL internal error`, `panic in a resolver: the secret of the resolver`},
		"DEADLINE": {`{"fail":null} !TIMEOUT the operation took too long`, ``},
	} {
		t.Run(how, func(t *testing.T) {
			var out bytes.Buffer
			w := newTestWorker(t, Config{Log: log.New(&out, "", 0)})
			if got := w.answer(t, fmt.Sprintf("{fail(how: %s)}", how), "", ""); got != want.answer {
				t.Errorf("%s, want %s", got, want.answer)
			}
			if got := out.String(); !strings.Contains(got, want.log) || want.log == "" && got != "" {
				t.Errorf("log: %s", got)
			}
		})
	}
}

// A resolver that does not heed its context outlives the answer, while the
// connection and its buffers serve other requests. With -race this shows that
// nothing of them reached it.
func TestResolverOutlivesItsRequest(t *testing.T) {
	root := newTestRoot()
	_, address := startWorker(t, Config{Resolver: root, ExecutionTimeout: 5 * time.Millisecond})
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			c := dial(t, address)
			for j := range 10 {
				// Each request is as long as the others and different, so that it
				// overwrites what the one before has left in the buffers.
				c.send(t, fmt.Sprintf("/graphql?query=%s", url.QueryEscape(fmt.Sprintf(`query Q%02d%02d{wait}`, i, j))))
				if body, _ := c.receive(t); !strings.Contains(body, "TIMEOUT") {
					t.Errorf("%s", body)
				}
			}
		})
	}
	clients.Wait()
	if len(root.waiting) == 0 {
		t.Error("no resolver ran")
	}
	close(root.release) // the resolvers go on, to nobody; goleak sees them end
}

func TestLimitsOfTheRequest(t *testing.T) {
	_, address := startWorker(t, Config{MaxBody: 100})
	for _, c := range []struct{ what, request, status, body string }{
		{"a large body", "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n" + strings.Repeat("x", 101), "413", "PAYLOAD_TOO_LARGE"},
		{"a large header", "GET /graphql?query=" + strings.Repeat("x", 20_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", "431", "send long queries by POST"},
		{"no HTTP", "hello\r\n\r\n", "400", "BAD_REQUEST"},
	} {
		t.Run(c.what, func(t *testing.T) {
			conn := dial(t, address)
			if _, err := conn.Write([]byte(c.request)); err != nil {
				t.Fatal(err)
			}
			line, err := conn.r.ReadString('\n')
			if err != nil || !strings.Contains(line, c.status) {
				t.Errorf("%q, %v, want %s", line, err, c.status)
			}
		})
	}
}
