package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/redisconn"
	"github.com/nekoctl/neko/scripts/slowproxy"
)

// budget is what a decision may take.
const budget = limiter.Budget

// bound is by how much a call may be later than others that wait as long, on a machine that
// does other things, too.
const bound = time.Second

// grantInTime asks for a token, and says by how much that took longer than something else
// which waited for the budget at the same time.
func grantInTime(s *Source, p *limiter.Policy, id limiter.ID) (g limiter.Grant, late time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), budget)
	defer cancel()
	ended := make(chan time.Time, 1)
	stop := context.AfterFunc(ctx, func() { ended <- time.Now() })
	g, err = s.Grant(ctx, p, id, 1, 1)
	returned := time.Now()
	if !stop() {
		late = returned.Sub(<-ended)
	}
	return g, late, err
}

// fault is something that goes wrong with Redis, or between it and us.
type fault struct {
	name       string
	begin, end func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy)
	want       string // is in one of the errors of the time
}

var faults = []fault{
	{"its process is killed",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Kill() },
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Restart(t) }, ""},
	{"its process stands still",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Stop(t) },
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Continue(t) }, "no answer from Redis"},
	{"connections are refused",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { p.Refuse() }, resume, "connection refused"},
	{"nothing comes through",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { p.Stall() }, resume, "no answer from Redis"},
	{"it answers later than the budget",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { p.Delay(3 * budget) }, resume, "no answer from Redis"},
	{"it has no memory",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) {
			s.Do(t, "CONFIG", "SET", "maxmemory", "1")
		},
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) {
			s.Do(t, "CONFIG", "SET", "maxmemory", "0")
		}, "OOM"},
	{"it becomes a replica",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Do(t, "REPLICAOF", "127.0.0.1", "1") },
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Do(t, "REPLICAOF", "NO", "ONE") }, "READONLY"},
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
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) { s.Do(t, "SCRIPT", "KILL") }, "BUSY"},
	{"its password is changed",
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) {
			s.Do(t, "CONFIG", "SET", "requirepass", "other")
			p.Cut()
		},
		func(t *testing.T, s *redistest.Server, p *slowproxy.Proxy) {
			if err := s.TryAs("other", "CONFIG", "SET", "requirepass", "").Error(); err != nil {
				t.Fatal(err)
			}
		}, "NOAUTH"},
}

func resume(t *testing.T, _ *redistest.Server, p *slowproxy.Proxy) {
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
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

// suffer has a fault begin and end, and sees how grants fail and when they are back.
func suffer(t *testing.T, f fault) {
	server, proxy, url := through(t)
	s := connected(t, url)
	p := policy(t, "p", 1_000_000, time.Second, 0)
	ask := func(i int) error {
		g, late, err := grantInTime(s, p, id(i))
		if late > bound {
			t.Errorf("a call with %v took %v more", budget, late)
		}
		if err == nil && g.Tokens != 1 {
			t.Errorf("%+v", g)
		}
		return err
	}
	eventually(t, func() error { return ask(0) })

	// How soon it is back says nothing if the machine did something else meanwhile.
	var back time.Duration
	for range 4 {
		f.begin(t, server, proxy)
		var seen error
		eventually(t, func() error {
			err := ask(1)
			if err == nil {
				return errors.New("it does not fail")
			}
			if !strings.Contains(err.Error(), f.want) {
				return fmt.Errorf("nothing of %q in: %w", f.want, err)
			}
			seen = err
			return nil
		})
		// So long that connections have been given up and made again.
		for began := time.Now(); time.Since(began) < redisconn.DefaultPing+2*redisconn.DefaultAnswer; {
			if err := ask(2); err == nil {
				t.Error("a grant in the middle of it")
			}
			time.Sleep(5 * time.Millisecond)
		}
		f.end(t, server, proxy)
		back = eventually(t, func() error { return ask(3) })
		t.Logf("%v; back after %v", seen, back)
		if back <= time.Second {
			return
		}
	}
	t.Errorf("back after %v, at best", back)
}

// A server that reads its data in answers LOADING, and is used as soon as it does not.
func TestAServerThatLoads(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "loading-process-events-interval-bytes 1024")
	s := connected(t, server.URL())
	p := policy(t, "p", 1_000_000, time.Second, 0)
	server.Do(t, "DEBUG", "POPULATE", "6000", "key", "100") // 3 s
	server.Do(t, "SAVE")
	server.Do(t, "CONFIG", "SET", "key-load-delay", "500")
	server.Do(t, "CONFIG", "REWRITE")
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		server.Restart(t)
	}()
	eventually(t, func() error {
		_, err := s.Grant(within(t, budget), p, id(1), 1, 1)
		if err == nil || !strings.Contains(err.Error(), "LOADING") {
			return fmt.Errorf("it does not load: %v", err)
		}
		return nil
	})
	<-restarted
	t.Log("back after", eventually(t, func() error {
		_, err := s.Grant(within(t, time.Second), p, id(1), 1, 1)
		return err
	}))
}

func TestACutConnectionCostsOneCall(t *testing.T) {
	t.Parallel()
	_, proxy, url := through(t)
	s := connected(t, url)
	p := policy(t, "p", 1_000_000, time.Second, 0)
	for range 20 {
		proxy.Cut()
		eventually(t, func() error {
			_, err := s.Grant(within(t, patience), p, id(1), 1, 1)
			return err
		})
	}
}

// Calls that nobody waits for any more are bounded, and so are all others behind them.
func TestASilentServerHoldsUpNobodyForLongerThanTheirContexts(t *testing.T) {
	t.Parallel()
	_, proxy, url := through(t)
	s := connected(t, url)
	p := policy(t, "p", 1_000_000, time.Second, 0)
	proxy.Stall()
	before := runtime.NumGoroutine()
	var most int
	for range 20 {
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), budget)
				defer cancel()
				if _, err := s.Grant(ctx, p, id(i), 1, 1); err == nil {
					t.Error("it does not fail")
				}
			})
		}
		wg.Wait()
		most = max(most, s.conn.Calls())
	}
	if most > redisconn.MaxCalls || most < 200 {
		t.Errorf("%d calls were under way", most)
	}
	t.Logf("%d goroutines before, now %d, and of all tests", before, runtime.NumGoroutine())
	began := time.Now()
	s.Close()
	if d := time.Since(began); d > patience {
		t.Error("it closes after", d)
	}
}

// An answer that nobody has waited for is not the answer of another call.
func TestLateAnswersAreNobodyElses(t *testing.T) {
	t.Parallel()
	_, proxy, url := through(t)
	s := connected(t, url)
	p := policy(t, "p", 1000, limiter.MaxWindow, 0)
	sent := int64(0)
	const delay = 2 * budget
	for range 5 {
		proxy.Delay(delay)
		for range 5 {
			began := time.Now()
			_, err := s.Grant(within(t, time.Millisecond), p, id(1), 7, 7)
			if d := time.Since(began); err == nil && d < 2*delay {
				t.Fatalf("an answer after %v, before it was sent", d)
			}
			if err == nil || strings.Contains(err.Error(), "no answer from Redis") {
				sent++
			}
		}
		if err := proxy.Resume(); err != nil {
			t.Fatal(err)
		}
		if g := grant(t, s, p, id(2), 3, 3); g.Tokens != 3 {
			t.Fatalf("%+v", g)
		}
	}
	// What was sent was executed, although nobody has heard of it.
	if g := grant(t, s, p, id(1), 1, 1000); sent == 0 || g.Tokens != 1000-7*sent {
		t.Errorf("%d are left after %d grants of 7", g.Tokens, sent)
	}
}

func TestTheLogTellsOfAnOutageOnceAndOfItsEnd(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var said memo
	s := open(t, server.URL(), Options{Log: logtext.Logger(&said)})
	p := policy(t, "p", 1_000_000, time.Second, 0)
	ask := func() error { _, err := s.Grant(within(t, patience), p, id(1), 1, 1); return err }
	eventually(t, ask)
	server.Do(t, "CONFIG", "SET", "maxmemory", "1")
	for range 50 {
		if ask() == nil {
			t.Fatal("a grant without memory")
		}
	}
	server.Do(t, "CONFIG", "SET", "maxmemory", "0")
	eventually(t, func() error {
		if err := ask(); err != nil || strings.Contains(said.String(), "again") {
			return err
		}
		return errors.New("nothing is said of its end")
	})
	lines := strings.Split(said.String(), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "warning: rate limits: Redis cannot be used: OOM ") || !strings.HasPrefix(lines[1], "hint: its maxmemory ") ||
		!strings.HasPrefix(lines[2], "rate limits: Redis answers again, after ") {
		t.Errorf("said:\n%s", said.String())
	}
}

// liar is a server that does not know what it is asked, and repeats it.
func liar(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					text := strings.ReplaceAll(string(buf[:n]), "\r\n", " ")
					for range strings.Count(text, "*") { // one for each command
						fmt.Fprintf(c, "-ERR what is %s?\r\n", text)
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestNoPasswordIsInErrorsOrTheLog(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "requirepass right")
	for name, addr := range map[string]string{"wrong": server.Addr(), "repeated": liar(t)} {
		var said memo
		s := open(t, "redis://user:SeCreT@"+addr, Options{Log: logtext.Logger(&said)})
		p := policy(t, "p", 10, time.Second, 0)
		var err error
		eventually(t, func() error {
			_, err = s.Grant(within(t, patience), p, id(1), 1, 1)
			if said.String() == "" || err == nil || !strings.Contains(err.Error(), "not connected to Redis: ") {
				return fmt.Errorf("not tried yet: %v", err)
			}
			return nil
		})
		text := err.Error() + "\n" + said.String()
		if strings.Contains(text, "SeCreT") {
			t.Errorf("%s: %s", name, text)
		}
		t.Log(text)
	}
}
