package monit

import (
	"math"
	"slices"
	"time"
)

// Rates are over the last seconds, and what needs many requests to be true (percentiles,
// ratios) over more of them.
const (
	rateWindow  = 3 * time.Second
	ratioWindow = 10 * time.Second
)

// sparkLength is how many values of the past are kept for the small curves.
const sparkLength = 120

// step is what has happened between two samples.
type step struct {
	elapsed time.Duration
	counts  [nCounts]figure
	buckets []bucket
}

// history is what happened lately to a worker, or to all of an app.
type history struct {
	steps []step // the latest last, for ratioWindow
	cpu   []float64
	rate  []float64 // requests a second
}

func (h *history) push(s step) {
	h.steps = append(h.steps, s)
	var span time.Duration
	for i := len(h.steps) - 1; i >= 0; i-- {
		if span += h.steps[i].elapsed; span >= ratioWindow {
			h.steps = slices.Delete(h.steps, 0, i)
			break
		}
	}
}

func remember(values []float64, v float64) []float64 {
	if len(values) >= sparkLength {
		values = append(values[:0], values[1:]...)
	}
	return append(values, v)
}

// within is the sum of the latest steps that together are as long as the window.
func (h *history) within(window time.Duration) (sum step) {
	for i := len(h.steps) - 1; i >= 0 && sum.elapsed < window; i-- {
		sum.add(h.steps[i])
		sum.elapsed += h.steps[i].elapsed
	}
	return sum
}

func (s *step) add(other step) {
	for i, c := range other.counts {
		if c.is {
			s.counts[i].add(c.v)
		}
	}
	for _, b := range other.buckets {
		bucketOf(&s.buckets, b.bound).count += b.count
	}
}

// perSecond is a count as a rate.
func (s *step) perSecond(what int) Value {
	if c := s.counts[what]; c.is && s.elapsed > 0 {
		return some(c.v / s.elapsed.Seconds())
	}
	return Value{}
}

// ratio is of what share of a count is also in another.
func (s *step) ratio(part, all int) Value {
	if whole := s.counts[all]; whole.is && whole.v > 0 {
		return some(s.counts[part].v / whole.v)
	}
	return Value{}
}

// quantile is below what a share q of the durations were, as Prometheus's
// histogram_quantile has it: evenly spread within a bucket. What took longer than the
// last bound is said to have taken that long.
func (s *step) quantile(q float64) Value {
	total := 0.0
	for _, b := range s.buckets {
		total += b.count
	}
	if total == 0 {
		return Value{}
	}
	rank, below, lower := q*total, 0.0, 0.0
	for i, b := range s.buckets {
		if below+b.count >= rank && b.count > 0 {
			if i == len(s.buckets)-1 && b.bound > 1e300 {
				break
			}
			v := some(lower + (b.bound-lower)*(rank-below)/b.count)
			if lower == 0 { // the first bucket, which has no lower bound to go by
				v.under = b.bound
			}
			return v
		}
		below += b.count
		if b.bound < 1e300 {
			lower = b.bound
		}
	}
	return some(lower)
}

// tracker makes rates of what is counted. Its rule is that nothing is guessed, and
// nothing is counted twice or backwards: a process is compared with itself only, and of
// one that is new, what it has counted in its life is spread evenly over that, of which the
// part since the sample before is taken.
type tracker struct {
	at      time.Time // of the last sample
	workers map[worker]*tracked
	apps    map[string]*history
}

type tracked struct {
	reading *reading
	at      time.Time
	history
}

// take brings in a sample. Whoever is no more is to be forgotten by forget.
func (t *tracker) take(at time.Time, all map[worker]*reading) {
	if t.workers == nil {
		t.workers, t.apps = map[worker]*tracked{}, map[string]*history{}
	}
	elapsed := at.Sub(t.at)
	first := t.at.IsZero() || elapsed <= 0
	sums := map[string]*step{}
	for w, r := range all {
		one := t.workers[w]
		if one == nil {
			one = &tracked{}
			t.workers[w] = one
		}
		if !first {
			s := one.since(r, at, elapsed)
			one.push(s)
			if sums[w.app] == nil {
				sums[w.app] = &step{elapsed: elapsed}
			}
			sums[w.app].add(s)
		}
		one.reading, one.at = r, at
	}
	for w, one := range t.workers { // between two processes, or it tells nothing
		if all[w] == nil && !first {
			one.push(step{elapsed: elapsed})
		}
	}
	for app, sum := range sums {
		if t.apps[app] == nil {
			t.apps[app] = &history{}
		}
		t.apps[app].push(*sum)
	}
	for app, h := range t.apps {
		if sums[app] == nil && !first {
			h.push(step{elapsed: elapsed})
		}
	}
	t.at = at
}

// forget leaves out the workers that are not kept.
func (t *tracker) forget(keep func(worker) bool) {
	kept := map[string]bool{}
	for w := range t.workers {
		if keep(w) {
			kept[w.app] = true
		} else {
			delete(t.workers, w)
		}
	}
	for app := range t.apps {
		if !kept[app] {
			delete(t.apps, app)
		}
	}
}

// sameStart is how far apart two masters may see the start of one process, in seconds.
const sameStart = 0.02

// since is what has happened to a worker in the time before at.
func (one *tracked) since(r *reading, at time.Time, elapsed time.Duration) step {
	s := step{elapsed: elapsed}
	if !r.told {
		return s
	}
	before, share := one.reading, 1.0
	if before == nil || !before.told || math.Abs(before.started-r.started) > sameStart {
		before = &reading{}
		age := float64(at.UnixNano())/1e9 - r.started
		switch {
		case r.started == 0:
			share = 0
		case age > elapsed.Seconds():
			share = elapsed.Seconds() / age
		}
	} else if gap := at.Sub(one.at); gap > elapsed {
		share = float64(elapsed) / float64(gap)
	}
	for i, c := range r.counts {
		if c.is {
			s.counts[i] = figure{share * max(0, c.v-before.counts[i].v), true}
		}
	}
	for i, b := range r.buckets {
		if i < len(before.buckets) && before.buckets[i].bound == b.bound {
			b.count = max(0, b.count-before.buckets[i].count)
		}
		b.count *= share
		s.buckets = append(s.buckets, b)
	}
	return s
}
