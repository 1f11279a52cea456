package worker

import (
	"regexp"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/nekoctl/neko/worker/gqltest"
)

// difference is one between the planner and graph-gophers that is known, and meant
// to be or graph-gophers' own affair.
type difference struct {
	side          string                                // who refuses: planner or gophers
	rule, message string                                // regular expressions, of the whole of both
	when          func(r *reading, names []string) bool // names are the groups of message; nil: always
	blinds        bool                                  // who stumbles over it sees nothing else
	why           string

	// An example shows it. A second operation, A, is the one that runs.
	example, variables string
}

func (d difference) explains(r *reading, side string, e refusal) bool {
	if r.tree == nil || side != d.side || !whole(d.rule).MatchString(e.rule) {
		return false
	}
	names := whole(d.message).FindStringSubmatch(e.message)
	return names != nil && (d.when == nil || d.when(r, names[1:]))
}

var patterns = map[string]*regexp.Regexp{}

func whole(pattern string) *regexp.Regexp {
	if patterns[pattern] == nil {
		patterns[pattern] = regexp.MustCompile(`(?s)^(?:` + pattern + `)$`)
	}
	return patterns[pattern]
}

var differences = []difference{
	{
		side: "gophers", rule: `syntax`, message: `syntax error: unexpected "\\"\\"", expecting .*`, blinds: true,
		when:    func(r *reading, _ []string) bool { return r.tree != nil && strings.Contains(r.doc.Text, `"""`) },
		why:     "a description may be a block string with quotes in it",
		example: `"""block "text" \""" """ query Q { hello }`,
	},
	{
		side: "gophers", rule: `DefaultValuesOfCorrectType`, message: `Variable "\$\w+" of type ".*" is required and will not use the default value.*`,
		why:     "a variable that must not be null may have a default; graph-gophers goes by an old specification",
		example: `query ($id: ID! = 1) { animal(id: $id) { name } }`, variables: `{"id": "2"}`,
	},
	{
		side: "gophers", rule: `VariablesOfCorrectType`, message: `Variable "(\w+)" has invalid value null\..*`,
		when: func(r *reading, names []string) bool {
			for _, op := range r.tree.Operations {
				if v := op.VariableDefinitions.ForName(names[0]); v != nil && v.Type.NonNull && v.DefaultValue != nil && !r.given(names[0]) {
					return true
				}
			}
			return false
		},
		why:     "and the default counts if no value is given",
		example: `query ($id: ID! = 1) { animal(id: $id) { name } }`,
	},
	{
		side: "gophers", rule: `VariablesOfCorrectType`, message: `Variable "(\w+)" has invalid (?:value|type).*`,
		when: func(r *reading, names []string) bool {
			op := r.running()
			return op != nil && len(r.tree.Operations) > 1 && op.VariableDefinitions.ForName(names[0]) == nil
		},
		why:     "only the operation that runs needs its variables",
		example: `query A { hello } query B($id: ID!) { animal(id: $id) { name } }`,
	},
	{
		side: "gophers", rule: `VariablesOfCorrectType`, message: `Variable "(\w+)" has invalid value null\..*`,
		when: func(r *reading, names []string) bool {
			for _, def := range r.schema.Types {
				if f := def.Fields.ForName(names[0]); def.Kind == ast.InputObject && f != nil && f.Type.NonNull && f.DefaultValue != nil {
					return true
				}
			}
			return false
		},
		why:     "a field of an input object that must not be null may be left out of a variable if it has a default",
		example: `mutation ($in: Adoption!) { adopt(input: $in) { name } }`, variables: `{"in": {"animal": 1}}`,
	},
	{
		side: "gophers", rule: `VariablesInAllowedPosition`, message: `Variable "\$(\w+)" of type "(.*)" used in position expecting type "(.*)!"\.`,
		when: func(r *reading, names []string) bool {
			plain := func(s string) string { return strings.ReplaceAll(s, "!", "") }
			return plain(names[1]) == plain(names[2]) && r.uses(names[0], func(v *ast.Value) bool { return v.ExpectedTypeHasDefault && v.ExpectedType.NonNull })
		},
		why:     "a variable that may be null may be where null is not allowed but there is a default",
		example: `query ($n: Int) { animals(first: $n) { name } }`, variables: `{"n": 1}`,
	},
	{
		side: "gophers", rule: `execution`, message: `graphql: got null for non-null|got null for .*`,
		when: func(r *reading, _ []string) bool {
			found := false
			r.values(func(v *ast.Value) {
				found = found || v.ExpectedTypeHasDefault && !v.ExpectedType.NonNull && (v.Kind == ast.Variable || v.Kind == ast.NullValue)
			})
			return found || whole(`.*:\{.*:null.*`).MatchString(r.doc.Variables)
		},
		why:     "null for what has a default is the default; graph-gophers' resolvers cannot tell null there",
		example: `{ cat(name: null) { name } }`,
	},
	{
		side: "gophers", rule: `execution`, message: `wrong type for ID: float64`,
		when: func(r *reading, _ []string) bool {
			return !slices.ContainsFunc(r.planner, func(e refusal) bool { return e.rule == gqltest.Variables })
		},
		why:     "an ID may be a number in variables, too",
		example: `query ($id: ID!) { animal(id: $id) { name } }`, variables: `{"id": 1}`,
	},
	{
		side: "gophers", rule: `execution`, message: `internal error`, when: (*reading).hasAbstractFragments,
		why:     "graph-gophers panics at some fragments on interfaces and unions; see fragments.go",
		example: `{ found { ... on Animal { ... on Cat { lives } ... on Dog { weight } } } }`,
	},
	{
		side: "gophers", rule: `ValuesOfCorrectType`, message: `Int cannot represent non 32-bit signed integer value: .*`,
		when: func(r *reading, _ []string) bool {
			return len(r.tree.Operations) > 1 && !slices.ContainsFunc(r.planner, func(e refusal) bool { return e.rule == "ValuesOfCorrectType" })
		},
		why:     "the size of an integer is looked at in the operation that runs",
		example: `query A { hello } query B { animals(first: 2147483648) { name } }`,
	},
	{
		side: "answer", rule: `answer`, message: ``, when: (*reading).hasAbstractFragments,
		why:     "and leaves out what is selected in others",
		example: `{ cat { ... on Named { ... @include(if: true) { name } } } }`,
	},
	{
		side: "answer", rule: `answer`, message: ``,
		when: func(r *reading, _ []string) (found bool) {
			r.selections(func(s ast.Selection) {
				f, ok := s.(*ast.Field)
				found = found || ok && f.ObjectDefinition != nil && f.ObjectDefinition.Name == "__Schema" && f.Name == "types"
			})
			return found
		},
		why:     "introspection is answered by the worker, which knows newer fields of it; see introspect.go",
		example: `{ __schema { types { fields { name } } } }`,
	},

	{
		side: "planner", rule: `FieldsOnCorrectType`, message: `Cannot query field "__(?:schema|type)" on type ".*`,
		why:     "graph-gophers answers introspection at any place",
		example: `{ cat { __schema { queryType { name } } } }`,
	},
	{
		side: "planner", rule: `KnownRootType`, message: `.*`,
		why:     "graph-gophers refuses at execution what the schema has no type for",
		example: `subscription { __typename }`, // of the API, which has none
	},
	{
		side: "planner", rule: `MaxIntrospectionDepth`, message: `.*`,
		why:     "the types of the fields of types' fields' types are nobody's business; graph-gophers has no such rule",
		example: `{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }`,
	},
	{
		side: "planner", rule: `.*`, message: `(.*)`, blinds: true, // it may look at it elsewhere
		when: func(r *reading, message []string) bool {
			for _, e := range r.planner {
				if e.message == message[0] && r.ofValue(e) {
					return r.executed && (r.hasDirectives() || len(r.tree.Operations) > 1)
				}
			}
			return false
		},
		why:     "graph-gophers looks at some values when it needs them: not in directives that mean nothing to it, in what is skipped, or in another operation",
		example: `query ($n: Int) { hello @tag(name: "x", weight: $n) }`, variables: `{"n": "one"}`,
	},
	{
		side: "planner", rule: `planner`, message: `the document (selects more than|repeats fields) .*`, blinds: true,
		why:     "what is too large is not looked at further; see bounds.go",
		example: `{` + strings.Repeat(" hello", 250) + `}`,
	},
}

func (r *reading) hasDirectives() (found bool) {
	r.directives(func(d *ast.Directive) { found = found || len(d.Arguments) > 0 })
	return found
}

func (r *reading) hasAbstractFragments([]string) (found bool) {
	look := func(on string) {
		def := r.schema.Types[on]
		found = found || def != nil && def.IsAbstractType()
	}
	for _, f := range r.tree.Fragments {
		look(f.TypeCondition)
	}
	r.selections(func(s ast.Selection) {
		if f, ok := s.(*ast.InlineFragment); ok {
			look(f.TypeCondition)
		}
	})
	return found
}

// given says whether the request has a variable.
func (r *reading) given(name string) bool {
	_, ok := r.variables[name]
	return ok
}

// running is the operation that the request names, nil if there is none.
func (r *reading) running() *ast.OperationDefinition {
	if r.tree == nil {
		return nil
	}
	op, _ := selectOperation(r.tree, r.doc.Operation)
	return op
}

// uses says whether the document has variable name at a place that is as is says.
func (r *reading) uses(name string, is func(*ast.Value) bool) (found bool) {
	r.values(func(v *ast.Value) {
		found = found || v.Kind == ast.Variable && v.Raw == name && v.ExpectedType != nil && is(v)
	})
	return found
}

// values calls visit for each value in the document, as validation has left it.
func (r *reading) values(visit func(*ast.Value)) {
	var value func(*ast.Value)
	value = func(v *ast.Value) {
		visit(v)
		for _, c := range v.Children {
			value(c.Value)
		}
	}
	arguments := func(list ast.ArgumentList) {
		for _, a := range list {
			value(a.Value)
		}
	}
	r.directives(func(d *ast.Directive) { arguments(d.Arguments) })
	r.selections(func(s ast.Selection) {
		if f, ok := s.(*ast.Field); ok {
			arguments(f.Arguments)
		}
	})
	for _, op := range r.tree.Operations {
		for _, v := range op.VariableDefinitions {
			if v.DefaultValue != nil {
				value(v.DefaultValue)
			}
		}
	}
}

// directives calls visit for each directive in the document.
func (r *reading) directives(visit func(*ast.Directive)) {
	each := func(list ast.DirectiveList) {
		for _, d := range list {
			visit(d)
		}
	}
	for _, op := range r.tree.Operations {
		each(op.Directives)
		for _, v := range op.VariableDefinitions {
			each(v.Directives)
		}
	}
	for _, f := range r.tree.Fragments {
		each(f.Directives)
	}
	r.selections(func(s ast.Selection) {
		switch s := s.(type) {
		case *ast.Field:
			each(s.Directives)
		case *ast.InlineFragment:
			each(s.Directives)
		case *ast.FragmentSpread:
			each(s.Directives)
		}
	})
}

// selections calls visit for each selection in the document.
func (r *reading) selections(visit func(ast.Selection)) {
	within := func(s ast.Selection) bool {
		visit(s)
		_, spread := s.(*ast.FragmentSpread)
		return !spread
	}
	for _, op := range r.tree.Operations {
		walk(op.SelectionSet, within)
	}
	for _, f := range r.tree.Fragments {
		walk(f.SelectionSet, within)
	}
}
