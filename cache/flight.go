package cache

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	// maxRefreshes is how many answers are made anew at once that nobody waits for.
	maxRefreshes = 16
	// refreshTime is how long one may take.
	refreshTime = 30 * time.Second
	// lockTime is how long another host is waited for that makes the answer.
	lockTime = 3 * time.Second
	// lockPause is how long it is first, until it is looked again, and maxLockPause at the most.
	lockPause    = 2 * time.Millisecond
	maxLockPause = 64 * time.Millisecond
	// afterTime bounds what is told Shared when nobody waits.
	afterTime = time.Second
)

// flight makes one answer, for all who wait for it. There is one at a time for a key, but
// for those that an invalidation has overtaken: who comes after it must not be given what was
// read before.
type flight struct {
	request Request
	fill    Fill
	context context.Context
	cancel  context.CancelFunc
	end     func()                // of Request.Begin, or nil
	stamp   atomic.Pointer[stamp] // of before anything was read
	alone   bool                  // another one of this process may have the lock
	anew    bool                  // it was begun for nobody

	refs int // with the cache's mu: how many want it; 0: nobody can join any more

	landed chan struct{} // closed when the following can be read
	served Served
	err    error
}

// PanicError is what everybody gets who waits for a Fill that panics.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("cache: what makes an answer has panicked: %v", e.Value)
}

// join is the flight for r, and says whether it was begun now.
func (c *Cache) join(r *Request, fill Fill) (f *flight, leads bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f = c.flights[r.Key]
	if f != nil && c.gens.holds(f.stamp.Load()) {
		f.refs++
		return f, false, nil
	}
	if c.closed.Load() {
		return nil, false, ErrClosed
	}
	n := c.newFlight(r, fill, 0, false)
	n.alone = f != nil
	c.take(n)
	return n, true, nil
}

// refresh has an answer made anew in the background, unless that is done or has just been tried.
func (c *Cache) refresh(e *entry, r *Request, fill Fill, now int64) {
	if within(spare, e.failed.Load(), now) || within(leaveFor, e.left.Load(), now) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[r.Key] != nil || c.closed.Load() {
		return
	}
	if c.refreshing >= maxRefreshes {
		c.counts.skipped.Add(1)
		return
	}
	c.counts.refreshes.Add(1)
	c.refreshing++
	f := c.newFlight(r, fill, refreshTime, true)
	c.take(f)
}

// newFlight is one that may take so long, or any time.
func (c *Cache) newFlight(r *Request, fill Fill, long time.Duration, anew bool) *flight {
	f := &flight{request: *r, fill: fill, anew: anew, refs: 1, landed: make(chan struct{})}
	if long > 0 {
		f.context, f.cancel = context.WithTimeout(c.ctx, long)
	} else {
		f.context, f.cancel = context.WithCancel(c.ctx)
	}
	if r.Begin != nil {
		f.context, f.end = r.Begin(f.context, anew)
	}
	s := c.gens.stamp(r.Tags)
	f.stamp.Store(&s)
	return f
}

// take begins a flight. The caller has the lock.
func (c *Cache) take(f *flight) {
	c.flights[f.request.Key] = f
	c.wg.Go(func() { c.fly(f) })
}

// leave is for who waits no longer.
func (c *Cache) leave(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.refs--; f.refs == 0 {
		c.forget(f)
		f.cancel()
	}
}

// forget keeps others from joining. The caller has the lock.
func (c *Cache) forget(f *flight) {
	f.refs = 0
	if c.flights[f.request.Key] == f {
		delete(c.flights, f.request.Key)
	}
}

// leaveOff gives up a flight that was begun for nobody, if nobody has joined it.
func (c *Cache) leaveOff(f *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.anew || f.refs > 1 {
		return false
	}
	c.forget(f)
	return true
}

func (c *Cache) fly(f *flight) {
	defer f.cancel()
	if f.end != nil {
		defer f.end()
	}
	w := &work{Cache: c, flight: f, key: &f.request.Key}
	defer w.unlock()
	landed := false
	land := func(s Served, err error) {
		landed = true
		c.mu.Lock()
		c.forget(f)
		if f.anew {
			c.refreshing--
		}
		c.mu.Unlock()
		f.served, f.err = s, err
		close(f.landed)
	}
	defer func() { // also if fill has ended the goroutine
		if landed {
			return
		}
		if v := recover(); v != nil {
			c.counts.panics.Add(1)
			land(Served{}, &PanicError{Value: v, Stack: debug.Stack()})
		} else {
			c.counts.panics.Add(1)
			land(Served{}, &PanicError{Value: "its goroutine was ended"})
		}
	}()
	s, store := w.run()
	c.at("land")
	land(s, nil)
	c.at("landed")
	if s.State == Stale && !f.anew {
		if e := c.memory.find(w.key); e != nil {
			c.refresh(e, &f.request, f.fill, time.Now().UnixMilli())
		}
	}
	if store != nil {
		store()
	}
}

// work is what a flight does.
type work struct {
	*Cache
	*flight
	key    *Key
	token  string // of the lock, if it has it
	stamp  stamp
	loaded bool // Shared has answered, and so the stamp has generations
	over   bool // another host makes the answer, and nobody waits for it here
}

func (w *work) ctx() context.Context { return w.flight.context }

// run makes the answer, and returns what is to be done when it was served.
func (w *work) run() (s Served, store func()) {
	w.at("begin")
	w.stamp = w.flight.stamp.Load().clone()
	e, others := w.look()
	if w.over {
		return Served{}, nil
	}
	if e != nil {
		if state, ok := w.good(e); ok {
			return Served{State: state, Answer: e.answer, Shared: others}, nil
		}
	} else if s, ok := w.spared(); ok {
		return s, nil
	}
	return w.make()
}

// make has fill make the answer.
func (w *work) make() (Served, func()) {
	began := time.Now().UnixMilli()
	w.counts.fills.Add(1)
	filled := w.fill(w.ctx())
	now := time.Now().UnixMilli()
	if filled.Failed {
		w.counts.failedFills.Add(1)
		if e := w.memory.find(w.key); e != nil {
			e.failed.Store(now)
			if helps(e, now, w.gens.standing(&e.stamp)) {
				return Served{State: StaleOnError, Answer: e.answer}, nil
			}
		} else if s, ok := w.fromReserve(now); ok {
			return s, nil
		}
	}
	s := Served{State: Made, Filled: filled}
	p := w.request.Policy
	if filled.Negative {
		p = Policy{MaxAge: min(p.MaxAge, w.options.NegativeMaxAge)}
	}
	if !filled.Keep || filled.Failed || p.MaxAge <= 0 || len(filled.Body) > int(w.memory.max/8) {
		return s, nil
	}
	a := newAnswer(&w.request, filled.Body, began, p, filled.Negative)
	s.Answer = a
	e := &entry{key: a.key, answer: a, stamp: w.stamp, own: w.request.Own}
	if !w.loaded {
		e.alone.Store(now)
	}
	// This only spares what would not be served anyway.
	if w.gens.standing(&e.stamp) == gone {
		return s, nil
	}
	w.at("put")
	if !w.memory.put(e) {
		return s, nil
	}
	return s, w.storing(a)
}

// at is a place where a test can have everything stop.
func (c *Cache) at(place string) {
	if c.pause != nil {
		c.pause(place)
	}
}
