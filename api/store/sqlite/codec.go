package sqlite

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/nekoctl/neko/api/store"
)

// What no query compares is kept in one text column: fields ended by 0x1e, list
// items by 0x1f, and a reference's parts separated by 0x1d. Reading it back is a
// few scans for a byte, and all strings of an object share the row's memory;
// JSON took ten times as long, with an allocation for each string. Texts have
// none of these bytes: [clean] sees to that. New fields go to the end, so that old
// rows read as if they had them empty.
const (
	endField = '\x1e'
	endItem  = '\x1f'
	nextPart = '\x1d'
)

type docWriter struct{ b []byte }

func (w *docWriter) text(s string) { w.b = append(append(w.b, clean(s)...), endField) }

func (w *docWriter) int(n int64) { w.b = append(strconv.AppendInt(w.b, n, 10), endField) }

func (w *docWriter) list(l []string) {
	for _, s := range l {
		w.b = append(append(w.b, clean(s)...), endItem)
	}
	w.b = append(w.b, endField)
}

func (w *docWriter) refs(l []store.Reference) {
	for _, r := range l {
		w.b = append(append(w.b, clean(r.Source)...), nextPart)
		w.b = append(append(w.b, clean(r.ID)...), nextPart)
		w.b = append(append(w.b, clean(r.URL)...), nextPart)
		w.b = append(append(w.b, clean(r.Description)...), endItem)
	}
	w.b = append(w.b, endField)
}

type docReader struct{ s string }

func (r *docReader) text() (s string) {
	s, r.s, _ = strings.Cut(r.s, string(rune(endField)))
	return s
}

func (r *docReader) int() int64 {
	n, _ := strconv.ParseInt(r.text(), 10, 64)
	return n
}

func (r *docReader) list() []string {
	s := r.text()
	if s == "" {
		return nil
	}
	return strings.Split(s[:len(s)-1], string(rune(endItem)))
}

func (r *docReader) refs() []store.Reference {
	s := r.text()
	n := strings.Count(s, string(rune(endItem)))
	if n == 0 {
		return nil
	}
	out := make([]store.Reference, 0, n)
	for s != "" {
		var one string
		one, s, _ = strings.Cut(s, string(rune(endItem)))
		var ref store.Reference
		ref.Source, one, _ = strings.Cut(one, string(rune(nextPart)))
		ref.ID, one, _ = strings.Cut(one, string(rune(nextPart)))
		ref.URL, ref.Description, _ = strings.Cut(one, string(rune(nextPart)))
		out = append(out, ref)
	}
	return out
}

// clean drops control characters other than white space: nobody means them in
// text, and some of them are ours.
func clean(s string) string {
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

// encode gives the doc of an object.
func encode(o *store.Object) string {
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
	w.int(store.Micros(o.ValidFrom))
	w.int(store.Micros(o.ValidUntil))
	w.int(int64(o.Count))
	w.text(o.Reporter)
	if o.Subtechnique {
		w.int(1)
	} else {
		w.int(0)
	}
	return string(w.b)
}

func decode(doc string, o *store.Object) {
	r := docReader{doc}
	o.Name = r.text()
	o.Description = r.text()
	o.Aliases = r.list()
	o.References = r.refs()
	o.Domains = r.list()
	o.Platforms = r.list()
	o.Phases = r.list()
	o.ShortName = r.text()
	o.Pattern = r.text()
	o.PatternType = r.text()
	o.IndicatorTypes = r.list()
	o.ValueType = r.text()
	o.Value = r.text()
	o.ValidFrom = store.FromMicros(r.int())
	o.ValidUntil = store.FromMicros(r.int())
	o.Count = int(r.int())
	o.Reporter = r.text()
	o.Subtechnique = r.int() == 1
}

func encodeLink(l *store.Link) string {
	w := docWriter{make([]byte, 0, len(l.Description)+256)}
	w.text(l.Description)
	w.refs(l.References)
	return string(w.b)
}

func decodeLink(doc string, l *store.Link) {
	r := docReader{doc}
	l.Description = r.text()
	l.References = r.refs()
}

// contentHash decides between versions with the same time. It need only be the
// same everywhere and for ever.
func contentHash(parts ...string) int64 {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	var sum [sha256.Size]byte
	return int64(binary.BigEndian.Uint64(h.Sum(sum[:0])))
}

// label is one row of the table of that name.
type label struct{ field, value string }

// The fields of labels.
const (
	labelAlias    = "alias"
	labelDomain   = "domain"
	labelPlatform = "platform"
	labelPhase    = "phase" // "mitre-attack/initial-access", techniques and tactics
	labelShort    = "short" // "initial-access", techniques
	labelType     = "type"  // indicators
)

func labelsOf(o *store.Object) []label {
	out := make([]label, 0, 8)
	add := func(field, value string) {
		if value != "" {
			out = append(out, label{field, value})
		}
	}
	add(labelAlias, store.Fold(clean(o.Name)))
	for _, a := range o.Aliases {
		add(labelAlias, store.Fold(clean(a)))
	}
	for _, d := range o.Domains {
		add(labelDomain, clean(d))
	}
	for _, p := range o.Platforms {
		add(labelPlatform, store.Fold(clean(p)))
	}
	for _, p := range o.Phases {
		add(labelPhase, clean(p))
		if o.Kind == store.KindTechnique {
			_, short, _ := strings.Cut(clean(p), "/")
			add(labelShort, short)
		}
	}
	for _, t := range o.IndicatorTypes {
		add(labelType, clean(t))
	}
	return out
}
