package ecosystem

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nekoctl/neko/supervisor/spec"
)

// jsonReader reads what PM2 has JavaScript evaluate as an expression, as far as it is a
// value: JSON with comments, commas at the end, any quotes, and keys without them.
type jsonReader struct {
	data  []byte
	at    int
	depth int
	err   *spec.Error
}

func readJSON(data []byte) (*tree, *spec.Error) {
	r := &jsonReader{data: data}
	t := r.value()
	if r.space(); r.err == nil && r.at < len(data) {
		r.fail(r.at, "expected the end of the file, not %s", r.here())
	}
	return t, r.err
}

func (r *jsonReader) fail(at int, format string, args ...any) *tree {
	if r.err == nil {
		line, column := placeAt(r.data, at)
		r.err = &spec.Error{Pos: spec.Pos{Line: line, Column: column}, Message: "not JSON: " + fmt.Sprintf(format, args...)}
	}
	r.at = len(r.data)
	return &tree{kind: "null"}
}

// here is what is next, for people.
func (r *jsonReader) here() string {
	if r.at >= len(r.data) {
		return "its end"
	}
	c, _ := utf8.DecodeRune(r.data[r.at:])
	if word := r.word(r.at); word != "" {
		return clip(word)
	}
	return fmt.Sprintf("%q", c)
}

// space skips blanks and comments.
func (r *jsonReader) space() {
	for r.at < len(r.data) {
		c, size := utf8.DecodeRune(r.data[r.at:])
		rest := string(r.data[r.at:min(r.at+2, len(r.data))])
		switch {
		case rest == "//":
			for r.at < len(r.data) && r.data[r.at] != '\n' {
				r.at++
			}
		case rest == "/*":
			end := strings.Index(string(r.data[r.at+2:]), "*/")
			if end < 0 {
				r.fail(r.at, "the comment is not closed")
				return
			}
			r.at += end + 4
		case unicode.IsSpace(c) || c == '\ufeff':
			r.at += size
		default:
			return
		}
	}
}

func (r *jsonReader) next(c byte) bool {
	if r.space(); r.at < len(r.data) && r.data[r.at] == c {
		r.at++
		return true
	}
	return false
}

// word is what could be a key or a literal at a place.
func (r *jsonReader) word(at int) string {
	end := at
	for end < len(r.data) {
		c, size := utf8.DecodeRune(r.data[end:])
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '_' && c != '$' {
			break
		}
		end += size
	}
	return string(r.data[at:end])
}

func (r *jsonReader) value() *tree {
	if r.depth++; r.depth > maxDepth {
		return r.fail(r.at, "it is nested too deep")
	}
	defer func() { r.depth-- }()
	r.space()
	if r.at >= len(r.data) {
		return r.fail(r.at, "expected a value, not its end")
	}
	t := &tree{}
	begin := r.at
	t.line, t.column = placeAt(r.data, begin)
	switch c := r.data[r.at]; {
	case c == '{':
		r.at++
		r.object(t, begin)
	case c == '[':
		r.at++
		t.kind = list
		for !r.next(']') {
			if r.at >= len(r.data) {
				r.closed(']', begin)
				return t
			}
			t.items = append(t.items, r.value())
			if !r.next(',') && !r.closed(']', begin) {
				return t
			}
		}
	case c == '(':
		r.at++
		inner := r.value()
		if !r.closed(')', begin) {
			return t
		}
		r.at++
		return inner
	case c == '"' || c == '\'' || c == '`':
		t.kind, t.value = text, r.text()
	case c == '-' || c == '+' || c == '.' || '0' <= c && c <= '9':
		r.number(t)
	default:
		word := r.word(r.at)
		switch word {
		case "true", "false":
			t.kind, t.value = boolean, word == "true"
		case "null", "undefined", "NaN", "Infinity":
			t.kind = "null"
		default:
			return r.fail(r.at, "expected a value, not %s", r.here())
		}
		r.at += len(word)
	}
	return t
}

// closed says that a bracket is next, and else fails.
func (r *jsonReader) closed(bracket byte, begin int) bool {
	if r.space(); r.at < len(r.data) && r.data[r.at] == bracket {
		return true
	}
	if r.at >= len(r.data) {
		r.fail(begin, "what begins here is not closed: there is no %c", bracket)
	} else {
		r.fail(r.at, "expected a comma or %c, not %s", bracket, r.here())
	}
	return false
}

func (r *jsonReader) object(t *tree, begin int) {
	t.kind = mapping
	for !r.next('}') {
		name, at := "", r.at
		switch {
		case r.at >= len(r.data):
			r.fail(begin, "what begins here is not closed: there is no }")
			return
		case r.data[r.at] == '"' || r.data[r.at] == '\'':
			name = r.text()
		default:
			if name = r.word(r.at); name == "" {
				r.fail(r.at, "expected a key, not %s", r.here())
				return
			}
			r.at += len(name)
		}
		if !r.next(':') {
			r.fail(r.at, "expected a colon after the key %s, not %s", clip(name), r.here())
			return
		}
		value := r.value()
		if value.line, value.column = placeAt(r.data, at); r.err != nil {
			return
		}
		t.set(name, value)
		if !r.next(',') && !r.closed('}', begin) {
			return
		}
	}
}

func (r *jsonReader) number(t *tree) {
	begin := r.at
	sign := 1.0
	if c := r.data[r.at]; c == '-' || c == '+' {
		if r.at++; c == '-' {
			sign = -1
		}
	}
	end := r.at
	for end < len(r.data) && (strings.IndexByte("._", r.data[end]) >= 0 || isAlphanumeric(r.data[end]) ||
		(r.data[end] == '-' || r.data[end] == '+') && strings.IndexByte("eE", r.data[end-1]) >= 0) {
		end++
	}
	word := strings.ReplaceAll(string(r.data[r.at:end]), "_", "")
	r.at = end
	f, err := strconv.ParseFloat(word, 64)
	if n, intErr := strconv.ParseUint(word, 0, 64); intErr == nil && len(word) > 1 && word[0] == '0' && !isDigit(word[1]) { // 0x10
		f, err = float64(n), nil
	}
	if strings.ContainsAny(word, "pP") || err != nil {
		r.fail(begin, "%q is not a number", clip(word))
		return
	}
	t.kind, t.value = number, numberOf(sign*f)
	if t.value == nil {
		t.kind = "null"
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isAlphanumeric(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' }

// text reads what is in quotes, with JavaScript's escapes.
func (r *jsonReader) text() string {
	begin, quote := r.at, r.data[r.at]
	r.at++
	var s strings.Builder
	for r.at < len(r.data) {
		c := r.data[r.at]
		switch {
		case c == quote:
			r.at++
			return s.String()
		case c == '\n' && quote != '`':
			r.fail(begin, "the text that begins here is not closed: there is no %c in its line", quote)
			return ""
		case quote == '`' && strings.HasPrefix(string(r.data[r.at:min(r.at+2, len(r.data))]), "${"):
			r.fail(r.at, "${…} is a program's: give the file a name that ends with .config.js")
			return ""
		case c == '\\':
			r.at++
			r.escape(&s)
		default:
			s.WriteByte(c)
			r.at++
		}
	}
	r.fail(begin, "the text that begins here is not closed")
	return ""
}

func (r *jsonReader) escape(s *strings.Builder) {
	if r.at >= len(r.data) {
		return
	}
	c, size := utf8.DecodeRune(r.data[r.at:])
	r.at += size
	switch c {
	case 'n', 't', 'r', 'b', 'f', 'v', '0':
		s.WriteByte(map[rune]byte{'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f', 'v': '\v', '0': 0}[c])
	case '\r': // a line that goes on
		if r.at < len(r.data) && r.data[r.at] == '\n' {
			r.at++
		}
	case '\n', '\u2028', '\u2029':
	case 'x', 'u':
		unit, ok := r.unit(map[rune]int{'x': 2, 'u': 4}[c])
		if low := r.at; ok && 0xd800 <= unit && unit < 0xdc00 && strings.HasPrefix(string(r.data[r.at:]), `\u`) { // a pair of surrogates
			r.at += 2
			if second, ok := r.unit(4); ok && 0xdc00 <= second && second < 0xe000 {
				unit = 0x10000 + (unit-0xd800)<<10 + second - 0xdc00
			} else {
				r.at = low
			}
		}
		if !ok {
			r.fail(r.at-2, `\%c is followed by %d hexadecimal digits`, c, map[rune]int{'x': 2, 'u': 4}[c])
			return
		}
		s.WriteRune(unit)
	default:
		s.WriteRune(c)
	}
}

func (r *jsonReader) unit(digits int) (rune, bool) {
	if r.at+digits > len(r.data) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(r.data[r.at:r.at+digits]), 16, 32)
	if err != nil {
		return 0, false
	}
	r.at += digits
	return rune(n), true
}
