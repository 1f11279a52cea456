package limiter

import "math"

// What a host knows of the source's bucket is when it will be full again (seen), as if the
// source had answered at the moment when it was asked. So nobody is refused because of it
// whom the source would let pass, if he were on his way for no less time. Only tokens that
// are given back, and a clock of the source that is set, make it wrong: it is not believed for long.

// asked is when the source was heard of last, and until when somebody has claimed to
// ask it ahead. From above: 31 bits of milliseconds since boot, when it was heard of; whether it
// had not as many tokens as it was asked for, and has none left; 32 bits of milliseconds
// until when there is a claim. Both times begin anew every few weeks.
type asked int64

const (
	claimMask = 1<<32 - 1
	emptyBit  = 1 << 32
)

func (a asked) told(at int64, empty bool) asked {
	a = a&claimMask | asked(at/milli)<<33
	if empty {
		a |= emptyBit
	}
	return a
}

func (a asked) empty() bool { return a&emptyBit != 0 }

// age is for how long the source was not heard of. Others may have heard of it a little
// later than now.
func (a asked) age(now int64) int64 {
	ms := int32(uint32(now/milli)-uint32(uint64(a)>>33)) << 1 >> 1
	if ms < -claimFor {
		return math.MaxInt64 // a leftover of another key
	}
	return int64(max(ms, 0)) * milli
}

// believed says whether what it has said is taken for true, if it can be asked again.
func (a asked) believed(now int64) bool { return a.age(now) < believed }

// claimed says whether there is a claim. One for longer than claims are is a leftover of
// another key.
func (a asked) claimed(now int64) bool {
	left := int32(uint32(a) - uint32(now/milli))
	return left > 0 && left <= claimFor
}

// claimFor is how long a claim is good, in milliseconds: the process that made it may
// be killed.
const claimFor = 100

// claim lets one process of the host ask ahead. It returns what unclaim needs, 0
// if another does.
func (e *entry) claim(tag uint64, now int64) uint32 {
	for {
		old := asked(e.asked.Load())
		if old.claimed(now) || !e.holds(tag) {
			return 0
		}
		until := max(uint32(now/milli)+claimFor, 1)
		if e.asked.CompareAndSwap(int64(old), int64(old&^claimMask|asked(until))) {
			return until
		}
	}
}

// unclaim ends a claim, if it is still that.
func (e *entry) unclaim(claim uint32) {
	for claim != 0 {
		old := e.asked.Load()
		if uint32(old) != claim || e.asked.CompareAndSwap(old, old&^claimMask) {
			return
		}
	}
}

// learn writes down what the source has answered by now, asked when it was sent. If
// somebody else has heard of it since, who knows which answer is the newer: what more is
// taken by one of them has been taken.
func (e *entry) learn(tag uint64, p *Policy, g Grant, empty bool, sent, now int64) {
	full := sent + min(max(g.Full-g.At, 0), maxDepth.Microseconds())*micro
	var seen int64
	for {
		if seen = e.seen.Load(); asked(e.asked.Load()).age(now) <= now-sent+milli {
			full = max(full, seen)
		}
		if !e.holds(tag) {
			return
		}
		if e.seen.CompareAndSwap(seen, full) {
			break
		}
	}
	for {
		old := e.asked.Load()
		if !e.holds(tag) {
			e.seen.CompareAndSwap(full, seen)
			return
		}
		if e.asked.CompareAndSwap(old, int64(asked(old).told(now, empty))) {
			return
		}
	}
}

// credit is learned when n tokens are given back to the source.
func (e *entry) credit(tag uint64, p *Policy, n int64) {
	for {
		seen := e.seen.Load()
		if !e.holds(tag) {
			return
		}
		if e.seen.CompareAndSwap(seen, max(seen-n*p.central.span/p.central.tokens*micro, 1)) {
			break
		}
	}
	for {
		old := asked(e.asked.Load())
		if !e.holds(tag) || e.asked.CompareAndSwap(int64(old), int64(old&^emptyBit)) {
			return
		}
	}
}

// micro is a unit of the source's clock in those of ours.
const micro = 1000

// fullIn is in what time the source's bucket is full, in its unit, as far as is known here.
func (e *entry) fullIn(now int64) int64 {
	return ceilDiv(max(e.seen.Load()-now, 0), micro)
}

// waits is how long no n tokens can be there, or so few would be that it is not worth
// asking, as far as is known; 0 if the source is to be asked. The other hosts are taken to want
// as much.
func (s *Shared) waits(k flightKey, n, now int64) int64 {
	wait := k.p.central.wait(k.e.fullIn(now), n) * micro
	told := asked(k.e.asked.Load())
	if !told.empty() || k.p.lease == 0 {
		return wait
	}
	size := s.size(k, n, now)
	if size <= n {
		return wait
	}
	pause := demand(k.e.demand.Load()).pause(n, now)
	return max(wait, min(k.p.host.time(size)*s.hosts(), pause)-told.age(now))
}

// atEdge says whether the bucket was found empty, and has little more by now than a lease
// for each host.
func (s *Shared) atEdge(k flightKey, n, now int64) bool {
	if k.p.lease == 0 || !asked(k.e.asked.Load()).empty() {
		return false
	}
	return k.p.central.left(k.e.fullIn(now), 0) < 2*s.size(k, n, now)*s.hosts()
}
