package worker

import (
	"container/list"
	"sync"
)

// lru holds what was used last, bounded in number and in bytes. It is safe for
// concurrent use.
type lru[K comparable, V any] struct {
	maxNumber, maxBytes int

	mu      sync.Mutex
	bytes   int
	order   *list.List // of *lruEntry, the last used in front
	entries map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
	bytes int
}

func newLRU[K comparable, V any](maxNumber, maxBytes int) *lru[K, V] {
	return &lru[K, V]{maxNumber: maxNumber, maxBytes: maxBytes, order: list.New(), entries: map[K]*list.Element{}}
}

// get is the zero value if there is none.
func (c *lru[K, V]) get(key K) (value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		c.order.MoveToFront(e)
		value = e.Value.(*lruEntry[K, V]).value
	}
	return value
}

// put keeps value, if there is none, and drops what was used longest ago until all
// fits. What is larger than an eighth of the room is not kept: it would drive out
// the others.
func (c *lru[K, V]) put(key K, value V, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		c.order.MoveToFront(e)
		return
	}
	if bytes > c.maxBytes/8 {
		return
	}
	c.entries[key] = c.order.PushFront(&lruEntry[K, V]{key, value, bytes})
	c.bytes += bytes
	for c.bytes > c.maxBytes || len(c.entries) > c.maxNumber {
		oldest := c.order.Remove(c.order.Back()).(*lruEntry[K, V])
		delete(c.entries, oldest.key)
		c.bytes -= oldest.bytes
	}
}
