package worker

import (
	"context"

	"github.com/valyala/fasthttp"
	"github.com/vektah/gqlparser/v2/ast"
)

const graphqlPath = "/graphql"

// serveGraphQL answers GET and POST /graphql, by GraphQL over HTTP.
func (w *Worker) serveGraphQL(ctx *fasthttp.RequestCtx) {
	req, bad := decode(ctx)
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
	respond(ctx, w.execute(plan, req.variables))
}

// execute runs plan with the variables of a request, in a context that neither
// the connection nor its buffers are part of.
func (w *Worker) execute(plan *Plan, given map[string]any) result {
	values, states, err := w.planner.coerceAll(plan, given)
	if err != nil {
		return failed(err)
	}
	text, err := plan.text(states)
	if err != nil {
		return failed(err)
	}
	ctx, cancel := context.WithTimeout(w.base, w.config.ExecutionTimeout)
	defer cancel()
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
