package worker

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"
)

// variable is one that an operation declares.
type variable struct {
	name       string
	typ        *ast.Type
	hasDefault bool
	literal    *ast.Value // of the default
	locations  []Location // of the declaration
}

// declared are the variables of op. It fails if a default is no value of its
// type.
func (p *planner) declared(op *ast.OperationDefinition) ([]variable, *Error) {
	var list []variable
	for _, d := range op.VariableDefinitions {
		v := variable{name: d.Variable, typ: d.Type, hasDefault: d.DefaultValue != nil, literal: d.DefaultValue, locations: locations(d.Position)}
		if v.hasDefault {
			if _, e := p.fromDefault(v); e != nil {
				e.code, e.Locations = CodeValidationFailed, v.locations
				return nil, e
			}
		}
		list = append(list, v)
	}
	return list, nil
}

func (p *planner) fromDefault(v variable) (any, *Error) {
	value, err := v.literal.Value(nil)
	if err != nil {
		return nil, &Error{Message: fmt.Sprintf("default of $%s: %v", v.name, err)}
	}
	value, e := p.coerce(v.typ, value, 0)
	if e != nil {
		return nil, &Error{Message: fmt.Sprintf("default of $%s: %s", v.name, e)}
	}
	return value, nil
}

// input is what an operation gets for its variables, or why they are none for it.
type input struct {
	values map[string]any
	states []varState
	err    *Error
}

func (p *planner) input(plan *Plan, given map[string]any) (in input) {
	in.values, in.states, in.err = p.coerceAll(plan, given)
	return in
}

// coerceAll makes the variables of a request, as JSON with json.Number, into the
// values that resolvers get, by the rules of the specification: a map that
// shares nothing with the plan, and what was given for each in the order of
// declaration. Variables that the operation does not declare are ignored.
func (p *planner) coerceAll(plan *Plan, given map[string]any) (map[string]any, []varState, *Error) {
	if len(plan.variables) == 0 {
		return nil, nil, nil
	}
	values := make(map[string]any, len(plan.variables))
	states := make([]varState, len(plan.variables))
	for i, v := range plan.variables {
		value, ok := given[v.name]
		var err *Error
		switch {
		case ok:
			var e *inputError
			if value, e = p.coerce(v.typ, value, 0); e != nil {
				err = &Error{Message: fmt.Sprintf("variable $%s%s", v.name, e)}
			}
		case v.hasDefault:
			value, err = p.fromDefault(v)
		case v.typ.NonNull:
			err = &Error{Message: fmt.Sprintf("variable $%s of type %s is required", v.name, v.typ)}
		default:
			states[i] = varAbsent
			continue
		}
		if err != nil {
			err.code = CodeBadUserInput
			err.Locations = v.locations
			return nil, nil, err
		}
		values[v.name] = value
		states[i] = varSet
		if value == nil {
			states[i] = varNull
		}
	}
	return values, states, nil
}

// inputError is what is wrong with a value, and where in it.
type inputError struct {
	path   []string // ".field" and "[2]", the innermost first
	reason string
}

func (e *inputError) Error() string {
	s := ""
	for _, step := range slices.Backward(e.path) {
		s += step
	}
	return s + ": " + e.reason
}

// in is e, of a value within another.
func (e *inputError) in(step string) *inputError {
	e.path = append(e.path, step)
	return e
}

// coerce makes value, from JSON or from a literal, into what graph-gophers wants
// for t: int32, float64, string, bool, []any, map[string]any, nil. Defaults of
// input fields are filled in. A custom scalar gets what a literal would give. The
// value is within so many lists and objects.
func (p *planner) coerce(t *ast.Type, value any, within int) (any, *inputError) {
	wrong := func() (any, *inputError) {
		return nil, &inputError{nil, fmt.Sprintf("%s is no %s", show(value), t)}
	}
	if within > maxInputDepth {
		return nil, &inputError{nil, fmt.Sprintf("a value may be %d levels deep", maxInputDepth)}
	}
	if value == nil {
		if t.NonNull {
			return wrong()
		}
		return nil, nil
	}
	if t.Elem != nil {
		list, ok := value.([]any)
		if !ok { // a single value is a list of one
			list = []any{value}
		}
		coerced := make([]any, len(list))
		for i, v := range list {
			var err *inputError
			if coerced[i], err = p.coerce(t.Elem, v, within+1); err != nil {
				if ok {
					return nil, err.in(fmt.Sprintf("[%d]", i))
				}
				return nil, err
			}
		}
		return coerced, nil
	}
	def := p.schema.Types[t.NamedType]
	switch def.Kind {
	case ast.InputObject:
		fields, ok := value.(map[string]any)
		if !ok {
			return wrong()
		}
		return p.coerceObject(def, fields, within)
	case ast.Enum:
		name, ok := value.(string)
		if !ok || def.EnumValues.ForName(name) == nil {
			return wrong()
		}
		return name, nil
	}
	if coerced, ok := coerceScalar(def.Name, value); ok {
		return coerced, nil
	}
	return wrong()
}

func coerceScalar(name string, value any) (coerced any, ok bool) {
	switch name {
	case "Int":
		f, ok := number(value)
		if !ok || f != math.Trunc(f) || f < math.MinInt32 || f > math.MaxInt32 {
			return nil, false
		}
		return int32(f), true
	case "Float":
		return number(value)
	case "String":
		s, ok := value.(string)
		return s, ok
	case "Boolean":
		b, ok := value.(bool)
		return b, ok
	case "ID":
		switch v := value.(type) {
		case string:
			return v, true
		case int64:
			return strconv.FormatInt(v, 10), true
		case json.Number:
			_, err := strconv.ParseInt(v.String(), 10, 64)
			return v.String(), err == nil
		}
		return nil, false
	}
	return plain(value), true // a custom scalar judges by itself
}

func (p *planner) coerceObject(def *ast.Definition, given map[string]any, within int) (any, *inputError) {
	names := make([]string, 0, len(given))
	for name := range given {
		names = append(names, name)
	}
	sort.Strings(names) // the same error for the same request
	for _, name := range names {
		if def.Fields.ForName(name) == nil {
			return nil, &inputError{nil, fmt.Sprintf("%s has no field %q", def.Name, shorten(name))}
		}
	}
	if def.Directives.ForName("oneOf") != nil {
		if len(given) != 1 || given[names[0]] == nil {
			return nil, &inputError{nil, fmt.Sprintf("%s wants exactly one field, and not null", def.Name)}
		}
	}
	coerced := make(map[string]any, len(def.Fields))
	for _, f := range def.Fields {
		value, ok := given[f.Name]
		if f.DefaultValue != nil && (!ok || value == nil && !f.Type.NonNull) {
			var err error
			if value, err = f.DefaultValue.Value(nil); err != nil {
				return nil, &inputError{nil, err.Error()}
			}
			ok = true
		}
		if !ok {
			if f.Type.NonNull {
				return nil, (&inputError{nil, fmt.Sprintf("%s is required", f.Type)}).in("." + f.Name)
			}
			continue
		}
		var err *inputError
		if coerced[f.Name], err = p.coerce(f.Type, value, within+1); err != nil {
			return nil, err.in("." + f.Name)
		}
	}
	return coerced, nil
}

// number is value as a float, if it is a finite number.
func number(value any) (float64, bool) {
	switch v := value.(type) {
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// plain replaces the numbers in the value of a custom scalar as graph-gophers
// does in a literal: int32 if it fits, else int64, else float64.
func plain(value any) any {
	switch v := value.(type) {
	case json.Number:
		n, err := v.Int64()
		if err != nil {
			f, _ := v.Float64()
			return f
		}
		return plain(n)
	case int64:
		if v >= math.MinInt32 && v <= math.MaxInt32 {
			return int32(v)
		}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	case map[string]any:
		fields := make(map[string]any, len(v))
		for k := range v {
			fields[k] = plain(v[k])
		}
		return fields
	}
	return value
}

// show is value as JSON, shortened, for a message.
func show(value any) string {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("a %T", value)
	}
	if r := []rune(string(b[:min(len(b), 400)])); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return string(b)
}
