// Package redis is a [limiter.Source] in Redis 6.2 or later, alone, as a Cluster or with
// Sentinels. Buckets fill by the clock of the server that has them.
package redis

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nekoctl/neko/limiter"
)

var (
	//go:embed grant.lua
	grantText string
	//go:embed return.lua
	returnText string
	//go:embed beat.lua
	beatText string
)

const (
	// Calls to Redis that are under way, also those that nobody waits for any more.
	// It must be less than a connection's queue (2^ringScale): a full one blocks.
	maxCalls  = 256
	ringScale = 9

	buffer = 32 << 10 // bytes, to read and to write, for each connection

	// A server that does not answer for pingEvery + answerTimeout has lost its connection.
	dialTimeout   = 500 * time.Millisecond
	answerTimeout = 500 * time.Millisecond
	pingEvery     = 500 * time.Millisecond

	firstRetry, lastRetry = 20 * time.Millisecond, 250 * time.Millisecond

	hostTTL  = 10 * time.Second
	maxHosts = 10_000
	maxBatch = 128 // returns that are sent together
)

// Options are what is not in the URL.
type Options struct {
	// Prefix is what all keys begin with; "" is "neko:".
	Prefix string
	// Log tells when Redis is gone, and when it is back; nil is nobody.
	Log *log.Logger
}

// Source is a [limiter.Source].
//
// A grant is never asked for twice: where an answer is lost, its tokens may be, too.
type Source struct {
	opt    rueidis.ClientOption
	prefix string
	log    *log.Logger

	grant, giveBack, beat *rueidis.Lua

	client atomic.Pointer[rueidis.Client] // nil until it has connected
	lately atomic.Pointer[error]          // why it has not
	calls  chan struct{}                  // a place for each call under way

	ctx  context.Context // until Close
	stop context.CancelFunc
	wg   sync.WaitGroup

	closed sync.Once

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

var _ limiter.Source = (*Source)(nil)

var (
	errClosed = errors.New("the connection to Redis has been closed")
	errBusy   = errors.New("too many calls to Redis are under way")
)

// New is a source at a URL, see [Parse]. It neither waits for Redis nor fails without it: it connects in
// the background, and until it has, every call fails at once. The end of ctx ends that
// as Close does.
func New(ctx context.Context, url string, o Options) (*Source, error) {
	opt, err := parse(url)
	if err != nil {
		return nil, err
	}
	s := &Source{
		opt: opt, prefix: o.Prefix, log: o.Log,
		grant:    rueidis.NewLuaScript(grantText),
		giveBack: rueidis.NewLuaScript(returnText),
		beat:     rueidis.NewLuaScript(beatText),
		calls:    make(chan struct{}, maxCalls),
		conns:    map[net.Conn]struct{}{},
	}
	if s.prefix == "" {
		s.prefix = "neko:"
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
		s.lately.Store(&err)
		select {
		case <-time.After(wait):
		case <-s.ctx.Done():
		}
	}
}

// dial makes connections that Close can cut, whatever they wait for.
func (s *Source) dial(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	var c net.Conn
	var err error
	if t != nil {
		c, err = (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", addr)
	} else {
		c, err = d.DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		c.Close()
		return nil, errClosed
	}
	s.conns[c] = struct{}{}
	return &conn{c, s}, nil
}

type conn struct {
	net.Conn
	s *Source
}

func (c *conn) Close() error {
	c.s.mu.Lock()
	delete(c.s.conns, c.Conn)
	c.s.mu.Unlock()
	return c.Conn.Close()
}

// do runs f with the client, and waits for it until ctx ends. f goes on by itself, but
// for no longer than a connection may be silent.
func do[T any](ctx context.Context, s *Source, f func(context.Context, rueidis.Client) (T, error)) (T, error) {
	var none T
	if s.ctx.Err() != nil {
		return none, errClosed
	}
	client := s.client.Load()
	if client == nil {
		return none, s.away()
	}
	select {
	case s.calls <- struct{}{}:
	default:
		return none, errBusy
	}
	type answer struct {
		v   T
		err error
	}
	answered := make(chan answer, 1)
	// Not with ctx: its deadline would cost the connection that others use, too, and
	// could not be heeded while it is being made.
	go func() {
		v, err := f(context.Background(), *client)
		<-s.calls
		answered <- answer{v, err}
	}()
	select {
	case a := <-answered:
		return a.v, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (s *Source) away() error {
	if err := s.lately.Load(); err != nil {
		return fmt.Errorf("not connected to Redis: %w", *err)
	}
	return errors.New("not connected to Redis yet")
}

func (s *Source) key(p *limiter.Policy, id limiter.ID) string {
	return s.prefix + "limit:" + p.Name + ":" + base64.RawURLEncoding.EncodeToString(id[:])
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// bucket are the arguments of a script that say how a bucket fills.
func bucket(p *limiter.Policy, more ...int64) []string {
	span, tokens, depth := p.Central()
	args := []string{number(span), number(tokens), number(depth)}
	for _, n := range more {
		args = append(args, number(n))
	}
	return args
}

// Grant is of [limiter.Source].
func (s *Source) Grant(ctx context.Context, p *limiter.Policy, id limiter.ID, need, want int64) (limiter.Grant, error) {
	if need < 1 || want < need {
		return limiter.Grant{}, fmt.Errorf("%d to %d tokens cannot be asked for", need, want)
	}
	want = min(want, max(p.Burst, need))
	keys, args := []string{s.key(p, id)}, bucket(p, need, want)
	return do(ctx, s, func(ctx context.Context, c rueidis.Client) (limiter.Grant, error) {
		a, err := s.grant.Exec(ctx, c, keys, args).AsIntSlice()
		if err != nil {
			return limiter.Grant{}, err
		}
		if len(a) != 3 {
			return limiter.Grant{}, fmt.Errorf("Redis has answered %v to a grant", a)
		}
		return limiter.Grant{Tokens: a[0], At: a[1], Full: a[2]}, nil
	})
}

// Return is of [limiter.Source].
func (s *Source) Return(ctx context.Context, unspent []limiter.Unspent) error {
	for len(unspent) > 0 {
		n := min(len(unspent), maxBatch)
		batch := make([]rueidis.LuaExec, n)
		for i, u := range unspent[:n] {
			batch[i] = rueidis.LuaExec{
				Keys: []string{s.key(u.Policy, u.ID)},
				Args: bucket(u.Policy, u.Tokens, u.At, limiter.LeaseTTL.Microseconds()),
			}
		}
		unspent = unspent[n:]
		_, err := do(ctx, s, func(ctx context.Context, c rueidis.Client) (struct{}, error) {
			var errs error
			for _, r := range s.giveBack.ExecMulti(ctx, c, batch...) {
				if err := r.Error(); err != nil && errs == nil {
					errs = err
				}
			}
			return struct{}{}, errs
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Beat is of [limiter.Source]. The host's name is hashed.
func (s *Source) Beat(ctx context.Context, host string) (int, error) {
	sum := sha256.Sum256([]byte(host))
	keys := []string{s.prefix + "hosts"}
	args := []string{base64.RawURLEncoding.EncodeToString(sum[:16]), number(hostTTL.Microseconds()), number(maxHosts)}
	return do(ctx, s, func(ctx context.Context, c rueidis.Client) (int, error) {
		n, err := s.beat.Exec(ctx, c, keys, args).AsInt64()
		return int(n), err
	})
}

// Close cuts all connections. Calls that are under way fail.
func (s *Source) Close() { s.closed.Do(s.close) }

func (s *Source) close() {
	s.stop()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	if client := s.client.Load(); client != nil {
		(*client).Close()
	}
	for range maxCalls { // until nothing is under way any more
		s.calls <- struct{}{}
	}
}
