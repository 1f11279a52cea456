package limits

import (
	"math"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
)

func TestHotKeysHardlyAskRedisAndWhatIsLeftIsGivenBack(t *testing.T) {
	sideBySide(t)
	policies := []policy{
		{Name: "below", rule: rule{600, time.Second, 600}},
		{Name: "at", rule: rule{600, time.Second, 600}},
		{Name: "above", rule: rule{1000, time.Minute, 1000}},
		{Name: "seldom", rule: rule{3600, time.Hour, 2000}}, // what is gone does not come back while we look
		{Name: "pressed", rule: rule{3000, time.Second, 3000}},
		{Name: "exact", rule: rule{15, time.Second, 15}},
	}
	streams := []stream{
		{Charges: []charge{{Policy: 0, Key: "one"}}, Arrive: "poisson", PerSec: 400},
		{Charges: []charge{{Policy: 1, Key: "one"}}, Arrive: "steady", PerSec: 600, Steady: true},
		{Charges: []charge{{Policy: 2, Key: "one"}}, Arrive: "poisson", PerSec: 600},
		{Charges: []charge{{Policy: 3, Key: "one"}}, Arrive: "poisson", PerSec: 150},
		{Charges: []charge{{Policy: 4, Key: "one"}}, Arrive: "bursty", PerSec: 4000},
		// Refused by the last, and what the first had paid is put back.
		{Charges: []charge{{Policy: 4, Key: "one", Costs: true}, {Policy: 5, Key: "one"}}, Arrive: "bursty", PerSec: 200, MaxCost: 5},
	}
	s := newStage(t, policies, streams, oneRedis)
	s.arrive()
	s.empty(owner{1, "one"})
	redis := s.servers[0]
	time.Sleep(1500 * time.Millisecond) // demand is known
	from, callsBefore := monotonic(), redis.calls()
	time.Sleep(duration(t) / 2)
	calls, to := redis.calls()-callsBefore, monotonic()
	s.leave()

	e := s.evidence()
	all := e.describe()
	e.bound(nil)
	e.enough(all)
	e.conserved()
	decisions := int64(0)
	for i := range e.requests {
		if r := &e.requests[i]; r.Before >= from && r.After < to {
			decisions++
		}
	}
	perCall := float64(decisions) / float64(max(calls, 1))
	t.Logf("%d decisions, %d calls of scripts, %.1f for one", decisions, calls, perCall)
	if least := 20 * (1 - e.busy(from, to)); perCall < least {
		t.Errorf("Redis is asked once for %.1f decisions, and not for %.1f", perCall, least)
	}
	// What a host comes too late to give back has ended.
	var ended float64
	for h := range e.hosts {
		if e.latest(h, e.began, math.MaxInt64) > 100*time.Millisecond {
			ended = float64(e.stats.Expired)
		}
	}

	for i, p := range policies {
		o := owner{i, "one"}
		lacks, at := s.lacks(o)
		// What hosts have let pass by themselves Redis may have been told, or not.
		least := e.lacking(o, at, func(r *request) bool { return !r.is(alone) })
		most := e.lacking(o, at, func(*request) bool { return true })
		t.Logf("%s lacks %.1f tokens after all have gone, and %.1f to %.1f were used", p.Name, lacks, least, most)
		// What came back since a grant is not given back: at most the rate for a lease's
		// time, for each of two leases a host.
		perLease := p.tokens(p.grown(int64(limiter.LeaseTTL))) + 1
		if p.Name == "seldom" && lacks > most+2*hostsOfStage*perLease+ended {
			t.Errorf("%.1f of %s were not used, and have not been given back", lacks-most, p.Name)
		}
		// A lease is taken before it is spent, and a full bucket begins to fill then.
		if lacks < least-perLease {
			t.Errorf("Redis has more than there can be: %s lacks %.1f, and %.1f were used", p.Name, lacks, least)
		}
	}
}

// lacking is what a bucket of an exact limiter lacks at some time, after what was taken by those
// decisions.
func (e *evidence) lacking(o owner, at int64, chosen func(*request) bool) float64 {
	b := newBucket(e.terms.Policies[o.policy].rule)
	for _, t := range e.accounts(chosen)[o] {
		if at := e.emptied[o] - e.began; at > b.at && at <= t.before {
			b.level, b.at = 0, at
		}
		b.fill(t.before)
		b.take(t.tokens)
	}
	b.fill(at - e.began)
	return b.tokens(b.units(b.Burst) - b.level)
}

// Who has been granted a lease is killed, and others have it until it ends.
func TestALeaseEndsWhoeverHasIt(t *testing.T) {
	longOnly(t)
	policies := []policy{{Name: "waves", rule: rule{3600, time.Minute, 1000}}}
	const ripple = 350 * time.Millisecond
	const wave = 8500 * time.Millisecond // then what has ended is back in Redis, and all of it is asked for at once
	of := []charge{{Key: "one", Costs: true}}
	streams := []stream{
		{Charges: of, Arrive: "steady", PerSec: 230, MaxCost: 8, Until: ripple},
		{Charges: of, Arrive: "poisson", PerSec: 2000, MaxCost: 8, From: wave, Until: wave + 500*time.Millisecond},
	}
	s := newStage(t, policies, streams, oneRedis)
	s.arrive()
	began := time.Now()
	time.Sleep(ripple)
	for _, h := range s.hosts {
		for slot := range h.slots {
			must(t, h.slots[slot].kill())
		}
	}
	for _, h := range s.hosts {
		for slot := range h.slots {
			h.slots[slot] = h.launch(slot)
		}
	}
	time.Sleep(time.Until(began.Add(wave + 600*time.Millisecond)))
	s.leave()
	e := s.evidence()
	e.describe()
	e.bound(nil)
}
