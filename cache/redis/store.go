package redis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/redisconn"
)

const (
	// LongestTTL is for how long an answer is kept at most, whatever Store is told.
	LongestTTL = 7 * 24 * time.Hour
	// tagTTL is longer, so that a tag does not go before what it is the tag of.
	tagTTL = 8 * 24 * time.Hour

	// MaxValue is how many bytes an answer may have. Larger ones are not stored: all that
	// is behind one on a connection waits for it.
	MaxValue = 1 << 20

	maxBatch = 128 // tags that are sent together

	// A connection on which nothing has come for ping is asked, and given up after answer: what it
	// might have told is lost within a second.
	ping   = 300 * time.Millisecond
	answer = 400 * time.Millisecond
)

// Options are what is not in the URL.
type Options struct {
	// Prefix is what all keys begin with; "" is "neko:".
	Prefix string
	// Log is told when Redis cannot be used, and when it can again; nil is nobody.
	Log *slog.Logger
}

// Store is a [cache.Shared].
type Store struct {
	answers, locks, tags string // what keys begin with
	position             string // the key of Confirm
	conn                 *redisconn.Conn
	loaded               loaded
	again                again

	stop context.CancelFunc
	wg   sync.WaitGroup
}

var _ cache.Shared = (*Store)(nil)

//go:embed unlock.lua
var unlockText string

var unlock = redisconn.NewScript(unlockText)

// New is a store at a URL of [redisconn.New]. It neither waits for Redis nor fails without it: it
// connects in the background, and until it has, every call fails at once. An error is one of the URL or the
// options, has a Hint() string, and never a password. When ctx has ended every call fails, as after
// Close, which is to be called all the same.
func New(ctx context.Context, url string, o Options) (*Store, error) {
	return newStore(ctx, url, o, answer)
}

// newStore is New with another time in which a connection must answer.
func newStore(ctx context.Context, url string, o Options, answer time.Duration) (*Store, error) {
	prefix, err := redisconn.Prefix(o.Prefix)
	if err != nil {
		return nil, err
	}
	s := &Store{
		answers: prefix + "cache:answer:",
		locks:   prefix + "cache:lock:",
		tags:    prefix + "cache:tag:",

		position: prefix + "cache:position",
	}
	s.again.soon = make(chan struct{}, 1)
	ctx, s.stop = context.WithCancel(ctx)
	s.conn, err = redisconn.New(ctx, url, redisconn.Options{
		Who: "cache", Log: o.Log, Page: "docs/caching.md",
		Full: "more memory, or allkeys-lru, which drops what nobody has asked for the longest",
		Ping: ping, Answer: answer, AtOnce: true,
		Track: s.tags, Changed: s.changed,
	})
	if err != nil {
		s.stop()
		return nil, err
	}
	s.wg.Go(func() { s.repeat(ctx) })
	return s, nil
}

// Watch is of [cache.Shared].
func (s *Store) Watch(changed func(tag string), lost func()) { s.loaded.watch(changed, lost) }

// changed is told by the connection, of keys or, with nil, that any may have changed.
func (s *Store) changed(keys []string) {
	if keys == nil {
		s.loaded.lose()
		s.again.owe()
		return
	}
	for _, key := range keys {
		if name, err := url.QueryUnescape(strings.TrimPrefix(key, s.tags)); err == nil {
			s.loaded.forget(name)
		}
	}
}

// tagKey has nothing in it that a Cluster would choose a node by but the whole.
func (s *Store) tagKey(tag string) string { return s.tags + url.QueryEscape(tag) }

func keyName(key cache.Key) string { return base64.RawURLEncoding.EncodeToString(key[:]) }

// newGeneration is one that nobody ever had, but for a chance of 1 in 2^64 for each that is remembered.
func newGeneration() string {
	var b [8]byte
	for binary.LittleEndian.Uint64(b[:]) == 0 {
		rand.Read(b[:]) // it never fails
	}
	return string(b[:])
}

func generation(text string) (cache.Generation, error) {
	if len(text) != 8 {
		return 0, fmt.Errorf("a tag in Redis has %d bytes, and not 8: does something else use its keys?", len(text))
	}
	g := cache.Generation(binary.LittleEndian.Uint64([]byte(text)))
	if g == 0 {
		return 0, errors.New("a tag in Redis is 0: does something else use its keys?")
	}
	return g, nil
}

// Load is of [cache.Shared]. It has all that was invalidated before it was called, whoever did it and was
// told that it is done. If only the answer cannot be read, because the node of a Cluster that has
// it is away, there is none. Tags that nobody has asked for yet take a second round trip.
func (s *Store) Load(ctx context.Context, key cache.Key, tags []string) (value []byte, gens []cache.Generation, err error) {
	names := slices.Clone(tags) // what is done with them may go on after this has returned
	s.loaded.begin(names)
	type found struct {
		value []byte
		gens  []cache.Generation
	}
	f, err := redisconn.Do(ctx, s.conn, func(ctx context.Context, c rueidis.Client) (f found, err error) {
		f.value, f.gens, err = s.load(ctx, c, key, names)
		return f, err
	})
	s.loaded.end(names)
	return f.value, f.gens, err
}

func (s *Store) load(ctx context.Context, c rueidis.Client, key cache.Key, names []string) (value []byte, gens []cache.Generation, err error) {
	get := func(key string) rueidis.Completed { return c.B().Get().Key(key).Build() }
	commands := append(make([]rueidis.Completed, 0, 2*len(names)+1), get(s.answers+keyName(key)))
	for _, name := range names {
		commands = append(commands, get(s.tagKey(name)))
	}
	results := c.DoMulti(ctx, commands...)
	if value, err = results[0].AsBytes(); rueidis.IsRedisNil(err) {
		value = nil
	} else if err != nil {
		if c.Mode() != rueidis.ClientModeCluster {
			return nil, nil, err
		}
		value = nil
		defer s.conn.Suffered(err)
	}
	gens = make([]cache.Generation, len(names))
	var absent []int
	for i, name := range names {
		text, err := results[i+1].ToString()
		if rueidis.IsRedisNil(err) {
			absent = append(absent, i)
		} else if gens[i], err = s.read(name, text, err); err != nil {
			return nil, nil, err
		}
	}
	if len(absent) == 0 {
		return value, gens, nil
	}
	// Several may do that at once: all read what the first has set.
	commands = commands[:0]
	for _, i := range absent {
		k := s.tagKey(names[i])
		commands = append(commands, c.B().Set().Key(k).Value(newGeneration()).Nx().Px(tagTTL).Build(), get(k))
	}
	results = c.DoMulti(ctx, commands...)
	for n, i := range absent {
		text, err := results[2*n+1].ToString()
		if set := results[2*n].Error(); set == nil {
			s.loaded.given(names[i])
		} else if rueidis.IsRedisNil(err) {
			err = set
		}
		if gens[i], err = s.read(names[i], text, err); err != nil {
			return nil, nil, err
		}
	}
	return value, gens, nil
}

// read is the generation that was read of a tag. A server that answers with an error may not be what it was: what
// was read before counts no more.
func (s *Store) read(name, text string, err error) (cache.Generation, error) {
	if err != nil {
		if _, ok := rueidis.IsRedisErr(err); ok {
			s.loaded.forget(name)
		}
		return 0, err
	}
	return generation(text)
}

// Store is of [cache.Shared]. What is larger than MaxValue is not stored. Nobody may change value
// afterwards.
func (s *Store) Store(ctx context.Context, key cache.Key, value []byte, ttl time.Duration) error {
	ttl = min(ttl, LongestTTL)
	if len(value) > MaxValue || ttl < time.Millisecond {
		return nil
	}
	return s.do(ctx, func(c rueidis.Client) rueidis.Completed {
		return c.B().Set().Key(s.answers + keyName(key)).Value(rueidis.BinaryString(value)).Px(ttl).Build()
	})
}

func (s *Store) do(ctx context.Context, command func(rueidis.Client) rueidis.Completed) error {
	_, err := redisconn.Do(ctx, s.conn, func(ctx context.Context, c rueidis.Client) (struct{}, error) {
		return struct{}{}, c.Do(ctx, command(c)).Error()
	})
	return err
}

// Invalidate is of [cache.Shared]. If it has done a part its error is a [*cache.Undone].
func (s *Store) Invalidate(ctx context.Context, tags []string) error {
	losses := s.again.lossesSoFar()
	done, undone, err := s.invalidate(ctx, slices.Clone(tags))
	s.again.remember(done, losses)
	if len(undone) > 0 && len(done) > 0 {
		return &cache.Undone{Tags: undone, Err: err}
	}
	return err
}

func (s *Store) invalidate(ctx context.Context, names []string) (done, undone []string, err error) {
	for batch := range slices.Chunk(names, maxBatch) {
		ok, e := redisconn.Do(ctx, s.conn, func(ctx context.Context, c rueidis.Client) ([]bool, error) {
			return s.invalidateBatch(ctx, c, batch)
		})
		for i, name := range batch {
			if ok != nil && ok[i] {
				done = append(done, name)
			} else {
				undone = append(undone, name)
			}
		}
		if e != nil {
			err = e
		}
	}
	return done, undone, err
}

// invalidateBatch says which were, and the first error of others.
func (s *Store) invalidateBatch(ctx context.Context, c rueidis.Client, names []string) (ok []bool, err error) {
	defer s.loaded.forget(names...)
	ok = make([]bool, len(names))
	commands := make([]rueidis.Completed, len(names))
	for i, name := range names {
		commands[i] = c.B().Set().Key(s.tagKey(name)).Value(newGeneration()).Px(tagTTL).Build()
	}
	var full []int
	for i, r := range c.DoMulti(ctx, commands...) {
		if e := r.Error(); e == nil {
			ok[i] = true
		} else if strings.HasPrefix(e.Error(), "OOM ") {
			full = append(full, i)
		} else if err == nil {
			err = e
		}
	}
	// Who reads it next gives it another: that takes no memory now.
	commands = commands[:0]
	for _, i := range full {
		commands = append(commands, c.B().Del().Key(s.tagKey(names[i])).Build())
	}
	for n, r := range c.DoMulti(ctx, commands...) {
		if e := r.Error(); e == nil {
			ok[full[n]] = true
		} else if err == nil {
			err = e
		}
	}
	return ok, err
}

// Confirm has Redis remember up to which position of a log everything was invalidated here. It is
// Redis that does: what one has been told another, in another region, has not. It may be forgotten.
func (s *Store) Confirm(ctx context.Context, position int64) error {
	return s.do(ctx, func(c rueidis.Client) rueidis.Completed {
		return c.B().Set().Key(s.position).Value(strconv.FormatInt(position, 10)).Px(tagTTL).Build()
	})
}

// Confirmed is the position of Confirm, 0 if there is none any more.
func (s *Store) Confirmed(ctx context.Context) (int64, error) {
	return redisconn.Do(ctx, s.conn, func(ctx context.Context, c rueidis.Client) (int64, error) {
		n, err := c.Do(ctx, c.B().Get().Key(s.position).Build()).AsInt64()
		if rueidis.IsRedisNil(err) {
			return 0, nil
		}
		return n, err
	})
}

// Lock is of [cache.Shared].
func (s *Store) Lock(ctx context.Context, key cache.Key, token string, ttl time.Duration) (bool, error) {
	return redisconn.Do(ctx, s.conn, func(ctx context.Context, c rueidis.Client) (bool, error) {
		err := c.Do(ctx, c.B().Set().Key(s.locks+keyName(key)).Value(token).Nx().Px(max(ttl, time.Millisecond)).Build()).Error()
		if rueidis.IsRedisNil(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// Unlock is of [cache.Shared].
func (s *Store) Unlock(ctx context.Context, key cache.Key, token string) error {
	r := redisconn.Run{Key: s.locks + keyName(key), Args: []string{token}}
	_, err := redisconn.Do(ctx, s.conn, func(ctx context.Context, c rueidis.Client) (struct{}, error) {
		return struct{}{}, unlock.Do(ctx, c, r).Error()
	})
	return err
}

// Close cuts all connections; what is under way fails.
func (s *Store) Close() {
	s.stop()
	s.conn.Close()
	s.wg.Wait()
}
