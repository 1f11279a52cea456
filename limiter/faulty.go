package limiter

import (
	"maps"
	"sync"
	"sync/atomic"
)

// faulty are keys that a call has failed for lately. For faultyFor nobody asks about them: they
// may be at a part of the source that is away, and others are not to wait behind them.
type faulty struct {
	some  atomic.Bool
	mu    sync.Mutex
	since map[flightKey]int64
}

const (
	faultyFor = 2 * int64(probeEvery)
	maxFaulty = 4096 // when there would be more all are forgotten, and asked for before it is time
)

func (f *faulty) isThere(k flightKey, now int64) bool {
	if !f.some.Load() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	since, ok := f.since[k]
	return ok && now-since < faultyFor
}

func (f *faulty) add(k flightKey, now int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.since == nil || len(f.since) == maxFaulty {
		f.since = map[flightKey]int64{}
	}
	f.since[k] = now
	f.some.Store(true)
}

func (f *faulty) remove(k flightKey) {
	if !f.some.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.since, k)
	f.some.Store(len(f.since) > 0)
}

// forget forgets those about which nobody has asked again since it was time.
func (f *faulty) forget(now int64) {
	if !f.some.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.since, func(_ flightKey, since int64) bool { return now-since >= faultyFor })
	f.some.Store(len(f.since) > 0)
}
