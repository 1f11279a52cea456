package caches

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// record is a read or a change of one object. It is written at once, so that what a process has done is there
// after it was killed.
type record struct {
	Before  int64 // CLOCK_MONOTONIC in ns: of a read before it began, of a change when it was made
	After   int64 // a read has returned, or the invalidation of a change
	Version uint64
	Age     int64 // of an answer, in ms
	Object  uint16
	Kind    uint8
	State   uint8 // of a read: cache.State
	Shared  uint8 // of a read: somebody else has made it
	_       [3]uint8
}

const (
	read        = iota
	changed     // and all hosts were told
	changedHere // and this host was told, others are to be told later
)

type journal struct{ file *os.File }

func newJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	return &journal{f}, err
}

func (j *journal) write(r record) error {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.NativeEndian, r) // it has nothing but numbers
	_, err := j.file.Write(b.Bytes())
	return err
}

func readJournal(path string) (all []record, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	size := binary.Size(record{})
	if len(text)%size != 0 {
		return nil, fmt.Errorf("%s: %d bytes, and a record has %d", path, len(text), size)
	}
	all = make([]record, len(text)/size)
	_, err = binary.Decode(text, binary.NativeEndian, all)
	return all, err
}

// monotonic is the clock that all processes of a machine share.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // only of what is no clock
	}
	return syscall.TimespecToNsec(syscall.Timespec(ts))
}
