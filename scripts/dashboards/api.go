package main

var ofAPI = variable{"app", "App", `label_values(neko_graphql_operations_total{instance=~"$instance"}, app)`}

const traffic = apps + `,handler!="probe"`

var api = dashboard{
	uid: "neko-api", title: "neko / API",
	about:     "Workers made with neko's runtime, neko-api among them: requests, GraphQL, cache, limits, breakers, and the objective of 99.99 %.",
	variables: []variable{byInstance, ofAPI},
	rows: []row{
		{title: "At a glance", panels: []panel{
			{kind: number, title: "Requests", about: "Requests a second, probes left out.", width: 4, unit: "reqps",
				queries: []query{{`sum(rate(neko_http_requests_total{` + traffic + `}[$__rate_interval]))`, ""}}},
			{kind: number, title: "Failed", about: "Answers with 5xx, probes left out.", width: 4, unit: "percentunit", steps: []step{{0.0001, "orange"}, {0.01, "red"}},
				queries: []query{{`(sum(rate(neko_http_requests_total{` + traffic + `,code=~"5.."}[$__rate_interval])) or vector(0)) / sum(rate(neko_http_requests_total{` + traffic + `}[$__rate_interval]))`, ""}}},
			{kind: number, title: "p50", about: "Half of the GraphQL requests are answered faster than this.", width: 4, unit: "s",
				queries: []query{{quantile("0.5"), ""}}},
			{kind: number, title: "p99", about: "One of a hundred GraphQL requests takes longer than this.", width: 4, unit: "s", steps: []step{{0.5, "red"}},
				queries: []query{{quantile("0.99"), ""}}},
			{kind: number, title: "From the cache", about: "The part of answers that nobody had to make.", width: 4, unit: "percentunit",
				queries: []query{{hitRatio("sum"), ""}}},
			{kind: number, title: "Budget left", about: "What is left of the failures that 99.99 % allows in 30 days, of operations or requests, whichever has less. It takes the recording rules.", width: 4, unit: "percentunit",
				steps:   []step{{0, "green"}},
				queries: []query{{`min(1 - sum_over_time(app:neko_slo_bad:rate5m{app=~"$app"}[30d]) / sum_over_time(app:neko_slo_all:rate5m{app=~"$app"}[30d]) / 0.0001)`, ""}}},
		}},
		{title: "Requests", panels: []panel{
			{kind: graph, title: "By status", about: "Requests a second by the status of their answer, probes left out.", unit: "reqps", stacked: true,
				queries: []query{{`sum by (code) (rate(neko_http_requests_total{` + traffic + `}[$__rate_interval]))`, "{{code}}"}}},
			{kind: graph, title: "By host", about: "Where they are answered.", unit: "reqps", stacked: true,
				queries: []query{{`sum by (instance, app) (rate(neko_http_requests_total{` + traffic + `}[$__rate_interval]))`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Latency", about: "Of GraphQL requests, from their last byte to the last byte of the answer.", unit: "s",
				queries: []query{{quantile("0.5"), "p50"}, {quantile("0.9"), "p90"}, {quantile("0.99"), "p99"}, {quantile("0.999"), "p99.9"}}},
			{kind: heatmap, title: "Latencies", about: "How many requests took how long. Two bands are answers from the cache and others.", width: 12, unit: "s",
				queries: []query{{`sum by (le) (rate(neko_http_request_duration_seconds_bucket{` + apps + `}[$__rate_interval]))`, "{{le}}"}}},
			{kind: graph, title: "In flight", about: "Requests that are being answered. If it rises and requests a second do not, something has become slow.", width: 6, unit: "none",
				queries: []query{{`sum by (instance, app) (neko_http_requests_in_flight{` + apps + `})`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Connections", about: "Those that are open, idle ones included.", width: 6, unit: "none",
				queries: []query{{`sum by (instance, app) (neko_http_connections{` + apps + `})`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Connections that began or were turned away", about: "Many new ones for few requests: clients do not keep theirs. Turned away is who comes when max_connections are open.", width: 12, unit: "cps",
				queries: []query{
					{`sum(rate(neko_http_connections_total{` + apps + `}[$__rate_interval]))`, "accepted"},
					{`sum(rate(neko_http_connections_rejected_total{` + apps + `}[$__rate_interval]))`, "turned away"},
					{`sum(rate(neko_tls_handshake_failures_total{` + apps + `}[$__rate_interval]))`, "no agreement on TLS"},
				}},
			{kind: graph, title: "Drains", about: "How long a worker took to let go of its clients at its end, and requests that were cut off then, which should be none.", width: 12, unit: "none",
				queries: []query{
					{`sum(increase(neko_http_drain_seconds_total{` + apps + `}[$__rate_interval])) / (sum(increase(neko_http_drains_total{` + apps + `}[$__rate_interval])) > 0)`, "seconds"},
					{`sum(increase(neko_http_requests_cut_total{` + apps + `}[$__rate_interval]))`, "requests cut"},
				}},
			{kind: graph, title: "Bytes of answers", about: "Bodies, as they were sent: compressed, if they were.", width: 12, unit: "Bps", stacked: true,
				queries: []query{{`sum by (instance, app) (rate(neko_http_response_bytes_total{` + apps + `}[$__rate_interval]))`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Probes", about: "Answers to /livez and /readyz. 503 is said while a worker drains.", width: 12, unit: "reqps",
				queries: []query{{`sum by (code) (rate(neko_http_requests_total{` + apps + `,handler="probe"}[$__rate_interval]))`, "{{code}}"}}},
		}},
		{title: "GraphQL", panels: []panel{
			{kind: graph, title: "Operations", about: "By their type.", unit: "ops", stacked: true,
				queries: []query{{`sum by (type) (rate(neko_graphql_operations_total{` + apps + `}[$__rate_interval]))`, "{{type}}"}}},
			{kind: graph, title: "Outcomes", about: "rejected: the client's fault, limits included. failed: ours (INTERNAL, UNAVAILABLE, TIMEOUT).", unit: "ops", stacked: true,
				queries: []query{{`sum by (outcome) (rate(neko_graphql_operations_total{` + apps + `}[$__rate_interval]))`, "{{outcome}}"}}},
			{kind: graph, title: "Errors", about: "By the code in their extensions.", unit: "ops", stacked: true,
				queries: []query{{`sum by (code) (rate(neko_graphql_errors_total{` + apps + `}[$__rate_interval]))`, "{{code}}"}}},
			{kind: graph, title: "Executions", about: "How long the resolvers of operations took that the cache had no answer for.", width: 12, unit: "s",
				queries: []query{
					{`histogram_quantile(0.5, sum by (le) (rate(neko_graphql_execution_duration_seconds_bucket{` + apps + `}[$__rate_interval])))`, "p50"},
					{`histogram_quantile(0.99, sum by (le) (rate(neko_graphql_execution_duration_seconds_bucket{` + apps + `}[$__rate_interval])))`, "p99"},
				}},
			{kind: graph, title: "Cost", about: "What those operations cost, as estimated beforehand: about the objects in their answers. max_cost refuses what is beyond.", width: 12, unit: "none",
				queries: []query{
					{`histogram_quantile(0.5, sum by (le) (rate(neko_graphql_execution_cost_bucket{` + apps + `}[$__rate_interval])))`, "p50"},
					{`histogram_quantile(0.99, sum by (le) (rate(neko_graphql_execution_cost_bucket{` + apps + `}[$__rate_interval])))`, "p99"},
				}},
			{kind: graph, title: "Plans", about: "Documents that are parsed and checked, and kept for who sends them next.", width: 12, unit: "none",
				queries: []query{{`sum by (instance, app) (neko_graphql_plans{` + apps + `})`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Plans that were there", about: "The part of documents that were known. Little means that clients put values into the text, and not into variables.", width: 12, unit: "percentunit", max: 1,
				queries: []query{{`sum by (instance, app) (rate(neko_graphql_plan_hits_total{` + apps + `}[$__rate_interval])) / (sum by (instance, app) (rate(neko_graphql_plan_hits_total{` + apps + `}[$__rate_interval])) + sum by (instance, app) (rate(neko_graphql_plan_misses_total{` + apps + `}[$__rate_interval])))`, "{{instance}} {{app}}"}}},
		}},
		{title: "Cache", panels: []panel{
			{kind: graph, title: "Answers", about: "fresh and stale come from memory or Redis; coalesced waited for one that was being made; stale_on_error: better than nothing.", unit: "ops", stacked: true,
				queries: []query{{`sum by (state) (rate(neko_cache_served_total{` + apps + `}[$__rate_interval]))`, "{{state}}"}}},
			{kind: graph, title: "From the cache", about: "The part of answers that nobody had to make.", unit: "percentunit", max: 1,
				queries: []query{{hitRatio("sum by (instance, app)"), "{{instance}} {{app}}"}}},
			{kind: graph, title: "Memory", about: "What answers take in each worker, and how much they may.", unit: "bytes",
				queries: []query{
					{`max by (instance, app) (neko_cache_bytes{` + apps + `})`, "{{instance}} {{app}} most"},
					{`max by (instance, app) (neko_cache_max_bytes{` + apps + `})`, "{{instance}} {{app}} limit"},
				}},
			{kind: graph, title: "Made", about: "How often an answer was made, made anew in the background, or could not be.", unit: "ops",
				queries: []query{
					{`sum(rate(neko_cache_fills_total{` + apps + `}[$__rate_interval]))`, "made"},
					{`sum(rate(neko_cache_refreshes_total{` + apps + `}[$__rate_interval]))`, "refreshed"},
					{`sum(rate(neko_cache_skipped_refreshes_total{` + apps + `}[$__rate_interval]))`, "not refreshed: too many"},
					{`sum(rate(neko_cache_failed_fills_total{` + apps + `}[$__rate_interval]))`, "failed"},
					{`sum(rate(neko_cache_panics_total{` + apps + `}[$__rate_interval]))`, "panics"},
				}},
			{kind: graph, title: "Shared by all hosts", about: "Answers that were looked for in Redis, and what came of it.", unit: "ops",
				queries: []query{
					{`sum(rate(neko_cache_shared_hits_total{` + apps + `}[$__rate_interval]))`, "found"},
					{`sum(rate(neko_cache_shared_misses_total{` + apps + `}[$__rate_interval]))`, "not found"},
					{`sum(rate(neko_cache_shared_errors_total{` + apps + `}[$__rate_interval]))`, "failed"},
					{`sum(rate(neko_cache_waits_total{` + apps + `}[$__rate_interval]))`, "waited for another host"},
				}},
			{kind: graph, title: "Entries and evictions", about: "Answers in memory, and those that others took the room of: many mean that the cache is too small.", unit: "none",
				queries: []query{
					{`sum(neko_cache_entries{` + apps + `})`, "entries"},
					{`sum(rate(neko_cache_evictions_total{` + apps + `}[$__rate_interval]))`, "evictions a second"},
				}},
			{kind: graph, title: "Invalidation", about: "Tags that were invalidated, and those that other hosts have not been told of yet, because Redis is away.", unit: "none",
				queries: []query{
					{`sum(rate(neko_cache_invalidated_tags_total{` + apps + `}[$__rate_interval]))`, "invalidated a second"},
					{`max(neko_cache_waiting_tags{` + apps + `})`, "waiting"},
				}},
			{kind: states, title: "Without Redis", about: "While the cache cannot ask what the hosts share.", unit: "none", names: []naming{{0, "there", "green"}, {1, "away", "red"}},
				queries: []query{{`max by (instance, app) (neko_cache_shared_away{` + apps + `})`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Reserve", about: "Answers in the file that is read when nothing better can be had.", unit: "bytes",
				queries: []query{
					{`sum(neko_cache_reserve_bytes{` + apps + `})`, "taken"},
					{`sum(neko_cache_reserve_max_bytes{` + apps + `})`, "limit"},
				}},
		}},
		{title: "Limits", panels: []panel{
			{kind: graph, title: "Refused", about: "Requests a second that each policy has refused.", unit: "reqps", stacked: true,
				queries: []query{{`sum by (policy) (rate(neko_limiter_denied_total{` + apps + `}[$__rate_interval]))`, "{{policy}}"}}},
			{kind: graph, title: "Let pass", about: "Charges a second that each policy has let pass.", unit: "ops", stacked: true,
				queries: []query{{`sum by (policy) (rate(neko_limiter_allowed_total{` + apps + `}[$__rate_interval]))`, "{{policy}}"}}},
			{kind: graph, title: "Part refused", about: "Of all that a policy was asked.", unit: "percentunit", max: 1, steps: []step{{0.2, "red"}},
				queries: []query{{`sum by (policy) (rate(neko_limiter_denied_total{` + apps + `}[$__rate_interval])) / (sum by (policy) (rate(neko_limiter_denied_total{` + apps + `}[$__rate_interval])) + sum by (policy) (rate(neko_limiter_allowed_total{` + apps + `}[$__rate_interval])))`, "{{policy}}"}}},
			{kind: graph, title: "Redis", about: "Calls to what the hosts share, and decisions that did without it.", unit: "ops",
				queries: []query{
					{`sum(rate(neko_limiter_source_calls_total{` + apps + `}[$__rate_interval]))`, "calls"},
					{`sum(rate(neko_limiter_source_failures_total{` + apps + `}[$__rate_interval]))`, "failed or late"},
					{`sum(rate(neko_limiter_alone_total{` + apps + `}[$__rate_interval]))`, "decided alone"},
				}},
			{kind: graph, title: "Leases", about: "Tokens that Redis gave ahead, and those that nobody used. Many that expire are false refusals elsewhere.", unit: "ops",
				queries: []query{
					{`sum(rate(neko_limiter_leased_tokens_total{` + apps + `}[$__rate_interval]))`, "leased"},
					{`sum(rate(neko_limiter_returned_tokens_total{` + apps + `}[$__rate_interval]))`, "given back"},
					{`sum(rate(neko_limiter_expired_tokens_total{` + apps + `}[$__rate_interval]))`, "expired"},
				}},
			{kind: states, title: "Without Redis", about: "While limits are decided by each host for itself.", unit: "none", names: []naming{{0, "there", "green"}, {1, "away", "red"}},
				queries: []query{{`max by (instance, app) (neko_limiter_away{` + apps + `})`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Hosts", about: "How many hosts share the limits, as each saw it last.", unit: "none",
				queries: []query{{`max by (instance, app) (neko_limiter_hosts{` + apps + `})`, "{{instance}} {{app}}"}}},
		}},
		{title: "Breakers", panels: []panel{
			{kind: states, title: "State", about: "Open: the dependency is not called. Half open: a trial is made.", width: 12, unit: "none",
				names:   []naming{{0, "closed", "green"}, {1, "half open", "orange"}, {2, "open", "red"}},
				queries: []query{{`max by (instance, app, name) (neko_breaker_state{` + apps + `})`, "{{instance}} {{app}} {{name}}"}}},
			{kind: graph, title: "Calls", about: "To each dependency, a second.", width: 12, unit: "ops",
				queries: []query{{`sum by (name) (rate(neko_breaker_calls_total{` + apps + `}[$__rate_interval]))`, "{{name}}"}}},
			{kind: graph, title: "Duration", about: "How long a try took, or until it was given up.", width: 12, unit: "s",
				queries: []query{
					{`histogram_quantile(0.5, sum by (name, le) (rate(neko_breaker_call_duration_seconds_bucket{` + apps + `}[$__rate_interval])))`, "{{name}} p50"},
					{`histogram_quantile(0.99, sum by (name, le) (rate(neko_breaker_call_duration_seconds_bucket{` + apps + `}[$__rate_interval])))`, "{{name}} p99"},
				}},
			{kind: graph, title: "Failures", width: 12, about: "Tries that failed, and among them those that took too long.", unit: "ops",
				queries: []query{
					{`sum by (name) (rate(neko_breaker_failures_total{` + apps + `}[$__rate_interval]))`, "{{name}} failed"},
					{`sum by (name) (rate(neko_breaker_timeouts_total{` + apps + `}[$__rate_interval]))`, "{{name}} took too long"},
				}},
			{kind: graph, title: "Not made", width: 12, about: "Calls that were not made: the breaker was open, or too many were under way.", unit: "ops",
				queries: []query{
					{`sum by (name) (rate(neko_breaker_rejected_total{` + apps + `}[$__rate_interval]))`, "{{name}} open"},
					{`sum by (name) (rate(neko_breaker_busy_total{` + apps + `}[$__rate_interval]))`, "{{name}} busy"},
				}},
			{kind: graph, title: "Under way", width: 12, about: "Calls that have not ended, and tries beyond the first.", unit: "none",
				queries: []query{
					{`sum by (name) (neko_breaker_in_flight{` + apps + `})`, "{{name}} in flight"},
					{`sum by (name) (rate(neko_breaker_retries_total{` + apps + `}[$__rate_interval]))`, "{{name}} retries a second"},
					{`sum by (name) (increase(neko_breaker_opened_total{` + apps + `}[$__rate_interval]))`, "{{name}} opened"},
				}},
		}},
		{title: "Objective: 99.99 % (recording rules)", panels: []panel{
			{kind: graph, title: "Failed of operations", about: "By window; all hosts. The dashed line is what 99.99 % allows in the long run.", width: 12, unit: "percentunit", steps: []step{{0.0001, "orange"}},
				queries: windows("operations")},
			{kind: graph, title: "Failed of requests", about: "By window; all hosts. The dashed line is what 99.99 % allows in the long run.", width: 12, unit: "percentunit", steps: []step{{0.0001, "orange"}},
				queries: windows("requests")},
		}},
	},
}

func quantile(q string) string {
	return `histogram_quantile(` + q + `, sum by (le) (rate(neko_http_request_duration_seconds_bucket{` + apps + `}[$__rate_interval])))`
}

func hitRatio(sum string) string {
	return sum + ` (rate(neko_cache_served_total{` + apps + `,state=~"fresh|stale|stale_on_error|coalesced"}[$__rate_interval])) / ` +
		sum + ` (rate(neko_cache_served_total{` + apps + `}[$__rate_interval]))`
}

func windows(slo string) (list []query) {
	for _, w := range []string{"5m", "30m", "1h", "6h", "3d"} {
		list = append(list, query{`max by (app) (app:neko_slo_bad:ratio_rate` + w + `{slo="` + slo + `",app=~"$app"})`, "{{app}} " + w})
	}
	return list
}
