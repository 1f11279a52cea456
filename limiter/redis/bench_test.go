package redis

import (
	"context"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis/redistest"
)

func BenchmarkGrant(b *testing.B) {
	s := calm(b, redistest.Start(b).URL())
	p := policy(b, "p", 1_000_000, time.Second, 0)
	one := func(b *testing.B) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if _, err := s.Grant(ctx, p, limiter.ID{1}, 1, 1); err != nil {
			b.Error(err)
		}
		cancel()
	}
	b.Run("one after the other", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			one(b)
		}
	})
	b.Run("64 at once", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(32) // for each of two CPUs
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				one(b)
			}
		})
	})
}
