package limiter_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/logtext"
)

// Two hosts of two workers, a real Redis, real time: clients as fast as they can be, on one key.
func TestHostsShareABucketOfRedis(t *testing.T) {
	server := redistest.Start(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	// Closed, so that all that is admitted was granted, also on a busy machine.
	p, err := limiter.NewPolicy("p", 500, time.Second, 1000, limiter.FailClosed)
	if err != nil {
		t.Fatal(err)
	}
	var workers []*limiter.Shared
	for range 2 {
		m, err := hostmem.Anonymous(0)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for range 2 {
			source, err := redis.New(context.Background(), server.URL(), redis.Options{})
			if err != nil {
				t.Fatal(err)
			}
			s, err := limiter.NewShared(m, source, logtext.Logger(t.Output()))
			if err != nil {
				t.Fatal(err)
			}
			workers = append(workers, s)
		}
	}

	const length = 2500 * time.Millisecond
	began := time.Now()
	var mu sync.Mutex
	var passed []time.Duration
	var decisions int
	var wg sync.WaitGroup
	for _, s := range workers {
		wg.Go(func() {
			var mine []time.Duration
			n := 0
			for ; time.Since(began) < length; n++ {
				at := time.Since(began)
				if s.Decide(t.Context(), []limiter.Charge{{Policy: p, Key: []byte("k"), Cost: 1}}).OK() {
					mine = append(mine, at)
				}
				time.Sleep(200 * time.Microsecond)
			}
			mu.Lock()
			defer mu.Unlock()
			passed = append(passed, mine...)
			decisions += n
		})
	}
	wg.Wait()

	var sum limiter.Stats
	for _, s := range workers {
		st := s.Stats()
		sum.Calls += st.Calls
		sum.Leased += st.Leased
		sum.Alone += st.Alone
	}
	for _, s := range workers {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	slices.Sort(passed)
	for i := range passed {
		for j := i; j < len(passed); j++ {
			window := passed[j] - passed[i] + 10*time.Millisecond // when exactly it was decided nobody knows
			if n, most := j-i+1, 1000+500*(window+limiter.LeaseTTL).Seconds(); float64(n) > most {
				t.Fatalf("%d were admitted in %v", n, window)
			}
		}
	}
	if len(passed) < 1000 && sum.Alone == 0 || uint64(len(passed)) > sum.Leased {
		t.Errorf("%d were admitted, %d granted", len(passed), sum.Leased)
	}
	// Where answers come too late the machine has other things to do: then more is asked, and
	// less decided.
	if sum.Calls*20 > uint64(decisions) && sum.Alone == 0 {
		t.Errorf("%d calls for %d decisions", sum.Calls, decisions)
	}
	t.Logf("%d decisions, %d admitted, %d calls, %d granted, %d decided alone", decisions, len(passed), sum.Calls, sum.Leased, sum.Alone)
}

// A rule is made wider, and a client is at the limit of the old one: it waits for that, is told for how
// long, and Redis is not asked again and again. So it is with the buckets of one host.
func TestAClientAtTheLimitOfTheRuleBefore(t *testing.T) {
	old, err := limiter.NewPolicy("p", 10, time.Second, 1000, limiter.FailClosed)
	if err != nil {
		t.Fatal(err)
	}
	wider, err := limiter.NewPolicy("p", 1000, time.Second, 1000, limiter.FailClosed)
	if err != nil {
		t.Fatal(err)
	}
	m, err := hostmem.Anonymous(0)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	source, err := redis.New(context.Background(), redistest.Start(t).URL(), redis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	shared, err := limiter.NewShared(m, source, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close(t.Context())
	host, err := limiter.NewHost(m)
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]limiter.Limiter{"shared": shared, "host": host} {
		key := []byte(name)
		for {
			if d := l.Decide(t.Context(), []limiter.Charge{{Policy: old, Key: key, Cost: 1000}}); d.OK() {
				break
			} else if !d.Alone {
				t.Fatalf("%s: %+v", name, d)
			}
			time.Sleep(10 * time.Millisecond) // Redis has just been started
		}
		calls, began := l.Stats().Calls, time.Now()
		for time.Since(began) < 200*time.Millisecond {
			time.Sleep(2 * time.Millisecond)
			d := l.Decide(t.Context(), []limiter.Charge{{Policy: wider, Key: key, Cost: 1}})
			if d.OK() || d.RetryAfter < 90*time.Second || d.RetryAfter > 100*time.Second {
				t.Fatalf("%s: %+v", name, d)
			}
		}
		if calls = l.Stats().Calls - calls; calls > 5 {
			t.Errorf("%s: %d calls", name, calls)
		}
	}
}
