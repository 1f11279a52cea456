package shape

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"

	"golang.org/x/text/width"

	"github.com/nekoctl/neko/pm2/object"
)

// The settings of Node's util.inspect that shape its output.
const (
	breakLength     = 80
	compact         = 3
	maxArrayLength  = 100
	maxStringLength = 10000
	minLineLength   = 16
)

// Inspect is util.inspect(value, false, null, false) of Node 20: what prettylist
// prints. Keys that are array indices stay where they are, which JavaScript would
// move to the front.
func Inspect(value any) string {
	i := inspector{}
	return i.value(value, 0)
}

type inspector struct {
	indent int
	// depth is that of the object whose members were looked at last.
	depth int
}

func (i *inspector) value(value any, depth int) string {
	switch v := value.(type) {
	case string:
		return i.text(v)
	case []*object.Object:
		return i.array(all(v), depth)
	case []any:
		return i.array(v, depth)
	case *object.Object:
		return i.object(v, depth)
	case json.Number:
		if f, err := v.Float64(); err == nil && f == 0 && math.Signbit(f) {
			return "-0"
		}
	}
	return Text(value)
}

func (i *inspector) object(o *object.Object, depth int) string {
	if o.Len() == 0 {
		return "{}"
	}
	i.depth = depth
	members := make([]string, 0, o.Len())
	for key, value := range o.All() {
		i.indent += 2
		text := i.value(value, depth+1)
		i.indent -= 2
		members = append(members, name(key)+": "+text)
	}
	return i.join(members, "{", "}", depth, len(members))
}

func (i *inspector) array(values []any, depth int) string {
	if len(values) == 0 {
		return "[]"
	}
	i.depth = depth
	shown := values[:min(len(values), maxArrayLength)]
	members := make([]string, 0, len(shown)+1)
	for _, value := range shown {
		i.indent += 2
		members = append(members, i.value(value, depth+1))
		i.indent -= 2
	}
	if rest := len(values) - len(shown); rest > 0 {
		members = append(members, fmt.Sprintf("... %d more item%s", rest, plural(rest)))
	}
	entries := len(members)
	if entries > 6 {
		members = i.columns(members, values)
	}
	return i.join(members, "[", "]", depth, entries)
}

// join puts members in one line if these are short and few levels deep, else each in
// its own. Where there were more entries than members are left, they are lines already.
func (i *inspector) join(members []string, open, end string, depth, entries int) string {
	if i.depth-depth < compact && entries == len(members) {
		total := 2*len(members) + i.indent + len(open) + 10
		fits := total+len(members) <= breakLength
		for _, m := range members {
			total += length(m)
			fits = fits && total <= breakLength && !strings.Contains(m, "\n")
		}
		if fits {
			return open + " " + strings.Join(members, ", ") + " " + end
		}
	}
	line := "\n" + strings.Repeat(" ", i.indent)
	return open + line + "  " + strings.Join(members, ","+line+"  ") + line + end
}

// columns sets the members of a long array in columns, if they are of similar length.
func (i *inspector) columns(members []string, values []any) []string {
	n := len(members)
	if n > maxArrayLength {
		n-- // the line that says how many more there are
	}
	total, longest := 0, 0
	lengths := make([]int, n)
	for k, m := range members[:n] {
		lengths[k] = columnsOf(m)
		total += lengths[k] + 2
		longest = max(longest, lengths[k])
	}
	widest := longest + 2
	if widest*3+i.indent >= breakLength || (float64(total)/float64(widest) <= 5 && longest > 6) {
		return members
	}
	bias := math.Sqrt(float64(widest) - float64(total)/float64(len(members)))
	biased := math.Max(float64(widest)-3-bias, 1)
	count := min(
		int(math.Floor(math.Sqrt(2.5*biased*float64(n))/biased+0.5)),
		(breakLength-i.indent)/widest,
		compact*4,
		15,
	)
	if count <= 1 {
		return members
	}
	widths := make([]int, count)
	for column := range widths {
		for k := column; k < n; k += count {
			widths[column] = max(widths[column], lengths[k])
		}
		widths[column] += 2
	}
	numbers := len(members) <= len(values)
	for k := 0; k < len(members) && numbers; k++ {
		numbers = isNumber(values[k])
	}
	lines := []string{}
	for first := 0; first < n; first += count {
		last := min(first+count, n) - 1
		line := strings.Builder{}
		for k := first; k <= last; k++ {
			cell, wide := members[k], widths[k-first]
			if k < last {
				cell += ", "
			} else {
				wide -= 2
			}
			space := strings.Repeat(" ", max(wide-lengths[k]-(len(cell)-len(members[k])), 0))
			switch {
			case numbers:
				line.WriteString(space + cell)
			case k < last:
				line.WriteString(cell + space)
			default:
				line.WriteString(cell)
			}
		}
		lines = append(lines, line.String())
	}
	return append(lines, members[n:]...)
}

func isNumber(value any) bool {
	switch value.(type) {
	case nil, bool, string, []any, *object.Object:
		return false
	}
	return true
}

// text quotes a string; one that is longer than a line is cut at its newlines.
func (i *inspector) text(s string) string {
	trailer := ""
	if units := utf16.Encode([]rune(s)); len(units) > maxStringLength {
		rest := len(units) - maxStringLength
		trailer = fmt.Sprintf("... %d more character%s", rest, plural(rest))
		return i.lines(units[:maxStringLength]) + trailer
	}
	return i.lines(utf16.Encode([]rune(s)))
}

func (i *inspector) lines(units []uint16) string {
	if len(units) <= minLineLength || len(units) <= breakLength-i.indent-4 {
		return escape(units)
	}
	parts := []string{}
	first := 0
	for k, u := range units {
		if u == '\n' && k+1 < len(units) {
			parts = append(parts, escape(units[first:k+1]))
			first = k + 1
		}
	}
	parts = append(parts, escape(units[first:]))
	return strings.Join(parts, " +\n"+strings.Repeat(" ", i.indent+2))
}

var plainKey = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z_0-9]*$`)

func name(key string) string {
	switch {
	case key == "__proto__":
		return "['__proto__']"
	case plainKey.MatchString(key):
		return key
	}
	return escape(utf16.Encode([]rune(key)))
}

// escape quotes with the first of ' " ` that needs no escape.
func escape(units []uint16) string {
	s := string(utf16.Decode(units))
	q := "'"
	if strings.Contains(s, "'") {
		if !strings.Contains(s, `"`) {
			q = `"`
		} else if !strings.Contains(s, "`") && !strings.Contains(s, "${") {
			q = "`"
		}
	}
	var b strings.Builder
	b.WriteString(q)
	for k := 0; k < len(units); k++ {
		u := units[k]
		switch {
		case u == '\'' && q == "'", u == '\\':
			b.WriteByte('\\')
			b.WriteByte(byte(u))
		case u >= '\b' && u <= '\r' && u != '\v':
			b.WriteByte('\\')
			b.WriteByte("btn?fr"[u-'\b'])
		case u < ' ', u > '~' && u < 0xa0:
			fmt.Fprintf(&b, `\x%02X`, u)
		case u >= 0xd800 && u < 0xe000:
			if k+1 < len(units) && u < 0xdc00 && units[k+1] >= 0xdc00 && units[k+1] < 0xe000 {
				b.WriteRune(utf16.DecodeRune(rune(u), rune(units[k+1])))
				k++
			} else { // a half that a cut has left
				fmt.Fprintf(&b, `\u%x`, u)
			}
		default:
			b.WriteRune(rune(u))
		}
	}
	return b.String() + q
}

// length is that of a string in JavaScript.
func length(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r >= 0x10000 {
			n++
		}
	}
	return n
}

func plural(n int) string {
	if n > 1 {
		return "s"
	}
	return ""
}

// columnsOf is how wide a member is on a terminal.
func columnsOf(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Cc):
		case wide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

// wide says that a terminal gives a character two columns.
func wide(r rune) bool {
	kind := width.LookupRune(r).Kind()
	return kind == width.EastAsianWide || kind == width.EastAsianFullwidth
}
