// Package limitertest is what every [limiter.Limiter] must keep to.
package limitertest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
)

// Suite makes limiters to be tested.
type Suite struct {
	// Open makes n limiters of one host: they share all buckets, and none of them has
	// been charged. It closes them at the end of the test.
	Open func(t *testing.T, n int) []limiter.Limiter
	// Slack is how much longer than a window what is admitted in it may have taken to
	// fill: 0, or limiter.LeaseTTL if there are leases.
	Slack time.Duration
	// Local says that a decision needs no source, and so never allocates.
	Local bool
}

// Run runs all tests, each with limiters of its own.
func (s Suite) Run(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(Suite, *testing.T)
	}{
		{"A burst is admitted, and no more", Suite.burst},
		{"Buckets are of a policy's name and a key", Suite.apart},
		{"All charges are paid, or none", Suite.allOrNone},
		{"Two charges at one bucket add up", Suite.twice},
		{"More than a bucket holds is refused for ever", Suite.never},
		{"A policy is changed without forgetting anything", Suite.changed},
		{"Who asks again after RetryAfter passes", Suite.retry},
		{"Many at once get what is theirs, and no more", Suite.atOnce},
		{"Decisions are counted by policy", Suite.stats},
		{"Nothing to charge is admitted", Suite.nothing},
		{"Keys are any bytes", Suite.keys},
		{"A decision allocates nothing", Suite.allocates},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(s, t) })
	}
}

// policy makes a policy, and ends the test if there can be no such.
func policy(t testing.TB, name string, limit int64, window time.Duration, burst int64) *limiter.Policy {
	t.Helper()
	p, err := limiter.NewPolicy(name, limit, window, burst, limiter.FailLocal)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s Suite) open(t *testing.T) limiter.Limiter {
	t.Helper()
	return s.Open(t, 1)[0]
}

// charge is one charge.
func charge(p *limiter.Policy, key string, cost int64) limiter.Charge {
	return limiter.Charge{Policy: p, Key: []byte(key), Cost: cost}
}

func decide(l limiter.Limiter, charges ...limiter.Charge) limiter.Decision {
	return l.Decide(context.Background(), charges)
}

// Bursts are sizes of buckets: with leases, and without.
var bursts = []int64{1, 10, 100, 1000}

// Nothing fills in these tests: so long are windows.
const long = limiter.MaxWindow

func (s Suite) burst(t *testing.T) {
	for _, burst := range bursts {
		t.Run(fmt.Sprint(burst), func(t *testing.T) {
			limiters := s.Open(t, 3)
			p := policy(t, "p", burst, long, 0)
			for i := range burst {
				c := []limiter.Charge{charge(p, "a", 1)}
				d := limiters[i%3].Decide(context.Background(), c)
				if !d.OK() || d.Refused != -1 || d.RetryAfter != 0 || d.Alone {
					t.Fatalf("decision %d of %d: %+v", i, burst, d)
				}
				left := burst - 1 - i
				if c[0].Left > left || s.Slack == 0 && c[0].Left != left {
					t.Fatalf("%d left after decision %d of %d", c[0].Left, i, burst)
				}
				most := time.Duration(float64(long) * float64(i+1) / float64(burst) * 1.01)
				if s.Slack > 0 {
					most += long / 10 // leases that are on their way
				}
				if c[0].Full > most || s.Slack == 0 && c[0].Full < most/2 {
					t.Fatalf("full after %v, not %v", c[0].Full, most)
				}
			}
			for i, l := range limiters {
				c := []limiter.Charge{charge(p, "a", 1)}
				d := l.Decide(context.Background(), c)
				if d.OK() || d.Refused != 0 || d.RetryAfter <= 0 || d.RetryAfter == limiter.Never || c[0].Left != 0 {
					t.Fatalf("limiter %d, after all was taken: %+v, %d left", i, d, c[0].Left)
				}
			}
		})
	}
}

func (s Suite) apart(t *testing.T) {
	l := s.open(t)
	p, q := policy(t, "p", 1, long, 0), policy(t, "q", 1, long, 0)
	for _, c := range []limiter.Charge{charge(p, "a", 1), charge(p, "b", 1), charge(q, "a", 1), charge(q, "", 1), charge(p, "", 1)} {
		if d := decide(l, c); !d.OK() {
			t.Errorf("%s %q: %+v", c.Policy.Name, c.Key, d)
		}
		if d := decide(l, c); d.OK() {
			t.Errorf("%s %q is admitted twice", c.Policy.Name, c.Key)
		}
	}
}

func (s Suite) allOrNone(t *testing.T) {
	for _, burst := range bursts[1:] {
		l := s.open(t)
		p, q := policy(t, "p", burst, long, 0), policy(t, "q", 1, long, 0)
		if d := decide(l, charge(p, "a", 1), charge(q, "a", 1)); !d.OK() {
			t.Fatalf("both are full: %+v", d)
		}
		for range 2 * burst {
			c := []limiter.Charge{charge(p, "a", 1), charge(q, "a", 1)}
			if d := l.Decide(context.Background(), c); d.OK() || d.Refused != 1 || d.RetryAfter <= 0 {
				t.Fatalf("q is empty: %+v", d)
			}
			if c[0].Left > burst-1 || s.Slack == 0 && c[0].Left != burst-1 || c[1].Left != 0 {
				t.Fatalf("of p are %d left, of q %d", c[0].Left, c[1].Left)
			}
			if d := decide(l, charge(q, "a", 1), charge(p, "a", 1)); d.OK() || d.Refused != 0 {
				t.Fatalf("q is empty: %+v", d)
			}
		}
		n := int64(0)
		for decide(l, charge(p, "a", 1)).OK() {
			n++
		}
		if n != burst-1 {
			t.Errorf("of p are %d to be had, not %d, after q has refused", n, burst-1)
		}
	}
}

func (s Suite) twice(t *testing.T) {
	for _, burst := range []int64{10, 100} {
		l := s.open(t)
		p := policy(t, "p", burst, long, 0)
		part := burst * 3 / 10
		if d := decide(l, charge(p, "a", part), charge(p, "a", part)); !d.OK() {
			t.Fatalf("%d twice of %d: %+v", part, burst, d)
		}
		// 40 % are left.
		if d := decide(l, charge(p, "a", part), charge(p, "a", part)); d.OK() || d.Refused != 1 {
			t.Fatalf("%d twice of %d: %+v", part, burst-2*part, d)
		}
		if d := decide(l, charge(p, "a", part)); !d.OK() {
			t.Fatalf("a refusal has taken something: %+v", d)
		}
		if d := decide(l, charge(p, "a", burst*6/10), charge(p, "a", burst*6/10)); d.OK() || d.RetryAfter != limiter.Never {
			t.Fatalf("120 %% of a bucket: %+v", d)
		}
	}
}

func (s Suite) never(t *testing.T) {
	for _, burst := range bursts {
		l := s.open(t)
		p := policy(t, "p", burst, long, 0)
		for _, cost := range []int64{burst + 1, 10 * burst, 1<<63 - 1} {
			c := []limiter.Charge{charge(p, "a", cost)}
			if d := l.Decide(context.Background(), c); d.OK() || d.Refused != 0 || d.RetryAfter != limiter.Never {
				t.Errorf("%d of %d: %+v", cost, burst, d)
			}
		}
		if d := decide(l, charge(p, "a", burst)); !d.OK() {
			t.Errorf("all of a bucket at once: %+v", d)
		}
	}
}

func (s Suite) changed(t *testing.T) {
	l := s.open(t)
	before, after := policy(t, "p", 100, long, 0), policy(t, "p", 10, long, 0)
	if d := decide(l, charge(before, "a", 100)); !d.OK() {
		t.Fatalf("%+v", d)
	}
	if d := decide(l, charge(after, "a", 1)); d.OK() {
		t.Error("a bucket is full again because its policy has changed")
	}
	if d := decide(l, charge(after, "b", 11)); d.OK() {
		t.Error("the old limit holds")
	}
}

func (s Suite) retry(t *testing.T) {
	l := s.open(t)
	// A token fills in 50 ms. With leases who asks may wait for one.
	p := policy(t, "p", 20, time.Second, 2)
	var d limiter.Decision
	for range 100 { // who is stopped before the second call finds two tokens again
		for decide(l, charge(p, "a", 1)).OK() {
		}
		if d = decide(l, charge(p, "a", 2)); !d.OK() {
			break
		}
	}
	most := 100*time.Millisecond + time.Millisecond
	if s.Slack > 0 {
		most += s.Slack / 4 // what an answer takes is added, up to so much
	}
	if d.OK() || d.RetryAfter <= 0 || d.RetryAfter > most {
		t.Fatalf("%+v", d)
	}
	time.Sleep(d.RetryAfter)
	if d := decide(l, charge(p, "a", 2)); !d.OK() {
		t.Errorf("after it has waited: %+v", d)
	}
}

func (s Suite) atOnce(t *testing.T) {
	const (
		workers = 4
		burst   = 200
		rate    = 2000 // tokens a second
		lasts   = 300 * time.Millisecond
	)
	limiters := s.Open(t, workers)
	p := policy(t, "p", rate, time.Second, burst)
	all := policy(t, "all", limiter.MaxRate, time.Second, 0)
	var admitted atomic.Int64
	began := time.Now()
	var working sync.WaitGroup
	for _, l := range limiters {
		working.Go(func() {
			// Who asks a source may need longer, on a busy machine.
			for time.Since(began) < lasts || admitted.Load() < burst && time.Since(began) < 10*time.Second {
				if decide(l, charge(p, "a", 1), charge(all, "all", 1)).OK() {
					admitted.Add(1)
				}
			}
		})
	}
	working.Wait()
	took := time.Since(began)
	n := admitted.Load()
	if most := burst + rate*(took+s.Slack).Seconds(); float64(n) > most {
		t.Errorf("%d were admitted in %v, more than %v", n, took, most)
	}
	if n < burst {
		t.Errorf("%d were admitted, less than a burst", n)
	}
}

func (s Suite) stats(t *testing.T) {
	l := s.open(t)
	p, q := policy(t, "p", 3, long, 0), policy(t, "q", 1, long, 0)
	decide(l, charge(p, "a", 1), charge(q, "a", 1))
	decide(l, charge(p, "a", 1), charge(q, "a", 1)) // q refuses
	decide(l, charge(p, "a", 1))
	decide(l, charge(policy(t, "p", 3, long, 0), "a", 2)) // another p refuses
	stats := l.Stats()
	want := fmt.Sprint(map[string]uint64{"p": 2, "q": 1}, map[string]uint64{"p": 1, "q": 1})
	if got := fmt.Sprint(stats.Allowed, stats.Denied); got != want {
		t.Errorf("allowed and denied %s, not %s", got, want)
	}
	if stats.Hosts != 1 || stats.Away || stats.Alone != 0 || stats.Forgotten != 0 {
		t.Errorf("%+v", stats)
	}
}

func (s Suite) nothing(t *testing.T) {
	if d := decide(s.open(t)); !d.OK() {
		t.Errorf("%+v", d)
	}
}

func (s Suite) keys(t *testing.T) {
	l := s.open(t)
	p := policy(t, "p", 1, long, 0)
	many := make([]limiter.Charge, 0, 20)
	for i := range 20 {
		many = append(many, charge(p, string(make([]byte, 1<<i/2)), 1))
	}
	if d := l.Decide(context.Background(), many); !d.OK() {
		t.Fatalf("keys of zeros, of different lengths: %+v", d)
	}
	for _, c := range many {
		if d := decide(l, c); d.OK() {
			t.Errorf("%d zeros are admitted twice", len(c.Key))
		}
	}
}

func (s Suite) allocates(t *testing.T) {
	if !s.Local {
		t.Skip("with a source only some decisions do not")
	}
	l := s.open(t)
	charges := []limiter.Charge{
		charge(policy(t, "p", 1000, time.Minute, 0), "a", 1), charge(policy(t, "q", 100, long, 0), "b", 1),
	}
	ctx := context.Background()
	if n := testing.AllocsPerRun(2000, func() { l.Decide(ctx, charges) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
