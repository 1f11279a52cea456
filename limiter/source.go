package limiter

import "context"

// Source is what all hosts share: one bucket for each policy and key, each on one clock, in
// microseconds. A [Shared] limiter asks it. Its methods may be used by several goroutines
// at once, and heed the context. An error of Grant says nothing of other keys: a part of
// the source may be away. What it had granted then is lost.
type Source interface {
	// Grant takes between need and want tokens, as many as there are, from the bucket
	// of p that id names, or none if there are less than need.
	Grant(ctx context.Context, p *Policy, id ID, need, want int64) (Grant, error)
	// Return gives tokens back, of many keys at once. What was granted longer ago than
	// LeaseTTL is left out. After an error some may have come back: it is not tried again.
	Return(ctx context.Context, unspent []Unspent) error
	// Beat says that this host lives, and returns how many do, itself included. A host
	// counts for 10 s after its last beat.
	Beat(ctx context.Context, host string) (hosts int, err error)
	// Close ends all of it. What is under way fails.
	Close()
}

// ID names a key at a source: the first half of the SHA-256 of it.
type ID [16]byte

// Grant is what a source has given.
type Grant struct {
	Tokens int64 // 0: refused
	At     int64 // when, on the source's clock
	Full   int64 // when the bucket is full again, on the source's clock, after this
}

// Unspent are tokens of a grant that nobody has used.
type Unspent struct {
	Policy *Policy
	ID     ID
	Tokens int64
	At     int64 // Grant.At
}
