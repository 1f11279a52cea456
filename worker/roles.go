package worker

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// Who may ask for what is said in the schema, and decided at one place, authorize,
// from the plan: before anything of an operation runs, and of all of its fields.
//
//	enum Role { ANYONE READER ADMIN }   # each may do what those before it may
//	directive @requires(role: Role!) on FIELD_DEFINITION | OBJECT
//	type Query {
//	  version: String! @requires(role: ANYONE)
//	  users: [User!]! @requires(role: ADMIN)
//	}
//
// A field needs the strongest of what it says itself and what its type says. A
// field of an interface needs what it needs in any type that it may turn out to
// be. Only a root field that says nothing needs Config.DefaultRole: everything
// else is reached by way of one.
const (
	requiresDirective = "requires"
	roleArgument      = "role"
)

// roles are what the fields of a schema need, as ranks: places in the enum.
type roles struct {
	names []string
	needs map[string]int // by coordinate, "Type.field"; what is not there needs 0
	base  int            // Config.DefaultRole
}

func newRoles(schema *ast.Schema, defaultRole string) (*roles, error) {
	r := &roles{needs: map[string]int{}}
	if d := schema.Directives[requiresDirective]; d != nil {
		arg := d.Arguments.ForName(roleArgument)
		if arg == nil || arg.Type.Elem != nil || schema.Types[arg.Type.NamedType].Kind != ast.Enum {
			return nil, fmt.Errorf("schema: @%s must have an argument %q whose type is an enum, the weakest role first", requiresDirective, roleArgument)
		}
		for _, v := range schema.Types[arg.Type.NamedType].EnumValues {
			r.names = append(r.names, v.Name)
		}
	}
	if defaultRole != "" {
		if r.base = slices.Index(r.names, defaultRole); r.base < 0 {
			return nil, fmt.Errorf("schema: the default role %q is none of @%s(%s:)", defaultRole, requiresDirective, roleArgument)
		}
	}
	for _, def := range schema.Types {
		if def.Kind == ast.Object {
			r.object(schema, def)
		}
	}
	for _, def := range schema.Types {
		if def.Kind == ast.Interface {
			r.abstract(schema, def)
		}
	}
	return r, nil
}

func (r *roles) object(schema *ast.Schema, def *ast.Definition) {
	ofType, _ := r.said(def.Directives)
	for _, f := range def.Fields {
		need, said := r.said(f.Directives)
		if !said && ofType == 0 && isRoot(schema, def) {
			need = r.base
		}
		r.set(def, f, max(need, ofType))
	}
}

func (r *roles) abstract(schema *ast.Schema, def *ast.Definition) {
	for _, f := range def.Fields {
		need, _ := r.said(f.Directives)
		for _, possible := range schema.GetPossibleTypes(def) {
			need = max(need, r.needs[possible.Name+"."+f.Name])
		}
		r.set(def, f, need)
	}
}

func (r *roles) set(def *ast.Definition, f *ast.FieldDefinition, need int) {
	if need > 0 {
		r.needs[def.Name+"."+f.Name] = need
	}
}

// said is the rank that @requires gives in list.
func (r *roles) said(list ast.DirectiveList) (rank int, said bool) {
	d := list.ForName(requiresDirective)
	if d == nil {
		return 0, false
	}
	return slices.Index(r.names, d.Arguments.ForName(roleArgument).Value.Raw), true // gqlparser has checked that it is one
}

func isRoot(schema *ast.Schema, def *ast.Definition) bool {
	return def == schema.Query || def == schema.Mutation || def == schema.Subscription
}

// demand fills in what a plan needs of who asks for it.
func (r *roles) demand(p *Plan) {
	p.selections(func(s ast.Selection) {
		f, ok := s.(*ast.Field)
		if !ok || f.ObjectDefinition == nil || f.Name == "__typename" {
			return
		}
		coordinate := f.ObjectDefinition.Name + "." + f.Name
		need := r.needs[coordinate]
		if introspects(f) {
			need = r.base
		}
		if need > p.need {
			p.need, p.needy = need, coordinate
		}
	})
}

// rootFields are the coordinates of the root fields of a plan, each once.
func rootFields(op *ast.OperationDefinition) (fields []string) {
	walk(op.SelectionSet, func(s ast.Selection) bool {
		f, ok := s.(*ast.Field)
		if !ok {
			return true
		}
		if f.Name != "__typename" && f.ObjectDefinition != nil {
			fields = append(fields, f.ObjectDefinition.Name+"."+f.Name)
		}
		return false
	})
	slices.Sort(fields)
	return slices.Compact(fields)
}

// rank is the place of a role: the weakest's, if there is no such role.
func (r *roles) rank(role string) int { return max(slices.Index(r.names, role), 0) }

// authorize says why who may not ask for all of plan, nil if they may.
func (r *roles) authorize(plan *Plan, who *Identity) *Error {
	if r.rank(who.Role) < plan.need {
		if who.Subject == "" {
			return NewError(CodeUnauthenticated, fmt.Sprintf("%s is for %s: say who you are", plan.needy, r.atLeast(plan.need)))
		}
		return NewError(CodeForbidden, fmt.Sprintf("%s is for %s", plan.needy, r.atLeast(plan.need)))
	}
	if who.Scopes == nil {
		return nil
	}
	for _, f := range plan.roots {
		typ, _, _ := strings.Cut(f, ".")
		if !slices.Contains(who.Scopes, f) && !slices.Contains(who.Scopes, typ+".*") {
			return NewError(CodeForbidden, f+" is not in the scope of these credentials")
		}
	}
	return nil
}

func (r *roles) atLeast(rank int) string {
	if rank == len(r.names)-1 {
		return r.names[rank]
	}
	return r.names[rank] + " or more"
}
