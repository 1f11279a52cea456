package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/scripts/slowproxy"
)

const (
	// budget is what a load may take.
	budget = 50 * time.Millisecond
	// bound is by how much a call may be later than others that wait as long, on a machine that
	// does other things, too.
	bound = time.Second
)

// inTime makes a call with the budget, and says by how much it took longer than something else which waited
// for the budget at the same time.
func inTime(f func(context.Context) error) (late time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), budget)
	defer cancel()
	ended := make(chan time.Time, 1)
	stop := context.AfterFunc(ctx, func() { ended <- time.Now() })
	err = f(ctx)
	returned := time.Now()
	if !stop() {
		late = returned.Sub(<-ended)
	}
	return late, err
}

// fault is something that goes wrong with Redis, or between it and us.
type fault struct {
	name       string
	begin, end func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy)
	want       string        // is in one of the errors of the time
	lost       bool          // what was told before counts no more
	slow       time.Duration // so long it takes to answer; 0: it does not
}

func resume(t *testing.T, _ *redistest.Server, p *slowproxy.Proxy) {
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
}

var faults = []fault{
	{"its process is killed",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Kill() },
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Restart(t) }, "", true, 0},
	{"its process stands still",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Stop(t) },
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Continue(t) }, "no answer from Redis", true, 0},
	{"connections are refused",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { p.Refuse() }, resume, "connection refused", true, 0},
	{"nothing comes through",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { p.Stall() }, resume, "no answer from Redis", true, 0},
	{"it answers later than the budget",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { p.Delay(2 * budget) }, resume, "no answer from Redis", false, 4 * budget},
	{"a script runs on and on",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) {
			s.Do(t, "CONFIG", "SET", "busy-reply-threshold", "10")
			var wg sync.WaitGroup
			wg.Go(func() { s.Try("EVAL", "while true do end", "0") })
			t.Cleanup(wg.Wait)
			eventually(t, func() error {
				if err := s.Try("PING").Error(); err == nil || !strings.HasPrefix(err.Error(), "BUSY") {
					return fmt.Errorf("it is not busy: %v", err)
				}
				return nil
			})
		},
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Do(t, "SCRIPT", "KILL") }, "BUSY", false, 0},
	{"its password is changed",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) {
			s.Do(t, "CONFIG", "SET", "requirepass", "other")
			p.Cut()
		},
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) {
			if err := s.TryAs("other", "CONFIG", "SET", "requirepass", "").Error(); err != nil {
				t.Fatal(err)
			}
		}, "NOAUTH", true, 0},
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			suffer(t, f)
		})
	}
}

// suffer has a fault begin and end, and sees how calls fail, when it is known that nothing is told any more, and
// when all is back.
func suffer(t *testing.T, f fault) {
	server, proxy, url := through(t)
	s := open(t, url, Options{})
	other := open(t, server.URL(), Options{})
	e := listen(s)
	ask := func() (time.Duration, error) {
		began := time.Now()
		late, err := inTime(func(ctx context.Context) error {
			_, _, err := s.Load(ctx, key(1), []string{"t"})
			return err
		})
		if late > bound {
			t.Errorf("a call with %v took %v more", budget, late)
		}
		return time.Since(began), err
	}
	var back time.Duration
	var given bool // up, though it is only slow
	for range 4 {  // how soon something is says nothing if the machine did something else meanwhile
		e.settle(t, s, "t")
		f.begin(t, server, proxy)
		began := time.Now()
		if f.lost {
			if d := eventually(t, e.hasLost); d > time.Second {
				t.Logf("lost after %v", d)
			}
		}
		var seen error
		eventually(t, func() error {
			_, err := ask()
			if err == nil {
				return errors.New("it does not fail")
			}
			if !strings.Contains(err.Error(), f.want) {
				return fmt.Errorf("nothing of %q in: %w", f.want, err)
			}
			seen = err
			return nil
		})
		for time.Since(began) < 3*(ping+answer) {
			// If the end of the budget came late here, too, there may be an answer by then.
			if took, err := ask(); err == nil && (f.slow == 0 || took < f.slow) {
				t.Errorf("an answer in the middle of it, after %v", took)
			}
			time.Sleep(5 * time.Millisecond)
		}
		given = !f.lost && e.hasLost() == nil
		f.end(t, server, proxy)
		back = eventually(t, func() error { _, err := ask(); return err })
		t.Logf("%v; back after %v", seen, back)
		eventually(t, func() error { return other.try(t) })
		e.settle(t, s, "t")
		if err := other.Invalidate(within(t, patience), []string{"t"}); err != nil {
			t.Fatal(err)
		}
		e.await(t, "t")
		if back <= time.Second && !given {
			return
		}
	}
	t.Errorf("back after %v, and given up without need: %v, each time", back, given)
}

// Without memory for more nothing is stored, all else goes on: also that answers become invalid.
func TestARedisThatIsFull(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var said memo
	s := calm(t, server.URL(), Options{Log: logtext.Logger(&said)})
	other := calm(t, server.URL(), Options{})
	e := listen(other)
	if err := s.Store(within(t, patience), key(1), []byte("x"), time.Minute); err != nil {
		t.Fatal(err)
	}
	e.settle(t, other, "a", "b")
	load(t, s, 1, "a", "b")
	server.Do(t, "CONFIG", "SET", "maxmemory", "1")
	for range 20 {
		if err := s.Store(within(t, patience), key(2), []byte("x"), time.Minute); err == nil || !strings.HasPrefix(err.Error(), "OOM ") {
			t.Fatal(err)
		}
		if value, _ := load(t, s, 1, "a", "b"); string(value) != "x" {
			t.Fatalf("it reads %q", value)
		}
	}
	_, before := load(t, other, 1, "a")
	if err := s.Invalidate(within(t, patience), []string{"a"}); err != nil {
		t.Error(err)
	}
	e.await(t, "a")
	if _, gens, err := s.Load(within(t, patience), key(1), []string{"a", "b"}); err == nil {
		t.Errorf("a tag that nobody can set has %v", gens)
	}
	load(t, s, 1, "b")
	server.Do(t, "CONFIG", "SET", "maxmemory", "0")
	if _, after := load(t, other, 1, "a"); after[0] == before[0] {
		t.Error("it was invalidated, and has the generation of before")
	}
	if n := strings.Count(said.String(), "cannot be used: OOM "); n != 1 || !strings.Contains(said.String(), "\nhint: its maxmemory is used up") {
		t.Errorf("said:\n%s", said.String())
	}
}

// What was evicted, or flushed, makes invalid what it was a tag of, and never valid again.
func TestTagsThatAreForgottenAreNeverTheOldOnes(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(t *testing.T, server *redistest.Server){
		"flushed": func(t *testing.T, server *redistest.Server) { server.Do(t, "FLUSHALL") },
		"removed": func(t *testing.T, server *redistest.Server) { server.Do(t, "DEL", "neko:cache:tag:t") },
		"expired": func(t *testing.T, server *redistest.Server) { server.Do(t, "PEXPIRE", "neko:cache:tag:t", "1") },
		"evicted": func(t *testing.T, server *redistest.Server) {
			server.Do(t, "CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "1")
			_ = server.Try("SET", "x", "1")
			server.Do(t, "CONFIG", "SET", "maxmemory", "0")
		},
		"started anew": func(t *testing.T, server *redistest.Server) { server.Restart(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			hosts := []*Store{calm(t, server.URL(), Options{}), calm(t, server.URL(), Options{})}
			ears := []*ear{listen(hosts[0]), listen(hosts[1])}
			seen := map[cache.Generation]bool{}
			for range 5 {
				var gens [2][]cache.Generation
				for i, s := range hosts {
					ears[i].settle(t, s, "t")
					_, gens[i] = load(t, s, 1, "t")
				}
				if gens[0][0] != gens[1][0] || seen[gens[0][0]] {
					t.Fatalf("%v, and before %v", gens, seen)
				}
				seen[gens[0][0]] = true
				forget(t, server)
				for i, s := range hosts {
					ears[i].await(t, "t")
					eventually(t, func() error { return s.try(t) })
				}
			}
		})
	}
}

func TestAConnectionThatAnOperatorEndsIsLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := calm(t, server.URL(), Options{})
	e := listen(s)
	for range 10 {
		e.settle(t, s, "t")
		server.Do(t, "CLIENT", "KILL", "TYPE", "normal")
		eventually(t, e.hasLost)
		eventually(t, func() error { return s.try(t) })
	}
}

// A server that comes back with what it had before an invalidation is told of that again.
func TestWhatIsInvalidatedStaysSoWhateverRedisForgets(t *testing.T) {
	t.Parallel()
	server, proxy, url := through(t)
	s, other := calm(t, url, Options{}), calm(t, server.URL(), Options{})
	tags := make([]string, 3*maxBatch)
	for i := range tags {
		tags[i] = fmt.Sprint("t:", i)
	}
	_, old := load(t, s, 1, tags...)
	raw := make([]string, len(tags))
	for i, tag := range tags {
		raw[i] = must(server.Do(t, "GET", s.tagKey(tag)).ToString())
	}
	if err := s.Invalidate(within(t, patience), tags); err != nil {
		t.Fatal(err)
	}
	proxy.Refuse()
	server.Restart(t)
	set := []string{"MSET"}
	for i, tag := range tags {
		set = append(set, s.tagKey(tag), raw[i])
	}
	server.Do(t, set...)
	resume(t, server, proxy)
	eventually(t, func() error {
		_, gens, err := other.Load(within(t, patience), key(1), tags)
		if err != nil {
			return err
		}
		for i := range gens {
			if gens[i] == old[i] {
				return fmt.Errorf("%s has the generation of before", tags[i])
			}
		}
		return nil
	})
	eventually(t, func() error {
		if names, _ := s.again.next(); len(names) > 0 {
			return fmt.Errorf("still to be done: %q", names)
		}
		return nil
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestOnlySoMuchIsRemembered(t *testing.T) {
	t.Parallel()
	a := again{soon: make(chan struct{}, 1)}
	a.owe()
	if names, _ := a.next(); len(names) > 0 || len(a.soon) > 0 {
		t.Errorf("%q is owed", names)
	}
	for i := range maxRemembered + 500 {
		a.remember([]string{fmt.Sprint(i)}, a.losses)
	}
	a.owe()
	a.owe()
	if n := len(a.recent); n != maxRemembered {
		t.Errorf("%d are remembered", n)
	}
	if _, ok := a.owed["499"]; ok || len(a.owed) != maxRemembered {
		t.Errorf("%d are owed, the oldest too: %v", len(a.owed), ok)
	}
	names, losses := a.next()
	a.owe()
	if a.done(names, losses); len(a.owed) != maxRemembered {
		t.Error("done, though a connection was lost meanwhile")
	}
	names, losses = a.next()
	if a.done(names, losses); len(a.owed) != maxRemembered-maxBatch {
		t.Errorf("%d are owed", len(a.owed))
	}
	a.trim(time.Now().Add(2 * rememberFor))
	if len(a.recent) != 0 {
		t.Errorf("%d are remembered for ever", len(a.recent))
	}
}

// In a failover invalidations go on. When it is over no generation is there that was invalidated
// before, also by who had been answered by the old master.
func TestAFailoverBringsNothingBack(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(t *testing.T, g *redistest.Guarded){
		"the master is killed": func(t *testing.T, g *redistest.Guarded) { g.Master.Kill() },
		"an operator commands it": func(t *testing.T, g *redistest.Guarded) {
			g.Sentinels[0].Do(t, "SENTINEL", "FAILOVER", "neko")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := redistest.StartGuarded(t)
			reader, writer := open(t, g.URL(), Options{}), open(t, g.URL(), Options{})
			e := listen(reader)
			var mu sync.Mutex
			dead := map[cache.Generation]string{}
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						tag := fmt.Sprint("t:", i, ":", n%20)
						ctx, cancel := context.WithTimeout(context.Background(), patience)
						_, gens, err := reader.Load(ctx, key(1), []string{tag})
						if err == nil && writer.Invalidate(ctx, []string{tag}) == nil {
							mu.Lock()
							dead[gens[0]] = tag
							mu.Unlock()
						} else {
							time.Sleep(time.Millisecond)
						}
						cancel()
					}
				})
			}
			count := func() int {
				mu.Lock()
				defer mu.Unlock()
				return len(dead)
			}
			eventually(t, func() error {
				if count() < 500 {
					return errors.New("few invalidations")
				}
				return nil
			})
			e.clear()
			fail(t, g)
			eventually(t, e.hasLost)
			t.Log("lost after", eventually(t, e.hasLost))
			g.AwaitPromoted(t)
			before := count()
			eventually(t, func() error {
				if n, _ := g.Replica.Do(t, "DBSIZE").AsInt64(); n < 20 || count() < before+100 {
					return fmt.Errorf("the new master has %d keys", n)
				}
				return nil
			})
			close(stop)
			wg.Wait()
			t.Logf("%d invalidations, %d before it was over", count(), before)
			var all []string
			for i := range 4 {
				for n := range 20 {
					all = append(all, fmt.Sprint("t:", i, ":", n))
				}
			}
			t.Log("no old generation after", eventually(t, func() error {
				fresh, err := New(t.Context(), g.Replica.URL(), Options{})
				if err != nil {
					return err
				}
				defer fresh.Close()
				var gens []cache.Generation
				eventually(t, func() error { _, gens, err = fresh.Load(within(t, patience), key(1), all); return err })
				for i, g := range gens {
					if tag, ok := dead[g]; ok {
						return fmt.Errorf("%s has a generation that %s had before: %d", all[i], tag, g)
					}
				}
				return nil
			}))
		})
	}
}

// While a node of a Cluster is away, what it does not have goes on.
func TestOnlyTheKeysOfANodeAreAway(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	s, other := open(t, cluster.URL(), Options{}), open(t, cluster.URL(), Options{})
	e := listen(s)
	victim := cluster[1]
	isVictims := func(key string) bool {
		slot := must(cluster[0].Do(t, "CLUSTER", "KEYSLOT", key).AsInt64())
		return slot >= 16384/3 && slot < 2*16384/3
	}
	var its, others []string
	for i := 0; len(its) < 5 || len(others) < 5; i++ {
		if tag := fmt.Sprint("t:", i); isVictims(s.tagKey(tag)) {
			its = append(its, tag)
		} else {
			others = append(others, tag)
		}
	}
	itsAnswer, othersAnswer := -1, -1
	for i := 0; itsAnswer < 0 || othersAnswer < 0; i++ {
		if isVictims(s.answers + keyName(key(i))) {
			itsAnswer = i
		} else {
			othersAnswer = i
		}
	}
	for _, i := range []int{itsAnswer, othersAnswer} {
		if err := s.Store(within(t, patience), key(i), []byte("x"), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	load(t, s, itsAnswer, slices.Concat(its, others)...)
	victim.Kill()
	eventually(t, e.hasLost)
	for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(10 * time.Millisecond) {
		if value, _ := load(t, s, othersAnswer, others...); string(value) != "x" {
			t.Fatalf("%q", value)
		}
		if value, _ := load(t, s, itsAnswer, others...); value != nil {
			t.Fatalf("%q of a node that is dead", value)
		}
		if _, gens, err := s.Load(within(t, patience), key(othersAnswer), its[:1]); err == nil {
			t.Fatalf("%v of a node that is dead", gens)
		}
	}
	e.settle(t, s, others...)
	if err := other.Invalidate(within(t, patience), slices.Concat(its, others)); err == nil {
		t.Error("all was invalidated, also at the dead node")
	}
	for _, tag := range others {
		e.await(t, tag)
	}
	victim.Restart(t)
	cluster.AwaitServing(t, victim)
	t.Log("back after", eventually(t, func() error {
		_, _, err := s.Load(within(t, patience), key(1), its)
		return err
	}))
}

func descriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// cycles is how often a store is opened and closed, and cut; NEKO_TEST_CYCLES=1000 has it so often.
func cycles(t *testing.T) int {
	text := os.Getenv("NEKO_TEST_CYCLES")
	if text == "" {
		return 150
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Not parallel: it counts what the process has.
func TestNothingIsLeftOfManyStoresAndCuts(t *testing.T) {
	server, proxy, url := through(t)
	n := cycles(t)
	cycle := func(s *Store) error {
		if err := s.try(t); err != nil {
			return err
		}
		return s.Invalidate(within(t, patience), []string{"t"})
	}
	clients := func() int {
		text, _ := server.Do(t, "CLIENT", "LIST").ToString()
		return strings.Count(text, "name=neko ")
	}
	fds := descriptors(t)
	for range n {
		s, err := New(context.Background(), server.URL(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return cycle(s) })
		s.Close()
	}
	s := open(t, url, Options{})
	e := listen(s)
	for range n {
		eventually(t, func() error { return cycle(s) })
		e.clear()
		proxy.Cut()
		eventually(t, e.hasLost)
	}
	s.Close()
	proxy.Close()
	eventually(t, func() error {
		if n, m := descriptors(t), clients(); n > fds || m > 0 {
			return fmt.Errorf("%d descriptors, before %d, and %d connections", n, fds, m)
		}
		return nil
	})
}

// A large answer holds up nobody for long, and one that nobody could hold is an outage.
func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := calm(t, server.URL(), Options{})
	value := bytes.Repeat([]byte("x"), MaxValue)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := s.Store(within(t, patience), key(i), value, time.Minute); err != nil {
				t.Error(err)
			}
			if got, _ := load(t, s, i, "t"); !bytes.Equal(got, value) {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
	wg.Wait()
	server.Do(t, "SETRANGE", s.answers+keyName(key(1)), fmt.Sprint(17<<20), "x")
	if _, _, err := s.Load(within(t, patience), key(1), nil); err == nil {
		t.Error("17 MiB were taken")
	}
	eventually(t, func() error { return s.try(t) })
}
