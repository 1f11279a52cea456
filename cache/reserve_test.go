package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/cachetest"
)

func openReserve(t testing.TB, dir string) *Reserve {
	t.Helper()
	r, err := OpenReserve(dir, MinReserve)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What is in the file is served when nothing better can be had, and by the same rules as what is in memory.
func TestReserve(t *testing.T) {
	dir := t.TempDir()
	wait := func(d time.Duration) func(*testing.T, *Cache, *cachetest.Host, *Cache) {
		return func(*testing.T, *Cache, *cachetest.Host, *Cache) { time.Sleep(d) }
	}
	cut := func(_ *testing.T, _ *Cache, link *cachetest.Host, _ *Cache) { link.Cut() }
	type happens = func(t *testing.T, c *Cache, link *cachetest.Host, other *Cache)
	there := func(t *testing.T, c *Cache, _ *cachetest.Host, _ *Cache) { invalidate(t, c, "T") }
	elsewhere := func(t *testing.T, _ *Cache, _ *cachetest.Host, other *Cache) { invalidate(t, other, "t") }
	lost := func(_ *testing.T, _ *Cache, link *cachetest.Host, _ *Cache) { link.Cut(); link.Mend() }
	without := func(_ *testing.T, c *Cache, link *cachetest.Host, _ *Cache) {
		link.Cut()
		if err := c.Invalidate(context.Background(), "T"); !errors.Is(err, ErrLater) {
			t.Error(err)
		}
	}
	for _, test := range []struct {
		name   string
		before []happens // it is made, of age 0, and has gone from memory
		shared State     // with a shared store, which has no answers
		alone  State     // without one
	}{
		{"nothing has happened", nil, Fresh, Fresh},
		{"it is stale", []happens{wait(minute.MaxAge)}, Stale, Stale},
		{"it is old", []happens{wait(minute.MaxAge + minute.StaleWhileRevalidate)}, StaleOnError, StaleOnError},
		{"it is too old", []happens{wait(minute.MaxAge + minute.StaleIfError)}, Made, Made},
		{"it was invalidated", []happens{there}, Made, Made},
		{"all was invalidated", []happens{func(t *testing.T, c *Cache, _ *cachetest.Host, _ *Cache) { invalidate(t, c, Everything) }}, Made, Made},
		{"another tag was invalidated", []happens{func(t *testing.T, c *Cache, _ *cachetest.Host, _ *Cache) { invalidate(t, c, "U") }}, Fresh, Fresh},
		{"another host has invalidated it", []happens{elsewhere}, Made, 0},
		{"another host has, after which there is no shared store", []happens{elsewhere, cut, wait(time.Minute)}, Made, 0},
		{"another host has, when there was none", []happens{cut, elsewhere, wait(time.Minute)}, StaleOnError, 0}, // nobody can know
		{"this host has, when there was none", []happens{without, wait(time.Minute)}, Made, 0},
		{"there is no shared store", []happens{cut}, Fresh, 0},
		{"there is none, and it is not confirmed", []happens{cut, wait(DefaultUnconfirmedMaxAge)}, StaleOnError, 0},
		{"there is none, and it is too old", []happens{cut, wait(minute.MaxAge + minute.StaleIfError)}, Made, 0},
		{"the connection was lost", []happens{lost}, Fresh, 0},
		{"the connection was lost, and it is old", []happens{lost, wait(5 * time.Minute)}, StaleOnError, 0},
		{"the connection was lost, and another host has invalidated it", []happens{cut, elsewhere, lost}, Made, 0},
	} {
		for _, shared := range []bool{true, false} {
			if !shared && test.alone == 0 {
				continue
			}
			name, is := "alone/", test.alone
			if shared {
				name, is = "shared/", test.shared
			}
			t.Run(name+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := Options{Reserve: openReserve(t, dir), Bytes: MinBytes}
					var link *cachetest.Host
					var other *Cache
					store := cachetest.NewStore()
					if shared {
						link = store.Open()
						o.Shared = link
						other = open(t, Options{Shared: store.Open()})
					}
					c := open(t, o)
					r := request(1, "T")
					text := strings.Repeat("one ", 1000)
					want(t, get(t, c, r, says(text)), Made, text)
					Evict(c)
					wantPeek(t, c, 1, Miss)
					synctest.Wait()
					store.Damage(key(1), func([]byte) []byte { return nil })
					for _, f := range test.before {
						f(t, c, link, other)
					}
					if is == Made {
						text = "an error"
					}
					defer func() {
						if shared {
							link.Mend()
							time.Sleep(2 * MaxTellAgain) // until the shared store knows
						}
					}()
					want(t, get(t, c, r, fails), is, text)
					s := c.Stats()
					if hit := is != Made; s.ReserveHits == 1 != hit || s.ReserveMisses == 1 == hit || s.ReserveErrors != 0 {
						t.Errorf("%+v", s)
					}
					if is == Made {
						return
					}
					want(t, get(t, c, r, never(t)), is, text) // it is in memory
					Evict(c)
					want(t, get(t, c, r, never(t)), is, text) // it has failed just now
					time.Sleep(Spare)
					Evict(c)
					invalidate := func() { _ = c.Invalidate(context.Background(), "T") }
					invalidate()
					want(t, get(t, c, r, fails), Made, "an error")
					want(t, get(t, c, r, says("two")), Made, "two")
				})
			})
		}
	}
}

// More is asked for than memory has room for, what it is made from is away for five minutes, and in the last
// of these Shared as well, and invalidations go on: whoever asks for what this worker was asked for before, and
// nobody has invalidated, is answered.
func TestAnOutageIsBridged(t *testing.T) {
	dir := t.TempDir()
	for _, with := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			const keys, changing = 2000, 20 // of 2 kB; memory has room for 400
			store := cachetest.NewStore()
			link := store.Open()
			o := Options{Shared: link, Bytes: MinBytes}
			if with {
				r, err := OpenReserve(dir, 16<<20)
				if err != nil {
					t.Fatal(err)
				}
				o.Reserve = r
			}
			c, other := open(t, o), open(t, Options{Shared: store.Open()})
			r := func(n int) Request { return request(n, fmt.Sprint("T:", n), "T:list") }
			text := func(n int) string { return strings.Repeat(fmt.Sprint("this is ", n, ". "), 160) }
			for n := range keys {
				get(t, c, r(n), says(text(n)))
				synctest.Wait()
			}
			zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 20, keys-changing-1)
			ok, all := 0, 0
			asks := func(long time.Duration) {
				for range 2000 {
					time.Sleep(long / 2000)
					n := changing + int(zipf.Uint64())
					s := get(t, c, r(n), fails)
					if all++; s.Answer == nil {
						continue
					}
					if ok++; string(s.Answer.Body) != text(n) {
						t.Fatalf("%d is %q", n, s.Answer.Body)
					}
				}
				synctest.Wait()
			}
			asks(4 * time.Minute)
			invalidate(t, other, "T:0", "T:1", "T:2")
			link.Cut()
			if err := c.Invalidate(context.Background(), "T:3", "T:4"); !errors.Is(err, ErrLater) {
				t.Error(err)
			}
			asks(time.Minute)
			for n := range 5 {
				if s := get(t, c, r(n), fails); s.Answer != nil {
					t.Errorf("%d was invalidated, and is served", n)
				}
			}
			t.Logf("with a reserve: %v; %d of %d were answered; %+v", with, ok, all, c.Stats())
			if bridged := 1000*ok >= 999*all; bridged != with {
				t.Errorf("%d of %d were answered, with a reserve: %v", ok, all, with)
			}
			link.Mend()
			time.Sleep(2 * MaxTellAgain)
		})
	}
}
