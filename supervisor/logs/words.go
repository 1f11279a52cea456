package logs

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// stretch is the part of a file that a pump has written last and alone: what its
// process printed last can be read there again, and no line of another is among it.
// That costs nothing as long as nobody asks.
type stretch struct {
	inode    uint64 // of the file, which may have been put aside since
	from, to int64
}

// wrote takes down what p has just added to its file.
func (p *Pump) wrote(inode uint64, from, to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.words.inode != inode || p.words.to != from {
		p.words = stretch{inode: inode, from: from}
	}
	p.words.to = to
}

// LastLines are the last lines that p has moved into its file, as they are there: at
// most 20, of at most 8 KiB together. There are none if they cannot be told from those
// of others, or the file was put aside since.
func (p *Pump) LastLines() []string {
	p.mu.Lock()
	s := p.words
	p.mu.Unlock()
	if s.from == s.to {
		return nil
	}
	file, err := os.OpenFile(p.file.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer file.Close()
	if inodeOf(file) != s.inode {
		return nil
	}
	from := max(s.from, s.to-tailBytes)
	text := make([]byte, s.to-from)
	n, _ := file.ReadAt(text, from) // less, if somebody has emptied it
	text = text[:n]
	if from > s.from { // in the middle of a line
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return lastLines(text)
}

func inodeOf(file *os.File) uint64 {
	var s unix.Stat_t
	if unix.Fstat(int(file.Fd()), &s) != nil {
		return 0
	}
	return s.Ino
}
