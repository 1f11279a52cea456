package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what docs/deployment/capacity.md has from the calculator and measured.json")

const page = "../../docs/deployment/capacity.md"

var printedExample = regexp.MustCompile("(?s)```sh\ngo run ./scripts/capacity ([^\n]*)\n```\n\n```\n(.*?)```\n")

// The document has the figures of measured.json, and what the calculator prints.
func TestTheDocumentHasTheFigures(t *testing.T) {
	old, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	text := printedExample.ReplaceAllStringFunc(string(old), func(block string) string {
		n++
		args := printedExample.FindStringSubmatch(block)[1]
		var out bytes.Buffer
		if err := run(strings.Fields(args), &out); err != nil {
			t.Errorf("%s: %v", args, err)
		}
		return fmt.Sprintf("```sh\ngo run ./scripts/capacity %s\n```\n\n```\n%s```\n", args, out.String())
	})
	if n != 3 {
		t.Errorf("%d examples with what they print, and not 3", n)
	}
	f, err := readFigures("")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- figures: go test ./scripts/capacity -update writes them -->\n", "<!-- end of figures -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no %s", page, begin)
	}
	text = before + begin + f.table() + end + after
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != string(old) {
		t.Errorf("%s is not of these figures: go test ./scripts/capacity -run Document -update\n%s", page, firstDifference(string(old), text))
	}
}

// table is the figures as the document has them.
func (f *figures) table() string {
	var b strings.Builder
	b.WriteString("\n| | median | from – to | rounds | on |\n|---|---|---|---|---|\n")
	for _, g := range f.Figures {
		on := g.Taken
		if g.Busy != "" {
			on += ", busy"
		}
		fmt.Fprintf(&b, "| %s | %s %s | %s – %s | %d | %s |\n", g.Name, count(g.Median), g.Unit, count(g.Smallest), count(g.Largest), g.Rounds, on)
	}
	fmt.Fprintf(&b, "\nMeasured by `%s`: %s; data: %s.", f.Command, f.Machine, f.Data)
	if n := f.busy(); n > 0 {
		fmt.Fprintf(&b, " **The machine had other things to do** for %d of them: they are worse than what it can do.", n)
	}
	b.WriteString("\n\n")
	return b.String()
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d\n  has   %s\n  is    %s", i+1, x[i], y[i])
		}
	}
	return "one is longer than the other"
}
