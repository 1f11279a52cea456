// Package limiter says how much each client may do: exact on one host, and within a
// stated bound over many.
//
// A [Policy] is a bucket for each key: so many tokens, filled at so many a second.
// Who wants something is charged tokens at one or several buckets, all or none. The
// buckets lie in memory that all workers of a host share (package hostmem). There
// they fill with time ([NewHost]), or with leases from a [Source] that all hosts
// share ([NewShared]).
//
// The algorithm is GCRA, the generic cell rate algorithm of ATM Forum TM 4.0, 4.4.2, in
// the form of virtual scheduling: of a bucket is kept only when it will be full again.
package limiter

import (
	"context"
	"time"
)

// Limiter decides. It may be used by several goroutines at once.
type Limiter interface {
	// Decide charges all of charges, or none if one of them cannot be paid, and tells in
	// each of them what is left. It does not keep them, nor the slice. It returns within
	// [Budget], whatever its source does. Up to eight charges that need no source allocate
	// nothing.
	Decide(ctx context.Context, charges []Charge) Decision
	// Stats are what this limiter has counted since it was made.
	Stats() Stats
	// Close gives back what this process has leased and its host has not spent. It
	// returns when ctx ends at the latest. No decision may be under way, or come later.
	Close(ctx context.Context) error
}

// Budget is how long a decision may take.
const Budget = 20 * time.Millisecond

// LeaseTTL is how long tokens are good that a host has been given ahead.
const LeaseTTL = time.Second

// Charge is what one policy takes from one client for one request.
type Charge struct {
	Policy *Policy
	// Key is whom: any bytes, of any length. They are hashed, and neither kept nor sent.
	Key []byte
	// Cost is how many tokens, from 1.
	Cost int64

	// Left is, after the decision, how many tokens the bucket has: with a source as far
	// as this host knows. Full is after what time it is full again.
	Left int64
	Full time.Duration
}

// Decision is what came of some charges.
type Decision struct {
	// Refused is the index of the charge that could not be paid, -1 if all were.
	Refused int
	// RetryAfter is when it could be, if nothing else is charged; [Never] if the policy
	// never holds so many tokens.
	RetryAfter time.Duration
	// Alone says that the source could not be asked, and the policy's Fail has decided.
	Alone bool
}

// OK says whether all was paid.
func (d Decision) OK() bool { return d.Refused < 0 }

// Never is the RetryAfter of what costs more than a bucket holds.
const Never = time.Duration(1<<63 - 1)
