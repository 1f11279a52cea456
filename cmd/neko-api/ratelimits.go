package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/worker"
	"github.com/nekoctl/neko/worker/settings"
)

// rateLimits are the settings of how much clients may ask for, and of what keeps count.
type rateLimits struct {
	file     *string // or off
	identity **rate
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

// open opens what keeps count, nil if nothing is to be counted: buckets in memory that
// the workers of the app share, or this process alone.
func (r rateLimits) open(logger *log.Logger) (limiter.Limiter, error) {
	if *r.file == off {
		return nil, nil
	}
	m, err := hostMemory(logger)
	if err != nil {
		return nil, fmt.Errorf("cannot keep count of requests: %w", err)
	}
	// The mapping is not closed: it ends with the process, and what a last request still
	// wants of it is there.
	l, err := limiter.NewHost(m)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return l, nil
}

// hostMemory is what the workers of the app share. If that cannot be had each of them
// counts for itself: more than the rules say is let pass then, and the log says so.
func hostMemory(logger *log.Logger) (*hostmem.Mapping, error) {
	dir := os.Getenv("NEKO_RUN_DIR")
	if !filepath.IsAbs(dir) {
		return hostmem.Anonymous(0)
	}
	m, err := hostmem.Open(dir, 0)
	if err == nil {
		return m, nil
	}
	logger.Printf("warning: this worker counts requests for itself alone, and lets its part of what the rate limits say pass again: %v", err)
	var advice interface{ Hint() string }
	if errors.As(err, &advice) {
		logger.Printf("hint: %s", advice.Hint())
	}
	return hostmem.Anonymous(0)
}

// closeLimiter gives back what was taken ahead, in the time that there is at an end.
func closeLimiter(l limiter.Limiter) error {
	if l == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return l.Close(ctx)
}
