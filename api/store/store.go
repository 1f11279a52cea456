// Package store says what the Neko Defense API keeps and how it asks for it:
// the objects of threat intelligence, the relations that join them, and one
// small interface that every store implements (SQLite when embedded, MongoDB
// in production). The suite in package storetest says what all of them promise.
//
// # What is served
//
// A store keeps more than it shows. Objects and relationships that are revoked
// or deprecated stay as tombstones, so that an older bundle which still has
// them alive cannot bring them back; relationships whose other end has not
// come yet stay until it does. None of these is ever returned or counted: a
// relation is served when it is alive and both of its ends are.
//
// A relation is always a direct one. The techniques of a threat actor are those
// of its own `uses` relationships: not the techniques of the software that it
// uses, nor of the campaigns attributed to it. Whoever wants those walks the
// relation in between. Two relationships of one type between the same two
// objects are one relation; the newer one gives its description.
package store

import (
	"context"
	"io"
	"time"
)

// Kind says which of the domain's things an object is.
type Kind string

// The kinds, with the STIX types that they come from.
const (
	KindAny         Kind = ""             // in requests only: whatever it is
	KindThreatActor Kind = "threat-actor" // intrusion-set: an ATT&CK group
	KindTechnique   Kind = "technique"    // attack-pattern, sub-techniques too
	KindTactic      Kind = "tactic"       // x-mitre-tactic
	KindSoftware    Kind = "software"     // malware, tool
	KindCampaign    Kind = "campaign"     // campaign
	KindMitigation  Kind = "mitigation"   // course-of-action
	KindIndicator   Kind = "indicator"    // indicator
	KindSighting    Kind = "sighting"     // sighting
)

// Kinds are all kinds, in the order in which they are listed to people.
var Kinds = [...]Kind{
	KindThreatActor, KindTechnique, KindTactic, KindSoftware,
	KindCampaign, KindMitigation, KindIndicator, KindSighting,
}

// Object is one thing of any kind. It is one flat struct because nearly all of
// it is common to all kinds; the comments say which kinds have the rest.
// Objects that a store returns may be shared: do not change them. A zero time
// is an unknown one; all times are UTC.
type Object struct {
	ID       string // STIX id, "intrusion-set--381fcf73-…"
	Kind     Kind
	Type     string // STIX type; tells malware from tool
	AttackID string // "G0034", "T1603.001"; empty for what ATT&CK has no id for

	Name        string
	Description string
	Aliases     []string // other names; Name itself is never among them
	References  []Reference
	Created     time.Time
	Modified    time.Time
	Domains     []string // "enterprise-attack", "ics-attack", "mobile-attack"
	Platforms   []string // techniques, software

	// FirstSeen and LastSeen are a campaign's and a sighting's own, and a threat
	// actor's by derivation: the widest span of the campaigns attributed to it
	// (and of the dates in its own object, which ATT&CK never has).
	FirstSeen time.Time
	LastSeen  time.Time

	Subtechnique bool // techniques
	// Phases are kill chain phases, "mitre-ics-attack/inhibit-response-function": a
	// technique's own, and those that a tactic stands for. A technique is in the
	// tactics with which it shares one.
	Phases    []string
	ShortName string // tactics: "inhibit-response-function"

	// Indicators.
	Pattern        string
	PatternType    string   // "stix", "yara", …
	IndicatorTypes []string // "malicious-activity", …
	ValueType      string   // "ipv4-addr", … where Pattern compares one property with one value
	Value          string   // that value
	ValidFrom      time.Time
	ValidUntil     time.Time // zero: no end
	Retired        time.Time // zero: never retired

	// Sightings. What was seen is [SightingOf].
	Count    int
	Reporter string

	// Local is true for what was made here by a mutation, not imported.
	Local bool
}

// Active tells whether an indicator holds at that time: valid, and not retired.
func (o *Object) Active(at time.Time) bool {
	return o.Retired.IsZero() && !at.Before(o.ValidFrom) && (o.ValidUntil.IsZero() || at.Before(o.ValidUntil))
}

// Reference is where a statement comes from.
type Reference struct {
	Source      string `json:"source_name"`
	ID          string `json:"external_id,omitempty"`
	URL         string `json:"url,omitempty"`
	Description string `json:"description,omitempty"`
}

// Edge names a type of relation, always in the direction in which STIX has it.
type Edge string

// The edges. The first five are STIX relationships; tactics come from kill chain
// phases and sightings from sighting_of_ref.
const (
	Uses           Edge = "uses"            // actor, campaign, software → technique, software
	AttributedTo   Edge = "attributed-to"   // campaign → actor
	Mitigates      Edge = "mitigates"       // mitigation → technique
	SubtechniqueOf Edge = "subtechnique-of" // technique → technique
	Indicates      Edge = "indicates"       // indicator → anything
	InTactic       Edge = "in-tactic"       // technique → tactic
	SightingOf     Edge = "sighting-of"     // sighting → anything
)

// Relation is what [Store.Related] follows from a parent: an edge, its
// direction, and the kind of what is wanted at the other end ([KindAny] for all).
// The parent's kind is not part of it: `uses` from actors, campaigns and
// software to techniques is one relation.
type Relation struct {
	Edge    Edge
	Inverse bool // from the edge's target to its source
	To      Kind
}

// String is how it reads from the parent: "uses technique", "inverse uses threat-actor".
func (r Relation) String() string {
	text := string(r.Edge) + " " + string(r.To)
	if r.Inverse {
		text = "inverse " + text
	}
	return text
}

// The relations that the API follows.
var (
	Techniques    = Relation{Edge: Uses, To: KindTechnique}                          // of an actor, campaign, software
	Software      = Relation{Edge: Uses, To: KindSoftware}                           // of an actor, campaign
	UsedByActors  = Relation{Edge: Uses, Inverse: true, To: KindThreatActor}         // of a technique, software
	UsedBySoft    = Relation{Edge: Uses, Inverse: true, To: KindSoftware}            // of a technique
	UsedByCamps   = Relation{Edge: Uses, Inverse: true, To: KindCampaign}            // of a technique, software
	Actors        = Relation{Edge: AttributedTo, To: KindThreatActor}                // of a campaign
	Campaigns     = Relation{Edge: AttributedTo, Inverse: true, To: KindCampaign}    // of an actor
	Mitigations   = Relation{Edge: Mitigates, Inverse: true, To: KindMitigation}     // of a technique
	Mitigated     = Relation{Edge: Mitigates, To: KindTechnique}                     // of a mitigation
	ParentOf      = Relation{Edge: SubtechniqueOf, To: KindTechnique}                // of a sub-technique: its technique
	Subtechniques = Relation{Edge: SubtechniqueOf, Inverse: true, To: KindTechnique} // of a technique
	Tactics       = Relation{Edge: InTactic, To: KindTactic}                         // of a technique
	InThisTactic  = Relation{Edge: InTactic, Inverse: true, To: KindTechnique}       // of a tactic
	Indicated     = Relation{Edge: Indicates, To: KindAny}                           // of an indicator
	Indicators    = Relation{Edge: Indicates, Inverse: true, To: KindIndicator}      // of anything
	Sighted       = Relation{Edge: SightingOf, To: KindAny}                          // of a sighting: what was seen
	Sightings     = Relation{Edge: SightingOf, Inverse: true, To: KindSighting}      // of anything
)

// Store keeps the objects. All methods may be called by many goroutines at once,
// and, of stores on one database, by many processes.
//
// What a method returns is of one moment, never half of an import; but a store
// without transactions (MongoDB) may show an import while it is being written, each
// object of it whole, in its old or its new version, and never a relation to what
// is not served.
//
// Errors: see errors.go. When ctx has ended the error is that of ctx. A store
// that fails for other reasons returns an error that matches none of them.
type Store interface {
	// Get finds objects by key, a STIX id or an ATT&CK id ("G0034", in any case). The
	// number of queries of this method, of List and of Related does not depend on how
	// many objects they are about: it is one, or a few (package mongo). The answer is by key as given; what
	// is not there, or is not of this kind, is absent from it.
	//
	// Should two living objects of a kind have one ATT&CK id, the one modified last
	// is meant.
	Get(ctx context.Context, kind Kind, keys []string) (map[string]*Object, error)

	// List returns a page of the objects of a kind.
	List(ctx context.Context, kind Kind, q Query) (Page, error)

	// Related returns, for each of the parents (STIX ids), a page of the objects
	// that the relation joins it to: pages[i] belongs to parents[i]. A parent that does not exist has an empty page.
	Related(ctx context.Context, rel Relation, parents []string, q Query) ([]Page, error)

	// Counts counts in groups, e.g. the objects by kind. Groups come in the order
	// that suits people: kinds as in [Kinds], everything else the largest first.
	// ByKind has all kinds, also those without an object.
	Counts(ctx context.Context, g Group) ([]Count, error)

	// CreateIndicator makes an indicator. If there is one already that holds now
	// for the same pattern, the error is ErrConflict and names it.
	CreateIndicator(ctx context.Context, in NewIndicator) (*Object, error)

	// RetireIndicator ends an indicator (key: its STIX id) now. One that was retired
	// before stays as it was: that is no error.
	RetireIndicator(ctx context.Context, key string) (*Object, error)

	// ReportSighting records that an indicator, technique, software, campaign or
	// threat actor was seen.
	ReportSighting(ctx context.Context, in NewSighting) (*Object, error)

	// BeginImport starts an import. Nothing of it is visible before its Commit begins.
	BeginImport(ctx context.Context, opts ImportOptions) (Import, error)

	// Ping tells whether the store answers, by a real query.
	Ping(ctx context.Context) error

	io.Closer
}

// Counting groups for [Store.Counts].
const (
	ByKind             Group = "kind"                 // Key: a Kind
	TechniquesByTactic Group = "techniques-by-tactic" // Key: the tactic's STIX id, Name: its name
	ActorsByDomain     Group = "actors-by-domain"     // Key: a domain
	SoftwareByType     Group = "software-by-type"     // Key: "malware" or "tool"
	SoftwareByPlatform Group = "software-by-platform" // Key: a platform
	ActorsByTechnique  Group = "actors-by-technique"  // Key: the technique's STIX id; the most used 50
)

// Group is a way to count.
type Group string

// Count is one group's count.
type Count struct {
	Key  string
	Name string // for people; Key where there is no better
	N    int
}

// Bounds of [Query.First], and of the keys or parents in one call.
const (
	MaxFirst = 500
	MaxKeys  = 10_000
)

// Query is what page of which objects, in which order.
type Query struct {
	// First is how many objects at most, 0 to [MaxFirst]. There is no default: 0
	// gives none, which makes sense with WantTotal.
	First int
	// After is where the page starts: behind the object that had this cursor
	// ([Cursor.String]). Cursors hold the object's place in the order, not its
	// index: what is inserted or removed meanwhile makes no object come twice and
	// none be left out. A cursor is good for the order it was made with.
	After string
	// Filter narrows; its zero value does not.
	Filter Filter
	// OrderBy is the order, by name if zero. Among equal objects the id decides (in
	// the same direction), so every order is total.
	OrderBy Order
	// WantTotal asks for [Page.Total], which costs a count.
	WantTotal bool
}

// Order is an order of objects. An unknown value (no ATT&CK id, never seen)
// comes first in ascending and last in descending order.
type Order struct {
	By   OrderField // by name if empty
	Desc bool
}

// OrderField is what objects can be ordered by.
type OrderField string

// The order fields. Names are compared folded ([Fold]).
const (
	OrderName      OrderField = "name"
	OrderAttackID  OrderField = "attack-id"
	OrderModified  OrderField = "modified"
	OrderCreated   OrderField = "created"
	OrderFirstSeen OrderField = "first-seen"
	OrderLastSeen  OrderField = "last-seen"
)

// Filter narrows a list: what is set must hold, all of it. A field that makes no
// sense for a kind (a tactic for campaigns) is ErrInvalid and never silently
// nothing. Where a field names another object, it may be a STIX id or an ATT&CK
// id; one that does not exist matches nothing.
type Filter struct {
	// Text: every word of it begins a word of the name, an alias, the description
	// or the ATT&CK id, both folded ([Fold]).
	Text string
	// Name equals the name, folded. Alias equals the name or one of the aliases.
	Name  string
	Alias string
	// Keys: is one of these, STIX or ATT&CK ids. Not nil but empty matches nothing.
	Keys []string

	UsesTechnique string // actors, campaigns, software: uses it, directly
	UsesSoftware  string // actors, campaigns
	AttributedTo  string // campaigns: to this actor
	Mitigates     string // mitigations: this technique
	Tactic        string // techniques; its short name, STIX id or ATT&CK id
	Indicates     string // indicators
	SightingOf    string // sightings

	Domain       string // "ics-attack"
	Platform     string // "Windows", in any case; techniques, software
	Type         string // software: "malware" or "tool"
	Subtechnique *bool  // techniques

	// Times, inclusive. Seen… asks for objects whose time from first to last seen
	// overlaps with the time asked for; one that lacks the date in question never
	// does. (Actors, campaigns, sightings.)
	CreatedAfter, CreatedBefore   time.Time
	ModifiedAfter, ModifiedBefore time.Time
	SeenAfter, SeenBefore         time.Time

	IndicatorType string // indicators: one of its types
	ValueType     string // indicators: "ipv4-addr"
	Value         string // indicators: exactly this value
	Active        *bool  // indicators: holds now
}

// Page is a part of a list.
type Page struct {
	Items       []Item
	Total       int // of the whole list, wherever the page begins; -1 if not asked for
	HasNext     bool
	HasPrevious bool // true when the page begins behind a cursor
}

// Item is an object in a page.
type Item struct {
	Object *Object
	Cursor Cursor
	Link   *Link // how it is related to the parent; nil in List
}

// Link is what a relationship itself says. It has no ID if it is no relationship
// of its own in STIX (tactics, sightings).
type Link struct {
	ID          string
	Description string
	References  []Reference
	Created     time.Time
	Modified    time.Time
}

// NewIndicator is what an indicator is made from: either Type and Value, or
// Pattern.
type NewIndicator struct {
	Name        string // from the value if empty
	Description string
	// Type and Value make a STIX pattern: see [ValueTypes] for the types.
	Type  string
	Value string
	// Pattern in the language PatternType ("stix" if empty). A STIX pattern that
	// compares one property with one value gives Type and Value.
	Pattern     string
	PatternType string
	// IndicatorTypes of STIX's open vocabulary; "unknown" if empty.
	IndicatorTypes []string
	// Indicates are the STIX or ATT&CK ids of what it is a sign of: actors,
	// campaigns, software, techniques.
	Indicates  []string
	ValidFrom  time.Time // now if zero
	ValidUntil time.Time // no end if zero
}

// NewSighting is what a sighting is made from.
type NewSighting struct {
	Of          string    // STIX or ATT&CK id of what was seen
	FirstSeen   time.Time // LastSeen if zero
	LastSeen    time.Time // FirstSeen if zero; now if both are
	Count       int       // 1 if zero
	Description string
	Reporter    string
}

// Import takes the objects of one bundle, in any order, and then merges them in
// one step, or in many (see [Store]). It is used by one goroutine.
//
// What the merge does to an object that the store has already: the version with
// the newer Modified wins, whatever the order of the imports; of two with the
// same time, first a tombstone, then the greater by content, so that the result is
// the same in every order. The newer version replaces the older one as a whole;
// relationships are objects of their own, and so those of all bundles are united.
type Import interface {
	// Add takes one object or relationship.
	Add(ctx context.Context, r Record) error
	// Commit merges everything. An error leaves the store as it was, unless it is a
	// [PartialError].
	Commit(ctx context.Context) (Merged, error)
	// Abort gives up; after Commit it does nothing.
	Abort() error
}

// ImportOptions say how an import is to be merged.
type ImportOptions struct {
	// OnlyIfEmpty merges nothing if the store has any object, decided in the same
	// step as the merge: of many processes that load sample data at once, one
	// does.
	OnlyIfEmpty bool
}

// Record is one object or one relationship of a bundle; exactly one of the two
// is set.
type Record struct {
	Object *Object
	Link   *Relationship
	Gone   Gone // set: a tombstone; of Object or Link only ids and times matter
}

// Relationship is a [Link] with its ends.
type Relationship struct {
	Link
	Edge           Edge
	Source, Target string // STIX ids
}

// Gone says why something is not served.
type Gone string

// The reasons.
const (
	Alive      Gone = ""
	Revoked    Gone = "revoked"
	Deprecated Gone = "deprecated"
)

// Merged is what an import did to the store, tombstones not counted except in
// Removed.
type Merged struct {
	Added     int  // objects and relationships that were not there
	Updated   int  // that were there in another version
	Unchanged int  // that were there as new or newer
	Removed   int  // that were served and are now revoked or deprecated
	Skipped   bool // OnlyIfEmpty, and it was not: nothing else is set
	Dangling  int  // relationships of the import that wait for an end
	// Blocked is how long other writers had to wait: the copy's transaction.
	// Readers never wait.
	Blocked time.Duration
}
