package redis

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter/redis/redistest"
)

// ids is how many distinct clients come; NEKO_TEST_IDS=10000000 has so many.
func ids(t *testing.T) int {
	text := os.Getenv("NEKO_TEST_IDS")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func info(t *testing.T, server *redistest.Server, name string) int64 {
	t.Helper()
	text, err := server.Do(t, "INFO").ToString()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("INFO does not tell ", name)
	return 0
}

// flood has n distinct clients take a token each, and watches the memory.
func flood(t *testing.T, server *redistest.Server, s *Source, name string, limit int64, window time.Duration, n int) (most, keys int64) {
	t.Helper()
	p := policy(t, name, limit, window, 0)
	var next atomic.Int64
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 200 {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > n || ctx.Err() != nil {
					return
				}
				if g, err := s.Grant(ctx, p, id(i), 1, 1); ctx.Err() == nil && (err != nil || g.Tokens != 1) {
					t.Errorf("client %d: %+v, %v", i, g, err)
					cancel()
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	began := time.Now()
	for every := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-done:
			every.Stop()
			t.Logf("%s: %d clients in %v, at most %d keys and %d MiB", name, n, time.Since(began).Round(time.Millisecond), keys, most>>20)
			return most, keys
		case <-every.C:
			most = max(most, info(t, server, "used_memory"))
			if count, _ := server.Do(t, "DBSIZE").AsInt64(); count > keys {
				keys = count
			}
		}
	}
}

// Clients who do not come again take no memory once their buckets are full, and where
// that takes long, no more than Redis is given: what is full soonest goes first.
func TestDistinctClientsDoNotFillRedis(t *testing.T) {
	n := ids(t)
	server := redistest.Start(t)
	s := calm(t, server.URL())
	before := info(t, server, "used_memory")

	flood(t, server, s, "fast", 1000, time.Minute, n) // a token comes back in 60 ms
	eventually(t, func() error {
		if n, _ := server.Do(t, "DBSIZE").AsInt64(); n > 1 {
			return fmt.Errorf("%d keys are left", n)
		}
		return nil
	})
	t.Logf("%d KiB before, %d after", before>>10, info(t, server, "used_memory")>>10)

	room := max(2<<20, int64(n)*20)
	limit := before + room
	server.Do(t, "CONFIG", "SET", "maxmemory", fmt.Sprint(limit), "maxmemory-policy", "volatile-ttl")
	most, _ := flood(t, server, s, "slow", 1, time.Hour, max(n, 40_000))
	if most > limit+room {
		t.Errorf("%d bytes are used, and it was given %d", most, limit)
	}
	kept, _ := server.Do(t, "DBSIZE").AsInt64()
	if info(t, server, "evicted_keys") == 0 || kept == 0 {
		t.Error("nothing had to go")
	}
	t.Logf("%d keys in %d KiB", kept, (info(t, server, "used_memory")-before)>>10)
}
