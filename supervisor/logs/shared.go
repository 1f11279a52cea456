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
// Neither workers nor their master are to stand still with it: what does not fit
// is lost, counted, and confessed as soon as somebody reads again.
type Shared struct {
	queue chan func()
	w     io.Writer
	lost  atomic.Int64 // bytes since the queue was full
}

// still is how long a write waits for room before w counts as standing still.
const still = time.Second

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
	write := func() {
		if n := s.lost.Swap(0); n > 0 {
			fmt.Fprintf(s.w, "[neko] %d bytes of output were lost here: nobody read them\n", n)
		}
		_, _ = s.w.Write(text) // it is for looking on
	}
	limit := still
	if s.lost.Load() > 0 {
		limit = 0
	}
	if !s.hand(write, limit) {
		s.lost.Add(int64(len(text)))
	}
	return len(text), nil
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
