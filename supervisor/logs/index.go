package logs

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// index is a small hidden file beside a log that says when what was written: a
// pair of a time and an offset for each second in which something was. So lines
// without a date can be found by time, and those of several logs put in order.
// Losing it loses no more than that, and no error of it is one of the log.
type index struct {
	path    string
	inode   uint64
	notedAt time.Time
	size    int64
}

const (
	indexMagic = "nekoidx1"
	indexHead  = 16 // magic, and the inode of the log
	indexEntry = 16 // milliseconds since 1970, and an offset
	notedEvery = time.Second
)

// indexOf is where the index of a log is.
func indexOf(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".idx")
}

// attach goes on with the index of the file, or begins one.
func (x *index) attach(log *os.File) {
	var s unix.Stat_t
	if unix.Fstat(int(log.Fd()), &s) != nil {
		return
	}
	x.inode, x.notedAt, x.size = s.Ino, time.Time{}, 0
	file, err := os.Open(x.path)
	if err != nil {
		return
	}
	defer file.Close()
	var head [indexHead]byte
	if n, _ := file.ReadAt(head[:], 0); n != indexHead || string(head[:8]) != indexMagic || binary.LittleEndian.Uint64(head[8:]) != x.inode {
		return
	}
	if info, err := file.Stat(); err == nil {
		x.size = info.Size() - (info.Size()-indexHead)%indexEntry
	}
}

// restart is for a log that was emptied.
func (x *index) restart(log *os.File) {
	_ = os.Remove(x.path)
	x.attach(log)
}

// note says that what is at offset was written now.
func (x *index) note(offset int64, now time.Time) {
	if now.Sub(x.notedAt) < notedEvery {
		return
	}
	x.notedAt = now
	how := os.O_WRONLY | os.O_CREATE
	var text []byte
	if x.size == 0 {
		how |= os.O_TRUNC
		text = binary.LittleEndian.AppendUint64([]byte(indexMagic), x.inode)
	}
	text = binary.LittleEndian.AppendUint64(text, uint64(now.UnixMilli()))
	text = binary.LittleEndian.AppendUint64(text, uint64(offset))
	file, err := os.OpenFile(x.path, how, 0o600)
	if err != nil {
		return
	}
	defer file.Close()
	if n, err := file.WriteAt(text, x.size); err == nil {
		x.size += int64(n)
	}
}
