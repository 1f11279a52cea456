package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// tellWithin is how long Invalidate waits for Shared.
	tellWithin = 250 * time.Millisecond
	// tellTime is how long one call may take, also after that.
	tellTime = time.Second
	// tellAgain is how long it is until what has failed is tried again, first and at the most.
	tellAgain    = 20 * time.Millisecond
	maxTellAgain = time.Second
	// maxWaiting is how many tags wait for Shared. For more it is told that everything has
	// changed: so nothing is lost.
	maxWaiting = 1 << 14
)

// ErrLater is of an Invalidate that this host has, and other hosts do not yet: they are told as soon
// as they can be.
var ErrLater = errors.New("cache: other hosts are told later")

// Undone may be returned by [Shared].Invalidate if it has done a part: it is not tried again
// for all then, but for Tags.
type Undone struct {
	Tags []string
	Err  error
}

func (u *Undone) Error() string { return fmt.Sprintf("%d tags: %v", len(u.Tags), u.Err) }
func (u *Undone) Unwrap() error { return u.Err }

// Invalidate makes every answer invalid that has one of tags, in whatever case, and was made of
// what was read before the call. When it returns that is so for all workers of this host,
// whatever is under way; and for all others that have heard of Shared since, or else it
// returns [ErrLater], or what ctx has ended with: nothing needs to be done about either.
func (c *Cache) Invalidate(ctx context.Context, tags ...string) error {
	if len(tags) == 0 {
		return nil
	}
	if c.closed.Load() {
		return ErrClosed
	}
	c.counts.invalidated.Add(uint64(len(tags)))
	if c.link == nil {
		c.InvalidateHere(tags...)
		return nil
	}
	told, err := c.outbox.add(c, tags)
	if err != nil {
		return err
	}
	timer := time.NewTimer(tellWithin)
	defer timer.Stop()
	select {
	case <-told.over:
		return told.err
	case <-timer.C:
		return ErrLater
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// InvalidateHere is Invalidate for this host alone: for a change that Shared was told of by
// somebody else, and of which it may not have told this process, if it was just lost.
func (c *Cache) InvalidateHere(tags ...string) {
	for _, tag := range tags {
		c.gens.move(c.gens.word(tag))
	}
}

// outbox has the invalidations that Shared is to be told of, until it was. One goroutine tells it
// all that have come while it told those before.
type outbox struct {
	poke    chan struct{}
	ended   chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
	mu      sync.Mutex
	waiting map[string]debt // tags
	telling map[string]debt // those which Shared is being told of now
	next    *telling
	failing bool // what was tried last has failed
	closing bool
}

// telling is one call to Shared.
type telling struct {
	over chan struct{}
	err  error
}

func (o *outbox) begin(c *Cache) {
	o.poke, o.ended = make(chan struct{}, 1), make(chan struct{})
	o.waiting = map[string]debt{}
	o.next = &telling{over: make(chan struct{})}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(o.ended)
		o.tell(c)
	}()
}

// add has this host invalidate tags, and Shared told. It returns what to wait for, or ErrLater if that is no
// use, or ErrClosed if nobody tells any more.
func (o *outbox) add(c *Cache, tags []string) (*telling, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return nil, ErrClosed
	}
	for _, tag := range tags {
		tag = shared(tag)
		o.owe(c.gens, tag)
	}
	if len(o.waiting) > maxWaiting {
		clear(o.waiting) // their words are moved, and Everything says of all that they are owed
		o.owe(c.gens, Everything)
	}
	select {
	case o.poke <- struct{}{}:
	default:
	}
	if o.failing {
		return nil, ErrLater
	}
	return o.next, nil
}

func (o *outbox) owe(g *generations, tag string) {
	before, ok := o.waiting[tag]
	if !ok {
		before = o.telling[tag]
	}
	o.waiting[tag] = g.moveOwed(g.word(tag), before)
}

// tell tells until the cache is closed.
func (o *outbox) tell(c *Cache) {
	again := tellAgain
	var late int // tags that have waited
	for {
		o.mu.Lock()
		n, closing := len(o.waiting), o.closing
		o.mu.Unlock()
		if n == 0 {
			if closing {
				return
			}
			select {
			case <-o.poke:
			case <-o.ctx.Done():
				return
			}
			continue
		}
		left, err := o.tellOnce(c)
		if err == nil {
			if late > 0 {
				c.print("cache: the other hosts were told of %d invalidations that have waited", late)
			}
			again, late = tellAgain, 0
			continue
		}
		if late == 0 {
			c.print("cache: other hosts cannot be told of %d invalidations yet: %v", left, err)
		}
		late = max(late, left)
		if !o.wait(c, again/2+rand.N(again/2)) {
			return
		}
		again = min(again*2, maxTellAgain)
	}
}

func (c *Cache) print(format string, args ...any) {
	if c.options.Log != nil {
		c.options.Log.Warn(fmt.Sprintf(format, args...))
	}
}

// wait waits until it is tried again; meanwhile it goes on saying what is owed.
func (o *outbox) wait(c *Cache, d time.Duration) bool {
	o.mu.Lock()
	for tag, d := range o.waiting {
		o.waiting[tag] = c.gens.stillOwed(c.gens.word(tag), d)
	}
	o.mu.Unlock()
	return sleep(o.ctx, d)
}

func (o *outbox) tellOnce(c *Cache) (left int, err error) {
	o.mu.Lock()
	now := o.next
	o.telling, o.waiting = o.waiting, map[string]debt{}
	o.next = &telling{over: make(chan struct{})}
	tags := make([]string, 0, len(o.telling))
	for tag := range o.telling {
		tags = append(tags, tag)
	}
	o.mu.Unlock()

	err = c.link.call(o.ctx, tellTime, func(ctx context.Context) error {
		return c.link.shared.Invalidate(ctx, tags)
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	undone := tags
	if err == nil {
		undone = nil
	} else if u := (*Undone)(nil); errors.As(err, &u) {
		undone = u.Tags
	}
	for _, tag := range undone {
		debt, ok := o.telling[tag]
		if !ok {
			continue // it is not one of these
		}
		delete(o.telling, tag)
		if _, ok := o.waiting[tag]; !ok {
			o.waiting[tag] = debt
		}
	}
	for tag, debt := range o.telling {
		c.gens.paid(c.gens.word(tag), debt)
	}
	o.telling = nil
	o.failing = err != nil
	if now.err = err; err != nil {
		now.err = ErrLater
	}
	close(now.over)
	return len(o.waiting), err
}

// end waits until all was told, or ctx ends.
func (o *outbox) end(ctx context.Context) error {
	if o.ended == nil {
		return nil
	}
	o.mu.Lock()
	o.closing = true
	o.mu.Unlock()
	select {
	case o.poke <- struct{}{}:
	default:
	}
	select {
	case <-o.ended:
	case <-ctx.Done():
	}
	o.cancel()
	<-o.ended
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.waiting); n > 0 {
		return fmt.Errorf("cache: other hosts were not told of %d invalidations: %w", n, context.Cause(ctx))
	}
	return nil
}

// left is how many tags Shared was not told of yet.
func (o *outbox) left() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.waiting)
	for tag := range o.telling {
		if _, ok := o.waiting[tag]; !ok {
			n++
		}
	}
	return n
}
