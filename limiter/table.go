package limiter

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/nekoctl/neko/hostmem"
)

// table is the buckets of a host, in the memory that its workers share. A key has its
// bucket in one of the window of neighbouring entries that its hash begins. Nobody locks
// anything, and a process may be killed or stopped at any instruction.
//
// An entry is nobody's, or it is live, or it is changing hands. A key has never two live
// entries:
//
//  1. Who needs an entry for a key claims one, by swapping its tat for −now, his stamp.
//     Nobody finds the key that had it any more, and nobody can charge it.
//  2. He gives its other words the values of a new bucket: those that can be spent ones
//     that they never had.
//  3. He puts his key into tag, which counts up.
//  4. He looks for his key in the other entries of the window. If one is live he withdraws.
//     Of two that are changing hands for the same key the one nearer to the window's
//     beginning stays, and waits until the other is resolved.
//  5. He publishes, by swapping his stamp for now.
//
// Of two who do that at a time, at least one finds the other in step 4, because both do
// step 3 before. Whoever is slower than staleAfter is robbed of his claim, by a swap of his
// stamp for another: then his own swap fails in step 5. So nothing rests on a time; that
// decides only who does some work twice.
type table struct {
	entries []entry
	mask    uint64
	seed    [2]uint64
	now     func() int64 // a clock's

	forgotten atomic.Uint64 // see Stats
	forgiven  atomic.Uint64
	wasted    atomic.Uint64 // tokens of leases that were good when their entry changed hands
}

const (
	window = hostmem.MinBuckets
	// staleAfter is how long an entry is left to whom it is changing hands for.
	staleAfter = 10 * int64(time.Millisecond)
	// insertWithin is how long a decision waits for others in a window.
	insertWithin = 15 * int64(time.Millisecond)
	// insertRounds is how often it tries at least.
	insertRounds = 64
)

func newTable(m *hostmem.Mapping) (*table, error) {
	clock, err := newClock()
	if err != nil {
		return nil, err
	}
	memory := m.Buckets()
	n := len(memory) / hostmem.BucketSize
	if unsafe.Sizeof(entry{}) != hostmem.BucketSize || n < window || n&(n-1) != 0 {
		return nil, fmt.Errorf("%d bytes are no table of buckets", len(memory))
	}
	return &table{
		entries: unsafe.Slice((*entry)(unsafe.Pointer(&memory[0])), n),
		mask:    uint64(n - 1),
		seed:    m.Seed(),
		now:     clock.now,
	}, nil
}

// at is an entry of the window of a hash.
func (t *table) at(hash uint64, i uint64) *entry { return &t.entries[(hash+i)&t.mask] }

// find returns the live entry of a key, and its tag; nil if there is none, which means
// a full bucket. It may be another's at any time: see [entry.holds].
func (t *table) find(hash uint64) (*entry, uint64) {
	key := keyBits(hash)
	for i := range uint64(window) {
		e := t.at(hash, i)
		if tag := e.tag.Load(); tag&tagKeyMask == key && e.tat.Load() >= 0 {
			return e, tag
		}
	}
	return nil, 0
}

// insert returns the live entry of a key, and its tag. If there is none it makes one, with
// a full bucket; it takes an entry in which nothing is lost, or else the one of which least
// is. pace is how long a token takes the key's policy, in nanoseconds.
//
// It returns nil, after insertWithin, if others are always in the way.
func (t *table) insert(hash uint64, pace int64) (*entry, uint64) {
	key := keyBits(hash)
	began := t.now()
	for round := 0; ; round++ {
		if e, tag := t.find(hash); e != nil {
			return e, tag
		}
		now := t.now()
		if round >= insertRounds && now-began > insertWithin {
			return nil, 0
		}
		e := t.claim(hash, key, now)
		if e == nil {
			pause(round)
			continue
		}
		t.reset(e, now, pace)
		tag, ok := rename(e, now, key)
		if !ok {
			continue
		}
		if !t.sole(hash, key, e) {
			withdraw(e, now, tag)
			continue
		}
		// The time is read after the key was found nowhere: if its bucket was given
		// away, that was before.
		if e.tat.CompareAndSwap(-now, t.now()) {
			return e, tag
		}
	}
}

// claim begins to take an entry over (step 1). It returns nil if the key is about to
// have one, or another was faster.
func (t *table) claim(hash, key uint64, now int64) *entry {
	var victim *entry
	var old, when int64 = 0, math.MaxInt64
	for i := range uint64(window) {
		e := t.at(hash, i)
		tat := e.tat.Load()
		at := int64(0)
		switch {
		case tat >= 0:
			at = max(tat, e.idleAt()) // if it changes meanwhile, the swap fails
		case isStale(tat, now):
		case e.tag.Load()&tagKeyMask == key:
			return nil
		default:
			continue
		}
		// Of those in which nothing is lost the one that was used longest ago: of a key
		// that is in use it is known how much it wants.
		if at < when {
			victim, old, when = e, tat, at
		}
	}
	if victim == nil || !victim.tat.CompareAndSwap(old, -now) {
		return nil
	}
	if when > now {
		t.forgotten.Add(1)
		if pace := victim.pace.Load(); old > now && pace > 0 {
			t.forgiven.Add(uint64(ceilDiv(old-now, pace)))
		}
	}
	return victim
}

// isStale says whether an entry has been changing hands for too long. One that will do so
// in future is of a clock that is not ours.
func isStale(tat, now int64) bool {
	return tat < 0 && (now+tat >= staleAfter || now+tat <= -staleAfter)
}

// reset is step 2. Somebody who has been robbed meanwhile can harm the key of another
// only by making it ask its source once more.
func (t *table) reset(e *entry, stamp, pace int64) {
	tag := nextTag(e.tag.Load(), 0)
	for i := range e.leases {
		if e.tat.Load() != -stamp {
			return
		}
		old := lease(e.leases[i].Swap(uint64(noLease(tag))))
		if old.tokens() > 0 && old.until() > stamp {
			t.wasted.Add(uint64(old.tokens()))
		}
	}
	e.seen.Store(stamp)
	e.demand.Store(0)
	e.asked.Store(0)
	e.pace.Store(pace)
}

// rename is step 3, for the key or for nobody. It fails if the claim is another's by now.
func rename(e *entry, stamp int64, key uint64) (tag uint64, ok bool) {
	for {
		old := e.tag.Load()
		if e.tat.Load() != -stamp {
			return 0, false
		}
		tag = nextTag(old, key)
		if e.tag.CompareAndSwap(old, tag) {
			return tag, true
		}
	}
}

// sole is step 4. It says whether the key may be published in own.
func (t *table) sole(hash, key uint64, own *entry) bool {
look:
	for round := 0; ; round++ {
		before := true
		for i := range uint64(window) {
			e := t.at(hash, i)
			if e == own {
				before = false
				continue
			}
			if e.tag.Load()&tagKeyMask != key {
				continue
			}
			tat, now := e.tat.Load(), t.now()
			switch {
			case tat >= 0:
				return false
			case isStale(tat, now):
				if e.tat.CompareAndSwap(tat, -now) {
					free(e, now)
				}
				continue look
			case before:
				return false
			}
			pause(round)
			continue look
		}
		return true
	}
}

// withdraw gives up a claim after step 3.
func withdraw(e *entry, stamp int64, tag uint64) {
	if e.tag.CompareAndSwap(tag, nextTag(tag, 0)) {
		e.tat.CompareAndSwap(-stamp, 0)
	}
}

// free makes a claimed entry nobody's.
func free(e *entry, stamp int64) {
	if _, ok := rename(e, stamp, 0); ok {
		e.tat.CompareAndSwap(-stamp, 0)
	}
}

// pause waits for others: they need some hundred nanoseconds, or, if they have lost their
// CPU, as long as this process has it.
func pause(round int) {
	if round >= 16 {
		time.Sleep(50 * time.Microsecond)
	}
}
