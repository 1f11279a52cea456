package caches

import (
	"testing"
	"time"

	"github.com/nekoctl/neko/cache"
)

// What the judge makes of some reads of an object that host 0 has changed to version 2 at 10 s.
func TestTheJudge(t *testing.T) {
	at := func(d time.Duration) int64 { return int64(10*time.Second + d) }
	change := record{Kind: changed, Version: 2, Before: at(-time.Millisecond), After: at(0)}
	later := change
	later.Kind = changedHere
	killedAt := func(d time.Duration) int64 { return at(d) }
	cut := []fault{{"x", 1, at(-time.Second), at(10 * time.Second)}}
	own := []fault{{"x", 0, at(-time.Second), at(time.Second)}}
	for _, c := range []struct {
		name    string
		change  record
		killed  int64
		faults  []fault
		host    int
		version uint64
		state   cache.State
		begins  time.Duration
		bad     bool
		late    bool
	}{
		{name: "the new version", change: change, host: 1, version: 2, begins: time.Hour},
		{name: "a newer one", change: change, host: 1, version: 3, begins: time.Hour},
		{name: "the old one before it was told", change: change, host: 0, version: 1, begins: -time.Microsecond},
		{name: "the old one on the same host", change: change, host: 0, version: 1, begins: time.Microsecond, bad: true},
		{name: "the old one on the same host, after an error", change: change, host: 0, version: 1, state: cache.StaleOnError, begins: time.Microsecond, bad: true},
		{name: "the old one on the same host, though it is cut off", change: later, faults: own, host: 0, version: 1, begins: time.Microsecond, bad: true},
		{name: "on another host, a moment later", change: change, host: 1, version: 1, begins: time.Millisecond},
		{name: "a while later", change: change, host: 1, version: 1, begins: 200 * time.Millisecond, late: true},
		{name: "long after", change: change, host: 1, version: 1, begins: 1100 * time.Millisecond, bad: true, late: true},
		{name: "long after, stale", change: change, host: 1, version: 1, state: cache.Stale, begins: 1100 * time.Millisecond, bad: true, late: true},
		{name: "cut off", change: change, faults: cut, host: 1, version: 1, begins: 2900 * time.Millisecond},
		{name: "cut off for too long", change: change, faults: cut, host: 1, version: 1, begins: 3100 * time.Millisecond, bad: true},
		{name: "cut off, and it cannot be made", change: change, faults: cut, host: 1, version: 1, state: cache.StaleOnError, begins: 9 * time.Second},
		{name: "another host is cut off", change: change, faults: cut, host: 2, version: 1, begins: 1100 * time.Millisecond, bad: true, late: true},
		{name: "told later", change: later, faults: own, host: 1, version: 1, begins: time.Second},
		{name: "told later, long after", change: later, faults: own, host: 1, version: 1, begins: time.Second + recovery + connected + time.Millisecond, bad: true, late: true},
		{name: "never told", change: later, killed: killedAt(500 * time.Millisecond), faults: own, host: 1, version: 1, begins: time.Hour},
	} {
		v := judge([]life{
			{host: 0, records: []record{c.change}, killed: c.killed},
			{host: c.host, records: []record{{Kind: read, Version: c.version, State: uint8(c.state), Before: at(c.begins), After: at(c.begins) + 1}}},
		}, c.faults)
		if bad := len(v.violations) > 0; bad != c.bad || (v.late > 0) != c.late || v.reads != 1 || v.changes != 1 {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}
