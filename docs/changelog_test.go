package docs

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// The changelog can be read by programs: versions of SemVer, the newest first, each with its day and
// a link; what is not released stands above.
func TestChangelog(t *testing.T) {
	text := read(t, "CHANGELOG.md")
	headings := regexp.MustCompile(`(?m)^## \[(.+?)\](.*)$`).FindAllStringSubmatch(text, -1)
	if len(headings) < 2 || headings[0][1] != "Unreleased" {
		t.Fatalf("there is no place for what is not released, or no version: %q", headings)
	}
	var before time.Time
	for _, h := range headings {
		if !strings.Contains(text, "\n["+h[1]+"]: https://github.com/nekoctl/neko/") {
			t.Errorf("%s has no link at the end", h[1])
		}
		if h[1] == "Unreleased" {
			continue
		}
		if !regexp.MustCompile(`^\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?$`).MatchString(h[1]) {
			t.Errorf("%s is no version", h[1])
		}
		day, err := time.Parse(" - 2006-01-02", h[2])
		if err != nil || !before.IsZero() && day.After(before) {
			t.Errorf("%s has no day, or stands below a version that is older: %q", h[1], h[2])
		}
		before = day
	}
}
