package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/logtext"
	"go.opentelemetry.io/otel/attribute"
)

// cacheRequest is what an operation asks the cache for; not ok if its answer is not kept,
// or not for who asks. It is the same for the same operation, variables and asker, and
// takes nothing of in.
func (w *Worker) cacheRequest(plan *Plan, in *input, who *Identity) (r cache.Request, ok bool) {
	cp := plan.caching
	if cp == nil || in.err != nil {
		return r, false
	}
	rank := 0
	if cp.role {
		rank = w.planner.roles.rank(who.Role)
	}
	if r.Key, ok = cp.key(in, who, rank); !ok {
		return r, false
	}
	r.Tags, r.Policy, r.Own = cp.tags(in.values), cp.policy, cp.private
	return r, true
}

// fillGrace is what who waits for an answer waits longer than it may be made: if it cannot be made
// in time, there may be an older one.
const fillGrace = 250 * time.Millisecond

// resultOf is the result of an operation, from the cache if it can be had there, else by execution. What
// who asks may have was decided before. ctx has the bounds of a batch, or of nothing. The
// operation gives up its input.
func (w *Worker) resultOf(ctx context.Context, op *operation, caller *Caller) result {
	request, ok := w.cacheRequest(op.plan, &op.input, &caller.Identity)
	if !ok {
		return w.execute(ctx, op.plan, op.input, caller)
	}
	batch, _ := ctx.Value(fieldBudgetKey{}).(*fieldBudget)
	if batch != nil { // what it may cost does not depend on what is in the cache
		if _, err := w.planner.limits.checkCost(ctx, op.plan, op.input.values); err != nil {
			return failed(err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, w.config.ExecutionTimeout+fillGrace)
	defer cancel()
	ctx, span := w.step(ctx, "cache")
	defer span.End()
	request.Begin = w.begin(ctx)
	served, err := w.config.Cache.Get(ctx, request, w.fill(op.plan, op.input, caller, batch))
	if err == nil {
		op.cacheState = servedAs(served)
		if span.Recording() {
			span.Set(attribute.String("neko.cache.state", op.cacheState), attribute.Bool("neko.cache.shared", served.Shared && served.State == cache.Fresh))
		}
	}
	switch {
	case errors.Is(err, cache.ErrClosed): // before anything was made
		return w.execute(ctx, op.plan, op.input, caller)
	case err != nil && ctx.Err() != nil:
		return failed(interrupted(ctx))
	case err != nil:
		w.config.Log.ErrorContext(WithCaller(ctx, caller), "cache", logtext.Reason, err)
		return failed(NewError(CodeInternal, "internal error"))
	case served.Answer != nil:
		return result{cached: served.Answer, stale: served.State == cache.StaleOnError}
	}
	r, ok := served.Filled.Result.(result)
	if !ok {
		w.config.Log.ErrorContext(WithCaller(ctx, caller), fmt.Sprintf("cache: what was made has no result (state %d)", served.State))
		return failed(NewError(CodeInternal, "internal error"))
	}
	return r
}

// fill makes the answer of an operation, in a context of its own: others may wait for it,
// too, when who has asked first has gone. Unless it is one identity's, it is made for
// nobody in particular, so that nothing of who asked first can get into what all get.
//
// What it resolves counts for the batch that it is made for, if it is; but the end of that
// is not its end.
func (w *Worker) fill(plan *Plan, in input, caller *Caller, batch *fieldBudget) cache.Fill {
	maker := &Caller{RequestID: caller.RequestID}
	switch {
	case plan.caching.private:
		maker.Identity = caller.Identity
	case plan.caching.role:
		maker.Identity.Role = caller.Identity.Role
	}
	return func(ctx context.Context) (f cache.Filled) {
		defer func() { // nobody else would keep it from ending the process
			if v := recover(); v != nil {
				w.config.Log.ErrorContext(WithCaller(ctx, maker), "panic in an operation", logtext.Reason, v, "stack", string(debug.Stack()))
				f = cache.Filled{Failed: true, Result: failed(NewError(CodeInternal, "internal error"))}
			}
		}()
		ctx, cancel := context.WithTimeout(ctx, w.config.ExecutionTimeout)
		defer cancel()
		defer context.AfterFunc(w.base, cancel)()
		ctx, release := withFieldBudgetIn(ctx, w.config.MaxFields, batch)
		defer release(nil)
		r := w.run(ctx, plan, in, maker)
		f = cache.Filled{Result: r, Failed: r.failed()}
		if len(r.errors) == 0 && r.data != nil {
			f.Body, f.Keep, f.Negative = r.body(), true, saysNothing(r.data)
		}
		return f
	}
}

// failed says whether r lacks something because what it is made from is away, or the
// program is at fault: an older answer is better.
func (r result) failed() bool {
	for _, e := range r.errors {
		switch e.publicCode() {
		case CodeUnavailable, CodeTimeout, CodeInternal:
			return true
		}
	}
	return false
}

// body is a result without errors in the form of the specification.
func (r result) body() []byte {
	b := make([]byte, 0, len(r.data)+len(`{"data":}`))
	return append(append(append(b, `{"data":`...), r.data...), '}')
}

// saysNothing says whether all root fields of data are null. Data is as graph-gophers
// writes it: names need no escapes in JSON.
func saysNothing(data []byte) bool {
	if len(data) < 2 || data[0] != '{' || data[1] == '}' {
		return false
	}
	const null = `":null`
	for data = data[1:]; ; data = data[1:] {
		if data[0] != '"' {
			return false
		}
		end := 1
		for end < len(data) && data[end] != '"' {
			end++
		}
		if len(data) <= end+len(null) || string(data[end:end+len(null)]) != null {
			return false
		}
		switch data = data[end+len(null):]; {
		case len(data) == 1 && data[0] == '}':
			return true
		case len(data) < 2 || data[0] != ',':
			return false
		}
	}
}

// cachedBody is the body of an answer of the cache: with a warning, if it could not be
// made anew.
func (r result) cachedBody(now time.Time) []byte {
	a := r.cached
	if !r.stale {
		return a.Body
	}
	age := int64(a.Age(now.UnixMilli()) / time.Second)
	return fmt.Appendf(a.Body[:len(a.Body)-1:len(a.Body)-1],
		`,"extensions":{"warnings":[{"code":"STALE","message":"this was true %d s ago: what it is made from cannot be asked at the moment","ageSeconds":%d}]}}`, age, age)
}
