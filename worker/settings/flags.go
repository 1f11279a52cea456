package settings

import (
	"errors"
	"fmt"
	"strings"
)

// ErrHelp is what Load returns for -h and --help.
var ErrHelp = errors.New("help wanted")

type flag struct {
	setting *setting
	value   string
}

// flags reads --name value, --name=value and, for what is true or false, --name.
func (s *Set) flags(args []string) (flags []flag, rest []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return flags, append(rest, args...), nil
		case arg == "-h" || arg == "--help" || arg == "-help":
			return nil, nil, ErrHelp
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			rest = append(rest, arg)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		d := s.find(name)
		switch {
		case d == nil:
			e := &Error{message: fmt.Sprintf("unknown flag --%s", name), hint: "see --help"}
			if near := Nearest(names(s.list, func(d *setting) string { return d.name }), name); near != "" {
				e.hint = fmt.Sprintf("did you mean --%s?", near)
			}
			return nil, nil, e
		case !hasValue && d.isBool:
			value = "true"
		case !hasValue && len(args) == 0:
			return nil, nil, &Error{message: fmt.Sprintf("--%s wants a value", name), hint: fmt.Sprintf("write --%s %s", name, d.placeholder)}
		case !hasValue:
			value, args = args[0], args[1:]
		}
		flags = append(flags, flag{d, value})
	}
	return flags, rest, nil
}

// Help is a table of all settings.
func (s *Set) Help() string {
	var b strings.Builder
	for _, d := range s.list {
		if d.option {
			continue
		}
		fmt.Fprintf(&b, "  --%s", d.name)
		switch {
		case d.isBool && d.fallback == "true":
			b.WriteString("=false")
		case !d.isBool:
			fmt.Fprintf(&b, " %s", d.placeholder)
		}
		fmt.Fprintf(&b, "\n        %s\n        %s", d.help, s.env(d))
		if d.alias != "" {
			fmt.Fprintf(&b, " or %s", d.alias)
		}
		if d != s.list[0] {
			fmt.Fprintf(&b, ", %s: in the file", d.key())
		}
		if d.fallback != "" {
			fmt.Fprintf(&b, "; default %s", d.fallback)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Nearest is the known name that resembles name most, "" if none does: for the hint
// of an error.
func Nearest(known []string, name string) (near string) {
	if len(name) > 100 { // nobody's slip
		return ""
	}
	best := max(2, len(name)/3) + 1
	for _, k := range known {
		if n := distance(name, k); n < best {
			near, best = k, n
		}
	}
	return near
}

func names(list []*setting, of func(*setting) string) (all []string) {
	for _, d := range list {
		all = append(all, of(d))
	}
	return all
}

// distance is how many letters must be put in, taken out or replaced to make b
// of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
