package limiter

import (
	"sync"
	"sync/atomic"
)

// tally counts decisions by the names of policies, without a lock or a search: a policy
// has its counters at hand.
type tally struct {
	mu     sync.Mutex
	byName map[string]*counters
}

// counters are those of all policies of one name in one limiter. They have a cache line
// of their own.
type counters struct {
	allowed, denied atomic.Uint64
	of              *tally
	_               [40]byte
}

// count returns the counters of a policy.
func (t *tally) count(p *Policy) *counters {
	if c := p.counters.Load(); c != nil && c.of == t {
		return c
	}
	return t.begin(p)
}

func (t *tally) begin(p *Policy) *counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.byName[p.Name]
	if c == nil {
		if t.byName == nil {
			t.byName = map[string]*counters{}
		}
		c = &counters{of: t}
		t.byName[p.Name] = c
	}
	p.counters.Store(c)
	return c
}

// fill writes what was counted.
func (t *tally) fill(s *Stats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Allowed, s.Denied = make(map[string]uint64, len(t.byName)), make(map[string]uint64, len(t.byName))
	for name, c := range t.byName {
		s.Allowed[name], s.Denied[name] = c.allowed.Load(), c.denied.Load()
	}
}
