package main

import "testing"

func TestVersionsOfPackagesAreInTheOrderOfTheirCommits(t *testing.T) {
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
		if got := packageVersion(described); got != want {
			t.Errorf("packageVersion(%q) = %q, want %q", described, got, want)
		}
	}
}
