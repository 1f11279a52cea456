package monit

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// most marks are put over one letter: more would reach into other lines.
const mostMarks = 3

// printable is s without anything that moves the cursor, changes a color or the order
// of letters, or that terminals do not agree on how wide it is: names of apps and what
// they print are others' words.
func printable(s string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	column, marks := 0, mostMarks // a mark at the beginning has no letter
	for _, r := range s {
		switch {
		case r == '\t':
			n := 8 - column%8
			b.WriteString("        "[:n])
			column += n
			marks = 0
			continue
		case r < ' ', 0x7f <= r && r < 0xa0, r == '\u2028', r == '\u2029', r == utf8.RuneError:
			r = '\ufffd'
		case unicode.In(r, unicode.Mn, unicode.Me):
			if marks++; marks > mostMarks || 0xfe00 <= r && r <= 0xfe0f {
				continue
			}
			b.WriteRune(r)
			continue
		case unicode.Is(unicode.Cf, r), 0x1f3fb <= r && r <= 0x1f3ff: // joiners, directions, skin tones
			continue
		}
		w := runeWidth(r)
		if w == 0 {
			continue
		}
		b.WriteRune(r)
		column += w
		marks = 0
	}
	return b.String()
}

// runeWidth is how many columns a rune takes: 0 to 2.
func runeWidth(r rune) int {
	if r >= ' ' && r < 0x7f {
		return 1
	}
	return ansi.StringWidthWc(string(r))
}

// width is how many columns a printable text takes.
func width(s string) (n int) {
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// span is a part of a line in one style.
type span struct {
	style style
	text  string
}

// longestLine is how much of a line is shown.
const longestLine = 4 << 10

// spans read a line that a program printed for a terminal: its colors are kept, and
// whatever else it wanted of the terminal is left out.
func spans(line string, base style) (list []span) {
	if len(line) > longestLine {
		line = strings.ToValidUTF8(line[:longestLine], "") + "…"
	}
	line = strings.TrimSuffix(line, "\r")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 { // what was overwritten
		line = line[i+1:]
	}
	st := base
	for line != "" {
		i := strings.IndexByte(line, '\x1b')
		if i < 0 {
			i = len(line)
		}
		if i > 0 {
			list = append(list, span{st, printable(line[:i])})
		}
		if line = line[i:]; line == "" {
			break
		}
		rest, codes, isColor := skipEscape(line)
		if line = rest; isColor {
			st = colored(st, base, codes)
		}
	}
	return list
}

// skipEscape is what comes after an escape sequence, and the numbers of one that sets
// colors.
func skipEscape(s string) (rest, codes string, isColor bool) {
	if len(s) < 2 {
		return "", "", false
	}
	switch s[1] {
	case '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return s[i+1:], s[2:i], s[i] == 'm'
			}
			if s[i] < ' ' || s[i] > 0x7e {
				return s[i:], "", false
			}
		}
		return "", "", false
	case ']', 'P', '_', '^', 'X': // a text for the terminal, up to BEL or ST
		for i := 2; i < len(s); i++ {
			if s[i] == 7 {
				return s[i+1:], "", false
			}
			if s[i] == '\x1b' && i+1 < len(s) && s[i+1] == '\\' {
				return s[i+2:], "", false
			}
		}
		return s[2:], "", false // no end: the line's words are more use than nothing
	}
	if s[1] < 0x80 {
		return s[2:], "", false
	}
	return s[1:], "", false
}

// colored is a style after "CSI codes m". Of colors only the sixteen are known that
// a user has chosen for the terminal.
func colored(st, base style, codes string) style {
	list := strings.FieldsFunc(codes, func(r rune) bool { return r == ';' || r == ':' })
	if len(list) == 0 {
		return base
	}
	for i := 0; i < len(list); i++ {
		n, err := strconv.Atoi(list[i])
		if err != nil {
			return st
		}
		switch {
		case n == 0:
			st = base
		case n == 1:
			st.bold = true
		case n == 2:
			st.dim = true
		case n == 22:
			st.bold, st.dim = false, false
		case n >= 30 && n <= 37:
			st.fg = color(n - 30 + 1)
		case n >= 90 && n <= 97:
			st.fg = color(n - 90 + 9)
		case n == 39:
			st.fg = base.fg
		case n == 38 || n == 48:
			if i+1 < len(list) && list[i+1] == "5" {
				if c, err := strconv.Atoi(list[min(i+2, len(list)-1)]); err == nil && n == 38 && c < 16 {
					st.fg = color(c + 1)
				}
				i += 2
			} else {
				i += 4
			}
		}
	}
	return st
}
