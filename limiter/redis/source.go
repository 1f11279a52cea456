package redis

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nekoctl/neko/limiter"
)

const (
	// Calls that are under way, also those that nobody waits for any more. It is less than a
	// connection's queue has places, 2^ringScale: a full one would hold up whoever calls.
	maxCalls  = 256
	ringScale = 9

	buffer = 32 << 10 // bytes, to read and to write, of each connection

	dialTimeout = 500 * time.Millisecond
	// A connection on which nothing has come for pingEvery is asked for a sign of life,
	// and given up if none comes within answerTimeout.
	pingEvery     = 500 * time.Millisecond
	answerTimeout = 500 * time.Millisecond
	refreshEvery  = 500 * time.Millisecond // of who is master, by the Sentinels

	firstRetry, lastRetry = 20 * time.Millisecond, 250 * time.Millisecond

	hostTTL  = 10 * time.Second
	maxHosts = 10_000
	maxBatch = 128 // returns that are sent together

	defaultPrefix = "neko:"
	maxPrefix     = 64
)

// Options are what is not in the URL.
type Options struct {
	// Prefix is what all keys begin with; "" is "neko:".
	Prefix string
	// Log is told when Redis cannot be used, and when it can again; nil is nobody.
	Log *log.Logger
}

// Source is a [limiter.Source].
//
// What it has sent it never sends again: where an answer is lost, because the
// connection was cut or the context has ended, the tokens of a grant may be lost with
// it, and are never spent twice. A call returns when its context ends, at the latest.
type Source struct {
	opt    rueidis.ClientOption
	prefix string

	grant, giveBack, beat script

	client atomic.Pointer[rueidis.Client] // nil until it has connected
	lately atomic.Pointer[error]          // why it has not
	calls  chan struct{}                  // has one for each call under way
	outage outage

	ctx    context.Context // until Close
	stop   context.CancelFunc
	wg     sync.WaitGroup
	closed sync.Once

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

var _ limiter.Source = (*Source)(nil)

var errClosed = errors.New("the connection to Redis has been closed")

// New is a source at a URL:
//
//	redis://[USER][:PASSWORD]@HOST[:PORT][/DB]           one server, or any node of a Cluster
//	…?addr=HOST:PORT&addr=…                              more nodes of the Cluster, to begin with
//	redis://…@SENTINEL[:PORT]?addr=…&master_set=NAME     Sentinels; user and password are the master's
//	…&sentinel_user=USER&sentinel_password=PASSWORD      those of the Sentinels, if they have any
//	rediss://…                                           any of these with TLS
//	…?ca=FILE&cert=FILE&key=FILE&server_name=NAME        whom it trusts, what it shows, what certificates name
//
// It neither waits for Redis nor fails without it: it connects in the background, and until it
// has, every call fails at once. An error is one of the URL or the options, has a
// Hint() string, and never a password. When ctx has ended every call fails, as after
// Close, which is to be called all the same.
func New(ctx context.Context, url string, o Options) (*Source, error) {
	opt, err := parse(url)
	if err != nil {
		return nil, err
	}
	return newSource(ctx, opt, o)
}

func newSource(ctx context.Context, opt rueidis.ClientOption, o Options) (*Source, error) {
	s := &Source{
		opt: opt, prefix: o.Prefix,
		grant: newScript(grantText), giveBack: newScript(returnText), beat: newScript(beatText),
		calls: make(chan struct{}, maxCalls),
		conns: map[net.Conn]struct{}{},
	}
	s.outage.log = o.Log
	if s.prefix == "" {
		s.prefix = defaultPrefix
	}
	if len(s.prefix) > maxPrefix || strings.ContainsAny(s.prefix, "{}") {
		// In braces is what a Cluster chooses the node by: all keys would be on one.
		return nil, &urlError{fmt.Sprintf("the prefix %.70q of keys in Redis is too long, or has braces", s.prefix),
			fmt.Sprintf("at most %d characters, and no { or }", maxPrefix)}
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	s.opt.DialCtxFn = s.dial
	s.wg.Go(s.connect)
	return s, nil
}

// connect tries until it has connected; from then on the client of rueidis does, at
// every call.
func (s *Source) connect() {
	for wait := firstRetry; s.ctx.Err() == nil; wait = min(2*wait, lastRetry) {
		client, err := rueidis.NewClient(s.opt)
		if err == nil {
			s.client.Store(&client)
			return
		}
		err = s.scrub(err)
		s.lately.Store(&err)
		if s.ctx.Err() == nil {
			s.outage.failed(err)
		}
		select {
		case <-time.After(wait):
		case <-s.ctx.Done():
		}
	}
}

// do runs f with the client, and waits for it until ctx ends. f goes on by itself, for no
// longer than a connection may be silent.
func do[T any](ctx context.Context, s *Source, f func(context.Context, rueidis.Client) (T, error)) (T, error) {
	var none T
	client := s.client.Load()
	if client == nil || s.ctx.Err() != nil {
		return none, s.away()
	}
	select {
	case s.calls <- struct{}{}:
	case <-ctx.Done():
		return none, fmt.Errorf("too many calls to Redis are under way: %w", ctx.Err())
	case <-s.ctx.Done():
		return none, errClosed
	}
	type answer struct {
		v   T
		err error
	}
	answered := make(chan answer, 1)
	// Not with ctx: rueidis does not heed it while it connects, or finds out about a
	// Cluster, and would leave behind what nobody could count.
	go func() {
		v, err := f(context.Background(), *client)
		if err == nil {
			s.outage.ended()
		} else if s.ctx.Err() != nil {
			err = errClosed
		} else {
			err = s.scrub(err)
			s.outage.failed(err)
		}
		answered <- answer{v, err}
		<-s.calls
	}()
	select {
	case a := <-answered:
		return a.v, a.err
	case <-ctx.Done():
		return none, fmt.Errorf("no answer from Redis: %w", ctx.Err())
	}
}

func (s *Source) away() error {
	if s.ctx.Err() != nil {
		return errClosed
	}
	if err := s.lately.Load(); err != nil {
		return fmt.Errorf("not connected to Redis: %w", *err)
	}
	return errors.New("not connected to Redis yet")
}

// scrub sees to it that no password is in an error: a server that does not know a
// command repeats its arguments.
func (s *Source) scrub(err error) error {
	text := err.Error()
	for _, secret := range []string{s.opt.Password, s.opt.Sentinel.Password} {
		if secret != "" && strings.Contains(text, secret) {
			return errors.New(strings.ReplaceAll(text, secret, "***"))
		}
	}
	return err
}

// key has nothing in it that a Cluster would choose a node by but the whole.
func (s *Source) key(p *limiter.Policy, id limiter.ID) string {
	return s.prefix + "limit:" + url.QueryEscape(p.Name) + ":" + base64.RawURLEncoding.EncodeToString(id[:])
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// run is one of a script that is told how the bucket fills, and more.
func (s *Source) run(p *limiter.Policy, id limiter.ID, more ...int64) run {
	span, tokens, depth := p.Central()
	args := make([]string, 0, 6)
	for _, n := range append([]int64{span, tokens, depth}, more...) {
		args = append(args, number(n))
	}
	return run{s.key(p, id), args}
}

// Grant is of [limiter.Source].
func (s *Source) Grant(ctx context.Context, p *limiter.Policy, id limiter.ID, need, want int64) (limiter.Grant, error) {
	if need < 1 || want < need {
		return limiter.Grant{}, fmt.Errorf("%d to %d tokens cannot be asked for", need, want)
	}
	// More than any bucket has is never granted, and would not be exact in a script.
	need, want = min(need, p.Burst+1), min(want, p.Burst+1)
	r := s.run(p, id, need, want)
	return do(ctx, s, func(ctx context.Context, c rueidis.Client) (limiter.Grant, error) {
		a, err := s.grant.do(ctx, c, r).AsIntSlice()
		if err != nil {
			return limiter.Grant{}, err
		}
		if len(a) != 3 {
			return limiter.Grant{}, fmt.Errorf("%d numbers for a grant, and not 3", len(a))
		}
		return limiter.Grant{Tokens: a[0], At: a[1], Full: a[2]}, nil
	})
}

// Return is of [limiter.Source]. If it fails some of it may have been done: it must not
// be tried again, or tokens would be returned twice.
func (s *Source) Return(ctx context.Context, unspent []limiter.Unspent) error {
	var first error
	for len(unspent) > 0 && ctx.Err() == nil {
		n := min(len(unspent), maxBatch)
		batch := make([]run, 0, n)
		for _, u := range unspent[:n] {
			if u.Tokens > 0 {
				batch = append(batch, s.run(u.Policy, u.ID, min(u.Tokens, u.Policy.Burst), u.At, limiter.LeaseTTL.Microseconds()))
			}
		}
		unspent = unspent[n:]
		if len(batch) == 0 {
			continue
		}
		_, err := do(ctx, s, func(ctx context.Context, c rueidis.Client) (struct{}, error) {
			for _, r := range s.giveBack.doAll(ctx, c, batch) {
				if err := r.Error(); err != nil {
					return struct{}{}, err
				}
			}
			return struct{}{}, nil
		})
		if first == nil {
			first = err
		}
	}
	if first == nil && len(unspent) > 0 {
		first = ctx.Err()
	}
	return first
}

// Beat is of [limiter.Source]. Of the host's name Redis has only a hash.
func (s *Source) Beat(ctx context.Context, host string) (int, error) {
	sum := sha256.Sum256([]byte(host))
	r := run{s.prefix + "hosts", []string{
		base64.RawURLEncoding.EncodeToString(sum[:16]), number(hostTTL.Microseconds()), number(maxHosts),
	}}
	return do(ctx, s, func(ctx context.Context, c rueidis.Client) (int, error) {
		n, err := s.beat.do(ctx, c, r).AsInt64()
		return int(n), err
	})
}

// Close cuts all connections; what is under way fails.
func (s *Source) Close() { s.closed.Do(s.close) }

func (s *Source) close() {
	s.stop()
	s.cut()
	s.wg.Wait()
	if client := s.client.Load(); client != nil {
		(*client).Close()
	}
	for range maxCalls { // when all places can be had, nothing is under way
		s.calls <- struct{}{}
	}
}
