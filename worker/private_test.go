package worker

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/nekoctl/neko/cache"
)

// ways are all the ways to send a query.
var ways = []struct {
	name string
	send func(w *Worker, header, query string) *fasthttp.RequestCtx
}{
	{"POST", func(w *Worker, header, query string) *fasthttp.RequestCtx { return w.query(header, query) }},
	{"POST for the older media type", func(w *Worker, header, query string) *fasthttp.RequestCtx {
		return w.ask("POST", "/graphql", asJSON+"\n"+header, fmt.Sprintf(`{"query":%q}`, query))
	}},
	{"GET", func(w *Worker, header, query string) *fasthttp.RequestCtx { return w.get("GET", header, query) }},
	{"HEAD", func(w *Worker, header, query string) *fasthttp.RequestCtx { return w.get("HEAD", header, query) }},
	{"an automatic persisted query", func(w *Worker, header, query string) *fasthttp.RequestCtx {
		return w.ask("POST", "/graphql", asGraphQL+"\n"+header, fmt.Sprintf(`{"query":%q,"extensions":{"persistedQuery":{"version":1,"sha256Hash":%q}}}`, query, hashOf(query)))
	}},
	{"its hash", func(w *Worker, header, query string) *fasthttp.RequestCtx {
		return w.ask("POST", "/graphql", asGraphQL+"\n"+header, fmt.Sprintf(`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":%q}}}`, hashOf(query)))
	}},
	{"its hash by GET", func(w *Worker, header, query string) *fasthttp.RequestCtx {
		return w.ask("GET", "/graphql?extensions="+url.QueryEscape(fmt.Sprintf(`{"persistedQuery":{"version":1,"sha256Hash":%q}}`, hashOf(query))), header, "")
	}},
	{"its hash as an id", func(w *Worker, header, query string) *fasthttp.RequestCtx {
		return w.ask("GET", "/graphql?documentId=sha256:"+hashOf(query).String(), header, "")
	}},
	{"a trusted document", func(w *Worker, header, query string) *fasthttp.RequestCtx {
		return w.ask("POST", "/graphql", asGraphQL+"\n"+header, fmt.Sprintf(`{"documentId":%q}`, trustedID(query)))
	}},
	{"a batch", func(w *Worker, header, query string) *fasthttp.RequestCtx {
		return w.ask("POST", "/graphql", asGraphQL+"\n"+header, fmt.Sprintf(`[{"query":%q}, {"query":%[1]q}]`, query))
	}},
	{"a name that is null", func(w *Worker, header, query string) *fasthttp.RequestCtx {
		return w.ask("POST", "/graphql", asGraphQL+"\n"+header, fmt.Sprintf(`{"query":%q,"operationName":null,"variables":{"subject":"user:ann"}}`, query))
	}},
	{"an empty name", func(w *Worker, header, query string) *fasthttp.RequestCtx {
		return w.ask("POST", "/graphql", asGraphQL+"\n"+header, fmt.Sprintf(`{"operationName":"","query":%q}`, query))
	}},
	{"another request id", func(w *Worker, header, query string) *fasthttp.RequestCtx {
		return w.get("GET", header+"\nX-Request-Id: ann", query)
	}},
}

func trustedID(query string) string { return "doc-" + hashOf(query).String()[:8] }

// Nobody gets what was made for somebody else, by whatever way both have asked: each way to send
// a query is tried by everybody after each way by its owner.
func TestPrivateAnswers(t *testing.T) {
	queries := []string{
		`{mine {text}}`, `query Mine {mine {text}}`, `{m: mine {t: text}}`, `query A {...F} fragment F on Query {mine {text}}`,
		`{mine {text} note(id: "a") {text}}`, `{note(id: "a") {text} mine {text} read {text}}`, `query($x: Boolean = false) {mine @skip(if: $x) {text}}`,
	}
	list := map[string]string{}
	for _, q := range queries {
		list[trustedID(q)] = q
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "trusted.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	w, _ := newNotes(t, Config{MaxBatch: 5, TrustedDocuments: file}, cache.Options{})
	people := []struct{ header, subject string }{
		{asAnn, "user:ann"}, {asBob, "user:bob"}, {asRoot, "user:root"},
		{"X-API-Key: key:ann READER", "key:ann"},
		{"X-API-Key: user:ann2 READER Query.*", "user:ann2"},
		{"Authorization: Bearer user:an nREADER", "user:an"},
		{"", ""},
		{"Authorization: Bearer disabled READER", "-"},
		{"Authorization: Bearer forged", "-"},
		{"X-API-Key: key:1 READER Query.note", "-"},
	}
	readers := map[string]bool{"user:ann": true, "user:bob": true, "user:root": true, "key:ann": true, "user:ann2": true}
	asked := 0
	for _, query := range queries {
		for _, owner := range ways {
			a := owner.send(w, asAnn, query)
			etag := head(a, "ETag")
			if body := string(a.Response.Body()); !strings.Contains(body, `"for user:ann"`) && !a.IsHead() {
				t.Fatalf("%s by %s: %s", query, owner.name, body)
			}
			for _, other := range people {
				for _, way := range ways {
					for _, header := range []string{other.header, other.header + "\nIf-None-Match: " + etag} {
						asked++
						ctx := way.send(w, header, query)
						body, status := string(ctx.Response.Body()), ctx.Response.StatusCode()
						said := strings.Count(body, "for ") - strings.Count(body, "is for ")
						own := strings.Count(body, `"for `+other.subject+`"`)
						if said != own {
							t.Fatalf("%s, by %s and then by %s as %q: %d %s", query, owner.name, way.name, header, status, body)
						}
						mine := other.subject == "user:ann"
						if !mine && (status == 304 || etag != "" && head(ctx, "ETag") == etag) {
							t.Fatalf("%s, by %s and then by %s as %q: %d %s", query, owner.name, way.name, header, status, ctx.Response.Header.String())
						}
						if control := head(ctx, "Cache-Control"); strings.Contains(control, "public") {
							t.Fatalf("%s by %s as %q: %s", query, way.name, header, control)
						}
						if way.name == "POST" && (status == 200) != (other.subject != "-" && (readers[other.subject] || !strings.Contains(query, "read"))) {
							t.Fatalf("%s as %q: %d %s", query, header, status, body)
						}
					}
				}
			}
		}
	}
	if asked < 10_000 {
		t.Errorf("only %d were asked", asked)
	}
}

// What needs a role is for who has it, also when it is in the cache; and so with scopes.
func TestCachedAnswersNeedTheirRole(t *testing.T) {
	w, n := newNotes(t, Config{MaxBatch: 5}, cache.Options{})
	const query = `{read {text}}`
	etag := head(w.query(asAnn, query), "ETag")
	for _, way := range ways[:5] { // the last of which registers it
		way.send(w, asAnn, query)
	}
	if w.query(asBob, query); n.times("read") != 1 {
		t.Errorf("made %d times for one role", n.times("read"))
	}
	if w.query(asRoot, query); n.times("read") != 2 {
		t.Errorf("made %d times for two roles", n.times("read"))
	}
	for _, way := range ways {
		if way.name == "a trusted document" {
			continue
		}
		for header, code := range map[string]string{
			"": "UNAUTHENTICATED", "Authorization: Bearer user:x ANYONE": "FORBIDDEN", "Authorization: Bearer user:x NOBODY": "FORBIDDEN",
			"Authorization: Bearer user:ann READER Query.note": "FORBIDDEN", "Authorization: Bearer disabled READER": "UNAUTHENTICATED",
		} {
			ctx := way.send(w, header+"\nIf-None-Match: "+etag, query)
			body := string(ctx.Response.Body())
			if strings.Contains(body, "one") || !strings.Contains(body, code) && !ctx.IsHead() || ctx.Response.StatusCode() == 304 || head(ctx, "Cache-Control") != "no-store" {
				t.Errorf("%s as %q: %d %s", way.name, header, ctx.Response.StatusCode(), body)
			}
		}
	}
	if n.times("read") != 2 {
		t.Error("somebody who may not was served")
	}
}

// What all get is made for nobody in particular, whoever asks first; what is one's own, for them;
// and who wait for the same at once get what is theirs.
func TestWhoAnswersAreMadeFor(t *testing.T) {
	w, n := newNotes(t, Config{}, cache.Options{})
	for _, c := range []struct {
		header, query string
		want          Identity
	}{
		{asAnn, `{note(id: "a") {text}}`, Identity{}},
		{asAnn, `{read {text}}`, Identity{Role: "READER"}},
		{asAnn, `{mine {text}}`, Identity{Subject: "user:ann", Name: "user:ann", Role: "READER"}},
		{asAnn, `{fresh}`, Identity{Subject: "user:ann", Name: "user:ann", Role: "READER"}},
	} {
		ctx := w.query(c.header, c.query)
		if ctx.Response.StatusCode() != 200 {
			t.Fatalf("%s", ctx.Response.Body())
		}
		if got := n.caller; fmt.Sprint(got.Identity) != fmt.Sprint(c.want) || got.RequestID == "" || got.IP.IsValid() && c.query != `{fresh}` {
			t.Errorf("%s was made for %+v", c.query, got)
		}
	}

	gate := make(chan struct{})
	n.mu.Lock()
	n.gate = gate
	before := n.resolved["note"]
	n.mu.Unlock()
	var all sync.WaitGroup
	for i := range 12 {
		who := fmt.Sprintf("user:%d", i%3)
		for query, want := range map[string]string{`{mine {id text}}`: `{"data":{"mine":{"id":"a","text":"for ` + who + `"}}}`, `{note(id: "b") {text}}`: `{"data":{"note":{"text":"two"}}}`} {
			all.Go(func() {
				if got := string(w.query("Authorization: Bearer "+who+" READER", query).Response.Body()); got != want {
					t.Errorf("%s as %s: %s", query, who, got)
				}
			})
		}
	}
	for field := range n.begun {
		if field == "note" {
			break
		}
	}
	close(gate)
	all.Wait()
	if got := n.times("note"); got > before+12 || got == before {
		t.Errorf("made %d times", got-before)
	}
}
