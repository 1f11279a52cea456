package store

import (
	"fmt"
	"strings"
)

// AttackKey gives a key in the form in which ATT&CK ids are kept, and whether it
// is one at all: STIX ids have "--" in them.
func AttackKey(key string) (id string, ok bool) {
	if key == "" || len(key) > 64 || strings.Contains(key, "--") {
		return "", false
	}
	return strings.ToUpper(key), true
}

// Validate checks a query for objects of a kind, and gives it with the defaults
// filled in and its cursor read (nil if it has none). Stores begin with it.
func (q Query) Validate(kind Kind) (Query, *Cursor, error) {
	if q.First < 0 || q.First > MaxFirst {
		return q, nil, &InvalidError{"first", fmt.Sprintf("must be 0 to %d", MaxFirst)}
	}
	q.OrderBy = q.OrderBy.norm()
	switch q.OrderBy.By {
	case OrderName, OrderAttackID, OrderModified, OrderCreated, OrderFirstSeen, OrderLastSeen:
	default:
		return q, nil, &InvalidError{"orderBy", fmt.Sprintf("there is no order %q", q.OrderBy.By)}
	}
	if err := q.Filter.validate(kind); err != nil {
		return q, nil, err
	}
	if q.After == "" {
		return q, nil, nil
	}
	c, err := ParseCursor(q.After, q.OrderBy)
	if err != nil {
		return q, nil, err
	}
	return q, &c, nil
}

// Valid tells whether it is one of [Kinds].
func (k Kind) Valid() bool {
	for _, known := range Kinds {
		if k == known {
			return true
		}
	}
	return false
}

// maxSearchWords bounds [Filter.Text]: each word is looked up among all words that
// begin so, and one letter begins many.
const maxSearchWords = 12

func (f Filter) validate(kind Kind) error {
	if kind != KindAny && !kind.Valid() {
		return &InvalidError{"kind", fmt.Sprintf("there is no kind %q", kind)}
	}
	for _, c := range []struct {
		field string
		set   bool
		kinds []Kind
	}{
		{"usesTechnique", f.UsesTechnique != "", []Kind{KindThreatActor, KindCampaign, KindSoftware}},
		{"usesSoftware", f.UsesSoftware != "", []Kind{KindThreatActor, KindCampaign}},
		{"attributedTo", f.AttributedTo != "", []Kind{KindCampaign}},
		{"mitigates", f.Mitigates != "", []Kind{KindMitigation}},
		{"tactic", f.Tactic != "", []Kind{KindTechnique}},
		{"indicates", f.Indicates != "", []Kind{KindIndicator}},
		{"sightingOf", f.SightingOf != "", []Kind{KindSighting}},
		{"platform", f.Platform != "", []Kind{KindTechnique, KindSoftware}},
		{"type", f.Type != "", []Kind{KindSoftware}},
		{"subtechnique", f.Subtechnique != nil, []Kind{KindTechnique}},
		{"seenAfter", !f.SeenAfter.IsZero(), []Kind{KindThreatActor, KindCampaign, KindSighting}},
		{"seenBefore", !f.SeenBefore.IsZero(), []Kind{KindThreatActor, KindCampaign, KindSighting}},
		{"indicatorType", f.IndicatorType != "", []Kind{KindIndicator}},
		{"valueType", f.ValueType != "", []Kind{KindIndicator}},
		{"value", f.Value != "", []Kind{KindIndicator}},
		{"active", f.Active != nil, []Kind{KindIndicator}},
	} {
		if !c.set {
			continue
		}
		fits := false
		for _, k := range c.kinds {
			fits = fits || k == kind
		}
		if !fits {
			if kind == KindAny {
				return &InvalidError{"filter." + c.field, "needs a list of one kind"}
			}
			return &InvalidError{"filter." + c.field, fmt.Sprintf("does not apply to a %s", kind)}
		}
	}
	if f.Type != "" && f.Type != "malware" && f.Type != "tool" {
		return &InvalidError{"filter.type", `must be "malware" or "tool"`}
	}
	if len(f.Keys) > MaxKeys {
		return &InvalidError{"filter.keys", fmt.Sprintf("more than %d", MaxKeys)}
	}
	for _, s := range []struct{ field, text string }{
		{"text", f.Text}, {"name", f.Name}, {"alias", f.Alias}, {"value", f.Value}, {"usesTechnique", f.UsesTechnique},
		{"usesSoftware", f.UsesSoftware}, {"tactic", f.Tactic}, {"platform", f.Platform}, {"domain", f.Domain},
	} {
		if len(s.text) > 4096 {
			return &InvalidError{"filter." + s.field, "is longer than 4096 bytes"}
		}
	}
	if words := Words(f.Text); f.Text != "" && len(words) == 0 {
		return &InvalidError{"filter.text", "has no word in it"}
	} else if len(words) > maxSearchWords {
		return &InvalidError{"filter.text", fmt.Sprintf("has more than %d words", maxSearchWords)}
	}
	return nil
}

// Validate checks that it is a relation that exists.
func (r Relation) Validate() error {
	switch r.Edge {
	case Uses, AttributedTo, Mitigates, SubtechniqueOf, Indicates, InTactic, SightingOf:
	default:
		return &InvalidError{"relation", fmt.Sprintf("there is no edge %q", r.Edge)}
	}
	if r.To != KindAny && !r.To.Valid() {
		return &InvalidError{"relation", fmt.Sprintf("there is no kind %q", r.To)}
	}
	return nil
}

// Begin checks what [Store.List] is given: as [Query.Validate] does, and with the page
// that has nothing on it. Without asks that is the answer.
func (q Query) Begin(kind Kind) (_ Query, c *Cursor, page Page, asks bool, err error) {
	if kind == KindAny {
		return q, nil, Page{}, false, &InvalidError{"kind", "is missing"}
	}
	if q, c, err = q.Validate(kind); err != nil {
		return q, nil, Page{}, false, err
	}
	return q, c, Page{Total: -1, HasPrevious: c != nil}, q.First > 0 || q.WantTotal, nil
}

// Begin checks what [Store.Related] is given: as [Query.Validate] does, and with
// the pages that parents have of whom nothing is found. Without asks those are the
// answer.
func (r Relation) Begin(parents []string, q Query) (_ Query, c *Cursor, pages []Page, asks bool, err error) {
	if err := r.Validate(); err != nil {
		return q, nil, nil, false, err
	}
	if q, c, err = q.Validate(r.To); err != nil {
		return q, nil, nil, false, err
	}
	if len(parents) > MaxKeys {
		return q, nil, nil, false, &InvalidError{"parents", fmt.Sprintf("more than %d", MaxKeys)}
	}
	pages = make([]Page, len(parents))
	for i := range pages {
		pages[i] = Page{Total: -1, HasPrevious: c != nil}
		if q.WantTotal {
			pages[i].Total = 0
		}
	}
	return q, c, pages, len(parents) > 0 && (q.First > 0 || q.WantTotal), nil
}

// Ref is an object that a filter names: the listed ones lead to it by an edge.
type Ref struct {
	Edge Edge
	Key  string
	Kind Kind // that an ATT&CK id is of
}

// Refs are the objects that the filter names, but for [Filter.Tactic], which may be
// a name as well.
func (f Filter) Refs() (refs []Ref) {
	for _, r := range []Ref{
		{SightingOf, f.SightingOf, KindAny},
		{Indicates, f.Indicates, KindAny},
		{AttributedTo, f.AttributedTo, KindThreatActor},
		{Mitigates, f.Mitigates, KindTechnique},
		{Uses, f.UsesSoftware, KindSoftware},
		{Uses, f.UsesTechnique, KindTechnique},
	} {
		if r.Key != "" {
			refs = append(refs, r)
		}
	}
	return refs
}
