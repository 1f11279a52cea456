package worker

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"
)

// What an operation costs is estimated from its plan before it runs, in the terms of
// IBM's GraphQL Cost Directives with the numbers of Apollo's demand control:
//
//	directive @cost(weight: Int!) on FIELD_DEFINITION | ARGUMENT_DEFINITION | OBJECT | SCALAR | ENUM
//	directive @listSize(assumedSize: Int, slicingArguments: [String!], sizedFields: [String!]) on FIELD_DEFINITION
//
// A field costs its own weight and those of its arguments that are given, once, and
// for each value that it returns the weight of its type and what is selected of it.
// Without @cost an object weighs 1, a scalar or enum 0, a root field of a mutation
// 10 and every other field 0. Of an interface or union the dearest type counts.
//
// A list has as many elements as its slicing arguments say, the largest of them if
// there are several; else assumedSize; else defaultListSize. Where @listSize says
// nothing, the Int arguments first, last and limit slice: the list that the field
// returns or, if it returns an object, the lists nodes and edges of that.
const (
	costDirective     = "cost"
	listSizeDirective = "listSize"

	mutationWeight  = 10
	defaultListSize = 10
)

var (
	slicingNames = []string{"first", "last", "limit"}
	sizedNames   = []string{"nodes", "edges"}
)

// costs are what the fields and types of a schema cost.
type costs struct {
	schema   *ast.Schema
	fields   map[*ast.FieldDefinition]*fieldCost
	types    map[string]int             // for one value
	possible map[string]map[string]bool // the objects that are of a type
}

// fieldCost is what is known of a field. That of an interface covers all types that
// it may turn out to be.
type fieldCost struct {
	weight    int
	arguments map[string]int // weights
	slicing   []string       // arguments
	assumed   int            // how long the list is without them
	sized     []string       // the fields of the result that are so long; none: the result itself
}

func newCosts(schema *ast.Schema) (*costs, error) {
	c := &costs{schema: schema, fields: map[*ast.FieldDefinition]*fieldCost{}, types: map[string]int{}, possible: map[string]map[string]bool{}}
	for _, def := range schema.Types {
		objects := map[string]bool{}
		for _, possible := range schema.GetPossibleTypes(def) {
			if possible.Kind == ast.Object {
				objects[possible.Name] = true
			}
		}
		c.possible[def.Name] = objects
		if err := c.ofType(def); err != nil {
			return nil, fmt.Errorf("schema: %w", err)
		}
	}
	for _, def := range schema.Types {
		if !def.IsAbstractType() {
			continue
		}
		for _, possible := range schema.GetPossibleTypes(def) {
			c.types[def.Name] = max(c.types[def.Name], c.types[possible.Name])
			for _, f := range def.Fields {
				if own := possible.Fields.ForName(f.Name); own != nil {
					c.fields[f].cover(c.fields[own])
				}
			}
		}
	}
	return c, nil
}

func (c *costs) ofType(def *ast.Definition) error {
	weight := 0
	if def.IsCompositeType() {
		weight = 1
	}
	weight, err := weightIn(def.Directives, weight)
	if err != nil {
		return fmt.Errorf("%s: %w", def.Name, err)
	}
	c.types[def.Name] = weight
	for _, f := range def.Fields {
		if def.Kind == ast.InputObject {
			if f.Directives.ForName(costDirective) != nil {
				return fmt.Errorf("%s.%s: @%s counts for arguments, not for fields of inputs", def.Name, f.Name, costDirective)
			}
			continue
		}
		if c.fields[f], err = c.ofField(def, f); err != nil {
			return fmt.Errorf("%s.%s: %w", def.Name, f.Name, err)
		}
	}
	return nil
}

func (c *costs) ofField(def *ast.Definition, f *ast.FieldDefinition) (*fieldCost, error) {
	fc := &fieldCost{arguments: map[string]int{}, assumed: defaultListSize}
	if def == c.schema.Mutation {
		fc.weight = mutationWeight
	}
	var err error
	if fc.weight, err = weightIn(f.Directives, fc.weight); err != nil {
		return nil, err
	}
	for _, a := range f.Arguments {
		weight, err := weightIn(a.Directives, 0)
		if err != nil {
			return nil, fmt.Errorf("argument %q: %w", a.Name, err)
		}
		if weight > 0 {
			fc.arguments[a.Name] = weight
		}
	}
	if d := f.Directives.ForName(listSizeDirective); d != nil {
		return fc, fc.listSize(c.schema, f, d)
	}
	for _, name := range slicingNames {
		if isInt(f.Arguments.ForName(name)) {
			fc.slicing = append(fc.slicing, name)
		}
	}
	if len(fc.slicing) > 0 && f.Type.Elem == nil {
		for _, name := range sizedNames {
			if isList(c.schema, f, name) {
				fc.sized = append(fc.sized, name)
			}
		}
	}
	return fc, nil
}

func (fc *fieldCost) listSize(schema *ast.Schema, f *ast.FieldDefinition, d *ast.Directive) error {
	given := d.ArgumentMap(nil)
	if n, ok := given["assumedSize"].(int64); ok {
		if n < 0 {
			return fmt.Errorf("@%s(assumedSize: %d): it cannot be negative", listSizeDirective, n)
		}
		fc.assumed = int(n)
	}
	fc.slicing, fc.sized = stringsIn(given["slicingArguments"]), stringsIn(given["sizedFields"])
	for _, name := range fc.slicing {
		if !isInt(f.Arguments.ForName(name)) {
			return fmt.Errorf("@%s(slicingArguments: %q): there is no such argument of type Int", listSizeDirective, name)
		}
	}
	for _, name := range fc.sized {
		if !isList(schema, f, name) {
			return fmt.Errorf("@%s(sizedFields: %q): there is no such list in %s", listSizeDirective, name, f.Type.Name())
		}
	}
	return nil
}

// cover makes the cost of a field of an interface one that covers a type's own.
func (fc *fieldCost) cover(own *fieldCost) {
	fc.weight = max(fc.weight, own.weight)
	for name, weight := range own.arguments {
		fc.arguments[name] = max(fc.arguments[name], weight)
	}
	fc.assumed = max(fc.assumed, own.assumed)
	for _, name := range own.slicing {
		if !slices.Contains(fc.slicing, name) {
			fc.slicing = append(fc.slicing, name)
		}
	}
	for _, name := range own.sized {
		if !slices.Contains(fc.sized, name) {
			fc.sized = append(fc.sized, name)
		}
	}
}

// weightIn is what @cost says in list, else def.
func weightIn(list ast.DirectiveList, def int) (int, error) {
	d := list.ForName(costDirective)
	if d == nil {
		return def, nil
	}
	arg := d.Arguments.ForName("weight")
	if arg == nil {
		return 0, fmt.Errorf("@%s wants a weight", costDirective)
	}
	n, err := strconv.Atoi(arg.Value.Raw)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("@%s(weight: %s): it must be an integer and not negative", costDirective, arg.Value)
	}
	return n, nil
}

func isInt(a *ast.ArgumentDefinition) bool { return a != nil && a.Type.NamedType == "Int" }

// isList says whether the result of f has a list of this name.
func isList(schema *ast.Schema, f *ast.FieldDefinition, name string) bool {
	field := schema.Types[f.Type.Name()].Fields.ForName(name)
	return field != nil && field.Type.Elem != nil
}

func stringsIn(v any) (list []string) {
	switch v := v.(type) {
	case string: // one is a list of one
		return []string{v}
	case []any:
		for _, e := range v {
			list = append(list, fmt.Sprint(e))
		}
	}
	return list
}

// cost is an expression over the variables of an operation: a list of steps, each
// of which uses results of those before it. What uses no variable has been computed.
type cost struct {
	steps  []costStep
	result operand
}

// costStep is the sum, or the largest, of terms and a constant.
type costStep struct {
	constant int
	terms    []costTerm
	largest  bool
}

type costTerm struct {
	operand operand
	times   int       // the constant factor
	size    *sliced   // a further one; may be nil
	when    *included // a condition; may be nil
}

// operand is the result of a step or, if step is negative, a constant.
type operand struct{ step, constant int }

func constant(n int) operand { return operand{-1, n} }

func (o operand) known() bool { return o.step < 0 }

// sliced is the length of a list: the largest of known, variables and, for those
// that are absent, what the argument has then; or def if nothing was given.
type sliced struct {
	known     int // -1: nothing
	def       int
	variables []slicingVariable
}

type slicingVariable struct {
	name   string
	absent int // the argument's default; -1 for none
}

// included is a condition by variables, all of which must be as wanted.
type included []wanted

type wanted struct {
	variable string
	value    bool
}

func (s *sliced) length(values map[string]any) int {
	n := s.known
	for _, v := range s.variables {
		if given, ok := values[v.name].(int32); ok {
			n = max(n, int(given), 0)
		} else {
			n = max(n, v.absent)
		}
	}
	if n < 0 {
		return s.def
	}
	return n
}

func (c *included) holds(values map[string]any) bool {
	for _, w := range *c {
		if given, ok := values[w.variable].(bool); ok && given != w.value {
			return false
		}
	}
	return true
}

// in is the value with the variables of a request. It is never negative; what is
// too large is the largest int.
func (c *cost) in(values map[string]any) int {
	if c.result.known() {
		return c.result.constant
	}
	var few [32]int
	results := few[:0]
	value := func(o operand) int {
		if o.known() {
			return o.constant
		}
		return results[o.step]
	}
	for i := range c.steps {
		s := &c.steps[i]
		n := s.constant
		for j := range s.terms {
			t := &s.terms[j]
			if t.when != nil && !t.when.holds(values) {
				continue
			}
			v := times(value(t.operand), t.times)
			if t.size != nil {
				v = times(v, t.size.length(values))
			}
			if s.largest {
				n = max(n, v)
			} else {
				n = add(n, v)
			}
		}
		results = append(results, n)
	}
	return value(c.result)
}

// bytes is about what it takes in memory.
func (c *cost) bytes() (n int) {
	for _, s := range c.steps {
		n += 48 + 120*len(s.terms)
	}
	return n
}

// Cost is what the plan's operation costs, as the schema's @cost and @listSize say,
// with the variables of one request, coerced. It is never negative.
func (p *Plan) Cost(values map[string]any) int { return p.cost.in(values) }

// checkCost returns what an operation costs, and an error if that is more than may be, together with
// those of the batch that ctx is of.
func (l *limits) checkCost(ctx context.Context, plan *Plan, values map[string]any) (int, *Error) {
	n := plan.Cost(values)
	if b, ok := ctx.Value(fieldBudgetKey{}).(*fieldBudget); ok {
		for {
			before := b.cost.Load()
			if total := add(n, int(before)); total > l.cost {
				n = total
			} else if !b.cost.CompareAndSwap(before, int64(total)) {
				continue
			}
			break
		}
	}
	if n <= l.cost {
		return n, nil
	}
	return n, &Error{
		Message: fmt.Sprintf("the operation costs %d, and may cost %d: ask for shorter lists or fewer of them, or in several requests", n, l.cost),
		code:    CodeTooExpensive,
		// As Apollo Router says it.
		extensions: map[string]any{"cost": map[string]any{"estimated": n, "max": l.cost}},
	}
}

// costing computes the cost of one operation.
type costing struct {
	*costs
	program   cost
	fragments map[string]*perType
}

// perType is the cost of a selection set: of what is selected of every object, and
// what only objects of some types add.
type perType struct {
	common sum
	types  map[string]*sum
}

// sum is one that terms are still added to.
type sum struct {
	constant int
	terms    []costTerm
}

func (s *sum) add(t costTerm) {
	if t.operand.known() && t.size == nil && t.when == nil {
		s.constant = add(s.constant, times(t.operand.constant, t.times))
		return
	}
	if t.times > 0 && t.operand != constant(0) {
		s.terms = append(s.terms, t)
	}
}

func (p *perType) of(name string) *sum {
	if p.types == nil {
		p.types = map[string]*sum{}
	}
	if p.types[name] == nil {
		p.types[name] = &sum{}
	}
	return p.types[name]
}

// operation is the cost of a valid operation.
func (c *costs) operation(op *ast.OperationDefinition) cost {
	ing := costing{costs: c, fragments: map[string]*perType{}}
	root := c.schema.Query
	switch op.Operation {
	case ast.Mutation:
		root = c.schema.Mutation
	case ast.Subscription:
		root = c.schema.Subscription
	}
	ing.program.result = ing.dearest(ing.set(root, op.SelectionSet, nil))
	return ing.program
}

// step makes an operand of a sum.
func (c *costing) step(s costStep) operand {
	if len(s.terms) == 0 {
		return constant(s.constant)
	}
	c.program.steps = append(c.program.steps, s)
	return operand{len(c.program.steps) - 1, 0}
}

func (c *costing) sum(s *sum) operand { return c.step(costStep{constant: s.constant, terms: s.terms}) }

// dearest is the cost for whatever type is the dearest.
func (c *costing) dearest(p *perType) operand {
	if len(p.types) == 0 {
		return c.sum(&p.common)
	}
	largest := costStep{largest: true}
	names := make([]string, 0, len(p.types))
	for name := range p.types {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if o := c.sum(p.types[name]); o.known() {
			largest.constant = max(largest.constant, o.constant)
		} else {
			largest.terms = append(largest.terms, costTerm{operand: o, times: 1})
		}
	}
	all := p.common
	all.add(costTerm{operand: c.step(largest), times: 1})
	return c.sum(&all)
}

// set is the cost of what is selected of one object of a type. Sizes are those of
// the lists in it that an argument of its parent slices.
func (c *costing) set(parent *ast.Definition, set ast.SelectionSet, sizes *sizes) *perType {
	p := &perType{}
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			if when, ok := condition(s.Directives); ok && !introspects(s) && s.Definition != nil {
				c.field(s, sizes, when, &p.common)
			}
		case *ast.InlineFragment:
			if when, ok := condition(s.Directives); ok {
				def := parent
				if s.TypeCondition != "" {
					def = c.schema.Types[s.TypeCondition]
				}
				c.join(p, parent, def, c.set(def, s.SelectionSet, sizes), when)
			}
		case *ast.FragmentSpread:
			if when, ok := condition(s.Directives); ok && s.Definition != nil {
				def := c.schema.Types[s.Definition.TypeCondition]
				c.join(p, parent, def, c.fragment(s.Definition, def, sizes), when)
			}
		}
	}
	return p
}

// fragment is the cost of a fragment, computed once for the same sizes: a fragment
// of a connection is spread in connections of different lengths.
func (c *costing) fragment(f *ast.FragmentDefinition, def *ast.Definition, sizes *sizes) *perType {
	key := f.Name + sizes.key()
	if c.fragments[key] == nil {
		p := c.set(def, f.SelectionSet, sizes)
		// What is spread in many places is a sum of its own, not terms in each of them.
		shared := &perType{common: sum{}}
		shared.common.add(costTerm{operand: c.sum(&p.common), times: 1})
		for name, s := range p.types {
			shared.of(name).add(costTerm{operand: c.sum(s), times: 1})
		}
		c.fragments[key] = shared
	}
	return c.fragments[key]
}

// join adds to p, the cost of a set of parent, that of a fragment on def in it.
func (c *costing) join(p *perType, parent, def *ast.Definition, f *perType, when *included) {
	give := func(to, from *sum) {
		if when == nil && len(from.terms) < 2 {
			to.constant = add(to.constant, from.constant)
			to.terms = append(to.terms, from.terms...)
			return
		}
		to.add(costTerm{operand: c.sum(from), times: 1, when: when})
	}
	possible := c.possible[parent.Name]
	if c.covers(def, parent) {
		give(&p.common, &f.common)
	} else {
		for name := range c.possible[def.Name] {
			if possible[name] {
				give(p.of(name), &f.common)
			}
		}
	}
	for name, s := range f.types {
		if possible[name] {
			give(p.of(name), s)
		}
	}
}

// covers says whether every object of type def is one of type cond.
func (c *costs) covers(cond, def *ast.Definition) bool {
	return cond == def || c.possible[cond.Name][def.Name] || slices.Contains(c.schema.GetImplements(def), cond)
}

// sizes is the length of some lists of a selection set.
type sizes struct {
	names  []string
	length *sliced
}

func (s *sizes) key() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("\x00%d\x00%d\x00%v\x00%v", s.length.known, s.length.def, s.length.variables, s.names)
}

func (c *costing) field(f *ast.Field, in *sizes, when *included, to *sum) {
	fc := c.fields[f.Definition]
	if fc == nil { // __typename
		return
	}
	weight := fc.weight
	for _, a := range f.Arguments {
		weight = add(weight, fc.arguments[a.Name])
	}
	to.add(costTerm{operand: constant(weight), times: 1, when: when})

	var length *sliced // of what the field returns
	var inner *sizes   // of lists in it
	if f.Definition.Type.Elem != nil || len(fc.sized) > 0 {
		length = fc.length(f)
	}
	if len(fc.sized) > 0 {
		inner = &sizes{names: fc.sized, length: length}
		length = nil
	}
	if f.Definition.Type.Elem != nil {
		if in != nil && slices.Contains(in.names, f.Name) {
			length = in.length
		} else if length == nil {
			length = &sliced{known: -1, def: fc.assumed}
		}
	}
	def := c.schema.Types[f.Definition.Type.Name()]
	below := c.dearest(c.set(def, f.SelectionSet, inner))
	each := sum{constant: c.types[def.Name]}
	each.add(costTerm{operand: below, times: 1})
	term := costTerm{operand: c.sum(&each), times: 1, when: when}
	if length != nil {
		if len(length.variables) == 0 {
			term.times = length.length(nil)
		} else {
			term.size = length
		}
	}
	to.add(term)
}

// length is how many elements f returns.
func (fc *fieldCost) length(f *ast.Field) *sliced {
	s := &sliced{known: -1, def: fc.assumed}
	for _, name := range fc.slicing {
		absent := -1
		if def := f.Definition.Arguments.ForName(name); def != nil && def.DefaultValue != nil {
			absent = literalSize(def.DefaultValue)
		}
		arg := f.Arguments.ForName(name)
		switch {
		case arg == nil, arg.Value.Kind == ast.NullValue:
			s.known = max(s.known, absent)
		case arg.Value.Kind == ast.Variable:
			s.variables = append(s.variables, slicingVariable{arg.Value.Raw, absent})
		default:
			s.known = max(s.known, literalSize(arg.Value))
		}
	}
	return s
}

// literalSize is a length that is written in a document or schema; -1 for null.
func literalSize(v *ast.Value) int {
	if v.Kind == ast.NullValue {
		return -1
	}
	n, err := strconv.ParseInt(v.Raw, 10, 64)
	if err != nil { // of the literals of an Int only one too large, which is refused
		return math.MaxInt32
	}
	return int(min(max(n, 0), math.MaxInt32))
}

// condition is what @skip and @include make a selection depend on; not ok: it is
// never included.
func condition(list ast.DirectiveList) (when *included, ok bool) {
	for _, d := range list {
		if d.Name != "skip" && d.Name != "include" {
			continue
		}
		want := d.Name == "include"
		arg := d.Arguments.ForName("if")
		switch {
		case arg == nil:
		case arg.Value.Kind == ast.Variable:
			if when == nil {
				when = &included{}
			}
			*when = append(*when, wanted{arg.Value.Raw, want})
		case (arg.Value.Raw == "true") != want:
			return nil, false
		}
	}
	return when, true
}
