package worker

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every code that the worker gives has a row in docs/graphql.md.
func TestCodesAreDocumented(t *testing.T) {
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../docs/graphql.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "\n## Codes\n")
	codes := regexp.MustCompile(`Code = "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	for _, c := range codes {
		if !strings.Contains(table, "`"+c[1]+"`") {
			t.Errorf("%s has no row", c[1])
		}
	}
	if len(codes) < 20 {
		t.Errorf("only %d codes found", len(codes))
	}
}
