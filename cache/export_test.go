package cache

import "context"

// What tests outside of the package know of it.
const (
	Spare        = spare
	MaxRefreshes = maxRefreshes
	LockTime     = lockTime
	LockPause    = lockPause
	Pause        = pause
	Silence      = silence
	OwedFor      = owedFor
	MaxWaiting   = maxWaiting
	MaxTellAgain = maxTellAgain
)

// Own is what a cache takes without any answer.
func Own(c *Cache) int64 { return c.memory.own() }

// ETagOf is what a body has.
func ETagOf(body string) string {
	return string(newAnswer(&Request{}, []byte(body), 0, Policy{}, false).ETag)
}

// Word is where a tag has its generation.
func Word(c *Cache, tag string) uint32 { return c.gens.word(tag) }

// NameInShared is how a tag is called in Shared.
func NameInShared(tag string) string { return shared(tag) }

// Owed says whether it is said that Shared is owed an invalidation of a tag.
func Owed(c *Cache, tag string) bool {
	s := c.gens.stamp([]string{tag})
	return s.owed
}

// Kill has a cache invalidate a tag, and tell Shared nothing of it, as if it were killed then.
func Kill(c *Cache, tag string) {
	c.gens.moveOwed(c.gens.word(tag), debt{})
}

// EndTelling has a cache tell Shared nothing any more, as Close does first.
func EndTelling(ctx context.Context, c *Cache) error { return c.outbox.end(ctx) }

// SetPause has f called at places on a flight's way.
func SetPause(c *Cache, f func(at string)) { c.pause = f }

// Record is what Shared has of an answer that was made at a time.
func Record(r Request, body string, made int64, gens []Generation) []byte {
	a := newAnswer(&r, []byte(body), made, r.Policy.bounded(), false)
	var marks []mark
	for _, g := range gens {
		marks = append(marks, mark{gen: g})
	}
	return newCodec(1<<20).encode(a, marks)
}

// Helps says whether what a cache has of a key may be served at a time if it cannot be made anew.
func Helps(c *Cache, k Key, now int64) bool {
	e := c.memory.find(&k)
	return helps(e, now, c.gens.standing(&e.stamp))
}

// Evict has the memory of a cache make room for as much as it has.
func Evict(c *Cache) {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	c.memory.makeRoom(c.memory.max)
}
