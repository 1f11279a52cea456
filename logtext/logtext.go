// Package logtext writes the records of log/slog as lines for people: what
// happened, as a sentence, with the reason after a colon and what to do about it on a
// line of its own.
//
//	warning: the TLS certificate stays as it was: open cert.pem: no such file
//	error: hello: no such table (request_id=7c1e…)
//
// The level is a word in front, none for what is only said. Of the attributes "err" is
// the reason, "hint" what to do, and one whose text has several lines, as a stack has,
// follows as it is; all others stand in parentheses at the end of the line.
package logtext

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// The keys of attributes that are written in a way of their own.
const (
	Reason = "err"
	Hint   = "hint"
)

// Options say how lines are written. The zero value is for a process whose lines
// somebody else gives a time.
type Options struct {
	Level slog.Leveler // the least that is written; nil: slog.LevelInfo
	Time  string       // the layout of the time in front, "" for none
	Name  string       // stands before all else, as "neko: "
}

// Said is the value of an attribute that the sentence has in it already: other handlers
// write v, and this one does not say it again.
func Said(v any) slog.LogValuer { return said{v} }

type said struct{ v any }

func (s said) LogValue() slog.Value { return slog.AnyValue(s.v) }

// Logger writes plain lines to w.
func Logger(w io.Writer) *slog.Logger { return slog.New(New(w, Options{})) }

// New makes a handler that writes each record to w in one call.
func New(w io.Writer, o Options) slog.Handler {
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	return &handler{out: &output{w: w}, options: o}
}

type output struct {
	mu sync.Mutex
	w  io.Writer
}

type handler struct {
	out     *output
	options Options
	attrs   []slog.Attr // with the names of their groups
	group   string      // "a.b."
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.options.Level.Level()
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	n := *h
	n.group += name + "."
	return &n
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	n.attrs = slices.Clip(h.attrs)
	for _, a := range attrs {
		n.attrs = flatten(n.attrs, h.group, a)
	}
	return &n
}

// flatten appends a, and what is in it if it is a group.
func flatten(list []slog.Attr, group string, a slog.Attr) []slog.Attr {
	if a.Value.Kind() == slog.KindLogValuer {
		if _, ok := a.Value.Any().(said); ok {
			return list
		}
	}
	a.Value = a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
		return list
	case a.Value.Kind() == slog.KindGroup:
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, in := range a.Value.Group() {
			list = flatten(list, group, in)
		}
		return list
	}
	a.Key = group + a.Key
	return append(list, a)
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var b []byte
	b = append(b, h.options.Name...)
	if h.options.Time != "" && !r.Time.IsZero() {
		b = append(r.Time.AppendFormat(b, h.options.Time), ' ')
	}
	attrs := h.attrs
	if r.NumAttrs() > 0 {
		attrs = slices.Clip(attrs)
		r.Attrs(func(a slog.Attr) bool {
			attrs = flatten(attrs, h.group, a)
			return true
		})
	}
	b = append(b, word(r.Level)...)
	b = append(b, strings.TrimRight(r.Message, "\n")...)
	for _, a := range attrs {
		if a.Key == Reason {
			b = append(append(b, ": "...), text(a.Value)...)
		}
	}
	var after []string
	open := false
	for _, a := range attrs {
		s := text(a.Value)
		switch {
		case a.Key == Reason:
			continue
		case a.Key == Hint:
			if s != "" {
				after = append(after, "hint: "+s)
			}
			continue
		case strings.Contains(s, "\n"):
			after = append(after, strings.TrimRight(s, "\n"))
			continue
		case !open:
			b = append(b, " ("...)
			open = true
		default:
			b = append(b, ' ')
		}
		b = append(append(b, a.Key...), '=')
		if quoted(s) {
			b = strconv.AppendQuote(b, s)
		} else {
			b = append(b, s...)
		}
	}
	if open {
		b = append(b, ')')
	}
	b = append(b, '\n')
	for _, line := range after {
		b = append(append(b, line...), '\n')
	}
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(b)
	return err
}

// word is what a line of this level begins with.
func word(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "error: "
	case l >= slog.LevelWarn:
		return "warning: "
	case l < slog.LevelInfo:
		return "debug: "
	}
	return ""
}

func text(v slog.Value) string {
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		return fmt.Sprint(v.Any())
	}
	return v.String()
}

// quoted says whether s could be taken for something else if it stood there as it is.
func quoted(s string) bool {
	return s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || r == '"' || r == '=' || r == '(' || r == ')' || !unicode.IsPrint(r)
	})
}

// Printable is a text of others', a server's answer or a name in a file, in at most so
// many bytes and as it may stand in a line: what moves a cursor, ends the line or turns
// it round is a dot.
func Printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '.'
		}
		return r
	}, s)
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
