package stix

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/sqlite"
)

func open(t testing.TB) store.Store {
	t.Helper()
	st, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "neko.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func uuid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// bundle is a bundle with these objects, the first of them at 4:5.
func bundle(objects ...string) string {
	return "{\n  \"type\": \"bundle\", \"id\": \"bundle--" + uuid(0) + "\",\n  \"objects\": [\n    " + strings.Join(objects, ",\n    ") + "\n  ]\n}\n"
}

// obj is an object with the properties that all need, and more.
func obj(typ string, n int, more string) string {
	if more != "" {
		more = ", " + more
	}
	return fmt.Sprintf(`{"type": %q, "id": "%s--%s", "created": "2020-01-01T00:00:00.000Z", "modified": "2020-01-02T00:00:00.000Z"%s}`, typ, typ, uuid(n), more)
}

var ok = obj("malware", 1, `"name": "m"`)

func id(typ string, n int) string { return typ + "--" + uuid(n) }

// badBundles are bundles with something wrong, and what must be said about it.
var badBundles = []struct{ name, in, want string }{
	{"empty", "", "b.json:1:1: is empty: a STIX bundle is expected (byte 0)"},
	{"no JSON", "hello", "b.json:1:1: is not valid JSON: invalid character 'h' looking for beginning of value (byte 0)"},
	{"array", "[]", "b.json:1:1: is no STIX bundle: it begins with an array, and not with an object"},
	{"number", "7", "b.json:1:1: is no STIX bundle: it begins with 7"},
	{"other object", `{"a": {"b": [1, 2]}}`, `b.json:1:1: is no STIX bundle: it has no "type": "bundle"`},
	{"other type", `{"type": "report", "objects": []}`, `b.json:1:8: is no STIX bundle: its type is "report"`},
	{"type is a number", `{"type": 7}`, `"type" is a number, and should be a string`},
	{"STIX 1", `{"type": "bundle", "spec_version": "1.2", "objects": []}`, `is of STIX version "1.2": 2.0 and 2.1 can be read`},
	{"objects is no array", `{"type": "bundle", "objects": {}}`, `"objects" is no array`},
	{"objects twice", `{"type": "bundle", "objects": [], "objects": []}`, `"objects" is there twice`},
	{"object is a number", bundle(ok, "17"), "b.json:5:5: object 1: is no object (byte"},
	{"object is null", bundle("null"), "b.json:4:5: object 0: is no object"},
	{"object is an array", bundle(ok, "[]"), "b.json:5:5: object 1: is no object"},
	{"no type", bundle(ok, `{"id": "x"}`), `b.json:5:5: object 1 (x): "type" is missing`},
	{"no id", bundle(`{"type": "malware"}`), `b.json:4:5: object 0: "id" is missing`},
	{"id of another type", bundle(`{"type": "malware", "id": "tool--` + uuid(1) + `"}`), `object 0 (tool--` + uuid(1) + `): "id" is no STIX id of a malware: want malware--UUID`},
	{"id without UUID", bundle(`{"type": "malware", "id": "malware--1"}`), `"id" is no STIX id of a malware`},
	{"id of a type unknown", bundle(`{"type": "x-other", "id": "x-other"}`), `"id" is no STIX id of a x-other`},
	{"no name", bundle(ok, obj("attack-pattern", 17, "")), `b.json:5:5: object 1 (attack-pattern--` + uuid(17) + `): "name" is missing (byte`},
	{"name is null", bundle(obj("tool", 1, `"name": null`)), `"name" is missing`},
	{"name is blank", bundle(obj("tool", 1, `"name": "  "`)), `"name" is missing`},
	{"name is a number", bundle(ok, obj("tool", 1, `"name": 5`)), `b.json:5:`},
	{"name is long", bundle(obj("tool", 1, `"name": "`+strings.Repeat("n", 5000)+`"`)), `"name" is longer than 4096 bytes`},
	{"aliases is a string", bundle(obj("intrusion-set", 1, `"name": "a", "aliases": "b"`)), `"aliases" is a string, and should be a list`},
	{"revoked is a string", bundle(obj("intrusion-set", 1, `"name": "a", "revoked": "yes"`)), `"revoked" is a string, and should be a boolean`},
	{"references are strings", bundle(obj("intrusion-set", 1, `"name": "a", "external_references": ["b"]`)), `"external_references" is a string, and should be a object`},
	{"no modified", bundle(`{"type": "malware", "id": "malware--` + uuid(1) + `", "name": "m", "created": "2020-01-01T00:00:00Z"}`), `"modified" is missing`},
	{"bad time", bundle(strings.Replace(ok, "2020-01-02T", "yesterday ", 1)), `"modified" is no time: "yesterday 00:00:00.000Z", want e.g.`},
	{"bad first_seen", bundle(obj("campaign", 1, `"name": "c", "first_seen": "2020"`)), `"first_seen" is no time`},
	{"no ends", bundle(obj("relationship", 1, `"relationship_type": "uses", "source_ref": "`+id("malware", 1)+`"`)), `"target_ref" is missing`},
	{"bad end", bundle(obj("relationship", 1, `"relationship_type": "uses", "source_ref": "S0001", "target_ref": "T0001"`)), `"source_ref" is no STIX id: "S0001"`},
	{"no pattern", bundle(obj("indicator", 1, "")), `"pattern" is missing`},
	{"sighting of nothing", bundle(obj("sighting", 1, "")), `"sighting_of_ref" is missing`},
	{"count is a fraction", bundle(obj("sighting", 1, `"sighting_of_ref": "`+id("malware", 1)+`", "count": 1.5`)), `"count" is a number 1.5, and should be a whole number`},
	{"count is negative", bundle(obj("sighting", 1, `"sighting_of_ref": "`+id("malware", 1)+`", "count": -1`)), `"count" is not 0 to 999999999`},
	{"tactic without short name", bundle(obj("x-mitre-tactic", 1, `"name": "t"`)), `"x_mitre_shortname" is missing`},
	{"phase without name", bundle(obj("attack-pattern", 1, `"name": "t", "kill_chain_phases": [{}]`)), `"kill_chain_phases" has one without name`},
	{"id twice", bundle(ok, obj("tool", 2, `"name": "t"`), ok), `b.json:6:5: object 2 (malware--` + uuid(1) + `): the same id has object 0`},
	{"cut in an object", bundle(ok, ok)[:200], "the file ends before the bundle does: it is cut off"},
	{"cut after an object", strings.TrimSuffix(bundle(ok), "\n  ]\n}\n"), "the file ends before the bundle does: it is cut off"},
	{"cut before the end", strings.TrimSuffix(bundle(ok), "}\n"), "the file ends before the bundle does: it is cut off"},
	{"garbage behind", bundle(ok) + "x", "b.json:7:1: has something after the end of the bundle"},
	{"another bundle behind", bundle(ok) + bundle(), "b.json:7:2: has something after the end of the bundle"},
	{"bad JSON in an object", bundle(ok, `{"type": "malware", oops}`), `b.json:5:25: object 1: is not valid JSON: invalid character 'o' looking for beginning of object key string`},
	{"comma missing", strings.Replace(bundle(ok, ok), "},\n", "}\n", 1), "b.json:5:5: object 1: is not valid JSON"},
	{"deep", `{"type": "bundle", "x": ` + strings.Repeat("[", 100_000), "exceeded max depth"},
	{"deep object", bundle(ok, `{"x": `+strings.Repeat(`{"x":`, 100_000)), "object 1: is not valid JSON: invalid character '{' exceeded max depth"},
	{"UTF-16", "\xff\xfe{\x00}\x00", "is not valid JSON"},
}

func TestBadBundles(t *testing.T) {
	st := open(t)
	for _, c := range badBundles {
		_, err := Import(t.Context(), st, strings.NewReader(c.in), Options{Name: "b.json"})
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
			continue
		}
		// The place is one in the input.
		lines := strings.SplitAfter(c.in, "\n")
		if e.Offset < 0 || e.Offset > int64(len(c.in)) || e.Line < 1 || e.Line > len(lines) || e.Column > len(lines[e.Line-1])+1 {
			t.Errorf("%s: a place that does not exist: %+v", c.name, e)
		}
	}
	large := bundle(ok, obj("tool", 2, `"name": "t", "description": "`+strings.Repeat("x", maxObject)+`"`))
	if _, err := Import(t.Context(), st, strings.NewReader(large), Options{}); err == nil || !strings.Contains(err.Error(), "object 1: it is larger than 8 MiB") {
		t.Errorf("a large object: %v", err)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	io.WriteString(w, bundle(ok, obj("tool", 2, "")))
	w.Close()
	if _, err := Import(t.Context(), st, bytes.NewReader(z.Bytes()), Options{Name: "b.json.gz"}); err == nil || !strings.Contains(err.Error(), `b.json.gz:5:5: object 1`) {
		t.Errorf("packed: %v", err)
	}
	if _, err := Import(t.Context(), st, bytes.NewReader(z.Bytes()[:z.Len()-9]), Options{}); err == nil {
		t.Error("a cut gzip file is no error")
	}
	damaged := bytes.Clone(z.Bytes())
	damaged[len(damaged)-6] ^= 1
	if _, err := Import(t.Context(), st, bytes.NewReader(damaged), Options{}); err == nil {
		t.Error("a damaged gzip file is no error")
	}
	if c, err := st.Counts(t.Context(), store.ByKind); err != nil || dump(t, st) != "" {
		t.Errorf("something came in: %v, %v", c, err)
	}
}

// dump is all that a store serves, as text.
func dump(t testing.TB, st store.Store) string {
	var out []string
	var all []string
	for _, k := range store.Kinds {
		for q := (store.Query{First: store.MaxFirst}); ; {
			p, err := st.List(context.Background(), k, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range p.Items {
				out = append(out, fmt.Sprintf("%+v", *i.Object))
				all = append(all, i.Object.ID)
				q.After = i.Cursor.String()
			}
			if !p.HasNext {
				break
			}
		}
	}
	for _, e := range []store.Edge{store.Uses, store.AttributedTo, store.Mitigates, store.SubtechniqueOf, store.Indicates, store.InTactic, store.SightingOf} {
		pages, err := st.Related(context.Background(), store.Relation{Edge: e}, all, store.Query{First: store.MaxFirst})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range pages {
			for _, it := range p.Items {
				out = append(out, fmt.Sprintf("%s %s %s %+v", all[i], e, it.Object.ID, *it.Link))
			}
		}
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

func TestVersions(t *testing.T) {
	st := open(t)
	in := "\xef\xbb\xbf" + `{"objects": [` + // with a mark, and 2.0's order and spelling
		obj("indicator", 1, `"labels": ["malicious-activity"], "pattern": "[url:value = 'https://a.example/']", "valid_from": "2020-01-01T00:00:00Z"`) + "," +
		obj("malware", 2, `"name": "Old", "labels": ["worm"], "x_mitre_aliases": ["Old", "Older"], "external_references": [{"source_name": "capec", "external_id": "CAPEC-1"}, {"source_name": "mitre-mobile-attack", "external_id": "S0002"}]`) + "," +
		obj("sighting", 3, `"sighting_of_ref": "`+id("indicator", 1)+`", "count": 2`) + "," +
		obj("x-custom", 4, `"name": 5`) + // nobody's business
		`], "x": {"deep": [1]}, "spec_version": "2.0", "type": "bundle"}`
	sum, err := Import(t.Context(), st, strings.NewReader(in), Options{})
	if err != nil || sum.Objects != 4 || sum.Skipped.Types["x-custom"] != 1 || sum.Added != 4 {
		t.Fatalf("%+v, %v", sum, err)
	}
	got, err := st.Get(t.Context(), store.KindAny, []string{id("indicator", 1), "s0002"})
	if err != nil {
		t.Fatal(err)
	}
	if i := got[id("indicator", 1)]; i == nil || i.IndicatorTypes[0] != "malicious-activity" || i.Value != "https://a.example/" || i.PatternType != "stix" || i.Name != i.Value {
		t.Errorf("%+v", i)
	}
	if m := got["s0002"]; m == nil || len(m.Aliases) != 1 || m.Aliases[0] != "Older" || m.Domains[0] != "mobile-attack" || len(m.References) != 2 {
		t.Errorf("%+v", m)
	}
	p, err := st.Related(t.Context(), store.Sightings, []string{id("indicator", 1)}, store.Query{First: 5})
	if err != nil || len(p[0].Items) != 1 || p[0].Items[0].Object.Count != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}

// A broken bundle changes nothing in a store that has something.
func TestNothingChanges(t *testing.T) {
	st := open(t)
	if _, err := Import(t.Context(), st, strings.NewReader(bundle(ok)), Options{}); err != nil {
		t.Fatal(err)
	}
	before := dump(t, st)
	newer := strings.Replace(ok, "2020-01-02T", "2021-01-02T", 1)
	if _, err := Import(t.Context(), st, strings.NewReader(bundle(newer, obj("tool", 2, ""))), Options{}); err == nil {
		t.Fatal("no error")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Import(ended, st, strings.NewReader(bundle(newer)), Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if after := dump(t, st); after != before {
		t.Errorf("before %s\nafter %s", before, after)
	}
}

// An import is ended while its sender says nothing, by a signal say.
func TestSilentSender(t *testing.T) {
	st := open(t)
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = io.WriteString(w, `{"type": "bundle", "objects": [`)
		cancel()
	}()
	if _, err := Import(ctx, st, r, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestOrder: the same bundles in any order, any number of times, make the same
// store. Versions, tombstones, missing ends and parallel relationships are all in it.
func TestOrder(t *testing.T) {
	if underRace && !flagSet("rapid.checks") {
		flag.Set("rapid.checks", "3") // make test looks at a hundred without it
	}
	n := 0
	dir := t.TempDir()
	types := []string{"intrusion-set", "attack-pattern", "malware", "campaign", "x-mitre-tactic"}
	rapid.Check(t, func(rt *rapid.T) {
		gen := rapid.Custom(func(rt *rapid.T) string {
			var out []string
			have := map[string]bool{}
			for range rapid.IntRange(0, 12).Draw(rt, "objects") {
				number := rapid.IntRange(1, 4).Draw(rt, "number")
				typ := rapid.SampledFrom(append([]string{"relationship", "relationship", "relationship"}, types...)).Draw(rt, "type")
				if have[fmt.Sprint(typ, number)] {
					continue
				}
				have[fmt.Sprint(typ, number)] = true
				more := fmt.Sprintf(`"name": "n%d", "x_mitre_shortname": "t%d", "x_mitre_domains": ["enterprise-attack"],
					"kill_chain_phases": [{"kill_chain_name": "mitre-attack", "phase_name": "t%d"}], "first_seen": "202%d-01-01T00:00:00Z", "last_seen": "202%d-02-01T00:00:00Z"`,
					rapid.IntRange(0, 1).Draw(rt, "name"), rapid.IntRange(0, 1).Draw(rt, "short"), rapid.IntRange(0, 1).Draw(rt, "phase"), number, number)
				if typ == "relationship" {
					ends := rapid.SampledFrom([][3]string{{"intrusion-set", "uses", "attack-pattern"}, {"campaign", "attributed-to", "intrusion-set"}, {"malware", "uses", "attack-pattern"}}).Draw(rt, "edge")
					more = fmt.Sprintf(`"relationship_type": %q, "source_ref": %q, "target_ref": %q, "description": "d%d"`, ends[1],
						id(ends[0], rapid.IntRange(1, 2).Draw(rt, "from")), id(ends[2], rapid.IntRange(1, 2).Draw(rt, "to")), rapid.IntRange(0, 1).Draw(rt, "text"))
				}
				more += rapid.SampledFrom([]string{"", "", "", `, "revoked": true`, `, "x_mitre_deprecated": true`}).Draw(rt, "gone")
				o := obj(typ, number, more)
				out = append(out, strings.Replace(o, "2020-01-02T", fmt.Sprintf("2020-01-0%dT", rapid.IntRange(2, 4).Draw(rt, "modified")), 1))
			}
			return bundle(out...)
		})
		bundles := rapid.SliceOfN(gen, 1, 4).Draw(rt, "bundles")
		load := func(order []int) string {
			n++
			st, err := sqlite.Open(context.Background(), filepath.Join(dir, fmt.Sprint(n)), sqlite.Options{})
			if err != nil {
				rt.Fatal(err)
			}
			defer st.Close()
			for _, i := range order {
				if _, err := Import(context.Background(), st, strings.NewReader(bundles[i]), Options{}); err != nil {
					rt.Fatal(err)
				}
			}
			return dump(t, st)
		}
		var order []int
		for i := range bundles {
			order = append(order, i)
		}
		other := rapid.Permutation(append(append([]int{}, order...), rapid.SliceOfN(rapid.IntRange(0, len(bundles)-1), 0, 3).Draw(rt, "again")...)).Draw(rt, "order")
		if a, b := load(order), load(other); a != b {
			rt.Fatalf("in order %v:\n%s\n\nin order %v:\n%s", order, a, other, b)
		}
	})
}

func flagSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func TestCommand(t *testing.T) {
	st := open(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "b.json")
	in := bundle(ok, obj("tool", 2, `"name": "t", "revoked": true`), obj("identity", 3, `"name": "me"`),
		obj("relationship", 4, `"relationship_type": "uses", "source_ref": "`+id("malware", 1)+`", "target_ref": "`+id("attack-pattern", 9)+`"`))
	if err := os.WriteFile(path, []byte(in), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(arg, stdin string) (string, string) {
		var out, errs bytes.Buffer
		if err := Command(t.Context(), st, arg, Streams{In: strings.NewReader(stdin), Out: &out, Err: &errs}); err != nil {
			hint, _ := err.(interface{ Hint() string })
			if hint == nil || hint.Hint() == "" {
				t.Errorf("%s: no hint with %v", arg, err)
			}
			return "", err.Error()
		}
		if errs.Len() > 0 {
			t.Errorf("a bar without a terminal: %q", errs.String())
		}
		return out.String(), ""
	}
	out, _ := run(path, "")
	for _, want := range []string{"b.json: 4 objects in ", "2 added, 0 updated, 0 unchanged, 0 removed", "skipped: 1 revoked, 0 deprecated",
		"not used by the API: identity 1", "1 relationship waits for an object that no bundle has brought yet", "other writers waited for "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out, _ = run("-", in); !strings.Contains(out, "standard input: 4 objects") || !strings.Contains(out, "0 added, 0 updated, 2 unchanged") {
		t.Error(out)
	}
	for _, c := range []struct{ arg, stdin, want string }{
		{filepath.Join(dir, "no.json"), "", "cannot read " + filepath.Join(dir, "no.json") + ": no such file or directory"},
		{dir, "", dir + " is a folder"},
		{"-", "[]", "standard input:1:1: is no STIX bundle"},
	} {
		if _, got := run(c.arg, c.stdin); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.arg, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range badBundles {
		if len(c.in) < 10_000 {
			f.Add([]byte(c.in))
		}
	}
	f.Add([]byte(bundle(ok, obj("indicator", 2, `"pattern": "[a:b = 'c']"`), obj("relationship", 3, `"relationship_type": "uses", "source_ref": "`+id("malware", 1)+`", "target_ref": "`+id("attack-pattern", 9)+`"`))))
	f.Fuzz(func(t *testing.T, in []byte) {
		file := bytes.NewReader(in)
		body, err := decompress(file)
		if err != nil {
			return
		}
		n := 0
		r, err := read(body, func(rec store.Record) error {
			n++
			switch {
			case rec.Object != nil && (!rec.Object.Kind.Valid() || rec.Object.Modified.IsZero() && rec.Object.Modified.Year() != 1 || rec.Object.ID == ""):
				t.Errorf("%+v", rec.Object)
			case (rec.Object == nil) == (rec.Link == nil):
				t.Errorf("%+v", rec)
			}
			return nil
		}, func(int) error { return nil })
		if err != nil {
			err = locate(err, bytes.NewReader(in), "f")
			var e *Error
			if errors.As(err, &e) && (e.Offset < 0 || e.Offset > int64(len(in)) && !bytes.HasPrefix(in, []byte("\x1f\x8b")) || e.Line < 1 || e.Reason == "") {
				t.Errorf("%+v", e)
			}
			return
		}
		if n > 2*r.objects {
			t.Errorf("%d records of %d objects", n, r.objects)
		}
	})
}
