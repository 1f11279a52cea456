package sqlite

import (
	"strconv"
	"strings"

	"github.com/nekoctl/neko/api/store"
)

// What no query compares is kept in one text column, in the form of
// [store.Content]. Reading it back is a few scans for a byte, and all strings of
// an object share the row's memory; JSON took ten times as long, with an
// allocation for each string.
const (
	endField = '\x1e'
	endItem  = '\x1f'
	nextPart = '\x1d'
)

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

func decodeLink(doc string, l *store.Link) {
	r := docReader{doc}
	l.Description = r.text()
	l.References = r.refs()
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
	add(labelAlias, store.Fold(store.Clean(o.Name)))
	for _, a := range o.Aliases {
		add(labelAlias, store.Fold(store.Clean(a)))
	}
	for _, d := range o.Domains {
		add(labelDomain, store.Clean(d))
	}
	for _, p := range o.Platforms {
		add(labelPlatform, store.Fold(store.Clean(p)))
	}
	for _, p := range o.Phases {
		add(labelPhase, store.Clean(p))
		if o.Kind == store.KindTechnique {
			_, short, _ := strings.Cut(store.Clean(p), "/")
			add(labelShort, short)
		}
	}
	for _, t := range o.IndicatorTypes {
		add(labelType, store.Clean(t))
	}
	return out
}
