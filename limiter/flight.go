package limiter

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

const (
	// maxFlights is how many keys are asked for at once, also by those that nobody waits
	// for any more. Beyond it Fail decides: a flood of new keys makes no flood of goroutines.
	maxFlights = 192
	// maxNew are those of them that begin for somebody who has no lease. The others are for those who
	// have, and need more: new keys, as many as may come, take nothing from who lives by leases.
	maxNew = maxFlights * 3 / 4
	// flightTime is how long an answer is of use.
	flightTime = LeaseTTL
)

// flight asks the source about one key. There is one at a time in a process: who comes
// meanwhile is asked for with the next call of it.
type flight struct {
	flightKey
	id ID

	// With the lock of flights:
	waiting []*waiter
	claim   uint32 // to ask ahead, if not 0
	sent    int64  // when the source was asked last
}

// seat is where the bucket of a key is in the memory of the host.
type seat struct {
	e   *entry
	tag uint64
}

// flightKey is a key of a policy. After a reload there are two policies of one name.
type flightKey struct {
	seat
	p *Policy
}

// waiter is a charge that needs tokens of the source.
type waiter struct {
	n     int64
	state atomic.Int32
	told  answered
	heard chan struct{} // closed when told can be read
}

// The states of a waiter. It becomes answered, or gives up, whatever is first.
const (
	waiting = iota
	settled // it has been given an answer
	gone    // nobody waits for it, and it has no use for tokens
	passed  // nobody waits for it, for it has passed: the source is to know
)

// answered is what a waiter is told.
type answered struct {
	paid  payment // unpaid if it is refused
	until int64   // nobody may have what it is paid by from then on
	at    int64   // Grant.At, if it is paid by the source
	wait  int64   // nanoseconds, if it is refused
	err   error
}

// flights are those of a process.
type flights struct {
	mu     sync.Mutex
	of     map[flightKey]*flight
	closed bool
	wg     sync.WaitGroup
}

// join has the source asked for w, unless it is nil, and ahead, if there is a claim. It is
// false if too much is under way, or if w would wait in vain because the answer for who came before
// him is late already.
func (s *Shared) join(key flightKey, id ID, w *waiter, claim uint32) bool {
	all := &s.flights
	all.mu.Lock()
	defer all.mu.Unlock()
	f := all.of[key]
	if f == nil {
		most := maxFlights
		if w != nil {
			most = maxNew
		}
		if all.closed || len(all.of) >= most {
			return false
		}
		f = &flight{flightKey: key, id: id}
		all.of[key] = f
		all.wg.Go(func() { s.fly(f) })
	}
	if w != nil {
		late := f.sent != 0 && s.now()-f.sent > int64(s.budget)
		if len(f.waiting) >= maxWaiting || late && w.state.Load() == waiting {
			return false
		}
		f.waiting = append(f.waiting, w)
	}
	if claim != 0 {
		f.claim = claim
	}
	return true
}

// maxWaiting is how many wait for one flight. Who has passed without waiting counts, too.
const maxWaiting = 4096

// fly asks until nobody waits any more.
func (s *Shared) fly(f *flight) {
	for asked := false; ; {
		s.flights.mu.Lock()
		batch, claim := f.waiting, f.claim
		f.waiting, f.claim, f.sent = nil, 0, s.now()
		if len(batch) == 0 && claim == 0 {
			delete(s.flights.of, f.flightKey)
			s.flights.mu.Unlock()
			return
		}
		s.flights.mu.Unlock()
		if asked {
			batch = s.dealKnown(f, batch)
		}
		if len(batch) > 0 && claim == 0 && f.p.lease > 0 {
			claim = f.e.claim(f.tag, s.now())
		}
		if len(batch) > 0 || claim != 0 {
			s.ask(f, batch, claim)
			asked = true
		}
		f.e.unclaim(claim) // also after a failure
	}
}

// dealKnown answers those who have come while the source was asked, as far as its
// answer tells, and returns the others.
func (s *Shared) dealKnown(f *flight, batch []*waiter) (unknown []*waiter) {
	now := s.now()
	for _, w := range batch {
		if w.state.Load() != waiting {
			unknown = append(unknown, w)
		} else if until := f.e.spend(f.tag, w.n, now); until != 0 {
			if !w.settle(answered{paid: byLease, until: until}) {
				s.putBack(f.seat, w.n, until, now)
			}
			w.hear()
		} else if wait := s.waits(f.flightKey, w.n, now); wait > 0 {
			w.settle(answered{wait: wait})
			w.hear()
		} else {
			unknown = append(unknown, w)
		}
	}
	return unknown
}

// putBack undoes spend.
func (s *Shared) putBack(at seat, n, until, now int64) {
	lost, kept := at.e.lend(at.tag, n, until, now)
	if !kept {
		lost = n
	}
	s.expired.Add(uint64(lost))
}

var errGrant = errors.New("the source has answered what makes no sense")

// ask is one call to the source.
func (s *Shared) ask(f *flight, batch []*waiter, claim uint32) {
	need, want := int64(1), int64(0)
	for _, w := range batch {
		want += w.n
	}
	if len(batch) > 0 {
		need = batch[0].n
	}
	sent := s.now()
	if claim != 0 {
		size := s.size(f.flightKey, need, sent)
		want += max(size-f.e.live(sent), 0)
	}
	if want = min(want, f.p.Burst); want == 0 {
		return // there is enough by now
	}

	ctx, cancel := context.WithTimeout(s.ctx, flightTime)
	g, err := s.source.Grant(ctx, f.p, f.id, need, want)
	cancel()
	s.calls.Add(1)
	if err == nil && (g.Tokens < 0 || g.Tokens > want || g.Tokens > 0 && g.Tokens < need) {
		err = errGrant
	}
	if err != nil {
		s.failures.Add(1)
		if s.ctx.Err() == nil {
			s.health.failed(err, s.now())
			s.health.faulty.add(f.flightKey, s.now())
		}
		f.e.unclaim(claim) // or who comes next would wait for this
		for _, w := range batch {
			w.settle(answered{err: err})
			w.hear()
		}
		return
	}
	now := s.now()
	s.health.answered(f.flightKey, now)
	s.answersIn(now - sent)
	s.leased.Add(uint64(g.Tokens))
	left := f.p.central.left(g.Full, g.At)
	rest := s.deal(f, batch, g, left, sent)
	// Between the news and the lease somebody may find neither: see awaitLanding.
	f.e.learn(f.tag, f.p, g, left == 0, sent, now)
	if rest = s.lend(f.flightKey, f.id, rest, g.At, sent, now); rest > 0 {
		s.giveBack(Unspent{Policy: f.p, ID: f.id, Tokens: rest, At: g.At})
	}
	f.e.unclaim(claim)
	for _, w := range batch {
		w.hear()
	}
}

// lend makes a lease of tokens that were granted at some time on the source's clock, asked for
// when it was sent, and returns those for which that cannot be.
func (s *Shared) lend(k flightKey, id ID, n, at, sent, now int64) (rest int64) {
	until, lent := sent+ttl, min(n, k.p.maxLease())
	if lent <= 0 || until-now < ttl/4 || s.closing.Load() {
		return n
	}
	lost, kept := k.e.lend(k.tag, lent, until, now)
	if !kept {
		return n
	}
	s.expired.Add(uint64(lost))
	// Others may be merged with it, that were granted up to as much earlier as the answer took.
	s.remember(grant{flightKey: k, id: id, at: at - (now-sent)/micro - milli/micro, until: until})
	return n - lent
}

// deal settles what becomes of those who wait, in turn: as if each had asked for himself,
// all at the time of the grant. Those who would not have had to be refused, if
// the first had not wanted more than there is, wait on. What is left over it returns.
func (s *Shared) deal(f *flight, batch []*waiter, g Grant, left, sent int64) (rest int64) {
	rest = g.Tokens
	var again []*waiter
	for _, w := range batch {
		switch {
		case w.n <= rest:
			if w.settle(answered{paid: bySource, until: sent + ttl, at: g.At}) || w.state.Load() == passed {
				rest -= w.n
			}
		case g.Tokens == 0 && w.n <= left && w.n < batch[0].n:
			again = append(again, w)
		default:
			w.settle(answered{wait: max(f.p.central.wait(g.Full-g.At, w.n), 1) * micro})
		}
	}
	if len(again) > 0 {
		s.flights.mu.Lock()
		f.waiting = append(again, f.waiting...)
		s.flights.mu.Unlock()
	}
	return rest
}

// settle decides what a waiter is going to hear, and is false if nobody waits for it.
func (w *waiter) settle(a answered) bool {
	if w.state.Load() != waiting {
		return false
	}
	w.told = a // only one goroutine settles, and nobody reads it before that
	return w.state.CompareAndSwap(waiting, settled)
}

// hear tells a waiter what was settled, if it was.
func (w *waiter) hear() {
	if w.state.Load() == settled {
		close(w.heard)
	}
}

// await waits for the answer, until done is closed. If it is false, the waiter is gone.
func (w *waiter) await(done <-chan struct{}) (answered, bool) {
	select {
	case <-w.heard:
		return w.told, true
	case <-done:
	}
	if w.state.CompareAndSwap(waiting, gone) {
		return answered{}, false
	}
	<-w.heard
	return w.told, true
}
