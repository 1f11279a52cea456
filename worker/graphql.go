package worker

import (
	"context"
	"errors"
	"time"

	"github.com/nekoctl/neko/logtext"
	"github.com/valyala/fasthttp"
	"github.com/vektah/gqlparser/v2/ast"
	"go.opentelemetry.io/otel/attribute"
)

const graphqlPath = "/graphql"

// serveGraphQL answers GET, HEAD and POST /graphql, by GraphQL over HTTP.
func (w *Worker) serveGraphQL(ctx *fasthttp.RequestCtx) {
	x := new(exchange)
	ctx.SetUserValue(exchangeKey{}, x)
	bad := w.process(ctx, x)
	if bad == nil {
		bad = w.makeRoom(ctx, x)
	}
	if bad != nil {
		x.status = bad.status
	}
	switch {
	case x.over != nil:
		refuseWith(ctx, bad.status, x.over)
		return
	case bad != nil:
		x.refused = bad.code
		refuse(ctx, bad)
		return
	}
	for i := range x.operations {
		if plan := x.operations[i].plan; plan != nil {
			envelopeOf(ctx).planned(plan)
		}
	}
	respond(ctx, x)
	w.remember(ctx, envelopeOf(ctx), x)
	for i := range x.operations { // the answer has its own copy, and may be long on its way
		x.operations[i].result.data, x.operations[i].result.cached = nil, nil
	}
}

// process is a request's way: what it asks for is read, found and planned, it is
// decided whether who asks may have it, and so much of it, and only then anything
// runs. What is wrong with one operation becomes its result; what is wrong with the
// HTTP request is returned.
func (w *Worker) process(ctx *fasthttp.RequestCtx, x *exchange) *badRequest {
	caller, bad := w.judge(ctx, x)
	if bad = w.rates.limit(ctx, x, caller, bad); bad != nil {
		return bad
	}
	for i := range x.operations {
		if op := &x.operations[i]; op.pending() && op.register != "" {
			w.documents.put(op.document, op.register)
			op.plan.named.Store(true)
			op.registered = true
		}
	}
	if x.batch {
		w.executeBatch(w.contextOf(envelopeOf(ctx)), x.operations, caller)
		return nil
	}
	if op := &x.operations[0]; op.pending() {
		op.result = w.resultOf(w.contextOf(envelopeOf(ctx)), op, caller)
	}
	return nil
}

// judge finds out what is asked for and who asks, nil if nothing can run, and fails
// the operations that cannot or may not.
func (w *Worker) judge(ctx *fasthttp.RequestCtx, x *exchange) (*Caller, *badRequest) {
	var ok bool
	if x.media, ok = negotiate(accept(ctx)); !ok {
		return nil, &badRequest{fasthttp.StatusNotAcceptable, CodeNotAcceptable, "answers are application/graphql-response+json or application/json"}
	}
	if planned, bad := w.read(ctx, x); bad != nil || !planned {
		return nil, bad
	}
	if x.batch {
		w.boundBatch(x.operations)
	}
	caller, bad := w.identify(ctx)
	if bad != nil {
		for i := range x.operations {
			if op := &x.operations[i]; op.pending() {
				w.auditRefused(op.plan, caller, bad.code)
			}
		}
		return caller, bad
	}
	for i := range x.operations {
		op := &x.operations[i]
		if !op.pending() {
			continue
		}
		if err := w.planner.roles.authorize(op.plan, &caller.Identity); err != nil {
			w.auditRefused(op.plan, caller, err.code)
			op.fail(err)
			continue
		}
		op.input = w.planner.input(op.plan, op.variables)
	}
	return caller, nil
}

// read decodes what is asked for, and plans it. It is false if nothing of it can run.
func (w *Worker) read(ctx *fasthttp.RequestCtx, x *exchange) (planned bool, bad *badRequest) {
	_, span := w.step(w.spanOf(envelopeOf(ctx)), "plan")
	defer span.End()
	if bad := w.decode(ctx, x); bad != nil {
		return false, bad
	}
	for i := range x.operations {
		op := &x.operations[i]
		if op.result.errors == nil { // it could be read
			w.plan(op)
		}
		failing(span, op.result.errors)
		planned = planned || op.pending()
	}
	return planned, nil
}

// plan finds the document that op is about, and plans the operation in it.
func (w *Worker) plan(op *operation) {
	text, err := w.find(op)
	if err != nil {
		op.fail(err)
		return
	}
	plan, errs := w.planned(op, text)
	switch {
	case errs != nil:
		op.fail(errs...)
		return
	case plan.Kind == ast.Subscription:
		op.fail(NewError(CodeBadRequest, "subscriptions are not served here"))
	case plan.Kind == ast.Mutation && op.get:
		op.fail(NewError(CodeMethodNotAllowed, "a mutation must be sent by POST"))
	}
	op.plan = plan
}

// identify finds out who sent the request that ctx holds. The caller is what is
// known also of whom it refuses.
func (w *Worker) identify(ctx *fasthttp.RequestCtx) (*Caller, *badRequest) {
	e := envelopeOf(ctx)
	caller := e.caller()
	if w.config.Identify == nil {
		return caller, nil
	}
	var c Credentials
	for i, name := range [...]string{fasthttp.HeaderAuthorization, "X-API-Key"} {
		switch given := ctx.Request.Header.PeekAll(name); {
		case len(given) > 1: // what stands before us may have looked at another one
			return caller, &badRequest{fasthttp.StatusBadRequest, CodeBadRequest, "the request has more than one " + name}
		case len(given) == 1 && len(given[0]) == 0: // a client without the key that it should have
			return caller, &badRequest{fasthttp.StatusUnauthorized, CodeUnauthenticated, "the header " + name + " is empty"}
		case len(given) == 1 && i == 0:
			c.Authorization = string(given[0])
		case len(given) == 1:
			c.APIKey = string(given[0])
		}
	}
	if c == (Credentials{}) {
		return caller, nil
	}
	within, cancel := context.WithTimeout(w.contextOf(e), w.config.ExecutionTimeout)
	defer cancel()
	within, span := w.step(within, "identify")
	defer span.End()
	var err error
	if caller.Identity, err = w.config.Identify(within, c); err == nil {
		e.subject = caller.Identity.Subject
		return caller, nil
	}
	var known *Error
	if errors.As(err, &known) && known.code == CodeUnauthenticated {
		return caller, &badRequest{fasthttp.StatusUnauthorized, CodeUnauthenticated, known.Message}
	}
	span.Fail(string(CodeUnavailable))
	w.config.Log.ErrorContext(WithCaller(within, caller), "cannot tell who sends a request", logtext.Reason, err)
	return caller, &badRequest{fasthttp.StatusServiceUnavailable, CodeUnavailable, "who you are cannot be found out at the moment"}
}

// execute runs plan with the variables of a request, in a context that neither
// the connection nor its buffers are part of. Mutations are put on record, and
// invalidate what they change. The caller gives up in.
func (w *Worker) execute(ctx context.Context, plan *Plan, in input, caller *Caller) result {
	ctx, cancel := context.WithTimeout(ctx, w.config.ExecutionTimeout)
	defer cancel()
	return w.auditMutation(ctx, plan, caller, func(ctx context.Context) result {
		return w.invalidating(ctx, plan, func(ctx context.Context) result {
			return w.run(ctx, plan, in, caller)
		})
	})
}

func (w *Worker) run(ctx context.Context, plan *Plan, in input, caller *Caller) (r result) {
	ctx, span := w.step(ctx, "execute")
	if span.Recording() {
		defer func() {
			span.Set(attribute.String("graphql.operation.type", string(plan.Kind)))
			failing(span, r.errors)
			span.End()
		}()
	}
	if in.err != nil {
		return failed(in.err)
	}
	cost, tooMuch := w.planner.limits.checkCost(ctx, plan, in.values)
	if tooMuch != nil {
		return failed(tooMuch)
	}
	text, err := plan.text(in.states)
	if err != nil {
		return failed(err)
	}
	if span.Recording() {
		span.Set(attribute.Int("neko.graphql.cost", cost))
	}
	ctx = WithCaller(ctx, caller)
	if w.config.Context != nil {
		ctx = w.config.Context(ctx)
	}
	began := time.Now()
	r = w.executor.execute(ctx, plan, text, in.values)
	w.counting.executions.Since(began)
	w.counting.costs.Observe(uint64(cost))
	if plan.introspect && r.data != nil {
		if r.data, err = w.planner.introspect(plan, in.values, r.data, maxIntrospectionFields); err != nil {
			return failed(err)
		}
	}
	return r
}
