package worker

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	graphql "github.com/graph-gophers/graphql-go"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
	"pgregory.net/rapid"

	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/worker/gqltest"
)

// The planner reads a request by gqlparser, and what it accepts is printed for
// graph-gophers to read again. If the two read one text differently, what was
// checked is not what runs. So for documents of every kind: what one of them
// accepts or refuses, the other does too, but for the differences that are listed;
// graph-gophers accepts whatever the planner prints; and the answer is what
// graph-gophers answers to the client's own text.

// both is a planner and graph-gophers, on one schema.
type both struct {
	worker  *Worker // nil: the schema has no resolvers, and nothing is executed
	planner *planner
	gophers *graphql.Schema
}

func newBoth(t testing.TB, sdl string, resolver any) both {
	t.Helper()
	if resolver != nil {
		w := newTestWorker(t, Config{Schema: sdl, Resolver: resolver, MaxFields: 1 << 30, Log: logtext.Logger(io.Discard), MaxDocument: -1, MaxTokens: -1, MaxDepth: -1, MaxAliases: -1, MaxSelections: -1, MaxCost: -1})
		return both{w, w.planner, w.executor.schema}
	}
	p, err := newPlanner(Config{Schema: sdl, MaxDocument: -1, MaxTokens: -1, MaxDepth: -1, MaxAliases: -1, MaxSelections: -1, MaxCost: -1}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	return both{nil, p, graphql.MustParseSchema(sdl, nil, graphql.UseStringDescriptions())}
}

// beyondBounds tells the bounds that there always are from other refusals.
func beyondBounds(message string) bool {
	for _, bound := range []string{"with its fragments expanded", "repeats fields too often", "levels deep, and may have"} {
		if strings.Contains(message, bound) {
			return true
		}
	}
	return false
}

func newShelter(t testing.TB) both { return newBoth(t, shelterSchema, &shelter{}) }

func newAPI(t testing.TB) both {
	t.Helper()
	sdl, err := os.ReadFile("../api/schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	return newBoth(t, string(sdl), nil)
}

// fataler is a test, of testing or of rapid.
type fataler interface {
	Helper()
	Context() context.Context
	Fatal(args ...any)
}

// reading is what both say to one document.
type reading struct {
	doc              gqltest.Document
	schema           *ast.Schema
	tree             *ast.QueryDocument // nil: gqlparser cannot parse it
	planner, gophers []refusal          // none: accepted
	executed         bool               // by graph-gophers, the client's text
	differences      []string           // from each other, that are not listed
	seen             map[string]bool    // the listed ones that showed
	variables        map[string]any
	messages         map[string]string // of the rules that the document breaks, as gqlparser says
}

// refusal is one error, by the rule that gqlparser or graph-gophers names: without
// "Rule" at its end, "syntax", or "variables".
type refusal struct{ rule, message string }

func (r refusal) String() string { return r.rule + ": " + r.message }

// ofValue says whether e is about values that graph-gophers does not validate:
// scalars in variables, and literals in brackets for scalars and enums.
func (r *reading) ofValue(e refusal) bool {
	if e.rule == gqltest.Variables {
		return true
	}
	if e.rule != "ValuesOfCorrectType" {
		return false
	}
	if field := whole(`Field ".*" is not defined by type "(.*)"\..*`).FindStringSubmatch(e.message); field != nil {
		return r.schema.Types[field[1]].IsLeafType()
	}
	return whole(`.*(?:value|found|Enum ".*")(?: of type ".*")?[:,]? (?:found )?[\[{].*`).MatchString(e.message)
}

// read asks both.
func (b both) read(t fataler, doc gqltest.Document) (r reading) {
	r = reading{doc: doc, schema: b.planner.schema, seen: map[string]bool{}, messages: map[string]string{}}
	if tree, err := parser.ParseQuery(&ast.Source{Input: doc.Text}); err == nil {
		r.tree = tree
	}
	variables, bad := parseVariables([]byte(doc.Variables))
	if bad != nil {
		t.Fatal(bad.reason)
	}

	r.variables = variables
	if r.tree != nil {
		// This also ties the tree to the schema, for the differences to look at.
		for _, e := range validator.ValidateWithRules(r.schema, r.tree, rules.NewDefaultRules()) {
			r.messages[e.Message] = e.Rule
		}
	}

	ours, plan := b.plan(t, &r, variables)
	theirs := b.exec(t, &r)

	// What is left when the listed differences are taken away is to be the same.
	blind := false
	left := func(side string, list []refusal) (rest []refusal) {
		for _, e := range list {
			explained := false
			for _, d := range differences {
				if d.explains(&r, side, e) {
					explained = true
					r.seen[d.why] = true
					blind = blind || d.blinds
				}
			}
			if !explained {
				rest = append(rest, e)
			}
		}
		return rest
	}
	p, g := left("planner", r.planner), left("gophers", r.gophers)
	if len(g) == 0 && len(p) > 0 && (!r.executed || len(r.gophers) > 0) && !slices.ContainsFunc(p, func(e refusal) bool { return !r.ofValue(e) }) {
		blind = true // graph-gophers looks at some values at execution only, and did not come to it
	}
	if (len(p) == 0) != (len(g) == 0) && !blind {
		r.differences = append(r.differences, fmt.Sprintf("the planner says %v\ngraph-gophers says %v", r.planner, r.gophers))
	}
	if len(r.planner) == 0 && plan != nil && r.hasAbstractFragments(nil) {
		if err := b.misshapen(doc.Text, doc.Operation, variables); err != nil {
			r.differences = append(r.differences, fmt.Sprintf("the answer is not as specified: %v", err))
		}
	}
	if len(r.planner) == 0 && len(r.gophers) == 0 && plan != nil && ours != theirs {
		if left("answer", []refusal{{"answer", ""}}) != nil {
			r.differences = append(r.differences, fmt.Sprintf("the answer is   %s\ngraph-gophers': %s", ours, theirs))
		}
	}
	return r
}

// plan takes the planner's way, and returns the answer.
func (b both) plan(t fataler, r *reading, variables map[string]any) (answer string, plan *Plan) {
	plan, errs := b.planner.plan(t.Context(), r.doc.Text, r.doc.Operation)
	if errs != nil {
		r.planner = r.named(errs)
		return "", nil
	}
	values, states, e := b.planner.coerceAll(plan, variables)
	if e != nil {
		r.planner = []refusal{{gqltest.Variables, e.Message}}
		return "", nil
	}
	text, e := plan.text(states)
	if e != nil {
		r.planner = []refusal{{gqltest.Variables, e.Message}}
		return "", nil
	}
	for _, e := range b.gophers.ValidateWithVariables(text, values) {
		r.differences = append(r.differences, fmt.Sprintf("what is printed is refused: %s: %s\n%s", e.Rule, e.Message, text))
	}
	if b.worker == nil || plan.Kind == ast.Subscription {
		return "", nil
	}
	result := b.worker.execute(b.worker.base, plan, b.planner.input(plan, variables), &Caller{})
	for _, e := range result.errors {
		if code := e.Extensions()["code"]; code != CodeBadUserInput {
			r.differences = append(r.differences, fmt.Sprintf("what is printed fails: %v: %s\n%s", code, e.Message, text))
		}
		r.planner = append(r.planner, refusal{gqltest.Variables, e.Message})
	}
	return string(result.data), plan
}

// named are the errors of the planner by the rules that they name.
func (r *reading) named(errs []*Error) (list []refusal) {
	for _, e := range errs {
		rule := r.messages[e.Message]
		switch {
		case rule != "":
		case strings.Contains(e.Message, "-bit integer") || strings.HasSuffix(e.Message, "cannot represent {}") || strings.Contains(e.Message, "beyond the range"):
			rule = "ValuesOfCorrectType" // what gqlparser does not see: see normaliseLiteral
		case e.code == CodeParseFailed:
			rule = gqltest.Syntax
		case e.code == CodeOperationUnresolved:
			rule = gqltest.Operation
		default:
			rule = "planner" // what it looks at by itself
		}
		list = append(list, refusal{rule, e.Message})
	}
	return list
}

// exec lets graph-gophers execute the client's text, and returns the answer.
func (b both) exec(t fataler, r *reading) (answer string) {
	defer func() {
		if v := recover(); v != nil {
			r.gophers = append(r.gophers, refusal{"panic", fmt.Sprint(v)})
		}
	}()
	var variables map[string]any
	if err := json.Unmarshal([]byte(r.doc.Variables), &variables); err != nil {
		t.Fatal(err)
	}
	for _, e := range b.gophers.ValidateWithVariables(r.doc.Text, variables) {
		rule := strings.TrimSuffix(e.Rule, "Rule")
		if rule == "" {
			rule = gqltest.Syntax
		}
		r.gophers = append(r.gophers, refusal{rule, e.Message})
	}
	var op *ast.OperationDefinition
	if r.tree != nil {
		var e *Error
		if op, e = selectOperation(r.tree, r.doc.Operation); e != nil { // as its getOperation, which comes later
			r.gophers = append(r.gophers, refusal{gqltest.Operation, e.Message})
		}
	}
	if r.gophers != nil || b.worker == nil || op.Operation == ast.Subscription {
		return ""
	}
	ctx, cancel := withFieldBudget(t.Context(), 1<<30)
	defer cancel(nil)
	r.executed = true
	response := b.gophers.Exec(ctx, r.doc.Text, r.doc.Operation, variables)
	for _, e := range response.Errors {
		r.gophers = append(r.gophers, refusal{"execution", e.Message})
	}
	return string(response.Data)
}

// checks is how many documents rapid makes of a schema unless the command line says.
func checks(t testing.TB, n string) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	if err := flag.Set(f.Name, n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(f.Name, f.DefValue) })
}

// Documents of both schemas, half of them valid and half such as break one rule;
// each rule is broken by some.
//
//	go test ./worker -run Generated -rapid.checks=100000
//
// takes about five minutes.
func TestGeneratedDocuments(t *testing.T) {
	checks(t, "2600")
	schemas := map[string]both{"shelter": newShelter(t), "api": newAPI(t)}
	broken := map[string]int{}
	for name, b := range schemas {
		t.Run(name, func(t *testing.T) {
			valid := 0
			rapid.Check(t, func(rt *rapid.T) {
				doc := gqltest.Documents(b.planner.schema).Draw(rt, "document")
				r := b.read(rt, doc)
				for _, d := range r.differences {
					rt.Fatalf("%s\n%s", d, doc)
				}
				switch {
				case len(r.planner) > 0 && beyondBounds(r.planner[0].message):
					// The bounds come before the rules, so nothing else is said, broken or not.
				case doc.Broken == "":
					valid++
					if len(r.planner) > 0 {
						rt.Fatalf("a valid document was refused: %v\n%s", r.planner, doc)
					}
				default:
					broken[doc.Broken]++
					if len(r.planner) > 0 && !slices.Contains(r.broken(), doc.Broken) {
						rt.Fatalf("it breaks %s, and was refused by %v: %v\n%s", doc.Broken, r.broken(), r.planner, doc)
					}
				}
			})
			t.Logf("%d valid documents", valid)
		})
	}
	names := append(slices.Collect(maps.Keys(rules.NewDefaultRules().GetInner())), gqltest.Syntax, gqltest.Operation, gqltest.Variables)
	for _, rule := range names {
		if t.Logf("%5d documents break %s", broken[rule], rule); broken[rule] == 0 {
			t.Errorf("no document breaks %s", rule)
		}
	}
}

// Each difference that is listed still shows: in its example, and not where the
// example has nothing of it.
func TestListedDifferences(t *testing.T) {
	shelter, api := newShelter(t), newAPI(t)
	if r := shelter.read(t, gqltest.Document{Text: `query A { hello }`, Operation: "A", Variables: `{}`}); len(r.seen) > 0 || r.differences != nil {
		t.Errorf("%v shows where there is none, %v", r.seen, r.differences)
	}
	for _, d := range differences {
		t.Run(d.why, func(t *testing.T) {
			doc := gqltest.Document{Text: d.example, Variables: d.variables}
			set(&doc.Variables, `{}`)
			if strings.Contains(d.example, "query A ") {
				doc.Operation = "A"
			}
			b := shelter
			if strings.HasPrefix(d.example, "subscription") {
				b = api
			}
			r := b.read(t, doc)
			if !r.seen[d.why] {
				t.Errorf("it does not show any more: the planner says %v, graph-gophers says %v", r.planner, r.gophers)
			}
			for _, other := range r.differences {
				t.Error(other)
			}
		})
	}
}

// broken are the rules that the document breaks, whoever says so.
func (r *reading) broken() (names []string) {
	for _, e := range r.planner {
		names = append(names, e.rule)
	}
	return slices.AppendSeq(names, maps.Values(r.messages))
}
