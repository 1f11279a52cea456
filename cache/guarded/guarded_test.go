package guarded

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/cachetest"
)

func policy(t *testing.T) *breaker.Policy {
	t.Helper()
	p, err := breaker.New(Options("redis-cache", nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// It is a store like the one behind it.
func TestItIsAShared(t *testing.T) {
	var store *cachetest.Store
	var hosts []*cachetest.Host
	cachetest.Suite{
		Open: func(t *testing.T, n int) (all []cache.Shared) {
			store, hosts = cachetest.NewStore(), nil
			for range n {
				h := store.Open()
				hosts = append(hosts, h)
				all = append(all, New(h, policy(t)))
			}
			return all
		},
		Forget: func(t *testing.T, tags ...string) { store.Forget(tags...) },
		Cut: func(t *testing.T) {
			for _, h := range hosts {
				h.Cut()
				h.Mend()
			}
		},
	}.Run(t)
}

// It hangs, it is found out, and within about a second of its return it is used again. Whatever it
// does, what is to be invalidated is told to it.
func TestItHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := cachetest.NewStore().Open()
		p := policy(t)
		s := New(h, p)
		s.Watch(func(string) {}, func() {})
		hangs := make(chan bool)
		h.Hook(func(ctx context.Context, call cachetest.Call) error {
			if call.Method == "Invalidate" {
				return nil
			}
			select {
			case <-hangs:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		load := func() error {
			_, _, err := s.Load(t.Context(), cache.Key{1}, []string{"t"})
			return err
		}
		for range 5 {
			began := time.Now()
			if err := load(); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, breaker.ErrTimeout) || time.Since(began) != 100*time.Millisecond {
				t.Fatalf("%v after %v", err, time.Since(began))
			}
		}
		began := time.Now()
		for name, call := range map[string]func() error{
			"Load":   load,
			"Store":  func() error { return s.Store(t.Context(), cache.Key{1}, []byte("x"), time.Minute) },
			"Lock":   func() error { _, err := s.Lock(t.Context(), cache.Key{1}, "x", time.Minute); return err },
			"Unlock": func() error { return s.Unlock(t.Context(), cache.Key{1}, "x") },
		} {
			if err := call(); !errors.Is(err, breaker.ErrOpen) || time.Since(began) != 0 {
				t.Errorf("%s: %v after %v", name, err, time.Since(began))
			}
		}
		if err := s.Invalidate(t.Context(), []string{"t"}); err != nil || h.Calls("Invalidate") != 1 {
			t.Errorf("%v, %d calls", err, h.Calls("Invalidate"))
		}
		close(hangs)
		for load() != nil {
			time.Sleep(10 * time.Millisecond)
		}
		if back := time.Since(began); back > 1300*time.Millisecond || p.State() != breaker.Closed {
			t.Errorf("%v after %v", p.State(), back)
		}
		s.Close()
	})
}
