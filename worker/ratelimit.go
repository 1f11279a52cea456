package worker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/worker/settings"
	"github.com/vektah/gqlparser/v2/ast"
)

// RateLimit is a rule: how much, of what, whom it counts. See docs/graphql.md.
type RateLimit struct {
	// Name is the policy's, for clients, logs and metrics: letters, digits and any of
	// "-_." after the first, at most 64. Buckets go by it: who changes the rest of a
	// rule forgets nothing, and who changes its name does.
	Name string
	// Per is whom it counts, several of these are the combination:
	//
	//	identity       Identity.Subject; who is unknown by address. The default
	//	key            those whose Subject begins with "key:", and nobody else
	//	ip             the client's address, of IPv6 the /64; one bucket for all without
	//	operation      the operation's name, which clients choose
	//	argument:PATH  the value of an argument of the field in Fields, or of what is in
	//	               it: argument:input.name. See Config.FoldArgument
	Per []string
	// Operations and Fields, unless empty, are what it applies to: operations of one of
	// these names; those that ask for one of these root fields: "Mutation.login",
	// "Query.*".
	Operations, Fields []string
	// Count is what it takes: "requests" (the default) is a token for an operation or,
	// with Fields, for each of them that it asks for, by whatever alias; "cost" as many
	// as the operation costs, one at least (see Plan.Cost).
	Count string
	// Limit tokens come in each Window, and Burst are there at most at once; 0 is Limit.
	Limit  int64
	Window time.Duration
	Burst  int64
	// Fail is what happens while what the hosts share is away.
	Fail limiter.Fail

	places *places // in a file
}

// places are where in a file a rule says what: "file:line:column: ".
type places struct {
	rule, limit             string
	per, operations, fields []string
}

func placeOf(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// The bounds of rules.
const (
	maxRateRules = 64
	maxRateTerms = 64 // in one list of a rule
)

// rateRules are rules ready for use. They never change.
type rateRules struct {
	rules []rateRule
}

type rateRule struct {
	index      int
	policy     *limiter.Policy
	per        []counted
	operations map[string]bool // nil: all
	fields     map[string]bool // coordinates and "Query.*"; nil: all
	kinds      map[ast.Operation]bool
	cost       bool
	byArgument bool
	anything   bool   // it needs no plan
	advertised []byte // its item of RateLimit-Policy
}

type countedBy byte

const (
	byIdentity  countedBy = 'i'
	byAddress   countedBy = 'a'
	byKey       countedBy = 'k'
	byOperation countedBy = 'o'
	byArgument  countedBy = 'v'
)

// counted is one term of Per.
type counted struct {
	by    countedBy
	paths map[string]*argumentPath // of an argument, by coordinate of the field
}

// argumentPath leads to a value in the arguments of a field.
type argumentPath struct {
	steps []argumentStep
	typ   string // of the value
}

// argumentStep is an argument, or a field of an input object in it.
type argumentStep struct {
	name   string
	absent *literal // what counts if it is not given; nil: nothing does
}

const (
	perIdentity  = "identity"
	perKey       = "key"
	perAddress   = "ip"
	perOperation = "operation"
	perArgument  = "argument:"
)

// compileRates makes rules of limits, or says which of them is none for the schema.
func compileRates(schema *ast.Schema, limits []RateLimit) (*rateRules, error) {
	if len(limits) > maxRateRules {
		return nil, &adviceError{fmt.Errorf("%d rate limits are more than %d", len(limits), maxRateRules), "have one rule for several fields"}
	}
	all := &rateRules{}
	names := map[string]bool{}
	for i := range limits {
		l := &limits[i]
		if names[l.Name] {
			return nil, l.wrong("", "give it another name: buckets go by the name", "there are two of this name")
		}
		names[l.Name] = true
		r, err := l.compile(schema)
		if err != nil {
			return nil, err
		}
		r.index = i
		all.rules = append(all.rules, *r)
	}
	return all, nil
}

// wrong is an error about a rule, at a place or its own.
func (l *RateLimit) wrong(place, hint, format string, args ...any) error {
	if place == "" && l.places != nil {
		place = l.places.rule
	}
	return &adviceError{fmt.Errorf("%srate limit %q: %w", place, shorten(l.Name), fmt.Errorf(format, args...)), hint}
}

func (l *RateLimit) compile(schema *ast.Schema) (*rateRule, error) {
	if !isRuleName(l.Name) {
		return nil, l.wrong("", "write a name like login or per-address", "a name has letters, digits, and -_. after the first, 64 at most")
	}
	at := l.places
	if at == nil {
		at = &places{}
	}
	policy, err := limiter.NewPolicy(l.Name, l.Limit, l.Window, l.Burst, l.Fail)
	if err != nil {
		return nil, l.wrong(at.limit, "write a limit like 1000/1m, and a burst up to it", "%w", err)
	}
	r := &rateRule{policy: policy}
	for _, list := range [][]string{l.Per, l.Operations, l.Fields} {
		if len(list) > maxRateTerms {
			return nil, l.wrong("", "make two rules of it", "a list has %d entries, and may have %d", len(list), maxRateTerms)
		}
	}
	switch l.Count {
	case "", "requests":
	case "cost":
		r.cost = true
	default:
		return nil, l.wrong("", "write requests or cost", "it cannot count %q", shorten(l.Count))
	}
	for i, name := range l.Operations {
		if !isGraphQLName(name) {
			return nil, l.wrong(placeOf(at.operations, i), "write it as clients do: query Actors {…} is Actors", "%q is no name of an operation", shorten(name))
		}
		if r.operations == nil {
			r.operations = map[string]bool{}
		}
		r.operations[name] = true
	}
	for i, field := range l.Fields {
		if err := r.addField(schema, field); err != nil {
			return nil, l.wrong(placeOf(at.fields, i), adviceOf(err), "%w", err)
		}
	}
	per := l.Per
	if len(per) == 0 {
		per = []string{perIdentity}
	}
	for i, term := range per {
		c, err := l.counted(schema, term)
		if err != nil {
			return nil, l.wrong(placeOf(at.per, i), adviceOf(err), "%w", err)
		}
		if slices.Contains(per[:i], term) {
			return nil, l.wrong(placeOf(at.per, i), "keep one of them", "%s is there twice", term)
		}
		r.per = append(r.per, c)
	}
	r.byArgument = slices.ContainsFunc(r.per, func(c counted) bool { return c.by == byArgument })
	r.anything = r.operations == nil && r.fields == nil && !slices.ContainsFunc(r.per, func(c counted) bool { return c.by == byOperation })
	r.advertised = advertise(policy, r.cost)
	return r, nil
}

// addField takes a pattern of fields into the rule.
func (r *rateRule) addField(schema *ast.Schema, pattern string) error {
	typ, name, ok := strings.Cut(pattern, ".")
	if !ok {
		return &adviceError{fmt.Errorf("%q is no root field", shorten(pattern)), "write it like Mutation.login, or Query.* for all of a type"}
	}
	kinds := map[ast.Operation]*ast.Definition{ast.Query: schema.Query, ast.Mutation: schema.Mutation}
	var roots []string
	for kind, def := range kinds {
		if def == nil {
			continue
		}
		roots = append(roots, def.Name)
		if def.Name != typ {
			continue
		}
		if name != "*" && def.Fields.ForName(name) == nil {
			return &adviceError{fmt.Errorf("the schema has no field %s", shorten(pattern)), didYouMean(rootCoordinates(def), pattern)}
		}
		if r.fields == nil {
			r.fields, r.kinds = map[string]bool{}, map[ast.Operation]bool{}
		}
		r.fields[pattern], r.kinds[kind] = true, true
		return nil
	}
	slices.Sort(roots)
	return &adviceError{fmt.Errorf("%s is not among the types that operations begin with", shorten(typ)), "these are " + strings.Join(roots, " and ")}
}

func rootCoordinates(def *ast.Definition) (list []string) {
	for _, f := range def.Fields {
		list = append(list, def.Name+"."+f.Name)
	}
	return list
}

// counted reads a term of Per.
func (l *RateLimit) counted(schema *ast.Schema, term string) (c counted, err error) {
	path, isArgument := strings.CutPrefix(term, perArgument)
	switch {
	case term == perIdentity:
		c.by = byIdentity
	case term == perAddress:
		c.by = byAddress
	case term == perKey:
		c.by = byKey
	case term == perOperation:
		c.by = byOperation
	case !isArgument:
		hint := didYouMean([]string{perIdentity, perAddress, perKey, perOperation}, term)
		if hint == "" {
			hint = "write identity, key, ip, operation, or argument:PATH"
		}
		return c, &adviceError{fmt.Errorf("it cannot count by %q", shorten(term)), hint}
	case len(l.Fields) == 0:
		return c, &adviceError{fmt.Errorf("%s: it is not said of which field", shorten(term)), "name the fields: fields: [Mutation.login]"}
	default:
		c.by, c.paths = byArgument, map[string]*argumentPath{}
		for _, field := range l.Fields {
			for _, def := range []*ast.Definition{schema.Query, schema.Mutation} {
				typ, name, _ := strings.Cut(field, ".")
				if def == nil || def.Name != typ {
					continue
				}
				if name == "*" {
					return c, &adviceError{fmt.Errorf("%s: fields of %s have different arguments", shorten(term), field), "name the fields one by one"}
				}
				if c.paths[field], err = argumentAt(schema, field, def.Fields.ForName(name), path); err != nil {
					return c, err
				}
			}
		}
	}
	return c, nil
}

// argumentAt finds the value at path in the arguments of a field: a scalar or an enum,
// so that two spellings of one value are seen to be one.
func argumentAt(schema *ast.Schema, coordinate string, f *ast.FieldDefinition, path string) (*argumentPath, error) {
	p := &argumentPath{}
	var typ *ast.Type
	for i, name := range strings.Split(path, ".") {
		var next *ast.Type
		var known []string
		var def *ast.Value
		if i == 0 {
			for _, a := range f.Arguments {
				known = append(known, a.Name)
				if a.Name == name {
					next, def = a.Type, a.DefaultValue
				}
			}
		} else {
			input := schema.Types[typ.Name()]
			if typ.Elem != nil || input.Kind != ast.InputObject {
				return nil, &adviceError{fmt.Errorf("%s of %s has nothing in it that could be counted by", strings.Join(stepNames(p.steps), "."), coordinate), "end the path there"}
			}
			for _, in := range input.Fields {
				known = append(known, in.Name)
				if in.Name == name {
					next, def = in.Type, in.DefaultValue
				}
			}
		}
		if next == nil {
			near := strings.Join(append(stepNames(p.steps), settings.Nearest(known, name)), ".")
			if strings.HasSuffix(near, ".") || near == "" {
				near = ""
			} else {
				near = fmt.Sprintf("did you mean %q?", perArgument+near)
			}
			return nil, &adviceError{fmt.Errorf("%s has no argument %q", coordinate, shorten(path)), near}
		}
		step := argumentStep{name: name}
		if def != nil {
			l := literalOf(def)
			step.absent = &l
		}
		p.steps = append(p.steps, step)
		typ = next
	}
	def := schema.Types[typ.Name()]
	if typ.Elem != nil || def.Kind != ast.Enum && (def.Kind != ast.Scalar || !def.BuiltIn) {
		return nil, &adviceError{fmt.Errorf("%s of %s is of type %s, which cannot be counted by", path, coordinate, typ), "name a string, a number, an ID or an enum"}
	}
	p.typ = def.Name
	return p, nil
}

func stepNames(steps []argumentStep) (names []string) {
	for _, s := range steps {
		names = append(names, s.name)
	}
	return names
}

func adviceOf(err error) string {
	var a *adviceError
	if errors.As(err, &a) {
		return a.advice
	}
	return ""
}

func didYouMean(known []string, name string) string {
	if near := settings.Nearest(known, name); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

func isRuleName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func isGraphQLName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
