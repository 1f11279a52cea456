package worker

import (
	"context"
	"sync/atomic"

	gqlerrors "github.com/graph-gophers/graphql-go/errors"
	"github.com/graph-gophers/graphql-go/trace/noop"
)

// fieldBudget is how many fields an operation may still resolve. Lists within
// lists multiply: a query of two hundred bytes can ask for more than there is
// memory for, and graph-gophers holds an answer as a whole.
type fieldBudget struct {
	max    int
	spent  atomic.Int64
	cost   atomic.Int64 // of the operations of a batch that may run
	cancel context.CancelCauseFunc
	within *fieldBudget // what is spent here is spent there too; nil: nowhere
}

type fieldBudgetKey struct{}

// withFieldBudget is ctx with a budget of limit fields, unless it has one already.
// The context ends when that is exceeded, and its cause is the error for the
// client.
func withFieldBudget(ctx context.Context, limit int) (context.Context, context.CancelCauseFunc) {
	if ctx.Value(fieldBudgetKey{}) != nil {
		return ctx, func(error) {}
	}
	return withFieldBudgetIn(ctx, limit, nil)
}

// withFieldBudgetIn is ctx with a budget of its own, whatever ctx has, that spends from
// another too, if there is one. That ctx does not end when the other is exceeded.
func withFieldBudgetIn(ctx context.Context, limit int, within *fieldBudget) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	b := &fieldBudget{max: limit, cancel: cancel, within: within}
	return context.WithValue(ctx, fieldBudgetKey{}, b), cancel
}

// spend counts what a field costs.
func (b *fieldBudget) spend(cost int64) {
	if spent := b.spent.Add(cost); spent > int64(b.max) && spent-cost <= int64(b.max) { // the first
		b.cancel(NewError(CodeResponseTooLarge, "the answer would be too large: ask for shorter lists or fewer fields, or in several requests"))
	}
}

// fieldCounter sees every field that graph-gophers resolves.
type fieldCounter struct {
	noop.Tracer
	costs map[string]int
}

func finished(*gqlerrors.QueryError) {}

// TraceField implements graph-gophers' tracer.Tracer.
func (c fieldCounter) TraceField(ctx context.Context, _, _, name string, _ bool, _ map[string]any) (context.Context, func(*gqlerrors.QueryError)) {
	b := ctx.Value(fieldBudgetKey{}).(*fieldBudget)
	cost := int64(max(c.costs[name], 1))
	b.spend(cost)
	if b.within != nil {
		b.within.spend(cost)
	}
	return ctx, finished
}
