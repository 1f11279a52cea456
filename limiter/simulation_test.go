package limiter

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/logtext"
	"pgregory.net/rapid"
)

// fleet is some hosts with some workers each, and a bank that they share. It lives in a bubble
// of synctest, in virtual time.
type fleet struct {
	bank    *bank
	began   time.Time
	workers [][]*Shared // of each host
	memory  []*hostmem.Mapping
	log     story // of all workers
}

// now is the clock of all hosts: that it has nothing to do with the bank's is what
// bank.offset is for.
func (f *fleet) now() int64 { return int64(time.Since(f.began)) + int64(time.Hour) }

// story is text that several write.
type story struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *story) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *story) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func newFleet(t testing.TB, hosts, workers int) *fleet {
	f := &fleet{bank: newBank(), began: time.Now()}
	for host := range hosts {
		m, err := hostmem.Anonymous(1 << 8)
		if err != nil {
			t.Fatal(err)
		}
		f.memory = append(f.memory, m)
		f.workers = append(f.workers, nil)
		for range workers {
			f.workers[host] = append(f.workers[host], f.newWorker(t, host))
		}
	}
	return f
}

func (f *fleet) newWorker(t testing.TB, host int) *Shared {
	table, err := newTable(f.memory[host])
	if err != nil {
		t.Fatal(err)
	}
	table.now = f.now
	s := newShared(f.memory[host], table, f.bank, logtext.Logger(&f.log), Budget)
	s.start()
	return s
}

func (f *fleet) close(t testing.TB) {
	for _, host := range f.workers {
		for _, s := range host {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			if err := s.Close(ctx); err != nil {
				t.Error(err)
			}
			cancel()
		}
	}
	for _, m := range f.memory {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// load is what a client does.
type load struct {
	kind   string  // steady, poisson, bursts
	rate   float64 // requests a second
	length time.Duration
}

// arrivals are the times of requests.
func (l load) arrivals(r *rand.Rand) (at []time.Duration) {
	switch l.kind {
	case "steady":
		for i := 0; ; i++ {
			t := time.Duration(float64(i) / l.rate * 1e9)
			if t > l.length {
				return at
			}
			at = append(at, t)
		}
	case "poisson":
		for t := 0.0; ; {
			t += r.ExpFloat64() / l.rate
			if t > l.length.Seconds() {
				return at
			}
			at = append(at, time.Duration(t*1e9))
		}
	default: // three times as many for a third of the time
		const on, period = 2.0, 6.0
		for t := 0.0; ; {
			t += r.ExpFloat64() / (l.rate * period / on)
			wall := t + float64(int(t/on))*(period-on)
			if wall > l.length.Seconds() {
				return at
			}
			at = append(at, time.Duration(wall*1e9))
		}
	}
}

// scenario is a client that comes to all workers of some hosts by turns.
type scenario struct {
	hosts, workers int
	limit          int64
	window         time.Duration
	burst          int64
	spent          bool // the bucket is empty at the beginning
	delay          time.Duration
	load
}

func (c scenario) String() string {
	return fmt.Sprintf("%d×%d %d/%v burst %d spent %v, %s at %g/s, answers in %v", c.hosts, c.workers, c.limit, c.window, c.burst, c.spent, c.kind, c.rate, c.delay)
}

// outcome is what came of it.
type outcome struct {
	asked, admitted, exact int // exact is what one bucket for all would have admitted
	calls                  int
	most                   int64 // the most admitted in any window, above what fills in it and LeaseTTL
	stats                  Stats // of all workers
}

func (o outcome) String() string {
	return fmt.Sprintf("%d asked, %d admitted, %d exact (%.1f%%), %d calls (1 for %.1f), leased %d, expired %d (%.1f%%), alone %d, most %d",
		o.asked, o.admitted, o.exact, 100*float64(o.admitted)/float64(o.exact), o.calls, float64(o.asked)/float64(o.calls),
		o.stats.Leased, o.stats.Expired, 100*float64(o.stats.Expired)/float64(o.stats.Leased), o.stats.Alone, o.most)
}

func simulate(t testing.TB, c scenario, seed uint64) (o outcome) {
	p := policy(t, "p", c.limit, c.window, c.burst)
	r := rand.New(rand.NewPCG(seed, 1))
	at := c.arrivals(r)
	f := newFleet(t, c.hosts, c.workers)
	defer f.close(t)
	key := []byte("key")
	exact := int64(0)
	f.bank.set(func(b *bank) {
		b.delay = c.delay
		if c.spent {
			exact = p.central.depth
			b.buckets[bankKey{"p", idOf(key)}] = b.now() + exact
		}
	})
	start := time.Now()
	passed := make([]int64, len(at)) // when, 0 if not
	var wg sync.WaitGroup
	for i, when := range at {
		time.Sleep(when - time.Since(start))
		if tat, wait := p.central.take(exact, time.Since(start).Microseconds(), 1); wait == 0 {
			exact = tat
			o.exact++
		}
		s := f.workers[r.IntN(c.hosts)][r.IntN(c.workers)]
		wg.Go(func() {
			if s.Decide(context.Background(), []Charge{{Policy: p, Key: key, Cost: 1}}).OK() {
				passed[i] = max(int64(time.Since(start)), 1)
			}
		})
	}
	wg.Wait()
	slices.Sort(passed)
	o.asked = len(passed)
	passed = passed[sort.Search(len(passed), func(i int) bool { return passed[i] > 0 }):]
	o.admitted = len(passed)
	o.most = above(passed, p)
	f.bank.set(func(b *bank) { o.calls = b.grants + b.returns })
	for _, host := range f.workers {
		for _, s := range host {
			st := s.Stats()
			o.stats.Leased += st.Leased
			o.stats.Expired += st.Expired
			o.stats.Alone += st.Alone
		}
	}
	return o
}

// above is the most of all windows between two times, of what was admitted more than
// what fills in the window and a LeaseTTL.
func above(times []int64, p *Policy) int64 {
	// Of i to j: j − i + 1 − rate × (times[j] − times[i] + TTL).
	most, least := math.Inf(-1), math.Inf(1)
	rate := float64(p.host.tokens) / float64(p.host.span)
	for i, t := range times {
		least = min(least, float64(i)-rate*float64(t))
		most = max(most, float64(i+1)-rate*float64(t)-least-rate*float64(LeaseTTL))
	}
	return int64(math.Ceil(most - 1e-3))
}

// TestASimulatedFleetKeepsItsPromises is where the numbers in sizing.go were found:
// go test -run Fleet -rapid.checks=3000
func TestASimulatedFleetKeepsItsPromises(t *testing.T) {
	if !flagSet("rapid.checks") {
		if err := flag.Set("rapid.checks", "25"); err != nil {
			t.Fatal(err)
		}
		defer flag.Set("rapid.checks", "100")
	}
	rapid.Check(t, func(rt *rapid.T) {
		c := drawScenario(rt)
		seed := rapid.Uint64().Draw(rt, "seed")
		var o outcome
		synctest.Test(t, func(t *testing.T) { o = simulate(t, c, seed) })
		for _, problem := range c.problems(o) {
			rt.Errorf("%s\n%v\n%v", problem, c, o)
		}
	})
}

func flagSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// drawScenario draws a client from a third below its limit to five times above.
func drawScenario(rt *rapid.T) (c scenario) {
	c.hosts = rapid.IntRange(1, 3).Draw(rt, "hosts")
	c.workers = rapid.IntRange(1, 4).Draw(rt, "workers")
	c.spent = rapid.Bool().Draw(rt, "spent")
	c.delay = time.Duration(rapid.SampledFrom([]int{200, 1000, 5000}).Draw(rt, "delay")) * time.Microsecond
	perSecond := rapid.SampledFrom([]float64{0.1, 1, 5, 1000. / 60, 50, 100, 300, 1000}).Draw(rt, "limit")
	c.window = rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute}).Draw(rt, "window")
	c.limit = max(int64(perSecond*c.window.Seconds()), 1)
	if rapid.Bool().Draw(rt, "burst") {
		c.burst = rapid.SampledFrom([]int64{5, 20, 100, 1000, 5000}).Draw(rt, "burst")
	}
	// What fills while an answer is on its way finds no room in a very small bucket.
	if fills := 50 * c.delay.Seconds() * perSecond; c.burst != 0 && float64(c.burst) < fills {
		c.burst = int64(math.Ceil(fills))
	}
	c.kind = rapid.SampledFrom([]string{"steady", "poisson", "bursts"}).Draw(rt, "kind")
	c.rate = float64(c.limit) / c.window.Seconds() * rapid.SampledFrom([]float64{0.7, 0.95, 1, 1.05, 1.5, 5}).Draw(rt, "load")
	c.length = time.Duration(min(max(2000/c.rate, 20), 300) * 1e9)
	return c
}

// problems are which promises were not kept.
func (c scenario) problems(o outcome) (list []string) {
	burst := c.burst
	if burst == 0 {
		burst = c.limit
	}
	if o.most > burst {
		list = append(list, "more was admitted than the bound allows")
	}
	// What is under way at the end, and what a lease has that nobody uses any more.
	slack := c.hosts*int(burst)/leasePart + 3
	if float64(o.admitted+slack) < 0.95*float64(o.exact) {
		list = append(list, "less than 95 % of what an exact limiter admits")
	}
	if float64(o.exact-o.admitted-slack) > 0.05*float64(o.asked) {
		list = append(list, "more than 5 % of the requests were refused although an exact limiter would have admitted them")
	}
	if burst >= 1000 && c.kind != "bursts" && c.rate/float64(c.hosts) >= 50 && o.calls*20 > o.asked {
		list = append(list, "more than a call for 20 decisions")
	}
	if o.stats.Alone > 0 {
		list = append(list, "decisions were made alone")
	}
	return list
}

// Workers are closed and killed, answers are late or none, clients come all at once after
// a silence: nothing of that gains a token.
func TestNothingThatHappensToAFleetGainsATokenBeyondTheBound(t *testing.T) {
	type event struct {
		kind         string
		host, worker int
		n            int
		d            time.Duration
	}
	lengths := []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 200 * time.Millisecond, 700 * time.Millisecond, 990 * time.Millisecond, 2 * time.Second}
	drawEvent := rapid.Custom(func(rt *rapid.T) event {
		return event{
			kind: rapid.SampledFrom([]string{"burst", "burst", "burst", "trickle", "sleep", "sleep", "close", "kill", "delay", "silent"}).Draw(rt, "kind"),
			host: rapid.IntRange(0, 1).Draw(rt, "host"), worker: rapid.IntRange(0, 1).Draw(rt, "worker"),
			n: rapid.IntRange(1, 200).Draw(rt, "n"), d: rapid.SampledFrom(lengths).Draw(rt, "d"),
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		burst := rapid.SampledFrom([]int64{5, 20, 100, 400}).Draw(rt, "burst")
		limit := rapid.SampledFrom([]int64{1, 20, 200, 1000}).Draw(rt, "limit")
		events := rapid.SliceOfN(drawEvent, 1, 60).Draw(rt, "events")
		var most int64
		synctest.Test(t, func(t *testing.T) {
			p := failing(t, "p", limit, time.Second, burst, FailClosed)
			f := newFleet(t, 2, 2)
			defer f.close(t)
			var passed []int64
			one := func(e event) {
				before := f.now()
				if decide(f.workers[e.host][e.worker], charge(p, "k", 1)).OK() {
					passed = append(passed, before)
				}
			}
			for _, e := range events {
				switch e.kind {
				case "burst":
					for range e.n {
						one(e)
					}
				case "trickle":
					for range e.n {
						time.Sleep(3 * time.Millisecond)
						one(e)
					}
				case "sleep":
					time.Sleep(e.d)
				case "close", "kill":
					s := f.workers[e.host][e.worker]
					if e.kind == "kill" {
						s.granted.mu.Lock()
						s.granted.used, s.granted.ending = grants{}, grants{}
						s.granted.mu.Unlock()
					}
					ctx, cancel := context.WithTimeout(context.Background(), e.d)
					_ = s.Close(ctx) // it fails if there is no time
					cancel()
					f.workers[e.host][e.worker] = f.newWorker(t, e.host)
				case "delay":
					f.bank.set(func(b *bank) { b.delay, b.silent = e.d/4, false })
				case "silent":
					f.bank.set(func(b *bank) { b.silent = true })
				}
			}
			f.bank.set(func(b *bank) { b.delay, b.silent = 0, false })
			most = above(passed, p)
		})
		if most > burst {
			rt.Errorf("%d were admitted of a burst of %d beyond what fills in a window and LeaseTTL", most, burst)
		}
	})
}
