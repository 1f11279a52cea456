package limiter_test

import (
	"context"
	"testing"

	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/limitertest"
)

func TestHost(t *testing.T) {
	open := func(t *testing.T, n int) []limiter.Limiter {
		dir := t.TempDir()
		var limiters []limiter.Limiter
		for range n {
			m, err := hostmem.Open(dir, 0)
			if err != nil {
				t.Fatal(err)
			}
			l, err := limiter.NewHost(m)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := l.Close(context.Background()); err != nil {
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
	limitertest.Suite{Open: open, Local: true}.Run(t)
}
