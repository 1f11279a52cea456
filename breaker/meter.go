package breaker

import (
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// meter counts calls that end, and sees when too many of them have failed. Whenever the
// breaker closes there is a new one, and what calls of before come to counts no more.
type meter struct {
	counts circuitbreaker.CircuitBreaker[any]
	last   atomic.Pointer[error] // what failed last
	began  time.Time
	day    time.Time // the time of day then
}

// maxDrift is how far the time of day may run away from the time that has passed. failsafe-go
// counts by the time of day: when somebody has set that back, nothing grows old
// in its window until it is again what it was.
const maxDrift = time.Second

func (p *Policy) newMeter() *meter {
	m := &meter{began: time.Now()}
	m.day = m.began.Round(0)
	m.counts = circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(p.o.FailureRate, uint(p.o.MinCalls), p.o.Window).
		OnOpen(func(circuitbreaker.StateChangedEvent) {
			var last error
			if err := m.last.Load(); err != nil {
				last = *err
			}
			// What the event itself has others still count in, and nothing locks that.
			now := m.counts.Metrics()
			p.open(m, now.Failures(), now.Executions(), last)
		}).
		Build()
	return m
}

func (m *meter) succeeded() { m.counts.RecordSuccess() }

func (m *meter) failed(p *Policy, err error) {
	now := time.Now()
	if drift := now.Round(0).Sub(m.day) - now.Sub(m.began); drift.Abs() > maxDrift {
		if fresh := p.newMeter(); p.meter.CompareAndSwap(m, fresh) {
			m = fresh
		}
	}
	m.last.Store(&err)
	m.counts.RecordFailure()
}
