package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// Introspection is answered here, from the schema as gqlparser knows it: what
// clients of today ask for (isRepeatable, isOneOf, the schema's description)
// graph-gophers refuses. In the text that graph-gophers executes, __schema and
// __type are __typename under the same response names (print.go), so that it
// decides about directives and order, and the answers are put in their places.

// The bounds of one answer: introspection of the largest public schemas has 10
// MB and a million fields, and a document within the other bounds can ask for it
// hundreds of times.
const (
	maxIntrospectionFields = 2_000_000
	maxIntrospectionBytes  = 16 << 20
	minIntrospectionBytes  = 1 << 20
)

// introspectionBytes is how long an introspection may be. What clients ask for has 3
// times as much as a schema with descriptions, and 20 times as much as one without.
func introspectionBytes(schema string) int {
	return min(max(32*len(schema), minIntrospectionBytes), maxIntrospectionBytes)
}

func introspects(f *ast.Field) bool { return f.Name == "__schema" || f.Name == "__type" }

// introspect is data, the answer of graph-gophers to plan, with what it was not
// asked for.
func (p *planner) introspect(plan *Plan, values map[string]any, data json.RawMessage, maxFields int) (json.RawMessage, *Error) {
	in := introspection{schema: p.schema, values: values, left: maxFields, bytes: p.introspectionBytes}
	fields := in.collect(plan.op.SelectionSet)
	asked := map[string]selected{}
	for _, f := range fields {
		if introspects(f.fields[0]) {
			asked[f.name] = f
		}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return data, nil // null
	}
	sep := byte('{')
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			return nil, NewError(CodeInternal, "internal error") // graph-gophers writes JSON
		}
		in.out.WriteByte(sep)
		sep = ','
		in.value(name)
		in.out.WriteByte(':')
		f, ok := asked[name.(string)]
		switch {
		case !ok:
			in.out.Write(value)
		case f.fields[0].Name == "__schema":
			in.complete(p.schema, f)
		default:
			in.complete(in.named(fmt.Sprint(in.arguments(f)["name"])), f)
		}
	}
	if in.exceeded() {
		return nil, NewError(CodeResponseTooLarge, "the answer to the introspection is too large: ask for less")
	}
	if sep == '{' { // all of it was skipped
		in.out.WriteByte(sep)
	}
	in.out.WriteByte('}')
	return in.out.Bytes(), nil
}

// introspection writes one answer.
type introspection struct {
	schema *ast.Schema
	values map[string]any // of the variables
	out    bytes.Buffer
	left   int // fields, skipped ones too
	bytes  int // how long it may be
}

func (in *introspection) exceeded() bool {
	return in.left < 0 || in.out.Len() > in.bytes
}

// selected is what a selection set has under one response name.
type selected struct {
	name   string
	fields []*ast.Field // of which each adds to the selections
}

func (s selected) selections() (all ast.SelectionSet) {
	if len(s.fields) == 1 {
		return s.fields[0].SelectionSet
	}
	for _, f := range s.fields {
		all = append(all, f.SelectionSet...)
	}
	return all
}

// collect is CollectFields of the specification. All types here are objects that
// validation has seen, so type conditions hold.
func (in *introspection) collect(set ast.SelectionSet) (list []selected) {
	place := map[string]int{}
	var add func(ast.SelectionSet)
	add = func(set ast.SelectionSet) {
		for _, s := range set {
			if in.left--; in.exceeded() {
				return
			}
			switch s := s.(type) {
			case *ast.Field:
				if !in.included(s.Directives) {
					continue
				}
				i, ok := place[s.Alias]
				if !ok {
					i = len(list)
					place[s.Alias] = i
					list = append(list, selected{name: s.Alias})
				}
				list[i].fields = append(list[i].fields, s)
			case *ast.InlineFragment:
				if in.included(s.Directives) {
					add(s.SelectionSet)
				}
			case *ast.FragmentSpread:
				if in.included(s.Directives) {
					add(s.Definition.SelectionSet)
				}
			}
		}
	}
	add(set)
	return list
}

func (in *introspection) included(list ast.DirectiveList) bool {
	for _, d := range list {
		if (d.Name == "skip" || d.Name == "include") && (d.ArgumentMap(in.values)["if"] == true) == (d.Name == "skip") {
			return false
		}
	}
	return true
}

func (in *introspection) arguments(f selected) map[string]any {
	return f.fields[0].ArgumentMap(in.values)
}

// complete writes v: nil, a string, a bool, a list of strings, or one or a list
// of the types below, of which f selects.
func (in *introspection) complete(v any, f selected) {
	if in.exceeded() {
		return
	}
	switch v := v.(type) {
	case nil, string, bool, []string:
		in.value(v)
	case []any:
		in.out.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				in.out.WriteByte(',')
			}
			in.complete(e, f)
		}
		in.out.WriteByte(']')
	default:
		sep := byte('{')
		for _, f := range in.collect(f.selections()) {
			in.out.WriteByte(sep)
			sep = ','
			in.value(f.name)
			in.out.WriteByte(':')
			in.complete(in.resolve(v, f), f)
		}
		if sep == '{' {
			in.out.WriteByte(sep)
		}
		in.out.WriteByte('}')
	}
}

func (in *introspection) value(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(errors.Join(errors.New("introspection"), err)) // of a string, never
	}
	in.out.Write(b)
}

// metaType is a __Type: the definition of a name, or a type that wraps another.
type metaType struct {
	def  *ast.Definition
	wrap *ast.Type
}

// inputValue is an __InputValue: an argument or the field of an input.
type inputValue struct {
	name, description string
	typ               *ast.Type
	def               *ast.Value
	directives        ast.DirectiveList
}

func (in *introspection) named(name string) any {
	if def := in.schema.Types[name]; def != nil {
		return metaType{def: def}
	}
	return nil
}

func (in *introspection) root(def *ast.Definition) any {
	if def == nil {
		return nil
	}
	return metaType{def: def}
}

func (in *introspection) typ(t *ast.Type) any {
	if t.NonNull || t.Elem != nil {
		return metaType{wrap: t}
	}
	return in.named(t.NamedType)
}

// resolve is the value of a field of v.
func (in *introspection) resolve(v any, f selected) any {
	name := f.fields[0].Name
	if name == "__typename" {
		return typename(v)
	}
	all := in.arguments(f)["includeDeprecated"] == true
	switch v := v.(type) {
	case *ast.Schema:
		return in.ofSchema(v, name)
	case metaType:
		if v.wrap != nil {
			return in.ofWrapper(v.wrap, name)
		}
		return in.ofType(v.def, name, all)
	case *ast.FieldDefinition:
		switch name {
		case "args":
			return arguments(v.Arguments, all)
		case "type":
			return in.typ(v.Type)
		}
		return described(v.Name, v.Description, v.Directives, name)
	case inputValue:
		switch name {
		case "type":
			return in.typ(v.typ)
		case "defaultValue":
			if v.def == nil {
				return nil
			}
			return v.def.String()
		}
		return described(v.name, v.description, v.directives, name)
	case *ast.EnumValueDefinition:
		return described(v.Name, v.Description, v.Directives, name)
	case *ast.DirectiveDefinition:
		switch name {
		case "isRepeatable":
			return v.IsRepeatable
		case "locations":
			locations := make([]string, len(v.Locations))
			for i, l := range v.Locations {
				locations[i] = string(l)
			}
			return locations
		case "args":
			return arguments(v.Arguments, all)
		}
		return described(v.Name, v.Description, v.Directives, name)
	}
	return nil
}

func typename(v any) any {
	switch v.(type) {
	case *ast.Schema:
		return "__Schema"
	case metaType:
		return "__Type"
	case *ast.FieldDefinition:
		return "__Field"
	case inputValue:
		return "__InputValue"
	case *ast.EnumValueDefinition:
		return "__EnumValue"
	}
	return "__Directive"
}

func (in *introspection) ofSchema(s *ast.Schema, name string) any {
	switch name {
	case "description":
		return optional(s.Description)
	case "types":
		list := []any{}
		for _, n := range slices.Sorted(maps.Keys(s.Types)) {
			list = append(list, metaType{def: s.Types[n]})
		}
		return list
	case "queryType":
		return in.root(s.Query)
	case "mutationType":
		return in.root(s.Mutation)
	case "subscriptionType":
		return in.root(s.Subscription)
	case "directives":
		list := []any{}
		for _, n := range slices.Sorted(maps.Keys(s.Directives)) {
			list = append(list, s.Directives[n])
		}
		return list
	}
	return nil
}

func (in *introspection) ofWrapper(t *ast.Type, name string) any {
	switch {
	case name == "kind" && t.NonNull:
		return "NON_NULL"
	case name == "kind":
		return "LIST"
	case name == "ofType" && t.NonNull:
		inner := *t
		inner.NonNull = false
		return in.typ(&inner)
	case name == "ofType":
		return in.typ(t.Elem)
	}
	return nil
}

func (in *introspection) ofType(def *ast.Definition, name string, all bool) any {
	composite := def.Kind == ast.Object || def.Kind == ast.Interface
	list := []any{}
	switch {
	case name == "kind":
		return string(def.Kind)
	case name == "name" || name == "description":
		return described(def.Name, def.Description, nil, name)
	case name == "specifiedByURL":
		if d := def.Directives.ForName("specifiedBy"); d != nil && def.Kind == ast.Scalar {
			return d.ArgumentMap(nil)["url"]
		}
		return nil
	case name == "isOneOf" && def.Kind == ast.InputObject:
		return def.Directives.ForName("oneOf") != nil
	case name == "fields" && composite:
		for _, f := range def.Fields {
			if shown(f.Directives, all) && !strings.HasPrefix(f.Name, "__") {
				list = append(list, f)
			}
		}
	case name == "interfaces" && composite:
		for _, n := range def.Interfaces {
			list = append(list, in.named(n))
		}
	case name == "possibleTypes" && def.IsAbstractType():
		for _, d := range in.schema.PossibleTypes[def.Name] {
			if d.Kind == ast.Object {
				list = append(list, metaType{def: d})
			}
		}
	case name == "enumValues" && def.Kind == ast.Enum:
		for _, v := range def.EnumValues {
			if shown(v.Directives, all) {
				list = append(list, v)
			}
		}
	case name == "inputFields" && def.Kind == ast.InputObject:
		for _, f := range def.Fields {
			if shown(f.Directives, all) {
				list = append(list, inputValue{f.Name, f.Description, f.Type, f.DefaultValue, f.Directives})
			}
		}
	default:
		return nil
	}
	return list
}

func arguments(list ast.ArgumentDefinitionList, all bool) any {
	values := []any{}
	for _, a := range list {
		if shown(a.Directives, all) {
			values = append(values, inputValue{a.Name, a.Description, a.Type, a.DefaultValue, a.Directives})
		}
	}
	return values
}

func shown(list ast.DirectiveList, all bool) bool {
	return all || list.ForName("deprecated") == nil
}

// described is a field that everything with a name has.
func described(name, description string, directives ast.DirectiveList, field string) any {
	deprecated := directives.ForName("deprecated")
	switch field {
	case "name":
		return name
	case "description":
		return optional(description)
	case "isDeprecated":
		return deprecated != nil
	case "deprecationReason":
		if deprecated != nil {
			return deprecated.ArgumentMap(nil)["reason"]
		}
	}
	return nil
}

// optional is null for a text that is not there.
func optional(text string) any {
	if text == "" {
		return nil
	}
	return text
}
