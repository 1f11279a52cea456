package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/core"
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
	asked      []askedField
	need       int    // the rank of the role that it needs
	needy      string // the field that needs it
	variables  []variable
	introspect bool // selects __schema or __type
	cost       cost
	caching    *cachePlan // nil: its answers are not kept
	size       int        // about how many bytes it holds
	length     int        // of the document
	short      *Plan      // see brief

	// The tree, as long as something may be made from it: other texts, introspection.
	schema    *ast.Schema
	root      *ast.Definition // the type that op selects from
	op        *ast.OperationDefinition
	fragments ast.FragmentDefinitionList // those that op reaches

	// Clients may name its document by the hash. The plan of one that nobody has
	// registered, or was not allowed to, is none the less in the cache.
	named atomic.Bool

	maxSelections int // of a text: it may have what is in a fragment several times

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
	schema *ast.Schema
	rules  []core.Rule // that suggest nothing
	// suggesting are rules whose errors suggest names; nil if they must not.
	suggesting []core.Rule
	roles      *roles
	costs      *costs
	caching    *cacheControl // nil: nothing is kept
	limits     limits
	// introspection is whether the schema may be asked for.
	introspection      bool
	introspectionBytes int
	cache              *planCache
	refusals           *planCache

	hits, misses atomic.Uint64 // of both
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
	costs, err := newCosts(schema)
	if err != nil {
		return nil, err
	}
	caching, err := newCacheControl(schema, c)
	if err != nil {
		return nil, err
	}
	if c.Cache == nil {
		caching = nil
	}
	delete(schema.Directives, "defer") // gqlparser knows it, nothing here executes it
	p := &planner{
		schema:             schema,
		rules:              silentRules(),
		roles:              roles,
		costs:              costs,
		caching:            caching,
		limits:             newLimits(c),
		introspection:      !c.NoIntrospection,
		introspectionBytes: introspectionBytes(c.Schema),
		cache:              newPlanCache(c.MaxPlans, c.MaxPlanBytes),
		refusals:           newPlanCache(maxRefusals, maxRefusalBytes),
	}
	if p.introspection {
		p.suggesting = listOf(rules.NewDefaultRules())
	}
	return p, nil
}

// listOf are rules in the order of their names, in which they see a document.
func listOf(r *rules.Rules) (list []core.Rule) {
	inner := r.GetInner()
	for _, name := range slices.Sorted(maps.Keys(inner)) {
		list = append(list, core.Rule{Name: name, RuleFunc: inner[name]})
	}
	return list
}

// silentRules are the default rules as they are without suggestions.
func silentRules() []core.Rule {
	r := rules.NewDefaultRules()
	for loud, silent := range map[string]core.Rule{
		rules.FieldsOnCorrectTypeRule.Name: rules.FieldsOnCorrectTypeRuleWithoutSuggestions,
		rules.KnownArgumentNamesRule.Name:  rules.KnownArgumentNamesRuleWithoutSuggestions,
		rules.KnownTypeNamesRule.Name:      rules.KnownTypeNamesRuleWithoutSuggestions,
		rules.ValuesOfCorrectTypeRule.Name: rules.ValuesOfCorrectTypeRuleWithoutSuggestions,
	} {
		r.ReplaceRule(loud, silent.RuleFunc)
	}
	return listOf(r)
}

// Errors of a document up to this length suggest names. What is suggested is found
// by comparing each unknown name with each of the schema's, letter by letter.
const maxSuggesting = 2 << 10

// validate returns the first errors of doc, up to one more than maxErrors.
func (p *planner) validate(document string, doc *ast.QueryDocument) gqlerror.List {
	list := p.check(doc, p.rules)
	if len(list) == 0 || p.suggesting == nil || len(document) > maxSuggesting {
		return list
	}
	return p.check(doc, p.suggesting)
}

// enough ends a validation.
type enough struct{}

// check is gqlparser's validation, but that it ends when there are errors enough:
// each may quote as much as the document has, and there may be one at every place
// that an operation gets to, for every operation.
func (p *planner) check(doc *ast.QueryDocument, list []core.Rule) (errs gqlerror.List) {
	defer func() {
		if v := recover(); v != nil && v != (enough{}) {
			panic(v)
		}
	}()
	observers := &core.Events{}
	for _, rule := range list {
		rule.RuleFunc(observers, func(options ...core.ErrorOption) {
			err := &gqlerror.Error{Rule: rule.Name}
			for _, o := range options {
				o(err)
			}
			if errs = append(errs, err); len(errs) > maxErrors {
				panic(enough{})
			}
		})
	}
	validator.Walk(p.schema, doc, observers)
	return errs
}

// plan returns the plan of the operation called name in document ("" if it has
// only one), or the request errors that say why there is none. It is safe for
// concurrent use; the same plan, or the same errors, are returned as long as a cache
// holds them, and nobody may change them.
func (p *planner) plan(_ context.Context, document, name string) (*Plan, []*Error) {
	return p.planOf(planKey{hashOf(document), name}, document)
}

// planOf is plan for a document whose hash is known.
func (p *planner) planOf(key planKey, document string) (*Plan, []*Error) {
	if e := p.limits.checkLength(document); e != nil {
		return nil, []*Error{e}
	}
	if plan, _ := p.cache.get(key); plan != nil {
		p.hits.Add(1)
		return plan, nil
	}
	if _, errs := p.refusals.get(key); errs != nil {
		p.hits.Add(1)
		return nil, errs
	}
	p.misses.Add(1)
	plan, errs := p.make(document, key.name)
	if errs != nil {
		p.refusals.put(key, nil, errs, refusalSize(key.name, errs))
		return nil, errs
	}
	p.cache.put(key, plan, nil, plan.size)
	return plan, nil
}

// A client that sends the same broken document again and again costs what it costs
// to look it up.
const (
	maxRefusals     = 1_000
	maxRefusalBytes = 1 << 20
)

// refusalSize is about how many bytes a refusal holds.
func refusalSize(name string, errs []*Error) int {
	n := 512 + len(name)
	for _, e := range errs {
		n += 512 + len(e.Message) + 32*len(e.Locations)
	}
	return n
}

func (p *planner) make(document, name string) (*Plan, []*Error) {
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: document}, p.limits.tokens)
	if err != nil {
		return nil, []*Error{p.parseError(err)}
	}
	if len(doc.Operations) == 0 {
		return nil, []*Error{{Message: "the document has no operation", code: CodeParseFailed}}
	}
	for _, f := range doc.Fragments {
		if f.VariableDefinition != nil {
			return nil, []*Error{{Message: fmt.Sprintf("fragment %q: fragments cannot define variables", shorten(f.Name)), code: CodeParseFailed}}
		}
	}
	if e := p.limits.check(doc); e != nil {
		return nil, []*Error{e}
	}
	if list := p.validate(document, doc); len(list) > 0 {
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
	var asked *ast.Field
	plan.selections(func(s ast.Selection) {
		if f, ok := s.(*ast.Field); ok && introspects(f) {
			plan.introspect, asked = true, f
		}
	})
	if plan.introspect && !p.introspection {
		e := NewError(CodeNoIntrospection, "introspection is off: "+asked.Name+" is not answered here")
		e.Locations = locations(asked.Position)
		return nil, []*Error{e}
	}
	plan.cost = p.costs.operation(op)
	plan.roots, plan.asked = rootFields(op), askedFields(op)
	p.roles.demand(plan)
	if list := plan.normalise(); len(list) > 0 {
		return nil, validationErrors(list)
	}
	if plan.variables, e = p.declared(op); e != nil {
		return nil, []*Error{e}
	}
	plan.caching = p.caching.plan(p, plan, hashOf(document))
	kept := plan.cost.bytes() + askedBytes(plan.asked) + plan.caching.bytes()
	plan.size = 512 + treeRatio*len(document) + kept
	plan.length = len(document)
	plan.room = treeRatio * len(document) / 2
	plan.maxSelections = p.limits.selections
	if states, only := plan.onlyStates(); only {
		text, e := plan.print(states)
		if e != nil {
			return nil, []*Error{e}
		}
		plan.texts[string(states)] = text
		if !plan.introspect {
			plan.op, plan.fragments, plan.size = nil, nil, 512+textRatio*len(document)+kept
		}
		plan.size += max(len(text)-len(document), 0) // see fragments.go
	}
	return plan, nil
}

// parseError is why a document was not parsed to its end.
func (p *planner) parseError(err error) *Error {
	e := fromGQL(err, CodeParseFailed)
	switch { // gqlparser has no other way to tell
	case e.Message == fmt.Sprintf("exceeded token limit of %d", p.limits.tokens):
		return beyond(CodeDocumentTooLarge, p.limits.tokens, "the document has more than %d tokens", p.limits.tokens)
	case e.Message == fmt.Sprintf("exceeded maximum nesting depth of %d", parser.MaxNestingDepth):
		e.code = CodeMaxDepth
	}
	return e
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
	if len(list) > maxErrors {
		errs = append(errs, &Error{Message: "and there are more errors", code: CodeValidationFailed})
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
	return nil, &Error{Message: fmt.Sprintf("the document has no operation named %q", shorten(name)), code: CodeOperationUnresolved}
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
