package main

var runtime = dashboard{
	uid: "neko-runtime", title: "neko / Runtime",
	about:     "The processes themselves: memory, goroutines, the garbage collector, descriptors. Of workers that tell it: those of neko's runtime, and any with a Prometheus library on NEKO_METRICS_SOCKET.",
	variables: []variable{byInstance, byApp, byWorker},
	rows: []row{
		{title: "Process", panels: []panel{
			{kind: graph, title: "CPU", about: "CPUs that an app uses, as its workers count it; processes that have ended are part of it.", unit: "none",
				queries: []query{{`sum by (instance, app) (rate(process_cpu_seconds_total{` + apps + `}[$__rate_interval]))`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Resident memory", about: "Of each worker, as the kernel counts it.", unit: "bytes",
				queries: []query{{`max by (instance, app, worker) (process_resident_memory_bytes{` + workers + `})`, "{{instance}} {{app}} {{worker}}"}}},
			{kind: graph, title: "Descriptors", about: "The part of its file descriptors that a worker has open: without any left it accepts nobody.", unit: "percentunit", max: 1, steps: []step{{0.8, "red"}},
				queries: []query{{`max by (instance, app, worker) (process_open_fds{` + workers + `} / process_max_fds{` + workers + `})`, "{{instance}} {{app}} {{worker}}"}}},
			{kind: graph, title: "Age", about: "Since when the process runs.", unit: "s",
				queries: []query{{`time() - max by (instance, app, worker) (process_start_time_seconds{` + workers + `})`, "{{instance}} {{app}} {{worker}}"}}},
		}},
		{title: "Go", panels: []panel{
			{kind: graph, title: "Heap", about: "What is allocated in the heap. It goes up and down with the garbage collector; its lows should not rise.", unit: "bytes",
				queries: []query{{`max by (instance, app, worker) (go_memstats_heap_alloc_bytes{` + workers + `})`, "{{instance}} {{app}} {{worker}}"}}},
			{kind: graph, title: "Goroutines", about: "Some for each connection and request. If they rise without traffic, something waits for ever.", unit: "none",
				queries: []query{{`max by (instance, app, worker) (go_goroutines{` + workers + `})`, "{{instance}} {{app}} {{worker}}"}}},
			{kind: graph, title: "Collections", about: "Runs of the garbage collector a second, all workers of an app. Many with a small heap: GOMEMLIMIT is near.", unit: "ops",
				queries: []query{{`sum by (instance, app) (rate(go_gc_duration_seconds_count{` + apps + `}[$__rate_interval]))`, "{{instance}} {{app}}"}}},
			{kind: graph, title: "Pauses", about: "The part of its time in which the garbage collector stops a worker.", unit: "percentunit",
				queries: []query{{`sum by (instance, app) (rate(go_gc_duration_seconds_sum{` + apps + `}[$__rate_interval])) / sum by (instance, app) (neko_worker_up{` + apps + `})`, "{{instance}} {{app}}"}}},
		}},
	},
}
