package redisconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	// MaxCalls is how many calls can be under way, those included that nobody waits for any more.
	// It is less than a connection's queue has places, 2^ringScale: a full one would hold up whoever calls.
	MaxCalls  = 256
	ringScale = 9

	buffer = 32 << 10 // bytes, to read and to write, of each connection

	// DialTimeout is what making a connection may take.
	DialTimeout = 500 * time.Millisecond
	// DefaultPing and DefaultAnswer are of [Options].
	DefaultPing   = 500 * time.Millisecond
	DefaultAnswer = 500 * time.Millisecond
	// RefreshEvery is how often Sentinels are asked who is master.
	RefreshEvery = 500 * time.Millisecond

	firstRetry, lastRetry = 20 * time.Millisecond, 250 * time.Millisecond

	defaultPrefix = "neko:"
	maxPrefix     = 64
)

// Options are what is not in the URL.
type Options struct {
	// Who begins the lines of the log: "rate limits", "cache".
	Who string
	// Log is told when Redis cannot be used, and when it can again; nil is nobody.
	Log *slog.Logger
	// Page is where users read what Redis must allow: docs/limits.md. Full is a hint for when it
	// has no memory left.
	Page, Full string

	// A connection on which nothing has come for Ping is asked for a sign of life, and given
	// up if none comes within Answer. 0 is a default.
	Ping, Answer time.Duration

	// AtOnce has calls fail at once while there is no connection and none could be made, but for one at a
	// time that tries again. Without it each tries, and waits for that as long as its context lets it.
	AtOnce bool

	// Track has Changed told of keys that begin with it and that others have changed: see
	// tracking.go.
	Track   string
	Changed func(keys []string)
}

// Conn is a connection to Redis, to each of its nodes that are needed. What it has sent it never sends
// again by itself.
type Conn struct {
	opt rueidis.ClientOption
	o   Options

	client atomic.Pointer[rueidis.Client] // nil until it has connected
	lately atomic.Pointer[error]          // why it has not
	calls  chan struct{}                  // has one for each call under way
	vain   atomic.Bool                    // there is no connection, and none could be made
	trying atomic.Bool                    // a call tries all the same, if AtOnce
	outage outage

	ctx    context.Context // until Close
	stop   context.CancelFunc
	wg     sync.WaitGroup
	closed sync.Once

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	live  atomic.Int32        // of conns, those to servers that have answered, Sentinels left out
	known map[string]struct{} // addresses of servers that there was a connection to; Sentinels left out
}

// ErrClosed is of every call after Close.
var ErrClosed = errors.New("the connection to Redis has been closed")

// New connects to a URL:
//
//	redis://[USER][:PASSWORD]@HOST[:PORT][/DB]           one server, or any node of a Cluster
//	…?addr=HOST:PORT&addr=…                              more nodes of the Cluster, to begin with
//	redis://…@SENTINEL[:PORT]?addr=…&master_set=NAME     Sentinels; user and password are the master's
//	…&sentinel_user=USER&sentinel_password=PASSWORD      those of the Sentinels, if they have any
//	rediss://…                                           any of these with TLS
//	…?ca=FILE&cert=FILE&key=FILE&server_name=NAME        whom it trusts, what it shows, what certificates name
//
// An error is one of the URL, has a Hint() string, and never a password. When ctx has ended every
// call fails, as after Close, which is to be called all the same.
func New(ctx context.Context, url string, o Options) (*Conn, error) {
	opt, err := parse(url)
	if err != nil {
		return nil, err
	}
	if o.Ping == 0 {
		o.Ping = DefaultPing
	}
	if o.Answer == 0 {
		o.Answer = DefaultAnswer
	}
	opt.ConnWriteTimeout = o.Answer
	opt.Dialer.Timeout, opt.Dialer.KeepAlive = max(DialTimeout, o.Answer), o.Ping
	opt.Sentinel.Dialer = opt.Dialer
	opt.Sentinel.Dialer.KeepAlive += ofSentinels
	c := &Conn{
		opt: opt, o: o,
		calls:  make(chan struct{}, MaxCalls),
		outage: outage{Options: o},
		conns:  map[net.Conn]struct{}{},
		known:  map[string]struct{}{},
	}
	c.track()
	c.ctx, c.stop = context.WithCancel(ctx)
	c.opt.DialCtxFn = c.dial
	c.wg.Go(c.connect)
	return c, nil
}

// Prefix is what keys begin with, "neko:" for "".
func Prefix(text string) (string, error) {
	if text == "" {
		return defaultPrefix, nil
	}
	if len(text) > maxPrefix || strings.ContainsAny(text, "{}") {
		// In braces is what a Cluster chooses the node by: all keys would be on one.
		return "", &urlError{fmt.Sprintf("the prefix %.70q of keys in Redis is too long, or has braces", text),
			fmt.Sprintf("at most %d characters, and no { or }", maxPrefix)}
	}
	return text, nil
}

// connect tries until it has connected; from then on the client of rueidis does, at
// every call.
func (c *Conn) connect() {
	for wait := firstRetry; c.ctx.Err() == nil; wait = min(2*wait, lastRetry) {
		client, err := rueidis.NewClient(c.opt)
		if err == nil {
			c.client.Store(&client)
			return
		}
		err = untracked(c.scrub(err))
		c.lately.Store(&err)
		if c.ctx.Err() == nil {
			c.outage.failed(err)
		}
		select {
		case <-time.After(wait):
		case <-c.ctx.Done():
		}
	}
}

// Do runs f with the client, and waits for it until ctx ends. f goes on by itself, for no
// longer than a connection may be silent, so it may use nothing that its caller changes afterwards.
func Do[T any](ctx context.Context, c *Conn, f func(context.Context, rueidis.Client) (T, error)) (T, error) {
	var none T
	client := c.client.Load()
	if client == nil || c.ctx.Err() != nil {
		return none, c.Away()
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	tries := false
	if c.o.AtOnce && c.vain.Load() {
		if tries = c.trying.CompareAndSwap(false, true); !tries {
			return none, errAway
		}
	}
	given := false
	defer func() {
		if tries && !given {
			c.trying.Store(false)
		}
	}()
	select {
	case c.calls <- struct{}{}:
	case <-ctx.Done():
		return none, fmt.Errorf("too many calls to Redis are under way: %w", ctx.Err())
	case <-c.ctx.Done():
		return none, ErrClosed
	}
	type answer struct {
		v   T
		err error
	}
	answered := make(chan answer, 1)
	// Not with ctx: rueidis does not heed it while it connects, or finds out about a
	// Cluster, and would leave behind what nobody could count.
	given = true
	go func() {
		v, err := f(context.Background(), *client)
		if err == nil {
			c.outage.ended()
		} else if c.ctx.Err() != nil {
			err = ErrClosed
		} else {
			err = c.scrub(err)
			c.outage.failed(err)
		}
		if tries {
			c.trying.Store(false)
		}
		answered <- answer{v, err}
		<-c.calls
	}()
	select {
	case a := <-answered:
		return a.v, a.err
	case <-ctx.Done():
		return none, fmt.Errorf("no answer from Redis: %w", ctx.Err())
	}
}

var errAway = errors.New("there is no connection to Redis, and one is being tried")

// Away says why there was never a connection, or that it is closed; nil if there is one, or was.
func (c *Conn) Away() error {
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	if c.client.Load() != nil {
		return nil
	}
	if err := c.lately.Load(); err != nil {
		return fmt.Errorf("not connected to Redis: %w", *err)
	}
	return errNotYet
}

var errNotYet = errors.New("not connected to Redis yet")

// Calls is how many are under way, those included that nobody waits for any more.
func (c *Conn) Calls() int { return len(c.calls) }

// scrub sees to it that no password is in an error: a server that does not know a
// command repeats its arguments.
func (c *Conn) scrub(err error) error {
	text := err.Error()
	for _, secret := range []string{c.opt.Password, c.opt.Sentinel.Password} {
		if secret != "" && strings.Contains(text, secret) {
			return errors.New(strings.ReplaceAll(text, secret, "***"))
		}
	}
	return err
}

// Close cuts all connections; what is under way fails.
func (c *Conn) Close() { c.closed.Do(c.close) }

func (c *Conn) close() {
	c.stop()
	c.cut()
	c.wg.Wait()
	if client := c.client.Load(); client != nil {
		(*client).Close()
	}
	for range MaxCalls { // when all places can be had, nothing is under way
		c.calls <- struct{}{}
	}
}

// Suffered tells the log of an error that a call has not failed by.
func (c *Conn) Suffered(err error) {
	if c.ctx.Err() == nil {
		c.outage.failed(c.scrub(err))
	}
}
