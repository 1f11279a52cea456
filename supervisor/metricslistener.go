package supervisor

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"github.com/nekoctl/neko/supervisor/keeper"
	"github.com/nekoctl/neko/supervisor/metrics"
	"github.com/nekoctl/neko/supervisor/socket"
	"github.com/nekoctl/neko/supervisor/spec"
)

// The address of the setting metrics is for Prometheus: it answers GET /metrics, and
// nothing else. The keeper has the socket, too, so that whoever scrapes while there is no
// master waits for the next.

// metricsFiles is the name of the socket at the keeper.
const metricsFiles = "metrics"

// What strangers may cost: connections at once, and how long one takes.
const (
	mostScrapes = 16
	scrapeTime  = 10 * time.Second
)

// metricsListener is the open address. There is one at the most that is the master's.
type metricsListener struct {
	setting string // that it was opened for
	group   *socket.Group

	mu        sync.Mutex
	server    *http.Server // nil: it does not serve
	listener  *fewConns
	accepting chan struct{} // closed when no connection is accepted any more
}

// openMetrics binds an address, beside one of ours that it may overlap.
func openMetrics(setting string, beside *metricsListener) (*metricsListener, error) {
	g, err := socket.Open("tcp", setting, 1, true)
	if inUse := (*socket.InUseError)(nil); errors.As(err, &inUse) && beside != nil && samePort(beside.group.Address, setting) {
		// It is ours that is in the way, or else this fails as well. An address can so become
		// a wider one of the same port.
		if g, err = socket.Adopt("tcp", setting, true, nil); err == nil {
			err = g.Grow(1)
		}
	}
	if err != nil {
		hint := "choose another address for `metrics:`, or none"
		switch {
		case errors.As(err, new(*socket.InUseError)):
			hint = "stop what uses it, or choose another address for `metrics:`"
		case errors.Is(err, unix.EADDRNOTAVAIL):
			hint = "this machine does not have that address; `metrics: 127.0.0.1:9464` is for this machine only"
		case errors.Is(err, unix.EACCES):
			hint = "a port below 1024 takes root or CAP_NET_BIND_SERVICE"
		}
		return nil, failure(hint, "metrics: %v", err)
	}
	return &metricsListener{setting: setting, group: g}, nil
}

func samePort(a, b string) bool {
	_, one, err := net.SplitHostPort(a)
	_, other, err2 := net.SplitHostPort(b)
	return err == nil && err2 == nil && one == other
}

// serve begins to answer.
func (l *metricsListener) serve(text func() ([]byte, error)) error {
	listener, err := listenerOf(l.group.FD(0))
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server != nil {
		listener.Close()
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) { answerScrape(w, r, text) })
	l.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: scrapeTime / 2, ReadTimeout: scrapeTime / 2, WriteTimeout: scrapeTime,
		MaxHeaderBytes: 8 << 10, ErrorLog: log.New(io.Discard, "", 0), // what strangers do wrong is not to fill our log
	}
	l.server.SetKeepAlivesEnabled(false)
	l.listener, l.accepting = &fewConns{Listener: listener, free: make(chan struct{}, mostScrapes)}, make(chan struct{})
	go func(server *http.Server, few *fewConns, accepting chan struct{}) {
		defer close(accepting)
		_ = server.Serve(few) // until it is closed
	}(l.server, l.listener, l.accepting)
	return nil
}

// pause answers all whose connection was accepted, and accepts no other: those wait. The
// server's own Shutdown would drop what it has not looked at yet.
func (l *metricsListener) pause() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server == nil {
		return
	}
	few, accepting := l.listener, l.accepting
	few.Close()
	answered := make(chan struct{})
	go func() {
		<-accepting
		few.conns.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-time.After(scrapeTime / 2): // who says nothing
		_ = l.server.Close()
	}
	l.server = nil
}

func answerScrape(w http.ResponseWriter, r *http.Request, text func() ([]byte, error)) {
	body, err := text()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", metrics.ContentType)
	h.Set("Vary", "Accept-Encoding")
	h.Set("X-Content-Type-Options", "nosniff")
	var out io.Writer = w
	if takesGzip(r.Header.Values("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		// Without a state, which would be most of a MiB for each scrape.
		z, err := gzip.NewWriterLevel(w, gzip.StatelessCompression)
		if err != nil {
			panic(err) // there is such a level
		}
		defer z.Close()
		out = z
	}
	_, _ = out.Write(body) // who asked has gone
}

// takesGzip reads Accept-Encoding as far as to see whether gzip is named, and not refused.
func takesGzip(values []string) bool {
	for coding := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if weight = strings.ReplaceAll(weight, " ", ""); strings.EqualFold(strings.TrimSpace(name), "gzip") {
			return strings.Trim(strings.TrimPrefix(weight, "q="), "0.") != "" || weight == ""
		}
	}
	return false
}

// fewConns accepts a connection when there are few enough.
type fewConns struct {
	net.Listener
	free  chan struct{}
	conns sync.WaitGroup
}

func (l *fewConns) Accept() (net.Conn, error) {
	l.free <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	l.conns.Add(1)
	return &countedConn{Conn: conn, of: l}, nil
}

type countedConn struct {
	net.Conn
	once sync.Once
	of   *fewConns
}

func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		<-c.of.free
		c.of.conns.Done()
	})
	return err
}

// useMetrics makes l the listener, nil: none. It is called in the loop.
func (m *master) useMetrics(l *metricsListener) {
	old := m.metrics
	m.metrics = l
	if l == nil {
		m.withdraw(metricsFiles)
		delete(m.held, metricsFiles)
	} else {
		fd := l.group.FD(0)
		m.kept(metricsFiles, m.conn.Put(metricsFiles, fd))
		m.held[metricsFiles] = []int{fd}
		if err := l.serve(m.allMetrics); err != nil {
			m.log("metrics: %v", err)
		}
	}
	m.warn("metrics", "")
	if old != nil {
		go func() {
			old.pause()
			_ = old.group.Close()
		}()
	}
}

func (m *master) allMetrics() ([]byte, error) { return m.metricsText(nil, false) }

// adoptMetrics goes on with the listener of an earlier master, or opens it if both it and
// its keeper were killed.
func (m *master) adoptMetrics(in *keeper.Inheritance) {
	fds := in.Files[metricsFiles]
	if !wantsMetrics(m.settings) {
		closeAll(fds)
		if len(fds) > 0 {
			m.withdraw(metricsFiles)
		}
		return
	}
	if len(fds) == 1 {
		g, err := socket.Adopt("tcp", m.settings.Metrics, true, fds)
		if err == nil {
			m.useMetrics(&metricsListener{setting: m.settings.Metrics, group: g})
			return
		}
		m.log("metrics: %v", err)
		closeAll(fds)
	}
	m.reopenMetrics()
}

func wantsMetrics(d spec.Daemon) bool { return d.Metrics != "" && d.Metrics != spec.Off }

// reopenMetrics tries again to bind an address that is set, and was taken when it was to
// be opened anew. It is called in the loop.
func (m *master) reopenMetrics() {
	if m.metrics != nil || !wantsMetrics(m.settings) || m.stopping || m.leaves {
		return
	}
	l, err := openMetrics(m.settings.Metrics, nil)
	if err != nil {
		m.warn("metrics", err.Error())
		return
	}
	m.useMetrics(l)
	m.log("metrics: http://%s/metrics", l.group.Address)
}

// metricsAddress is where the metrics are, "" if nowhere.
func (m *master) metricsAddress() string {
	if m.metrics == nil {
		return ""
	}
	return m.metrics.group.Address
}

// pauseMetrics lets the next master answer who comes from here on. It is not called in
// the loop.
func (m *master) pauseMetrics() {
	var l *metricsListener
	m.do(func() { l = m.metrics })
	l.pause()
}

// resumeMetrics goes on after all. It is called in the loop.
func (m *master) resumeMetrics() {
	if l := m.metrics; l != nil {
		if err := l.serve(m.allMetrics); err != nil {
			m.log("metrics: %v", err)
		}
	}
}
