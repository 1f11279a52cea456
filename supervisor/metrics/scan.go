package metrics

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Scanner reads Prometheus's text format 0.0.4 line by line, without making anything that
// outlives the line. It takes what Prometheus's own reader (common/expfmt) takes and reads
// the same in it, but for names in quotes, which are of a later version of the format, and
// for a name that nothing separates from what follows it; FuzzAgainstPrometheus compares
// the two.
type Scanner struct {
	text []byte // what is left
	line int
	rest []byte // of the line, what is not read yet
	kind lineKind
	err  error

	// Name is that of the metric that the line is about. It is good until the next line.
	Name []byte
	// Labels are those of the sample, in the order in which they are there, after
	// [Scanner.Sample]. They are good until the next line.
	Labels []ScannedLabel
	// Value is that of the sample, after [Scanner.Sample].
	Value float64

	room []byte // for values that had something escaped in them
}

// ScannedLabel is a label as it was read.
type ScannedLabel struct{ Name, Value []byte }

type lineKind int8

const (
	lineSample lineKind = iota
	lineHelp
	lineType
	lineEnd // of the page
)

// Scan begins with a page.
func Scan(text []byte) *Scanner { return &Scanner{text: text} }

// NextSample goes to the next line that is a sample, and reads the name of its metric. A
// line that makes no sense is passed over: who must not do that reads a page with [Parse].
func (s *Scanner) NextSample() bool {
	for {
		switch s.next() {
		case lineEnd:
			return false
		case lineSample:
			if s.err == nil {
				return true
			}
		}
	}
}

// Label is the value of a label of the sample, nil if it has none.
func (s *Scanner) Label(name string) []byte {
	for i := range s.Labels {
		if string(s.Labels[i].Name) == name {
			return s.Labels[i].Value
		}
	}
	return nil
}

// next goes to the next line that says something. What is wrong with it is in err.
func (s *Scanner) next() lineKind {
	s.err = nil
	for len(s.text) > 0 {
		line, rest, whole := bytes.Cut(s.text, []byte("\n"))
		s.text = rest
		s.line++
		if line = skipBlanks(line); len(line) == 0 {
			continue
		}
		if !whole { // it was cut off, and so may have been a number
			s.err = errors.New("the page ends within it")
		}
		if line[0] == '#' {
			if s.comment(line[1:]) {
				return s.kind
			}
			continue
		}
		s.kind = lineSample
		n := nameLength(line, true)
		s.Name, s.rest = line[:n], line[n:]
		switch {
		case s.err != nil:
		case n == 0:
			s.err = fmt.Errorf("%.100q is no name of a metric", line)
		case len(s.rest) == 0 || s.rest[0] != '{' && !isBlank(s.rest[0]):
			s.err = fmt.Errorf("nothing separates the name %.100q from %.20q", s.Name, s.rest)
		}
		return lineSample
	}
	return lineEnd
}

// comment reads one, from behind its #, and says whether it is none.
func (s *Scanner) comment(text []byte) bool {
	text = skipBlanks(text)
	end := blank(text)
	switch string(text[:end]) {
	case "HELP":
		s.kind = lineHelp
	case "TYPE":
		s.kind = lineType
	default:
		s.kind = lineHelp
		return s.err != nil
	}
	text = skipBlanks(text[end:])
	n := nameLength(text, true)
	s.Name, s.rest = text[:n], text[n:]
	if len(s.rest) == 0 {
		return s.err != nil // of what?
	}
	if s.err == nil && (n == 0 || !isBlank(s.rest[0])) {
		s.err = fmt.Errorf("%.100q is no name of a metric", text[:blank(text)])
	}
	s.rest = skipBlanks(s.rest)
	return true
}

// help is the text of a line of help.
func (s *Scanner) help() (string, error) {
	if bytes.IndexByte(s.rest, '\\') < 0 {
		return string(s.rest), nil
	}
	text, err := unescape(nil, s.rest)
	return string(text), err
}

// Sample reads the labels and the value of a sample. The time that may follow is read over:
// what was counted is that of now.
func (s *Scanner) Sample() error {
	s.Labels, s.room = s.Labels[:0], s.room[:0]
	text := skipBlanks(s.rest)
	if len(text) > 0 && text[0] == '{' {
		var err error
		if text, err = s.labels(text[1:]); err != nil {
			return err
		}
		text = skipBlanks(text)
	}
	end := blank(text)
	var err error
	if s.Value, err = number(text[:end]); err != nil {
		return err
	}
	if end == len(text) {
		return nil
	}
	text = skipBlanks(text[end:])
	if _, err := strconv.ParseInt(string(text), 10, 64); err != nil {
		return fmt.Errorf("%.100q is no time in milliseconds", text)
	}
	return nil
}

// labels reads what is between braces, from behind the first.
func (s *Scanner) labels(text []byte) (rest []byte, err error) {
	for {
		text = skipBlanks(text)
		if len(text) > 0 && text[0] == '}' {
			return text[1:], nil
		}
		n := nameLength(text, false)
		name := text[:n]
		if n == 0 {
			return nil, fmt.Errorf("%.100q is no name of a label", text)
		}
		if text = skipBlanks(text[n:]); len(text) == 0 || text[0] != '=' {
			return nil, fmt.Errorf("there is no = behind the label %.100q", name)
		}
		if text = skipBlanks(text[1:]); len(text) == 0 || text[0] != '"' {
			return nil, fmt.Errorf("the value of the label %.100q is not in quotes", name)
		}
		value, end := text[1:], 0
		escaped := false
		for end < len(value) && value[end] != '"' {
			if value[end] == '\\' {
				escaped = true
				end++
			}
			end++
		}
		if end >= len(value) {
			return nil, fmt.Errorf("the value of the label %.100q has no end", name)
		}
		value, text = value[:end], skipBlanks(value[end+1:])
		if escaped {
			from := len(s.room)
			if s.room, err = unescape(s.room, value); err != nil {
				return nil, err
			}
			value = s.room[from:]
		}
		if !utf8.Valid(value) {
			return nil, fmt.Errorf("the value of the label %.100q is no UTF-8", name)
		}
		s.Labels = append(s.Labels, ScannedLabel{name, value})
		switch {
		case len(text) > 0 && text[0] == ',':
			text = text[1:]
		case len(text) > 0 && text[0] == '}':
			return text[1:], nil
		default:
			return nil, fmt.Errorf("behind the label %.100q there is neither a comma nor a brace", name)
		}
	}
}

// number reads a value as Prometheus does, which has no 0x1p-2 and no 1_000.
func number(text []byte) (float64, error) {
	if bytes.ContainsAny(text, "pP_") {
		return math.NaN(), fmt.Errorf("%.100q is no number", text)
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return v, fmt.Errorf("%.100q is no number", text)
	}
	return v, nil
}

func unescape(to, text []byte) ([]byte, error) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			if i++; i == len(text) {
				return to, errors.New(`nothing is escaped by the last \`)
			}
			switch c = text[i]; c {
			case 'n':
				c = '\n'
			case '\\', '"':
			default:
				return to, fmt.Errorf(`\ escapes no %.10q`, text[i:i+1])
			}
		}
		to = append(to, c)
	}
	return to, nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func skipBlanks(text []byte) []byte {
	for len(text) > 0 && isBlank(text[0]) {
		text = text[1:]
	}
	return text
}

// blank is where the first is, or the end.
func blank(text []byte) int {
	for i, c := range text {
		if isBlank(c) {
			return i
		}
	}
	return len(text)
}

// nameLength is how many bytes at the beginning are the name of a metric, or of a label.
func nameLength(text []byte, metric bool) int {
	for i, c := range text {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == ':' && metric, '0' <= c && c <= '9' && i > 0:
		default:
			return i
		}
	}
	return len(text)
}

// kindOf reads the type of a family, in capitals or not, as Prometheus does.
func kindOf(text []byte) (Kind, error) {
	for _, kind := range []Kind{Counter, Gauge, Histogram, Summary, Untyped} {
		if len(text) == len(kind) && strings.EqualFold(string(text), string(kind)) {
			return kind, nil
		}
	}
	return "", fmt.Errorf("%.100q is no type of a metric", text)
}
