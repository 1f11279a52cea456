package breaker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nekoctl/neko/histogram"
)

// State is what a breaker is.
type State int32

const (
	Closed   State = iota // calls are made
	HalfOpen              // one call is tried
	Open                  // none is made
)

func (s State) String() string {
	return [...]string{"CLOSED", "HALF_OPEN", "OPEN"}[s]
}

// MarshalText implements encoding.TextMarshaler: CLOSED, HALF_OPEN or OPEN.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Status is how a breaker is at a moment.
type Status struct {
	State  State
	Until  time.Time // of OPEN: when a call is tried
	Reason string    // of what is not CLOSED; for people, with what the dependency has said
}

// Stats are what a policy has counted since it was made.
type Stats struct {
	Calls    uint64 // that were asked for
	Failures uint64 // tries that have failed
	Rejected uint64 // that were not made, as the breaker was open
	Busy     uint64 // that found no place
	Timeouts uint64 // that were given up after Options.Timeout
	Retries  uint64 // tries beyond the first
	Opened   uint64 // how often the breaker has become OPEN
	InFlight int    // calls that have not ended, those that were given up too
}

// Stats are what this policy has counted.
func (p *Policy) Stats() Stats {
	ended := p.ended.Load() // first: it never overtakes
	return Stats{
		Calls: p.calls.Load(), Failures: p.failures.Load(), Rejected: p.rejected.Load(), Busy: p.crowded.Load(),
		Timeouts: p.timeouts.Load(), Retries: p.retries.Load(), Opened: p.opened.Load(),
		InFlight: int(p.started.Load() - ended),
	}
}

// Durations are how long tries took, or until they were given up, with the time for which they
// waited for a place: of those that had one.
func (p *Policy) Durations() histogram.Snapshot { return p.took.Snapshot() }

// State is that of now.
func (p *Policy) State() State { return p.Status().State }

// Status is how it is now, for calls of this process.
func (p *Policy) Status() Status {
	own := word(p.own.Load())
	w, mine := own, true
	if p.record != nil {
		host := word(p.record.word.Load())
		switch {
		case host.kind() != closed:
			w, mine = host, false
		case host.healedSince(word(p.seen.Load())): // it closes this one's as well
			w = host
		}
	}
	now := p.clock.now()
	s := Status{State: w.state(now, p.end(w, now))}
	if s.State == Closed {
		return s
	}
	if s.State == Open {
		s.Until = p.clock.timeOf(w.until())
	}
	if reason := p.reason.Load(); reason != nil && own.kind() != closed {
		s.Reason = *reason
	} else if !mine {
		s.Reason = "other workers of this host have found it so"
	}
	return s
}

// Change is that a breaker has become another.
type Change struct {
	Name     string
	From, To State
	At       time.Time
	Until    time.Time // of OPEN
	Reason   string    // of what is not CLOSED
}

// changes tells of them.
type changes struct {
	last atomic.Int32 // the State that was told last

	mu       sync.Mutex
	watchers []func(Change)
	queue    []Change
	telling  bool        // a goroutine does
	timer    *time.Timer // looks again, while it is not closed
	looking  sync.WaitGroup
	closed   bool
}

// maxQueue is how many changes wait for slow watchers. What comes then is not told.
const maxQueue = 100

// lookAgain is how often a breaker that is not closed is looked at, as other workers may close
// it, and time goes by.
const lookAgain = 250 * time.Millisecond

func (c *changes) told() State { return State(c.last.Load()) }

// Watch has f called with every change from now on: one at a time, in their order, soon
// after. What is shorter than a quarter of a second may be left out if no call is made
// in this process meanwhile.
func (p *Policy) Watch(f func(Change)) {
	p.changes.mu.Lock()
	defer p.changes.mu.Unlock()
	p.changes.watchers = append(p.changes.watchers, f)
}

// notice looks whether the state has changed.
func (p *Policy) notice() {
	c := &p.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	status, from := p.Status(), c.told()
	if status.State != from {
		c.last.Store(int32(status.State))
		if status.State == Open {
			p.opened.Add(1)
		}
		if len(c.watchers) > 0 && len(c.queue) < maxQueue {
			c.queue = append(c.queue, Change{p.o.Name, from, status.State, time.Now(), status.Until, status.Reason})
			if !c.telling {
				c.telling = true
				go c.tell()
			}
		}
	}
	if status.State != Closed && c.timer == nil {
		c.timer = time.AfterFunc(min(lookAgain, p.o.OpenFor/4), p.look)
	}
}

func (p *Policy) look() {
	c := &p.changes
	c.mu.Lock()
	c.timer = nil
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.looking.Add(1)
	defer c.looking.Done()
	c.mu.Unlock()
	p.governing() // which takes over what others have done
	p.notice()
}

// tell calls the watchers until nothing is left to tell.
func (c *changes) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 {
		change, watchers := c.queue[0], c.watchers
		c.queue = c.queue[1:]
		c.mu.Unlock()
		for _, f := range watchers {
			f(change)
		}
		c.mu.Lock()
	}
	c.telling = false
}

func (c *changes) close() {
	c.mu.Lock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.looking.Wait()
}
