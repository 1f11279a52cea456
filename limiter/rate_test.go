package limiter

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestATokenTakesAtMostAThousandthLongerThanItShould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.Int64Range(1, MaxWindow.Microseconds()).Draw(t, "window")
		limit := rapid.Int64Range(1, min(window, MaxBurst)).Draw(t, "limit")
		r := newRate(limit, window, limit)
		exact := float64(window) / float64(limit)
		if got := float64(r.span) / float64(r.tokens); got < exact || got > exact*1.001 {
			t.Fatalf("%d in %d µs: %g µs for a token, which is %g", limit, window, got, exact)
		}
		const exactInDoubles = 1 << 53
		if most := r.depth * r.tokens; most > exactInDoubles {
			t.Fatalf("%d in %d µs: %d is not exact in a script of Redis", limit, window, most)
		}
	})
}

func TestABucketOfAThousandAMinute(t *testing.T) {
	p, err := NewPolicy("p", 1000, time.Minute, 0, FailLocal)
	if err != nil {
		t.Fatal(err)
	}
	r, now := p.central, int64(1_000_000)
	tat, wait := r.take(0, now, 1000)
	if wait != 0 || r.left(tat, now) != 0 {
		t.Fatalf("a full bucket gives all it has: wait %d, %d left", wait, r.left(tat, now))
	}
	if _, wait = r.take(tat, now, 1); wait != 60_000 {
		t.Errorf("the next token comes after %d µs", wait)
	}
	if _, wait = r.take(tat, now, 1001); wait >= 0 {
		t.Error("more than a bucket holds never comes")
	}
	if back := r.giveBack(tat, now+30_000, 1000, now); r.left(back, now+30_000) != 1000 {
		t.Errorf("what is given back makes it %d", r.left(back, now+30_000))
	}
}
