package redis

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/redisconn"
)

func TestMain(m *testing.M) { redistest.Main(m) }

const patience = redistest.Patience

var (
	within     = redistest.Within
	eventually = redistest.Eventually
	through    = redistest.Through
)

type memo = redistest.Log

func open(t testing.TB, url string, o Options) *Source {
	t.Helper()
	s, err := New(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// connected is a source that has answered.
func connected(t testing.TB, url string) *Source {
	t.Helper()
	return answered(t, open(t, url, Options{}))
}

// calm is one that gives no connection up because this machine did something else for a
// second.
func calm(t testing.TB, url string) *Source {
	t.Helper()
	s, err := newSource(context.Background(), url, Options{}, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return answered(t, s)
}

func answered(t testing.TB, s *Source) *Source {
	t.Helper()
	eventually(t, func() error {
		_, err := s.Beat(within(t, time.Second), "test")
		return err
	})
	return s
}

func policy(t testing.TB, name string, limit int64, window time.Duration, burst int64) *limiter.Policy {
	t.Helper()
	p, err := limiter.NewPolicy(name, limit, window, burst, limiter.FailLocal)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func id(n int) (id limiter.ID) {
	copy(id[:], fmt.Sprintf("%016d", n))
	return id
}

func grant(t testing.TB, s *Source, p *limiter.Policy, id limiter.ID, need, want int64) limiter.Grant {
	t.Helper()
	g, err := s.Grant(within(t, patience), p, id, need, want)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestABucketGivesWhatItHas(t *testing.T) {
	t.Parallel()
	s := calm(t, redistest.Start(t).URL())
	p := policy(t, "p", 10, time.Hour, 0)
	for i, step := range []struct{ need, want, tokens int64 }{
		{1, 4, 4},
		{7, 10, 0},
		{1, 100, 6},
		{1, 1, 0},
	} {
		if g := grant(t, s, p, id(1), step.need, step.want); g.Tokens != step.tokens {
			t.Fatalf("step %d, %d to %d: %+v", i, step.need, step.want, g)
		}
	}
	g := grant(t, s, p, id(2), 10, 10)
	if full := g.Full - g.At; g.Tokens != 10 || full != time.Hour.Microseconds() {
		t.Fatalf("another bucket: %+v, full in %d µs", g, full)
	}
	if err := s.Return(within(t, patience), []limiter.Unspent{{Policy: p, ID: id(2), Tokens: 7, At: g.At}}); err != nil {
		t.Fatal(err)
	}
	after := grant(t, s, p, id(2), 1, 10)
	if inTime := after.At-g.At <= limiter.LeaseTTL.Microseconds(); inTime && after.Tokens != 7 {
		t.Fatalf("7 were given back: %+v", after)
	}
	if g := grant(t, s, p, id(3), 11, 1<<62); g.Tokens != 0 {
		t.Fatalf("more than a bucket holds: %+v", g)
	}
	if g := grant(t, s, policy(t, "other", 10, time.Hour, 0), id(2), 1, 10); g.Tokens != 10 {
		t.Fatalf("the same client by another policy: %+v", g)
	}
	for _, wrong := range [][2]int64{{0, 1}, {-1, 5}, {2, 1}} {
		if g, err := s.Grant(t.Context(), p, id(4), wrong[0], wrong[1]); err == nil {
			t.Errorf("%v: %+v", wrong, g)
		}
	}
}

func TestThingsInRedisNameNobodyAndGoByThemselves(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, server.URL(), Options{Prefix: "a:"})
	eventually(t, func() error {
		_, err := s.Beat(within(t, time.Second), "www.example.com")
		return err
	})
	p := policy(t, "{log} in", 100, time.Second, 0)
	grant(t, s, p, limiter.ID([]byte("0123456789abcdef")), 1, 1)
	keys, err := server.Do(t, "KEYS", "*").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if key != "a:hosts" && key != "a:limit:%7Blog%7D+in:MDEyMzQ1Njc4OWFiY2RlZg" {
			t.Errorf("the key %q", key)
		}
		if ttl, _ := server.Do(t, "PTTL", key).AsInt64(); ttl == -1 { // -2: it has gone
			t.Errorf("%s stays for ever", key)
		}
	}
	if hosts, _ := server.Do(t, "ZRANGE", "a:hosts", "0", "-1").AsStrSlice(); len(hosts) != 1 || strings.Contains(hosts[0], "example") {
		t.Errorf("hosts are called %q", hosts)
	}
	// Buckets go when they are full again.
	eventually(t, func() error {
		if n, _ := server.Do(t, "DBSIZE").AsInt64(); n > 1 {
			return fmt.Errorf("%d keys", n)
		}
		return nil
	})
	if name, _ := server.Do(t, "CLIENT", "LIST").ToString(); !strings.Contains(name, "name=neko ") {
		t.Errorf("the connection has no name: %s", name)
	}
}

func TestWhatIsReturnedLateIsLeftOut(t *testing.T) {
	t.Parallel()
	s := calm(t, redistest.Start(t).URL())
	p := policy(t, "p", 10, time.Hour, 0)
	g := grant(t, s, p, id(1), 10, 10)
	ttl := limiter.LeaseTTL.Microseconds()
	for name, u := range map[string]limiter.Unspent{
		"granted longer ago than a lease lasts": {Policy: p, ID: id(1), Tokens: 5, At: g.At - ttl},
		"granted in the future":                 {Policy: p, ID: id(1), Tokens: 5, At: g.At + 3600_000_000},
		"nothing":                               {Policy: p, ID: id(1), Tokens: 0, At: g.At},
		"less than nothing":                     {Policy: p, ID: id(1), Tokens: -5, At: g.At},
		"to a bucket that is full":              {Policy: p, ID: id(2), Tokens: 5, At: g.At},
	} {
		if err := s.Return(within(t, patience), []limiter.Unspent{u}); err != nil {
			t.Fatal(name, err)
		}
		if after := grant(t, s, p, id(1), 1, 10); after.Tokens != 0 || after.Full != g.Full {
			t.Fatalf("%s: %+v", name, after)
		}
	}
}

func TestReturnsAreSentTogether(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := calm(t, server.URL())
	p := policy(t, "p", 10, time.Hour, 0)
	eventually(t, func() error {
		server.Do(t, "FLUSHALL")
		server.Do(t, "SCRIPT", "FLUSH")
		began := time.Now()
		var unspent []limiter.Unspent
		for i := range 3*maxBatch + 7 {
			g := grant(t, s, p, id(i), 10, 10)
			unspent = append(unspent, limiter.Unspent{Policy: p, ID: id(i), Tokens: int64(1 + i%9), At: g.At})
		}
		server.Do(t, "SCRIPT", "FLUSH")
		if err := s.Return(within(t, patience), unspent); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > limiter.LeaseTTL {
			return fmt.Errorf("this machine has taken %v", d)
		}
		for i, u := range unspent {
			if g := grant(t, s, p, id(i), 1, 10); g.Tokens != u.Tokens {
				t.Fatalf("%d: %d were given back, and there are %d", i, u.Tokens, g.Tokens)
			}
		}
		return nil
	})
}

func TestScriptsAreLoadedAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := calm(t, server.URL())
	p := policy(t, "p", 1000, limiter.MaxWindow, 0)
	g := grant(t, s, p, id(1), 1, 1)
	for _, command := range [][]string{{"SCRIPT", "FLUSH"}, {"FLUSHALL"}, {"SCRIPT", "FLUSH"}} {
		server.Do(t, command...)
		again := grant(t, s, p, id(1), 1, 1)
		if flushed := command[0] == "FLUSHALL"; flushed != (again.Full-again.At < g.Full-g.At) {
			t.Errorf("after %q: %+v, and before %+v", command, again, g)
		}
		g = again
	}
}

func TestHostsThatLiveAreCounted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := calm(t, server.URL())
	beat := func(host string, want int) {
		t.Helper()
		n, err := s.Beat(within(t, patience), host)
		if err != nil || n != want {
			t.Fatalf("%d hosts, %v, and not %d", n, err, want)
		}
	}
	server.Do(t, "FLUSHALL")
	beat("a", 1)
	beat("b", 2)
	beat("a", 2)
	// One that has not beaten for more than 10 s, and one from before the clock was set back.
	for host, shift := range map[string]time.Duration{"old": -11 * time.Second, "young": -3 * time.Second, "ahead": time.Hour} {
		server.Do(t, "ZADD", "neko:hosts", fmt.Sprint(time.Now().Add(shift).UnixMicro()), host)
	}
	beat("a", 3)
	if ttl, _ := server.Do(t, "PTTL", "neko:hosts").AsInt64(); ttl < 1 || ttl > 10_000 {
		t.Errorf("all of it is kept for %d ms", ttl)
	}
	args := []string{"ZADD", "neko:hosts"}
	for i := range maxHosts + 500 {
		args = append(args, fmt.Sprint(time.Now().UnixMicro()-int64(i)), fmt.Sprint("host", i))
	}
	server.Do(t, args...)
	beat("a", maxHosts)
}

func TestWithoutRedisItOpensAndFailsAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	s := open(t, server.URL(), Options{})
	p := policy(t, "p", 10, time.Hour, 0)
	for range 100 {
		// Not even a context that has no end makes it wait.
		if g, err := s.Grant(context.Background(), p, id(1), 1, 1); err == nil {
			t.Fatalf("%+v without a server", g)
		}
		if err := s.Return(context.Background(), []limiter.Unspent{{Policy: p, Tokens: 1}}); err == nil {
			t.Fatal("returned without a server")
		}
	}
	server.Restart(t)
	t.Log("back after", eventually(t, func() error {
		_, err := s.Grant(within(t, time.Second), p, id(1), 1, 1)
		return err
	}))
}

func TestNothingWorksAfterClose(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := calm(t, server.URL())
	p := policy(t, "p", 1_000_000, time.Second, 0)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for {
				if _, err := s.Grant(t.Context(), p, id(i), 1, 1); err != nil {
					return
				}
			}
		})
	}
	time.Sleep(10 * time.Millisecond)
	s.Close()
	s.Close()
	wg.Wait()
	if _, err := s.Grant(t.Context(), p, id(1), 1, 1); err != redisconn.ErrClosed {
		t.Error(err)
	}
	eventually(t, func() error {
		if list, _ := server.Do(t, "CLIENT", "LIST").ToString(); strings.Contains(list, "name=neko ") {
			return fmt.Errorf("still connected: %s", list)
		}
		return nil
	})
}

func TestItClosesWithoutRedis(t *testing.T) {
	t.Parallel()
	gone, silent := redistest.Start(t), redistest.Start(t)
	gone.Kill()
	silent.Stop(t)
	for _, server := range []*redistest.Server{gone, silent} {
		s := open(t, server.URL(), Options{})
		time.Sleep(30 * time.Millisecond) // also in the middle of a try
		s.Close()
	}
}
