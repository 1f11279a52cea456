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
	n      int64
	state  atomic.Int32
	answer chan answered // has room for one
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
		if all.closed || len(all.of) >= maxFlights {
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
		f.e.unclaim(claim)
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
			if !w.tell(answered{paid: byLease, until: until}) {
				s.putBack(f.seat, w.n, until, now)
			}
		} else if wait := s.waits(f.flightKey, w.n, now); wait > 0 {
			w.tell(answered{wait: wait})
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
			s.health.worse(away)
		}
		for _, w := range batch {
			w.tell(answered{err: err})
		}
		return
	}
	now := s.now()
	s.answersIn(now - sent)
	s.leased.Add(uint64(g.Tokens))
	left := f.p.central.left(g.Full, g.At)
	f.e.learn(f.tag, f.p, g, left == 0, sent, now)

	rest := s.deal(f, batch, g, left, sent)
	if rest == 0 {
		return
	}
	until := sent + ttl
	if lent := min(rest, f.p.maxLease()); lent > 0 && until-now > ttl/4 && !s.closing.Load() {
		if lost, kept := f.e.lend(f.tag, lent, until, now); kept {
			s.expired.Add(uint64(lost))
			// At the source it may have been as much earlier as the answer took.
			s.lent(grant{flightKey: f.flightKey, id: f.id, at: g.At - (now-sent)/micro - milli/micro, until: until})
			rest -= lent
		}
	}
	s.giveBack(Unspent{Policy: f.p, ID: f.id, Tokens: rest, At: g.At})
}

// deal gives the tokens of a grant to those who wait, in turn: as if each had asked for
// himself, all at the time of the grant. Those who would not have had to be refused, if
// the first had not wanted more than there is, wait on. What is left over it returns.
func (s *Shared) deal(f *flight, batch []*waiter, g Grant, left, sent int64) (rest int64) {
	rest, now := g.Tokens, s.now()
	var again []*waiter
	for _, w := range batch {
		switch {
		case w.n <= rest:
			if w.tell(answered{paid: bySource, until: sent + ttl, at: g.At}) || w.state.Load() == passed {
				rest -= w.n
			}
		case g.Tokens == 0 && w.n <= left && w.n < batch[0].n:
			again = append(again, w)
		default:
			_, wait := f.p.central.take(g.Full, g.At, w.n)
			w.tell(answered{wait: max(sent+wait*micro-now, 1)})
		}
	}
	if len(again) > 0 {
		s.flights.mu.Lock()
		f.waiting = append(again, f.waiting...)
		s.flights.mu.Unlock()
	}
	return rest
}

// tell answers, and is false if nobody waits for it.
func (w *waiter) tell(a answered) bool {
	if !w.state.CompareAndSwap(waiting, settled) {
		return false
	}
	w.answer <- a
	return true
}

// await waits for the answer, until done is closed. If it is false, the waiter is gone.
func (w *waiter) await(done <-chan struct{}) (answered, bool) {
	select {
	case a := <-w.answer:
		return a, true
	case <-done:
	}
	if w.state.CompareAndSwap(waiting, gone) {
		return answered{}, false
	}
	return <-w.answer, true
}
