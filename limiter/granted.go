package limiter

import (
	"context"
	"math"
	"sync"
	"time"
)

// grant is a lease that this process has put into the memory of its host, as the source
// wants to hear of it when it is given back.
type grant struct {
	flightKey
	id    ID
	at    int64 // on the source's clock, not after any token of the lease was granted
	until int64
}

// maxGrants is how many leases a process remembers. What it has forgotten it cannot
// give back.
const maxGrants = 1 << 16

// grants are leases, the one that ends first in front.
type grants struct {
	list []grant
	head int
}

func (g *grants) add(lease grant) {
	if len(g.list)-g.head == maxGrants {
		g.drop()
	}
	if g.head > 64 && g.head > len(g.list)/2 { // half of it is past
		n := copy(g.list, g.list[g.head:])
		clear(g.list[n:])
		g.list, g.head = g.list[:n], 0
	}
	g.list = append(g.list, lease)
}

func (g *grants) drop() {
	g.list[g.head] = grant{}
	g.head++
}

// first is the lease in front, if it ends by then.
func (g *grants) first(until int64) (grant, bool) {
	if g.head == len(g.list) || g.list[g.head].until > until {
		return grant{}, false
	}
	return g.list[g.head], true
}

// granted are the leases of a process: those that are used, and those that are about to
// end.
type granted struct {
	mu           sync.Mutex
	used, ending grants
}

const (
	// A lease that is about to end and still has tokens is not what its key needs: they
	// are given back, if at least half of them count there, before they are lost.
	endingFor  = ttl / 5
	sweepEvery = ttl / 20
)

// remember remembers a lease.
func (s *Shared) remember(g grant) {
	s.granted.mu.Lock()
	idle := len(s.granted.used.list) == s.granted.used.head
	s.granted.used.add(g)
	s.granted.mu.Unlock()
	if idle {
		s.back.wake()
	}
}

// sweep takes out of the memory what has ended, or is about to and worth to be given back.
// It returns when to do so next, 0 if there is nothing.
func (s *Shared) sweep() (next int64) {
	now := s.now()
	s.granted.mu.Lock()
	defer s.granted.mu.Unlock()
	for g, ok := s.granted.used.first(now + endingFor); ok; g, ok = s.granted.used.first(now + endingFor) {
		s.granted.used.drop()
		if worth := 2 * (ttl - endingFor); s.health.state() == well && g.p.host.time(g.e.live(now)) > worth {
			s.giveBack(Unspent{Policy: g.p, ID: g.id, Tokens: g.e.reclaim(g.tag, g.until), At: g.at})
			continue
		}
		s.granted.ending.add(g)
	}
	for g, ok := s.granted.ending.first(now); ok; g, ok = s.granted.ending.first(now) {
		s.granted.ending.drop()
		s.expired.Add(uint64(g.e.reclaim(g.tag, g.until)))
	}
	if g, ok := s.granted.used.first(math.MaxInt64); ok {
		next = g.until - endingFor
	}
	if g, ok := s.granted.ending.first(math.MaxInt64); ok && (next == 0 || g.until < next) {
		next = g.until
	}
	if next != 0 {
		next = max(next, now+sweepEvery)
	}
	return next
}

// reclaimAll takes all that is left of all leases out of the memory, to be given back.
func (s *Shared) reclaimAll() (list []Unspent) {
	now := s.now()
	s.granted.mu.Lock()
	defer s.granted.mu.Unlock()
	for _, all := range []*grants{&s.granted.used, &s.granted.ending} {
		for g, ok := all.first(math.MaxInt64); ok; g, ok = all.first(math.MaxInt64) {
			all.drop()
			n := g.e.reclaim(g.tag, g.until)
			if g.until <= now {
				s.expired.Add(uint64(n))
			} else if n > 0 {
				list = append(list, Unspent{Policy: g.p, ID: g.id, Tokens: n, At: g.at})
			}
		}
	}
	return list
}

// giveBack has tokens given back soon, or lost if too many are to be already.
func (s *Shared) giveBack(u Unspent) {
	if u.Tokens <= 0 {
		return
	}
	s.back.mu.Lock()
	defer s.back.mu.Unlock()
	if len(s.back.list) >= maxBack {
		s.expired.Add(uint64(u.Tokens))
		return
	}
	s.back.list = append(s.back.list, u)
	s.back.wake()
}

// returns are tokens to be given back.
type returns struct {
	mu   sync.Mutex
	list []Unspent
	done chan struct{} // closed when those in list are given back; nil if nobody asks
	some chan struct{} // has room for one: there is something to do
	end  chan struct{} // closed when nobody is to take more
}

const maxBack = 4096

func (r *returns) wake() {
	select {
	case r.some <- struct{}{}:
	default:
	}
}

func (r *returns) take() (list []Unspent, done chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list, done = r.list, r.done
	r.list, r.done = nil, nil
	return list, done
}

// flushed is closed when all that is to be given back has been, or cannot be.
func (r *returns) flushed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done = make(chan struct{})
	}
	r.wake()
	return r.done
}

// returning sweeps, and gives back, until the end.
func (s *Shared) returning() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-s.back.end:
			return
		case <-s.back.some:
		case <-timer.C:
		}
		if next := s.sweep(); next != 0 {
			timer.Reset(time.Duration(next - s.now()))
		}
		within, cancel := context.WithTimeout(s.ctx, flightTime)
		list, done := s.back.take()
		_ = s.returnAll(within, list) // it is counted, and health hears of it
		cancel()
		if done != nil {
			close(done)
		}
	}
}

func (s *Shared) returnAll(ctx context.Context, list []Unspent) error {
	if len(list) == 0 {
		return nil
	}
	var sum uint64
	for _, u := range list {
		sum += uint64(u.Tokens)
	}
	s.calls.Add(1)
	err := s.source.Return(ctx, list)
	if err != nil {
		s.failures.Add(1)
		s.expired.Add(sum)
		if s.ctx.Err() == nil {
			s.health.failed(err, s.now())
		}
		return err
	}
	s.returned.Add(sum)
	return nil
}
