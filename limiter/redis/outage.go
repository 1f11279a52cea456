package redis

import (
	"errors"
	"log"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// outage tells the log when Redis cannot be used, and when it can again.
type outage struct {
	log *log.Logger

	on atomic.Bool // as of the last call

	mu    sync.Mutex
	since time.Time
	last  time.Time // when a call failed last
	said  time.Time // when the log was told last
	told  bool      // that it is on
}

// calmFor is for how long no call must have failed before it is said that Redis answers again: as long as one
// node of a Cluster is away, the others answer all the time.
const calmFor = time.Second

// quiet is for how long no more is said after something has been: half of a Cluster may be away.
const quiet = 10 * time.Second

func (o *outage) ended() {
	if !o.on.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.last) < calmFor {
		return
	}
	if o.told && o.log != nil {
		o.log.Printf("rate limits: Redis answers again, after %v", o.last.Sub(o.since).Round(time.Millisecond))
	}
	o.on.Store(false)
	o.told = false
}

func (o *outage) failed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if !o.on.Swap(true) {
		o.since = now
	}
	o.last = now
	if o.log == nil || !o.said.IsZero() && now.Sub(o.said) < quiet {
		return
	}
	o.said, o.told = now, true
	o.log.Printf("rate limits: Redis cannot be used: %v", err)
	if hint := advice(err); hint != "" {
		o.log.Printf("hint: %s", hint)
	}
}

const aclAdvice = "docs/limits.md says what its user must be allowed to do"

// advice is what an operator can do about what Redis has answered.
func advice(err error) string {
	if errors.Is(err, errNoRedis) {
		return "is it a Redis, at that port? One that wants TLS is rediss://"
	}
	if _, ok := rueidis.IsRedisErr(err); !ok {
		return ""
	}
	word, _, _ := strings.Cut(err.Error(), " ")
	switch {
	case word == "OOM":
		return "its maxmemory is used up, and its maxmemory-policy lets nothing go: more memory, or volatile-ttl, which drops the buckets that are full soonest"
	case word == "NOPERM" || strings.HasPrefix(err.Error(), "The user executing the script can't"):
		return aclAdvice
	case word == "WRONGPASS" || word == "NOAUTH":
		return "user and password stand in the URL of Redis, special characters as %XX"
	case word == "READONLY":
		return "it is a replica: for a failover give the Sentinels, with master_set, or a Cluster"
	case word == "BUSY":
		return "somebody's script runs on and on: SCRIPT KILL ends it"
	case word == "MISCONF":
		return "it cannot write its data to disk"
	}
	return ""
}
