package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
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
	s := collection{Samples: Samples{b: b, start: len(b), body: len(b)}, w: w, process: readProcess()}
	if w.rates != nil {
		s.limits = w.rates.limiter.Stats()
		s.policies = w.rates.policyNames(s.limits)
	}
	if w.config.Cache != nil {
		s.cache = w.config.Cache.Stats()
	}
	for i := range families {
		f := &families[i]
		if f.has != nil && !f.has(w) {
			continue
		}
		s.begin(&f.MetricFamily)
		f.read(&s)
	}
	s.end()
	return s.b
}
