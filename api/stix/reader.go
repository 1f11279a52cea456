// Package stix reads STIX 2.0 and 2.1 bundles, such as MITRE's of ATT&CK, into a
// store.
package stix

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/nekoctl/neko/api/store"
)

// maxObject bounds one object of a bundle (and any other value in it). ATT&CK's
// largest has 220 KB.
const maxObject = 8 << 20

// Error is what is wrong with a bundle, and where.
type Error struct {
	Name   string // of the file
	Line   int    // from 1; 0 if unknown
	Column int    // from 1, in bytes
	Offset int64  // from 0, in bytes, of the uncompressed bundle
	Index  int    // of the object in objects, from 0; -1 if it is about no object
	ID     string // of the object, as far as known
	Reason string
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Name)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Index >= 0 {
		fmt.Fprintf(&b, "object %d", e.Index)
		if e.ID != "" {
			fmt.Fprintf(&b, " (%s)", shorten(e.ID))
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Reason)
	if e.Line > 0 {
		fmt.Fprintf(&b, " (byte %d)", e.Offset)
	}
	return b.String()
}

func shorten(s string) string {
	if len(s) > 100 {
		s = strings.ToValidUTF8(s[:97], "") + "…"
	}
	return s
}

// Skipped counts what a bundle has and the store does not take.
type Skipped struct {
	Revoked, Deprecated int
	Types               map[string]int // objects of types that the API does not know
	Relations           map[string]int // relationships that it does not know, "detects"
}

// Objects is the number of skipped objects and relationships in all.
func (s *Skipped) Objects() int {
	n := s.Revoked + s.Deprecated
	for _, c := range s.Types {
		n += c
	}
	for _, c := range s.Relations {
		n += c
	}
	return n
}

// listed writes counts as "a 3, b 1", the largest first.
func listed(counts map[string]int) string {
	keys := make([]string, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		if counts[keys[i]] != counts[keys[j]] {
			return counts[keys[i]] > counts[keys[j]]
		}
		return keys[i] < keys[j]
	})
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%s %d", k, counts[k])
	}
	return strings.Join(keys, ", ")
}

// limited is a reader that gives out no more than it is allowed, so that one
// endless string cannot fill the memory.
type limited struct {
	r     io.Reader
	pos   int64
	limit int64
}

var errTooLarge = errors.New("too large")

func (l *limited) Read(p []byte) (int, error) {
	if l.pos >= l.limit {
		return 0, errTooLarge
	}
	if int64(len(p)) > l.limit-l.pos {
		p = p[:l.limit-l.pos]
	}
	n, err := l.r.Read(p)
	l.pos += int64(n)
	return n, err
}

// reader walks through a bundle, one object in memory at a time.
type reader struct {
	in      *limited
	dec     *json.Decoder
	emit    func(store.Record) error
	tick    func(objects int) error // after each object
	skipped Skipped
	objects int
	seen    map[string]int // id → index

	// Where we are, for errors.
	start int64 // offset of the value that is read
	index int   // of the object, -1 outside objects
	id    string
}

// failure is an Error in the making: without name, line and column.
func (r *reader) failure(offset int64, format string, args ...any) error {
	return &Error{Offset: offset, Index: r.index, ID: r.id, Reason: fmt.Sprintf(format, args...)}
}

// syntaxError is an Error about what the JSON decoder could not read at all.
type syntaxError struct{ at Error }

func (e *syntaxError) Error() string { return e.at.Error() }

// read reads the whole bundle. Its errors are *Error, *syntaxError, or of emit,
// tick and the input.
func read(in io.Reader, emit func(store.Record) error, tick func(int) error) (*reader, error) {
	r := &reader{
		in: &limited{r: in, limit: maxObject}, emit: emit, tick: tick, index: -1,
		skipped: Skipped{Types: map[string]int{}, Relations: map[string]int{}},
		seen:    make(map[string]int),
	}
	r.dec = json.NewDecoder(r.in)
	return r, r.bundle()
}

func (r *reader) bundle() error {
	t, err := r.token()
	if err != nil {
		if err == io.EOF {
			return r.failure(0, "is empty: a STIX bundle is expected")
		}
		return err
	}
	if t != json.Delim('{') {
		return r.failure(0, "is no STIX bundle: it begins with %s, and not with an object", describe(t))
	}
	var typ, version string
	var objects bool
	for r.dec.More() {
		key, err := r.token()
		if err != nil {
			return err
		}
		switch key {
		case "objects":
			if objects {
				return r.failure(r.dec.InputOffset(), `"objects" is there twice`)
			}
			objects = true
			// Fail early on what begins like another thing than a bundle.
			if typ != "" && typ != "bundle" {
				return r.failure(r.start, `is no STIX bundle: its type is %q`, shorten(typ))
			}
			if err := r.list(); err != nil {
				return err
			}
		case "type":
			err = r.value(&typ, `"type"`)
			if err == nil && typ != "bundle" {
				err = r.failure(r.start, `is no STIX bundle: its type is %q`, shorten(typ))
			}
		case "spec_version":
			err = r.value(&version, `"spec_version"`)
			if err == nil && version != "2.0" && version != "2.1" {
				err = r.failure(r.start, "is of STIX version %q: 2.0 and 2.1 can be read", shorten(version))
			}
		default:
			var skip json.RawMessage
			err = r.value(&skip, fmt.Sprint(key))
		}
		if err != nil {
			return err
		}
	}
	if _, err := r.token(); err != nil { // the closing brace
		return err
	}
	if typ != "bundle" {
		return r.failure(0, `is no STIX bundle: it has no "type": "bundle"`)
	}
	r.in.limit = r.in.pos + maxObject
	if _, err := r.dec.Token(); err != io.EOF {
		if err == nil || isSyntax(err) {
			return r.failure(r.dec.InputOffset(), "has something after the end of the bundle")
		}
		return r.decodeError(err)
	}
	return nil
}

func describe(t json.Token) string {
	switch t := t.(type) {
	case json.Delim:
		return "an array"
	case string:
		return "a string"
	case nil:
		return "null"
	case bool:
		return "a boolean"
	default:
		return fmt.Sprintf("%.20v", t)
	}
}

func isSyntax(err error) bool {
	var s *json.SyntaxError
	return errors.As(err, &s)
}

// token reads the next token, within the limit.
func (r *reader) token() (json.Token, error) {
	r.start = r.dec.InputOffset()
	r.in.limit = r.start + maxObject
	t, err := r.dec.Token()
	if err != nil && !(err == io.EOF && r.start == 0) {
		return nil, r.decodeError(err)
	}
	return t, err
}

// value reads the next value into v, within the limit.
func (r *reader) value(v any, what string) error {
	r.start = r.dec.InputOffset()
	r.in.limit = r.start + maxObject
	err := r.dec.Decode(v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return r.failure(r.start, "%s is %s, and should be a %s", what, article(wrong.Value), jsonType(wrong))
	}
	if err != nil {
		return r.decodeError(err)
	}
	return nil
}

// decodeError says what the decoder did not like.
func (r *reader) decodeError(err error) error {
	switch {
	case errors.Is(err, errTooLarge):
		what := "a value"
		if r.index >= 0 {
			what = "it"
		}
		return r.failure(r.start, "%s is larger than %d MiB", what, maxObject>>20)
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return r.failure(r.in.pos, "the file ends before the bundle does: it is cut off")
	}
	var s *json.SyntaxError
	if errors.As(err, &s) {
		// Where exactly is found by reading this value again: see locate.
		return &syntaxError{Error{Offset: r.start, Index: r.index, ID: r.id, Reason: "is not valid JSON: " + s.Error()}}
	}
	return err
}

// list reads the objects.
func (r *reader) list() error {
	t, err := r.token()
	if err != nil {
		return err
	}
	if t != json.Delim('[') {
		return r.failure(r.start, `"objects" is no array`)
	}
	var raw json.RawMessage
	for r.index = 0; r.dec.More(); r.index++ {
		r.id = ""
		raw = raw[:0]
		if err := r.value(&raw, "it"); err != nil {
			return err
		}
		// The decoder's offset before the value is that of the comma or space
		// before it; after it, the value's end.
		r.start = r.dec.InputOffset() - int64(len(raw))
		if err := r.object(raw); err != nil {
			return err
		}
		r.objects++
		if err := r.tick(r.objects); err != nil {
			return err
		}
	}
	r.index, r.id = -1, ""
	_, err = r.token()
	return err
}

func article(jsonType string) string {
	switch jsonType {
	case "object", "array":
		return "an " + jsonType
	case "bool":
		return "a boolean"
	}
	if strings.HasPrefix(jsonType, "number") {
		return "a " + jsonType
	}
	return "a " + jsonType
}

func jsonType(e *json.UnmarshalTypeError) string {
	switch e.Type.Kind().String() {
	case "slice":
		return "list"
	case "struct":
		return "object"
	case "bool":
		return "boolean"
	case "int":
		return "whole number"
	default:
		return "string"
	}
}
