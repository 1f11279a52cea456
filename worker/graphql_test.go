package worker

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/logtext"
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

// GraphQL over HTTP: what a request is answered with, by the sections of the edition
// of September 2026. Errors come under the newer media type whatever a client takes,
// with the status that they have there.
func TestGraphQLOverHTTP(t *testing.T) {
	w, impatient := newTestWorker(t, Config{}), newTestWorker(t, Config{ExecutionTimeout: 30 * time.Millisecond})
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
		section, what, method, target, header, body string
		status                                      int
		media, want                                 string // want is contained in the answer
	}{
		{"Serialization Format", "a query", "POST", "/graphql", asJSON, `{"query":"{hello}"}`, 200, plain, ok},
		{"Media Types", "in the newer media type", "POST", "/graphql", asGraphQL, `{"query":"{hello}"}`, 200, graphql, ok},
		{"Media Types", "charset", "POST", "/graphql", asJSON + "; charset=UTF-8", `{"query":"{hello}"}`, 200, plain, ok},
		{"Media Types", "a media type in another case", "POST", "/graphql", "Content-Type: Application/JSON", `{"query":"{hello}"}`, 200, plain, ok},
		{"Media Types", "a byte order mark", "POST", "/graphql", asJSON, "\xef\xbb\xbf" + `{"query":"{hello}"}`, 200, plain, ok},
		{"GraphQL-over-HTTP Request", "all parameters", "POST", "/graphql", asJSON, `{"query":"query A{x:hello} query B($n:ID!){node(id:$n){id}}","operationName":"B","variables":{"n":1},"extensions":{}}`, 200, plain, `{"data":{"node":{"id":"1"}}}`},
		{"GET", "a query", "GET", get("{hello}"), "", "", 200, plain, ok},
		{"GET", "all parameters", "GET", get("query A{x:hello} query B($n:ID!){node(id:$n){id}}", "&operationName=B&variables=", url.QueryEscape(`{"n":1}`), "&extensions={}"), "", "", 200, plain, `{"data":{"node":{"id":"1"}}}`},
		{"GET", "empty strings for what may be left out", "GET", get("{hello}", "&operationName=&variables=&extensions="), "", "", 200, plain, ok},
		{"GET", "null for a name is a name", "GET", get("query null {hello}", "&operationName=null"), "", "", 200, plain, ok},
		{"GET", "a mutation", "GET", get(mutation), "", "", 405, graphql, `"code":"METHOD_NOT_ALLOWED"`},
		{"GET", "a mutation, by its name", "GET", get("query q {hello} "+strings.Replace(mutation, "mutation", "mutation m", 1), "&operationName=m"), "", "", 405, graphql, `"code":"METHOD_NOT_ALLOWED"`},
		{"POST", "no content type", "POST", "/graphql", "Content-Type: ", `{"query":"{hello}"}`, 415, graphql, `the body must be application/json`},
		{"POST", "a form", "POST", "/graphql", "Content-Type: application/x-www-form-urlencoded", "query={hello}", 415, graphql, `"code":"UNSUPPORTED_MEDIA_TYPE"`},
		{"POST", "plain text, which a page of another site may send", "POST", "/graphql", "Content-Type: text/plain", `{"query":"{hello}"}`, 415, graphql, `the body must be application/json`},
		{"POST", "another charset", "POST", "/graphql", asJSON + "; charset=latin1", `{"query":"{hello}"}`, 415, graphql, `the body must be in UTF-8`},
		{"POST", "a compressed body", "POST", "/graphql", asJSON + "\nContent-Encoding: gzip", "\x1f\x8b", 415, graphql, `the body must not be compressed`},
		{"JSON Encoding", "nulls for what may be left out", "POST", "/graphql", asJSON, `{"query":"{hello}","operationName":null,"variables":null,"extensions":null,"documentId":null}`, 200, plain, ok},
		{"JSON Encoding", "more properties", "POST", "/graphql", asJSON, `{"query":"{hello}","id":[1],"extensions":{"clientLibrary":{"name":"x"}}}`, 200, plain, ok},

		{"Body", "nothing acceptable", "POST", "/graphql", asJSON + "\nAccept: text/html", `{"query":"` + strings.ReplaceAll(mutation, `"`, `\"`) + `"}`, 406, graphql, `"code":"NOT_ACCEPTABLE"`},
		{"Body", "an error for who takes the older type", "POST", "/graphql", asJSON + "\nAccept: application/json", `{"query":"{"}`, 400, graphql, `"code":"GRAPHQL_PARSE_FAILED"`},
		{"Body", "an error for who takes anything", "POST", "/graphql", asJSON + "\nAccept: */*", `{"query":"{"}`, 400, graphql, `"code":"GRAPHQL_PARSE_FAILED"`},
		{"Body", "an error for who refuses the newer type", "POST", "/graphql", asJSON + "\nAccept: */*, application/graphql-response+json;q=0", `{"query":"{"}`, 400, plain, `"code":"GRAPHQL_PARSE_FAILED"`},
		{"Body", "the better of two", "POST", "/graphql", asJSON + "\nAccept: application/graphql-response+json, application/json;q=0.9", `{"query":"{hello}"}`, 200, graphql, ok},

		{"Status Codes", "data and an error", "POST", "/graphql", asGraphQL, `{"query":"{fail(how: CODED)}"}`, 294, graphql, `{"errors":[{"message":"short and stout","path":["fail"],"extensions":{"code":"TEAPOT"}}],"data":{"fail":null}}`},
		{"Status Codes", "data that is null, and an error", "POST", "/graphql", asGraphQL, `{"query":"{must(how: CODED)}"}`, 294, graphql, `"data":null}`},
		{"Partial success", "as the older type", "POST", "/graphql", asJSON, `{"query":"{fail(how: CODED)}"}`, 200, plain, `"data":{"fail":null}}`},
		{"Status Codes", "another method", "PUT", "/graphql", asJSON, `{"query":"{hello}"}`, 405, graphql, `the method must be GET or HEAD or POST`},
		{"Status Codes", "no JSON", "POST", "/graphql", asJSON, `{"query":`, 400, graphql, `"code":"BAD_REQUEST"`},
		{"Status Codes", "no body", "POST", "/graphql", asJSON, ``, 400, graphql, `the body is no JSON`},
		{"Status Codes", "two values", "POST", "/graphql", asJSON, `{"query":"{hello}"}{}`, 400, graphql, `the body is no JSON`},
		{"Status Codes", "no UTF-8", "POST", "/graphql", asJSON, "{\"query\":\"{hello}#\xff\"}", 400, graphql, `the body must be in UTF-8`},
		{"Status Codes", "no UTF-8 by GET", "GET", "/graphql?query={hello}%23%ff", "", "", 422, graphql, `\"query\" must be in UTF-8`},
		{"Status Codes", "no object", "POST", "/graphql", asJSON, `"{hello}"`, 422, graphql, `the body must be a JSON object with a query`},
		{"Status Codes", "a batch", "POST", "/graphql", asJSON, ` [{"query":"{hello}"}]`, 422, graphql, `the body must be a JSON object with a query: lists of them are not taken here`},
		{"Status Codes", "no query", "POST", "/graphql", asJSON, `{"qeury":"{hello}"}`, 422, graphql, `there is no query, or it is empty`},
		{"Status Codes", "an empty one", "POST", "/graphql", asJSON, `{"query":" "}`, 422, graphql, `there is no query, or it is empty`},
		{"Status Codes", "a query that is no string", "POST", "/graphql", asJSON, `{"query":{}}`, 422, graphql, `\"query\" must be a string`},
		{"Status Codes", "variables that are no object", "POST", "/graphql", asJSON, `{"query":"{hello}","variables":"{}"}`, 422, graphql, `\"variables\" must be an object`},
		{"Status Codes", "extensions that are none", "POST", "/graphql", asJSON, `{"query":"{hello}","extensions":[]}`, 422, graphql, `\"extensions\" must be an object`},
		{"Status Codes", "an operation name that is no string", "POST", "/graphql", asJSON, `{"query":"{hello}","operationName":1}`, 422, graphql, `\"operationName\" must be a string`},
		{"Status Codes", "GET without a query", "GET", "/graphql", "", "", 422, graphql, `there is no query, or it is empty`},
		{"Status Codes", "GET with bad variables", "GET", get("{hello}", "&variables=[1]"), "", "", 422, graphql, `\"variables\" must be an object`},
		{"Status Codes", "GET with bad extensions", "GET", get("{hello}", "&extensions=[1]"), "", "", 422, graphql, `\"extensions\" must be an object`},
		{"Status Codes", "a syntax error", "POST", "/graphql", asGraphQL, `{"query":"{"}`, 400, graphql, `"code":"GRAPHQL_PARSE_FAILED"`},
		{"Status Codes", "a field that is not there, and where", "POST", "/graphql", asGraphQL, `{"query":"{\n  nope\n}"}`, 422, graphql, `"locations":[{"line":2,"column":3}]`},
		{"Status Codes", "no such operation", "POST", "/graphql", asGraphQL, `{"query":"{hello}","operationName":"X"}`, 422, graphql, `"code":"OPERATION_RESOLUTION_FAILURE"`},
		{"Status Codes", "a variable of the wrong type", "POST", "/graphql", asGraphQL, `{"query":"query($n:ID!){node(id:$n){id}}","variables":{"n":true}}`, 422, graphql, `"code":"BAD_USER_INPUT"`},
		{"Status Codes", "a subscription", "POST", "/graphql", asGraphQL, `{"query":"subscription{ticks}"}`, 422, graphql, `subscriptions are not served here`},
		{"Status Codes", "too slow", "POST", "/graphql", asGraphQL, `{"query":"{wait}"}`, 504, graphql, `{"errors":[{"message":"the operation took too long","extensions":{"code":"TIMEOUT"}}]}`},
		{"Status Codes", "too slow for who takes the older type", "POST", "/graphql", asJSON, `{"query":"{wait}"}`, 504, graphql, `"code":"TIMEOUT"`},

		{"URL", "another path", "GET", "/", "", "", 404, plain, `"code":"NOT_FOUND"`},
	} {
		t.Run(c.section+"/"+c.what, func(t *testing.T) {
			asked := w
			if c.status == fasthttp.StatusGatewayTimeout {
				asked = impatient
			}
			ctx := asked.ask(c.method, c.target, c.header, c.body)
			media := string(ctx.Response.Header.ContentType())
			body := string(ctx.Response.Body())
			if ctx.Response.StatusCode() != c.status || media != c.media || !strings.Contains(body, c.want) {
				t.Errorf("\n got %d %s %s\nwant %d %s %s", ctx.Response.StatusCode(), media, body, c.status, c.media, c.want)
			}
			if c.status == 405 && ctx.Response.Header.Peek("Allow") == nil {
				t.Error("405 without Allow")
			}
			if c.target != "/" && string(ctx.Response.Header.Peek("Vary")) != "Accept" {
				t.Errorf("Vary: %s", ctx.Response.Header.Peek("Vary"))
			}
		})
	}
	if touched := len(w.config.Resolver.(*testRoot).touched); touched != 0 {
		t.Errorf("%d mutations ran", touched)
	}
	close(impatient.config.Resolver.(*testRoot).release)
}

// HEAD is GET without the body, and 294 has a reason.
func TestHead(t *testing.T) {
	_, address := startWorker(t, Config{})
	for _, c := range []struct{ request, line string }{
		{"HEAD /graphql?query={hello} HTTP/1.1\r\nHost: x\r\nApollo-Require-Preflight: yes\r\n\r\n", "HTTP/1.1 200 OK"},
		{"HEAD /graphql?query={nope} HTTP/1.1\r\nHost: x\r\nApollo-Require-Preflight: yes\r\n\r\n", "HTTP/1.1 422 Unprocessable Entity"},
		{"HEAD /graphql?query=mutation{touch(name:%22x%22)} HTTP/1.1\r\nHost: x\r\nApollo-Require-Preflight: yes\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"},
		{"HEAD /graphql?query={fail(how:CODED)} HTTP/1.1\r\nHost: x\r\nApollo-Require-Preflight: yes\r\nAccept: application/graphql-response+json\r\n\r\n", "HTTP/1.1 294 Partial Success"},
	} {
		conn := dial(t, address)
		if _, err := conn.Write([]byte(c.request + "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		length := 0
		for i := 0; ; i++ {
			line, err := conn.r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			line = strings.TrimRight(line, "\r\n")
			if i == 0 && line != c.line {
				t.Errorf("%q, want %q", line, c.line)
			}
			if _, err := fmt.Sscanf(line, "Content-Length: %d", &length); err == nil && length == 0 {
				t.Error(line)
			}
			if line == "" {
				break
			}
		}
		if line, err := conn.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") || length == 0 {
			t.Errorf("after the header came %q, %v", line, err)
		}
	}
}

// Sections "Accept" and "Body", and RFC 9110, 12.5.1.
func TestAccept(t *testing.T) {
	newer, none := media{typeGraphQL, typeGraphQL}, media{}
	for accept, want := range map[string]media{
		// "A server has the option to choose": what anything means is what it always did.
		"":                     legacy,
		" ":                    legacy,
		"*/*":                  legacy,
		"application/*":        legacy,
		"*/*;q=0.1":            legacy,
		"text/html, */*;q=0.8": legacy,

		"application/json":                  legacy,
		"application/json;charset=utf-8":    legacy,
		"APPLICATION/JSON":                  legacy,
		"application/json, text/plain, */*": legacy, // axios
		"multipart/mixed;deferSpec=20220824,application/graphql-response+json,application/json;q=0.9": newer,

		"application/graphql-response+json":                                                 newer,
		"application/graphql-response+json; charset=utf-8, application/json; charset=utf-8": newer,
		"application/graphql-response+json, application/json;q=0.9":                         newer,
		"application/json, application/graphql-response+json":                               newer,
		"application/graphql-response+json;q=0.5, */*;q=0.1":                                newer,
		"application/json;q=0.2, application/*;q=0.3":                                       newer,
		"text/html, Application/GraphQL-Response+JSON":                                      newer,
		"application/graphql-response+json , application/json ; q=0.9":                      newer,

		"application/json, application/graphql-response+json;q=0.5": legacy,
		"application/graphql-response+json;q=0, application/json":   {typeJSON, typeJSON},
		"*/*, application/graphql-response+json;q=0":                {typeJSON, typeJSON},
		"application/json;q=0, */*":                                 newer,
		"application/json;q=nonsense":                               none,
		"application/json;q=7":                                      legacy,

		"text/html":                                  none,
		"application/graphql-response+json;q=0":      none,
		"*/*;q=0":                                    none,
		"application/json;charset=latin1":            none,
		"application/graphql+json":                   none, // a name from before the draft
		"application/json;charset=latin1, */*;q=0.1": legacy,
		"application/xml, text/event-stream":         none,
		"nonsense":                                   none,
		",;,=":                                       none,
	} {
		got, ok := negotiate([]byte(accept))
		if got != want || ok != (want != none) {
			t.Errorf("%q: %v, %v, want %v", accept, got, ok, want)
		}
	}
}

// Several Accept headers are one list.
func TestSeveralAcceptHeaders(t *testing.T) {
	w := newTestWorker(t, Config{})
	ctx := new(fasthttp.RequestCtx)
	ctx.Request.SetRequestURI("/graphql?query={hello}")
	ctx.Request.Header.Add("Accept", "text/html")
	ctx.Request.Header.Add("Accept", "application/graphql-response+json")
	if w.server.Handler(ctx); string(ctx.Response.Header.ContentType()) != typeGraphQL {
		t.Error(ctx.Response.String())
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
			w := newTestWorker(t, Config{Log: logtext.Logger(&out)})
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
