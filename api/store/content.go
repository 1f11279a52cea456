package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Fields are ended by 0x1e, list items by 0x1f, and a reference's parts separated
// by 0x1d. Texts have none of these bytes: [Clean] sees to that. New fields go to
// the end, so that old texts read as if they had them empty.
const (
	endField = '\x1e'
	endItem  = '\x1f'
	nextPart = '\x1d'
)

type docWriter struct{ b []byte }

func (w *docWriter) text(s string) { w.b = append(append(w.b, Clean(s)...), endField) }

func (w *docWriter) int(n int64) { w.b = append(strconv.AppendInt(w.b, n, 10), endField) }

func (w *docWriter) list(l []string) {
	for _, s := range l {
		w.b = append(append(w.b, Clean(s)...), endItem)
	}
	w.b = append(w.b, endField)
}

func (w *docWriter) refs(l []Reference) {
	for _, r := range l {
		w.b = append(append(w.b, Clean(r.Source)...), nextPart)
		w.b = append(append(w.b, Clean(r.ID)...), nextPart)
		w.b = append(append(w.b, Clean(r.URL)...), nextPart)
		w.b = append(append(w.b, Clean(r.Description)...), endItem)
	}
	w.b = append(w.b, endField)
}

// Clean drops control characters other than white space: nobody means them in
// text, and some of them are ours.
func Clean(s string) string {
	for i := 0; i < len(s); i++ {
		if isControl(rune(s[i])) {
			return strings.ToValidUTF8(strings.Map(func(r rune) rune {
				if isControl(r) {
					return -1
				}
				return r
			}, s), "\uFFFD")
		}
	}
	return s
}

func isControl(r rune) bool { return r < 0x20 && r != '\n' && r != '\t' && r != '\r' || r == 0x7f }

// Content is an object as one text: what the versions of an object differ in, but
// for its type, ids and times. The embedded store keeps it as it is.
func Content(o *Object) string {
	w := docWriter{make([]byte, 0, len(o.Description)+1024)}
	w.text(o.Name)
	w.text(o.Description)
	w.list(o.Aliases)
	w.refs(o.References)
	w.list(o.Domains)
	w.list(o.Platforms)
	w.list(o.Phases)
	w.text(o.ShortName)
	w.text(o.Pattern)
	w.text(o.PatternType)
	w.list(o.IndicatorTypes)
	w.text(o.ValueType)
	w.text(o.Value)
	w.int(Micros(o.ValidFrom))
	w.int(Micros(o.ValidUntil))
	w.int(int64(o.Count))
	w.text(o.Reporter)
	if o.Subtechnique {
		w.int(1)
	} else {
		w.int(0)
	}
	return string(w.b)
}

// LinkContent is the same of a relationship.
func LinkContent(l *Link) string {
	w := docWriter{make([]byte, 0, len(l.Description)+256)}
	w.text(l.Description)
	w.refs(l.References)
	return string(w.b)
}

// ContentHash decides between versions with the same time. It need only be the
// same everywhere and for ever.
func ContentHash(parts ...string) int64 {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	var sum [sha256.Size]byte
	return int64(binary.BigEndian.Uint64(h.Sum(sum[:0])))
}

// Version is what decides which of two versions of an object or a relationship
// stays, the same in every store: see [Import].
type Version struct {
	Modified int64 // microseconds
	Gone     Gone
	Hash     int64
}

// NewerThan is true if v replaces o. It is a total order, so the last one standing
// does not depend on who came first: time, then tombstones, then content.
func (v Version) NewerThan(o Version) bool {
	if v.Modified != o.Modified {
		return v.Modified > o.Modified
	}
	if (v.Gone != Alive) != (o.Gone != Alive) {
		return v.Gone != Alive
	}
	return v.Hash > o.Hash
}

// ObjectVersion is the version of an object and its [Content]; or those of its
// tombstone, of which only id, kind, type and the time of the change matter, and
// which has no content.
func ObjectVersion(o *Object, gone Gone) (v Version, content string) {
	if gone != Alive {
		o = &Object{ID: o.ID, Kind: o.Kind, Type: o.Type, Modified: o.Modified}
	} else {
		content = Content(o)
	}
	return Version{Micros(o.Modified), gone, ContentHash(string(gone), o.Type, Clean(o.AttackID),
		fmt.Sprint(Micros(o.Created), Micros(o.FirstSeen), Micros(o.LastSeen)), content)}, content
}

// LinkVersion is the same for a relationship.
func LinkVersion(l *Relationship, gone Gone) (v Version, content string) {
	if gone == Alive {
		content = LinkContent(&l.Link)
	}
	return Version{Micros(l.Modified), gone,
		ContentHash(string(gone), string(l.Edge), l.Source, l.Target, fmt.Sprint(Micros(l.Created)), content)}, content
}

// PatternKey is the same for indicators of the same pattern; 0 for those without.
func PatternKey(o *Object) int64 {
	if o.Pattern == "" {
		return 0
	}
	return ContentHash(o.PatternType, o.Pattern)
}
