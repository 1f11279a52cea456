// Package cachetest has what every [cache.Shared] must keep to, and a store in memory that does,
// whose connections can be held and cut.
package cachetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nekoctl/neko/cache"
)

// Store is what several hosts share. It needs no server, and no goroutine.
type Store struct {
	mu     sync.Mutex
	values map[cache.Key]value
	gens   map[string]cache.Generation
	locks  map[cache.Key]lock
	hosts  []*Host
}

type value struct {
	bytes []byte
	until time.Time
}

type lock struct {
	token string
	until time.Time
}

// NewStore has nothing in it.
func NewStore() *Store {
	return &Store{values: map[cache.Key]value{}, gens: map[string]cache.Generation{}, locks: map[cache.Key]lock{}}
}

// Remove forgets a host that was closed.
func (s *Store) Remove(h *Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts = slices.DeleteFunc(s.hosts, func(other *Host) bool { return other == h })
}

// Host is the connection of one host to a [Store].
type Host struct {
	store *Store

	// With the store's mu:
	changed func(tag string)
	lost    func()
	hook    func(ctx context.Context, call Call) error
	tracked map[string]bool
	holding bool
	held    []func() // what it is to be told
	cut     bool
	closed  bool
	calls   map[string]int
}

// Call is a call of a method of [cache.Shared] that is about to be done, or was done and has not
// returned yet.
type Call struct {
	Method string // "Load", "Store", "Invalidate", "Lock", "Unlock"
	Done   bool
}

// ErrCut is what calls return while the connection is cut.
var ErrCut = errors.New("cachetest: the connection is cut")

// Open is another host.
func (s *Store) Open() *Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &Host{store: s, tracked: map[string]bool{}, calls: map[string]int{}}
	s.hosts = append(s.hosts, h)
	return h
}

// Hook has f called before and after each call is done, without any lock. An error of it is what
// the call returns.
func (h *Host) Hook(f func(ctx context.Context, call Call) error) {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.hook = f
}

// Hold keeps back what the host is to be told of changes.
func (h *Host) Hold() {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.holding = true
}

// Release tells it.
func (h *Host) Release() {
	h.store.mu.Lock()
	held := h.held
	h.held, h.holding = nil, false
	h.store.mu.Unlock()
	run(held)
}

// Cut breaks the connection: what was on its way is lost, and the host is told so.
func (h *Host) Cut() {
	h.store.mu.Lock()
	h.cut, h.held = true, nil
	clear(h.tracked)
	lost := h.lost
	h.store.mu.Unlock()
	if lost != nil {
		lost()
	}
}

// Mend ends that.
func (h *Host) Mend() {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.cut = false
}

// Calls is how often a method was called, and was not refused because the connection was cut.
func (h *Host) Calls(method string) int {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	return h.calls[method]
}

// Forget drops the generations of tags, as a server does that needs room.
func (s *Store) Forget(tags ...string) {
	s.mu.Lock()
	for _, tag := range tags {
		delete(s.gens, tag)
	}
	tell := s.changed(tags)
	s.mu.Unlock()
	run(tell)
}

// Flush drops all.
func (s *Store) Flush() {
	s.mu.Lock()
	clear(s.values)
	clear(s.locks)
	clear(s.gens)
	var tell []func()
	for _, h := range s.hosts {
		clear(h.tracked)
		tell = h.queue(tell, h.lost)
	}
	s.mu.Unlock()
	run(tell)
}

// Keys are those of the values that the store has.
func (s *Store) Keys() (keys []cache.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.values {
		if time.Now().Before(v.until) {
			keys = append(keys, k)
		}
	}
	return keys
}

// Damage changes what is stored under a key.
func (s *Store) Damage(key cache.Key, how func([]byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.values[key]
	v.bytes = how(slices.Clone(v.bytes))
	s.values[key] = v
}

// changed is whom to tell that tags have changed, of all that know one of them.
func (s *Store) changed(tags []string) (tell []func()) {
	for _, tag := range tags {
		for _, h := range s.hosts {
			if h.tracked[tag] {
				delete(h.tracked, tag)
				changed := h.changed
				tell = h.queue(tell, func() { changed(tag) })
			}
		}
	}
	return tell
}

func run(all []func()) {
	for _, f := range all {
		f()
	}
}

// queue is what is to be told at once, after f.
func (h *Host) queue(now []func(), f func()) []func() {
	switch {
	case f == nil || h.closed || h.cut:
	case h.holding:
		h.held = append(h.held, f)
	default:
		now = append(now, f)
	}
	return now
}

// call does f, with the lock, and then what is to be done without it.
func (h *Host) call(ctx context.Context, method string, f func(), then ...func()) error {
	h.store.mu.Lock()
	hook := h.hook
	h.store.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, Call{Method: method}); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.do(method, f); err != nil {
		return err
	}
	run(then)
	if hook != nil {
		if err := hook(ctx, Call{Method: method, Done: true}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (h *Host) do(method string, f func()) error {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	if h.closed {
		return errors.New("cachetest: closed")
	}
	if h.cut {
		return ErrCut
	}
	h.calls[method]++
	f()
	return nil
}

// Watch is of [cache.Shared], like all that follows.
func (h *Host) Watch(changed func(tag string), lost func()) {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.changed, h.lost = changed, lost
}

func (h *Host) Load(ctx context.Context, key cache.Key, tags []string) (found []byte, gens []cache.Generation, err error) {
	err = h.call(ctx, "Load", func() {
		s := h.store
		if v, ok := s.values[key]; ok && time.Now().Before(v.until) {
			found = slices.Clone(v.bytes)
		}
		for _, tag := range tags {
			if s.gens[tag] == 0 {
				s.gens[tag] = generation()
			}
			h.tracked[tag] = true
			gens = append(gens, s.gens[tag])
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return found, gens, nil
}

func generation() cache.Generation { return cache.Generation(rand.Uint64() | 1) }

func (h *Host) Store(ctx context.Context, key cache.Key, b []byte, ttl time.Duration) error {
	return h.call(ctx, "Store", func() {
		h.store.values[key] = value{slices.Clone(b), time.Now().Add(ttl)}
	})
}

func (h *Host) Invalidate(ctx context.Context, tags []string) error {
	var tell []func()
	err := h.call(ctx, "Invalidate", func() {
		for _, tag := range tags {
			h.store.gens[tag] = generation()
		}
		tell = h.store.changed(tags)
	}, func() { run(tell) })
	return err
}

func (h *Host) Lock(ctx context.Context, key cache.Key, token string, ttl time.Duration) (won bool, err error) {
	err = h.call(ctx, "Lock", func() {
		now := time.Now()
		if l, ok := h.store.locks[key]; !ok || !now.Before(l.until) {
			h.store.locks[key] = lock{token, now.Add(ttl)}
			won = true
		}
	})
	return won && err == nil, err
}

func (h *Host) Unlock(ctx context.Context, key cache.Key, token string) error {
	return h.call(ctx, "Unlock", func() {
		if h.store.locks[key].token == token {
			delete(h.store.locks, key)
		}
	})
}

func (h *Host) Close() {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.closed = true
	h.held = nil
	clear(h.tracked)
}

var _ cache.Shared = (*Host)(nil)
