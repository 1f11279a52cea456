package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// allowed are the licences of which it is known what they ask of who passes programs on: their text and the
// authors' names, which the notices have. Another one is to be read by a person before it is added.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "Unlicense"}

// read are texts that a person has read, as no list of licences has them in these words.
var read = map[string]string{
	"npm:entities LICENSE":                     "BSD-2-Clause", // but for "this software"
	"golang:modernc.org/sqlite LICENSE-SQLITE": "Public Domain",
	"golang:modernc.org/memory LICENSE-LOGO":   "", // of a picture that is not linked
}

// enough of a licence's file, in per cent, must be words of licences that are known.
const enough = 75

// classify finds the licences of all parts by their texts.
func classify(parts []*part) error {
	var failed []error
	for _, p := range parts {
		if p.kind == files {
			continue // it comes with its licence
		}
		for _, t := range p.texts {
			if id, ok := read[p.kind+":"+p.name+" "+t.name]; ok {
				if id != "" {
					p.licenses = append(p.licenses, id)
				}
				continue
			}
			if isCollection(t) {
				continue
			}
			coverage := licensecheck.Scan([]byte(t.body))
			if coverage.Percent < enough && isLicense(t) {
				failed = append(failed, fmt.Errorf("%s: %s is %.0f%% of it a licence that is known", p.key(), t.name, coverage.Percent))
				continue
			}
			for _, match := range coverage.Match {
				switch {
				case match.IsURL || slices.Contains(p.licenses, match.ID):
				case match.ID == "GooglePatentsFile" || match.ID == "GooglePatentClause":
				case slices.Contains(allowed, match.ID):
					p.licenses = append(p.licenses, match.ID)
				default:
					failed = append(failed, fmt.Errorf("%s: %s has the licence %s: may it be passed on like this?", p.key(), t.name, match.ID))
				}
			}
		}
		slices.Sort(p.licenses)
		if len(p.licenses) == 0 {
			failed = append(failed, fmt.Errorf("%s has no licence that is known, in %d files", p.key(), len(p.texts)))
		}
	}
	return errors.Join(failed...)
}

// isLicense tells a licence from notices and grants of patents, which are in words of their own.
func isLicense(t text) bool {
	name := strings.ToLower(filepath.Base(t.name))
	return !strings.HasPrefix(name, "notice") && !strings.HasPrefix(name, "patents")
}

// isCollection tells the licences of what is in a module from other hands, or in its tests: they are passed on, and
// are none of its own.
func isCollection(t text) bool {
	name := strings.ToLower(filepath.Base(t.name))
	return strings.Contains(name, "3rd-party") || strings.Contains(name, "third-party")
}
