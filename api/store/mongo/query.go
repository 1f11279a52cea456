package mongo

import (
	"regexp"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/nekoctl/neko/api/store"
)

// Conditions are made by the functions of this file alone. Their keys are
// [field]s and the operators that stand here, and their values are strings,
// numbers, booleans and digests: there is no way for what a client has sent to
// become anything but a value that is compared.

// cond is a condition on a document; all of its elements must hold.
type cond bson.D

// scalar is what fields are compared with.
type scalar interface {
	string | int64 | bool
}

func is[T scalar](f field, v T) cond { return op(f, "$eq", v) }

func op[T scalar](f field, operator string, v T) cond {
	return cond{{Key: string(f), Value: bson.D{{Key: operator, Value: v}}}}
}

func in[T scalar](f field, list []T) cond {
	if list == nil {
		list = []T{} // and not null
	}
	return cond{{Key: string(f), Value: bson.D{{Key: "$in", Value: list}}}}
}

// digestIs is the condition of a field that is kept as binary data.
func digestIs(f field, d store.Digest) cond {
	return cond{{Key: string(f), Value: bson.D{{Key: "$eq", Value: bson.Binary{Data: d[:]}}}}}
}

func and(conds ...cond) cond { return several("$and", conds) }

func or(conds ...cond) cond { return several("$or", conds) }

func several(operator string, conds []cond) cond {
	switch len(conds) {
	case 0:
		return cond{}
	case 1:
		return conds[0]
	}
	list := make(bson.A, len(conds))
	for i, c := range conds {
		list[i] = bson.D(c)
	}
	return cond{{Key: operator, Value: list}}
}

// begins is the condition that an item of a list of words begins so. A word has
// letters and digits and nothing else; it is quoted all the same. An index serves
// an expression that is a beginning and no more.
func begins(f field, word string) cond {
	return cond{{Key: string(f), Value: bson.Regex{Pattern: "^" + regexp.QuoteMeta(word)}}}
}

var allKinds = func() (out []string) {
	for _, k := range store.Kinds {
		out = append(out, string(k))
	}
	return out
}()

// kindIs is the condition of being served, and of this kind.
func kindIs(kind store.Kind) cond {
	if kind == store.KindAny {
		return in(fKind, allKinds)
	}
	return is(fKind, string(kind))
}

// known is the value that a field would have to have: kept are only texts without
// control characters, and valid ones.
func known(s string) (string, bool) { return s, text(s) == s }

// splitKeys sorts keys into STIX ids and ATT&CK ids.
func splitKeys(keys []string) (ids, attack []string) {
	for _, k := range keys {
		if _, ok := known(k); !ok {
			continue
		}
		if id, ok := store.AttackKey(k); ok {
			attack = append(attack, id)
		} else if k != "" {
			ids = append(ids, k)
		}
	}
	return ids, attack
}

// oneOf is the condition of having one of these keys.
func oneOf(ids, attack []string) cond {
	switch {
	case len(attack) == 0:
		return in(fID, ids)
	case len(ids) == 0:
		return in(fAttackID, attack)
	}
	return or(in(fID, ids), in(fAttackID, attack))
}

// ref is a field of a filter that names another object.
type ref struct {
	edge store.Edge
	key  string
	kind store.Kind // that an ATT&CK id is of
}

// refs are the objects that a filter names.
func refs(f store.Filter) []ref {
	var out []ref
	for _, r := range []ref{
		{store.SightingOf, f.SightingOf, store.KindAny},
		{store.Indicates, f.Indicates, store.KindAny},
		{store.AttributedTo, f.AttributedTo, store.KindThreatActor},
		{store.Mitigates, f.Mitigates, store.KindTechnique},
		{store.Uses, f.UsesSoftware, store.KindSoftware},
		{store.Uses, f.UsesTechnique, store.KindTechnique},
	} {
		if r.key != "" {
			out = append(out, r)
		}
	}
	if t := f.Tactic; t != "" && (strings.Contains(t, "--") || isAttackTactic(t)) {
		out = append(out, ref{store.InTactic, t, store.KindTactic})
	}
	return out
}

func isAttackTactic(s string) bool {
	return len(s) > 2 && strings.EqualFold(s[:2], "TA") && strings.Trim(s[2:], "0123456789") == ""
}

// filter is the condition of a filter, without that of the kind. leads gives for
// each of refs(f) the items of [object.To] that are meant.
func filter(f store.Filter, leads [][]string, now time.Time) []cond {
	var conds []cond
	add := func(c cond) { conds = append(conds, c) }
	equals := func(name field, v string) {
		if v != "" {
			if v, ok := known(v); ok {
				add(is(name, v))
			} else {
				add(in[string](name, nil))
			}
		}
	}
	if f.Keys != nil {
		add(oneOf(splitKeys(f.Keys)))
	}
	for _, l := range leads {
		add(in(fTo, l))
	}
	equals(fValue, f.Value)
	if f.Name != "" {
		equalsFold(add, fFold, f.Name)
	}
	if f.Alias != "" {
		equalsFold(add, fNames, f.Alias)
	}
	if f.Text != "" {
		for _, w := range store.Words(f.Text) {
			add(begins(fWords, w))
		}
	}
	if t := f.Tactic; t != "" && !strings.Contains(t, "--") && !isAttackTactic(t) {
		equals(fShorts, strings.ToLower(t))
	}
	equals(fDomains, f.Domain)
	if f.Platform != "" {
		equalsFold(add, fPlatformKeys, f.Platform)
	}
	equals(fIndicatorType, f.IndicatorType)
	equals(fType, f.Type)
	if f.Subtechnique != nil {
		add(is(fSub, *f.Subtechnique))
	}
	equals(fValueType, f.ValueType)
	if f.Active != nil {
		t := now.UnixMicro()
		if *f.Active {
			add(and(is(fRetired, int64(0)), op(fUntil, "$gt", t), op(fValidFrom, "$lte", t)))
		} else {
			add(or(op(fRetired, "$ne", int64(0)), op(fUntil, "$lte", t), op(fValidFrom, "$gt", t)))
		}
	}
	after := func(name field, t time.Time) {
		if !t.IsZero() {
			add(op(name, "$gte", t.UnixMicro()))
		}
	}
	before := func(name field, t time.Time) {
		if !t.IsZero() { // 0 is no time
			add(and(op(name, "$lte", t.UnixMicro()), op(name, "$ne", int64(0))))
		}
	}
	after(fCreated, f.CreatedAfter)
	before(fCreated, f.CreatedBefore)
	after(fModified, f.ModifiedAfter)
	before(fModified, f.ModifiedBefore)
	after(fLast, f.SeenAfter)
	before(fFirst, f.SeenBefore)
	return conds
}

// equalsFold adds the condition of a field that is kept folded. What folds to
// nothing is no value that a list of them has.
func equalsFold(add func(cond), f field, v string) {
	if v, ok := known(store.Fold(v)); ok {
		add(is(f, v))
	} else {
		add(in[string](f, nil))
	}
}

// orderField is where the order's value is.
func orderField(f store.OrderField) field {
	switch f {
	case store.OrderAttackID:
		return fAttackID
	case store.OrderModified:
		return fModified
	case store.OrderCreated:
		return fCreated
	case store.OrderFirstSeen:
		return fFirst
	case store.OrderLastSeen:
		return fLast
	default:
		return fFold
	}
}

// sortBy is the order; the id decides among equals, in the same direction.
func sortBy(o store.Order) bson.D {
	dir := 1
	if o.Desc {
		dir = -1
	}
	return bson.D{{Key: string(orderField(o.By)), Value: dir}, {Key: string(fID), Value: dir}}
}

// behind is the condition of coming after the cursor.
func behind(c *store.Cursor) cond {
	operator := "$gt"
	if c.Desc {
		operator = "$lt"
	}
	f := orderField(c.By)
	id := strings.ToValidUTF8(c.ID, "\uFFFD") // only who makes up cursors has others
	if c.By.IsTime() {
		return or(op(f, operator, c.Number), and(is(f, c.Number), op(fID, operator, id)))
	}
	v := strings.ToValidUTF8(c.Text, "\uFFFD")
	return or(op(f, operator, v), and(is(f, v), op(fID, operator, id)))
}
