package worker

import (
	"context"
	"errors"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// Worker serves one schema. [Run] makes a process of it; programs with a life of
// their own call [New], Serve and Drain.
type Worker struct {
	config   Config
	planner  *planner
	executor *executor
	drainer  *drainer
	stopping *stopping
	server   *fasthttp.Server
	bodies   bodies
	started  time.Time

	documents documents         // nil: no automatic persisted queries
	trusted   *trustedDocuments // nil: no list

	base   context.Context // of every execution; ends with Close
	cancel context.CancelFunc

	mu        sync.Mutex
	listeners []*drainListener
	accepting sync.WaitGroup
}

// New makes a worker that does not serve yet. It fails if the schema is none, or
// the resolver does not fit it.
func New(config Config) (*Worker, error) {
	w := &Worker{config: config.withDefaults(), stopping: stoppingFromEnv(), started: time.Now()}
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
	w.bodies.init(w.config.MaxBody)
	if err := w.openDocuments(); err != nil {
		return nil, err
	}
	w.base, w.cancel = context.WithCancel(context.Background())
	go w.stopping.watch(w.base)
	w.server = &fasthttp.Server{
		Handler:               w.drainer.handler(w.handle),
		ErrorHandler:          unreadableRequest,
		ConnState:             w.drainer.connState,
		Logger:                w.config.Log,
		Concurrency:           w.config.MaxConnections,
		ReadTimeout:           readTimeout,
		WriteTimeout:          writeTimeout,
		IdleTimeout:           w.config.IdleTimeout,
		MaxRequestBodySize:    w.config.MaxBody,
		StreamRequestBody:     true,     // see body.go
		ReadBufferSize:        16 << 10, // the longest header, and so the longest GET
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
	return w.server.Serve(dl)
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
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.listeners {
		l.stopAccepting()
		_ = l.Close()
	}
}

// handle finds who answers a request. A panic costs the request only: fasthttp
// itself would end the process.
func (w *Worker) handle(ctx *fasthttp.RequestCtx) {
	defer func() {
		if v := recover(); v != nil {
			w.config.Log.Printf("error: panic in a handler: %v\n%s", v, debug.Stack())
			ctx.Response.Reset()
			ctx.SetConnectionClose()
			write(ctx, fasthttp.StatusInternalServerError, typeJSON, failed(Errorf(CodeInternal, "internal error")))
		}
	}()
	if w.serveBrowser(ctx) {
		return
	}
	var serve fasthttp.RequestHandler
	methods := []string{fasthttp.MethodGet, fasthttp.MethodHead}
	switch string(ctx.Path()) {
	case graphqlPath:
		serve, methods = w.serveGraphQL, []string{fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodPost}
	case "/livez":
		serve = w.serveLivez
	case "/readyz":
		serve = w.serveReadyz
	case "/health":
		serve = w.serveHealth
	default:
		refuse(ctx, &badRequest{fasthttp.StatusNotFound, CodeNotFound, "nothing here: GraphQL is at " + graphqlPath})
		return
	}
	for _, m := range methods {
		if string(ctx.Method()) == m {
			serve(ctx)
			return
		}
	}
	allow := strings.Join(methods, ", ")
	ctx.Response.Header.Set(fasthttp.HeaderAllow, allow)
	refuse(ctx, &badRequest{fasthttp.StatusMethodNotAllowed, CodeMethodNotAllowed, "the method must be " + strings.Join(methods, " or ")})
}

// unreadableRequest answers what could not be read as a request.
func unreadableRequest(ctx *fasthttp.RequestCtx, err error) {
	bad := illegible("the request could not be read")
	var header *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		bad = &badRequest{fasthttp.StatusRequestEntityTooLarge, CodeTooLarge, "the body is too large"}
	case errors.As(err, &header):
		bad = &badRequest{fasthttp.StatusRequestHeaderFieldsTooLarge, CodeTooLarge, "the header is too large; send long queries by POST"}
	case errors.As(err, &network) && network.Timeout():
		bad = &badRequest{fasthttp.StatusRequestTimeout, CodeTimeout, "the request took too long to arrive"}
	}
	refuse(ctx, bad)
}
