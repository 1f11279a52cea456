package stix

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// attackBundles are the real bundles, named by NEKO_TEST_ATTACK.
func attackBundles(t *testing.T) []string {
	dir := os.Getenv("NEKO_TEST_ATTACK")
	if dir == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("NEKO_TEST_ATTACK is not set: in CI the ATT&CK bundles must be there")
		}
		t.Skip("NEKO_TEST_ATTACK names no folder: get ics-attack-*.json and mobile-attack-*.json from https://github.com/mitre-attack/attack-stix-data")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no *.json in NEKO_TEST_ATTACK=%s; %v", dir, err)
	}
	return files
}

// direct is what the bundles themselves say, read without any of our code.
type direct struct {
	objects map[string]map[string]any
	edges   map[string]map[string]bool // "uses malware--…" → targets; "~mitigates attack-pattern--…" → sources
}

func readDirect(t *testing.T, files []string) direct {
	d := direct{map[string]map[string]any{}, map[string]map[string]bool{}}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var bundle struct{ Objects []map[string]any }
		if err := json.Unmarshal(b, &bundle); err != nil {
			t.Fatal(err)
		}
		for _, o := range bundle.Objects {
			id := o["id"].(string)
			old := d.objects[id]
			if old == nil || old["modified"] != nil && o["modified"].(string) > old["modified"].(string) {
				d.objects[id] = o
			}
		}
	}
	for id, o := range d.objects {
		if o["revoked"] == true || o["x_mitre_deprecated"] == true {
			delete(d.objects, id)
		}
	}
	for _, o := range d.objects {
		if o["type"] != "relationship" {
			continue
		}
		rel, from, to := o["relationship_type"].(string), o["source_ref"].(string), o["target_ref"].(string)
		if d.objects[from] == nil || d.objects[to] == nil {
			continue
		}
		for _, e := range [][2]string{{rel + " " + from, to}, {"~" + rel + " " + to, from}} {
			if d.edges[e[0]] == nil {
				d.edges[e[0]] = map[string]bool{}
			}
			d.edges[e[0]][e[1]] = true
		}
	}
	return d
}

func (d direct) all(edge, types string) []string {
	out := []string{}
	for id := range d.edges[edge] {
		if strings.Contains(types, strings.Split(id, "--")[0]) {
			out = append(out, id)
		}
	}
	sort.Strings(out)
	return out
}

func TestAttack(t *testing.T) {
	files := attackBundles(t)
	if underRace {
		t.Skip("SQLite is slow under the race detector: make test runs this without it, and package api imports the bundles under it")
	}
	d := readDirect(t, files)
	st := open(t)
	for i := len(files) - 1; i >= 0; i-- {
		f, err := os.Open(files[i])
		if err != nil {
			t.Fatal(err)
		}
		sum, err := Import(t.Context(), st, f, Options{Name: filepath.Base(files[i])})
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d objects in %v, blocked %v", files[i], sum.Objects, sum.Took, sum.Blocked)
	}
	byType := map[string][]string{}
	for id, o := range d.objects {
		byType[o["type"].(string)] = append(byType[o["type"].(string)], id)
	}
	type question struct {
		rel        store.Relation
		edge, from string // from: types of the parents
		to         string
	}
	compared := 0
	for _, q := range []question{
		{store.Techniques, "uses", "intrusion-set malware tool campaign", "attack-pattern"},
		{store.Software, "uses", "intrusion-set campaign", "malware tool"},
		{store.UsedByActors, "~uses", "attack-pattern malware tool", "intrusion-set"},
		{store.UsedByCamps, "~uses", "attack-pattern malware tool", "campaign"},
		{store.UsedBySoft, "~uses", "attack-pattern", "malware tool"},
		{store.Mitigations, "~mitigates", "attack-pattern", "course-of-action"},
		{store.Mitigated, "mitigates", "course-of-action", "attack-pattern"},
		{store.Campaigns, "~attributed-to", "intrusion-set", "campaign"},
		{store.Actors, "attributed-to", "campaign", "intrusion-set"},
		{store.Subtechniques, "~subtechnique-of", "attack-pattern", "attack-pattern"},
		{store.ParentOf, "subtechnique-of", "attack-pattern", "attack-pattern"},
	} {
		var parents []string
		for _, typ := range strings.Fields(q.from) {
			parents = append(parents, byType[typ]...)
		}
		pages, err := st.Related(t.Context(), q.rel, parents, store.Query{First: store.MaxFirst, WantTotal: true})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range pages {
			got := []string{}
			for _, it := range p.Items {
				got = append(got, it.Object.ID)
			}
			sort.Strings(got)
			want := d.all(q.edge+" "+parents[i], q.to)
			if !reflect.DeepEqual(got, want) || p.Total != len(want) {
				t.Errorf("%v of %s: total %d\n got %v\nwant %v", q.rel, parents[i], p.Total, got, want)
			}
			compared += len(want)
		}
	}
	if compared < 1000 {
		t.Errorf("only %d relations compared", compared)
	}

	kinds := map[string]store.Kind{"intrusion-set": store.KindThreatActor, "attack-pattern": store.KindTechnique, "x-mitre-tactic": store.KindTactic,
		"malware": store.KindSoftware, "tool": store.KindSoftware, "campaign": store.KindCampaign, "course-of-action": store.KindMitigation}
	want := map[string]int{}
	for typ, kind := range kinds {
		want[string(kind)] += len(byType[typ])
		for _, id := range byType[typ] {
			o := d.objects[id]
			attackID := ""
			for _, r := range o["external_references"].([]any) {
				if r := r.(map[string]any); attackID == "" && strings.HasPrefix(r["source_name"].(string), "mitre") && r["external_id"] != nil {
					attackID = r["external_id"].(string)
				}
			}
			m, err := st.Get(t.Context(), kind, []string{id, attackID})
			if err != nil || m[id] == nil || m[attackID] == nil || m[attackID].ID != id || m[id].Name != strings.TrimSpace(o["name"].(string)) || m[id].Description != o["description"] && o["description"] != nil {
				t.Errorf("%s %s: %+v, %v", id, attackID, m[id], err)
			}
		}
	}
	counts, err := st.Counts(t.Context(), store.ByKind)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if c.N != want[c.Key] {
			t.Errorf("%s: %d, want %d", c.Key, c.N, want[c.Key])
		}
	}
	// Tactics, by the phases; and when actors were seen, by their campaigns.
	pages, err := st.Related(t.Context(), store.Tactics, byType["attack-pattern"], store.Query{First: 100})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pages {
		var got, want []string
		for _, it := range p.Items {
			got = append(got, it.Object.ShortName)
		}
		for _, ph := range d.objects[byType["attack-pattern"][i]]["kill_chain_phases"].([]any) {
			want = append(want, ph.(map[string]any)["phase_name"].(string))
		}
		sort.Strings(got)
		sort.Strings(want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("tactics of %s: %v, want %v", byType["attack-pattern"][i], got, want)
		}
	}
	actors, err := st.Get(t.Context(), store.KindThreatActor, byType["intrusion-set"])
	if err != nil {
		t.Fatal(err)
	}
	for id, a := range actors {
		first, last := "", ""
		for _, c := range d.all("~attributed-to "+id, "campaign") {
			if f := d.objects[c]["first_seen"].(string); first == "" || f < first {
				first = f
			}
			last = max(last, d.objects[c]["last_seen"].(string))
		}
		if format(a.FirstSeen) != first || format(a.LastSeen) != last {
			t.Errorf("%s: seen %v to %v, want %s to %s", a.Name, a.FirstSeen, a.LastSeen, first, last)
		}
	}
}

func format(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("2006-01-02T15:04:05.000Z")
}
