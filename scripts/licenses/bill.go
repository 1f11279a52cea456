package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// billOf is a bill of materials in CycloneDX 1.6, the same bytes for the same programs: it has no random number,
// and a time only if SOURCE_DATE_EPOCH says which.
func billOf(name, version, kind string, programs []*program, parts, beside []*part) ([]byte, error) {
	bill := cdx.NewBOM()
	root := cdx.Component{BOMRef: "neko", Type: cdx.ComponentType(kind), Name: name, Version: version, Licenses: licensesOf([]string{"MIT"})}
	bill.Metadata = &cdx.Metadata{Component: &root}
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		bill.Metadata.Timestamp = time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	var components []cdx.Component
	top := cdx.Dependency{Ref: root.BOMRef, Dependencies: &[]string{}}
	depends := []cdx.Dependency{}
	for _, p := range programs {
		c := cdx.Component{BOMRef: "program:" + p.name, Type: cdx.ComponentTypeApplication, Name: p.name, Version: version, Licenses: licensesOf([]string{"MIT"}),
			PackageURL: "pkg:golang/" + p.main.Path + "@" + url.PathEscape(version) + "#cmd/" + p.name,
			Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(p.sha256[:])}}}
		components = append(components, c)
		*top.Dependencies = append(*top.Dependencies, c.BOMRef)
		var on []string
		for _, one := range p.parts {
			on = append(on, one.purl())
		}
		slices.Sort(on)
		depends = append(depends, cdx.Dependency{Ref: c.BOMRef, Dependencies: &on})
	}
	for _, one := range slices.Concat(parts, beside) {
		c := cdx.Component{BOMRef: one.purl(), Type: cdx.ComponentTypeLibrary, Name: one.name, Version: one.version, PackageURL: one.purl(), Licenses: licensesOf(one.licenses)}
		if one.kind == files {
			c.Type = cdx.ComponentTypeData
			*top.Dependencies = append(*top.Dependencies, c.BOMRef)
		}
		components = append(components, c)
	}
	depends = append([]cdx.Dependency{top}, depends...)
	bill.Components, bill.Dependencies = &components, &depends
	var out bytes.Buffer
	err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bill, cdx.SpecVersion1_6)
	return out.Bytes(), err
}

// licensesOf are SPDX's identifiers, each by itself: which of a module's files is under which, its texts say. What is
// none (it has a space) is a name.
func licensesOf(ids []string) *cdx.Licenses {
	var all cdx.Licenses
	for _, id := range ids {
		one := &cdx.License{ID: id}
		if strings.Contains(id, " ") {
			one = &cdx.License{Name: id}
		}
		all = append(all, cdx.LicenseChoice{License: one})
	}
	return &all
}

// purl is its package URL (github.com/package-url).
func (p *part) purl() string {
	name := p.name
	if p.kind == npm {
		name = strings.Replace(name, "@", "%40", 1) // the scope's
	}
	return fmt.Sprintf("pkg:%s/%s@%s", p.kind, name, strings.ReplaceAll(p.version, "+", "%2B"))
}
