package cache

import (
	"context"
	"time"
)

// Peek is the answer of key if this process has it, as Get would serve it at a time in Unix
// milliseconds: if it is Fresh, or Stale; what is Stale the caller takes by Get, so that it is
// made anew. Otherwise it is a Miss, and nil. Peek allocates nothing and waits for nobody.
func (c *Cache) Peek(key Key, now int64) (*Answer, State) {
	e := c.memory.find(&key)
	if e == nil || c.closed.Load() {
		return nil, Miss
	}
	state := c.judge(e, now, c.gens.standing(&e.stamp))
	if state == Miss {
		return nil, Miss
	}
	e.touch()
	return e.answer, state
}

// Count counts an answer that Peek has found Fresh, by its key, as served: who has peeked may
// refuse it to who asks, and then it is not.
func (c *Cache) Count(key Key, a *Answer) { c.counts.fresh(&key, a) }

// judge says what an entry that stands so is at a time: Fresh, Stale, or a Miss.
func (c *Cache) judge(e *entry, now int64, is standing) State {
	a := e.answer
	age := a.Age(now)
	if a.madeLater(now) {
		return Miss
	}
	switch is {
	case confirmed:
	case unconfirmed:
		if age >= c.options.UnconfirmedMaxAge || !c.link.away.Load() && !within(spare, e.alone.Load(), now) {
			return Miss
		}
	default:
		return Miss
	}
	switch {
	case age < a.Policy.MaxAge:
		return Fresh
	case age < a.Policy.MaxAge+a.Policy.StaleWhileRevalidate:
		return Stale
	}
	return Miss
}

// helps says whether an entry that stands so may be served at a time if nothing better can be had.
func helps(e *entry, now int64, is standing) bool {
	a := e.answer
	return is >= unconfirmed && !a.madeLater(now) && a.Age(now) < a.Policy.MaxAge+a.Policy.StaleIfError
}

const (
	// spare is how long what has failed is not tried again.
	spare = time.Second
	// leaveFor is how long another host is left to make an answer anew.
	leaveFor = 100 * time.Millisecond
)

// within says whether a time in Unix milliseconds is less than d ago. Clocks may be set: what is
// to come is not.
func within(d time.Duration, at, now int64) bool {
	return now >= at && now-at < d.Milliseconds()
}

// Get is the answer of r: from the memory of this process, from Shared, or made by fill,
// for all at once who want it, in this process and, as far as Shared knows, on all hosts.
//
// An error is that of ctx, if it ends before, or ErrClosed, or a [*PanicError]. What fill says
// has gone wrong is in what it has filled.
func (c *Cache) Get(ctx context.Context, r Request, fill Fill) (Served, error) {
	r.Policy = r.Policy.bounded()
	if r.Policy.MaxAge == 0 {
		return c.direct(ctx, fill)
	}
	if c.closed.Load() {
		return Served{}, ErrClosed
	}
	if e := c.memory.find(&r.Key); e != nil {
		if s, ok := c.serve(e, &r, fill); ok {
			c.counts.served(&s, e)
			return s, nil
		}
	}
	f, leads, err := c.join(&r, fill)
	if err != nil {
		return Served{}, err
	}
	select {
	case <-f.landed:
	case <-ctx.Done():
		c.leave(f)
		return Served{}, context.Cause(ctx)
	}
	s := f.served
	if s.State == Made && !leads {
		s.Shared = true
	}
	if f.err == nil {
		c.counts.flown(&s, leads)
	}
	return s, f.err
}

// direct is for what is not to be kept.
func (c *Cache) direct(ctx context.Context, fill Fill) (Served, error) {
	c.counts.misses.Add(1)
	c.counts.fills.Add(1)
	filled := fill(ctx)
	if filled.Failed {
		c.counts.failedFills.Add(1)
	}
	return Served{State: Made, Filled: filled}, nil
}

// serve is what e is good for by itself.
func (c *Cache) serve(e *entry, r *Request, fill Fill) (s Served, ok bool) {
	now := time.Now().UnixMilli()
	is := c.gens.standing(&e.stamp)
	switch state := c.judge(e, now, is); {
	case state == Fresh:
		s.State = Fresh
	case state == Stale:
		s.State = Stale
		c.refresh(e, r, fill, now)
	case is == confirmed && within(spare, e.failed.Load(), now) && helps(e, now, is):
		s.State = StaleOnError
	default:
		return s, false
	}
	e.touch()
	s.Answer = e.answer
	return s, true
}
