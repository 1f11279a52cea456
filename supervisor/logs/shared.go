package logs

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// Shared is a writer for many, whose writes do not mix, to something that may
// stand still: a terminal after Ctrl-S, a pager, a service manager that hangs.
// Neither workers nor their master are to stand still with it for ever: what
// nobody takes is lost, counted, and confessed as soon as somebody reads again.
type Shared struct {
	queue chan func()
	w     io.Writer
	lost  atomic.Int64 // bytes since the queue was full
	moved atomic.Int64 // bytes that were taken in all
}

const (
	// still is how long a line of the master waits for room.
	still = time.Second
	// standing is after how long without a byte taken w counts as standing still
	// for what workers print. As long as it moves, however slowly, they wait.
	standing = 10 * time.Second
	// atOnce is how much is written at once, so that it is seen to move.
	atOnce = 4 << 10
)

// NewShared makes w usable by many.
func NewShared(w io.Writer) *Shared {
	s := &Shared{queue: make(chan func(), 64), w: w}
	go func() {
		for f := range s.queue {
			f()
		}
	}()
	return s
}

// Write never fails, and waits for a second at most.
func (s *Shared) Write(text []byte) (int, error) {
	text = bytes.Clone(text)
	limit := still
	if s.lost.Load() > 0 {
		limit = 0
	}
	if !s.hand(func() { s.put(text) }, limit) {
		s.lost.Add(int64(len(text)))
	}
	return len(text), nil
}

// writeAll returns when text is written, or lost because w stands still. Text
// must stay as it is even then.
func (s *Shared) writeAll(text []byte) {
	if s.lost.Load() > 0 {
		_, _ = s.Write(text)
		return
	}
	done := make(chan struct{})
	var given atomic.Bool // up; or begun to be written
	write := func() {
		if given.CompareAndSwap(false, true) {
			s.put(text)
		}
		close(done)
	}
	queue := s.queue
	tick := time.NewTicker(standing)
	defer tick.Stop()
	for before := s.moved.Load(); ; before = s.moved.Load() {
		select {
		case queue <- write:
			queue = nil // in line
		case <-done:
			return
		case <-tick.C:
			if s.moved.Load() != before {
				continue
			}
			if given.CompareAndSwap(false, true) {
				s.lost.Add(int64(len(text)))
			}
			return
		}
	}
}

// put is called in the one goroutine that writes.
func (s *Shared) put(text []byte) {
	if n := s.lost.Swap(0); n > 0 {
		fmt.Fprintf(s.w, "[neko] %d bytes of output were lost here: nobody read them\n", n)
	}
	for len(text) > 0 {
		n := min(len(text), atOnce)
		_, _ = s.w.Write(text[:n]) // it is for looking on
		s.moved.Add(int64(n))
		text = text[n:]
	}
}

// Flush waits until all is written, for a second at most.
func (s *Shared) Flush() {
	done := make(chan struct{})
	if s.hand(func() { close(done) }, still) {
		select {
		case <-done:
		case <-time.After(still):
		}
	}
}

func (s *Shared) hand(f func(), limit time.Duration) bool {
	select {
	case s.queue <- f:
		return true
	default:
	}
	if limit == 0 {
		return false
	}
	select {
	case s.queue <- f:
		return true
	case <-time.After(limit):
		return false
	}
}

// Console is where one process shows its lines, among others.
type Console struct {
	Out    *Shared
	Prefix string // before each line
	Form   *Form  // how lines are rewritten; nil: not at all
}

// lines is what text becomes. Its last line gets an end, if it has none.
func (c *Console) lines(text []byte, now time.Time) []byte {
	if c.Form != nil {
		return c.Form.lines(nil, text, now)
	}
	to := make([]byte, 0, len(text)+(1+bytes.Count(text, []byte("\n")))*len(c.Prefix)+1)
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		to = append(append(append(to, c.Prefix...), line...), '\n')
		text = rest
	}
	return to
}

func (c *Console) write(text []byte) { c.Out.writeAll(text) }
