package metrics

import (
	"fmt"
	"math"
	"slices"
)

// Distribution is what a histogram or a summary has counted. A summary's has no bounds.
//
// It is a step function: Counts[i] observations were at most Bounds[i]. So two with other
// bounds can be added: what is known of each at a bound of the other's is what it had at
// its own bound below. None is lost, and each is at most counted in a larger bucket than
// it could be.
type Distribution struct {
	Count  float64   `json:"count"`
	Sum    float64   `json:"sum"`
	Bounds []float64 `json:"bounds,omitempty"` // ascending, finite
	Counts []float64 `json:"counts,omitempty"` // ascending, none above Count
}

// largestSum is what the sum of one process may have come to. However many are added, it
// is never infinite: JSON, in which accounts are kept, has no word for that.
const largestSum = 1e200

// check finds what no histogram can have come to.
func (d *Distribution) check() error {
	if !countable(d.Count) || math.IsNaN(d.Sum) || math.Abs(d.Sum) > largestSum {
		return fmt.Errorf("count %v, sum %v is nothing that is counted", d.Count, d.Sum)
	}
	for _, c := range d.Counts {
		if !countable(c) {
			return fmt.Errorf("%v is nothing that is counted", c)
		}
	}
	return nil
}

// at is how many observations are known to be at most x.
func (d *Distribution) at(x float64) float64 {
	i, found := slices.BinarySearch(d.Bounds, x)
	if !found {
		i--
	}
	if i < 0 {
		return 0
	}
	return d.Counts[i]
}

// rise makes counts ascend: a program that reads its buckets while it counts may say
// more of a smaller one than of a larger one.
func (d *Distribution) rise() {
	for i := range d.Counts {
		if i > 0 {
			d.Counts[i] = max(d.Counts[i], d.Counts[i-1])
		}
	}
	if n := len(d.Counts); n > 0 {
		d.Count = max(d.Count, d.Counts[n-1])
	}
}

func (d *Distribution) clone() *Distribution {
	c := *d
	c.Bounds, c.Counts = slices.Clone(d.Bounds), slices.Clone(d.Counts)
	return &c
}

// withBounds has the bounds of both, or if those are too many only d's own.
func (d *Distribution) withBounds(others []float64) {
	if slices.Equal(d.Bounds, others) {
		return
	}
	all := append(slices.Clone(d.Bounds), others...)
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > maxBuckets && len(d.Bounds) > 0 {
		return
	}
	counts := make([]float64, len(all))
	for i, x := range all {
		counts[i] = d.at(x)
	}
	d.Bounds, d.Counts = all, counts
}

// advance adds to total what next has more than told, which is what one process has said
// before and total has already, and returns what it has said now. If next has less in all
// the process has begun to count anew, and all of it is more.
func (total *Distribution) advance(told, next *Distribution) (said *Distribution) {
	if told == nil || next.Count < told.Count {
		told = &Distribution{}
	}
	said = next.clone()
	said.withBounds(told.Bounds)
	for i, x := range said.Bounds {
		said.Counts[i] = max(next.at(x), told.at(x))
	}
	said.rise()
	total.withBounds(said.Bounds)
	for i, x := range total.Bounds {
		total.Counts[i] += max(said.at(x)-told.at(x), 0)
	}
	total.Count += said.Count - told.Count
	total.Sum += next.Sum - told.Sum
	total.rise()
	return said
}
