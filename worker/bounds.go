package worker

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// What a document may be is decided before it is validated, from its tree alone and
// in time that grows with its length: validators, gqlparser's and graph-gophers',
// take seconds for a few kilobytes that are made to hurt.

const (
	// maxPairs bounds the pairs of fields with one response name at one place, each
	// of which is checked for whether they merge.
	maxPairs = 10_000
	// maxNodes bounds what the validators walk through: selections, arguments, values,
	// directives and variables, with the fragments of every operation expanded.
	maxNodes = 100_000
	// maxInputDepth bounds lists and objects within each other in a value, be it a
	// literal or a variable.
	maxInputDepth = 32
	// maxEvaluated bounds the values within the lists and objects that are literals,
	// each counted in every one that it is in: gqlparser evaluates them all by
	// themselves.
	maxEvaluated = 20_000
	// maxInputValues bounds the values in a body: variables, extensions, lists of
	// requests. One of three bytes may take a hundred in memory.
	maxInputValues = 50_000
	// maxVariables bounds the variables of an operation. gqlparser looks through all
	// of them at each use of one.
	maxVariables = 500
	// maxIntrospectionDepth bounds what is below __schema and __type, which counts
	// for no other depth: getIntrospectionQuery has 14 levels there.
	maxIntrospectionDepth = 20
	// unlimitedSelections is as many as the validators stand, if the configuration
	// sets no limit.
	unlimitedSelections = 1_000_000
)

// limits are what a document and an operation may be. [math.MaxInt] is no limit.
type limits struct {
	document, tokens, depth, aliases, selections, cost int
}

func newLimits(c Config) limits {
	return limits{
		document:   limit(c.MaxDocument),
		tokens:     max(c.MaxTokens, 0), // 0 is none to gqlparser
		depth:      limit(c.MaxDepth),
		aliases:    limit(c.MaxAliases),
		selections: min(limit(c.MaxSelections), unlimitedSelections),
		cost:       limit(c.MaxCost),
	}
}

// limit is a limit as the configuration has it.
func limit(n int) int {
	if n < 0 {
		return math.MaxInt
	}
	return n
}

// beyond is the refusal of what is more than a limit.
func beyond(code Code, maximum int, format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...), code: code, extensions: map[string]any{"maximum": maximum}}
}

func beyondSelections(maximum int) *Error {
	return beyond(CodeMaxSelections, maximum, "the document selects more than %d fields with its fragments expanded", maximum)
}

func (l *limits) checkLength(document string) *Error {
	if len(document) > l.document {
		return beyond(CodeDocumentTooLarge, l.document, "the document has %d bytes, and may have %d", len(document), l.document)
	}
	return nil
}

// check returns an error if doc, not yet validated, is beyond the limits. Depth and
// aliases are those of each operation and fragment, with the fragments that it
// spreads; selections are those of all of them, as all are validated.
func (l *limits) check(doc *ast.QueryDocument) *Error {
	m := measurer{fragments: make(map[string]*fragmentSize, len(doc.Fragments))}
	for _, f := range doc.Fragments {
		if m.fragments[f.Name] == nil { // of several the first counts, as for gqlparser
			m.fragments[f.Name] = &fragmentSize{def: f}
		}
	}
	var all size
	for _, op := range doc.Operations {
		if n := len(op.VariableDefinitions); n > maxVariables {
			return beyond(CodeMaxSelections, maxVariables, "an operation has %d variables, and may have %d", n, maxVariables)
		}
		var s size
		m.directives(op.Directives, &s)
		for _, v := range op.VariableDefinitions {
			m.directives(v.Directives, &s)
			m.value(v.DefaultValue, 0, &s)
		}
		s.below(m.set(op.SelectionSet))
		all.beside(s)
	}
	for _, f := range doc.Fragments {
		var s size
		m.directives(f.Directives, &s)
		s.below(m.set(f.SelectionSet))
		if strings.HasPrefix(f.TypeCondition, "__") { // of introspection
			s.depth, s.introspection = 0, s.introspection+s.depth
		}
		all.beside(s)
	}
	switch {
	case m.cycle != nil:
		return m.cycle
	case all.depth > l.depth:
		return beyond(CodeMaxDepth, l.depth, "the operation is %d levels deep, and may have %d", all.depth, l.depth)
	case all.introspection > maxIntrospectionDepth:
		return beyond(CodeMaxDepth, maxIntrospectionDepth, "the introspection is %d levels deep, and may have %d", all.introspection, maxIntrospectionDepth)
	case m.input > maxInputDepth:
		return beyond(CodeMaxDepth, maxInputDepth, "a value is %d levels deep, and may have %d", m.input, maxInputDepth)
	case all.aliases > l.aliases:
		return beyond(CodeMaxAliases, l.aliases, "the operation has %d aliases with its fragments expanded, and may have %d", all.aliases, l.aliases)
	case all.selections > l.selections:
		return beyondSelections(l.selections)
	case all.nodes > max(maxNodes, add(l.selections, l.selections)):
		return beyond(CodeMaxSelections, maxNodes, "the document has more than %d arguments, values and directives with its fragments expanded", maxNodes)
	case all.evaluated > maxEvaluated:
		return beyond(CodeMaxSelections, maxEvaluated, "the document has more than %d values in lists and objects, counted in each that they are in", maxEvaluated)
	}
	p := pairs{fragments: m.fragments, left: maxPairs}
	for _, op := range doc.Operations {
		p.set(op.SelectionSet)
	}
	for _, f := range doc.Fragments {
		p.set(f.SelectionSet)
	}
	if p.left < 0 {
		return beyond(CodeMaxSelections, maxPairs, "the document repeats fields too often")
	}
	return nil
}

// size is what a selection set comes to, with its fragments expanded. The numbers
// end at the largest there is.
type size struct {
	depth, introspection       int // levels of fields
	aliases, selections, nodes int
	evaluated                  int // values in literals
}

// below adds what is selected at the same place.
func (s *size) below(o size) {
	s.depth = max(s.depth, o.depth)
	s.introspection = max(s.introspection, o.introspection)
	s.aliases = add(s.aliases, o.aliases)
	s.selections = add(s.selections, o.selections)
	s.nodes = add(s.nodes, o.nodes)
	s.evaluated = add(s.evaluated, o.evaluated)
}

// beside adds another definition of the document.
func (s *size) beside(o size) {
	aliases := max(s.aliases, o.aliases)
	s.below(o)
	s.aliases = aliases
}

// add and times are for numbers that are not negative.
func add(a, b int) int {
	if a > math.MaxInt-b {
		return math.MaxInt
	}
	return a + b
}

func times(a, b int) int {
	if a != 0 && b > math.MaxInt/a {
		return math.MaxInt
	}
	return a * b
}

type measurer struct {
	fragments map[string]*fragmentSize
	input     int    // the deepest value
	cycle     *Error // of fragments, the first that was found
}

// fragmentSize is a fragment and, once that is known, its size.
type fragmentSize struct {
	def            *ast.FragmentDefinition
	size           size
	within, behind bool // is being measured, has been
}

func (m *measurer) set(set ast.SelectionSet) (all size) {
	for _, sel := range set {
		s := size{selections: 1, nodes: 1}
		switch sel := sel.(type) {
		case *ast.Field:
			m.arguments(sel.Arguments, &s)
			m.directives(sel.Directives, &s)
			if sel.Alias != sel.Name {
				s.aliases = 1
			}
			s.below(m.set(sel.SelectionSet))
			if introspects(sel) {
				s.depth, s.introspection = 0, s.introspection+s.depth
			}
			s.depth++
		case *ast.InlineFragment:
			m.directives(sel.Directives, &s)
			s.below(m.set(sel.SelectionSet))
		case *ast.FragmentSpread:
			m.directives(sel.Directives, &s)
			if f := m.fragments[sel.Name]; f != nil {
				s.below(m.fragment(f, sel))
			}
		}
		all.below(s)
	}
	return all
}

func (m *measurer) fragment(f *fragmentSize, spread *ast.FragmentSpread) size {
	switch {
	case f.within:
		if m.cycle == nil {
			m.cycle = &Error{
				Message:   fmt.Sprintf("Cannot spread fragment %q within itself.", shorten(f.def.Name)),
				Locations: locations(spread.Position),
				code:      CodeValidationFailed,
			}
		}
	case !f.behind:
		f.within = true
		f.size = m.set(f.def.SelectionSet)
		f.within, f.behind = false, true
	}
	return f.size
}

func (m *measurer) directives(list ast.DirectiveList, s *size) {
	for _, d := range list {
		s.nodes++
		m.arguments(d.Arguments, s)
	}
}

func (m *measurer) arguments(list ast.ArgumentList, s *size) {
	for _, a := range list {
		s.nodes++
		m.value(a.Value, 0, s)
	}
}

// value adds v to s, and is how many values there are in it.
func (m *measurer) value(v *ast.Value, within int, s *size) (n int) {
	if v == nil || v.Kind != ast.ListValue && v.Kind != ast.ObjectValue {
		return 0
	}
	m.input = max(m.input, within+1)
	for _, c := range v.Children {
		n += 1 + m.value(c.Value, within+1, s)
	}
	s.nodes = add(s.nodes, len(v.Children))
	s.evaluated = add(s.evaluated, n)
	return n
}

// tooManyValues says whether a body has more values than it may, without reading it
// as JSON: strings are skipped, and commas and brackets counted.
func tooManyValues(data []byte) bool {
	n, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && (c == ',' || c == '[' || c == '{'):
			n++
		}
	}
	return n > maxInputValues
}

// pairs counts down the pairs of fields that a validator compares. The document has
// no cycles, and is as deep and as large as it may be.
type pairs struct {
	fragments map[string]*fragmentSize
	left      int // below 0: too many
}

type response struct {
	name string
	set  ast.SelectionSet
}

// set counts what is selected where all of sets are selected at once.
func (p *pairs) set(sets ...ast.SelectionSet) {
	var fields []response
	for _, set := range sets {
		fields = p.collect(set, fields)
	}
	slices.SortFunc(fields, func(a, b response) int { return strings.Compare(a.name, b.name) })
	for len(fields) > 0 && p.left >= 0 {
		n := 1
		for n < len(fields) && fields[n].name == fields[0].name {
			n++
		}
		if p.left -= n * (n - 1) / 2; p.left < 0 {
			return
		}
		var below []ast.SelectionSet
		for _, f := range fields[:n] {
			if len(f.set) > 0 {
				below = append(below, f.set)
			}
		}
		if len(below) > 0 {
			p.set(below...)
		}
		fields = fields[n:]
	}
}

func (p *pairs) collect(set ast.SelectionSet, fields []response) []response {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			fields = append(fields, response{s.Alias, s.SelectionSet})
		case *ast.InlineFragment:
			fields = p.collect(s.SelectionSet, fields)
		case *ast.FragmentSpread:
			if f := p.fragments[s.Name]; f != nil {
				fields = p.collect(f.def.SelectionSet, fields)
			}
		}
	}
	return fields
}
