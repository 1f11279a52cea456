package cachetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nekoctl/neko/cache"
)

// Suite makes what is to be tested.
type Suite struct {
	// Open makes n hosts' connections to one store. They are closed at the end of the test; Watch was
	// not called yet.
	Open func(t *testing.T, n int) []cache.Shared
	// Forget makes that store forget the generations of tags.
	Forget func(t *testing.T, tags ...string)
	// Cut breaks all connections that Open has made, for a moment.
	Cut func(t *testing.T)
}

// patience is for what takes a round trip and is waited for.
const patience = 10 * time.Second

// Run runs all tests, each with connections of its own.
func (s Suite) Run(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(Suite, *testing.T)
	}{
		{"What is stored is loaded by all", Suite.values},
		{"Values go when their time is over", Suite.expiry},
		{"A tag keeps its generation until it is invalidated", Suite.keep},
		{"Whoever loads after an invalidation has the new generation", Suite.atOnce},
		{"All who see a tag for the first time see the same", Suite.first},
		{"Who has loaded a tag is told when it changes", Suite.told},
		{"No change is missed by who loads meanwhile", Suite.race},
		{"A tag that was forgotten gets what it never had", Suite.forgotten},
		{"Who is cut off is told that he has lost all", Suite.cut},
		{"One has the lock", Suite.lock},
		{"A lock ends by itself", Suite.lockExpiry},
		{"Contexts are heeded", Suite.contexts},
		{"What is closed answers with errors", Suite.closed},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(s, t) })
	}
}

// host is a connection, and what it was told.
type host struct {
	cache.Shared
	mu      sync.Mutex
	changes map[string]int
	lost    int
}

func (s Suite) open(t *testing.T, n int) []*host {
	t.Helper()
	var hosts []*host
	for _, shared := range s.Open(t, n) {
		h := &host{Shared: shared, changes: map[string]int{}}
		h.Watch(func(tag string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changes[tag]++
		}, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.lost++
		})
		hosts = append(hosts, h)
	}
	return hosts
}

func (h *host) told(tag string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changes[tag] + h.lost
}

func (h *host) lostAll() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

func (h *host) load(t *testing.T, key cache.Key, tags ...string) ([]byte, []cache.Generation) {
	t.Helper()
	b, gens, err := h.Load(soon(t), key, tags)
	if err != nil {
		t.Fatal(err)
	}
	if len(gens) != len(tags) || slices.Contains(gens, 0) {
		t.Fatalf("of %q there are the generations %d", tags, gens)
	}
	return b, gens
}

func (h *host) generation(t *testing.T, tag string) cache.Generation {
	t.Helper()
	_, gens := h.load(t, randomKey(), tag)
	return gens[0]
}

func (h *host) invalidate(t *testing.T, tags ...string) {
	t.Helper()
	if err := h.Invalidate(soon(t), tags); err != nil {
		t.Fatal(err)
	}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func randomKey() (k cache.Key) {
	rand.Read(k[:])
	return k
}

// tag is one that nobody else has.
func tag(name string) string { return name + ":" + rand.Text() }

// until waits for something that takes a moment.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("in %v it did not happen: %s", patience, what)
		}
	}
}

func (s Suite) values(t *testing.T) {
	hosts := s.open(t, 2)
	for _, value := range [][]byte{[]byte("x"), {}, {0, 255, '\r', '\n', 0}, bytes.Repeat([]byte("0123456789abcdef"), 1<<16)} {
		key := randomKey()
		if b, _ := hosts[1].load(t, key); b != nil {
			t.Fatalf("%d bytes are there before", len(b))
		}
		for _, v := range [][]byte{[]byte("before"), value} {
			if err := hosts[0].Store(soon(t), key, v, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		for _, h := range hosts {
			if b, _ := h.load(t, key, tag("a"), tag("b")); b == nil || !bytes.Equal(b, value) {
				t.Errorf("%d bytes, not %d", len(b), len(value))
			}
		}
	}
}

func (s Suite) expiry(t *testing.T) {
	h := s.open(t, 1)[0]
	key, longer := randomKey(), randomKey()
	for k, ttl := range map[cache.Key]time.Duration{key: 150 * time.Millisecond, longer: time.Minute} {
		if err := h.Store(soon(t), k, []byte("x"), ttl); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "a value goes", func() bool { b, _ := h.load(t, key); return b == nil })
	if b, _ := h.load(t, longer); b == nil {
		t.Error("the other one has gone, too")
	}
}

func (s Suite) keep(t *testing.T) {
	hosts := s.open(t, 2)
	var tags []string
	for i := range 300 {
		tags = append(tags, tag(fmt.Sprint("t", i)))
	}
	tags = append(tags, "a tag with { } and ü "+rand.Text())
	_, gens := hosts[0].load(t, randomKey(), tags...)
	for _, h := range hosts {
		for range 3 {
			if _, again := h.load(t, randomKey(), tags...); !slices.Equal(again, gens) {
				t.Fatal("generations have moved")
			}
		}
	}
	hosts[1].invalidate(t, tags[100:]...)
	for _, h := range hosts {
		_, after := h.load(t, randomKey(), tags...)
		if !slices.Equal(after[:100], gens[:100]) {
			t.Error("tags that nobody has invalidated have moved")
		}
		for i := 100; i < len(tags); i++ {
			if after[i] == gens[i] {
				t.Errorf("tag %d of %d still has its generation", i, len(tags))
			}
		}
	}
}

func (s Suite) atOnce(t *testing.T) {
	hosts := s.open(t, 3)
	name := tag("t")
	seen := map[cache.Generation]bool{}
	for i := range 300 {
		for _, h := range hosts { // whoever remembers it does so now
			seen[h.generation(t, name)] = true
		}
		if len(seen) != i+1 {
			t.Fatalf("%d generations after %d invalidations", len(seen), i)
		}
		hosts[i%3].invalidate(t, name)
		for _, h := range hosts {
			if seen[h.generation(t, name)] {
				t.Fatal("an invalidation has returned, and the generation is one from before")
			}
		}
	}
}

func (s Suite) first(t *testing.T) {
	hosts := s.open(t, 3)
	for range 30 {
		name := tag("t")
		gens := make([]cache.Generation, 2*len(hosts))
		var all sync.WaitGroup
		for i := range gens {
			all.Go(func() {
				_, g, err := hosts[i%len(hosts)].Load(soon(t), randomKey(), []string{name})
				if err != nil || len(g) != 1 {
					t.Error(err, g)
					return
				}
				gens[i] = g[0]
			})
		}
		all.Wait()
		for _, g := range gens {
			if g != gens[0] || g == 0 {
				t.Fatalf("they see %d", gens)
			}
		}
	}
}

func (s Suite) told(t *testing.T) {
	hosts := s.open(t, 3)
	name, other := tag("t"), tag("other")
	for round := range 5 {
		var before []int
		for _, h := range hosts {
			h.generation(t, name)
			h.generation(t, other)
			before = append(before, h.told(name))
		}
		hosts[round%3].invalidate(t, name)
		for i, h := range hosts {
			until(t, "a host is told", func() bool { return h.told(name) > before[i] })
		}
	}
	for _, h := range hosts {
		if h.told(other) != h.lostAll() {
			t.Error("it was told of a tag that has not changed")
		}
	}
}

func (s Suite) race(t *testing.T) {
	hosts := s.open(t, 3)
	name := tag("t")
	type seen struct {
		host, told int
		gen        cache.Generation
	}
	var last [3]atomic.Pointer[seen]
	var all sync.WaitGroup
	for i, h := range hosts {
		all.Go(func() {
			for n := range 200 {
				told := h.told(name)
				_, gens, err := h.Load(soon(t), randomKey(), []string{name})
				if err != nil || len(gens) != 1 {
					t.Error(err, gens)
					return
				}
				last[i].Store(&seen{i, told, gens[0]})
				if n%3 == i {
					if err := h.Invalidate(soon(t), []string{name}); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	_, gens := hosts[0].load(t, randomKey(), name)
	for i, h := range hosts {
		s := last[i].Load()
		until(t, "who has an old generation is told", func() bool { return s.gen == gens[0] || h.told(name) != s.told })
	}
}

func (s Suite) forgotten(t *testing.T) {
	if s.Forget == nil {
		t.Skip("it cannot be made to forget")
	}
	hosts := s.open(t, 2)
	name := tag("t")
	seen := map[cache.Generation]bool{}
	for round := range 5 {
		var before []int
		for _, h := range hosts {
			seen[h.generation(t, name)] = true
			before = append(before, h.told(name))
		}
		if len(seen) != round+1 {
			t.Fatalf("%d generations", len(seen))
		}
		s.Forget(t, name)
		for i, h := range hosts {
			until(t, "a host is told", func() bool { return h.told(name) > before[i] })
			if seen[h.generation(t, name)] {
				t.Fatal("the generation is one from before")
			}
		}
	}
}

func (s Suite) cut(t *testing.T) {
	if s.Cut == nil {
		t.Skip("it cannot be cut")
	}
	hosts := s.open(t, 2)
	name := tag("t")
	for _, h := range hosts {
		h.generation(t, name)
	}
	s.Cut(t)
	for _, h := range hosts {
		until(t, "a host is told that it has lost all", func() bool { return h.lostAll() > 0 })
		until(t, "it is back", func() bool {
			_, _, err := h.Load(soon(t), randomKey(), []string{name})
			return err == nil
		})
	}
	for i, h := range hosts { // and told again of what changes
		h.generation(t, name)
		before := h.told(name)
		hosts[1-i].invalidate(t, name)
		until(t, "a host is told", func() bool { return h.told(name) > before })
	}
}

func (s Suite) lock(t *testing.T) {
	hosts := s.open(t, 3)
	for range 20 {
		key := randomKey()
		var winner atomic.Pointer[string]
		var won atomic.Int32
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				token := rand.Text()
				ok, err := hosts[i%3].Lock(soon(t), key, token, time.Minute)
				if err != nil {
					t.Error(err)
				}
				if ok {
					won.Add(1)
					winner.Store(&token)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d have the lock", won.Load())
		}
		if err := hosts[0].Unlock(soon(t), key, "somebody else's"); err != nil {
			t.Fatal(err)
		}
		if ok, err := hosts[1].Lock(soon(t), key, "x", time.Minute); ok || err != nil {
			t.Fatal("somebody else has unlocked it:", err)
		}
		if ok, err := hosts[1].Lock(soon(t), randomKey(), "x", time.Minute); !ok || err != nil {
			t.Fatal("another key is locked, too:", err)
		}
		if err := hosts[2].Unlock(soon(t), key, *winner.Load()); err != nil {
			t.Fatal(err)
		}
		if ok, err := hosts[1].Lock(soon(t), key, "x", time.Minute); !ok || err != nil {
			t.Fatal("it stays locked:", err)
		}
	}
}

func (s Suite) lockExpiry(t *testing.T) {
	hosts := s.open(t, 2)
	key := randomKey()
	if ok, err := hosts[0].Lock(soon(t), key, "first", 150*time.Millisecond); !ok || err != nil {
		t.Fatal(err)
	}
	until(t, "the lock ends", func() bool {
		ok, err := hosts[1].Lock(soon(t), key, "second", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	})
	if err := hosts[0].Unlock(soon(t), key, "first"); err != nil {
		t.Fatal(err)
	}
	if ok, err := hosts[0].Lock(soon(t), key, "third", time.Minute); ok || err != nil {
		t.Error("who was too late has unlocked it:", err)
	}
}

// calls are one of each.
func (h *host) calls() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Load": func(ctx context.Context) error {
			_, _, err := h.Load(ctx, randomKey(), []string{tag("t")})
			return err
		},
		"Store":      func(ctx context.Context) error { return h.Store(ctx, randomKey(), []byte("x"), time.Minute) },
		"Invalidate": func(ctx context.Context) error { return h.Invalidate(ctx, []string{tag("t")}) },
		"Lock": func(ctx context.Context) error {
			_, err := h.Lock(ctx, randomKey(), "x", time.Minute)
			return err
		},
		"Unlock": func(ctx context.Context) error { return h.Unlock(ctx, randomKey(), "x") },
	}
}

func (s Suite) contexts(t *testing.T) {
	h := s.open(t, 1)[0]
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for name, call := range h.calls() {
		if err := call(ended); err == nil {
			t.Errorf("%s does what nobody waits for", name)
		}
		if err := call(soon(t)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (s Suite) closed(t *testing.T) {
	h := s.open(t, 1)[0]
	h.Close()
	h.Close()
	for name, call := range h.calls() {
		if err := call(soon(t)); err == nil {
			t.Errorf("%s is done", name)
		}
	}
}
