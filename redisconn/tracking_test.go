package redisconn

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter/redis/redistest"
)

// witness keeps what a tracked connection was told.
type witness struct {
	mu   sync.Mutex
	told []string // keys, and "*" for all
}

func (w *witness) changed(keys []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if keys == nil {
		keys = []string{"*"}
	}
	w.told = append(w.told, keys...)
}

func (w *witness) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = nil
}

func (w *witness) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told)
}

// heard is an error unless key was told.
func (w *witness) heard(key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Contains(w.told, key) {
		return nil
	}
	return fmt.Errorf("%q was not told, but %q", key, w.told)
}

// await returns after what time key was told.
func (w *witness) await(t testing.TB, key string) time.Duration {
	t.Helper()
	return eventually(t, func() error { return w.heard(key) })
}

func watching(t testing.TB, url string) (*Conn, *witness) {
	t.Helper()
	w := &witness{}
	c := open(t, url, Options{Track: "t:", Changed: w.changed, Ping: 300 * time.Millisecond, Answer: 400 * time.Millisecond})
	eventually(t, func() error { return ping(within(t, patience), c) })
	return c, w
}

func read(t testing.TB, c *Conn, key string) string {
	t.Helper()
	text, err := do(within(t, patience), c, "GET", key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Whatever happens to a key is told, to who has read it and to who has not, and of other keys nothing.
func TestEveryChangeIsTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c, w := watching(t, server.URL())
	for name, change := range map[string]func(){
		"set by another":                 func() { server.Do(t, "SET", "t:a", "2") },
		"removed":                        func() { server.Do(t, "DEL", "t:a") },
		"expired":                        func() { server.Do(t, "PEXPIRE", "t:a", "1") },
		"renamed":                        func() { server.Do(t, "RENAME", "t:a", "t:other") },
		"set by a script":                func() { server.Do(t, "EVAL", "redis.call('SET', KEYS[1], '2')", "1", "t:a") },
		"set in a transaction":           func() { server.Do(t, "EVAL", "return redis.call('MSET', 't:a', '1', 't:b', '2')", "2", "t:a", "t:b") },
		"in a database that was flushed": func() { server.Do(t, "FLUSHDB") },
		"flushed":                        func() { server.Do(t, "FLUSHALL", "ASYNC") },
		"moved to another database":      func() { server.Do(t, "MOVE", "t:a", "1"); server.Do(t, "FLUSHALL") },
	} {
		for _, known := range []bool{true, false} {
			server.Do(t, "SET", "t:a", "1")
			w.await(t, "t:a")
			if known {
				read(t, c, "t:a")
			}
			w.clear()
			change()
			eventually(t, func() error {
				if w.heard("*") == nil {
					return nil
				}
				return w.heard("t:a")
			})
			t.Logf("%s: %q", name, w.all())
		}
	}
	w.clear()
	if _, err := do(within(t, patience), c, "SET", "t:own", "2"); err != nil {
		t.Fatal(err)
	}
	server.Do(t, "SET", "other", "1")
	server.Do(t, "SET", "t:last", "1")
	w.await(t, "t:last")
	if w.heard("t:own") == nil || w.heard("other") == nil || w.heard("*") == nil {
		t.Errorf("told of %q", w.all())
	}
}

func TestAKeyThatIsEvictedIsTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "maxmemory-policy allkeys-random")
	c, w := watching(t, server.URL())
	server.Do(t, "SET", "t:a", "1")
	read(t, c, "t:a")
	w.await(t, "t:a")
	w.clear()
	server.Do(t, "CONFIG", "SET", "maxmemory", "1")
	_ = server.Try("SET", "x", "1")
	w.await(t, "t:a")
}

// What was read before a change has been told by the time an answer with the newer value is followed by another,
// and an older value never comes after what was told: readers race with a writer, and what they know is
// judged at each step.
func TestAnOlderValueNeverComesAfterWhatWasTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var mu sync.Mutex
	known := map[string]string{} // as a cache would: what was read, unless something was told since the reading began
	moves := map[string]int{}
	w := &witness{}
	c := open(t, server.URL(), Options{Track: "t:", Answer: patience, Changed: func(keys []string) {
		w.changed(keys)
		mu.Lock()
		defer mu.Unlock()
		if keys == nil {
			clear(known)
			return
		}
		for _, k := range keys {
			moves[k]++
			delete(known, k)
		}
	}})
	eventually(t, func() error { return ping(within(t, patience), c) })
	const writes = 300
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				before := moves["t:a"]
				mu.Unlock()
				text := read(t, c, "t:a")
				mu.Lock()
				if moves["t:a"] == before {
					known["t:a"] = text
				}
				mu.Unlock()
			}
		})
	}
	writer := open(t, server.URL(), Options{Answer: patience})
	eventually(t, func() error { return ping(within(t, patience), writer) })
	for i := range writes {
		if _, err := do(within(t, patience), writer, "SET", "t:a", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			mu.Lock()
			defer mu.Unlock()
			if v, ok := known["t:a"]; ok && v != fmt.Sprint(i) {
				return fmt.Errorf("%s is believed after %d was written", v, i)
			}
			return nil
		})
	}
	close(stop)
	wg.Wait()
}

// However a connection ends, all is lost that was known by it.
func TestTheEndOfAConnectionIsTold(t *testing.T) {
	t.Parallel()
	server, proxy, url := through(t)
	c, w := watching(t, url)
	back := func() {
		t.Helper()
		if err := proxy.Resume(); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return ping(within(t, time.Second), c) })
	}
	for _, f := range []struct {
		name string
		end  func()
		mend func()
	}{
		{"cut", proxy.Cut, func() {}},
		{"refused", proxy.Refuse, func() {}},
		{"killed by an operator", func() { server.Do(t, "CLIENT", "KILL", "TYPE", "normal") }, func() {}},
		{"nothing comes through", proxy.Stall, func() {}},
		{"the server stands still", func() { server.Stop(t) }, func() { server.Continue(t) }},
		{"the server starts anew", func() { server.Restart(t) }, func() {}},
	} {
		w.clear()
		f.end()
		t.Logf("%s: told after %v", f.name, w.await(t, "*").Round(time.Millisecond))
		f.mend()
		back()
		read(t, c, "t:a")
		server.Do(t, "SET", "t:a", "1")
		w.await(t, "t:a")
	}
}

// A replica that its operator makes a replica of another tells of what that sends.
func TestAMasterThatIsDeposedGoesOnTelling(t *testing.T) {
	t.Parallel()
	server, next := redistest.Start(t), redistest.Start(t)
	_, w := watching(t, server.URL())
	server.Do(t, "SET", "t:a", "1")
	w.await(t, "t:a")
	w.clear()
	_, port, _ := strings.Cut(next.Addr(), ":")
	server.Do(t, "REPLICAOF", "127.0.0.1", port)
	w.await(t, "*") // it is filled anew
	w.clear()
	next.Do(t, "SET", "t:b", "1")
	w.await(t, "t:b")
}

func TestFailoversAreTold(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(t *testing.T, g *redistest.Guarded){
		"killed":       func(t *testing.T, g *redistest.Guarded) { g.Master.Kill() },
		"stands still": func(t *testing.T, g *redistest.Guarded) { g.Master.Stop(t); t.Cleanup(func() { g.Master.Continue(t) }) },
		"by command":   func(t *testing.T, g *redistest.Guarded) { g.Sentinels[0].Do(t, "SENTINEL", "FAILOVER", "neko") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := redistest.StartGuarded(t)
			c, w := watching(t, g.URL())
			w.clear()
			fail(t, g)
			w.await(t, "*")
			g.AwaitPromoted(t)
			promoted := time.Now()
			eventually(t, func() error {
				w.clear()
				g.Replica.Do(t, "SET", "t:a", "1")
				_ = ping(within(t, 50*time.Millisecond), c)
				for range 20 {
					if w.heard("t:a") == nil {
						return nil
					}
					time.Sleep(time.Millisecond)
				}
				return errors.New("the new master tells nothing")
			})
			t.Log("the new master tells after", time.Since(promoted).Round(time.Millisecond))
		})
	}
}

// A slot moves while its keys are read: whoever has them at the moment of a change tells of it.
func TestInAClusterWhoHasAKeyTells(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	c, w := watching(t, cluster[0].URL())
	other, _ := watching(t, cluster[0].URL())
	for i := range 30 { // of all nodes
		key := fmt.Sprint("t:", i)
		read(t, c, key)
		for _, node := range cluster {
			if node.Try("SET", key, "1").Error() == nil {
				w.await(t, key)
			}
		}
	}

	if n := len(slices.DeleteFunc(w.all(), func(s string) bool { return s != "*" })); n != len(cluster) {
		t.Errorf("%d nodes were asked, and that all may be lost was told %d times", len(cluster), n)
	}

	const key = "t:moves"
	if _, err := do(within(t, patience), c, "SET", key, "1"); err != nil {
		t.Fatal(err)
	}
	n, _ := cluster[0].Do(t, "CLUSTER", "KEYSLOT", key).AsInt64()
	slot := fmt.Sprint(n)
	var from, to *redistest.Server
	for _, node := range cluster {
		if n, _ := node.Do(t, "CLUSTER", "COUNTKEYSINSLOT", slot).AsInt64(); n > 0 {
			from = node
		} else {
			to = node
		}
	}
	name := func(s *redistest.Server) string { text, _ := s.Do(t, "CLUSTER", "MYID").ToString(); return text }
	w.clear()
	to.Do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", name(from))
	from.Do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", name(to))
	_, port, _ := strings.Cut(to.Addr(), ":")
	from.Do(t, "MIGRATE", "127.0.0.1", port, key, "0", "5000")
	w.await(t, key)
	if text := read(t, c, key); text != "1" { // by ASK
		t.Errorf("%q on its way", text)
	}
	w.clear()
	// A change while the slot is on its way.
	if _, err := do(within(t, patience), other, "SET", key, "2"); err != nil {
		t.Fatal(err)
	}
	w.await(t, key)
	for _, node := range []*redistest.Server{to, from} {
		node.Do(t, "CLUSTER", "SETSLOT", slot, "NODE", name(to))
	}
	if text := read(t, c, key); text != "2" { // by MOVED
		t.Errorf("%q after its way", text)
	}
	w.clear()
	to.Do(t, "SET", key, "3")
	w.await(t, key)
	w.clear()
	to.Kill()
	w.await(t, "*")
}
