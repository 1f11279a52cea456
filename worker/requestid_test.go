package worker

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/nekoctl/neko/logtext"
)

var madeID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func TestRequestID(t *testing.T) {
	var seen *Caller
	w := newTestWorker(t, Config{Context: func(ctx context.Context) context.Context {
		seen = CallerFrom(ctx)
		return ctx
	}})
	for given, kept := range map[string]bool{
		"abc-123":                                  true,
		"7f3c2a9e-0b1d-4c5e-8f6a-9b8c7d6e5f40":     true,
		"Root=1-67891233-abcdef012345678912345678": true,
		strings.Repeat("x", maxRequestID):          true,
		strings.Repeat("x", maxRequestID+1):        false,
		"":                                         false,
		`a"b`:                                      false,
		"a b":                                      false,
		"a\tb":                                     false,
		"ä":                                        false,
		"<script>":                                 false,
	} {
		ctx := w.ask("POST", "/graphql", asJSON+"\nX-Request-Id: "+given, `{"query":"{hello}"}`)
		id := string(ctx.Response.Header.Peek("X-Request-Id"))
		if kept && id != given || !kept && !madeID.MatchString(id) || seen.RequestID != id || !seen.IP.IsValid() {
			t.Errorf("%q: %q, and the resolver knows %q", given, id, seen.RequestID)
		}
	}
	a, b := appendRequestID(nil, nil), appendRequestID(nil, nil)
	if bytes.Equal(a, b) {
		t.Errorf("%s twice", a)
	}
}

// What the log says of a request can be found by what its client was told.
func TestLogNamesTheRequest(t *testing.T) {
	for query, want := range map[string]string{
		"{fail(how: PLAIN)}": `error: fail: password=hunter2 (request_id=cat-1)`,
		"{fail(how: PANIC)}": `error: panic in a resolver: the secret of the resolver (request_id=cat-1)`,
	} {
		var out bytes.Buffer
		w := newTestWorker(t, Config{Log: logtext.Logger(&out)})
		w.ask("POST", "/graphql", asJSON+"\nX-Request-Id: cat-1", `{"query":"`+query+`"}`)
		if line, _, _ := strings.Cut(out.String(), "\n"); line != want {
			t.Errorf("%q, want %q", line, want)
		}
	}
}
