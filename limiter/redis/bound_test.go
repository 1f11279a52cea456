package redis

import (
	"context"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"pgregory.net/rapid"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/redisconn"
)

// clocked is a script that takes its time from keys of the test's, and not from the
// server's clock.
func clocked(t *testing.T, text string) redisconn.Script {
	t.Helper()
	const clock = "redis.call('TIME')"
	if strings.Count(text, clock) != 1 {
		t.Fatal("a script does not ask for the time once")
	}
	return redisconn.NewScript(strings.Replace(text, clock, "redis.call('MGET', 'seconds', 'micros')", 1))
}

// farAhead is when clocks of tests begin, or keys would expire meanwhile.
const farAhead = 3_000_000_000_000_000 // µs: in 2065

func setClock(t *testing.T, s *Source, now int64) {
	t.Helper()
	_, err := redisconn.Do(t.Context(), s.conn, func(ctx context.Context, c rueidis.Client) (string, error) {
		set := c.B().Mset().KeyValue().KeyValue("seconds", number(now/1_000_000)).KeyValue("micros", number(now%1_000_000)).Build()
		return c.Do(ctx, set).ToString()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// bucketModel is a bucket as one thinks of it: so many tokens, of which more come with time. It shares
// nothing with the arithmetic of the scripts.
type bucketModel struct {
	level, most, perMicro *big.Rat
	at                    int64
}

func (b *bucketModel) pass(now int64) {
	more := new(big.Rat).Mul(b.perMicro, new(big.Rat).SetInt64(now-b.at))
	if b.level.Add(b.level, more).Cmp(b.most) > 0 {
		b.level.Set(b.most)
	}
	b.at = now
}

func (b *bucketModel) floor() int64 {
	return new(big.Int).Div(b.level.Num(), b.level.Denom()).Int64()
}

// What a source grants, less what it is given back, is at most burst + rate × W in any
// window W of the server's clock, and what fills in a microsecond, the unit to which a bucket's
// depth is rounded up.
func TestTheBound(t *testing.T) {
	t.Parallel()
	s := calm(t, redistest.Start(t).URL())
	s.grant, s.giveBack = clocked(t, grantText), clocked(t, returnText)
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		window := time.Duration(rapid.Int64Range(1, 3_600_000_000).Draw(r, "window")) * time.Microsecond
		limit := rapid.Int64Range(1, 5000).Draw(r, "limit")
		burst := rapid.Int64Range(1, 200).Draw(r, "burst")
		p, err := limiter.NewPolicy("p", limit, window, burst, limiter.FailLocal)
		if err != nil {
			r.Skip(err)
		}
		n++
		now := int64(farAhead)
		rate := new(big.Rat).SetFrac64(limit, window.Microseconds())
		perToken := window.Microseconds()/limit + 1

		type given struct{ at, net int64 }
		var all []given
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			now += rapid.SampledFrom([]int64{0, 1, perToken / 2, perToken, 3 * perToken, 100_000, 400_000, burst * perToken}).Draw(r, "pause")
			setClock(t, s, now)
			if len(all) > 0 && rapid.IntRange(0, 3).Draw(r, "give back") == 0 {
				g := &all[rapid.IntRange(max(len(all)-3, 0), len(all)-1).Draw(r, "which")]
				if g.net == 0 {
					continue
				}
				back := rapid.Int64Range(1, g.net).Draw(r, "of it")
				if err := s.Return(t.Context(), []limiter.Unspent{{Policy: p, ID: id(n), Tokens: back, At: g.at}}); err != nil {
					r.Fatal(err)
				}
				if now-g.at <= limiter.LeaseTTL.Microseconds() {
					g.net -= back // and if it is not believed, still nobody has used it
				}
				continue
			}
			need := rapid.Int64Range(1, burst).Draw(r, "need")
			want := need + rapid.Int64Range(0, burst).Draw(r, "more")
			g, err := s.Grant(t.Context(), p, id(n), need, want)
			if err != nil {
				r.Fatal(err)
			}
			if g.At != now || g.Tokens != 0 && (g.Tokens < need || g.Tokens > want) || g.Full < now {
				r.Fatalf("%d to %d at %d: %+v", need, want, now, g)
			}
			all = append(all, given{now, g.Tokens})
		}

		for i := range all {
			sum := int64(0)
			for j := i; j < len(all); j++ {
				sum += all[j].net
				most := new(big.Rat).Mul(rate, new(big.Rat).SetInt64(all[j].at-all[i].at+1))
				most.Add(most, new(big.Rat).SetInt64(burst))
				if new(big.Rat).SetInt64(sum).Cmp(most) > 0 {
					r.Fatalf("%d tokens in %d µs, at most %s: %v", sum, all[j].at-all[i].at, most.FloatString(3), all)
				}
			}
		}
	})
}

// Without returns, a source grants what a bucket has, but for what is rounded: less than a
// thousandth of what comes back, and a microsecond for each grant; and a microsecond for the depth
// the other way.
func TestItGrantsAllThatItMay(t *testing.T) {
	t.Parallel()
	s := calm(t, redistest.Start(t).URL())
	s.grant = clocked(t, grantText)
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		window := time.Duration(rapid.Int64Range(1000, 3_600_000_000).Draw(r, "window")) * time.Microsecond
		limit := rapid.Int64Range(1, 5000).Draw(r, "limit")
		burst := rapid.Int64Range(1, 200).Draw(r, "burst")
		p, err := limiter.NewPolicy("all", limit, window, burst, limiter.FailLocal)
		if err != nil {
			r.Skip(err)
		}
		n++
		now := int64(farAhead)
		span, tokens, _ := p.Central()
		slow := new(big.Rat).SetFrac64(tokens, span)
		depth := new(big.Rat).Add(new(big.Rat).SetInt64(burst), slow) // what it may hold
		m := &bucketModel{new(big.Rat).Set(depth), depth, slow, now}
		perToken := window.Microseconds()/limit + 1
		for step := range rapid.IntRange(1, 25).Draw(r, "steps") {
			now += rapid.SampledFrom([]int64{0, 1, perToken / 2, perToken, 3 * perToken, 100_000, burst * perToken}).Draw(r, "pause")
			setClock(t, s, now)
			m.pass(now)
			want := rapid.Int64Range(1, burst).Draw(r, "want")
			g, err := s.Grant(t.Context(), p, id(n), 1, want)
			if err != nil {
				r.Fatal(err)
			}
			// Rounding costs a microsecond of filling for each grant, one for the size, and one that the
			// model has for the depth and the bucket may not.
			lost := new(big.Rat).Mul(slow, new(big.Rat).SetInt64(int64(step)+3))
			least := new(big.Rat).Sub(m.level, lost)
			low := new(big.Int).Div(least.Num(), least.Denom()).Int64()
			if g.Tokens > min(want, m.floor()) || g.Tokens < min(want, low) {
				r.Fatalf("step %d: %d of at most %d granted, and there were %s", step, g.Tokens, want, m.level.FloatString(3))
			}
			m.level.Sub(m.level, new(big.Rat).SetInt64(g.Tokens))
			if fill := new(big.Rat).Mul(slow, new(big.Rat).SetInt64(g.Full-now)); new(big.Rat).Add(fill, m.level).Cmp(m.most) < 0 && m.level.Cmp(m.most) < 0 {
				missing := new(big.Rat).Sub(m.most, new(big.Rat).Add(fill, m.level))
				if missing.Cmp(lost) > 0 {
					r.Fatalf("full at %d, when %s are missing", g.Full, missing.FloatString(3))
				}
			}
		}
	})
}

// A bucket whose server's clock is set back, by a step or in a failover, is empty for as
// long as it takes to fill, and not until the clock has caught up.
func TestAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	s := calm(t, redistest.Start(t).URL())
	s.grant, s.giveBack = clocked(t, grantText), clocked(t, returnText)
	p := policy(t, "p", 10, 10*time.Second, 0)
	const hour = 3_600_000_000
	now := int64(farAhead)
	setClock(t, s, now)
	g := grant(t, s, p, id(1), 5, 5)
	for range 3 {
		now -= hour
		setClock(t, s, now)
		if err := s.Return(t.Context(), []limiter.Unspent{{Policy: p, ID: id(1), Tokens: 5, At: g.At}}); err != nil {
			t.Fatal(err)
		}
		if g := grant(t, s, p, id(1), 1, 1); g.Tokens != 0 || g.Full != now+10_000_000 {
			t.Fatalf("right after it: %+v", g)
		}
		now += 3_000_000
		setClock(t, s, now)
		if g := grant(t, s, p, id(1), 1, 10); g.Tokens != 3 {
			t.Fatalf("3 s later: %+v", g)
		}
	}
	now += hour
	setClock(t, s, now)
	if g := grant(t, s, p, id(1), 1, 20); g.Tokens != 10 {
		t.Fatalf("when it has caught up: %+v", g)
	}
}

// Two hosts have different rules of one name, as while a change is rolled out: what the one
// refuses makes nothing free for the other, and a debt is what it is for both.
func TestTwoRulesOfOneName(t *testing.T) {
	t.Parallel()
	s := calm(t, redistest.Start(t).URL())
	s.grant = clocked(t, grantText)
	wide, narrow := policy(t, "p", 10, 10*time.Second, 10), policy(t, "p", 10, 10*time.Second, 2)
	now := int64(farAhead)
	setClock(t, s, now)
	if g := grant(t, s, wide, id(1), 1, 10); g.Tokens != 10 {
		t.Fatalf("a full bucket: %+v", g)
	}
	for range 3 {
		if g := grant(t, s, narrow, id(1), 1, 1); g.Tokens != 0 {
			t.Fatalf("the narrow rule: %+v", g)
		}
		if g := grant(t, s, wide, id(1), 1, 1); g.Tokens != 0 {
			t.Fatalf("the wide rule, after the narrow one has refused: %+v", g)
		}
	}
	setClock(t, s, now+9_000_000)
	if g := grant(t, s, narrow, id(1), 1, 2); g.Tokens != 1 {
		t.Fatalf("the narrow rule, when the debt is nearly over: %+v", g)
	}
}
