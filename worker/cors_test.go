package worker

import (
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestCORS(t *testing.T) {
	const app, other = "https://app.example.org", "https://evil.example"
	exact := Config{CORSOrigins: []string{"HTTPS://App.Example.org:443/", "http://localhost:3000"}}
	trusting := Config{CORSOrigins: exact.CORSOrigins, CORSCredentials: true, CORSHeaders: []string{"X-Tenant"}}
	for _, c := range []struct {
		what             string
		config           Config
		method, origin   string
		status           int
		allowed          string
		credentials      bool
		preflight, varys bool
	}{
		{"off", Config{}, "POST", app, 200, "", false, false, false},
		{"off, a preflight", Config{}, "OPTIONS", app, 405, "", false, false, false},
		{"one of the origins", exact, "POST", app, 200, app, false, false, true},
		{"its preflight", exact, "OPTIONS", app, 204, app, false, true, true},
		{"with credentials", trusting, "POST", app, 200, app, true, false, true},
		{"its preflight with credentials", trusting, "OPTIONS", app, 204, app, true, true, true},
		{"another", trusting, "POST", other, 200, "", false, false, true},
		{"its preflight in vain", trusting, "OPTIONS", other, 204, "", false, false, true},
		{"a longer host", exact, "POST", app + ".evil.example", 200, "", false, false, true},
		{"a subdomain", exact, "POST", "https://x.app.example.org", 200, "", false, false, true},
		{"another scheme", exact, "POST", "http://app.example.org", 200, "", false, false, true},
		{"another port", exact, "POST", app + ":8443", 200, "", false, false, true},
		{"with a port", exact, "POST", "http://localhost:3000", 200, "http://localhost:3000", false, false, true},
		{"null, as of a sandbox or a file", exact, "POST", "null", 200, "", false, false, true},
		{"none", exact, "POST", "", 200, "", false, false, true},
		{"two", exact, "POST", app + ", " + app, 200, "", false, false, true},
		{"everybody", Config{CORSOrigins: []string{"*"}}, "POST", other, 200, "*", false, false, false},
		{"everybody's preflight", Config{CORSOrigins: []string{"*"}}, "OPTIONS", "null", 204, "*", false, true, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newTestWorker(t, c.config)
			header := asJSON + "\nOrigin: " + c.origin
			if c.method == "OPTIONS" {
				header = "Origin: " + c.origin + "\nAccess-Control-Request-Method: POST\nAccess-Control-Request-Headers: authorization,content-type"
			}
			ctx := w.plain(c.method, "/graphql", header, `{"query":"{hello}"}`)
			h := &ctx.Response.Header
			get := func(name string) string { return string(h.Peek(name)) }
			if ctx.Response.StatusCode() != c.status || get("Access-Control-Allow-Origin") != c.allowed {
				t.Errorf("%d, allowed %q", ctx.Response.StatusCode(), get("Access-Control-Allow-Origin"))
			}
			if (get("Access-Control-Allow-Credentials") == "true") != c.credentials {
				t.Error("credentials:", get("Access-Control-Allow-Credentials"))
			}
			if c.preflight {
				headers := strings.ToLower(get("Access-Control-Allow-Headers"))
				for _, want := range []string{"authorization", "content-type", "x-api-key", "x-request-id", "x-apollo-operation-name", "apollo-require-preflight"} {
					if !strings.Contains(headers, want) {
						t.Errorf("%s is not allowed: %s", want, headers)
					}
				}
				if strings.Contains(headers, "x-tenant") != (len(c.config.CORSHeaders) > 0) {
					t.Error(headers)
				}
				if get("Access-Control-Allow-Methods") != "GET, HEAD, POST" || get("Access-Control-Max-Age") == "" || len(ctx.Response.Body()) > 0 {
					t.Errorf("%s", h)
				}
			} else if get("Access-Control-Allow-Headers")+get("Access-Control-Allow-Methods") != "" {
				t.Errorf("%s", h)
			}
			if exposed := get("Access-Control-Expose-Headers"); (exposed == corsExposed) != (c.allowed != "" && !c.preflight) {
				t.Errorf("exposed: %q", exposed)
			}
			if varies(h, "Origin") != c.varys {
				t.Errorf("Vary: %q", h.PeekAll("Vary"))
			}
		})
	}
}

func varies(h *fasthttp.ResponseHeader, by string) bool {
	for _, v := range h.PeekAll("Vary") {
		if string(v) == by {
			return true
		}
	}
	return false
}

// An answer that is an error can be read by those who may read: else a page learns
// only that something failed.
func TestCORSOfErrors(t *testing.T) {
	w := newTestWorker(t, Config{CORSOrigins: []string{"https://a.example"}})
	for _, c := range []struct {
		method, target string
		status         int
	}{{"POST", "/graphql", 415}, {"PUT", "/graphql", 405}, {"GET", "/graphql?query={hello}", 400}} {
		ctx := w.plain(c.method, c.target, "Origin: https://a.example\nX-Apollo-Operation-Name: "+map[bool]string{true: "x"}[c.status == 415], "")
		if ctx.Response.StatusCode() != c.status || string(ctx.Response.Header.Peek("Access-Control-Allow-Origin")) != "https://a.example" {
			t.Errorf("%v: %s", c, &ctx.Response.Header)
		}
	}
	if ctx := w.plain("GET", "/livez", "Origin: https://a.example", ""); ctx.Response.Header.Peek("Access-Control-Allow-Origin") != nil {
		t.Error("probes are for no page")
	}
}

func TestOrigins(t *testing.T) {
	for text, want := range map[string]string{
		"https://a.example":       "https://a.example",
		"HTTPS://A.Example/":      "https://a.example",
		"https://a.example:443":   "https://a.example",
		"http://a.example:80":     "http://a.example",
		"http://a.example:443":    "http://a.example:443",
		"http://[::1]:80":         "http://[::1]",
		"http://[::1]:3000":       "http://[::1]:3000",
		"capacitor://localhost":   "capacitor://localhost",
		"null":                    "",
		"":                        "",
		"a.example":               "",
		"a.example:443":           "",
		"https://":                "",
		"https://:443":            "",
		"https://a.example/path":  "",
		"https://a.example?x":     "",
		"https://u:p@a.example":   "",
		"https://*.a.example":     "",
		"https://ä.example":       "",
		"https://a.example:x":     "",
		"https://a.example evil":  "",
		"https://a.example\nevil": "",
	} {
		got, err := normalOrigin(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, bad := range []Config{
		{CORSOrigins: []string{"*"}, CORSCredentials: true},
		{CORSOrigins: []string{"null"}},
		{CORSOrigins: []string{"*"}, CORSHeaders: []string{"*"}},
	} {
		bad.Schema, bad.Resolver = testSchema, newTestRoot()
		if _, err := New(bad); err == nil {
			t.Errorf("%v", bad.CORSOrigins)
		}
	}
}

// A page that sends too much is told so, and not that there is no connection.
func TestCORSOfWhatIsTooLarge(t *testing.T) {
	_, address := startWorker(t, Config{MaxBody: 100, CORSOrigins: []string{"https://app.example.org"}})
	head := "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nOrigin: https://app.example.org\r\n"
	for what, request := range map[string]string{
		"announced": head + "Content-Length: 101\r\n\r\n",
		"in chunks": head + "Transfer-Encoding: chunked\r\n\r\n65\r\n" + strings.Repeat(" ", 101) + "\r\n0\r\n\r\n",
	} {
		if status, answer := exchangeRaw(t, address, request); status != "413" || !strings.Contains(answer, "Access-Control-Allow-Origin: https://app.example.org\r\n") {
			t.Errorf("%s: %s", what, answer)
		}
	}
}
