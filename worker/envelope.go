package worker

import (
	"context"
	"net/netip"
	"time"

	"github.com/nekoctl/neko/cache"
	"github.com/valyala/fasthttp"
	"github.com/vektah/gqlparser/v2/ast"
	"go.opentelemetry.io/otel/trace"
)

// envelope is what is known of one HTTP request and its answer besides the two: what
// those share who stand around the handlers. It ends with the answer, and is used
// again then: what outlives the answer takes copies.
type envelope struct {
	counts  *counts   // where it is counted, see counts.go
	began   time.Time // when all of the request was there
	id      []byte    // see requestid.go
	ip      netip.Addr
	subject string // of the identity
	codes   []Code // of the errors, each once
	secret  bool   // the answer may hold a token
	unread  bool   // the request's header could not be read
	warming bool   // nobody has asked, see warmUp
	nobody  bool   // the client has ended the connection before it had asked

	panicked bool

	limitedBy string // the rate limit that has refused it
	line      []byte // room for the access log
	arrival   arrival

	sight    sight         // see known.go
	known    *known        // what it was, if it was answered by that
	finished bool          // nothing is to be added to the answer
	answer   *cache.Answer // whose body the answer has

	trace   trace.TraceID   // not valid: it is not traced
	span    trace.Span      // nil: it is not recorded, as far as is known
	context context.Context // of that span, or of the trace; nil: nobody has needed it
}

type envelopeKey struct{}

// envelopeOf is the envelope of ctx. There is always one, and without a server
// around, as when a worker warms up, it is one that nobody else sees.
func envelopeOf(ctx *fasthttp.RequestCtx) *envelope {
	if e, ok := ctx.UserValue(envelopeKey{}).(*envelope); ok {
		return e
	}
	e := new(envelope)
	ctx.SetUserValue(envelopeKey{}, e)
	return e
}

// serveEnveloped answers a request by handler, and sees to all that does not depend on
// what is asked.
func (w *Worker) serveEnveloped(ctx *fasthttp.RequestCtx, handler fasthttp.RequestHandler) {
	e, _ := w.envelopes.Get().(*envelope)
	if e == nil {
		e = &envelope{counts: w.counting.shard()}
	}
	ctx.SetUserValue(envelopeKey{}, e)
	e.id = appendRequestID(e.id[:0], ctx.Request.Header.Peek(requestIDHeader))
	e.ip = w.proxies.clientOf(ctx)

	if w.tracer != nil {
		w.beginTrace(ctx, e)
	}

	handler(ctx)

	if !e.finished {
		w.secure(ctx, e)
		if !w.config.NoCompression && !e.secret {
			compress(ctx, e.answer)
		}
	}
	if e.began.IsZero() {
		e.began = time.Now() // it was refused before anything was looked at
	}
	var took time.Duration
	if !w.counting.off || w.access != nil {
		took = time.Since(e.began)
	}
	w.count(ctx, e, took)
	if w.access != nil {
		w.access.log(ctx, e, took)
	}
	if e.span != nil {
		w.endTrace(ctx, e)
	}
	ctx.RemoveUserValue(envelopeKey{})
	w.bodies.done(&e.arrival)
	e.reset()
	w.envelopes.Put(e)
}

func (e *envelope) reset() {
	e.arrival.size, e.arrival.gone = 0, false
	*e = envelope{counts: e.counts, id: e.id, codes: e.codes[:0], line: e.line, arrival: e.arrival}
}

// arrived notes that the request is there, with its body, or that no more of that is
// waited for: how long a client takes to send it makes no request a slow one.
func (e *envelope) arrived() { e.began = time.Now() }

// planned notes an operation that was asked for. What a mutation answers may be a
// token, as that of a login is.
func (e *envelope) planned(plan *Plan) {
	if plan.Kind == ast.Mutation {
		e.secret = true
	}
}

// maxCodes is how many different codes of one request are told.
const maxCodes = 8

// failed notes the codes of errors.
func (e *envelope) failed(errs []*Error) {
next:
	for _, err := range errs {
		code := err.publicCode()
		for _, known := range e.codes {
			if known == code {
				continue next
			}
		}
		if len(e.codes) == maxCodes {
			return
		}
		e.codes = append(e.codes, code)
	}
}

// caller is who asks, for resolvers, which may outlive the envelope.
func (e *envelope) caller() *Caller { return &Caller{IP: e.ip, RequestID: string(e.id)} }
