package mongo

import (
	"math"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/nekoctl/neko/api/store"
)

// The collections.
const (
	objectsName   = "objects"   // a document for each object, alive or a tombstone
	relationsName = "relations" // and one for each relationship, also those that wait for an end
	claimsName    = "claims"    // the patterns of which an indicator is just being made
	importsName   = "imports"   // the last imports: who may write just now, and what came of it
	metaName      = "meta"      // the schema's version, and the log of changes

	usersName       = "users" // see accounts.go
	sessionsName    = "sessions"
	apiKeysName     = "api_keys"
	signingKeysName = "signing_keys"
)

// field is the name of a field in a document. Only the constants below are
// fields: nothing that came from a client can be one, nor an operator.
type field string

const (
	fID            field = "_id"
	fKind          field = "v.kind"
	fGone          field = "v.gone"
	fType          field = "v.type"
	fAttackID      field = "v.attack_id"
	fFold          field = "v.fold"
	fCreated       field = "v.created"
	fModified      field = "v.modified"
	fHash          field = "v.hash"
	fFirst         field = "v.first_seen"
	fLast          field = "v.last_seen"
	fSub           field = "v.subtechnique"
	fValueType     field = "v.value_type"
	fValue         field = "v.value"
	fValidFrom     field = "v.valid_from"
	fUntil         field = "v.until"
	fPatternKey    field = "v.pattern_key"
	fNames         field = "v.names"
	fDomains       field = "domains"
	fPlatformKeys  field = "platforms"
	fPhases        field = "v.phases"
	fShorts        field = "v.shorts"
	fIndicatorType field = "v.indicator_types"
	fWords         field = "v.words"
	fRetired       field = "retired"
	fTo            field = "to"

	// Of relations.
	fSource field = "source"

	// Of accounts.
	fUserFold        field = "fold"
	fRole            field = "role"
	fPassword        field = "password"
	fPasswordChanged field = "password_changed"
	fDisabled        field = "disabled"
	fEpoch           field = "epoch"
	fDigest          field = "digest"
	fExpires         field = "expires"
	fRevoked         field = "revoked"
	fLastUsed        field = "last_used"
)

// object is the document of an object.
//
// All that a version of it says is in v, which is written as a whole: nobody ever
// sees half of a version. Only what is served has a kind there, and so whatever
// asks for a kind, as all queries do and all indexes begin, asks for the living.
//
// To is where its relations lead ("uses attack-pattern--…"), and via is by what
// relationship ("" for a tactic), item by item. They follow from the collection
// of relationships, of which several may be between the same two objects. With
// them in the object, filters by a relation and the relations towards an object
// (of which there may be millions) are lists of objects like any other, with
// the same indexes and the same filters.
type object struct {
	ID      string   `bson:"_id"`
	V       version  `bson:"v"`
	To      []string `bson:"to,omitempty"`
	Via     []string `bson:"via,omitempty"`
	Retired int64    `bson:"retired"` // ours alone: no import touches it
	Local   bool     `bson:"local,omitempty"`

	// Sets of what v has lists of, for filters and counts; written with it.
	Domains   []string `bson:"domains,omitempty"`
	Platforms []string `bson:"platforms,omitempty"` // folded
}

// set makes a version the document's.
func (d *object) set(v version) {
	d.V = v
	d.Domains, d.Platforms = keys(same, v.Domains...), keys(store.Fold, v.Platforms...)
}

// version is one version of an object, or its tombstone. Times are microseconds
// since 1970, 0 where unknown.
type version struct {
	Kind     string `bson:"kind,omitempty"` // of what is served
	Gone     string `bson:"gone,omitempty"`
	Type     string `bson:"type"`
	Modified int64  `bson:"modified"`
	Hash     int64  `bson:"hash"`

	AttackID     string      `bson:"attack_id"`
	Name         string      `bson:"name,omitempty"`
	Fold         string      `bson:"fold"`
	Description  string      `bson:"description,omitempty"`
	Aliases      []string    `bson:"aliases,omitempty"`
	Names        []string    `bson:"names,omitempty"` // name and aliases, folded
	References   []reference `bson:"references,omitempty"`
	Created      int64       `bson:"created"`
	Domains      []string    `bson:"domains,omitempty"`
	Platforms    []string    `bson:"platforms,omitempty"`
	First        int64       `bson:"first_seen"` // of actors: derived, see merge.go
	Last         int64       `bson:"last_seen"`
	OwnFirst     int64       `bson:"own_first,omitempty"` // what an actor itself says
	OwnLast      int64       `bson:"own_last,omitempty"`
	Subtechnique bool        `bson:"subtechnique"`
	Phases       []string    `bson:"phases,omitempty"`
	Shorts       []string    `bson:"shorts,omitempty"` // techniques: phases without the name of the chain
	ShortName    string      `bson:"short_name,omitempty"`

	Pattern        string   `bson:"pattern,omitempty"`
	PatternType    string   `bson:"pattern_type,omitempty"`
	PatternKey     int64    `bson:"pattern_key,omitempty"`
	IndicatorTypes []string `bson:"indicator_types,omitempty"`
	ValueType      string   `bson:"value_type,omitempty"`
	Value          string   `bson:"value,omitempty"`
	ValidFrom      int64    `bson:"valid_from"`
	ValidUntil     int64    `bson:"valid_until,omitempty"`
	Until          int64    `bson:"until,omitempty"` // the same, but the largest number for no end
	Count          int      `bson:"count,omitempty"`
	Reporter       string   `bson:"reporter,omitempty"`

	Words []string `bson:"words,omitempty"` // what the text filter finds it by
}

type reference struct {
	Source      string `bson:"source,omitempty"`
	ID          string `bson:"id,omitempty"`
	URL         string `bson:"url,omitempty"`
	Description string `bson:"description,omitempty"`
}

// relation is the document of a relationship, alive or a tombstone, whether its
// ends are there or not. Its parts are written together.
type relation struct {
	ID          string      `bson:"_id"`
	Edge        string      `bson:"edge"`
	Source      string      `bson:"source"`
	Target      string      `bson:"target"`
	Gone        string      `bson:"gone"`
	Modified    int64       `bson:"modified"`
	Hash        int64       `bson:"hash"`
	Created     int64       `bson:"created"`
	Description string      `bson:"description,omitempty"`
	References  []reference `bson:"references,omitempty"`
	// Stale are earlier sources whose document may still lead here: see merge.go.
	Stale []string `bson:"stale,omitempty"`
}

// text is what may be kept: no control characters, and UTF-8, which BSON wants.
func text(s string) string { return strings.ToValidUTF8(store.Clean(s), "\uFFFD") }

func texts(l []string) []string {
	if len(l) == 0 {
		return nil
	}
	out := make([]string, len(l))
	for i, s := range l {
		out[i] = text(s)
	}
	return out
}

// keys are the distinct non-empty strings of a list, for an index.
func keys(of func(string) string, l ...string) []string {
	var out []string
	seen := make(map[string]struct{}, len(l))
	for _, s := range l {
		k := of(text(s))
		if _, ok := seen[k]; k == "" || ok {
			continue
		}
		seen[k] = struct{}{}
		out = append(out, k)
	}
	return out
}

func same(s string) string { return s }

func writeRefs(l []store.Reference) []reference {
	if len(l) == 0 {
		return nil
	}
	out := make([]reference, len(l))
	for i, r := range l {
		out[i] = reference{text(r.Source), text(r.ID), text(r.URL), text(r.Description)}
	}
	return out
}

func readRefs(l []reference) []store.Reference {
	if len(l) == 0 {
		return nil
	}
	out := make([]store.Reference, len(l))
	for i, r := range l {
		out[i] = store.Reference{Source: r.Source, ID: r.ID, URL: r.URL, Description: r.Description}
	}
	return out
}

// versionOf is what is kept of an object, or of its tombstone.
func versionOf(o *store.Object, gone store.Gone) version {
	which, _ := store.ObjectVersion(o, gone)
	v := version{Gone: string(gone), Type: text(o.Type), Modified: which.Modified, Hash: which.Hash}
	if gone != store.Alive {
		return v // nothing of a tombstone is ever shown
	}
	v.Kind = string(o.Kind)
	v.AttackID, v.Name, v.Description = text(o.AttackID), text(o.Name), text(o.Description)
	v.Fold = store.Fold(v.Name)
	v.Aliases = texts(o.Aliases)
	v.Names = keys(store.Fold, append([]string{o.Name}, o.Aliases...)...)
	v.References = writeRefs(o.References)
	v.Created = store.Micros(o.Created)
	v.Domains, v.Platforms, v.Phases = texts(o.Domains), texts(o.Platforms), texts(o.Phases)
	v.First, v.Last = store.Micros(o.FirstSeen), store.Micros(o.LastSeen)
	v.Subtechnique, v.ShortName = o.Subtechnique, text(o.ShortName)
	switch o.Kind {
	case store.KindThreatActor:
		v.OwnFirst, v.OwnLast = v.First, v.Last
	case store.KindTechnique:
		v.Shorts = keys(func(p string) string { _, short, _ := strings.Cut(p, "/"); return short }, o.Phases...)
	case store.KindIndicator:
		v.Until = math.MaxInt64
	}
	v.Pattern, v.PatternType, v.PatternKey = text(o.Pattern), text(o.PatternType), store.PatternKey(o)
	v.IndicatorTypes = texts(o.IndicatorTypes)
	v.ValueType, v.Value = text(o.ValueType), text(o.Value)
	v.ValidFrom, v.ValidUntil = store.Micros(o.ValidFrom), store.Micros(o.ValidUntil)
	if v.ValidUntil != 0 {
		v.Until = v.ValidUntil
	}
	v.Count, v.Reporter = o.Count, text(o.Reporter)
	v.Words = keys(same, store.SearchWords(o)...)
	return v
}

// object is the object that a document stands for.
func (d *object) object() *store.Object {
	v := &d.V
	return &store.Object{
		ID: d.ID, Kind: store.Kind(v.Kind), Type: v.Type, AttackID: v.AttackID,
		Name: v.Name, Description: v.Description, Aliases: v.Aliases, References: readRefs(v.References),
		Created: store.FromMicros(v.Created), Modified: store.FromMicros(v.Modified),
		Domains: v.Domains, Platforms: v.Platforms,
		FirstSeen: store.FromMicros(v.First), LastSeen: store.FromMicros(v.Last),
		Subtechnique: v.Subtechnique, Phases: v.Phases, ShortName: v.ShortName,
		Pattern: v.Pattern, PatternType: v.PatternType, IndicatorTypes: v.IndicatorTypes,
		ValueType: v.ValueType, Value: v.Value,
		ValidFrom: store.FromMicros(v.ValidFrom), ValidUntil: store.FromMicros(v.ValidUntil), Retired: store.FromMicros(d.Retired),
		Count: v.Count, Reporter: v.Reporter, Local: d.Local,
	}
}

// is tells which version a document has.
func (v *version) is() store.Version {
	return store.Version{Modified: v.Modified, Gone: store.Gone(v.Gone), Hash: v.Hash}
}

func relationOf(l *store.Relationship, gone store.Gone) relation {
	which, _ := store.LinkVersion(l, gone)
	r := relation{ID: l.ID, Edge: string(l.Edge), Source: l.Source, Target: l.Target, Gone: string(gone), Modified: which.Modified, Hash: which.Hash,
		Created: store.Micros(l.Created)}
	if gone == store.Alive {
		r.Description, r.References = text(l.Description), writeRefs(l.References)
	}
	return r
}

func (r *relation) is() store.Version {
	return store.Version{Modified: r.Modified, Gone: store.Gone(r.Gone), Hash: r.Hash}
}

func (r *relation) link() store.Link {
	return store.Link{ID: r.ID, Description: r.Description, References: readRefs(r.References),
		Created: store.FromMicros(r.Created), Modified: store.FromMicros(r.Modified)}
}

// to is an item of [object.To].
func to(e store.Edge, id string) string { return string(e) + " " + id }

// fieldsShown are the fields that make an object; the rest is only searched by.
var fieldsShown = bson.D{{Key: string(fWords), Value: 0}, {Key: string(fNames), Value: 0}, {Key: string(fShorts), Value: 0},
	{Key: string(fDomains), Value: 0}, {Key: string(fPlatformKeys), Value: 0}, {Key: "to", Value: 0}, {Key: "via", Value: 0}}

// fieldsRelated are the same with where its relations lead.
var fieldsRelated = fieldsShown[:5]
