package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/cachetest"
	"github.com/nekoctl/neko/logtext"
)

// hosts are caches of several hosts, and their connections.
type hosts struct {
	store *cachetest.Store
	links []*cachetest.Host
	all   []*Cache
}

func openHosts(t testing.TB, n int, o Options) *hosts {
	h := &hosts{store: cachetest.NewStore()}
	for range n {
		link := h.store.Open()
		o.Shared = link
		h.links = append(h.links, link)
		h.all = append(h.all, open(t, o))
	}
	return h
}

func invalidate(t testing.TB, c *Cache, tags ...string) {
	t.Helper()
	if err := c.Invalidate(context.Background(), tags...); err != nil {
		t.Fatal(err)
	}
}

func TestHostsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 3, Options{})
		r := request(1, "T:1", "T:list")
		text := strings.Repeat("one ", 1000)
		want(t, get(t, h.all[0], r, says(text)), Made, text)
		synctest.Wait()
		time.Sleep(time.Second)
		for _, c := range h.all[1:] {
			s := get(t, c, r, never(t))
			want(t, s, Fresh, text)
			if !s.Shared || s.Answer.Age(time.Now().UnixMilli()) != time.Second || string(s.Answer.ETag) != ETagOf(text) || s.Answer.Policy != minute || s.Answer.TagLine() != "T:1,T:list" {
				t.Errorf("%+v", s.Answer)
			}
			if s = get(t, c, r, never(t)); s.Shared {
				t.Error("it is not in memory")
			}
		}
		if n := h.links[1].Calls("Load"); n != 1 {
			t.Errorf("it was loaded %d times", n)
		}

		invalidate(t, h.all[2], "t:LIST")
		for _, c := range h.all {
			wantPeek(t, c, 1, Miss)
			want(t, get(t, c, r, fails), Made, "an error")
		}
		want(t, get(t, h.all[1], r, says("two")), Made, "two")
		synctest.Wait()
		want(t, get(t, h.all[0], r, never(t)), Fresh, "two")
		want(t, get(t, h.all[2], r, never(t)), Fresh, "two")

		time.Sleep(time.Minute)
		want(t, get(t, h.all[0], r, says("three")), Stale, "two")
		synctest.Wait()
		want(t, get(t, h.all[0], r, never(t)), Fresh, "three")
		want(t, get(t, h.all[1], r, never(t)), Stale, "two") // and takes what host 0 has made
		synctest.Wait()
		want(t, get(t, h.all[1], r, never(t)), Fresh, "three")

		invalidate(t, h.all[0], Everything)
		for _, c := range h.all {
			wantPeek(t, c, 1, Miss)
			want(t, get(t, c, r, fails), Made, "an error")
		}
	})
}

func TestAStaleAnswerOfAnotherHostIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 2, Options{})
		get(t, h.all[0], request(1, "T"), says("one"))
		time.Sleep(time.Minute)
		want(t, get(t, h.all[1], request(1, "T"), says("two")), Stale, "one")
		synctest.Wait()
		want(t, get(t, h.all[1], request(1, "T"), never(t)), Fresh, "two")
	})
}

func TestAnAnswerOfAnotherHostIsBetterThanAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 2, Options{})
		get(t, h.all[0], request(1, "T"), says("one"))
		time.Sleep(5 * time.Minute)
		want(t, get(t, h.all[1], request(1, "T"), fails), StaleOnError, "one")
		want(t, get(t, h.all[1], request(1, "T"), never(t)), StaleOnError, "one")
		invalidate(t, h.all[0], "T")
		want(t, get(t, h.all[1], request(1, "T"), fails), Made, "an error")
	})
}

func TestHostsMakeAnAnswerOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 3, Options{})
		var made atomic.Int32
		fill := func(context.Context) Filled {
			made.Add(1)
			time.Sleep(time.Second)
			return Filled{Body: []byte("x"), Keep: true}
		}
		done := make(chan error)
		for i := range 30 {
			go func() {
				s, err := h.all[i%3].Get(context.Background(), request(1, "T"), fill)
				if err == nil && body(s) != "x" {
					err = fmt.Errorf("%+v", s)
				}
				done <- err
			}()
		}
		for range 30 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if made.Load() != 1 {
			t.Errorf("made %d times", made.Load())
		}
		if a, b := h.all[1].Stats(), h.all[2].Stats(); a.Waits+b.Waits+h.all[0].Stats().Waits != 2 {
			t.Errorf("%+v %+v", a, b)
		}
	})
}

func TestWhoeverHasTheLockIsNotWaitedForForEver(t *testing.T) {
	for name, c := range map[string]struct {
		makes func(t *testing.T, h *hosts)
		took  time.Duration // about
	}{
		"it is gone": {func(t *testing.T, h *hosts) {
			if ok, err := h.store.Open().Lock(context.Background(), key(1), "x", LockTime); !ok || err != nil {
				t.Fatal(err)
			}
		}, LockTime},
		"what it has made is not kept": {func(t *testing.T, h *hosts) {
			go herd(h.all[1], 1, request(1, "T"), func(context.Context) Filled {
				time.Sleep(time.Second)
				return Filled{Body: []byte("not kept")}
			})
			synctest.Wait()
		}, time.Second},
		"Redis goes away": {func(t *testing.T, h *hosts) {
			if ok, err := h.store.Open().Lock(context.Background(), key(1), "x", LockTime); !ok || err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, h.links[0].Cut)
		}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := openHosts(t, 2, Options{})
				c.makes(t, h)
				began := time.Now()
				want(t, get(t, h.all[0], request(1, "T"), says("mine")), Made, "mine")
				if took := time.Since(began); took < c.took || took > c.took+100*time.Millisecond {
					t.Errorf("after %v", took)
				}
			})
		})
	}
}

func TestOwnAnswersStayHere(t *testing.T) {
	for _, share := range []bool{false, true} {
		h := openHosts(t, 2, Options{ShareOwn: share})
		r := request(1, "T")
		r.Own = true
		get(t, h.all[0], r, says("mine"))
		wantPeek(t, h.all[0], 1, Fresh)
		shut(t, h.all[0])
		if n := len(h.store.Keys()); n == 1 != share {
			t.Errorf("%d values are shared", n)
		}
		invalidate(t, h.all[1], "T")
	}
}

func TestOwnAnswersAreInvalidatedByOthers(t *testing.T) {
	h := openHosts(t, 2, Options{})
	r := request(1, "T")
	r.Own = true
	get(t, h.all[0], r, says("one"))
	invalidate(t, h.all[1], "T")
	wantPeek(t, h.all[0], 1, Miss)
	want(t, get(t, h.all[0], r, says("two")), Made, "two")
}

// Forgotten generations must not make an answer valid that was not.
func TestWhatRedisForgetsIsInvalid(t *testing.T) {
	for name, forget := range map[string]func(*cachetest.Store){
		"a tag":      func(s *cachetest.Store) { s.Forget("t") },
		"everything": func(s *cachetest.Store) { s.Forget(Everything) },
		"all":        func(s *cachetest.Store) { s.Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := openHosts(t, 2, Options{})
				get(t, h.all[0], request(1, "T"), says("one"))
				synctest.Wait()
				forget(h.store)
				wantPeek(t, h.all[0], 1, Miss)
				want(t, get(t, h.all[1], request(1, "T"), fails), Made, "an error")
				want(t, get(t, h.all[0], request(1, "T"), fails), Made, "an error")
			})
		})
	}
}

func TestTwoTagsInOneCellAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 2, Options{})
		get(t, h.all[0], request(1, "T"), says("one"))
		synctest.Wait()
		other := ""
		for i := 0; Word(h.all[0], other) != Word(h.all[0], "T"); i++ {
			other = fmt.Sprint(i)
		}
		if _, _, err := h.links[0].Load(context.Background(), key(7), []string{other}); err != nil {
			t.Fatal(err)
		}
		invalidate(t, h.all[1], other)
		wantPeek(t, h.all[0], 1, Miss)
		want(t, get(t, h.all[0], request(1, "T"), never(t)), Fresh, "one")
		wantPeek(t, h.all[0], 1, Fresh)
	})
}

func TestADamagedValueIsAMiss(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"empty":     func(b []byte) []byte { return []byte{} },
		"cut off":   func(b []byte) []byte { return b[:len(b)-1] },
		"flipped":   func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"longer":    func(b []byte) []byte { return append(b, 0) },
		"later one": func(b []byte) []byte { b[0]++; return b },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := openHosts(t, 2, Options{})
				get(t, h.all[0], request(1, "T"), says(strings.Repeat("one ", 1000)))
				synctest.Wait()
				h.store.Damage(key(1), damage)
				want(t, get(t, h.all[1], request(1, "T"), says("two")), Made, "two")
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // of another program, which has other tags
		h := openHosts(t, 2, Options{})
		get(t, h.all[0], request(1, "T"), says("one"))
		synctest.Wait()
		want(t, get(t, h.all[1], request(1, "U"), says("two")), Made, "two")
	})
}

// Who comes while the cache is closed must not be told that other hosts hear of it later: they do not.
func TestNothingIsPromisedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 1, Options{})
		if err := EndTelling(t.Context(), h.all[0]); err != nil {
			t.Fatal(err)
		}
		if err := h.all[0].Invalidate(t.Context(), "T"); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func TestWithoutRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		h := openHosts(t, 2, Options{Log: logtext.Logger(&text)})
		a, b := h.all[0], h.all[1]
		get(t, a, request(1, "T"), says("before"))
		get(t, a, request(2, "U"), says("before"))
		get(t, a, request(4, "U"), says("before"))
		synctest.Wait()
		time.Sleep(5 * time.Second)
		h.links[0].Cut()

		// What is younger than 10 s is used, once it is known that Redis cannot be asked.
		wantPeek(t, a, 1, Miss)
		want(t, get(t, a, request(1, "T"), never(t)), Fresh, "before")
		wantPeek(t, a, 2, Fresh)
		if !a.Stats().SharedAway {
			t.Error("it is not said to be away")
		}
		want(t, get(t, a, request(3, "T"), says("made without")), Made, "made without")
		time.Sleep(5 * time.Second)
		wantPeek(t, a, 3, Fresh)
		// Older ones only if there is nothing better.
		wantPeek(t, a, 1, Miss)
		want(t, get(t, a, request(1, "T"), fails), StaleOnError, "before")
		want(t, get(t, a, request(2, "U"), says("after")), Made, "after")
		// Of this host's changes everybody here knows.
		if err := a.Invalidate(context.Background(), "T"); !errors.Is(err, ErrLater) {
			t.Error(err)
		}
		wantPeek(t, a, 3, Miss)
		want(t, get(t, a, request(1, "T"), fails), Made, "an error")
		wantPeek(t, b, 1, Miss)
		want(t, get(t, b, request(1, "T"), never(t)), Fresh, "before") // it cannot know
		time.Sleep(DefaultUnconfirmedMaxAge)

		// When it is back all is confirmed, or made anew, and what was invalidated is so everywhere.
		h.links[0].Mend()
		time.Sleep(MaxTellAgain)
		if s := a.Stats(); s.Waiting != 0 {
			t.Errorf("%d invalidations wait", s.Waiting)
		}
		wantPeek(t, b, 1, Miss)
		want(t, get(t, b, request(1, "T"), says("new")), Made, "new")
		synctest.Wait()
		want(t, get(t, a, request(1, "T"), never(t)), Fresh, "new")
		want(t, get(t, a, request(4, "U"), never(t)), Fresh, "before")
		want(t, get(t, a, request(2, "U"), says("newer")), Fresh, "before") // what was made without Redis nobody can confirm
		if s := a.Stats(); s.SharedAway || s.SharedErrors == 0 {
			t.Errorf("%+v", s)
		}
		if n := strings.Count(text.String(), "\n"); n != 2 {
			t.Errorf("the log:\n%s", text.String())
		}
	})
}

func TestRedisIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 1, Options{})
		h.links[0].Hook(func(ctx context.Context, _ cachetest.Call) error {
			<-ctx.Done()
			return ctx.Err()
		})
		for i := range 100 {
			began := time.Now()
			want(t, get(t, h.all[0], request(i, "T"), says("x")), Made, "x")
			if took := time.Since(began); took > DefaultSharedWait {
				t.Fatalf("request %d took %v", i, took)
			} else if took > 0 && i >= 3 && i%10 == 9 {
				time.Sleep(Pause)
			}
		}
		if s := h.all[0].Stats(); s.SharedErrors > 6 {
			t.Errorf("it was asked %d times", s.SharedErrors)
		}
		began := time.Now()
		if err := h.all[0].Invalidate(context.Background(), "T"); !errors.Is(err, ErrLater) {
			t.Error(err)
		}
		if took := time.Since(began); took > 250*time.Millisecond {
			t.Errorf("an invalidation took %v", took)
		}
		wantPeek(t, h.all[0], 1, Miss)
		h.links[0].Hook(nil)
	})
}

// A store that is silent tells nothing: after a second what it had told counts for nothing.
func TestASilentRedisConfirmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 1, Options{})
		get(t, h.all[0], request(1, "T"), says("one"))
		synctest.Wait()
		time.Sleep(20 * time.Second)
		h.links[0].Hook(func(ctx context.Context, _ cachetest.Call) error {
			<-ctx.Done()
			return ctx.Err()
		})
		wantPeek(t, h.all[0], 1, Fresh)
		for i := range 30 {
			get(t, h.all[0], request(2+i, "T"), says("x"))
			time.Sleep(50 * time.Millisecond)
		}
		wantPeek(t, h.all[0], 1, Miss)
		want(t, get(t, h.all[0], request(1, "T"), fails), StaleOnError, "one")
		h.links[0].Hook(nil)
	})
}

// A worker tells Redis late that something has changed; meanwhile Redis has an old answer which its
// generations say is valid.
func TestWhatRedisDoesNotKnowYetNoWorkerOfTheHostBelieves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mapping := anonymous(t)
		h := openHosts(t, 1, Options{})
		other := h.all[0]
		var workers []*Cache
		var links []*cachetest.Host
		for range 2 {
			links = append(links, h.store.Open())
			workers = append(workers, open(t, Options{Shared: links[len(links)-1], Memory: mapping}))
		}
		get(t, other, request(1, "T"), says("old"))
		synctest.Wait()
		links[0].Cut()
		if err := workers[0].Invalidate(context.Background(), "T"); !errors.Is(err, ErrLater) {
			t.Fatal(err)
		}
		for range 20 {
			want(t, get(t, workers[1], request(1, "T"), fails), Made, "an error")
			time.Sleep(OwedFor / 3)
		}
		want(t, get(t, workers[1], request(1, "T"), says("new")), Made, "new")
		want(t, get(t, workers[1], request(1, "T"), never(t)), Fresh, "new")
		links[0].Mend()
		time.Sleep(MaxTellAgain)
		wantPeek(t, other, 1, Miss)
		time.Sleep(OwedFor + time.Second)
		get(t, other, request(1, "T"), says("newer"))
		synctest.Wait()
		want(t, get(t, workers[1], request(1, "T"), never(t)), Fresh, "newer")
		// At once, if all goes well.
		invalidate(t, workers[1], "T")
		if Owed(workers[0], "T") {
			t.Error("it was told, and is still owed")
		}
	})
}

func TestWhoIsKilledOwesNothingForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mapping := anonymous(t)
		store := cachetest.NewStore()
		dead := open(t, Options{Shared: store.Open(), Memory: mapping})
		lives := open(t, Options{Shared: store.Open(), Memory: mapping})
		Kill(dead, "T")
		if !Owed(lives, "T") {
			t.Fatal("it is not owed")
		}
		for range 10 {
			time.Sleep(time.Second)
			invalidate(t, lives, "T")
		}
		if Owed(lives, "T") {
			t.Error("it is still owed")
		}
	})
}

// More than can be remembered becomes everything.
func TestNoInvalidationIsLost(t *testing.T) {
	for _, n := range []int{100, MaxWaiting + 1, 2*MaxWaiting + 100} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := openHosts(t, 2, Options{})
				for _, i := range []int{0, n / 2, n - 1} {
					get(t, h.all[1], request(i, fmt.Sprint("T", i)), says("old"))
				}
				synctest.Wait()
				h.links[0].Cut()
				for i := range n {
					if err := h.all[0].Invalidate(context.Background(), fmt.Sprint("T", i)); !errors.Is(err, ErrLater) {
						t.Fatal(err)
					}
				}
				if s := h.all[0].Stats(); s.Waiting > MaxWaiting+1 || s.Waiting == 0 || s.Invalidated != uint64(n) {
					t.Errorf("%+v", s)
				}
				h.links[0].Mend()
				time.Sleep(MaxTellAgain)
				for _, i := range []int{0, n / 2, n - 1} {
					wantPeek(t, h.all[1], i, Miss)
					want(t, get(t, h.all[1], request(i, fmt.Sprint("T", i)), fails), Made, "an error")
				}
			})
		})
	}
}

// What was done is not done again.
func TestAPartOfAnInvalidationIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := cachetest.NewStore()
		p := &partial{Host: store.Open(), away: "b"}
		c := open(t, Options{Shared: p})
		if err := c.Invalidate(context.Background(), "A", "B", "C"); !errors.Is(err, ErrLater) {
			t.Fatal(err)
		}
		if Owed(c, "A") || !Owed(c, "B") || c.Stats().Waiting != 1 {
			t.Errorf("%v %v %+v", Owed(c, "A"), Owed(c, "B"), c.Stats())
		}
		time.Sleep(MaxTellAgain)
		p.back.Store(true)
		time.Sleep(MaxTellAgain)
		if got := p.done.Load(); got != 3 || c.Stats().Waiting != 0 {
			t.Errorf("%d done, %+v", got, c.Stats())
		}
	})
}

// partial is a store of which a part is away.
type partial struct {
	*cachetest.Host
	away string
	back atomic.Bool
	done atomic.Int32
}

func (p *partial) Invalidate(ctx context.Context, tags []string) error {
	var undone []string
	for _, tag := range tags {
		if tag == p.away && !p.back.Load() {
			undone = append(undone, tag)
			continue
		}
		if err := p.Host.Invalidate(ctx, []string{tag}); err != nil {
			return err
		}
		p.done.Add(1)
	}
	if undone != nil {
		return fmt.Errorf("a part: %w", &Undone{Tags: undone, Err: cachetest.ErrCut})
	}
	return nil
}

func TestCloseSaysWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := cachetest.NewStore().Open()
		c, err := New(Options{Shared: link})
		if err != nil {
			t.Fatal(err)
		}
		link.Cut()
		if err := c.Invalidate(context.Background(), "A", "B"); !errors.Is(err, ErrLater) {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.Close(ctx); err == nil || !strings.Contains(err.Error(), "2 invalidations") {
			t.Error(err)
		}

		link = cachetest.NewStore().Open()
		if c, err = New(Options{Shared: link}); err != nil {
			t.Fatal(err)
		}
		link.Cut()
		if err := c.Invalidate(context.Background(), "A", "B"); !errors.Is(err, ErrLater) {
			t.Error(err)
		}
		time.AfterFunc(time.Second, link.Mend)
		shut(t, c)
	})
}

// What was invalidated is not served on error either, when Redis cannot be asked any more.
func TestAHostForgetsNothingThatItWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 2, Options{})
		get(t, h.all[1], request(1, "T"), says("one"))
		synctest.Wait()
		invalidate(t, h.all[0], "T")
		h.links[1].Cut()
		want(t, get(t, h.all[1], request(1, "T"), fails), Made, "an error")
	})
}

// Nor is what it has heard of in another way than by Redis, whose word was lost.
func TestWhatIsInvalidatedHereNeedsNoRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 2, Options{})
		get(t, h.all[1], request(1, "T"), says("one"))
		get(t, h.all[1], request(2, "U"), says("two"))
		synctest.Wait()
		h.links[1].Hold()
		invalidate(t, h.all[0], "T")
		h.all[1].InvalidateHere("T", "U")
		want(t, get(t, h.all[1], request(2, "U"), never(t)), Fresh, "two") // Redis knows of nothing
		h.links[1].Cut()
		want(t, get(t, h.all[1], request(1, "T"), fails), Made, "an error")
	})
}

// The debts of two workers of a host are told apart.
func TestWhoPaysPaysForNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mapping, store := anonymous(t), cachetest.NewStore()
		links := []*cachetest.Host{store.Open(), store.Open()}
		a, b := open(t, Options{Shared: links[0], Memory: mapping}), open(t, Options{Shared: links[1], Memory: mapping})
		links[0].Cut()
		if err := a.Invalidate(context.Background(), "T"); !errors.Is(err, ErrLater) {
			t.Fatal(err)
		}
		for range 20 {
			invalidate(t, b, "T")
			if !Owed(b, "T") {
				t.Fatal("what one has paid the other still owes")
			}
			time.Sleep(OwedFor / 10)
		}
		links[0].Mend()
		time.Sleep(MaxTellAgain + OwedFor + time.Second)
		if Owed(b, "T") {
			t.Error("all was paid")
		}
	})
}

// Who waits for another host begins anew when something has moved.
func TestAnInvalidationWhileAnotherHostIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 1, Options{})
		if ok, err := h.store.Open().Lock(context.Background(), key(1), "x", LockTime); !ok || err != nil {
			t.Fatal(err)
		}
		var fills atomic.Int32
		fill := func(context.Context) Filled {
			fills.Add(1)
			return Filled{Body: []byte("x"), Keep: true}
		}
		all := make(chan Served, 2)
		ask := func() {
			served, _ := herd(h.all[0], 1, request(1, "T"), fill)
			all <- served[0]
		}
		go ask()
		time.Sleep(time.Second)
		invalidate(t, h.all[0], "T")
		time.Sleep(200 * time.Millisecond)
		go ask()
		for range 2 {
			want(t, <-all, Made, "x")
		}
		wantPeek(t, h.all[0], 1, Fresh)
		if fills.Load() != 1 {
			t.Errorf("made %d times", fills.Load())
		}
	})
}

// It does not wait for the lock of the flight that was overtaken.
func TestWhoComesAfterAnInvalidationWaitsForNoFillFromBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHosts(t, 1, Options{})
		go herd(h.all[0], 1, request(1, "T"), func(context.Context) Filled {
			time.Sleep(time.Second)
			return Filled{Body: []byte("old"), Keep: true}
		})
		synctest.Wait()
		invalidate(t, h.all[0], "T")
		began := time.Now()
		want(t, get(t, h.all[0], request(1, "T"), says("new")), Made, "new")
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		time.Sleep(2 * time.Second)
		want(t, get(t, h.all[0], request(1, "T"), never(t)), Fresh, "new")
	})
}

// Clocks of hosts differ: what another one says it has made in a moment is of now. Of what it
// says it has made tomorrow nobody knows how old it is.
func TestAnAnswerOfAnotherTime(t *testing.T) {
	for _, c := range []struct {
		made  time.Duration // from now
		after State
		age   time.Duration
	}{
		{24 * time.Hour, Made, 0},
		{10*time.Second + 1e6, Made, 0},
		{10 * time.Second, Fresh, 0},
		{-time.Second, Fresh, time.Second},
		{-minute.MaxAge, Stale, minute.MaxAge},
		{-minute.MaxAge - minute.StaleIfError + 1e6, Made, 0},
		{-minute.MaxAge - minute.StaleIfError, Made, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := openHosts(t, 1, Options{})
			r := request(1, "T")
			_, gens, err := h.links[0].Load(context.Background(), r.Key, []string{Everything, "t"})
			if err != nil {
				t.Fatal(err)
			}
			record := Record(r, "x", time.Now().Add(c.made).UnixMilli(), gens)
			if err := h.links[0].Store(context.Background(), r.Key, record, 48*time.Hour); err != nil {
				t.Fatal(err)
			}
			s := get(t, h.all[0], r, func(context.Context) Filled { return Filled{Body: []byte("x")} })
			if s.State != c.after || s.State != Made && s.Answer.Age(time.Now().UnixMilli()) != c.age {
				t.Errorf("made in %v: %+v", c.made, s)
			}
			if c.after == Fresh && c.made > 0 {
				time.Sleep(minute.MaxAge)
				wantPeek(t, h.all[0], 1, Stale)
				return
			}
			useless := c.made <= -minute.MaxAge-minute.StaleIfError || c.made > 10*time.Second
			if s := h.all[0].Stats(); s.Entries == 0 != useless || s.SharedHits == 0 != useless {
				t.Errorf("made in %v: %+v", c.made, s)
			}
		})
	}
}

func TestWhatIsStoredIsCompressedIfItPays(t *testing.T) {
	random := make([]byte, 5000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for _, c := range []struct {
		body  string
		least int
		most  int
	}{
		{strings.Repeat("x", 1000), 1000, 1100},
		{strings.Repeat("x", 5000), 50, 150},
		{string(random), 5000, 5100},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := openHosts(t, 2, Options{})
			get(t, h.all[0], request(1, "T"), says(c.body))
			synctest.Wait()
			h.store.Damage(key(1), func(b []byte) []byte {
				if len(b) < c.least || len(b) > c.most {
					t.Errorf("%d bytes of %d", len(b), len(c.body))
				}
				return b
			})
			want(t, get(t, h.all[1], request(1, "T"), never(t)), Fresh, c.body)
		})
	}
}
