package worker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/tracing"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"
)

// Worker serves one schema. [Run] makes a process of it; programs with a life of
// their own call [New], Serve and Drain.
type Worker struct {
	config   Config
	tracer   trace.Tracer // nil: nothing is traced
	sampler  traceSampler // nil: the tracer is asked
	planner  *planner
	executor *executor
	drainer  *drainer
	stopping *stopping
	server   *fasthttp.Server
	bodies   bodies
	answers  answers
	proxies  proxies
	csrf     *csrf
	cors     *cors
	hsts     []byte
	cert     *certificate // nil: no TLS
	access   *accessLog
	started  time.Time

	envelopes  sync.Pool
	counting   counters
	ownMetrics *ownMetrics

	rates     *rates            // nil: no limits
	documents documents         // nil: no automatic persisted queries
	trusted   *trustedDocuments // nil: no list

	known      *knownRequests // nil: no cache
	belated    belated        // what mutations may change yet that have failed
	negotiated negotiated

	base   context.Context // of every execution; ends with Close
	cancel context.CancelFunc

	mu        sync.Mutex
	listeners []*drainListener
	accepting sync.WaitGroup

	passed       []atomic.Bool // which of the checks have, ever
	dependencies dependencies

	auditComplained atomic.Int64 // when, in Unix seconds
}

// New makes a worker that does not serve yet. It fails if the schema is none, or
// the resolver does not fit it. Config.Prepare is not called: that is for [Run].
func New(config Config) (*Worker, error) {
	w := &Worker{config: config.withDefaults(), stopping: stoppingFromEnv(), started: time.Now()}
	w.counting.begin()
	w.drainer = newDrainer(w.stopping)
	// Both parse the schema, and start-up time is what a crash costs.
	planned := make(chan error, 1)
	go func() {
		var err error
		w.planner, err = newPlanner(w.config)
		planned <- err
	}()
	var err error
	w.executor, err = newExecutor(w.config)
	if err := errors.Join(<-planned, err); err != nil {
		return nil, err
	}
	if w.config.Tracer != nil {
		w.tracer = w.config.Tracer.Tracer(tracing.Scope)
		w.sampler, _ = w.config.Tracer.(traceSampler)
	}
	if w.config.Cache != nil {
		w.known = newKnownRequests()
	}
	w.bodies.init(w.config.MaxBody)
	w.answers.room.Store(allAnswers)
	if err := w.openDocuments(); err != nil {
		return nil, err
	}
	if err := w.guard(); err != nil {
		return nil, err
	}
	if w.rates, err = w.newRates(); err != nil {
		return nil, err
	}
	w.base, w.cancel = context.WithCancel(context.Background())
	w.passed = make([]atomic.Bool, len(w.config.Checks))
	w.watchDependencies(w.base)
	w.watchLimits(w.base)
	go w.stopping.watch(w.base)
	if w.cert != nil {
		w.cert.complain(w.cert.validity(time.Now()))
		go w.cert.watch(w.base)
	}
	if w.rates != nil && w.rates.file != nil {
		go w.rates.watch(w.base)
	}
	if w.access != nil {
		go w.access.run()
	}
	handle := w.handle
	serve := w.drainer.handler(func(ctx *fasthttp.RequestCtx) { w.serveEnveloped(ctx, handle) })
	w.server = &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			serve(ctx)
			w.endUnread(ctx)
			gather(ctx)
		},
		ErrorHandler:          w.unreadable,
		HeaderReceived:        w.bodies.received,
		ConnState:             w.drainer.connState,
		Logger:                serverLog{w.config.Log},
		Concurrency:           w.config.MaxConnections,
		ReadTimeout:           readTimeout,
		WriteTimeout:          writeTimeout,
		IdleTimeout:           w.config.IdleTimeout,
		MaxRequestBodySize:    w.config.MaxBody,
		StreamRequestBody:     true,     // see body.go
		ReadBufferSize:        16 << 10, // the longest header, and so the longest GET
		WriteBufferSize:       writeBuffer,
		NoDefaultServerHeader: true,
		LazyRequestTime:       true,
		SecureErrorLogMessage: true,
		// No multipart is served: do not parse it.
		DisablePreParseMultipartForm: true,
	}
	return w, nil
}

// Serve accepts from l until Drain or Close is called, and returns nil then, or
// the error that ended it earlier. Several listeners may be served at once.
func (w *Worker) Serve(l net.Listener) error {
	dl := &drainListener{Listener: l}
	w.mu.Lock()
	if w.drainer.draining.Load() {
		w.mu.Unlock()
		return l.Close()
	}
	w.listeners = append(w.listeners, dl)
	w.accepting.Add(1)
	w.mu.Unlock()
	defer w.accepting.Done()
	accepts := &clientListener{dl, &w.proxies}
	if w.cert != nil {
		return w.server.Serve(&tlsListener{accepts, w.cert.config()})
	}
	return w.server.Serve(accepts)
}

// Drain ends the service as no client notices, within Config.DrainTimeout. It
// returns an error if requests were cut because that, or ctx, was over.
func (w *Worker) Drain(ctx context.Context) error {
	w.mu.Lock()
	w.drainer.draining.Store(true)
	listeners := w.listeners
	w.mu.Unlock()
	defer w.Close()
	return w.drainer.drain(ctx, w.server, listeners, &w.accepting, w.config.DrainTimeout)
}

// Close cancels the contexts of all executions and closes the listeners of this
// process. Connections are left to the end of the process.
func (w *Worker) Close() {
	w.cancel()
	w.belated.end()
	w.access.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.listeners {
		l.stopAccepting()
		_ = l.Close()
	}
}

// serverLog leaves out what the server says of each client that sends nonsense or
// hangs up: anybody could fill the log. The access log has what became of a request.
type serverLog struct{ *slog.Logger }

func (l serverLog) Printf(format string, args ...any) {
	if !strings.HasPrefix(format, "error when serving connection ") {
		l.Warn(fmt.Sprintf(format, args...))
	}
}

// handle finds who answers a request. A panic costs the request only: fasthttp
// itself would end the process.
func (w *Worker) handle(ctx *fasthttp.RequestCtx) {
	defer func() {
		if v := recover(); v != nil {
			w.config.Log.ErrorContext(WithCaller(w.contextOf(envelopeOf(ctx)), envelopeOf(ctx).caller()), "panic in a handler", logtext.Reason, v, "stack", string(debug.Stack()))
			ctx.Response.Reset()
			ctx.SetConnectionClose()
			e := envelopeOf(ctx)
			e.panicked, e.finished, e.known, e.codes = true, false, nil, e.codes[:0]
			write(ctx, fasthttp.StatusInternalServerError, typeJSON, failed(NewError(CodeInternal, "internal error")))
		}
	}()
	if w.serveHit(ctx) {
		return
	}
	if e := envelopeOf(ctx); e.began.IsZero() {
		e.arrived()
	}
	if w.bodies.announced(ctx) {
		w.cors.allow(ctx) // a page is to learn why
		refuse(ctx, w.bodies.tooLarge())
		return
	}
	if w.serveBrowser(ctx) {
		return
	}
	path := string(ctx.Path())
	var serve fasthttp.RequestHandler
	methods := reads
	switch path {
	case graphqlPath:
		serve, methods = w.serveGraphQL, asks
	case livezPath:
		serve = w.serveLivez
	case readyzPath:
		serve = w.serveReadyz
	case healthPath:
		serve = w.serveHealth
	default:
		serve = w.config.Handlers[path]
	}
	if serve == nil {
		refuse(ctx, &badRequest{fasthttp.StatusNotFound, CodeNotFound, "nothing here: GraphQL is at " + graphqlPath})
		return
	}
	if !isProbe(ctx.Path()) {
		if w.cors.options(ctx, methods) {
			return
		}
		w.cors.allow(ctx)
	}
	if !slices.Contains(methods, string(ctx.Method())) {
		ctx.Response.Header.Set(fasthttp.HeaderAllow, strings.Join(methods, ", "))
		refuse(ctx, &badRequest{fasthttp.StatusMethodNotAllowed, CodeMethodNotAllowed, "the method must be " + strings.Join(methods, " or ")})
		return
	}
	if path == graphqlPath {
		if bad := w.csrf.check(&ctx.Request.Header); bad != nil {
			refuse(ctx, bad)
			return
		}
	}
	serve(ctx)
}

// The methods of paths.
var (
	reads = []string{fasthttp.MethodGet, fasthttp.MethodHead}
	asks  = []string{fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodPost}
)

const (
	livezPath  = "/livez"
	readyzPath = "/readyz"
	healthPath = "/health"
)

// guard makes what stands around the handlers, from the Config.
func (w *Worker) guard() (err error) {
	for path, h := range w.config.Handlers {
		switch {
		case h == nil || len(path) < 2 || path[0] != '/' || strings.ContainsAny(path, "?#%"):
			return fmt.Errorf("Config.Handlers: %q is no path with a handler", path)
		case path == graphqlPath || strings.HasPrefix(path, graphqlPath+"/") || isProbe([]byte(path)):
			return fmt.Errorf("Config.Handlers: %s is the worker's own", path)
		}
	}
	if w.proxies, err = newProxies(w.config.TrustedProxies); err != nil {
		return err
	}
	if w.csrf, err = newCSRF(w.config); err != nil {
		return err
	}
	if w.cors, err = newCORS(w.config); err != nil {
		return err
	}
	if w.cert, err = newCertificate(w.config); err != nil {
		return err
	}
	if w.ownMetrics, err = newOwnMetrics(w); err != nil {
		return err
	}
	w.hsts = newHSTS(w.config)
	w.access, err = openAccessLog(w.config)
	return err
}

// check returns what New would say of all that can be checked beforehand: nothing
// is prepared for a worker that cannot be.
func (c Config) check() error {
	w := Worker{config: c.withDefaults()}
	err := w.guard()
	if w.access != nil {
		w.access.closeFile()
	}
	return err
}

// unreadable answers what could not be read as a request.
func (w *Worker) unreadable(ctx *fasthttp.RequestCtx, err error) {
	if c, ok := ctx.Conn().(*tls.Conn); ok && !c.ConnectionState().HandshakeComplete {
		w.counting.handshakeFailures.Add(1)
		answerPlain(err)
		return // nobody could read it
	}
	linger(ctx)
	w.serveEnveloped(ctx, func(ctx *fasthttp.RequestCtx) {
		bad := illegible("the request could not be read")
		var header *fasthttp.ErrSmallBuffer
		var network net.Error
		e := envelopeOf(ctx)
		e.unread = true
		switch {
		case errors.Is(err, syscall.ECONNRESET):
			e.nobody = true // a balancer that looks whether somebody listens ends it so
		case errors.Is(err, fasthttp.ErrBodyTooLarge):
			e.unread = false
			bad = &badRequest{fasthttp.StatusRequestEntityTooLarge, CodeTooLarge, "the body is too large"}
		case errors.As(err, &header):
			bad = &badRequest{fasthttp.StatusRequestHeaderFieldsTooLarge, CodeTooLarge, "the header is too large; send long queries by POST"}
		case errors.As(err, &network) && network.Timeout():
			bad = &badRequest{fasthttp.StatusRequestTimeout, CodeTimeout, "the request took too long to arrive"}
		}
		refuse(ctx, bad)
	})
}
