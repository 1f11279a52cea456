package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const folder = "../../configs/grafana"

var update = flag.Bool("update", false, "write configs/grafana anew")

// After a change of the tables: go test ./scripts/dashboards -update.
func TestFilesAreThoseOfTheTables(t *testing.T) {
	want := map[string]bool{}
	for _, d := range all {
		text, err := d.json()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(folder, d.file())
		want[file] = true
		if *update {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		there, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(there, text) {
			t.Errorf("%s is not what the tables say; go test ./scripts/dashboards -update writes it (%v)", file, err)
		}
	}
	files, err := filepath.Glob(folder + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !want[file] {
			t.Errorf("%s is made by no table", file)
		}
	}
	// Kubernetes gets those that the kustomization names.
	manifest, err := os.ReadFile(filepath.Join(folder, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for file := range want {
		if !strings.Contains(string(manifest), filepath.Base(file)) {
			t.Errorf("kustomization.yaml lacks %s", filepath.Base(file))
		}
	}
}

// Grafana cannot be had for tests; its schemas can, of dashboards and of each kind of panel. They
// know every key and every word of an enumeration, and we take no other.
func TestGrafanasSchemasTakeThem(t *testing.T) {
	s := readSchema(t)
	for _, d := range all {
		text, err := d.json()
		if err != nil {
			t.Fatal(err)
		}
		for _, wrong := range s.check(t, text) {
			t.Errorf("%s: %s", d.uid, wrong)
		}
	}
}

// That they would not is seen here: each of these is wrong once.
func TestGrafanasSchemasTakeNothingElse(t *testing.T) {
	s := readSchema(t)
	text, err := overview.json()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ there, instead, wrong string }{
		{`"drawStyle"`, `"drawStile"`, "drawStile is no key of a common.GraphFieldConfig"},
		{`"drawStyle": "line"`, `"drawStyle": "lines"`, `custom.drawStyle is "lines", and can be "line"|"bars"|"points"`},
		{`"graphTooltip": 1`, `"graphTooltip": 3`, "graphTooltip is 3, and can be 0|1|2"},
		{`"instant": false`, `"instant": "no"`, `instant is "no", and should be a bool`},
		{`"refId": "A"`, `"ref": "A"`, "ref is no key of a prometheus.Dataquery"},
		{`"mode": "palette-classic"`, `"fixedColor": "red"`, "color: it lacks mode"},
		{`"type": "timeseries"`, `"type": "graph"`, `graph is a kind of panel that is not known`},
		{`"collapsed": false`, `"collapsed": 0`, "collapsed is 0, and should be a bool"},
		{`"tags": [`, `"tags": [1, `, "tags[0] is 1, and should be a string"},
	} {
		broken := bytes.Replace(text, []byte(c.there), []byte(c.instead), 1)
		found := strings.Join(s.check(t, broken), "\n")
		if bytes.Equal(broken, text) || !strings.Contains(found, c.wrong) {
			t.Errorf("%s instead of %s: %q, and not %q", c.instead, c.there, found, c.wrong)
		}
	}
}

type shown struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		RefID string `json:"refId"`
		Expr  string `json:"expr"`
	} `json:"targets"`
	Panels []shown `json:"panels"`
}

func TestPanelsCanBeToldApartAndSayWhatTheyShow(t *testing.T) {
	uids, titles := map[string]bool{}, map[string]bool{}
	for _, d := range all {
		if uids[d.uid] || titles[d.title] {
			t.Errorf("%s, %q: another has that name", d.uid, d.title)
		}
		uids[d.uid], titles[d.title] = true, true
		text, err := d.json()
		if err != nil {
			t.Fatal(err)
		}
		var parsed struct {
			Panels     []shown `json:"panels"`
			Templating struct {
				List []struct{ Name, Definition string }
			} `json:"templating"`
		}
		if err := json.Unmarshal(text, &parsed); err != nil {
			t.Fatal(err)
		}
		declared := []string{"__rate_interval", "__range", "__all"}
		for _, v := range parsed.Templating.List {
			declared = append(declared, v.Name)
		}
		for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllSubmatch(text, -1) {
			if !slices.Contains(declared, string(m[1])) {
				t.Errorf("%s: the variable %s is not declared", d.uid, m[0])
			}
		}
		ids := map[int]bool{}
		var room [][4]int
		var look func(list []shown)
		look = func(list []shown) {
			for _, p := range list {
				if ids[p.ID] || p.ID <= 0 {
					t.Errorf("%s, %q: the id %d is another's", d.uid, p.Title, p.ID)
				}
				ids[p.ID] = true
				g := p.GridPos
				if g.W <= 0 || g.H <= 0 || g.X+g.W > 24 {
					t.Errorf("%s, %q: stands at %+v", d.uid, p.Title, g)
				}
				for _, o := range room {
					if g.X < o[0]+o[2] && o[0] < g.X+g.W && g.Y < o[1]+o[3] && o[1] < g.Y+g.H {
						t.Errorf("%s, %q: stands on another panel, %+v and %v", d.uid, p.Title, g, o)
					}
				}
				room = append(room, [4]int{g.X, g.Y, g.W, g.H})
				if p.Type == "row" {
					before := room
					look(p.Panels)
					room = before // what is in a closed row is on no page yet
					continue
				}
				if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" && p.Type != "table" || len(p.Targets) == 0 {
					t.Errorf("%s, %q: lacks a title, a description, a unit or a query", d.uid, p.Title)
				}
				refs := map[string]bool{}
				for _, q := range p.Targets {
					if refs[q.RefID] || q.Expr == "" {
						t.Errorf("%s, %q: query %s is empty, or there twice", d.uid, p.Title, q.RefID)
					}
					refs[q.RefID] = true
				}
			}
		}
		look(parsed.Panels)
	}
}
