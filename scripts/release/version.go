package release

import (
	"regexp"
	"strings"
)

// described is what `git describe --tags --always --dirty` says of a commit that has a tag like v1.2.3 or v1.2.3-rc.1, or
// comes after one; or what Version has made of that.
var described = regexp.MustCompile(`^v?(\d+\.\d+\.\d+)(?:[-~]([A-Za-z][0-9A-Za-z.]*))?(?:[-+](\d+)[-.](g[0-9a-f]+))?$`)

var notInVersions = regexp.MustCompile(`[^0-9A-Za-z]+`)

// Version makes of that the version of deb, rpm, tarball, image and bills of materials: in the order of dpkg and of rpm a
// release candidate (~) comes before its release, and what was built some commits after a release (+) behind it. What has
// no tag comes before all releases. Of a version that is written like this already it makes the same one.
func Version(describe string) string {
	clean, dirty := describe, false
	for _, suffix := range []string{"-dirty", "+dirty"} {
		if rest, ok := strings.CutSuffix(describe, suffix); ok {
			clean, dirty = rest, true
		}
	}
	m := described.FindStringSubmatch(clean)
	if m == nil {
		return "0.0.0~git" + notInVersions.ReplaceAllString(describe, ".")
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

// Tag is a version as the tag of an image, which may have neither ~ nor +.
func Tag(version string) string { return strings.NewReplacer("~", "-", "+", "-").Replace(version) }
