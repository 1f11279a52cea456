// Package docs is pages for readers; there is no program in it.
package docs

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

var (
	link      = regexp.MustCompile(`(!?)\[([^\]]*)\]\(([^)\s]+)\)`)
	reference = regexp.MustCompile(`(?m)^\[([^\]]+)\]: (\S+)$`)
	bare      = regexp.MustCompile(`https?://[^\s)>"'` + "`" + `\]]+`)
	fenced    = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code      = regexp.MustCompile("(?s)``.+?``|`[^`]+`")
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
	scheme    = regexp.MustCompile(`^[a-z]+:`)
)

// prose is a page without what is code in it. Every test of links asks for it.
func prose(text string) string {
	if _, ok := proses[text]; !ok {
		proses[text] = code.ReplaceAllString(fenced.ReplaceAllString(text, ""), "`")
	}
	return proses[text]
}

var proses = map[string]string{}

// links are where a page leads to.
func links(text string) (list []string) {
	text = prose(text)
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		list = append(list, m[3])
	}
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		list = append(list, m[2])
	}
	return list
}

// Every link from a page to a file of this repository, or to a heading in one, leads there; and the
// file is one that git has, so that it is there for everybody.
func TestLinksLeadSomewhere(t *testing.T) {
	inGit := map[string]bool{".": true}
	for _, file := range files(t) {
		for ; file != "."; file = path.Dir(file) {
			inGit[file] = true
		}
	}
	headings := map[string]map[string]bool{}
	n := 0
	for _, page := range pages(t) {
		for _, to := range links(read(t, page)) {
			if scheme.MatchString(to) {
				continue
			}
			n++
			name, anchor, _ := strings.Cut(to, "#")
			file := page
			if name != "" {
				file = filepath.Join(filepath.Dir(page), name)
			}
			if !inGit[file] {
				t.Errorf("%s: there is no %s", page, to)
				continue
			}
			if anchor == "" {
				continue
			}
			if headings[file] == nil {
				headings[file] = anchors(fenced.ReplaceAllString(read(t, file), ""))
			}
			if !headings[file][anchor] {
				t.Errorf("%s: there is no heading for %s", page, to)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d links were found", n)
	}
}

// A link out of the repository is a whole URL, and one that nobody can change on its way.
func TestOtherSitesAreReachedByTLS(t *testing.T) {
	for _, page := range pages(t) {
		text := read(t, page)
		all := append(links(text), bare.FindAllString(prose(text), -1)...)
		slices.Sort(all)
		for _, to := range slices.Compact(all) {
			if !scheme.MatchString(to) {
				continue
			}
			u, err := url.Parse(to)
			switch {
			case err != nil:
				t.Errorf("%s: %v", page, err)
			case u.Hostname() == "127.0.0.1" || u.Hostname() == "localhost":
				if slices.Contains(links(text), to) {
					t.Errorf("%s: %s is on nobody else's machine", page, to)
				}
			case u.Scheme != "https" || u.Hostname() == "":
				t.Errorf("%s: %s is no https://", page, to)
			}
		}
	}
}

// Who cannot see an image reads what is on it.
func TestImagesHaveTexts(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(prose(read(t, page)), -1) {
			if m[1] != "" {
				n++
				if len(m[2]) < 20 {
					t.Errorf("%s: the image %s has no text for who cannot see it", page, m[3])
				}
			}
		}
	}
	if n == 0 {
		t.Error("no image was found")
	}
}

// Whoever begins at the README finds every page.
func TestEveryPageIsLinked(t *testing.T) {
	all := pages(t)
	seen, next := map[string]bool{}, []string{"README.md"}
	for len(next) > 0 {
		page := next[0]
		next = next[1:]
		if info, err := os.Stat("../" + page); err == nil && info.IsDir() {
			for _, p := range all { // GitHub shows what is in a folder
				if path.Dir(p) == page {
					next = append(next, p)
				}
			}
		}
		if seen[page] || !slices.Contains(all, page) {
			continue
		}
		seen[page] = true
		for _, to := range links(read(t, page)) {
			if name, _, _ := strings.Cut(to, "#"); name != "" && !scheme.MatchString(to) {
				next = append(next, filepath.Join(filepath.Dir(page), name))
			}
		}
	}
	for _, page := range all {
		if !seen[page] {
			t.Errorf("no way leads from README.md to %s", page)
		}
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
		}, link.ReplaceAllString(strings.TrimSpace(m[1]), "$2"))
		if n := times[name]; n > 0 {
			list[name+"-"+strconv.Itoa(n)] = true
		} else {
			list[name] = true
		}
		times[name]++
	}
	return list
}
