package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// metricsServer tells what the worker counts, as Prometheus reads it, on the socket
// that the supervisor has offered: NEKO_METRICS_SOCKET of the worker contract.
type metricsServer struct {
	w        *Worker
	path     string
	made     os.FileInfo
	listener *lastListener
	server   *fasthttp.Server
	done     chan struct{}

	mu   sync.RWMutex // of who is being answered
	over bool         // nobody is answered any more

	connMu sync.Mutex
	conns  map[net.Conn]bool
}

const (
	metricsPath = "/metrics"
	typeMetrics = "text/plain; version=0.0.4; charset=utf-8"
	// metricsAtOnce is how many may ask at once; others are turned away.
	metricsAtOnce = 8
	metricsTime   = 5 * time.Second
	// metricsGoodbye is how long who is being asked at the end is given, and then the file.
	metricsGoodbye = time.Second
	// lastMetrics is added to the socket's path for the file with what was counted last.
	lastMetrics = ".last"
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
	m := &metricsServer{w: w, path: path, listener: &lastListener{l}, done: make(chan struct{}), conns: map[net.Conn]bool{}}
	if err = os.Rename(own, path); err == nil {
		m.made, err = os.Lstat(path)
	}
	if err != nil {
		l.Close()
		_ = os.Remove(own)
		return nil, fmt.Errorf("NEKO_METRICS_SOCKET: %w", err)
	}
	m.server = &fasthttp.Server{
		Handler: m.answer, ConnState: m.connState, Logger: serverLog{w.config.Log},
		Concurrency: metricsAtOnce, ReadTimeout: metricsTime, WriteTimeout: metricsTime, IdleTimeout: metricsTime,
		MaxRequestBodySize: 1, ReadBufferSize: 4 << 10, NoDefaultServerHeader: true, CloseOnShutdown: true,
	}
	go func() {
		defer close(m.done)
		_ = m.server.Serve(m.listener) // until close
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

// lastListener is one whose Accept waits for nobody when its deadline has passed: it accepts who
// has connected already, and then it is io.EOF.
type lastListener struct{ *net.UnixListener }

func (l *lastListener) Accept() (net.Conn, error) {
	c, err := l.UnixListener.Accept()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return c, err
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var failed error
	err = raw.Control(func(of uintptr) {
		for failed = syscall.EINTR; failed == syscall.EINTR; {
			fd, _, failed = syscall.Accept4(int(of), syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
		}
	})
	if err != nil || failed != nil { // EAGAIN, nearly always
		return nil, io.EOF
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	return net.FileConn(f) // which has a descriptor of its own
}

// close ends the service, and leaves what was counted in a file beside the socket, so that nothing is
// lost of what has come since somebody asked last. The socket goes first, if it is still this
// process's; who has connected before is answered; then nobody is, and the file is written: what
// it has is the last word, and no less than anything that was said before.
func (m *metricsServer) close() {
	if m == nil {
		return
	}
	if info, err := os.Lstat(m.path); err == nil && os.SameFile(info, m.made) {
		_ = os.Remove(m.path)
	}
	_ = m.listener.SetDeadline(time.Unix(1, 0))
	<-m.done
	ctx, cancel := context.WithTimeout(context.Background(), metricsGoodbye)
	defer cancel()
	_ = m.server.ShutdownWithContext(ctx) // waits for who is being answered
	m.mu.Lock()
	m.over = true
	m.mu.Unlock()
	m.connMu.Lock()
	for c := range m.conns {
		_ = c.Close() // of who dawdles
	}
	m.connMu.Unlock()
	written := make(chan error, 1)
	go func() { written <- writeLast(m.path+lastMetrics, m.w.appendMetrics(nil)) }()
	select {
	case err := <-written:
		if err != nil {
			m.w.config.Log.Warn(fmt.Sprintf("what was counted last is lost for the metrics: %v", err))
		}
	case <-time.After(metricsGoodbye):
		m.w.config.Log.Warn(fmt.Sprintf("what was counted last is lost for the metrics: it could not be written within %v", metricsGoodbye))
	}
}

func (m *metricsServer) connState(c net.Conn, state fasthttp.ConnState) {
	m.connMu.Lock()
	defer m.connMu.Unlock()
	switch state {
	case fasthttp.StateNew:
		m.conns[c] = true
	case fasthttp.StateClosed:
		delete(m.conns, c)
	}
}

// writeLast writes a file that is whole when it is there, and that nobody else can read.
func writeLast(path string, text []byte) error {
	own := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Remove(own); err != nil && !errors.Is(err, os.ErrNotExist) { // of one that had our number before
		return err
	}
	f, err := os.OpenFile(own, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(own, path)
	}
	if err != nil {
		_ = os.Remove(own)
	}
	return err
}

func (m *metricsServer) answer(ctx *fasthttp.RequestCtx) {
	if string(ctx.Path()) != metricsPath || !ctx.IsGet() && !ctx.IsHead() {
		plainText(ctx, fasthttp.StatusNotFound, "nothing here but "+metricsPath+"\n")
		return
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.over {
		plainText(ctx, fasthttp.StatusServiceUnavailable, "this process ends\n")
		return
	}
	ctx.Response.Header.SetContentType(typeMetrics)
	ctx.Response.SetBodyRaw(m.w.appendMetrics(nil))
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
	all := families()
	for i := range all {
		f := &all[i]
		if f.has != nil && !f.has(w) {
			continue
		}
		s.begin(&f.MetricFamily)
		f.read(&s)
	}
	s.end()
	return w.ownMetrics.append(s.b)
}
