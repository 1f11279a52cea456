package limiter

// spend takes n tokens of a lease of the key that had the entry when tag was read: of
// the one that ends first, if it has so many, else of the other. What two leases have
// only together pays nothing, as both could not be taken at once. It returns when the lease
// ends, 0 if none can pay.
func (e *entry) spend(tag uint64, n, now int64) (until int64) {
	for {
		i, l := e.payer(n, now)
		if l == 0 || !e.holds(tag) {
			return 0
		}
		if !e.leases[i].CompareAndSwap(uint64(l), uint64(l-lease(n))) {
			continue
		}
		if e.tag.Load() != tag {
			e.restore(i, n, l.until())
			return 0
		}
		return l.until()
	}
}

// payer is the lease that spend would take n tokens of, 0 if there is none.
func (e *entry) payer(n, now int64) (int, lease) {
	first, second := lease(e.leases[0].Load()), lease(e.leases[1].Load())
	i, j := 0, 1
	if second.until() < first.until() {
		i, j, first, second = 1, 0, second, first
	}
	switch {
	case first.tokens() >= n && first.until() > now:
		return i, first
	case second.tokens() >= n && second.until() > now:
		return j, second
	}
	return 0, 0
}

// restore puts n tokens back into a word that spend has taken of another's key, if it
// still is that lease.
func (e *entry) restore(i int, n, until int64) {
	for {
		l := lease(e.leases[i].Load())
		if l.until() != until || l.tokens()+n > maxLeaseTokens {
			return
		}
		if e.leases[i].CompareAndSwap(uint64(l), uint64(l+lease(n))) {
			return
		}
	}
}

// live is how many tokens of leases there are.
func (e *entry) live(now int64) (n int64) {
	for i := range e.leases {
		if l := lease(e.leases[i].Load()); l.until() > now {
			n += l.tokens()
		}
	}
	return n
}

// lend adds a lease of n tokens, or what was taken of one. If there are two already it is
// merged with the one whose end is nearest, and both end when the first of them would
// have. lost is how many tokens nobody can use any more because of that; kept is false
// if the entry is another's.
func (e *entry) lend(tag uint64, n, until, now int64) (lost int64, kept bool) {
	for {
		i, old := e.roomFor(until, now)
		if !e.holds(tag) {
			return 0, false
		}
		sum, end := n, until
		if l := old.tokens(); l > 0 && old.until() > now {
			sum, end = n+l, min(until, old.until())
		} else {
			lost = l
		}
		if sum > maxLeaseTokens {
			sum, lost = maxLeaseTokens, lost+sum-maxLeaseTokens
		}
		l := newLease(sum, end)
		if !e.leases[i].CompareAndSwap(uint64(old), uint64(l)) {
			lost = 0
			continue
		}
		if e.tag.Load() != tag {
			e.empty(i, l.until())
			return 0, false
		}
		return lost, true
	}
}

// roomFor is the word in which lend puts a lease that ends then.
func (e *entry) roomFor(until, now int64) (int, lease) {
	a, b := lease(e.leases[0].Load()), lease(e.leases[1].Load())
	until -= until % milli
	switch {
	case a.until() == until:
		return 0, a
	case b.until() == until:
		return 1, b
	case a.tokens() == 0 || a.until() <= now:
		return 0, a
	case b.tokens() == 0 || b.until() <= now:
		return 1, b
	case abs(a.until()-until) < abs(b.until()-until):
		return 0, a
	}
	return 1, b
}

func abs(n int64) int64 { return max(n, -n) }

// empty takes out what lend has put into a word of another's key, if it still is that
// lease.
func (e *entry) empty(i int, until int64) {
	for {
		l := lease(e.leases[i].Load())
		n := l.tokens()
		if n == 0 || l.until() != until || e.leases[i].CompareAndSwap(uint64(l), uint64(l-lease(n))) {
			return
		}
	}
}

// reclaim takes out what is left of the lease of a key that ends then, if there is one.
func (e *entry) reclaim(tag uint64, until int64) (n int64) {
	until -= until % milli
	for i := range e.leases {
		for {
			l := lease(e.leases[i].Load())
			if l.tokens() == 0 || l.until() != until || !e.holds(tag) {
				break
			}
			if e.leases[i].CompareAndSwap(uint64(l), uint64(l-lease(l.tokens()))) {
				n += l.tokens()
				break
			}
		}
	}
	if e.tag.Load() != tag { // it was of another
		return 0
	}
	return n
}
