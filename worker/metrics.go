package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/nekoctl/neko/cache"
)

// metricsServer tells what the worker counts, as Prometheus reads it, on the socket
// that the supervisor has offered: NEKO_METRICS_SOCKET of the worker contract.
type metricsServer struct {
	path   string
	made   os.FileInfo
	server *fasthttp.Server
	done   chan struct{}
}

const (
	metricsPath = "/metrics"
	typeMetrics = "text/plain; version=0.0.4; charset=utf-8"
	// metricsAtOnce is how many may ask at once; others are turned away.
	metricsAtOnce = 8
	metricsTime   = 5 * time.Second
)

// metricsFromEnv reads NEKO_METRICS_SOCKET and removes it from the environment: it is
// for this process and not for programs that it starts.
func metricsFromEnv() string {
	path := os.Getenv("NEKO_METRICS_SOCKET")
	_ = os.Unsetenv("NEKO_METRICS_SOCKET")
	return path
}

// serveMetrics serves at path until close, nil if it is "". What has the name already, a
// predecessor's socket, is replaced: it is there for who asks next, without a gap.
func (w *Worker) serveMetrics(path string) (*metricsServer, error) {
	if path == "" {
		return nil, nil
	}
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("NEKO_METRICS_SOCKET is %q, not an absolute path", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("NEKO_METRICS_SOCKET: %s is there, and is no socket", path) // somebody's file
	}
	own := fmt.Sprintf("%s.%d", path, os.Getpid())
	l, err := listenPrivately(own)
	if err != nil {
		return nil, fmt.Errorf("NEKO_METRICS_SOCKET: %w", err)
	}
	m := &metricsServer{path: path, done: make(chan struct{})}
	if err = os.Rename(own, path); err == nil {
		m.made, err = os.Lstat(path)
	}
	if err != nil {
		l.Close()
		_ = os.Remove(own)
		return nil, fmt.Errorf("NEKO_METRICS_SOCKET: %w", err)
	}
	m.server = &fasthttp.Server{
		Handler: w.answerMetrics, Logger: serverLog{w.config.Log},
		Concurrency: metricsAtOnce, ReadTimeout: metricsTime, WriteTimeout: metricsTime, IdleTimeout: metricsTime,
		MaxRequestBodySize: 1, ReadBufferSize: 4 << 10, NoDefaultServerHeader: true, CloseOnShutdown: true,
	}
	go func() {
		defer close(m.done)
		_ = m.server.Serve(l) // until close
	}()
	return m, nil
}

// listenPrivately opens a unix socket that nobody but this user can connect to: its mode
// is that of the descriptor when it is bound, so there is no moment at which it is another.
func listenPrivately(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	address, done, err := shortAddress(path)
	if err != nil {
		return nil, err
	}
	defer done()
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); e != nil {
			return e
		}
		return err
	}}
	l, err := private.Listen(context.Background(), "unix", address)
	if err != nil {
		return nil, err
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false) // the name may be a successor's by then
	return u, nil
}

// close ends the service, and takes the socket away if it is still this process's.
func (m *metricsServer) close() {
	if m == nil {
		return
	}
	if info, err := os.Lstat(m.path); err == nil && os.SameFile(info, m.made) {
		_ = os.Remove(m.path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), metricsTime)
	defer cancel()
	_ = m.server.ShutdownWithContext(ctx) // who is being answered
	<-m.done
}

func (w *Worker) answerMetrics(ctx *fasthttp.RequestCtx) {
	if string(ctx.Path()) != metricsPath || !ctx.IsGet() && !ctx.IsHead() {
		plainText(ctx, fasthttp.StatusNotFound, "nothing here but "+metricsPath+"\n")
		return
	}
	ctx.Response.Header.SetContentType(typeMetrics)
	ctx.SetBody(w.appendMetrics(nil))
}

// appendMetrics appends all that is counted, in the text format 0.0.4.
func (w *Worker) appendMetrics(b []byte) []byte {
	if w.rates != nil {
		b = w.rates.appendMetrics(b)
	}
	if w.config.Cache != nil {
		b = appendCacheMetrics(b, w.config.Cache.Stats())
	}
	if t, ok := w.config.Tracer.(interface {
		TraceStats() (exported, dropped uint64)
	}); ok {
		b = appendTraceMetrics(b, t.TraceStats)
	}
	return appendProcessMetrics(w.dependencies.appendMetrics(b))
}

func appendCacheMetrics(b []byte, s cache.Stats) []byte {
	b = appendFamily(b, "neko_cache_served_total", "Answers from the cache, or for it, by what they were.", "counter")
	for _, c := range []struct {
		state string
		value uint64
	}{
		{"fresh", s.Fresh}, {"stale", s.Stale}, {"stale_on_error", s.StaleOnError}, {"made", s.Misses}, {"coalesced", s.Coalesced},
	} {
		b = append(append(append(b, `neko_cache_served_total{state="`...), c.state...), `"} `...)
		b = append(strconv.AppendUint(b, c.value, 10), '\n')
	}
	away := uint64(0)
	if s.SharedAway {
		away = 1
	}
	for _, c := range []struct {
		name, help, typ string
		value           uint64
	}{
		{"neko_cache_negative_total", "Answers that were served and say that there is nothing.", "counter", s.Negative},
		{"neko_cache_fills_total", "How often an answer was made.", "counter", s.Fills},
		{"neko_cache_failed_fills_total", "How often one could not be, because what it is made from was away.", "counter", s.FailedFills},
		{"neko_cache_panics_total", "How often a fault of the program ended the making of one.", "counter", s.Panics},
		{"neko_cache_refreshes_total", "Answers that were made anew in the background.", "counter", s.Refreshes},
		{"neko_cache_skipped_refreshes_total", "Answers that were not, because too many were.", "counter", s.SkippedRefreshes},
		{"neko_cache_shared_hits_total", "Answers that were found where all hosts share them.", "counter", s.SharedHits},
		{"neko_cache_shared_misses_total", "Answers that were not found there.", "counter", s.SharedMisses},
		{"neko_cache_shared_errors_total", "Calls to what the hosts share that failed, or came too late.", "counter", s.SharedErrors},
		{"neko_cache_waits_total", "How often another host was waited for that made the same answer.", "counter", s.Waits},
		{"neko_cache_invalidated_tags_total", "Tags that were invalidated by this process.", "counter", s.Invalidated},
		{"neko_cache_reserve_hits_total", "Answers that were taken from the file of this process, as nothing better could be had.", "counter", s.ReserveHits},
		{"neko_cache_reserve_misses_total", "Answers that were looked for there, and not found, or of no use.", "counter", s.ReserveMisses},
		{"neko_cache_reserve_writes_total", "Answers that were written there.", "counter", s.ReserveWrites},
		{"neko_cache_reserve_dropped_total", "Answers that were not: too many waited, or one was too large, or it could not be written.", "counter", s.ReserveDropped},
		{"neko_cache_reserve_errors_total", "How often the file could not be read or written, or was damaged.", "counter", s.ReserveErrors},
		{"neko_cache_reserve_entries", "Answers that are there.", "gauge", s.ReserveEntries},
		{"neko_cache_reserve_bytes", "What they take of it.", "gauge", s.ReserveBytes},
		{"neko_cache_reserve_max_bytes", "How large it may become; 0 if there is none.", "gauge", s.ReserveMaxBytes},
		{"neko_cache_reserve_index_bytes", "The memory that it takes to know what is where.", "gauge", s.ReserveIndexBytes},
		{"neko_cache_evictions_total", "Answers that others took the room of.", "counter", s.Evictions},
		{"neko_cache_shared_away", "1 while what the hosts share cannot be asked.", "gauge", away},
		{"neko_cache_waiting_tags", "Invalidated tags that other hosts have not been told of yet.", "gauge", s.Waiting},
		{"neko_cache_entries", "Answers in the memory of this process.", "gauge", s.Entries},
		{"neko_cache_bytes", "What they take there.", "gauge", s.Bytes},
		{"neko_cache_max_bytes", "What they may take there.", "gauge", s.MaxBytes},
	} {
		b = appendFamily(b, c.name, c.help, c.typ)
		b = append(strconv.AppendUint(append(append(b, c.name...), ' '), c.value, 10), '\n')
	}
	return b
}

func appendTraceMetrics(b []byte, stats func() (exported, dropped uint64)) []byte {
	exported, dropped := stats()
	b = appendFamily(b, "neko_traces_exported_total", "Spans that the receiver has taken.", "counter")
	b = append(strconv.AppendUint(append(b, "neko_traces_exported_total "...), exported, 10), '\n')
	b = appendFamily(b, "neko_traces_dropped_total", "Spans that were lost: there was no room for them, or the receiver has not taken them.", "counter")
	return append(strconv.AppendUint(append(b, "neko_traces_dropped_total "...), dropped, 10), '\n')
}

func (r *rates) appendMetrics(b []byte) []byte {
	s := r.limiter.Stats()
	var names []string
	rules := r.current.Load().rules
	for i := range rules { // those that have not counted anything yet, too
		names = append(names, rules[i].policy.Name)
	}
	names = slices.AppendSeq(names, maps.Keys(s.Allowed))
	names = slices.AppendSeq(names, maps.Keys(s.Denied))
	slices.Sort(names)
	names = slices.Compact(names)
	for _, f := range []struct {
		name, help string
		of         map[string]uint64
	}{
		{"neko_limiter_allowed_total", "Charges that a rate limit has let pass.", s.Allowed},
		{"neko_limiter_denied_total", "Requests that a rate limit has refused.", s.Denied},
	} {
		b = appendFamily(b, f.name, f.help, "counter")
		for _, name := range names {
			b = append(append(append(b, f.name...), `{policy="`...), name...)
			b = append(strconv.AppendUint(append(b, `"} `...), f.of[name], 10), '\n')
		}
	}
	for _, c := range []struct {
		name, help string
		value      uint64
	}{
		{"neko_limiter_remembered_total", "Refusals for which no source was asked, because an earlier answer still held.", s.Remembered},
		{"neko_limiter_alone_total", "Decisions that were made without the source, as the policy has it.", s.Alone},
		{"neko_limiter_source_calls_total", "Calls to the source that all hosts share.", s.Calls},
		{"neko_limiter_source_failures_total", "Calls to the source that failed, or came too late for who waited.", s.Failures},
		{"neko_limiter_leased_tokens_total", "Tokens that the source has given ahead.", s.Leased},
		{"neko_limiter_expired_tokens_total", "Tokens given ahead that nobody has used in time.", s.Expired},
		{"neko_limiter_returned_tokens_total", "Tokens given ahead that were given back.", s.Returned},
		{"neko_limiter_forgotten_total", "Buckets that others took over before they were full again, as there was no room left.", s.Forgotten},
		{"neko_limiter_forgiven_tokens_total", "Tokens that those buckets lacked.", s.Forgiven},
	} {
		b = appendFamily(b, c.name, c.help, "counter")
		b = append(strconv.AppendUint(append(append(b, c.name...), ' '), c.value, 10), '\n')
	}
	away := 0
	if s.Away {
		away = 1
	}
	for _, g := range []struct {
		name, help string
		value      int
	}{
		{"neko_limiter_hosts", "Hosts that share the source, as last seen.", s.Hosts},
		{"neko_limiter_away", "1 while the source cannot be asked, or is not waited for.", away},
	} {
		b = appendFamily(b, g.name, g.help, "gauge")
		b = append(strconv.AppendInt(append(append(b, g.name...), ' '), int64(g.value), 10), '\n')
	}
	return b
}

// appendProcessMetrics tells what the process holds, under the names that other programs of Go's have for it.
func appendProcessMetrics(b []byte) []byte {
	b = appendFamily(b, "go_goroutines", "Goroutines that there are.", "gauge")
	return append(strconv.AppendInt(append(b, "go_goroutines "...), int64(runtime.NumGoroutine()), 10), '\n')
}

func appendFamily(b []byte, name, help, typ string) []byte {
	return fmt.Appendf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, typ)
}
