package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// enough calls that were too late, one after the other, make it away; one that fails
	// otherwise does at once.
	enough = 3
	// pause is how often it is tried while it is away.
	pause = 200 * time.Millisecond
	// silence is how long nothing succeeds until what it may have told is taken for lost.
	silence = time.Second
)

// link is the way to Shared. It says what answers are worth: whether anybody would tell if they were
// not true any more. A circuit breaker before Shared (package cache/guarded) says whether calls
// are made, which is another question: the link is away after one that has failed, as something may have
// changed meanwhile, and the breaker leaves alone for a second what fails again and again. Of an outage the
// log is told by the breaker and by who is connected, which know the reason.
type link struct {
	shared Shared
	wait   time.Duration
	gens   *generations

	away     atomic.Bool
	failures atomic.Uint64 // all there ever were

	mu     sync.Mutex
	inARow int
	since  time.Time // the first of these
	next   time.Time // when it is tried, while it is away
	silent bool      // it is taken for lost
}

func newLink(s Shared, wait time.Duration, g *generations) *link {
	return &link{shared: s, wait: wait, gens: g}
}

// lost is told by Shared: what Load has returned may have changed without a word.
func (l *link) lost() { l.gens.epoch.Add(1) }

// may says whether Shared is to be asked. While it is away only one asks now and then.
func (l *link) may() bool {
	if !l.away.Load() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Before(l.next) {
		return false
	}
	l.next = now.Add(pause)
	return true
}

// call makes one call, and gives it so long. What it returns while ctx has ended says nothing.
func (l *link) call(ctx context.Context, long time.Duration, f func(context.Context) error) error {
	short, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	err := f(short)
	switch {
	case err == nil:
		l.answered()
	case ctx.Err() == nil:
		l.failed(err)
	}
	return err
}

func (l *link) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inARow, l.silent = 0, false
	l.away.Store(false)
}

func (l *link) failed(err error) {
	l.failures.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.inARow++; l.inARow == 1 {
		l.since = now
	}
	if !l.silent && now.Sub(l.since) >= silence {
		l.silent = true
		l.lost()
	}
	if l.inARow < enough && errors.Is(err, context.DeadlineExceeded) || l.away.Load() {
		return
	}
	l.away.Store(true)
	l.next = now.Add(pause/2 + rand.N(pause/2))
}
