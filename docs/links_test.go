// Package docs is pages for readers; there is no program in it.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced  = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	scheme  = regexp.MustCompile(`^[a-z]+:`)
)

// Every link from a page to a file of this repository, or to a heading in one, leads there.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Chdir("..")
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md").Output()
	if err != nil {
		t.Skip("this is no clone of the repository: ", err)
	}
	text := map[string]string{}
	read := func(page string) string {
		if _, ok := text[page]; !ok {
			data, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			text[page] = fenced.ReplaceAllString(string(data), "")
		}
		return text[page]
	}
	n := 0
	for page := range strings.FieldsSeq(string(out)) {
		for _, m := range link.FindAllStringSubmatch(read(page), -1) {
			if scheme.MatchString(m[1]) {
				continue
			}
			n++
			file, anchor, _ := strings.Cut(m[1], "#")
			to := page
			if file != "" {
				to = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: there is no %s", page, m[1])
				continue
			}
			if anchor != "" && !anchors(read(to))[anchor] {
				t.Errorf("%s: there is no heading for %s", page, m[1])
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d links were found", n)
	}
}

// anchors are what GitHub calls the headings of a page: in lower case, spaces as dashes,
// without other signs, and with a number from the second of a name on.
func anchors(page string) map[string]bool {
	times, list := map[string]int{}, map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
				return unicode.ToLower(r)
			}
			return -1
		}, regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(strings.TrimSpace(m[1]), "$1"))
		if n := times[name]; n > 0 {
			list[name+"-"+strconv.Itoa(n)] = true
		} else {
			list[name] = true
		}
		times[name]++
	}
	return list
}
