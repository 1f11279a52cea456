package api

import (
	"fmt"
	"slices"
	"testing"
)

// connectionPage is any page, asked for by pageFields.
type connectionPage struct {
	TotalCount int
	Nodes      []struct{ ID, Name string }
	Edges      []struct {
		Cursor string
		Node   struct{ ID string }
	}
	PageInfo struct {
		HasNextPage, HasPreviousPage bool
		StartCursor, EndCursor       *string
	}
}

const pageFields = `{ totalCount nodes { id } edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }`

// walk reads a list to its end and returns the ids; fetch asks for a page with
// the arguments first and after.
func walk(t *testing.T, first int, fetch func(args string) connectionPage) (ids []string) {
	t.Helper()
	args := fmt.Sprintf("first: %d", first)
	for n := 0; ; n++ {
		p := fetch(args)
		if len(p.Nodes) > first || len(p.Nodes) != len(p.Edges) {
			t.Fatalf("a page of %d has %d nodes and %d edges", first, len(p.Nodes), len(p.Edges))
		}
		for i, node := range p.Nodes {
			ids = append(ids, node.ID)
			if p.Edges[i].Node.ID != node.ID {
				t.Errorf("edge %d is of another node", i)
			}
		}
		if p.PageInfo.HasPreviousPage != (n > 0) {
			t.Errorf("page %d: hasPreviousPage is %v", n, p.PageInfo.HasPreviousPage)
		}
		if len(p.Nodes) == 0 {
			if p.PageInfo.StartCursor != nil || p.PageInfo.EndCursor != nil {
				t.Error("an empty page has cursors")
			}
		} else if *p.PageInfo.StartCursor != p.Edges[0].Cursor || *p.PageInfo.EndCursor != p.Edges[len(p.Edges)-1].Cursor {
			t.Error("the cursors of the page are not those of its ends")
		}
		if !p.PageInfo.HasNextPage {
			if p.TotalCount != len(ids) {
				t.Errorf("totalCount is %d, but there are %d", p.TotalCount, len(ids))
			}
			return ids
		}
		args = fmt.Sprintf("first: %d, after: %q", first, *p.PageInfo.EndCursor)
	}
}

// orders are the order fields of each list.
var orders = map[string][]string{
	"threatActors": {"ATTACK_ID", "NAME", "FIRST_SEEN", "LAST_SEEN", "CREATED", "MODIFIED"},
	"techniques":   {"ATTACK_ID", "NAME", "CREATED", "MODIFIED"},
	"softwareList": {"ATTACK_ID", "NAME", "CREATED", "MODIFIED"},
	"campaigns":    {"ATTACK_ID", "NAME", "FIRST_SEEN", "LAST_SEEN", "CREATED", "MODIFIED"},
	"mitigations":  {"ATTACK_ID", "NAME", "CREATED", "MODIFIED"},
	"tactics":      {"ATTACK_ID", "NAME", "CREATED", "MODIFIED"},
	"indicators":   {"NAME", "CREATED", "MODIFIED"},
	"sightings":    {"FIRST_SEEN", "LAST_SEEN", "CREATED", "MODIFIED"},
}

// Page after page, in every order and size: all objects, each once, and in the
// same order as on one page; downwards is upwards reversed.
func TestListsPageByPage(t *testing.T) {
	c := newSample(t)
	for list, fields := range orders {
		for _, field := range append(fields, "") {
			var upwards []string
			for _, direction := range []string{"ASC", "DESC"} {
				order := fmt.Sprintf(", orderBy: {field: %s, direction: %s}", field, direction)
				if field == "" {
					order = ""
				}
				t.Run(list+order, func(t *testing.T) {
					fetch := func(args string) connectionPage {
						var data map[string]connectionPage
						c.get(&data, "{ "+list+"("+args+order+") "+pageFields+" }", nil)
						return data[list]
					}
					whole := walk(t, 100, fetch)
					if len(whole) == 0 {
						t.Fatal("the list is empty")
					}
					sizes := []int{3}
					if field == "" {
						sizes = []int{1, 2, 7}
					}
					for _, size := range sizes {
						if got := walk(t, size, fetch); !slices.Equal(got, whole) {
							t.Errorf("in pages of %d: %v\nwhole: %v", size, got, whole)
						}
					}
					if direction == "ASC" {
						upwards = whole
					} else if slices.Reverse(whole); field != "" && !slices.Equal(whole, upwards) {
						t.Errorf("downwards is not upwards reversed")
					}
				})
			}
		}
	}
}

func TestRelationsPageByPage(t *testing.T) {
	c := newSample(t)
	for object, relations := range map[string][]string{
		`threatActor(id: "G9001")`: {"techniques", "software", "campaigns", "indicators", "sightings"},
		`technique(id: "T9005")`:   {"subTechniques", "usedByThreatActors", "usedBySoftware", "usedByCampaigns", "mitigations", "indicators", "sightings"},
		`software(id: "S9002")`:    {"techniques", "usedByThreatActors", "usedByCampaigns", "indicators", "sightings"},
		`campaign(id: "C9001")`:    {"attributedTo", "techniques", "software", "indicators", "sightings"},
		`mitigation(id: "M9006")`:  {"techniques"},
		`tactic(id: "TA9001")`:     {"techniques"},
		`indicator(id: "indicator--025876e3-3f3f-50ad-91a8-d321bb6fde8b")`: {"indicates", "sightings"},
	} {
		for _, relation := range relations {
			t.Run(object+relation, func(t *testing.T) {
				fetch := func(args string) connectionPage {
					var data struct{ O map[string]connectionPage }
					c.get(&data, "{ o: "+object+" { "+relation+"("+args+") "+pageFields+" } }", nil)
					return data.O[relation]
				}
				whole := walk(t, 100, fetch)
				for _, size := range []int{1, 2, 3} {
					if got := walk(t, size, fetch); !slices.Equal(got, whole) {
						t.Errorf("in pages of %d: %v\nwhole: %v", size, got, whole)
					}
				}
			})
		}
	}
}

// What is inserted meanwhile makes nothing come twice and leaves nothing out.
func TestPagesWhileTheListChanges(t *testing.T) {
	c := newSample(t)
	var before []string
	fetch := func(args string) connectionPage {
		var data map[string]connectionPage
		c.get(&data, "{ indicators("+args+", orderBy: {field: NAME}) "+pageFields+" }", nil)
		return data["indicators"]
	}
	before = walk(t, 100, fetch)
	var seen []string
	args := "first: 2"
	for i := 0; ; i++ {
		p := fetch(args)
		for _, n := range p.Nodes {
			seen = append(seen, n.ID)
		}
		if !p.PageInfo.HasNextPage {
			break
		}
		args = fmt.Sprintf("first: 2, after: %q", *p.PageInfo.EndCursor)
		// Before all others: what lies behind the cursor stays there.
		c.get(new(any), `mutation ($v: String) { createIndicator(input: {name: "AAA", valueType: "domain-name", value: $v}) { indicator { id } } }`,
			map[string]any{"v": fmt.Sprintf("n%d.example", i)})
	}
	if !slices.Equal(seen, before) {
		t.Errorf("seen %v\nthere were %v", seen, before)
	}
}
