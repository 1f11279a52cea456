package limits

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The judge is judged first: against all windows, one by one.
func TestTheWorstWindowIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rule{Limit: rapid.Int64Range(1, 50).Draw(t, "limit"), Window: time.Duration(rapid.Int64Range(1, 100).Draw(t, "window")),
			Burst: rapid.Int64Range(1, 20).Draw(t, "burst")}
		grace := time.Duration(rapid.Int64Range(0, 10).Draw(t, "grace"))
		var takings []taking
		some := false
		for range rapid.IntRange(1, 30).Draw(t, "n") {
			before := rapid.Int64Range(0, 200).Draw(t, "before")
			after := before + rapid.Int64Range(0, 30).Draw(t, "lasts")
			if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
				takings = append(takings, gain(before, after, rapid.Int64Range(1, 20).Draw(t, "gain"), 5))
			} else {
				some = true
				takings = append(takings, taking{before, after, rapid.Int64Range(1, 9).Draw(t, "tokens")})
			}
		}
		want := math.Inf(-1)
		for _, first := range takings {
			for _, last := range takings {
				if first.tokens < 0 || last.tokens < 0 || first.before > last.after {
					continue
				}
				units, any := int64(0), false
				for _, x := range takings {
					if x.before >= first.before && x.after <= last.after {
						units += r.units(x.tokens)
						any = any || x.tokens > 0
					}
				}
				if any {
					want = max(want, r.tokens(units-r.units(r.Burst)-r.grown(last.after-first.before+int64(grace))))
				}
			}
		}
		got := worst(r, takings, grace)
		if !some {
			return
		}
		if math.Abs(got.over-want) > 1e-9 {
			t.Fatalf("over by %g, and the worst of all is %g", got.over, want)
		}
	})
}

// What an exact limiter lets pass is never above the bound, and one token more at the
// worst moment is.
func TestOneTokenTooManyIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rule{Limit: rapid.Int64Range(1, 1000).Draw(t, "limit"), Window: time.Duration(rapid.Int64Range(1000, 1e6).Draw(t, "window")),
			Burst: rapid.Int64Range(1, 50).Draw(t, "burst")}
		b := newBucket(r)
		var takings []taking
		now := int64(0)
		for range rapid.IntRange(20, 300).Draw(t, "n") {
			now += rapid.Int64Range(0, 2*int64(r.Window)/r.Limit).Draw(t, "pause")
			if cost := rapid.Int64Range(1, 3).Draw(t, "cost"); b.has(cost, now) {
				b.take(cost)
				takings = append(takings, taking{now, now, cost})
			}
		}
		if got := worst(r, takings, 0); got.over > 0 {
			t.Fatalf("an exact limiter is accused: %v", got)
		}
		b.fill(now)
		if got := worst(r, append(takings, taking{now, now, b.level/int64(r.Window) + 1}), 0); len(takings) > 0 && got.over <= 0 {
			t.Fatalf("one too many at the end is not found: %v", got)
		}
	})
}
