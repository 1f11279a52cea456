package worker

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/valyala/fasthttp"
)

// What is let through is within the limits, costs something that is no less than
// nothing, and what is executed of it is the same again: as deep, as dear.
//
//	go test -run '^$' -fuzz FuzzPlan -fuzztime 1m ./worker
func FuzzPlan(f *testing.F) {
	for _, h := range hostileDocuments() {
		var body struct{ Query string }
		if len(h.body) < 8<<10 && json.Unmarshal([]byte(h.body), &body) == nil {
			f.Add(body.Query, `{}`)
		}
	}
	for _, doc := range []string{
		`query($n: Int = 3, $s: Boolean = false) {nodes {...F @skip(if: $s)} search {... on Actor {friends(first: $n) {name}} ... on Tool {kind}}} fragment F on Node {id ... on Actor {again: friends {id}}}`,
		`mutation($a: String!) {touch(name: $a) b: touch(name: "x")}`,
		`{__schema {types {name}} __type(name: "X") {fields {name}} hello}`,
	} {
		f.Add(doc, `{"n": 5, "s": true, "a": "x"}`)
		f.Add(doc, `{"n": null, "a": ""}`)
	}
	config := Config{Schema: testSchema, MaxDepth: 6, MaxAliases: 5, MaxSelections: 200, MaxTokens: 400}.withDefaults()
	p, err := newPlanner(config)
	if err != nil {
		f.Fatal(err)
	}
	config.MaxDocument, config.MaxTokens = -1, -1 // what is printed may be longer
	again, err := newPlanner(config)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, doc, variables string) {
		given, bad := parseVariables([]byte(variables))
		if bad != nil {
			t.Skip()
		}
		plan, errs := p.make(doc, "")
		for _, e := range errs {
			if e.code == "" || len(e.Message) > 2*maxMessage {
				t.Errorf("%q: %q", e.code, e.Message)
			}
		}
		if errs != nil {
			return
		}
		if plan.Cost(nil) < 0 {
			t.Error("it costs less than nothing")
		}
		values, states, e := p.coerceAll(plan, given)
		if e != nil {
			return
		}
		text, e := plan.text(states)
		if e != nil {
			return
		}
		second, errs := again.make(text, plan.Name)
		if errs != nil {
			t.Fatalf("what is printed is refused: %s %s\n%s", errs[0].code, errs[0].Message, text)
		}
		if a, b := plan.Cost(values), second.Cost(values); a != b || a < 0 {
			t.Errorf("%d before, %d when printed\n%s\n%s", a, b, doc, text)
		}
	})
}

// Whatever comes as a body is decoded or refused with a reason.
//
//	go test -run '^$' -fuzz FuzzDecode -fuzztime 1m ./worker
func FuzzDecode(f *testing.F) {
	for _, h := range append(hostileBodies(), hostileDocuments()...) {
		if len(h.body) < 8<<10 {
			f.Add([]byte(h.body))
		}
	}
	for _, s := range []string{`{"query":"{hello}"}`, `[]`, `[{"query":"{hello}"},{}]`, ``, `{"query":1}`, `{"query":"{x}","variables":{"a":[1,{"b":null}]},"operationName":"Q","extensions":{}}`, "\xef\xbb\xbf{}", `{"query":"\ud800"}`} {
		f.Add([]byte(s))
	}
	w := newTestWorker(f, Config{MaxBatch: 3})
	f.Fuzz(func(t *testing.T, body []byte) {
		ctx := new(fasthttp.RequestCtx)
		ctx.Request.Header.SetMethod("POST")
		ctx.Request.Header.SetContentType("application/json")
		ctx.Request.SetBody(body)
		x := new(exchange)
		bad := w.decode(ctx, x)
		switch {
		case bad != nil && (bad.code == "" || bad.reason == "" || bad.status < 400):
			t.Errorf("%+v", bad)
		case bad == nil && !json.Valid(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))):
			t.Errorf("%q is decoded", body)
		case bad == nil && (len(x.operations) == 0 || len(x.operations) > 3):
			t.Errorf("%d operations", len(x.operations))
		}
		for _, op := range x.operations {
			if !utf8.ValidString(op.query) {
				t.Errorf("%q is decoded as %q", body, op.query)
			}
		}
	})
}
