package docs

import (
	"encoding/json"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator/rules"
	"go.yaml.in/yaml/v4"

	"github.com/nekoctl/neko/supervisor/spec"
)

// A block of YAML is YAML, and one that has apps, or another key that only a neko.yaml has, is a neko.yaml
// without a mistake.
func TestYAMLOfPages(t *testing.T) {
	nekoKeys := append(spec.DaemonKeys(), "apps")
	n := 0
	for _, page := range pages(t) {
		for _, b := range blocks(page, read(t, page)) {
			if b.lang != "yaml" {
				continue
			}
			var keys map[string]any // of the first document
			for documents, i := yaml.NewDecoder(strings.NewReader(b.text)), 0; ; i++ {
				var document any
				if err := documents.Decode(&document); err == io.EOF {
					break
				} else if err != nil {
					t.Errorf("%s:%d: %v", page, b.line, err)
					break
				}
				if i == 0 {
					keys, _ = document.(map[string]any)
				}
			}
			ours := false
			for key := range keys {
				ours = ours || slices.Contains(nekoKeys, key)
			}
			if !ours || keys["scrape_configs"] != nil {
				continue
			}
			n++
			text := b.text
			if keys["apps"] == nil {
				text += "\napps: [{name: web, command: ./web}]\n"
			}
			if _, _, err := spec.Parse("neko.yaml", []byte(text), spec.Options{NamesOnly: true}); err != nil {
				t.Errorf("%s:%d: %v", page, b.line, err)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d examples of a neko.yaml were found", n)
	}
}

// A block of JSON is JSON, but for what "…" leaves out.
func TestJSONOfPages(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		for _, b := range blocks(page, read(t, page)) {
			if b.lang == "json" && !strings.Contains(b.text, "…") {
				n++
				if !json.Valid([]byte(b.text)) {
					t.Errorf("%s:%d: this is no JSON", page, b.line)
				}
			}
		}
	}
	if n == 0 {
		t.Error("none was found")
	}
}

// A block of GraphQL that asks fits the schema of neko-api, where the page is about that; others are
// GraphQL of some schema. (That those of docs/api.md have the answers shown is package api's to test.)
func TestGraphQLOfPages(t *testing.T) {
	text, err := os.ReadFile("../api/schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: string(text)})
	if err != nil {
		t.Fatal(err)
	}
	asks := regexp.MustCompile(`^\s*(?:\{|query\b|mutation\b)`)
	n := 0
	for _, page := range pages(t) {
		for _, b := range blocks(page, read(t, page)) {
			if b.lang != "graphql" {
				continue
			}
			n++
			var err error
			if asks.MatchString(b.text) {
				if _, errs := gqlparser.LoadQueryWithRules(schema, b.text, rules.NewDefaultRules()); errs != nil {
					err = errs
				}
			} else {
				_, err = parser.ParseSchema(&ast.Source{Name: page, Input: b.text})
			}
			if err != nil {
				t.Errorf("%s:%d: %v", page, b.line, err)
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d were found", n)
	}
}
