package limiter

import (
	"context"
	"errors"
	"sync"
	"time"
)

// bank is an exact source in memory, with a clock that can be set, and an answer that
// can be late, or none.
type bank struct {
	mu      sync.Mutex
	began   time.Time
	offset  time.Duration // of its clock
	delay   time.Duration // half of it on the way there, half on the way back
	refuses error         // what it answers to everything
	silent  bool          // it answers nothing
	broken  func(ID) bool // of what keys it cannot be asked; the zero one is that of beats
	buckets map[bankKey]int64
	beats   map[string]time.Time

	grants, returns int // calls
	closed          bool
}

type bankKey struct {
	policy string
	id     ID
}

var errGone = errors.New("it is gone")

func newBank() *bank {
	return &bank{began: time.Now(), buckets: map[bankKey]int64{}, beats: map[string]time.Time{}}
}

func (b *bank) set(f func(*bank)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
}

func (b *bank) isBroken(id ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken != nil && b.broken(id)
}

// call does f as if it were somewhere else.
func (b *bank) call(ctx context.Context, f func(now int64)) error {
	b.mu.Lock()
	delay, silent, err := b.delay, b.silent, b.refuses
	b.mu.Unlock()
	if err != nil {
		return err
	}
	if silent {
		<-ctx.Done()
		return ctx.Err()
	}
	if !sleep(ctx, delay/2) {
		return ctx.Err()
	}
	b.mu.Lock()
	f(b.now())
	b.mu.Unlock()
	if !sleep(ctx, delay-delay/2) {
		return ctx.Err()
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *bank) Grant(ctx context.Context, p *Policy, id ID, need, want int64) (g Grant, err error) {
	b.set(func(b *bank) { b.grants++ })
	if b.isBroken(id) {
		return g, errGone
	}
	err = b.call(ctx, func(now int64) {
		k, r := bankKey{p.Name, id}, p.central
		n := min(want, r.left(b.buckets[k], now))
		if n < need {
			n = 0
		}
		tat := r.at(b.buckets[k], now) + r.time(n)
		b.buckets[k] = tat
		g = Grant{Tokens: n, At: now, Full: tat}
	})
	return g, err
}

func (b *bank) Return(ctx context.Context, unspent []Unspent) error {
	b.set(func(b *bank) { b.returns++ })
	return b.call(ctx, func(now int64) {
		for _, u := range unspent {
			k := bankKey{u.Policy.Name, u.ID}
			if age := now - u.At; age < 0 || age > LeaseTTL.Microseconds() || b.buckets[k] <= now {
				continue
			}
			b.buckets[k] = u.Policy.central.giveBack(b.buckets[k], now, u.Tokens, u.At)
		}
	})
}

func (b *bank) Beat(ctx context.Context, host string) (hosts int, err error) {
	if b.isBroken(ID{}) {
		return 0, errGone
	}
	err = b.call(ctx, func(int64) {
		b.beats[host] = time.Now()
		for _, at := range b.beats {
			if time.Since(at) < 10*time.Second {
				hosts++
			}
		}
	})
	return hosts, err
}

func (b *bank) Close() { b.set(func(b *bank) { b.closed = true }) }

// calls is how often it was asked for tokens.
func (b *bank) calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.grants
}

// left is how many tokens a bucket has.
func (b *bank) left(p *Policy, key string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return p.central.left(b.buckets[bankKey{p.Name, idOf([]byte(key))}], b.now())
}

// now is its clock, in microseconds.
func (b *bank) now() int64 {
	return (time.Since(b.began) + b.offset).Microseconds() + 1_700_000_000_000_000
}
