package main

import (
	"context"
	"log/slog"

	"github.com/nekoctl/neko/cache/redis"
)

// connectAnswers begins to connect to the Redis of the settings, where the hosts of a store
// share answers; nil if there is none. It does not wait for it. What it has of another
// database under the same prefix has other names.
func (o *options) connectAnswers(ctx context.Context, st server, logger *slog.Logger) (*redis.Store, error) {
	url, err := o.rateLimits.redisURL()
	if err != nil || url == "" {
		return nil, err
	}
	name, err := st.Identity(ctx)
	if err != nil {
		return nil, err
	}
	return redis.New(context.WithoutCancel(ctx), url, redis.Options{Prefix: *o.rateLimits.redisPrefix + name[:8] + ":", Log: logger})
}
