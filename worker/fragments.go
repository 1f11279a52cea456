package worker

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// graph-gophers looks at a fragment's type condition by the name of the type that
// it is at. Where that is neither the same nor an object type, it panics or, worse,
// leaves out what is selected within. So a fragment is printed with respect to the
// type of its place:
//
//   - with this type as its condition, or none: as it is;
//   - with an object type that is possible here: as it is;
//   - with a type that everything here is of: without a condition;
//   - with a type that some of it is of: once for each object type that it can be;
//   - with a type that nothing here is of, as can be within these: not at all.

// selections is set as it is printed where type at is selected from. It is empty if
// there is nothing in it for that type.
func (pr *pruner) selections(at *ast.Definition, set ast.SelectionSet) (pruned ast.SelectionSet) {
	for _, s := range set {
		if pr.left--; pr.left < 0 {
			pr.fail(beyondSelections(pr.max))
			return nil
		}
		switch s := s.(type) {
		case *ast.Field:
			pruned = append(pruned, pr.field(s))
		case *ast.InlineFragment:
			pruned = pr.inline(pruned, at, s.TypeCondition, s.Directives, s.SelectionSet)
		case *ast.FragmentSpread:
			if on := s.Definition.TypeCondition; on == at.Name || pr.possible(at, pr.schema.Types[on]) {
				f := *s
				f.Directives = pr.directives(f.Directives)
				pr.spread[f.Name] = true
				pruned = append(pruned, &f)
				continue
			}
			var directives ast.DirectiveList // those that mean something for an inline fragment too
			for _, d := range s.Directives {
				if d.Name == "skip" || d.Name == "include" {
					directives = append(directives, d)
				}
			}
			pruned = pr.inline(pruned, at, s.Definition.TypeCondition, directives, s.Definition.SelectionSet)
		}
	}
	return pruned
}

// inline adds to list what is printed of a fragment with condition on.
func (pr *pruner) inline(list ast.SelectionSet, at *ast.Definition, on string, directives ast.DirectiveList, set ast.SelectionSet) ast.SelectionSet {
	add := func(on string, at *ast.Definition) {
		if inner := pr.selections(at, set); len(inner) > 0 {
			list = append(list, &ast.InlineFragment{TypeCondition: on, Directives: pr.directives(directives), SelectionSet: inner})
		}
	}
	cond := pr.schema.Types[on]
	switch {
	case on == "" || on == at.Name:
		add(on, at)
	case pr.possible(at, cond):
		add(on, cond)
	case pr.possible(cond, at) || slices.Contains(at.Interfaces, on):
		add("", at)
	default:
		for _, o := range pr.schema.GetPossibleTypes(at) {
			if pr.possible(at, o) && pr.possible(cond, o) {
				add(o.Name, o)
			}
		}
	}
	return list
}

// possible says whether o is an object type, and one of those of the abstract type.
func (pr *pruner) possible(abstract, o *ast.Definition) bool {
	return o.Kind == ast.Object && abstract.IsAbstractType() && slices.Contains(pr.schema.GetPossibleTypes(abstract), o)
}

func (pr *pruner) field(s *ast.Field) ast.Selection {
	if introspects(s) {
		return &ast.Field{Alias: s.Alias, Name: "__typename", Directives: pr.directives(s.Directives)}
	}
	f := *s
	f.Arguments = pr.arguments(f.Arguments)
	f.Directives = pr.directives(f.Directives)
	if len(f.SelectionSet) == 0 {
		return &f
	}
	if f.SelectionSet = pr.selections(pr.schema.Types[f.Definition.Type.Name()], f.SelectionSet); len(f.SelectionSet) == 0 {
		f.SelectionSet = ast.SelectionSet{nothing}
	}
	return &f
}

// nothing is what is selected where the fragments leave nothing: a selection set
// must not be empty.
var nothing = &ast.Field{
	Alias: "__nothing",
	Name:  "__typename",
	Directives: ast.DirectiveList{{
		Name:      "skip",
		Arguments: ast.ArgumentList{{Name: "if", Value: &ast.Value{Kind: ast.BooleanValue, Raw: "true"}}},
	}},
}
