package examples

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/format"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/nekoctl/neko/scripts/load"
)

// askGraphQL sends a GraphQL request to the app, by a connection of its own.
func (d *daemon) askGraphQL(query string) (answer string) {
	d.t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		d.t.Fatal(err)
	}
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post("http://"+d.list()[0].Listeners[0]+"/graphql", "application/json", bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(out)
}

// The example of docs/build-your-own-worker.md: two processes that share a file,
// asked and written to while they are reloaded.
func TestOwnWorker(t *testing.T) {
	d := start(t, "own-worker/neko.yaml", "127.0.0.1:0")
	if n := len(d.list()); n != 2 {
		t.Fatalf("%d processes", n)
	}
	for _, c := range []struct{ query, want string }{
		{`{notes {id}}`, `{"data":{"notes":[]}}`},
		{`mutation {addNote(text: "buy fish") {id text}}`, `{"data":{"addNote":{"id":"1","text":"buy fish"}}}`},
		{`mutation {a: addNote(text: "feed cat") {id} b: addNote(text: "sleep") {id}}`, `{"data":{"a":{"id":"2"},"b":{"id":"3"}}}`},
		{`{notes(first: 2) {id text}}`, `{"data":{"notes":[{"id":"3","text":"sleep"},{"id":"2","text":"feed cat"}]}}`},
		{`{note(id: 1) {text} none: note(id: 9) {text}}`, `{"data":{"note":{"text":"buy fish"},"none":null}}`},
		{`{notes(first: 101) {id}}`, `{"errors":[{"message":"first must be from 0 to 100","path":["notes"],"extensions":{"code":"BAD_USER_INPUT"}}]}`},
		{`mutation {addNote(text: "") {id}}`, `{"errors":[{"message":"a note must have a text","path":["addNote"],"extensions":{"code":"BAD_USER_INPUT"}}]}`},
	} {
		if got := d.askGraphQL(c.query); strings.ReplaceAll(got, `,"data":null`, "") != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.query, got, c.want)
		}
	}

	d.tryTheGuide()

	url := "http://" + d.list()[0].Listeners[0] + "/graphql"
	var runs []*load.Run
	for _, cfg := range []load.Config{
		{Mode: load.NewConnection, ThinkMax: 100 * time.Millisecond},
		{Mode: load.KeepAlive, ThinkMax: 50 * time.Millisecond},
		{Mode: load.KeepAlive, ThinkMax: 200 * time.Millisecond, Body: []byte(`{"query":"mutation {addNote(text: \"under load\") {id}}"}`)},
	} {
		cfg.URL, cfg.Clients, cfg.Header = url, clients/2, []string{"Content-Type: application/json"}
		cfg.Timeout = time.Minute
		if cfg.Body == nil {
			cfg.Body = []byte(`{"query":"{notes(first: 5) {id text}}"}`)
		}
		cfg.Check = func(r *load.Response) error {
			if !bytes.HasPrefix(r.Body, []byte(`{"data":`)) {
				return fmt.Errorf("the answer is %s", r.Body)
			}
			return nil
		}
		run, err := load.Start(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer run.Stop()
		runs = append(runs, run)
	}
	reloadUnder(t, d, "notes", runs)
	for _, run := range runs {
		if report := run.Stop(); report.Failed() {
			t.Error(report)
		}
	}
	stopsInOrder(t, d)
}

// tryTheGuide asks as the guide does, by curl, and wants the answers that it shows,
// up to the ids: there are notes already.
func (d *daemon) tryTheGuide() {
	d.t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") == "true" {
			d.t.Fatal(err)
		}
		d.t.Log("the guide's requests are not tried: ", err)
		return
	}
	guide, err := os.ReadFile("../docs/build-your-own-worker.md")
	if err != nil {
		d.t.Fatal(err)
	}
	tried := regexp.MustCompile(`(?m)^(curl .*)\n# (.*)$`).FindAllStringSubmatch(string(guide), -1)
	if len(tried) < 2 {
		d.t.Fatalf("%d requests are in the guide", len(tried))
	}
	id := regexp.MustCompile(`"id":"\d+"`)
	for _, c := range tried {
		line := strings.Replace(c[1], "127.0.0.1:8000", d.list()[0].Listeners[0], 1)
		out, err := exec.Command("sh", "-c", strings.Replace(line, "curl ", "curl -sS ", 1)).CombinedOutput()
		got, want := id.ReplaceAllString(string(out), `"id":"N"`), id.ReplaceAllString(c[2], `"id":"N"`)
		if more := strings.TrimSuffix(want, "]}}"); err != nil || !strings.HasPrefix(got, more) {
			d.t.Errorf("%s: %v\n got %s\nwant %s", line, err, got, want)
		}
	}
}

var block = regexp.MustCompile("(?s)```(\\w+)\n(.*?)```")

// vet compiles the declarations of the guide that belong to no program.
func vet(t *testing.T, declarations string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "guide.go")
	text := "package guide\n\nimport (\n\t\"context\"\n\t\"database/sql\"\n\t\"errors\"\n\t\"os\"\n\t\"sync/atomic\"\n\t\"time\"\n\n\t\"github.com/nekoctl/neko/histogram\"\n\t\"github.com/nekoctl/neko/hostmem\"\n\t\"github.com/nekoctl/neko/limiter\"\n\t\"github.com/nekoctl/neko/worker\"\n)\n\n" + declarations
	if formatted, err := format.Source([]byte(text)); err != nil || strings.TrimSpace(string(formatted)) != strings.TrimSpace(text) {
		t.Errorf("not formatted, or no Go: %v\n%s", err, text)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The program of the guide is one of a module of its own, which needs nothing of
// neko's that is not exported.
func TestOwnWorkerIsAModule(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"main.go", "main_test.go", "schema.graphql"} {
		text, err := os.ReadFile(filepath.Join("own-worker", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	// What is required is what neko requires: there is no network in a test.
	text := strings.Replace(string(mod), "module github.com/nekoctl/neko", "module example.com/notes", 1) +
		"\nrequire github.com/nekoctl/neko v0.0.0\n\nreplace github.com/nekoctl/neko => " + root + "\n"
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-mod=mod", ".")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// What the guide shows is what is tested: its program, schema, neko.yaml and test are
// the example's, its other Go code compiles as it is shown, and its other schemas are some.
func TestGuideToYourOwnWorker(t *testing.T) {
	guide, err := os.ReadFile("../docs/build-your-own-worker.md")
	if err != nil {
		t.Fatal(err)
	}
	read := func(file string) string {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	shown, pieces := map[string]int{}, ""
	for _, b := range block.FindAllStringSubmatch(string(guide), -1) {
		language, text := b[1], b[2]
		shown[language]++
		switch {
		case language == "graphql" && shown[language] > 1: // a piece, and a schema by itself
			if _, err := gqlparser.LoadSchema(&ast.Source{Input: text}); err != nil {
				t.Errorf("a schema is none: %v\n%s", err, text)
			}
		case language == "graphql":
			if text != read("own-worker/schema.graphql") {
				t.Error("the schema is not own-worker/schema.graphql")
			}
		case language == "yaml":
			if text != read("own-worker/neko.yaml") {
				t.Error("the file is not own-worker/neko.yaml")
			}
		case language == "go" && strings.HasPrefix(text, "// Command "):
			if text != read("own-worker/main.go") {
				t.Error("the program is not own-worker/main.go")
			}
		case language == "go" && strings.HasPrefix(text, "package main"):
			if text != read("own-worker/main_test.go") {
				t.Error("the test is not own-worker/main_test.go")
			}
		case language == "go":
			pieces += text + "\n"
		}
	}
	vet(t, pieces)
	for _, language := range []string{"graphql", "yaml", "go", "sh"} {
		if shown[language] == 0 {
			t.Errorf("no %s is shown", language)
		}
	}
	if lines := strings.Count(read("own-worker/main.go"), "\n"); lines > 80 {
		t.Errorf("the program has %d lines", lines)
	}
}
