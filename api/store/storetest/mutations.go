package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store"
)

func testIndicators(t *testing.T, st store.Store) {
	a, x := actor(1, "a", 1), technique(1, "x")
	Import(t, st, store.Record{Object: a}, store.Record{Object: x})
	o, err := st.CreateIndicator(ctx, store.NewIndicator{Type: "domain-name", Value: "Bad.Example.", Description: "seen twice", Indicates: []string{"g0001", x.ID, a.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if o.Kind != store.KindIndicator || o.Value != "bad.example" || o.Pattern != "[domain-name:value = 'bad.example']" || !o.Local || !o.Active(time.Now()) ||
		o.Name != "bad.example" || o.Created.IsZero() || !strings.HasPrefix(o.ID, "indicator--") {
		t.Errorf("created: %+v", o)
	}
	if got := get(t, st, o.ID); !reflect.DeepEqual(got, o) {
		t.Errorf("\nstored  %+v\ncreated %+v", got, o)
	}
	if got := related(t, st, store.Indicated, o.ID); len(got) != 2 {
		t.Errorf("indicates %v", got)
	}
	if got := related(t, st, store.Indicators, a.ID); !reflect.DeepEqual(got, []string{o.ID}) {
		t.Errorf("indicators of the actor: %v", got)
	}
	if p := list(t, st, store.KindIndicator, store.Query{First: 9, Filter: store.Filter{Text: "twice", Value: "bad.example", Indicates: "G0001"}}); len(p.Items) != 1 {
		t.Error("not found by text, value and what it indicates")
	}
	_, err = st.CreateIndicator(ctx, store.NewIndicator{Pattern: " [domain-name:value = 'bad.example'] "})
	var conflict *store.ConflictError
	if !errors.Is(err, store.ErrConflict) || !errors.As(err, &conflict) || conflict.ID != o.ID {
		t.Errorf("again: %v", err)
	}
	if _, err = st.CreateIndicator(ctx, store.NewIndicator{Type: "domain-name", Value: "b.example", Indicates: []string{"G0001", "G7777"}}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a sign of nothing: %v", err)
	}
	if p := list(t, st, store.KindIndicator, store.Query{First: 9}); len(p.Items) != 1 {
		t.Errorf("half made: %d indicators", len(p.Items))
	}

	r, err := st.RetireIndicator(ctx, o.ID)
	if err != nil || r.Retired.IsZero() || r.Active(time.Now()) {
		t.Fatalf("retired: %+v, %v", r, err)
	}
	again, err := st.RetireIndicator(ctx, o.ID)
	if err != nil || !again.Retired.Equal(r.Retired) {
		t.Errorf("retired again: %+v, %v", again, err)
	}
	for _, key := range []string{stixID("indicator", 1), a.ID, "", "G0001"} {
		if _, err := st.RetireIndicator(ctx, key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("retiring %q: %v", key, err)
		}
	}
	yes, no := true, false
	if p := list(t, st, store.KindIndicator, store.Query{First: 9, Filter: store.Filter{Active: &yes}}); len(p.Items) != 0 {
		t.Error("active though retired")
	}
	if p := list(t, st, store.KindIndicator, store.Query{First: 9, Filter: store.Filter{Active: &no}}); len(p.Items) != 1 {
		t.Error("not found as retired")
	}
	if _, err = st.CreateIndicator(ctx, store.NewIndicator{Type: "domain-name", Value: "bad.example"}); err != nil {
		t.Errorf("anew after it retired: %v", err)
	}
}

func testIndicatorInput(t *testing.T, st store.Store) {
	for _, c := range []struct {
		in    store.NewIndicator
		field string // of ErrInvalid
	}{
		{store.NewIndicator{}, "type"},
		{store.NewIndicator{Type: "ipv4-addr"}, "value"},
		{store.NewIndicator{Type: "ipv4-addr", Value: "1.2.3"}, "value"},
		{store.NewIndicator{Type: "ipv4-addr", Value: "2001:db8::1"}, "value"},
		{store.NewIndicator{Type: "ipv6-addr", Value: "fe80::1%eth0"}, "value"},
		{store.NewIndicator{Type: "domain-name", Value: "a b"}, "value"},
		{store.NewIndicator{Type: "domain-name", Value: "-a.example"}, "value"},
		{store.NewIndicator{Type: "url", Value: "example.com/x"}, "value"},
		{store.NewIndicator{Type: "email-addr", Value: "nobody"}, "value"},
		{store.NewIndicator{Type: "file-md5", Value: strings.Repeat("g", 32)}, "value"},
		{store.NewIndicator{Type: "file-sha256", Value: strings.Repeat("a", 63)}, "value"},
		{store.NewIndicator{Type: "file-name", Value: "a\x1fb"}, "value"},
		{store.NewIndicator{Type: "file-name", Value: strings.Repeat("a", 5000)}, "value"},
		{store.NewIndicator{Type: "smell", Value: "bad"}, "type"},
		{store.NewIndicator{Type: "url", Value: "https://a.example", Pattern: "[a:b = 'c']"}, "pattern"},
		{store.NewIndicator{Type: "url", Value: "https://a.example", PatternType: "yara"}, "patternType"},
		{store.NewIndicator{Pattern: "[a:b = 'c'"}, "pattern"},
		{store.NewIndicator{Pattern: "[a:b = 'c]"}, "pattern"},
		{store.NewIndicator{Pattern: "a:b = 'c'"}, "pattern"},
		{store.NewIndicator{Pattern: "[]"}, "pattern"},
		{store.NewIndicator{Pattern: "[a:b = (1]"}, "pattern"},
		{store.NewIndicator{Pattern: " "}, "pattern"},
		{store.NewIndicator{Pattern: "x", PatternType: "Y A R A"}, "patternType"},
		{store.NewIndicator{Type: "domain-name", Value: "a.example", Name: strings.Repeat("n", 1000)}, "name"},
		{store.NewIndicator{Type: "domain-name", Value: "a.example", Name: "\xff"}, "name"},
		{store.NewIndicator{Type: "domain-name", Value: "a.example", IndicatorTypes: []string{"Not A Word"}}, "indicatorTypes"},
		{store.NewIndicator{Type: "domain-name", Value: "a.example", ValidFrom: day(5), ValidUntil: day(5)}, "validUntil"},
		{store.NewIndicator{Type: "domain-name", Value: "a.example", Indicates: make([]string, 1000)}, "indicates"},
	} {
		_, err := st.CreateIndicator(ctx, c.in)
		var invalid *store.InvalidError
		if !errors.Is(err, store.ErrInvalid) || !errors.As(err, &invalid) || invalid.Field != c.field {
			t.Errorf("%.100s: %v, want something about %s", fmt.Sprintf("%+v", c.in), err, c.field)
		}
	}
	for _, c := range []struct {
		in               store.NewIndicator
		pattern          string
		valueType, value string
	}{
		{store.NewIndicator{Type: "ipv4-addr", Value: " 198.51.100.7 "}, "[ipv4-addr:value = '198.51.100.7']", "ipv4-addr", "198.51.100.7"},
		{store.NewIndicator{Type: "ipv4-addr", Value: "198.51.100.7/24"}, "[ipv4-addr:value = '198.51.100.0/24']", "ipv4-addr", "198.51.100.0/24"},
		{store.NewIndicator{Type: "ipv6-addr", Value: "2001:DB8:0::1"}, "[ipv6-addr:value = '2001:db8::1']", "ipv6-addr", "2001:db8::1"},
		{store.NewIndicator{Type: "file-sha1", Value: strings.Repeat("AB", 20)}, "[file:hashes.'SHA-1' = '" + strings.Repeat("ab", 20) + "']", "file-sha1", strings.Repeat("ab", 20)},
		{store.NewIndicator{Type: "file-name", Value: `it's\me`}, `[file:name = 'it\'s\\me']`, "file-name", `it's\me`},
		{store.NewIndicator{Pattern: `[file:name='it\'s\\you']`}, `[file:name='it\'s\\you']`, "file-name", `it's\you`},
		{store.NewIndicator{Pattern: "[url:value = 'https://a.example/?x=1']"}, "[url:value = 'https://a.example/?x=1']", "url", "https://a.example/?x=1"},
		{store.NewIndicator{Pattern: "[file:size > 100 AND file:name != 'x'] FOLLOWEDBY [(process:pid = 1)]"}, "[file:size > 100 AND file:name != 'x'] FOLLOWEDBY [(process:pid = 1)]", "", ""},
		{store.NewIndicator{Pattern: "[email-message:body_multipart[0].body_raw_ref = 'x']"}, "[email-message:body_multipart[0].body_raw_ref = 'x']", "", ""},
		{store.NewIndicator{Pattern: "rule x { condition: true }", PatternType: "yara"}, "rule x { condition: true }", "", ""},
	} {
		o, err := st.CreateIndicator(ctx, c.in)
		if err != nil {
			t.Errorf("%+v: %v", c.in, err)
		} else if o.Pattern != c.pattern || o.ValueType != c.valueType || o.Value != c.value {
			t.Errorf("%+v:\ngot %s, %s %q", c.in, o.Pattern, o.ValueType, o.Value)
		}
	}
}

func testSightings(t *testing.T, st store.Store) {
	a, x := actor(1, "a", 1), technique(1, "x")
	Import(t, st, store.Record{Object: a}, store.Record{Object: x})
	o, err := st.ReportSighting(ctx, store.NewSighting{Of: "t0001", FirstSeen: day(1), LastSeen: day(2), Count: 3, Description: "in the log", Reporter: "sensor 7"})
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, st, o.ID); !reflect.DeepEqual(got, o) {
		t.Errorf("\nstored   %+v\nreported %+v", got, o)
	}
	if got := related(t, st, store.Sightings, x.ID); !reflect.DeepEqual(got, []string{o.ID}) {
		t.Errorf("sightings of the technique: %v", got)
	}
	if got := related(t, st, store.Sighted, o.ID); !reflect.DeepEqual(got, []string{x.ID}) {
		t.Errorf("what was seen: %v", got)
	}
	short, err := st.ReportSighting(ctx, store.NewSighting{Of: a.ID})
	if err != nil || short.Count != 1 || short.FirstSeen.IsZero() || !short.LastSeen.Equal(short.FirstSeen) {
		t.Errorf("only what: %+v, %v", short, err)
	}
	for _, c := range []struct {
		in    store.NewSighting
		field string
	}{
		{store.NewSighting{}, "of"},
		{store.NewSighting{Of: "T0001", FirstSeen: day(3), LastSeen: day(2)}, "lastSeen"},
		{store.NewSighting{Of: "T0001", LastSeen: time.Now().AddDate(1, 0, 0), FirstSeen: day(1)}, "lastSeen"},
		{store.NewSighting{Of: "T0001", FirstSeen: time.Now().AddDate(1, 0, 0)}, "firstSeen"},
		{store.NewSighting{Of: "T0001", Count: -1}, "count"},
		{store.NewSighting{Of: "T0001", Reporter: "\x00"}, "reporter"},
		{store.NewSighting{Of: "T0001", Description: strings.Repeat("d", 1<<17)}, "description"},
	} {
		_, err := st.ReportSighting(ctx, c.in)
		var invalid *store.InvalidError
		if !errors.As(err, &invalid) || invalid.Field != c.field {
			t.Errorf("%.100s: %v, want something about %s", fmt.Sprintf("%+v", c.in), err, c.field)
		}
	}
	for _, of := range []string{"T7777", stixID("malware", 1), o.ID /* a sighting of a sighting */} {
		if _, err := st.ReportSighting(ctx, store.NewSighting{Of: of}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("of %s: %v", of, err)
		}
	}
	if p := list(t, st, store.KindSighting, store.Query{First: 9, Filter: store.Filter{SightingOf: "T0001"}, WantTotal: true}); p.Total != 1 {
		t.Errorf("%d sightings of the technique", p.Total)
	}
}

// testLocal: what was made here survives imports.
func testLocal(t *testing.T, st store.Store) {
	imported := &store.Object{ID: stixID("indicator", 1), Kind: store.KindIndicator, Type: "indicator", Name: "i", Pattern: "[a:b = 1]", PatternType: "stix",
		Created: day(0), Modified: day(1), ValidFrom: day(0)}
	a := actor(1, "a", 1)
	Import(t, st, store.Record{Object: a}, store.Record{Object: imported})
	made, err := st.CreateIndicator(ctx, store.NewIndicator{Type: "domain-name", Value: "a.example", Indicates: []string{a.ID}})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := st.ReportSighting(ctx, store.NewSighting{Of: imported.ID})
	if err != nil {
		t.Fatal(err)
	}
	retired, err := st.RetireIndicator(ctx, imported.ID)
	if err != nil {
		t.Fatal(err)
	}
	newer := *imported
	newer.Modified, newer.Name = day(9), "renamed"
	b := actor(1, "b", 2)
	Import(t, st, store.Record{Object: b}, store.Record{Object: &newer})
	if got := get(t, st, imported.ID); got.Name != "renamed" || !got.Retired.Equal(retired.Retired) {
		t.Errorf("a retired indicator after a newer version came: %+v", got)
	}
	if got := get(t, st, made.ID); !reflect.DeepEqual(got, made) {
		t.Errorf("an indicator of ours after an import: %+v", got)
	}
	if got := related(t, st, store.Indicators, a.ID); !reflect.DeepEqual(got, []string{made.ID}) {
		t.Errorf("what it indicates: %v", got)
	}
	if got := related(t, st, store.Sightings, imported.ID); !reflect.DeepEqual(got, []string{seen.ID}) {
		t.Errorf("a sighting of ours after an import: %v", got)
	}
}

// testConcurrent: readers see all of an import or nothing of it, or at least whole
// objects and whole relations; and of writers of the same thing one wins.
func (opts Options) testConcurrent(t *testing.T, st store.Store) {
	const n = 40
	bundle := func(version int) []store.Record {
		var out []store.Record
		a := actor(1, fmt.Sprint("version ", version), version)
		out = append(out, store.Record{Object: a})
		for i := range n {
			x := technique(i+1, fmt.Sprint("version ", version))
			x.Modified = day(version)
			out = append(out, store.Record{Object: x}, store.Record{Link: uses(i+1, version, a, x)})
		}
		return out
	}
	Import(t, st, bundle(1)...)
	var wg sync.WaitGroup
	var stop atomic.Bool
	var reads atomic.Int64
	for range 3 {
		wg.Go(func() {
			for last := "version 1"; !stop.Load(); reads.Add(1) {
				p, err := st.Related(ctx, store.Techniques, []string{stixID("intrusion-set", 1)}, store.Query{First: 100, WantTotal: true})
				if err != nil {
					t.Error("while importing:", err)
					return
				}
				names := map[string]int{}
				for _, i := range p[0].Items {
					names[i.Object.Name]++
					if want := fmt.Sprint("version ", int(i.Object.Modified.Sub(day(0))/(24*time.Hour))); i.Object.Name != want {
						t.Errorf("half an object: %s of %s", i.Object.Name, i.Object.Modified)
						return
					}
				}
				if opts.Mixes {
					if p[0].Total != n || len(p[0].Items) != n {
						t.Errorf("total %d, %d items", p[0].Total, len(p[0].Items))
						return
					}
					continue
				}
				if p[0].Total != n || len(names) != 1 || p[0].Items[0].Object.Name < last {
					t.Errorf("neither old nor new: total %d, %v after %s", p[0].Total, names, last)
					return
				}
				last = p[0].Items[0].Object.Name
			}
		})
	}
	for v := 2; v < 6; v++ {
		Import(t, st, bundle(v)...)
	}
	var made, conflicts atomic.Int64
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for i := range 5 {
				_, err := st.CreateIndicator(ctx, store.NewIndicator{Type: "domain-name", Value: fmt.Sprintf("h%d.example", i)})
				switch {
				case err == nil:
					made.Add(1)
				case errors.Is(err, store.ErrConflict):
					conflicts.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	wg.Wait()
	if made.Load() != 5 || conflicts.Load() != 35 {
		t.Errorf("%d made, %d conflicts; want 5 and 35", made.Load(), conflicts.Load())
	}
	if reads.Load() == 0 {
		t.Error("nothing was read meanwhile")
	}
}
