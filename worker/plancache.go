package worker

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// planCache holds the plans that were used last, bounded in number and in bytes.
// It is safe for concurrent use.
type planCache struct {
	maxPlans, maxBytes int

	mu    sync.Mutex
	bytes int
	order *list.List // of *planEntry, the last used in front
	plans map[planKey]*list.Element
}

// planKey is a document, by a hash that nobody can find a second text for, and
// the operation in it.
type planKey struct {
	document [sha256.Size]byte
	name     string
}

type planEntry struct {
	key   planKey
	plan  *Plan
	bytes int
}

func newPlanCache(maxPlans, maxBytes int) *planCache {
	return &planCache{maxPlans: maxPlans, maxBytes: maxBytes, order: list.New(), plans: map[planKey]*list.Element{}}
}

func (c *planCache) get(key planKey) *Plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.plans[key]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*planEntry).plan
}

// put keeps plan and drops what was used longest ago until all fits. A plan
// larger than an eighth of the room is not kept: it would drive out the others.
func (c *planCache) put(key planKey, plan *Plan, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.plans[key] != nil || bytes > c.maxBytes/8 {
		return
	}
	c.plans[key] = c.order.PushFront(&planEntry{key, plan, bytes})
	c.bytes += bytes
	for c.bytes > c.maxBytes || len(c.plans) > c.maxPlans {
		oldest := c.order.Remove(c.order.Back()).(*planEntry)
		delete(c.plans, oldest.key)
		c.bytes -= oldest.bytes
	}
}
