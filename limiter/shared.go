package limiter

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

// Shared is a limiter whose buckets are a source's, for all hosts together. A host is given
// tokens ahead, and its workers spend them without asking: leases, which lie in the memory
// of the host and not of a worker. What is admitted in any window W is at most
// burst + rate × (W + LeaseTTL), and burst + rate × W for policies of less than 20 tokens, which
// have no leases.
//
// How a charge is decided:
//
//   - what the source has said is remembered: for as long as no n tokens can be
//     there, n tokens are refused (known.go);
//   - a lease pays (lease.go), and if little is left of it more is asked for in the
//     background, as much as will be needed (sizing.go);
//   - or the source is asked, and waited for within the Budget (decide.go, flight.go);
//   - or the policy's Fail decides (alone.go), if the source is away or slow (health.go).
type Shared struct {
	table   *table
	hostmem *hostmem.Mapping
	source  Source
	now     func() int64 // the table's
	budget  time.Duration

	health  *health
	flights flights
	granted granted
	back    returns

	tally                                      tally
	remembered, byItself                       atomic.Uint64
	took                                       atomic.Int64 // what an answer takes, in nanoseconds
	calls, failures, leased, expired, returned atomic.Uint64

	ctx     context.Context // until Close has ended
	stop    context.CancelFunc
	closing atomic.Bool
	wg      sync.WaitGroup
}

var _ Limiter = (*Shared)(nil)

// firstWait is how long NewShared waits for the source.
const firstWait = 250 * time.Millisecond

// NewShared is a limiter by the buckets of a source, which it closes in the end. If the source does
// not answer at once it is tried on. logger is told when the source goes, and when it is back; nil is
// nobody.
func NewShared(m *hostmem.Mapping, source Source, logger *slog.Logger) (*Shared, error) {
	t, err := newTable(m)
	if err != nil {
		return nil, err
	}
	s := newShared(m, t, source, logger, Budget)
	s.start()
	return s, nil
}

func newShared(m *hostmem.Mapping, t *table, source Source, logger *slog.Logger, budget time.Duration) *Shared {
	s := &Shared{
		table: t, hostmem: m, source: source, now: t.now, budget: budget,
		health: newHealth(logger),
	}
	s.flights.of = map[flightKey]*flight{}
	s.back.some, s.back.end = make(chan struct{}, 1), make(chan struct{})
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// start begins what goes on in the background.
func (s *Shared) start() {
	first := make(chan struct{})
	s.wg.Go(func() { s.watch(s.ctx, first) })
	s.flights.wg.Go(s.returning)
	timer := time.NewTimer(firstWait)
	defer timer.Stop()
	select {
	case <-first:
	case <-timer.C:
	}
}

// Decide is of [Limiter]. A cost below 1 is 1.
func (s *Shared) Decide(ctx context.Context, charges []Charge) Decision {
	now := s.now()
	if len(charges) == 1 && s.fast(&charges[0], now) {
		return Decision{Refused: -1}
	}
	return s.decide(ctx, charges, now)
}

// fast decides what a lease pays, as most is.
func (s *Shared) fast(c *Charge, now int64) bool {
	p, n := c.Policy, c.cost()
	if p.lease == 0 {
		return false
	}
	e, tag := s.table.find(p.keyHash(s.table.seed, c.Key))
	if e == nil || e.spend(tag, n, now) == 0 {
		return false
	}
	k := flightKey{seat{e, tag}, p}
	e.want(n, now)
	live := e.live(now)
	s.refill(k, c, live, now)
	k.show(c, live, now)
	s.tally.count(p).allowed.Add(1)
	return true
}

// refill asks ahead if little is left, and nobody does.
func (s *Shared) refill(k flightKey, c *Charge, left, now int64) {
	n := c.cost()
	if s.isAmple(k, left, n) {
		return
	}
	size := s.size(k, n, now)
	if left > s.low(k, size, now) || left >= size || s.waits(k, n, now) > 0 || !s.health.mayAsk(k, now) {
		return
	}
	if claim := k.e.claim(k.tag, now); claim != 0 && !s.join(k, idOf(c.Key), nil, claim) {
		k.e.unclaim(claim)
	}
}

// show says in c what is left, as far as is known here.
func (k flightKey) show(c *Charge, live, now int64) {
	r, full := &k.p.central, k.e.fullIn(now)
	c.Left = min(r.left(full, 0)+live, k.p.Burst)
	c.Full = time.Duration(max(full-r.time(live), 0) * micro)
}

// Stats is of [Limiter].
func (s *Shared) Stats() Stats {
	st := Stats{
		Remembered: s.remembered.Load(),
		Alone:      s.byItself.Load(),
		Calls:      s.calls.Load(),
		Failures:   s.failures.Load(),
		Leased:     s.leased.Load(),
		Expired:    s.expired.Load() + s.table.wasted.Load(),
		Returned:   s.returned.Load(),
		Forgotten:  s.table.forgotten.Load(),
		Forgiven:   s.table.forgiven.Load(),
		Hosts:      int(s.hosts()),
		Away:       s.health.state() != well,
	}
	s.tally.fill(&st)
	return st
}

// Close is of [Limiter]: it gives back what is left of this process's leases, and
// closes the source.
func (s *Shared) Close(ctx context.Context) error {
	s.closing.Store(true)
	s.flights.mu.Lock()
	closed := s.flights.closed
	s.flights.closed = true
	s.flights.mu.Unlock()
	if closed {
		return nil
	}
	close(s.back.end)
	landed := make(chan struct{})
	go func() { s.flights.wg.Wait(); close(landed) }()
	select {
	case <-landed:
	case <-ctx.Done():
		s.stop()
		<-landed
	}

	list, _ := s.back.take()
	list = append(list, s.reclaimAll()...)
	err := s.returnAll(ctx, list)
	s.stop()
	s.wg.Wait()
	s.source.Close()
	return err
}
