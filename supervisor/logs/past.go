package logs

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"sort"
	"strings"
	"time"
)

// Line is one that was printed.
type Line struct {
	At   time.Time // when, to the second
	Text []byte    // without its end
}

// Query says which lines of a log are meant.
type Query struct {
	Last  int               // so many, the last
	Since time.Time         // and none before; zero: however old
	Match func([]byte) bool // and only these; nil: all
}

// longestShown is how much of a line is kept of what was printed.
const longestShown = 1 << 20

// Past are the lines of a log and of what was put aside of it, the oldest first. It
// also says how far the log itself was read, for who wants to go on from there: to
// the end of its last whole line.
func Past(path string, q Query) (lines []Line, offset int64, err error) {
	if q.Last == 0 && q.Since.IsZero() {
		info, err := os.Stat(path)
		if err != nil {
			return nil, 0, err
		}
		return nil, info.Size(), nil
	}
	lines, offset, err = pastOf(path, q)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	aside, asideErr := Aside(path)
	if asideErr != nil {
		return lines, offset, asideErr
	}
	for i := len(aside) - 1; i >= 0 && len(lines) < q.Last; i-- {
		rest := q
		rest.Last -= len(lines)
		older, _, err := pastOf(aside[i], rest)
		if errors.Is(err, fs.ErrNotExist) { // removed, or compressed meanwhile
			older, _, err = pastOf(strings.TrimSuffix(aside[i], packedSuffix)+packedSuffix, rest)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, 0, err
		}
		lines = append(older, lines...)
		if info, err := os.Stat(aside[i]); err == nil && info.ModTime().Before(q.Since) {
			break
		}
	}
	return lines, offset, err
}

// pastOf are the last lines of one file.
func pastOf(path string, q Query) (lines []Line, end int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	plain, packed := strings.CutSuffix(path, packedSuffix)
	times := readIndex(plain, info.ModTime())
	var from io.Reader = file
	if packed {
		if from, err = gzip.NewReader(file); err != nil {
			return nil, 0, err
		}
	} else if start, err := startOf(file, info.Size(), times, q); err != nil {
		return nil, 0, err
	} else {
		end = start
		from = io.NewSectionReader(file, start, info.Size()-start)
	}
	in := bufio.NewReaderSize(from, 64<<10)
	var ring []Line
	next := 0
	for {
		text, n, lineErr := readLine(in)
		if lineErr == io.EOF && (n == 0 || !packed) { // what has no end yet is still to come
			break
		}
		if lineErr != nil && lineErr != io.EOF {
			return nil, 0, lineErr
		}
		at := times.of(end)
		end += int64(n)
		if at.Before(q.Since) || q.Match != nil && !q.Match(text) {
			continue
		}
		if line := (Line{at, text}); len(ring) < q.Last {
			ring = append(ring, line)
		} else {
			ring[next] = line
			next = (next + 1) % len(ring)
		}
	}
	return append(ring[next:], ring[:next]...), end, nil
}

// Each calls do for each line of a file that was put aside.
func Each(path string, do func(text []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var from io.Reader = file
	if strings.HasSuffix(path, packedSuffix) {
		if from, err = gzip.NewReader(file); err != nil {
			return err
		}
	}
	in := bufio.NewReaderSize(from, 64<<10)
	for {
		text, n, err := readLine(in)
		if n > 0 {
			if err := do(text); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLine reads a line, of which it returns at most longestShown, and how long it
// was with its end. It is EOF if there is no end.
func readLine(in *bufio.Reader) (text []byte, n int, err error) {
	for {
		part, err := in.ReadSlice('\n')
		n += len(part)
		if room := longestShown - len(text); room > 0 {
			text = append(text, part[:min(room, len(part))]...)
		}
		switch {
		case err == bufio.ErrBufferFull:
		case err != nil:
			return text, n, err
		default:
			if len(text) > 0 && text[len(text)-1] == '\n' {
				text = text[:len(text)-1]
			}
			return text, n, nil
		}
	}
}

// startOf is where to begin to read a plain file: it need not be read as a whole if
// all of its last lines are wanted, or it is known what was written since.
func startOf(file *os.File, size int64, times times, q Query) (int64, error) {
	start := times.before(q.Since)
	if q.Match != nil {
		return start, nil
	}
	last, err := LastLines(file, size, q.Last)
	return max(start, last), err
}

// LastLines is where the last n lines of a file of this size begin. The beginning
// of a line counts as a line.
func LastLines(file io.ReaderAt, size int64, n int) (int64, error) {
	const block = 64 << 10
	buffer := make([]byte, block)
	if n == 0 {
		return size, nil
	}
	for end := size; end > 0; {
		start := max(0, end-block)
		b := buffer[:end-start]
		if _, err := file.ReadAt(b, start); err != nil && err != io.EOF {
			return 0, err
		}
		for i := len(b) - 1; i >= 0; i-- {
			if b[i] == '\n' && start+int64(i)+1 < size {
				if n--; n == 0 {
					return start + int64(i) + 1, nil
				}
			}
		}
		end = start
	}
	return 0, nil
}

// times say when what of a log was written.
type times struct {
	entries []entry
	unknown time.Time // of what is in none
}

type entry struct {
	at     time.Time
	offset int64
}

func readIndex(path string, modified time.Time) times {
	t := times{unknown: modified}
	text, err := os.ReadFile(indexOf(path))
	if err != nil || len(text) < indexHead || string(text[:8]) != indexMagic {
		return t
	}
	for text = text[indexHead:]; len(text) >= indexEntry; text = text[indexEntry:] {
		t.entries = append(t.entries, entry{
			time.UnixMilli(int64(binary.LittleEndian.Uint64(text))), int64(binary.LittleEndian.Uint64(text[8:])),
		})
	}
	return t
}

// of is when the line at an offset was written.
func (t times) of(offset int64) time.Time {
	i := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].offset > offset })
	switch {
	case i > 0:
		return t.entries[i-1].at
	case len(t.entries) > 0:
		return t.entries[0].at
	}
	return t.unknown
}

// before is an offset from which on all is that was written since.
func (t times) before(since time.Time) int64 {
	i := sort.Search(len(t.entries), func(i int) bool { return !t.entries[i].at.Before(since) })
	if i == 0 || since.IsZero() {
		return 0
	}
	return t.entries[i-1].offset
}
