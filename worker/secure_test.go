package worker

import (
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// Every answer, good or bad, is one that a browser does nothing else with.
func TestSecurityHeaders(t *testing.T) {
	w := newTestWorker(t, Config{Handlers: map[string]fasthttp.RequestHandler{
		"/page": func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Set("Content-Security-Policy", "default-src 'self'")
			ctx.Response.Header.Set("Cache-Control", "public, max-age=60")
		},
		"/panic": func(*fasthttp.RequestCtx) { panic("cat") },
	}})
	for _, c := range []struct {
		method, target, policy, cache string
		status                        int
	}{
		{"POST", "/graphql", string(valueNothing), "no-store", 200},
		{"GET", "/graphql?query={hello}", string(valueNothing), "no-store", 200},
		{"GET", "/graphql", string(valueNothing), "no-store", 422},
		{"PUT", "/graphql", string(valueNothing), "no-store", 405},
		{"GET", "/nothing", string(valueNothing), "no-store", 404},
		{"GET", "/livez", string(valueNothing), "no-store", 200},
		{"GET", "/health", string(valueNothing), "no-store", 200},
		{"GET", "/panic", string(valueNothing), "no-store", 500},
		{"GET", "/page", "default-src 'self'", "public, max-age=60", 200},
	} {
		ctx := w.ask(c.method, c.target, asJSON, `{"query":"{hello}"}`)
		if ctx.Response.StatusCode() != c.status {
			t.Errorf("%s %s: %d", c.method, c.target, ctx.Response.StatusCode())
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Content-Security-Policy":      c.policy,
			"Cache-Control":                c.cache,
			"Strict-Transport-Security":    "",
		} {
			if got := ctx.Response.Header.PeekAll(name); len(got) > 1 || string(ctx.Response.Header.Peek(name)) != want {
				t.Errorf("%s %s: %s: %q, want %q", c.method, c.target, name, got, want)
			}
		}
	}
}

func TestHSTS(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{}, ""},
		{Config{HSTS: time.Hour}, ""}, // an ingress may serve the host without TLS
		{Config{TLSCert: "x"}, ""},
		{Config{TLSCert: "x", HSTS: 365 * 24 * time.Hour}, "max-age=31536000"},
	} {
		if got := string(newHSTS(c.config)); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Further paths are for reading, and none is the worker's own.
func TestHandlers(t *testing.T) {
	h := func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("keys") }
	w := newTestWorker(t, Config{Handlers: map[string]fasthttp.RequestHandler{"/.well-known/jwks.json": h}})
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405} {
		ctx := w.plain(method, "/.well-known/jwks.json", "", "")
		if ctx.Response.StatusCode() != want || want == 405 && string(ctx.Response.Header.Peek("Allow")) != "GET, HEAD" {
			t.Errorf("%s: %d", method, ctx.Response.StatusCode())
		}
	}
	for _, path := range []string{"/graphql", "/graphql/x", "/livez", "/readyz", "/health", "", "/", "x", "/a?b", "/a%20b"} {
		_, err := New(Config{Schema: testSchema, Resolver: newTestRoot(), Handlers: map[string]fasthttp.RequestHandler{path: h}})
		if err == nil || !strings.Contains(err.Error(), "Config.Handlers") {
			t.Errorf("%q: %v", path, err)
		}
	}
	if _, err := New(Config{Schema: testSchema, Resolver: newTestRoot(), Handlers: map[string]fasthttp.RequestHandler{"/x": nil}}); err == nil {
		t.Error("a path without a handler")
	}
}
