package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/logtext"
)

const (
	DefaultReserve = 256 << 20
	MinReserve     = 1 << 20

	// perSlot is how many bytes of the file there are for each answer that the index has room for.
	perSlot = 2 << 10
	// slotChunk is how many more answers the index gets room for when it needs more.
	slotChunk = 512
	// maxQueue is how many answers wait to be written, and maxQueued how many bytes they have.
	maxQueue  = 2 << 10
	maxQueued = 4 << 20
	// maxReads is how many read the file at once: each takes a thread, and a buffer.
	maxReads = 16
	// maxFrame is how much of the file one answer may take, a part of it.
	maxFrame = 8
	// reserveRest is how long the file is left alone after it has failed.
	reserveRest = 10 * time.Second
	// reserveQuiet is how long nothing is said of that after something was.
	reserveQuiet = 10 * time.Minute
)

// Reserve is a file of this process with the answers that its memory had no room for. It is
// looked at only when nothing better can be had: what an answer is made from is away, and neither
// memory nor Shared has one. It is a ring, the newest overwrite the oldest, and has no name: nobody
// else can open it, and nothing is left of it however the process ends.
//
// The file has for each answer, little-endian:
//
//	 0  flags: what frameKnown and frameOwed say
//	 1  the epoch of its stamp, 8 bytes
//	 9  how many marks there are, 2 bytes
//	11  the marks: word, 4 bytes; host, cell, generation, 8 bytes each
//	    a record, as Shared has it
//	    CRC-32C of the key and all of the above, 4 bytes
//
// The stamp is that of the entry in memory, so what comes from the file is as good as if it had
// never left, and not better: it stands or falls by the same rules.
type Reserve struct {
	file *os.File
	max  int64
	seed [2]uint64

	// Of the cache that has it:
	codec  *codec
	gens   *generations
	log    *slog.Logger
	own    bool // it may have what only one identity may see
	queue  chan spilled
	queued atomic.Int64 // bytes, with what is being written
	quit   chan struct{}
	ended  chan struct{}
	reads  chan struct{}
	buffer []byte // of who writes

	unwritable, unreadable  respite
	hits, misses            atomic.Uint64
	writes, dropped, errors atomic.Uint64
	failing                 sync.Mutex
	said                    time.Time // when the log was told; with failing
	readAt                  func(b []byte, at int64) (int, error)
	writeAt                 func(b []byte, at int64) (int, error)

	// The index: slots are a ring, too, in the order of the file. It is never larger than a
	// fortieth of the file.
	mu          sync.Mutex
	heads       []uint32 // chains by key: the number of a slot and 1
	shift       int
	slots       []*[slotChunk]slot
	chunks      int
	first, last uint64 // slots in use are from first to before last, modulo all
	next        int64  // where is written next, if the file had no end
	count       int
	bytes       int64
}

const (
	frameKnown = 1 << 0
	frameOwed  = 1 << 1
	frameHead  = 11
	frameMark  = 4 + 3*8
)

// spilled is an answer that has gone from memory.
type spilled struct {
	answer *Answer
	stamp  stamp
	bytes  int64
}

// slot says where in the file an answer is.
type slot struct {
	key    Key
	at     int64  // if the file had no end
	size   uint32 // 0: there is another of that key since
	same   uint32 // a sum of when it was made, and the marks
	next   uint32 // in its chain
	failed uint32 // when it could not be made anew, in Unix milliseconds, the lower half
}

// respite is when the file is not used, because it has failed.
type respite struct{ until atomic.Int64 }

func (r *respite) over() bool { return time.Now().UnixMilli() >= r.until.Load() }
func (r *respite) begin()     { r.until.Store(time.Now().Add(reserveRest).UnixMilli()) }

// OpenReserve makes the file in a folder. It takes room there as it is written, up to a number of bytes:
// MinReserve at least, 0 is DefaultReserve. Who does not give it to a cache is to Close it.
func OpenReserve(dir string, bytes int64) (*Reserve, error) {
	if bytes == 0 {
		bytes = DefaultReserve
	}
	if bytes < MinReserve || bytes/perSlot > math.MaxUint32/2 {
		return nil, fmt.Errorf("cache: a reserve of %d bytes is not from %d to %d", bytes, MinReserve, int64(math.MaxUint32/2*perSlot))
	}
	file, err := unnamed(dir)
	if err != nil {
		return nil, err
	}
	slots := (bytes/perSlot + slotChunk - 1) / slotChunk
	n := bits.Len64(uint64(slots*slotChunk - 1))
	return &Reserve{
		file: file, max: bytes, seed: [2]uint64{rand.Uint64(), rand.Uint64() | 1},
		shift: 64 - n, slots: make([]*[slotChunk]slot, slots),
		readAt: file.ReadAt, writeAt: file.WriteAt,
	}, nil
}

// unnamed makes a file that nobody finds. Where a file system cannot do that it has a name for a moment.
func unnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(dir, "reserve")), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EINVAL) {
		return nil, &os.PathError{Op: "make a file in", Path: dir, Err: err}
	}
	file, err := os.CreateTemp(dir, ".neko-reserve-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// Close ends it, if no cache has it.
func (r *Reserve) Close() error { return r.file.Close() }

// begin has it work for a cache.
func (r *Reserve) begin(c *Cache) {
	r.codec, r.gens, r.log, r.own = c.codec, c.gens, c.options.Log, c.options.ShareOwn
	r.queue, r.quit, r.ended = make(chan spilled, maxQueue), make(chan struct{}), make(chan struct{})
	r.reads = make(chan struct{}, maxReads)
	c.memory.spill = r.spill
	go func() {
		defer close(r.ended)
		for {
			select {
			case s := <-r.queue:
				r.write(&s)
				r.queued.Add(-s.bytes)
			case <-r.quit:
				return
			}
		}
	}()
}

// stop has nothing more written. What waits for it is of no use any more.
func (r *Reserve) stop(m *memory) {
	m.mu.Lock()
	m.spill = nil
	m.mu.Unlock()
	close(r.quit)
}

// end waits until nothing is.
func (r *Reserve) end(ctx context.Context) error {
	var err error
	select {
	case <-r.ended:
	default:
		select {
		case <-r.ended:
		case <-ctx.Done():
			err = fmt.Errorf("cache: the reserve is being written and does not end: %w", context.Cause(ctx))
		}
	}
	return errors.Join(err, r.file.Close())
}

// spill is told of what goes from memory, which is locked, and waits for nothing.
func (r *Reserve) spill(e *entry) {
	if e.own && !r.own || e.answer.Negative {
		return
	}
	s := spilled{e.answer, e.stamp, e.bytes}
	if n := r.queued.Add(s.bytes); n <= maxQueued || n == s.bytes {
		select {
		case r.queue <- s:
			return
		default:
		}
	}
	r.queued.Add(-s.bytes)
	r.dropped.Add(1)
}

// write writes one, if it may be of use and is not there yet. Only one goroutine does.
func (r *Reserve) write(s *spilled) {
	a := s.answer
	if a.Age(time.Now().UnixMilli()) >= a.Policy.life() || r.gens.standing(&s.stamp) == gone {
		return
	}
	b := appendStamp(r.buffer[:0], &s.stamp)
	// The marks say more than that nothing has changed: two tags in one word, of which one was
	// invalidated, make what has the other one worthless until Shared has confirmed it, and then it
	// has other marks.
	same := crc32.Update(crc32.Checksum(b[frameHead-2:], castagnoli), castagnoli, binary.LittleEndian.AppendUint64(nil, uint64(a.Made)))
	r.mu.Lock()
	old := r.find(&a.key)
	there := old != nil && old.same == same
	r.mu.Unlock()
	if there {
		return
	}
	if !r.unwritable.over() {
		r.dropped.Add(1)
		return
	}
	b = append(b, r.codec.encode(a, s.stamp.marks)...)
	b = binary.LittleEndian.AppendUint32(b, sumOf(&a.key, b))
	if r.buffer = b; cap(b) > 1<<20 {
		r.buffer = nil
	}
	if int64(len(b)) > r.max/maxFrame {
		r.dropped.Add(1)
		return
	}
	r.mu.Lock()
	at := r.room(int64(len(b)))
	r.mu.Unlock()
	if _, err := r.writeAt(b, at%r.max); err != nil {
		r.dropped.Add(1)
		r.failed(&r.unwritable, "written", err)
		return
	}
	r.mu.Lock()
	r.add(slot{key: a.key, at: at, size: uint32(len(b)), same: same})
	r.mu.Unlock()
	r.writes.Add(1)
}

// failed leaves the file alone for a while.
func (r *Reserve) failed(which *respite, what string, err error) {
	if errors.Is(err, os.ErrClosed) {
		return
	}
	r.errors.Add(1)
	which.begin()
	r.failing.Lock()
	defer r.failing.Unlock()
	if now := time.Now(); r.said.IsZero() || now.Sub(r.said) >= reserveQuiet {
		r.said = now
		if r.log != nil {
			r.log.Warn(fmt.Sprintf("the file where answers are kept in reserve cannot be %s, and is left alone for %v each time", what, reserveRest), logtext.Reason, err)
		}
	}
}

func appendStamp(b []byte, s *stamp) []byte {
	var flags byte
	if s.known {
		flags |= frameKnown
	}
	if s.owed {
		flags |= frameOwed
	}
	b = append(b, flags)
	b = binary.LittleEndian.AppendUint64(b, s.epoch)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s.marks)))
	for i := range s.marks {
		m := &s.marks[i]
		b = binary.LittleEndian.AppendUint32(b, m.word)
		b = binary.LittleEndian.AppendUint64(b, m.host)
		b = binary.LittleEndian.AppendUint64(b, m.cell)
		b = binary.LittleEndian.AppendUint64(b, uint64(m.gen))
	}
	return b
}

// openFrame is the stamp and the record of what was read, false if that is damaged.
func openFrame(key *Key, b []byte) (s stamp, rec []byte, ok bool) {
	if len(b) < frameHead+4 {
		return s, nil, false
	}
	b, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	n := int(binary.LittleEndian.Uint16(b[9:]))
	if sum != sumOf(key, b) || len(b) < frameHead+n*frameMark {
		return s, nil, false
	}
	s = stamp{marks: make([]mark, n), epoch: binary.LittleEndian.Uint64(b[1:]), known: b[0]&frameKnown != 0, owed: b[0]&frameOwed != 0}
	b = b[frameHead:]
	for i := range s.marks {
		s.marks[i] = mark{
			word: binary.LittleEndian.Uint32(b) % hostmem.Generations, host: binary.LittleEndian.Uint64(b[4:]),
			cell: binary.LittleEndian.Uint64(b[12:]), gen: Generation(binary.LittleEndian.Uint64(b[20:])),
		}
		b = b[frameMark:]
	}
	return s, b, true
}

// read is the entry that the file has for a request, nil if there is none. Whether it may be served is to be judged.
func (r *Reserve) read(ctx context.Context, q *Request) *entry {
	e := r.readEntry(ctx, q)
	if e == nil {
		r.misses.Add(1)
	}
	return e
}

func (r *Reserve) readEntry(ctx context.Context, q *Request) *entry {
	if !r.unreadable.over() {
		return nil
	}
	for {
		r.mu.Lock()
		found := r.find(&q.Key)
		if found == nil {
			r.mu.Unlock()
			return nil
		}
		s := *found
		r.mu.Unlock()

		select {
		case r.reads <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		b := make([]byte, s.size)
		_, err := r.readAt(b, s.at%r.max)
		<-r.reads
		if err != nil {
			r.failed(&r.unreadable, "read", err)
			return nil
		}
		stamp, rec, ok := openFrame(&q.Key, b)
		if e := r.entry(q, stamp, rec); ok && e != nil {
			return e
		}
		if r.forget(&s) { // what was there was damaged, or of other tags
			if !ok {
				r.errors.Add(1)
			}
			return nil
		}
		// It was overwritten meanwhile.
	}
}

func (r *Reserve) entry(q *Request, s stamp, b []byte) *entry {
	rec, ok := openRecord(&q.Key, q.Tags, b)
	if !ok || len(s.marks) != len(q.Tags)+1 {
		return nil
	}
	body, ok := r.codec.body(rec)
	if !ok {
		return nil
	}
	a := newAnswer(q, body, rec.made, rec.policy, rec.negative)
	return &entry{key: a.key, answer: a, stamp: s, own: q.Own}
}

// forget removes what was found, and says whether it was still there.
func (r *Reserve) forget(s *slot) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.find(&s.key)
	if found == nil || found.at != s.at {
		return false
	}
	r.drop(found)
	return true
}

// note notes when the answer of a key could not be made anew.
func (r *Reserve) note(key *Key, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.find(key); s != nil {
		s.failed = uint32(now)
	}
}

// spares says whether there is something under a key that could not be made anew just now, and when.
func (r *Reserve) spares(key *Key, now int64) (failed int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.find(key)
	if s == nil || s.failed == 0 {
		return 0, false
	}
	ago := int64(uint32(now) - s.failed)
	return now - ago, ago < spare.Milliseconds()
}

// The following are called with the lock.

func (r *Reserve) head(key *Key) *uint32 {
	if r.heads == nil { // most workers never need it, and half a megabyte more has the collector run as they start
		r.heads = make([]uint32, 1<<(64-r.shift))
	}
	h := (binary.LittleEndian.Uint64(key[:]) ^ r.seed[0]) * r.seed[1]
	return &r.heads[h>>r.shift]
}

// slot is one by its number.
func (r *Reserve) slot(n uint64) *slot { return &r.slots[n/slotChunk][n%slotChunk] }

func (r *Reserve) all() uint64 { return uint64(len(r.slots)) * slotChunk }

func (r *Reserve) find(key *Key) *slot {
	for n := *r.head(key); n != 0; {
		s := r.slot(uint64(n - 1))
		if s.key == *key {
			return s
		}
		n = s.next
	}
	return nil
}

// room is where so many bytes are free, of which there are fewer than in the file: the oldest make way.
func (r *Reserve) room(size int64) int64 {
	at := r.next
	if left := r.max - at%r.max; left < size {
		at += left
	}
	for r.first < r.last {
		s := r.slot(r.first % r.all())
		if s.at >= at+size-r.max && r.last-r.first < r.all() {
			break
		}
		r.drop(s)
		r.first++
	}
	return at
}

// add has a slot in the index, for which there is room, instead of what there was of its key.
func (r *Reserve) add(s slot) {
	if old := r.find(&s.key); old != nil {
		r.drop(old)
	}
	n := r.last % r.all()
	if r.slots[n/slotChunk] == nil {
		r.slots[n/slotChunk] = new([slotChunk]slot)
		r.chunks++
	}
	head := r.head(&s.key)
	s.next = *head
	*r.slot(n) = s
	*head = uint32(n + 1)
	r.last++
	r.next = s.at + int64(s.size)
	r.count++
	r.bytes += int64(s.size)
}

// drop takes a slot out of the index. Its room is free when it is the oldest.
func (r *Reserve) drop(s *slot) {
	if s.size == 0 {
		return
	}
	p := r.head(&s.key)
	for r.slot(uint64(*p-1)) != s {
		p = &r.slot(uint64(*p - 1)).next
	}
	*p = s.next
	r.count--
	r.bytes -= int64(s.size)
	s.size = 0
}

// index is how many bytes it takes.
func (r *Reserve) index() int64 {
	return int64(len(r.heads))*int64(unsafe.Sizeof(r.heads[0])) +
		int64(len(r.slots))*int64(unsafe.Sizeof(r.slots[0])) + int64(r.chunks)*int64(unsafe.Sizeof([slotChunk]slot{}))
}

// stats adds what it has done.
func (r *Reserve) stats(s *Stats) {
	s.ReserveHits, s.ReserveMisses = r.hits.Load(), r.misses.Load()
	s.ReserveWrites, s.ReserveDropped, s.ReserveErrors = r.writes.Load(), r.dropped.Load(), r.errors.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	s.ReserveEntries, s.ReserveBytes, s.ReserveMaxBytes = uint64(r.count), uint64(r.bytes), uint64(r.max)
	s.ReserveIndexBytes = uint64(r.index())
}
