package limits

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// record is one decision. It is in memory that a file has (MAP_SHARED), so that what a
// process had written when it was killed is there.
type record struct {
	Before  int64 // CLOCK_MONOTONIC in ns, before the call
	After   int64 // after it, written last; 0: it has not returned
	Wait    int64 // what it said about when to come again
	Stream  uint16
	Flags   uint8
	Refused int8
	Cost    uint32
}

const (
	admitted = 1 << iota
	alone    // the policy's Fail has decided
	canary   // no decision, but the measure of how late this process gets what it waits for
)

const recordSize = int64(unsafe.Sizeof(record{}))

// journal is what one process has decided.
type journal struct {
	text    []byte
	records []record
	next    atomic.Int64
}

// newJournal makes one with room for n records; the room costs nothing until it is used.
func newJournal(path string, n int64) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(n * recordSize); err != nil {
		return nil, err
	}
	return mapJournal(f, unix.PROT_READ|unix.PROT_WRITE)
}

func mapJournal(f *os.File, access int) (*journal, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), access, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &journal{text: text, records: unsafe.Slice((*record)(unsafe.Pointer(&text[0])), len(text)/int(recordSize))}, nil
}

var errJournalFull = errors.New("the journal is full")

// begin is the place for one more record, with its first stamp.
func (j *journal) begin() (*record, error) {
	i := j.next.Add(1) - 1
	if i >= int64(len(j.records)) {
		return nil, errJournalFull
	}
	r := &j.records[i]
	r.Before = monotonic()
	return r, nil
}

// finish completes it, with the stamp that was taken after the call.
func (r *record) finish(after int64) { atomic.StoreInt64(&r.After, after) }

// readJournal calls f for all that a process has finished, and returns how many it had
// begun.
func readJournal(path string, f func(*record)) (begun int, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	j, err := mapJournal(file, unix.PROT_READ)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Munmap(j.text)
	for i := range j.records {
		r := &j.records[i]
		if r.After != 0 {
			f(r)
		}
		if r.Before != 0 {
			begun = i + 1
		} else if i > begun+1000 {
			break // more than may be between two that are under way
		}
	}
	return begun, nil
}

// monotonic is the clock that all processes of a machine share.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // only of what is no clock
	}
	return syscall.TimespecToNsec(syscall.Timespec(ts))
}
