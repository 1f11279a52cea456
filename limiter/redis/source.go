package redis

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/redisconn"
)

const (
	hostTTL  = 10 * time.Second
	maxHosts = 10_000
	maxBatch = 128 // returns that are sent together
)

var (
	//go:embed grant.lua
	grantText string
	//go:embed return.lua
	returnText string
	//go:embed beat.lua
	beatText string
)

// Options are what is not in the URL.
type Options struct {
	// Prefix is what all keys begin with; "" is "neko:".
	Prefix string
	// Log is told when Redis cannot be used, and when it can again; nil is nobody.
	Log *slog.Logger
}

// Source is a [limiter.Source].
//
// What it has sent it never sends again: where an answer is lost, because the
// connection was cut or the context has ended, the tokens of a grant may be lost with
// it, and are never spent twice. A call returns when its context ends, at the latest.
type Source struct {
	prefix string
	conn   *redisconn.Conn

	grant, giveBack, beat redisconn.Script
}

var _ limiter.Source = (*Source)(nil)

// New is a source at a URL of [redisconn.New]. It neither waits for Redis nor fails without it: it
// connects in the background, and until it has, every call fails at once. An error is one of the URL or the
// options, has a Hint() string, and never a password. When ctx has ended every call fails, as after
// Close, which is to be called all the same.
func New(ctx context.Context, url string, o Options) (*Source, error) {
	return newSource(ctx, url, o, 0)
}

// newSource is New with another time in which a connection must answer.
func newSource(ctx context.Context, url string, o Options, answer time.Duration) (*Source, error) {
	prefix, err := redisconn.Prefix(o.Prefix)
	if err != nil {
		return nil, err
	}
	s := &Source{
		prefix: prefix,
		grant:  redisconn.NewScript(grantText), giveBack: redisconn.NewScript(returnText), beat: redisconn.NewScript(beatText),
	}
	s.conn, err = redisconn.New(ctx, url, redisconn.Options{
		Who: "rate limits", Log: o.Log, Page: "docs/limits.md", Answer: answer,
		Full: "more memory, or volatile-ttl, which drops the buckets that are full soonest",
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// key has nothing in it that a Cluster would choose a node by but the whole.
func (s *Source) key(p *limiter.Policy, id limiter.ID) string {
	return s.prefix + "limit:" + url.QueryEscape(p.Name) + ":" + base64.RawURLEncoding.EncodeToString(id[:])
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// run is one of a script that is told how the bucket fills, and more.
func (s *Source) run(p *limiter.Policy, id limiter.ID, more ...int64) redisconn.Run {
	span, tokens, depth := p.Central()
	args := make([]string, 0, 6)
	for _, n := range append([]int64{span, tokens, depth}, more...) {
		args = append(args, number(n))
	}
	return redisconn.Run{Key: s.key(p, id), Args: args}
}

// Grant is of [limiter.Source].
func (s *Source) Grant(ctx context.Context, p *limiter.Policy, id limiter.ID, need, want int64) (limiter.Grant, error) {
	if need < 1 || want < need {
		return limiter.Grant{}, fmt.Errorf("%d to %d tokens cannot be asked for", need, want)
	}
	// More than any bucket has is never granted, and would not be exact in a script.
	need, want = min(need, p.Burst+1), min(want, p.Burst+1)
	r := s.run(p, id, need, want)
	return redisconn.Do(ctx, s.conn, func(ctx context.Context, c rueidis.Client) (limiter.Grant, error) {
		a, err := s.grant.Do(ctx, c, r).AsIntSlice()
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
		batch := make([]redisconn.Run, 0, n)
		for _, u := range unspent[:n] {
			if u.Tokens > 0 {
				batch = append(batch, s.run(u.Policy, u.ID, min(u.Tokens, u.Policy.Burst), u.At, limiter.LeaseTTL.Microseconds()))
			}
		}
		unspent = unspent[n:]
		if len(batch) == 0 {
			continue
		}
		_, err := redisconn.Do(ctx, s.conn, func(ctx context.Context, c rueidis.Client) (struct{}, error) {
			for _, r := range s.giveBack.DoAll(ctx, c, batch) {
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
	r := redisconn.Run{Key: s.prefix + "hosts", Args: []string{
		base64.RawURLEncoding.EncodeToString(sum[:16]), number(hostTTL.Microseconds()), number(maxHosts),
	}}
	return redisconn.Do(ctx, s.conn, func(ctx context.Context, c rueidis.Client) (int, error) {
		n, err := s.beat.Do(ctx, c, r).AsInt64()
		return int(n), err
	})
}

// Close cuts all connections; what is under way fails.
func (s *Source) Close() { s.conn.Close() }
