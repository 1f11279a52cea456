package worker

import (
	"fmt"
	"runtime"
	"strconv"

	"github.com/nekoctl/neko/cache"
)

// appendCacheMetrics tells what the response cache has done, and has.
func appendCacheMetrics(b []byte, s cache.Stats) []byte {
	away := uint64(0)
	if s.SharedAway {
		away = 1
	}
	b = appendFamily(b, "neko_cache_answers_total", "Answers of operations that may be kept, by how they were had.", "counter")
	for _, one := range []struct {
		how   string
		value uint64
	}{
		{"fresh", s.Fresh}, {"stale", s.Stale}, {"stale_on_error", s.StaleOnError}, {"miss", s.Misses}, {"coalesced", s.Coalesced},
	} {
		b = strconv.AppendUint(fmt.Appendf(b, "neko_cache_answers_total{state=%q} ", one.how), one.value, 10)
		b = append(b, '\n')
	}
	for _, m := range []struct {
		name, help, typ string
		value           uint64
	}{
		{"neko_cache_negative_total", "Of those, answers that there is nothing.", "counter", s.Negative},
		{"neko_cache_fills_total", "Answers that were made.", "counter", s.Fills},
		{"neko_cache_failed_fills_total", "Answers that could not be made.", "counter", s.FailedFills},
		{"neko_cache_refreshes_total", "Answers that were made anew in the background.", "counter", s.Refreshes},
		{"neko_cache_refreshes_skipped_total", "Those that were not, as too many were under way.", "counter", s.SkippedRefreshes},
		{"neko_cache_shared_hits_total", "Answers that were found in what hosts share.", "counter", s.SharedHits},
		{"neko_cache_shared_misses_total", "Answers that were looked for there, and not found.", "counter", s.SharedMisses},
		{"neko_cache_shared_errors_total", "Calls to what hosts share that failed, or came too late.", "counter", s.SharedErrors},
		{"neko_cache_shared_away", "1 while what hosts share cannot be asked.", "gauge", away},
		{"neko_cache_waits_total", "Times that was waited for another host that made the same.", "counter", s.Waits},
		{"neko_cache_invalidated_tags_total", "Tags that were invalidated by this worker.", "counter", s.Invalidated},
		{"neko_cache_untold_tags", "Of those, tags of which other hosts do not know yet.", "gauge", s.Waiting},
		{"neko_cache_evictions_total", "Answers that had to go for others.", "counter", s.Evictions},
		{"neko_cache_entries", "Answers in memory.", "gauge", s.Entries},
		{"neko_cache_bytes", "What they take.", "gauge", s.Bytes},
		{"neko_cache_max_bytes", "What they may take.", "gauge", s.MaxBytes},
	} {
		b = appendFamily(b, m.name, m.help, m.typ)
		b = append(strconv.AppendUint(append(append(b, m.name...), ' '), m.value, 10), '\n')
	}
	return b
}

// appendProcessMetrics tells what the process holds, under the names that other programs of Go's have for it.
func appendProcessMetrics(b []byte) []byte {
	b = appendFamily(b, "go_goroutines", "Goroutines that there are.", "gauge")
	return append(strconv.AppendInt(append(b, "go_goroutines "...), int64(runtime.NumGoroutine()), 10), '\n')
}
