package limiter

import (
	"context"
	"sync"
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

// grants are the leases that have not ended, oldest first.
type grants struct {
	mu   sync.Mutex
	list []grant
	head int
}

func (g *grants) add(lease grant) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.list)-g.head == maxGrants {
		g.list[g.head] = grant{}
		g.head++
	}
	if g.head > 64 && g.head > len(g.list)/2 { // half of it is past
		n := copy(g.list, g.list[g.head:])
		clear(g.list[n:])
		g.list, g.head = g.list[:n], 0
	}
	g.list = append(g.list, lease)
}

// ended takes those out that have ended by now.
func (g *grants) ended(now int64) (past []grant) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for ; g.head < len(g.list) && g.list[g.head].until <= now; g.head++ {
		past = append(past, g.list[g.head])
		g.list[g.head] = grant{}
	}
	return past
}

// all takes all out.
func (g *grants) all() []grant {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := g.list[g.head:]
	g.list, g.head = nil, 0
	return list
}

// tidy counts what has expired of this process's leases, and takes it out of the memory.
func (s *Shared) tidy() {
	for _, g := range s.granted.ended(s.now()) {
		s.expired.Add(uint64(g.e.reclaim(g.tag, g.until)))
	}
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
	select {
	case s.back.some <- struct{}{}:
	default:
	}
}

// returns are tokens to be given back.
type returns struct {
	mu   sync.Mutex
	list []Unspent
	some chan struct{} // has room for one
	end  chan struct{} // closed when nobody is to take more
}

const maxBack = 4096

func (r *returns) take() []Unspent {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}

// returning gives back until the end.
func (s *Shared) returning() {
	for {
		select {
		case <-s.back.end:
			return
		case <-s.back.some:
		}
		within, cancel := context.WithTimeout(s.ctx, flightTime)
		_ = s.returnAll(within, s.back.take()) // it is counted, and health hears of it
		cancel()
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
			s.health.worse(away)
		}
		return err
	}
	s.returned.Add(sum)
	return nil
}
