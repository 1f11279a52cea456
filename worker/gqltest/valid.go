package gqltest

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"
)

// maker makes one document. Names of variables and fragments are unique in it, so
// that each may be used by any operation; what an operation declares follows from
// what it uses.
type maker struct {
	t      *rapid.T
	schema *ast.Schema

	doc       *ast.QueryDocument
	variables map[string]*ast.VariableDefinition
	values    map[string]any
	operation string
	text      string // what a breaker has made of it, if it is no tree any more

	open map[string]bool // fragments that are being made, which must not spread themselves
	left int             // selections
}

func newMaker(t *rapid.T, schema *ast.Schema) *maker {
	return &maker{
		t: t, schema: schema, doc: &ast.QueryDocument{},
		variables: map[string]*ast.VariableDefinition{}, values: map[string]any{}, open: map[string]bool{},
		left: 25,
	}
}

func (m *maker) chance(percent int) bool { return m.upTo(99) < percent }

func (m *maker) upTo(n int) int { return rapid.IntRange(0, n).Draw(m.t, "n") }

// fair is a number below n, each as likely as the others: rapid's own are small
// ones more often, which is well for shrinking and leaves out rules.
func (m *maker) fair(n int) int {
	k := 0
	for range 12 {
		k *= 2
		if rapid.Bool().Draw(m.t, "bit") {
			k++
		}
	}
	return k % n
}

// pick is one of list, which is not empty.
func pick[T any](m *maker, list []T) T { return list[m.upTo(len(list)-1)] }

// document makes one operation, or two of which one is named.
func (m *maker) document() *maker {
	m.addOperation()
	if m.doc.Operations[0].Name != "" && m.chance(15) {
		m.left += 8
		m.addOperation()
		if m.doc.Operations[1].Name == "" {
			m.doc.Operations[1].Name = "Second"
		}
		m.operation = pick(m, m.doc.Operations).Name
	} else if m.chance(20) {
		m.operation = m.doc.Operations[0].Name
	}
	m.declare()
	m.give()
	return m
}

func (m *maker) addOperation() {
	op := &ast.OperationDefinition{Operation: ast.Query}
	root := m.schema.Query
	if m.schema.Mutation != nil && m.chance(15) {
		op.Operation, root = ast.Mutation, m.schema.Mutation
	} else if m.schema.Subscription != nil && m.chance(5) {
		op.Operation, root = ast.Subscription, m.schema.Subscription
	}
	if m.chance(60) {
		op.Name = pick(m, []string{"Q", "query", "Fragment", "on", "_1"})
		if len(m.doc.Operations) > 0 {
			op.Name += "2"
		}
	}
	m.doc.Operations = append(m.doc.Operations, op)
	if op.Operation == ast.Subscription {
		op.SelectionSet = ast.SelectionSet{m.field(root, pick(m, selectable(root)), 0)}
	} else {
		op.SelectionSet = m.selections(root, 0)
	}
	op.Directives = m.directives(ast.DirectiveLocation(strings.ToUpper(string(op.Operation))))
}

// selections selects from a composite type.
func (m *maker) selections(def *ast.Definition, depth int) (set ast.SelectionSet) {
	n := 1 + m.upTo(3)
	for range n {
		m.left--
		switch k := m.upTo(99); {
		case len(set) == 1 && k < 5: // the same once more merges
			m.left -= 5 // fields that repeat are many when they are expanded
			set = append(set, pick(m, set))
		case k < 12 || m.left < 0 && def.Kind == ast.Union:
			set = append(set, &ast.Field{Alias: pick(m, []string{"__typename", "kind_", "typename"}), Name: "__typename", Directives: m.directives(ast.LocationField)})
		case k < 24 && depth < 6 && m.left > 0, def.Kind == ast.Union && k < 80 && m.left > 0:
			set = append(set, m.inline(def, depth))
		case k < 36 && depth < 6 && m.left > 0:
			set = append(set, m.spread(def, depth))
		case def.Kind == ast.Union:
			set = append(set, &ast.Field{Alias: "__typename", Name: "__typename"})
		case def == m.schema.Query && k < 40 && m.left > 0:
			set = append(set, m.introspection())
		default:
			set = append(set, m.field(def, pick(m, m.affordable(def, depth)), depth))
		}
	}
	return set
}

// selectable are the fields of a type that are not introspection.
func selectable(def *ast.Definition) (fields []*ast.FieldDefinition) {
	for _, f := range def.Fields {
		if !strings.HasPrefix(f.Name, "__") {
			fields = append(fields, f)
		}
	}
	return fields
}

// affordable are the fields of def, and only its leaves where it is deep enough, if
// it has any.
func (m *maker) affordable(def *ast.Definition, depth int) []*ast.FieldDefinition {
	all := selectable(def)
	if depth < 4 && m.left > 0 {
		return all
	}
	leaves := slices.DeleteFunc(slices.Clone(all), func(f *ast.FieldDefinition) bool { return m.schema.Types[f.Type.Name()].IsCompositeType() })
	if len(leaves) == 0 {
		return all
	}
	return leaves
}

func (m *maker) field(def *ast.Definition, f *ast.FieldDefinition, depth int) *ast.Field {
	field := &ast.Field{Name: f.Name, Alias: f.Name, Arguments: m.arguments(f.Arguments)}
	// Under its own name a field merges with what other selections have under it, if
	// all types give it one type and nothing has arguments. Otherwise its response
	// name tells all that decides whether two fields merge.
	if len(field.Arguments) > 0 || !m.alike(f) || m.chance(15) {
		h := fnv.New32a()
		fmt.Fprint(h, def.Name, f.Name, printArguments(field.Arguments))
		field.Alias = fmt.Sprintf("%s_%x", f.Name, h.Sum32())
	}
	field.Directives = m.directives(ast.LocationField)
	if sub := m.schema.Types[f.Type.Name()]; sub.IsCompositeType() {
		field.SelectionSet = m.selections(sub, depth+1)
	}
	return field
}

// alike says whether every type that has a field of this name gives it one type.
func (m *maker) alike(f *ast.FieldDefinition) bool {
	for _, def := range m.schema.Types {
		if other := def.Fields.ForName(f.Name); def.IsCompositeType() && other != nil && other.Type.String() != f.Type.String() {
			return false
		}
	}
	return true
}

// overlapping are the composite types that an object of def may be of.
func (m *maker) overlapping(def *ast.Definition) (list []*ast.Definition) {
	for _, name := range slices.Sorted(maps.Keys(m.schema.Types)) {
		other := m.schema.Types[name]
		if other.BuiltIn || !other.IsCompositeType() {
			continue
		}
		if slices.ContainsFunc(m.objects(def), func(o *ast.Definition) bool { return slices.Contains(m.objects(other), o) }) {
			list = append(list, other)
		}
	}
	return list
}

// objects are the object types that def may be.
func (m *maker) objects(def *ast.Definition) []*ast.Definition {
	return slices.DeleteFunc(slices.Clone(m.schema.GetPossibleTypes(def)), func(o *ast.Definition) bool { return o.Kind != ast.Object })
}

func (m *maker) inline(def *ast.Definition, depth int) ast.Selection {
	f := &ast.InlineFragment{Directives: m.directives(ast.LocationInlineFragment)}
	if def.Kind == ast.Union || m.chance(80) {
		def = pick(m, m.overlapping(def))
		f.TypeCondition = def.Name
	}
	f.SelectionSet = m.selections(def, depth+1)
	return f
}

func (m *maker) spread(def *ast.Definition, depth int) ast.Selection {
	types := m.overlapping(def)
	var fits []string
	for _, f := range m.doc.Fragments {
		if !m.open[f.Name] && slices.Contains(types, m.schema.Types[f.TypeCondition]) {
			fits = append(fits, f.Name)
		}
	}
	s := &ast.FragmentSpread{Directives: m.directives(ast.LocationFragmentSpread)}
	if len(fits) > 0 && m.chance(50) {
		s.Name = pick(m, fits)
		return s
	}
	s.Name = pick(m, []string{"F", "fragment", "query", "true_"}) + strconv.Itoa(len(m.doc.Fragments))
	def = pick(m, types)
	f := &ast.FragmentDefinition{Name: s.Name, TypeCondition: def.Name}
	m.doc.Fragments = append(m.doc.Fragments, f)
	m.open[s.Name] = true
	f.SelectionSet = m.selections(def, depth+1)
	f.Directives = m.directives(ast.LocationFragmentDefinition)
	delete(m.open, s.Name)
	return s
}

// introspection is a selection that both executors know.
func (m *maker) introspection() ast.Selection {
	name := &ast.Field{Alias: "name", Name: "name"}
	if m.chance(50) {
		return &ast.Field{Alias: "__schema", Name: "__schema", SelectionSet: ast.SelectionSet{
			&ast.Field{Alias: "queryType", Name: "queryType", SelectionSet: ast.SelectionSet{name}},
		}}
	}
	value := &ast.Value{Kind: ast.StringValue, Raw: m.schema.Query.Name}
	if m.chance(50) {
		value = m.variable(ast.NonNullNamedType("String", nil), false)
	}
	return &ast.Field{
		Alias: fmt.Sprintf("type%d", m.left), Name: "__type", Arguments: ast.ArgumentList{{Name: "name", Value: value}},
		SelectionSet: ast.SelectionSet{name, &ast.Field{Alias: "kind", Name: "kind"}},
	}
}

func (m *maker) arguments(defs ast.ArgumentDefinitionList) (args ast.ArgumentList) {
	for _, d := range defs {
		required := d.Type.NonNull && d.DefaultValue == nil
		if required || m.chance(40) {
			args = append(args, &ast.Argument{Name: d.Name, Value: m.value(d.Type, d.DefaultValue != nil, 0)})
		}
	}
	if len(args) > 1 && m.chance(30) {
		slices.Reverse(args)
	}
	return args
}

// directives are some that may stand at location.
func (m *maker) directives(location ast.DirectiveLocation) (list ast.DirectiveList) {
	if !m.chance(15) {
		return nil
	}
	var defs []*ast.DirectiveDefinition
	for _, name := range slices.Sorted(maps.Keys(m.schema.Directives)) {
		if d := m.schema.Directives[name]; slices.Contains(d.Locations, location) && name != "defer" {
			defs = append(defs, d)
		}
	}
	if len(defs) == 0 {
		return nil
	}
	op := m.doc.Operations[len(m.doc.Operations)-1]
	if op.Operation == ast.Subscription { // its root field must not be skipped
		return nil
	}
	for range 1 + m.upTo(1) {
		d := pick(m, defs)
		if d.IsRepeatable || list.ForName(d.Name) == nil {
			list = append(list, &ast.Directive{Name: d.Name, Arguments: m.arguments(d.Arguments)})
		}
	}
	return list
}

// value is a literal or a variable for a place of type t.
func (m *maker) value(t *ast.Type, hasDefault bool, depth int) *ast.Value {
	if m.chance(30) {
		return m.variable(t, hasDefault)
	}
	return m.literal(t, depth, true)
}

func null() *ast.Value { return &ast.Value{Kind: ast.NullValue, Raw: "null"} }

// literal is a literal of type t, with variables in it if those are allowed.
func (m *maker) literal(t *ast.Type, depth int, variables bool) *ast.Value {
	inner := func(t *ast.Type, hasDefault bool) *ast.Value {
		if variables && m.chance(20) {
			return m.variable(t, hasDefault)
		}
		return m.literal(t, depth+1, variables)
	}
	if !t.NonNull && m.chance(10) {
		return null()
	}
	if t.Elem != nil {
		if t.Elem.Elem == nil && m.chance(15) { // one value is a list of one
			if v := m.literal(t.Elem, depth, variables); v.Kind != ast.NullValue && v.Kind != ast.ListValue {
				return v
			}
		}
		list := &ast.Value{Kind: ast.ListValue}
		for range m.upTo(2) {
			list.Children = append(list.Children, &ast.ChildValue{Value: inner(t.Elem, false)})
		}
		return list
	}
	def := m.schema.Types[t.NamedType]
	switch def.Kind {
	case ast.Enum:
		return &ast.Value{Kind: ast.EnumValue, Raw: pick(m, def.EnumValues).Name}
	case ast.InputObject:
		object := &ast.Value{Kind: ast.ObjectValue}
		if def.Directives.ForName("oneOf") != nil {
			f := pick(m, def.Fields)
			required := *f.Type
			required.NonNull = true
			v := m.literal(&required, depth+1, variables)
			if variables && m.chance(20) {
				v = m.declared(&ast.VariableDefinition{Type: &required}) // no default makes up for a null here
			}
			object.Children = ast.ChildValueList{{Name: f.Name, Value: v}}
			return object
		}
		for _, f := range def.Fields {
			if f.Type.NonNull && f.DefaultValue == nil || depth < 3 && m.chance(35) {
				object.Children = append(object.Children, &ast.ChildValue{Name: f.Name, Value: inner(f.Type, f.DefaultValue != nil)})
			}
		}
		return object
	}
	return m.scalar(def.Name, depth)
}

var texts = []string{
	"", "x", "Tama", `say "hello"`, `C:\new`, "two\nlines", "tab\tand bell\a", "é😀", "# no comment", `"""`, `\"""`, "  indented\n    more\n", "{}[]()$@!", " ", "\u0085",
}

// scalar is a literal of a scalar; of a custom one, any.
func (m *maker) scalar(name string, depth int) *ast.Value {
	raw := func(kind ast.ValueKind, list ...string) *ast.Value { return &ast.Value{Kind: kind, Raw: pick(m, list)} }
	switch name {
	case "Int":
		return raw(ast.IntValue, "0", "1", "2", "-1", "-0", "7", "2147483647", "-2147483648")
	case "Float":
		if m.chance(30) {
			return raw(ast.IntValue, "0", "3", "-4", "123456789012")
		}
		return raw(ast.FloatValue, "1.5", "-0.25", "1e3", "1E-3", "2.5e+2", "0.0")
	case "String":
		return raw(pick(m, []ast.ValueKind{ast.StringValue, ast.StringValue, ast.BlockValue}), texts...)
	case "Boolean":
		return raw(ast.BooleanValue, "true", "false")
	case "ID":
		if m.chance(30) {
			return raw(ast.IntValue, "0", "42", "-1")
		}
		return raw(ast.StringValue, "1", "dog", "", "4 2")
	}
	switch k := m.upTo(7); {
	case k == 0 && depth < 3:
		list := &ast.Value{Kind: ast.ListValue}
		for range m.upTo(2) {
			list.Children = append(list.Children, &ast.ChildValue{Value: m.scalar(name, depth+1)})
		}
		return list
	case k == 1 && depth < 3:
		object := &ast.Value{Kind: ast.ObjectValue}
		for _, field := range []string{"a", "b"}[:m.upTo(2)] {
			object.Children = append(object.Children, &ast.ChildValue{Name: field, Value: m.scalar(name, depth+1)})
		}
		return object
	case k == 2:
		return raw(ast.EnumValue, "X", "RED", "on")
	default:
		return m.scalar(pick(m, []string{"Int", "Float", "String", "Boolean"}), depth)
	}
}

// variable is one for a place of type t: declared with that type, a stricter one,
// or a laxer one where a default makes up for it.
func (m *maker) variable(t *ast.Type, hasDefault bool) *ast.Value {
	for _, name := range slices.Sorted(maps.Keys(m.variables)) {
		if v := m.variables[name]; v.Type.String() == t.String() && m.chance(40) {
			return &ast.Value{Kind: ast.Variable, Raw: name}
		}
	}
	declared := *t
	v := &ast.VariableDefinition{Type: &declared}
	switch k := m.upTo(9); {
	case k < 2:
		declared.NonNull = true
	case k < 4 && t.NonNull && hasDefault:
		declared.NonNull = false
	case k < 6 && t.NonNull:
		declared.NonNull = false
		notNull := *t
		v.DefaultValue = m.literal(&notNull, 1, false)
	}
	if v.DefaultValue == nil && m.chance(20) {
		v.DefaultValue = m.literal(&declared, 1, false)
		if t.NonNull && v.DefaultValue.Kind == ast.NullValue {
			v.DefaultValue = nil
		}
	}
	if m.chance(50) {
		v.Directives = constant(m.directives(ast.LocationVariableDefinition))
	}
	return m.declared(v)
}

// constant leaves out the directives that have variables.
func constant(list ast.DirectiveList) ast.DirectiveList {
	return slices.DeleteFunc(list, func(d *ast.Directive) bool {
		found := false
		eachValueOf(ast.DirectiveList{d}, nil, func(v *ast.Value) { found = found || v.Kind == ast.Variable })
		return found
	})
}

// declared gives v a name.
func (m *maker) declared(v *ast.VariableDefinition) *ast.Value {
	v.Variable = pick(m, []string{"v", "null", "on", "A_"}) + strconv.Itoa(len(m.variables))
	m.variables[v.Variable] = v
	return &ast.Value{Kind: ast.Variable, Raw: v.Variable}
}

// declare lets each operation declare what it uses.
func (m *maker) declare() {
	for _, op := range m.doc.Operations {
		op.VariableDefinitions = nil
		used := m.used(op)
		for _, name := range slices.Sorted(maps.Keys(used)) {
			op.VariableDefinitions = append(op.VariableDefinitions, m.variables[name])
		}
	}
}

// used are the names of the variables that op uses, through fragments too.
func (m *maker) used(op *ast.OperationDefinition) map[string]bool {
	names := map[string]bool{}
	value := func(v *ast.Value) {
		if v.Kind == ast.Variable {
			names[v.Raw] = true
		}
	}
	eachValueOf(op.Directives, nil, value)
	seen := map[string]bool{}
	var visit func(ast.SelectionSet)
	visit = func(set ast.SelectionSet) {
		eachSelection(set, func(s ast.Selection) {
			eachValueOf(directivesOf(s), argumentsOf(s), value)
			if spread, ok := s.(*ast.FragmentSpread); ok && !seen[spread.Name] {
				seen[spread.Name] = true
				f := m.doc.Fragments.ForName(spread.Name)
				eachValueOf(f.Directives, nil, value)
				visit(f.SelectionSet)
			}
		})
	}
	visit(op.SelectionSet)
	return names
}

// give makes values for the variables of the operation that runs.
func (m *maker) give() {
	op := m.doc.Operations[0]
	for _, o := range m.doc.Operations {
		if m.operation != "" && o.Name == m.operation {
			op = o
		}
	}
	required := m.required()
	for _, v := range op.VariableDefinitions {
		optional := !v.Type.NonNull || v.DefaultValue != nil
		if optional && m.chance(30) {
			continue
		}
		if value := m.json(v.Type, 0); value != nil || !v.Type.NonNull && !required[v.Variable] {
			m.values[v.Variable] = value
		}
	}
	if m.chance(10) {
		m.values["unknown"] = 1 // ignored
	}
}

// required are the variables at places of a non-null type, which they may be
// at if they or the place have a default.
func (m *maker) required() map[string]bool {
	names := map[string]bool{}
	var look func(t *ast.Type, v *ast.Value)
	look = func(t *ast.Type, v *ast.Value) {
		switch {
		case t == nil:
		case v.Kind == ast.Variable:
			if t.NonNull {
				names[v.Raw] = true
			}
		case v.Kind == ast.ListValue && t.Elem != nil:
			for _, c := range v.Children {
				look(t.Elem, c.Value)
			}
		case v.Kind == ast.ObjectValue && t.Elem != nil:
			look(t.Elem, v)
		case v.Kind == ast.ObjectValue:
			for _, c := range v.Children {
				if f := m.schema.Types[t.NamedType].Fields.ForName(c.Name); f != nil {
					look(f.Type, c.Value)
				}
			}
		}
	}
	m.eachArgument(func(def *ast.ArgumentDefinition, a *ast.Argument) { look(def.Type, a.Value) })
	return names
}

// json is a value of type t as a client would send it.
func (m *maker) json(t *ast.Type, depth int) any {
	if !t.NonNull && m.chance(10) {
		return nil
	}
	if t.Elem != nil {
		if t.Elem.Elem == nil && m.chance(15) {
			v := m.json(t.Elem, depth)
			if _, list := v.([]any); v != nil && !list {
				return v
			}
		}
		list := []any{}
		for range m.upTo(2) {
			list = append(list, m.json(t.Elem, depth+1))
		}
		return list
	}
	def := m.schema.Types[t.NamedType]
	switch def.Kind {
	case ast.Enum:
		return pick(m, def.EnumValues).Name
	case ast.InputObject:
		object := map[string]any{}
		if def.Directives.ForName("oneOf") != nil {
			f := pick(m, def.Fields)
			required := *f.Type
			required.NonNull = true
			object[f.Name] = m.json(&required, depth+1)
			return object
		}
		for _, f := range def.Fields {
			if f.Type.NonNull && f.DefaultValue == nil || depth < 3 && m.chance(35) {
				object[f.Name] = m.json(f.Type, depth+1)
			}
		}
		return object
	}
	switch def.Name {
	case "Int":
		return pick(m, []any{0, 1, 2, -1, 7, 2147483647, -2147483648})
	case "Float":
		return pick(m, []any{0, 1.5, -0.25, 1e3, 123456789012})
	case "String":
		return pick(m, texts)
	case "Boolean":
		return m.chance(50)
	case "ID":
		return pick(m, []any{"1", "dog", "", 42})
	}
	return pick(m, []any{1, -2.5, "s", true, []any{1, "x"}, map[string]any{"a": 1, "b": []any{nil}}})
}
