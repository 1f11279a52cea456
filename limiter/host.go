package limiter

import (
	"context"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

// Host decides for one host alone, in the memory that its workers share: what all of them
// together admit is within the bound.
//
// A bucket that is forgotten, because there is no place left in the table, is forgiven its
// debt. That happens to the one with the least, and is counted.
type Host struct {
	table *table
	tally tally
}

// NewHost is a limiter for the workers that share m. Who closes it closes m afterwards.
func NewHost(m *hostmem.Mapping) (*Host, error) {
	t, err := newTable(m)
	if err != nil {
		return nil, err
	}
	return &Host{table: t}, nil
}

// fewCharges need no memory of their own.
const fewCharges = 8

// place is where a charge is paid.
type place struct {
	hash  uint64
	e     *entry
	tag   uint64
	tat   int64 // before it is paid
	after int64 // and after
	owed  int64 // the time of this and earlier charges of the same call at the same bucket
	paid  int64 // when
}

// Decide looks at all buckets before it charges one. Of several that refuse it tells the one
// that does so for longest: so what is asked again after RetryAfter passes, if nothing
// else is charged, and not before. A cost below 1 is 1.
func (h *Host) Decide(_ context.Context, charges []Charge) Decision {
	var few [fewCharges]place
	places := few[:]
	if len(charges) > fewCharges {
		places = make([]place, len(charges))
	}
	places = places[:len(charges)]

	now := h.table.now()
	refused := Decision{Refused: -1}
	for i := range charges {
		wait := h.look(charges, places, i, now)
		if wait > refused.RetryAfter {
			refused = Decision{Refused: i, RetryAfter: wait}
		}
	}
	if !refused.OK() {
		for i := range charges {
			charges[i].tell(places[i].tat, now)
		}
		return h.refuse(charges, refused)
	}
	for i := range charges {
		var wait time.Duration
		wait, now = h.pay(&charges[i], &places[i], now)
		if wait == 0 {
			continue
		}
		for j := range i {
			h.giveBack(&charges[j], &places[j])
		}
		for j := range charges {
			charges[j].tell(h.table.tat(places[j].hash), now)
		}
		return h.refuse(charges, Decision{Refused: i, RetryAfter: wait})
	}
	for i := range charges {
		charges[i].tell(places[i].after, now)
		h.tally.count(charges[i].Policy).allowed.Add(1)
	}
	for i := range charges { // who pays twice at one bucket sees it after both
		for j := i + 1; j < len(charges); j++ {
			if places[j].hash == places[i].hash {
				charges[i].tell(places[j].after, now)
			}
		}
	}
	return Decision{Refused: -1}
}

func (h *Host) refuse(charges []Charge, d Decision) Decision {
	h.tally.count(charges[d.Refused].Policy).denied.Add(1)
	return d
}

// look finds the place of charge i, and says how long it must wait, after the earlier
// charges of this call.
func (h *Host) look(charges []Charge, places []place, i int, now int64) time.Duration {
	c, p := &charges[i], &places[i]
	r := c.Policy.host
	p.hash = c.Policy.keyHash(h.table.seed, c.Key)
	p.e, p.tag = h.table.find(p.hash)
	if p.e != nil {
		p.tat = p.e.tat.Load()
		if p.tat < 0 || p.e.tag.Load() != p.tag {
			p.e, p.tat = nil, 0 // it is just being given away
		}
	}
	for j := range i {
		if places[j].hash == p.hash {
			p.owed = places[j].owed
		}
	}
	n := c.cost()
	if n > c.Policy.Burst {
		return Never
	}
	if p.owed += r.time(n); p.owed > r.depth {
		return Never
	}
	p.after = max(p.tat, now) + p.owed
	return time.Duration(max(p.after-now-r.depth, 0))
}

// pay charges c, and says how long it must wait if that cannot be any more. It returns
// what time it is by then.
func (h *Host) pay(c *Charge, p *place, now int64) (time.Duration, int64) {
	r, n := c.Policy.host, c.cost()
	for {
		if p.e == nil {
			if p.e, p.tag = h.table.insert(p.hash, r.pace()); p.e == nil {
				return time.Duration(staleAfter), now
			}
			now = h.table.now() // before that the bucket was not full
		}
		after, wait, held := p.e.take(p.tag, r, now, n)
		switch {
		case !held:
			p.e = nil
		case wait < 0:
			return Never, now
		default:
			p.after, p.paid = after, now
			return time.Duration(wait), now
		}
	}
}

// take takes n tokens of the key that had the entry when tag was read. It has done nothing
// if the entry is not held by that any more.
func (e *entry) take(tag uint64, r rate, now, n int64) (after, wait int64, held bool) {
	for {
		tat := e.tat.Load()
		if tat < 0 || e.tag.Load() != tag {
			return 0, 0, false
		}
		after, wait = r.take(tat, now, n)
		if wait != 0 {
			return after, wait, true
		}
		if !e.tat.CompareAndSwap(tat, after) {
			continue
		}
		if e.tag.Load() == tag {
			return after, 0, true
		}
		// By chance the bucket of another was full at the same nanosecond.
		e.tat.CompareAndSwap(after, tat)
		return 0, 0, false
	}
}

// giveBack returns what was paid. If the bucket has been forgotten meanwhile
// there is nothing to return.
func (h *Host) giveBack(c *Charge, p *place) {
	r, n := c.Policy.host, c.cost()
	for {
		tat := p.e.tat.Load()
		if tat < 0 || p.e.tag.Load() != p.tag {
			return
		}
		// The time is read after tat: what others have taken since comes before it,
		// or the swap fails. Else this could give back what has filled already.
		now := h.table.now()
		if p.e.tat.CompareAndSwap(tat, max(r.giveBack(tat, now, n, p.paid), 1)) {
			return
		}
	}
}

// tat is when the bucket of a key is full again; 0 if it is.
func (t *table) tat(hash uint64) int64 {
	if e, tag := t.find(hash); e != nil {
		if tat := e.tat.Load(); tat >= 0 && e.tag.Load() == tag {
			return tat
		}
	}
	return 0
}

func (c *Charge) cost() int64 { return max(c.Cost, 1) }

// tell fills in what is left.
func (c *Charge) tell(tat, now int64) {
	r := c.Policy.host
	c.Left, c.Full = r.left(tat, now), time.Duration(r.at(tat, now)-now)
}

// Stats implements [Limiter].
func (h *Host) Stats() Stats {
	s := Stats{Forgotten: h.table.forgotten.Load(), Forgiven: h.table.forgiven.Load(), Hosts: 1}
	h.tally.fill(&s)
	return s
}

// Close implements [Limiter]: there is nothing to give back.
func (h *Host) Close(context.Context) error { return nil }
