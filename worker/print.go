package worker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// graph-gophers is given a document that means the same to it as the client's
// does to the specification. It differs from it in these points, and each is
// removed here before it is printed:
//
//   - an argument or input field whose variable was not provided is null to it,
//     and not absent: its default is lost. It is left out of the text;
//   - null for what has a default fails. It is left out too, so the default
//     counts, which is what a client that sends null for "not set" means;
//   - a variable that is required and has a default, or that is nullable and
//     used for a required argument with a default, is refused. A variable with a
//     value is declared as required and without default: the value is in the
//     variables already;
//   - an integer literal beyond 64 bits or a float beyond its range panics, and
//     one beyond 32 bits is no ID. The former are refused, the latter is printed
//     as a string;
//   - unused operations, fragments and variables are refused or cost time. Only
//     what the operation uses is printed;
//   - introspection is not its business: __schema and __type are printed as
//     __typename under the same response names, see introspect.go;
//   - fragments on interfaces and unions: see fragments.go;
//   - descriptions in executable documents and directives on variables mean
//     nothing to execution. They are not printed.

// varState is what a request gave for a variable.
type varState byte

const (
	varSet    varState = 's' // a value, or the default
	varNull   varState = 'n' // an explicit null
	varAbsent varState = 'a'
)

// maxTexts bounds the texts kept of one plan, as its room does in bytes: one for
// each combination of variables that requests left out. Others are printed anew.
const maxTexts = 16

// text is the document to execute when the variables are in these states, in
// the order of their declaration.
func (p *Plan) text(states []varState) (string, *Error) {
	key := string(states)
	p.mu.Lock()
	text, ok := p.texts[key]
	p.mu.Unlock()
	if ok {
		return text, nil
	}
	text, err := p.print(states)
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	if len(p.texts) < maxTexts && len(text) <= p.room {
		p.texts[key] = text
		p.room -= len(text)
	}
	p.mu.Unlock()
	return text, nil
}

func (p *Plan) print(states []varState) (string, *Error) {
	pr := pruner{schema: p.schema, states: map[string]varState{}, used: map[string]bool{}, spread: map[string]bool{}, max: p.maxSelections, left: p.maxSelections}
	for i, v := range p.variables {
		pr.states[v.name] = states[i]
	}
	op := *p.op
	op.Directives = pr.directives(op.Directives)
	op.SelectionSet = pr.selections(p.root, op.SelectionSet)
	doc := &ast.QueryDocument{Operations: ast.OperationList{&op}, Fragments: pr.fragments(p.fragments)}
	op.VariableDefinitions = nil
	for i, v := range p.variables {
		if !pr.used[v.name] {
			continue
		}
		t := *v.typ
		t.NonNull = states[i] == varSet
		op.VariableDefinitions = append(op.VariableDefinitions, &ast.VariableDefinition{Variable: v.name, Type: &t})
	}
	if pr.err != nil {
		return "", pr.err
	}
	var b strings.Builder
	formatter.NewFormatter(&b, formatter.WithIndent(""), formatter.WithoutDescription()).FormatQueryDocument(doc)
	return b.String(), nil
}

// pruner copies a tree without the arguments and input fields that are absent, and
// with fragments as graph-gophers takes them. It shares values with the original.
type pruner struct {
	schema *ast.Schema
	states map[string]varState
	used   map[string]bool // variables that remain
	spread map[string]bool // fragments that remain
	max    int             // selections that may be printed
	left   int             // and may still be
	err    *Error          // the first
}

func (pr *pruner) fail(err *Error) {
	if pr.err == nil {
		pr.err = err
	}
}

// fragments are those of list that remain, as what was printed before spreads them.
func (pr *pruner) fragments(list ast.FragmentDefinitionList) ast.FragmentDefinitionList {
	printed := make(ast.FragmentDefinitionList, len(list))
	for more := true; more; { // one may spread an earlier one
		more = false
		for i, f := range list {
			if printed[i] != nil || !pr.spread[f.Name] {
				continue
			}
			more = true
			f := *f
			f.Directives = pr.directives(f.Directives)
			if f.SelectionSet = pr.selections(pr.schema.Types[f.TypeCondition], f.SelectionSet); len(f.SelectionSet) == 0 {
				f.SelectionSet = ast.SelectionSet{nothing}
			}
			printed[i] = &f
		}
	}
	return slices.DeleteFunc(printed, func(f *ast.FragmentDefinition) bool { return f == nil })
}

func (pr *pruner) directives(list ast.DirectiveList) (pruned ast.DirectiveList) {
	for _, d := range list {
		c := *d
		c.Arguments = pr.arguments(c.Arguments)
		pruned = append(pruned, &c)
	}
	return pruned
}

func (pr *pruner) arguments(list ast.ArgumentList) (pruned ast.ArgumentList) {
	for _, a := range list {
		if pr.omits(a.Value) {
			continue
		}
		c := *a
		c.Value = pr.value(c.Value)
		pruned = append(pruned, &c)
	}
	return pruned
}

func (pr *pruner) value(v *ast.Value) *ast.Value {
	switch v.Kind {
	case ast.Variable:
		if pr.states[v.Raw] == varAbsent { // an element of a list
			return &ast.Value{Kind: ast.NullValue, Raw: "null", Position: v.Position}
		}
		pr.used[v.Raw] = true
		if pr.states[v.Raw] == varNull && v.ExpectedType != nil && v.ExpectedType.NonNull {
			pr.fail(&Error{
				Message:   fmt.Sprintf("variable $%s is null, but is used where %s is wanted", v.Raw, v.ExpectedType),
				Locations: locations(v.Position),
				code:      CodeBadUserInput,
			})
		}
	case ast.ListValue, ast.ObjectValue:
		c := *v
		c.Children = nil
		for _, child := range v.Children {
			if v.Kind == ast.ObjectValue && pr.omits(child.Value) {
				continue
			}
			k := *child
			k.Value = pr.value(child.Value)
			c.Children = append(c.Children, &k)
		}
		return &c
	}
	return v
}

// omits says whether an argument or input field with value v is left out.
func (pr *pruner) omits(v *ast.Value) bool {
	state := varSet
	switch v.Kind {
	case ast.Variable:
		state = pr.states[v.Raw]
	case ast.NullValue:
		state = varNull
	}
	hasDefault := v.ExpectedTypeHasDefault && v.ExpectedType != nil && !v.ExpectedType.NonNull
	return state == varAbsent || state == varNull && hasDefault
}

// normalise makes the literals of the plan ones that graph-gophers can read, and
// returns an error for each that nobody can.
func (p *Plan) normalise() (errs gqlerror.List) {
	check := func(v *ast.Value) {
		if err := normaliseLiteral(v); err != nil {
			errs = append(errs, err)
		}
	}
	directives := func(list ast.DirectiveList) {
		for _, d := range list {
			eachValue(d.Arguments, check)
		}
	}
	directives(p.op.Directives)
	for _, v := range p.op.VariableDefinitions {
		if v.DefaultValue != nil {
			eachLeaf(v.DefaultValue, check)
		}
	}
	for _, f := range p.fragments {
		directives(f.Directives)
	}
	p.selections(func(s ast.Selection) {
		switch s := s.(type) {
		case *ast.Field:
			eachValue(s.Arguments, check)
			directives(s.Directives)
		case *ast.InlineFragment:
			directives(s.Directives)
		case *ast.FragmentSpread:
			directives(s.Directives)
		}
	})
	return errs
}

func eachValue(list ast.ArgumentList, visit func(*ast.Value)) {
	for _, a := range list {
		eachLeaf(a.Value, visit)
	}
}

// eachLeaf calls visit for v or, if it is a list or an object that has something in
// it, for that.
func eachLeaf(v *ast.Value, visit func(*ast.Value)) {
	if len(v.Children) == 0 {
		visit(v)
		return
	}
	for _, c := range v.Children {
		eachLeaf(c.Value, visit)
	}
}

func normaliseLiteral(v *ast.Value) *gqlerror.Error {
	typ := ""
	if v.Definition != nil {
		typ = v.Definition.Name
	}
	switch v.Kind {
	case ast.IntValue:
		bits := 64
		if typ == "Int" {
			bits = 32
		}
		_, err := strconv.ParseInt(v.Raw, 10, bits)
		switch {
		case typ == "ID":
			v.Kind = ast.StringValue
		case err != nil:
			return gqlerror.ErrorPosf(v.Position, "%s is not a %d-bit integer", v.Raw, bits)
		}
	case ast.ObjectValue: // an empty one, which gqlparser takes for a scalar
		if v.Definition != nil && (v.Definition.Kind == ast.Enum || v.Definition.Kind == ast.Scalar && v.Definition.BuiltIn) {
			return gqlerror.ErrorPosf(v.Position, "%s cannot represent {}", typ)
		}
	case ast.FloatValue:
		if _, err := strconv.ParseFloat(v.Raw, 64); err != nil {
			return gqlerror.ErrorPosf(v.Position, "%s is beyond the range of a float", v.Raw)
		}
	}
	return nil
}

func locations(positions ...*ast.Position) []Location {
	var list []Location
	for _, p := range positions {
		if p != nil {
			list = append(list, Location{p.Line, p.Column})
		}
	}
	return slices.Clip(list)
}
