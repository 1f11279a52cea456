package store

import (
	"context"
	"sync/atomic"
)

// Counter counts the queries that stores run for one request: statements sent
// to the database, not calls of methods. Tests use it to show that loaders batch.
type Counter struct{ n atomic.Int64 }

// Queries is the number so far.
func (c *Counter) Queries() int { return int(c.n.Load()) }

type counterKey struct{}

// WithCounter makes stores count the queries of calls with this context.
func WithCounter(ctx context.Context, c *Counter) context.Context {
	return context.WithValue(ctx, counterKey{}, c)
}

// CountQuery is called by stores, once for each statement.
func CountQuery(ctx context.Context) {
	if c, ok := ctx.Value(counterKey{}).(*Counter); ok {
		c.n.Add(1)
	}
}
