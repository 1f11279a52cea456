package main

import (
	"regexp"
	"strings"
)

// described is what `git describe --tags --always --dirty` says of a commit that has a tag like v1.2.3 or v1.2.3-rc.1, or
// comes after one.
var described = regexp.MustCompile(`^v?(\d+\.\d+\.\d+)(?:-([A-Za-z][0-9A-Za-z.]*))?(?:-(\d+)-(g[0-9a-f]+))?$`)

// packageVersion makes of that the version of the packages: in the order of dpkg and of rpm a release candidate (~) comes
// before its release, and what was built some commits after a release (+) behind it. What has no tag comes before all releases.
func packageVersion(version string) string {
	clean, dirty := strings.CutSuffix(version, "-dirty")
	m := described.FindStringSubmatch(clean)
	if m == nil {
		return "0.0.0~git" + regexp.MustCompile(`[^0-9A-Za-z]+`).ReplaceAllString(version, ".")
	}
	v := m[1]
	if m[2] != "" {
		v += "~" + m[2]
	}
	if m[3] != "" {
		v += "+" + m[3] + "." + m[4]
	}
	if dirty {
		v += "+dirty"
	}
	return v
}
