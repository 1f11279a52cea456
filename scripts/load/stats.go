package load

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Kind sorts errors by what the client saw.
type Kind string

const (
	KindRefused   Kind = "refused"   // nobody listens
	KindReset     Kind = "reset"     // the connection was reset
	KindEOF       Kind = "eof"       // it ended before the end of an answer's header
	KindTimeout   Kind = "timeout"   // no complete answer in time
	KindTruncated Kind = "truncated" // it ended within an answer's body
	KindStatus    Kind = "status"    // another status than wanted; by code in Report.Statuses
	KindCheck     Kind = "check"     // Config.Check found something wrong
	KindOther     Kind = "other"     // no HTTP, no address, no descriptor, …
)

// Error is the error of one request.
type Error struct {
	Kind Kind
	Err  error
}

func (e *Error) Error() string { return string(e.Kind) + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// samplesPerKind is how many errors of each kind a report shows.
const samplesPerKind = 5

// Sample is one of the first errors of its kind.
type Sample struct {
	AtMS float64 `json:"at_ms"` // since the start of the run, when it was noticed
	Kind Kind    `json:"kind"`
	Text string  `json:"text"`
}

// Report is what a run has seen.
type Report struct {
	URL     string  `json:"url"`
	Mode    Mode    `json:"mode"`
	Clients int     `json:"clients"`
	Seconds float64 `json:"seconds"`
	// Requests is OK and all Errors.
	Requests   int64          `json:"requests"`
	OK         int64          `json:"ok"`
	Errors     map[Kind]int64 `json:"errors"`
	Statuses   map[int]int64  `json:"statuses"` // of all answers with a complete header
	PerSecond  float64        `json:"per_second"`
	Latency    Latency        `json:"latency_ms"`
	LongestGap Gap            `json:"longest_gap"`
	// Connections is how many were opened, IdleCloses how many of them the
	// server closed between two requests, if Config.LookBeforeReuse.
	Connections int64 `json:"connections"`
	IdleCloses  int64 `json:"idle_closes"`
	// By counts successes by process, as told by Config.Who.
	By      map[string]int64 `json:"by,omitempty"`
	Samples []Sample         `json:"samples,omitempty"`
}

// Latency is of successes only, in milliseconds; quantiles are right to 3 %.
type Latency struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Gap is the longest time in which no request succeeded: the outage. Think
// times are in it, so it means something only if there are enough clients.
type Gap struct {
	AtMS float64 `json:"at_ms"` // its beginning, since the start of the run
	MS   float64 `json:"ms"`
}

// Failed tells whether anything but success was seen, or nothing at all.
func (r Report) Failed() bool { return r.OK == 0 || r.OK != r.Requests }

// Failures is the number of errors of the given kinds, of all if none is given.
func (r Report) Failures(kinds ...Kind) int64 {
	if len(kinds) == 0 {
		return r.Requests - r.OK
	}
	var n int64
	for _, k := range kinds {
		n += r.Errors[k]
	}
	return n
}

// String is the report for people, several lines.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d clients, %s, %.1f s\n", r.URL, r.Clients, r.Mode, r.Seconds)
	fmt.Fprintf(&b, "requests  %d, %.0f/s, %d connections", r.Requests, r.PerSecond, r.Connections)
	if r.IdleCloses > 0 {
		fmt.Fprintf(&b, ", %d closed by the server while idle", r.IdleCloses)
	}
	fmt.Fprintf(&b, "\nlatency   p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, max %.2f ms\n",
		r.Latency.P50, r.Latency.P90, r.Latency.P99, r.Latency.Max)
	fmt.Fprintf(&b, "gap       %.1f ms without a success, from %.0f ms on\n", r.LongestGap.MS, r.LongestGap.AtMS)
	fmt.Fprintf(&b, "errors    %d", r.Failures())
	for _, k := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(&b, ", %s %d", k, r.Errors[k])
	}
	b.WriteString("\n")
	if r.Errors[KindStatus] > 0 {
		b.WriteString("statuses ")
		for _, s := range slices.Sorted(maps.Keys(r.Statuses)) {
			fmt.Fprintf(&b, " %d: %d", s, r.Statuses[s])
		}
		b.WriteString("\n")
	}
	if len(r.By) > 0 {
		b.WriteString("by       ")
		for _, w := range slices.Sorted(maps.Keys(r.By)) {
			fmt.Fprintf(&b, " %s: %d (%.1f %%)", w, r.By[w], 100*float64(r.By[w])/float64(max(r.OK, 1)))
		}
		b.WriteString("\n")
	}
	for _, s := range r.Samples {
		fmt.Fprintf(&b, "  %8.1f ms  %-9s  %s\n", s.AtMS, s.Kind, s.Text)
	}
	return b.String()
}

// recorder gathers what all clients of a run see. One mutex for all: it is held
// for some hundred nanoseconds a request.
type recorder struct {
	requests atomic.Int64

	mu          sync.Mutex
	start, stop time.Time // stop is zero while the run lasts
	ok          int64
	errors      map[Kind]int64
	statuses    map[int]int64
	by          map[string]int64
	samples     []Sample
	latency     histogram
	lastOK      time.Time
	gap         time.Duration
	gapAt       time.Time
	connections int64
	idleCloses  int64
}

func (r *recorder) begin() {
	r.start = time.Now()
	r.lastOK = r.start
	r.errors, r.statuses, r.by = map[Kind]int64{}, map[int]int64{}, map[string]int64{}
}

func (r *recorder) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop = time.Now()
}

func (r *recorder) connection() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connections++
}

func (r *recorder) idleClose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idleCloses++
}

func (r *recorder) record(start, end time.Time, status int, who string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests.Add(1)
	if status != 0 {
		r.statuses[status]++
	}
	if err == nil {
		r.ok++
		r.latency.add(end.Sub(start))
		if who != "" {
			r.by[who]++
		}
		if gap := end.Sub(r.lastOK); gap > r.gap {
			r.gap, r.gapAt = gap, r.lastOK
		}
		if end.After(r.lastOK) {
			r.lastOK = end
		}
		return
	}
	kind := KindOther
	if e, ok := errors.AsType[*Error](err); ok {
		kind, err = e.Kind, e.Err
	}
	r.errors[kind]++
	if r.errors[kind] <= samplesPerKind {
		r.samples = append(r.samples, Sample{ms(end.Sub(r.start)), kind, err.Error()})
	}
}

func (r *recorder) report(cfg *Config) Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := r.stop
	if end.IsZero() {
		end = time.Now()
	}
	gap, gapAt := r.gap, r.lastOK
	if open := end.Sub(r.lastOK); open > gap { // nothing has succeeded since
		gap = open
	} else {
		gapAt = r.gapAt
	}
	if gapAt.IsZero() {
		gapAt = r.start
	}
	took := end.Sub(r.start)
	return Report{
		URL: cfg.URL, Mode: cfg.Mode, Clients: cfg.Clients,
		Seconds:     took.Seconds(),
		Requests:    r.requests.Load(),
		OK:          r.ok,
		Errors:      maps.Clone(r.errors),
		Statuses:    maps.Clone(r.statuses),
		PerSecond:   float64(r.ok) / took.Seconds(),
		Latency:     r.latency.summary(),
		LongestGap:  Gap{ms(gapAt.Sub(r.start)), ms(gap)},
		Connections: r.connections,
		IdleCloses:  r.idleCloses,
		By:          maps.Clone(r.by),
		Samples:     slices.Clone(r.samples),
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// histogram counts durations in buckets that are 1/32 of their power of two
// wide.
type histogram struct {
	counts [60 * 32]int64
	n      int64
	max    time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.n++
	h.max = max(h.max, d)
}

func bucket(v uint64) int {
	if v < 32 {
		return int(v)
	}
	shift := bits.Len64(v) - 6 // v>>shift is in [32, 64)
	return (shift+1)*32 + int(v>>shift) - 32
}

// upper is the largest value of bucket i.
func upper(i int) uint64 {
	if i < 32 {
		return uint64(i)
	}
	shift := i/32 - 1
	return (uint64(i%32+32+1) << shift) - 1
}

func (h *histogram) quantile(q float64) time.Duration {
	goal := int64(q*float64(h.n) + 0.5)
	goal = min(max(goal, 1), h.n)
	var seen int64
	for i, c := range h.counts {
		seen += c
		if c > 0 && seen >= goal {
			return min(time.Duration(upper(i)), h.max)
		}
	}
	return 0
}

func (h *histogram) summary() Latency {
	return Latency{P50: ms(h.quantile(.5)), P90: ms(h.quantile(.9)), P99: ms(h.quantile(.99)), Max: ms(h.max)}
}
