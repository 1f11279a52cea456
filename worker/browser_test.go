package worker

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/scripts/debian"
	"github.com/nekoctl/neko/scripts/npm"
	"github.com/nekoctl/neko/worker/graphiql"
	"github.com/valyala/fasthttp"
)

const (
	chromiumAccept = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
	htmlType       = "text/html; charset=utf-8"
)

// Who gets GraphiQL: a browser that goes to /graphql, and nobody else.
func TestGraphiQLIsForBrowsers(t *testing.T) {
	served, not := newTestWorker(t, Config{}), newTestWorker(t, Config{NoGraphiQL: true})
	page := string(served.ask("GET", "/graphql", chromiumAccept, "").Response.Body())
	for _, c := range []struct {
		what           string
		w              *Worker
		method, target string
		header, body   string
		status         int
		media          string
	}{
		{"a browser", served, "GET", "/graphql", chromiumAccept, "", 200, htmlType},
		{"that asks for the head", served, "HEAD", "/graphql", chromiumAccept, "", 200, htmlType},
		{"with parameters that are not GraphQL's", served, "GET", "/graphql?utm_source=mail", chromiumAccept, "", 200, htmlType},
		{"with a query in the URL", served, "GET", "/graphql?query={hello}", chromiumAccept, "", 200, typeJSON},
		{"with an empty one", served, "GET", "/graphql?query=", chromiumAccept, "", 422, typeGraphQL},
		{"with a persisted query", served, "GET", "/graphql?extensions={}", chromiumAccept, "", 422, typeGraphQL},
		{"with a form", served, "POST", "/graphql", chromiumAccept + "\nContent-Type: application/x-www-form-urlencoded", "query={hello}", 415, typeGraphQL},
		{"without GraphiQL", not, "GET", "/graphql", chromiumAccept, "", 422, typeGraphQL},
		{"elsewhere", served, "GET", "/graphql/", chromiumAccept, "", 404, typeJSON},
		{"in the assets' folder", served, "GET", "/graphql/assets/", chromiumAccept, "", 404, typeJSON},
		{"above it", served, "GET", "/graphql/assets/../page.html", chromiumAccept, "", 404, typeJSON},
		{"curl", served, "GET", "/graphql", "Accept: */*", "", 422, typeGraphQL},
		{"a client", served, "GET", "/graphql", "Accept: application/graphql-response+json, application/json;q=0.9", "", 422, typeGraphQL},
		{"a head for curl", served, "HEAD", "/graphql", "Accept: */*", "", 422, typeGraphQL},
		{"a query of a browser's script", served, "POST", "/graphql", asJSON + "\nAccept: */*", `{"query":"{hello}"}`, 200, typeJSON},
	} {
		t.Run(c.what, func(t *testing.T) {
			ctx := c.w.ask(c.method, c.target, c.header, c.body)
			if status, media := ctx.Response.StatusCode(), string(ctx.Response.Header.ContentType()); status != c.status || media != c.media {
				t.Errorf("%d %s, want %d %s", status, media, c.status, c.media)
			}
			if vary := string(ctx.Response.Header.Peek("Vary")); !strings.Contains(vary, "Accept") {
				t.Errorf("Vary: %s", vary)
			}
			if body := string(ctx.Response.Body()); (body == page) != (c.media == htmlType) || !strings.Contains(page, "<title>GraphiQL") {
				t.Errorf("%s", body)
			}
		})
	}
}

func TestPrefersHTML(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                                 false,
		"*/*":                              false,
		"text/*":                           true,
		"text/html":                        true,
		"Text/HTML; charset=utf-8":         true,
		"text/html, */*":                   true,
		"text/html;q=0.8, */*;q=0.9":       false,
		"text/html;q=0, */*":               false,
		"text/html;q=x":                    false,
		"text/html, application/json":      false,
		"text/html, application/*":         true,
		"application/json, text/html;q=.9": false,
		"application/json;q=0.5, text/html;q=0.6, application/graphql-response+json;q=0.7": false,
		"application/json;q=0.5, text/html;q=0.6, */*;q=0.1":                               true,
		"*/*, application/json;q=0.1, text/html;q=0.9":                                     false, // as */* ranks the newer type
		strings.TrimPrefix(chromiumAccept, "Accept: "):                                     true,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8":                  true, // Firefox, Safari
	} {
		if got := prefersHTML(accept); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

// The page is asked for again each time, and what it loads never.
func TestGraphiQLCaching(t *testing.T) {
	w := newTestWorker(t, Config{})
	page := w.ask("GET", "/graphql", chromiumAccept, "")
	get := func(ctx *fasthttp.RequestCtx, name string) string { return string(ctx.Response.Header.Peek(name)) }
	want := map[string]string{
		"Cache-Control": "no-cache", "Vary": "Accept", "Content-Security-Policy": graphiql.Policy, "Referrer-Policy": "no-referrer",
		"X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	}
	tag := get(page, "ETag")
	again := w.ask("GET", "/graphql", chromiumAccept+"\nIf-None-Match: \"x\", W/"+tag, "")
	if again.Response.StatusCode() != 304 || len(again.Response.Body()) > 0 || get(again, "ETag") != tag {
		t.Errorf("with its own ETag: %d, %q", again.Response.StatusCode(), again.Response.Body())
	}
	for name, value := range want {
		if get(page, name) != value || get(again, name) != value {
			t.Errorf("%s: %q, and of the 304 %q", name, get(page, name), get(again, name))
		}
	}
	if other := w.ask("GET", "/graphql", chromiumAccept+"\nIf-None-Match: \"x\"", ""); other.Response.StatusCode() != 200 {
		t.Error("with another ETag:", other.Response.StatusCode())
	}

	links := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllSubmatch(page.Response.Body(), -1)
	seen := map[string]bool{}
	for _, link := range links {
		if string(link[1]) == "data:," {
			continue
		}
		path := "/" + string(link[1]) // relative to /graphql
		packed, plain := w.ask("GET", path, "Accept-Encoding: deflate, gzip, br", ""), w.ask("GET", path, "Accept-Encoding: gzip;q=0, br", "")
		for _, a := range []*fasthttp.RequestCtx{packed, plain} {
			if a.Response.StatusCode() != 200 || get(a, "Cache-Control") != "public, max-age=31536000, immutable" || get(a, "Vary") != "Accept-Encoding" || get(a, "X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %d\n%s", path, a.Response.StatusCode(), &a.Response.Header)
			}
		}
		z, err := gzip.NewReader(bytes.NewReader(packed.Response.Body()))
		if err != nil {
			t.Fatal(path, err)
		}
		unpacked, err := io.ReadAll(z)
		if err != nil || get(packed, "Content-Encoding") != "gzip" || get(plain, "Content-Encoding") != "" || !bytes.Equal(unpacked, plain.Response.Body()) {
			t.Errorf("%s: %d bytes of %q, %d of %q, %v", path, len(unpacked), get(packed, "Content-Encoding"), len(plain.Response.Body()), get(plain, "Content-Encoding"), err)
		}
		seen[get(packed, "Content-Type")] = true
	}
	if want := map[string]bool{"text/css; charset=utf-8": true, "text/javascript; charset=utf-8": true, "text/plain; charset=utf-8": true}; !reflect.DeepEqual(seen, want) {
		t.Errorf("the page names %v, want %v", seen, want)
	}
}

// What a person sees in a browser. SHOTS=FOLDER leaves pictures there.
func TestGraphiQLInChromium(t *testing.T) {
	chromium, node, playwright := debian.Need(t, "chromium", "chromium"), npm.Node(t, "node"), npm.Need(t, "playwright-core@1.65.1")

	var mu sync.Mutex
	var authorized []string // queries that came with the header
	w := newTestWorker(t, Config{})
	serve := w.server.Handler
	w.server.Handler = func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Request.Header.Peek("Authorization")) == "Bearer s3cret" {
			mu.Lock()
			authorized = append(authorized, string(ctx.PostBody()))
			mu.Unlock()
		}
		serve(ctx)
	}
	refusing := newTestWorker(t, Config{})
	serveRefusing := refusing.server.Handler
	refusing.server.Handler = func(ctx *fasthttp.RequestCtx) {
		if bytes.Contains(ctx.PostBody(), []byte("__schema")) {
			refuse(ctx, malformed("introspection is off here"))
			return
		}
		serveRefusing(ctx)
	}
	own, other := "http://"+w.serveTest(t), "http://"+refusing.serveTest(t)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "testdata/browser.mjs", playwright, own+graphqlPath, other+graphqlPath)
	cmd.Env = append(os.Environ(), "CHROMIUM="+chromium)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	saw := map[string]json.RawMessage{}
	for line := range bytes.Lines(out) {
		var s struct {
			Step string
			Seen json.RawMessage
		}
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		saw[s.Step] = s.Seen
	}
	if err != nil {
		t.Fatalf("%v\n%s\nseen so far:\n%s", err, &said, out)
	}

	// is is the whole of what was seen, has is in it, and lacks is not.
	is, has, lacks := "is", "has", "lacks"
	for _, c := range []struct{ step, how, want string }{
		{"default query", has, `query {\n  __typename\n}`},
		{"runs", is, `"{\"data\":{\"__typename\":\"Query\"}}"`},
		{"completes", is, `["hello"]`},
		{"completed", is, `"{hello}"`},
		{"completed runs", is, `"{\"data\":{\"hello\":\"world\"}}"`},
		{"docs of a type", has, `What is asked.`},
		{"docs of a type", has, `hello: String!`},
		{"docs of a field", has, `An answer that comes when the test says so.`},
		{"docs of a field", has, `Boolean!`},
		{"with a header", is, `"{\"data\":{\"again\":\"world\"}}"`},
		{"stored", has, `again`},
		{"stored", lacks, `s3cret`},
		{"settings", has, `Theme`},
		{"settings", lacks, `headers`}, // to store them is no choice
		{"light and dark", is, `["rgb(255, 255, 255)","rgb(33, 42, 59)"]`},
		{"query after a reload", has, `{ again: hello }`},
		{"headers after a reload", is, `""`},
		{"complaints", is, `[]`},
		{"docs without introspection", has, `The server does not show its schema`},
		{"docs without introspection", has, `introspection is off here`},
		{"runs without introspection", is, `"{\"data\":{\"__typename\":\"Query\"}}"`},
		{"another without introspection", is, `"{\"data\":{\"hello\":\"world\"}}"`},
	} {
		got := string(saw[c.step])
		if got == "" || c.how == is && got != c.want || c.how == has && !strings.Contains(got, c.want) || c.how == lacks && strings.Contains(got, c.want) {
			t.Errorf("%s: %s\n%s: %s", c.step, got, c.how, c.want)
		}
	}

	mu.Lock()
	defer mu.Unlock()
	if len(authorized) != 1 || !strings.Contains(authorized[0], "again: hello") {
		t.Errorf("with the header came: %q", authorized)
	}
	// Chromium itself reports the refused introspections, and nothing else is wrong.
	var complaints []string
	if err := json.Unmarshal(saw["complaints without introspection"], &complaints); err != nil {
		t.Fatal(err)
	}
	for _, c := range complaints {
		if !strings.Contains(c, "the server responded with a status of 422") {
			t.Error(c)
		}
	}
	var origins map[string]int
	if err := json.Unmarshal(saw["origins"], &origins); err != nil {
		t.Fatal(err)
	}
	if len(origins) != 2 || origins[own] == 0 || origins[other] == 0 {
		t.Errorf("requests by origin: %v", origins)
	}
}
