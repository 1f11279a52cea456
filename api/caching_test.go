package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/worker"
)

func parsedSchema(t testing.TB) *ast.Schema {
	t.Helper()
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: Schema})
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// cached is c with a cache.
func cached(t testing.TB, c *worker.Config) *cache.Cache {
	t.Helper()
	kept, err := cache.New(cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := kept.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	c.Cache = kept
	return kept
}

// The policy of every field of Query, and what its answers depend on.
var policies = map[string]struct{ query, maxAge, tags string }{
	"node": {`{node(id: "g9001") {id}}`, "60",
		"Campaign,Indicator,Mitigation,Node,Node:g9001,Sighting,Software,Tactic,Technique,ThreatActor"},
	"threatActor":  {`{threatActor(id: "G9001") {name}}`, "3600", "ThreatActor,ThreatActor:G9001"},
	"technique":    {`{technique(id: "T9001.001") {name}}`, "3600", "Technique,Technique:T9001.001"},
	"software":     {`{software(id: "S9001") {name}}`, "3600", "Software,Software:S9001"},
	"campaign":     {`{campaign(id: "C9001") {name}}`, "3600", "Campaign,Campaign:C9001"},
	"mitigation":   {`{mitigation(id: "M9001") {name}}`, "3600", "Mitigation,Mitigation:M9001"},
	"tactic":       {`{tactic(id: "TA9001") {name}}`, "3600", "Tactic,Tactic:TA9001"},
	"indicator":    {`{indicator(id: "INDICATOR") {name}}`, "300", "Indicator,Indicator:INDICATOR"},
	"sighting":     {`{sighting(id: "SIGHTING") {count}}`, "60", "Sighting,Sighting:SIGHTING"},
	"threatActors": {`{threatActors {nodes {name}}}`, "300", "ThreatActor,ThreatActor:list"},
	"techniques":   {`{techniques {totalCount}}`, "300", "Technique,Technique:list"},
	"softwareList": {`{softwareList {edges {node {name}}}}`, "300", "Software,Software:list"},
	"campaigns":    {`{campaigns {pageInfo {endCursor}}}`, "300", "Campaign,Campaign:list"},
	"mitigations":  {`{mitigations {nodes {id}}}`, "300", "Mitigation,Mitigation:list"},
	"tactics":      {`{tactics {nodes {id}}}`, "300", "Tactic,Tactic:list"},
	"indicators":   {`{indicators {nodes {id}}}`, "300", "Indicator,Indicator:list"},
	"sightings":    {`{sightings {nodes {id}}}`, "60", "Sighting,Sighting:list"},
	"threatCounts": {`{threatCounts {indicators techniquesByTactic {count}}}`, "60",
		"Indicator,Indicator:list,Tactic,Tactic:list,Technique,Technique:list"},
	"me":      {`{me {subject}}`, "", ""},
	"users":   {`{users {nodes {id}}}`, "", ""},
	"apiKeys": {`{apiKeys {nodes {id}}}`, "", ""},
}

// A field of Query that nobody has thought of is noticed here, and what somebody has is
// as served.
func TestEveryRootFieldHasAPolicy(t *testing.T) {
	schema := parsedSchema(t)
	s := serve(t, func(c *worker.Config) { cached(t, c) })
	ids := sampleIDs(t, s)
	for _, f := range schema.Query.Fields {
		if strings.HasPrefix(f.Name, "__") {
			continue
		}
		p, ok := policies[f.Name]
		if !ok {
			t.Errorf("Query.%s: how long may its answers be used? See the table", f.Name)
			continue
		}
		fill := strings.NewReplacer("INDICATOR", ids["Indicator"], "SIGHTING", ids["Sighting"])
		token := ""
		if p.maxAge == "" {
			token = s.tokens[auth.RoleAdmin]
		}
		a := s.ask(token, fill.Replace(p.query), nil)
		if len(a.Errors) > 0 {
			t.Fatal(a.body)
		}
		want := "no-store"
		if p.maxAge != "" {
			want = "max-age=" + p.maxAge + ", public, "
		}
		if got := a.header.Get("Cache-Control"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: Cache-Control: %s, want %s", p.query, got, want)
		}
		if got := a.header.Get("Cache-Tag"); got != fill.Replace(p.tags) {
			t.Errorf("%s: Cache-Tag: %s, want %s", p.query, got, fill.Replace(p.tags))
		}
	}
}

// A type that says nothing keeps every answer that has it from being used again, and nobody
// would notice but by the load.
func TestEveryTypeHasAPolicy(t *testing.T) {
	schema := parsedSchema(t)
	seen, left := map[string]bool{}, []*ast.Definition{schema.Query}
	for len(left) > 0 {
		def := left[0]
		left = left[1:]
		if seen[def.Name] || !def.IsCompositeType() || strings.HasPrefix(def.Name, "__") {
			continue
		}
		seen[def.Name] = true
		if d := def.Directives.ForName("cacheControl"); d == nil && def != schema.Query {
			t.Errorf("%s can be reached from Query, and has no @cacheControl", def.Name)
		}
		for _, f := range def.Fields {
			left = append(left, schema.Types[f.Type.Name()])
		}
		left = append(left, schema.GetPossibleTypes(def)...)
	}
	if len(seen) < 30 {
		t.Errorf("only %d types were looked at", len(seen))
	}
}

// sampleIDs are ids of one object of each type, by which lookups find it.
func sampleIDs(t testing.TB, s *served) map[string]string {
	t.Helper()
	ids := map[string]string{"ThreatActor": "G9001", "Technique": "T9001", "Software": "S9001", "Campaign": "C9001", "Mitigation": "M9001", "Tactic": "TA9001"}
	var list struct {
		Indicators, Sightings struct{ Nodes []struct{ ID string } }
	}
	s.get("", &list, `{indicators(filter: {active: true}) {nodes {id}} sightings {nodes {id}}}`, nil)
	if len(list.Indicators.Nodes) == 0 || len(list.Sightings.Nodes) == 0 {
		t.Fatal("the sample has no active indicator, or no sighting")
	}
	ids["Indicator"], ids["Sighting"] = list.Indicators.Nodes[0].ID, list.Sightings.Nodes[0].ID
	return ids
}

// scalars selects all that a type has without arguments and sub-fields. Types in an interface
// have aliases, as their fields need not be alike.
func scalars(schema *ast.Schema, def *ast.Definition, alias string) string {
	if def.IsAbstractType() {
		s := "__typename"
		for _, possible := range schema.GetPossibleTypes(def) {
			if possible.Kind == ast.Object {
				s += " ... on " + possible.Name + " {" + scalars(schema, possible, possible.Name+"_") + "}"
			}
		}
		return s
	}
	s := "__typename"
	for _, f := range def.Fields {
		if len(f.Arguments) == 0 && schema.Types[f.Type.Name()].IsLeafType() && !strings.HasPrefix(f.Name, "__") {
			s += " "
			if alias != "" {
				s += alias + f.Name + ": "
			}
			s += f.Name
		}
	}
	return s
}

// shown selects what a field of a type leads to: an object with what hangs on that, or a
// connection with its objects.
func shown(schema *ast.Schema, f *ast.FieldDefinition) string {
	def := schema.Types[f.Type.Name()]
	nodes := def.Fields.ForName("nodes")
	if nodes == nil {
		s := scalars(schema, def, "")
		for _, sub := range def.Fields {
			if of := schema.Types[sub.Type.Name()]; of.Kind == ast.Object && len(sub.Arguments) == 0 && of.Fields.ForName("id") == nil {
				s += " " + sub.Name + " {" + scalars(schema, of, "") + "}"
			}
		}
		return s
	}
	node := schema.Types[nodes.Type.Name()]
	s := "totalCount nodes {" + scalars(schema, node, "")
	if node.Name == "Sighting" {
		s += " sightingOf {" + scalars(schema, schema.Types["Node"], "") + "}"
	}
	return s + "} edges {cursor node {id} relationship {description}} pageInfo {hasNextPage endCursor}"
}

// wanted are queries for all that the schema can show, each field of each type apart, by every
// root field that leads to it; and for what filters find.
func wanted(schema *ast.Schema, ids map[string]string) (queries []string) {
	lookups := map[string]string{}
	for _, f := range schema.Query.Fields {
		if len(f.Arguments) == 1 && f.Arguments[0].Name == "id" {
			lookups[f.Name] = f.Type.Name()
		}
	}
	for _, root := range slices.Sorted(maps.Keys(lookups)) {
		types := []string{lookups[root]}
		if root == "node" {
			types = slices.Sorted(maps.Keys(ids))
		}
		for _, typ := range types {
			def := schema.Types[typ]
			for _, f := range def.Fields {
				of := schema.Types[f.Type.Name()]
				if strings.HasPrefix(f.Name, "__") || of.Fields.ForName("id") == nil && of.Fields.ForName("nodes") == nil && f.Name != "active" {
					continue
				}
				inner := f.Name
				if of.IsCompositeType() {
					inner += " {" + shown(schema, f) + "}"
				}
				queries = append(queries, fmt.Sprintf("{%s(id: %q) {... on %s {%s}}}", root, ids[typ], typ, inner))
			}
			queries = append(queries, fmt.Sprintf("{%s(id: %q) {... on %s {%s}}}", root, ids[typ], typ, scalars(schema, def, "")))
		}
	}
	for _, f := range schema.Query.Fields {
		if f.Arguments.ForName("filter") != nil {
			queries = append(queries, fmt.Sprintf("{%s {%s}}", f.Name, shown(schema, f)))
		}
	}
	counts := schema.Query.Fields.ForName("threatCounts")
	for _, f := range schema.Types["ThreatCounts"].Fields {
		inner := f.Name
		if of := schema.Types[f.Type.Name()]; of.IsCompositeType() {
			inner += " {" + scalars(schema, of, "") + "}"
		}
		queries = append(queries, fmt.Sprintf("{%s {%s}}", counts.Name, inner))
	}
	for _, filter := range []string{
		`indicators(filter: {active: true})`, `indicators(filter: {active: false})`, `indicators(filter: {indicates: "G9001"})`,
		`indicators(filter: {valueType: "ipv4-addr", value: "203.0.113.99"})`, `indicators(filter: {text: "lantern"})`,
		fmt.Sprintf(`indicators(filter: {ids: [%q]})`, ids["Indicator"]), `indicators(first: 1, orderBy: {field: MODIFIED, direction: DESC})`,
		fmt.Sprintf(`sightings(filter: {sightingOf: %q})`, ids["Indicator"]), `sightings(filter: {sightingOf: "G9001"})`,
		`sightings(filter: {seenAfter: "2026-01-30"})`, `sightings(first: 1)`,
	} {
		queries = append(queries, "{"+filter+" {totalCount nodes {id __typename} pageInfo {endCursor hasNextPage}}}")
	}
	return queries
}

// Whatever a mutation changes is answered as it then is, at once, wherever it is shown: all
// that the schema can show is asked, changed, and asked again, and must be what an API without
// a cache says.
func TestMutationsInvalidate(t *testing.T) {
	schema := parsedSchema(t)
	var kept *cache.Cache
	s := serve(t, func(c *worker.Config) { kept = cached(t, c) })
	truth := newClient(t, s.accounts.(store.Store))
	ids := sampleIDs(t, s)
	queries := wanted(schema, ids)
	if len(queries) < 80 {
		t.Fatalf("only %d queries", len(queries))
	}
	before := map[string]string{}
	prime := func() {
		t.Helper()
		for _, q := range queries {
			a := s.ask("", q, nil)
			if len(a.Errors) > 0 || a.header.Get("ETag") == "" {
				t.Fatalf("%s: %s %v", q, a.body, a.header)
			}
			before[q] = a.body
		}
		fills := kept.Stats().Fills
		for _, q := range queries {
			s.ask("", q, nil)
		}
		if again := kept.Stats().Fills; again != fills {
			t.Fatalf("%d answers were made again", again-fills)
		}
	}
	input := func(v map[string]any) map[string]any { return map[string]any{"in": v} }
	create := map[string]any{"name": "Lantern relay", "valueType": "ipv4-addr", "value": "203.0.113.99", "indicates": []any{"G9001", "T9001", "S9001", "C9001"}}
	const createIndicator = `mutation ($in: CreateIndicatorInput!) {createIndicator(input: $in) {indicator {id}}}`
	const reportSighting = `mutation ($in: ReportSightingInput!) {reportSighting(input: $in) {sighting {id}}}`
	const retireIndicator = `mutation ($id: ID!) {retireIndicator(id: $id) {indicator {id}}}`
	done := map[string]bool{}
	for _, m := range []struct {
		what, mutation string
		vars           map[string]any
		least          int // answers that it changes
	}{
		{"an indicator", createIndicator, input(create), 12},
		{"a sighting of an indicator", reportSighting, input(map[string]any{"of": ids["Indicator"], "lastSeen": "2026-01-31"}), 6},
		{"a sighting of a threat actor", reportSighting, input(map[string]any{"of": "g9001", "count": 3}), 6},
		{"of a technique", reportSighting, input(map[string]any{"of": "T9001"}), 6},
		{"of software", reportSighting, input(map[string]any{"of": "S9001"}), 6},
		{"of a campaign", reportSighting, input(map[string]any{"of": "C9001"}), 6},
		{"an indicator retired", retireIndicator, map[string]any{"id": ids["Indicator"]}, 6},
		{"a sighting of what is retired", reportSighting, input(map[string]any{"of": ids["Indicator"]}), 6},
	} {
		prime()
		if a := s.ask(s.tokens[auth.RoleAnalyst], m.mutation, m.vars); len(a.Errors) > 0 {
			t.Fatalf("%s: %s", m.what, a.body)
		}
		for name := range strings.FieldsFuncSeq(m.mutation, func(r rune) bool { return r == '{' || r == '(' }) {
			done[strings.TrimSpace(name)] = true
		}
		changed := 0
		for _, q := range queries {
			got, want := s.ask("", q, nil).body, truth.ask(q, nil)
			if got != want {
				t.Errorf("%s: %s is\n%s\nand was made\n%s", m.what, q, want, got)
			}
			if want != before[q] {
				changed++
			}
		}
		if changed < m.least {
			t.Errorf("%s: only %d of %d answers have changed", m.what, changed, len(queries))
		}
	}
	// What a mutation changes is shown by nothing that is kept, for these.
	for _, accounts := range []string{"login", "refreshSession", "logout", "createUser", "disableUser", "enableUser", "createApiKey", "revokeApiKey"} {
		done[accounts] = true
	}
	for _, f := range schema.Mutation.Fields {
		if !done[f.Name] {
			t.Errorf("Mutation.%s: what does it change that is kept?", f.Name)
		}
	}
}

// A lookup of one object stays when another changes.
func TestMutationsInvalidateNoMore(t *testing.T) {
	var kept *cache.Cache
	s := serve(t, func(c *worker.Config) { kept = cached(t, c) })
	ids := sampleIDs(t, s)
	stay := []string{
		`{threatActor(id: "G9001") {name firstSeen lastSeen techniques {totalCount}}}`, `{techniques {nodes {name}}}`, `{threatCounts {threatActors}}`,
		fmt.Sprintf(`{indicator(id: %q) {name pattern}}`, ids["Indicator"]),
	}
	for _, q := range stay {
		s.ask("", q, nil)
	}
	if a := s.ask(s.tokens[auth.RoleAnalyst], `mutation {reportSighting(input: {of: "G9001"}) {sighting {id}}}`, nil); len(a.Errors) > 0 {
		t.Fatal(a.body)
	}
	if a := s.ask(s.tokens[auth.RoleAnalyst], `mutation {createIndicator(input: {valueType: "ipv4-addr", value: "203.0.113.98"}) {indicator {id}}}`, nil); len(a.Errors) > 0 {
		t.Fatal(a.body)
	}
	fills := kept.Stats().Fills
	for _, q := range stay {
		s.ask("", q, nil)
	}
	if again := kept.Stats().Fills; again != fills {
		t.Errorf("%d of %d answers were made again", again-fills, len(stay))
	}
}

// A change that the store has made before it failed is seen, too.
func TestFailedMutationsInvalidate(t *testing.T) {
	var st *failing
	s := serve(t, func(c *worker.Config) {
		cached(t, c)
		st = &failing{Store: c.Resolver.(*Resolver).store}
		c.Resolver.(*Resolver).backend.store = st
	})
	ids := sampleIDs(t, s)
	for _, c := range []struct{ mutation, query string }{
		{`mutation {reportSighting(input: {of: "G9001"}) {sighting {id}}}`, `{threatActor(id: "G9001") {sightings {totalCount}}}`},
		{`mutation {createIndicator(input: {valueType: "ipv4-addr", value: "203.0.113.97"}) {indicator {id}}}`, `{threatCounts {indicators}}`},
		{fmt.Sprintf(`mutation {retireIndicator(id: %q) {indicator {id}}}`, ids["Indicator"]), fmt.Sprintf(`{node(id: %q) {... on Indicator {retiredAt}}}`, ids["Indicator"])},
	} {
		before := s.ask("", c.query, nil).body
		if a := s.ask(s.tokens[auth.RoleAnalyst], c.mutation, nil); a.code() != string(Unavailable) {
			t.Fatalf("%s: %s", c.mutation, a.body)
		}
		if after := s.ask("", c.query, nil).body; after == before || !json.Valid([]byte(after)) {
			t.Errorf("%s: %s is still %s", c.mutation, c.query, after)
		}
	}
}

// What was not changed stays, above all while the store is away: there is nothing better then.
func TestRefusedMutationsInvalidateNothing(t *testing.T) {
	var st *refusing
	var kept *cache.Cache
	s := serve(t, func(c *worker.Config) {
		kept = cached(t, c)
		st = &refusing{Store: c.Resolver.(*Resolver).store}
		c.Resolver.(*Resolver).backend.store = st
	})
	for _, refuse := range []error{errors.Join(store.ErrUnavailable, store.ErrNotMade), nil} {
		st.err = refuse
		for _, mutation := range []string{
			`mutation {reportSighting(input: {of: "nothing"}) {sighting {id}}}`,
			`mutation {createIndicator(input: {valueType: "nothing", value: "x"}) {indicator {id}}}`,
			`mutation {retireIndicator(id: "nothing") {indicator {id}}}`,
		} {
			before := kept.Stats().Invalidated
			if a := s.ask(s.tokens[auth.RoleAnalyst], mutation, nil); a.code() == "" {
				t.Fatalf("%s: %s", mutation, a.body)
			}
			if after := kept.Stats().Invalidated; after != before {
				t.Errorf("%v: %s has invalidated %d tags", refuse, mutation, after-before)
			}
		}
	}
}

// refusing makes no changes.
type refusing struct {
	store.Store
	err error // nil: what the store says
}

func (f *refusing) ReportSighting(ctx context.Context, in store.NewSighting) (*store.Object, error) {
	if f.err != nil {
		return nil, f.err
	}
	return f.Store.ReportSighting(ctx, in)
}

func (f *refusing) CreateIndicator(ctx context.Context, in store.NewIndicator) (*store.Object, error) {
	if f.err != nil {
		return nil, f.err
	}
	return f.Store.CreateIndicator(ctx, in)
}

func (f *refusing) RetireIndicator(ctx context.Context, key string) (*store.Object, error) {
	if f.err != nil {
		return nil, f.err
	}
	return f.Store.RetireIndicator(ctx, key)
}

// failing makes changes, and says that it could not.
type failing struct{ store.Store }

func (f *failing) ReportSighting(ctx context.Context, in store.NewSighting) (*store.Object, error) {
	if _, err := f.Store.ReportSighting(ctx, in); err != nil {
		return nil, err
	}
	return nil, store.ErrUnavailable
}

func (f *failing) CreateIndicator(ctx context.Context, in store.NewIndicator) (*store.Object, error) {
	if _, err := f.Store.CreateIndicator(ctx, in); err != nil {
		return nil, err
	}
	return nil, store.ErrUnavailable
}

func (f *failing) RetireIndicator(ctx context.Context, key string) (*store.Object, error) {
	if _, err := f.Store.RetireIndicator(ctx, key); err != nil {
		return nil, err
	}
	return nil, store.ErrUnavailable
}
