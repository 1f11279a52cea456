package worker

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every code has one row in docs/graphql.md, with the status that it is answered
// with and what a client can do, and there is no row without a code. The codes of
// package api are in the table of docs/api.md, or in this one.
func TestCodesAreDocumented(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	codes := func(file string) (list []string) {
		for _, m := range regexp.MustCompile(`Code = "(\w+)"`).FindAllStringSubmatch(read(file), -1) {
			list = append(list, m[1])
		}
		return list
	}
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (.+) \\| ([0-9, ]+) \\| (.+) \\|$")
	_, table, _ := strings.Cut(read("../docs/graphql.md"), "\n## Codes\n")
	var documented []string
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		documented = append(documented, m[1])
		status := requestStatus([]*Error{{code: Code(m[1])}})
		if _, ok := statuses[Code(m[1])]; (ok || strings.Contains(m[3], "422")) && !strings.Contains(m[3], strconv.Itoa(status)) {
			t.Errorf("%s is answered with %d, and documented with %s", m[1], status, m[3])
		}
	}
	own := codes("errors.go")
	slices.Sort(own)
	slices.Sort(documented)
	if !slices.Equal(own, documented) {
		t.Errorf("codes\n%v\ndocumented\n%v", own, documented)
	}
	_, api, _ := strings.Cut(read("../docs/api.md"), "\n## Errors\n")
	for _, code := range codes("../api/errors.go") {
		if !strings.Contains(api, "`"+code+"`") && !slices.Contains(documented, code) {
			t.Errorf("%s of package api has no row", code)
		}
	}
	if len(own) < 28 {
		t.Errorf("only %d codes found", len(own))
	}
}
