package limits

import (
	"context"
	"io"
	"os"

	"github.com/nekoctl/neko/hostmem"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/limiter/redis"
	"github.com/nekoctl/neko/logtext"
)

// open makes a worker's limiter, as neko-api does: with a source if there is a URL. What
// it lies in is closed after it.
func open(url, runDir string, buckets int) (limiter.Limiter, io.Closer, error) {
	if api := os.Getenv(apiClient); api != "" {
		c := newOverHTTP(api)
		return c, io.NopCloser(nil), nil
	}
	m, err := hostmem.Open(runDir, buckets)
	if err != nil {
		return nil, nil, err
	}
	var l limiter.Limiter
	if url == "" {
		l, err = limiter.NewHost(m)
	} else {
		logger := logtext.Logger(os.Stderr)
		var source *redis.Source
		if source, err = redis.New(context.Background(), url, redis.Options{Log: logger}); err == nil {
			l, err = limiter.NewShared(m, source, logger)
		}
	}
	return l, m, err
}
