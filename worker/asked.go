package worker

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// askedField is something that an operation asks its root for, with its arguments as
// they are written: what rate limits count by. It stays when the tree of a plan goes,
// whatever the limits are: they may change while plans are kept.
type askedField struct {
	coordinate string // "Mutation.login"
	arguments  []namedLiteral
}

// literal is a value in a document, or a variable's name. What is in lists is left out.
type literal struct {
	kind   ast.ValueKind
	raw    string
	fields []namedLiteral // of an object
}

type namedLiteral struct {
	name string
	literal
}

// askedFields are the fields that op asks its root for, each response name once:
// fields of one name are one, and have the same arguments.
func askedFields(op *ast.OperationDefinition) (fields []askedField) {
	seen := map[string]bool{}
	walk(op.SelectionSet, func(s ast.Selection) bool {
		f, ok := s.(*ast.Field)
		if !ok {
			return true
		}
		if f.Name == "__typename" || f.ObjectDefinition == nil || seen[f.Alias] {
			return false
		}
		seen[f.Alias] = true
		asked := askedField{coordinate: f.ObjectDefinition.Name + "." + f.Name}
		for _, a := range f.Arguments {
			asked.arguments = append(asked.arguments, namedLiteral{strings.Clone(a.Name), literalOf(a.Value)})
		}
		fields = append(fields, asked)
		return false
	})
	return fields
}

// literalOf is a copy that does not hold the document.
func literalOf(v *ast.Value) literal {
	l := literal{kind: v.Kind}
	switch v.Kind {
	case ast.ListValue:
	case ast.ObjectValue:
		for _, c := range v.Children {
			l.fields = append(l.fields, namedLiteral{strings.Clone(c.Name), literalOf(c.Value)})
		}
	default:
		l.raw = strings.Clone(v.Raw)
	}
	return l
}

// askedBytes is about what fields take in memory.
func askedBytes(fields []askedField) (n int) {
	var of func(list []namedLiteral) int
	of = func(list []namedLiteral) (n int) {
		for i := range list {
			n += 80 + len(list[i].name) + len(list[i].raw) + of(list[i].fields)
		}
		return n
	}
	for i := range fields {
		n += 64 + len(fields[i].coordinate) + of(fields[i].arguments)
	}
	return n
}

func literalNamed(list []namedLiteral, name string) *literal {
	for i := range list {
		if list[i].name == name {
			return &list[i].literal
		}
	}
	return nil
}
