package redisconn

import (
	"errors"
	"strings"

	"github.com/redis/rueidis"
)

// Tracking is Redis's client-side caching in its broadcasting mode (CLIENT TRACKING ON BCAST PREFIX … NOLOOP):
// each connection is told of every key with the prefix that is set or removed by any other, has expired or was
// evicted, and of FLUSHALL. What Changed can rely on, of Redis 6.2 to 7.0 (tracking.c) and of
// rueidis 1.0.79 (pipe.go):
//
//   - A connection is tracked before its first call is sent: CLIENT TRACKING goes out with HELLO, and if it
//     is refused there is no connection.
//   - Redis writes to a connection in one order. A key that is changed after it was read is told of after the answer
//     that has what was read: changes are gathered while a round of the event loop runs, and sent at its end, behind all
//     answers of that round. So an answer with the newer value may come before the change is told, an answer with the older
//     never comes after.
//   - rueidis reads a connection in one goroutine, and calls OnInvalidations in it: when a call has returned, all that was told
//     before its answer has been passed on. What is told right after it may still be to come.
//   - Changed(nil) is called when a connection that was tracked has ended, whoever ended it and why, after all that came
//     on it was passed on: also for one that the ping gave up. Between its end and that call another may have been made,
//     and used: then Changed(nil) is of no need for what that one has answered, and harmless.
//   - Nothing is told of what was done by way of the same connection. If others and it have changed a key in the
//     same round of the event loop, who was the last counts: so whoever changes a key must do by himself, once he has the
//     answer, what being told would have him do. What has expired or was evicted nobody has done.
//   - FLUSHALL and FLUSHDB, by whomever, are Changed(nil), as are a replica that is filled anew, and a server that starts
//     anew (its connections end).
//   - A master that becomes a replica tells of what it is sent by its new master. A Sentinel ends the connections of
//     one that it demotes.
//   - In a Cluster there is a connection to each master that was asked for something. MIGRATE removes the
//     keys from the node that had them, which tells of them. A value that was got by way of ASK is
//     tracked like any other: in broadcasting mode that follows from the key alone. (With OPTIN it does not:
//     rueidis sends CLIENT CACHING YES before ASKING, and that ends with the next command.)
//   - A server with an address that is new gets Changed(nil) before it is asked: it has taken over from another,
//     which may have granted a connection to us for a while longer and told nothing.
//   - Nothing is told by SWAPDB, and by a master that is cut off from its replicas together with this host, and
//     goes on alone: its data is then what this host believes in.
func (c *Conn) track() {
	if c.o.Track == "" {
		return
	}
	c.opt.DisableCache = false
	c.opt.CacheSizeEachConn = 1 // nothing is read by way of it
	c.opt.ClientTrackingOptions = []string{"BCAST", "PREFIX", c.o.Track, "NOLOOP"}
	c.opt.OnInvalidations = func(messages []rueidis.RedisMessage) {
		var keys []string
		for _, m := range messages {
			if key, err := m.ToString(); err == nil {
				keys = append(keys, key)
			}
		}
		if len(keys) == len(messages) {
			c.changed(keys)
		} else {
			c.changed(nil)
		}
	}
}

// untrackedError is of a server that cannot be tracked, or does not allow it.
type untrackedError struct{ why string }

func (e *untrackedError) Error() string { return "it does not tell of changes: " + e.why }

// untracked is err, or what is in it of tracking: rueidis advises its own options then.
func untracked(err error) error {
	if !errors.Is(err, rueidis.ErrNoCache) {
		return err
	}
	why, _, ok := strings.Cut(err.Error(), ": [CLIENT ")
	if !ok {
		why = "it does not speak RESP3"
	}
	return &untrackedError{why}
}

func (c *Conn) changed(keys []string) {
	if c.ctx.Err() == nil {
		c.o.Changed(keys)
	}
}

// meet notes that a server is about to be asked.
func (c *Conn) meet(addr string) {
	if c.o.Track == "" {
		return
	}
	c.mu.Lock()
	_, ok := c.known[addr]
	c.known[addr] = struct{}{}
	c.mu.Unlock()
	if !ok {
		c.changed(nil)
	}
}
