package logs

import (
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
	return lastLines(t.text)
}

func lastLines(text []byte) []string {
	valid := strings.ToValidUTF8(strings.TrimRight(string(text), "\n"), "\uFFFD")
	if valid == "" {
		return nil
	}
	lines := strings.Split(valid, "\n")
	return lines[max(0, len(lines)-tailLines):]
}
