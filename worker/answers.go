package worker

import (
	"sync/atomic"

	"github.com/valyala/fasthttp"
	"github.com/vektah/gqlparser/v2/ast"
)

// answers bounds what the answers that are on their way have in memory together. A
// client takes one at its own pace, within writeTimeout, and may have asked for it with
// a few bytes: some hundred that take nothing would have gigabytes.
type answers struct {
	room atomic.Int64 // bytes left for what is beyond smallAnswer
}

const (
	// smallAnswer is what every connection may be sent.
	smallAnswer = 64 << 10
	// allAnswers is what those that are larger may have together.
	allAnswers = 128 << 20
)

// heldAnswer is what a connection has taken of the room.
type heldAnswer struct {
	of    *answers
	bytes int64
}

// take makes room for an answer of n bytes, until it is sent. There may be none, but
// not for what must be answered.
func (a *answers) take(ctx *fasthttp.RequestCtx, n int, must bool) bool {
	c := clientConnOf(ctx)
	if n <= smallAnswer || c == nil {
		return true
	}
	if a.room.Add(int64(-n)) < 0 && !must {
		a.room.Add(int64(n))
		return false
	}
	h := &heldAnswer{a, int64(n)}
	if before := c.answers.Swap(h); before != nil { // to requests that came together
		h.bytes += before.bytes
	}
	return true
}

// sent gives back what the answers on c have taken.
func (c *clientConn) sent() {
	if h := c.answers.Swap(nil); h != nil {
		h.of.room.Add(h.bytes)
	}
}

// makeRoom takes room for the answer to x, or says that there is none. What a
// mutation has done is told in any case: who is not told does it again.
func (w *Worker) makeRoom(ctx *fasthttp.RequestCtx, x *exchange) *badRequest {
	n, must := 0, false
	for i := range x.operations {
		op := &x.operations[i]
		n += op.result.size()
		must = must || op.result.data != nil && op.plan.Kind == ast.Mutation
	}
	if !w.answers.take(ctx, n, must) {
		return noRoom()
	}
	if n > smallAnswer && (x.batch || x.operations[0].result.cached == nil) { // in one piece, and not in ever larger ones
		ctx.Response.SwapBody(make([]byte, 0, n+n/64+4<<10))
	}
	return nil
}

func noRoom() *badRequest {
	return &badRequest{fasthttp.StatusServiceUnavailable, CodeUnavailable, "too many large answers are under way: ask again later"}
}
