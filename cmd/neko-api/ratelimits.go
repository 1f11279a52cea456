package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis"
	"github.com/nekoctl/neko/worker"
	"github.com/nekoctl/neko/worker/settings"
)

// rateLimits are the settings of how much clients may ask for, and of what keeps count.
type rateLimits struct {
	file     *string // or off
	identity **rate

	redis, redisFile, redisPrefix *string
}

// rate is so much in each window.
type rate struct {
	limit  int64
	window time.Duration
}

// off is no rate limits at all.
const off = "off"

func newRateLimits(s *settings.Set) rateLimits {
	return rateLimits{
		file: s.String("rate-limits", "", "FILE|off", "the rules of how much clients may ask for, in the place of those that there are, see docs/graphql.md: a YAML file, taken into use again when it changes; off for none"),
		identity: settings.Parsed(s, "rate-limit", "1000/1m", "N/TIME", "how many requests a user or key may send, and who is not known from one address", func(text string) (*rate, error) {
			limit, window, err := worker.ParseLimit(text)
			if err == nil {
				_, err = limiter.NewPolicy("identity", limit, window, 0, limiter.FailLocal)
			}
			if err != nil {
				var advice interface{ Hint() string }
				hint := "write it like 1000/1m"
				if errors.As(err, &advice) {
					hint = advice.Hint()
				}
				return nil, settings.BadValue(err.Error(), hint)
			}
			return &rate{limit, window}, nil
		}),
		redis:       s.String("redis", "", "URL", "the Redis in which all hosts count together and share answers, see docs/limits.md and docs/caching.md: redis://HOST:PORT; if not given, each host is by itself"),
		redisFile:   s.String("redis-file", "", "FILE", "a file that has what --redis would have: for a URL with a password, which nobody is to see in a list of processes"),
		redisPrefix: s.String("redis-prefix", "neko:", "TEXT", "what its keys begin with: another for each installation that is by itself"),
	}
}

// apply puts the rules into c.
func (r rateLimits) apply(c *worker.Config) error {
	switch {
	case *r.file != "" && *r.identity != nil:
		return usageError{"both --rate-limits and --rate-limit are given", "write the rule for identities into the file, and give --rate-limits alone"}
	case *r.file == off:
	case *r.file != "":
		path, err := filepath.Abs(*r.file) // it is read again
		if err != nil {
			return err
		}
		c.RateLimitFile = path
	default:
		identity := rate{1000, time.Minute}
		if *r.identity != nil {
			identity = **r.identity
		}
		c.RateLimits = defaultRateLimits(identity)
	}
	c.FoldArgument = store.Fold // as names of users are compared
	return nil
}

// defaultRateLimits are the rules that count if there is no file of them. Logins are
// counted by address and name together, so that nobody can keep others from logging in by
// trying their names; and by address alone, against who tries many. Who refreshes
// sessions once in ten minutes, as is usual, may do it for a thousand users at one address.
func defaultRateLimits(identity rate) []worker.RateLimit {
	return []worker.RateLimit{
		{Name: "identity", Limit: identity.limit, Window: identity.window},
		{Name: "login", Per: []string{"ip", "argument:input.name"}, Fields: []string{"Mutation.login"}, Limit: 5, Window: time.Minute},
		{Name: "login-address", Per: []string{"ip"}, Fields: []string{"Mutation.login"}, Limit: 30, Window: time.Minute},
		{Name: "refresh-address", Per: []string{"ip"}, Fields: []string{"Mutation.refreshSession"}, Limit: 100, Window: time.Minute},
	}
}

// counter is what keeps count of requests, and is opened in two steps: it connects while
// the store is opened.
type counter struct {
	source *redis.Source // nil: every host counts for itself
	limiter.Limiter
}

// connect begins to connect to the Redis of the settings, if there is one. It does not
// wait for it.
func (r rateLimits) connect(ctx context.Context, logger *slog.Logger) (c counter, err error) {
	url, err := r.redisURL()
	if err != nil || url == "" || *r.file == off {
		return c, err
	}
	c.source, err = redis.New(context.WithoutCancel(ctx), url, redis.Options{Prefix: *r.redisPrefix, Log: logger})
	return c, err
}

// redisURL is "" if there is no Redis.
func (r rateLimits) redisURL() (string, error) {
	if *r.redisFile == "" {
		return *r.redis, nil
	}
	if *r.redis != "" {
		return "", usageError{"both --redis and --redis-file are given", "give one of them"}
	}
	url, err := readSmall(*r.redisFile)
	if err != nil {
		return "", usageError{fmt.Sprintf("cannot read the URL of Redis from %s: %v", *r.redisFile, err), "it is to have one line, as --redis would be given"}
	}
	return url, nil
}

// open opens it: buckets in memory that the workers of the app share, or this process
// alone, filled by time or from Redis.
func (c *counter) open(memory *hostmem.Mapping, logger *slog.Logger) error {
	if c.source != nil {
		shared, err := limiter.NewShared(memory, c.source, logger)
		if err != nil {
			return err // and no typed nil
		}
		c.Limiter = shared
		return nil
	}
	host, err := limiter.NewHost(memory)
	if err != nil {
		return err
	}
	c.Limiter = host
	return nil
}

// close gives back what was taken ahead, in the time that there is at an end.
func (c *counter) close() error {
	if c.Limiter == nil {
		if c.source != nil {
			c.source.Close()
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	return c.Limiter.Close(ctx)
}

// goodbye is longer than tokens are good.
const goodbye = time.Second
