// Package hostmem is memory that all workers of a host share without a server: a file
// in their run folder, mapped by each of them.
//
// The version of the layout is in the file's name, so that two versions of a program can
// run side by side during a reload. The file has a header and regions of fixed sizes:
//
//	0        header, a page: what does not change, and words of the host's
//	4096     words of package breaker, a page
//	8192     generations of package cache, [Generations] words of 8 bytes
//	139264   buckets of package limiter, [BucketSize] bytes each
//
// What is in a region is its owner's business: words that are whole by themselves and
// change by compare-and-swap alone, as any process may be killed at any instruction.
package hostmem

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// BucketSize is what a bucket takes, in bytes: one cache line.
	BucketSize = 64
	// DefaultBuckets take 4 MiB.
	DefaultBuckets = 1 << 16
	MinBuckets     = 1 << 3
	MaxBuckets     = 1 << 24
	// Generations is how many there are. Tags that come to the same one share it.
	Generations = 1 << 14

	pageSize      = 4096
	atBreakers    = pageSize
	atGenerations = atBreakers + pageSize
	atBuckets     = atGenerations + Generations*8
)

// Mapping is the shared memory, as this process sees it.
type Mapping struct {
	memory []byte
	file   *os.File // nil: it is of this process alone
}

// header is the first page. Only hosts changes after the file has got its name.
type header struct {
	magic   [8]byte
	layout  uint64
	size    uint64 // of the file, in bytes
	buckets uint64
	epoch   epoch
	host    [16]byte
	seed    [2]uint64
	sum     uint64 // of all before it

	_     [8]byte
	hosts atomic.Uint64
}

var magic = [8]byte{'n', 'e', 'k', 'o', 'h', 'o', 's', 't'}

// Anonymous is memory like that of [Open] that belongs to this process alone. Of what
// it never uses it takes nothing.
func Anonymous(buckets int) (*Mapping, error) {
	size, err := sizeFor(&buckets)
	if err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	m := &Mapping{memory: memory}
	m.begin(version, buckets)
	return m, nil
}

// sizeFor says how long a file with so many buckets is. 0 becomes DefaultBuckets, and
// what is no power of two the next.
func sizeFor(buckets *int) (int, error) {
	if *buckets == 0 {
		*buckets = DefaultBuckets
	}
	if *buckets < MinBuckets || *buckets > MaxBuckets {
		return 0, fmt.Errorf("%d buckets are not from %d to %d", *buckets, MinBuckets, MaxBuckets)
	}
	*buckets = 1 << bits.Len(uint(*buckets-1))
	return atBuckets + *buckets*BucketSize, nil
}

// begin writes the header.
func (m *Mapping) begin(layout uint64, buckets int) {
	h := m.header()
	h.magic, h.layout = magic, layout
	h.size, h.buckets = uint64(len(m.memory)), uint64(buckets)
	h.epoch = presentEpoch()
	var random [32]byte
	rand.Read(random[:]) // it never fails
	copy(h.host[:], random[:])
	h.seed = [2]uint64{binary.NativeEndian.Uint64(random[16:]), binary.NativeEndian.Uint64(random[24:])}
	h.sum = h.checksum()
	h.hosts.Store(1)
}

func (m *Mapping) header() *header { return (*header)(unsafe.Pointer(&m.memory[0])) }

// checksum is FNV-1a of what does not change.
func (h *header) checksum() uint64 {
	sum := uint64(14695981039346656037)
	for _, b := range unsafe.Slice((*byte)(unsafe.Pointer(h)), unsafe.Offsetof(h.sum)) {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	return sum
}

// Host is a name that nobody else has: 32 hexadecimal digits, made with the file.
func (m *Mapping) Host() string { return hex.EncodeToString(m.header().host[:]) }

// Seed is the secret that makes the places of keys impossible to foretell. It is the same
// for all who have the file.
func (m *Mapping) Seed() [2]uint64 { return m.header().seed }

// Buckets is the region of package limiter. How large it is, its maker has said.
func (m *Mapping) Buckets() []byte { return m.memory[atBuckets:] }

// Generations are the region of package cache: all zero at first.
func (m *Mapping) Generations() *[Generations]atomic.Uint64 {
	return (*[Generations]atomic.Uint64)(unsafe.Pointer(&m.memory[atGenerations]))
}

// Breakers are the region of package breaker, a page, all zero at first.
func (m *Mapping) Breakers() []byte { return m.memory[atBreakers:atGenerations:atGenerations] }

// Hosts is how many hosts SetHosts was last told of, by any worker of this host; 1 if it
// never was.
func (m *Mapping) Hosts() int { return int(m.header().hosts.Load()) }

// SetHosts remembers how many hosts there are, this one included.
func (m *Mapping) SetHosts(n int) { m.header().hosts.Store(uint64(max(n, 1))) }

// Close unmaps it. Nobody may have anything of it in use.
func (m *Mapping) Close() error {
	err := os.NewSyscallError("munmap", unix.Munmap(m.memory))
	m.memory = nil
	if m.file != nil {
		if closed := m.file.Close(); err == nil {
			err = closed
		}
	}
	return err
}
