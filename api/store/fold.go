package store

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Fold makes strings comparable the way people compare names: without case,
// accents or compatibility forms ("Énergie" is "energie").
func Fold(s string) string {
	ascii, lower := true, true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x80 {
			ascii = false
			break
		}
		if 'A' <= c && c <= 'Z' {
			lower = false
		}
	}
	if ascii {
		if lower {
			return s
		}
		return strings.ToLower(s)
	}
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range norm.NFKD.String(s) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case r == 'ß':
			b.WriteString("ss")
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

// Words are the folded words of a text, as the text search compares them:
// letters and digits, without the addresses of links and without markup. The
// order is that of the text; words may repeat.
func Words(text string) []string {
	var out []string
	for text != "" {
		// Addresses would make every object match "https" and "attack".
		cut := nextURL(text)
		out = append(out, strings.FieldsFunc(Fold(text[:cut]), func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r)
		})...)
		text = text[cut:]
		end := strings.IndexFunc(text, func(r rune) bool { return unicode.IsSpace(r) || r == ')' || r == '"' || r == '>' })
		if end < 0 {
			break
		}
		text = text[end:]
	}
	return out
}

func nextURL(s string) int {
	n := len(s)
	if i := strings.Index(s, "http://"); i >= 0 {
		n = i
	}
	if i := strings.Index(s[:n], "https://"); i >= 0 {
		n = i
	}
	return n
}

// SearchWords are the distinct words by which the text filter finds an object.
func SearchWords(o *Object) []string {
	seen := make(map[string]struct{}, 64)
	var out []string
	add := func(text string) {
		for _, w := range Words(text) {
			if _, ok := seen[w]; !ok {
				seen[w] = struct{}{}
				out = append(out, w)
			}
		}
	}
	add(o.Name)
	add(o.AttackID)
	for _, a := range o.Aliases {
		add(a)
	}
	add(o.Value)
	add(o.Description)
	return out
}
