package breaker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"

	"github.com/nekoctl/neko/histogram"
)

// Options are what a policy is like. All but the Name have defaults.
type Options struct {
	// Name is what logs and metrics call it, and what the policies of a host find each
	// other by.
	Name string
	// Host is what the workers of the host share. Nil: the breaker is this process's alone.
	Host *Host

	// Timeout is how long a call may take, with all that Do does. Default: 3 s.
	Timeout time.Duration

	// FailureRate, from 0 to 1, of at least MinCalls in Window opens the breaker.
	// Defaults: 0.5, 20, 10 s. It is looked at whenever a call ends, by tenths of Window.
	FailureRate float64
	MinCalls    int
	Window      time.Duration
	// OpenFor is how long it is open before a call is tried, and Jitter by what part of that it is
	// longer or shorter. Defaults: 30 s, 0.2.
	OpenFor time.Duration
	Jitter  float64

	// Places is how many calls there are at a time. MaxWait is how long one may wait for a place,
	// and not more than half of Timeout. Defaults: 64, half of Timeout.
	Places  int
	MaxWait time.Duration

	// Retries is how often an idempotent call that has failed is tried again, if its context
	// leaves the time. Before the first is a pause of half to all of Backoff, and twice as
	// much before each further one. Defaults: 2, 50 ms. Negative: never.
	Retries int
	Backoff time.Duration
	// RetryRate is how many calls may be retries: in any time t, at most RetryRate of those
	// made in it, and RetryBurst, and RetryBurst for each Window in t. Defaults: 0.1, 3.
	RetryRate  float64
	RetryBurst int

	// IsFailure says of an error whether the dependency is not well. Others are answers, and as good
	// as any: that something is not there, say. It is not asked about the end of the caller's
	// context. Nil: every error is a failure.
	IsFailure func(error) bool

	// Log is told of panics of calls that nobody waits for any more. Nil: slog.Default.
	Log *slog.Logger
}

// Policy is how one dependency is called. Its methods may be used by several goroutines at
// once.
type Policy struct {
	o       Options
	clock   clock
	record  *record // nil: it shares nothing
	places  bulkhead.Bulkhead[any]
	telling time.Duration // so long a call must have taken to tell something if its caller gives up

	timedOut, busy error

	own     atomic.Uint64 // the word of this process
	seen    atomic.Uint64 // the host's, when it was closed last, as far as was noticed
	failed  atomic.Int64  // the end of the open time that a trial of this process has begun last, on the clock
	meter   atomic.Pointer[meter]
	refusal atomic.Pointer[OpenError]
	reason  atomic.Pointer[string]

	calls, failures, rejected, crowded, timeouts, retries, opened atomic.Uint64
	started, ended                                                atomic.Uint64
	took                                                          histogram.Histogram // of tries

	budget  budget
	changes changes
}

// New makes a policy. Close it in the end.
func New(o Options) (*Policy, error) {
	o.Timeout = cmp.Or(o.Timeout, 3*time.Second)
	o.FailureRate = cmp.Or(o.FailureRate, 0.5)
	o.MinCalls = cmp.Or(o.MinCalls, 20)
	o.Window = cmp.Or(o.Window, 10*time.Second)
	o.OpenFor = cmp.Or(o.OpenFor, 30*time.Second)
	o.Jitter = cmp.Or(o.Jitter, 0.2)
	o.Places = cmp.Or(o.Places, 64)
	o.MaxWait = cmp.Or(o.MaxWait, o.Timeout/2)
	o.Retries = cmp.Or(o.Retries, 2)
	o.Backoff = cmp.Or(o.Backoff, 50*time.Millisecond)
	o.RetryRate = cmp.Or(o.RetryRate, 0.1)
	o.RetryBurst = cmp.Or(o.RetryBurst, 3)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.IsFailure == nil {
		o.IsFailure = func(error) bool { return true }
	}
	switch {
	case o.Name == "":
		return nil, errors.New("a breaker without a name")
	case o.Timeout < time.Millisecond || o.OpenFor < 10*time.Millisecond || o.Window < 10*time.Millisecond,
		o.FailureRate < 0 || o.FailureRate > 1 || o.MinCalls < 1 || o.Jitter < 0 || o.Jitter > 0.5,
		o.Places < 1 || o.MaxWait < 0 || o.MaxWait > o.Timeout/2, o.Backoff < 0 || o.RetryRate < 0 || o.RetryBurst < 0:
		return nil, fmt.Errorf("breaker %s: a setting is out of its range: %+v", o.Name, o)
	}
	p := &Policy{o: o, telling: o.Timeout / 4, places: bulkhead.New[any](uint(o.Places))}
	p.timedOut = &limitError{ErrTimeout, fmt.Sprintf("%s: no answer within %v", o.Name, o.Timeout)}
	p.busy = &limitError{ErrBusy, fmt.Sprintf("%s: no place for a call within %v, %d are under way", o.Name, o.MaxWait, o.Places)}
	if o.Host != nil {
		p.clock = o.Host.clock
		p.record = o.Host.record(o.Name)
	} else {
		var err error
		if p.clock, err = newClock(); err != nil {
			return nil, err
		}
	}
	if p.record != nil {
		p.seen.Store(uint64(newWord(closed, word(p.record.word.Load()).count(), 0)))
	}
	p.took.Begin(&histogram.Durations)
	p.budget.begin(o)
	p.meter.Store(p.newMeter())
	return p, nil
}

// Name is that of the Options.
func (p *Policy) Name() string { return p.o.Name }

// admission is the permission to make one call.
type admission struct {
	meter *meter         // that counts it, or:
	trial *atomic.Uint64 // what it is the trial of, the host's word or this process's
	word  word           // what is in there meanwhile
}

// admit says whether a call may be made now. While the breaker is closed it costs a few
// atomic loads.
func (p *Policy) admit() (admission, *OpenError) {
	if p.isClosed() {
		return admission{meter: p.meter.Load()}, nil
	}
	return p.admitOrNot()
}

// isClosed says whether it is, and has been since that was looked at last.
func (p *Policy) isClosed() bool {
	return word(p.own.Load()).kind() == closed && (p.record == nil || p.record.word.Load() == p.seen.Load())
}

func (p *Policy) admitOrNot() (admission, *OpenError) {
	now := p.clock.now()
	for range 8 { // whoever comes between has had the trial
		cell, w := p.governing()
		if w.kind() == closed {
			return admission{meter: p.meter.Load()}, nil
		}
		until := p.end(w, now)
		if cell != &p.own && until == p.failed.Load() {
			until += p.letOthers().Milliseconds()
		}
		if now < until {
			return admission{}, p.refuse(w, until, now)
		}
		mine := w.tried(now + p.trialFor().Milliseconds())
		if cell.CompareAndSwap(uint64(w), uint64(mine)) {
			p.notice()
			return admission{trial: cell, word: mine}, nil
		}
	}
	return admission{}, p.refuse(newWord(trial, 0, now), now, now)
}

// end is until when a word that is not closed counts. One that has a time which nobody here
// writes, as in memory that is damaged, or of a worker with quite other settings, is over.
func (p *Policy) end(w word, now int64) int64 {
	if longest := 2 * max(p.o.OpenFor, p.trialFor()).Milliseconds(); w.until()-now > longest {
		return now
	}
	return w.until()
}

// governing is the word by which calls are let through now: the host's while that is not closed,
// else this process's. It takes over what has become of the host's.
func (p *Policy) governing() (*atomic.Uint64, word) {
	if p.record != nil {
		w := word(p.record.word.Load())
		if w.kind() != closed {
			return &p.record.word, w
		}
		p.follow(w)
	}
	return &p.own, word(p.own.Load())
}

// follow closes the breaker of this process if the host's has been closed since it was looked at
// last, and begins to count anew.
func (p *Policy) follow(w word) {
	before := p.seen.Load()
	if !w.healedSince(word(before)) || !p.seen.CompareAndSwap(before, uint64(w)) {
		return
	}
	p.meter.Store(p.newMeter())
	for own := word(p.own.Load()); own.kind() != closed; own = word(p.own.Load()) {
		if p.own.CompareAndSwap(uint64(own), uint64(own.healed())) {
			break
		}
	}
	p.notice()
}

// letOthers is how much later than others a worker makes the host's next trial whose last one has
// failed: it may be its own fault.
func (p *Policy) letOthers() time.Duration { return min(500*time.Millisecond, p.o.OpenFor/4) }

// trialFor is how long a trial may take before somebody else makes another one.
func (p *Policy) trialFor() time.Duration {
	return p.o.Timeout + min(time.Second, p.o.Timeout)
}

// refuse makes the error for those who come until then, once.
func (p *Policy) refuse(w word, until, now int64) *OpenError {
	p.rejected.Add(1)
	if p.changes.told() != w.state(now, until) {
		p.notice()
	}
	if e := p.refusal.Load(); e != nil && e.until == until {
		return e
	}
	e := &OpenError{p.o.Name, p.clock.timeOf(until), until}
	p.refusal.Store(e)
	return e
}

// outcome is what a call says of the dependency.
type outcome int

const (
	success outcome = iota
	failure
	nothing
)

// settle takes what has come of a call into account, and returns it. A trial has always come to
// something: if it has told nothing it has failed.
func (p *Policy) settle(a admission, o outcome, err error) outcome {
	if a.trial != nil && o == nothing {
		o = failure
	}
	if o == failure {
		p.failures.Add(1)
	}
	switch {
	case a.trial == nil && o == success:
		a.meter.succeeded()
	case a.trial == nil && o == failure:
		a.meter.failed(p, err)
	case a.trial == nil:
	case o == success:
		if !a.trial.CompareAndSwap(uint64(a.word), uint64(a.word.healed())) {
			return o // it took too long, and somebody else makes it
		}
		if a.trial == &p.own {
			p.meter.Store(p.newMeter())
		} else {
			p.follow(a.word.healed())
		}
		p.notice()
	default:
		until := p.reopenAt()
		p.because("a trial has failed: %s", brief(err))
		if !a.trial.CompareAndSwap(uint64(a.word), uint64(a.word.opened(until))) {
			return o
		}
		if a.trial == &p.own {
			p.vote(until)
		} else {
			p.failed.Store(until)
		}
		p.notice()
	}
	return o
}

// reopenAt is when a breaker that opens now may be tried.
func (p *Policy) reopenAt() int64 {
	jitter := 1 + p.o.Jitter*(2*rand.Float64()-1)
	return p.clock.now() + int64(float64(p.o.OpenFor)*jitter)/int64(time.Millisecond)
}

// open opens the breaker of this process, as m has seen too many failures.
func (p *Policy) open(m *meter, failed, of uint, err error) {
	was := word(p.own.Load())
	if p.meter.Load() != m || was.kind() != closed { // of a time that is over
		return
	}
	until := p.reopenAt()
	p.because("%d of %d calls failed, the last: %s", failed, of, brief(err))
	if p.own.CompareAndSwap(uint64(was), uint64(was.opened(until))) {
		p.vote(until)
		p.notice()
	}
}

// vote tells the others on the host that the breaker of this process has opened, and opens
// it for all if another one's has as well.
func (p *Policy) vote(until int64) {
	if p.record == nil {
		return
	}
	was := word(p.record.word.Load())
	if was.kind() == closed && p.record.vote(p.o.Host.self, was.count(), p.clock.now(), p.o.Window.Milliseconds()) {
		p.record.word.CompareAndSwap(uint64(was), uint64(was.opened(until)))
	}
}

func (p *Policy) because(format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	p.reason.Store(&reason)
}

// brief is an error as it is said in a line.
func brief(err error) string {
	if err == nil {
		return "nothing was answered"
	}
	text := []rune(err.Error())
	if len(text) > 200 {
		text = append(text[:200], '…')
	}
	for i, r := range text {
		if r < ' ' {
			text[i] = ' '
		}
	}
	return string(text)
}

// Close ends what a policy does beside its calls: nobody is told of changes any more. When it has
// returned, and all calls have ended, the Host's memory is not used any more.
func (p *Policy) Close() { p.changes.close() }

// budget is how many retries there may be: a bucket of RetryBurst tokens and a tenth of a call's each.
// It counts calls only when somebody asks, so that calls cost nothing more.
type budget struct {
	mu     sync.Mutex
	tokens float64
	calls  uint64
	at     time.Time
}

func (b *budget) begin(o Options) { b.tokens, b.at = float64(o.RetryBurst), time.Now() }

// take says whether there may be another retry, and counts it.
func (b *budget) take(o *Options, calls uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	burst := float64(o.RetryBurst)
	b.tokens += float64(calls-b.calls)*o.RetryRate + burst*now.Sub(b.at).Seconds()/o.Window.Seconds()
	b.tokens = min(b.tokens, burst) // calls of long ago do not pay for a flood of retries now
	b.calls, b.at = calls, now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// leaves says whether a context leaves so much time.
func leaves(ctx context.Context, d time.Duration) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() == nil && (!ok || time.Until(end) > d)
}
