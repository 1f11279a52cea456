package cache_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/hostmem"
)

// open makes a cache, and closes it at the end of the test.
func open(t testing.TB, o Options) *Cache {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	return c
}

func shut(t testing.TB, c *Cache) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

// key is one of many.
func key(n int) (k Key) {
	k[0], k[1], k[2] = byte(n), byte(n>>8), byte(n>>16)
	return k
}

// minute is a policy: a minute fresh, another stale, and ten if there is an error.
var minute = Policy{MaxAge: time.Minute, StaleWhileRevalidate: time.Minute, StaleIfError: 10 * time.Minute}

func request(n int, tags ...string) Request {
	return Request{Key: key(n), Tags: tags, Policy: minute}
}

// says is a Fill.
func says(body string) Fill {
	return func(context.Context) Filled { return Filled{Body: []byte(body), Keep: true} }
}

func fails(context.Context) Filled { return Filled{Body: []byte("an error"), Failed: true} }

// never is a Fill that must not be called.
func never(t testing.TB) Fill {
	return func(context.Context) Filled {
		t.Error("it was made anew")
		return Filled{}
	}
}

func get(t testing.TB, c *Cache, r Request, fill Fill) Served {
	t.Helper()
	s, err := c.Get(context.Background(), r, fill)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// body is what was served.
func body(s Served) string {
	if s.State == Made {
		return string(s.Filled.Body)
	}
	return string(s.Answer.Body)
}

func want(t testing.TB, s Served, state State, text string) {
	t.Helper()
	if s.State != state || body(s) != text {
		t.Fatalf("state %d with %q, not %d with %q", s.State, body(s), state, text)
	}
}

func wantPeek(t testing.TB, c *Cache, n int, state State) {
	t.Helper()
	a, got := c.Peek(key(n), time.Now().UnixMilli())
	if got != state || (a == nil) != (state == Miss) {
		t.Fatalf("state %d, not %d", got, state)
	}
}

// A clock that is set back makes no answer younger: else one would be as good as new, and
// say so, for as much longer as the clock was set.
func TestTheClockIsSetBack(t *testing.T) {
	c := open(t, Options{})
	want(t, get(t, c, request(1, "T"), says("one")), Made, "one")
	now := time.Now().UnixMilli()
	for _, at := range []struct {
		back  time.Duration
		state State
	}{{0, Fresh}, {900 * time.Millisecond, Fresh}, {1100 * time.Millisecond, Miss}, {time.Hour, Miss}, {-time.Minute, Stale}} {
		if _, state := c.Peek(key(1), now-at.back.Milliseconds()); state != at.state {
			t.Errorf("%v back: state %d, not %d", at.back, state, at.state)
		}
		if helps := Helps(c, key(1), now-at.back.Milliseconds()); helps != (at.state != Miss) {
			t.Errorf("%v back: helps: %v", at.back, helps)
		}
	}
}

func TestAnAnswersLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{})
		r := request(1, "T:1", "T:list")
		want(t, get(t, c, r, says("one")), Made, "one")
		wantPeek(t, c, 1, Fresh)
		s := get(t, c, r, never(t))
		want(t, s, Fresh, "one")
		if string(s.Answer.ETag) != string(ETagOf("one")) || s.Answer.TagLine() != "T:1,T:list" {
			t.Errorf("%s, %s", s.Answer.ETag, s.Answer.TagLine())
		}
		time.Sleep(time.Minute)
		wantPeek(t, c, 1, Stale)
		want(t, get(t, c, r, says("two")), Stale, "one")
		synctest.Wait()
		want(t, get(t, c, r, never(t)), Fresh, "two")

		time.Sleep(2 * time.Minute)
		wantPeek(t, c, 1, Miss)
		want(t, get(t, c, r, fails), StaleOnError, "two")
		want(t, get(t, c, r, never(t)), StaleOnError, "two")
		time.Sleep(Spare)
		want(t, get(t, c, r, fails), StaleOnError, "two")
		time.Sleep(9*time.Minute - 2*time.Second)
		want(t, get(t, c, r, fails), StaleOnError, "two")
		time.Sleep(Spare)
		want(t, get(t, c, r, fails), Made, "an error")
		want(t, get(t, c, r, says("three")), Made, "three")
		want(t, get(t, c, r, never(t)), Fresh, "three")
	})
}

func TestWhatIsInvalidatedIsNeverServed(t *testing.T) {
	for _, tag := range []string{"T:1", "t:1", "T:LIST", Everything} {
		t.Run(tag, func(t *testing.T) {
			c := open(t, Options{})
			r := request(1, "T:1", "T:list")
			get(t, c, r, says("one"))
			if err := c.Invalidate(context.Background(), "T:2", "other"); err != nil {
				t.Fatal(err)
			}
			wantPeek(t, c, 1, Fresh)
			if err := c.Invalidate(context.Background(), "T:2", tag); err != nil {
				t.Fatal(err)
			}
			wantPeek(t, c, 1, Miss)
			want(t, get(t, c, r, fails), Made, "an error")
			want(t, get(t, c, r, says("two")), Made, "two")
			want(t, get(t, c, r, never(t)), Fresh, "two")
		})
	}
}

func TestWhatIsNotKept(t *testing.T) {
	c := open(t, Options{Bytes: MinBytes, NegativeMaxAge: -1})
	large := strings.Repeat("x", MinBytes/8)
	for n, f := range []Filled{
		{Body: []byte("x")},
		{Body: []byte("x"), Keep: true, Failed: true},
		{Body: []byte("x"), Keep: true, Negative: true},
		{Body: []byte(large), Keep: true},
		{Body: []byte(large[100:]), Keep: true},
	} {
		s := get(t, c, request(n, "T"), func(context.Context) Filled { return f })
		want(t, s, Made, string(f.Body))
		wantPeek(t, c, n, Miss)
	}
	for _, p := range []Policy{{}, {StaleIfError: time.Hour}, {MaxAge: -1}, {MaxAge: time.Microsecond}} {
		get(t, c, Request{Key: key(9), Policy: p}, says("x"))
		wantPeek(t, c, 9, Miss)
	}
	if s := c.Stats(); s.Entries != 0 || s.Bytes != uint64(Own(c)) {
		t.Errorf("%+v", s)
	}
}

func TestNegativeAnswersAreShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{})
		nothing := func(context.Context) Filled { return Filled{Body: []byte("null"), Keep: true, Negative: true} }
		want(t, get(t, c, request(1), nothing), Made, "null")
		time.Sleep(DefaultNegativeMaxAge - time.Millisecond)
		want(t, get(t, c, request(1), never(t)), Fresh, "null")
		time.Sleep(time.Millisecond)
		want(t, get(t, c, request(1), fails), Made, "an error")
		if s := c.Stats(); s.Negative != 1 || s.Fresh != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Who has peeked may refuse the answer, as a limiter does, and then nobody was served.
func TestWhatIsLookedAtIsServedOnlyWhenItIsCounted(t *testing.T) {
	c := open(t, Options{})
	want(t, get(t, c, request(1), says("1")), Made, "1")
	wantPeek(t, c, 1, Fresh)
	if s := c.Stats(); s.Fresh != 0 {
		t.Errorf("served %d", s.Fresh)
	}
	answer, _ := c.Peek(key(1), time.Now().UnixMilli())
	c.Count(key(1), answer)
	if s := c.Stats(); s.Fresh != 1 {
		t.Errorf("served %d", s.Fresh)
	}
}

// herd is what many get who ask for the same at once.
func herd(c *Cache, n int, r Request, fill Fill) (served []Served, errs []error) {
	type outcome struct {
		s   Served
		err error
	}
	all := make(chan outcome)
	for range n {
		go func() {
			s, err := c.Get(context.Background(), r, fill)
			all <- outcome{s, err}
		}()
	}
	for range n {
		o := <-all
		served, errs = append(served, o.s), append(errs, o.err)
	}
	return served, errs
}

func TestManyAtOnceAreMadeOnce(t *testing.T) {
	for _, f := range []Filled{
		{Body: []byte("x"), Keep: true},
		{Body: []byte("x"), Result: "only for those who wait"},
		{Body: []byte("x"), Failed: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := open(t, Options{})
			var made atomic.Int32
			served, errs := herd(c, 50, request(1, "T"), func(context.Context) Filled {
				made.Add(1)
				time.Sleep(time.Second)
				return f
			})
			leaders := 0
			for i, s := range served {
				if errs[i] != nil || s.State != Made || string(s.Filled.Body) != "x" || s.Filled.Result != f.Result || (s.Answer == nil) == f.Keep {
					t.Fatalf("%+v %v", s, errs[i])
				}
				if !s.Shared {
					leaders++
				}
			}
			if made.Load() != 1 || leaders != 1 {
				t.Errorf("made %d times, for %d leaders", made.Load(), leaders)
			}
			if s := c.Stats(); s.Misses != 1 || s.Coalesced != 49 || s.Fills != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestWhoeverGoesEndsNothingForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{})
		leader, leaves := context.WithCancel(context.Background())
		ended := false
		fill := func(ctx context.Context) Filled {
			select {
			case <-time.After(time.Second):
				return Filled{Body: []byte("x"), Keep: true}
			case <-ctx.Done():
				ended = true
				return Filled{Failed: true}
			}
		}
		gone := make(chan error, 1)
		go func() {
			_, err := c.Get(leader, request(1), fill)
			gone <- err
		}()
		synctest.Wait()
		here := make(chan Served, 1)
		go func() { here <- get(t, c, request(1), never(t)) }()
		synctest.Wait()
		leaves()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		want(t, <-here, Made, "x")
		if ended {
			t.Error("who was left got nothing")
		}

		leader, leaves = context.WithCancel(context.Background())
		go func() {
			_, err := c.Get(leader, request(2), fill)
			gone <- err
		}()
		synctest.Wait()
		leaves()
		<-gone
		synctest.Wait()
		if !ended {
			t.Error("it is made for nobody")
		}
	})
}

func TestAPanicReachesAllAndLocksNothing(t *testing.T) {
	for name, fill := range map[string]Fill{
		"panic":  func(context.Context) Filled { time.Sleep(time.Second); panic("ouch") },
		"goexit": func(context.Context) Filled { time.Sleep(time.Second); runtime.Goexit(); return Filled{} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := open(t, Options{})
				_, errs := herd(c, 10, request(1), fill)
				for _, err := range errs {
					var p *PanicError
					if !errors.As(err, &p) {
						t.Fatal(err)
					}
				}
				want(t, get(t, c, request(1), says("x")), Made, "x")
			})
		})
	}
}

func TestFewAreMadeAnewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{})
		const n = 50
		for i := range n {
			get(t, c, request(i), says("one"))
		}
		time.Sleep(time.Minute)
		var running, most, made atomic.Int32
		for range 3 {
			for i := range n {
				want(t, get(t, c, request(i), func(context.Context) Filled {
					most.Store(max(most.Load(), running.Add(1)))
					defer running.Add(-1)
					time.Sleep(time.Second)
					made.Add(1)
					return Filled{Body: []byte("one"), Keep: true}
				}), Stale, "one")
			}
		}
		time.Sleep(2 * time.Second)
		if most.Load() != MaxRefreshes || made.Load() != MaxRefreshes {
			t.Errorf("%d at once, %d in all", most.Load(), made.Load())
		}
		if s := c.Stats(); s.Refreshes != MaxRefreshes || s.SkippedRefreshes != 3*(n-MaxRefreshes) || s.Stale != 3*n {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhatCannotBeMadeAnewIsNotTriedAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{})
		get(t, c, request(1), says("one"))
		time.Sleep(time.Minute)
		tried := 0
		for range 100 {
			want(t, get(t, c, request(1), func(context.Context) Filled {
				tried++
				return Filled{Failed: true}
			}), Stale, "one")
			time.Sleep(100 * time.Millisecond)
		}
		if tried != 10 {
			t.Errorf("tried %d times in 10 s", tried)
		}
	})
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, o := range []Options{{Bytes: MinBytes - 1}, {Bytes: -1}, {SharedWait: -1}, {UnconfirmedMaxAge: -1}} {
		if c, err := New(o); err == nil {
			shut(t, c)
			t.Errorf("%+v", o)
		}
	}
}

func TestAClosedCache(t *testing.T) {
	c := open(t, Options{})
	get(t, c, request(1), says("x"))
	shut(t, c)
	wantPeek(t, c, 1, Miss)
	if _, err := c.Get(context.Background(), request(1), never(t)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := c.Invalidate(context.Background(), "T"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestCodings(t *testing.T) {
	c := open(t, Options{})
	a := get(t, c, request(1), says(strings.Repeat("x", 1000))).Answer
	before := c.Stats().Bytes
	calls := 0
	half := func(dst, src []byte) []byte { calls++; return append(dst, src[:500]...) }
	for range 3 {
		if got := a.Coded(1, half); len(got) != 500 {
			t.Error(len(got))
		}
		if got := a.Coded(2, func(dst, src []byte) []byte { calls++; return append(dst, src...) }); got != nil {
			t.Error("it does not pay")
		}
	}
	if calls != 2 {
		t.Errorf("made %d times", calls)
	}
	if grown := c.Stats().Bytes - before; grown < 512 || grown > 600 {
		t.Errorf("%d bytes more", grown)
	}
	if got := a.Coded(0, func(dst, src []byte) []byte { return dst }); got != nil {
		t.Error("too many make one")
	}
	if got := a.Coded(0, half); len(got) != 500 {
		t.Error("it was not tried again")
	}
	if err := c.Invalidate(context.Background(), "other"); err != nil {
		t.Fatal(err)
	}
	shut(t, c)
	if s := c.Stats(); s.Bytes != uint64(Own(c)) {
		t.Errorf("%d bytes are left", s.Bytes-uint64(Own(c)))
	}
}

func anonymous(t testing.TB) *hostmem.Mapping {
	t.Helper()
	m, err := hostmem.Anonymous(hostmem.MinBuckets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}
