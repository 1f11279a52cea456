package monit

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                     "plain",
		"":                          "",
		"a\tb":                      "a       b",
		"日本\tb":                     "日本    b",
		"\x1b[2J":                   "\ufffd[2J",
		"a\r\nb\x00\x7f\u0085":      "a\ufffd\ufffdb\ufffd\ufffd\ufffd",
		"\xff":                      "\ufffd",
		"e\u0301":                   "e\u0301",
		"\u0301e":                   "e", // it would be put over the edge of a pane
		"e\u0301\u0301\u0301\u0301": "e\u0301\u0301\u0301",
		"gnp\u202eexe":              "gnpexe",
		"👩\u200d🚀":                  "👩🚀",
		"👍🏽":                        "👍",
		"❤\ufe0f":                   "❤",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestSpans(t *testing.T) {
	base := style{fg: red}
	for in, want := range map[string][]span{
		"plain":                            {{base, "plain"}},
		"\x1b[32mok\x1b[0m then":           {{style{fg: green}, "ok"}, {base, " then"}},
		"\x1b[1;94mx\x1b[22;39my":          {{style{fg: brightBlue, bold: true}, "x"}, {base, "y"}},
		"\x1b[38;5;2ma\x1b[38;2;1;2;3mb":   {{style{fg: green}, "a"}, {style{fg: green}, "b"}},
		"\x1b[2K\x1b[1Ga":                  {{base, "a"}},
		"\x1b]0;title\x07a\x1b]0;t\x1b\\b": {{base, "a"}, {base, "b"}},
		"\x1b]0;no end":                    {{base, "0;no end"}},
		"10 %\r20 %\r30 %\r":               {{base, "30 %"}},
		"\x1b":                             nil,
		"\x1b[":                            nil,
	} {
		got := spans(in, base)
		if len(got) != len(want) {
			t.Errorf("%q became %+v, want %+v", in, got, want)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%q became %+v, want %+v", in, got, want)
			}
		}
	}
}

// Whatever a program prints, what is drawn of it stays in its place and is as wide as it is
// taken for.
func FuzzDraw(f *testing.F) {
	f.Add("\x1b[31mred\x1b[0m 日本\te\u0301 \x1b]8;;x\x07", 20)
	f.Add("👩\u200d🚀🇩🇪❤\ufe0f\x9b1m", 5)
	f.Fuzz(func(t *testing.T, line string, room int) {
		room = min(max(0, room), 100)
		c := newCanvas(104, 1)
		x := 2
		for _, s := range spans(line, style{}) {
			if strings.ContainsFunc(s.text, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }) || !utf8.ValidString(s.text) {
				t.Fatalf("%q is left of %q", s.text, line)
			}
			if x < 2+room {
				x += c.text(x, 0, 2+room-x, s.style, s.text)
			}
		}
		text := strings.TrimSuffix(c.plain(), "\n")
		if !strings.HasPrefix(text, "  ") && text != "" || ansi.StringWidthWc(text) > 2+room || width(text) != ansi.StringWidthWc(text) {
			t.Fatalf("%q became %q in %d columns: %d, %d wide", line, text, room, width(text), ansi.StringWidthWc(text))
		}
		taken := 0
		for _, one := range c.cells {
			if one.text != "" {
				taken += width(one.text)
			}
		}
		if taken != c.w {
			t.Fatalf("%q: the cells of the line are %d wide, of %d", line, taken, c.w)
		}
	})
}
