package worker

import (
	"fmt"
	"strconv"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/nekoctl/neko/cache"
)

// How long an answer may be used, and by whom, is said in the schema, by the rules of
// Apollo Server (https://www.apollographql.com/docs/apollo-server/performance/caching):
//
//	enum CacheControlScope { PUBLIC PRIVATE }
//	directive @cacheControl(maxAge: Int, scope: CacheControlScope, inheritMaxAge: Boolean, staleWhileRevalidate: Int)
//	  on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
//
// A field has what its type says, and what it says itself instead of that, each
// argument by itself. If neither says a maxAge, a field of Query and one that returns an
// object, interface or union have Config.CacheDefaultMaxAge, unless it or its type has
// inheritMaxAge, which counts for nothing on a field of Query; any other field adds no
// condition. An answer has the least of what its fields have, and is PRIVATE if one of
// them is.
//
// What Apollo finds out when the answer is there is decided here from the operation, and
// so is stricter in three points: @skip and @include leave nothing out; a field of an
// interface has the least of what it has in any type that it may turn out to be; and of
// a field that returns an interface or union none of the possible types may say less.
//
// staleWhileRevalidate, in seconds too, is none of Apollo's: the least that a field says
// counts, and Config.CacheStaleWhileRevalidate if none says anything.
const cacheControlDirective = "cacheControl"

// unsaid is a number of seconds that a directive does not say.
const unsaid = -1

// caching is what a field adds to an answer's policy.
type caching struct {
	maxAge, revalidate int // seconds, or unsaid
	private            bool
}

// restrict makes c the stricter of c and o in each point.
func (c *caching) restrict(o caching) {
	c.maxAge, c.revalidate = lesser(c.maxAge, o.maxAge), lesser(c.revalidate, o.revalidate)
	c.private = c.private || o.private
}

// lesser is the lesser of two numbers of seconds that were said.
func lesser(a, b int) int {
	if a == unsaid || b == unsaid {
		return max(a, b)
	}
	return min(a, b)
}

// cacheHint is what @cacheControl says at one place.
type cacheHint struct {
	caching
	scope   bool // it says one
	inherit bool
}

// cacheControl is what a schema says of caching.
type cacheControl struct {
	fields map[string]caching // by coordinate; what is not there adds nothing
	tags   *cacheTags
	digest [32]byte // of the schema, and of what else answers depend on

	revalidate   time.Duration // by default; 0: a part of maxAge
	staleIfError time.Duration
	most         time.Duration // that any maxAge counts for
	browser      time.Duration // that Cache-Control says, where CDN-Cache-Control says the rest; 0: it says all
}

func newCacheControl(schema *ast.Schema, c Config) (*cacheControl, error) {
	cc := &cacheControl{
		fields:       map[string]caching{},
		digest:       answersDigest(c),
		revalidate:   c.CacheStaleWhileRevalidate,
		staleIfError: c.CacheStaleIfError,
		most:         cache.MaxLife,
		browser:      c.BrowserMaxAge.Truncate(time.Second),
	}
	if c.CacheMaxAge > 0 {
		cc.most = min(cc.most, c.CacheMaxAge.Truncate(time.Second))
	}
	types, own := map[string]cacheHint{}, map[string]cacheHint{}
	for _, def := range schema.Types {
		if !def.IsCompositeType() || isIntrospective(def.Name) {
			continue
		}
		var err error
		if types[def.Name], err = cacheHintIn(def.Directives); err != nil {
			return nil, fmt.Errorf("schema: %s: %w%s", def.Name, err, at(def.Position))
		}
		for _, f := range def.Fields {
			coordinate := def.Name + "." + f.Name
			if own[coordinate], err = cacheHintIn(f.Directives); err != nil {
				return nil, fmt.Errorf("schema: %s: %w%s", coordinate, err, at(f.Position))
			}
		}
	}
	defaultMaxAge := int(c.CacheDefaultMaxAge / time.Second)
	for _, def := range schema.Types {
		if def.Kind != ast.Object || isIntrospective(def.Name) {
			continue
		}
		for _, f := range def.Fields {
			if !isIntrospective(f.Name) {
				coordinate := def.Name + "." + f.Name
				cc.fields[coordinate] = fieldCaching(schema, types, own[coordinate], f, isRoot(schema, def), defaultMaxAge)
			}
		}
	}
	for _, def := range schema.Types {
		if def.Kind != ast.Interface || isIntrospective(def.Name) {
			continue
		}
		for _, f := range def.Fields {
			coordinate := def.Name + "." + f.Name
			all := own[coordinate].caching
			for _, possible := range schema.GetPossibleTypes(def) {
				if o, ok := cc.fields[possible.Name+"."+f.Name]; ok && possible.Kind == ast.Object {
					all.restrict(o)
				}
			}
			cc.fields[coordinate] = all
		}
	}
	var err error
	cc.tags, err = newCacheTags(schema)
	return cc, err
}

// fieldCaching is what a field of an object adds.
func fieldCaching(schema *ast.Schema, types map[string]cacheHint, own cacheHint, f *ast.FieldDefinition, root bool, defaultMaxAge int) caching {
	c, inherit := caching{maxAge: unsaid, revalidate: unsaid}, false
	def := schema.Types[f.Type.Name()]
	composite := def.IsCompositeType()
	if composite {
		of := types[def.Name]
		c, inherit = of.caching, of.inherit
	}
	if own.inherit && c.maxAge == unsaid {
		inherit = true
	} else if own.maxAge != unsaid {
		c.maxAge = own.maxAge
	}
	if own.scope {
		c.private = own.private
	}
	if own.revalidate != unsaid {
		c.revalidate = own.revalidate
	}
	if c.maxAge == unsaid && (root || composite && !inherit) {
		c.maxAge = defaultMaxAge
	}
	if def.IsAbstractType() {
		for _, possible := range schema.GetPossibleTypes(def) {
			c.restrict(types[possible.Name].caching)
		}
	}
	return c
}

// cacheHintIn is what @cacheControl says in list.
func cacheHintIn(list ast.DirectiveList) (h cacheHint, err error) {
	h.maxAge, h.revalidate = unsaid, unsaid
	d := list.ForName(cacheControlDirective)
	if d == nil {
		return h, nil
	}
	for _, a := range d.Arguments {
		switch {
		case a.Value.Kind == ast.NullValue:
		case a.Name == "maxAge":
			h.maxAge, err = secondsIn(a)
		case a.Name == "staleWhileRevalidate":
			h.revalidate, err = secondsIn(a)
		case a.Name == "scope":
			h.scope, h.private = true, a.Value.Raw == "PRIVATE"
			if a.Value.Kind != ast.EnumValue || !h.private && a.Value.Raw != "PUBLIC" {
				err = fmt.Errorf("@%s(scope: %s): it must be PUBLIC or PRIVATE", cacheControlDirective, a.Value)
			}
		case a.Name == "inheritMaxAge":
			h.inherit = a.Value.Raw == "true"
			if a.Value.Kind != ast.BooleanValue {
				err = fmt.Errorf("@%s(inheritMaxAge: %s): it must be true or false", cacheControlDirective, a.Value)
			}
		}
		if err != nil {
			return h, err
		}
	}
	if h.inherit {
		h.maxAge = unsaid // as Apollo has it
	}
	return h, nil
}

// maxSeconds is the greatest age that is told apart: what RFC 9111 has for those that a
// number cannot hold.
const maxSeconds = 1<<31 - 1

func secondsIn(a *ast.Argument) (int, error) {
	n, err := strconv.ParseInt(a.Value.Raw, 10, 64)
	if a.Value.Kind != ast.IntValue || err != nil || n < 0 || n > maxSeconds {
		return 0, fmt.Errorf("@%s(%s: %s): it must be a number of seconds, from 0 to %d", cacheControlDirective, a.Name, a.Value, maxSeconds)
	}
	return int(n), nil
}

// at is where something stands in the schema, for the end of a message.
func at(p *ast.Position) string {
	if p == nil || p.Src == nil {
		return ""
	}
	return fmt.Sprintf(" (%s:%d:%d)", p.Src.Name, p.Line, p.Column)
}

func isIntrospective(name string) bool { return len(name) > 1 && name[:2] == "__" }

// cachePlan is what is known of an operation whose answer may be kept.
type cachePlan struct {
	policy  cache.Policy
	private bool // only who it was made for may have it
	role    bool // it needs a role, and so is that role's
	whose   bool // another asker may get another answer, or none
	digest  [32]byte
	// The plan's own.
	variables []variable
	tagPlan
	browser time.Duration
	// What is said to who shows no credentials, and to who does.
	public, own control
}

// plan says how the answers of an operation may be kept; nil: not at all.
func (cc *cacheControl) plan(p *planner, plan *Plan, document documentHash) *cachePlan {
	if cc == nil || plan.Kind != ast.Query || plan.introspect || len(plan.Fields) == 0 {
		return nil
	}
	all := caching{maxAge: unsaid, revalidate: unsaid}
	for _, coordinate := range plan.Fields {
		c, ok := cc.fields[coordinate]
		if !ok {
			return nil // nothing that the schema knows
		}
		all.restrict(c)
	}
	if all.maxAge <= 0 {
		return nil
	}
	all.maxAge = min(all.maxAge, int(cc.most/time.Second))
	maxAge := time.Duration(all.maxAge) * time.Second
	cp := &cachePlan{
		policy: cache.Policy{
			MaxAge:               maxAge,
			StaleWhileRevalidate: min(cc.stale(all), cc.most, cache.MaxLife-maxAge),
			StaleIfError:         min(max(cc.staleIfError, 0), cache.MaxLife-maxAge).Truncate(time.Second),
		},
		private: all.private,
		role:    plan.need > 0,
		whose:   all.private || plan.need > 0 || p.roles.base > 0,
		digest:  planDigest(cc.digest, document, plan.Name),

		variables: plan.variables,
		browser:   cc.browser,
	}
	var ok bool
	if cp.tagPlan, ok = cc.tags.plan(p, plan); !ok {
		return nil
	}
	cp.public, cp.own = controlFor(nil, cp.policy, cp.browser, cp.whose), controlFor(nil, cp.policy, cp.browser, true)
	return cp
}

// stale is for how long after its maxAge an answer is served while it is made anew: what
// the fields say, what the Config says, else a tenth of maxAge.
func (cc *cacheControl) stale(c caching) time.Duration {
	const whole = time.Second
	switch {
	case c.revalidate != unsaid:
		return time.Duration(c.revalidate) * time.Second
	case cc.revalidate < 0:
		return 0
	case cc.revalidate > 0:
		return cc.revalidate.Truncate(whole)
	}
	return time.Duration((c.maxAge+9)/10) * time.Second
}

// bytes is about what a plan of caching takes in memory.
func (cp *cachePlan) bytes() int {
	if cp == nil {
		return 0
	}
	return 256 + len(cp.public.all) + len(cp.public.cdn) + len(cp.own.all) + cp.tagPlan.bytes()
}
