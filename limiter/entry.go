package limiter

import "sync/atomic"

// entry is a bucket in the memory that the workers of a host share: one cache line. Each
// word is complete in itself and changed by compare-and-swap alone, so that a
// worker can be killed at any instruction. Times are nanoseconds since the boot of the
// machine (clock.go).
//
// Who changes a word for a key reads it first, then sees that the entry [entry.holds] the
// key, and only then swaps. When an entry changes hands tat, the leases and seen get values
// that they never had before, so the swap of whoever was stopped in between fails. (That two
// times agree to the nanosecond is left to chance; so who has swapped looks at tag
// again, and undoes what he did to another's, as far as it can be.)
type entry struct {
	// tag is whose the entry is: the upper 48 bits are of the key's hash, zero for
	// nobody's, the lower 16 count how often it has changed hands.
	tag atomic.Uint64
	// tat is when the bucket is full again, if this host decides. Negative, it is
	// changing hands since −tat (table.go). It is 0 only if it is nobody's.
	tat atomic.Int64
	// leases are tokens that a source has given ahead, see lease.
	leases [2]atomic.Uint64
	// seen is when the source's bucket is full again, as far as is known here.
	seen atomic.Int64
	// demand is how much was wanted lately, see demand.
	demand atomic.Uint64
	// asked is when the source was heard of, and who asks it, see asked.
	asked atomic.Int64
	// pace is how long a token takes to fill, in nanoseconds: what is forgotten is
	// counted by it, and nothing decided.
	pace atomic.Int64
}

const (
	tagKeyMask = ^uint64(tagGenMask) // of whose it is
	tagGenMask = 1<<16 - 1           // of how often it has changed hands
)

// keyBits are those of a key's hash that stand in tag. They are never zero.
func keyBits(hash uint64) uint64 { return max(hash&tagKeyMask, tagGenMask+1) }

// nextTag is that of the next to have the entry; key 0 is nobody.
func nextTag(old, key uint64) uint64 { return key | (old+1)&tagGenMask }

// holds says whether the entry is that of the key it had when tag was read, and not
// changing hands.
func (e *entry) holds(tag uint64) bool { return e.tat.Load() >= 0 && e.tag.Load() == tag }

// lease is tokens that are good until a time: 24 bits of tokens, above them 40 bits of
// milliseconds since boot. It is none if it has no tokens, whatever stands above them.
type lease uint64

const (
	leaseTokenBits = 24
	maxLeaseTokens = 1<<leaseTokenBits - 1
	milli          = 1_000_000 // nanoseconds
)

// newLease is n tokens until a time in nanoseconds, rounded down.
func newLease(n, until int64) lease { return lease(until/milli)<<leaseTokenBits | lease(n) }

// noLease is what an entry has after it has changed hands, told apart from none that its
// earlier owners had.
func noLease(tag uint64) lease { return lease(tag&tagGenMask) << leaseTokenBits }

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
