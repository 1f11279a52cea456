package redis

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within is a context that ends with the test, and long before the test would.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// connected is a source that has answered.
func connected(t testing.TB, url string) *Source {
	t.Helper()
	s, err := New(context.Background(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	awaitBeat(t, s)
	return s
}

func awaitBeat(t testing.TB, s *Source) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		_, err := s.Beat(within(t, time.Second), "test")
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func policy(t testing.TB, name string, limit int64, window time.Duration, burst int64) *limiter.Policy {
	t.Helper()
	p, err := limiter.NewPolicy(name, limit, window, burst, limiter.FailLocal)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestABucketGivesWhatItHas(t *testing.T) {
	server := redistest.Start(t)
	s := connected(t, server.URL())
	p := policy(t, "p", 10, time.Hour, 0)
	ctx, id := within(t, 10*time.Second), limiter.ID{1}

	for _, step := range []struct{ need, want, tokens int64 }{
		{1, 4, 4},
		{1, 100, 6},
		{1, 1, 0},
	} {
		g, err := s.Grant(ctx, p, id, step.need, step.want)
		if err != nil || g.Tokens != step.tokens {
			t.Fatalf("%d to %d: %+v, %v", step.need, step.want, g, err)
		}
	}
	g, err := s.Grant(ctx, p, limiter.ID{2}, 10, 10)
	if err != nil || g.Tokens != 10 {
		t.Fatalf("another bucket: %+v, %v", g, err)
	}
	if err := s.Return(ctx, []limiter.Unspent{{Policy: p, ID: limiter.ID{2}, Tokens: 7, At: g.At}}); err != nil {
		t.Fatal(err)
	}
	if g, err = s.Grant(ctx, p, limiter.ID{2}, 1, 10); err != nil || g.Tokens != 7 {
		t.Fatalf("what has been given back: %+v, %v", g, err)
	}
}
