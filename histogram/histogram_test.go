package histogram_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nekoctl/neko/histogram"
)

// A histogram says of each bound how many of the values were not above it.
func TestCountsAreOfWhatWasObserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hs [2]histogram.Histogram
		hs[0].Begin(&histogram.Durations)
		hs[1].Begin(&histogram.Durations)
		values := rapid.SliceOf(rapid.OneOf(
			rapid.Uint64Range(0, 20_000_000_000),
			rapid.SampledFrom([]uint64{0, 500_000, 500_001, 10_000_000_000, 10_000_000_001, 1}),
		)).Draw(t, "values")
		sum := 0.0
		for i, v := range values {
			hs[i%2].Observe(v)
			sum += float64(v) / 1e9
		}
		s := hs[0].Snapshot(&hs[1])
		if !slices.IsSorted(s.Bounds) || s.Bounds[0] != 0.0005 || s.Bounds[len(s.Bounds)-1] != 10 {
			t.Fatal(s.Bounds)
		}
		if s.Count != uint64(len(values)) || s.Sum < sum*0.999999 || s.Sum > sum*1.000001 {
			t.Fatalf("%d values, %v together; not %d, %v", s.Count, s.Sum, len(values), sum)
		}
		for i, bound := range s.Bounds {
			n := uint64(0)
			for _, v := range values {
				if float64(v)/1e9 <= bound {
					n++
				}
			}
			if s.Counts[i] != n {
				t.Fatalf("%d are not above %v, and not %d", s.Counts[i], bound, n)
			}
		}
	})
}

// Who observes at the same time is counted, each once.
func TestManyAtOnce(t *testing.T) {
	var h histogram.Histogram
	h.Begin(&histogram.Numbers)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 10_000 {
				h.Observe(rand.Uint64N(3_000_000))
			}
		})
	}
	last := uint64(0)
	for range 100 {
		s := h.Snapshot()
		if s.Count < last || !slices.IsSorted(s.Counts) || s.Counts[len(s.Counts)-1] > s.Count {
			t.Fatal(s)
		}
		last = s.Count
	}
	all.Wait()
	if s := h.Snapshot(); s.Count != 40_000 {
		t.Error(s)
	}
}

// A clock that went back has not made anything wait for centuries.
func TestNoTimeIsNegative(t *testing.T) {
	var h histogram.Histogram
	h.Begin(&histogram.Durations)
	h.Since(time.Now().Add(time.Hour))
	if s := h.Snapshot(); s.Sum != 0 || s.Counts[0] != 1 {
		t.Error(s)
	}
}

func BenchmarkObserve(b *testing.B) {
	var h histogram.Histogram
	h.Begin(&histogram.Durations)
	b.ReportAllocs()
	for b.Loop() {
		h.Observe(3_000_000)
	}
}
