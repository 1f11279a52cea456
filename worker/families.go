package worker

import (
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/histogram"
	"github.com/nekoctl/neko/limiter"
)

// family is one of the worker's own families of metrics. One that has cannot be told by every
// worker.
type family struct {
	MetricFamily
	has  func(*Worker) bool // nil: every worker
	read func(*collection)
}

// collection is one answer to who asks for the metrics. What families are read from is read once.
type collection struct {
	Samples
	w        *Worker
	cache    cache.Stats
	limits   limiter.Stats
	policies []string
	process  processState
}

// MetricFamilies are all families that a worker of this package can tell, in the order in which it
// does, but for those of Config.Metrics. They have no Read.
func MetricFamilies() (all []MetricFamily) {
	for _, one := range families() {
		f := one.MetricFamily
		f.Labels = slices.Clone(f.Labels)
		all = append(all, f)
	}
	return all
}

const (
	whenCache        = "with a cache"
	whenLimits       = "with rate limits"
	whenDependencies = "with dependencies"
	whenTLS          = "with TLS"
	whenTraces       = "with traces"
)

func hasCache(w *Worker) bool        { return w.config.Cache != nil }
func hasLimits(w *Worker) bool       { return w.rates != nil }
func hasDependencies(w *Worker) bool { return len(w.dependencies.all) > 0 }
func hasTLS(w *Worker) bool          { return w.cert != nil }
func hasTraces(w *Worker) bool       { _, ok := w.config.Tracer.(traceStats); return ok }

// traceStats is what a Tracer may have, too.
type traceStats interface {
	TraceStats() (exported, dropped uint64)
}

// counter is a family of one series that only grows.
func counter(name, help string, read func(*collection) uint64) family {
	return family{MetricFamily: MetricFamily{Name: name, Help: help, Type: MetricCounter}, read: func(s *collection) { s.count(read(s)) }}
}

// gauge is a family of one series that says how something is. What is not a number is not told.
func gauge(name, help string, read func(*collection) float64) family {
	return family{MetricFamily: MetricFamily{Name: name, Help: help, Type: MetricGauge}, read: func(s *collection) { s.known(read(s)) }}
}

// known tells a value if it is a number.
func (s *collection) known(v float64) {
	if !math.IsNaN(v) {
		s.Value(v)
	}
}

// when makes families such that only some workers have them.
func when(text string, has func(*Worker) bool, all ...family) []family {
	for i := range all {
		all[i].When, all[i].has = text, has
	}
	return all
}

// families are made when somebody asks for them first: nothing at a start waits for that.
var families = sync.OnceValue(func() []family {
	return slices.Concat(
		requestFamilies(),
		graphqlFamilies(),
		when(whenLimits, hasLimits, limiterFamilies()...),
		when(whenCache, hasCache, cacheFamilies()...),
		when(whenDependencies, hasDependencies, breakerFamilies()...),
		when(whenTraces, hasTraces, traceFamilies()...),
		processFamilies(),
	)
})

func traceFamilies() []family {
	return []family{
		counter("neko_traces_exported_total", "Spans that the receiver has taken.", func(s *collection) uint64 {
			exported, _ := s.w.config.Tracer.(traceStats).TraceStats()
			return exported
		}),
		counter("neko_traces_dropped_total", "Spans that were lost: there was no room for them, or the receiver has not taken them.", func(s *collection) uint64 {
			_, dropped := s.w.config.Tracer.(traceStats).TraceStats()
			return dropped
		}),
	}
}

func requestFamilies() []family {
	return []family{
		{
			MetricFamily: MetricFamily{
				Name: "neko_http_requests_total", Type: MetricCounter,
				Help:   "Requests that were answered, by the part of the worker that did, and the status of the answer.",
				Labels: []MetricLabel{{"handler", handlerNames[:]}, {"code", nil}},
			},
			read: (*collection).requests,
		},
		{
			MetricFamily: MetricFamily{
				Name: "neko_http_request_duration_seconds", Type: MetricHistogram,
				Help:   "How long it took to answer requests, from when all of one was there until its answer was ready to be sent.",
				Labels: []MetricLabel{{"handler", handlerNames[:1]}},
			},
			read: func(s *collection) {
				var all []*histogram.Histogram
				for _, c := range s.w.counting.shards {
					all = append(all, &c.durations)
				}
				s.Histogram(all[0].Snapshot(all[1:]...), handlerNames[handlerGraphQL])
			},
		},
		gauge("neko_http_requests_in_flight", "Requests that are being answered.", func(s *collection) float64 {
			return float64(s.w.drainer.inFlight.Load())
		}),
		counter("neko_http_request_bytes_total", "Bytes of the bodies of requests, as far as they were read.", func(s *collection) uint64 {
			return s.w.counting.sum(func(c *counts) uint64 { return c.received.Load() })
		}),
		counter("neko_http_response_bytes_total", "Bytes of the bodies of answers, as they were sent.", func(s *collection) uint64 {
			return s.w.counting.sum(func(c *counts) uint64 { return c.sent.Load() })
		}),
		gauge("neko_http_connections", "Connections that are open.", func(s *collection) float64 {
			return float64(s.w.drainer.open.Load())
		}),
		gauge("neko_http_connections_max", "How many connections may be open.", func(s *collection) float64 {
			return float64(s.w.config.MaxConnections)
		}),
		counter("neko_http_connections_total", "Connections that were accepted.", func(s *collection) uint64 {
			return s.w.drainer.accepted.Load()
		}),
		counter("neko_http_connections_rejected_total", "Connections that were ended at once with status 503, as too many were open.", func(s *collection) uint64 {
			return uint64(s.w.server.GetRejectedConnectionsCount())
		}),
		{
			MetricFamily: MetricFamily{
				Name: "neko_tls_handshake_failures_total", Type: MetricCounter, When: whenTLS,
				Help: "Connections on which the client and the worker did not agree on TLS.",
			},
			has: hasTLS, read: func(s *collection) { s.count(s.w.counting.handshakeFailures.Load()) },
		},
		{
			MetricFamily: MetricFamily{
				Name: "neko_tls_certificate_expiry_timestamp_seconds", Type: MetricGauge, When: whenTLS,
				Help: "When the certificate ends, in Unix time.",
			},
			has: hasTLS, read: func(s *collection) {
				s.Value(float64(s.w.cert.current.Load().Leaf.NotAfter.Unix()))
			},
		},
		counter("neko_http_drains_total", "How often the worker has drained, which it does once, at its end.", func(s *collection) uint64 {
			return s.w.drainer.drained.Load()
		}),
		{
			MetricFamily: MetricFamily{Name: "neko_http_drain_seconds_total", Type: MetricCounter, Help: "How long the worker has drained."},
			read:         func(s *collection) { s.Value(float64(s.w.drainer.took.Load()) / 1e9) },
		},
		counter("neko_http_requests_cut_total", "Requests that were still being answered when the time for the drain was over.", func(s *collection) uint64 {
			return s.w.drainer.cut.Load()
		}),
	}
}

// usualStatuses are those that each part of the worker gives, so that they are there before it has.
var usualStatuses = [len(handlerNames)][]int{
	handlerGraphQL: {200, 204, statusPartial, 304, 400, 401, 403, 404, 405, 406, 408, 413, 415, 422, 429, 500, 503, 504},
	handlerProbe:   {200, 405, 503},
	handlerOther:   {200, 400, 404, 405, 408, 413, 431, 500},
}

func (s *collection) requests() {
	for h, name := range handlerNames {
		for place := range statusCodes + 1 {
			n := s.w.counting.sum(func(c *counts) uint64 { return c.requests[h][place].Load() })
			code := "other"
			if place < statusCodes {
				code = strconv.Itoa(firstStatus + place)
			}
			if n > 0 || slices.Contains(usualStatuses[h], firstStatus+place) {
				s.count(n, name, code)
			}
		}
	}
}

func graphqlFamilies() []family {
	return []family{
		{
			MetricFamily: MetricFamily{
				Name: "neko_graphql_operations_total", Type: MetricCounter,
				Help:   "GraphQL operations that were answered, those of a batch one by one, by what has become of them: rejected is what the client can change, failed what it cannot.",
				Labels: []MetricLabel{{"type", operationTypes[:]}, {"outcome", outcomeNames[:]}},
			},
			read: func(s *collection) {
				for t, typ := range operationTypes {
					for o, outcome := range outcomeNames {
						s.count(s.w.counting.sum(func(c *counts) uint64 {
							n := c.operations[t][o].Load()
							if operationType(t) == typeQuery && outcomeKind(o) == outcomeOK {
								n += c.hits.Load()
							}
							return n
						}), typ, outcome)
					}
				}
			},
		},
		{
			MetricFamily: MetricFamily{
				Name: "neko_graphql_errors_total", Type: MetricCounter,
				Help:   "Errors in answers to requests for GraphQL, by their code; other is one that the program has made up.",
				Labels: []MetricLabel{{"code", codeNames()}},
			},
			read: func(s *collection) {
				for i, name := range s.family.Labels[0].Values {
					s.count(s.w.counting.sum(func(c *counts) uint64 { return c.errors[i].Load() }), name)
				}
			},
		},
		{
			MetricFamily: MetricFamily{
				Name: "neko_graphql_persisted_documents_total", Type: MetricCounter,
				Help:   "Operations whose document was named and not sent, by whether it was there; and documents that were sent to be.",
				Labels: []MetricLabel{{"result", documentKinds[:]}},
			},
			read: func(s *collection) {
				for i, name := range documentKinds {
					s.count(s.w.counting.sum(func(c *counts) uint64 { return c.persisted[i].Load() }), name)
				}
			},
		},
		counter("neko_graphql_known_requests_total", "Requests that were answered from the cache by their bytes, without being read.", func(s *collection) uint64 {
			return s.w.counting.sum(func(c *counts) uint64 { return c.hits.Load() })
		}),
		{
			MetricFamily: MetricFamily{
				Name: "neko_graphql_execution_duration_seconds", Type: MetricHistogram,
				Help: "How long the resolvers of an operation took together, of those that ran: not of those that the cache has answered.",
			},
			read: func(s *collection) { s.Histogram(s.w.counting.executions.Snapshot()) },
		},
		{
			MetricFamily: MetricFamily{
				Name: "neko_graphql_execution_cost", Type: MetricHistogram,
				Help: "What operations cost, as estimated before they ran, of those that did.",
			},
			read: func(s *collection) { s.Histogram(s.w.counting.costs.Snapshot()) },
		},
		gauge("neko_graphql_plans", "Operations that are remembered as they were read.", func(s *collection) float64 {
			n, _, _ := s.w.planner.cache.stats()
			return float64(n)
		}),
		gauge("neko_graphql_plan_bytes", "What remembered operations take in memory, about.", func(s *collection) float64 {
			_, n, _ := s.w.planner.cache.stats()
			return float64(n)
		}),
		counter("neko_graphql_plan_hits_total", "Operations that were asked for and remembered, or of which it was remembered what is wrong with them.", func(s *collection) uint64 {
			return s.w.planner.hits.Load()
		}),
		counter("neko_graphql_plan_misses_total", "Operations that were asked for and had to be read.", func(s *collection) uint64 {
			return s.w.planner.misses.Load()
		}),
		counter("neko_graphql_plan_evictions_total", "Operations that were forgotten, because others needed the room.", func(s *collection) uint64 {
			_, _, n := s.w.planner.cache.stats()
			return n
		}),
	}
}

func codeNames() (names []string) {
	for _, code := range knownCodes {
		names = append(names, string(code))
	}
	return append(names, "other")
}

func limiterFamilies() []family {
	return []family{
		byPolicy("neko_limiter_allowed_total", "Charges that a rate limit has let pass.", func(s *collection) map[string]uint64 { return s.limits.Allowed }),
		byPolicy("neko_limiter_denied_total", "Requests that a rate limit has refused.", func(s *collection) map[string]uint64 { return s.limits.Denied }),
		counter("neko_limiter_remembered_total", "Refusals for which no source was asked, because an earlier answer still held.", func(s *collection) uint64 { return s.limits.Remembered }),
		counter("neko_limiter_alone_total", "Decisions that were made without the source, as the policy has it.", func(s *collection) uint64 { return s.limits.Alone }),
		counter("neko_limiter_source_calls_total", "Calls to the source that all hosts share.", func(s *collection) uint64 { return s.limits.Calls }),
		counter("neko_limiter_source_failures_total", "Calls to the source that failed, or came too late for who waited.", func(s *collection) uint64 { return s.limits.Failures }),
		counter("neko_limiter_leased_tokens_total", "Tokens that the source has given ahead.", func(s *collection) uint64 { return s.limits.Leased }),
		counter("neko_limiter_expired_tokens_total", "Tokens given ahead that nobody has used in time.", func(s *collection) uint64 { return s.limits.Expired }),
		counter("neko_limiter_returned_tokens_total", "Tokens given ahead that were given back.", func(s *collection) uint64 { return s.limits.Returned }),
		counter("neko_limiter_forgotten_total", "Buckets that others took over before they were full again, as there was no room left.", func(s *collection) uint64 { return s.limits.Forgotten }),
		counter("neko_limiter_forgiven_tokens_total", "Tokens that buckets lacked which others took over before they were full again.", func(s *collection) uint64 { return s.limits.Forgiven }),
		gauge("neko_limiter_hosts", "Hosts that share the source, as last seen.", func(s *collection) float64 { return float64(s.limits.Hosts) }),
		gauge("neko_limiter_away", "1 while the source cannot be asked, or is not waited for.", func(s *collection) float64 { return oneIf(s.limits.Away) }),
	}
}

// byPolicy is a family with a series for each rate limit, those that have not counted anything too.
func byPolicy(name, help string, of func(*collection) map[string]uint64) family {
	return family{
		MetricFamily: MetricFamily{Name: name, Help: help, Type: MetricCounter, Labels: []MetricLabel{{"policy", nil}}},
		read: func(s *collection) {
			values := of(s)
			for _, policy := range s.policies {
				s.count(values[policy], policy)
			}
		},
	}
}

// policyNames are the names of all rate limits that there are, or were.
func (r *rates) policyNames(s limiter.Stats) (names []string) {
	rules := r.current.Load().rules
	for i := range rules {
		names = append(names, rules[i].policy.Name)
	}
	names = slices.AppendSeq(names, maps.Keys(s.Allowed))
	names = slices.AppendSeq(names, maps.Keys(s.Denied))
	slices.Sort(names)
	return slices.Compact(names)
}

func cacheFamilies() []family {
	return []family{
		{
			MetricFamily: MetricFamily{
				Name: "neko_cache_served_total", Type: MetricCounter,
				Help:   "Answers from the cache, or for it, by what they were.",
				Labels: []MetricLabel{{"state", []string{"fresh", "stale", "stale_on_error", "made", "coalesced"}}},
			},
			read: func(s *collection) {
				for i, n := range []uint64{s.cache.Fresh, s.cache.Stale, s.cache.StaleOnError, s.cache.Misses, s.cache.Coalesced} {
					s.count(n, s.family.Labels[0].Values[i])
				}
			},
		},
		counter("neko_cache_negative_total", "Answers that were served and say that there is nothing.", func(s *collection) uint64 { return s.cache.Negative }),
		counter("neko_cache_fills_total", "How often an answer was made.", func(s *collection) uint64 { return s.cache.Fills }),
		counter("neko_cache_failed_fills_total", "How often an answer could not be made, because what it is made from was away.", func(s *collection) uint64 { return s.cache.FailedFills }),
		counter("neko_cache_panics_total", "How often a fault of the program ended the making of an answer.", func(s *collection) uint64 { return s.cache.Panics }),
		counter("neko_cache_refreshes_total", "Answers that were made anew in the background.", func(s *collection) uint64 { return s.cache.Refreshes }),
		counter("neko_cache_skipped_refreshes_total", "Answers that were not made anew in the background, because too many were already.", func(s *collection) uint64 { return s.cache.SkippedRefreshes }),
		counter("neko_cache_shared_hits_total", "Answers that were found where all hosts share them.", func(s *collection) uint64 { return s.cache.SharedHits }),
		counter("neko_cache_shared_misses_total", "Answers that were not found where all hosts share them.", func(s *collection) uint64 { return s.cache.SharedMisses }),
		counter("neko_cache_shared_errors_total", "Calls to what the hosts share that failed, or came too late.", func(s *collection) uint64 { return s.cache.SharedErrors }),
		counter("neko_cache_waits_total", "How often another host was waited for that made the same answer.", func(s *collection) uint64 { return s.cache.Waits }),
		counter("neko_cache_invalidated_tags_total", "Tags that were invalidated by this process.", func(s *collection) uint64 { return s.cache.Invalidated }),
		counter("neko_cache_reserve_hits_total", "Answers that were taken from the file of this process, as nothing better could be had.", func(s *collection) uint64 { return s.cache.ReserveHits }),
		counter("neko_cache_reserve_misses_total", "Answers that were looked for in the file of this process, and not found, or of no use.", func(s *collection) uint64 { return s.cache.ReserveMisses }),
		counter("neko_cache_reserve_writes_total", "Answers that were written into the file of this process.", func(s *collection) uint64 { return s.cache.ReserveWrites }),
		counter("neko_cache_reserve_dropped_total", "Answers that were not written into the file of this process: too many waited, or one was too large, or it could not be written.", func(s *collection) uint64 { return s.cache.ReserveDropped }),
		counter("neko_cache_reserve_errors_total", "How often the file of this process could not be read or written, or was damaged.", func(s *collection) uint64 { return s.cache.ReserveErrors }),
		gauge("neko_cache_reserve_entries", "Answers in the file of this process.", func(s *collection) float64 { return float64(s.cache.ReserveEntries) }),
		gauge("neko_cache_reserve_bytes", "What the answers in the file of this process take of it.", func(s *collection) float64 { return float64(s.cache.ReserveBytes) }),
		gauge("neko_cache_reserve_max_bytes", "How large the file of this process may become; 0 if there is none.", func(s *collection) float64 { return float64(s.cache.ReserveMaxBytes) }),
		gauge("neko_cache_reserve_index_bytes", "The memory that it takes to know what is where in the file of this process.", func(s *collection) float64 { return float64(s.cache.ReserveIndexBytes) }),
		counter("neko_cache_evictions_total", "Answers that had to leave the memory of this process for others.", func(s *collection) uint64 { return s.cache.Evictions }),
		gauge("neko_cache_shared_away", "1 while what the hosts share cannot be asked.", func(s *collection) float64 { return oneIf(s.cache.SharedAway) }),
		gauge("neko_cache_waiting_tags", "Invalidated tags that other hosts have not been told of yet.", func(s *collection) float64 { return float64(s.cache.Waiting) }),
		gauge("neko_cache_entries", "Answers in the memory of this process.", func(s *collection) float64 { return float64(s.cache.Entries) }),
		gauge("neko_cache_bytes", "What the answers in the memory of this process take.", func(s *collection) float64 { return float64(s.cache.Bytes) }),
		gauge("neko_cache_max_bytes", "What the answers in the memory of this process may take.", func(s *collection) float64 { return float64(s.cache.MaxBytes) }),
	}
}

func breakerFamilies() []family {
	return []family{
		{
			MetricFamily: MetricFamily{
				Name: "neko_breaker_state", Type: MetricGauge,
				Help:   "What the circuit breaker of a dependency is: 0 CLOSED, 1 HALF_OPEN, 2 OPEN.",
				Labels: []MetricLabel{{"name", nil}},
			},
			read: func(s *collection) {
				for _, one := range s.w.dependencies.all {
					s.Value(float64(one.Status().State), one.Name())
				}
			},
		},
		byBreaker("neko_breaker_calls_total", "Calls to a dependency that were asked for.", MetricCounter, func(s breaker.Stats) uint64 { return s.Calls }),
		byBreaker("neko_breaker_failures_total", "Tries that have failed, those without an answer in time included.", MetricCounter, func(s breaker.Stats) uint64 { return s.Failures }),
		byBreaker("neko_breaker_rejected_total", "Calls that were not made, as the breaker was open.", MetricCounter, func(s breaker.Stats) uint64 { return s.Rejected }),
		byBreaker("neko_breaker_busy_total", "Calls that were not made, as too many were under way.", MetricCounter, func(s breaker.Stats) uint64 { return s.Busy }),
		byBreaker("neko_breaker_timeouts_total", "Calls that were given up after the timeout.", MetricCounter, func(s breaker.Stats) uint64 { return s.Timeouts }),
		byBreaker("neko_breaker_retries_total", "Tries of a call beyond the first.", MetricCounter, func(s breaker.Stats) uint64 { return s.Retries }),
		byBreaker("neko_breaker_opened_total", "How often the breaker has become OPEN.", MetricCounter, func(s breaker.Stats) uint64 { return s.Opened }),
		byBreaker("neko_breaker_in_flight", "Calls that have not ended, those that were given up included.", MetricGauge, func(s breaker.Stats) uint64 { return uint64(s.InFlight) }),
		{
			MetricFamily: MetricFamily{
				Name: "neko_breaker_call_duration_seconds", Type: MetricHistogram,
				Help:   "How long a try of a call took, or until it was given up, with what it waited for a place; not of those that were not made.",
				Labels: []MetricLabel{{"name", nil}},
			},
			read: func(s *collection) {
				for _, one := range s.w.dependencies.all {
					if timed, ok := one.Dependency.(interface{ Durations() histogram.Snapshot }); ok {
						s.Histogram(timed.Durations(), one.Name())
					}
				}
			},
		},
	}
}

// byBreaker is a family with a series for each dependency that counts.
func byBreaker(name, help string, typ MetricType, of func(breaker.Stats) uint64) family {
	return family{
		MetricFamily: MetricFamily{Name: name, Help: help, Type: typ, Labels: []MetricLabel{{"name", nil}}},
		read: func(s *collection) {
			for _, one := range s.w.dependencies.all {
				if counts, ok := one.Dependency.(interface{ Stats() breaker.Stats }); ok {
					s.count(of(counts.Stats()), one.Name())
				}
			}
		},
	}
}

// processFamilies have the names, and mean what they do, that all programs of Go's have for
// them, by Prometheus's client library. That library is not used for them: it costs a
// millisecond of each start.
func processFamilies() []family {
	return []family{
		{
			MetricFamily: MetricFamily{Name: "process_cpu_seconds_total", Type: MetricCounter, Help: "CPU time that the process has used, by itself and in the kernel."},
			read:         func(s *collection) { s.known(s.process.cpu) },
		},
		gauge("process_resident_memory_bytes", "Memory of the process that is there, in RAM.", func(s *collection) float64 { return s.process.resident }),
		gauge("process_open_fds", "File descriptors that are open.", func(s *collection) float64 { return s.process.openFiles }),
		gauge("process_max_fds", "File descriptors that may be open.", func(s *collection) float64 { return s.process.maxFiles }),
		gauge("process_start_time_seconds", "When the process has begun, in Unix time.", func(s *collection) float64 { return s.process.started }),
		gauge("go_goroutines", "Goroutines that there are.", ofRuntime(goroutines)),
		{
			MetricFamily: MetricFamily{Name: "go_info", Type: MetricGauge, Help: "1, with the version of Go that the program was made with.", Labels: []MetricLabel{{"version", nil}}},
			read:         func(s *collection) { s.Value(1, runtime.Version()) },
		},
		gauge("go_sched_gomaxprocs_threads", "GOMAXPROCS: how many goroutines run at a time.", ofRuntime(maxProcs)),
		{
			MetricFamily: MetricFamily{Name: "go_gc_duration_seconds", Type: metricSummary, Help: "How long the garbage collector has stopped everything, in its last collections."},
			read:         (*collection).pauses,
		},
		{
			MetricFamily: MetricFamily{
				Name: "go_cpu_classes_gc_total_cpu_seconds_total", Type: MetricCounter,
				Help: "CPU time that garbage collection took, as estimated after each one; not to be compared with what the kernel says.",
			},
			read: func(s *collection) { s.known(s.process.of(gcSeconds)) },
		},
		gauge("go_gc_gogc_percent", "GOGC: how much the heap may grow until the next collection.", ofRuntime(gcPercent)),
		gauge("go_gc_gomemlimit_bytes", "GOMEMLIMIT: what the Go runtime tries to stay below; 2^63-1 is no limit.", ofRuntime(memoryLimit)),
		gauge("go_memstats_heap_alloc_bytes", "Bytes of the heap that are in use, or not collected yet.", ofRuntime(heapObjectsBytes)),
		gauge("go_memstats_heap_inuse_bytes", "Bytes of the heap that are in parts of it in which something is in use.", func(s *collection) float64 {
			return s.process.of(heapObjectsBytes) + s.process.of(heapUnusedBytes)
		}),
		gauge("go_memstats_heap_idle_bytes", "Bytes of the heap that are in no use, those that were given back included.", func(s *collection) float64 {
			return s.process.of(heapFreeBytes) + s.process.of(heapReleasedBytes)
		}),
		gauge("go_memstats_heap_released_bytes", "Bytes of the heap that were given back to the system.", ofRuntime(heapReleasedBytes)),
		gauge("go_memstats_heap_objects", "Objects in the heap.", ofRuntime(heapObjects)),
		gauge("go_memstats_stack_inuse_bytes", "Bytes of the stacks of goroutines.", ofRuntime(heapStacksBytes)),
		gauge("go_memstats_sys_bytes", "Bytes that the Go runtime has from the system.", ofRuntime(totalBytes)),
		gauge("go_memstats_next_gc_bytes", "At how many bytes of the heap it is collected next.", ofRuntime(heapGoal)),
		counter("go_memstats_alloc_bytes_total", "Bytes that were allocated, those that are free again included.", countOfRuntime(heapAllocatedBytes)),
		counter("go_memstats_mallocs_total", "Objects that were allocated.", countOfRuntime(heapAllocatedObjects)),
		counter("go_memstats_frees_total", "Objects that were freed.", countOfRuntime(heapFreedObjects)),
	}
}

func ofRuntime(i int) func(*collection) float64 {
	return func(s *collection) float64 { return s.process.of(i) }
}

func countOfRuntime(i int) func(*collection) uint64 {
	return func(s *collection) uint64 { return uint64(s.process.of(i)) }
}

// pauses are a summary, as programs of Go's tell it.
func (s *collection) pauses() {
	for i, q := range gcQuantiles {
		s.line("", s.process.gc.PauseQuantiles[i].Seconds(), nil, "quantile", q)
	}
	s.line("_sum", s.process.gc.PauseTotal.Seconds(), nil, "", "")
	s.line("_count", float64(s.process.gc.NumGC), nil, "", "")
}

func oneIf(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// sum is that of all processors.
func (c *counters) sum(of func(*counts) uint64) (n uint64) {
	for _, one := range c.shards {
		n += of(one)
	}
	return n
}
