package limiter_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"pgregory.net/rapid"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis/redistest"
)

// script is a script of limiter/redis that takes its time from two more arguments, and not
// from the server's clock.
func script(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("redis/" + name)
	if err != nil {
		t.Fatal(err)
	}
	const clock = "redis.call('TIME')"
	if strings.Count(string(text), clock) != 1 {
		t.Fatalf("%s does not ask for the time once", name)
	}
	return strings.Replace(string(text), clock, "{ARGV[#ARGV - 1], ARGV[#ARGV]}", 1)
}

// drawPolicy draws one of any size.
func drawPolicy(t *rapid.T) *limiter.Policy {
	for {
		window := time.Duration(rapid.Int64Range(1, limiter.MaxWindow.Microseconds()).Draw(t, "window")) * time.Microsecond
		limit := rapid.Int64Range(1, limiter.MaxBurst).Draw(t, "limit")
		burst := rapid.Int64Range(1, limiter.MaxBurst).Draw(t, "burst")
		if rapid.Bool().Draw(t, "small") {
			limit, burst = limit%20+1, burst%20+1
		}
		if p, err := limiter.NewPolicy("p", limit, window, burst, limiter.FailLocal); err == nil {
			return p
		}
	}
}

// The base of the clock of these tests is far ahead, or keys would expire while they run.
const farAhead = 3_000_000_000_000_000 // µs: in 2065

func TestTheScriptsCalculateAsThisHostDoes(t *testing.T) {
	server := redistest.Start(t)
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{server.Addr()}, ForceSingleClient: true, DisableCache: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	grant, giveBack := rueidis.NewLuaScript(script(t, "grant.lua")), rueidis.NewLuaScript(script(t, "return.lua"))
	key := 0

	rapid.Check(t, func(r *rapid.T) {
		p := drawPolicy(r)
		span, tokens, depth := p.Central()
		key++
		keys := []string{fmt.Sprint("bucket", key)}
		now := int64(farAhead) + rapid.Int64Range(0, 1_000_000).Draw(r, "now")
		call := func(s *rueidis.Lua, args ...int64) []int64 {
			var text []string
			for _, n := range append([]int64{span, tokens, depth}, args...) {
				text = append(text, fmt.Sprint(n))
			}
			text = append(text, fmt.Sprint(now/1_000_000), fmt.Sprint(now%1_000_000))
			result := s.Exec(t.Context(), client, keys, text)
			if answer, err := result.AsIntSlice(); err == nil {
				return answer
			}
			n, err := result.AsInt64()
			if err != nil {
				r.Fatal(err)
			}
			return []int64{n}
		}
		var stored int64 // in the key, 0 for none
		var granted []limiter.Grant
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			// In a fifth of the steps the clock goes back; mostly a bucket fills a little.
			switch rapid.IntRange(0, 4).Draw(r, "time") {
			case 0:
				now -= rapid.Int64Range(0, 2*depth).Draw(r, "back")
				now = max(now, farAhead)
			case 1:
				now += rapid.Int64Range(0, 2*depth).Draw(r, "long")
			default:
				now += rapid.Int64Range(0, max(depth/10, 2)).Draw(r, "short")
			}
			if len(granted) > 0 && rapid.Bool().Draw(r, "give back") {
				g := granted[rapid.IntRange(0, len(granted)-1).Draw(r, "which")]
				n := rapid.Int64Range(1, g.Tokens).Draw(r, "of it")
				want, ttl := p.At(stored, now), int64(1_000_000)
				if age := now - g.At; age >= 0 && age <= ttl && want > now {
					want = max(p.GiveBack(want, now, n, g.At), now)
					if stored = want; want == now {
						stored = 0
					}
				}
				if got := call(giveBack, n, g.At, ttl)[0]; got != want {
					r.Fatalf("%d tokens given back at %d, granted at %d: full at %d, and not %d", n, now, g.At, got, want)
				}
				continue
			}
			need := rapid.Int64Range(1, p.Burst+1).Draw(r, "need")
			want := min(need+rapid.Int64Range(0, p.Burst).Draw(r, "more"), p.Burst+1)
			tat := p.At(stored, now)
			n := min(want, p.Left(tat, now))
			if n < need {
				n = 0
			}
			if n > 0 {
				after, wait := p.Take(tat, now, n)
				if wait != 0 {
					r.Fatalf("of %d tokens that are left %d cannot be had", p.Left(tat, now), n)
				}
				if _, wait := p.Take(tat, now, n+1); n < want && wait == 0 {
					r.Fatalf("more than %d can be had, which are all that are left", n)
				}
				tat = after
			}
			if n > 0 || stored > tat {
				stored = tat
			}
			got := call(grant, need, want)
			if len(got) != 3 || got[0] != n || got[1] != now || got[2] != tat {
				r.Fatalf("%d to %d at %d: %v, and not %v", need, want, now, got, []int64{n, now, tat})
			}
			if n > 0 {
				granted = append(granted, limiter.Grant{Tokens: n, At: now})
			}
			text, err := client.Do(t.Context(), client.B().Get().Key(keys[0]).Build()).ToString()
			if want := fmt.Sprint(stored, " ", depth); text != want && stored > 0 || err != nil && !rueidis.IsRedisNil(err) {
				r.Fatalf("%q is written down, and not %q: %v", text, want, err)
			}
			if stored > 0 { // until then, and less than a millisecond longer
				at, err := client.Do(t.Context(), client.B().Pexpiretime().Key(keys[0]).Build()).AsInt64()
				if err != nil || at*1000 < stored || at*1000 >= stored+1000 {
					r.Fatalf("a bucket that is full at %d is forgotten at %d ms, %v", stored, at, err)
				}
			}
		}
	})
}
