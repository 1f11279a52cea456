// Package logs moves what workers print from their pipes into files.
//
// The bytes go by splice(2) from the pipe to the file without passing through
// the master's memory: what a killed master had not moved is still in the pipe,
// whose read end the keeper holds too, and the next master goes on from there.
package logs

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// File is a log file that several pumps may write to, a process and its
// successor for example. There is one File for a path, and one master at a time
// writes to it: splice refuses O_APPEND, so the offset is our own.
type File struct {
	Path   string
	pumps  atomic.Int32  // that use it; the last one closes it
	turn   chan struct{} // held by the pump that is in the middle of a line
	file   *os.File
	offset int64
	lost   int64 // bytes since the file could not be written
	reason error
}

// NewFile does not touch the disk yet: a worker must run although its log
// cannot be written.
func NewFile(path string) *File {
	return &File{Path: path, turn: make(chan struct{}, 1)}
}

// open also sees what others have done to the file: one that was truncated goes
// on at its new end, and one that was removed is created again.
func (f *File) open() error {
	if f.file != nil {
		var now unix.Stat_t
		if err := unix.Fstat(int(f.file.Fd()), &now); err != nil {
			return err
		}
		if now.Nlink > 0 {
			f.offset = min(f.offset, now.Size)
			return nil
		}
		f.file.Close()
		f.file = nil
	}
	file, err := os.OpenFile(f.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.offset, err = file.Seek(0, 2)
	if err != nil {
		file.Close()
		return err
	}
	f.file = file
	return nil
}

// moveFrom splices up to n bytes from a pipe and returns 0 at its end. What
// cannot be written is thrown away and counted, for a worker must not block on
// a full disk.
func (f *File) moveFrom(pipe, n int) (int, error) {
	err := f.open()
	if err == nil && f.lost > 0 {
		err = f.confess()
	}
	if err == nil {
		var moved int64
		moved, err = splice(pipe, int(f.file.Fd()), &f.offset, n)
		if err == nil || errors.Is(err, unix.EAGAIN) {
			return int(moved), err
		}
	}
	moved, discardErr := discard(pipe, n)
	f.lost += int64(moved)
	if f.reason == nil || f.reason.Error() != err.Error() {
		fmt.Fprintf(os.Stderr, "neko: log %s: %v; output is being lost\n", f.Path, err)
	}
	f.reason = err
	return moved, discardErr
}

// confess writes into the log how much of it is missing.
func (f *File) confess() error {
	line := fmt.Sprintf("[neko] %d bytes of output were lost here: %v\n", f.lost, f.reason)
	n, err := f.file.WriteAt([]byte(line), f.offset)
	if err != nil {
		return err
	}
	f.offset += int64(n)
	f.lost, f.reason = 0, nil
	return nil
}

// midLine says whether the last byte written is no newline.
func (f *File) midLine() bool {
	if f.file == nil || f.offset == 0 {
		return false
	}
	var last [1]byte
	_, err := f.file.ReadAt(last[:], f.offset-1)
	return err == nil && last[0] != '\n'
}

// Close closes the file; pumps open it again if they still move something.
func (f *File) Close() error {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

func splice(pipe, file int, offset *int64, n int) (int64, error) {
	for {
		moved, err := unix.Splice(pipe, nil, file, offset, n, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if err != unix.EINTR {
			return moved, err
		}
	}
}

func discard(pipe, n int) (int, error) {
	buf := make([]byte, min(n, 64<<10))
	for {
		n, err := unix.Read(pipe, buf)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}
