// Package storetest says what every [store.Store] promises, as tests. A store's
// own tests call [Run].
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nekoctl/neko/api/store"
)

// Options say where a store promises less than the strictest one, and is meant to:
// what it promises instead is tested then.
type Options struct {
	// Mixes: while an import is being committed a reader may see some of its objects
	// already and others not yet. Else a call sees all of an import or nothing of it.
	Mixes bool
	// Commands is how many commands one call of Get, List or Related may send to the
	// database, however many objects and parents it is about; 1 if zero.
	Commands int
	// Decorator: it passes all on to a store that has been tried by itself. What takes long and
	// looks at how data are kept, and not at what is passed on, is left out.
	Decorator bool
}

// Run runs the suite. open gives an empty store, which the test closes with
// t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store) { RunWith(t, Options{}, open) }

// RunWith is Run for a store with these options.
func RunWith(t *testing.T, opts Options, open func(t *testing.T) store.Store) {
	opts.Commands = max(opts.Commands, 1)
	for _, c := range []struct {
		name string
		test func(t *testing.T, st store.Store)
	}{
		{"Empty", testEmpty},
		{"Get", testGet},
		{"List", testList},
		{"Related", testRelated},
		{"Queries", opts.testQueries},
		{"Counts", testCounts},
		{"Arguments", testArguments},
		{"CursorsAreStable", testCursors},
		{"Versions", testVersions},
		{"Dangling", testDangling},
		{"SameEnds", testSameEnds},
		{"NothingBeforeCommit", testCommit},
		{"OnlyIfEmpty", testOnlyIfEmpty},
		{"Indicators", testIndicators},
		{"IndicatorInput", testIndicatorInput},
		{"Sightings", testSightings},
		{"LocalSurvives", testLocal},
		{"Concurrent", opts.testConcurrent},
		{"Changelog", testChangelog},
		{"ImportsAreLogged", testImportsAreLogged},
		{"Changes", opts.testChanges},
	} {
		if opts.Decorator && slices.Contains([]string{"Related", "Versions", "Concurrent", "Changes"}, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

var ctx = context.Background()

// Import imports records.
func Import(t testing.TB, st store.Store, records ...store.Record) store.Merged {
	t.Helper()
	m, err := load(st, store.ImportOptions{}, records...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func load(st store.Store, opts store.ImportOptions, records ...store.Record) (store.Merged, error) {
	im, err := st.BeginImport(ctx, opts)
	if err != nil {
		return store.Merged{}, err
	}
	defer im.Abort()
	for _, r := range records {
		if err := im.Add(ctx, r); err != nil {
			return store.Merged{}, err
		}
	}
	return im.Commit(ctx)
}

func list(t testing.TB, st store.Store, k store.Kind, q store.Query) store.Page {
	t.Helper()
	p, err := st.List(ctx, k, q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func related(t testing.TB, st store.Store, rel store.Relation, parent string) []string {
	t.Helper()
	p, err := st.Related(ctx, rel, []string{parent}, store.Query{First: 100})
	if err != nil {
		t.Fatal(err)
	}
	return ids(p[0])
}

func get(t testing.TB, st store.Store, key string) *store.Object {
	t.Helper()
	m, err := st.Get(ctx, store.KindAny, []string{key})
	if err != nil {
		t.Fatal(err)
	}
	return m[key]
}

func ids(p store.Page) []string {
	out := []string{}
	for _, i := range p.Items {
		out = append(out, i.Object.ID)
	}
	return out
}

func testEmpty(t *testing.T, st store.Store) {
	if err := st.Ping(ctx); err != nil {
		t.Error("Ping:", err)
	}
	if m, err := st.Get(ctx, store.KindThreatActor, []string{"G0034", "", stixID("malware", 1)}); err != nil || len(m) != 0 {
		t.Errorf("Get: %v, %v", m, err)
	}
	p, err := st.List(ctx, store.KindSoftware, store.Query{First: 10, WantTotal: true})
	if err != nil || len(p.Items) != 0 || p.Total != 0 || p.HasNext || p.HasPrevious {
		t.Errorf("List: %+v, %v", p, err)
	}
	pages, err := st.Related(ctx, store.Techniques, []string{stixID("intrusion-set", 1), ""}, store.Query{First: 10, WantTotal: true})
	if err != nil || len(pages) != 2 || pages[0].Total != 0 || len(pages[1].Items) != 0 {
		t.Errorf("Related: %+v, %v", pages, err)
	}
	c, err := st.Counts(ctx, store.ByKind)
	if err != nil || len(c) != len(store.Kinds) || c[0].N != 0 {
		t.Errorf("Counts: %v, %v", c, err)
	}
}

// filled gives a store with the world in it.
func filled(t *testing.T, st store.Store) *world {
	t.Helper()
	w := newWorld()
	Import(t, st, w.records...)
	return w
}

func testGet(t *testing.T, st store.Store) {
	w := filled(t, st)
	var keys []string
	for _, r := range w.records {
		if r.Object == nil {
			continue
		}
		keys = append(keys, r.Object.ID)
		if r.Object.AttackID != "" {
			keys = append(keys, r.Object.AttackID, strings.ToLower(r.Object.AttackID))
		}
	}
	keys = append(keys, "G0000", "no such", stixID("tool", 12345), "", keys[0], "'; DROP TABLE object; --")
	for _, kind := range append([]store.Kind{store.KindAny}, store.Kinds[:]...) {
		got, err := st.Get(ctx, kind, keys)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]*store.Object{}
		for _, k := range keys {
			for _, o := range w.objects {
				if means(k, o) && (kind == store.KindAny || o.Kind == kind) {
					want[k] = o
				}
			}
		}
		if len(got) != len(want) {
			t.Errorf("%q: got %d objects, want %d", kind, len(got), len(want))
		}
		for k, o := range want {
			if !reflect.DeepEqual(got[k], o) {
				t.Errorf("%q: %s\n got %+v\nwant %+v", kind, k, got[k], o)
			}
		}
	}
}

// A FilterCase is a filter that fits a kind; together they have every field.
type FilterCase struct {
	Name   string
	Kind   store.Kind
	Filter store.Filter
}

// FilterCases are all filters, for tests of a store's own (that each has an index).
func FilterCases() []FilterCase {
	yes, no := true, false
	tech := stixID("attack-pattern", 15)
	return []FilterCase{
		{"none", store.KindThreatActor, store.Filter{}},
		{"text", store.KindTechnique, store.Filter{Text: "energie"}},
		{"text, two words", store.KindTechnique, store.Filter{Text: "  GRAY! Mot"}},
		{"text of another alphabet", store.KindTechnique, store.Filter{Text: "日"}},
		{"text with sz", store.KindTechnique, store.Filter{Text: "strasse"}},
		{"text that is syntax elsewhere", store.KindTechnique, store.Filter{Text: `"moth" OR NOT * ^`}},
		{"text, ATT&CK id", store.KindTechnique, store.Filter{Text: "t9001"}},
		{"text in addresses", store.KindTechnique, store.Filter{Text: "nowhere"}},
		{"name", store.KindThreatActor, store.Filter{Name: "GRAY moth"}},
		{"name of nobody", store.KindThreatActor, store.Filter{Name: "%"}},
		{"alias", store.KindSoftware, store.Filter{Alias: "energie"}},
		{"alias that is the name", store.KindSoftware, store.Filter{Alias: "tide gate"}},
		{"keys", store.KindTechnique, store.Filter{Keys: []string{"t9003", "T9004", tech, "G9001"}}},
		{"no keys", store.KindTechnique, store.Filter{Keys: []string{}}},
		{"usesTechnique", store.KindThreatActor, store.Filter{UsesTechnique: "T9001"}},
		{"usesTechnique by id", store.KindSoftware, store.Filter{UsesTechnique: stixID("attack-pattern", 18)}},
		{"usesTechnique of campaigns", store.KindCampaign, store.Filter{UsesTechnique: "T9003"}},
		{"usesSoftware", store.KindThreatActor, store.Filter{UsesSoftware: "S9001"}},
		{"uses both", store.KindThreatActor, store.Filter{UsesSoftware: "S9001", UsesTechnique: "T9001"}},
		{"attributedTo", store.KindCampaign, store.Filter{AttributedTo: "G9003"}},
		{"mitigates", store.KindMitigation, store.Filter{Mitigates: "T9002"}},
		{"indicates", store.KindIndicator, store.Filter{Indicates: "S9004"}},
		{"sightingOf", store.KindSighting, store.Filter{SightingOf: stixID("indicator", 90)}},
		{"tactic", store.KindTechnique, store.Filter{Tactic: "Initial-Access"}},
		{"tactic by ATT&CK id", store.KindTechnique, store.Filter{Tactic: "TA9001"}},
		{"tactic by id", store.KindTechnique, store.Filter{Tactic: stixID("x-mitre-tactic", 47)}},
		{"domain", store.KindMitigation, store.Filter{Domain: "ics-attack"}},
		{"platform", store.KindTechnique, store.Filter{Platform: "WINDOWS"}},
		{"type", store.KindSoftware, store.Filter{Type: "tool"}},
		{"subtechnique", store.KindTechnique, store.Filter{Subtechnique: &yes}},
		{"no subtechnique", store.KindTechnique, store.Filter{Subtechnique: &no}},
		{"createdAfter", store.KindTechnique, store.Filter{CreatedAfter: day(2)}},
		{"createdBefore", store.KindTechnique, store.Filter{CreatedBefore: day(2)}},
		{"modifiedAfter", store.KindTechnique, store.Filter{ModifiedAfter: day(12)}},
		{"modifiedBefore", store.KindTechnique, store.Filter{ModifiedBefore: day(12)}},
		{"seenAfter", store.KindCampaign, store.Filter{SeenAfter: day(14)}},
		{"seenBefore", store.KindThreatActor, store.Filter{SeenBefore: day(4)}},
		{"seen between", store.KindSighting, store.Filter{SeenAfter: day(12), SeenBefore: day(6)}},
		{"indicatorType", store.KindIndicator, store.Filter{IndicatorType: "benign"}},
		{"valueType", store.KindIndicator, store.Filter{ValueType: "domain-name"}},
		{"value", store.KindIndicator, store.Filter{Value: "host1.example"}},
		{"active", store.KindIndicator, store.Filter{Active: &yes}},
		{"not active", store.KindIndicator, store.Filter{Active: &no}},
		{"several", store.KindTechnique, store.Filter{Text: "a", Domain: "ics-attack", Platform: "linux", ModifiedAfter: day(11)}},
	}
}

// Orders are all orders.
func Orders() []store.Order {
	var out []store.Order
	for _, by := range []store.OrderField{"", store.OrderName, store.OrderAttackID, store.OrderModified, store.OrderCreated, store.OrderFirstSeen, store.OrderLastSeen} {
		out = append(out, store.Order{By: by}, store.Order{By: by, Desc: true})
	}
	return out
}

// ordersFor are all orders for the first of many cases, and a few, not always the
// same, for the others: SQLite under the race detector takes its time.
func ordersFor(i int) []store.Order {
	all := Orders()
	if i == 0 {
		return all
	}
	return []store.Order{all[i%len(all)], all[(i+5)%len(all)]}
}

func testList(t *testing.T, st store.Store) {
	w := filled(t, st)
	found := 0
	for i, c := range FilterCases() {
		for _, order := range ordersFor(i) {
			name := fmt.Sprintf("%s, by %s %v", c.Name, order.By, order.Desc)
			want := w.list(c.Kind, c.Filter, order)
			found += len(want)
			q := store.Query{First: 4, Filter: c.Filter, OrderBy: order, WantTotal: true}
			var got []*store.Object
			for n := 0; ; n++ {
				p, err := st.List(ctx, c.Kind, q)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if p.Total != len(want) {
					t.Errorf("%s: total %d, want %d", name, p.Total, len(want))
				}
				if p.HasPrevious != (n > 0) {
					t.Errorf("%s: page %d: HasPrevious is %v", name, n, p.HasPrevious)
				}
				for _, i := range p.Items {
					got = append(got, i.Object)
					q.After = i.Cursor.String()
				}
				if !p.HasNext {
					break
				}
				if len(p.Items) != q.First || n > 100 {
					t.Fatalf("%s: page %d has %d of %d items and a next page", name, n, len(p.Items), q.First)
				}
				q.WantTotal = true
			}
			if len(got) != len(want) {
				t.Errorf("%s: got %d, want %d", name, len(got), len(want))
				continue
			}
			for i := range want {
				if got[i].ID != want[i].ID {
					t.Errorf("%s: place %d has %s (%s), want %s (%s)", name, i, got[i].ID, got[i].Name, want[i].ID, want[i].Name)
					break
				}
			}
		}
	}
	if found < 300 {
		t.Errorf("only %d objects found in all: the filters test nothing", found)
	}
	p := list(t, st, store.KindTechnique, store.Query{First: 0, WantTotal: true})
	if len(p.Items) != 0 || p.Total == 0 {
		t.Errorf("First: 0 with WantTotal: %+v", p)
	}
	if p := list(t, st, store.KindTechnique, store.Query{First: 1}); p.Total != -1 || !p.HasNext {
		t.Errorf("without WantTotal: total %d, next %v", p.Total, p.HasNext)
	}
}

// Relations are all relations.
var Relations = []store.Relation{
	store.Techniques, store.Software, store.UsedByActors, store.UsedBySoft, store.UsedByCamps, store.Actors, store.Campaigns,
	store.Mitigations, store.Mitigated, store.ParentOf, store.Subtechniques, store.Tactics, store.InThisTactic,
	store.Indicated, store.Indicators, store.Sighted, store.Sightings,
	{Edge: store.Uses, To: store.KindAny}, {Edge: store.Uses, Inverse: true},
}

func testRelated(t *testing.T, st store.Store) {
	w := filled(t, st)
	var parents []string
	for _, r := range w.records {
		if r.Object != nil {
			parents = append(parents, r.Object.ID) // also those that are gone
		}
	}
	parents = append(parents, stixID("malware", 77777), parents[0])
	sub := true
	found := 0
	for k, rel := range Relations {
		filters := []store.Filter{{}, {Text: "a"}, {Domain: "ics-attack"}}
		if rel.To == store.KindTechnique {
			filters = append(filters, store.Filter{Tactic: "impact"}, store.Filter{Subtechnique: &sub})
		}
		for n, f := range filters {
			orders := ordersFor(n)
			if rel != store.Techniques {
				if n > 0 && n != 1+k%(len(filters)-1) {
					continue
				}
				orders = ordersFor(k + n + 1)[:1+(k+n)%2]
			}
			for i, order := range orders {
				q := store.Query{First: 2, Filter: f, OrderBy: order, WantTotal: i%2 == 0}
				pages, err := st.Related(ctx, rel, parents, q)
				if err != nil {
					t.Fatalf("%v: %v", rel, err)
				}
				if len(pages) != len(parents) {
					t.Fatalf("%v: %d pages for %d parents", rel, len(pages), len(parents))
				}
				for i, parent := range parents {
					found += check(t, fmt.Sprintf("%v of %s, %+v by %v", rel, parent, f, order), pages[i], w.related(rel, parent, f, order), 0, q)
				}
			}
		}
	}
	if found < 400 {
		t.Errorf("only %d related objects in all: the relations test nothing", found)
	}

	// All pages of one parent, each asked for together with the other parents.
	for i, order := range Orders() {
		for _, parent := range []string{parents[i%10], parents[i%10+1]} {
			want := w.related(store.Techniques, parent, store.Filter{}, order)
			q := store.Query{First: 3, OrderBy: order, WantTotal: true}
			for at := 0; at < len(want); at += 3 {
				pages, err := st.Related(ctx, store.Techniques, []string{parents[7], parent}, q)
				if err != nil {
					t.Fatal(err)
				}
				check(t, fmt.Sprintf("page at %d of %s by %v", at, parent, order), pages[1], want, at, q)
				if n := len(pages[1].Items); n > 0 {
					q.After = pages[1].Items[n-1].Cursor.String()
				}
			}
		}
	}
}

// check compares a page with the part of the whole list that it must be.
func check(t *testing.T, name string, p store.Page, all []child, at int, q store.Query) int {
	t.Helper()
	want := all[min(at, len(all)):min(at+q.First, len(all))]
	total := -1
	if q.WantTotal {
		total = len(all)
	}
	if p.Total != total {
		t.Errorf("%s: total %d, want %d", name, p.Total, total)
	}
	if next := at+q.First < len(all); p.HasNext != next || p.HasPrevious != (q.After != "") {
		t.Errorf("%s: next %v, want %v; previous %v", name, p.HasNext, next, p.HasPrevious)
	}
	if len(p.Items) != len(want) {
		t.Errorf("%s: %d items, want %d", name, len(p.Items), len(want))
		return 0
	}
	for i, c := range want {
		got := p.Items[i]
		if !reflect.DeepEqual(got.Object, c.Object) {
			t.Errorf("%s: place %d\n got %+v\nwant %+v", name, i, got.Object, c.Object)
		}
		if got.Link == nil || got.Link.ID != c.link.ID || c.link.ID != "" && got.Link.Description != c.link.Description {
			t.Errorf("%s: place %d: link %+v, want %+v", name, i, got.Link, c.link)
		}
	}
	return len(want)
}

// testQueries: the number of queries does not depend on how much is asked for.
func (opts Options) testQueries(t *testing.T, st store.Store) {
	w := filled(t, st)
	var actors, techniques []string
	for _, o := range w.list(store.KindThreatActor, store.Filter{}, store.Order{}) {
		actors = append(actors, o.ID)
	}
	for _, o := range w.list(store.KindTechnique, store.Filter{}, store.Order{}) {
		techniques = append(techniques, o.ID)
	}
	for _, n := range []int{1, 2, len(actors)} {
		for name, call := range map[string]func(ctx context.Context) error{
			"Get": func(ctx context.Context) error {
				_, err := st.Get(ctx, store.KindThreatActor, append([]string{"G9001"}, actors[:n]...))
				return err
			},
			"List": func(ctx context.Context) error {
				_, err := st.List(ctx, store.KindTechnique, store.Query{First: n, WantTotal: true})
				return err
			},
			"List, filtered": func(ctx context.Context) error {
				_, err := st.List(ctx, store.KindThreatActor, store.Query{First: n, WantTotal: true, Filter: store.Filter{UsesTechnique: "T9001", UsesSoftware: "S9001", Keys: actors[:n]}})
				return err
			},
			"Related": func(ctx context.Context) error {
				_, err := st.Related(ctx, store.Techniques, actors[:n], store.Query{First: n, WantTotal: true})
				return err
			},
			"Related, inverse": func(ctx context.Context) error {
				_, err := st.Related(ctx, store.UsedByActors, techniques[:n], store.Query{First: n, WantTotal: true})
				return err
			},
		} {
			var c store.Counter
			if err := call(store.WithCounter(ctx, &c)); err != nil {
				t.Fatal(name, err)
			}
			if c.Queries() < 1 || c.Queries() > opts.Commands {
				t.Errorf("%s with %d: %d queries, want %d at most", name, n, c.Queries(), opts.Commands)
			}
		}
	}
	var c store.Counter
	if _, err := st.Related(store.WithCounter(ctx, &c), store.Techniques, nil, store.Query{First: 5}); err != nil || c.Queries() != 0 {
		t.Errorf("no parents: %d queries, %v", c.Queries(), err)
	}
}

func testCounts(t *testing.T, st store.Store) {
	w := filled(t, st)
	want := map[store.Group]map[string]int{
		store.ByKind: {}, store.TechniquesByTactic: {}, store.ActorsByDomain: {}, store.SoftwareByType: {}, store.SoftwareByPlatform: {}, store.ActorsByTechnique: {},
	}
	for _, k := range store.Kinds {
		want[store.ByKind][string(k)] = 0
	}
	for _, o := range w.objects {
		want[store.ByKind][string(o.Kind)]++
		switch o.Kind {
		case store.KindThreatActor:
			for _, d := range o.Domains {
				want[store.ActorsByDomain][d]++
			}
		case store.KindSoftware:
			want[store.SoftwareByType][o.Type]++
			for _, p := range o.Platforms {
				want[store.SoftwareByPlatform][store.Fold(p)]++
			}
		}
	}
	for _, l := range w.edges {
		switch {
		case l.Edge == store.InTactic:
			want[store.TechniquesByTactic][l.Target]++
		case l.Edge == store.Uses && w.objects[l.Source].Kind == store.KindThreatActor && w.objects[l.Target].Kind == store.KindTechnique:
			want[store.ActorsByTechnique][l.Target]++
		}
	}
	for g, want := range want {
		counts, err := st.Counts(ctx, g)
		if err != nil {
			t.Fatal(g, err)
		}
		got := map[string]int{}
		for i, c := range counts {
			key := c.Key
			if g == store.SoftwareByPlatform {
				key = store.Fold(key)
			}
			got[key] = c.N
			if g != store.ByKind && i > 0 && c.N > counts[i-1].N {
				t.Errorf("%s: %v comes after %v", g, c, counts[i-1])
			}
			if o := w.objects[c.Key]; o != nil && c.Name != o.Name {
				t.Errorf("%s: name %q, want %q", g, c.Name, o.Name)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", g, got, want)
		}
	}
	if _, err := st.Counts(ctx, "nonsense"); !errors.Is(err, store.ErrInvalid) {
		t.Error("nonsense:", err)
	}
}

func testArguments(t *testing.T, st store.Store) {
	filled(t, st)
	good := list(t, st, store.KindTechnique, store.Query{First: 1}).Items[0].Cursor.String()
	for _, c := range []struct {
		name  string
		kind  store.Kind
		q     store.Query
		want  error
		field string
	}{
		{"first too large", store.KindTechnique, store.Query{First: store.MaxFirst + 1}, store.ErrInvalid, "first"},
		{"first negative", store.KindTechnique, store.Query{First: -1}, store.ErrInvalid, "first"},
		{"no such order", store.KindTechnique, store.Query{First: 1, OrderBy: store.Order{By: "doc; --"}}, store.ErrInvalid, "orderBy"},
		{"no kind", store.KindAny, store.Query{First: 1}, store.ErrInvalid, "kind"},
		{"no such kind", "x' OR 1", store.Query{First: 1}, store.ErrInvalid, "kind"},
		{"tactic of campaigns", store.KindCampaign, store.Query{First: 1, Filter: store.Filter{Tactic: "impact"}}, store.ErrInvalid, "filter.tactic"},
		{"type of tactics", store.KindTactic, store.Query{First: 1, Filter: store.Filter{Type: "tool"}}, store.ErrInvalid, "filter.type"},
		{"no such type", store.KindSoftware, store.Query{First: 1, Filter: store.Filter{Type: "virus"}}, store.ErrInvalid, "filter.type"},
		{"text without words", store.KindSoftware, store.Query{First: 1, Filter: store.Filter{Text: " -- "}}, store.ErrInvalid, "filter.text"},
		{"text of many words", store.KindSoftware, store.Query{First: 1, Filter: store.Filter{Text: strings.Repeat("a ", 13)}}, store.ErrInvalid, "filter.text"},
		{"cursor: nonsense", store.KindTechnique, store.Query{First: 1, After: "nonsense!"}, store.ErrCursor, ""},
		{"cursor: cut", store.KindTechnique, store.Query{First: 1, After: good[:10]}, store.ErrCursor, ""},
		{"cursor: long", store.KindTechnique, store.Query{First: 1, After: strings.Repeat("A", 100_000)}, store.ErrCursor, ""},
		{"cursor of another order", store.KindTechnique, store.Query{First: 1, After: good, OrderBy: store.Order{By: store.OrderModified}}, store.ErrCursor, ""},
		{"cursor of another direction", store.KindTechnique, store.Query{First: 1, After: good, OrderBy: store.Order{Desc: true}}, store.ErrCursor, ""},
	} {
		_, err := st.List(ctx, c.kind, c.q)
		var invalid *store.InvalidError
		if !errors.Is(err, c.want) || c.want == store.ErrInvalid && (!errors.As(err, &invalid) || invalid.Field != c.field) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := st.Get(ctx, "nonsense", []string{"x"}); !errors.Is(err, store.ErrInvalid) {
		t.Error("Get of no kind:", err)
	}
	if _, err := st.Related(ctx, store.Relation{Edge: "owns"}, []string{"x"}, store.Query{First: 1}); !errors.Is(err, store.ErrInvalid) {
		t.Error("Related by no edge:", err)
	}
	if _, err := st.Get(ctx, store.KindTechnique, make([]string, store.MaxKeys+1)); !errors.Is(err, store.ErrInvalid) {
		t.Error("too many keys:", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := st.List(ended, store.KindTechnique, store.Query{First: 1}); !errors.Is(err, context.Canceled) {
		t.Error("canceled:", err)
	}
}

// testCursors: what comes and goes between two pages changes neither.
func testCursors(t *testing.T, st store.Store) {
	tech := func(n int, name string, gone store.Gone) store.Record {
		return store.Record{Gone: gone, Object: &store.Object{ID: stixID("attack-pattern", n), Kind: store.KindTechnique, Type: "attack-pattern", Name: name, Created: day(0), Modified: day(n)}}
	}
	Import(t, st, tech(1, "b", ""), tech(2, "d", ""), tech(3, "f", ""), tech(4, "h", ""))
	p := list(t, st, store.KindTechnique, store.Query{First: 2})
	back := tech(2, "d", store.Revoked) // the very object that the cursor is of
	back.Object.Modified = day(9)
	Import(t, st, tech(5, "a", ""), tech(6, "e", ""), back)
	p = list(t, st, store.KindTechnique, store.Query{First: 9, After: p.Items[1].Cursor.String()})
	if got, want := ids(p), []string{stixID("attack-pattern", 6), stixID("attack-pattern", 3), stixID("attack-pattern", 4)}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func actor(n int, name string, modified int) *store.Object {
	return &store.Object{ID: stixID("intrusion-set", n), Kind: store.KindThreatActor, Type: "intrusion-set", AttackID: fmt.Sprintf("G%04d", n),
		Name: name, Created: day(0), Modified: day(modified)}
}

func technique(n int, name string) *store.Object {
	return &store.Object{ID: stixID("attack-pattern", n), Kind: store.KindTechnique, Type: "attack-pattern", AttackID: fmt.Sprintf("T%04d", n),
		Name: name, Created: day(0), Modified: day(0)}
}

func uses(n, modified int, from, to *store.Object) *store.Relationship {
	return &store.Relationship{Edge: store.Uses, Source: from.ID, Target: to.ID,
		Link: store.Link{ID: stixID("relationship", n), Description: fmt.Sprint("number ", n), Created: day(0), Modified: day(modified)}}
}

// testVersions: whatever comes first, the newest version wins.
func testVersions(t *testing.T, st store.Store) {
	// n: an object for each order of its versions.
	n := 0
	for _, c := range []struct {
		name     string
		versions []store.Record // the last one wins; Object only
		alive    bool
	}{
		{"newer", []store.Record{{Object: actor(0, "old", 1)}, {Object: actor(0, "new", 2)}}, true},
		{"revoked later", []store.Record{{Object: actor(0, "old", 1)}, {Object: actor(0, "", 2), Gone: store.Revoked}}, false},
		{"revoked at once", []store.Record{{Object: actor(0, "same", 1)}, {Object: actor(0, "", 1), Gone: store.Deprecated}}, false},
		{"alive again", []store.Record{{Object: actor(0, "old", 1)}, {Object: actor(0, "", 2), Gone: store.Deprecated}, {Object: actor(0, "back", 3)}}, true},
	} {
		for _, order := range permutations(len(c.versions)) {
			n++
			for _, twice := range []int{0, 1} {
				if twice == 1 && n%2 == 0 {
					continue // once more, and nothing changes: tried with every second one
				}
				for _, i := range order {
					rec := c.versions[i]
					o := *rec.Object
					o.ID, o.AttackID = stixID("intrusion-set", n), fmt.Sprintf("G%04d", n)
					rec.Object = &o
					Import(t, st, rec)
				}
				last := c.versions[len(c.versions)-1].Object
				got := get(t, st, fmt.Sprintf("G%04d", n))
				if (got != nil) != c.alive || got != nil && got.Name != last.Name {
					t.Errorf("%s in order %v (%d): %+v", c.name, order, twice, got)
				}
				p := list(t, st, store.KindThreatActor, store.Query{First: 9, Filter: store.Filter{Keys: []string{fmt.Sprintf("G%04d", n)}, Text: last.Name}})
				if c.alive && len(p.Items) != 1 {
					t.Errorf("%s in order %v (%d): not found by text", c.name, order, twice)
				}
				if p := list(t, st, store.KindThreatActor, store.Query{First: 9, Filter: store.Filter{Keys: []string{fmt.Sprintf("G%04d", n)}, Alias: "old"}}); len(p.Items) != 0 {
					t.Errorf("%s in order %v (%d): found by an old name", c.name, order, twice)
				}
			}
		}
	}
	// Two versions of the same time: any, but always the same.
	var names []string
	for _, order := range [][]string{{"x", "y"}, {"y", "x"}} {
		n++
		for _, name := range order {
			o := actor(n, name, 1)
			o.ID = stixID("intrusion-set", 5000) // the content is the same, too
			o.ID, o.AttackID = stixID("intrusion-set", n), "G5000"
			Import(t, st, store.Record{Object: o})
		}
		names = append(names, get(t, st, stixID("intrusion-set", n)).Name)
	}
	if names[0] != names[1] {
		t.Errorf("two versions of one time: %v, by the order of imports", names)
	}

	// The summary.
	a := actor(8000, "a", 1)
	if m := Import(t, st, store.Record{Object: a}); m.Added != 1 || m.Updated+m.Unchanged+m.Removed != 0 {
		t.Errorf("new: %+v", m)
	}
	if m := Import(t, st, store.Record{Object: a}); m.Unchanged != 1 || m.Added+m.Updated+m.Removed != 0 {
		t.Errorf("the same: %+v", m)
	}
	if m := Import(t, st, store.Record{Object: actor(8000, "b", 2)}); m.Updated != 1 || m.Added+m.Unchanged+m.Removed != 0 {
		t.Errorf("newer: %+v", m)
	}
	if m := Import(t, st, store.Record{Object: actor(8000, "", 3), Gone: store.Revoked}); m.Removed != 1 || m.Added+m.Updated+m.Unchanged != 0 {
		t.Errorf("gone: %+v", m)
	}
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{{}}
	}
	var out [][]int
	for _, p := range permutations(n - 1) {
		for i := 0; i <= len(p); i++ {
			q := append(append(append([]int{}, p[:i]...), n-1), p[i:]...)
			out = append(out, q)
		}
	}
	return out
}

// testDangling: a relationship whose end is missing waits for it.
func testDangling(t *testing.T, st store.Store) {
	a, x := actor(1, "a", 1), technique(1, "x")
	m := Import(t, st, store.Record{Object: a}, store.Record{Link: uses(1, 1, a, x)})
	if m.Dangling != 1 {
		t.Errorf("dangling: %d, want 1", m.Dangling)
	}
	if got := related(t, st, store.Techniques, a.ID); len(got) != 0 {
		t.Errorf("served while dangling: %v", got)
	}
	if get(t, st, x.ID) != nil {
		t.Error("an object that never came is served")
	}
	p := list(t, st, store.KindThreatActor, store.Query{First: 9, Filter: store.Filter{UsesTechnique: x.ID}})
	if len(p.Items) != 0 {
		t.Error("found by a technique that never came")
	}
	Import(t, st, store.Record{Object: x})
	if got := related(t, st, store.Techniques, a.ID); len(got) != 1 {
		t.Errorf("after the end came: %v", got)
	}
	// And away again, with its end.
	gone := *x
	gone.Modified = day(5)
	Import(t, st, store.Record{Object: &gone, Gone: store.Revoked})
	if got := related(t, st, store.Techniques, a.ID); len(got) != 0 {
		t.Errorf("after the end went: %v", got)
	}
}

// testSameEnds: several relationships between two objects are one relation.
func testSameEnds(t *testing.T, st store.Store) {
	a, x, y := actor(1, "a", 1), technique(1, "x"), technique(2, "y")
	Import(t, st, store.Record{Object: a}, store.Record{Object: x}, store.Record{Object: y},
		store.Record{Link: uses(1, 1, a, x)}, store.Record{Link: uses(2, 3, a, x)}, store.Record{Link: uses(3, 2, a, x)})
	shown := func() string {
		p, err := st.Related(ctx, store.Techniques, []string{a.ID}, store.Query{First: 9, WantTotal: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(p[0].Items) != p[0].Total {
			t.Errorf("%d items, total %d", len(p[0].Items), p[0].Total)
		}
		var out []string
		for _, i := range p[0].Items {
			out = append(out, i.Object.Name+" "+i.Link.Description)
		}
		return strings.Join(out, ", ")
	}
	if got := shown(); got != "x number 2" {
		t.Errorf("three: %s", got)
	}
	Import(t, st, store.Record{Link: uses(2, 4, a, x), Gone: store.Revoked})
	if got := shown(); got != "x number 3" {
		t.Errorf("the shown one revoked: %s", got)
	}
	Import(t, st, store.Record{Link: uses(3, 5, a, y)}) // to other ends
	if got := shown(); got != "x number 1, y number 3" {
		t.Errorf("the shown one moved: %s", got)
	}
}

// testCommit: an import is nothing until it is everything.
func testCommit(t *testing.T, st store.Store) {
	im, err := st.BeginImport(ctx, store.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.Add(ctx, store.Record{Object: actor(1, "a", 1)}); err != nil {
		t.Fatal(err)
	}
	if get(t, st, "G0001") != nil {
		t.Error("seen before the commit")
	}
	// Others can write meanwhile.
	if _, err := st.CreateIndicator(ctx, store.NewIndicator{Type: "domain-name", Value: "a.example"}); err != nil {
		t.Error("a mutation during an import:", err)
	}
	if err := im.Abort(); err != nil {
		t.Error(err)
	}
	if get(t, st, "G0001") != nil {
		t.Error("seen after an abort")
	}
	if err := im.Add(ctx, store.Record{Object: actor(1, "a", 1)}); err == nil {
		t.Error("an ended import takes objects")
	}
	if _, err := im.Commit(ctx); err == nil {
		t.Error("an ended import commits")
	}
}

func testOnlyIfEmpty(t *testing.T, st store.Store) {
	var wg sync.WaitGroup
	results := make([]store.Merged, 6)
	for i := range results {
		wg.Go(func() {
			m, err := load(st, store.ImportOptions{OnlyIfEmpty: true}, store.Record{Object: actor(i+1, "a", 1)})
			if err != nil {
				t.Error(err)
			}
			results[i] = m
		})
	}
	wg.Wait()
	loaded := 0
	for _, m := range results {
		if !m.Skipped {
			loaded += m.Added
		}
	}
	if p := list(t, st, store.KindThreatActor, store.Query{First: 0, WantTotal: true}); loaded != 1 || p.Total != 1 {
		t.Errorf("%d loaded, %d there", loaded, p.Total)
	}
}
