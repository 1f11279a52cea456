package edge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Progress is how far a log has been purged, by positions in it.
type Progress struct {
	// Purged: whatever the log has up to here has been purged.
	Purged int64
	// Settled: and for the last time, when no answer from before can have been on its way any more.
	Settled int64
}

// Unknown is of whom nothing is known.
var Unknown = Progress{-1, -1}

// Ledger has the progress, and says who of all workers of a store purges. There may be two for a
// moment: what is purged twice is no harm.
type Ledger interface {
	// Progress is how far it has come, by whomever.
	Progress(ctx context.Context) (Progress, error)
	// Hold makes the caller the one who purges, if nobody else is, and says that he still is:
	// to be called every second or so, as long as there is something to do.
	Hold(ctx context.Context) (p Progress, held bool, err error)
	// Record writes down the progress, if the caller still is.
	Record(ctx context.Context, p Progress) (held bool, err error)
	// Release lets another purge at once.
	Release(ctx context.Context) error
}

// File is a ledger for the workers of one host: who has its lock purges, and who dies has it no
// more.
type File struct {
	f    *os.File
	mu   sync.Mutex
	held bool
}

var _ Ledger = (*File)(nil)

// OpenFile opens the file, and makes it if it is not there. It is no link and nothing but a file: root may
// open it in another user's folder.
func OpenFile(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	return &File{f: f}, nil
}

// recordLength is that of what is in the file: both positions, and their bits turned round, by
// which one that was written in part is told.
const recordLength = 32

func (l *File) Progress(context.Context) (Progress, error) {
	var b [recordLength]byte
	if _, err := l.f.ReadAt(b[:], 0); errors.Is(err, io.EOF) {
		return Unknown, nil
	} else if err != nil {
		return Unknown, err
	}
	var n [4]uint64
	for i := range n {
		n[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	if n[0] != ^n[2] || n[1] != ^n[3] {
		return Unknown, nil
	}
	return Progress{int64(n[0]), int64(n[1])}, nil
}

func (l *File) Hold(ctx context.Context) (Progress, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held {
		switch err := unix.Flock(int(l.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EWOULDBLOCK):
		case err != nil:
			return Unknown, false, fmt.Errorf("cannot lock %s: %w", l.f.Name(), err)
		default:
			l.held = true
		}
	}
	p, err := l.Progress(ctx)
	return p, l.held && err == nil, err
}

// Record implements [Ledger]. It does not wait for the disk: what a machine forgets that
// loses its power is purged again.
func (l *File) Record(_ context.Context, p Progress) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held {
		return false, nil
	}
	var b [recordLength]byte
	for i, n := range [4]uint64{uint64(p.Purged), uint64(p.Settled), ^uint64(p.Purged), ^uint64(p.Settled)} {
		binary.LittleEndian.PutUint64(b[8*i:], n)
	}
	_, err := l.f.WriteAt(b[:], 0)
	return err == nil, err
}

func (l *File) Release(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	return unix.Flock(int(l.f.Fd()), unix.LOCK_UN)
}

// Chown gives it to another user. Not if it has another name, too: it may be a file of root's, which that
// user has put there.
func (l *File) Chown(uid, gid int) error {
	var have unix.Stat_t
	if err := unix.Fstat(int(l.f.Fd()), &have); err != nil {
		return err
	}
	if have.Nlink != 1 {
		return fmt.Errorf("%s has another name, too", l.f.Name())
	}
	return l.f.Chown(uid, gid)
}

// Close gives up the lock, and the file.
func (l *File) Close() error { return l.f.Close() }
