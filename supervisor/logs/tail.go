package logs

import (
	"bytes"
	"strings"
	"sync"
)

// Tail remembers the last lines written to it.
type Tail struct {
	mu   sync.Mutex
	text []byte
}

const (
	tailBytes = 8 << 10
	tailLines = 20
)

// Write never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if excess := len(t.text) - tailBytes; excess > 0 {
		t.text = append(t.text[:0], t.text[excess:]...)
	}
	return len(p), nil
}

// Lines are at most the last 20 lines, of at most 8 KiB together.
func (t *Tail) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.ToValidUTF8(strings.TrimRight(string(t.text), "\n"), "\uFFFD")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-tailLines):]
}

// end are the last lines of the file among its last so many bytes.
func (f *File) end(most int64) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil || most <= 0 {
		return nil
	}
	most = min(most, f.offset, tailBytes)
	text := make([]byte, most+1) // and what comes before, to know whether the first line is whole
	from := max(f.offset-int64(len(text)), 0)
	n, _ := f.file.ReadAt(text[:f.offset-from], from) // what cannot be read is not there
	if text = text[:n]; from > 0 {
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
	}
	var t Tail
	_, _ = t.Write(text)
	return t.Lines()
}
