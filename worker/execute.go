package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	graphql "github.com/graph-gophers/graphql-go"
	gqlerrors "github.com/graph-gophers/graphql-go/errors"
	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/logtext"
)

// result is the outcome of an operation. Data is nil if it did not run, or if the whole
// answer was in the cache.
type result struct {
	data   json.RawMessage
	errors []*Error
	cached *cache.Answer
	stale  bool // cached could not be made anew
}

func failed(errs ...*Error) result { return result{errors: errs} }

// executor runs plans. It is the one place that knows what executes them.
type executor struct {
	schema    *graphql.Schema
	maxFields int
	log       *slog.Logger
}

func newExecutor(c Config) (*executor, error) {
	e := &executor{maxFields: c.MaxFields, log: c.Log}
	options := append([]graphql.SchemaOpt{
		graphql.UseStringDescriptions(),
		graphql.UseFieldResolvers(),
		// The default of 10 would split what data loaders could fetch at once.
		graphql.MaxParallelism(1000),
		graphql.Tracer(fieldCounter{costs: c.FieldCosts}),
		graphql.Logger(e),
		graphql.PanicHandler(e),
	}, c.SchemaOptions...)
	var err error
	if e.schema, err = graphql.ParseSchema(c.Schema, c.Resolver, options...); err != nil {
		return nil, fmt.Errorf("schema and resolvers: %w", err)
	}
	return e, nil
}

// execute runs the plan with coerced variables, and returns at the latest when
// ctx ends: a resolver that does not heed ctx goes on by itself then, and what
// it returns is dropped. The caller gives up values.
func (e *executor) execute(ctx context.Context, plan *Plan, text string, values map[string]any) result {
	ctx, cancel := withFieldBudget(ctx, e.maxFields)
	defer cancel(nil)
	done := make(chan result, 1)
	go func() { done <- e.run(ctx, plan, text, values) }()
	select {
	case r := <-done:
		return r
	case <-ctx.Done():
	}
	select {
	case r := <-done: // both: the answer is there
		return r
	default:
		return failed(interrupted(ctx))
	}
}

func (e *executor) run(ctx context.Context, plan *Plan, text string, values map[string]any) (r result) {
	defer func() {
		if v := recover(); v != nil {
			e.LogPanic(ctx, v)
			r = failed(NewError(CodeInternal, "internal error"))
		}
	}()
	response := e.schema.Exec(ctx, text, plan.Name, values)
	r.data = response.Data
	if len(response.Errors) == 0 {
		return r
	}
	if r.data == nil && ctx.Err() != nil {
		return failed(interrupted(ctx))
	}
	list := response.Errors
	for _, err := range list[:min(len(list), maxFieldErrors)] {
		r.errors = append(r.errors, e.public(ctx, err, r.data != nil))
	}
	if more := len(list) - maxFieldErrors; more > 0 {
		r.errors = append(r.errors, &Error{Message: fmt.Sprintf("and %d more errors", more), extensions: r.errors[0].Extensions()})
	}
	return r
}

// maxFieldErrors is how many errors of an executed operation are told, and put
// into the log: if the store is away, every list in a list has one.
const maxFieldErrors = 100

// interrupted is why ctx ended.
func interrupted(ctx context.Context) *Error {
	var cause *Error
	if errors.As(context.Cause(ctx), &cause) {
		return cause
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return NewError(CodeTimeout, "the operation took too long")
	}
	return NewError(CodeInternal, "the server stopped before the operation was complete")
}

// public is what the client learns of err. Locations are left out: they are
// those of the printed text, which the client does not know.
func (e *executor) public(ctx context.Context, err *gqlerrors.QueryError, executed bool) *Error {
	p := &Error{Message: err.Message, Path: err.Path, extensions: err.Extensions, code: CodeInternal}
	var known interface{ Extensions() map[string]any }
	switch {
	case err.ResolverError == nil && !executed:
		p.code = CodeValidationFailed // what graph-gophers sees and gqlparser does not
	case err.ResolverError == nil && err.Path == nil && err.Extensions == nil:
		p.code = CodeBadUserInput // an argument that its resolver cannot take
	case err.ResolverError == nil:
	case errors.As(err.ResolverError, &known):
		p.Message, p.extensions = err.ResolverError.Error(), known.Extensions()
		// What lies behind such an error is not for the client, but for whoever
		// has to put it right.
		cause := errors.Unwrap(err.ResolverError)
		if code := fmt.Sprint(p.Extensions()["code"]); cause != nil && (code == string(CodeInternal) || code == string(CodeUnavailable)) {
			e.log.ErrorContext(ctx, pathString(err.Path)+": "+p.Message, logtext.Reason, cause)
		}
	case errors.Is(err.ResolverError, context.DeadlineExceeded):
		p.Message, p.code = "the operation took too long", CodeTimeout
	default:
		e.log.ErrorContext(ctx, pathString(err.Path), logtext.Reason, err.ResolverError)
		p.Message = "internal error"
	}
	return p
}

func pathString(path []any) string {
	s := ""
	for i, step := range path {
		if i > 0 {
			s += "."
		}
		s += fmt.Sprint(step)
	}
	return s
}

// LogPanic implements graph-gophers' log.Logger.
func (e *executor) LogPanic(ctx context.Context, value any) {
	e.log.ErrorContext(ctx, "panic in a resolver", logtext.Reason, value, "stack", string(debug.Stack()))
}

// MakePanicError implements graph-gophers' errors.PanicHandler. The client does
// not learn what the panic said.
func (e *executor) MakePanicError(context.Context, any) *gqlerrors.QueryError {
	return &gqlerrors.QueryError{Message: "internal error", Extensions: map[string]any{"code": CodeInternal}}
}
