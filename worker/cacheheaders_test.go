package worker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/nekoctl/neko/cache"
)

func (w *Worker) get(method, header, query string) *fasthttp.RequestCtx {
	return w.ask(method, "/graphql?query="+url.QueryEscape(query), "Accept: application/graphql-response+json\n"+header, "")
}

const (
	asAnn  = "Authorization: Bearer user:ann READER"
	asBob  = "Authorization: Bearer user:bob READER"
	asRoot = "Authorization: Bearer user:root ADMIN"
)

// What answers say of themselves.
func TestCacheHeaders(t *testing.T) {
	open, n := newNotes(t, Config{MaxBatch: 5}, cache.Options{})
	closed, _ := newNotes(t, Config{DefaultRole: "READER"}, cache.Options{})
	n.fail(nil)
	const public = "max-age=60, public, stale-while-revalidate=6, stale-if-error=86340"
	private := strings.Replace(public, "public", "private", 1)
	const who = "Accept, Authorization, X-API-Key"
	for _, c := range []struct {
		why             string
		w               *Worker
		header, query   string
		control         string
		vary, tags, age string
	}{
		{"anybody's", open, "", `{note(id: "a") {text}}`, public, "Accept", "Note,Note:a", "0"},
		{"the same for who has credentials", open, asAnn, `{note(id: "a") {text}}`, private, "Accept", "Note,Note:a", "0"},
		{"and for an API key", open, "X-API-Key: key:1 READER", `{note(id: "a") {text}}`, private, "Accept", "Note,Note:a", "0"},
		{"a long one, which has codings", open, "", `{note(id: "a") {long}}`, public, "Accept, Accept-Encoding", "Note,Note:a", "0"},
		{"in one of them", open, "Accept-Encoding: gzip", `{note(id: "a") {long}}`, public, "Accept, Accept-Encoding", "Note,Note:a", "0"},
		{"one that says that there is nothing", open, "", `{note(id: "zz") {text}}`, "max-age=10, public", "Accept", "Note,Note:zz", "0"},
		{"one's own", open, asAnn, `{mine {text}}`, private, who, "Note,Note:list", "0"},
		{"one's own is nobody's without a name", open, "", `{mine {text}}`, "no-store", "Accept", "", ""},
		{"a role's", open, asAnn, `{read {text}}`, private, who, "Note,Note:list", "0"},
		{"where nothing is for everybody", closed, asAnn, `{note(id: "a") {text}}`, private, who, "Note,Note:a", "0"},
		{"what is not kept", open, "", `{fresh}`, "no-store", "Accept", "", ""},
		{"an answer with something that is not", open, "", `{fresh note(id: "a") {text}}`, "no-store", "Accept", "", ""},
		{"a mutation", open, "", `mutation {write(id: "q", text: "x") {text}}`, "no-store", "Accept", "", ""},
		{"introspection", open, "", `{__schema {description} note(id: "a") {text}}`, "no-store", "Accept", "", ""},
		{"an error of the request", open, "", `{nothing}`, "no-store", "Accept", "", ""},
		{"who may not", open, "", `{read {text}}`, "no-store", "Accept", "", ""},
		{"whose credentials are bad", open, "Authorization: Bearer forged", `{note(id: "a") {text}}`, "no-store", "Accept", "", ""},
	} {
		for _, again := range []bool{false, true} {
			ctx := c.w.query(c.header, c.query)
			if got := []string{head(ctx, "Cache-Control"), head(ctx, "Vary"), head(ctx, "Cache-Tag"), head(ctx, "Age")}; got[0] != c.control || got[1] != c.vary || got[2] != c.tags || got[3] != c.age {
				t.Errorf("%s (again: %v): %d %q", c.why, again, ctx.Response.StatusCode(), got)
			}
			if etag := head(ctx, "ETag"); (etag != "") != (c.age != "") || etag != "" && (!strings.HasPrefix(etag, `W/"`) || !strings.HasSuffix(etag, `"`)) {
				t.Errorf("%s: ETag: %q", c.why, etag)
			}
		}
	}

	ctx := open.ask("POST", "/graphql", asGraphQL, `[{"query":"{note(id: \"a\") {text}}"},{"query":"{count}"},{"query":"{fresh}"}]`)
	if got := string(ctx.Response.Body()); got != `[{"data":{"note":{"text":"one"}}},{"data":{"count":4}},{"data":{"fresh":""}}]` || head(ctx, "Cache-Control") != "no-store" || head(ctx, "ETag")+head(ctx, "Age") != "" {
		t.Errorf("a batch: %s %s", got, ctx.Response.Header.String())
	}
	before := n.times("note")
	if open.ask("POST", "/graphql", asGraphQL, `[{"query":"{note(id: \"a\") {text}}"}]`); n.times("note") != before {
		t.Error("a batch has nothing of the cache")
	}

	n.fail(NewError("SOME", "no"))
	if ctx := open.query("", `{note(id: "b") {text}}`); ctx.Response.StatusCode() != statusPartial || head(ctx, "Cache-Control") != "no-store" {
		t.Errorf("an answer with an error: %s", ctx.Response.Header.String())
	}
}

// Whose answer is still the same is not sent it again: 304, with what RFC 9110 wants of one.
func TestNotModified(t *testing.T) {
	w, _ := newNotes(t, Config{}, cache.Options{})
	const short, long = `{note(id: "a") {text}}`, `{note(id: "a") {long}}`
	tag := head(w.get("GET", "", short), "ETag")
	strong := strings.TrimPrefix(tag, "W/")
	for _, c := range []struct {
		match string
		same  bool
	}{
		{tag, true},
		{strong, true}, // weak comparison
		{`"x", ` + tag, true},
		{`W/"x",` + tag + `, "y"`, true},
		{` , ` + tag, true},
		{`"a,b", ` + strong, true},
		{"*", true},
		{`"x"`, false},
		{`""`, false},
		{strings.Trim(strong, `"`), false},
		{`"` + strong + `"`, false},
		{`w/` + strong, false},
		{`W/`, false},
		{`"`, false},
		{`W/"` + strong[1:len(strong)-1], false},
		{"", false},
	} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			var ctx *fasthttp.RequestCtx
			if method == "POST" {
				ctx = w.query("If-None-Match: "+c.match, short)
			} else {
				ctx = w.get(method, "If-None-Match: "+c.match, short)
			}
			want := 200
			if c.same && method != "POST" {
				want = 304
			}
			if got := ctx.Response.StatusCode(); got != want || head(ctx, "ETag") != tag {
				t.Errorf("%s If-None-Match: %s: %d, want %d", method, c.match, got, want)
			}
		}
	}
	full := w.get("GET", "", long)
	for _, coding := range []string{"", "Accept-Encoding: gzip", "Accept-Encoding: br"} {
		if got := head(w.get("GET", coding, long), "ETag"); got != head(full, "ETag") {
			t.Errorf("%s: ETag: %s", coding, got)
		}
		ctx := w.get("GET", coding+"\nIf-None-Match: "+head(full, "ETag"), long)
		if ctx.Response.StatusCode() != 304 || len(ctx.Response.Body()) > 0 || head(ctx, "Content-Encoding") != "" {
			t.Errorf("%s: %s", coding, ctx.Response.String())
		}
		for _, name := range []string{"Cache-Control", "ETag", "Vary", "Cache-Tag"} {
			if head(ctx, name) != head(full, name) || head(ctx, name) == "" {
				t.Errorf("%s: %s is %q in a 304, and %q else", coding, name, head(ctx, name), head(full, name))
			}
		}
	}
	w.query("", `mutation {write(id: "a", text: "new") {text}}`)
	if ctx := w.get("GET", "If-None-Match: "+tag, short); ctx.Response.StatusCode() != 200 || head(ctx, "ETag") == tag {
		t.Errorf("after a change: %d %s", ctx.Response.StatusCode(), head(ctx, "ETag"))
	}
}

// A 304 and the answer to HEAD have no body on the wire, so that what follows can be read.
func TestNotModifiedOnTheWire(t *testing.T) {
	w, _ := newNotes(t, Config{}, cache.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	ask := func(method, header string) *http.Response {
		t.Helper()
		_, _ = fmt.Fprintf(c, "%s /graphql?query=%%7Bnote%%7Blong%%7D%%7D HTTP/1.1\r\nHost: x\r\nApollo-Require-Preflight: 1\r\n%s\r\n", method, header)
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if (len(body) > 0) != (method == "GET" && resp.StatusCode == 200) {
			t.Errorf("%s %s: %d with %d bytes", method, header, resp.StatusCode, len(body))
		}
		return resp
	}
	etag := ask("GET", "").Header.Get("ETag")
	for _, method := range []string{"GET", "HEAD", "GET"} {
		if resp := ask(method, "If-None-Match: "+etag+"\r\n"); resp.StatusCode != 304 || resp.Header.Get("ETag") != etag || resp.Header.Get("Content-Type") != "" {
			t.Errorf("%s: %d %v", method, resp.StatusCode, resp.Header)
		}
		if resp := ask(method, "If-None-Match: \"x\"\r\n"); resp.StatusCode != 200 || resp.Header.Get("ETag") != etag {
			t.Errorf("%s: %d %v", method, resp.StatusCode, resp.Header)
		}
	}
}

// Where a CDN is purged, browsers, which cannot be, ask again soon, and the CDN keeps an answer for as long
// as it is good: but nothing that is somebody's, or wrong, or old because the store is away.
func TestBrowsersAskAgain(t *testing.T) {
	w, _ := newNotes(t, Config{BrowserMaxAge: 20 * time.Second}, cache.Options{})
	const whole = "max-age=60, public, stale-while-revalidate=6, stale-if-error=86340"
	private := strings.Replace(whole, "public", "private", 1)
	for _, c := range []struct{ why, header, query, control, cdn string }{
		{"anybody's", "", `{note(id: "a") {text}}`, "max-age=20, public", whole},
		{"one that says that there is nothing", "", `{note(id: "zz") {text}}`, "max-age=10, public", "max-age=10, public"},
		{"for who shows credentials", asAnn, `{note(id: "a") {text}}`, private, ""},
		{"one's own", asAnn, `{mine {text}}`, private, ""},
		{"a role's", asAnn, `{read {text}}`, private, ""},
		{"what is not kept", "", `{fresh}`, "no-store", ""},
		{"a mutation", "", `mutation {write(id: "q", text: "x") {text}}`, "no-store", ""},
		{"an error", "", `{nothing}`, "no-store", ""},
	} {
		for range 4 { // at the third time at the latest a request is known by its bytes
			ctx := w.query(c.header, c.query)
			if got := [2]string{head(ctx, "Cache-Control"), head(ctx, "CDN-Cache-Control")}; got != [2]string{c.control, c.cdn} {
				t.Errorf("%s: %q", c.why, got)
			}
			if c.cdn == "" || ctx.Response.StatusCode() != 200 {
				continue
			}
			get := w.get("GET", c.header+"If-None-Match: "+head(ctx, "ETag"), c.query)
			if get.Response.StatusCode() != 304 || head(get, "CDN-Cache-Control") != c.cdn {
				t.Errorf("%s: %d, %q", c.why, get.Response.StatusCode(), head(get, "CDN-Cache-Control"))
			}
		}
	}
}

// What is the same for browsers is not for a CDN.
func TestOneForBrowsersManyForCDNs(t *testing.T) {
	w, _ := newNotes(t, Config{BrowserMaxAge: time.Second}, cache.Options{})
	for _, c := range []struct{ query, cdn string }{
		{`{note(id: "a") {text}}`, "max-age=60, public, stale-while-revalidate=6, stale-if-error=86340"},
		{`{brief {text}}`, "max-age=1, public, stale-if-error=86399"},
	} {
		for range 4 {
			ctx := w.query("", c.query)
			if got := [2]string{head(ctx, "Cache-Control"), head(ctx, "CDN-Cache-Control")}; got != [2]string{"max-age=1, public", c.cdn} {
				t.Errorf("%s: %q", c.query, got)
			}
		}
	}
}

// What mutations invalidate is told to whom the Config names, when it is done.
func TestInvalidatedIsTold(t *testing.T) {
	var told [][]string
	w, _ := newNotes(t, Config{Invalidated: func(tags []string) { told = append(told, tags) }}, cache.Options{})
	w.query("", `{note(id: "a") {text}}`)
	w.query("", `mutation {write(id: "q", text: "x") {text}}`)
	if len(told) != 1 || !strings.EqualFold(strings.Join(told[0], " "), "Note:q Note:list") {
		t.Errorf("%q", told)
	}
}
