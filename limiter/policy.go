package limiter

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Policy is a rule: how many tokens a bucket of it holds, and how fast it fills. It
// does not change once it is made, and the buckets of two policies with one name are
// the same: so a limit is changed without forgetting anything.
type Policy struct {
	Name   string
	Limit  int64         // tokens in each Window, in the long run
	Window time.Duration //
	Burst  int64         // tokens in a full bucket
	Fail   Fail

	host    rate  // in nanoseconds
	central rate  // in microseconds
	lease   int64 // the largest; 0: every decision is the source's
	hash    uint64

	counters atomic.Pointer[counters] // of the limiter that has it in use
}

// Fail is what a policy does while its source cannot be asked.
type Fail uint8

const (
	// FailLocal has each host decide alone, by the limit divided by the number of
	// hosts that were there when the source was seen last.
	FailLocal Fail = iota
	// FailOpen lets all pass.
	FailOpen
	// FailClosed refuses what has no lease.
	FailClosed
)

// String is the word for it in configurations.
func (f Fail) String() string { return [...]string{"local", "open", "closed"}[f] }

// The bounds of a policy. Times and tokens stay exact in the numbers of Redis's
// scripts within them.
const (
	MaxRate   = 1_000_000 // tokens a second
	MaxWindow = 30 * 24 * time.Hour
	MaxBurst  = 1_000_000_000
	maxDepth  = 30 * 24 * time.Hour // in which an empty bucket fills
	maxName   = 64
)

// NewPolicy makes a policy of limit tokens in each window and buckets of burst tokens;
// 0 is limit.
func NewPolicy(name string, limit int64, window time.Duration, burst int64, fail Fail) (*Policy, error) {
	if burst == 0 {
		burst = limit
	}
	switch {
	case name == "" || len(name) > maxName:
		return nil, fmt.Errorf("the name %.70q has not 1 to %d characters", name, maxName)
	case limit < 1 || window <= 0:
		return nil, fmt.Errorf("%d in %v is no limit", limit, window)
	case window > MaxWindow:
		return nil, fmt.Errorf("a window of %v is longer than %v", window, MaxWindow)
	case float64(limit) > MaxRate*window.Seconds():
		return nil, fmt.Errorf("%d in %v is more than %d a second", limit, window, MaxRate)
	case burst < 1 || burst > MaxBurst:
		return nil, fmt.Errorf("a burst of %d is not from 1 to %d", burst, MaxBurst)
	case float64(burst)/float64(limit)*float64(window) > float64(maxDepth):
		return nil, fmt.Errorf("a burst of %d takes more than %v to come back", burst, maxDepth)
	}
	p := &Policy{
		Name: name, Limit: limit, Window: window, Burst: burst, Fail: fail,
		host:    newRate(limit, window.Nanoseconds(), burst),
		central: newRate(limit, max(window.Microseconds(), 1), burst),
		lease:   burst / leasePart,
		hash:    hashName(name),
	}
	return p, nil
}

// Central is the arithmetic of a source, in microseconds: span fills so many tokens,
// depth an empty bucket.
func (p *Policy) Central() (span, tokens, depth int64) {
	return p.central.span, p.central.tokens, p.central.depth
}

// leasePart is which part of a bucket one lease has at most.
const leasePart = 20
