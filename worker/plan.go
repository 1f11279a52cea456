package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// Plan is what is known of an operation before it runs. It is made once for each
// distinct document and operation name, and never changes.
type Plan struct {
	// Kind is query, mutation or subscription.
	Kind ast.Operation
	// Name is the operation's, "" if it has none.
	Name string
	// Fields are the coordinates ("Query.actor", "Actor.name") of the fields that
	// it selects, fragments included and introspection excluded, each once, sorted.
	Fields []string

	roots      []string // coordinates of the root fields
	need       int      // the rank of the role that it needs
	needy      string   // the field that needs it
	variables  []variable
	introspect bool // selects __schema or __type
	size       int  // about how many bytes it holds

	// The tree, as long as something may be made from it: other texts, introspection.
	schema    *ast.Schema
	root      *ast.Definition // the type that op selects from
	op        *ast.OperationDefinition
	fragments ast.FragmentDefinitionList // those that op reaches

	mu    sync.Mutex
	texts map[string]string // what is executed, by the state of the variables
	room  int               // bytes of further texts that size has room for
}

// How many bytes a plan holds for each byte of its document, as measured: with
// the tree, and with the text alone.
const (
	treeRatio = 32
	textRatio = 4
)

// planner makes plans, and keeps those that were used last.
type planner struct {
	schema    *ast.Schema
	rules     *rules.Rules
	roles     *roles
	maxTokens int
	cache     *planCache
}

// maxErrors is how many errors of one document are told: a document may have
// thousands.
const maxErrors = 20

func newPlanner(c Config) (*planner, error) {
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: c.Schema})
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	roles, err := newRoles(schema, c.DefaultRole)
	if err != nil {
		return nil, err
	}
	delete(schema.Directives, "defer") // gqlparser knows it, nothing here executes it
	return &planner{
		schema:    schema,
		rules:     rules.NewDefaultRules(),
		roles:     roles,
		maxTokens: c.MaxTokens,
		cache:     newPlanCache(c.MaxPlans, c.MaxPlanBytes),
	}, nil
}

// plan returns the plan of the operation called name in document ("" if it has
// only one), or the request errors that say why there is none. It is safe for
// concurrent use; the same plan is returned as long as the cache holds it.
func (p *planner) plan(_ context.Context, document, name string) (*Plan, []*Error) {
	return p.planOf(planKey{hashOf(document), name}, document)
}

// planOf is plan for a document whose hash is known.
func (p *planner) planOf(key planKey, document string) (*Plan, []*Error) {
	if plan := p.cache.get(key); plan != nil {
		return plan, nil
	}
	plan, errs := p.make(document, key.name)
	if errs != nil {
		return nil, errs
	}
	p.cache.put(key, plan, plan.size)
	return plan, nil
}

func (p *planner) make(document, name string) (*Plan, []*Error) {
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: document}, p.maxTokens)
	if err != nil {
		return nil, []*Error{fromGQL(err, CodeParseFailed)}
	}
	if len(doc.Operations) == 0 {
		return nil, []*Error{{Message: "the document has no operation", code: CodeParseFailed}}
	}
	for _, f := range doc.Fragments {
		if f.VariableDefinition != nil {
			return nil, []*Error{{Message: fmt.Sprintf("fragment %q: fragments cannot define variables", f.Name), code: CodeParseFailed}}
		}
	}
	if e := checkBounds(doc); e != nil {
		return nil, []*Error{e}
	}
	if list := validator.ValidateWithRules(p.schema, doc, p.rules); len(list) > 0 {
		return nil, validationErrors(list)
	}
	op, e := selectOperation(doc, name)
	if e != nil {
		return nil, []*Error{e}
	}
	plan := &Plan{
		Kind:      op.Operation,
		Name:      op.Name,
		schema:    p.schema,
		root:      p.root(op.Operation),
		op:        op,
		fragments: reachable(op),
		texts:     map[string]string{},
	}
	plan.Fields = plan.coordinates()
	plan.selections(func(s ast.Selection) {
		if f, ok := s.(*ast.Field); ok && introspects(f) {
			plan.introspect = true
		}
	})
	plan.roots = rootFields(op)
	p.roles.demand(plan)
	if list := plan.normalise(); len(list) > 0 {
		return nil, validationErrors(list)
	}
	if plan.variables, e = p.declared(op); e != nil {
		return nil, []*Error{e}
	}
	plan.size = 512 + treeRatio*len(document)
	plan.room = treeRatio * len(document) / 2
	if states, only := plan.onlyStates(); only {
		text, e := plan.print(states)
		if e != nil {
			return nil, []*Error{e}
		}
		plan.texts[string(states)] = text
		if !plan.introspect {
			plan.op, plan.fragments, plan.size = nil, nil, 512+textRatio*len(document)
		}
		plan.size += max(len(text)-len(document), 0) // see fragments.go
	}
	return plan, nil
}

// onlyStates is the state of the variables, if there is only one: no variable may
// be null or absent.
func (p *Plan) onlyStates() (states []varState, only bool) {
	for _, v := range p.variables {
		if !v.typ.NonNull {
			return nil, false
		}
		states = append(states, varSet)
	}
	return states, true
}

func validationErrors(list gqlerror.List) []*Error {
	var errs []*Error
	for _, e := range list[:min(len(list), maxErrors)] {
		errs = append(errs, fromGQL(e, CodeValidationFailed))
	}
	if more := len(list) - maxErrors; more > 0 {
		errs = append(errs, &Error{Message: fmt.Sprintf("and %d more errors", more), code: CodeValidationFailed})
	}
	return errs
}

func selectOperation(doc *ast.QueryDocument, name string) (*ast.OperationDefinition, *Error) {
	switch {
	case name == "" && len(doc.Operations) == 1:
		return doc.Operations[0], nil
	case name == "":
		return nil, &Error{Message: "the document has several operations: say which by operationName", code: CodeOperationUnresolved}
	}
	if op := doc.Operations.ForName(name); op != nil && op.Name == name {
		return op, nil
	}
	return nil, &Error{Message: fmt.Sprintf("the document has no operation named %q", name), code: CodeOperationUnresolved}
}

func (p *planner) root(kind ast.Operation) *ast.Definition {
	switch kind {
	case ast.Mutation:
		return p.schema.Mutation
	case ast.Subscription:
		return p.schema.Subscription
	}
	return p.schema.Query
}

// reachable are the fragments that op uses for what is executed (those of
// introspection are not), through others too, in the order in which they are
// first used.
func reachable(op *ast.OperationDefinition) (used ast.FragmentDefinitionList) {
	seen := map[string]bool{}
	walk(op.SelectionSet, func(s ast.Selection) bool {
		if f, ok := s.(*ast.Field); ok {
			return !introspects(f)
		}
		spread, ok := s.(*ast.FragmentSpread)
		if !ok {
			return true
		}
		if seen[spread.Name] {
			return false
		}
		seen[spread.Name] = true
		used = append(used, spread.Definition)
		return true
	})
	return used
}

func (p *Plan) coordinates() (fields []string) {
	seen := map[string]bool{}
	p.selections(func(s ast.Selection) {
		if f, ok := s.(*ast.Field); ok && f.ObjectDefinition != nil &&
			!strings.HasPrefix(f.Name, "__") && !strings.HasPrefix(f.ObjectDefinition.Name, "__") {
			seen[f.ObjectDefinition.Name+"."+f.Name] = true
		}
	})
	for f := range seen {
		fields = append(fields, f)
	}
	slices.Sort(fields)
	return fields
}

// selections calls visit for each selection of the plan once.
func (p *Plan) selections(visit func(ast.Selection)) {
	within := func(s ast.Selection) bool {
		visit(s)
		_, spread := s.(*ast.FragmentSpread)
		return !spread
	}
	walk(p.op.SelectionSet, within)
	for _, f := range p.fragments {
		walk(f.SelectionSet, within)
	}
}

// walk calls visit for the selections of set, and for those below a selection if
// visit returned true for it. A fragment spread leads into the fragment.
func walk(set ast.SelectionSet, visit func(ast.Selection) bool) {
	for _, s := range set {
		if !visit(s) {
			continue
		}
		switch s := s.(type) {
		case *ast.Field:
			walk(s.SelectionSet, visit)
		case *ast.InlineFragment:
			walk(s.SelectionSet, visit)
		case *ast.FragmentSpread:
			walk(s.Definition.SelectionSet, visit)
		}
	}
}
