package limiter

import "sync/atomic"

// entry is a bucket in the memory that the workers of a host share: one cache line. Each
// word is complete in itself and changed by compare-and-swap alone, so that a
// worker can be killed at any instruction. Times are nanoseconds since the boot of the
// machine (clock.go).
//
// Who changes words for a key looks at tag afterwards: if it is another's by then, what
// was done counts for nothing, and is undone as far as it can be.
type entry struct {
	// tag is whose the entry is: the upper 48 bits are of the key's hash, zero for
	// nobody's, the lower 16 count how often it has changed hands.
	tag atomic.Uint64
	// tat is when the bucket is full again, if this host decides. Negative, it is
	// changing hands since −tat.
	tat atomic.Int64
	// leases are tokens that a source has given ahead, see lease.
	leases [2]atomic.Uint64
	// seen is when the source's bucket is full again, as far as is known here.
	seen atomic.Int64
	// demand is for package-internal use of leases: how much was used lately.
	demand atomic.Uint64
	// asked is until when nobody else need ask the source ahead.
	asked atomic.Int64
	_     [8]byte
}

// lease is tokens that are good until a time: 24 bits of tokens, above them 40 bits of
// milliseconds since boot. Zero is none.
type lease uint64

const (
	leaseTokenBits = 24
	maxLeaseTokens = 1<<leaseTokenBits - 1
	milli          = 1_000_000 // nanoseconds
)

// newLease is n tokens until a time in nanoseconds, rounded down.
func newLease(n, until int64) lease { return lease(until/milli)<<leaseTokenBits | lease(n) }

func (l lease) tokens() int64 { return int64(l & maxLeaseTokens) }

// until is when it ends; from then on nothing of it may be spent.
func (l lease) until() int64 { return int64(l>>leaseTokenBits) * milli }

// idleAt is from when on nothing is lost if the entry is given to another key.
func (e *entry) idleAt() int64 {
	at := max(e.tat.Load(), e.seen.Load())
	for i := range e.leases {
		if l := lease(e.leases[i].Load()); l.tokens() > 0 {
			at = max(at, l.until())
		}
	}
	return at
}
