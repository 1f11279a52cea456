package breaker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/nekoctl/neko/logtext"
)

// Kind says what may be done about a call that has failed.
type Kind bool

const (
	Once       Kind = false // it may have had its effect
	Idempotent Kind = true  // it may be made again
)

// Do makes a call as the policy has it. f runs in a goroutine of its own, with a context
// that ends when Do returns, at the latest; what it refers to must not be changed even
// after Do has returned an error, if f may still run. A panic of f goes on in the caller, as a
// [*PanicError].
//
// The error is f's, or one of [ErrOpen], [ErrBusy] and [ErrTimeout], or that of ctx if it has
// ended. That the caller has given up is no failure of the dependency, unless its deadline
// was over and the call had taken a quarter of the timeout.
//
// A trial does not end with the caller's context, as it has to come to something: Do returns,
// and f goes on until the timeout.
func Do[T any](ctx context.Context, p *Policy, k Kind, f func(context.Context) (T, error)) (T, error) {
	p.calls.Add(1)
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	a, refused := p.admit()
	if refused != nil {
		return none, refused
	}
	if a.trial != nil {
		return doTrial(ctx, ctx, p, a, f)
	}
	within, cancel := context.WithTimeoutCause(ctx, p.o.Timeout, p.timedOut)
	defer cancel()
	v, o, err := try(ctx, within, p, a, f)
	if o != failure || k == Once {
		return v, err
	}
	for n := 0; n < p.o.Retries && p.mayRetry(within, err); n++ {
		pause := time.NewTimer(time.Duration(float64(p.o.Backoff<<n) * (1 + rand.Float64()) / 2))
		select {
		case <-pause.C:
		case <-within.Done():
			pause.Stop()
			return v, err
		}
		a, refused := p.admit()
		if refused != nil {
			return v, err // that says more
		}
		p.retries.Add(1)
		if a.trial != nil {
			return doTrial(ctx, within, p, a, f)
		}
		if v, o, err = try(ctx, within, p, a, f); o != failure {
			break
		}
	}
	return v, err
}

// mayRetry says whether a call that has failed is tried again.
func (p *Policy) mayRetry(within context.Context, err error) bool {
	return !errors.Is(err, p.timedOut) && !errors.Is(err, p.busy) && p.isClosed() &&
		leaves(within, p.telling+p.o.Backoff) && p.budget.take(&p.o, p.calls.Load())
}

// doTrial makes the call that decides, and returns when wait ends at the latest.
func doTrial[T any](ctx, wait context.Context, p *Policy, a admission, f func(context.Context) (T, error)) (T, error) {
	done := make(chan result[T], 1)
	go func() {
		whole := context.WithoutCancel(ctx)
		within, cancel := context.WithTimeoutCause(whole, p.o.Timeout, p.timedOut)
		defer cancel()
		var r result[T]
		defer func() {
			if v := recover(); v != nil {
				r.panicked = panicked(v)
				if wait.Err() != nil {
					p.o.Log.Error(fmt.Sprintf("panic in a call to %s that was given up", p.o.Name), logtext.Reason, r.panicked)
				}
			}
			done <- r
		}()
		r.v, _, r.err = try(whole, within, p, a, f)
	}()
	select {
	case r := <-done:
		if r.panicked != nil {
			panic(r.panicked)
		}
		return r.v, r.err
	case <-wait.Done():
		var none T
		if context.Cause(wait) == p.timedOut {
			return none, p.timedOut
		}
		return none, wait.Err()
	}
}

// result is what a call has returned.
type result[T any] struct {
	v        T
	err      error
	panicked *PanicError
}

// try makes one call, which ends when within does at the latest, and settles it.
func try[T any](ctx, within context.Context, p *Policy, a admission, f func(context.Context) (T, error)) (v T, o outcome, err error) {
	began, ended := time.Now(), p.ended.Load()
	if err = p.places.AcquirePermitWithMaxWait(within, p.o.MaxWait); err != nil {
		if within.Err() != nil {
			o, err = p.givenUp(ctx, within, began)
		} else {
			p.crowded.Add(1)
			o, err = failure, p.busy
		}
		if p.ended.Load() != ended { // it is we who ask too much
			o = nothing
		}
		return v, p.settle(a, o, err), err
	}
	p.started.Add(1)
	done := make(chan result[T], 1)
	go call(within, p, f, done)
	var r result[T]
	select {
	case r = <-done:
	case <-within.Done():
		select {
		case r = <-done:
		default:
			p.took.Since(began)
			o, err = p.givenUp(ctx, within, began)
			return v, p.settle(a, o, err), err
		}
	}
	p.took.Since(began)
	switch {
	case r.panicked != nil:
		p.settle(a, nothing, r.panicked)
		panic(r.panicked)
	case r.err == nil:
		o = success
	case within.Err() != nil && (errors.Is(r.err, context.Canceled) || errors.Is(r.err, context.DeadlineExceeded)):
		o, r.err = p.givenUp(ctx, within, began)
	case p.o.IsFailure(r.err):
		o = failure
	}
	return r.v, p.settle(a, o, r.err), r.err
}

// givenUp is what it means that within has ended, and what the caller is told.
func (p *Policy) givenUp(ctx, within context.Context, began time.Time) (outcome, error) {
	if context.Cause(within) == p.timedOut {
		p.timeouts.Add(1)
		return failure, p.timedOut
	}
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) && time.Since(began) >= p.telling {
		return failure, err
	}
	return nothing, err
}

// call runs f, and gives its place back when that has ended, whoever still waits.
func call[T any](ctx context.Context, p *Policy, f func(context.Context) (T, error), done chan<- result[T]) {
	r := result[T]{panicked: &PanicError{Value: "the goroutine was ended"}} // by runtime.Goexit
	defer func() {
		if v := recover(); v != nil {
			r.panicked = panicked(v)
			if ctx.Err() != nil {
				p.o.Log.Error(fmt.Sprintf("panic in a call to %s that was given up", p.o.Name), logtext.Reason, r.panicked)
			}
		}
		p.ended.Add(1)
		p.places.ReleasePermit()
		done <- r
	}()
	r.v, r.err = f(ctx)
	r.panicked = nil
}

func panicked(v any) *PanicError {
	if e, ok := v.(*PanicError); ok {
		return e
	}
	return &PanicError{v, debug.Stack()}
}
