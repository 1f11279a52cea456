package storetest

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// world is the data that stores are tested with, and the naive answers: what a
// list must be is found by looking at every object.
type world struct {
	records []store.Record // what is imported, tombstones and all

	objects map[string]*store.Object // the living
	edges   []store.Relationship     // the living, between the living
}

func stixID(typ string, n int) string {
	return fmt.Sprintf("%s--00000000-0000-4000-8000-%012d", typ, n)
}

func day(n int) time.Time { return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

var types = map[store.Kind]struct {
	typ, prefix string
	n           int
}{
	store.KindThreatActor: {"intrusion-set", "G", 14},
	store.KindTechnique:   {"attack-pattern", "T", 30},
	store.KindTactic:      {"x-mitre-tactic", "TA", 4},
	store.KindSoftware:    {"malware", "S", 14},
	store.KindCampaign:    {"campaign", "C", 10},
	store.KindMitigation:  {"course-of-action", "M", 12},
	store.KindIndicator:   {"indicator", "", 12},
	store.KindSighting:    {"sighting", "", 8},
}

var (
	nameWords = []string{"Énergie", "Gray", "Moth", "lantern", "TIDE", "Gate", "ß-Straße", "日本", "Zulu", "alpha", "Alpha", "x2"}
	platforms = []string{"Windows", "Linux", "macOS", "Field Controller/RTU"}
	domains   = []string{"enterprise-attack", "ics-attack", "mobile-attack"}
	tactics   = []string{"initial-access", "impact", "collection", "evasion"}
)

func newWorld() *world {
	rnd := rand.New(rand.NewPCG(1, 2))
	w := &world{objects: map[string]*store.Object{}}
	pick := func(from []string) []string {
		var out []string
		for _, s := range from {
			if rnd.IntN(3) == 0 {
				out = append(out, s)
			}
		}
		return out
	}
	n := 0
	all := map[store.Kind][]string{}
	gone := map[string]bool{}
	for _, k := range store.Kinds {
		t := types[k]
		for i := range t.n {
			n++
			typ := t.typ
			if k == store.KindSoftware && i%3 == 0 {
				typ = "tool"
			}
			o := &store.Object{
				ID: stixID(typ, n), Kind: k, Type: typ,
				// Few names and times, so that ids decide often.
				Name:        nameWords[rnd.IntN(len(nameWords))] + " " + nameWords[rnd.IntN(len(nameWords))],
				Description: "about [" + nameWords[rnd.IntN(len(nameWords))] + "](https://example.com/nowhere) and more.\nSecond line, number " + fmt.Sprint(n),
				Created:     day(rnd.IntN(5)), Modified: day(10 + rnd.IntN(5)),
				Domains: pick(domains),
				References: []store.Reference{{Source: "made-up", ID: fmt.Sprint(n), URL: "https://example.com/?a=1&b=2"},
					{Source: "other", Description: "with\ttab and “quotes”"}}[:rnd.IntN(3)],
			}
			if len(o.References) == 0 {
				o.References = nil
			}
			if t.prefix != "" && rnd.IntN(8) > 0 {
				o.AttackID = fmt.Sprintf("%s%04d", t.prefix, 9000+i)
			}
			if rnd.IntN(2) == 0 {
				o.Aliases = []string{nameWords[rnd.IntN(len(nameWords))], "alias " + fmt.Sprint(n)}
			}
			switch k {
			case store.KindTechnique:
				o.Platforms = pick(platforms)
				for _, s := range pick(tactics) {
					o.Phases = append(o.Phases, "mitre-attack/"+s)
				}
				o.Subtechnique = i%3 == 0
			case store.KindSoftware:
				o.Platforms = pick(platforms)
			case store.KindTactic:
				o.ShortName = tactics[i]
				o.Phases = []string{"mitre-attack/" + tactics[i]}
			case store.KindCampaign, store.KindSighting:
				if rnd.IntN(4) > 0 {
					o.FirstSeen = day(rnd.IntN(10))
				}
				if rnd.IntN(4) > 0 {
					o.LastSeen = day(10 + rnd.IntN(10))
				}
				if k == store.KindSighting {
					o.Name, o.Aliases, o.Count, o.Reporter = "", nil, i, "sensor"
				}
			case store.KindIndicator:
				o.ValueType, o.Value, o.PatternType = "domain-name", fmt.Sprintf("host%d.example", i%5), "stix"
				if i%4 == 0 {
					o.ValueType, o.Value = "", ""
				}
				o.Pattern = fmt.Sprintf("[domain-name:value = 'host%d.example' AND x:y = %d]", i%5, i)
				o.IndicatorTypes = [][]string{{"malicious-activity"}, {"benign", "unknown"}, nil}[i%3]
				o.ValidFrom = day(0)
				if i%3 == 1 {
					o.ValidUntil = day(100)
				}
				if i == 5 {
					o.ValidFrom = time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)
				}
			}
			rec := store.Record{Object: o}
			if rnd.IntN(10) == 0 && k != store.KindTactic {
				rec.Gone = []store.Gone{store.Revoked, store.Deprecated}[n%2]
				gone[o.ID] = true
			} else {
				w.objects[o.ID] = o
			}
			w.records = append(w.records, rec)
			all[k] = append(all[k], o.ID)
		}
	}
	edge := func(e store.Edge, from, to store.Kind, count int) {
		have := map[[2]string]int{}
		for range count {
			n++
			l := store.Relationship{Edge: e, Source: all[from][rnd.IntN(len(all[from]))], Target: all[to][rnd.IntN(len(all[to]))],
				Link: store.Link{ID: stixID("relationship", n), Description: fmt.Sprintf("%s no. %d", e, n), Created: day(1), Modified: day(rnd.IntN(20))}}
			if e == store.SubtechniqueOf && l.Source == l.Target {
				continue
			}
			if e == store.SightingOf {
				l.ID = l.Source // one for each sighting
				l.Modified = l.Created
				if have[[2]string{l.Source}] > 0 {
					continue
				}
				have[[2]string{l.Source}]++
			}
			if rnd.IntN(12) == 0 && e != store.SightingOf {
				l.Target = stixID(strings.Split(l.Target, "--")[0], 999_000+n) // nobody has it
			}
			sent := l
			rec := store.Record{Link: &sent}
			if rnd.IntN(12) == 0 {
				rec.Gone = store.Revoked
			}
			w.records = append(w.records, rec)
			if rec.Gone != store.Alive || w.objects[l.Source] == nil || w.objects[l.Target] == nil {
				continue
			}
			if e == store.SightingOf {
				l.ID = ""
			}
			// Of two between the same ends the newer one is shown.
			ends := [2]string{l.Source, l.Target}
			if i := have[ends]; i > 0 {
				if old := w.edges[i-1]; l.Modified.After(old.Modified) || l.Modified.Equal(old.Modified) && l.ID > old.ID {
					w.edges[i-1] = l
				}
				continue
			}
			w.edges = append(w.edges, l)
			have[ends] = len(w.edges)
		}
	}
	edge(store.Uses, store.KindThreatActor, store.KindTechnique, 90)
	edge(store.Uses, store.KindThreatActor, store.KindSoftware, 30)
	edge(store.Uses, store.KindCampaign, store.KindTechnique, 30)
	edge(store.Uses, store.KindCampaign, store.KindSoftware, 15)
	edge(store.Uses, store.KindSoftware, store.KindTechnique, 50)
	edge(store.AttributedTo, store.KindCampaign, store.KindThreatActor, 10)
	edge(store.Mitigates, store.KindMitigation, store.KindTechnique, 60)
	edge(store.SubtechniqueOf, store.KindTechnique, store.KindTechnique, 12)
	edge(store.Indicates, store.KindIndicator, store.KindSoftware, 12)
	edge(store.Indicates, store.KindIndicator, store.KindThreatActor, 8)
	edge(store.SightingOf, store.KindSighting, store.KindIndicator, 8)

	// What follows from others.
	for _, o := range w.objects {
		if o.Kind != store.KindTechnique {
			continue
		}
		for _, c := range w.objects {
			if c.Kind == store.KindTactic && intersect(o.Phases, c.Phases) {
				w.edges = append(w.edges, store.Relationship{Edge: store.InTactic, Source: o.ID, Target: c.ID})
			}
		}
	}
	for _, e := range w.edges {
		if e.Edge != store.AttributedTo {
			continue
		}
		// The records hold the actor as it was imported.
		c, a := w.objects[e.Source], *w.objects[e.Target]
		if !c.FirstSeen.IsZero() && (a.FirstSeen.IsZero() || c.FirstSeen.Before(a.FirstSeen)) {
			a.FirstSeen = c.FirstSeen
		}
		if c.LastSeen.After(a.LastSeen) {
			a.LastSeen = c.LastSeen
		}
		w.objects[a.ID] = &a
	}
	return w
}

func intersect(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}

// means tells whether a key is the object's.
func means(key string, o *store.Object) bool {
	return o.ID == key || o.AttackID != "" && strings.EqualFold(o.AttackID, key)
}

func (w *world) has(e store.Edge, from *store.Object, to string) bool {
	for _, l := range w.edges {
		if l.Edge == e && l.Source == from.ID && means(to, w.objects[l.Target]) {
			return true
		}
	}
	return false
}

func folded(list []string, want string) bool {
	for _, s := range list {
		if store.Fold(s) == store.Fold(want) {
			return true
		}
	}
	return false
}

// matches is what [store.Filter] says, said again.
func (w *world) matches(o *store.Object, f store.Filter, now time.Time) bool {
	words := store.SearchWords(o)
	for _, want := range store.Words(f.Text) {
		found := false
		for _, have := range words {
			found = found || strings.HasPrefix(have, want)
		}
		if !found {
			return false
		}
	}
	if f.Keys != nil {
		found := false
		for _, k := range f.Keys {
			found = found || means(k, o)
		}
		if !found {
			return false
		}
	}
	if f.Tactic != "" {
		_, found := f.Tactic, false
		for _, p := range o.Phases {
			found = found || strings.HasSuffix(p, "/"+strings.ToLower(f.Tactic))
		}
		if !found && !w.has(store.InTactic, o, f.Tactic) {
			return false
		}
	}
	no := f.Name != "" && store.Fold(o.Name) != store.Fold(f.Name) ||
		f.Alias != "" && !folded(append([]string{o.Name}, o.Aliases...), f.Alias) ||
		f.UsesTechnique != "" && !w.has(store.Uses, o, f.UsesTechnique) ||
		f.UsesSoftware != "" && !w.has(store.Uses, o, f.UsesSoftware) ||
		f.AttributedTo != "" && !w.has(store.AttributedTo, o, f.AttributedTo) ||
		f.Mitigates != "" && !w.has(store.Mitigates, o, f.Mitigates) ||
		f.Indicates != "" && !w.has(store.Indicates, o, f.Indicates) ||
		f.SightingOf != "" && !w.has(store.SightingOf, o, f.SightingOf) ||
		f.Domain != "" && !intersect(o.Domains, []string{f.Domain}) ||
		f.Platform != "" && !folded(o.Platforms, f.Platform) ||
		f.Type != "" && o.Type != f.Type ||
		f.Subtechnique != nil && o.Subtechnique != *f.Subtechnique ||
		!f.CreatedAfter.IsZero() && o.Created.Before(f.CreatedAfter) ||
		!f.CreatedBefore.IsZero() && o.Created.After(f.CreatedBefore) ||
		!f.ModifiedAfter.IsZero() && o.Modified.Before(f.ModifiedAfter) ||
		!f.ModifiedBefore.IsZero() && o.Modified.After(f.ModifiedBefore) ||
		!f.SeenAfter.IsZero() && (o.LastSeen.IsZero() || o.LastSeen.Before(f.SeenAfter)) ||
		!f.SeenBefore.IsZero() && (o.FirstSeen.IsZero() || o.FirstSeen.After(f.SeenBefore)) ||
		f.IndicatorType != "" && !intersect(o.IndicatorTypes, []string{f.IndicatorType}) ||
		f.ValueType != "" && o.ValueType != f.ValueType ||
		f.Value != "" && o.Value != f.Value ||
		f.Active != nil && o.Active(now) != *f.Active
	return !no
}

// less is what [store.Order] says, said again.
func less(a, b *store.Object, order store.Order) bool {
	c := 0
	switch order.By {
	case "", store.OrderName:
		c = strings.Compare(store.Fold(a.Name), store.Fold(b.Name))
	case store.OrderAttackID:
		c = strings.Compare(a.AttackID, b.AttackID)
	case store.OrderModified:
		c = a.Modified.Compare(b.Modified)
	case store.OrderCreated:
		c = a.Created.Compare(b.Created)
	case store.OrderFirstSeen:
		c = a.FirstSeen.Compare(b.FirstSeen)
	case store.OrderLastSeen:
		c = a.LastSeen.Compare(b.LastSeen)
	}
	if c == 0 {
		c = strings.Compare(a.ID, b.ID)
	}
	if order.Desc {
		return c > 0
	}
	return c < 0
}

// list is the whole list, in order.
func (w *world) list(kind store.Kind, f store.Filter, order store.Order) []*store.Object {
	var out []*store.Object
	for _, o := range w.objects {
		if o.Kind == kind && w.matches(o, f, time.Now()) {
			out = append(out, o)
		}
	}
	sort.Slice(out, func(i, j int) bool { return less(out[i], out[j], order) })
	return out
}

type child struct {
	*store.Object
	link store.Link
}

func (w *world) related(rel store.Relation, parent string, f store.Filter, order store.Order) []child {
	var out []child
	for _, l := range w.edges {
		near, far := l.Source, l.Target
		if rel.Inverse {
			near, far = far, near
		}
		o := w.objects[far]
		if l.Edge == rel.Edge && near == parent && (rel.To == store.KindAny || o.Kind == rel.To) && w.matches(o, f, time.Now()) {
			out = append(out, child{o, l.Link})
		}
	}
	sort.Slice(out, func(i, j int) bool { return less(out[i].Object, out[j].Object, order) })
	return out
}
