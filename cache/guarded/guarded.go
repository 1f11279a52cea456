// Package guarded is a shared store of answers behind a circuit breaker: while it is away nobody
// waits for it.
package guarded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/tracing"
)

// Options are those of a policy that fits a Redis in the same region: an answer is worth a tenth of
// a second, as it can be made; it is missed within a few calls, and tried about every second. What
// fails is not tried again: it would be made meanwhile.
func Options(name string, h *breaker.Host) breaker.Options {
	return breaker.Options{
		Name: name, Host: h,
		Timeout:  100 * time.Millisecond,
		MinCalls: 5, Window: 2 * time.Second, OpenFor: time.Second,
		Places: 256, Retries: -1,
	}
}

// shared is a [cache.Shared].
type shared struct {
	cache.Shared
	p *breaker.Policy
}

// New puts a policy before s. What the policy refuses is an error of package breaker, and
// what it gives up is [context.DeadlineExceeded] as well.
//
// Invalidate goes to s directly: it has to be done, however long it takes, and package cache itself
// sees to it.
func New(s cache.Shared, p *breaker.Policy) cache.Shared { return &shared{s, p} }

func do[T any](ctx context.Context, s *shared, what string, f func(context.Context) (T, error)) (T, error) {
	ctx, span := tracing.Call(ctx, "redis", what, "")
	v, err := breaker.Do(ctx, s.p, breaker.Once, f)
	if span.Recording() {
		tracing.Guarded(span, s.p, err)
		if err != nil {
			span.Fail("UNAVAILABLE")
		}
		span.End()
	}
	if errors.Is(err, breaker.ErrTimeout) {
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return v, err
}

// Load is of [cache.Shared].
func (s *shared) Load(ctx context.Context, key cache.Key, tags []string) ([]byte, []cache.Generation, error) {
	type loaded struct {
		value []byte
		gens  []cache.Generation
	}
	tags = slices.Clone(tags) // they may be read after this has returned
	l, err := do(ctx, s, "LOAD", func(ctx context.Context) (l loaded, err error) {
		l.value, l.gens, err = s.Shared.Load(ctx, key, tags)
		return l, err
	})
	return l.value, l.gens, err
}

// Store is of [cache.Shared]. Nobody may change value afterwards.
func (s *shared) Store(ctx context.Context, key cache.Key, value []byte, ttl time.Duration) error {
	_, err := do(ctx, s, "STORE", func(ctx context.Context) (struct{}, error) { return struct{}{}, s.Shared.Store(ctx, key, value, ttl) })
	return err
}

// Lock is of [cache.Shared]. One that was given up may be had all the same, until its ttl is over.
func (s *shared) Lock(ctx context.Context, key cache.Key, token string, ttl time.Duration) (bool, error) {
	return do(ctx, s, "LOCK", func(ctx context.Context) (bool, error) { return s.Shared.Lock(ctx, key, token, ttl) })
}

// Unlock is of [cache.Shared].
func (s *shared) Unlock(ctx context.Context, key cache.Key, token string) error {
	_, err := do(ctx, s, "UNLOCK", func(ctx context.Context) (struct{}, error) { return struct{}{}, s.Shared.Unlock(ctx, key, token) })
	return err
}
