package store

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// Changelog is what a store remembers of changes: of imports and purges, which no worker has
// made, and of all, if the store is for one host alone. Workers that keep answers follow it,
// and give up those that show what has changed.
//
// An entry is made of tags, the names under which answers are kept:
//
//	ThreatActor                         whatever shows a threat actor
//	ThreatActor:list                    whatever shows threat actors that are not named by an id
//	ThreatActor:G0034                   what was asked for by this id
//	*                                   everything
//
// An import makes its entry itself, in such an order that no answer can show what was before
// the entry and be made after it, whoever is killed: with the change where a store can do
// both in one step; else before the import is over, and if it died, whoever comes next
// makes an entry of everything.
//
// It is bounded: who has not looked for long may find that it does not reach back to where
// he was.
type Changelog interface {
	// Invalidate adds an entry, and returns when it is safe.
	Invalidate(ctx context.Context, tags ...string) error
	// Invalidated returns what was added after a position, and where the log ends now. A
	// position is a number that the log has given; with -1 only the end is wanted. It is
	// cheap where nothing was added.
	Invalidated(ctx context.Context, after int64) (Invalidated, error)
}

// Invalidated is a part of a [Changelog].
type Invalidated struct {
	Tags []string // each once; Everything alone if entries are missing
	Last int64    // the position of the last entry, 0 if there never was one
}

// Everything is the tag of all answers.
const Everything = "*"

// Entries says what a log that ends at last has to say to somebody who has seen it as far as
// after, where entries are those that he has not seen and that are still there.
func Entries(after, first, last int64, entries [][]string) Invalidated {
	switch {
	case after < 0 || after == last:
		return Invalidated{Last: last}
	case after > last, after < first-1: // it is another log, or has forgotten
		return Invalidated{Tags: []string{Everything}, Last: last}
	}
	var tags []string
	for _, e := range entries {
		tags = append(tags, e...)
	}
	if slices.Contains(tags, Everything) {
		tags = []string{Everything}
	}
	slices.Sort(tags)
	return Invalidated{Tags: slices.Compact(tags), Last: last}
}

// LogLength is how many entries a log keeps, and LogTags how many tags they may have
// together; but the last one is always there.
const (
	LogLength = 256
	LogTags   = 10_000
)

// TypeName is what the API's schema calls things of a kind.
func (k Kind) TypeName() string { return typeNames[k] }

var typeNames = map[Kind]string{
	KindThreatActor: "ThreatActor",
	KindTechnique:   "Technique",
	KindTactic:      "Tactic",
	KindSoftware:    "Software",
	KindCampaign:    "Campaign",
	KindMitigation:  "Mitigation",
	KindIndicator:   "Indicator",
	KindSighting:    "Sighting",
}

// filteredBy are the kinds whose lists can be narrowed by an object of a kind: another such
// object, or another id of one, and there is another list, though nothing in it has changed.
var filteredBy = map[Kind][]Kind{
	KindThreatActor: {KindCampaign, KindIndicator, KindSighting},
	KindTechnique:   {KindThreatActor, KindSoftware, KindCampaign, KindMitigation, KindIndicator, KindSighting},
	KindTactic:      {KindTechnique, KindIndicator, KindSighting},
	KindSoftware:    {KindThreatActor, KindCampaign, KindIndicator, KindSighting},
	KindCampaign:    {KindIndicator, KindSighting},
	KindMitigation:  {KindIndicator, KindSighting},
	KindIndicator:   {KindSighting},
}

// MaxChanged is how many objects are named in an entry of a [Changelog]; of more only the
// kinds are.
const MaxChanged = 500

// Changes collects what an import changes of what is served.
type Changes struct {
	all   bool
	ids   map[string]bool // tags
	n     int             // objects
	kinds map[Kind]bool   // of those
	whole map[Kind]bool   // kinds of which nothing is named
	lists map[Kind]bool   // kinds of which some list is another one
}

// Object adds an object: one that appears, goes, or is another now. Keys are all ids under
// which it can or could be asked for; empty ones do not count.
func (c *Changes) Object(k Kind, keys ...string) {
	name := k.TypeName()
	if name == "" {
		return
	}
	if c.kinds == nil {
		c.kinds, c.whole, c.ids = map[Kind]bool{}, map[Kind]bool{}, map[string]bool{}
	}
	c.kinds[k] = true
	c.list(k)
	for _, other := range filteredBy[k] {
		c.list(other)
	}
	if c.n++; c.n > MaxChanged {
		clear(c.ids)
		return
	}
	for _, key := range keys {
		if !plain(key) {
			c.whole[k] = true
		} else if key != "" {
			c.ids[name+":"+key], c.ids["Node:"+key] = true, true // node(id:) finds any
		}
	}
}

// plain tells of an id whether it is a part of a tag as it is. Whatever ids others have are
// written otherwise there.
func plain(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return len(id) <= 128
}

// Relation adds a relation between objects of these kinds: it changes what is shown with
// both. A kind of "" does not count.
func (c *Changes) Relation(source, target Kind) {
	c.list(source)
	c.list(target)
}

// All adds everything.
func (c *Changes) All() { c.all = true }

func (c *Changes) list(k Kind) {
	if k.TypeName() == "" {
		return
	}
	if c.lists == nil {
		c.lists = map[Kind]bool{}
	}
	c.lists[k] = true
}

// Tags are what is to be invalidated; none if nothing has changed.
func (c *Changes) Tags() []string {
	if c.all {
		return []string{Everything}
	}
	tags := slices.Collect(maps.Keys(c.ids))
	for k := range c.lists {
		if c.whole[k] || c.n > MaxChanged && c.kinds[k] {
			tags = append(tags, k.TypeName()) // which whatever shows one has, by whatever id
		} else {
			tags = append(tags, k.TypeName()+":list")
		}
	}
	slices.Sort(tags)
	return tags
}

// KindOf is the kind of what has a STIX id; "" for what is not served.
func KindOf(id string) Kind {
	typ, _, _ := strings.Cut(id, "--")
	return kindOfType[typ]
}

var kindOfType = map[string]Kind{
	"intrusion-set":    KindThreatActor,
	"attack-pattern":   KindTechnique,
	"x-mitre-tactic":   KindTactic,
	"malware":          KindSoftware,
	"tool":             KindSoftware,
	"campaign":         KindCampaign,
	"course-of-action": KindMitigation,
	"indicator":        KindIndicator,
	"sighting":         KindSighting,
}
