package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
)

// look asks Shared, and waits for another host that makes the answer. It returns what there is in
// memory then, nil if nothing, and whether others have made it just now. If that is not enough
// the caller is to make it, and has the lock, if there is one to be had.
func (w *work) look() (e *entry, others bool) {
	if w.link == nil {
		return w.memory.find(w.key), false
	}
	tags := make([]string, 1, len(w.request.Tags)+1)
	tags[0] = Everything
	for _, tag := range w.request.Tags {
		tags = append(tags, shared(tag))
	}
	began, wait := time.Now(), lockPause
	for waited := false; ; {
		e, others = w.load(tags)
		if !w.loaded || w.alone || w.token != "" || !w.shares() || e != nil && w.enough(e) {
			return e, others
		}
		won, err := w.lock()
		switch {
		case err != nil, won && !waited:
			return e, others
		case won: // whoever had the lock may have stored it after it was looked
		case w.leaveOff(w.flight):
			if e != nil {
				e.left.Store(time.Now().UnixMilli())
			}
			w.over = true
			return nil, false
		case time.Since(began) >= lockTime:
			return e, others
		default:
			if !waited {
				w.counts.waits.Add(1)
			}
			waited = true
			if !sleep(w.ctx(), wait) {
				return e, others
			}
			wait = min(wait*3/2, maxLockPause)
		}
		// All that was read so far is forgotten, so who joins from now on may have come after
		// what has moved meanwhile.
		s := w.gens.again(w.stamp)
		w.flight.stamp.Store(&s)
		w.stamp = s.clone()
	}
}

// sleep is false if ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// shares says whether other hosts may have the answer.
func (w *work) shares() bool { return !w.request.Own || w.options.ShareOwn }

var errGenerations = errors.New("the shared store has answered what makes no sense")

// load asks Shared once, and has in memory what is to be known from it.
func (w *work) load(tags []string) (e *entry, others bool) {
	var value []byte
	w.loaded = false
	if w.link.may() {
		var gens []Generation
		err := w.link.call(w.ctx(), w.link.wait, func(ctx context.Context) (err error) {
			value, gens, err = w.link.shared.Load(ctx, *w.key, tags)
			if err == nil && len(gens) != len(tags) {
				err = errGenerations
			}
			return err
		})
		if w.loaded = err == nil; w.loaded {
			w.stamp.known = true
			for i := range gens {
				w.stamp.marks[i].gen = gens[i]
				w.stamp.known = w.stamp.known && gens[i] != 0
			}
		}
	}
	now := time.Now().UnixMilli()
	if e = w.memory.find(w.key); e != nil && w.gens.standing(&e.stamp) == gone {
		e = nil
	}
	if !w.loaded {
		if e != nil {
			e.alone.Store(now)
		}
		return e, false
	}
	if e != nil {
		if e.stamp.sameAs(&w.stamp) {
			e = w.memory.restamp(e, w.stamp)
		} else {
			w.memory.remove(e)
			e = nil
		}
	}
	if !w.shares() {
		return e, false
	}
	if other := w.open(value, now); other != nil && (e == nil || other.answer.Made > e.answer.Made) {
		w.memory.put(other)
		e, others = other, true
	}
	if others {
		w.counts.sharedHits.Add(1)
	} else {
		w.counts.sharedMisses.Add(1)
	}
	return e, others
}

// clocksDiffer is by how much the clocks of hosts do at most: so much older than its policy says
// an answer of another host may become.
const clocksDiffer = 10 * time.Second

// open is what Shared has, if it is of use.
func (w *work) open(value []byte, now int64) *entry {
	if value == nil || w.stamp.owed || !w.stamp.known {
		return nil
	}
	r, ok := openRecord(w.key, w.request.Tags, value)
	if !ok || !r.has(w.stamp.marks) {
		return nil
	}
	// The clock of who has made it may be ahead; by much, and nobody knows how old it is.
	if r.made-now > clocksDiffer.Milliseconds() {
		return nil
	}
	r.made = min(r.made, now)
	if now-r.made >= r.policy.life().Milliseconds() {
		return nil
	}
	body, ok := w.codec.body(r)
	if !ok {
		return nil
	}
	a := newAnswer(&w.request, body, r.made, r.policy, r.negative)
	return &entry{key: a.key, answer: a, stamp: w.stamp, own: w.request.Own}
}

// enough says whether nothing is to be made.
func (w *work) enough(e *entry) bool {
	_, ok := w.good(e)
	return ok
}

// good is what e can be served as without anything being made.
func (w *work) good(e *entry) (State, bool) {
	now := time.Now().UnixMilli()
	is := w.gens.standing(&e.stamp)
	switch state := w.judge(e, now, is); {
	case state == Fresh, state == Stale && !w.anew:
		return state, true
	case within(spare, e.failed.Load(), now) && helps(e, now, is):
		return StaleOnError, true
	}
	return Miss, false
}

// lock says whether nobody else makes the answer. What has failed may have been done all the same.
func (w *work) lock() (won bool, err error) {
	w.token = rand.Text()
	err = w.link.call(w.ctx(), w.link.wait, func(ctx context.Context) (err error) {
		won, err = w.link.shared.Lock(ctx, *w.key, w.token, lockTime)
		return err
	})
	if err == nil && !won {
		w.token = ""
	}
	return won, err
}

// unlock ends it. If that fails it ends by itself, after lockTime.
func (w *work) unlock() {
	if w.token == "" {
		return
	}
	_ = w.link.call(context.WithoutCancel(w.ctx()), afterTime, func(ctx context.Context) error {
		return w.link.shared.Unlock(ctx, *w.key, w.token)
	})
}

// storing is how others get the answer, nil if they do not. If it fails they make it themselves.
func (w *work) storing(a *Answer) func() {
	if w.link == nil || !w.stamp.known || w.stamp.owed || !w.shares() {
		return nil
	}
	return func() {
		if !w.gens.holds(&w.stamp) {
			return // nobody would take it, and there may be a better one
		}
		w.at("store")
		value := w.codec.encode(a, w.stamp.marks)
		_ = w.link.call(context.WithoutCancel(w.ctx()), afterTime, func(ctx context.Context) error {
			return w.link.shared.Store(ctx, *w.key, value, a.Policy.life())
		})
	}
}
