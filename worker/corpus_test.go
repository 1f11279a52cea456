package worker

import (
	_ "embed"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/nekoctl/neko/worker/gqltest"
)

//go:embed testdata/differential/corpus.txt
var corpus string

// corpusDocuments are the documents of the corpus. Those that are valid break "".
func corpusDocuments(t testing.TB) (docs []gqltest.Document) {
	t.Helper()
	rule := ""
	for line := range strings.SplitSeq(corpus, "\n") {
		sign, rest, _ := strings.Cut(line, " ")
		switch {
		case sign == "==":
			rule = rest
		case rule == "" || line == "":
		case sign == "+" || sign == "-":
			doc := gqltest.Document{Text: rest, Variables: `{}`}
			if i := strings.LastIndex(rest, " with {"); i >= 0 {
				doc.Text, doc.Variables = rest[:i], rest[i+len(" with "):]
			}
			if strings.Contains(doc.Text, " B") && strings.HasPrefix(doc.Text, "query A") {
				doc.Operation = "A"
			}
			if sign == "-" {
				doc.Broken = rule
			}
			docs = append(docs, doc)
		case strings.HasPrefix(line, "  "):
			docs[len(docs)-1].Text += "\n" + rest
		default:
			t.Fatalf("a line that means nothing: %s", line)
		}
	}
	return docs
}

// Every rule of the specification, with documents that keep and that break it, as
// the specification and the tests of its reference implementation have them.
func TestCorpus(t *testing.T) {
	b := newShelter(t)
	docs := corpusDocuments(t)
	broken := map[string]bool{}
	for _, doc := range docs {
		broken[doc.Broken] = true
		r := b.read(t, doc)
		for _, d := range r.differences {
			t.Errorf("%s\n%s", d, doc)
		}
		switch {
		case doc.Broken == "" && len(r.planner) > 0:
			t.Errorf("refused: %v\n%s", r.planner, doc)
		case doc.Broken != "" && len(r.planner) == 0:
			t.Errorf("accepted\n%s", doc)
		case doc.Broken != "" && !slices.Contains(r.broken(), doc.Broken):
			t.Errorf("refused by %v\n%s", r.broken(), doc)
		}
	}
	for rule := range rules.NewDefaultRules().GetInner() {
		if !broken[rule] && rule != "KnownRootType" { // the schema has all three roots
			t.Errorf("no document breaks %s", rule)
		}
	}
	if len(docs) < 300 {
		t.Errorf("only %d documents were found", len(docs))
	}
}

// The documents of the API's guide, which its own tests execute.
func TestDocumentsOfTheGuide(t *testing.T) {
	guide, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	b := newAPI(t)
	docs := regexp.MustCompile("(?s)```graphql\n(.*?)```").FindAllStringSubmatch(string(guide), -1)
	if len(docs) < 8 {
		t.Fatalf("only %d documents were found", len(docs))
	}
	for _, d := range docs {
		doc := gqltest.Document{Text: d[1], Variables: `{"last": "TOKEN"}`}
		r := b.read(t, doc)
		if len(r.planner) > 0 || r.differences != nil {
			t.Errorf("%v %v\n%s", r.planner, r.differences, doc)
		}
	}
}
