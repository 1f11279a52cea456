package monit

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Value is a figure that may not be there. As JSON it is a number.
type Value struct {
	v  float64
	is bool
	// under is not 0 where v is a guess, of which only that bound above it is known.
	under float64
}

func some(v float64) Value { return Value{v: v, is: true} }

// IsZero says that there is no figure; 0 is one.
func (v Value) IsZero() bool { return !v.is }

// MarshalJSON writes six digits after the point at most.
func (v Value) MarshalJSON() ([]byte, error) {
	if !v.is {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, math.Round(v.v*1e6)/1e6, 'f', -1, 64), nil
}

// Figures are those of a worker, or the sums over an app's. What is not there is not
// known, or was not told. Rates are over the last 3 seconds; durations, of which
// nothing is known better than by the bounds of a histogram, and ratios over the last 10.
type Figures struct {
	CPUPercent             Value     `json:"cpu_percent,omitzero"` // of one CPU
	MemoryBytes            Value     `json:"memory_bytes,omitzero"`
	RequestsPerSecond      Value     `json:"requests_per_second,omitzero"` // but those of probes
	FailuresPerSecond      Value     `json:"failures_per_second,omitzero"` // with a status of 500 and above
	P50Seconds             Value     `json:"p50_seconds,omitzero"`
	P99Seconds             Value     `json:"p99_seconds,omitzero"`
	InFlight               Value     `json:"in_flight,omitzero"`
	Connections            Value     `json:"connections,omitzero"`
	SentBytesPerSecond     Value     `json:"sent_bytes_per_second,omitzero"`
	CacheHitRatio          Value     `json:"cache_hit_ratio,omitzero"` // 0 to 1
	AllowedPerSecond       Value     `json:"allowed_per_second,omitzero"`
	DeniedPerSecond        Value     `json:"denied_per_second,omitzero"`
	RejectedPerSecond      Value     `json:"operations_rejected_per_second,omitzero"`
	FailedPerSecond        Value     `json:"operations_failed_per_second,omitzero"`
	QueueLength            Value     `json:"queue_length,omitzero"` // connections that wait to be accepted
	QueueMax               Value     `json:"queue_max,omitzero"`
	Draining               Value     `json:"draining,omitzero"` // processes that finish what they serve
	Goroutines             Value     `json:"goroutines,omitzero"`
	HeapBytes              Value     `json:"heap_bytes,omitzero"`
	GCPerSecond            Value     `json:"gc_per_second,omitzero"`
	GCPauseSecondsPerCycle Value     `json:"gc_pause_seconds,omitzero"`
	OpenFiles              Value     `json:"open_files,omitzero"`
	MaxFiles               Value     `json:"max_files,omitzero"`
	Breakers               []Breaker `json:"breakers,omitempty"`
	Custom                 []Custom  `json:"custom,omitempty"` // what a program of Node's tells by @pm2/io

	cpu, rate []float64 // of the past, for a small curve
}

// Custom is a metric that a program has defined itself.
type Custom struct {
	Name  string `json:"name"`
	Value string `json:"value"` // as it was told
	Unit  string `json:"unit,omitempty"`
}

// fill takes rates from what has happened.
func (f *Figures) fill(h *history) {
	if h == nil {
		return
	}
	now, lately := h.within(rateWindow), h.within(ratioWindow)
	for what, to := range map[int]*Value{
		requests: &f.RequestsPerSecond, failures: &f.FailuresPerSecond, sentBytes: &f.SentBytesPerSecond, allowed: &f.AllowedPerSecond,
		denied: &f.DeniedPerSecond, rejected: &f.RejectedPerSecond, failed: &f.FailedPerSecond, gcRuns: &f.GCPerSecond,
	} {
		*to = now.perSecond(what)
	}
	f.CacheHitRatio = lately.ratio(cacheHits, cacheAll)
	f.GCPauseSecondsPerCycle = lately.ratio(gcPause, gcRuns)
	f.P50Seconds, f.P99Seconds = lately.quantile(0.5), lately.quantile(0.99)
	f.cpu, f.rate = h.cpu, h.rate
}

func (f *Figures) gauges() [nGauges]*Value {
	return [nGauges]*Value{
		inFlight: &f.InFlight, connections: &f.Connections, goroutines: &f.Goroutines, heap: &f.HeapBytes, openFiles: &f.OpenFiles,
		maxFiles: &f.MaxFiles, queueLength: &f.QueueLength, queueMax: &f.QueueMax, draining: &f.Draining,
	}
}

// read takes what is so at the moment.
func (f *Figures) read(r *reading) {
	if r == nil {
		return
	}
	for i, to := range f.gauges() {
		if g := r.gauges[i]; g.is {
			*to = some(g.v)
		}
	}
	f.Breakers = r.breaker
}

// sum adds the figures of a worker that are no rates to those of its app.
func (f *Figures) sum(other *Figures) {
	theirs := other.gauges()
	plus := func(to *Value, v Value) {
		if v.is {
			*to = some(to.v + v.v)
		}
	}
	for i, to := range f.gauges() {
		plus(to, *theirs[i])
	}
	plus(&f.CPUPercent, other.CPUPercent)
	plus(&f.MemoryBytes, other.MemoryBytes)
	for _, b := range other.Breakers {
		i := slices.IndexFunc(f.Breakers, func(one Breaker) bool { return one.Name == b.Name })
		if i < 0 {
			i = len(f.Breakers)
			f.Breakers = append(f.Breakers, Breaker{Name: b.Name, State: breakerStates[0]})
		}
		if slices.Index(breakerStates, b.State) > slices.Index(breakerStates, f.Breakers[i].State) {
			f.Breakers[i].State = b.State
		}
		if b.State != breakerStates[0] {
			f.Breakers[i].Workers++
		}
	}
}

// customOf are the metrics of a program of Node's, by name.
func customOf(metrics map[string]json.RawMessage) (list []Custom) {
	for name, text := range metrics {
		var m struct {
			Value any    `json:"value"`
			Unit  string `json:"unit"`
		}
		if json.Unmarshal(text, &m) != nil || m.Value == nil {
			continue
		}
		c := Custom{Name: name, Unit: m.Unit}
		switch v := m.Value.(type) {
		case string:
			c.Value = v
		case float64:
			c.Value = strconv.FormatFloat(v, 'f', -1, 64)
		default:
			c.Value = string(text)
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Custom) int { return strings.Compare(a.Name, b.Name) })
	return list
}
