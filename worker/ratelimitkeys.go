package worker

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/nekoctl/neko/limiter"
	"github.com/vektah/gqlparser/v2/ast"
)

// tally gathers what one HTTP request is charged: all of its operations together, what
// goes to one bucket added up. It is used again, so that the usual request allocates
// nothing.
type tally struct {
	rules []*rateRule // of each charge
	list  []limiter.Charge
	spans [][2]int // of the keys in text
	of    []int    // the operation that was charged last
	op    int      // the one that is being charged
	text  []byte
	seen  map[uint64]int // charges by a hash, when there are many
	full  bool           // there would be more than maxCharges

	fold    func(string) string
	maxCost int // of an operation that will run
	subject string
	ip      netip.Addr

	header []byte // room
}

const (
	// maxCharges is in how many buckets one request may count.
	maxCharges = 1_000
	// fewCharges are looked through one by one.
	fewCharges = 8
	// maxKept is how much room for keys is kept for the next request.
	maxKept = 16 << 10
	// maxCounted is how much of an argument's value counts, in bytes.
	maxCounted = 1 << 10
)

var tallies = sync.Pool{New: func() any { return new(tally) }}

var tallySeed = maphash.MakeSeed()

func (t *tally) release() {
	if t == nil {
		return
	}
	if cap(t.text) > maxKept || cap(t.list) > 4*fewCharges {
		return
	}
	t.reset()
	tallies.Put(t)
}

func (t *tally) reset() {
	clear(t.list) // keys point into text
	clear(t.rules)
	clear(t.seen)
	*t = tally{rules: t.rules[:0], list: t.list[:0], spans: t.spans[:0], of: t.of[:0], text: t.text[:0], seen: t.seen, header: t.header[:0]}
}

// anything charges a request that has come to nothing, for which there is no plan.
func (t *tally) anything(all *rateRules) {
	t.op++
	for i := range all.rules {
		if r := &all.rules[i]; r.anything {
			t.charge(r, nil, nil, nil, 1)
		}
	}
}

// operation charges an operation that may run. One that will be refused for its cost
// costs nothing but to be read. A negative cost is not known yet.
func (t *tally) operation(all *rateRules, plan *Plan, values map[string]any, cost int) {
	t.op++
	for i := range all.rules {
		r := &all.rules[i]
		if r.operations != nil && !r.operations[plan.Name] || r.kinds != nil && !r.kinds[plan.Kind] {
			continue
		}
		n, fields := int64(1), 0
		if r.cost {
			if cost < 0 {
				cost = plan.Cost(values)
			}
			if cost <= t.maxCost {
				n = min(max(int64(cost), 1), limiter.MaxBurst+1)
			}
		}
		if r.fields == nil {
			t.charge(r, plan, nil, nil, n)
			continue
		}
		for j := range plan.asked {
			f := &plan.asked[j]
			if !r.asks(f.coordinate) {
				continue
			}
			if fields++; r.byArgument {
				t.charge(r, plan, f, values, n)
			}
		}
		switch {
		case fields == 0 || r.byArgument:
		case r.cost:
			t.charge(r, plan, nil, nil, n)
		default:
			t.charge(r, plan, nil, nil, int64(fields))
		}
	}
}

// asks says whether the rule is about a root field.
func (r *rateRule) asks(coordinate string) bool {
	if r.fields[coordinate] {
		return true
	}
	typ, _, _ := strings.Cut(coordinate, ".")
	for all := range r.fields {
		if t, ok := strings.CutSuffix(all, ".*"); ok && t == typ {
			return true
		}
	}
	return false
}

// charge adds n tokens of a rule for whom it counts, unless that is nobody.
func (t *tally) charge(r *rateRule, plan *Plan, f *askedField, values map[string]any, n int64) {
	begin := len(t.text)
	for i := range r.per {
		if !t.appendTerm(&r.per[i], plan, f, values) {
			t.text = t.text[:begin]
			return
		}
	}
	if i := t.find(r, t.text[begin:]); i >= 0 {
		t.text = t.text[:begin]
		if r.cost && t.of[i] == t.op { // by another field: an operation costs once
			return
		}
		t.of[i] = t.op
		t.list[i].Cost = min(t.list[i].Cost+n, limiter.MaxBurst+1)
		return
	}
	if len(t.list) == maxCharges {
		t.full, t.text = true, t.text[:begin]
		return
	}
	t.rules, t.of = append(t.rules, r), append(t.of, t.op)
	t.list = append(t.list, limiter.Charge{Policy: r.policy, Cost: n})
	t.spans = append(t.spans, [2]int{begin, len(t.text)})
}

// find is the charge of this rule and key, -1 if there is none yet.
func (t *tally) find(r *rateRule, key []byte) int {
	if len(t.list) < fewCharges {
		return t.scan(r, key)
	}
	if len(t.seen) == 0 {
		if t.seen == nil {
			t.seen = map[uint64]int{}
		}
		for i, c := range t.list {
			t.seen[chargeHash(c.Policy, t.text[t.spans[i][0]:t.spans[i][1]])] = i
		}
	}
	h := chargeHash(r.policy, key)
	i, ok := t.seen[h]
	switch {
	case !ok:
		t.seen[h] = len(t.list)
		return -1
	case t.is(i, r, key):
		return i
	}
	return t.scan(r, key) // two of one hash
}

func (t *tally) scan(r *rateRule, key []byte) int {
	for i := range t.list {
		if t.is(i, r, key) {
			return i
		}
	}
	return -1
}

func (t *tally) is(i int, r *rateRule, key []byte) bool {
	return t.rules[i] == r && string(t.text[t.spans[i][0]:t.spans[i][1]]) == string(key)
}

func chargeHash(p *limiter.Policy, key []byte) uint64 {
	return maphash.Bytes(tallySeed, key) ^ maphash.Comparable(tallySeed, p)
}

// charges are those that were gathered, with their keys.
func (t *tally) charges() []limiter.Charge {
	for i, s := range t.spans {
		t.list[i].Key = t.text[s[0]:s[1]]
	}
	return t.list
}

// appendTerm appends whom a term counts to the key: what it is and how long, so that no
// two combinations look alike. False: it counts nobody here.
func (t *tally) appendTerm(c *counted, plan *Plan, f *askedField, values map[string]any) bool {
	switch c.by {
	case byIdentity:
		if t.subject == "" {
			t.appendAddress()
			return true
		}
		t.appendValue(byIdentity, t.subject)
	case byKey:
		if !strings.HasPrefix(t.subject, keySubject) {
			return false
		}
		t.appendValue(byKey, t.subject)
	case byAddress:
		t.appendAddress()
	case byOperation:
		t.appendValue(byOperation, plan.Name)
	case byArgument:
		path := c.paths[f.coordinate]
		value, ok := path.in(f, values)
		if !ok {
			t.text = append(t.text, '-')
			return true
		}
		if len(value) > maxCounted {
			value = value[:maxCounted]
		}
		if t.fold != nil {
			value = t.fold(value)
		}
		t.appendValue(byArgument, value)
	}
	return true
}

// keySubject is how the Subject of an API key begins.
const keySubject = "key:"

func (t *tally) appendValue(tag countedBy, value string) {
	t.text = append(t.text, byte(tag))
	t.text = binary.AppendUvarint(t.text, uint64(len(value)))
	t.text = append(t.text, value...)
}

// appendAddress appends the client's address, of IPv6 the network that one client is
// given at least: who has one has all addresses in it. Behind a translator all who have
// IPv4 are in one network of IPv6, and each is one by himself.
func (t *tally) appendAddress() {
	switch {
	case t.ip.Is4():
		a := t.ip.As4()
		t.text = append(append(t.text, '4'), a[:]...)
	case t.ip.Is6():
		a := t.ip.As16()
		if translated.Contains(t.ip) {
			t.text = append(append(t.text, '4'), a[12:]...)
			return
		}
		t.text = append(append(t.text, '6'), a[:8]...)
	default:
		t.text = append(t.text, '0')
	}
}

// translated are addresses of IPv4 as they are in networks that have only IPv6: RFC 6052, 2.1.
var translated = netip.MustParsePrefix("64:ff9b::/96")

// in is the value that the path leads to in the arguments of a field, as text that is
// the same however the value is written. False: there is none, or it is null.
func (p *argumentPath) in(f *askedField, values map[string]any) (string, bool) {
	list := f.arguments
	for i, step := range p.steps {
		l := literalNamed(list, step.name)
		if l != nil && l.kind == ast.Variable {
			return p.inVariable(i, values[l.raw])
		}
		if l == nil || l.kind == ast.NullValue {
			if l = step.absent; l == nil {
				return "", false
			}
		}
		if i == len(p.steps)-1 {
			return l.text(p.typ)
		}
		list = l.fields
	}
	return "", false
}

// inVariable is the value below step i, of which value is the variable's.
func (p *argumentPath) inVariable(i int, value any) (string, bool) {
	if value == nil {
		l := p.steps[i].absent
		if l == nil {
			return "", false
		}
		list := l.fields
		for _, step := range p.steps[i+1:] {
			if l = literalNamed(list, step.name); l == nil || l.kind == ast.NullValue {
				if l = step.absent; l == nil {
					return "", false
				}
			}
			list = l.fields
		}
		return l.text(p.typ)
	}
	for _, step := range p.steps[i+1:] {
		object, _ := value.(map[string]any) // its defaults are filled in
		if value = object[step.name]; value == nil {
			return "", false
		}
	}
	switch v := value.(type) {
	case string:
		return v, true
	case int32:
		return strconv.Itoa(int(v)), true
	case float64:
		return floatText(v), true
	case bool:
		return strconv.FormatBool(v), true
	}
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value), true
	}
	return string(b), true
}

// text is the value of a scalar of a type.
func (l *literal) text(typ string) (string, bool) {
	switch {
	case l.kind == ast.NullValue:
		return "", false
	case typ == "Float":
		if f, err := strconv.ParseFloat(l.raw, 64); err == nil {
			return floatText(f), true
		}
	case typ == "Int":
		if n, err := strconv.Atoi(l.raw); err == nil { // -0
			return strconv.Itoa(n), true
		}
	}
	return l.raw, true
}

func floatText(f float64) string { return strconv.FormatFloat(f+0, 'g', -1, 64) } // -0 is 0
