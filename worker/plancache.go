package worker

import (
	"container/list"
	"sync"
)

// planCache holds the plans, or the refusals, that were used last, bounded in number
// and in bytes. What was used only once leaves first, and takes no more than a
// quarter of the room from what was used again: documents that never come again, be
// it by mistake or to do harm, do not drive out those that do. It is safe for
// concurrent use.
type planCache struct {
	maxPlans, maxBytes int

	mu    sync.Mutex
	plans map[planKey]*list.Element
	once  planList
	again planList

	evictions uint64
}

// planList is a part of the cache.
type planList struct {
	order *list.List // of *planEntry, the last used in front
	bytes int
}

// planKey is a document, by its hash, and the operation in it.
type planKey struct {
	document documentHash
	name     string
}

type planEntry struct {
	key   planKey
	plan  *Plan
	errs  []*Error
	bytes int
	again bool
}

func newPlanCache(maxPlans, maxBytes int) *planCache {
	return &planCache{
		maxPlans: maxPlans, maxBytes: maxBytes,
		plans: map[planKey]*list.Element{},
		once:  planList{order: list.New()},
		again: planList{order: list.New()},
	}
}

func (c *planCache) get(key planKey) (*Plan, []*Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.plans[key]
	if e == nil {
		return nil, nil
	}
	entry := e.Value.(*planEntry)
	if entry.again {
		c.again.order.MoveToFront(e)
		return entry.plan, entry.errs
	}
	c.once.remove(e)
	entry.again = true
	c.plans[key] = c.again.push(entry)
	for c.again.bytes > c.maxBytes*3/4 || c.again.order.Len() > max(c.maxPlans*3/4, 1) { // back to where it came from
		oldest := c.again.remove(c.again.order.Back())
		oldest.again = false
		c.plans[oldest.key] = c.once.push(oldest)
	}
	return entry.plan, entry.errs
}

// put keeps a plan or a refusal, and drops others until all fits. One larger than an
// eighth of the room is not kept: it would drive out the others.
func (c *planCache) put(key planKey, plan *Plan, errs []*Error, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.plans[key] != nil || bytes > c.maxBytes/8 {
		return
	}
	c.plans[key] = c.once.push(&planEntry{key: key, plan: plan, errs: errs, bytes: bytes})
	c.trim()
}

func (c *planCache) trim() {
	for c.once.bytes+c.again.bytes > c.maxBytes || len(c.plans) > c.maxPlans {
		from := &c.once
		if from.order.Len() == 0 {
			from = &c.again
		}
		delete(c.plans, from.remove(from.order.Back()).key)
		c.evictions++
	}
}

// stats are how many there are, what they take, about, and how many had to go.
func (c *planCache) stats() (plans, bytes int, evictions uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.plans), c.once.bytes + c.again.bytes, c.evictions
}

func (l *planList) push(e *planEntry) *list.Element {
	l.bytes += e.bytes
	return l.order.PushFront(e)
}

func (l *planList) remove(e *list.Element) *planEntry {
	entry := l.order.Remove(e).(*planEntry)
	l.bytes -= entry.bytes
	return entry
}
