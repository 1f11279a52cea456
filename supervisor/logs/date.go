package logs

import (
	"strconv"
	"strings"
	"time"
)

// DateFormat is a form of dates in the tokens of day.js, which PM2 knows:
// "YYYY-MM-DD HH:mm:ss.SSS Z". What is in square brackets, and what is no token,
// stands for itself.
type DateFormat struct {
	parts []func(to []byte, t time.Time) []byte
	text  string
}

// tokens, the longer of two with the same beginning first.
var tokens = []struct {
	name  string
	write func(to []byte, t time.Time) []byte
}{
	{"YYYY", layout("2006")},
	{"YY", layout("06")},
	{"MMMM", layout("January")},
	{"MMM", layout("Jan")},
	{"MM", layout("01")},
	{"M", layout("1")},
	{"DD", layout("02")},
	{"D", layout("2")},
	{"dddd", layout("Monday")},
	{"ddd", layout("Mon")},
	{"dd", func(to []byte, t time.Time) []byte { return append(to, t.Format("Mon")[:2]...) }},
	{"d", number(func(t time.Time) int { return int(t.Weekday()) })},
	{"HH", layout("15")},
	{"H", number(time.Time.Hour)},
	{"hh", layout("03")},
	{"h", layout("3")},
	{"mm", layout("04")},
	{"m", layout("4")},
	{"SSS", func(to []byte, t time.Time) []byte {
		ms := strconv.Itoa(1000 + t.Nanosecond()/1e6)
		return append(to, ms[1:]...)
	}},
	{"ss", layout("05")},
	{"s", layout("5")},
	{"ZZ", layout("-0700")},
	{"Z", layout("-07:00")},
	{"A", layout("PM")},
	{"a", layout("pm")},
}

func layout(form string) func([]byte, time.Time) []byte {
	return func(to []byte, t time.Time) []byte { return t.AppendFormat(to, form) }
}

func number(of func(time.Time) int) func([]byte, time.Time) []byte {
	return func(to []byte, t time.Time) []byte { return strconv.AppendInt(to, int64(of(t)), 10) }
}

// ParseDate understands every text: what is no token stands for itself.
func ParseDate(form string) *DateFormat {
	f := &DateFormat{text: form}
	literal := ""
	flush := func() {
		if text := literal; text != "" {
			f.parts = append(f.parts, func(to []byte, _ time.Time) []byte { return append(to, text...) })
		}
		literal = ""
	}
next:
	for form != "" {
		if form[0] == '[' {
			if end := strings.IndexByte(form, ']'); end > 1 {
				literal += form[1:end]
				form = form[end+1:]
				continue
			}
		}
		for _, t := range tokens {
			if rest, ok := strings.CutPrefix(form, t.name); ok {
				flush()
				f.parts = append(f.parts, t.write)
				form = rest
				continue next
			}
		}
		literal += form[:1]
		form = form[1:]
	}
	flush()
	return f
}

// Append appends t, in the zone that it is in.
func (f *DateFormat) Append(to []byte, t time.Time) []byte {
	for _, write := range f.parts {
		to = write(to, t)
	}
	return to
}

func (f *DateFormat) String() string { return f.text }
