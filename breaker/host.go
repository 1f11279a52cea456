package breaker

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"unsafe"

	"github.com/dchest/siphash"

	"github.com/nekoctl/neko/hostmem"
)

// Host is what the workers of a host share about their breakers, in [hostmem.Mapping.Breakers].
// A process has one, for all its policies.
//
// There is a record for each name of a policy, a cache line. Nothing in it is locked: each
// word is complete in itself, and changed by compare-and-swap alone.
type Host struct {
	records *[records]record
	seed    [2]uint64
	clock   clock
	self    uint64 // which worker this is, in voterBits
}

const records = 64

// record is one policy's.
type record struct {
	tag   atomic.Uint64 // of the policy's name; 0: nobody's. It is never given up.
	word  atomic.Uint64 // a word: whether it is open for all
	votes [votes]atomic.Uint64
	_     [2]uint64
}

// votes is how many workers can have voted and be known. Two are enough.
const votes = 4

// NewHost uses m, which must stay mapped as long as a policy has the Host.
//
// Which worker this is says NEKO_SLOT, so that one that crashes and its successor do not
// count as two who agree; a process without it draws a number.
func NewHost(m *hostmem.Mapping) (*Host, error) {
	page := m.Breakers()
	if size := int(unsafe.Sizeof([records]record{})); len(page) < size {
		return nil, fmt.Errorf("%d bytes are too few for breakers: they need %d", len(page), size)
	}
	h := &Host{records: (*[records]record)(unsafe.Pointer(&page[0])), seed: m.Seed()}
	var err error
	if h.clock, err = newClock(); err != nil {
		return nil, err
	}
	h.self = firstDrawn + rand.Uint64N(firstDrawn)
	if slot, err := strconv.ParseUint(os.Getenv("NEKO_SLOT"), 10, 64); err == nil && slot < firstDrawn {
		h.self = slot
	}
	return h, nil
}

// record finds that of a name, and makes it if there is none. It is nil if there are too
// many already: such a policy is for this worker alone.
func (h *Host) record(name string) *record {
	tag := max(siphash.Hash(h.seed[0], h.seed[1], []byte(name)), 1)
	for i := range uint64(records) {
		r := &h.records[(tag+i)%records]
		if r.tag.CompareAndSwap(0, tag) || r.tag.Load() == tag {
			return r
		}
	}
	return nil
}

// A vote says that the breaker of one worker has opened:
//
//	bits 0-15   which worker
//	bits 16-23  the lowest bits of how often the host's breaker was closed before: a vote
//	            counts for one opening only
//	bits 24-63  when, in milliseconds of the clock
type vote uint64

const (
	voterBits  = 16
	ballotBits = 8
	ballotMask = 1<<ballotBits - 1
	firstDrawn = 1 << (voterBits - 1) // slots are below it
)

func newVote(voter, count uint64, at int64) vote {
	return vote(voter | count&ballotMask<<voterBits | uint64(at)<<(voterBits+ballotBits))
}

func (v vote) voter() uint64  { return uint64(v) & (1<<voterBits - 1) }
func (v vote) ballot() uint64 { return uint64(v) >> voterBits & ballotMask }
func (v vote) at() int64      { return int64(v >> (voterBits + ballotBits)) }

// counts says whether it does, at a time, for an opening.
func (v vote) counts(count uint64, now, window int64) bool {
	return v != 0 && v.ballot() == count&ballotMask && v.age(now) <= window
}

// age is how long ago it was given. What is to come by more than clocks differ nobody has
// given: the memory is damaged, and there is nothing older.
func (v vote) age(now int64) int64 {
	if v.at() > now+clocksDiffer {
		return math.MaxInt64
	}
	return now - v.at()
}

// clocksDiffer is by how many milliseconds at most, see clock.
const clocksDiffer = 1000

// vote notes that a worker's breaker has opened, and says whether that of another one has
// within the same window. Of two that vote at once, one at least sees the other's.
func (r *record) vote(voter, count uint64, now, window int64) (agreed bool) {
	mine := newVote(voter, count, now)
	for range 2 * votes { // others vote at the same time, and then it is clear
		place := &r.votes[0]
		was := vote(place.Load())
		for i := range r.votes {
			v := vote(r.votes[i].Load())
			if v.voter() == voter && v != 0 {
				place, was = &r.votes[i], v
				break
			}
			if v.age(now) > was.age(now) {
				place, was = &r.votes[i], v
			}
		}
		if place.CompareAndSwap(uint64(was), uint64(mine)) {
			break
		}
	}
	for i := range r.votes {
		v := vote(r.votes[i].Load())
		if v.counts(count, now, window) && v.voter() != voter {
			return true
		}
	}
	return false
}
