package auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// How long what the store has said is taken for true, how long it is waited for,
// and when it is asked again after it has not answered. The first two make
// [TakesEffect].
const (
	freshFor   = 3 * time.Second
	askTimeout = time.Second
	askAgain   = time.Second
)

// maxStale is how long what was true is still taken for true while the store does
// not answer.
const maxStale = 10 * time.Minute

// maxKnown bounds what one fresh remembers, in number.
const maxKnown = 10_000

// fresh is what the store says by id, remembered for [freshFor]. What is not there
// is not remembered: anybody can make up ids, and would put others out. Of many
// that ask for one id at once, one asks the store.
type fresh[V any] struct {
	now  func() time.Time
	load func(ctx context.Context, id string) (V, error)
	mu   sync.Mutex
	by   map[string]*fact[V]
}

// fact is what is known about one id.
type fact[V any] struct {
	mu    sync.Mutex
	value V
	asked time.Time // when; zero: nothing is known
	down  error     // why the store did not answer
	again time.Time // when to ask it again
}

func newFresh[V any](now func() time.Time, load func(ctx context.Context, id string) (V, error)) *fresh[V] {
	return &fresh[V]{now: now, load: load, by: map[string]*fact[V]{}}
}

// get returns what the store says of id, or has said a moment ago. While the store
// does not answer, what it has said is good for [maxStale].
func (f *fresh[V]) get(ctx context.Context, id string) (V, error) {
	return f.ask(ctx, id, f.now().Add(-freshFor), maxStale)
}

// anew returns what the store says of id now: nothing that it was asked before this
// call, and an error if it does not answer. Calls that come while it is asked share
// the next answer, so that a flood of them asks one question at a time.
func (f *fresh[V]) anew(ctx context.Context, id string) (V, error) {
	return f.ask(ctx, id, f.now(), 0)
}

// ask returns what the store was asked after that time, or, while it does not
// answer, what is not older than stale.
func (f *fresh[V]) ask(ctx context.Context, id string, after time.Time, stale time.Duration) (V, error) {
	k := f.fact(id)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked.After(after) {
		return k.value, nil
	}
	began := f.now()
	var none V
	if !began.Before(k.again) {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		v, err := f.load(ctx, id)
		switch {
		case err == nil:
			k.value, k.asked, k.down = v, began, nil
			return v, nil
		case errors.Is(err, store.ErrNotFound):
			k.asked = time.Time{}
			f.forget(id, k)
			return none, err
		}
		k.down, k.again = err, f.now().Add(askAgain)
	}
	if !k.asked.IsZero() && began.Sub(k.asked) < stale {
		return k.value, nil
	}
	return none, k.down
}

// known returns what get would, if it would neither ask the store nor wait.
func (f *fresh[V]) known(id string, now time.Time) (v V, ok bool) {
	f.mu.Lock()
	k := f.by[id]
	f.mu.Unlock()
	if k == nil || !k.mu.TryLock() { // somebody is asking
		return v, false
	}
	defer k.mu.Unlock()
	switch {
	case k.asked.After(now.Add(-freshFor)):
	case now.Before(k.again) && !k.asked.IsZero() && now.Sub(k.asked) < maxStale: // it does not answer
	default:
		return v, false
	}
	return k.value, true
}

func (f *fresh[V]) fact(id string) *fact[V] {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.by[id]
	if k == nil {
		makeRoom(f.by, maxKnown)
		k = &fact[V]{}
		f.by[id] = k
	}
	return k
}

// forget drops k, if it is still what is known about id.
func (f *fresh[V]) forget(id string, k *fact[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by[id] == k {
		delete(f.by, id)
	}
}

// makeRoom forgets a quarter of m, whichever, if it has max entries.
func makeRoom[K comparable, V any](m map[K]V, max int) {
	if len(m) < max {
		return
	}
	n := max / 4
	for k := range m {
		if n--; n < 0 {
			return
		}
		delete(m, k)
	}
}
