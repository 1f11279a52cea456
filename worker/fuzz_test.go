package worker

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"

	"github.com/nekoctl/neko/worker/gqltest"
)

// What gqlparser takes for valid, graph-gophers must neither refuse nor stumble
// over: then the two read the schema and the printed text alike. And what is
// printed means the same when it is printed once more.
//
//	go test -run '^$' -fuzz FuzzDocument -fuzztime 1m ./worker
func FuzzDocument(f *testing.F) {
	for _, doc := range corpusDocuments(f) {
		f.Add(doc.Text, doc.Variables)
	}
	w := newTestWorker(f, Config{Schema: shelterSchema, Resolver: &shelter{}, MaxTokens: 300})
	f.Fuzz(func(t *testing.T, doc, variables string) {
		given, bad := parseVariables([]byte(variables))
		if bad != nil || !utf8.ValidString(doc) { // no request brings one
			t.Skip()
		}
		began := time.Now()
		plan, errs := w.planner.plan(t.Context(), doc, "")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v to plan %d bytes", took, len(doc))
		}
		if errs != nil || plan.Kind == "subscription" {
			t.Skip()
		}
		values, states, e := w.planner.coerceAll(plan, given)
		if e != nil {
			t.Skip()
		}
		text, e := plan.text(states)
		if e != nil {
			t.Skip()
		}
		for _, e := range w.executor.schema.ValidateWithVariables(text, values) {
			t.Errorf("%s: %s\n%s", e.Rule, e.Message, text)
		}
		r := w.execute(w.base, plan, w.planner.input(plan, given), &Caller{})
		for _, e := range r.errors {
			if code := e.Extensions()["code"]; code == CodeValidationFailed || code == CodeInternal {
				t.Errorf("%v: %s\n%s", code, e.Message, text)
			}
		}
		if r.data != nil && !json.Valid(r.data) {
			t.Errorf("%s", r.data)
		}
		if plan.introspect || len(plan.variables) > 0 || len(r.errors) > 0 {
			return // what is asked is not all in the text
		}
		again, errs := w.planner.plan(t.Context(), text, "")
		if errs != nil {
			t.Fatalf("what is printed is refused: %s\n%s", errs[0].Message, text)
		}
		if second := w.execute(w.base, again, w.planner.input(again, given), &Caller{}); !bytes.Equal(second.data, r.data) {
			t.Errorf("%s\n%s\n%s", text, r.data, second.data)
		}
	})
}

// Documents that are made of the schema, by what the fuzzer finds to lead to new
// code: the planner and graph-gophers agree on them.
//
//	go test -run '^$' -fuzz FuzzAgreement -fuzztime 1m ./worker
func FuzzAgreement(f *testing.F) {
	b := newShelter(f)
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		doc := gqltest.Documents(b.planner.schema).Draw(t, "document")
		for _, d := range b.read(t, doc).differences {
			t.Fatalf("%s\n%s", d, doc)
		}
	}))
}

// Whatever is sent, the answer is JSON with data or with errors that have a code,
// no panic and not a fault of ours.
//
//	go test -run '^$' -fuzz FuzzRequest -fuzztime 1m ./worker
func FuzzRequest(f *testing.F) {
	f.Add(true, `/graphql`, `application/json`, `{"query":"{hello}","variables":{"a":[1,{"b":null}]},"operationName":null,"extensions":{}}`)
	f.Add(true, `/graphql`, `application/json; charset=utf-8`, "\xef\xbb\xbf"+`{"query":"query A{hello} query B($id:ID!){animal(id:$id){name}}","operationName":"B","variables":{"id":1e2}}`)
	f.Add(true, `/graphql`, `application/json`, `[{"query":"{hello}"}]`)
	f.Add(true, `/graphql`, `text/plain`, `{hello}`)
	f.Add(true, `/graphql?query={hello}`, `application/json`, ``)
	f.Add(false, `/graphql?query={hello}&variables={"a":1}&operationName=&extensions={}`, ``, ``)
	f.Add(false, `/graphql?query=%7Bcat%7B...on+Pet%7B__typename%7D%7D%7D`, ``, ``)
	f.Add(false, `/graphql?query=mutation{rename(id:1){name}}`, ``, ``)
	w := newTestWorker(f, Config{Schema: shelterSchema, Resolver: &shelter{}, MaxTokens: 300})
	f.Fuzz(func(t *testing.T, post bool, target, contentType, body string) {
		if !strings.HasPrefix(target, graphqlPath) {
			t.Skip()
		}
		method := fasthttp.MethodGet
		if post {
			method = fasthttp.MethodPost
		}
		ctx := w.ask(method, target, "Accept: application/graphql-response+json\nContent-Type: "+contentType, body)
		var answer struct {
			Data   *json.RawMessage
			Errors []struct {
				Message    string
				Extensions struct{ Code Code }
			}
		}
		status, answered := ctx.Response.StatusCode(), ctx.Response.Body()
		if err := json.Unmarshal(answered, &answer); err != nil {
			t.Fatalf("%d %q: %v", status, answered, err)
		}
		if answer.Data == nil && len(answer.Errors) == 0 || status >= 500 || status == fasthttp.StatusOK && answer.Data == nil {
			t.Errorf("%d %s", status, answered)
		}
		for _, e := range answer.Errors {
			if e.Message == "" || e.Extensions.Code == "" || e.Extensions.Code == CodeInternal {
				t.Errorf("%d %s", status, answered)
			}
		}
	})
}
