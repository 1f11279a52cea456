package worker

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	trustedHello = `query Hello {hello}`
	trustedNode  = `query Node($id: ID!) {node(id: $id) {id}} query Other {hello}`
	trustedTouch = `mutation Touch {touch(name: "x")}`
)

// trustedMap is what Relay and GraphQL Codegen write.
var trustedMap = fmt.Sprintf(`{"1f3870be274f6c49b3e31a0c6728957f": %q, "sha256:%s": %q, "touch-1": %q}`,
	trustedHello, hashOf(trustedNode), trustedNode, trustedTouch)

// trustedManifest is what Apollo's generate-persisted-query-manifest writes.
var trustedManifest = fmt.Sprintf(`{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [
	{"id": "1f3870be274f6c49b3e31a0c6728957f", "name": "Hello", "type": "query", "body": %q},
	{"id": "%s", "name": "Node", "type": "query", "body": %q},
	{"id": "touch-1", "name": "Touch", "type": "mutation", "body": %q}]}`,
	trustedHello, hashOf(trustedNode), trustedNode, trustedTouch)

func trustedFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "documents.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Who may be served what, in both modes, whatever tool wrote the list.
func TestTrustedDocuments(t *testing.T) {
	const (
		ok          = 200
		notListed   = "PERSISTED_QUERY_NOT_IN_LIST"
		notTrusted  = "QUERY_NOT_IN_SAFELIST"
		notKnown    = "PERSISTED_QUERY_NOT_FOUND"
		unsupported = "PERSISTED_QUERY_NOT_SUPPORTED"
	)
	sha := func(text string) string { return hashOf(text).String() }
	apollo := func(hash string) string {
		return fmt.Sprintf(`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":%q}},"operationName":"Hello"}`, hash)
	}
	type want struct {
		status int
		says   string
	}
	world := want{ok, `"hello":"world"`}
	for _, c := range []struct {
		what, body, target string // GET without a body
		allow, only        want
	}{
		{"by its id", `{"documentId":"1f3870be274f6c49b3e31a0c6728957f"}`, "", world, world},
		{"by its id, and the name of the operation", `{"documentId":"1f3870be274f6c49b3e31a0c6728957f","operationName":"Hello"}`, "", world, world},
		{"by its hash", `{"documentId":"sha256:` + sha(trustedHello) + `"}`, "", world, world},
		{"with variables", `{"documentId":"sha256:` + sha(trustedNode) + `","operationName":"Node","variables":{"id":"7"}}`, "", want{ok, `"id":"7"`}, want{ok, `"id":"7"`}},
		{"by GET", "", "?documentId=sha256:" + sha(trustedNode) + "&operationName=Node&variables=" + url.QueryEscape(`{"id":"7"}`), want{ok, `"id":"7"`}, want{ok, `"id":"7"`}},
		{"without saying which of two", `{"documentId":"sha256:` + sha(trustedNode) + `"}`, "", want{422, "OPERATION_RESOLUTION_FAILURE"}, want{422, "OPERATION_RESOLUTION_FAILURE"}},
		{"a mutation", `{"documentId":"touch-1"}`, "", want{ok, `"touch":"x"`}, want{ok, `"touch":"x"`}},
		{"a mutation by GET", "", "?documentId=touch-1", want{405, "METHOD_NOT_ALLOWED"}, want{405, "METHOD_NOT_ALLOWED"}},
		{"Apollo's way, by its hash", apollo(sha(trustedHello)), "", world, world},
		{"Apollo's way, by an id that is no hash", apollo("1f3870be274f6c49b3e31a0c6728957f"), "", world, world},
		{"the text itself", fmt.Sprintf(`{"query":%q}`, trustedHello), "", world, world},
		{"the text and its hash", fmt.Sprintf(`{"query":%q,"extensions":%s}`, trustedHello, persistedHash(trustedHello)), "", world, world},
		{"the text and another hash", fmt.Sprintf(`{"query":%q,"extensions":%s}`, trustedHello, persistedHash(trustedNode)), "", want{400, "PERSISTED_QUERY_HASH_MISMATCH"}, want{400, "PERSISTED_QUERY_HASH_MISMATCH"}},
		{"an id and a text", fmt.Sprintf(`{"query":%q,"documentId":"touch-1"}`, trustedHello), "", want{400, "CANNOT_SEND_PQ_ID_AND_BODY"}, want{400, "CANNOT_SEND_PQ_ID_AND_BODY"}},
		{"an id and a hash", fmt.Sprintf(`{"extensions":%s,"documentId":"touch-1"}`, persistedHash(trustedHello)), "", want{400, "CANNOT_SEND_PQ_ID_AND_BODY"}, want{400, "CANNOT_SEND_PQ_ID_AND_BODY"}},
		{"another text", `{"query":"{hello}"}`, "", world, want{403, notTrusted}},
		{"one more space", fmt.Sprintf(`{"query":"%s "}`, trustedHello), "", world, want{403, notTrusted}},
		{"another text and its hash", fmt.Sprintf(`{"query":"{hello}","extensions":%s}`, persistedHash("{hello}")), "", world, want{403, notTrusted}},
		{"which is known then", apollo(sha("{hello}")), "", want{422, "OPERATION_RESOLUTION_FAILURE"}, want{404, notListed}},
		{"no text for this schema", `{"query":"{nope}"}`, "", want{422, "GRAPHQL_VALIDATION_FAILED"}, want{403, notTrusted}},
		{"another id", `{"documentId":"2"}`, "", want{404, notListed}, want{404, notListed}},
		{"another hash", `{"documentId":"sha256:` + sha("{x}") + `"}`, "", want{404, notKnown}, want{404, notListed}},
		{"another hash, Apollo's way", apollo(sha("{x}")), "", want{404, notKnown}, want{404, notListed}},
	} {
		t.Run(c.what, func(t *testing.T) {
			for format, content := range map[string]string{"map": trustedMap, "manifest": trustedManifest} {
				for only, want := range map[bool]want{false: c.allow, true: c.only} {
					w := newTestWorker(t, Config{TrustedDocuments: trustedFile(t, content), TrustedOnly: only})
					if c.what == "which is known then" {
						w.ask("POST", "/graphql", asGraphQL, fmt.Sprintf(`{"query":"{hello}","extensions":%s}`, persistedHash("{hello}")))
					}
					method := "POST"
					if c.body == "" {
						method = "GET"
					}
					ctx := w.ask(method, "/graphql"+c.target, asGraphQL, c.body)
					if got := string(ctx.Response.Body()); ctx.Response.StatusCode() != want.status || !strings.Contains(got, want.says) {
						t.Errorf("%s, only %v:\n got %d %s\nwant %d %s", format, only, ctx.Response.StatusCode(), got, want.status, want.says)
					}
				}
			}
		})
	}
	// Without persisted queries the list is served all the same.
	w := newTestWorker(t, Config{TrustedDocuments: trustedFile(t, trustedMap), MaxDocuments: -1})
	for body, want := range map[string]string{apollo(sha(trustedHello)): world.says, apollo(sha("{x}")): unsupported} {
		if got := string(w.ask("POST", "/graphql", asGraphQL, body).Response.Body()); !strings.Contains(got, want) {
			t.Errorf("%s: %s", body, got)
		}
	}
}

// A list that cannot be served as a whole stops the start, and says what is wrong
// where.
func TestTrustedDocumentsAreChecked(t *testing.T) {
	two := fmt.Sprintf(`{"format":"apollo-persisted-query-manifest","version":1,"operations":[{"id":"a","body":%q},{"id":"a","body":%q}]}`, trustedHello, trustedTouch)
	for _, c := range []struct{ what, content, err, hint string }{
		{"a field that is not there", `{"a": "{hello}", "b": "{\n  nope\n}"}`, `FILE: document "b": 2:3: Cannot query field "nope" on type "Query". Did you mean "node" or "nodes"? (GRAPHQL_VALIDATION_FAILED)`, "write the file anew"},
		{"in the second of two operations", `{"b": "query A {hello} query B {nope}"}`, `FILE: document "b": 1:26: Cannot query field "nope" on type "Query". Did you mean "node" or "nodes"? (GRAPHQL_VALIDATION_FAILED)`, "write the file anew"},
		{"no syntax", `{"b": "{"}`, `FILE: document "b": 1:2: Expected Name, found <EOF> (GRAPHQL_PARSE_FAILED)`, "write the file anew"},
		{"no operation", `{"b": "fragment F on Query {hello}"}`, `FILE: document "b": the document has no operation (GRAPHQL_PARSE_FAILED)`, "write the file anew"},
		{"beyond the limits", `{"b": "{` + strings.Repeat("hello ", 300) + `}"}`, `FILE: document "b":`, "write the file anew"},
		{"an empty one", `{"b": " "}`, `FILE: the document "b" is empty`, "it has to be"},
		{"an empty id", `{"": "{hello}"}`, `FILE: a document has no id`, "it has to be"},
		{"two of one id", `{"b": "{hello}", "b": "{x: hello}"}`, `FILE: two documents have the id "b"`, "it has to be"},
		{"two of one id in a manifest", two, `FILE: two documents have the id "a"`, "it has to be"},
		{"another hash", `{"sha256:00": "{hello}"}`, `FILE: the document "sha256:00" has another hash: sha256:` + hashOf("{hello}").String(), "it has to be"},
		{"another version", `{"format":"apollo-persisted-query-manifest","version":2,"operations":[]}`, `FILE: the format "apollo-persisted-query-manifest", version 2, is not known`, "it has to be"},
		{"no strings", `{"b": {"query": "{hello}"}}`, `FILE: what "b" stands for is no string`, "it has to be"},
		{"null", `{"b": null}`, `FILE: what "b" stands for is no string`, "it has to be"},
		{"no object", `["{hello}"]`, `FILE: no JSON object`, "it has to be"},
		{"no JSON", "{\n  \"b\": nope}", `FILE: 2:9: invalid character`, "it has to be"},
		{"cut off", `{"b": "{hel`, `FILE: 1:11: unexpected end of JSON input`, "it has to be"},
		{"nothing", ``, `FILE: 1:0: unexpected end of JSON input`, "it has to be"},
		{"no document", `{}`, `FILE: there is no document in it`, "it has to be"},
		{"two values", `{"b": "{hello}"} {}`, `FILE: 1:18: invalid character '{' after top-level value`, "it has to be"},
		{"no UTF-8", "{\"b\": \"{hello} #\xff\"}", `FILE: not in UTF-8`, "it has to be"},
		{"a large file", strings.Repeat(" ", maxTrustedFile+1), `FILE is larger than 32 MiB`, "take out"},
	} {
		t.Run(c.what, func(t *testing.T) {
			path := trustedFile(t, c.content)
			_, err := New(Config{Schema: testSchema, Resolver: newTestRoot(), TrustedDocuments: path, MaxTokens: 200})
			var advice *adviceError
			if !errors.As(err, &advice) || !strings.HasPrefix(err.Error(), "trusted documents: "+strings.Replace(c.err, "FILE", path, 1)) || !strings.Contains(advice.Hint(), c.hint) {
				t.Errorf("%v", err)
			}
		})
	}
	for path, want := range map[string]string{
		filepath.Join(t.TempDir(), "none"): "no such file or directory",
		t.TempDir():                        "is a directory",
	} {
		if _, err := New(Config{Schema: testSchema, Resolver: newTestRoot(), TrustedDocuments: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
	if _, err := New(Config{Schema: testSchema, Resolver: newTestRoot(), TrustedOnly: true}); err == nil || !strings.Contains(err.Error(), "there is no list") {
		t.Error(err)
	}
	same := `{"a": "{hello}", "b": "{hello}", "a": "{hello}"}`
	if _, err := readTrusted(trustedFile(t, same)); err != nil {
		t.Error("two ids of one document, and one that comes twice:", err)
	}
}
