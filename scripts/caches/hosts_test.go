package caches

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// duration is how long a run is.
func duration(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("NEKO_CACHES")
	if text == "" {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d
}

// event is something that happens, and after which all is as before.
type event struct {
	name string
	do   func(s *stage, h *host, d time.Duration)
}

var events = []event{
	{"a connection is cut", func(s *stage, h *host, d time.Duration) {
		s.during("connections were cut", h.number, 0, h.proxy.Cut, func() {})
	}},
	{"a host is cut off", func(s *stage, h *host, d time.Duration) {
		s.during("Redis refused it", h.number, d, h.proxy.Refuse, s.mended(h))
	}},
	{"nothing comes through", func(s *stage, h *host, d time.Duration) {
		s.during("nothing came through", h.number, d, h.proxy.Stall, s.mended(h))
	}},
	{"a host is far away", func(s *stage, h *host, d time.Duration) {
		s.during("it was far away", h.number, d, func() { h.proxy.Delay(5 * time.Millisecond) }, s.mended(h))
	}},
	{"a host is too far away", func(s *stage, h *host, d time.Duration) {
		s.during("it was too far away", h.number, d, func() { h.proxy.Delay(60 * time.Millisecond) }, s.mended(h))
	}},
	{"a worker is killed", func(s *stage, h *host, d time.Duration) { h.replace(s.rand.IntN(workersOfHost)) }},
	{"a worker is killed while its host is cut off", func(s *stage, h *host, d time.Duration) {
		s.during("Redis refused it", h.number, d/2, h.proxy.Refuse, func() {
			h.replace(s.rand.IntN(workersOfHost))
			s.mended(h)()
		})
	}},
	{"Redis is flushed", func(s *stage, h *host, d time.Duration) { s.redis.Do(s.T, "FLUSHALL") }},
	{"Redis evicts", func(s *stage, h *host, d time.Duration) {
		s.redis.Do(s.T, "CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "1")
		_ = s.redis.Try("SET", "evict", "1") // as much as it can
		s.redis.Do(s.T, "CONFIG", "SET", "maxmemory", "0")
	}},
	{"Redis is full", func(s *stage, h *host, d time.Duration) {
		s.during("Redis was full", -1, d, func() { // tags that it does not have cannot be given a generation
			s.redis.Do(s.T, "CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
		}, func() { s.redis.Do(s.T, "CONFIG", "SET", "maxmemory", "0") })
	}},
	{"an operator ends connections", func(s *stage, h *host, d time.Duration) {
		s.during("an operator has ended connections", -1, 0, func() { s.redis.Do(s.T, "CLIENT", "KILL", "TYPE", "normal") }, func() {})
	}},
	{"Redis starts anew", func(s *stage, h *host, d time.Duration) {
		s.during("Redis started anew", -1, d/2, s.redis.Kill, func() { s.redis.Restart(s.T) })
	}},
	{"Redis stands still", func(s *stage, h *host, d time.Duration) {
		s.during("Redis stood still", -1, d, func() { s.redis.Stop(s.T) }, func() { s.redis.Continue(s.T) })
	}},
	{"the store is away", func(s *stage, h *host, d time.Duration) {
		s.store.away.Store(1)
		time.Sleep(d)
		s.store.away.Store(0)
	}},
	{"the store and Redis are away", func(s *stage, h *host, d time.Duration) {
		s.during("Redis and the store were away", -1, d, func() { s.store.away.Store(1); s.redis.Kill() }, func() {
			s.redis.Restart(s.T)
			s.store.away.Store(0)
		})
	}},
}

func (s *stage) mended(h *host) func() { return func() { must(s.T, h.proxy.Resume()) } }

// Whatever happens to workers, hosts and Redis: nobody reads what is older than promised.
func TestNoAnswerIsOlderThanPromised(t *testing.T) {
	s := newStage(t)
	s.arrive()
	done := map[string]int{}
	end := time.Now().Add(duration(t))
	var left []event
	for time.Now().Before(end) {
		if len(left) == 0 { // each once, then all again in another order
			left = slices.Clone(events)
			s.rand.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		}
		time.Sleep(time.Duration(100+s.rand.IntN(400)) * time.Millisecond)
		e, h := left[0], s.hosts[s.rand.IntN(len(s.hosts))]
		left = left[1:]
		began := monotonic()
		e.do(s, h, time.Duration(300+s.rand.IntN(1500))*time.Millisecond)
		done[e.name]++
		s.diary = append(s.diary, fault{fmt.Sprintf("%s (%d)", e.name, h.number), -1, began, monotonic()})
	}
	time.Sleep(500 * time.Millisecond)
	s.leave()
	v := s.verdict()
	t.Logf("%v\n\n%s", done, &v)
	s.report(&v)
	if v.reads < 1000 || v.kept < v.reads/2 || v.changes < 50 {
		t.Errorf("%d reads, %d of them of what was kept, and %d changes show nothing", v.reads, v.kept, v.changes)
	}
}

// Without faults each host sees what changes elsewhere within a round trip.
func TestAChangeIsSeenByAllWithinARoundTrip(t *testing.T) {
	s := newStage(t)
	s.arrive()
	time.Sleep(max(1500*time.Millisecond, duration(t)/3))
	// Workers that have just started tell later what they change before they have connected: of few changes, on a busy
	// machine, that is a large part.
	shows := func(v verdict) bool { return v.reads >= 1000 && v.kept >= v.reads/2 && v.later <= v.changes/10 }
	for end := time.Now().Add(patience); !shows(s.verdict()) && time.Now().Before(end); {
		time.Sleep(250 * time.Millisecond)
	}
	s.leave()
	v := s.verdict()
	t.Logf("\n%s", &v)
	s.report(&v)
	if !shows(v) {
		t.Errorf("%d reads, %d of them of what was kept, %d of %d changes told later: that shows nothing", v.reads, v.kept, v.later, v.changes)
	}
}

// Hosts that hear nothing of each other are found out: the judge is no yes-man.
func TestHostsThatHearNothingAreFoundOut(t *testing.T) {
	s := newStage(t)
	s.deaf = "1"
	s.arrive()
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		v := s.verdict()
		if len(v.violations) > 0 {
			t.Log(v.violations[0].text)
			break
		}
		if time.Since(began) > patience {
			t.Fatalf("they keep the promise?\n%s", &v)
		}
	}
	s.leave()
}
