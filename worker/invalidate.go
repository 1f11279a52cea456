package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/logtext"
)

// Invalidate says that what these tags name has changed, or may have, in the mutation of
// ctx: no answer that has one of them is served again once that mutation is answered,
// whatever it is answered. To be called when the change is made, and also where it is not
// known whether it was. Where no mutation runs, and without a Cache, it does nothing.
//
// An object that has changed is CacheTag(type, id), for each id by which it is found, and
// the list of its type, "ThreatActor:list".
func Invalidate(ctx context.Context, tags ...string) {
	if c, ok := ctx.Value(changesKey{}).(*changes); ok {
		c.add(tags)
	}
}

// changes gathers what a mutation invalidates.
type changes struct {
	w    *Worker
	mu   sync.Mutex
	tags []string
	all  []string // those before, which were too many to be gathered
	over bool     // it has been answered: what comes now is late
}

type changesKey struct{}

// maxChanges is how many tags are gathered before they are invalidated.
const maxChanges = 256

func (c *changes) add(tags []string) {
	var now []string
	c.mu.Lock()
	for _, t := range tags {
		if t != "" && !slices.ContainsFunc(c.tags, func(have string) bool { return strings.EqualFold(have, t) }) {
			c.tags = append(c.tags, t)
		}
	}
	if c.over || len(c.tags) >= maxChanges {
		now, c.tags = c.tags, nil
		if !c.over {
			c.all = append(c.all, now...)
		}
	}
	over := c.over
	c.mu.Unlock()
	c.w.invalidate(now)
	if over {
		c.w.belated.add(c.w, now)
	}
}

// invalidating runs an operation, and invalidates what it says that it has changed. A
// resolver that goes on after the operation was given up invalidates by itself.
func (w *Worker) invalidating(ctx context.Context, plan *Plan, run func(context.Context) result) result {
	if plan.Kind != ast.Mutation || w.config.Cache == nil {
		return run(ctx)
	}
	c := &changes{w: w}
	var r result
	ended := false
	defer func() {
		c.mu.Lock()
		now, all := c.tags, c.all
		c.tags, c.over = nil, true
		c.mu.Unlock()
		w.invalidate(now)
		if !ended || r.failed() {
			w.belated.add(w, append(all, now...))
		}
	}()
	r = run(context.WithValue(ctx, changesKey{}, c))
	ended = true
	return r
}

// invalidateTimeout bounds what an answer waits for: a cache that cannot reach the other
// hosts goes on trying without it.
const invalidateTimeout = time.Second

func (w *Worker) invalidate(tags []string) {
	if len(tags) == 0 {
		return
	}
	// Not that of the mutation, which may be over: what was changed was changed.
	ctx, cancel := context.WithTimeout(context.Background(), invalidateTimeout)
	defer cancel()
	// All other errors are those of hosts that are told later. The cache says so in the log.
	if err := w.config.Cache.Invalidate(ctx, tags...); errors.Is(err, cache.ErrClosed) {
		w.config.Log.ErrorContext(ctx, "a change came after the end of the cache, and other workers may serve answers of before", logtext.Reason, err)
	}
	if w.config.Invalidated != nil {
		w.config.Invalidated(tags)
	}
}
