package api

import (
	"fmt"
	"testing"

	"github.com/nekoctl/neko/api/store"
)

// The same in SQLite, where statements count: as many for all as for one. Totals
// are counted in the same statement.
func TestStatementsDoNotGrowWithTheList(t *testing.T) {
	c := newSample(t)
	for _, q := range []struct {
		query string
		want  int
	}{
		{`{ threatActors(first: %d) { nodes { name techniques(first: 5) { nodes { name mitigations(first: 5) { nodes { name } } } } } } }`, 3},
		{`{ threatActors(first: %d) { totalCount nodes { name techniques(first: 5) { totalCount nodes { name mitigations(first: 5) { totalCount nodes { name } } } } } } }`, 3},
		{`{ techniques(first: %d) { nodes { tactics { name } parent { name } subTechniques { nodes { name parent { name } } } usedByThreatActors { nodes { name campaigns { nodes { name } } } } } } }`, 7},
		{`{ indicators(first: %d) { nodes { name indicates { nodes { __typename } } sightings { nodes { sightingOf { id } } } } } }`, 4},
	} {
		for _, n := range []int{1, 2, 16} {
			var counter store.Counter
			res := c.schema.Exec(store.WithCounter(t.Context(), &counter), fmt.Sprintf(q.query, n), "", nil)
			if res.Errors != nil {
				t.Fatal(res.Errors)
			}
			if counter.Queries() > q.want || n == 2 && counter.Queries() != q.want {
				t.Errorf("%d objects: %d statements, not %d: %s", n, counter.Queries(), q.want, q.query)
			}
		}
	}
}
