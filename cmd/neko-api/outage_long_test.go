package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestLongOutage: two workers of a host are asked for more than their memory holds, by Zipf's law. The
// store goes, and in the last fifth of that time Redis, too. Whoever asks for what was kept gets it.
//
// An operation counts as kept by a worker if that worker has sent an answer to it before the store went,
// that is within its stale window: a day. All operations are, by both workers (and
// in Redis, but for a few that a busy machine did not get there). So nothing is left out: every request counts.
//
// Each run has it in short; this is the whole of it, in six minutes and what it takes to make 10,000 answers:
//
//	NEKO_LONG_OUTAGE=5m go test ./cmd/neko-api -run TestLongOutage -v -timeout 0
func TestLongOutage(t *testing.T) {
	lasts, operations, letters := 6*time.Second, 150, 14_000
	args := []string{"--cache", "1MiB", "--cache-max-age", "1s"}
	timeout := 3 * time.Second // --store-timeout
	if text := os.Getenv("NEKO_LONG_OUTAGE"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		operations, letters = 10_000, 1500
	} else {
		t.Parallel()
		timeout = time.Second
		args = append(args, "--store-timeout", timeout.String(), "--breaker-open-for", openFor.String())
	}
	s := newStageWith(t, "mongodb", true, outageBundle(t, letters))
	for range 2 {
		s.start(args...)
	}
	query := func(i int) string {
		return fmt.Sprintf(`{threatActor(id: "G%d") {a%d: id name description}}`, 9000+i%40, i)
	}
	all := func(what string, f func(i int)) {
		began := time.Now()
		var each sync.WaitGroup
		var next atomic.Int64
		for range 4 {
			each.Go(func() {
				for i := int(next.Add(1)) - 1; i < operations && !t.Failed(); i = int(next.Add(1)) - 1 {
					f(i)
				}
			})
		}
		each.Wait()
		t.Logf("%s: %v", what, time.Since(began).Round(time.Millisecond))
	}
	// What was made while a busy machine's Redis was too slow does not count: nobody can say later whether it
	// was invalidated.
	tooSlow := func() (n float64) {
		for _, w := range s.workers {
			n += w.metric(t, "neko_cache_shared_errors_total")
		}
		return n
	}
	// once returns what a busy machine was too late for, if anything.
	once := func() (late string) {
		before := tooSlow()
		all("both workers have sent all", func(i int) {
			for _, w := range s.workers {
				got := w.ask(t.Context(), query(i))
				for end := time.Now().Add(time.Minute); got.kind() != isFresh && time.Now().Before(end); got = w.ask(t.Context(), query(i)) {
					time.Sleep(10 * time.Millisecond)
				}
				if got.kind() != isFresh {
					t.Errorf("before: %v", got)
				}
			}
		})
		keys, err := s.redis.Do(t, "EVAL", `return #redis.call('KEYS', '*:cache:answer:*')`, "0").AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		slow := tooSlow() - before
		t.Logf("Redis has %d of %d answers, and was too slow for %v", keys, operations, slow)
		if int(keys) < operations*9/10 {
			if slow == 0 {
				t.Errorf("Redis has %d answers", keys)
			}
			return fmt.Sprintf("Redis was too slow for %v, and has %d answers", slow, keys)
		}
		for _, w := range s.workers {
			if n := int(w.metric(t, "neko_cache_entries")); n > operations/2 {
				t.Errorf("memory has %d of %d answers: too many for this test", n, operations)
			}
		}
		time.Sleep(1100 * time.Millisecond) // until all are out of date

		zipf := newZipf(operations)
		const parts = 5
		var tallies [parts + 1]tally // the last is of when all is over
		s.mongoWay.Stall()
		began := time.Now()
		var clients sync.WaitGroup
		for c := range 32 { // a breaker opens when 20 calls in ten seconds are too many that fail
			clients.Go(func() {
				random := rand.New(rand.NewPCG(uint64(c), 9))
				for {
					part := int(time.Since(began) * parts / lasts)
					if part >= parts {
						return
					}
					tallies[part].add(s.workers[random.IntN(2)].ask(t.Context(), query(zipf.draw(random))))
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
		time.Sleep(time.Until(began.Add(lasts * (parts - 1) / parts)))
		s.redis.Kill()
		clients.Wait()

		var whole tally
		share := func(y *tally) float64 { return float64(y.n[isFresh]+y.n[isStale]) / float64(max(len(y.all), 1)) }
		line := func(name string, y *tally) {
			late, kinds := 0, []string{}
			took := make([]time.Duration, 0, len(y.all))
			for _, o := range y.all {
				if took = append(took, o.took); o.took > timeout+500*time.Millisecond {
					late++
				}
			}
			slices.Sort(took)
			for kind, n := range y.n {
				kinds = append(kinds, fmt.Sprintf("%s %d", kind, n))
			}
			slices.Sort(kinds)
			p := func(q float64) time.Duration {
				return took[int(q*float64(len(took)-1))].Round(100 * time.Microsecond)
			}
			t.Logf("%-14s %7d requests, %8.4f %% answered; %s; %d took half a second more than %v; p50 %v p99 %v, at most %v", name, len(took), 100*share(y), strings.Join(kinds, ", "), late, timeout, p(0.5), p(0.99), p(1))
		}
		for i := range parts {
			y := &tallies[i]
			if len(y.all) == 0 {
				t.Fatalf("nobody has had an answer in a fifth of %v", lasts)
			}
			for _, o := range y.all {
				whole.add(o)
			}
			name := fmt.Sprintf("%v on", lasts*time.Duration(i)/parts)
			if i == parts-1 {
				name = "without Redis"
			}
			line(name, y)
		}
		line("all", &whole)
		for kind, o := range whole.some {
			if kind != isFresh && kind != isStale {
				t.Logf("%s: %v", kind, o)
			}
		}
		for name, y := range map[string]*tally{"all the time": &whole, "without Redis": &tallies[parts-1]} {
			if failed := len(y.all) - y.n[isFresh] - y.n[isStale]; share(y) < 0.999 {
				late = fmt.Sprintf("%s: %d of %d requests have failed: %v; Redis was too slow for %v", name, failed, len(y.all), y.n, slow)
				if slow == 0 {
					t.Error(late)
				}
			}
			// The store's time, for another worker whose answer was waited for and then for the own
			// one, and what a busy machine adds.
			if y.worst > 2*timeout+2*time.Second {
				late = fmt.Sprintf("%s: one took %v", name, y.worst)
			}
		}
		if whole.n[isStale] < len(whole.all)/2 {
			t.Errorf("it was not stale answers that were sent: %v", whole.n)
		}

		s.redis.Restart(t)
		s.resume(s.mongoWay)
		for _, w := range s.workers {
			wait(t, "all is made anew", 60*time.Second, func() bool { return w.ask(t.Context(), query(rand.IntN(operations))).kind() == isFresh })
		}
		return late
	}
	const most = 3
	for try := 1; ; try++ {
		late := once()
		if late == "" || t.Failed() {
			return
		}
		if try == most {
			t.Fatal(late)
		}
		t.Log("once more, as the machine was busy: ", late)
	}
}

// zipf draws numbers by Zipf's law with s = 1, which package rand does not have.
type zipf []float64

func newZipf(n int) zipf {
	z, sum := make(zipf, n), 0.0
	for i := range z {
		sum += 1 / float64(i+1)
		z[i] = sum
	}
	return z
}

func (z zipf) draw(r *rand.Rand) int {
	return min(sort.SearchFloat64s(z, r.Float64()*z[len(z)-1]), len(z)-1)
}

// TestOutageCycles: the store and Redis come and go, again and again, and nothing piles up: goroutines,
// descriptors, connections.
//
//	NEKO_OUTAGE_CYCLES=1000 go test ./cmd/neko-api -run TestOutageCycles -v -timeout 0
func TestOutageCycles(t *testing.T) {
	cycles := 10
	if text := os.Getenv("NEKO_OUTAGE_CYCLES"); text != "" {
		var err error
		if cycles, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Parallel()
	}
	s := newStage(t, "mongodb", true)
	w := s.start("--store-timeout", "200ms", "--breaker-open-for", "50ms", "--cache-max-age", "1s")
	var unique atomic.Int64
	ask := func() outcome {
		return w.ask(t.Context(), fmt.Sprintf(`{threatActor(id: "G9039") {name a%d: id}}`, unique.Add(1)))
	}
	cycle := func(i int) {
		for k, p := range []interface {
			Refuse()
			Stall()
			Cut()
		}{s.mongoWay, s.redisWay} {
			switch (i + k) % 3 {
			case 0:
				p.Refuse()
			case 1:
				p.Stall()
			default:
				p.Cut()
				p.Refuse()
			}
		}
		var askers sync.WaitGroup
		for range 25 { // more than 20, which is what opens a breaker
			askers.Go(func() {
				if got := ask(); got.kind() == isFresh || got.took > 5*time.Second {
					t.Errorf("without a store: %v", got)
				}
			})
		}
		askers.Wait()
		s.resume(s.mongoWay)
		s.resume(s.redisWay)
		wait(t, "fresh again", 20*time.Second, func() bool { return ask().kind() == isFresh })
		if i%5 == 4 {
			// Whether it can be used is found out by who asks.
			wait(t, "Redis is used again", 30*time.Second, func() bool { ask(); return w.metric(t, "neko_cache_shared_away") == 0 })
		}
	}
	type piles struct{ goroutines, descriptors, store, redis int }
	now := func() piles {
		outageClient.CloseIdleConnections()
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return piles{int(w.metric(t, "go_goroutines")), len(open), s.mongoWay.Connections(), s.redisWay.Connections()}
	}
	for i := range 5 {
		cycle(i)
	}
	// Some connections are kept for the next burst, and there are not always as many.
	const kept = 10
	var before piles
	wait(t, "it has come to rest", 30*time.Second, func() bool {
		a := now()
		time.Sleep(200 * time.Millisecond)
		before = now()
		return math.Abs(float64(a.goroutines-before.goroutines)) < 5 && before.goroutines > 0
	})
	for i := range cycles {
		cycle(i)
		if i%100 == 99 {
			t.Logf("after %d cycles: %+v", i+1, now())
		}
	}
	var after piles
	wait(t, "nothing has piled up", 30*time.Second, func() bool {
		after = now()
		return after.goroutines <= before.goroutines+2*kept && after.descriptors <= before.descriptors+kept && after.store <= before.store+2*kept && after.redis <= before.redis+4
	})
	t.Logf("%d cycles: %+v, before %+v; the breaker of the store has opened %v times", cycles, after, before, w.metric(t, "neko_breaker_opened_total"))
	if opened := int(w.metric(t, "neko_breaker_opened_total")); opened < cycles/2 {
		t.Errorf("breakers have opened only %d times", opened)
	}
}
