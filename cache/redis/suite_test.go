package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/cache"
)

// What any cache.Shared must do, said of stores of several hosts that share one thing.

func key(n int) (k cache.Key) {
	copy(k[:], fmt.Sprintf("%016d", n))
	return k
}

func load(t testing.TB, s cache.Shared, n int, tags ...string) ([]byte, []cache.Generation) {
	t.Helper()
	value, gens, err := s.Load(within(t, patience), key(n), tags)
	if err != nil {
		t.Fatal(err)
	}
	if len(gens) != len(tags) || slices.Contains(gens, 0) {
		t.Fatalf("the generations of %q are %v", tags, gens)
	}
	return value, gens
}

func testShared(t *testing.T, open func(t *testing.T) cache.Shared) {
	t.Run("values", func(t *testing.T) {
		a, b := open(t), open(t)
		if value, _ := load(t, a, 1); value != nil {
			t.Fatalf("%q under a key that nobody has stored anything under", value)
		}
		for i, value := range [][]byte{[]byte("x"), {}, {0, '\r', '\n', 0xff}, bytes.Repeat([]byte("neko"), 1<<16)} {
			if err := a.Store(within(t, patience), key(i), value, time.Minute); err != nil {
				t.Fatal(err)
			}
			for _, s := range []cache.Shared{a, b} {
				if got, _ := load(t, s, i); got == nil || !bytes.Equal(got, value) {
					t.Errorf("%.20q (%d) was stored, and is %.20q", value, len(value), got)
				}
			}
		}
		if err := a.Store(within(t, patience), key(1), []byte("y"), time.Minute); err != nil {
			t.Fatal(err)
		}
		if got, _ := load(t, b, 1); string(got) != "y" {
			t.Errorf("y was stored over it, and it is %q", got)
		}
		if err := a.Store(within(t, patience), key(1), []byte("z"), 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if got, _ := load(t, b, 1); got != nil {
				return fmt.Errorf("%q is still there", got)
			}
			return nil
		})
	})

	t.Run("generations", func(t *testing.T) {
		a, b := open(t), open(t)
		tags := []string{"ThreatActor", "threatactor:g0034", "{a}b", "a b\r\n%", "ключ", "\xff\xfe", "", strings.Repeat("x", 5000), "*"}
		_, first := load(t, a, 1, tags...)
		for _, s := range []cache.Shared{b, a} {
			if _, gens := load(t, s, 1, tags...); !slices.Equal(gens, first) {
				t.Fatalf("%v, and then %v", first, gens)
			}
		}
		if seen := slices.Compact(slices.Sorted(slices.Values(first))); len(seen) != len(tags) {
			t.Errorf("two tags have the same generation: %v", first)
		}
		before := first
		for i, tag := range tags {
			if err := a.Invalidate(within(t, patience), []string{tag}); err != nil {
				t.Fatal(err)
			}
			// At once: processes of one host tell each other in another way.
			_, gens := load(t, b, 1, tags...)
			if gens[i] == before[i] {
				t.Errorf("%q has the generation of before", tag)
			}
			for j := range tags {
				if i != j && gens[j] != before[j] {
					t.Errorf("%q was invalidated, and %q has another generation", tag, tags[j])
				}
			}
			before = gens
		}
		if _, gens := load(t, a, 1, "THREATACTOR", "ThreatActor:G0034"); !slices.Equal(gens, before[:2]) {
			t.Error("the case matters")
		}
		if err := b.Invalidate(within(t, patience), []string{"TAG"}); err != nil { // that nobody has
			t.Fatal(err)
		}
		if err := b.Invalidate(within(t, patience), nil); err != nil {
			t.Fatal(err)
		}
		many := make([]string, 1000)
		for i := range many {
			many[i] = fmt.Sprint("many:", i)
		}
		_, first = load(t, a, 1, many...)
		if err := b.Invalidate(within(t, patience), many); err != nil {
			t.Fatal(err)
		}
		_, gens := load(t, a, 1, many...)
		for i := range gens {
			if gens[i] == first[i] {
				t.Errorf("%q has the generation of before", many[i])
			}
		}
	})

	t.Run("tags that nobody has read are given one generation by all at once", func(t *testing.T) {
		stores := []cache.Shared{open(t), open(t), open(t)}
		for i := range 20 {
			tags := []string{fmt.Sprint("new:", i), fmt.Sprint("newer:", i)}
			var wg sync.WaitGroup
			got := make([][]cache.Generation, 4*len(stores))
			for j := range got {
				wg.Go(func() { _, got[j] = load(t, stores[j%len(stores)], i, tags...) })
			}
			wg.Wait()
			for _, gens := range got {
				if !slices.Equal(gens, got[0]) {
					t.Fatalf("%v", got)
				}
			}
		}
	})

	t.Run("who has loaded a tag is told of its change", func(t *testing.T) {
		a, b := open(t), open(t)
		ears := []*ear{listen(a), listen(b)}
		for i, by := range []cache.Shared{a, b, a} {
			ears[0].settle(t, a, "X", "y")
			ears[1].settle(t, b, "x", "Y")
			if err := by.Invalidate(within(t, patience), []string{"X"}); err != nil {
				t.Fatal(err)
			}
			for j, e := range ears {
				t.Logf("round %d, host %d: told after %v", i, j, e.await(t, "x").Round(time.Microsecond))
			}
		}
	})

	t.Run("locks", func(t *testing.T) {
		a, b := open(t), open(t)
		lock := func(s cache.Shared, n int, token string, ttl time.Duration, want bool) {
			t.Helper()
			if ok, err := s.Lock(within(t, patience), key(n), token, ttl); err != nil || ok != want {
				t.Fatalf("%v, %v, and not %v", ok, err, want)
			}
		}
		unlock := func(s cache.Shared, n int, token string) {
			t.Helper()
			if err := s.Unlock(within(t, patience), key(n), token); err != nil {
				t.Fatal(err)
			}
		}
		lock(a, 1, "a", time.Minute, true)
		lock(b, 1, "b", time.Minute, false)
		lock(a, 1, "a", time.Minute, false)
		lock(b, 2, "b", time.Minute, true)
		lock(b, 102, "b", time.Minute, true)
		unlock(b, 1, "b") // it is not b's
		lock(b, 1, "b", time.Minute, false)
		unlock(a, 1, "a")
		lock(b, 1, "b", time.Minute, true)
		unlock(a, 1, "a") // too late
		lock(a, 1, "a", time.Minute, false)
		unlock(b, 1, "b")
		unlock(b, 3, "b") // there never was one
		lock(a, 1, "a", 10*time.Millisecond, true)
		eventually(t, func() error {
			if ok, err := b.Lock(within(t, patience), key(1), "b", time.Minute); err != nil || !ok {
				return fmt.Errorf("%v, %v after its time", ok, err)
			}
			return nil
		})
		// A lock and a value of one key have nothing to do with each other.
		if value, _ := load(t, a, 102); value != nil {
			t.Errorf("a lock is a value: %q", value)
		}
	})

	t.Run("what is believed is never older than what was told", func(t *testing.T) {
		believe(t, open(t), open(t), 100)
	})

	t.Run("contexts", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := s.Load(ctx, key(1), []string{"a"}); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})

	t.Run("after Close", func(t *testing.T) {
		s := open(t)
		s.Close()
		s.Close()
		if _, _, err := s.Load(t.Context(), key(1), nil); err == nil {
			t.Error("it loads")
		}
		if err := s.Store(t.Context(), key(1), []byte("x"), time.Minute); err == nil {
			t.Error("it stores")
		}
		if err := s.Invalidate(t.Context(), []string{"a"}); err == nil {
			t.Error("it invalidates")
		}
		if ok, err := s.Lock(t.Context(), key(1), "a", time.Minute); err == nil || ok {
			t.Error("it locks")
		}
		if err := s.Unlock(t.Context(), key(1), "a"); err == nil {
			t.Error("it unlocks")
		}
	})
}

// ear hears what a store tells.
type ear struct {
	mu   sync.Mutex
	told map[string]int
	lost int
}

func listen(s cache.Shared) *ear {
	e := &ear{told: map[string]int{}}
	s.Watch(func(tag string) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.told[tag]++
	}, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.lost++
	})
	return e
}

func (e *ear) clear() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.told)
	e.lost = 0
}

func (e *ear) heard(tag string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.told[tag] > 0 || e.lost > 0 {
		return nil
	}
	return fmt.Errorf("nothing was told of %q, but of %.500s", tag, fmt.Sprint(e.told))
}

// settle loads tags until nothing more is told of them: a store may tell also of what it has set
// itself.
func (e *ear) settle(t testing.TB, s cache.Shared, tags ...string) {
	t.Helper()
	eventually(t, func() error {
		e.clear()
		load(t, s, 1, tags...)
		time.Sleep(5 * time.Millisecond)
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.told)+e.lost > 0 {
			return fmt.Errorf("it is still told of %.500s", fmt.Sprint(e.told))
		}
		return nil
	})
}

func (e *ear) await(t testing.TB, tag string) time.Duration {
	t.Helper()
	return eventually(t, func() error { return e.heard(tag) })
}

func (e *ear) hasLost() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost > 0 {
		return nil
	}
	return errors.New("it does not know that it was lost")
}

// belief is what a cache makes of what it loads and is told: a generation is believed from when it was
// loaded until something is told of its tag, and not at all if that was while it was loaded.
type belief struct {
	mu    sync.Mutex
	moved uint64
	is    cache.Generation
}

func (b *belief) move() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moved++
	b.is = 0
}

// believe has many load a tag of a store while another invalidates it, and after each invalidation looks that all
// believe in the new generation or in none, but for the time that it takes to tell.
func believe(t *testing.T, reader, writer cache.Shared, rounds int) {
	var b belief
	reader.Watch(func(tag string) {
		if tag == "tag" {
			b.move()
		}
	}, b.move)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				b.mu.Lock()
				moved := b.moved
				b.mu.Unlock()
				_, gens, err := reader.Load(within(t, patience), key(1), []string{"tag", "other"})
				if err != nil {
					continue
				}
				b.mu.Lock()
				if b.moved == moved {
					b.is = gens[0]
				}
				b.mu.Unlock()
			}
		})
	}
	for range rounds {
		b.mu.Lock()
		old := b.is
		b.mu.Unlock()
		eventually(t, func() error { return writer.Invalidate(within(t, patience), []string{"tag"}) })
		eventually(t, func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if old != 0 && b.is == old {
				return errors.New("the generation of before is believed in")
			}
			return nil
		})
		_, truth := load(t, writer, 1, "tag")
		eventually(t, func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.is != truth[0] {
				return errors.New("nobody believes in the present generation")
			}
			return nil
		})
	}
}
