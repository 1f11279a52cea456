package worker

import (
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// plain serves one request as it is: ask says that it is not forged.
func (w *Worker) plain(method, target, header, body string) *fasthttp.RequestCtx {
	return w.ask(method, target, "Apollo-Require-Preflight: \n"+header, body)
}

// What Apollo Server's csrfPrevention lets through and what it does not: its
// version 5.5, with its default headers.
func TestCSRFPrevention(t *testing.T) {
	w := newTestWorker(t, Config{})
	const get, body = "/graphql?query={hello}", `{"query":"{hello}"}`
	for _, c := range []struct {
		what, method, header string
		status               int
	}{
		{"JSON by POST", "POST", "Content-Type: application/json", 200},
		{"with a charset", "POST", "Content-Type: application/json; charset=utf-8", 200},
		{"in capitals", "POST", "Content-Type: Application/JSON", 200},
		{"a link, an image, a script of another site", "GET", "", 400},
		{"a GET of Apollo Client Web", "GET", "Content-Type: application/json", 200},
		{"a GET of Apollo iOS and Kotlin", "GET", "X-Apollo-Operation-Name: Q", 200},
		{"of anybody who was told", "GET", "Apollo-Require-Preflight: true", 200},
		{"by HTML forms, the first", "POST", "Content-Type: application/x-www-form-urlencoded", 400},
		{"the second", "POST", "Content-Type: multipart/form-data; boundary=x", 400},
		{"the third", "POST", "Content-Type: text/plain", 400},
		{"dressed up", "POST", "Content-Type: \tText/Plain ; charset=application/json", 400},
		{"with JSON as a parameter", "POST", "Content-Type: text/plain;application/json", 400},
		{"a form that a script sends is only of the wrong type", "POST", "Content-Type: text/plain\nX-Apollo-Operation-Name: Q", 415},
		{"a body without a type, as of a Blob", "POST", "Content-Type: ", 400},
		{"a type that makes browsers ask first is only wrong", "POST", "Content-Type: application/graphql", 415},
		{"so is what is no type", "POST", "Content-Type: nonsense", 415},
		{"a GET with a type for which a browser has not asked first", "GET", "Content-Type: message/http", 415},
		{"and with no type at all", "GET", "Content-Type: nonsense", 415},
		{"and of a form, with the header", "GET", "Content-Type: text/plain\nApollo-Require-Preflight: true", 415},
		{"other headers do not count", "GET", "X-Requested-With: XMLHttpRequest\nOrigin: http://evil.example\nAuthorization: Bearer x", 400},
	} {
		t.Run(c.what, func(t *testing.T) {
			target, sent := "/graphql", body
			if c.method == "GET" {
				target, sent = get, ""
			}
			ctx := w.plain(c.method, target, c.header, sent)
			answer := string(ctx.Response.Body())
			if ctx.Response.StatusCode() != c.status {
				t.Errorf("%d %s, want %d", ctx.Response.StatusCode(), answer, c.status)
			}
			const message = "potential Cross-Site Request Forgery (CSRF)"
			if blocked := strings.Contains(answer, message); blocked != (c.status == 400) || blocked && !strings.Contains(answer, `"code":"BAD_REQUEST"`) {
				t.Error(answer)
			}
		})
	}
	if ctx := w.plain("GET", "/readyz", "", ""); ctx.Response.StatusCode() != 200 {
		t.Error("probes have no such header:", ctx.Response.StatusCode())
	}
}

func TestCSRFSettings(t *testing.T) {
	const get = "/graphql?query={hello}"
	off := newTestWorker(t, Config{NoCSRFPrevention: true})
	if ctx := off.plain("GET", get, "", ""); ctx.Response.StatusCode() != 200 {
		t.Error("off:", ctx.Response.StatusCode())
	}
	own := newTestWorker(t, Config{CSRFHeaders: []string{"x-mine"}})
	for header, want := range map[string]int{"X-Mine: 1": 200, "X-Apollo-Operation-Name: Q": 400} {
		if ctx := own.plain("GET", get, header, ""); ctx.Response.StatusCode() != want {
			t.Errorf("%s: %d", header, ctx.Response.StatusCode())
		}
	}
	for _, bad := range []string{"Accept", "cookie", "Sec-Fetch-Site", "a b", ""} {
		if _, err := New(Config{Schema: testSchema, Resolver: newTestRoot(), CSRFHeaders: []string{bad}}); err == nil {
			t.Errorf("%q is sent by any page", bad)
		}
	}
}

// A spare warms up as a request does that is not refused.
func TestWarmUpRuns(t *testing.T) {
	w := newTestWorker(t, Config{})
	w.warmUp()
	if n := len(w.planner.cache.plans); n != 1 {
		t.Errorf("%d plans after it", n)
	}
}
