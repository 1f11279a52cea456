package release

import (
	"regexp"
	"testing"
)

func TestVersionsAreInTheOrderOfTheirCommits(t *testing.T) {
	tag := regexp.MustCompile(`^[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}$`) // OCI's distribution specification
	for described, want := range map[string]string{
		"v1.0.0":                  "1.0.0",
		"1.0.0":                   "1.0.0",
		"v1.0.0-rc.1":             "1.0.0~rc.1",
		"v1.0.0-3-gabc1234":       "1.0.0+3.gabc1234",
		"v1.0.0-rc.1-3-gabc1234":  "1.0.0~rc.1+3.gabc1234",
		"v1.0.0-dirty":            "1.0.0+dirty",
		"v1.0.0-3-gabc1234-dirty": "1.0.0+3.gabc1234+dirty",
		"d363e77":                 "0.0.0~gitd363e77",
		"d363e77-dirty":           "0.0.0~gitd363e77.dirty",
		"devel":                   "0.0.0~gitdevel",
		"nightly/2026-11-29":      "0.0.0~gitnightly.2026.11.29",
	} {
		got := Version(described)
		if got != want {
			t.Errorf("Version(%q) = %q, want %q", described, got, want)
		}
		if again := Version(got); again != got {
			t.Errorf("Version(%q) = %q, and it is a version already", got, again)
		}
		if !tag.MatchString(Tag(got)) {
			t.Errorf("Tag(%q) = %q, which a registry refuses", got, Tag(got))
		}
	}
	if got := Tag("1.0.0~rc.1+3.gabc1234"); got != "1.0.0-rc.1-3.gabc1234" {
		t.Error(got)
	}
}
