package cache

import (
	"encoding/binary"
	"hash/crc32"
	"hash/fnv"
	"math"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A record is an answer as it is in Shared. All numbers are little-endian:
//
//	 0  version, 1
//	 1  flags: what recordZstd and recordNegative say
//	 2  when it was made, in Unix milliseconds, 8 bytes
//	10  MaxAge, StaleWhileRevalidate, StaleIfError in milliseconds, 4 bytes each
//	22  a hash of its tags, 8 bytes
//	30  how many generations there are, 2 bytes: of Everything, and of each tag
//	32  the generations, 8 bytes each
//	    how long the body is, 4 bytes
//	    the body
//	    CRC-32C of the key and all of the above, 4 bytes
const (
	recordVersion  = 1
	recordZstd     = 1 << 0 // the body is a frame of zstd
	recordNegative = 1 << 1
	recordHead     = 32
)

// record is one that was opened; its body is as it was found.
type record struct {
	made     int64
	policy   Policy
	negative bool
	zstd     bool
	gens     []byte
	size     int // of the body, when it is decoded
	body     []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// codec makes records and reads them, of bodies up to a size.
type codec struct {
	max     int
	encoder func() *zstd.Encoder
	decoder func() *zstd.Decoder
}

const (
	// minZstd is from what size a body is compressed.
	minZstd = 1 << 10
	// pays is how much shorter it must become: a tenth.
	pays = 10
)

func newCodec(max int) *codec {
	return &codec{
		max: max,
		// Both cost memory, so they are made when they are needed; neither starts a goroutine
		// as long as it has no stream.
		encoder: sync.OnceValue(func() *zstd.Encoder {
			e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
				zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false), zstd.WithWindowSize(1<<20))
			if err != nil {
				panic(err) // an option is wrong
			}
			return e
		}),
		decoder: sync.OnceValue(func() *zstd.Decoder {
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
				zstd.WithDecoderMaxWindow(1<<20), zstd.WithDecoderLowmem(true))
			if err != nil {
				panic(err)
			}
			return d
		}),
	}
}

// encode is the record of an answer with these marks.
func (c *codec) encode(a *Answer, marks []mark) []byte {
	b := make([]byte, 0, recordHead+8*len(marks)+4+len(a.Body)+4+len(a.Body)/64)
	var flags byte
	if a.Negative {
		flags |= recordNegative
	}
	b = append(b, recordVersion, flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(a.Made))
	for _, d := range []time.Duration{a.Policy.MaxAge, a.Policy.StaleWhileRevalidate, a.Policy.StaleIfError} {
		b = binary.LittleEndian.AppendUint32(b, uint32(d.Milliseconds()))
	}
	b = binary.LittleEndian.AppendUint64(b, hashTags(a.Tags))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(marks)))
	for i := range marks {
		b = binary.LittleEndian.AppendUint64(b, uint64(marks[i].gen))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(a.Body)))
	body := len(b)
	if len(a.Body) >= minZstd {
		b = c.encoder().EncodeAll(a.Body, b)
		b[1] |= recordZstd
	}
	if len(b) == body || len(b)-body > len(a.Body)-len(a.Body)/pays {
		b = append(b[:body], a.Body...)
		b[1] &^= recordZstd
	}
	return binary.LittleEndian.AppendUint32(b, sumOf(&a.key, b))
}

func sumOf(key *Key, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(key[:], castagnoli), castagnoli, b)
}

// hashTags tells sets of tags apart. It is the same everywhere, and no secret: it is for a
// program that has other tags for the same key than the one before it.
func hashTags(tags []string) uint64 {
	h := fnv.New64a()
	var room [96]byte
	for _, tag := range tags {
		h.Write(append(appendFolded(room[:0], tag), 0))
	}
	return h.Sum64()
}

// openRecord reads all but the body, and is false if that is no record of such an answer.
func openRecord(key *Key, tags []string, b []byte) (r record, ok bool) {
	if len(b) < recordHead+4+4 || b[0] != recordVersion {
		return r, false
	}
	b, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if sum != sumOf(key, b) {
		return r, false
	}
	flags := b[1]
	r.made = int64(binary.LittleEndian.Uint64(b[2:]))
	ms := func(at int) time.Duration {
		return time.Duration(binary.LittleEndian.Uint32(b[at:])) * time.Millisecond
	}
	r.policy = Policy{ms(10), ms(14), ms(18)}
	n := int(binary.LittleEndian.Uint16(b[30:]))
	if flags&^(recordZstd|recordNegative) != 0 || r.made < 0 || r.policy != r.policy.bounded() ||
		binary.LittleEndian.Uint64(b[22:]) != hashTags(tags) || n != len(tags)+1 || len(b) < recordHead+8*n+4 {
		return r, false
	}
	r.gens = b[recordHead : recordHead+8*n]
	size := binary.LittleEndian.Uint32(b[recordHead+8*n:])
	r.body = b[recordHead+8*n+4:]
	r.negative, r.zstd = flags&recordNegative != 0, flags&recordZstd != 0
	if size > math.MaxInt32 || !r.zstd && int(size) != len(r.body) {
		return r, false
	}
	r.size = int(size)
	return r, true
}

// has says whether a record has the generations of these marks.
func (r *record) has(marks []mark) bool {
	if len(r.gens) != 8*len(marks) {
		return false
	}
	for i := range marks {
		if binary.LittleEndian.Uint64(r.gens[8*i:]) != uint64(marks[i].gen) {
			return false
		}
	}
	return true
}

// body is that of a record, false if it is damaged or too large.
func (c *codec) body(r record) ([]byte, bool) {
	if r.size > c.max {
		return nil, false
	}
	if !r.zstd {
		return r.body, true
	}
	body, err := c.decoder().DecodeAll(r.body, make([]byte, 0, r.size))
	return body, err == nil && len(body) == r.size
}
