// Package edge purges what a CDN in front of the workers keeps, when it is not true any more.
//
// What has changed is in a log of the store's, by tags, and every worker follows that. One of
// them, which a [Ledger] tells, has the CDN purge what is new there, and writes down how far that
// has come, afterwards: so it is done at least once, whoever is killed, and calls, which a CDN
// counts, are made by one.
//
// An answer that was made before a change can be on its way to the CDN while that is purged, and
// be kept after all; and other hosts, which the CDN asks then, may learn of a change a moment later.
// So everything is purged three times: at once; when all hosts know, which is mostly the last time
// that anything is found; and when nothing of before can be on its way any more.
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nekoctl/neko/logtext"
)

// Changes is a log of what has changed.
type Changes interface {
	// Since is what was added after a position: the tags, and where the log ends now.
	Since(ctx context.Context, position int64) (tags []string, last int64, err error)
}

// CDN is what is purged.
type CDN interface {
	// Purge makes one call, as [Cloudflare.Purge] does.
	Purge(ctx context.Context, tags []string) error
}

// Options are how a [Purger] is to be. All of it is needed, but for Log.
type Options struct {
	Changes Changes
	Ledger  Ledger
	CDN     CDN
	// Known is how long it takes at most until all hosts know of a change, if nothing is amiss.
	Known time.Duration
	// Settle is how long after a change no answer of before is on its way any more: what the
	// slowest takes to be made, and to get to the CDN.
	Settle time.Duration
	// PerMinute is how many calls are made in a minute, and a twelfth of it, at least 5, at once.
	PerMinute int
	Log       *slog.Logger
}

const (
	// look is how often it is looked whether there is something to do, as long as that is known.
	look = time.Second
	// looking is how long that, or writing it down, may take.
	looking = 3 * time.Second
	// again is how long it is until a call that has failed is made again, first and at the most.
	again    = time.Second
	maxAgain = time.Minute
)

// Purger purges a CDN in one of the workers, and looks in all others whether somebody does.
type Purger struct {
	o    Options
	poke chan struct{}

	mu      sync.Mutex
	last    int64     // position of the latest change that is known
	lastAt  time.Time // when it became known
	done    Progress  // as it is known
	waiting []known   // and not purged, the oldest first
	moved   chan struct{}
	counts  Counts

	// Of Run alone.
	held    bool
	full    time.Time // when as many calls may be made at once as ever
	first   int64     // up to there the first purge was made, by this process or one before
	settled int64     // and the last
	soon    []owed    // what is to be purged for the second time
	later   []owed    // and for the last
	begun   *round    // nil: none
	retry   time.Time
	backoff time.Duration
	failed  time.Time // since when calls fail; zero: they do not
	said    bool      // that the store cannot be asked
}

// known is when it became known that the log ends at a position.
type known struct {
	position int64
	at       time.Time
}

// maxKnown is how many are told apart. More are as old as the last of these.
const maxKnown = 100

// owed is what has been purged, and is to be once more.
type owed struct {
	due      time.Time
	position int64
	tags     []string
}

// round is what is purged at once, in some calls.
type round struct {
	calls       [][]string // that are to be made yet
	part        bool       // some were made
	tags        []string   // which are purged for the first time
	last        int64      // up to there in the log
	soon, later int        // how many of those that are due
}

// Counts are what calls have come to.
type Counts struct {
	OK      uint64
	Limited uint64 // too many, says the CDN
	Refused uint64 // it says that they are wrong
	Failed  uint64 // it did not answer, or was at fault
}

// New makes one; [Purger.Run] has it work.
func New(o Options) *Purger {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Purger{
		o: o, poke: make(chan struct{}, 1), moved: make(chan struct{}), done: Unknown,
	}
}

// Changed says where the log ends. It is cheap, and waits for nothing.
func (p *Purger) Changed(last int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last == p.last && !p.lastAt.IsZero() {
		return
	}
	back := last < p.last // the log is that of a backup
	p.last, p.lastAt = last, time.Now()
	if last > p.done.Purged || back {
		if n := len(p.waiting); n == maxKnown {
			p.waiting[n-1].position = last
		} else {
			p.waiting = append(p.waiting, known{last, p.lastAt})
		}
	}
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// OldestWaiting is for how long something is known to have changed that nobody has purged yet.
func (p *Purger) OldestWaiting() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		return 0
	}
	return time.Since(p.waiting[0].at)
}

// Counts are those of this process.
func (p *Purger) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// Wait waits until everything up to a position was purged, by whomever.
func (p *Purger) Wait(ctx context.Context, position int64) error {
	for {
		p.mu.Lock()
		done, moved := p.done, p.moved
		p.mu.Unlock()
		if done.Purged >= position {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (p *Purger) progress(done Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if done == p.done {
		return
	}
	p.done = done
	n := 0
	for n < len(p.waiting) && (p.waiting[n].position <= done.Purged || done.Purged >= p.last) {
		n++
	}
	p.waiting = slices.Delete(p.waiting, 0, n)
	close(p.moved)
	p.moved = make(chan struct{})
}

// idle says that there is nothing to do, for anybody.
func (p *Purger) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lastAt.IsZero() || p.done.Settled == p.last
}

// Run works until ctx ends. What is not done then another worker does, or who starts next.
func (p *Purger) Run(ctx context.Context) {
	for {
		var wake <-chan time.Time
		if !p.idle() {
			p.step(ctx)
			wake = time.After(look)
		}
		select {
		case <-wake:
		case <-p.poke:
		case <-ctx.Done():
			p.release(context.WithoutCancel(ctx))
			return
		}
	}
}

func (p *Purger) release(ctx context.Context) {
	if !p.held {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, looking)
	defer cancel()
	p.held = false
	if err := p.o.Ledger.Release(ctx); err != nil {
		p.o.Log.Debug("the CDN is purged by another worker some seconds late", logtext.Reason, err)
	}
}

// step does what is to be done now.
func (p *Purger) step(ctx context.Context) {
	held, err := p.hold(ctx)
	if err == nil && held && time.Now().After(p.retry) {
		err = p.purge(ctx)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil && !p.said:
		p.said = true
		p.o.Log.Warn("it cannot be read in the store what a CDN has to purge, and it may send answers from before a change", logtext.Reason, err)
	case err == nil:
		p.said = false
	}
}

// hold finds out who purges.
func (p *Purger) hold(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, looking)
	defer cancel()
	done, held, err := p.o.Ledger.Hold(ctx)
	if err != nil {
		return false, err
	}
	if held && !p.held {
		// What somebody else has not purged for the last time is begun with again.
		p.first, p.settled, p.soon, p.later, p.begun = done.Settled, done.Settled, nil, nil, nil
		p.retry, p.backoff = time.Time{}, 0
	}
	p.held = held
	p.progress(done)
	return held, nil
}

// purge purges what is new in the log, and what is due once more. What some calls of were made already
// is gone on with, or a CDN that takes few at once would never be told all; else what has come
// meanwhile is added.
func (p *Purger) purge(ctx context.Context) error {
	if p.begun == nil {
		tags, last, err := p.since(ctx, p.first)
		if err != nil {
			return err
		}
		tags = few(tags) // many rounds of these are kept until they are due again
		r := &round{tags: tags, last: last}
		all, now := slices.Clip(tags), time.Now()
		r.soon, all = due(p.soon, now, all)
		r.later, all = due(p.later, now, all)
		r.calls = calls(all)
		p.begun = r
	}
	r := p.begun
	for i, call := range r.calls {
		if i > 0 { // calls may be slow, and who says nothing is taken for dead: then another began anew
			if held, err := p.hold(ctx); !held || err != nil {
				r.calls, r.part = r.calls[i:], true
				return err
			}
		}
		if ok, err := p.call(ctx, call); !ok {
			r.calls, r.part = r.calls[i:], r.part || i > 0
			if !r.part {
				p.begun = nil
			}
			return err
		}
	}
	p.begun = nil
	p.soon = slices.Clone(p.soon[r.soon:])
	if r.later > 0 {
		p.settled = p.later[r.later-1].position
		p.later = slices.Clone(p.later[r.later:])
	}
	if r.last != p.first || len(r.tags) > 0 {
		now := time.Now()
		p.first = r.last
		p.soon = append(p.soon, owed{now.Add(p.o.Known), r.last, r.tags})
		p.later = append(p.later, owed{now.Add(p.o.Settle), r.last, r.tags})
	}
	return p.record(ctx)
}

// due are how many of list are, and their tags behind all.
func due(list []owed, now time.Time, all []string) (n int, _ []string) {
	for n < len(list) && !list[n].due.After(now) {
		all = append(all, list[n].tags...)
		n++
	}
	return n, all
}

func (p *Purger) since(ctx context.Context, position int64) ([]string, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, looking)
	defer cancel()
	tags, last, err := p.o.Changes.Since(ctx, position)
	if err == nil && position < 0 {
		tags = []string{everything} // who has never purged does not know what there is
	}
	return tags, last, err
}

func (p *Purger) record(ctx context.Context) error {
	done := Progress{p.first, p.settled}
	p.mu.Lock()
	same := done == p.done
	p.mu.Unlock()
	if same {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, looking)
	defer cancel()
	held, err := p.o.Ledger.Record(ctx, done)
	if err != nil {
		return err
	}
	if p.held = held; held {
		p.progress(done)
	}
	return nil
}

// call makes one call when there may be one. If it is not ok everything is tried again later, with
// what has come until then: nothing waits here but the log.
func (p *Purger) call(ctx context.Context, tags []string) (ok bool, err error) {
	for wait := p.take(time.Now()); wait > 0; wait = p.take(time.Now()) {
		if !sleep(ctx, min(wait, look)) {
			return false, ctx.Err()
		}
		// It is said that this one is alive.
		if held, err := p.hold(ctx); !held || err != nil {
			return false, err
		}
	}
	err = p.o.CDN.Purge(ctx, tags)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	var refusal *Refusal
	wait := time.Duration(0)
	p.mu.Lock()
	switch {
	case err == nil:
		p.counts.OK++
	case !errors.As(err, &refusal) || refusal.Status >= 500:
		p.counts.Failed++
	case refusal.Status == 429:
		p.counts.Limited++
	default:
		p.counts.Refused++
	}
	p.mu.Unlock()
	if refusal != nil {
		wait = refusal.After
	}
	if err == nil {
		if !p.failed.IsZero() {
			p.o.Log.Info(fmt.Sprintf("the CDN is purged again, after %v in which it was not", time.Since(p.failed).Round(time.Second)))
		}
		p.failed, p.backoff = time.Time{}, 0
		return true, nil
	}
	p.backoff = min(max(2*p.backoff, again), maxAgain)
	// Up to a half more, so that those whom the same fault has hit do not come back together.
	wait = max(wait, p.backoff)
	p.retry = time.Now().Add(wait + rand.N(wait/2+1))
	if p.failed.IsZero() {
		p.failed = time.Now()
		hint := "it is tried until it can be; until then the CDN may send what is not true any more, for as long as CDN-Cache-Control says"
		if refusal != nil && refusal.Hint() != "" {
			hint = refusal.Hint()
		}
		p.o.Log.Warn("the CDN cannot be purged", logtext.Reason, err, logtext.Hint, hint)
	}
	return false, nil
}

// take takes the right to make one call, or says when there will be one: GCRA, as in package limiter.
func (p *Purger) take(now time.Time) (wait time.Duration) {
	each := time.Minute / time.Duration(p.o.PerMinute)
	full := p.full
	if full.Before(now) {
		full = now
	}
	full = full.Add(each)
	if wait = full.Sub(now) - each*time.Duration(max(p.o.PerMinute/12, 5)); wait <= 0 {
		p.full = full
	}
	return wait
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
