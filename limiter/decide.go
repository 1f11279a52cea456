package limiter

import (
	"context"
	"time"
)

// step is what was done about a charge.
type step struct {
	flightKey
	claim uint32
	busy  bool  // somebody asked ahead for it when it was looked at
	owed  int64 // to this bucket, with the earlier charges of the call
	paid  payment
	until int64   // when what has paid would have ended
	w     *waiter // if the source is asked
	at    int64   // of the source's grant
}

// payment is how a charge was paid.
type payment uint8

const (
	unpaid payment = iota
	byLease
	bySource
	byFail
)

func (s *Shared) decide(ctx context.Context, charges []Charge, now int64) Decision {
	var few [fewCharges]step
	steps := few[:]
	if len(charges) > fewCharges {
		steps = make([]step, len(charges))
	}
	steps = steps[:len(charges)]

	// Before anything is charged: does what is known here refuse?
	refused := s.lookAtAll(charges, steps, now)
	if !refused.OK() && s.awaitLanding(&steps[refused.Refused]) {
		now = s.now()
		refused = s.lookAtAll(charges, steps, now)
	}
	for i := range steps {
		if e := steps[i].e; e != nil {
			e.want(min(charges[i].cost(), maxDemand), now)
		}
	}
	if !refused.OK() {
		s.remembered.Add(1)
		return s.end(charges, steps, refused, now)
	}
	missing := false
	for i := range charges {
		st, n := &steps[i], charges[i].cost()
		if st.until = st.e.spend(st.tag, n, now); st.until != 0 {
			st.paid = byLease
		} else {
			missing = true
		}
	}
	if missing {
		refused = s.pay(ctx, charges, steps, now)
		now = s.now()
	}
	return s.end(charges, steps, refused, now)
}

// lookAtAll says which charge cannot be paid for longest, as far as is known.
func (s *Shared) lookAtAll(charges []Charge, steps []step, now int64) Decision {
	refused := Decision{Refused: -1}
	for i := range charges {
		if wait := s.look(charges, steps, i, now); wait > refused.RetryAfter {
			refused = Decision{Refused: i, RetryAfter: wait}
		}
	}
	return refused
}

// awaitLanding waits a moment for whoever asks ahead for a key, if anybody does. He may have told what
// is left at the source, which is too little, and not yet made a lease of what he has got.
func (s *Shared) awaitLanding(st *step) bool {
	if !st.busy {
		return false
	}
	for range 5 {
		if !asked(st.e.asked.Load()).claimed(s.now()) {
			return true
		}
		time.Sleep(lookEvery)
	}
	return false
}

// look finds where the bucket of charge i is, and says how long it cannot be paid, after
// the earlier charges of this call, as far as is known without charging.
func (s *Shared) look(charges []Charge, steps []step, i int, now int64) time.Duration {
	c, st := &charges[i], &steps[i]
	st.p, st.owed, st.busy = c.Policy, 0, false
	hash, n := st.p.keyHash(s.table.seed, c.Key), c.cost()
	if st.e, st.tag = s.table.find(hash); st.e == nil {
		if st.e, st.tag = s.table.insert(hash, st.p.host.pace()); st.e == nil {
			return time.Duration(staleAfter)
		}
	}
	most := st.p.central.count(st.p.central.depth)
	ours := st.claim != 0 // the claim, if there is one
	for j := range i {
		if steps[j].flightKey == st.flightKey {
			st.owed, ours = steps[j].owed, ours || steps[j].claim != 0
		}
	}
	if n > most-st.owed {
		st.owed = most
		return Never
	}
	st.owed += n
	st.busy = st.p.lease > 0 && !ours && asked(st.e.asked.Load()).claimed(now)
	if _, l := st.e.payer(st.owed, now); l != 0 {
		return 0
	}
	wait := s.waits(st.flightKey, max(st.owed-st.e.live(now), n), now)
	if wait > 0 && asked(st.e.asked.Load()).believed(now) {
		return s.retryAfter(wait)
	}
	if !s.health.isWell(st.flightKey, now) || wait == 0 && !s.atEdge(st.flightKey, n, now) {
		return 0
	}
	// One asks again, and the others take it that there is nothing for them until he knows.
	if ours {
		return 0
	}
	if st.claim = st.e.claim(st.tag, now); st.claim != 0 {
		return 0
	}
	return max(s.retryAfter(wait), s.budget)
}

// retryAfter is when to come again if there can be something in such a time: the source may
// have given its answer as much later as that was on its way.
func (s *Shared) retryAfter(wait int64) time.Duration {
	return time.Duration(wait + min(s.took.Load(), maxTook))
}

// pay has the source asked for what no lease has paid, and where it cannot be, or does
// not answer in time, goes by the Fail of the policies.
func (s *Shared) pay(ctx context.Context, charges []Charge, steps []step, began int64) Decision {
	if s.askAll(charges, steps, began) {
		if refused := s.payBySource(ctx, steps, began); !refused.OK() {
			s.undo(charges, steps, began)
			return refused
		}
	}
	now, d := s.now(), Decision{Refused: -1}
	for i := range steps {
		st, n := &steps[i], charges[i].cost()
		if st.paid != unpaid {
			continue
		}
		if st.until = st.e.spend(st.tag, n, now); st.until != 0 { // it came meanwhile
			st.paid = byLease
			continue
		}
		d.Alone = true
		if wait := s.alone(st.flightKey, n, now); wait > 0 {
			s.askLater(&charges[i], st, now)
			s.undo(charges, steps, began)
			d.Refused, d.RetryAfter = i, wait
			break
		}
		st.paid = byFail
	}
	if d.OK() {
		for i := range steps {
			if steps[i].paid == byFail {
				s.chargeLater(&charges[i], &steps[i])
			}
		}
	}
	return d
}

// askAll has the source asked for all that is unpaid, as far as that can be, at once. It is false if that is
// for nothing.
func (s *Shared) askAll(charges []Charge, steps []step, now int64) (some bool) {
	for i := range steps {
		st := &steps[i]
		if st.paid != unpaid || !s.health.mayAwait(st.flightKey, now) {
			continue
		}
		w := &waiter{n: charges[i].cost(), heard: make(chan struct{})}
		if s.join(st.flightKey, idOf(charges[i].Key), w, st.claim) {
			st.w, st.claim, some = w, 0, true
		}
	}
	return some
}

// payBySource waits for what the source was asked. What it was not answered it leaves unpaid.
func (s *Shared) payBySource(ctx context.Context, steps []step, began int64) Decision {
	within, cancel := context.WithTimeout(ctx, s.budget-time.Duration(s.now()-began))
	defer cancel()
	refused := Decision{Refused: -1}
	for i := range steps {
		st := &steps[i]
		if st.w == nil {
			continue
		}
		a, ok := st.w.await(within.Done())
		switch {
		case !ok:
			if ctx.Err() == nil {
				s.failures.Add(1)
				if now := s.now(); s.health.heard.Load() < began {
					s.health.silent(now)
				}
			}
		case a.err != nil: // health has heard of it
		case a.paid != unpaid:
			if s.now() < a.until { // this process was not stopped meanwhile
				st.paid, st.until, st.at = a.paid, a.until, a.at
			}
		default:
			if st.until = s.awaitLease(within, st.flightKey, st.w.n); st.until != 0 {
				st.paid = byLease
				continue
			}
			wait := max(time.Duration(a.wait), s.retryAfter(s.waits(st.flightKey, st.w.n, s.now())))
			if wait > refused.RetryAfter {
				refused = Decision{Refused: i, RetryAfter: wait}
			}
		}
	}
	return refused
}

// awaitLease spends what another worker has leased meanwhile, and waits for one that is
// about to: to it the source may have given the last tokens.
func (s *Shared) awaitLease(within context.Context, k flightKey, n int64) (until int64) {
	for k.p.lease > 0 && within.Err() == nil {
		now := s.now()
		if until = k.e.spend(k.tag, n, now); until != 0 || !asked(k.e.asked.Load()).claimed(now) {
			return until
		}
		time.Sleep(lookEvery)
	}
	return 0
}

// lookEvery is how often one looks whether another worker has been given a lease.
const lookEvery = 200 * time.Microsecond

// chargeLater has the source charged for what has passed without it, if it can be asked: it comes to
// know all, and so does this host.
func (s *Shared) chargeLater(c *Charge, st *step) {
	if st.w != nil && st.w.state.CompareAndSwap(gone, passed) || !s.health.mayAsk(st.flightKey, s.now()) {
		return
	}
	w := &waiter{n: c.cost()}
	w.state.Store(passed)
	if s.join(st.flightKey, idOf(c.Key), w, st.claim) {
		st.claim = 0
	}
}

// askLater has the source asked for leases for a key of which there are none, if it can be.
func (s *Shared) askLater(c *Charge, st *step, now int64) {
	if st.p.lease == 0 || st.w != nil || !s.health.mayAsk(st.flightKey, now) {
		return
	}
	if st.claim == 0 {
		st.claim = st.e.claim(st.tag, now)
	}
	if st.claim != 0 && s.join(st.flightKey, idOf(c.Key), nil, st.claim) {
		st.claim = 0
	}
}

// undo gives back what was paid: to a lease, or to the source. For that it waits within the
// Budget, so that whoever asks next finds it there.
func (s *Shared) undo(charges []Charge, steps []step, began int64) {
	now, returned := s.now(), false
	for i := range steps {
		st, n := &steps[i], charges[i].cost()
		switch st.paid {
		case byLease:
			s.putBack(st.seat, n, st.until, now)
		case bySource:
			id := idOf(charges[i].Key)
			if n <= st.p.maxLease() {
				n = s.lend(st.flightKey, id, n, st.at, st.until-ttl, now)
			}
			if n > 0 {
				s.giveBack(Unspent{Policy: st.p, ID: id, Tokens: n, At: st.at})
				st.e.credit(st.tag, st.p, n)
				returned = true
			}
		case byFail:
			if st.p.Fail == FailLocal {
				st.untakeLocal(s.hosts(), n)
			}
		}
		st.paid = unpaid
	}
	if !returned || s.health.state() != well {
		return
	}
	timer := time.NewTimer(s.budget - time.Duration(now-began))
	defer timer.Stop()
	select {
	case <-s.back.flushed():
	case <-timer.C:
	}
}

// end counts a decision, and tells what is left after it.
func (s *Shared) end(charges []Charge, steps []step, d Decision, now int64) Decision {
	for i := range steps {
		c, st := &charges[i], &steps[i]
		if st.e == nil {
			c.Left, c.Full = c.Policy.Burst, 0
			continue
		}
		st.e.unclaim(st.claim)
		live := st.e.live(now)
		if st.paid == byLease && d.OK() {
			s.refill(st.flightKey, c, live, now)
		}
		if d.OK() {
			s.tally.count(st.p).allowed.Add(1)
		}
		st.show(c, live, now)
		if d.Alone && st.p.Fail == FailLocal {
			st.showLocal(s.hosts(), c, now)
		}
		if i == d.Refused { // also if a few tokens are there, for which it is not asked
			c.Left = min(c.Left, c.cost()-1)
		}
	}
	if !d.OK() {
		s.tally.count(charges[d.Refused].Policy).denied.Add(1)
	}
	if d.Alone {
		s.health.alone.Add(1)
		s.byItself.Add(1)
	}
	return d
}
