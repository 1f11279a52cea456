package logs

import (
	"bytes"
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lastLine is what is known of the end of a file: whose line it is that has not
// ended yet. A pump is known by the inode of its pipe, which stays the same from
// one master to the next.
type lastLine struct {
	owner     uint64 // 0: the line has ended, or nobody knows
	gone      bool   // its process has ended
	stored    bool   // a next master finds the owner
	writtenAt time.Time
}

// While a line has no end yet, others wait for it: so long if nothing of it
// comes, and so long in all. Then the line is cut in two.
const (
	silence  = time.Second
	patience = 10 * time.Second
)

// enter locks the file for a step of p, as soon as no other pump is in the middle
// of a line.
func (f *File) enter(p *Pump) {
	f.mu.Lock()
	for began := time.Now(); !f.free(p, began); {
		f.mu.Unlock()
		time.Sleep(time.Millisecond)
		f.mu.Lock()
	}
}

func (f *File) free(p *Pump, began time.Time) bool {
	if f.file == nil && f.open() != nil {
		return true
	}
	l := &f.last
	if l.owner == 0 || l.owner == p.inode || !f.midLine() {
		return true
	}
	if !l.gone && time.Since(l.writtenAt) < silence && time.Since(began) < patience {
		if !l.stored {
			l.stored = storeOwner(f.file, l.owner)
		}
		return false
	}
	if f.append([]byte("\n")) == nil {
		f.ended()
	}
	return true
}

// left says how p leaves the file: at the end of a line, or in the middle of one
// of its own.
func (f *File) left(p *Pump) {
	if !f.midLine() {
		f.ended()
		f.turnOver()
		return
	}
	f.last.owner, f.last.gone, f.last.writtenAt = p.inode, false, time.Now()
	if !f.last.stored && (f.pumps.Load() > 1 || p.form != nil) {
		f.last.stored = storeOwner(f.file, p.inode)
	}
}

// claim stores that the line which p begins will go on after its next piece.
func (f *File) claim(p *Pump) {
	if f.null {
		return
	}
	f.enter(p)
	defer f.mu.Unlock()
	if f.file != nil && !f.last.stored {
		f.last.stored = storeOwner(f.file, p.inode)
	}
}

// goesOn says that the file ends in the middle of a line of p's, which it or an
// earlier master has begun.
func (f *File) goesOn(p *Pump) bool {
	if f.null {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil && f.open() != nil {
		return false
	}
	return f.last.owner == p.inode && f.midLine()
}

// begin puts text before a line that p will move in pieces.
func (f *File) begin(p *Pump, text []byte) error {
	if f.null {
		return nil
	}
	f.enter(p)
	defer f.mu.Unlock()
	if err := f.ready(); err != nil {
		return err
	}
	f.turnOver()
	f.mend()
	if err := f.append(text); err != nil {
		return err
	}
	f.left(p)
	return nil
}

// mend makes the file end with a newline, for what is to be written is no part of
// its last line. A file of rewritten lines in which one has no end and no owner is
// what a master left that was killed in the middle of a write: nothing of that has
// left the pipe, and it is written whole.
func (f *File) mend() {
	torn := f.midLine() && f.last.owner == 0 && f.rewritten
	switch end := f.offset; {
	case torn:
		for end > 0 && !f.endsAt(&end) {
		}
		if f.file.Truncate(end) == nil {
			f.offset = end
		}
	case f.midLine():
		_ = f.append([]byte("\n"))
	}
	if !f.rewritten {
		f.rewritten = true
		_ = unix.Fsetxattr(int(f.file.Fd()), rewrittenAttribute, nil, 0)
	}
}

// endsAt looks for the end of a line in the block before end, and sets end to it or
// to the block's beginning.
func (f *File) endsAt(end *int64) bool {
	from := max(0, *end-peekSize)
	block := make([]byte, *end-from)
	if _, err := f.file.ReadAt(block, from); err != nil {
		return false
	}
	i := bytes.LastIndexByte(block, '\n')
	*end = from + int64(i) + 1
	return i >= 0
}

// asPrinted says that from now on the file's lines are those that were printed.
func (f *File) asPrinted() {
	if f.rewritten {
		f.rewritten = false
		_ = unix.Fremovexattr(int(f.file.Fd()), rewrittenAttribute)
	}
}

// leave is the end of a pump.
func (f *File) leave(p *Pump) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last.owner == p.inode {
		f.last.gone = true
	}
	if f.pumps.Add(-1) == 0 {
		f.close()
	}
}

func (f *File) ended() {
	if f.last.stored {
		_ = unix.Fremovexattr(int(f.file.Fd()), ownerAttribute)
	}
	f.last = lastLine{}
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

// ownerAttribute is where the owner of an unfinished line is stored while others
// wait for its end. File systems without such attributes do without: then a master
// that is killed in the middle of a long line may cost that line its oneness.
const ownerAttribute = "user.neko.line"

// rewrittenAttribute is on a file of which every line was written by [File.write].
const rewrittenAttribute = "user.neko.rewritten"

func storeOwner(file *os.File, owner uint64) bool {
	return unix.Fsetxattr(int(file.Fd()), ownerAttribute, binary.LittleEndian.AppendUint64(nil, owner), 0) == nil
}

func storedOwner(file *os.File) uint64 {
	var text [8]byte
	if n, err := unix.Fgetxattr(int(file.Fd()), ownerAttribute, text[:]); err != nil || n != len(text) {
		return 0
	}
	return binary.LittleEndian.Uint64(text[:])
}
