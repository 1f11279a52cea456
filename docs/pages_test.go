package docs

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages are the Markdown files of the repository, by their paths from its root.
func pages(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(files(t, "*.md"), func(page string) bool { return strings.Contains(page, "testdata/") })
}

// files are those that git has or would take, by their paths from the root of the repository.
func files(t *testing.T, patterns ...string) (list []string) {
	t.Helper()
	args := append([]string{"-C", "..", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"}, patterns...)
	out, err := exec.CommandContext(t.Context(), "git", args...).Output()
	if err != nil {
		t.Skip("this is no clone of the repository: ", err)
	}
	for file := range strings.SplitSeq(string(out), "\x00") {
		if _, err := os.Stat("../" + file); err == nil && file != "" {
			list = append(list, file)
		}
	}
	return list
}

func read(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile("../" + page)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A block is a code block of a page: what stands between its fences, without their indentation.
type block struct {
	page  string
	line  int               // of its first line in the page, from 1
	lang  string            // the first word behind the fence
	attrs map[string]string // the others: "run", "exit=1", …
	text  string
}

func (b block) is(attr string) bool { _, ok := b.attrs[attr]; return ok }

var (
	opens  = regexp.MustCompile("^( *)(`{3,})(.*)$")
	hidden = regexp.MustCompile(`^<!-- sh (run.*)$`)
)

// blocks are the code blocks of a page, from its top to its end, and what a comment of
// HTML has that begins like one: <!-- sh run.
func blocks(page, text string) (list []block) {
	var in *block
	var indent, end string
	begin := func(line int, lang string, words []string) {
		list = append(list, block{page: page, line: line + 1, lang: lang, attrs: map[string]string{}})
		in = &list[len(list)-1]
		for _, word := range words {
			name, value, _ := strings.Cut(word, "=")
			in.attrs[name] = value
		}
	}
	for i, line := range strings.Split(text, "\n") {
		switch {
		case in != nil && strings.TrimSpace(line) == end:
			in = nil
		case in != nil:
			in.text += strings.TrimPrefix(line, indent) + "\n"
		case hidden.MatchString(line):
			indent, end = "", "-->"
			begin(i+1, "sh", strings.Fields(hidden.FindStringSubmatch(line)[1]))
		default:
			if m := opens.FindStringSubmatch(line); m != nil {
				indent, end = m[1], m[2]
				lang, words, _ := strings.Cut(m[3], " ")
				begin(i+1, lang, strings.Fields(words))
			}
		}
	}
	return list
}
