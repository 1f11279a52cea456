package worker

import (
	"strings"
	"sync"
	"time"
)

// A mutation that was given up may be made all the same, later: a store that stood still goes on
// with what it was sent. Nobody hears of that, and what was read between the answer and the
// change would be kept for as long as it says. So what such a mutation names is invalidated again,
// each time after twice as long: what is shown of a change that comes late is late by about as
// much again.
type belated struct {
	mu    sync.Mutex
	tags  map[string]belatedTag
	timer *time.Timer
	ended bool
}

// belatedTag is a tag that may yet change.
type belatedTag struct{ since, next time.Time }

const (
	// firstBelated is how long it is until a tag is invalidated again first.
	firstBelated = time.Second
	// lastBelated is for how long that is done.
	lastBelated = 10 * time.Minute
	// maxBelated is how many tags are remembered. If there are more it is their types.
	maxBelated = 1024
)

// add is for the tags of a mutation that has ended just now.
func (b *belated) add(w *Worker, tags []string) {
	if len(tags) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tags == nil {
		b.tags = map[string]belatedTag{}
	}
	now := time.Now()
	for _, tag := range tags {
		b.tags[strings.ToLower(tag)] = belatedTag{now, now.Add(firstBelated)}
	}
	if len(b.tags) > maxBelated {
		types := map[string]belatedTag{}
		for tag := range b.tags {
			typ, _, _ := strings.Cut(tag, ":")
			types[typ] = belatedTag{now, now.Add(firstBelated)}
		}
		b.tags = types
	}
	b.await(w, now)
}

// await has those invalidated that are due next. The caller has the lock.
func (b *belated) await(w *Worker, now time.Time) {
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	var next time.Time
	for _, t := range b.tags {
		if next.IsZero() || t.next.Before(next) {
			next = t.next
		}
	}
	if !b.ended && !next.IsZero() {
		b.timer = time.AfterFunc(next.Sub(now), func() { b.invalidate(w) })
	}
}

func (b *belated) invalidate(w *Worker) {
	b.mu.Lock()
	var due []string
	now := time.Now()
	for tag, t := range b.tags {
		if b.ended || t.next.After(now) {
			continue
		}
		due = append(due, tag)
		if t.next = now.Add(now.Sub(t.since) + firstBelated); t.next.Sub(t.since) > lastBelated {
			delete(b.tags, tag)
		} else {
			b.tags[tag] = t
		}
	}
	b.await(w, now)
	b.mu.Unlock()
	w.invalidate(due)
}

// end forgets all.
func (b *belated) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	clear(b.tags)
	if b.timer != nil {
		b.timer.Stop()
	}
}
