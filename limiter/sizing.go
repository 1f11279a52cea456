package limiter

import (
	"math"
	"time"
)

// How much is asked ahead. All of these were tried in simulation_test.go.
const (
	// Demand is measured over one to two times as long, in milliseconds.
	measured = 1000
	// A lease need not have more than is enough for so many decisions, or for such a part of
	// LeaseTTL: little is lost when a client stops, and a call still is for many decisions.
	enough     = 40
	enoughPart = 4
	// At the edge of a limit nobody asks again before so many decisions, if they take from
	// minPause to maxPause, unless there are enough tokens by then.
	worthDecisions     = 28
	minPause, maxPause = int64(100 * milli), int64(500 * milli)
	// What the source has said is believed for so long, if it can be asked.
	believed = int64(time.Second)
)

// demand is how many tokens of a key were wanted on this host lately, whether they were
// to be had or not: 24 bits, above them 40 bits of milliseconds since boot, since when.
type demand uint64

const maxDemand = 1<<24 - 1

// want adds n tokens to what was wanted. It does not matter if that is another's by now.
func (e *entry) want(n, now int64) {
	for {
		old := e.demand.Load()
		if e.demand.CompareAndSwap(old, uint64(demand(old).add(n, now/milli))) {
			return
		}
	}
}

func (d demand) add(n, ms int64) demand {
	count, since := int64(d&maxDemand), int64(d>>24)
	switch age := ms - since; {
	case age >= 8*measured || age < -measured: // long ago, or a leftover
		count, since = 0, ms
	case age >= 2*measured: // as many in a time for another second
		count, since = count*measured/age, ms-measured
	}
	return demand(since)<<24 | demand(min(count+n, maxDemand))
}

// expected is how many tokens will be wanted in LeaseTTL, if all goes on as it has.
func (d demand) expected(now int64) float64 {
	age := now/milli - int64(d>>24)
	return float64(d&maxDemand) * measured / float64(max(age, measured))
}

// size is how many tokens it is good to have here, where who asks needs n of them. Two
// square roots of the number of decisions below what is expected: so what is there is used in
// time in 49 of 50 cases, even if clients come by chance.
func (s *Shared) size(k flightKey, n, now int64) int64 {
	if k.p.lease == 0 {
		return 0
	}
	cost := float64(n)
	decisions := demand(k.e.demand.Load()).expected(now) / cost
	safe := decisions - 2*math.Sqrt(decisions)
	good := max(enough, decisions/enoughPart) + 2*decisions*s.lag()
	return max(min(int64(min(safe, good)*cost), k.p.maxLease()), 0)
}

// low is how many tokens are few enough to ask for more.
func (s *Shared) low(k flightKey, size, now int64) int64 {
	expected := demand(k.e.demand.Load()).expected(now)
	return min(size/4, int64(expected/enoughPart)) + int64(expected*s.lag())
}

// isAmple says, with little effort, that left tokens are more than low.
func (s *Shared) isAmple(k flightKey, left, n int64) bool {
	count := int64(k.e.demand.Load() & maxDemand)
	return left > min(count, max(enough*n, count/enoughPart)*(enoughPart/4))/enoughPart+int64(float64(count)*s.lag()*1.5)
}

// lag is what part of LeaseTTL an answer of the source takes, and half as much again.
func (s *Shared) lag() float64 { return float64(min(s.took.Load(), maxTook)) * (1.5 / float64(ttl)) }

// maxTook is more than what an answer may take without making leases larger.
const maxTook = ttl / 4

// answersIn remembers how long an answer took, as an average of the last.
func (s *Shared) answersIn(took int64) {
	old := s.took.Load()
	s.took.CompareAndSwap(old, old+(took-old)/8)
}

// pause is how long, after a bucket was found empty, nobody asks for less than size
// says: as long as it takes to make some decisions.
func (d demand) pause(n, now int64) int64 {
	decisions := max(d.expected(now)/float64(n), 1)
	return min(max(int64(worthDecisions*float64(ttl)/decisions), minPause), maxPause)
}

// maxLease is the most that a lease of p has.
func (p *Policy) maxLease() int64 { return min(p.lease, maxLeaseTokens/4) }

// ttl is LeaseTTL in nanoseconds.
const ttl = int64(LeaseTTL)
