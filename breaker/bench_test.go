package breaker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/failsafe-go/failsafe-go/timeout"
)

func answer(context.Context) (int, error) { return 1, nil }

// A call while all is well, beside the plain call and beside failsafe-go's own executors.
func BenchmarkClosed(b *testing.B) {
	request, cancel := context.WithTimeout(b.Context(), time.Hour) // of a worker's operation
	defer cancel()
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = answer(request)
		}
	})
	b.Run("goroutine with a timeout", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ctx, cancel := context.WithTimeout(request, 3*time.Second)
			done := make(chan int, 1)
			go func() {
				v, _ := answer(ctx)
				done <- v
			}()
			select {
			case <-done:
			case <-ctx.Done():
			}
			cancel()
		}
	})
	b.Run("Do", func(b *testing.B) {
		p := mustNew(b, Options{Name: "b"})
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Do(request, p, Idempotent, answer)
		}
	})
	b.Run("Do on a host", func(b *testing.B) {
		p := mustNew(b, Options{Name: "b", Host: newTestHost(b)})
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Do(request, p, Idempotent, answer)
		}
	})
	b.Run("failsafe-go", func(b *testing.B) {
		policies := failsafe.With[int](
			retrypolicy.NewBuilder[int]().WithMaxRetries(2).WithBackoff(50*time.Millisecond, time.Second).Build(),
			circuitbreaker.NewBuilder[int]().WithFailureRateThreshold(0.5, 20, 10*time.Second).WithDelay(30*time.Second).WithSuccessThreshold(1).Build(),
			bulkhead.NewBuilder[int](64).WithMaxWaitTime(time.Second).Build(),
			timeout.New[int](3*time.Second))
		b.ReportAllocs()
		for b.Loop() {
			_, _ = policies.WithContext(request).GetWithExecution(func(e failsafe.Execution[int]) (int, error) { return answer(e.Context()) })
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	for _, host := range []*Host{nil, newTestHost(b)} {
		name := "alone"
		if host != nil {
			name = "host"
		}
		b.Run(name, func(b *testing.B) {
			p := mustNew(b, Options{Name: "b", Host: host, OpenFor: time.Hour})
			for range 20 {
				_, _ = Do(b.Context(), p, Once, func(context.Context) (int, error) { return 0, errors.New("away") })
			}
			if p.State() != Open {
				b.Fatal(p.State())
			}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Do(b.Context(), p, Idempotent, answer)
			}
		})
	}
}
