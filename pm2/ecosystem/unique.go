package ecosystem

import (
	"strconv"
	"strings"

	"github.com/nekoctl/neko/supervisor/spec"
)

// NameOf makes a name, as neko has them, of a title.
func NameOf(title string) string {
	name := strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, title)
	name = strings.TrimLeft(name, "-.")
	name = strings.TrimRight(name[:min(len(name), spec.MaxName-len("app-"))], "-")
	switch {
	case name == "":
		return "app"
	case name == "all" || strings.Trim(name, "0123456789") == "": // they mean something else
		return "app-" + name
	}
	return name
}

// Unique is a name that is not taken: name itself, or with a number after it.
func Unique(name string, taken func(string) bool) string {
	for n, candidate := 2, name; ; n++ {
		if !taken(candidate) {
			return candidate
		}
		suffix := "-" + strconv.Itoa(n)
		candidate = name[:min(len(name), spec.MaxName-len(suffix))] + suffix
	}
}
