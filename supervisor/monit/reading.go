package monit

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/nekoctl/neko/supervisor/metrics"
)

// What is counted of a worker, of all that it tells.
const (
	requests  = iota // but those of probes
	failures         // answered with a status of 500 and above
	sentBytes        // in bodies
	cacheHits        // answers from the cache
	cacheAll         // answers for which it was asked
	allowed          // by rate limits
	denied           // by rate limits
	rejected         // operations that were their clients' fault
	failed           // operations that were not
	gcRuns           // cycles of Go's collector
	gcPause          // seconds that the program stood still for it
	nCounts          // how many there are
)

// What is so at the moment.
const (
	inFlight = iota
	connections
	goroutines
	heap // bytes
	openFiles
	maxFiles
	queueLength
	queueMax
	draining // processes
	nGauges
)

// worker is which process of which app.
type worker struct {
	app  string
	slot int
}

// reading is what the metrics say of a worker at one time.
type reading struct {
	// started is when its process was, in seconds since 1970; 0: that is not known.
	started float64
	// told says that the process itself has told something.
	told bool

	counts  [nCounts]figure
	gauges  [nGauges]figure
	buckets []bucket // of durations, by bound
	breaker []Breaker
}

// figure is one that may not be there.
type figure struct {
	v  float64
	is bool
}

func (f *figure) add(v float64) { f.v, f.is = f.v+v, true }

// bucket counts what took at most so long and longer than the bucket before it allows.
type bucket struct {
	bound float64 // seconds
	count float64
}

// bucketOf finds the bucket with a bound, or makes it.
func bucketOf(list *[]bucket, bound float64) *bucket {
	i, found := slices.BinarySearchFunc(*list, bound, func(b bucket, bound float64) int { return cmp.Compare(b.bound, bound) })
	if !found {
		*list = slices.Insert(*list, i, bucket{bound: bound})
	}
	return &(*list)[i]
}

// Breaker is a circuit breaker of a worker, or of an app: there the worst of its workers.
type Breaker struct {
	Name  string `json:"name"`
	State string `json:"state"` // "CLOSED", "HALF_OPEN", "OPEN"
	// Workers are so many that are not CLOSED; 0 for a worker.
	Workers int `json:"workers,omitempty"`
}

var breakerStates = []string{"CLOSED", "HALF_OPEN", "OPEN"}

func count(what int) func(*reading, *metrics.Scanner) {
	return func(r *reading, s *metrics.Scanner) {
		r.told = true
		r.counts[what].add(s.Value)
	}
}

func gauge(what int) func(*reading, *metrics.Scanner) {
	return func(r *reading, s *metrics.Scanner) { r.gauges[what].add(s.Value) }
}

// wanted are the metrics that are read. docs/metrics.md has all that there are.
var wanted = map[string]func(*reading, *metrics.Scanner){
	"neko_worker_start_time_seconds": func(r *reading, s *metrics.Scanner) { r.started = s.Value },
	"neko_worker_queue_length":       gauge(queueLength),
	"neko_worker_queue_max":          gauge(queueMax),
	"neko_worker_draining":           gauge(draining),

	"neko_http_requests_total": func(r *reading, s *metrics.Scanner) {
		r.told = true
		if string(s.Label("handler")) == "probe" {
			return
		}
		r.counts[requests].add(s.Value)
		if code := s.Label("code"); len(code) == 3 && code[0] == '5' {
			r.counts[failures].add(s.Value)
		} else {
			r.counts[failures].add(0)
		}
	},
	"neko_http_request_duration_seconds_bucket": func(r *reading, s *metrics.Scanner) {
		bound, err := strconv.ParseFloat(string(s.Label("le")), 64)
		if err != nil {
			return
		}
		r.told = true
		bucketOf(&r.buckets, bound).count += s.Value
	},
	"neko_http_response_bytes_total": count(sentBytes),
	"neko_http_requests_in_flight":   gauge(inFlight),
	"neko_http_connections":          gauge(connections),
	"neko_graphql_operations_total": func(r *reading, s *metrics.Scanner) {
		r.told = true
		switch string(s.Label("outcome")) {
		case "rejected":
			r.counts[rejected].add(s.Value)
		case "failed":
			r.counts[failed].add(s.Value)
		}
	},
	"neko_cache_served_total": func(r *reading, s *metrics.Scanner) {
		r.told = true
		r.counts[cacheAll].add(s.Value)
		switch string(s.Label("state")) {
		case "fresh", "stale", "stale_on_error":
			r.counts[cacheHits].add(s.Value)
		}
	},
	"neko_limiter_allowed_total": count(allowed),
	"neko_limiter_denied_total":  count(denied),
	"neko_breaker_state": func(r *reading, s *metrics.Scanner) {
		if i := int(s.Value); i >= 0 && i < len(breakerStates) {
			r.breaker = append(r.breaker, Breaker{Name: string(s.Label("name")), State: breakerStates[i]})
		}
	},
	"go_goroutines":                gauge(goroutines),
	"go_memstats_heap_alloc_bytes": gauge(heap),
	"go_gc_duration_seconds_count": count(gcRuns),
	"go_gc_duration_seconds_sum":   count(gcPause),
	"process_open_fds":             gauge(openFiles),
	"process_max_fds":              gauge(maxFiles),
}

// readMetrics reads an answer to GET /v1/metrics?by=worker. What has no worker is of the
// master, or of an app as a whole, and is not wanted here. A line that makes no sense is
// one figure that is not shown.
func readMetrics(text []byte) map[worker]*reading {
	all := map[worker]*reading{}
	names := map[string]string{} // one string for each app
	for s := metrics.Scan(text); s.NextSample(); {
		take := wanted[string(s.Name)]
		if take == nil || s.Sample() != nil || s.Value-s.Value != 0 { // not a number, or no end of it
			continue
		}
		slot, err := strconv.Atoi(string(s.Label("worker")))
		if err != nil {
			continue
		}
		app, known := names[string(s.Label("app"))]
		if !known {
			app = string(s.Label("app"))
			names[app] = app
		}
		w := worker{app, slot}
		r := all[w]
		if r == nil {
			r = &reading{}
			all[w] = r
		}
		take(r, s)
	}
	for _, r := range all {
		for i := len(r.buckets) - 1; i > 0; i-- { // from "at most" to "between"
			r.buckets[i].count = max(0, r.buckets[i].count-r.buckets[i-1].count)
		}
		slices.SortFunc(r.breaker, func(a, b Breaker) int { return strings.Compare(a.Name, b.Name) })
	}
	return all
}
