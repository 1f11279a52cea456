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

// Whoever gives back reads the bucket, then the clock: so no charge that the bucket has seen
// is later than that. Clocks of those who charge may be old, as they may have been stopped.
func TestABucketHasNeverMoreThanIfWhatWasGivenBackHadNeverBeenTaken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.Int64Range(1, 1_000_000).Draw(t, "window")
		limit := rapid.Int64Range(1, 1000).Draw(t, "limit")
		r := newRate(limit, window, rapid.Int64Range(1, 100).Draw(t, "burst"))
		type charge struct{ n, taken int64 }
		var outstanding []charge
		var tat, without int64 // with what was taken for a while, and without
		now := int64(1_000_000)
		step := rapid.Int64Range(0, r.pace()*3)
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now += step.Draw(t, "step")
			if len(outstanding) > 0 && rapid.Bool().Draw(t, "give back") {
				i := rapid.IntRange(0, len(outstanding)-1).Draw(t, "which")
				c := outstanding[i]
				outstanding = append(outstanding[:i], outstanding[i+1:]...)
				tat = r.giveBack(tat, now, c.n, c.taken)
				continue
			}
			old := now - step.Draw(t, "stopped for")
			n := rapid.Int64Range(1, 10).Draw(t, "tokens")
			after, wait := r.take(tat, old, n)
			if wait != 0 {
				continue
			}
			tat = after
			if rapid.Bool().Draw(t, "for good") {
				without = r.at(without, old) + r.time(n)
			} else {
				outstanding = append(outstanding, charge{n, old})
			}
		}
		for _, c := range outstanding {
			tat = r.giveBack(tat, now, c.n, c.taken)
		}
		if tat < without && without > now {
			t.Fatalf("full at %d, and without what was given back at %d", tat, without)
		}
	})
}

// CLOCK_MONOTONIC does not jump. If it did all the same, nobody would gain by it.
func TestStepsOfAClockGainNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.Int64Range(1, 1_000_000_000).Draw(t, "window")
		r := newRate(rapid.Int64Range(1, 1000).Draw(t, "limit"), window, rapid.Int64Range(1, 100).Draw(t, "burst"))
		var tat int64
		now := int64(1_000_000)
		for range rapid.IntRange(1, 5).Draw(t, "jumps") {
			now = rapid.Int64Range(1, 1<<60).Draw(t, "jump to")
			began, sum := now, int64(0)
			for range rapid.IntRange(1, 50).Draw(t, "charges") {
				now += rapid.Int64Range(0, 3*r.pace()).Draw(t, "step")
				n := rapid.Int64Range(1, 5).Draw(t, "tokens")
				after, wait := r.take(tat, now, n)
				if wait == 0 {
					tat, sum = after, sum+n
				}
				if wait > r.depth {
					t.Fatalf("a wait of %d is longer than a bucket takes to fill, %d", wait, r.depth)
				}
				if sum*r.span > (now-began+r.depth)*r.tokens {
					t.Fatalf("%d in %d", sum, now-began)
				}
			}
			if left := r.left(tat, max(tat, now)); left != r.count(r.depth) {
				t.Fatalf("%d left when the bucket is full again", left)
			}
		}
	})
}

func TestABucketHoldsItsBurst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.Int64Range(1, 1_000_000).Draw(t, "window")
		limit := rapid.Int64Range(1, min(window, 1_000_000)).Draw(t, "limit")
		burst := rapid.Int64Range(1, 10_000).Draw(t, "burst")
		r := newRate(limit, window, burst)
		if n := r.count(r.depth); n != burst {
			t.Fatalf("%d in %d: a bucket of %d holds %d", limit, window, burst, n)
		}
		if _, wait := r.take(0, 1_000_000_000, burst); wait != 0 {
			t.Fatalf("%d in %d: a full bucket does not give %d", limit, window, burst)
		}
	})
}
