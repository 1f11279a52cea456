package gqltest

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
)

// print is the document as text, in one of the many ways in which it can be
// written. No printer of gqlparser's is used: the worker prints with that.
func (m *maker) print() string { return m.printAs(m.chance(30)) }

// printPlainly is the document on one line but for its strings, without comments.
func (m *maker) printPlainly() string { return m.printAs(false) }

func (m *maker) printAs(fancy bool) string {
	p := printer{m: m, fancy: fancy}
	if m.chance(3) {
		p.b.WriteString("\ufeff")
	}
	fragmentsFirst := m.chance(20)
	if fragmentsFirst {
		p.fragments()
	}
	for _, op := range m.doc.Operations {
		p.operation(op)
	}
	if !fragmentsFirst {
		p.fragments()
	}
	return p.b.String()
}

type printer struct {
	m     *maker
	b     strings.Builder
	fancy bool
}

// gap is what may stand between two tokens: at least a space.
func (p *printer) gap() {
	if !p.fancy {
		p.b.WriteByte(' ')
		return
	}
	p.b.WriteString(pick(p.m, []string{" ", "\n", ", ", "\r\n\t", " # comment \"with\" a { quote\n", ",,\n", "  "}))
}

func (p *printer) word(s string) {
	p.b.WriteString(s)
	p.gap()
}

func (p *printer) description() {
	if p.fancy && p.m.chance(20) {
		text := `"what it is for"`
		if p.m.chance(2) { // graph-gophers stops at these
			text = `"""block "text" \""" """`
		}
		p.word(text)
	}
}

func (p *printer) operation(op *ast.OperationDefinition) {
	short := op.Operation == ast.Query && op.Name == "" && op.VariableDefinitions == nil && op.Directives == nil
	if !short || !p.fancy {
		if !short {
			p.description()
		}
		p.word(string(op.Operation))
		if op.Name != "" {
			p.word(op.Name)
		}
	}
	if len(op.VariableDefinitions) > 0 {
		p.word("(")
		for _, v := range op.VariableDefinitions {
			p.description()
			p.word("$" + v.Variable)
			p.word(":")
			p.word(v.Type.String())
			if v.DefaultValue != nil {
				p.word("=")
				p.value(v.DefaultValue)
			}
			p.directives(v.Directives)
		}
		p.word(")")
	}
	p.directives(op.Directives)
	p.selections(op.SelectionSet)
}

func (p *printer) fragments() {
	for _, f := range p.m.doc.Fragments {
		p.description()
		p.word("fragment")
		p.word(f.Name)
		p.word("on")
		p.word(f.TypeCondition)
		p.directives(f.Directives)
		p.selections(f.SelectionSet)
	}
}

func (p *printer) selections(set ast.SelectionSet) {
	p.word("{")
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			if s.Alias != s.Name {
				p.word(s.Alias)
				p.word(":")
			}
			p.word(s.Name)
			p.arguments(s.Arguments)
			p.directives(s.Directives)
			if s.SelectionSet != nil {
				p.selections(s.SelectionSet)
			}
		case *ast.FragmentSpread:
			p.word("...")
			p.word(s.Name)
			p.directives(s.Directives)
		case *ast.InlineFragment:
			p.word("...")
			if s.TypeCondition != "" {
				p.word("on")
				p.word(s.TypeCondition)
			}
			p.directives(s.Directives)
			p.selections(s.SelectionSet)
		}
	}
	p.word("}")
}

func (p *printer) directives(list ast.DirectiveList) {
	for _, d := range list {
		p.word("@" + d.Name)
		p.arguments(d.Arguments)
	}
}

func (p *printer) arguments(list ast.ArgumentList) {
	if len(list) == 0 {
		return
	}
	p.word("(")
	for _, a := range list {
		p.word(a.Name)
		p.word(":")
		p.value(a.Value)
	}
	p.word(")")
}

func (p *printer) value(v *ast.Value) {
	switch v.Kind {
	case ast.Variable:
		p.word("$" + v.Raw)
	case ast.StringValue:
		p.word(quote(v.Raw))
	case ast.BlockValue:
		// Where a block string would not keep the text it is written as a string.
		if strings.TrimSpace(v.Raw) != v.Raw || v.Raw == "" || strings.ContainsAny(v.Raw, "\a\r\u0085") || strings.HasSuffix(v.Raw, `\`) || strings.HasSuffix(v.Raw, `"`) {
			p.word(quote(v.Raw))
			return
		}
		p.word("\"\"\"\n  " + strings.ReplaceAll(strings.ReplaceAll(v.Raw, `"""`, `\"""`), "\n", "\n  ") + "\n  \"\"\"")
	case ast.ListValue:
		p.word("[")
		for _, c := range v.Children {
			p.value(c.Value)
		}
		p.word("]")
	case ast.ObjectValue:
		p.word("{")
		for _, c := range v.Children {
			p.word(c.Name)
			p.word(":")
			p.value(c.Value)
		}
		p.word("}")
	default:
		p.word(v.Raw)
	}
}

// quote writes s as a GraphQL string, in which Go's own escapes have no place.
func quote(s string) string {
	b := []byte{'"'}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || r == 0x7f:
			b = append(b, fmt.Sprintf(`\u%04X`, r)...)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return string(append(b, '"'))
}

// printArguments is a key of arguments.
func printArguments(list ast.ArgumentList) string {
	var b strings.Builder
	for _, a := range list {
		b.WriteString(a.Name + ":" + strconv.Itoa(int(a.Value.Kind)) + a.Value.String() + ",")
	}
	return b.String()
}
