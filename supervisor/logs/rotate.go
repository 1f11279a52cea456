package logs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Rotation says when a file is put aside and what becomes of it then.
type Rotation struct {
	Size  int64         // larger than this; 0: however large
	Every time.Duration // older than this; 0: however old
	Keep  int           // so many are kept
	Gzip  bool          // compressed
	// Compress compresses a file, beside which it leaves one that is whole or none
	// ([Compress] does); nil: nobody does.
	Compress func(path string) error `json:"-"`
}

// A wish is something to be done to the file at the end of a line.
type wish struct {
	do   func() error
	done chan error
}

// overdue is how long a wish waits for the end of a line. It is cut then: who
// rotates logs from outside waits for nobody.
const overdue = 2 * time.Second

// Reopen closes the file at the end of a line; whoever writes next opens it anew,
// by name.
func (f *File) Reopen() error {
	return f.atBoundary(func() error {
		f.close()
		return nil
	})
}

// Flush empties the file at the end of a line, and removes what was put aside of
// it.
func (f *File) Flush() error {
	if f.null {
		return nil
	}
	return f.atBoundary(func() error {
		err := f.open()
		if err == nil {
			err = f.file.Truncate(0)
		}
		if err != nil {
			return err
		}
		f.offset, f.last = 0, lastLine{}
		f.index.restart(f.file)
		err = prune(f.Path, 0)
		if f.pumps.Load() == 0 {
			f.close()
		}
		return err
	})
}

// atBoundary does something as soon as no line is unfinished, or by force.
func (f *File) atBoundary(do func() error) error {
	w := wish{do, make(chan error, 1)}
	f.mu.Lock()
	f.wishes = append(f.wishes, w)
	f.mu.Unlock()
	began := time.Now()
	for {
		f.mu.Lock()
		if !f.midLine() || f.last.gone || f.pumps.Load() == 0 || time.Since(began) > overdue {
			f.fulfil()
		}
		f.mu.Unlock()
		select {
		case err := <-w.done:
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (f *File) fulfil() {
	for _, w := range f.wishes {
		w.done <- w.do()
	}
	f.wishes = nil
}

// due says whether the file is to be put aside.
func (f *File) due() bool {
	r := f.rotation.Load()
	if f.offset == 0 || r.Size > 0 && f.offset < r.Size && r.Every == 0 || r.Size == 0 && r.Every == 0 {
		return false
	}
	now := time.Now()
	return (r.Size > 0 && f.offset >= r.Size || r.Every > 0 && now.Sub(f.born) >= r.Every) && now.After(f.retry)
}

// endless is how much larger than its size a file gets for a line that does not
// end.
const endless = 64 << 20

// toBoundary is how much of the next n bytes of a pipe may be moved: if something
// is to be done to the file at the end of a line, up to that end.
func (f *File) toBoundary(pipe, n int) int {
	if len(f.wishes) == 0 && !f.due() {
		return n
	}
	if !f.midLine() {
		f.turnOver()
		return n
	}
	if r := f.rotation.Load(); r.Size > 0 && f.offset > r.Size+endless {
		f.putAside()
		return n
	}
	s := takeScratch()
	defer s.give()
	text, err := s.peek(pipe, peekSize)
	if err != nil {
		return n
	}
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return min(n, i+1)
	}
	return min(n, max(len(text), 1))
}

// turnOver does what is to be done at the end of a line, where the file is.
func (f *File) turnOver() {
	if f.midLine() {
		return
	}
	f.fulfil()
	if f.file != nil && f.due() {
		f.putAside()
	}
	if f.file == nil {
		_ = f.open() // the next step says so if it cannot be
	}
}

// putAside gives the file another name and begins a new one. If that cannot be
// (the disk is full), it goes on as it was.
func (f *File) putAside() {
	now := time.Now()
	f.retry = now.Add(10 * time.Second)
	if !f.isAt(f.Path) { // somebody else has put it aside
		f.close()
		return
	}
	name := freeName(f.Path, now)
	if err := os.Rename(f.Path, name); err != nil {
		return
	}
	file, err := os.OpenFile(f.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		_ = os.Rename(name, f.Path)
		return
	}
	if info, err := f.file.Stat(); err == nil {
		_ = file.Chmod(info.Mode().Perm())
	}
	_ = os.Rename(f.index.path, indexOf(name))
	f.close()
	if f.use(file) == nil {
		f.retry = time.Time{}
	}
	tidy(f.Path, *f.rotation.Load())
}

// PutAside gives a log that nobody writes the name of one that was put aside.
func PutAside(path string) error {
	name := freeName(path, time.Now())
	_ = os.Rename(indexOf(path), indexOf(name))
	return os.Rename(path, name)
}

// isAt says whether the file that is open is the one of that name.
func (f *File) isAt(path string) bool {
	own, err := f.file.Stat()
	if err != nil {
		return false
	}
	other, err := os.Stat(path)
	return err == nil && os.SameFile(own, other)
}

// stamp is the form of the time that a file which was put aside has in its name.
// It sorts, and knows no summer.
const stamp = "20060102T150405.000Z"

// asideName is the name of a file that is put aside now.
func asideName(path string, now time.Time) string {
	return path + "." + now.UTC().Format(stamp)
}

// freeName is asideName, or the next that is not taken.
func freeName(path string, now time.Time) string {
	for ; ; now = now.Add(time.Millisecond) {
		name := asideName(path, now)
		_, plain := os.Lstat(name)
		_, packed := os.Lstat(name + packedSuffix)
		if errors.Is(plain, fs.ErrNotExist) && errors.Is(packed, fs.ErrNotExist) {
			return name
		}
	}
}

// birth is when a file was made, as far as the file system knows.
func birth(file *os.File) time.Time {
	var s unix.Statx_t
	err := unix.Statx(int(file.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &s)
	if err != nil || s.Mask&unix.STATX_BTIME == 0 {
		return time.Now()
	}
	return time.Unix(s.Btime.Sec, int64(s.Btime.Nsec))
}
