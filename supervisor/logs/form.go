package logs

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf8"
)

// Form is how lines are rewritten: with a date, or as JSON.
type Form struct {
	Type    string      // JSON or ""
	Date    *DateFormat // before each line; in JSON, that of the time stamp; may be nil
	App     string      // the rest is for JSON
	Process int         // PM2's pm_id
	Errors  bool        // standard error
}

// JSON as the type of a form makes each line an object with PM2's fields. What is
// no UTF-8 in a line is replaced there, and nowhere else.
const JSON = "json"

// lines appends what the lines of text become. The last may have no end; it gets
// one.
func (f *Form) lines(to, text []byte, now time.Time) []byte {
	var date []byte
	if f.Type != JSON {
		date = f.date(nil, now)
	}
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		if f.Type == JSON {
			to = f.object(to, line, now, false)
			continue
		}
		to = append(append(append(to, date...), line...), '\n')
	}
	return to
}

// date is what stands before a line.
func (f *Form) date(to []byte, now time.Time) []byte {
	if f.Date == nil {
		return to
	}
	return append(f.Date.Append(to, now), ": "...)
}

// piece is an object for a part of a line that is too long for one.
func (f *Form) piece(to, text []byte, now time.Time) []byte {
	return f.object(to, text, now, true)
}

func (f *Form) object(to, line []byte, now time.Time, partial bool) []byte {
	to = appendQuoted(append(to, `{"message":`...), line)
	to = append(to, `,"timestamp":`...)
	if f.Date != nil {
		to = appendQuoted(to, f.Date.Append(nil, now))
	} else {
		to = now.UTC().AppendFormat(to, `"2006-01-02T15:04:05.000Z"`)
	}
	stream := "out"
	if f.Errors {
		stream = "err"
	}
	to = append(append(append(to, `,"type":"`...), stream...), `","process_id":`...)
	to = strconv.AppendInt(to, int64(f.Process), 10)
	to = appendQuoted(append(to, `,"app_name":`...), []byte(f.App))
	if partial {
		to = append(to, `,"partial":true`...)
	}
	return append(to, "}\n"...)
}

// appendQuoted appends text as a JSON string, as JavaScript does: nothing is
// escaped that need not be.
func appendQuoted(to, text []byte) []byte {
	const hex = "0123456789abcdef"
	to = append(to, '"')
	for i := 0; i < len(text); {
		c := text[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && n == 1 {
				to = append(to, "\ufffd"...)
			} else {
				to = append(to, text[i:i+n]...)
			}
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
		case c == '\n':
			to = append(to, '\\', 'n')
		case c == '\r':
			to = append(to, '\\', 'r')
		case c == '\t':
			to = append(to, '\\', 't')
		case c < ' ':
			to = append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			to = append(to, c)
		}
		i++
	}
	return append(to, '"')
}

// wholeRunes is how much of text can be taken without cutting a character.
func wholeRunes(text []byte) int {
	for back := 1; back < utf8.UTFMax && back < len(text); back++ {
		if c := text[len(text)-back]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(text[len(text)-back:]) {
				return len(text) - back
			}
			break
		}
	}
	return len(text)
}
