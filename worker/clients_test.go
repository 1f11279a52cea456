package worker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nekoctl/neko/scripts/npm"
)

// runNode runs a script of testdata among packages of npm, and returns what it
// prints.
func runNode(t *testing.T, script, env string, packages ...string) *bufio.Scanner {
	t.Helper()
	node := npm.Node(t, "node")
	folder := npm.Need(t, packages...)
	source, err := os.Open("testdata/" + script)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	cmd := exec.CommandContext(t.Context(), node, "--input-type=module", "-") // it finds packages where it runs
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), env)
	cmd.Stdin = source
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, errs.String())
	}
	return bufio.NewScanner(bytes.NewReader(out))
}

// startProcess is a worker process of its own, and its address.
func startProcess(t *testing.T, env ...string) string {
	t.Helper()
	l, f := listenLocal(t)
	start(t, false, env, f)
	return "http://" + l.Addr().String() + "/graphql"
}

// contradictions are the audits that the edition of September 2026 forbids to pass:
// they are of the time before it. Each with the section, and what it says.
var contradictions = map[string]string{
	// Body: who takes application/json alone is served as anybody, and its media type
	// is that of answers with a 2xx status.
	"572B": "SHOULD use 200 on a document that cannot be parsed, under application/json; Status Codes: 400",
	"FDE2": "SHOULD use 200 on a document that is not valid, under application/json; Status Codes: 422, or 400 as here, where the name of the field begins with a digit",
	"7B9B": "SHOULD use 200 on variables that cannot be coerced, under application/json; Status Codes: 422",
	// Status Codes.
	"86EE": "SHOULD use 400 on variables that cannot be coerced; Status Codes: 422",
	"423L": "MAY use 400 on a missing query; Status Codes: 422 for what is no well-formed request",
	"3E3A": "MAY use 400 on invalid parameters; Status Codes: 422",
	"LKJ0": "MAY use 400 on a query that is an object; Status Codes: 422",
	"LKJ1": "MAY use 400 on a query that is a number; Status Codes: 422",
	"LKJ2": "MAY use 400 on a query that is a boolean; Status Codes: 422",
	"LKJ3": "MAY use 400 on a query that is a list; Status Codes: 422",
	"6C00": "MAY use 400 on an operationName that is an object; Status Codes: 422",
	"6C01": "MAY use 400 on an operationName that is a number; Status Codes: 422",
	"6C02": "MAY use 400 on an operationName that is a boolean; Status Codes: 422",
	"6C03": "MAY use 400 on an operationName that is a list; Status Codes: 422",
	"4760": "MAY use 400 on variables that are a string; Status Codes: 422",
	"4761": "MAY use 400 on variables that are a number; Status Codes: 422",
	"4762": "MAY use 400 on variables that are a boolean; Status Codes: 422",
	"4763": "MAY use 400 on variables that are a list; Status Codes: 422",
	"58B0": "MAY use 400 on extensions that are a string; Status Codes: 422",
	"58B1": "MAY use 400 on extensions that are a number; Status Codes: 422",
	"58B2": "MAY use 400 on extensions that are a boolean; Status Codes: 422",
	"58B3": "MAY use 400 on extensions that are a list; Status Codes: 422",
}

// The audits of graphql-http, all of them, against a worker process.
func TestAudits(t *testing.T) {
	url := startProcess(t)
	count := 0
	failed := map[string]bool{}
	for lines := runNode(t, "audits.mjs", "URL="+url, "graphql-http@1.23.1", "graphql@16.11.0"); lines.Scan(); count++ {
		var audit struct{ ID, Name, Status, Reason, Body string }
		if err := json.Unmarshal(lines.Bytes(), &audit); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		t.Logf("%-6s %s %s", audit.Status, audit.ID, audit.Name)
		if audit.Status == "ok" {
			continue
		}
		failed[audit.ID] = true
		if contradictions[audit.ID] == "" || audit.Status == "error" {
			t.Errorf("%s: %s %s: %s\n%s", audit.Status, audit.ID, audit.Name, audit.Reason, audit.Body)
		}
	}
	if count != 61 {
		t.Errorf("%d audits, want 61", count)
	}
	for id, why := range contradictions {
		if !failed[id] {
			t.Errorf("%s passes: take it off the list: %s", id, why)
		}
	}
	documented(t, contradictions)
}

// documented looks for the reasons in docs/graphql.md.
func documented(t *testing.T, audits map[string]string) {
	t.Helper()
	doc, err := os.ReadFile("../docs/graphql.md")
	if err != nil {
		t.Fatal(err)
	}
	for id := range audits {
		if !strings.Contains(string(doc), "`"+id+"`") {
			t.Errorf("docs/graphql.md does not say why the audit %s does not pass", id)
		}
	}
}

// What real clients send and get: they recover by themselves from a worker that does
// not know their document, and none has to send it twice.
func TestClients(t *testing.T) {
	runDir := t.TempDir()
	shared := []string{"NEKO_RUN_DIR=" + runDir, "WORKER_TEST_MAX_BATCH=2"}
	urls := []string{startProcess(t, shared...), startProcess(t, shared...), startProcess(t, "WORKER_TEST_MAX_DOCUMENTS=-1")}
	node := func(id int) string { return fmt.Sprintf(`{"node":{"id":"%d"}}`, id) }
	want := map[string]struct{ sent, got string }{
		"apollo, unknown":                          {"POST hash 404, POST text 200", node(1)},
		"apollo, known to the other worker":        {"POST hash 200", node(2)},
		"apollo by GET, unknown":                   {"GET hash 404, POST text 200", node(3)},
		"apollo by GET, known":                     {"GET hash 200", node(4)},
		"apollo by GET, known to the other worker": {"GET hash 200", node(5)},
		"apollo as older ones ask":                 {"POST hash 200, POST text 200", node(6)},
		"apollo, not supported":                    {"POST hash 422, POST text 200", node(7)},
		"apollo, which remembers it":               {"POST text 200", node(8)},
		"apollo, an error in a field":              {"POST text 294", `"short and stout"`},
		"apollo, no such field":                    {"POST text 422", `"Cannot query field \"nope\" on type \"Query\". Did you mean \"node\" or \"nodes\"?"`},
		"apollo, no such field, as older ones ask": {"POST text 422", `"Cannot query field \"nope\" on type \"Query\". Did you mean \"node\" or \"nodes\"?"`},
		"apollo, a batch":                          {"POST text 200", `[{"hello":"world"},"Cannot query field \"nope\" on type \"Query\". Did you mean \"node\" or \"nodes\"?"]`},
		"apollo, a batch of hashes":                {"POST hash 200, POST text 200", `[` + node(9) + `,` + node(10) + `]`},
		"urql, unknown":                            {"GET hash 404, GET text 200", node(11)},
		"urql, known to the other worker":          {"GET hash 200", node(12)},
		"urql by POST":                             {"POST hash 404, POST text 200", node(13)},
		"urql, not supported":                      {"GET hash 422, GET text 200", node(14)},
	}
	for lines := runNode(t, "clients.mjs", "URLS="+strings.Join(urls, " "),
		"@apollo/client@4.3.8", "rxjs@7.8.2", "graphql@16.11.0", "@urql/core@6.0.3", "@urql/exchange-persisted@5.0.1"); lines.Scan(); {
		var did struct {
			What string
			Sent []string
			Got  json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &did); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		w, ok := want[did.What]
		delete(want, did.What)
		if sent := strings.Join(did.Sent, ", "); !ok || sent != w.sent || withoutTypenames(string(did.Got)) != w.got {
			t.Errorf("%s:\n sent %s, got %s\n want %s, %s", did.What, sent, did.Got, w.sent, w.got)
		}
	}
	for what := range want {
		t.Errorf("not done: %s", what)
	}
}

// withoutTypenames takes out what Apollo's client asks for on its own.
func withoutTypenames(s string) string { return strings.ReplaceAll(s, `,"__typename":"Actor"`, "") }
