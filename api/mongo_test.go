package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/nekoctl/neko/api/sample"
	"github.com/nekoctl/neko/api/stix"
	"github.com/nekoctl/neko/api/stix/stixtest"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
)

// twins are the API on SQLite and on MongoDB, with the same data. A query must
// have the very same answer from both.
type twins struct {
	testing.TB
	sqlite, mongo client
	asked         int
	cursors       []string // of all answers so far
}

func newTwins(t testing.TB, load func(st store.Store)) *twins {
	t.Helper()
	st, err := mongo.Open(t.Context(), mongotest.URL(t), mongo.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	lite := openStore(t)
	load(lite)
	load(st)
	return &twins{TB: t, sqlite: newClient(t, lite), mongo: newClient(t, st)}
}

var endCursor = regexp.MustCompile(`"endCursor":"([^"]+)"`)

// ask compares the answers, and gives them.
func (w *twins) ask(query string, vars map[string]any) string {
	w.Helper()
	w.asked++
	want, got := inOrder(w.sqlite.ask(query, vars)), inOrder(w.mongo.ask(query, vars))
	if got != want {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		from := max(at-100, 0)
		w.Errorf("%.2000s\n%v\nfrom byte %d on MongoDB has\n%.400s\nand SQLite\n%.400s", query, vars, from, got[from:], want[from:])
	}
	if strings.Contains(got, `"INTERNAL"`) || strings.Contains(got, `"UNAVAILABLE"`) {
		w.Errorf("%s\nfails: %.500s", query, got)
	}
	for _, m := range endCursor.FindAllStringSubmatch(got, -1) {
		if len(w.cursors) < 1000 {
			w.cursors = append(w.cursors, m[1])
		}
	}
	return got
}

// In MongoDB a relation takes some commands, and not one; how many does not depend on
// the length of lists either.
func TestMongoCommandsDoNotGrowWithTheList(t *testing.T) {
	t.Parallel()
	w := newTwins(t, func(st store.Store) {
		if _, err := sample.Load(t.Context(), st); err != nil {
			t.Fatal(err)
		}
	})
	for _, q := range []struct {
		query     string
		relations int // and lists, each a call of the store
	}{
		{`{ threatActors(first: %d) { totalCount nodes { name techniques(first: 5) { totalCount nodes { name mitigations(first: 5) { totalCount nodes { name } } } } } } }`, 3},
		{`{ techniques(first: %d) { nodes { tactics { name } parent { name } subTechniques { nodes { name parent { name } } } usedByThreatActors { nodes { name campaigns { nodes { name } } } } } } }`, 7},
		{`{ indicators(first: %d) { nodes { name indicates { nodes { __typename } } sightings { nodes { sightingOf { id } } } } } }`, 4},
	} {
		for _, n := range []int{1, 2, 16} {
			var counter store.Counter
			res := w.mongo.schema.Exec(store.WithCounter(t.Context(), &counter), fmt.Sprintf(q.query, n), "", nil)
			if res.Errors != nil {
				t.Fatal(res.Errors)
			}
			if most := q.relations * mongo.Commands; counter.Queries() > most {
				t.Errorf("%d objects: %d commands, more than %d: %s", n, counter.Queries(), most, q.query)
			}
		}
	}
}

// inOrder sorts the errors of an answer, which come as the resolvers end.
func inOrder(answer string) string {
	if !strings.HasPrefix(answer, `{"errors":`) {
		return answer
	}
	var parts struct{ Errors, Data json.RawMessage }
	var errs []json.RawMessage
	if json.Unmarshal([]byte(answer), &parts) != nil || json.Unmarshal(parts.Errors, &errs) != nil {
		return answer
	}
	slices.SortFunc(errs, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	return fmt.Sprintf("%s %s", errs, parts.Data)
}

// Every query of the tests and of the guide, every list with every filter and in
// every order page by page, and some hundred made up from the schema.
func TestMongoAnswersAsSQLite(t *testing.T) {
	t.Parallel()
	w := newTwins(t, func(st store.Store) {
		if _, err := sample.Load(t.Context(), st); err != nil {
			t.Fatal(err)
		}
	})
	files, err := filepath.Glob("testdata/queries/*.graphql")
	if err != nil || len(files) == 0 {
		t.Fatal("no queries", err)
	}
	for _, file := range files {
		query, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var vars map[string]any
		if b, err := os.ReadFile(strings.TrimSuffix(file, ".graphql") + ".variables.json"); err == nil {
			if err := json.Unmarshal(b, &vars); err != nil {
				t.Fatal(err)
			}
		}
		w.ask(string(query), vars)
	}
	guide, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range example.FindAllStringSubmatch(string(guide), -1) {
		if !strings.Contains(e[1], "mutation") { // ids and times are made up
			w.ask(e[1], nil)
		}
	}
	g := newGenerator(t, w)
	g.lists(func(f *ast.FieldDefinition) {
		for _, field := range g.schema.Types[f.Arguments.ForName("orderBy").Type.Name()].Fields {
			if field.Name != "field" {
				continue
			}
			for _, value := range g.schema.Types[field.Type.Name()].EnumValues {
				for _, dir := range []string{"ASC", "DESC"} {
					w.pages(fmt.Sprintf("%s(first: 6, orderBy: {field: %s, direction: %s}%%s)", f.Name, value.Name, dir))
				}
			}
		}
		filter := g.schema.Types[f.Arguments.ForName("filter").Type.Name()]
		for _, field := range filter.Fields {
			for range 2 {
				w.ask(fmt.Sprintf("{ %s(first: 20, filter: {%s: %s}) { totalCount pageInfo { hasNextPage endCursor } edges { cursor node { id } } } }", f.Name, field.Name, g.value(field.Type)), nil)
			}
		}
	})
	for range generated(120) {
		w.ask(g.query(3), nil)
	}
	if w.asked < 400 {
		t.Errorf("only %d queries were asked", w.asked)
	}
	if len(w.cursors) < 50 {
		t.Errorf("only %d cursors were seen", len(w.cursors))
	}
}

// pages walks through a list to its end.
func (w *twins) pages(list string) {
	w.Helper()
	after := ""
	for n := 0; n < 30; n++ {
		answer := w.ask("{ "+fmt.Sprintf(list, after)+" { totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } edges { cursor node { id } } } }", nil)
		m := endCursor.FindStringSubmatch(answer)
		if !strings.Contains(answer, `"hasNextPage":true`) || m == nil {
			return
		}
		after = `, after: "` + m[1] + `"`
	}
	w.Errorf("%s has no end", list)
}

// The same with a bundle of the size and the proportions of a small one of MITRE's.
func TestMongoAnswersAsSQLiteOnABundle(t *testing.T) {
	t.Parallel()
	var bundle bytes.Buffer
	if err := stixtest.Write(&bundle, 400); err != nil {
		t.Fatal(err)
	}
	var sums []store.Merged
	w := newTwins(t, func(st store.Store) {
		sum, err := stix.Import(t.Context(), st, bytes.NewReader(bundle.Bytes()), stix.Options{})
		if err != nil {
			t.Fatal(err)
		}
		sum.Blocked = 0
		sums = append(sums, sum.Merged)
	})
	if sums[0] != sums[1] || sums[0].Added == 0 {
		t.Errorf("imported: %+v, and in MongoDB %+v", sums[0], sums[1])
	}
	g := newGenerator(t, w)
	for range generated(30) {
		w.ask(g.query(2), nil)
	}
}

// And with MITRE's, where they are: the smallest of them, since the server for tests
// looks at every document for every query.
func TestMongoAnswersAsSQLiteOnAttack(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("NEKO_TEST_ATTACK")
	if dir == "" {
		t.Skip("NEKO_TEST_ATTACK names no folder with bundles of ATT&CK")
	}
	if underRace && !mongotest.Real() {
		t.Skip("is tested without the race detector")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "ics-attack*.json*"))
	if len(files) == 0 {
		t.Skip("there is no bundle ics-attack in ", dir)
	}
	w := newTwins(t, func(st store.Store) {
		f, err := os.Open(files[0])
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if _, err := stix.Import(ctx, st, f, stix.Options{}); err != nil {
			t.Fatal(err)
		}
	})
	g := newGenerator(t, w)
	g.lists(func(f *ast.FieldDefinition) { w.pages(f.Name + "(first: 50%s)") })
	for range generated(30) {
		w.ask(g.query(2), nil)
	}
}

// generated is how many queries are made up: so many, or with
// NEKO_TEST_QUERIES=10 ten times as many.
func generated(n int) int {
	if times, err := strconv.Atoi(os.Getenv("NEKO_TEST_QUERIES")); err == nil {
		n *= times
	}
	return n
}

// generator makes up queries that the schema allows, about what the stores have.
type generator struct {
	schema *ast.Schema
	rnd    *rand.Rand
	w      *twins
	ids    []string
	words  []string
}

func newGenerator(t *testing.T, w *twins) *generator {
	t.Helper()
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: Schema})
	if err != nil {
		t.Fatal(err)
	}
	g := &generator{schema: schema, rnd: rand.New(rand.NewPCG(3, 7)), w: w}
	var data map[string]struct {
		Nodes []struct{ ID, AttackID, Name, Description string }
	}
	w.sqlite.get(&data, `{
		threatActors(first: 30) { nodes { id attackId name description } } techniques(first: 30) { nodes { id attackId name description } }
		softwareList(first: 30) { nodes { id attackId name description } } campaigns(first: 30) { nodes { id attackId name description } }
		mitigations(first: 30) { nodes { id attackId name description } } tactics(first: 30) { nodes { id attackId name description } }
		indicators(first: 30) { nodes { id name description } } }`, nil)
	for _, list := range []string{"threatActors", "techniques", "softwareList", "campaigns", "mitigations", "tactics", "indicators"} {
		for _, n := range data[list].Nodes {
			g.ids = append(g.ids, n.ID)
			if n.AttackID != "" {
				g.ids = append(g.ids, n.AttackID)
			}
			g.words = append(g.words, n.Name)
			if words := strings.Fields(n.Description); len(words) > 0 {
				g.words = append(g.words, words[g.rnd.IntN(len(words))])
			}
		}
	}
	g.ids = append(g.ids, "G0000", "no such", "$ne", "foothold", "stay")
	g.words = append(g.words, "Windows", "linux", "$regex", ".*", "É", "malicious-activity", "domain-name", "ipv4-addr")
	return g
}

func (g *generator) lists(each func(f *ast.FieldDefinition)) {
	n := 0
	for _, f := range g.schema.Query.Fields {
		if f.Arguments.ForName("filter") != nil {
			each(f)
			n++
		}
	}
	if n != 8 {
		g.w.Errorf("%d lists", n)
	}
}

func (g *generator) pick(l []string) string { return l[g.rnd.IntN(len(l))] }

func (g *generator) value(t *ast.Type) string {
	if t.Elem != nil {
		var l []string
		for range g.rnd.IntN(4) {
			l = append(l, g.value(t.Elem))
		}
		return "[" + strings.Join(l, ", ") + "]"
	}
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	switch t.NamedType {
	case "ID":
		return quote(g.pick(g.ids))
	case "String":
		return quote(g.pick(g.words))
	case "Int":
		return fmt.Sprint(1 + g.rnd.IntN(6))
	case "Boolean":
		return g.pick([]string{"true", "false"})
	case "DateTime":
		return quote(time.Date(2018+g.rnd.IntN(9), time.Month(1+g.rnd.IntN(12)), 1+g.rnd.IntN(28), g.rnd.IntN(24), 0, 0, 0, time.UTC).Format(time.RFC3339))
	}
	d := g.schema.Types[t.NamedType]
	if d.Kind == ast.Enum {
		return d.EnumValues[g.rnd.IntN(len(d.EnumValues))].Name
	}
	var fields []string
	for _, f := range d.Fields {
		if f.Type.NonNull || g.rnd.IntN(len(d.Fields)) < 2 {
			fields = append(fields, f.Name+": "+g.value(f.Type))
		}
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

func (g *generator) arguments(f *ast.FieldDefinition) string {
	var args []string
	for _, a := range f.Arguments {
		switch {
		case a.Name == "after":
			if g.rnd.IntN(8) == 0 && len(g.w.cursors) > 0 {
				args = append(args, fmt.Sprintf("after: %q", g.pick(g.w.cursors)))
			}
		case a.Type.NonNull || a.Name == "first" || g.rnd.IntN(2) == 0:
			args = append(args, a.Name+": "+g.value(a.Type))
		}
	}
	if len(args) == 0 {
		return ""
	}
	return "(" + strings.Join(args, ", ") + ")"
}

// query has one to three root fields.
func (g *generator) query(depth int) string {
	var fields []string
	for i := range 1 + g.rnd.IntN(2) {
		roots := g.schema.Query.Fields
		f := roots[g.rnd.IntN(len(roots))]
		if strings.HasPrefix(f.Name, "__") || f.Directives.ForName("requires") != nil { // of accounts, which are not here
			continue
		}
		fields = append(fields, fmt.Sprintf("f%d: %s%s%s", i, f.Name, g.arguments(f), g.selection(g.schema.Types[f.Type.Name()], depth)))
	}
	fields = append(fields, "__typename")
	return "{ " + strings.Join(fields, " ") + " }"
}

func (g *generator) selection(d *ast.Definition, depth int) string {
	switch d.Kind {
	case ast.Scalar, ast.Enum:
		return ""
	case ast.Interface, ast.Union:
		out := "{ __typename "
		for _, p := range g.schema.GetPossibleTypes(d) {
			// graph-gophers panics at fragments on interfaces that have others in them.
			if p.Kind == ast.Object && g.rnd.IntN(2) == 0 {
				out += "... on " + p.Name + " " + g.selection(p, depth)
			}
		}
		return out + " }"
	}
	out := "{ __typename "
	names := map[string]bool{}
	for _, f := range d.Fields {
		t := g.schema.Types[f.Type.Name()]
		leaf := t.Kind == ast.Scalar || t.Kind == ast.Enum
		through := slices.Contains([]string{"nodes", "edges", "node", "pageInfo", "relationship"}, f.Name)
		if names[f.Name] || strings.HasPrefix(f.Name, "__") || !leaf && !through && (depth <= 0 || g.rnd.IntN(3) > 0) || leaf && g.rnd.IntN(4) == 0 {
			continue
		}
		names[f.Name] = true
		next := depth
		if !leaf && !through {
			next--
		}
		// Two types of a fragment may have a field with other arguments.
		alias := ""
		if len(f.Arguments) > 0 {
			alias = strings.ToLower(d.Name) + "_" + f.Name + ": "
		}
		out += alias + f.Name + g.arguments(f) + g.selection(t, next) + " "
	}
	return out + "}"
}
