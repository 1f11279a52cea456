package redisconn

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nekoctl/neko/logtext"
	"github.com/redis/rueidis"
)

// outage tells the log when Redis cannot be used, and when it can again.
type outage struct {
	Options

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
	if o.told && o.Log != nil {
		o.Log.Info(fmt.Sprintf("%s: Redis answers again, after %v", o.Who, o.last.Sub(o.since).Round(time.Millisecond)))
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
	if o.Log == nil || !o.said.IsZero() && now.Sub(o.said) < quiet {
		return
	}
	o.said, o.told = now, true
	o.Log.Warn(o.Who+": Redis cannot be used", logtext.Reason, err, logtext.Hint, o.Advice(err))
}

// Advice is what an operator can do about what Redis has answered, "" if nothing is known.
func (o *Options) Advice(err error) string {
	if errors.Is(err, ErrNoRedis) {
		return "is it a Redis, at that port? One that wants TLS is rediss://"
	}
	text := err.Error()
	if u := (*untrackedError)(nil); errors.As(err, &u) {
		if text = u.why; !strings.HasPrefix(text, "NOPERM") {
			return "it must be Redis 6.2 or later, and all that is between must pass on RESP3 and CLIENT TRACKING"
		}
	} else if _, ok := rueidis.IsRedisErr(err); !ok {
		return ""
	}
	word, _, _ := strings.Cut(text, " ")
	switch {
	case word == "OOM":
		return "its maxmemory is used up, and its maxmemory-policy lets nothing go: " + o.Full
	case word == "NOPERM" || strings.HasPrefix(text, "The user executing the script can't"):
		return o.Page + " says what its user must be allowed to do"
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
