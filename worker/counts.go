package worker

import (
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/nekoctl/neko/histogram"
)

// handlerKind is which part of the worker has answered a request, for the metrics: what a
// client may choose, a path say, is in none of their labels.
type handlerKind int

const (
	handlerGraphQL handlerKind = iota
	handlerProbe
	handlerOther // a path of the program's own, one where nothing is, and what could not be read
)

var handlerNames = [...]string{"graphql", "probe", "other"}

// operationType is that of a GraphQL operation.
type operationType int

const (
	typeQuery operationType = iota
	typeMutation
	typeUnknown // it was refused before it was known, or is none that is served
)

var operationTypes = [...]string{"query", "mutation", "unknown"}

// outcomeKind is what has become of a GraphQL operation.
type outcomeKind int

const (
	outcomeOK       outcomeKind = iota
	outcomeRejected             // it asks for what it may not, or cannot, have: the client can change that
	outcomeFailed               // the worker, or what it calls, is at fault
)

var outcomeNames = [...]string{"ok", "rejected", "failed"}

// documentKind is what has become of a document that was named by its hash or its id.
type documentKind int

const (
	documentHit documentKind = iota
	documentMiss
	documentRegistered // its text came with the hash, and is kept
)

var documentKinds = [...]string{"hit", "miss", "registered"}

// knownCodes are those of errors that have a series of their own; any other code is the
// program's, and counts as "other".
var knownCodes = [...]Code{
	CodeBadRequest, CodeMethodNotAllowed, CodeUnsupportedMedia, CodeNotAcceptable, CodeTooLarge, CodeNotFound,
	CodeParseFailed, CodeValidationFailed, CodeOperationUnresolved, CodeDocumentTooLarge, CodeMaxDepth, CodeMaxAliases,
	CodeMaxSelections, CodeTooExpensive, CodeNoIntrospection, CodeBadUserInput, CodeTimeout, CodeResponseTooLarge,
	CodeUnauthenticated, CodeForbidden, CodeUnavailable, CodeNotPersisted, CodeNoPersisting, CodeHashMismatch,
	CodeNotInList, CodeNotTrusted, CodeIDAndBody, CodeBatchTooLarge, CodeRateLimited, CodeInternal,
}

const (
	firstStatus = 100
	statusCodes = 500 // from firstStatus on; another is counted in the place after
	// mostShards is how many processors count apart at most.
	mostShards = 16
)

// counts are what is counted of requests. Each processor has its own most of the time, as each has
// envelopes of its own in their pool: with one for all, every request would wait for the
// cache line that another has just written. Nobody takes a lock.
type counts struct {
	requests   [len(handlerNames)][statusCodes + 1]atomic.Uint64
	durations  histogram.Histogram // of GraphQL
	received   atomic.Uint64       // bytes of bodies
	sent       atomic.Uint64
	hits       atomic.Uint64 // operations that were known by their bytes: queries that are ok
	operations [len(operationTypes)][len(outcomeNames)]atomic.Uint64
	persisted  [len(documentKinds)]atomic.Uint64
	errors     [len(knownCodes) + 1]atomic.Uint64 // in the order of knownCodes, then all others
	_          [128]byte
}

// counters are the counts of a worker.
type counters struct {
	shards []*counts
	next   atomic.Uint32

	handshakeFailures atomic.Uint64
	executions        histogram.Histogram
	costs             histogram.Histogram // of what was executed

	off bool // a benchmark's
}

func (c *counters) begin() {
	c.shards = make([]*counts, min(runtime.GOMAXPROCS(0), mostShards))
	for i := range c.shards {
		c.shards[i] = new(counts)
		c.shards[i].durations.Begin(&histogram.Durations)
	}
	c.executions.Begin(&histogram.Durations)
	c.costs.Begin(&histogram.Numbers)
}

// shard is where the next envelope that is made counts.
func (c *counters) shard() *counts {
	return c.shards[int(c.next.Add(1))%len(c.shards)]
}

// count counts a request that is about to be answered, and what took so long. It sees what the
// client is going to see.
func (w *Worker) count(ctx *fasthttp.RequestCtx, e *envelope, took time.Duration) {
	c := e.counts
	if w.counting.off || c == nil || e.nobody || e.arrival.gone {
		return
	}
	place := ctx.Response.StatusCode() - firstStatus
	if place < 0 || place >= statusCodes {
		place = statusCodes
	}
	if n := sentBytes(ctx); n > 0 {
		c.sent.Add(uint64(n))
	}
	if n := e.arrival.size; n > 0 {
		c.received.Add(uint64(n))
	}
	if k := e.known; k != nil {
		c.requests[handlerGraphQL][place].Add(1)
		c.durations.Duration(took)
		c.hits.Add(1)
		if k.persisted {
			c.persisted[documentHit].Add(1)
		}
		return
	}
	h := handlerOf(ctx, e)
	c.requests[h][place].Add(1)
	if h != handlerGraphQL {
		return
	}
	c.durations.Duration(took)
	x, _ := ctx.UserValue(exchangeKey{}).(*exchange)
	whole := x == nil || x.status != 0 || e.panicked // one error for all
	if whole {
		for _, code := range e.codes {
			c.failed(code)
		}
	}
	if x == nil { // refused for how it was sent, or it is no operation: a page, a question of a browser
		return
	}
	if len(x.operations) == 0 {
		c.operations[typeUnknown][refusedAs(x.status, e.panicked)].Add(1)
	}
	for i := range x.operations {
		op := &x.operations[i]
		outcome := refusedAs(x.status, e.panicked)
		if !whole {
			outcome = op.result.outcome()
			for _, err := range op.result.errors {
				c.failed(err.publicCode())
			}
		}
		c.operations[op.typ()][outcome].Add(1)
		if kind := op.persistence(); kind >= 0 {
			c.persisted[kind].Add(1)
		}
	}
}

// refusedAs is the outcome of all operations of a request that was refused with a status.
func refusedAs(status int, panicked bool) outcomeKind {
	if panicked || status >= fasthttp.StatusInternalServerError {
		return outcomeFailed
	}
	return outcomeRejected
}

func handlerOf(ctx *fasthttp.RequestCtx, e *envelope) handlerKind {
	switch path := ctx.Path(); {
	case e.unread:
	case string(path) == graphqlPath:
		return handlerGraphQL
	case isProbe(path):
		return handlerProbe
	}
	return handlerOther
}

// failed counts an error that a client is told.
func (c *counts) failed(code Code) {
	i := slices.Index(knownCodes[:], code)
	if i < 0 {
		i = len(knownCodes)
	}
	c.errors[i].Add(1)
}

// outcome says what has become of an operation whose result r is.
func (r *result) outcome() outcomeKind {
	switch {
	case r.failed():
		return outcomeFailed
	case len(r.errors) > 0:
		return outcomeRejected
	}
	return outcomeOK
}

func (op *operation) typ() operationType {
	if op.plan != nil {
		switch op.plan.Kind {
		case ast.Query:
			return typeQuery
		case ast.Mutation:
			return typeMutation
		}
	}
	return typeUnknown
}

// named says whether the client has named the document, and not sent it.
func (op *operation) named() bool {
	return op.query == "" && (op.persisted != nil || op.documentID != "")
}

// persistence is what has become of the document that op names, less than 0 if it does not name one,
// or nobody has looked for it.
func (op *operation) persistence() documentKind {
	switch {
	case op.registered:
		return documentRegistered
	case !op.named():
	case op.document != (documentHash{}):
		return documentHit
	case op.plan == nil && len(op.result.errors) > 0:
		switch op.result.errors[0].code {
		case CodeNotPersisted, CodeNoPersisting, CodeNotInList:
			return documentMiss
		}
	}
	return -1
}

// sentBytes is how long the body of an answer is, as it is sent; of one that a program of its own
// streams, as far as that is known.
func sentBytes(ctx *fasthttp.RequestCtx) int {
	switch {
	case ctx.IsHead(), ctx.Response.StatusCode() == fasthttp.StatusNotModified, ctx.Response.SkipBody:
		return 0
	case ctx.Response.IsBodyStream():
		return max(ctx.Response.Header.ContentLength(), 0)
	}
	return len(ctx.Response.Body())
}
