package main

// Of what the variables choose. Apps of any language have these metrics.
const (
	hosts   = `instance=~"$instance"`
	apps    = hosts + `,app=~"$app"`
	workers = apps + `,worker=~"$worker"`
)

var (
	byInstance = variable{"instance", "Host", `label_values(neko_build_info, instance)`}
	byApp      = variable{"app", "App", `label_values(neko_app_instances{instance=~"$instance"}, app)`}
	byWorker   = variable{"worker", "Worker", `label_values(neko_worker_up{instance=~"$instance",app=~"$app"}, worker)`}

	none = []step{{1, "red"}} // should be none
)

var overview = dashboard{
	uid: "neko-overview", title: "neko / Overview",
	about:     "All apps under nekoctl, whatever they are written in: are they up, do they crash, what do they take.",
	variables: []variable{byInstance, byApp, byWorker},
	rows: []row{
		{title: "At a glance", panels: []panel{
			{kind: number, title: "Hosts that answer", about: "Targets of the job neko that Prometheus could scrape last.", width: 4, unit: "none",
				queries: []query{{`sum(up{job="neko",` + hosts + `})`, ""}}},
			{kind: number, title: "Workers online", about: "Slots with a process that serves.", width: 4, unit: "none",
				queries: []query{{`sum(neko_worker_up{` + apps + `})`, ""}}},
			{kind: number, title: "Workers missing", about: "Slots that should have a process that serves, and have none: they start, wait for a restart, or are given up.", width: 4, unit: "none", steps: none,
				queries: []query{{`sum(neko_worker_state{` + apps + `,state!~"online|stopped|stopping"})`, ""}}},
			{kind: number, title: "Given up", about: "Slots that crashed too often and are errored: somebody has to see to them.", width: 4, unit: "none", steps: none,
				queries: []query{{`sum(neko_app_errored{` + apps + `})`, ""}}},
			{kind: number, title: "Crashes", about: "Processes that ended though nobody told them to, in the time that is shown.", width: 4, unit: "none", steps: []step{{0.5, "orange"}, {5, "red"}},
				queries: []query{{`round(sum(increase(neko_app_crashes_total{` + apps + `}[$__range])))`, ""}}},
			{kind: number, title: "Alerts", about: "Neko's alerts that fire now, those of severity info left out.", width: 4, unit: "none", steps: none,
				queries: []query{{`count(` + alertsFiring + `) or vector(0)`, ""}}},
			{kind: list, title: "Apps", about: "A row for each app of each host.", width: 24, height: 9,
				columns: []column{{"wanted", "none"}, {"online", "none"}, {"errored", "none"}, {"crashes", "none"}, {"restarts", "none"}, {"CPUs", "none"}, {"memory", "bytes"}},
				queries: []query{
					{`sum by (instance, app) (neko_app_instances{` + apps + `})`, ""},
					{`sum by (instance, app) (neko_worker_up{` + apps + `})`, ""},
					{`sum by (instance, app) (neko_app_errored{` + apps + `})`, ""},
					{`sum by (instance, app) (neko_app_crashes_total{` + apps + `})`, ""},
					{`sum by (instance, app) (neko_app_restarts_total{` + apps + `})`, ""},
					{`sum by (instance, app) (rate(neko_app_cpu_seconds_total{` + apps + `}[$__rate_interval]))`, ""},
					{`sum by (instance, app) (neko_worker_memory_bytes{` + apps + `})`, ""},
				}},
		}},
		{title: "Workers", panels: []panel{
			{kind: states, title: "Online", about: "Each worker over time: green serves. A reload shows nothing here, as the successor takes over; a crash does.", width: 12, unit: "none",
				names: []naming{{0, "not online", "red"}, {1, "online", "green"}}, steps: []step{},
				queries: []query{{`max by (instance, app, worker) (neko_worker_up{` + workers + `})`, "{{instance}} {{app}} {{worker}}"}}},
			{kind: graph, title: "States", about: "How many workers are in which of PM2's states.", width: 12, unit: "none", stacked: true,
				queries: []query{{`sum by (state) (neko_worker_state{` + workers + `})`, "{{state}}"}}},
			{kind: graph, title: "CPU", about: "CPUs that an app uses on a host, all its processes together.", unit: "none",
				queries: []query{{`sum by (instance, app) (rate(neko_app_cpu_seconds_total{` + apps + `}[$__rate_interval]))`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "CPU of each worker wanted", about: "1 is a whole CPU for each worker: for programs of one thread there is no more.", unit: "percentunit", steps: []step{{0.9, "red"}},
				queries: []query{{`sum by (instance, app) (rate(neko_app_cpu_seconds_total{` + apps + `}[$__rate_interval])) / (sum by (instance, app) (neko_app_instances{` + apps + `}) > 0)`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Memory", about: "Resident memory of each worker. A line that only rises is a leak; max_memory_restart bounds it.", unit: "bytes",
				queries: []query{{`sum by (instance, app, worker) (neko_worker_memory_bytes{` + workers + `})`, "{{instance}} {{app}} {{worker}}"}}},
			{kind: graph, title: "Memory of its limit", about: "Which part of the memory it may have a worker has: of max_memory_restart, or of what the control group allows. At 1 it is replaced, or killed.", unit: "percentunit", steps: []step{{0.9, "red"}},
				queries: []query{{`max by (instance, app, worker) (neko_worker_memory_bytes{` + workers + `} / neko_worker_memory_max_bytes{` + workers + `})`, "{{instance}} {{app}} {{worker}}"}}},
			{kind: graph, title: "Age", about: "Since when the process in each slot runs.", unit: "s",
				queries: []query{{`time() - max by (instance, app, worker) (neko_worker_start_time_seconds{` + workers + `})`, "{{instance}} {{app}} {{worker}}"}}},
			{kind: graph, title: "Accept queues", about: "How full the queue of connections that nobody has accepted yet is. When it is full, clients time out.", unit: "percentunit", steps: []step{{0.5, "red"}},
				queries: []query{{`max by (instance, app, listener) (neko_worker_queue_length{` + workers + `} / neko_worker_queue_max{` + workers + `})`, "{{instance}} {{app}} {{listener}}"}}},
			{kind: graph, title: "Draining", about: "Processes that have a successor, and still serve what they have begun.", unit: "none",
				queries: []query{{`sum by (instance, app) (neko_worker_draining{` + workers + `})`, "{{instance}} {{app}}"}}},
		}},
		{title: "What happens", panels: []panel{
			{kind: graph, title: "Crashes", about: "Processes that ended though nobody told them to.", unit: "none", stacked: true,
				queries: []query{{`sum by (instance, app) (increase(neko_app_crashes_total{` + apps + `}[$__rate_interval]))`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Restarts", about: "Processes that took the place of another, by the reason: crash, command, reload, cron, watch, memory, hung.", unit: "none", stacked: true,
				queries: []query{{`sum by (app, reason) (increase(neko_app_restarts_total{` + apps + `}[$__rate_interval]))`, "{{app}} {{reason}}"}}},
			{kind: graph, title: "Reloads", about: "A failed one has changed nothing: the old processes serve on.", unit: "none", stacked: true,
				queries: []query{{`sum by (app, result) (increase(neko_app_reloads_total{` + apps + `}[$__rate_interval]))`, "{{app}} {{result}}"}}},
			{kind: graph, title: "Events", about: "What `nekoctl events` tells, by kind.", unit: "none", stacked: true,
				queries: []query{{`sum by (event) (increase(neko_events_total{` + hosts + `}[$__rate_interval]))`, "{{event}}"}}},
			{kind: graph, title: "Hooks", about: "Calls of on_event, by how they ended.", unit: "none", stacked: true,
				queries: []query{{`sum by (instance, result) (increase(neko_hook_calls_total{` + hosts + `}[$__rate_interval]))`, "{{instance}} {{result}}"}}},
			{kind: graph, title: "Lines lost", about: "Lines that were printed and could not be written to a log: a full disk, say.", unit: "none", stacked: true,
				queries: []query{{`sum by (instance, app) (increase(neko_log_lost_lines_total{` + apps + `}[$__rate_interval]))`, "{{instance}} {{app}}"}}},
		}},
		{title: "nekoctl itself", closed: true, panels: []panel{
			{kind: list, title: "Versions", about: "Which version of nekoctl runs where.", columns: []column{{"daemons", "none"}},
				queries: []query{{`count by (instance, version) (neko_build_info{` + hosts + `})`, ""}}},
			{kind: graph, title: "Memory", about: "Resident memory of master and keeper.", unit: "bytes",
				queries: []query{
					{`sum by (instance) (neko_master_memory_bytes{` + hosts + `})`, "{{instance}} master"},
					{`sum by (instance) (neko_keeper_memory_bytes{` + hosts + `})`, "{{instance}} keeper"},
				}},
			{kind: graph, title: "Age of the master", about: "It begins anew at an upgrade, and when a master dies.", unit: "s",
				queries: []query{{`time() - max by (instance) (neko_master_start_time_seconds{` + hosts + `})`, "{{instance}}"}}},
			{kind: graph, title: "Collecting", about: "How long it took last to ask all workers what they count. A worker that does not answer costs a second.", unit: "s",
				queries: []query{{`max by (instance) (neko_collect_duration_seconds{` + hosts + `})`, "{{instance}}"}}},
			{kind: graph, title: "Workers that did not tell", about: "How often a worker did not answer on NEKO_METRICS_SOCKET, or not with metrics.", unit: "none", stacked: true,
				queries: []query{{`sum by (instance, app) (increase(neko_collect_failures_total{` + apps + `}[$__rate_interval]))`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Scrapes", about: "How long Prometheus waited for the answer.", unit: "s",
				queries: []query{{`max by (instance) (scrape_duration_seconds{job="neko",` + hosts + `})`, "{{instance}}"}}},
		}},
	},
}
