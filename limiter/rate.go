package limiter

// rate is the arithmetic of a bucket, in some unit of time: all of it in integers, and
// all that is rounded is rounded against the client, but for the depth: a full bucket has
// its burst, and may have what fills in less than a unit beside it. The scripts for Redis
// (package limiter/redis) do the same.
type rate struct {
	span   int64 // so much time fills
	tokens int64 // so many tokens: 1, 10, 100 or 1000
	depth  int64 // the time in which an empty bucket fills
}

// newRate is limit tokens in each window. The time for a token is rounded up to at most
// a thousandth more, if it is a unit at least.
func newRate(limit, window, burst int64) rate {
	r := rate{tokens: 1}
	for r.tokens < 1000 && window*r.tokens/limit < 1000 {
		r.tokens *= 10
	}
	r.span = ceilDiv(window*r.tokens, limit)
	r.depth = ceilDiv(burst*r.span, r.tokens) // down, a bucket would not hold its last token
	return r
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

// time is what n tokens take to fill.
func (r rate) time(n int64) int64 { return ceilDiv(n*r.span, r.tokens) }

// pace is what a token takes to fill, at least a unit.
func (r rate) pace() int64 { return max(r.span/r.tokens, 1) }

// count is how many tokens fill in a time.
func (r rate) count(t int64) int64 { return t * r.tokens / r.span }

// at is when a bucket is full again (the theoretical arrival time of GCRA) as it is at
// now: what is past means now, and what is too late, as when a clock was set back,
// that it is empty.
func (r rate) at(tat, now int64) int64 { return min(max(tat, now), now+r.depth) }

// take takes n tokens. If there are not so many, wait is when there will be; negative
// if never.
func (r rate) take(tat, now, n int64) (after, wait int64) {
	tat = r.at(tat, now)
	if n > r.count(r.depth) {
		return tat, -1
	}
	after = tat + r.time(n)
	if late := after - now - r.depth; late > 0 {
		return tat, late
	}
	return after, 0
}

// wait is in what time there are n tokens, no more than a bucket holds, if it is full in a time: also one that
// is longer than it takes to fill, as after a rule of the same name for which it was longer.
func (r rate) wait(full, n int64) int64 { return max(full+r.time(n)-r.depth, 0) }

// left is how many tokens there are.
func (r rate) left(tat, now int64) int64 { return r.count(now + r.depth - r.at(tat, now)) }

// giveBack returns n tokens that were taken at some time. What has filled since may
// have had no room if they had not been taken, and does not come back: so no bucket
// has ever more than if they never had been.
func (r rate) giveBack(tat, now, n, taken int64) int64 {
	credit := n*r.span/r.tokens - max(now-taken, 0)
	return tat - max(credit, 0)
}
