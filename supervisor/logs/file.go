// Package logs moves what workers print from their pipes into files.
//
// The bytes go by splice(2) from the pipe to the file without passing through
// the master's memory: what a killed master had not moved is still in the pipe,
// whose read end the keeper holds too, and the next master goes on from there.
// Where lines are rewritten (form.go), or go to a console, they are looked at by
// tee(2) first and leave the pipe only when they are written: a line may then
// come twice if the master is killed in between, but is never lost.
//
// Read on: pump.go for the way of the bytes, file.go and line.go for a file that
// several write to, rotate.go and archive.go for its end, index.go for how the
// time of a line is known, past.go for reading it all again.
package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// File is a log file that several pumps may write to, a process and its
// successor for example. There is one File for a path, and one master at a time
// writes to it: splice refuses O_APPEND, so the offset is our own.
type File struct {
	Path string

	null     bool         // /dev/null
	pumps    atomic.Int32 // that use it; the last one closes it
	rotation atomic.Pointer[Rotation]
	lost     atomic.Pointer[Loss]
	everLost atomic.Uint64 // lines, since this File was made
	optional atomic.Bool   // what cannot be written here is elsewhere: no loss

	mu     sync.Mutex // held for one step of a pump
	file   *os.File
	inode  uint64 // of it
	offset int64
	born   time.Time // when the file was made
	last   lastLine
	wishes []wish
	retry  time.Time // no rotation before
	index  index
	form   *Form // that confessions have

	rewritten bool // see rewrittenAttribute
}

// Loss is what could not be written since the last time that it could.
type Loss struct {
	Bytes  int64  `json:"bytes"`
	Lines  int64  `json:"lines"` // line ends, to be exact
	Reason string `json:"reason"`
}

// NewFile does not touch the disk yet: a worker must run although its log
// cannot be written.
func NewFile(path string) *File {
	f := &File{Path: path, null: path == os.DevNull, index: index{path: indexOf(path)}}
	f.rotation.Store(&Rotation{})
	return f
}

// Rotate says when the file is put aside from now on.
func (f *File) Rotate(r Rotation) { f.rotation.Store(&r) }

// Create makes the file if there is none, so that whoever looks for it finds it before
// anything is printed. That it cannot be made is told when something is.
func (f *File) Create() {
	if f.null {
		return
	}
	if file, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
		file.Close()
	}
}

// Optional says that what the file cannot take is not lost, for it is shown on a
// console as well.
func (f *File) Optional() { f.optional.Store(true) }

// Lost is what is missing since the file cannot be written.
func (f *File) Lost() Loss {
	if l := f.lost.Load(); l != nil {
		return *l
	}
	return Loss{}
}

// EverLost is how many lines were lost since this File was made, whether or not the file
// tells of them by now.
func (f *File) EverLost() uint64 { return f.everLost.Load() }

// miss adds to what is missing.
func (f *File) miss(l Loss) {
	now := f.Lost()
	f.lost.Store(&Loss{now.Bytes + l.Bytes, now.Lines + l.Lines, l.Reason})
}

// Miss adds what an earlier master could not write, and had no time to confess.
func (f *File) Miss(l Loss) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.miss(l)
}

// Confess says in the file what is missing in it, if that can be and nobody
// prints to it, who would do so.
func (f *File) Confess() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pumps.Load() == 0 {
		_ = f.ready() // it is tried again
		f.close()
	}
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
			if now.Size < f.offset {
				f.offset = now.Size
				f.index.restart(f.file)
			}
			return nil
		}
		f.close()
	}
	file, err := os.OpenFile(f.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.use(file)
}

// use goes on in a file that is open.
func (f *File) use(file *os.File) error {
	end, err := file.Seek(0, 2)
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.offset, f.born = file, end, birth(file)
	f.inode = inodeOf(file)
	f.last = lastLine{writtenAt: time.Now()}
	_, err = unix.Fgetxattr(int(file.Fd()), rewrittenAttribute, nil)
	f.rewritten = err == nil
	if f.last.owner = storedOwner(file); f.last.owner != 0 {
		f.last.stored = true
		if !f.midLine() {
			f.ended()
		}
	}
	f.index.attach(file)
	return nil
}

func (f *File) close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// move splices up to n bytes from a pipe and returns 0 at its end. What cannot
// be written is thrown away and counted, for a worker must not block on a full
// disk.
func (f *File) move(p *Pump, pipe, n int) (int, error) {
	if f.null {
		return waste(pipe, n)
	}
	f.enter(p)
	defer f.mu.Unlock()
	err := f.ready()
	if err == nil {
		n = f.toBoundary(pipe, n)
		if p.form == nil {
			f.asPrinted()
		}
		var moved int64
		before := f.offset
		moved, err = splice(pipe, int(f.file.Fd()), &f.offset, n)
		if err == nil || errors.Is(err, unix.EAGAIN) {
			if moved > 0 {
				f.index.note(before, time.Now())
				f.left(p)
				p.wrote(f.inode, before, f.offset)
			}
			return int(moved), err
		}
	}
	return f.lose(pipe, n, err)
}

// write puts text into the file, which is what the next n bytes of the pipe have
// become, and then takes these from the pipe.
func (f *File) write(p *Pump, pipe int, text []byte, n int) (int, error) {
	if f.null {
		return waste(pipe, n)
	}
	f.enter(p)
	defer f.mu.Unlock()
	err := f.ready()
	if err == nil {
		f.turnOver()
		f.mend()
		before := f.offset
		if err = f.append(text); err == nil {
			f.index.note(before, time.Now())
			f.left(p)
			p.wrote(f.inode, before, f.offset)
			return drop(pipe, n)
		}
	}
	return f.lose(pipe, n, err)
}

// add writes text that p moves to its own file as well.
func (f *File) add(p *Pump, text []byte) {
	f.enter(p)
	defer f.mu.Unlock()
	err := f.ready()
	if err == nil {
		f.turnOver()
		before := f.offset
		if err = f.append(text); err == nil {
			f.index.note(before, time.Now())
			f.left(p)
			return
		}
	}
	f.regret(len(text), bytes.Count(text, []byte("\n")), err)
}

// ready opens the file and confesses what is missing in it.
func (f *File) ready() error {
	if err := f.open(); err != nil {
		return err
	}
	if f.lost.Load() == nil {
		return nil
	}
	return f.confess()
}

// append writes all of text or nothing.
func (f *File) append(text []byte) error {
	n, err := f.file.WriteAt(text, f.offset)
	if err != nil {
		if n > 0 {
			_ = f.file.Truncate(f.offset) // nobody has seen a half of it for long
		}
		return err
	}
	f.offset += int64(n)
	return nil
}

// lose throws away what cannot be written.
func (f *File) lose(pipe, n int, err error) (int, error) {
	if f.optional.Load() {
		return waste(pipe, n)
	}
	lost, lines, discardErr := discard(pipe, n)
	f.regret(lost, lines, err)
	return lost, discardErr
}

// regret counts what could not be written.
func (f *File) regret(lost, lines int, err error) {
	if f.optional.Load() {
		return
	}
	if f.Lost().Reason != err.Error() {
		fmt.Fprintf(os.Stderr, "neko: log %s: %v; output is being lost\n", f.Path, err)
	}
	f.miss(Loss{int64(lost), int64(lines), err.Error()})
	f.everLost.Add(uint64(lines))
	f.ended() // with a line that is half in the file nobody goes on: what is missing is told there
}

// confess writes into the log how much of it is missing.
func (f *File) confess() error {
	lost := f.Lost()
	lines := "1 line"
	if lost.Lines != 1 {
		lines = fmt.Sprintf("%d lines", lost.Lines)
	}
	text := fmt.Appendf(nil, "[neko] %d bytes of output were lost here: %s (%s)\n", lost.Bytes, lost.Reason, lines)
	if f.form != nil {
		text = f.form.lines(nil, text, time.Now())
	}
	if err := f.append(text); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "neko: log %s: can be written again; %d bytes (%s) were lost\n", f.Path, lost.Bytes, lines)
	f.lost.Store(nil)
	return nil
}

func splice(pipe, file int, offset *int64, n int) (int64, error) {
	for {
		moved, err := unix.Splice(pipe, nil, file, offset, n, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if err != unix.EINTR {
			return moved, err
		}
	}
}

// discard reads up to n bytes of a pipe for nothing, and counts the lines.
func discard(pipe, n int) (read, lines int, err error) {
	s := takeScratch()
	defer s.give()
	for {
		read, err = unix.Read(pipe, s.buf[:min(n, len(s.buf))])
		if err != unix.EINTR {
			read = max(read, 0)
			return read, bytes.Count(s.buf[:read], []byte("\n")), err
		}
	}
}

// null is where bytes go that nobody needs any more.
var null = sync.OnceValues(func() (*os.File, error) { return os.OpenFile(os.DevNull, os.O_WRONLY, 0) })

// drop lets exactly n bytes of a pipe go that are in it, all at once: a splice
// can be cut short by a signal that kills, and a read that need not wait cannot.
func drop(pipe, n int) (int, error) {
	s := takeScratch()
	defer s.give()
	if len(s.buf) < n {
		s.buf = make([]byte, n)
	}
	for {
		read, err := unix.Read(pipe, s.buf[:n])
		if err != unix.EINTR {
			return max(read, 0), err
		}
	}
}

// waste lets up to n bytes of a pipe go, without a look at them.
func waste(pipe, n int) (int, error) {
	if n == 0 {
		return 0, nil
	}
	if file, err := null(); err == nil {
		moved, err := splice(pipe, int(file.Fd()), nil, n)
		if err == nil || errors.Is(err, unix.EAGAIN) {
			return int(moved), err
		}
	}
	moved, _, err := discard(pipe, n)
	return moved, err
}
