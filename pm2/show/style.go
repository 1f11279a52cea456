// Package show prints what PM2 prints for people, to the byte: scripts grep it.
//
// All of it is made from the list that package shape has, and from what the caller
// knows; nothing but [ReadSample] looks anywhere itself.
package show

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// Style is how it is printed. The zero value is for a pipe: no colours, any width.
type Style struct {
	Color bool // of words
	// Frame has the frames and the titles of tables coloured too, which PM2 leaves to
	// another library: it asks whether there is a terminal, where the first may not.
	Frame bool
	// Width is the number of columns of the terminal; 0: there is none.
	Width int
	// UserName is the name of a uid, "" if it has none; nil: uids stay numbers.
	UserName func(uid int) string
	// Now is when it is printed.
	Now time.Time
}

// look is a way in which text can be emphasised: the codes that begin and end it.
type look struct{ on, off string }

var (
	bold    = look{"1", "22"}
	dim     = look{"2", "22"}
	italic  = look{"3", "23"}
	inverse = look{"7", "27"}
	red     = look{"31", "39"}
	green   = look{"32", "39"}
	yellow  = look{"33", "39"}
	blue    = look{"34", "39"}
	cyan    = look{"36", "39"}
	white   = look{"37", "39"}
	gray    = look{"90", "39"}
	marked  = look{"100", "49"}
)

// paint gives text looks, the outermost first. Each line of it has them by itself.
func (s Style) paint(text string, looks ...look) string {
	if !s.Color || text == "" {
		return text
	}
	open, end := "", ""
	for _, l := range looks {
		open += "\x1b[" + l.on + "m"
		end = "\x1b[" + l.off + "m" + end
	}
	return open + strings.ReplaceAll(text, "\n", end+"\n"+open) + end
}

// frame is paint for what belongs to a table, the innermost look first. Looks that end
// within text are taken up again.
func (s Style) frame(text string, looks ...look) string {
	if !s.Frame || text == "" {
		return text
	}
	for _, l := range looks {
		open, end := "\x1b["+l.on+"m", "\x1b["+l.off+"m"
		text = open + strings.ReplaceAll(text, end, end+open) + end
	}
	return text
}

// Green and its like are for what commands say by themselves: "[PM2] " is green,
// "[PM2][WARN] " yellow and "[PM2][ERROR] " red.
func (s Style) Green(text string) string  { return s.paint(text, green) }
func (s Style) Yellow(text string) string { return s.paint(text, yellow) }
func (s Style) Red(text string) string    { return s.paint(text, red) }
func (s Style) Blue(text string) string   { return s.paint(text, blue) }
func (s Style) Cyan(text string) string   { return s.paint(text, cyan) }
func (s Style) Bold(text string) string   { return s.paint(text, bold) }
func (s Style) Gray(text string) string   { return s.paint(text, gray) }

// Print is one line. One that is wider than the terminal is cut, so that it does not
// take two rows.
func (s Style) Print(w io.Writer, line string) {
	if s.Width > 0 && !strings.Contains(line, "\n") && length(line) > s.Width {
		line = s.crop(line)
	}
	fmt.Fprintln(w, line)
}

func (s Style) crop(line string) string {
	var b strings.Builder
	seen := 0
	for line != "" {
		if code := escapes.FindStringIndex(line); code != nil && code[0] == 0 {
			b.WriteString(line[:code[1]])
			line = line[code[1]:]
			continue
		}
		if seen >= s.Width-1 {
			return b.String() + "…\x1b[0m"
		}
		r, rest := first(line)
		b.WriteString(r)
		line = rest
		seen += units(r)
	}
	return b.String()
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// length is that of what is seen of text.
func length(text string) int { return units(escapes.ReplaceAllString(text, "")) }

// units is the length of text in JavaScript.
func units(text string) int {
	n := 0
	for _, r := range text {
		n++
		if r >= 0x10000 {
			n++
		}
	}
	return n
}

func first(text string) (char, rest string) {
	for i := range text {
		if i > 0 {
			return text[:i], text[i:]
		}
	}
	return text, ""
}
