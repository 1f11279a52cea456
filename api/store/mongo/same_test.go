package mongo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/api/store/sqlite"
)

// hostile are strings that mean something to somebody: to MongoDB, to its shell, to
// a regular expression, to BSON, to SQL.
var hostile = []string{
	"", " ", "$ne", "$where", "$gt", `{"$gt":""}`, `{"$ne": null}`, `[$regex]=.*`, "v.name", "v", "_id", "$v.name", "$$ROOT", "a.b.c", "..", ".", "$",
	"\x00", "a\x00b", "uses \x00", ".*", "^", "^.*$", "[a-z]+", "(", ")", "[", "\\", "\\Q", "\\E", "(?i)grey", "a|b", "*", "'; db.dropDatabase(); //",
	"'; DROP TABLE object; --", "\" OR 1=1 --", "%", "_", "\xff", "\xff\xfe", "grey\xff", "\U0010FFFF", "\u202e", "\u0000", "日本", "É", "e\u0301", "ﬃ", "ß", "SS", "İ", "ı",
	"null", "true", "0", "-1", "NaN", "undefined", "true; return true", "sleep(9000)", "uses attack-pattern--x", "in-tactic ", "T0001", "t0001", "G1",
	"intrusion-set--00000000-0000-4000-8000-000000000001", "INTRUSION-SET--00000000-0000-4000-8000-000000000001", "--", "TA", "TA0001", "Ta0001",
	strings.Repeat("a", 5000), strings.Repeat("$", 4096), strings.Repeat("a.", 2000), strings.Repeat("é", 2048), strings.Repeat("㌖", 1365), strings.Repeat("ﷺ", 1365),
}

// hostileData has hostile strings wherever an object may have one.
func hostileData() []store.Record {
	records := append([]store.Record{}, before...)
	for i, s := range hostile {
		if n := 100 + i; len(s) < 1000 { // those of all lengths are asked for
			records = append(records, []store.Record{
				thing(store.KindThreatActor, "intrusion-set", n, 1, func(o *store.Object) { o.Name, o.Aliases, o.Domains = s, []string{s, s}, []string{s} }),
				thing(store.KindTechnique, "attack-pattern", n, 1, func(o *store.Object) { o.Name, o.Platforms, o.Phases = s, []string{s}, []string{"x/" + s} }),
				thing(store.KindIndicator, "indicator", n, 1, func(o *store.Object) {
					o.ValueType, o.Value, o.IndicatorTypes, o.Pattern, o.PatternType = s, s, []string{s}, s, s
					o.References = []store.Reference{{Source: s, ID: s, URL: s, Description: s}}
				}),
				thing(store.KindSoftware, "malware", n, 1, func(o *store.Object) { o.Description, o.AttackID = s, "" }),
			}[i%4], link(store.Uses, n, 1, id("intrusion-set", n), id("attack-pattern", n+1)))
		}
	}
	for i := range records {
		if o := records[i].Object; o != nil {
			// What the embedded store keeps as it is, BSON cannot have.
			for _, s := range []*string{&o.Name, &o.Description, &o.ValueType, &o.Value, &o.Pattern, &o.PatternType} {
				*s = strings.ToValidUTF8(*s, "\uFFFD")
			}
			for _, l := range [][]string{o.Aliases, o.Domains, o.Platforms, o.Phases, o.IndicatorTypes} {
				for i := range l {
					l[i] = strings.ToValidUTF8(l[i], "\uFFFD")
				}
			}
			for i := range o.References {
				r := &o.References[i]
				r.Source, r.ID, r.URL, r.Description = strings.ToValidUTF8(r.Source, "\uFFFD"), strings.ToValidUTF8(r.ID, "\uFFFD"), strings.ToValidUTF8(r.URL, "\uFFFD"), strings.ToValidUTF8(r.Description, "\uFFFD")
			}
		}
	}
	return records
}

// both are two stores with the same data.
type both struct{ mongo, sqlite store.Store }

func openBoth(t *testing.T, opts Options, records ...store.Record) both {
	t.Helper()
	now := func() time.Time { return day(400).Add(12 * time.Hour) }
	lite, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "api.db"), sqlite.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lite.Close() })
	opts.Now = now
	b := both{open(t, mongotest.URL(t), opts), lite}
	a, c := mustLoad(t, b.mongo, records...), mustLoad(t, b.sqlite, records...)
	if c.Blocked = 0; a != c {
		t.Errorf("imported: %+v, and in SQLite %+v", a, c)
	}
	return b
}

// same compares what both answer: the very same, and the very same errors, of which
// none may be a fault of the store.
func (b both) same(t interface {
	Helper()
	Errorf(string, ...any)
}, what string, call func(st store.Store) (any, error)) {
	t.Helper()
	got, gotErr := call(b.mongo)
	want, wantErr := call(b.sqlite)
	if !reflect.DeepEqual(got, want) || errText(gotErr) != errText(wantErr) {
		g, _ := json.Marshal(got)
		w, _ := json.Marshal(want)
		t.Errorf("%s:\n got %.600s, %v\nwant %.600s, %v", what, g, gotErr, w, wantErr)
	}
	for _, err := range []error{gotErr, wantErr} {
		if err != nil && !errors.Is(err, store.ErrInvalid) && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrCursor) && !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: a fault: %v", what, err)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// filtersWith are filters with a string in each place that has one.
func filtersWith(s, other string) []struct {
	kind store.Kind
	f    store.Filter
} {
	return []struct {
		kind store.Kind
		f    store.Filter
	}{
		{store.KindThreatActor, store.Filter{Text: s}}, {store.KindSoftware, store.Filter{Text: s}},
		{store.KindThreatActor, store.Filter{Name: s}}, {store.KindThreatActor, store.Filter{Alias: s}}, {store.KindThreatActor, store.Filter{Domain: s}},
		{store.KindThreatActor, store.Filter{Keys: []string{s, "I0001", other}}},
		{store.KindThreatActor, store.Filter{UsesTechnique: s}}, {store.KindThreatActor, store.Filter{UsesSoftware: s}}, {store.KindCampaign, store.Filter{AttributedTo: s}},
		{store.KindMitigation, store.Filter{Mitigates: s}}, {store.KindTechnique, store.Filter{Tactic: s}}, {store.KindTechnique, store.Filter{Platform: s}},
		{store.KindSoftware, store.Filter{Type: s}}, {store.KindIndicator, store.Filter{Indicates: s}}, {store.KindIndicator, store.Filter{IndicatorType: s}},
		{store.KindIndicator, store.Filter{ValueType: s}}, {store.KindIndicator, store.Filter{Value: s}}, {store.KindSighting, store.Filter{SightingOf: s}},
		{store.Kind(s), store.Filter{}},
	}
}

// No string that a client sends is anything but a string: each is compared with what
// is there, as SQLite does it.
func TestHostileStrings(t *testing.T) {
	b := openBoth(t, Options{}, hostileData()...)
	ctx := context.Background()
	list := func(t *rapid.T, k store.Kind, q store.Query) {
		t.Helper()
		b.same(t, fmt.Sprintf("%s %+.300v", k, q), func(st store.Store) (any, error) { return pageOf(st.List(ctx, k, q)) })
	}
	// Each of them in each place, and then any in any.
	for _, s := range hostile {
		for _, f := range filtersWith(s, "x"+s) {
			b.same(t, fmt.Sprintf("%s %+.300v", f.kind, f.f), func(st store.Store) (any, error) {
				return pageOf(st.List(ctx, f.kind, store.Query{First: 3, Filter: f.f}))
			})
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		str := rapid.OneOf(rapid.SampledFrom(hostile), rapid.SampledFrom(hostile), rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) }))
		s := str.Draw(t, "s")
		order := store.Order{By: rapid.SampledFrom([]store.OrderField{"", store.OrderName, store.OrderAttackID, store.OrderModified, store.OrderLastSeen, store.OrderField(s)}).Draw(t, "order"), Desc: rapid.Bool().Draw(t, "desc")}
		q := store.Query{First: 3, OrderBy: order, WantTotal: true}
		if rapid.Bool().Draw(t, "behind") {
			o := order
			if o.By == "" {
				o.By = store.OrderName
			}
			q.After = store.Cursor{By: o.By, Desc: o.Desc, Text: strings.ToValidUTF8(s, ""), Number: int64(len(s)), ID: id("intrusion-set", 110)}.String()
		}
		filters := filtersWith(s, str.Draw(t, "key"))
		f := rapid.SampledFrom(filters).Draw(t, "filter")
		switch rapid.IntRange(0, 7).Draw(t, "call") {
		case 0:
			keys := []string{s, str.Draw(t, "other"), "t0001"}
			kind := rapid.SampledFrom([]store.Kind{store.KindAny, store.KindTechnique, store.Kind(s)}).Draw(t, "kind")
			b.same(t, fmt.Sprintf("Get %q %.200q", kind, keys), func(st store.Store) (any, error) { return st.Get(ctx, kind, keys) })
		case 1:
			rel := rapid.SampledFrom([]store.Relation{store.Techniques, store.UsedByActors, {Edge: store.Edge(s)}, {Edge: store.Uses, To: store.Kind(s)}}).Draw(t, "rel")
			parents := []string{s, id("intrusion-set", 104), id("attack-pattern", 105), str.Draw(t, "parent")}
			b.same(t, fmt.Sprintf("%+v of %.300q, %+v", rel, parents, q), func(st store.Store) (any, error) {
				pages, err := st.Related(ctx, rel, parents, q)
				return pagesOf(pages), err
			})
		case 2:
			b.same(t, fmt.Sprintf("Counts %q", s), func(st store.Store) (any, error) { return st.Counts(ctx, store.Group(s)) })
		case 3:
			b.same(t, fmt.Sprintf("RetireIndicator %.200q", s), func(st store.Store) (any, error) { return st.RetireIndicator(ctx, s) })
		case 4:
			in := store.NewSighting{Of: s, Description: str.Draw(t, "description"), Reporter: "none\x00"} // never made
			b.same(t, fmt.Sprintf("ReportSighting %.200q", s), func(st store.Store) (any, error) { return st.ReportSighting(ctx, in) })
			in = store.NewSighting{Of: s + "\x00"}
			b.same(t, fmt.Sprintf("ReportSighting %.200q", in.Of), func(st store.Store) (any, error) { return st.ReportSighting(ctx, in) })
		case 5:
			in := store.NewIndicator{Type: s, Value: s, Name: s, Indicates: []string{s, "none"}} // never made
			b.same(t, fmt.Sprintf("CreateIndicator %.200q", s), func(st store.Store) (any, error) { return st.CreateIndicator(ctx, in) })
			in = store.NewIndicator{Pattern: s, PatternType: s, Description: s, Indicates: []string{"none"}}
			b.same(t, fmt.Sprintf("CreateIndicator of pattern %.200q", s), func(st store.Store) (any, error) { return st.CreateIndicator(ctx, in) })
		default:
			q.Filter = f.f
			list(t, f.kind, q)
		}
	})
	if _, err := b.mongo.Get(ctx, store.KindAny, []string{id("intrusion-set", 1)}); err != nil {
		t.Error(err)
	}
}

// pageOf makes pages comparable: no items are no items.
func pageOf(p store.Page, err error) (store.Page, error) {
	if len(p.Items) == 0 {
		p.Items = nil
	}
	return p, err
}

func pagesOf(pages []store.Page) []store.Page {
	for i := range pages {
		pages[i], _ = pageOf(pages[i], nil)
	}
	return pages
}

// Relations of which some have very many objects, and those of the others lie far
// behind: still every page is right, and the number of commands is bounded.
func TestLongRelations(t *testing.T) {
	var records []store.Record
	for n := 1; n <= 6; n++ {
		records = append(records, thing(store.KindSoftware, "malware", n, 1, nil))
	}
	n := 0
	seen := func(of, count, from int) {
		for i := range count {
			n++
			s := thing(store.KindSighting, "sighting", n, 1, func(o *store.Object) {
				o.Name, o.AttackID, o.LastSeen, o.FirstSeen, o.Count = "", "", day(from).Add(time.Duration(i)*time.Second), day(from), 1
			})
			records = append(records, s, store.Record{Link: &store.Relationship{Edge: store.SightingOf, Source: s.Object.ID, Target: id("malware", of),
				Link: store.Link{ID: s.Object.ID, Created: day(0), Modified: day(1)}}})
		}
	}
	seen(1, 120, 200)
	seen(2, 70, 100)
	seen(3, 2, 50)
	seen(4, 5, 40)
	seen(5, 3, 300)
	b := openBoth(t, Options{spare: 20}, records...)
	parents := []string{id("malware", 1), id("malware", 2), id("malware", 3), id("malware", 4), id("malware", 5), id("malware", 6)}
	for _, order := range []store.Order{{By: store.OrderLastSeen, Desc: true}, {By: store.OrderLastSeen}, {}} {
		q := store.Query{First: 3, OrderBy: order, WantTotal: true}
		for range 3 {
			b.same(t, fmt.Sprintf("by %+v", order), func(st store.Store) (any, error) {
				var c store.Counter
				pages, err := st.Related(store.WithCounter(context.Background(), &c), store.Sightings, parents, q)
				if c.Queries() > Commands+len(parents) {
					t.Errorf("%d commands", c.Queries())
				}
				return pagesOf(pages), err
			})
			pages, err := b.sqlite.Related(t.Context(), store.Sightings, parents[:1], q)
			if err != nil {
				t.Fatal(err)
			}
			q.After = pages[0].Items[2].Cursor.String()
		}
	}
	var c store.Counter
	if _, err := b.mongo.Related(store.WithCounter(t.Context(), &c), store.Sightings, parents, store.Query{First: 3, OrderBy: store.Order{By: store.OrderLastSeen}}); err != nil || c.Queries() < 4 {
		t.Errorf("%d commands, %v: nothing lies behind anything", c.Queries(), err)
	}
}
