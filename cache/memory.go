package cache

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"unsafe"
)

// memory keeps answers within a number of bytes. Who looks for one takes no lock and writes
// nothing but one bit, once. What has to go is chosen by SIEVE (Zhang et al., "SIEVE is
// Simpler than LRU", NSDI '24): answers stand in the order in which they came, and a hand
// goes from the oldest to the newest, spares once whatever was served since it passed, and
// takes the first that was not.
type memory struct {
	heads []atomic.Pointer[entry] // chains by key; as many as there will ever be
	shift int
	seed  [2]uint64
	max   int64

	mu             sync.Mutex
	bytes          int64
	count          int
	evicted        uint64
	oldest, newest *entry
	hand           *entry       // the next to be looked at; nil: the oldest
	spill          func(*entry) // told of what has to go, nil: nobody is
}

// entry is an answer in memory, with what its tags were before it was made. Only that it was
// served, and what is said of its being made anew, changes while others can see it.
type entry struct {
	key    Key
	answer *Answer
	stamp  stamp
	own    bool // only one identity may see it

	served atomic.Bool // since the hand has passed
	// When it last could not be made anew, was left to another host to be made anew, and
	// could not be confirmed by Shared, in Unix milliseconds:
	failed, left, alone atomic.Int64

	next         atomic.Pointer[entry] // in its chain
	older, newer *entry
	bytes        int64 // 0: it is not in memory
}

var entrySize = allocated(int(unsafe.Sizeof(entry{})))

// perHead is how many bytes of answers there are for each chain when the memory is full:
// as small as an answer may be, its chain has only a few.
const perHead = 2 << 10

func newMemory(max int64) *memory {
	n := bits.Len64(uint64(max/perHead - 1))
	m := &memory{
		heads: make([]atomic.Pointer[entry], 1<<n),
		shift: 64 - n,
		seed:  [2]uint64{rand.Uint64(), rand.Uint64() | 1},
		max:   max,
	}
	m.bytes = m.own()
	return m
}

// own is what the memory takes without any answer.
func (m *memory) own() int64 { return int64(len(m.heads)) * int64(unsafe.Sizeof(m.heads[0])) }

// head is where the chain of a key begins. Keys are hashes, but not secret ones: without the
// seed somebody could look for many that have the same beginning.
func (m *memory) head(key *Key) *atomic.Pointer[entry] {
	h := (binary.LittleEndian.Uint64(key[:]) ^ m.seed[0]) * m.seed[1]
	return &m.heads[h>>m.shift]
}

// find is the entry of key, nil if there is none.
func (m *memory) find(key *Key) *entry {
	e := m.head(key).Load()
	for e != nil && e.key != *key {
		e = e.next.Load()
	}
	return e
}

// touch says that an entry was served.
func (e *entry) touch() {
	if !e.served.Load() {
		e.served.Store(true)
	}
}

// put keeps e, instead of what there was of its key. It is false if it takes too much.
func (m *memory) put(e *entry) bool {
	size := entrySize + e.stamp.bytes() + e.answer.bytes
	m.mu.Lock()
	defer m.mu.Unlock()
	if size > m.max/8 {
		return false
	}
	e.answer.home = m // before anybody else has it
	if old := m.find(&e.key); old != nil {
		m.drop(old)
	}
	m.insert(e, size)
	return true
}

func (m *memory) insert(e *entry, size int64) {
	m.makeRoom(size)
	e.bytes = size
	m.bytes += size
	m.count++
	if e.older = m.newest; e.older != nil {
		e.older.newer = e
	} else {
		m.oldest = e
	}
	m.newest = e
	head := m.head(&e.key)
	e.next.Store(head.Load())
	head.Store(e)
}

// restamp has e's answer under another stamp, and returns its entry. Others see either the one or
// the other.
func (m *memory) restamp(e *entry, s stamp) *entry {
	n := &entry{key: e.key, answer: e.answer, stamp: s, own: e.own}
	m.mu.Lock()
	defer m.mu.Unlock()
	n.served.Store(e.served.Load())
	n.failed.Store(e.failed.Load())
	n.left.Store(e.left.Load())
	if e.bytes == 0 {
		return n
	}
	n.bytes = e.bytes + s.bytes() - e.stamp.bytes()
	m.bytes += n.bytes - e.bytes
	n.older, n.newer = e.older, e.newer
	if n.older != nil {
		n.older.newer = n
	} else {
		m.oldest = n
	}
	if n.newer != nil {
		n.newer.older = n
	} else {
		m.newest = n
	}
	if m.hand == e {
		m.hand = n
	}
	n.next.Store(e.next.Load())
	m.before(e).Store(n)
	e.bytes = 0
	m.makeRoom(0)
	return n
}

// before is what points at e in its chain.
func (m *memory) before(e *entry) *atomic.Pointer[entry] {
	p := m.head(&e.key)
	for p.Load() != e {
		p = &p.Load().next
	}
	return p
}

// remove forgets e, if it is still there.
func (m *memory) remove(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.bytes != 0 {
		m.drop(e)
	}
}

// drop takes e out. Its own next stays: somebody may be on the way through it.
func (m *memory) drop(e *entry) {
	m.before(e).Store(e.next.Load())
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		m.oldest = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		m.newest = e.older
	}
	if m.hand == e {
		m.hand = e.newer
	}
	e.older, e.newer = nil, nil
	m.bytes -= e.bytes
	m.count--
	e.bytes = 0
}

// makeRoom has size bytes free.
func (m *memory) makeRoom(size int64) {
	for m.bytes+size > m.max && m.oldest != nil {
		e := m.hand
		if e == nil {
			e = m.oldest
		}
		if m.hand = e.newer; e.served.Load() {
			e.served.Store(false)
			continue
		}
		if m.spill != nil {
			m.spill(e)
		}
		m.drop(e)
		m.evicted++
	}
}

// grow counts size more bytes of an answer, and says whether it can have them: it is in
// memory, and does not become too large.
func (m *memory) grow(a *Answer, size int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.find(&a.key)
	if e == nil || e.answer != a || e.bytes+size > m.max/8 {
		return false
	}
	e.served.Store(true) // it was just asked for
	m.makeRoom(size)
	if e.bytes == 0 {
		return false // it had to go itself
	}
	e.bytes += size
	m.bytes += size
	return true
}

// clear forgets all.
func (m *memory) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.oldest != nil {
		m.drop(m.oldest)
	}
}
