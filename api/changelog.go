package api

import (
	"sync/atomic"
	"time"

	"github.com/nekoctl/neko/worker"
)

// ChangelogCounts are how it goes with following the store's log of what imports and purges change.
// The zero value has not looked yet.
type ChangelogCounts struct {
	looked         atomic.Int64 // when that went well last, or was tried first, in Unix nanoseconds
	failures, tags atomic.Uint64
}

// Looked counts that all is known that the log has now, and how many tags were new in it.
func (c *ChangelogCounts) Looked(tags int) {
	c.looked.Store(time.Now().UnixNano())
	c.tags.Add(uint64(tags))
}

// Failed counts that it could not be read, or what is in it not be heeded.
func (c *ChangelogCounts) Failed() {
	c.failures.Add(1)
	c.looked.CompareAndSwap(0, time.Now().UnixNano())
}

// Metrics are what an API worker tells besides all that every worker does.
func (c *ChangelogCounts) Metrics() []worker.MetricFamily {
	return []worker.MetricFamily{
		{
			Name: "neko_changelog_lag_seconds", Type: worker.MetricGauge, When: "of neko-api, with a cache",
			Help: "How long ago the store's log of imports and purges was read last: what they have changed since then is not known to this worker.",
			Read: func(s *worker.Samples) {
				if at := c.looked.Load(); at != 0 {
					s.Value(max(time.Since(time.Unix(0, at)), 0).Seconds())
				}
			},
		},
		{
			Name: "neko_changelog_failures_total", Type: worker.MetricCounter, When: "of neko-api, with a cache",
			Help: "How often the store's log of imports and purges could not be read.",
			Read: func(s *worker.Samples) { s.Value(float64(c.failures.Load())) },
		},
		{
			Name: "neko_changelog_tags_total", Type: worker.MetricCounter, When: "of neko-api, with a cache",
			Help: "Tags of answers that imports and purges have made untrue.",
			Read: func(s *worker.Samples) { s.Value(float64(c.tags.Load())) },
		},
	}
}
