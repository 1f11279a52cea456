package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/cache"
)

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

// more is what cachetest does not ask.
func more(t *testing.T, open func(t *testing.T) *Store) {
	t.Run("tags have any name", func(t *testing.T) {
		a, b := open(t), open(t)
		tags := []string{"ThreatActor", "threatactor:g0034", "{a}b", "a b\r\n%", "ключ", "\xff\xfe", "", strings.Repeat("x", 5000), "*"}
		_, first := load(t, a, 1, tags...)
		if seen := slices.Compact(slices.Sorted(slices.Values(first))); len(seen) != len(tags) {
			t.Errorf("two tags have the same generation: %v", first)
		}
		e := listen(b)
		before := first
		for i, tag := range tags {
			e.settle(t, b, tags...)
			if err := a.Invalidate(within(t, patience), []string{tag}); err != nil {
				t.Fatal(err)
			}
			e.await(t, tag)
			_, gens := load(t, b, 1, tags...)
			for j := range tags {
				if (i == j) != (gens[j] != before[j]) {
					t.Errorf("%.20q was invalidated; of %.20q there was %d and is %d", tag, tags[j], before[j], gens[j])
				}
			}
			before = gens
		}
		if err := b.Invalidate(within(t, patience), nil); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("what is believed is never older than what was told", func(t *testing.T) {
		believe(t, open(t), open(t), 40)
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
		eventually(t, func() error {
			// Not once and for all: who has lost a connection meanwhile, or met another node of a
			// Cluster, invalidates again by himself.
			_, truth := load(t, writer, 1, "tag")
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.is != truth[0] {
				return errors.New("nobody believes in the present generation")
			}
			return nil
		})
	}
}
