package redis

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// rememberFor is for how long an invalidation may be lost by a master that ends: longer than
	// replication is ever behind, one hopes.
	rememberFor = time.Minute
	// maxRemembered is how many tags are remembered; the oldest go.
	maxRemembered = 1 << 14

	firstRepeat, lastRepeat = 50 * time.Millisecond, time.Second
	repeatTime              = 500 * time.Millisecond // for maxBatch tags
)

// again is what is invalidated again after a connection was lost: whoever answers then may be the
// successor of who has answered before, and not know of it.
type again struct {
	mu     sync.Mutex
	recent []invalidated // in their order
	owed   map[string]struct{}
	losses int           // of connections
	soon   chan struct{} // something is owed
}

type invalidated struct {
	name string
	at   time.Time
}

func (a *again) lossesSoFar() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.losses
}

// remember is for what was invalidated by calls that have begun after so many losses.
func (a *again) remember(names []string, losses int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	defer func() {
		if a.losses != losses {
			a.oweAll()
		}
	}()
	for _, name := range names {
		a.recent = append(a.recent, invalidated{name, now})
	}
	a.trim(now)
}

// trim lets the oldest go.
func (a *again) trim(now time.Time) {
	n := max(0, len(a.recent)-maxRemembered)
	for n < len(a.recent) && now.Sub(a.recent[n].at) > rememberFor {
		n++
	}
	if n > 0 {
		a.recent = slices.Delete(a.recent, 0, n)
	}
}

// owe is for when a connection was lost.
func (a *again) owe() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.losses++
	a.trim(time.Now())
	a.oweAll()
}

func (a *again) oweAll() {
	if len(a.recent) == 0 {
		return
	}
	if a.owed == nil {
		a.owed = map[string]struct{}{}
	}
	for _, i := range a.recent {
		if len(a.owed) < maxRemembered {
			a.owed[i.name] = struct{}{}
		}
	}
	select {
	case a.soon <- struct{}{}:
	default:
	}
}

// next are some of those that are owed, and how many connections were lost so far.
func (a *again) next() (names []string, losses int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.owed {
		if names = append(names, name); len(names) == maxBatch {
			break
		}
	}
	return names, a.losses
}

// done says that names are owed no more, unless a connection was lost meanwhile: then who has answered may be
// the one that is to be succeeded.
func (a *again) done(names []string, losses int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.losses != losses {
		return
	}
	for _, name := range names {
		delete(a.owed, name)
	}
}

// repeat invalidates what is owed, until ctx ends.
func (s *Store) repeat(ctx context.Context) {
	wait := firstRepeat
	for {
		select {
		case <-s.again.soon:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			names, losses := s.again.next()
			if len(names) == 0 {
				wait = firstRepeat
				break
			}
			short, cancel := context.WithTimeout(ctx, repeatTime)
			done, _, err := s.invalidate(short, names)
			cancel()
			s.again.done(done, losses)
			if err == nil {
				continue
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, lastRepeat)
		}
	}
}
