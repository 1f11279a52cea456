package worker

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/vektah/gqlparser/v2/ast"
)

// exchange is what is known of one request and its answer besides the two: what
// those share who stand around the handlers. It ends with the answer, and is used
// again then: what outlives the answer takes copies.
type exchange struct {
	began      time.Time // only if there is an access log
	id         []byte    // see requestid.go
	ip         netip.Addr
	subject    string // of the identity
	operations []operation
	codes      []Code // of the errors, each once
	secret     bool   // the answer may hold a token
	unread     bool   // the request's header could not be read
	line       []byte // room for the access log
}

// operation is one that a request asks for: several in a batch.
type operation struct {
	document  string // the client's text; only its hash is ever told
	name      string
	kind      ast.Operation // "" until it is planned
	persisted bool          // the client sent the document's hash, or its id
}

type exchangeKey struct{}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// exchangeOf is the exchange of ctx. There is always one, and without a server
// around, as when a worker warms up, it is one that nobody else sees.
func exchangeOf(ctx *fasthttp.RequestCtx) *exchange {
	if x, ok := ctx.UserValue(exchangeKey{}).(*exchange); ok {
		return x
	}
	x := new(exchange)
	ctx.SetUserValue(exchangeKey{}, x)
	return x
}

// serveExchange answers a request by handler, and sees to all that does not depend on
// what is asked.
func (w *Worker) serveExchange(ctx *fasthttp.RequestCtx, handler fasthttp.RequestHandler) {
	x := exchanges.Get().(*exchange)
	ctx.SetUserValue(exchangeKey{}, x)
	if w.access != nil {
		x.began = time.Now()
	}
	x.id = appendRequestID(x.id[:0], ctx.Request.Header.Peek(requestIDHeader))
	x.ip = w.proxies.client(ctx.RemoteAddr(), &ctx.Request.Header)

	handler(ctx)

	w.secure(ctx, x)
	if !w.config.NoCompression && !x.secret {
		compress(ctx)
	}
	if w.access != nil {
		w.access.log(ctx, x)
	}
	ctx.RemoveUserValue(exchangeKey{})
	x.reset()
	exchanges.Put(x)
}

func (x *exchange) reset() {
	clear(x.operations) // the documents
	*x = exchange{id: x.id, operations: x.operations[:0], codes: x.codes[:0], line: x.line}
}

// asks notes an operation as the client has sent it, and returns it for what will
// be known of it. The pointer is good until the next call.
func (x *exchange) asks(document, name string, persisted bool) *operation {
	x.operations = append(x.operations, operation{document: document, name: name, persisted: persisted})
	return &x.operations[len(x.operations)-1]
}

// planned notes what o turned out to be. What a mutation answers may be a token,
// as that of a login is.
func (x *exchange) planned(o *operation, plan *Plan) {
	o.name, o.kind = plan.Name, plan.Kind
	if plan.Kind == ast.Mutation {
		x.secret = true
	}
}

// maxCodes is how many different codes of one request are told.
const maxCodes = 8

// failed notes the codes of errors.
func (x *exchange) failed(errs []*Error) {
next:
	for _, e := range errs {
		code := codeOf(e)
		for _, known := range x.codes {
			if known == code {
				continue next
			}
		}
		if len(x.codes) == maxCodes {
			return
		}
		x.codes = append(x.codes, code)
	}
}

// codeOf is what extensions.code of e will be.
func codeOf(e *Error) Code {
	switch code := e.extensions["code"].(type) {
	case nil:
		return e.code
	case Code:
		return code
	case string:
		return Code(code)
	}
	return "" // a resolver's own affair
}

// caller is who asks, for resolvers, which may outlive the exchange.
func (x *exchange) caller() *Caller { return &Caller{IP: x.ip, RequestID: string(x.id)} }

// inRequest is what a line of the log ends with, so that it can be found by what
// the client was told.
func inRequest(ctx context.Context) string { return requestNote(CallerFrom(ctx).RequestID) }

func requestNote(id string) string {
	if id == "" {
		return ""
	}
	return " (request " + id + ")"
}
