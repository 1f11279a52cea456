package limiter

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The model knows nothing of the arithmetic of this package: it keeps what was admitted,
// and computes in fractions how many tokens there are. As a token may take a thousandth
// longer than it should, it computes twice: a bucket that fills as fast as the policy says
// must have whatever was admitted, and what one has that fills slower must be admitted.

type admission struct{ at, cost int64 }

type modelBucket struct {
	policy   *Policy
	admitted []admission // in the order of their times
}

// perNano is how many tokens fill in a nanosecond.
func (b *modelBucket) perNano(slow bool) *big.Rat {
	r := big.NewRat(b.policy.Limit, b.policy.Window.Nanoseconds())
	if slow {
		r.Mul(r, big.NewRat(1000, 1001))
	}
	return r
}

// tokens is how many there are at a time, by everything that was admitted. Slow, each
// admission has cost a nanosecond more, for it is rounded.
func (b *modelBucket) tokens(now int64, slow bool) *big.Rat {
	burst, rate := new(big.Rat).SetInt64(b.policy.Burst), b.perNano(slow)
	level, at := new(big.Rat).Set(burst), int64(0)
	fill := func(until int64) {
		level.Add(level, new(big.Rat).Mul(rate, new(big.Rat).SetInt64(until-at)))
		if level.Cmp(burst) > 0 {
			level.Set(burst)
		}
		at = until
	}
	for _, a := range b.admitted {
		fill(a.at)
		level.Sub(level, new(big.Rat).SetInt64(a.cost))
		if slow {
			level.Sub(level, rate)
		}
	}
	fill(now)
	return level
}

// exceeds says between which two admissions more was admitted than burst + rate × time.
func (b *modelBucket) exceeds() string {
	rate := b.perNano(false)
	for i := range b.admitted {
		sum := int64(0)
		for _, last := range b.admitted[i:] {
			sum += last.cost
			bound := new(big.Rat).Mul(rate, new(big.Rat).SetInt64(last.at-b.admitted[i].at))
			bound.Add(bound, new(big.Rat).SetInt64(b.policy.Burst))
			if new(big.Rat).SetInt64(sum).Cmp(bound) > 0 {
				return fmt.Sprintf("%d in %v are more than %s", sum, time.Duration(last.at-b.admitted[i].at), bound.FloatString(6))
			}
		}
	}
	return ""
}

func floor(r *big.Rat) int64 {
	return new(big.Int).Div(r.Num(), r.Denom()).Int64()
}

// world is some limiters that share a table, and a clock that the test sets.
type world struct {
	hosts   []*Host
	now     int64
	buckets map[string]*modelBucket
}

func newWorld(t tester, entries, hosts int) *world {
	m := anonymous(t, entries)
	w := &world{now: 1, buckets: map[string]*modelBucket{}}
	for range hosts {
		h := host(t, m)
		h.table.now = func() int64 { return w.now }
		h.table.seed = [2]uint64{1, 2}
		w.hosts = append(w.hosts, h)
	}
	return w
}

func (w *world) bucket(c Charge) *modelBucket {
	name := c.Policy.Name + " " + string(c.Key)
	b := w.buckets[name]
	if b == nil {
		b = &modelBucket{policy: c.Policy}
		w.buckets[name] = b
	}
	return b
}

// memory is a copy of the table, to come back to.
func (w *world) memory() func() {
	entries := w.hosts[0].table.entries
	type words struct {
		tag, leases0, leases1, demand uint64
		tat, seen, asked, pace        int64
	}
	var saved []words
	for i := range entries {
		e := &entries[i]
		saved = append(saved, words{
			e.tag.Load(), e.leases[0].Load(), e.leases[1].Load(), e.demand.Load(),
			e.tat.Load(), e.seen.Load(), e.asked.Load(), e.pace.Load(),
		})
	}
	now := w.now
	return func() {
		w.now = now
		for i, s := range saved {
			e := &entries[i]
			e.tag.Store(s.tag)
			e.tat.Store(s.tat)
			e.leases[0].Store(s.leases0)
			e.leases[1].Store(s.leases1)
			e.demand.Store(s.demand)
			e.seen.Store(s.seen)
			e.asked.Store(s.asked)
			e.pace.Store(s.pace)
		}
	}
}

var drawPolicy = rapid.Custom(func(t *rapid.T) *Policy {
	window := rapid.SampledFrom([]time.Duration{
		time.Millisecond, 7 * time.Millisecond, time.Second, time.Minute, time.Hour, MaxWindow,
	}).Draw(t, "window")
	most := min(int64(MaxRate*window.Seconds()), MaxBurst)
	limit := rapid.OneOf(rapid.Int64Range(1, min(most, 20)), rapid.Int64Range(1, most)).Draw(t, "limit")
	// so long takes a bucket at most
	deepest := int64(min(float64(maxDepth)/float64(window)*float64(limit), MaxBurst))
	burst := rapid.OneOf(rapid.Int64Range(1, min(deepest, 20)), rapid.Int64Range(1, deepest)).Draw(t, "burst")
	p, err := NewPolicy("p", limit, window, burst, FailLocal)
	if err != nil {
		t.Fatal(err)
	}
	return p
})

func TestWhatIsAdmittedIsWhatAModelAdmits(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(r, 64, 3)
		policies := rapid.SliceOfN(drawPolicy, 1, 3).Draw(r, "policies")
		for i, p := range policies {
			policies[i] = policy(r, fmt.Sprint("p", i), p.Limit, p.Window, p.Burst)
		}
		for range rapid.IntRange(1, 40).Draw(r, "decisions") {
			w.now += w.drawStep(r, policies)
			h := rapid.SampledFrom(w.hosts).Draw(r, "host")
			var charges []Charge
			for range rapid.IntRange(1, 3).Draw(r, "charges") {
				p := rapid.SampledFrom(policies).Draw(r, "policy")
				charges = append(charges, Charge{
					Policy: p,
					Key:    []byte{rapid.SampledFrom([]byte("ab")).Draw(r, "key")},
					Cost:   rapid.OneOf(rapid.Int64Range(1, 3), rapid.Int64Range(1, p.Burst+1)).Draw(r, "cost"),
				})
			}
			w.decide(r, h, charges)
		}
		for name, b := range w.buckets {
			if why := b.exceeds(); why != "" {
				r.Fatalf("%s: %s", name, why)
			}
		}
	})
}

// While a limiter reads its clock, others decide: between its look at the buckets and its
// charges, while it makes a bucket, and before it gives something back.
func TestNothingIsGainedByDecidingWhileAnotherDoes(t *testing.T) {
	for range 5 { // it takes many to come by all that can happen
		rapid.Check(t, whileAnotherDecides)
	}
}

func whileAnotherDecides(r *rapid.T) {
	w := newWorld(r, 8, 4)
	p := policy(r, "p", 1, time.Millisecond, rapid.Int64Range(1, 10).Draw(r, "burst"))
	keys := []byte("abcdefghij")[:rapid.IntRange(2, 10).Draw(r, "keys")]
	step := rapid.Map(rapid.Int64Range(-3*p.Burst, p.Burst), func(n int64) int64 { return max(n, 0) * int64(p.Window) / 2 })
	forgotten := func() (n uint64) {
		for _, h := range w.hosts {
			n += h.Stats().Forgotten
		}
		return n
	}
	// Times of admissions are from the beginning of a decision to its end.
	type admitted struct {
		bucket      *modelBucket
		begun, done int64
		cost        int64
	}
	var all []admitted
	left := rapid.IntRange(20, 60).Draw(r, "decisions")
	var decide func(depth int)
	decide = func(depth int) {
		left--
		h := w.hosts[depth]
		readings := int64(0)
		others := func() {
			for left > 0 && depth+1 < len(w.hosts) && rapid.IntRange(0, 2).Draw(r, "meanwhile") > 0 {
				decide(depth + 1)
			}
		}
		h.table.now = func() int64 {
			others()
			w.now += step.Draw(r, "step") + readings/8*staleAfter/8 // who waits for others sees them go stale
			readings++
			now := w.now
			others()
			return now
		}
		var charges []Charge
		for range rapid.SampledFrom([]int{1, 2, 2}).Draw(r, "charges") {
			charges = append(charges, Charge{
				Policy: p,
				Key:    []byte{rapid.SampledFrom(keys).Draw(r, "key")},
				Cost:   rapid.OneOf(rapid.Just(int64(1)), rapid.Just(p.Burst), rapid.Int64Range(1, p.Burst)).Draw(r, "cost"),
			})
		}
		begun := w.now
		if d := h.Decide(context.Background(), charges); d.OK() {
			for _, c := range charges {
				all = append(all, admitted{w.bucket(c), begun, w.now, c.Cost})
			}
		}
	}
	for left > 0 {
		decide(0)
	}
	if forgotten() > 0 {
		if len(keys) < window-2 {
			r.Fatalf("%d keys and %d who decide: none need be forgotten", len(keys), len(w.hosts))
		}
		return
	}
	for _, first := range all {
		for _, last := range all {
			if first.bucket != last.bucket || last.done < first.begun {
				continue
			}
			sum := int64(0)
			for _, a := range all {
				if a.bucket == first.bucket && a.begun >= first.begun && a.done <= last.done {
					sum += a.cost
				}
			}
			bound := new(big.Rat).Mul(first.bucket.perNano(false), big.NewRat(last.done-first.begun, 1))
			bound.Add(bound, big.NewRat(first.bucket.policy.Burst, 1))
			if big.NewRat(sum, 1).Cmp(bound) > 0 {
				r.Fatalf("%d in %v are more than %s", sum, time.Duration(last.done-first.begun), bound.FloatString(6))
			}
		}
	}
}

// drawStep is how long until the next decision: often about what a token takes.
func (w *world) drawStep(r *rapid.T, policies []*Policy) int64 {
	p := rapid.SampledFrom(policies).Draw(r, "pace")
	token := int64(p.Window) / p.Limit
	return rapid.OneOf(
		rapid.Just(int64(0)),
		rapid.Int64Range(0, 3),
		rapid.Int64Range(max(token-2, 0), token+token/500+2),
		rapid.Int64Range(0, 3*token),
		rapid.Int64Range(0, 2*token*p.Burst),
	).Draw(r, "step")
}

// decide has a limiter decide, and holds all that it says to the model.
func (w *world) decide(r *rapid.T, h *Host, charges []Charge) {
	d := h.Decide(context.Background(), charges)
	w.check(r, d, charges)
	for _, c := range charges {
		w.checkLeft(r, h, c)
	}
	if d.OK() {
		return
	}
	after := w.memory()
	again := slices.Clone(charges)
	if d.RetryAfter == Never {
		w.now += int64(maxDepth)
		if d := h.Decide(context.Background(), again); d.OK() {
			r.Fatalf("refused for ever, and admitted later: %+v", charges)
		}
	} else {
		now := w.now
		w.now = now + int64(d.RetryAfter) - 1
		if d := h.Decide(context.Background(), again); d.OK() {
			r.Fatalf("refused for %v, and admitted a nanosecond before", d.RetryAfter)
		}
		after()
		w.now = now + int64(d.RetryAfter)
		if d := h.Decide(context.Background(), again); !d.OK() {
			r.Fatalf("refused for %v, and then for another %v", d.RetryAfter, d.RetryAfter)
		}
	}
	after()
}

// check holds a decision to the model, and writes it down there.
func (w *world) check(r *rapid.T, d Decision, charges []Charge) {
	fits, fitsSlow := true, true
	costs := map[*modelBucket]int64{}
	for _, c := range charges {
		costs[w.bucket(c)] += c.Cost
	}
	for b, cost := range costs {
		n := new(big.Rat).SetInt64(cost)
		if b.tokens(w.now, false).Cmp(n) < 0 {
			fits = false
		}
		// Each charge is rounded up by a nanosecond at most.
		slow := b.tokens(w.now, true)
		slow.Sub(slow, new(big.Rat).Mul(b.perNano(false), big.NewRat(int64(len(charges)), 1)))
		if cost <= b.policy.Burst && slow.Cmp(n) < 0 || cost > b.policy.Burst {
			fitsSlow = false
		}
	}
	switch {
	case d.OK() && !fits:
		r.Fatalf("admitted at %d, which the model does not: %+v", w.now, charges)
	case !d.OK() && fitsSlow:
		r.Fatalf("refused at %d, which the model does not: %+v, %+v", w.now, charges, d)
	case d.OK():
		for b, cost := range costs {
			b.admitted = append(b.admitted, admission{w.now, cost})
		}
	}
}

// checkLeft holds what a charge tells to the model, and to what a limiter says when it
// is full.
func (w *world) checkLeft(r *rapid.T, h *Host, c Charge) {
	b := w.bucket(c)
	most := floor(b.tokens(w.now, false))
	least := floor(new(big.Rat).Sub(b.tokens(w.now, true), b.perNano(false)))
	if c.Left > most || c.Left < least {
		r.Fatalf("%d left at %d, the model has %d to %d: %+v", c.Left, w.now, least, most, c)
	}
	left := func(at int64) int64 {
		was := w.now
		defer func() { w.now = was }()
		w.now = at
		look := []Charge{{Policy: c.Policy, Key: c.Key, Cost: c.Policy.Burst + 1}}
		if d := h.Decide(context.Background(), look); d.RetryAfter != Never {
			r.Fatalf("more than a burst is refused for %v", d.RetryAfter)
		}
		return look[0].Left
	}
	if n := left(w.now + int64(c.Full)); n != c.Policy.Burst {
		r.Fatalf("%d left when it should be full, of %d", n, c.Policy.Burst)
	}
	if n := left(w.now + int64(c.Full) - 1); c.Full > 0 && n >= c.Policy.Burst {
		r.Fatalf("full before it should be")
	}
}
