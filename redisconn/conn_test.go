package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/logtext"
)

func TestMain(m *testing.M) { redistest.Main(m) }

const patience = redistest.Patience

var (
	within     = redistest.Within
	eventually = redistest.Eventually
	through    = redistest.Through
)

type memo = redistest.Log

func open(t testing.TB, url string, o Options) *Conn {
	t.Helper()
	c, err := New(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func do(ctx context.Context, c *Conn, command ...string) (string, error) {
	return Do(ctx, c, func(ctx context.Context, r rueidis.Client) (string, error) {
		text, err := r.Do(ctx, r.B().Arbitrary(command[0]).Keys(command[1:min(2, len(command))]...).Args(command[min(2, len(command)):]...).Build()).ToString()
		if rueidis.IsRedisNil(err) {
			err = nil
		}
		return text, err
	})
}

func ping(ctx context.Context, c *Conn) error { _, err := do(ctx, c, "PING"); return err }

func TestTheLogTellsOfAnOutageOnceWhoeverElseAnswers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var said memo
	c := open(t, server.URL(), Options{Who: "cache", Full: "let it go", Log: logtext.Logger(&said)})
	set := func() error { _, err := do(within(t, patience), c, "SET", "a", "b"); return err }
	eventually(t, set)
	server.Do(t, "CONFIG", "SET", "maxmemory", "1")
	for range 50 {
		if set() == nil {
			t.Fatal("something was stored without memory")
		}
		if err := ping(within(t, patience), c); err != nil { // as would another node of a Cluster
			t.Fatal(err)
		}
	}
	server.Do(t, "CONFIG", "SET", "maxmemory", "0")
	eventually(t, func() error {
		if err := set(); err != nil || strings.Contains(said.String(), "again") {
			return err
		}
		return errors.New("nothing is said of its end")
	})
	lines := strings.Split(said.String(), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "warning: cache: Redis cannot be used: OOM ") || !strings.HasSuffix(lines[1], " let it go") ||
		!strings.HasPrefix(lines[1], "hint: its maxmemory ") || !strings.HasPrefix(lines[2], "cache: Redis answers again, after ") {
		t.Errorf("said:\n%s", said.String())
	}
}

// While there is no connection only one call waits for one, and it is used as soon as there is.
func TestWithoutAConnectionCallsFailAtOnce(t *testing.T) {
	t.Parallel()
	_, proxy, url := through(t)
	c := open(t, url, Options{AtOnce: true})
	eventually(t, func() error { return ping(within(t, patience), c) })
	for _, away := range []func(){proxy.Stall, proxy.Refuse, func() { proxy.Stall(); proxy.Cut() }} {
		away()
		eventually(t, func() error {
			_ = ping(within(t, time.Millisecond), c)
			if !c.vain.Load() || c.live.Load() != 0 {
				return fmt.Errorf("it hopes for one, and has %d", c.live.Load())
			}
			return nil
		})
		var wg sync.WaitGroup
		var mu sync.Mutex
		atOnce := 0
		for range 200 {
			wg.Go(func() {
				err := ping(within(t, 100*time.Millisecond), c)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					t.Error("it has answered")
				case errors.Is(err, errAway):
					atOnce++
				}
			})
		}
		wg.Wait()
		if atOnce == 0 {
			t.Error("none of 200 calls failed at once")
		}
		if err := proxy.Resume(); err != nil {
			t.Fatal(err)
		}
		t.Log("back after", eventually(t, func() error { return ping(within(t, time.Second), c) }))
	}
}

// A connection that was lost is made again for all who want it: none fails because another waits, too.
func TestAConnectionThatWasLostIsWaitedFor(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := open(t, server.URL(), Options{AtOnce: true, Answer: patience})
	eventually(t, func() error { return ping(within(t, patience), c) })
	for range 20 {
		server.Do(t, "CLIENT", "KILL", "TYPE", "normal")
		eventually(t, func() error {
			if n := c.live.Load(); n != 0 {
				return fmt.Errorf("%d connections", n)
			}
			return nil
		})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				// Who still had the old one fails with it.
				if err := ping(within(t, patience), c); errors.Is(err, errAway) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// What is live is counted right, through whatever happens to connections.
func TestConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	_, proxy, url := through(t)
	c := open(t, url, Options{})
	for range 50 {
		eventually(t, func() error { return ping(within(t, time.Second), c) })
		if n := c.live.Load(); n != 1 {
			t.Fatalf("%d connections", n)
		}
		proxy.Cut()
		eventually(t, func() error {
			if n := c.live.Load(); n != 0 {
				return fmt.Errorf("%d connections after a cut", n)
			}
			return nil
		})
	}
	c.Close()
	eventually(t, func() error { // what rueidis has still to do it does meanwhile
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := len(c.conns); n != 0 {
			return fmt.Errorf("%d connections after Close", n)
		}
		return nil
	})
}
