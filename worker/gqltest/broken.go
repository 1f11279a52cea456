package gqltest

import (
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// breakers break one rule of a valid document each, and return false if it has not
// what it takes. What stands after a colon tells apart the ways of one rule.
var breakers = map[string]func(*maker) bool{
	"FieldsOnCorrectType": func(m *maker) bool {
		f := pick(m, m.fields(nil))
		if f.Alias == f.Name {
			f.Alias = "x"
		}
		f.Name += "X"
		return true
	},
	"FragmentsOnCompositeTypes": func(m *maker) bool {
		leaf := pick(m, []string{"String", m.anEnum(), m.anInput()})
		return leaf != "" && m.insert(&ast.InlineFragment{TypeCondition: leaf, SelectionSet: typename()})
	},
	"KnownArgumentNames": func(m *maker) bool {
		f := pick(m, m.fields(nil))
		f.Arguments = append(f.Arguments, &ast.Argument{Name: "noSuch", Value: null()})
		return true
	},
	"KnownArgumentNames: of a directive": func(m *maker) bool {
		return m.decorate(&ast.Directive{Name: "skip", Arguments: ast.ArgumentList{
			{Name: "if", Value: &ast.Value{Kind: ast.BooleanValue, Raw: "false"}}, {Name: "unless", Value: null()},
		}})
	},
	"KnownDirectives": func(m *maker) bool {
		return m.decorate(&ast.Directive{Name: pick(m, []string{"noSuch", "Skip"})})
	},
	"KnownDirectives: elsewhere": func(m *maker) bool {
		if m.chance(50) {
			op := pick(m, m.doc.Operations)
			op.Directives = append(op.Directives, &ast.Directive{Name: "include", Arguments: ast.ArgumentList{{Name: "if", Value: &ast.Value{Kind: ast.BooleanValue, Raw: "true"}}}})
			return true
		}
		return m.decorate(&ast.Directive{Name: "deprecated"})
	},
	"KnownFragmentNames": func(m *maker) bool { return m.insert(&ast.FragmentSpread{Name: "noSuch"}) },
	"KnownRootType": func(m *maker) bool {
		if m.schema.Subscription != nil {
			return false
		}
		m.doc = &ast.QueryDocument{Operations: ast.OperationList{{Operation: ast.Subscription, SelectionSet: typename()}}}
		m.operation = ""
		return true
	},
	"KnownTypeNames": func(m *maker) bool {
		return m.insert(&ast.InlineFragment{TypeCondition: "NoSuch", SelectionSet: typename()})
	},
	"KnownTypeNames: of a fragment": func(m *maker) bool {
		m.doc.Fragments = append(m.doc.Fragments, &ast.FragmentDefinition{Name: "Strange", TypeCondition: "NoSuch", SelectionSet: typename()})
		return m.insert(&ast.FragmentSpread{Name: "Strange"})
	},
	"KnownTypeNames: of a variable": func(m *maker) bool {
		op := m.doc.Operations[0]
		op.VariableDefinitions = append(op.VariableDefinitions, &ast.VariableDefinition{Variable: "strange", Type: ast.NamedType("NoSuch", nil)})
		return m.decorateWith(&ast.Value{Kind: ast.Variable, Raw: "strange"})
	},
	"LoneAnonymousOperation": func(m *maker) bool {
		m.doc.Operations = append(m.doc.Operations, &ast.OperationDefinition{Operation: ast.Query, SelectionSet: typename()})
		return true
	},
	"MaxIntrospectionDepth": func(m *maker) bool {
		set := ast.SelectionSet{plain("name")}
		for _, name := range []string{"type", "fields", "type", "fields", "type", "fields"} {
			set = ast.SelectionSet{plain(name, set...)}
		}
		return m.insertInQuery(plain("__schema", plain("types", set...)))
	},
	"NoFragmentCycles": func(m *maker) bool {
		if len(m.doc.Fragments) == 0 {
			return false
		}
		f := pick(m, m.doc.Fragments)
		eachSelection(f.SelectionSet, func(s ast.Selection) {
			if spread, ok := s.(*ast.FragmentSpread); ok && m.chance(50) {
				f = m.doc.Fragments.ForName(spread.Name)
			}
		})
		f.SelectionSet = append(f.SelectionSet, &ast.FragmentSpread{Name: f.Name})
		return true
	},
	"NoFragmentCycles: of two": func(m *maker) bool {
		root := m.schema.Query.Name
		m.doc.Fragments = append(m.doc.Fragments,
			&ast.FragmentDefinition{Name: "There", TypeCondition: root, SelectionSet: ast.SelectionSet{&ast.FragmentSpread{Name: "Back"}}},
			&ast.FragmentDefinition{Name: "Back", TypeCondition: root, SelectionSet: ast.SelectionSet{&ast.FragmentSpread{Name: "There"}}})
		return m.insertInQuery(&ast.FragmentSpread{Name: "There"})
	},
	"NoUndefinedVariables": func(m *maker) bool {
		op := pick(m, m.doc.Operations)
		if len(op.VariableDefinitions) == 0 {
			return m.decorateWith(&ast.Value{Kind: ast.Variable, Raw: "noSuch"})
		}
		i := m.upTo(len(op.VariableDefinitions) - 1)
		op.VariableDefinitions = slices.Delete(slices.Clone(op.VariableDefinitions), i, i+1)
		return true
	},
	"NoUnusedFragments": func(m *maker) bool {
		m.doc.Fragments = append(m.doc.Fragments, &ast.FragmentDefinition{Name: "Unused", TypeCondition: m.schema.Query.Name, SelectionSet: typename()})
		return true
	},
	"NoUnusedVariables": func(m *maker) bool {
		op := pick(m, m.doc.Operations)
		op.VariableDefinitions = append(op.VariableDefinitions, &ast.VariableDefinition{Variable: "unused", Type: ast.NamedType("Int", nil)})
		return true
	},
	"OverlappingFieldsCanBeMerged": func(m *maker) bool { return m.conflict(false) },
	"OverlappingFieldsCanBeMerged: arguments": func(m *maker) bool {
		return m.conflict(true)
	},
	"OverlappingFieldsCanBeMerged: in fragments": func(m *maker) bool {
		return m.conflict(false, func(f *ast.Field) ast.Selection {
			return &ast.InlineFragment{SelectionSet: ast.SelectionSet{f}}
		})
	},
	"PossibleFragmentSpreads": func(m *maker) bool { return m.impossible(false) },
	"PossibleFragmentSpreads: of a fragment": func(m *maker) bool {
		return m.impossible(true)
	},
	"ProvidedRequiredArguments": func(m *maker) bool {
		fields := m.fields(func(def *ast.FieldDefinition, f *ast.Field) bool {
			return slices.ContainsFunc(def.Arguments, required)
		})
		if len(fields) == 0 {
			return false
		}
		pick(m, fields).Arguments = nil
		return true
	},
	"ProvidedRequiredArguments: of a directive": func(m *maker) bool { return m.decorate(&ast.Directive{Name: "skip"}) },
	"ScalarLeafs": func(m *maker) bool {
		fields := m.fields(func(def *ast.FieldDefinition, f *ast.Field) bool { return f.SelectionSet != nil })
		if len(fields) == 0 {
			return false
		}
		pick(m, fields).SelectionSet = nil
		return true
	},
	"ScalarLeafs: of a leaf": func(m *maker) bool {
		fields := m.fields(func(def *ast.FieldDefinition, f *ast.Field) bool { return f.SelectionSet == nil })
		if len(fields) == 0 {
			return false
		}
		pick(m, fields).SelectionSet = typename()
		return true
	},
	"SingleFieldSubscriptions": func(m *maker) bool {
		if m.schema.Subscription == nil {
			return false
		}
		m.doc = &ast.QueryDocument{Operations: ast.OperationList{{Operation: ast.Subscription}}}
		m.operation = ""
		f := m.field(m.schema.Subscription, pick(m, selectable(m.schema.Subscription)), 4)
		second := *f
		second.Alias = "second"
		second.Name = "__typename"
		second.Arguments, second.SelectionSet = nil, nil
		m.doc.Operations[0].SelectionSet = ast.SelectionSet{f, &second}
		m.declare()
		return true
	},
	"UniqueArgumentNames": func(m *maker) bool {
		fields := m.fields(func(def *ast.FieldDefinition, f *ast.Field) bool { return len(f.Arguments) > 0 })
		if len(fields) == 0 {
			return false
		}
		f := pick(m, fields)
		f.Arguments = append(f.Arguments, pick(m, f.Arguments))
		return true
	},
	"UniqueDirectivesPerLocation": func(m *maker) bool {
		return m.decorateWith(&ast.Value{Kind: ast.BooleanValue, Raw: "false"}) && m.decorateAgain()
	},
	"UniqueFragmentNames": func(m *maker) bool {
		if len(m.doc.Fragments) == 0 {
			return false
		}
		f := *pick(m, m.doc.Fragments)
		m.doc.Fragments = append(m.doc.Fragments, &f)
		return true
	},
	"UniqueInputFieldNames": func(m *maker) bool {
		var objects []*ast.Value
		m.eachArgument(func(_ *ast.ArgumentDefinition, a *ast.Argument) {
			eachValueOf(nil, ast.ArgumentList{a}, func(v *ast.Value) {
				if v.Kind == ast.ObjectValue && len(v.Children) > 0 {
					objects = append(objects, v)
				}
			})
		})
		if len(objects) == 0 {
			return false
		}
		o := pick(m, objects)
		o.Children = append(o.Children, pick(m, o.Children))
		return true
	},
	"UniqueOperationNames": func(m *maker) bool {
		if m.doc.Operations[0].Name == "" {
			m.doc.Operations[0].Name = "Twice"
		}
		m.doc.Operations = append(m.doc.Operations, &ast.OperationDefinition{Operation: ast.Query, Name: m.doc.Operations[0].Name, SelectionSet: typename()})
		m.operation = m.doc.Operations[0].Name
		return true
	},
	"UniqueVariableNames": func(m *maker) bool {
		for _, op := range m.doc.Operations {
			if len(op.VariableDefinitions) > 0 {
				op.VariableDefinitions = append(op.VariableDefinitions, pick(m, op.VariableDefinitions))
				return true
			}
		}
		return false
	},
	"ValuesOfCorrectType": func(m *maker) bool {
		var places []*ast.Argument
		types := map[*ast.Argument]*ast.Type{}
		m.eachArgument(func(def *ast.ArgumentDefinition, a *ast.Argument) {
			if t := m.schema.Types[def.Type.Name()]; t.Kind != ast.Scalar || t.BuiltIn {
				places = append(places, a)
				types[a] = def.Type
			}
		})
		if len(places) == 0 {
			return false
		}
		a := pick(m, places)
		var walk func(t *ast.Type, v **ast.Value)
		walk = func(t *ast.Type, v **ast.Value) { // somewhere in it
			if t.Elem != nil && (*v).Kind == ast.ListValue && len((*v).Children) > 0 && m.chance(60) {
				walk(t.Elem, &pick(m, (*v).Children).Value)
				return
			}
			if t.Elem == nil && (*v).Kind == ast.ObjectValue && len((*v).Children) > 0 && m.chance(60) {
				c := pick(m, (*v).Children)
				f := m.schema.Types[t.NamedType].Fields.ForName(c.Name)
				if def := m.schema.Types[f.Type.Name()]; def.Kind != ast.Scalar || def.BuiltIn {
					walk(f.Type, &c.Value)
					return
				}
			}
			*v = m.wrong(t)
		}
		walk(types[a], &a.Value)
		m.declare()
		return true
	},
	"ValuesOfCorrectType: input fields": func(m *maker) bool {
		var objects []*ast.Value
		m.eachArgument(func(def *ast.ArgumentDefinition, a *ast.Argument) {
			if m.schema.Types[def.Type.Name()].Kind != ast.InputObject {
				return
			}
			v := a.Value
			for v.Kind == ast.ListValue && len(v.Children) > 0 {
				v = v.Children[0].Value
			}
			if v.Kind == ast.ObjectValue {
				objects = append(objects, v)
			}
		})
		if len(objects) == 0 {
			return false
		}
		o := pick(m, objects)
		o.Children = append(o.Children, &ast.ChildValue{Name: "noSuch", Value: null()})
		return true
	},
	"VariablesAreInputTypes": func(m *maker) bool {
		op := pick(m, m.doc.Operations)
		op.VariableDefinitions = append(op.VariableDefinitions, &ast.VariableDefinition{Variable: "strange", Type: ast.NamedType(m.schema.Query.Name, nil)})
		return true
	},
	"VariablesInAllowedPosition": func(m *maker) bool {
		for _, op := range m.doc.Operations {
			op.VariableDefinitions = append(op.VariableDefinitions, &ast.VariableDefinition{
				Variable: "wrong", Type: pick(m, []*ast.Type{ast.NamedType("Boolean", nil), ast.NonNullNamedType("Int", nil), ast.ListType(ast.NonNullNamedType("Boolean", nil), nil)}),
			})
		}
		return m.decorateWith(&ast.Value{Kind: ast.Variable, Raw: "wrong"})
	},
	Syntax + ": a piece is missing": func(m *maker) bool {
		words := strings.Fields(m.printPlainly()) // a comment would swallow the rest
		var brackets []int
		for i, w := range words {
			if len(w) == 1 && strings.Contains("{}()[]", w) {
				brackets = append(brackets, i)
			}
		}
		i := pick(m, brackets)
		m.text = strings.Join(slices.Delete(words, i, i+1), " ")
		return true
	},
	Syntax + ": a strange piece": func(m *maker) bool {
		m.text = m.print() + pick(m, []string{"}", "&", "query", `"`, `"""`, "{ }", "fragment on on Q { a }", "$", "%", "extend type Q { a: Int }", "..", "\\"})
		return true
	},
	Syntax + ": a definition": func(m *maker) bool {
		m.text = m.print() + pick(m, []string{"type X { a: Int }", "enum X { A }", "schema { query: Query }", "directive @x on FIELD", "scalar X"})
		return true
	},
	Syntax + ": no operation": func(m *maker) bool {
		m.text = pick(m, []string{"fragment F on " + m.schema.Query.Name + " { __typename }", "# nothing", ",", "\n"})
		m.operation = ""
		return true
	},
	Operation: func(m *maker) bool {
		m.operation = "NoSuch"
		return true
	},
	Operation + ": one of two": func(m *maker) bool {
		if m.doc.Operations[0].Name == "" {
			m.doc.Operations[0].Name = "One"
		}
		if len(m.doc.Operations) == 1 {
			m.doc.Operations = append(m.doc.Operations, &ast.OperationDefinition{Operation: ast.Query, Name: "Other", SelectionSet: typename()})
		}
		m.operation = ""
		return true
	},
	Variables: func(m *maker) bool {
		var list []*ast.VariableDefinition
		for _, v := range m.running().VariableDefinitions {
			if def := m.schema.Types[v.Type.Name()]; def.Kind != ast.Scalar || def.BuiltIn {
				list = append(list, v)
			}
		}
		if len(list) == 0 {
			return false
		}
		v := pick(m, list)
		m.values[v.Variable] = m.wrongJSON(v.Type)
		return true
	},
	Variables + ": missing": func(m *maker) bool {
		for _, v := range m.running().VariableDefinitions {
			if v.Type.NonNull && v.DefaultValue == nil {
				delete(m.values, v.Variable)
				if m.chance(50) {
					m.values[v.Variable] = nil
				}
				return true
			}
		}
		return false
	},
}

func typename() ast.SelectionSet { return ast.SelectionSet{plain("__typename")} }

func plain(name string, set ...ast.Selection) *ast.Field {
	return &ast.Field{Alias: name, Name: name, SelectionSet: set}
}

func required(a *ast.ArgumentDefinition) bool { return a.Type.NonNull && a.DefaultValue == nil }

// running is the operation that the request names.
func (m *maker) running() *ast.OperationDefinition {
	for _, op := range m.doc.Operations {
		if m.operation == "" || op.Name == m.operation {
			return op
		}
	}
	return m.doc.Operations[0]
}

// fields are the fields of the document, those of introspection left out, that are
// as is says.
func (m *maker) fields(is func(*ast.FieldDefinition, *ast.Field) bool) (list []*ast.Field) {
	m.eachSet(func(def *ast.Definition, set *ast.SelectionSet) {
		for _, s := range *set {
			f, ok := s.(*ast.Field)
			if !ok {
				continue
			}
			fd := m.fieldOf(def, f.Name)
			if is == nil || fd != nil && !strings.HasPrefix(f.Name, "__") && is(fd, f) {
				list = append(list, f)
			}
		}
	})
	if len(list) == 0 && is == nil { // spreads and nothing else cannot be
		panic("no field")
	}
	return list
}

// insert puts s into any selection set but that of a subscription.
func (m *maker) insert(s ast.Selection) bool {
	var sets []*ast.SelectionSet
	m.eachSet(func(_ *ast.Definition, set *ast.SelectionSet) { sets = append(sets, set) })
	set := pick(m, sets)
	*set = append(slices.Clone(*set), s)
	return true
}

// insertInQuery puts s where the query's root is selected from.
func (m *maker) insertInQuery(s ast.Selection) bool {
	for _, op := range m.doc.Operations {
		if op.Operation == ast.Query {
			op.SelectionSet = append(slices.Clone(op.SelectionSet), s)
			return true
		}
	}
	return false
}

// decorate puts d on a field.
func (m *maker) decorate(d *ast.Directive) bool {
	f := pick(m, m.fields(nil))
	f.Directives = append(slices.Clone(f.Directives), d)
	return true
}

// decorateWith puts @skip or @include with v on a field of an operation that has
// neither.
func (m *maker) decorateWith(v *ast.Value) bool {
	f := plain("__typename")
	f.Alias = "decorated"
	f.Directives = ast.DirectiveList{{Name: pick(m, []string{"skip", "include"}), Arguments: ast.ArgumentList{{Name: "if", Value: v}}}}
	op := m.doc.Operations[0]
	op.SelectionSet = append(slices.Clone(op.SelectionSet), f)
	return true
}

// decorateAgain repeats the directive that decorateWith has put.
func (m *maker) decorateAgain() bool {
	set := m.doc.Operations[0].SelectionSet
	f := set[len(set)-1].(*ast.Field)
	f.Directives = append(f.Directives, f.Directives[0])
	return true
}

// conflict selects two fields under one response name, wrapped, that differ in their
// names or, if it says so, in their arguments.
func (m *maker) conflict(arguments bool, wrap ...func(*ast.Field) ast.Selection) bool {
	type place struct {
		def *ast.Definition
		set *ast.SelectionSet
	}
	var places []place
	m.eachSet(func(def *ast.Definition, set *ast.SelectionSet) {
		if def != nil && !def.BuiltIn && def.Kind != ast.Union {
			places = append(places, place{def, set})
		}
	})
	first := m.upTo(len(places) - 1)
	for i := range places {
		p := places[(first+i)%len(places)]
		var defs []*ast.FieldDefinition
		for _, f := range selectable(p.def) {
			if !arguments || slices.ContainsFunc(f.Arguments, func(a *ast.ArgumentDefinition) bool { return a.DefaultValue != nil || !a.Type.NonNull }) {
				defs = append(defs, f)
			}
		}
		if len(defs) == 0 {
			continue
		}
		a := m.field(p.def, pick(m, defs), 5)
		b := *a
		a.Alias, b.Alias = "conflict", "conflict"
		if arguments {
			d := p.def.Fields.ForName(a.Name)
			i := slices.IndexFunc(d.Arguments, func(a *ast.ArgumentDefinition) bool { return a.DefaultValue != nil || !a.Type.NonNull })
			arg := d.Arguments[i]
			b.Arguments = slices.DeleteFunc(slices.Clone(a.Arguments), func(x *ast.Argument) bool { return x.Name == arg.Name })
			if len(b.Arguments) == len(a.Arguments) {
				a.Arguments = append(slices.Clone(a.Arguments), &ast.Argument{Name: arg.Name, Value: m.literal(arg.Type, 2, false)})
			}
		} else {
			b = *plain("__typename")
			b.Alias = "conflict"
		}
		m.declare()
		both := ast.SelectionSet{a, &b}
		for _, w := range wrap {
			both[1] = w(&b)
		}
		*p.set = append(slices.Clone(*p.set), both...)
		m.declare()
		return true
	}
	return false
}

// impossible spreads a fragment of a type that nothing there can be of.
func (m *maker) impossible(named bool) bool {
	var places []func()
	m.eachSet(func(def *ast.Definition, set *ast.SelectionSet) {
		if def == nil || def.BuiltIn {
			return
		}
		possible := m.overlapping(def)
		for _, op := range []*ast.Definition{m.schema.Query, m.schema.Mutation} {
			if op == nil || slices.Contains(possible, op) {
				continue
			}
			places = append(places, func() {
				var s ast.Selection = &ast.InlineFragment{TypeCondition: op.Name, SelectionSet: typename()}
				if named {
					s = &ast.FragmentSpread{Name: "Impossible"}
					m.doc.Fragments = append(m.doc.Fragments, &ast.FragmentDefinition{Name: "Impossible", TypeCondition: op.Name, SelectionSet: typename()})
				}
				*set = append(slices.Clone(*set), s)
			})
		}
	})
	if len(places) == 0 {
		return false
	}
	pick(m, places)()
	return true
}

func (m *maker) ofKind(kind ast.DefinitionKind) string {
	names := []string{}
	for name, def := range m.schema.Types {
		if def.Kind == kind && !def.BuiltIn {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return pick(m, names)
}

func (m *maker) anEnum() string  { return m.ofKind(ast.Enum) }
func (m *maker) anInput() string { return m.ofKind(ast.InputObject) }

// wrong is a literal that is none of t.
func (m *maker) wrong(t *ast.Type) *ast.Value {
	raw := func(kind ast.ValueKind, s string) *ast.Value { return &ast.Value{Kind: kind, Raw: s} }
	if t.NonNull && m.chance(30) {
		return null()
	}
	object := &ast.Value{Kind: ast.ObjectValue, Children: ast.ChildValueList{{Name: "noSuch", Value: raw(ast.IntValue, "1")}}}
	all := map[string]*ast.Value{
		"int": raw(ast.IntValue, "12"), "float": raw(ast.FloatValue, "1.5"), "string": raw(ast.StringValue, "x"),
		"boolean": raw(ast.BooleanValue, "true"), "enum": raw(ast.EnumValue, "NO_SUCH"), "object": object,
		"large": raw(ast.IntValue, "2147483648"),
	}
	if t.Elem == nil {
		all["list"] = &ast.Value{Kind: ast.ListValue, Children: ast.ChildValueList{{Value: raw(ast.IntValue, "1")}}}
	}
	def := m.schema.Types[t.Name()]
	fit := map[string][]string{
		"Int": {"int"}, "Float": {"int", "large", "float"}, "String": {"string"}, "Boolean": {"boolean"}, "ID": {"int", "large", "string"},
	}[def.Name]
	names := []string{}
	for _, name := range []string{"int", "float", "string", "boolean", "enum", "object", "large", "list"} {
		if all[name] != nil && !slices.Contains(fit, name) {
			names = append(names, name)
		}
	}
	return all[pick(m, names)]
}

// wrongJSON is a value that is none of t.
func (m *maker) wrongJSON(t *ast.Type) any {
	if t.NonNull && m.chance(30) {
		return nil
	}
	all := []any{12, 1.5, "no such", true, map[string]any{"noSuch": 1}}
	if t.Elem == nil {
		all = append(all, []any{1}, []any{})
	}
	switch m.schema.Types[t.Name()].Name {
	case "Int":
		all[0] = 2147483648
	case "Float":
		all = all[2:]
	case "String":
		all[2] = 7
	case "Boolean":
		all[3] = "true"
	case "ID":
		all = append(all[1:2], all[3:]...)
	}
	return pick(m, all)
}
