package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nekoctl/neko/api/store/guarded"
	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/cache"
	guardedcache "github.com/nekoctl/neko/cache/guarded"
	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/worker"
	"github.com/nekoctl/neko/worker/settings"
)

// breakers are the settings of what stands between the API and its store.
type breakers struct {
	storeTimeout, openFor *time.Duration
	readyWithoutStore     *bool
}

func newBreakers(s *settings.Set) breakers {
	return breakers{
		storeTimeout:      s.Duration("store-timeout", 3*time.Second, "how long one call to the store may take; changes in a SQLite file may wait three times as long, for an import to end"),
		openFor:           s.Duration("breaker-open-for", 30*time.Second, "for how long, about, a store that fails is left alone before it is tried again"),
		readyWithoutStore: s.Bool("ready-without-store", true, "a worker whose store has gone says that it is not ready, so that balancers send requests elsewhere"),
	}
}

func (b breakers) check() error {
	for name, d := range map[string]time.Duration{"store-timeout": *b.storeTimeout, "breaker-open-for": *b.openFor} {
		if d < 10*time.Millisecond {
			return usageError{fmt.Sprintf("--%s: %v is too short", name, d), "write it like 3s"}
		}
	}
	return nil
}

// guards are the policies by which everything is called.
type guards struct {
	host           *breaker.Host
	store          *guarded.Store // that is called by the others
	reads, changes *breaker.Policy
	answers        *breaker.Policy // of the Redis where hosts share answers; nil: there is none
}

// places are how many calls to the store there are at a time, if its own limit is unknown.
const places = 100

// open puts a store behind breakers that all workers have in common who share the memory.
func (b breakers) open(m *hostmem.Mapping, st database, logger *slog.Logger) (g guards, err error) {
	host, err := breaker.NewHost(m)
	if err != nil {
		return g, err
	}
	o := breaker.Options{Host: host, Timeout: *b.storeTimeout, OpenFor: *b.openFor, Places: places, IsFailure: guarded.IsFailure, Log: logger}
	// Who waits for a connection waits for a place instead: then a timeout is the store's
	// fault, and not that of many who wait.
	reads, changes := o, o
	if limited, ok := st.(interface{ Parallel() (reads, changes int) }); ok {
		if r, c := limited.Parallel(); r > 0 && c > 0 {
			reads.Places, changes.Places = r, c
		}
	}
	if changes.Places == 1 { // one writes, and an import keeps the others waiting
		changes.Timeout *= 3
	}
	reads.Name, changes.Name = "store", "store-changes"
	if g.reads, err = breaker.New(reads); err != nil {
		return g, err
	}
	if g.changes, err = breaker.New(changes); err != nil {
		g.reads.Close()
		return g, err
	}
	g.host, g.store = host, guarded.New(st, g.reads, g.changes)
	return g, nil
}

// before puts a breaker before the Redis where hosts share answers.
func (g *guards) before(shared cache.Shared, logger *slog.Logger) (cache.Shared, error) {
	o := guardedcache.Options("redis-cache", g.host)
	o.Log = logger
	p, err := breaker.New(o)
	if err != nil {
		return shared, err
	}
	g.answers = p
	return guardedcache.New(shared, p), nil
}

// close ends what they do by themselves.
func (g guards) close() {
	for _, p := range []*breaker.Policy{g.reads, g.changes, g.answers} {
		if p != nil {
			p.Close()
		}
	}
}

// dependencies are what the worker tells about.
func (g guards) dependencies(counts counter) []worker.Dependency {
	all := []worker.Dependency{g.reads, g.changes}
	if g.answers != nil {
		all = append(all, g.answers)
	}
	if counts.source != nil && counts.Limiter != nil {
		all = append(all, limitsSource{counts.Limiter})
	}
	return all
}

// limitsSource is the Redis of the rate limits. The limiter itself finds out when it is
// away, and again when it is not.
type limitsSource struct{ limiter.Limiter }

func (limitsSource) Name() string { return "redis-limits" }

func (l limitsSource) Status() breaker.Status {
	if l.Stats().Away {
		return breaker.Status{State: breaker.Open, Reason: "it cannot be asked, or takes too long: each rate limit decides as its fail says"}
	}
	return breaker.Status{}
}
