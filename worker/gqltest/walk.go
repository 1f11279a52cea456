package gqltest

import "github.com/vektah/gqlparser/v2/ast"

// eachSelection calls visit for every selection of set and below, fragments that
// are spread not included.
func eachSelection(set ast.SelectionSet, visit func(ast.Selection)) {
	for _, s := range set {
		visit(s)
		eachSelection(*below(s), visit)
	}
}

// below is the selection set of s, an empty one of a spread.
func below(s ast.Selection) *ast.SelectionSet {
	switch s := s.(type) {
	case *ast.Field:
		return &s.SelectionSet
	case *ast.InlineFragment:
		return &s.SelectionSet
	}
	return new(ast.SelectionSet)
}

func directivesOf(s ast.Selection) ast.DirectiveList {
	switch s := s.(type) {
	case *ast.Field:
		return s.Directives
	case *ast.InlineFragment:
		return s.Directives
	case *ast.FragmentSpread:
		return s.Directives
	}
	return nil
}

func argumentsOf(s ast.Selection) ast.ArgumentList {
	if f, ok := s.(*ast.Field); ok {
		return f.Arguments
	}
	return nil
}

// eachValueOf calls visit for every value in arguments and in those of directives.
func eachValueOf(directives ast.DirectiveList, arguments ast.ArgumentList, visit func(*ast.Value)) {
	var walk func(*ast.Value)
	walk = func(v *ast.Value) {
		visit(v)
		for _, c := range v.Children {
			walk(c.Value)
		}
	}
	for _, a := range arguments {
		walk(a.Value)
	}
	for _, d := range directives {
		eachValueOf(nil, d.Arguments, visit)
	}
}

// eachSet calls visit for every selection set of the document with its type, which
// is nil for what is below an unknown field.
func (m *maker) eachSet(visit func(*ast.Definition, *ast.SelectionSet)) {
	var walk func(*ast.Definition, *ast.SelectionSet)
	walk = func(def *ast.Definition, set *ast.SelectionSet) {
		visit(def, set)
		for _, s := range *set {
			sub := below(s)
			if *sub == nil {
				continue
			}
			inner := def
			switch s := s.(type) {
			case *ast.Field:
				inner = m.typeOf(def, s.Name)
			case *ast.InlineFragment:
				if s.TypeCondition != "" {
					inner = m.schema.Types[s.TypeCondition]
				}
			}
			walk(inner, sub)
		}
	}
	for _, op := range m.doc.Operations {
		walk(m.root(op), &op.SelectionSet)
	}
	for _, f := range m.doc.Fragments {
		walk(m.schema.Types[f.TypeCondition], &f.SelectionSet)
	}
}

func (m *maker) root(op *ast.OperationDefinition) *ast.Definition {
	switch op.Operation {
	case ast.Mutation:
		return m.schema.Mutation
	case ast.Subscription:
		return m.schema.Subscription
	}
	return m.schema.Query
}

func (m *maker) fieldOf(def *ast.Definition, name string) *ast.FieldDefinition {
	if def == nil {
		return nil
	}
	return def.Fields.ForName(name) // __schema and __type are fields of Query to gqlparser
}

func (m *maker) typeOf(def *ast.Definition, name string) *ast.Definition {
	if f := m.fieldOf(def, name); f != nil {
		return m.schema.Types[f.Type.Name()]
	}
	return nil
}

// eachArgument calls visit for every argument that has a definition.
func (m *maker) eachArgument(visit func(*ast.ArgumentDefinition, *ast.Argument)) {
	arguments := func(defs ast.ArgumentDefinitionList, list ast.ArgumentList) {
		for _, a := range list {
			if d := defs.ForName(a.Name); d != nil {
				visit(d, a)
			}
		}
	}
	directives := func(list ast.DirectiveList) {
		for _, d := range list {
			if def := m.schema.Directives[d.Name]; def != nil {
				arguments(def.Arguments, d.Arguments)
			}
		}
	}
	for _, op := range m.doc.Operations {
		directives(op.Directives)
	}
	for _, f := range m.doc.Fragments {
		directives(f.Directives)
	}
	m.eachSet(func(def *ast.Definition, set *ast.SelectionSet) {
		for _, s := range *set {
			directives(directivesOf(s))
			if f, ok := s.(*ast.Field); ok {
				if fd := m.fieldOf(def, f.Name); fd != nil {
					arguments(fd.Arguments, f.Arguments)
				}
			}
		}
	})
}
