package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	. "github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/cachetest"
	"github.com/nekoctl/neko/hostmem"
)

// The model: data are a number for each tag, which a change increases. An answer says the numbers
// of its tags. Two workers are on one host, and two on hosts of their own. What must hold for
// whoever asks:
//
//   - He is told no number from before an Invalidate that had returned on his host.
//   - If his host is connected with the shared store, and nothing that it is to be told is held
//     back: no number from before a change that the store had heard of.
//   - If that is so, or was not so for less than lag, the same of what the store had heard of a lag ago,
//     unless he is told that the answer is served on error.
//   - No answer is served beyond its time.
const lag = DefaultUnconfirmedMaxAge

var modelTags = [][]string{{"T:0"}, {"t:0", "T:1"}, {"T:2"}, {"T:1", "T:2", "t:3"}}

const modelWorkers = 4

func hostOf(worker int) int { return max(worker-1, 0) }

type numbers [4]int64

func tagNumber(tag string) int { return int(tag[len(tag)-1] - '0') }

// step is one of what happens.
type step struct {
	What   string
	Worker int
	Key    int
	For    time.Duration
	Fails  bool
}

func (s step) String() string {
	return fmt.Sprintf("%s worker %d key %d for %v fails %v", s.What, s.Worker, s.Key, s.For, s.Fails)
}

var steps = rapid.Custom(func(t *rapid.T) step {
	return step{
		What: rapid.SampledFrom([]string{
			"get", "get", "get", "get", "get", "get", "get", "get", "change", "change", "change", "wait", "wait", "wait",
			"cut", "mend", "mend", "hold", "release", "release", "forget", "flush", "purge", "evict", "evict", "lose",
		}).Draw(t, "what"),
		Worker: rapid.IntRange(0, modelWorkers-1).Draw(t, "worker"),
		Key:    rapid.IntRange(0, len(modelTags)-1).Draw(t, "key"),
		For: rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, 30 * time.Millisecond, time.Second,
			4 * time.Second, 11 * time.Second, 50 * time.Second}).Draw(t, "for"),
		Fails: rapid.IntRange(0, 3).Draw(t, "fails") == 0,
	}
})

// modelWorld is what the steps happen to.
type modelWorld struct {
	t       *testing.T
	store   *cachetest.Store
	workers []*Cache
	links   []*modelLink
	began   time.Time
	all     sync.WaitGroup

	mu     sync.Mutex
	data   numbers
	host   [3]numbers // what has been invalidated there
	heard  []hearing  // what the store has heard of
	faults []string
}

type hearing struct {
	at   time.Time
	what numbers
}

type modelLink struct {
	*cachetest.Host
	w *modelWorld
	// With the mu of w:
	cut, holds bool
	strict     time.Time // since when it is neither, if it is not
}

// Invalidate notes what the store has heard of.
func (l *modelLink) Invalidate(ctx context.Context, tags []string) error {
	l.w.mu.Lock()
	what := l.w.data
	l.w.mu.Unlock()
	if err := l.Host.Invalidate(ctx, tags); err != nil {
		return err
	}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	now := l.w.known(time.Now())
	for _, tag := range tags {
		if tag == Everything {
			now = what
			break
		}
		for n := range now {
			if NameInShared(fmt.Sprint("T:", n)) == tag {
				now[n] = max(now[n], what[n])
			}
		}
	}
	l.w.heard = append(l.w.heard, hearing{time.Now(), now})
	return nil
}

// known is what the store had heard of at a time.
func (w *modelWorld) known(at time.Time) (n numbers) {
	for _, h := range w.heard {
		if !h.at.After(at) {
			n = h.what
		}
	}
	return n
}

func (w *modelWorld) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf("%v: ", time.Since(w.began))+fmt.Sprintf(format, args...))
}

func newModelWorld(t *testing.T) *modelWorld {
	w := &modelWorld{t: t, store: cachetest.NewStore(), began: time.Now()}
	mapping, dir := anonymous(t), t.TempDir()
	for i := range modelWorkers {
		var m *hostmem.Mapping
		if hostOf(i) == 0 {
			m = mapping
		}
		l := &modelLink{Host: w.store.Open(), w: w}
		w.links = append(w.links, l)
		w.workers = append(w.workers, open(t, Options{Shared: l, Memory: m, Reserve: openReserve(t, dir)}))
	}
	return w
}

func (w *modelWorld) step(s step) {
	l := w.links[s.Worker]
	switch s.What {
	case "get":
		w.get(s)
	case "change":
		w.mu.Lock()
		tags := modelTags[s.Key]
		for _, tag := range tags {
			w.data[tagNumber(tag)]++
		}
		w.mu.Unlock()
		w.invalidate(s.Worker, tags...)
	case "purge":
		w.invalidate(s.Worker, Everything)
	case "wait":
		time.Sleep(s.For)
	case "cut":
		w.mu.Lock()
		l.cut = true
		w.mu.Unlock()
		l.Cut()
	case "mend":
		l.Mend()
		w.mu.Lock()
		if l.cut {
			l.strict = time.Now()
		}
		l.cut = false
		w.mu.Unlock()
	case "hold":
		w.mu.Lock()
		l.holds = true
		w.mu.Unlock()
		l.Hold()
	case "release":
		l.Release()
		w.mu.Lock()
		l.holds = false
		w.mu.Unlock()
	case "evict":
		Evict(w.workers[s.Worker])
	case "lose": // an answer, not its tags
		w.store.Damage(key(s.Key), func([]byte) []byte { return nil })
	case "forget":
		w.store.Forget(NameInShared(modelTags[s.Key][0]))
	case "flush":
		w.store.Flush()
	}
	synctest.Wait()
}

func (w *modelWorld) invalidate(worker int, tags ...string) {
	w.mu.Lock()
	what := w.data
	w.mu.Unlock()
	w.all.Go(func() {
		if err := w.workers[worker].Invalidate(context.Background(), tags...); err != nil && !errors.Is(err, ErrLater) {
			w.fault("Invalidate: %v", err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		host := &w.host[hostOf(worker)]
		for _, tag := range tags {
			if tag == Everything {
				*host = what
				break
			}
			host[tagNumber(tag)] = max(host[tagNumber(tag)], what[tagNumber(tag)])
		}
	})
}

// get has somebody ask, and looks what he is told.
func (w *modelWorld) get(s step) {
	tags := modelTags[s.Key]
	w.mu.Lock()
	l, began := w.links[s.Worker], time.Now()
	least, leastOnError := w.host[hostOf(s.Worker)], w.host[hostOf(s.Worker)]
	is := "not connected"
	switch {
	case !l.cut && !l.holds && began.Sub(l.strict) > lag+2*time.Second:
		is = "connected"
		least = atLeast(least, w.known(began))
		leastOnError = least
	case !l.holds:
		least = atLeast(least, w.known(began.Add(-lag-time.Millisecond)))
	}
	w.mu.Unlock()
	fill := func(context.Context) Filled {
		time.Sleep(s.For / 2)
		if s.Fails {
			return Filled{Failed: true, Body: []byte("an error")}
		}
		w.mu.Lock()
		data := w.data
		w.mu.Unlock()
		var b []byte
		for _, tag := range tags {
			b = append(strconv.AppendInt(b, data[tagNumber(tag)], 10), ' ')
		}
		time.Sleep(s.For / 2)
		return Filled{Body: b, Keep: true}
	}
	w.all.Go(func() {
		served, err := w.workers[s.Worker].Get(context.Background(), request(s.Key, tags...), fill)
		if err != nil {
			w.fault("Get: %v", err)
			return
		}
		if served.State == Made && served.Filled.Failed {
			return
		}
		if served.State == StaleOnError {
			least = leastOnError
		}
		said := strings.Fields(body(served))
		for i, tag := range tags {
			if n, err := strconv.ParseInt(said[i], 10, 64); err != nil || n < least[tagNumber(tag)] {
				w.fault("%v, asked at %v (%s), was served with state %d %q (shared %v), of %s at least %d is known", s, began.Sub(w.began), is,
					served.State, body(served), served.Shared, tag, least[tagNumber(tag)])
			}
		}
		if a := served.Answer; a != nil && served.State != Made {
			limit := map[State]time.Duration{
				Fresh: a.Policy.MaxAge, Stale: a.Policy.MaxAge + a.Policy.StaleWhileRevalidate, StaleOnError: a.Policy.MaxAge + a.Policy.StaleIfError,
			}[served.State]
			if age := a.Age(time.Now().UnixMilli()); age > limit {
				w.fault("%v was served with state %d when it was %v old", s, served.State, age)
			}
		}
	})
}

func atLeast(a, b numbers) numbers {
	for i := range a {
		a[i] = max(a[i], b[i])
	}
	return a
}

// settle has all be well again, and everybody ask once more.
func (w *modelWorld) settle() {
	for i := range w.links {
		w.step(step{What: "mend", Worker: i})
		w.step(step{What: "release", Worker: i})
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	w.mu.Lock()
	if w.known(time.Now()) != w.data {
		w.faults = append(w.faults, fmt.Sprintf("the store has heard of %v, and not of %v", w.known(time.Now()), w.data))
	}
	w.mu.Unlock()
	for i := range w.workers {
		for k := range modelTags {
			w.step(step{What: "get", Worker: i, Key: k})
		}
	}
	w.all.Wait()
	for i, c := range w.workers {
		if s := c.Stats(); s.Waiting != 0 || s.SharedAway || s.Panics != 0 {
			w.fault("worker %d in the end: %+v", i, s)
		}
	}
}

func TestNobodyIsServedWhatHeMustKnowHasChanged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfN(steps, 1, 60).Draw(rt, "steps")
		var faults []string
		synctest.Test(t, func(t *testing.T) {
			w := newModelWorld(t)
			for _, s := range all {
				w.step(s)
			}
			w.settle()
			faults = w.faults
		})
		if len(faults) > 0 {
			rt.Fatal(strings.Join(faults, "\n"))
		}
	})
}
