package stix

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// raw is all that the API takes from any type of object.
type raw struct {
	Type        string    `json:"type"`
	ID          string    `json:"id"`
	Created     string    `json:"created"`
	Modified    string    `json:"modified"`
	Revoked     bool      `json:"revoked"`
	Deprecated  bool      `json:"x_mitre_deprecated"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	References  []rawRef  `json:"external_references"`
	Aliases     []string  `json:"aliases"`
	MoreAliases []string  `json:"x_mitre_aliases"`
	Domains     []string  `json:"x_mitre_domains"`
	Platforms   []string  `json:"x_mitre_platforms"`
	Phases      []rawStep `json:"kill_chain_phases"`
	Sub         bool      `json:"x_mitre_is_subtechnique"`
	ShortName   string    `json:"x_mitre_shortname"`
	FirstSeen   string    `json:"first_seen"`
	LastSeen    string    `json:"last_seen"`

	Pattern        string   `json:"pattern"`
	PatternType    string   `json:"pattern_type"`
	IndicatorTypes []string `json:"indicator_types"`
	Labels         []string `json:"labels"` // STIX 2.0's indicator_types
	ValidFrom      string   `json:"valid_from"`
	ValidUntil     string   `json:"valid_until"`

	SightingOf string `json:"sighting_of_ref"`
	Count      *int   `json:"count"`

	Relation string `json:"relationship_type"`
	Source   string `json:"source_ref"`
	Target   string `json:"target_ref"`
}

type rawRef struct {
	Source      string `json:"source_name"`
	ID          string `json:"external_id"`
	URL         string `json:"url"`
	Description string `json:"description"`
}

type rawStep struct {
	Chain string `json:"kill_chain_name"`
	Phase string `json:"phase_name"`
}

// kindOf is the kind of a STIX type, KindAny if the API does not know it.
func kindOf(typ string) store.Kind {
	switch typ {
	case "intrusion-set":
		return store.KindThreatActor
	case "attack-pattern":
		return store.KindTechnique
	case "x-mitre-tactic":
		return store.KindTactic
	case "malware", "tool":
		return store.KindSoftware
	case "campaign":
		return store.KindCampaign
	case "course-of-action":
		return store.KindMitigation
	case "indicator":
		return store.KindIndicator
	case "sighting":
		return store.KindSighting
	}
	return store.KindAny
}

// idKind is the kind of what an id names.
func idKind(id string) store.Kind {
	typ, _, _ := strings.Cut(id, "--")
	return kindOf(typ)
}

// edgeOf is the edge that a relationship is, if the API follows it.
func edgeOf(rel string, from, to store.Kind) (store.Edge, bool) {
	var ok bool
	switch store.Edge(rel) {
	case store.Uses:
		ok = (from == store.KindThreatActor || from == store.KindCampaign || from == store.KindSoftware) &&
			(to == store.KindTechnique || to == store.KindSoftware)
	case store.AttributedTo:
		ok = from == store.KindCampaign && to == store.KindThreatActor
	case store.Mitigates:
		ok = from == store.KindMitigation && to == store.KindTechnique
	case store.SubtechniqueOf:
		ok = from == store.KindTechnique && to == store.KindTechnique
	case store.Indicates:
		ok = from == store.KindIndicator && to != store.KindAny
	}
	return store.Edge(rel), ok
}

// attackSources are the source names of references that give an object its ATT&CK
// id, each with the domain that it means where the object itself does not say.
// The last one is of our sample data, which is not MITRE's.
func attackSource(name string) (domain string, ok bool) {
	switch name {
	case "mitre-attack":
		return "enterprise-attack", true
	case "mitre-mobile-attack":
		return "mobile-attack", true
	case "mitre-ics-attack":
		return "ics-attack", true
	case "mitre-pre-attack":
		return "pre-attack", true
	case "neko-sample":
		return "", true
	}
	return "", false
}

// chainOf is the kill chain of a domain.
func chainOf(domain string) string {
	if domain == "enterprise-attack" {
		return "mitre-attack"
	}
	if strings.HasSuffix(domain, "-attack") {
		return "mitre-" + domain
	}
	return domain
}

// object reads one object and emits what the store takes of it.
func (r *reader) object(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		return r.failure(r.start, "is no object")
	}
	var o raw
	err := json.Unmarshal(b, &o)
	r.id = o.ID
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		field := wrong.Field
		known := o.Type == "relationship" || kindOf(o.Type) != store.KindAny
		if known || field == "type" || field == "id" {
			return r.failure(r.start+min(max(wrong.Offset-1, 0), int64(len(b))), "%q is %s, and should be a %s", field, article(wrong.Value), jsonType(wrong))
		}
	} else if err != nil {
		return r.failure(r.start, "is not valid JSON: %v", err)
	}
	switch {
	case o.Type == "":
		return r.failure(r.start, `"type" is missing`)
	case o.ID == "":
		return r.failure(r.start, `"id" is missing`)
	case !validID(o.ID, o.Type):
		return r.failure(r.start, `"id" is no STIX id of a %s: want %s--UUID`, shorten(o.Type), shorten(o.Type))
	}
	if first, ok := r.seen[o.ID]; ok {
		return r.failure(r.start, "the same id has object %d", first)
	}
	r.seen[strings.Clone(o.ID)] = r.index

	kind := kindOf(o.Type)
	if kind == store.KindAny && o.Type != "relationship" {
		r.skipped.Types[o.Type]++
		return nil
	}
	gone := store.Alive
	switch {
	case o.Revoked:
		gone = store.Revoked
	case o.Deprecated:
		gone = store.Deprecated
	}
	var rec store.Record
	if o.Type == "relationship" {
		rec, err = r.relationship(&o, gone)
	} else {
		rec, err = r.thing(&o, kind, gone)
	}
	if err != nil || rec.Object == nil && rec.Link == nil {
		return err
	}
	switch gone {
	case store.Revoked:
		r.skipped.Revoked++
	case store.Deprecated:
		r.skipped.Deprecated++
	}
	if err := r.emit(rec); err != nil {
		return err
	}
	if kind == store.KindSighting {
		// What it is a sighting of is a property in STIX and a relation here.
		return r.emit(store.Record{Gone: gone, Link: &store.Relationship{
			Link: store.Link{ID: o.ID, Created: rec.Object.Created, Modified: rec.Object.Modified},
			Edge: store.SightingOf, Source: o.ID, Target: o.SightingOf,
		}})
	}
	return nil
}

func (r *reader) missing(field string) error { return r.failure(r.start, "%q is missing", field) }

func (r *reader) relationship(o *raw, gone store.Gone) (rec store.Record, err error) {
	switch {
	case o.Relation == "":
		return rec, r.missing("relationship_type")
	case o.Source == "":
		return rec, r.missing("source_ref")
	case o.Target == "":
		return rec, r.missing("target_ref")
	case !validRef(o.Source):
		return rec, r.failure(r.start, `"source_ref" is no STIX id: %q`, shorten(o.Source))
	case !validRef(o.Target):
		return rec, r.failure(r.start, `"target_ref" is no STIX id: %q`, shorten(o.Target))
	}
	edge, ok := edgeOf(o.Relation, idKind(o.Source), idKind(o.Target))
	if !ok {
		r.skipped.Relations[o.Relation]++
		return rec, nil
	}
	l := &store.Relationship{Edge: edge, Source: o.Source, Target: o.Target,
		Link: store.Link{ID: o.ID, Description: o.Description, References: references(o.References)}}
	if l.Created, l.Modified, err = r.times(o); err != nil {
		return rec, err
	}
	return store.Record{Link: l, Gone: gone}, nil
}

func (r *reader) thing(o *raw, kind store.Kind, gone store.Gone) (rec store.Record, err error) {
	out := &store.Object{
		ID: o.ID, Kind: kind, Type: o.Type, Name: strings.TrimSpace(o.Name), Description: o.Description,
		References: references(o.References), Platforms: distinct(o.Platforms), Domains: distinct(o.Domains),
	}
	if out.Created, out.Modified, err = r.times(o); err != nil {
		return rec, err
	}
	if out.FirstSeen, err = r.time("first_seen", o.FirstSeen); err != nil {
		return rec, err
	}
	if out.LastSeen, err = r.time("last_seen", o.LastSeen); err != nil {
		return rec, err
	}
	if out.Name == "" && kind != store.KindIndicator && kind != store.KindSighting {
		return rec, r.missing("name")
	}
	if len(out.Name) > 4096 {
		return rec, r.failure(r.start, `"name" is longer than 4096 bytes`)
	}
	for _, ref := range o.References {
		if domain, ok := attackSource(ref.Source); ok && ref.ID != "" && len(ref.ID) <= 64 && out.AttackID == "" {
			out.AttackID = strings.ToUpper(ref.ID)
			if len(out.Domains) == 0 && domain != "" {
				out.Domains = []string{domain}
			}
		}
	}
	for _, a := range distinct(append(o.Aliases, o.MoreAliases...)) {
		if a != out.Name {
			out.Aliases = append(out.Aliases, a)
		}
	}
	switch kind {
	case store.KindTechnique:
		out.Subtechnique = o.Sub
		for _, p := range o.Phases {
			if p.Chain == "" || p.Phase == "" {
				return rec, r.failure(r.start, `"kill_chain_phases" has one without name`)
			}
			out.Phases = append(out.Phases, strings.ToLower(p.Chain+"/"+p.Phase))
		}
		out.Phases = distinct(out.Phases)
	case store.KindTactic:
		out.ShortName = strings.ToLower(o.ShortName)
		if out.ShortName == "" {
			return rec, r.missing("x_mitre_shortname")
		}
		for _, d := range out.Domains {
			out.Phases = append(out.Phases, strings.ToLower(chainOf(d))+"/"+out.ShortName)
		}
	case store.KindIndicator:
		err = r.indicator(o, out)
	case store.KindSighting:
		if o.SightingOf == "" {
			return rec, r.missing("sighting_of_ref")
		}
		if !validRef(o.SightingOf) {
			return rec, r.failure(r.start, `"sighting_of_ref" is no STIX id: %q`, shorten(o.SightingOf))
		}
		out.Count = 1
		if o.Count != nil {
			out.Count = *o.Count
		}
		if out.Count < 0 || out.Count > 999_999_999 {
			return rec, r.failure(r.start, `"count" is not 0 to 999999999`)
		}
	}
	return store.Record{Object: out, Gone: gone}, err
}

func (r *reader) indicator(o *raw, out *store.Object) (err error) {
	if o.Pattern == "" {
		return r.missing("pattern")
	}
	out.Pattern, out.PatternType = o.Pattern, o.PatternType
	if out.PatternType == "" {
		out.PatternType = "stix" // 2.0 has no other
	}
	if out.PatternType == "stix" {
		out.ValueType, out.Value = store.ValueOf(o.Pattern)
	}
	if out.IndicatorTypes = distinct(o.IndicatorTypes); len(out.IndicatorTypes) == 0 {
		out.IndicatorTypes = distinct(o.Labels)
	}
	if out.Name == "" {
		if out.Name = out.Value; out.Name == "" {
			out.Name = out.PatternType + " pattern"
		}
	}
	if out.ValidFrom, err = r.time("valid_from", o.ValidFrom); err != nil {
		return err
	}
	if out.ValidFrom.IsZero() {
		out.ValidFrom = out.Created
	}
	out.ValidUntil, err = r.time("valid_until", o.ValidUntil)
	return err
}

// times are created and modified, which decide what is newer.
func (r *reader) times(o *raw) (created, modified time.Time, err error) {
	if o.Created == "" {
		return created, modified, r.missing("created")
	}
	if o.Modified == "" {
		return created, modified, r.missing("modified")
	}
	if created, err = r.time("created", o.Created); err == nil {
		modified, err = r.time("modified", o.Modified)
	}
	return created, modified, err
}

func (r *reader) time(field, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	// Beyond these years microseconds do not fit; nothing real is there.
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return t, r.failure(r.start, `%q is no time: %q, want e.g. "2024-05-01T12:00:00Z"`, field, shorten(s))
	}
	return t.UTC(), nil
}

func references(in []rawRef) []store.Reference {
	if len(in) == 0 {
		return nil
	}
	out := make([]store.Reference, len(in))
	for i, r := range in {
		out[i] = store.Reference(r)
	}
	return out
}

// distinct drops empty strings and repetitions, and keeps the order.
func distinct(in []string) []string {
	var out []string
next:
	for _, s := range in {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		for _, have := range out {
			if have == s {
				continue next
			}
		}
		out = append(out, s)
	}
	return out
}

// validID tells whether it is TYPE--UUID.
func validID(id, typ string) bool {
	return len(typ) <= 250 && strings.HasPrefix(id, typ) && validRef(id) && len(id) == len(typ)+2+36
}

func validRef(id string) bool {
	n := len(id) - 36 - 2
	if n < 1 || n > 250 || id[n:n+2] != "--" {
		return false
	}
	for _, c := range []byte(id[:n]) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	for i, c := range []byte(id[n+2:]) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return false
			}
		}
	}
	return true
}
