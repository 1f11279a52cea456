package caches

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/redis"
	"github.com/nekoctl/neko/hostmem"
)

// A worker process is this test's binary with these in its environment.
const (
	workerDir     = "NEKO_CACHES_DIR" // of the stage, with the store
	workerJournal = "NEKO_CACHES_JOURNAL"
	workerRunDir  = "NEKO_RUN_DIR"
	workerRedis   = "NEKO_CACHES_REDIS" // a URL
	workerSeed    = "NEKO_CACHES_SEED"
	workerDeaf    = "NEKO_CACHES_DEAF" // "1": it hears nothing of changes elsewhere, for the judge's own test
)

const (
	readers = 3 // at once, in each worker
	writers = 1

	// unconfirmed is UnconfirmedMaxAge.
	unconfirmed = time.Second
	staleFor    = 20 * time.Second // StaleIfError
)

// policies differ by key: of most answers nothing but an invalidation ends the use.
var policies = []cache.Policy{
	{MaxAge: time.Hour, StaleIfError: staleFor},
	{MaxAge: time.Hour, StaleIfError: staleFor},
	{MaxAge: 300 * time.Millisecond, StaleWhileRevalidate: time.Hour, StaleIfError: staleFor},
	{MaxAge: 300 * time.Millisecond, StaleIfError: staleFor},
}

// deaf hears nothing.
type deaf struct{ cache.Shared }

func (d deaf) Watch(func(string), func()) { d.Shared.Watch(func(string) {}, func() {}) }

func tag(object int) string { return "Thing:" + strconv.Itoa(object) }

// work is a worker's life: it reads and changes until SIGTERM.
func work() error {
	seed, err := strconv.ParseUint(os.Getenv(workerSeed), 10, 64)
	if err != nil {
		return err
	}
	s, err := openStore(filepath.Join(os.Getenv(workerDir), "store"))
	if err != nil {
		return err
	}
	j, err := newJournal(os.Getenv(workerJournal))
	if err != nil {
		return err
	}
	memory, err := hostmem.Open(os.Getenv(workerRunDir), hostmem.MinBuckets)
	if err != nil {
		return err
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	remote, err := redis.New(context.Background(), os.Getenv(workerRedis), redis.Options{})
	if err != nil {
		return err
	}
	var shared cache.Shared = remote
	if os.Getenv(workerDeaf) == "1" {
		shared = deaf{shared}
	}
	c, err := cache.New(cache.Options{Bytes: cache.MinBytes, Memory: memory, Shared: shared, UnconfirmedMaxAge: unconfirmed})
	if err != nil {
		return err
	}
	w := &worker{store: s, journal: j, cache: c}
	ctx, stop := context.WithCancel(context.Background())
	failed := make(chan error, readers+writers)
	var all sync.WaitGroup
	for i := range readers + writers {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() {
			for ctx.Err() == nil {
				do := w.read
				if i < writers {
					do = w.change
				}
				if err := do(r); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	fmt.Println("ready")
	select {
	case err = <-failed:
	case <-term:
	}
	stop()
	all.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return errors.Join(err, c.Close(ctx), memory.Close())
}

type worker struct {
	store   *store
	journal *journal
	cache   *cache.Cache
}

// pause is mostly none, and sometimes longer than an invalidation takes.
func pause(r *rand.Rand) {
	switch n := r.IntN(20); {
	case n < 8:
		time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
	case n == 8:
		time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
	}
}

// read asks for an answer that has one object or two, and is made of what the store has then.
func (w *worker) read(r *rand.Rand) error {
	n := r.IntN(2 * objects)
	having := []int{n % objects}
	if n >= objects {
		having = append(having, (n*7+3)%objects)
	}
	seed := r.Uint64()
	request := cache.Request{Policy: policies[n%len(policies)]}
	sum := sha256.Sum256([]byte("answer " + strconv.Itoa(n)))
	copy(request.Key[:], sum[:])
	for _, object := range having {
		request.Tags = append(request.Tags, tag(object))
	}
	slices.Sort(request.Tags)
	request.Tags = slices.Compact(request.Tags)
	before := monotonic()
	served, err := w.cache.Get(context.Background(), request, func(ctx context.Context) cache.Filled {
		r := rand.New(rand.NewPCG(seed, 0))
		var body []byte
		for _, object := range having {
			pause(r)
			if w.store.away.Load() != 0 {
				return cache.Filled{Failed: true}
			}
			body = binary.NativeEndian.AppendUint64(body, w.store.versions[object].Load())
			pause(r)
		}
		return cache.Filled{Body: append(body, make([]byte, r.IntN(3000))...), Keep: true}
	})
	after := monotonic()
	if err != nil {
		return err
	}
	body, age := served.Filled.Body, int64(0)
	if served.Answer != nil {
		body, age = served.Answer.Body, served.Answer.Age(time.Now().UnixMilli()).Milliseconds()
	}
	for i, object := range having {
		if len(body) == 0 {
			break // the store was away
		}
		x := record{Kind: read, Object: uint16(object), Version: binary.NativeEndian.Uint64(body[8*i:]), State: uint8(served.State), Before: before, After: after, Age: age}
		if served.Shared {
			x.Shared = 1
		}
		if err := w.journal.write(x); err != nil {
			return err
		}
	}
	time.Sleep(time.Duration(r.IntN(4000)) * time.Microsecond)
	return nil
}

// change makes a new version of an object, and invalidates what has it.
func (w *worker) change(r *rand.Rand) error {
	object := r.IntN(objects)
	if r.IntN(3) == 0 {
		object = r.IntN(3) // some change more often
	}
	version := w.store.versions[object].Add(1)
	before := monotonic()
	pause(r)
	err := w.cache.Invalidate(context.Background(), tag(object))
	x := record{Kind: changed, Object: uint16(object), Version: version, Before: before, After: monotonic()}
	if errors.Is(err, cache.ErrLater) {
		x.Kind = changedHere
	} else if err != nil {
		return err
	}
	if err := w.journal.write(x); err != nil {
		return err
	}
	time.Sleep(time.Duration(r.IntN(120)) * time.Millisecond)
	return nil
}
