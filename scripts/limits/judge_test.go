package limits

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// rule is the promise of a policy, in the plainest terms: it shares no code with what it
// judges.
type rule struct {
	Limit  int64
	Window time.Duration
	Burst  int64
}

// grown is how much comes back in a time, in token-nanoseconds: tokens × window.
func (r rule) grown(t int64) int64 { return r.Limit * t }

func (r rule) units(tokens int64) int64 { return tokens * int64(r.Window) }

func (r rule) tokens(units int64) float64 { return float64(units) / float64(r.Window) }

// taking is tokens that were taken from a bucket at some instant from before to after.
type taking struct {
	before, after int64
	tokens        int64
}

// gain is tokens that a bucket has got without time passing, at some instant from before to
// after, as if so many had been taken back: what a server has forgotten, or how far its
// clock was set on. What was granted earlier may be used for a while longer.
func gain(before, after, tokens int64, longer time.Duration) taking {
	// A window that may hold the instant has to hold this: it begins at the latest when the
	// last of it can be felt, and ends at the earliest when it may have happened.
	return taking{before: after + int64(longer), after: before, tokens: -tokens}
}

// window is some time, and what was taken in it.
type window struct {
	from, to int64
	tokens   int64
	over     float64 // by so many more than the rule allows; negative, if it has so much left
}

func (w window) String() string {
	return fmt.Sprintf("%d in %.6f s (from %.6f s): %+.3f", w.tokens, float64(w.to-w.from)/1e9, float64(w.from)/1e9, w.over)
}

// worst is, of all windows that there are, the one in which most was taken over
// burst + rate × (length + grace).
//
// A taking counts for a window that holds all of the time in which it may have happened. So
// what is found is above the bound wherever in their calls the decisions were: there are no
// false alarms, and a decision that took long may hide as much as comes back in its time.
//
// It is the GCRA's question asked backwards. Windows end with the ends of takings, in their
// order; of all beginnings the best one is at the root of a tree over them. O(n log n).
func worst(r rule, takings []taking, grace time.Duration) window {
	if len(takings) == 0 {
		return window{over: math.Inf(-1)}
	}
	byBegin := slices.Clone(takings)
	// Of two at one instant a gain counts for the window, at either end of it.
	slices.SortFunc(byBegin, func(a, b taking) int {
		return cmp.Or(cmp.Compare(a.before, b.before), -cmp.Compare(a.tokens, b.tokens))
	})
	byEnd := make([]int, len(byBegin))
	for i := range byEnd {
		byEnd[i] = i
	}
	slices.SortFunc(byEnd, func(i, j int) int {
		a, b := byBegin[i], byBegin[j]
		return cmp.Or(cmp.Compare(a.after, b.after), cmp.Compare(a.tokens, b.tokens))
	})

	epoch := byBegin[0].before
	size := 1
	for size < len(byBegin) {
		size *= 2
	}
	tree := make([]span, 2*size)
	for i := range tree {
		tree[i].best = math.MinInt64 / 2
	}
	most, result := int64(math.MinInt64), window{}
	for _, i := range byEnd {
		t := byBegin[i]
		leaf := span{sum: r.units(t.tokens), best: math.MinInt64 / 2, from: i}
		if t.tokens > 0 { // a window that is among the worst begins with some
			leaf.best = r.grown(t.before-epoch) + leaf.sum
		}
		n := size + i
		for tree[n] = leaf; n > 1; {
			n /= 2
			tree[n] = tree[2*n].join(tree[2*n+1])
		}
		if v := tree[1].best - r.grown(t.after-epoch); t.tokens > 0 && v > most {
			most = v
			result = window{from: byBegin[tree[1].from].before, to: t.after}
		}
	}
	result.over = r.tokens(most - r.units(r.Burst) - r.grown(int64(grace)))
	for _, t := range takings {
		if t.tokens > 0 && t.before >= result.from && t.after <= result.to {
			result.tokens += t.tokens
		}
	}
	return result
}

// span is some beginnings: what was taken from them on, and which is the best.
type span struct {
	sum  int64
	best int64 // of all beginnings: what has come back until it, and what was taken since
	from int   // that beginning
}

func (a span) join(b span) span {
	s := span{sum: a.sum + b.sum, best: b.best, from: b.from}
	if v := a.best + b.sum; v > s.best {
		s.best, s.from = v, a.from
	}
	return s
}

// bucket is an exact limiter, to feed with the same requests.
type bucket struct {
	rule
	level int64 // in token-nanoseconds
	at    int64
}

func newBucket(r rule) *bucket { return &bucket{rule: r, level: r.units(r.Burst)} }

func (b *bucket) fill(now int64) {
	if now > b.at {
		full := b.units(b.Burst)
		// Long enough to fill it: what would come back then may be more than a number holds.
		if now-b.at > full/b.Limit {
			b.level = full
		} else {
			b.level = min(full, b.level+b.grown(now-b.at))
		}
		b.at = now
	}
}

// has says whether there are so many tokens.
func (b *bucket) has(tokens, now int64) bool {
	b.fill(now)
	return b.level >= b.units(tokens)
}

func (b *bucket) take(tokens int64) { b.level -= b.units(tokens) }
