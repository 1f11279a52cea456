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

// Prefixed writes whole lines, each with a prefix, to a writer that others use
// too. A line that grows beyond 64 KiB is written in pieces.
type Prefixed struct {
	out     *Shared
	prefix  string
	partial []byte
}

// Prefixed is a writer of lines that begin with prefix. It has one user.
func (s *Shared) Prefixed(prefix string) *Prefixed { return &Prefixed{out: s, prefix: prefix} }

func (p *Prefixed) Write(text []byte) (int, error) {
	var whole bytes.Buffer
	p.partial = append(p.partial, text...)
	for {
		line, rest, found := bytes.Cut(p.partial, []byte("\n"))
		if !found && len(p.partial) < 64<<10 {
			break
		}
		whole.WriteString(p.prefix)
		whole.Write(line)
		whole.WriteByte('\n')
		p.partial = rest
	}
	if whole.Len() > 0 {
		_, _ = p.out.Write(whole.Bytes())
	}
	return len(text), nil
}
