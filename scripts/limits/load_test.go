package limits

import (
	"math/rand/v2"
	"time"
)

// terms are what all processes of a run are told.
type terms struct {
	Policies []policy
	Streams  []stream
	Room     int64 // records in a journal
	Buckets  int   // in the memory of a host
}

// policy is one of those that the limiter under test is given.
type policy struct {
	Name string
	rule
	Fail string
}

// leased says whether tokens of it are given ahead.
func (p policy) leased() bool { return p.Burst >= 20 }

// stream is one kind of request, and how often it is made by all processes that have it.
type stream struct {
	Charges []charge
	Arrive  string  // steady, poisson, bursty
	PerSec  float64 // requests
	MaxCost int64   // of the charges with Costs, from 1, at random
	Hosts   []int   // those that have it; nil: all

	// From and Until are when it comes, since the load began; 0: all the time.
	From, Until time.Duration

	// Of how it is judged:
	Steady bool // it is all that there is at its key, which is emptied at first, and comes at the limit or a little above
}

type charge struct {
	Policy int
	Key    string
	Costs  bool // the request's cost, else 1
}

// on says how many hosts of n have the stream, and whether this one does.
func (s stream) on(host, n int) (hosts int, here bool) {
	if s.Hosts == nil {
		return n, true
	}
	for _, h := range s.Hosts {
		here = here || h == host
	}
	return len(s.Hosts), here
}

func (s stream) cost(rand *rand.Rand) int64 {
	if s.MaxCost <= 1 {
		return 1
	}
	return 1 + rand.Int64N(s.MaxCost)
}

const (
	burstOf = 20 // requests of a bursty stream, one after the other
	// Who could not run for so long does not make up for it.
	forgiveLate = 100 * time.Millisecond
)

// arrivals are the times at which one process makes requests.
type arrivals struct {
	kind  string
	pause float64 // ns between two, in the mean
	rand  *rand.Rand
	at    time.Time
	n     int
}

func (s stream) arrivals(began time.Time, share float64, rand *rand.Rand) *arrivals {
	a := &arrivals{kind: s.Arrive, pause: 1e9 / (s.PerSec * share), rand: rand}
	if a.at = began.Add(s.From); a.at.Before(time.Now()) {
		a.at = time.Now()
	}
	a.at = a.at.Add(time.Duration(rand.Float64() * a.pause))
	return a
}

// next is when the next request is made. Its times are on a grid of their own, so that
// what a request takes makes none later.
func (a *arrivals) next() time.Time {
	a.n++
	pause := a.pause
	switch a.kind {
	case "poisson":
		pause *= a.rand.ExpFloat64()
	case "bursty":
		if a.n%burstOf != 0 {
			return a.at
		}
		pause *= burstOf * 2 * a.rand.Float64()
	}
	at := a.at
	a.at = at.Add(time.Duration(pause))
	if now := time.Now(); now.Sub(a.at) > forgiveLate {
		a.at = now
	}
	return at
}
