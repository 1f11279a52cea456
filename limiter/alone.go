package limiter

import "time"

// alone is what the policy's Fail says about n tokens: 0 if they are there, or how long to wait.
func (s *Shared) alone(k flightKey, n, now int64) time.Duration {
	switch k.p.Fail {
	case FailOpen:
		return 0
	case FailClosed:
		return closedFor
	}
	return time.Duration(k.takeLocal(s.hosts(), n, now))
}

// closedFor is when to come again, as nobody knows.
const closedFor = time.Second

func (s *Shared) hosts() int64 { return int64(min(max(s.hostmem.Hosts(), 1), maxHosts)) }

// maxHosts keeps the arithmetic within 63 bits.
const maxHosts = 1000

// takeLocal takes n tokens of this host's part of a bucket: of both rate and burst the part that
// falls to one of so many hosts. Such a bucket takes as long to fill as the whole, so the
// part is as full as the whole was when the source was heard of last: no client
// gets a fresh burst because the source has gone. At least one request is let pass by a part that is full.
//
// It returns how long there are not so many, 0 if they were taken.
func (k flightKey) takeLocal(hosts, n, now int64) (wait int64) {
	r := k.p.host
	cost := r.time(n) * hosts
	for {
		tat := k.e.tat.Load()
		if !k.e.holds(k.tag) {
			return 0 // who needed its place has made its bucket full
		}
		after := r.at(max(tat, k.e.seen.Load()), now) + cost
		if late := after - now - max(r.depth, cost); late > 0 {
			return late
		}
		if !k.e.tat.CompareAndSwap(tat, after) {
			continue
		}
		if k.e.tag.Load() != k.tag {
			k.e.tat.CompareAndSwap(after, tat)
		}
		return 0
	}
}

// untakeLocal undoes takeLocal, a moment later.
func (k flightKey) untakeLocal(hosts, n int64) {
	cost := k.p.host.time(n) * hosts
	for {
		tat := k.e.tat.Load()
		if !k.e.holds(k.tag) || k.e.tat.CompareAndSwap(tat, max(tat-cost, 1)) {
			return
		}
	}
}

// showLocal says in c what is left of this host's part.
func (k flightKey) showLocal(hosts int64, c *Charge, now int64) {
	r := k.p.host
	full := r.at(max(k.e.tat.Load(), k.e.seen.Load()), now) - now
	c.Left, c.Full = r.count(r.depth-full)/hosts, time.Duration(full)
}
