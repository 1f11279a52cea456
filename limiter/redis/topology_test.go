package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/redisconn"
)

func TestACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	s := connected(t, cluster[0].URL()) // one node is enough to find the others
	p := policy(t, "p", 1000, limiter.MaxWindow, 0)
	const ids = 100

	eventually(t, func() error {
		for _, node := range cluster {
			node.Do(t, "FLUSHALL")
		}
		began := time.Now()
		var unspent []limiter.Unspent
		for i := range ids {
			g := grant(t, s, p, id(i), 1000, 1000)
			unspent = append(unspent, limiter.Unspent{Policy: p, ID: id(i), Tokens: 500, At: g.At})
		}
		if err := s.Return(within(t, patience), unspent); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > limiter.LeaseTTL {
			return fmt.Errorf("this machine has taken %v", d)
		}
		for i := range ids {
			if g := grant(t, s, p, id(i), 1, 1000); g.Tokens != 500 {
				t.Errorf("%d: %+v", i, g)
			}
		}
		return nil
	})
	for _, node := range cluster {
		if n, _ := node.Do(t, "DBSIZE").AsInt64(); n < ids/6 {
			t.Errorf("%d of %d buckets are at a node", n, ids)
		}
	}

	// One of them dies: what it has fails in time, what others have does not.
	fast := policy(t, "fast", 1_000_000, time.Second, 0)
	ask := func(i int) error {
		_, late, err := grantInTime(s, fast, id(i))
		if late > bound {
			t.Errorf("a call with %v took %v more", budget, late)
		}
		return err
	}
	victim := cluster[1]
	isVictims := func(p *limiter.Policy, id limiter.ID) bool {
		slot := must(victim.Do(t, "CLUSTER", "KEYSLOT", s.key(p, id)).AsInt64())
		return slot >= 16384/3 && slot < 2*16384/3
	}
	var its, others []int // by the fast policy, and others also by the other
	for i := 0; len(its) < 20 || len(others) < 20; i++ {
		switch a, b := isVictims(fast, id(i)), isVictims(p, id(ids+i)); {
		case a && len(its) < 20:
			its = append(its, i)
		case !a && !b && len(others) < 20:
			others = append(others, i)
		}
	}
	victim.Kill()

	// What is given back reaches the others, and who comes now finds them.
	eventually(t, func() error {
		cluster[0].Do(t, "FLUSHALL")
		cluster[2].Do(t, "FLUSHALL")
		began := time.Now()
		var unspent []limiter.Unspent
		for _, i := range its {
			unspent = append(unspent, limiter.Unspent{Policy: fast, ID: id(i), Tokens: 1, At: began.UnixMicro()})
		}
		for _, i := range others {
			unspent = append(unspent, limiter.Unspent{Policy: p, ID: id(ids + i), Tokens: 900, At: grant(t, s, p, id(ids+i), 1, 900).At})
		}
		if err := s.Return(within(t, patience), unspent); err == nil {
			t.Error("all was returned, also to the dead node")
		}
		if d := time.Since(began); d > limiter.LeaseTTL {
			return fmt.Errorf("this machine has taken %v", d)
		}
		for _, i := range others {
			if g := grant(t, s, p, id(ids+i), 900, 900); g.Tokens != 900 {
				t.Errorf("what client %d had was not given back", i)
			}
		}
		return nil
	})
	late := open(t, cluster.URL(), Options{})
	eventually(t, func() error {
		_, err := late.Grant(within(t, patience), fast, id(others[0]), 1, 1)
		return err
	})

	for began := time.Now(); time.Since(began) < 2*time.Second; {
		for _, i := range its {
			if ask(i) == nil {
				t.Fatal("a node that is dead has answered")
			}
		}
		failed := 0
		for _, i := range others { // however long that takes on a busy machine
			if _, err := s.Grant(within(t, patience), fast, id(i), 1, 1); err != nil {
				failed++
			}
		}
		if failed == len(others) {
			t.Error("all nodes fail")
		}
		time.Sleep(20 * time.Millisecond)
	}
	victim.Restart(t)
	cluster.AwaitServing(t, victim)
	back := eventually(t, func() error {
		var errs error
		for _, i := range append(its, others...) {
			errs = errors.Join(errs, ask(i))
		}
		return errs
	})
	t.Log("back after", back)
}

func TestASlotThatMovesIsFollowed(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	s := calm(t, cluster.URL())
	p := policy(t, "p", 1000, limiter.MaxWindow, 0)
	grant(t, s, p, id(1), 10, 10)
	key := s.key(p, id(1))
	slot := fmt.Sprint(number(must(cluster[0].Do(t, "CLUSTER", "KEYSLOT", key).AsInt64())))
	var from, to *redistest.Server
	for _, node := range cluster {
		if n := must(node.Do(t, "CLUSTER", "COUNTKEYSINSLOT", slot).AsInt64()); n > 0 {
			from = node
		} else {
			to = node
		}
	}
	name := func(s *redistest.Server) string { return must(s.Do(t, "CLUSTER", "MYID").ToString()) }
	to.Do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", name(from))
	from.Do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", name(to))
	_, port, _ := strings.Cut(to.Addr(), ":")
	from.Do(t, "MIGRATE", "127.0.0.1", port, key, "0", "5000")
	// In between the old node says ASK.
	if g := grant(t, s, p, id(1), 10, 10); g.Tokens != 10 {
		t.Errorf("%+v", g)
	}
	for _, node := range []*redistest.Server{to, from} {
		node.Do(t, "CLUSTER", "SETSLOT", slot, "NODE", name(to))
	}
	// And now MOVED.
	if g := grant(t, s, p, id(1), 1, 1000); g.Tokens != 980 {
		t.Errorf("%+v", g)
	}
}

// Sentinels say who the master is; who knows it needs none.
func TestSentinelsThatAreGoneStopNothing(t *testing.T) {
	t.Parallel()
	g := redistest.StartGuarded(t)
	s := connected(t, g.URL())
	p := policy(t, "p", 1_000_000, time.Second, 0)
	for _, sentinel := range g.Sentinels {
		sentinel.Kill()
	}
	failed := 0
	for began := time.Now(); time.Since(began) < 3*redisconn.RefreshEvery; time.Sleep(time.Millisecond) {
		if _, err := s.Grant(within(t, patience), p, id(1), 1, 1); err != nil {
			failed++
		}
	}
	if failed > 0 {
		t.Errorf("%d calls failed", failed)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// burn has several goroutines take tokens from a bucket that does not fill, one by one, each
// 500 in a second at most, until the context ends, and counts what was granted, and when something was last.
type burn struct {
	granted, failed atomic.Int64
	last            atomic.Int64 // UnixNano
	slow            atomic.Int64 // calls that were later than bound
	wg              sync.WaitGroup
}

func startBurn(ctx context.Context, s *Source, p *limiter.Policy) *burn {
	b := &burn{}
	for range 4 {
		b.wg.Go(func() {
			for ctx.Err() == nil {
				g, late, err := grantInTime(s, p, id(1))
				if late > bound {
					b.slow.Add(1)
				}
				if err != nil {
					b.failed.Add(1)
					time.Sleep(time.Millisecond)
					continue
				}
				b.granted.Add(g.Tokens)
				b.last.Store(time.Now().UnixNano())
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	return b
}

var failovers = []struct {
	name string
	fail func(t *testing.T, g *redistest.Guarded)
	// both says that the old master goes on for as long as the Sentinels take to see that
	// the new one is one, up to a second: what it grants meanwhile nobody knows later.
	both bool
}{
	{"the master is killed", func(t *testing.T, g *redistest.Guarded) { g.Master.Kill() }, false},
	{"the master stands still", func(t *testing.T, g *redistest.Guarded) {
		g.Master.Stop(t)
		t.Cleanup(func() { g.Master.Continue(t) })
	}, false},
	{"an operator commands it", func(t *testing.T, g *redistest.Guarded) { g.Sentinels[0].Do(t, "SENTINEL", "FAILOVER", "neko") }, true},
}

func TestFailovers(t *testing.T) {
	t.Parallel()
	for _, f := range failovers {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			failOver(t, f.fail, f.both)
		})
	}
}

// failOver has the replica become the master under load, and sees how soon grants are
// back, and how many were granted that the new master does not know of.
func failOver(t *testing.T, fail func(t *testing.T, g *redistest.Guarded), both bool) {
	g := redistest.StartGuarded(t)
	s := connected(t, g.URL())
	p := policy(t, "p", 10_000_000, limiter.MaxWindow, 10_000_000)
	first := grant(t, s, p, id(1), 1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := startBurn(ctx, s, p)
	eventually(t, func() error {
		if n := b.granted.Load(); n < 1000 {
			return fmt.Errorf("%d granted", n)
		}
		return nil
	})
	began := time.Now()
	fail(t, g)
	g.AwaitPromoted(t)
	promoted := time.Now()
	var back time.Duration
	var there int64
	eventually(t, func() error {
		if there, _ = g.Replica.Do(t, "EXISTS", s.key(p, id(2))).AsInt64(); there == 0 {
			_, _ = s.Grant(within(t, budget), p, id(2), 1, 1)
			return errors.New("nothing is granted by the new master")
		}
		back = time.Since(promoted)
		return nil
	})
	cancel()
	b.wg.Wait()
	if n := b.slow.Load(); n > 0 {
		t.Errorf("%d calls with %v took %v more", n, budget, bound)
	}
	// Each token has moved the time at which the bucket is full by the same.
	span, _, _ := p.Central()
	known := (grant(t, s, p, id(1), 1, 1).Full-first.Full)/span - 1
	lost := b.granted.Load() - known
	t.Logf("promoted after %v, back after %v more; of %d tokens that were granted the new master does not know %d; %d calls failed",
		promoted.Sub(began).Round(time.Millisecond), back.Round(time.Millisecond), b.granted.Load(), lost, b.failed.Load())
	if !both && lost > 1000 { // half a second's, or more on a busy machine
		t.Error("the new master does not know of much more than the last moments")
	}
	if back > patience/4 {
		t.Errorf("back after %v", back)
	}
}
