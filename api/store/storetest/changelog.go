package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nekoctl/neko/api/store"
)

func logOf(t testing.TB, st store.Store) store.Changelog {
	t.Helper()
	l, ok := st.(store.Changelog)
	if !ok {
		t.Fatalf("%T has no changelog", st)
	}
	return l
}

// since is what the log has got since a position, and where it ends.
func since(t testing.TB, l store.Changelog, after int64) ([]string, int64) {
	t.Helper()
	in, err := l.Invalidated(ctx, after)
	if err != nil {
		t.Fatal(err)
	}
	return in.Tags, in.Last
}

// testChangelog: everybody who follows it is told of all, once.
func testChangelog(t *testing.T, st store.Store) {
	l := logOf(t, st)
	tags, start := since(t, l, -1)
	if len(tags) != 0 {
		t.Errorf("a new one has %v", tags)
	}
	note := func(tags ...string) {
		t.Helper()
		if err := l.Invalidate(ctx, tags...); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(after int64, want ...string) (end int64) {
		t.Helper()
		got, end := since(t, l, after)
		if !slices.Equal(got, want) {
			t.Errorf("after %d: %.300v, want %.300v", after, got, want)
		}
		return end
	}
	expect(start)
	note("ThreatActor:G0034", "Tactic")
	one := expect(start, "Tactic", "ThreatActor:G0034")
	expect(one)
	note("Tactic", `of "any"\ text:日本`)
	note("Software")
	two := expect(one, "Software", "Tactic", `of "any"\ text:日本`)
	expect(start, "Software", "Tactic", "ThreatActor:G0034", `of "any"\ text:日本`)
	expect(one, "Software", "Tactic", `of "any"\ text:日本`)
	expect(two)
	expect(-1)
	expect(two+100, store.Everything) // it was another log
	note()                            // is nothing
	expect(two)
	note("A", store.Everything)
	three := expect(two, store.Everything)
	expect(start, store.Everything)

	// It is bounded, and says so.
	for i := range store.LogLength - 1 {
		note(fmt.Sprint("T:", i))
	}
	if tags, _ := since(t, l, three); len(tags) != store.LogLength-1 {
		t.Errorf("%d tags", len(tags))
	}
	if tags, _ := since(t, l, three-1); len(tags) != 1 || tags[0] != store.Everything {
		t.Errorf("with the entry of everything: %v", tags)
	}
	note("last")
	if tags, _ := since(t, l, three); len(tags) != store.LogLength {
		t.Errorf("%d tags", len(tags))
	}
	four := expect(three-1, store.Everything) // the entry itself has gone
	var many []string
	for i := range store.LogTags {
		many = append(many, fmt.Sprintf("U:%06d", i))
	}
	note(many[:store.LogTags-1]...)
	if tags, _ := since(t, l, four-1); len(tags) != store.LogTags {
		t.Errorf("%d tags", len(tags))
	}
	note("more")
	five := expect(four-1, store.Everything)
	expect(five-1, "more")
	note(many...)
	six := expect(five, many...)
	expect(six)
}

// testImportsAreLogged: an import has an entry of what it changes, and none if that is
// nothing.
func testImportsAreLogged(t *testing.T, st store.Store) {
	l := logOf(t, st)
	_, at := since(t, l, -1)
	step := func(name string, want string, records ...store.Record) {
		t.Helper()
		Import(t, st, records...)
		var got []string
		got, at = since(t, l, at)
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, g, want)
		}
	}
	id := func(typ string, n int) string { return stixID(typ, n) }
	a, x := actor(1, "a", 1), technique(1, "x")
	const actorLists = "Campaign:list Indicator:list Node:G0001 Node:%[1]s Sighting:list ThreatActor:G0001 ThreatActor:%[1]s ThreatActor:list"
	of := func(format string, args ...any) string { return fmt.Sprintf(format, args...) }

	step("a new object", of(actorLists, a.ID), store.Record{Object: a})
	step("the same again", "", store.Record{Object: a})
	step("an older one", "", store.Record{Object: actor(1, "older", 0)})
	step("a newer one", of(actorLists, a.ID), store.Record{Object: actor(1, "b", 2)})
	step("an end that is not there", "Technique:list ThreatActor:list", store.Record{Link: uses(1, 1, a, x)})
	step("a tombstone of nothing", "", store.Record{Object: actor(2, "", 2), Gone: store.Revoked})
	step("the same newer", "", store.Record{Object: actor(2, "", 3), Gone: store.Deprecated})
	step("a relation of nothing", "", store.Record{Link: uses(2, 1, a, x), Gone: store.Revoked})

	// Dates follow from campaigns.
	camp := &store.Object{ID: id("campaign", 1), Kind: store.KindCampaign, Type: "campaign", AttackID: "C0001", Name: "c", Created: day(0), Modified: day(0), FirstSeen: day(3), LastSeen: day(5)}
	attributed := &store.Relationship{Edge: store.AttributedTo, Source: camp.ID, Target: a.ID, Link: store.Link{ID: id("relationship", 50), Created: day(0), Modified: day(0)}}
	Import(t, st, store.Record{Object: camp}, store.Record{Link: attributed})
	tags, end := since(t, l, at)
	for _, want := range []string{"Campaign:C0001", "ThreatActor:G0001", "ThreatActor:" + a.ID, "Node:G0001", "Campaign:list", "ThreatActor:list"} {
		if !slices.Contains(tags, want) {
			t.Errorf("a campaign that changes the dates of an actor: no %s in %v", want, tags)
		}
	}
	at = end

	// Another ATT&CK id: both are of interest.
	renamed := actor(1, "b", 4)
	renamed.AttackID = "G0777"
	Import(t, st, store.Record{Object: renamed})
	if tags, at = since(t, l, at); !slices.Contains(tags, "ThreatActor:G0001") || !slices.Contains(tags, "ThreatActor:G0777") {
		t.Errorf("of another ATT&CK id: %v", tags)
	}

	// An id that cannot stand in a tag.
	odd := actor(60, "odd", 1)
	odd.AttackID = "G 60, too"
	step("an odd id", of("Campaign:list Indicator:list Node:%[1]s Sighting:list ThreatActor ThreatActor:%[1]s", odd.ID), store.Record{Object: odd})

	// Of many only the types.
	var many []store.Record
	for i := range store.MaxChanged + 1 {
		many = append(many, store.Record{Object: actor(100+i, fmt.Sprint("n", i), 1)})
	}
	step("many", "Campaign:list Indicator:list Sighting:list ThreatActor", many...)
	step("many, again", "", many...)
}

// testChanges: whatever an import changes of what is asked, one of the tags of that is in
// its entry.
func (opts Options) testChanges(t *testing.T, st store.Store) {
	w := filled(t, st)
	l := logOf(t, st)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	steps, most := 20, 5
	if opts.Mixes {
		steps, most = 2, 2 // the server that it is tested with is slow
	}
	records := slices.Clone(w.records)
	for n := range steps {
		var some []store.Record
		keys := map[string]bool{}
		for _, i := range rnd.Perm(len(records))[:1+rnd.IntN(most)] {
			r := records[i]
			if o := r.Object; o != nil {
				next := *o
				next.Modified = day(30 + n)
				switch rnd.IntN(4) {
				case 0:
					next.Name = fmt.Sprint("name ", n)
				case 1:
					if next.AttackID != "" {
						next.AttackID = fmt.Sprintf("%s%d", strings.TrimRight(next.AttackID, "0123456789"), 9000+rnd.IntN(10))
					}
				case 2:
					next.Phases = nil
					if next.Kind == store.KindTactic || next.Kind == store.KindTechnique {
						next.Phases = []string{"mitre-attack/" + tactics[rnd.IntN(len(tactics))]}
					}
				case 3:
					if next.Kind == store.KindCampaign {
						next.FirstSeen, next.LastSeen = day(rnd.IntN(9)), day(20+rnd.IntN(9))
					}
				}
				r.Object = &next
				keys[o.AttackID], keys[next.AttackID], keys[o.ID] = true, true, true
			} else {
				next := *r.Link
				next.Modified = day(30 + n)
				keys[next.Source], keys[next.Target] = true, true
				if rnd.IntN(2) == 0 && next.Edge != store.SightingOf {
					next.Source = records[slices.IndexFunc(records, func(r store.Record) bool {
						return r.Object != nil && r.Object.Kind == store.KindOf(next.Source)
					})].Object.ID
					keys[next.Source] = true
				}
				r.Link = &next
			}
			r.Gone = []store.Gone{store.Alive, store.Alive, store.Revoked}[rnd.IntN(3)]
			records[i] = r
			some = append(some, r)
		}
		delete(keys, "")
		list := slices.Sorted(maps.Keys(keys))
		before := answers(t, st, w, list, opts.Mixes)
		_, at := since(t, l, -1)
		Import(t, st, some...)
		tags, _ := since(t, l, at)
		after := answers(t, st, w, list, opts.Mixes)
		for what, was := range before {
			if after[what] == was || covered(what.tag, tags) {
				continue
			}
			// A relation is asked for by way of what it is of.
			if p := what.parent; p != "" && covered(store.KindOf(p).TypeName()+":"+p, tags) && covered("Node:"+p, tags) && covered(store.KindOf(p).TypeName()+":list", tags) {
				continue
			}
			t.Fatalf("step %d: %s has changed, and its tag %s is not among %v\nbefore %s\nafter  %s", n, what.name, what.tag, tags, was, after[what])
		}
	}
}

func covered(tag string, by []string) bool {
	typ, id, _ := strings.Cut(tag, ":")
	if typ == "" { // what may be of any kind has the tags of all
		return slices.ContainsFunc(store.Kinds[:], func(k store.Kind) bool { return covered(k.TypeName()+tag, by) })
	}
	if typ == "Node" && slices.Contains(by, store.KindOf(id).TypeName()) {
		return true
	}
	return slices.Contains(by, tag) || slices.Contains(by, typ) || slices.Contains(by, store.Everything)
}

// asked is something that can be asked for, with the most special tag that an answer has.
type asked struct{ name, tag, parent string }

// answers are the answers to whatever can be asked for that has to do with these keys, and to
// all that has no key.
func answers(t testing.TB, st store.Store, w *world, keys []string, few bool) map[asked]string {
	t.Helper()
	out := map[asked]string{}
	text := func(p store.Page) string {
		var b strings.Builder
		fmt.Fprint(&b, p.Total, " ")
		for _, i := range p.Items {
			fmt.Fprintf(&b, "[%s %s %v %v", i.Object.ID, i.Object.AttackID, i.Object.FirstSeen, i.Object.LastSeen)
			if i.Link != nil {
				fmt.Fprintf(&b, " by %s %s", i.Link.ID, i.Link.Modified)
			}
			fmt.Fprintf(&b, " %s]", store.Content(i.Object))
		}
		return b.String()
	}
	for _, k := range append([]store.Kind{store.KindAny}, store.Kinds[:]...) {
		found, err := st.Get(ctx, k, keys)
		if err != nil {
			t.Fatal(err)
		}
		name := k.TypeName()
		if k == store.KindAny {
			name = "Node"
		}
		for _, key := range keys {
			answer := ""
			if o := found[key]; o != nil {
				answer = text(store.Page{Items: []store.Item{{Object: o}}})
			}
			out[asked{fmt.Sprintf("the %s %s", name, key), name + ":" + key, ""}] = answer
		}
	}
	q := store.Query{First: 500, WantTotal: true}
	for _, k := range store.Kinds {
		out[asked{"all " + string(k), k.TypeName() + ":list", ""}] = text(list(t, st, k, q))
	}
	narrow := func(k store.Kind, name string, by store.Kind, f func(*store.Filter, string)) {
		for _, key := range keys {
			if of := store.KindOf(key); of != by && of != store.KindAny && by != store.KindAny {
				continue
			}
			q := q
			f(&q.Filter, key)
			out[asked{fmt.Sprintf("%s with %s %s", k, name, key), k.TypeName() + ":list", ""}] = text(list(t, st, k, q))
		}
	}
	for _, k := range []store.Kind{store.KindThreatActor, store.KindCampaign, store.KindSoftware} {
		narrow(k, "usesTechnique", store.KindTechnique, func(f *store.Filter, key string) { f.UsesTechnique = key })
	}
	for _, k := range []store.Kind{store.KindThreatActor, store.KindCampaign} {
		narrow(k, "usesSoftware", store.KindSoftware, func(f *store.Filter, key string) { f.UsesSoftware = key })
	}
	narrow(store.KindCampaign, "attributedTo", store.KindThreatActor, func(f *store.Filter, key string) { f.AttributedTo = key })
	narrow(store.KindMitigation, "mitigates", store.KindTechnique, func(f *store.Filter, key string) { f.Mitigates = key })
	narrow(store.KindTechnique, "tactic", store.KindTactic, func(f *store.Filter, key string) { f.Tactic = key })
	narrow(store.KindIndicator, "indicates", store.KindAny, func(f *store.Filter, key string) { f.Indicates = key })
	narrow(store.KindSighting, "sightingOf", store.KindAny, func(f *store.Filter, key string) { f.SightingOf = key })

	var parents []string
	for id := range w.objects {
		if !few || slices.Contains(keys, id) {
			parents = append(parents, id)
		}
	}
	slices.Sort(parents)
	for _, rel := range []store.Relation{
		store.Techniques, store.Software, store.UsedByActors, store.UsedBySoft, store.UsedByCamps, store.Actors, store.Campaigns, store.Mitigations,
		store.Mitigated, store.ParentOf, store.Subtechniques, store.Tactics, store.InThisTactic, store.Indicated, store.Indicators, store.Sighted, store.Sightings,
	} {
		pages, err := st.Related(ctx, rel, parents, q)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range pages {
			out[asked{fmt.Sprintf("%v of %s", rel, parents[i]), rel.To.TypeName() + ":list", parents[i]}] = text(p)
		}
	}
	return out
}
