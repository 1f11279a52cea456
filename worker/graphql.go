package worker

import (
	"context"
	"errors"

	"github.com/valyala/fasthttp"
	"github.com/vektah/gqlparser/v2/ast"
)

const graphqlPath = "/graphql"

// serveGraphQL answers GET and POST /graphql, by GraphQL over HTTP.
func (w *Worker) serveGraphQL(ctx *fasthttp.RequestCtx) {
	req, bad := decode(ctx, &w.bodies)
	if bad != nil {
		refuse(ctx, bad)
		return
	}
	plan, errs := w.planner.plan(w.base, req.query, req.operationName)
	if errs != nil {
		respond(ctx, failed(errs...))
		return
	}
	switch {
	case plan.Kind == ast.Subscription:
		respond(ctx, failed(Errorf(CodeBadRequest, "subscriptions are not served here")))
		return
	case plan.Kind == ast.Mutation && req.get:
		ctx.Response.Header.Set(fasthttp.HeaderAllow, fasthttp.MethodPost)
		refuse(ctx, &badRequest{fasthttp.StatusMethodNotAllowed, CodeMethodNotAllowed, "a mutation must be sent by POST"})
		return
	}
	caller, bad := w.identify(ctx)
	if bad != nil {
		refuse(ctx, bad)
		return
	}
	if err := w.planner.roles.authorize(plan, &caller.Identity); err != nil {
		respond(ctx, failed(err))
		return
	}
	respond(ctx, w.execute(plan, req.variables, caller))
}

// identify finds out who sent the request that ctx holds.
func (w *Worker) identify(ctx *fasthttp.RequestCtx) (*Caller, *badRequest) {
	caller := &Caller{}
	c := Credentials{
		Authorization: string(ctx.Request.Header.Peek(fasthttp.HeaderAuthorization)),
		APIKey:        string(ctx.Request.Header.Peek("X-API-Key")),
	}
	if w.config.Identify == nil || c == (Credentials{}) {
		return caller, nil
	}
	var err error
	if caller.Identity, err = w.config.Identify(w.base, c); err == nil {
		return caller, nil
	}
	var known *Error
	if errors.As(err, &known) && known.code == CodeUnauthenticated {
		ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
		return nil, &badRequest{fasthttp.StatusUnauthorized, CodeUnauthenticated, known.Message}
	}
	w.config.Log.Printf("error: cannot tell who sends a request: %v", err)
	return nil, &badRequest{fasthttp.StatusServiceUnavailable, CodeUnavailable, "who you are cannot be found out at the moment"}
}

// execute runs plan with the variables of a request, in a context that neither
// the connection nor its buffers are part of.
func (w *Worker) execute(plan *Plan, given map[string]any, caller *Caller) result {
	values, states, err := w.planner.coerceAll(plan, given)
	if err != nil {
		return failed(err)
	}
	if err := w.planner.limits.checkCost(plan, values); err != nil {
		return failed(err)
	}
	text, err := plan.text(states)
	if err != nil {
		return failed(err)
	}
	ctx, cancel := context.WithTimeout(w.base, w.config.ExecutionTimeout)
	defer cancel()
	ctx = WithCaller(ctx, caller)
	if w.config.Context != nil {
		ctx = w.config.Context(ctx)
	}
	r := w.executor.execute(ctx, plan, text, values)
	if plan.introspect && r.data != nil {
		if r.data, err = w.planner.introspect(plan, values, r.data, maxIntrospectionFields); err != nil {
			return failed(err)
		}
	}
	return r
}
