package cache

import "sync/atomic"

// Stats is what a cache has done since it was made, and has now.
type Stats struct {
	Fresh        uint64 // served within their MaxAge, negative ones too
	Stale        uint64 // served beyond it, while they are made anew
	StaleOnError uint64 // served because they could not be made anew
	Negative     uint64 // of all that were served: those that say that there is nothing
	Misses       uint64 // made for who has asked
	Coalesced    uint64 // made for somebody else who has asked at the same time

	Fills       uint64 // how often something was made
	FailedFills uint64 // what it is made from was away
	Panics      uint64

	Refreshes        uint64 // made anew in the background
	SkippedRefreshes uint64 // not, because too many were

	SharedHits   uint64 // looked for in Shared, and found
	SharedMisses uint64
	SharedErrors uint64 // calls that have failed, or came too late
	SharedAway   bool   // it is, now
	Waits        uint64 // for another host that made the same

	Invalidated uint64 // tags
	Waiting     uint64 // of these Shared does not know yet

	ReserveHits       uint64 // served from Reserve, because nothing better could be had
	ReserveMisses     uint64 // looked for there, and not found, or of no use
	ReserveWrites     uint64 // answers that were written into its file
	ReserveDropped    uint64 // answers that were not: too many waited, or one is too large, or it cannot be written
	ReserveErrors     uint64 // of the file, and what was damaged in it
	ReserveEntries    uint64
	ReserveBytes      uint64 // of the file that these take
	ReserveMaxBytes   uint64 // of the file; 0: there is none
	ReserveIndexBytes uint64 // of memory, besides MaxBytes, to know what is where

	Evictions uint64
	Entries   uint64
	Bytes     uint64
	MaxBytes  uint64
}

// counts are what is counted where it happens. What is served from memory is counted apart by key,
// so that no two processors write to the same place all the time.
type counts struct {
	fromMemory [16]struct {
		fresh, negative atomic.Uint64
		_               [112]byte
	}
	stale, staleOnError, negative             atomic.Uint64
	misses, coalesced                         atomic.Uint64
	fills, failedFills, panics                atomic.Uint64
	refreshes, skipped                        atomic.Uint64
	sharedHits, sharedMisses, waits, freshOut atomic.Uint64
	invalidated                               atomic.Uint64
}

// fresh counts what is served from memory.
func (c *counts) fresh(key *Key, a *Answer) {
	at := &c.fromMemory[key[0]%16]
	at.fresh.Add(1)
	if a.Negative {
		at.negative.Add(1)
	}
}

// served counts what is served without anybody waiting.
func (c *counts) served(s *Served, e *entry) {
	switch s.State {
	case Fresh:
		c.fresh(&e.key, e.answer)
	case Stale:
		c.stale.Add(1)
	case StaleOnError:
		c.staleOnError.Add(1)
	}
}

// flown counts what somebody gets who has waited, and whether for his own flight.
func (c *counts) flown(s *Served, leads bool) {
	switch {
	case s.State == Fresh:
		c.freshOut.Add(1)
	case s.State == Stale:
		c.stale.Add(1)
	case s.State == StaleOnError:
		c.staleOnError.Add(1)
	case leads:
		c.misses.Add(1)
	default:
		c.coalesced.Add(1)
	}
	if s.State != Made && s.Answer.Negative || s.State == Made && !leads && s.Filled.Negative {
		c.negative.Add(1)
	}
}

// Stats is what the cache has done, and has.
func (c *Cache) Stats() Stats {
	n := &c.counts
	s := Stats{
		Fresh: n.freshOut.Load(), Stale: n.stale.Load(), StaleOnError: n.staleOnError.Load(), Negative: n.negative.Load(),
		Misses: n.misses.Load(), Coalesced: n.coalesced.Load(),
		Fills: n.fills.Load(), FailedFills: n.failedFills.Load(), Panics: n.panics.Load(),
		Refreshes: n.refreshes.Load(), SkippedRefreshes: n.skipped.Load(),
		SharedHits: n.sharedHits.Load(), SharedMisses: n.sharedMisses.Load(), Waits: n.waits.Load(),
		Invalidated: n.invalidated.Load(),
		MaxBytes:    uint64(c.options.Bytes),
	}
	for i := range n.fromMemory {
		s.Fresh += n.fromMemory[i].fresh.Load()
		s.Negative += n.fromMemory[i].negative.Load()
	}
	if c.link != nil {
		s.SharedErrors, s.SharedAway = c.link.failures.Load(), c.link.away.Load()
		s.Waiting = uint64(c.outbox.left())
	}
	if c.reserve != nil {
		c.reserve.stats(&s)
	}
	m := c.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Evictions, s.Entries, s.Bytes = m.evicted, uint64(m.count), uint64(m.bytes)
	return s
}
