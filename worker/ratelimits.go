package worker

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nekoctl/neko/limiter"
	"github.com/valyala/fasthttp"
	"github.com/vektah/gqlparser/v2/ast"
	"go.opentelemetry.io/otel/attribute"
)

// rates are the rate limits of a worker. The nil one has none.
type rates struct {
	worker  *Worker
	limiter limiter.Limiter
	current atomic.Pointer[rateRules]
	file    *rateFile // nil: the rules are the Config's
	misled  atomic.Bool
}

// newRates makes the rules of Config.RateLimits and RateLimitFile, nil if there is no
// limiter.
func (w *Worker) newRates() (*rates, error) {
	c := &w.config
	if c.Limiter == nil {
		if len(c.RateLimits) > 0 || c.RateLimitFile != "" {
			return nil, &adviceError{errors.New("there are rate limits, and nothing that keeps count"), "give a Config.Limiter"}
		}
		return nil, nil
	}
	r := &rates{worker: w, limiter: c.Limiter}
	limits := c.RateLimits
	if c.RateLimitFile != "" {
		if len(limits) > 0 {
			return nil, &adviceError{fmt.Errorf("there are rate limits in the Config, and in %s", c.RateLimitFile), "have them in one place"}
		}
		r.file = &rateFile{path: c.RateLimitFile}
		var err error
		if limits, err = r.file.read(); err != nil {
			return nil, err
		}
	}
	rules, err := compileRates(w.planner.schema, limits)
	if err != nil {
		return nil, err
	}
	r.current.Store(rules)
	return r, nil
}

// limit decides whether who asks may have so much: of all the operations of an HTTP
// request together, all or nothing. It returns bad, which is why the request is
// refused already, or that it is refused for that.
//
// What comes to nothing counts as well, or it would be free to those who mean harm:
// as one request of who asks or, as long as that is not known, of the address. But
// not what we are to blame for, nor a hash that is not known, after which the text
// comes. (What csrf.go refuses does not come here: a page of another site must not
// use up what its visitors may.)
func (r *rates) limit(ctx *fasthttp.RequestCtx, x *exchange, caller *Caller, bad *badRequest) *badRequest {
	if r == nil {
		return bad
	}
	rules, e := r.current.Load(), envelopeOf(ctx)
	if len(rules.rules) == 0 || e.warming || bad != nil && bad.status >= fasthttp.StatusInternalServerError {
		return bad
	}
	t := r.tally(e)
	defer t.release()
	if caller != nil {
		t.subject = caller.Identity.Subject
	}
	if bad != nil {
		t.anything(rules)
	} else {
		for i := range x.operations {
			switch op := &x.operations[i]; {
			case op.pending() && op.input.err == nil:
				t.operation(rules, op.plan, op.input.values, -1)
			case op.plan == nil && len(op.result.errors) == 1 && op.result.errors[0].code == CodeNotPersisted:
			default:
				t.anything(rules)
			}
		}
	}
	if d := r.decide(r.worker.spanOf(e), t); !d.OK() {
		return r.refuse(ctx, x, caller, bad, t, d)
	}
	t.tell(&ctx.Response.Header)
	return bad
}

func (r *rates) tally(e *envelope) *tally {
	t := tallies.Get().(*tally)
	t.fold, t.maxCost, t.ip = r.worker.config.FoldArgument, r.worker.planner.limits.cost, e.ip
	return t
}

// decide pays what was gathered, or says what refuses it.
func (r *rates) decide(ctx context.Context, t *tally) limiter.Decision {
	switch {
	case len(t.list) == 0:
		return limiter.Decision{Refused: -1}
	case t.full:
		return limiter.Decision{Refused: len(t.list), RetryAfter: limiter.Never}
	}
	ctx, span := r.worker.step(ctx, "limiter")
	d := r.limiter.Decide(ctx, t.charges())
	if span.Recording() {
		span.Set(attribute.Bool("neko.limiter.allowed", d.OK()), attribute.Bool("neko.limiter.alone", d.Alone), attribute.Int("neko.limiter.charges", len(t.list)))
		if !d.OK() {
			span.Set(attribute.String("neko.limiter.policy", t.list[d.Refused].Policy.Name))
		}
		span.End()
	}
	return d
}

// charge is limit for a request that is known. The tally, which may be nil, is to be told
// and released.
func (r *rates) charge(e *envelope, k *known, who *Identity) (*tally, limiter.Decision) {
	if r == nil {
		return nil, limiter.Decision{Refused: -1}
	}
	rules := r.current.Load()
	if len(rules.rules) == 0 {
		return nil, limiter.Decision{Refused: -1}
	}
	t := r.tally(e)
	t.subject = who.Subject
	t.operation(rules, k.plan, k.input.values, k.cost)
	return t, r.decide(r.worker.spanOf(e), t)
}

// refuse says why a request is too much.
func (r *rates) refuse(ctx *fasthttp.RequestCtx, x *exchange, caller *Caller, bad *badRequest, t *tally, d limiter.Decision) *badRequest {
	over := &badRequest{fasthttp.StatusTooManyRequests, CodeRateLimited, ""}
	extensions := map[string]any{}
	if d.Refused >= len(t.list) {
		over.reason = fmt.Sprintf("the request would count in more than %d rate limits: ask for less at once", maxCharges)
	} else {
		c, h := &t.list[d.Refused], &ctx.Response.Header
		p := c.Policy
		extensions["policy"] = p.Name
		envelopeOf(ctx).limitedBy = p.Name
		t.tellRefused(h, d)
		seconds := wholeSeconds(d.RetryAfter)
		switch {
		case d.RetryAfter == limiter.Never:
			over.reason = fmt.Sprintf("this takes %d of the rate limit %q, which never has more than %d: ask for less at once", c.Cost, p.Name, p.Burst)
			extensions["cost"] = map[string]any{"estimated": c.Cost, "max": p.Burst}
		case d.Alone && p.Fail == limiter.FailClosed: // nobody has asked too much
			over.status, over.code = fasthttp.StatusServiceUnavailable, CodeUnavailable
			over.reason = "how much you may ask for cannot be found out at the moment"
		default:
			over.reason = fmt.Sprintf("too many requests: the rate limit %q is %d in %s. Try again in %d s", p.Name, p.Limit, windowText(p.Window), seconds)
		}
		if d.RetryAfter != limiter.Never {
			extensions["retryAfter"] = seconds
			t.header = strconv.AppendInt(t.header[:0], seconds, 10)
			h.SetBytesV(fasthttp.HeaderRetryAfter, t.header)
		}
	}
	x.over = &Error{Message: over.reason, code: over.code, extensions: extensions}
	if bad != nil {
		x.refused = over.code
	}
	for i := range x.operations {
		op := &x.operations[i]
		if bad == nil && op.pending() {
			if op.plan.Kind == ast.Mutation {
				r.worker.auditRefused(op.plan, caller, over.code)
			}
			op.fail(x.over)
		}
	}
	if t.subject == "" {
		r.warnOfProxy(ctx)
	}
	return over
}

// warnOfProxy says, once, that a proxy seems to stand before us which nobody has told
// us to believe: all its clients are one to us.
func (r *rates) warnOfProxy(ctx *fasthttp.RequestCtx) {
	if r.misled.Load() || len(ctx.Request.Header.Peek(forwardedFor)) == 0 {
		return
	}
	peer, trusted := r.worker.proxies.peer(ctx.RemoteAddr())
	if trusted || peer.IsValid() && !peer.IsLoopback() && !peer.IsPrivate() { // anybody can write the header
		return
	}
	name := "a unix socket"
	if peer.IsValid() {
		name = peer.String()
	}
	if !r.misled.Swap(true) {
		r.worker.config.Log.Warn(fmt.Sprintf("a rate limit has refused a request with X-Forwarded-For from %s: if that is a proxy, all its clients count as one until it is among the trusted proxies", name))
	}
}

// Headers of draft-ietf-httpapi-ratelimit-headers-11: structured fields, which list
// the rules that apply by name, and what is left of each.
var (
	nameRatePolicy = []byte("RateLimit-Policy")
	nameRate       = []byte("RateLimit")
)

// advertise is a rule as RateLimit-Policy has it. The window is in whole seconds.
func advertise(p *limiter.Policy, cost bool) []byte {
	seconds := wholeSeconds(p.Window)
	b := append([]byte{'"'}, p.Name...)
	b = append(b, `";q=`...)
	hi, lo := bits.Mul64(uint64(p.Limit), uint64(time.Duration(seconds)*time.Second))
	quota, _ := bits.Div64(hi, lo, uint64(p.Window)) // as many as MaxRate at most, for each second
	b = strconv.AppendUint(b, quota, 10)
	if cost {
		b = append(b, `;qu="neko-cost"`...)
	}
	b = append(b, ";w="...)
	b = strconv.AppendInt(b, seconds, 10)
	if uint64(p.Burst) != quota { // also of a window that is rounded up
		b = append(b, ";neko-burst="...)
		b = strconv.AppendInt(b, p.Burst, 10)
	}
	return b
}

// tell puts all rules that applied into the header of an answer.
func (t *tally) tell(h *fasthttp.ResponseHeader) {
	if t == nil || len(t.list) == 0 {
		return
	}
	t.policies(h)
	// Each name once: the bucket of it that has least.
	var least [maxRateRules]int
	for i := range t.list {
		if at := &least[t.rules[i].index]; *at == 0 || t.list[i].Left < t.list[*at-1].Left {
			*at = i + 1
		}
	}
	b := t.header[:0]
	for i, r := range t.rules {
		if least[r.index] != i+1 {
			continue
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = appendLeft(b, r.policy.Name, t.list[i].Left, refill(r.policy, t.list[i].Left))
	}
	t.header = b
	h.SetCanonical(nameRate, b)
}

// tellRefused tells of the rule that has refused alone: Retry-After is the end of its
// window, and no other's may be later.
func (t *tally) tellRefused(h *fasthttp.ResponseHeader, d limiter.Decision) {
	t.policies(h)
	if d.RetryAfter == limiter.Never {
		return
	}
	c := &t.list[d.Refused]
	t.header = appendLeft(t.header[:0], c.Policy.Name, c.Left, wholeSeconds(d.RetryAfter))
	h.SetCanonical(nameRate, t.header)
}

func (t *tally) policies(h *fasthttp.ResponseHeader) {
	var told [maxRateRules]bool
	b := t.header[:0]
	for _, r := range t.rules {
		if told[r.index] {
			continue
		}
		told[r.index] = true
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(b, r.advertised...)
	}
	t.header = b
	h.SetCanonical(nameRatePolicy, b)
}

func appendLeft(b []byte, name string, left, seconds int64) []byte {
	b = append(append(b, '"'), name...)
	b = append(b, `";r=`...)
	b = strconv.AppendInt(b, max(left, 0), 10)
	b = append(b, ";t="...)
	return strconv.AppendInt(b, seconds, 10)
}

// refill is in how many seconds as many tokens come as are left. Who spends no more
// within that time goes on for ever, and who divides the one by the other finds the
// rate of the rule and not that of its burst.
func refill(p *limiter.Policy, left int64) int64 {
	return wholeSeconds(time.Duration(float64(max(left, 1)) / float64(p.Limit) * float64(p.Window)))
}

// wholeSeconds is d in seconds, rounded up, from 1.
func wholeSeconds(d time.Duration) int64 {
	return max(int64(d/time.Second)+min(int64(d%time.Second), 1), 1)
}

// windowText is a duration without what is zero: 1m, not 1m0s.
func windowText(d time.Duration) string {
	s := d.String()
	if n := len(s); n > 2 && s[n-2:] == "0s" && s[n-3] == 'm' {
		s = s[:n-2]
		if n := len(s); n > 2 && s[n-2:] == "0m" && s[n-3] == 'h' {
			s = s[:n-2]
		}
	}
	return s
}
