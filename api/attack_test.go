package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nekoctl/neko/api/stix"
)

// attackBundles are the real ATT&CK bundles that $NEKO_TEST_ATTACK has.
func attackBundles(t testing.TB) []string {
	t.Helper()
	dir := os.Getenv("NEKO_TEST_ATTACK")
	if dir == "" {
		const how = "NEKO_TEST_ATTACK is not set: set it to a folder with bundles from https://github.com/mitre-attack/attack-stix-data"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no bundles in %s (%v)", dir, err)
	}
	return files
}

// attackClient is the API on the real bundles.
func attackClient(t testing.TB) (client, []string) {
	t.Helper()
	files := attackBundles(t)
	st := openStore(t)
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stix.Import(t.Context(), st, f, stix.Options{Name: file}); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return newClient(t, st), files
}

// bundleObject is what this test reads of an object; it shares no code with the
// import.
type bundleObject struct {
	Type, ID, Modified, Name string
	Revoked                  bool
	Deprecated               bool   `json:"x_mitre_deprecated"`
	Relationship             string `json:"relationship_type"`
	Source                   string `json:"source_ref"`
	Target                   string `json:"target_ref"`
	Aliases                  []string
	FirstSeen                string `json:"first_seen"`
	LastSeen                 string `json:"last_seen"`
	References               []struct {
		Source string `json:"source_name"`
		ID     string `json:"external_id"`
	} `json:"external_references"`
}

func (o bundleObject) attackID() string {
	for _, r := range o.References {
		if strings.HasPrefix(r.Source, "mitre-") && r.ID != "" {
			return r.ID
		}
	}
	return ""
}

// readBundles returns the living objects of all bundles by id, the newest of each.
func readBundles(t testing.TB, files []string) map[string]bundleObject {
	t.Helper()
	all := make(map[string]bundleObject)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var bundle struct{ Objects []bundleObject }
		if err := json.Unmarshal(b, &bundle); err != nil {
			t.Fatal(err)
		}
		for _, o := range bundle.Objects {
			if old, ok := all[o.ID]; !ok || old.Modified < o.Modified {
				all[o.ID] = o
			}
		}
	}
	maps.DeleteFunc(all, func(_ string, o bundleObject) bool { return o.Revoked || o.Deprecated })
	return all
}

// wantAll fails unless got and want have the same strings.
func wantAll(t testing.TB, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: the API has %v, the bundles have %v", what, got, want)
	}
}

// Real data: both tests on one import, as that is the slow part.
func TestAttack(t *testing.T) {
	c, files := attackClient(t)
	t.Run("groups", func(t *testing.T) { groupsAreThoseOfTheBundles(t, c, files) })
	t.Run("the query of the issue", func(t *testing.T) { theQueryOnRealData(t, c) })
}

// For every group in the bundles, what the API says is what they say.
func groupsAreThoseOfTheBundles(t *testing.T, c client, files []string) {
	objects := readBundles(t, files)

	// The bundle, read directly: by type of relationship, from each source to the
	// living targets, each once.
	sets := make(map[string]map[string]map[string]bool)
	join := func(rel, from, to string) {
		if sets[rel] == nil {
			sets[rel] = make(map[string]map[string]bool)
		}
		if sets[rel][from] == nil {
			sets[rel][from] = make(map[string]bool)
		}
		sets[rel][from][to] = true
	}
	for _, o := range objects {
		if o.Type != "relationship" {
			continue
		}
		source, target := objects[o.Source], objects[o.Target]
		if source.ID == "" || target.ID == "" {
			continue
		}
		join(o.Relationship+" "+target.Type, source.ID, target.attackID())
		join(o.Relationship+" by "+source.Type, target.ID, source.attackID())
	}
	of := func(id string, rels ...string) []string {
		var out []string
		for _, rel := range rels {
			out = slices.AppendSeq(out, maps.Keys(sets[rel][id]))
		}
		return out
	}

	type names struct {
		TotalCount int
		Nodes      []struct {
			ID, AttackID string
			Mitigations  struct {
				TotalCount int
				Nodes      []struct{ AttackID string }
			}
		}
		PageInfo struct {
			HasNextPage bool
			EndCursor   string
		}
	}
	ids := func(n names) (out []string) {
		for _, o := range n.Nodes {
			out = append(out, o.AttackID)
		}
		return out
	}
	groups, techniques, mitigations := 0, 0, 0
	for _, g := range objects {
		if g.Type != "intrusion-set" {
			continue
		}
		groups++
		what := g.attackID() + " " + g.Name
		var all names
		after := "null"
		for {
			var data struct {
				ThreatActor struct {
					ID, Name            string
					Aliases             []string
					Techniques          names
					Software, Campaigns names
				}
			}
			// By ATT&CK id, for that is what people have.
			c.get(&data, fmt.Sprintf(`{ threatActor(id: %q) { id name aliases
				techniques(first: 100, after: %s) { totalCount pageInfo { hasNextPage endCursor }
					nodes { id attackId mitigations(first: 100) { totalCount nodes { attackId } } } }
				software(first: 100) { totalCount nodes { attackId } }
				campaigns(first: 100) { totalCount nodes { attackId } } } }`, g.attackID(), after), nil)
			a := data.ThreatActor
			if a.ID != g.ID || a.Name != g.Name {
				t.Fatalf("%s: the API has %s %s", what, a.ID, a.Name)
			}
			all.TotalCount = a.Techniques.TotalCount
			all.Nodes = append(all.Nodes, a.Techniques.Nodes...)
			if after == "null" {
				wantAll(t, what+" aliases", a.Aliases, slices.DeleteFunc(slices.Clone(g.Aliases), func(s string) bool { return s == g.Name }))
				wantAll(t, what+" software", ids(a.Software), of(g.ID, "uses malware", "uses tool"))
				wantAll(t, what+" campaigns", ids(a.Campaigns), of(g.ID, "attributed-to by campaign"))
			}
			if !a.Techniques.PageInfo.HasNextPage {
				break
			}
			after = fmt.Sprintf("%q", a.Techniques.PageInfo.EndCursor)
		}
		wantAll(t, what+" techniques", ids(all), of(g.ID, "uses attack-pattern"))
		if all.TotalCount != len(all.Nodes) {
			t.Errorf("%s: totalCount is %d of %d", what, all.TotalCount, len(all.Nodes))
		}
		for _, n := range all.Nodes {
			techniques++
			var got []string
			for _, m := range n.Mitigations.Nodes {
				mitigations++
				got = append(got, m.AttackID)
			}
			wantAll(t, what+" "+n.AttackID+" mitigations", got, of(n.ID, "mitigates by course-of-action"))
		}
	}
	var count struct{ ThreatCounts struct{ ThreatActors int } }
	c.get(&count, `{ threatCounts { threatActors } }`, nil)
	if count.ThreatCounts.ThreatActors != groups {
		t.Errorf("the API has %d threat actors, the bundles have %d", count.ThreatCounts.ThreatActors, groups)
	}
	if groups == 0 || techniques == 0 || mitigations == 0 {
		t.Errorf("nothing was compared: %d groups, %d techniques, %d mitigations", groups, techniques, mitigations)
	}
	t.Logf("%d groups, %d techniques, %d mitigations compared", groups, techniques, mitigations)
}

// The query of the issue, as written.
func theQueryOnRealData(t *testing.T, c client) {
	var data struct {
		ThreatActor struct {
			AttackID, Name string
			Aliases        []string
			Techniques     struct {
				TotalCount int
				Nodes      []struct {
					AttackID, Name string
					Mitigations    struct {
						Nodes []struct{ AttackID, Name string }
					}
				}
			}
		}
	}
	c.get(&data, theQuery, nil)
	a := data.ThreatActor
	if a.AttackID != "G0034" || a.Name != "Sandworm Team" || !slices.Contains(a.Aliases, "Voodoo Bear") || len(a.Techniques.Nodes) == 0 || len(a.Techniques.Nodes) > 5 || a.Techniques.TotalCount < len(a.Techniques.Nodes) {
		t.Errorf("got %+v", a)
	}
}

const theQuery = `{ threatActor(id: "G0034") { attackId name aliases techniques(first: 5) { totalCount nodes { attackId name mitigations(first: 5) { nodes { attackId name } } } } } }`
