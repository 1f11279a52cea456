// Package histogram counts how many values there were up to each of some bounds, as
// Prometheus reads it: what percentiles are computed of, over all processes together.
package histogram

import (
	"sync/atomic"
	"time"
)

// Most is how many bounds there may be.
const Most = 15

// Bounds are upper bounds, each within its bucket, in rising order. They do not change when
// something has been counted.
type Bounds struct {
	upper [Most]uint64
	n     int
	per   float64 // how many are 1 of what is told
}

// Durations are the bounds of all durations, so that they can be compared, in seconds: 0.5 ms to
// 10 s, each about twice the one before.
var Durations = Bounds{
	upper: [Most]uint64{
		500e3, 1e6, 2500e3, 5e6, 10e6, 25e6, 50e6, 100e6, 250e6, 500e6, 1000e6, 2500e6, 5000e6, 10_000e6,
	},
	n: 14, per: 1e9,
}

// Numbers are bounds of numbers that differ by much: 1, 10, 100 and so on, with 3 of each in between.
var Numbers = Bounds{
	upper: [Most]uint64{1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000},
	n:     13, per: 1,
}

// Histogram counts values. Its methods may be used by several goroutines at once; none of them
// waits for another, or allocates. The zero value is not one: see [Histogram.Begin].
type Histogram struct {
	bounds *Bounds
	counts [Most + 1]atomic.Uint64 // of values in each bucket, alone; the last is beyond all bounds
	sum    atomic.Uint64
}

// Begin gives h its bounds. It is called once, before h is used.
func (h *Histogram) Begin(b *Bounds) { h.bounds = b }

// Observe counts a value.
func (h *Histogram) Observe(v uint64) {
	b := h.bounds
	i := 0
	for i < b.n && v > b.upper[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(v)
}

// Since counts how long ago began is. A clock that went back is nothing.
func (h *Histogram) Since(began time.Time) { h.Duration(time.Since(began)) }

// Duration counts a duration, in a histogram of Durations.
func (h *Histogram) Duration(d time.Duration) { h.Observe(uint64(max(d, 0))) }

// Snapshot is what a histogram has counted at a moment.
type Snapshot struct {
	Bounds []float64 // in the unit that is told: seconds, of durations
	Counts []uint64  // of values up to each of the bounds; not of those alone in its bucket
	Count  uint64    // of all
	Sum    float64
}

// Snapshot reads h. What is counted meanwhile may be in some of it and not in the rest, but Count
// is that of all buckets. Several are taken together: they are of one kind.
func (h *Histogram) Snapshot(others ...*Histogram) (s Snapshot) {
	b := h.bounds
	s.Bounds, s.Counts = make([]float64, b.n), make([]uint64, b.n)
	sum := uint64(0)
	for i := range b.n {
		s.Bounds[i] = float64(b.upper[i]) / b.per
	}
	for _, one := range append([]*Histogram{h}, others...) {
		below := uint64(0)
		for i := range b.n {
			below += one.counts[i].Load()
			s.Counts[i] += below
		}
		s.Count += below + one.counts[b.n].Load()
		sum += one.sum.Load()
	}
	s.Sum = float64(sum) / b.per
	return s
}
