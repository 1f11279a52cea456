// Package cache keeps the answers of queries: in the memory of a worker, validated by
// generations that all workers of a host share, and in a [Shared] store that all hosts do.
//
// An answer has tags, which name what it depends on. Whoever changes something invalidates
// its tags, and every answer that has one of them is gone: each tag has a generation, an
// answer carries those that its tags had before it was made, and is served only while they
// are the present ones. So an answer that was read before a change, and is stored after it,
// is never served, whoever was how slow at what point.
//
// How long an answer is used is its [Policy]:
//
//	made          MaxAge            + StaleWhileRevalidate          + StaleIfError
//	 |— Fresh ——————|— Stale, and is made anew in the background ——|— only if it cannot be made —|
//
// An answer that was invalidated is never served, not even if nothing better can be had.
package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

// Key names an answer: a part of a SHA-256 of all that it depends on besides the data: what
// is asked, with which variables, in which schema, and whose it is.
type Key [16]byte

// Policy is how long an answer may be used. The zero value is not at all.
type Policy struct {
	MaxAge               time.Duration // it is as good as new
	StaleWhileRevalidate time.Duration // after that: it is served, and made anew meanwhile
	StaleIfError         time.Duration // after MaxAge: it is served if it cannot be made anew
}

// MaxLife is how long any answer is kept at most, whatever its [Policy] says.
const MaxLife = 24 * time.Hour

// life is how long an answer is of any use.
func (p Policy) life() time.Duration {
	return p.MaxAge + max(p.StaleWhileRevalidate, p.StaleIfError)
}

// bounded is p within MaxLife, in whole milliseconds.
func (p Policy) bounded() Policy {
	p.MaxAge = min(max(p.MaxAge, 0), MaxLife).Truncate(time.Millisecond)
	p.StaleWhileRevalidate = min(max(p.StaleWhileRevalidate, 0), MaxLife-p.MaxAge).Truncate(time.Millisecond)
	p.StaleIfError = min(max(p.StaleIfError, 0), MaxLife-p.MaxAge).Truncate(time.Millisecond)
	return p
}

// Request is what an answer is wanted for. Tags are all that it depends on, known before it
// is made; in whatever case, each once. Nobody changes a Request that was given away.
type Request struct {
	Key    Key
	Tags   []string
	Policy Policy
	// Own is for what only one identity may see: such an answer is not put where other
	// hosts could read it if the operator does not want that. Its Key has the identity.
	Own bool
	// Begin is called when something begins to be made for this Request, in the background if nobody waits
	// for it: what it returns takes the place of ctx, from which it is derived, and the function is called
	// at the end. Nil: ctx stays as it is.
	Begin func(ctx context.Context, background bool) (context.Context, func())
}

// Fill makes an answer. It is called at most once for each Get, in a goroutine of its own,
// maybe after Get has returned. ctx ends when nobody waits any more, or with the cache; it
// has no values but those of Request.Begin.
type Fill func(ctx context.Context) Filled

// Filled is what a Fill has made.
type Filled struct {
	Body     []byte // the whole of it, as it is sent; nobody changes it afterwards
	Keep     bool   // it may be kept: it has no errors
	Negative bool   // it says that there is nothing, and is kept for a short time only
	Failed   bool   // what it is made from is away: an older answer is better
	Result   any    // for whoever waits; never kept
}

// State is what an answer is, at the moment when it is served.
type State uint8

const (
	Miss         State = iota // there is none
	Fresh                     // within its MaxAge
	Stale                     // beyond it, and is being made anew
	StaleOnError              // could not be made anew
	Made                      // was made just now
)

// Served is what Get has.
type Served struct {
	State  State
	Answer *Answer // nil if what was made could not be kept
	Filled Filled  // if State is Made
	Shared bool    // somebody else has made it, for another request or on another host
}

// Options are how a [Cache] is to be. The zero value is a cache of its own.
type Options struct {
	// Bytes bounds what the answers take in the memory of this process, with all that
	// goes with them. 0 is DefaultBytes. An answer that takes more than an eighth of it is not
	// kept.
	Bytes int64
	// Memory has the generations that the workers of this host share. It must not be
	// closed before the cache. Nil: this process has its own.
	Memory *hostmem.Mapping
	// Shared is what all hosts share, nil if there is none. The cache closes it.
	Shared Shared
	// NegativeMaxAge is how long an answer is kept at most that says that there is
	// nothing. 0 is DefaultNegativeMaxAge, less than 0 not at all.
	NegativeMaxAge time.Duration
	// UnconfirmedMaxAge is how old an answer becomes, while Shared is away, before it is
	// made anew: so late is a change on another host seen then. 0 is DefaultUnconfirmedMaxAge.
	UnconfirmedMaxAge time.Duration
	// SharedWait is how long one call to Shared is waited for by somebody who could have
	// the answer made instead. 0 is DefaultSharedWait.
	SharedWait time.Duration
	// Reserve has what memory has no room for, nil if there is none. The cache closes it, if New
	// does not fail.
	Reserve *Reserve
	// ShareOwn has also answers that only one identity may see put into Shared, and into Reserve.
	ShareOwn bool
	// Log is told of invalidations that wait for Shared. Nil: nobody is.
	Log *slog.Logger
}

const (
	DefaultBytes             = 64 << 20
	MinBytes                 = 1 << 20
	DefaultNegativeMaxAge    = 10 * time.Second
	DefaultUnconfirmedMaxAge = 10 * time.Second
	DefaultSharedWait        = 50 * time.Millisecond
)

// Cache is a cache. Its methods may be used by several goroutines at once.
type Cache struct {
	options Options
	gens    *generations
	memory  *memory
	codec   *codec
	link    *link // nil without a Shared
	reserve *Reserve
	counts  counts

	ctx    context.Context // of all that is under way; ends with the cache
	cancel context.CancelFunc
	closed atomic.Bool
	wg     sync.WaitGroup // flights

	mu         sync.Mutex
	flights    map[Key]*flight
	refreshing int

	outbox outbox // of invalidations

	pause func(at string) // for tests, else nil
}

// New makes a cache.
func New(o Options) (*Cache, error) {
	for _, d := range []struct {
		value   *time.Duration
		name    string
		unsaid  time.Duration
		smaller bool // it may be less than 0
	}{
		{&o.NegativeMaxAge, "NegativeMaxAge", DefaultNegativeMaxAge, true},
		{&o.UnconfirmedMaxAge, "UnconfirmedMaxAge", DefaultUnconfirmedMaxAge, false},
		{&o.SharedWait, "SharedWait", DefaultSharedWait, false},
	} {
		if *d.value == 0 {
			*d.value = d.unsaid
		}
		if *d.value < 0 && !d.smaller {
			return nil, fmt.Errorf("cache: %s is %v, less than nothing", d.name, *d.value)
		}
	}
	if o.Bytes == 0 {
		o.Bytes = DefaultBytes
	}
	if o.Bytes < MinBytes || o.Bytes > math.MaxInt64/2 {
		return nil, fmt.Errorf("cache: %d bytes are not from %d to %d", o.Bytes, MinBytes, math.MaxInt64/2)
	}
	c := &Cache{
		options: o,
		gens:    newGenerations(o.Memory, o.Shared != nil),
		memory:  newMemory(o.Bytes),
		codec:   newCodec(int(o.Bytes / 8)),
		flights: map[Key]*flight{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if c.reserve = o.Reserve; c.reserve != nil {
		c.reserve.begin(c)
	}
	if o.Shared != nil {
		c.link = newLink(o.Shared, o.SharedWait, c.gens)
		o.Shared.Watch(c.gens.changed, c.link.lost)
		c.outbox.begin(c)
	}
	return c, nil
}

// ErrClosed is of who asks a cache that was closed.
var ErrClosed = errors.New("cache: closed")

// Close ends what is under way, waits for it, and for the invalidations that Shared does not
// have yet, until ctx ends; then these are lost for other hosts, which is an error. Without
// an error nothing of Options is in use any more.
func (c *Cache) Close(ctx context.Context) error {
	c.mu.Lock()
	again := c.closed.Swap(true)
	c.mu.Unlock()
	if again {
		return nil
	}
	c.cancel()
	if c.reserve != nil {
		c.reserve.stop(c.memory)
	}
	landed := make(chan struct{})
	go func() {
		c.wg.Wait()
		close(landed)
	}()
	err := c.outbox.end(ctx)
	select {
	case <-landed:
	default:
		select {
		case <-landed:
		case <-ctx.Done():
			err = errors.Join(err, fmt.Errorf("cache: what is being made does not end: %w", context.Cause(ctx)))
		}
	}
	c.memory.clear()
	if c.reserve != nil {
		err = errors.Join(err, c.reserve.end(ctx))
	}
	if c.link != nil {
		c.link.shared.Close()
	}
	return err
}
