package limiter_test

import (
	"context"
	"testing"
	"time"

	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/limitertest"
	"github.com/nekoctl/neko/limiter/redis"
	"github.com/nekoctl/neko/limiter/redis/redistest"
	"github.com/nekoctl/neko/logtext"
)

func TestShared(t *testing.T) {
	sharedSuite(func(*testing.T) func() limiter.Source {
		bank := limiter.NewBank()
		return func() limiter.Source { return bank }
	}).Run(t)
}

func TestSharedByRedis(t *testing.T) {
	server := redistest.Start(t)
	suite := sharedSuite(func(t *testing.T) func() limiter.Source {
		server.Do(t, "FLUSHALL")
		return func() limiter.Source {
			source, err := redis.New(context.Background(), server.URL(), redis.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return source
		}
	})
	suite.Run(t)
}

// sharedSuite is for limiters by sources of one that has not been charged.
func sharedSuite(begin func(*testing.T) func() limiter.Source) limitertest.Suite {
	open := func(t *testing.T, n int) []limiter.Limiter {
		source, dir := begin(t), t.TempDir()
		var limiters []limiter.Limiter
		for range n {
			m, err := hostmem.Open(dir, 0)
			if err != nil {
				t.Fatal(err)
			}
			l, err := limiter.NewSharedWithin(2*time.Second, m, source(), logtext.Logger(t.Output()))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				if err := l.Close(ctx); err != nil {
					t.Error(err)
				}
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			})
			limiters = append(limiters, l)
		}
		return limiters
	}
	return limitertest.Suite{Open: open, Slack: limiter.LeaseTTL}
}
