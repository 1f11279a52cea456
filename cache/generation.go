package cache

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/dchest/siphash"

	"github.com/nekoctl/neko/hostmem"
)

// Everything is a tag that every answer has: who invalidates it, purges all.
const Everything = "*"

// generations are what tags have. A tag comes to one word by a secret hash, and two tags
// that come to the same one share it: whoever invalidates one of them invalidates both.
//
// words belong to all workers of the host, and move when a worker invalidates. Each is, from
// its highest bit down, 44 bits that count the moves, and 20 bits that tell for how long
// somebody owes Shared an invalidation of that word: until it was told, its generations prove
// nothing about the tags there. Who owes one says so again and again, so that nothing is
// owed for ever by a process that was killed.
//
// cells belong to this process, and move when Shared tells that a tag has changed.
type generations struct {
	words *[hostmem.Generations]atomic.Uint64
	cells *[hostmem.Generations]atomic.Uint64 // nil without a Shared
	epoch atomic.Uint64                       // moves when Shared was lost
	seed  [2]uint64
	all   uint32 // the word of Everything
}

const (
	owedBits = 20
	owedMask = 1<<owedBits - 1
	owedUnit = 256 // milliseconds: the bits come back to the same time after three days
	// owedFor is for how long it is said that something is owed. It is said again before each
	// attempt to pay it, so all of maxTellAgain and tellTime must fit into it.
	owedFor = 5 * time.Second
)

// owedUntil is the time until when something is owed that is now; it is not 0.
func owedUntil(now int64) uint64 {
	return uint64((now+owedFor.Milliseconds())/owedUnit)&owedMask | 1
}

// owes says whether a word says so.
func owes(word uint64, now int64) bool {
	left := (word - uint64(now/owedUnit)) & owedMask
	return word&owedMask != 0 && left > 0 && left <= uint64(owedFor.Milliseconds())/owedUnit+2
}

func newGenerations(m *hostmem.Mapping, shared bool) *generations {
	g := &generations{}
	if m != nil {
		g.words, g.seed = m.Generations(), m.Seed()
	} else {
		g.words = new([hostmem.Generations]atomic.Uint64)
		g.seed = [2]uint64{rand.Uint64(), rand.Uint64()}
	}
	if shared {
		g.cells = new([hostmem.Generations]atomic.Uint64)
	}
	g.seed[0] ^= 0x6e656b6f63616368 // others use the seed, too
	g.all = g.word(Everything)
	return g
}

// word is where a tag has its generation.
func (g *generations) word(tag string) uint32 {
	var room [96]byte
	return uint32(siphash.Hash(g.seed[0], g.seed[1], appendShared(room[:0], tag)) % hostmem.Generations)
}

// appendFolded appends s with A to Z made small.
func appendFolded(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}

// placesOfType is how many generations there are in Shared for what is after the colon of tags
// that begin alike. Two tags that share one are only ever invalid together.
const placesOfType = 1 << 14

// appendShared appends how a tag is called in Shared: folded, and with one of so many numbers in the
// place of an id. Anybody can ask for any id, and a generation stays for days: those of ids that
// nothing has would fill Redis, and push out of it, and of what it tracks, those that are in use.
//
// All hosts must have the same number for an id. Who looks for ids that have the number of another
// one finds them, and gains nothing: only what changes is invalidated.
func appendShared(b []byte, tag string) []byte {
	from := len(b)
	b = appendFolded(b, tag)
	colon := strings.IndexByte(tag, ':')
	if colon < 0 {
		return b
	}
	id := b[from+colon+1:]
	if len(id) == 0 || string(id) == "list" || id[0] == '#' && len(id) <= len("#3fff") {
		return b
	}
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range id {
		h = (h ^ uint64(c)) * 1099511628211
	}
	b = append(b[:from+colon+1], '#')
	return strconv.AppendUint(b, (h^h>>32)%placesOfType, 16)
}

// shared is how a tag is called in Shared. It is the same for what is called so already.
func shared(tag string) string { return string(appendShared(nil, tag)) }

// mark is what one tag had.
type mark struct {
	word uint32
	host uint64 // of the host's word, what never comes back
	cell uint64
	gen  Generation // in Shared; 0 is unknown
}

// stamp is what all tags of an answer had before it was made: first Everything, then in
// their order.
type stamp struct {
	marks []mark
	epoch uint64
	known bool // each mark has its gen
	owed  bool // Shared does not have an invalidation yet that the host's words have
}

func (s *stamp) bytes() int64 { return int64(cap(s.marks)) * int64(unsafe.Sizeof(mark{})) }

// stamp is what tags have now.
func (g *generations) stamp(tags []string) stamp {
	s := stamp{marks: slices.Grow([]mark(nil), len(tags)+1), epoch: g.epoch.Load()}
	s.marks = append(s.marks, mark{word: g.all})
	for _, tag := range tags {
		s.marks = append(s.marks, mark{word: g.word(tag)})
	}
	g.renew(&s, time.Now().UnixMilli())
	return s
}

// clone is a copy that can be changed.
func (s *stamp) clone() stamp {
	n := *s
	n.marks = slices.Clone(s.marks)
	return n
}

// again is a stamp of the same tags as s, now.
func (g *generations) again(s stamp) stamp {
	n := stamp{marks: slices.Clone(s.marks), epoch: g.epoch.Load()}
	g.renew(&n, time.Now().UnixMilli())
	return n
}

func (g *generations) renew(s *stamp, now int64) {
	for i := range s.marks {
		m := &s.marks[i]
		if g.cells != nil {
			m.cell = g.cells[m.word].Load()
		}
		w := g.words[m.word].Load()
		m.host, m.gen = w>>owedBits, 0
		s.owed = s.owed || owes(w, now)
	}
}

// standing is how much is known of an answer in memory.
type standing uint8

const (
	gone        standing = iota // it was invalidated on this host
	doubtful                    // it was invalidated, or something else in a cell of its tags
	unconfirmed                 // nothing is known of what other hosts have invalidated
	confirmed                   // it was not invalidated
)

// standing says how an answer with a stamp stands.
func (g *generations) standing(s *stamp) standing {
	is := confirmed
	if g.cells == nil {
		for i := range s.marks {
			m := &s.marks[i]
			if g.words[m.word].Load()>>owedBits != m.host {
				return gone
			}
		}
		return is
	}
	if !s.known || s.epoch != g.epoch.Load() {
		is = unconfirmed
	}
	for i := range s.marks {
		m := &s.marks[i]
		if g.words[m.word].Load()>>owedBits != m.host {
			return gone
		}
		if g.cells[m.word].Load() != m.cell {
			is = doubtful
		}
	}
	return is
}

// holds says whether nothing has moved since the stamp, as far as this process was told.
func (g *generations) holds(s *stamp) bool { return g.standing(s) >= unconfirmed }

// move invalidates the tags of a word for this host; Shared is not owed to be told.
func (g *generations) move(word uint32) {
	g.words[word].Add(1 << owedBits)
}

// debt is what a process has written to a word because it owes Shared an invalidation.
type debt struct {
	word   uint64 // the whole word; 0 if somebody has changed it since
	others uint64 // until when others have owed one before
}

// moveOwed is move if Shared is to be told, too. before is what the caller owes there already.
func (g *generations) moveOwed(word uint32, before debt) debt {
	w := &g.words[word]
	for {
		old, now := w.Load(), time.Now().UnixMilli()
		d := debt{word: (old>>owedBits+1)<<owedBits | owedUntil(now)}
		if old == before.word {
			d.others = before.others
		} else if owes(old, now) {
			d.others = old & owedMask
		}
		if w.CompareAndSwap(old, d.word) {
			return d
		}
	}
}

// stillOwed says again that something is owed.
func (g *generations) stillOwed(word uint32, d debt) debt {
	w := &g.words[word]
	for {
		old := w.Load()
		n := old&^owedMask | owedUntil(time.Now().UnixMilli())
		if !w.CompareAndSwap(old, n) {
			continue
		}
		if old != d.word {
			return debt{}
		}
		d.word = n
		return d
	}
}

// paid says that Shared was told. If others have changed the word since, what is said to be owed is so
// for owedFor.
func (g *generations) paid(word uint32, d debt) {
	if d.word != 0 {
		g.words[word].CompareAndSwap(d.word, d.word&^owedMask|d.others)
	}
}

// changed is told by Shared.
func (g *generations) changed(tag string) { g.cells[g.word(tag)].Add(1) }

// sameAs says whether two stamps of the same tags have the same generations in Shared.
func (s *stamp) sameAs(t *stamp) bool {
	return s.known && t.known && slices.EqualFunc(s.marks, t.marks, func(a, b mark) bool { return a.gen == b.gen })
}
