package limiter

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func newEntry(tag uint64) *entry {
	e := new(entry)
	e.tat.Store(1)
	e.tag.Store(tag)
	for i := range e.leases {
		e.leases[i].Store(uint64(noLease(tag)))
	}
	return e
}

const testTag = 1<<16 + 7

// Of two leases the one that ends first is spent first, and none after its end.
func TestLeasesAreSpentInTheOrderOfTheirEnds(t *testing.T) {
	const now = int64(10 * time.Second)
	e := newEntry(testTag)
	late, soon := now+800*milli, now+300*milli
	e.lend(testTag, 5, late, now)
	e.lend(testTag, 3, soon, now)
	for i, c := range []struct{ n, now, until int64 }{
		{1, now, soon}, {1, now, soon},
		{2, now, late}, // the one that ends first has one
		{1, now, soon},
		{1, now, late},
		{3, now, 0}, // two are left
		{1, late - 1, late},
		{1, late, 0}, // the last has expired
	} {
		if until := e.spend(testTag, c.n, c.now); until != c.until {
			t.Errorf("%d: a lease pays that ends in %v, and not in %v", i, time.Duration(until-now), time.Duration(c.until-now))
		}
	}
	if e.spend(testTag+1, 1, now) != 0 {
		t.Error("a lease paid for another key")
	}
}

// Whatever is lent, spent, put back and taken out: no token is there twice, none
// lives longer than it was given for, and what is lost is said.
func TestALeaseIsNeverMoreThanWasGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, now := newEntry(testTag), int64(time.Hour)
		given := map[int64]int64{} // tokens by their end
		in, out := int64(0), int64(0)
		type spent struct{ n, until int64 }
		var paid []spent
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			n := rapid.Int64Range(1, 9).Draw(t, "n")
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1:
				until := now + rapid.Int64Range(1, 1000).Draw(t, "for")*milli
				lost, kept := e.lend(testTag, n, until, now)
				if !kept {
					t.Fatal("it holds the key")
				}
				in += n
				out += lost
				given[until] += n
			case 2, 3:
				if until := e.spend(testTag, n, now); until != 0 {
					if until <= now {
						t.Fatal("a lease is spent that has ended")
					}
					out += n
					paid = append(paid, spent{n, until})
				}
			case 4:
				if len(paid) > 0 {
					p := paid[len(paid)-1]
					paid = paid[:len(paid)-1]
					lost, _ := e.lend(testTag, p.n, p.until, now)
					out += lost - p.n
				}
			case 5:
				now += rapid.Int64Range(0, 400).Draw(t, "later") * milli
			}
			held := int64(0)
			for i := range e.leases {
				held += lease(e.leases[i].Load()).tokens()
			}
			if in-out != held {
				t.Fatalf("%d were lent, %d spent or lost, and %d are there", in, out, held)
			}
			// As of any time to come, no more is good than was given for longer.
			for _, at := range []int64{now, now + 100*milli, now + 500*milli, now + 900*milli} {
				most := int64(0)
				for until, n := range given {
					if until > at {
						most += n
					}
				}
				if live := e.live(at); live > most {
					t.Fatalf("%d tokens are good in %v, of %d", live, time.Duration(at-now), most)
				}
			}
		}
	})
}

// Many at once, while the entry changes hands now and then: no token is spent twice.
func TestLeasesOfManyWorkersAddUp(t *testing.T) {
	e := newEntry(testTag)
	var now atomic.Int64
	now.Store(int64(time.Hour))
	var given, spent, lost atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for range 20_000 {
				at, n := now.Add(r.Int64N(milli/50)), 1+r.Int64N(3)
				switch r.IntN(8) {
				case 0:
					l, kept := e.lend(testTag, 5*n, at+200*milli+r.Int64N(100)*milli, at)
					if kept {
						given.Add(5 * n)
					}
					lost.Add(l)
				case 1:
					lost.Add(e.reclaim(testTag, at+r.Int64N(300)*milli))
				case 2:
					if until := e.spend(testTag, n, at); until != 0 {
						l, _ := e.lend(testTag, n, until, at)
						lost.Add(l)
					}
				default:
					if e.spend(testTag, n, at) != 0 {
						spent.Add(n)
					}
				}
			}
		})
	}
	wg.Wait()
	held := int64(0)
	for i := range e.leases {
		held += lease(e.leases[i].Load()).tokens()
	}
	if given.Load() != spent.Load()+lost.Load()+held || spent.Load() == 0 {
		t.Errorf("%d given, %d spent, %d lost, %d held", given.Load(), spent.Load(), lost.Load(), held)
	}
}

func TestWhatTheSourceHasSaidIsNotBelievedForLong(t *testing.T) {
	e, now := newEntry(testTag), int64(40*24*time.Hour) // more than 31 bits of milliseconds
	p := policy(t, "p", 1, MaxWindow, 1)
	e.learn(testTag, p, Grant{At: 5, Full: 5 + p.central.depth}, true, now, now)
	for _, c := range []struct {
		later    time.Duration
		believed bool
	}{{-time.Millisecond, true}, {0, true}, {999 * time.Millisecond, true}, {time.Second, false}, {time.Hour, false}, {20 * 24 * time.Hour, false}} {
		a := asked(e.asked.Load())
		if got := a.believed(now + int64(c.later)); got != c.believed || !a.empty() {
			t.Errorf("%v later it is believed: %v", c.later, got)
		}
	}
	if got := e.fullIn(now); got != p.central.depth {
		t.Errorf("full in %d µs", got)
	}
	claim := e.claim(testTag, now)
	if claim == 0 || e.claim(testTag, now) != 0 || e.claim(testTag, now+99*milli) != 0 {
		t.Error("two have a claim")
	}
	if second := e.claim(testTag, now+101*milli); second == 0 {
		t.Error("a claim does not lapse")
	} else if e.unclaim(claim); e.claim(testTag, now+101*milli) != 0 {
		t.Error("who has lost his claim ends that of another")
	} else if e.unclaim(second); e.claim(testTag, now+101*milli) == 0 {
		t.Error("a claim that was ended holds")
	}
	if !asked(e.asked.Load()).empty() || !asked(e.asked.Load()).believed(now) {
		t.Error("a claim changes what was said")
	}
}

func TestDemandIsThatOfTheLastSeconds(t *testing.T) {
	var d demand
	at := int64(time.Hour / time.Millisecond)
	for range 5000 { // 100 a second
		at += 10
		d = d.add(1, at)
	}
	if got := d.expected(at * milli); got < 95 || got > 105 {
		t.Errorf("of 100 a second %g are expected", got)
	}
	if got := d.add(1, at+3000).expected((at + 3000) * milli); got < 20 || got > 60 {
		t.Errorf("after three silent seconds %g are expected", got)
	}
	if got := d.add(1, at+60_000).expected((at + 60_000) * milli); got != 1 {
		t.Errorf("after a silent minute %g are expected", got)
	}
	for range 100 {
		if d = d.add(MaxBurst, at); int64(d&maxDemand) != maxDemand || int64(d>>24) < at-2*measured {
			t.Fatal("a dear request overflows")
		}
	}
	if got := demand(rand.Uint64()).add(1, at); int64(got>>24) > at {
		t.Error("what another key has left is from the future")
	}
}
