package main

import (
	"context"
	"log/slog"

	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/redis"
)

// connectAnswers begins to connect to the Redis of the settings, where the hosts of a store
// share answers; nil if there is none. It does not wait for it. What it has of another
// database under the same prefix has other names.
func (o *options) connectAnswers(ctx context.Context, st confirmer, logger *slog.Logger) (cache.Shared, error) {
	url, err := o.rateLimits.redisURL()
	if err != nil || url == "" {
		return nil, err
	}
	name, err := st.Identity(ctx)
	if err != nil {
		return nil, err
	}
	shared, err := redis.New(context.WithoutCancel(ctx), url, redis.Options{Prefix: *o.rateLimits.redisPrefix + name[:8] + ":", Log: logger})
	if err != nil {
		return nil, err // and no typed nil
	}
	return shared, nil
}
