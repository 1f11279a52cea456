package cache

import (
	"context"
	"time"
)

// Generation is what a tag has, and what nobody gives it again: when the tag is
// invalidated it gets another, and also when the store has forgotten it. 0 is none.
type Generation uint64

// Shared is what all hosts share; package cache/redis has one. Its methods may be used by
// several goroutines at once, heed their contexts, and return an error, quickly, while it
// is away.
type Shared interface {
	// Watch says who is told of changes, before anything else is called. changed is told
	// of each tag that Load has returned a generation of, when it has another one: before
	// or after Load has returned, if it happened about then, but never not at all, unless
	// lost is told, which is that no generation that Load has returned is known any more.
	// Both return at once.
	Watch(changed func(tag string), lost func())
	// Load is what was stored under key, nil if nothing is, and the generations of tags,
	// in one round trip. A tag that has none is given one. Each generation is one that the tag had at
	// a moment between the call and its return: not an older one, from a memory that has not heard yet of
	// an Invalidate which had returned before the call, wherever that was.
	Load(ctx context.Context, key Key, tags []string) (value []byte, gens []Generation, err error)
	// Store keeps value for so long at most. It may be gone any time earlier.
	Store(ctx context.Context, key Key, value []byte, ttl time.Duration) error
	// Invalidate gives each tag a new generation, in O(tags). It may be tried again. If it could do
	// a part its error may be, or wrap, an *Undone.
	Invalidate(ctx context.Context, tags []string) error
	// Lock says whether the caller is the one who makes the answer of key, until it
	// unlocks or ttl is over.
	Lock(ctx context.Context, key Key, token string, ttl time.Duration) (bool, error)
	// Unlock ends what Lock has begun with this token, and nobody else's.
	Unlock(ctx context.Context, key Key, token string) error
	Close()
}
