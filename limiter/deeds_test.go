package limiter

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

// deed is what a process does while it is killed or stopped (instruction_test.go), in a
// table of one window.
type deed struct {
	name string
	// before makes the table what it is before, and says what was taken by then.
	before func(h *Host) taken
	// later is what time changes in the table while the process is stopped.
	later func(h *Host)
	// do says what it has taken. more takes at the same time in the same process.
	do func(h, more *Host) taken
	// most is what it may have taken when it is killed.
	most taken
	// forgets says that buckets may be forgotten whose names begin with k.
	forgets bool
}

// taken is how many tokens, by key.
type taken map[string]int64

func (t taken) add(more taken) taken {
	sum := maps.Clone(t)
	if sum == nil {
		sum = taken{}
	}
	for key, n := range more {
		sum[key] += n
	}
	return sum
}

const testBurst = 5

func mustPolicy(name string, limit int64, window time.Duration, burst int64) *Policy {
	p, err := NewPolicy(name, limit, window, burst, FailLocal)
	if err != nil {
		panic(err)
	}
	return p
}

var (
	slowly = mustPolicy("slowly", testBurst, MaxWindow, testBurst) // nothing fills during a test
	fast   = mustPolicy("fast", MaxRate, time.Second, testBurst)   // all does at once
)

// take charges keys and costs, all or none.
func take(h *Host, p *Policy, all taken) taken {
	var charges []Charge
	for key, n := range all {
		charges = append(charges, Charge{Policy: p, Key: []byte(key), Cost: n})
	}
	if h.Decide(context.Background(), charges).OK() {
		return all
	}
	return nil
}

// at has f done at the nth reading of a clock from now on, after the reading or before.
func at(h *Host, nth int, before bool, f func()) {
	now := h.table.now
	n := 0
	h.table.now = func() int64 {
		if n++; n != nth {
			return now()
		}
		h.table.now = now
		if before {
			f()
			return now()
		}
		at := now()
		f()
		return at
	}
}

func keys(from, to int, each int64) []taken {
	var all []taken
	for i := from; i < to; i++ {
		all = append(all, taken{fmt.Sprint("k", i): each})
	}
	return all
}

var deeds = []deed{
	{
		name:   "charge",
		before: func(h *Host) taken { return take(h, slowly, taken{"a": 1}) },
		do:     func(h, _ *Host) taken { return take(h, slowly, taken{"a": 2}) },
		most:   taken{"a": 2},
	},
	{
		name: "insert",
		do:   func(h, _ *Host) taken { return take(h, slowly, taken{"a": 2}) },
		most: taken{"a": 2},
	},
	{
		name: "insert two",
		do: func(h, _ *Host) taken {
			c := []Charge{{Policy: slowly, Key: []byte("a"), Cost: 2}, {Policy: slowly, Key: []byte("b"), Cost: 3}}
			if h.Decide(context.Background(), c).OK() {
				return taken{"a": 2, "b": 3}
			}
			return nil
		},
		most: taken{"a": 2, "b": 3},
	},
	{
		name: "take an idle entry over",
		before: func(h *Host) taken {
			for _, k := range keys(0, window, 1) {
				take(h, fast, k)
			}
			time.Sleep(time.Duration(testBurst) * fast.Window / MaxRate) // until they are full again
			return nil
		},
		do:   func(h, _ *Host) taken { return take(h, slowly, taken{"a": 2}) },
		most: taken{"a": 2},
	},
	{
		name: "forget a bucket",
		before: func(h *Host) (sum taken) {
			for _, k := range keys(0, window, 1) {
				sum = sum.add(take(h, slowly, k))
			}
			return sum
		},
		do:      func(h, _ *Host) taken { return take(h, slowly, taken{"a": 3}) },
		most:    taken{"a": 3},
		forgets: true,
	},
	{
		name: "charge a bucket that others take over",
		before: func(h *Host) (sum taken) {
			// It is full, and all others are not.
			for _, k := range keys(1, window, 1) {
				sum = sum.add(take(h, slowly, k))
			}
			h.table.insert(slowly.keyHash(h.table.seed, []byte("a")), 1)
			return sum
		},
		do:      func(h, _ *Host) taken { return take(h, slowly, taken{"a": 2}) },
		most:    taken{"a": 2},
		forgets: true,
	},
	{
		name: "insert behind an entry that becomes idle",
		before: func(h *Host) taken {
			first := h.table.at(slowly.keyHash(h.table.seed, []byte("a")), 0)
			first.tag.Store(nextTag(7, 1<<20))
			first.tat.Store(h.table.now() + int64(time.Hour))
			return nil
		},
		later: func(h *Host) {
			first := h.table.at(slowly.keyHash(h.table.seed, []byte("a")), 0)
			if tat := first.tat.Load(); tat > h.table.now() {
				first.tat.Store(h.table.now())
			}
		},
		do:   func(h, _ *Host) taken { return take(h, slowly, taken{"a": 2}) },
		most: taken{"a": 2},
	},
	{
		name: "rob the dead",
		before: func(h *Host) taken {
			// Two who were killed while they made a bucket for the same key.
			hash := slowly.keyHash(h.table.seed, []byte("a"))
			for _, i := range []uint64{1, window - 1} {
				e := h.table.at(hash, i)
				e.tag.Store(nextTag(7, keyBits(hash)))
				e.tat.Store(-(h.table.now() - 2*staleAfter))
			}
			return nil
		},
		do:   func(h, _ *Host) taken { return take(h, slowly, taken{"a": 2}) },
		most: taken{"a": 2},
	},
	{
		name: "withdraw",
		do: func(h, more *Host) (sum taken) {
			// After it was found nowhere, and before an entry is claimed, the other makes it.
			at(h, 3, true, func() { sum = sum.add(take(more, slowly, taken{"a": 1})) })
			return take(h, slowly, taken{"a": 2}).add(sum)
		},
		most: taken{"a": 3},
	},
	{
		name: "be robbed",
		do: func(h, more *Host) (sum taken) {
			// Before it is published.
			at(h, 4, false, func() { sum = sum.add(take(more, slowly, taken{"a": 1})) })
			return take(h, slowly, taken{"a": 2}).add(sum)
		},
		most: taken{"a": 3},
	},
	{
		name:   "give back",
		before: func(h *Host) taken { return take(h, slowly, taken{"a": 1}) },
		do: func(h, more *Host) (sum taken) {
			// b was full when it was looked at, and is empty when it is to be charged.
			at(h, 2, true, func() { sum = sum.add(take(more, slowly, taken{"b": testBurst})) })
			c := []Charge{{Policy: slowly, Key: []byte("a"), Cost: 2}, {Policy: slowly, Key: []byte("b"), Cost: 1}}
			if h.Decide(context.Background(), c).OK() {
				sum = sum.add(taken{"a": 2, "b": 1})
			}
			return sum
		},
		most: taken{"a": 2, "b": testBurst},
	},
}

// meanwhile is what others do while a process is stopped in the middle of a deed. What do
// returns they do when it has gone on to its end.
var meanwhile = []struct {
	name string
	do   func(h *Host) (sum taken, then func() taken)
}{
	{"the same key", func(h *Host) (taken, func() taken) { return take(h, slowly, taken{"a": 1}), nil }},
	{"other keys", func(h *Host) (sum taken, _ func() taken) {
		untilStale(h)
		for i := range 3 {
			sum = sum.add(take(h, slowly, taken{fmt.Sprint("x", i): 2}))
		}
		return sum, nil
	}},
	{"other keys, and then the same", func(h *Host) (sum taken, _ func() taken) {
		untilStale(h)
		for i := range 2 {
			sum = sum.add(take(h, slowly, taken{fmt.Sprint("x", i): 2}))
		}
		return sum.add(take(h, slowly, taken{"a": 1})), nil
	}},
	{"one dies that has claimed an entry", func(h *Host) (taken, func() taken) {
		half(h, "x", false)
		return nil, nil
	}},
	{"one makes the same bucket, and is stopped before it publishes", func(h *Host) (taken, func() taken) {
		e, stamp := half(h, "a", true)
		return nil, func() taken {
			if e != nil {
				e.tat.CompareAndSwap(-stamp, h.table.now())
			}
			return take(h, slowly, taken{"a": 1})
		}
	}},
}

// untilStale waits until nobody is left alone with an entry that he has claimed.
func untilStale(h *Host) {
	for i := range h.table.entries {
		for e := &h.table.entries[i]; e.tat.Load() < 0 && !isStale(e.tat.Load(), h.table.now()); {
			time.Sleep(time.Millisecond)
		}
	}
}

// half is what is left by one that is stopped while it makes a bucket for a key: before it
// puts the key into the tag, or before it publishes.
func half(h *Host, key string, renamed bool) (e *entry, stamp int64) {
	hash, now := slowly.keyHash(h.table.seed, []byte(key)), h.table.now()
	if e, _ := h.table.find(hash); e != nil {
		return nil, 0
	}
	if e = h.table.claim(hash, keyBits(hash), now); e == nil {
		return nil, 0 // there is one just being made
	}
	h.table.reset(e, now, 1)
	if renamed {
		tag, ok := rename(e, now, keyBits(hash))
		if ok && !h.table.sole(hash, keyBits(hash), e) {
			withdraw(e, now, tag)
			return nil, 0
		}
	}
	return e, now
}

// inspect says what is wrong with a table in which so much was taken, and perhaps some
// more: whether there are two buckets for a key, or too much can be taken or too little. It
// takes all that there is.
func inspect(h *Host, certain, perhaps taken, forgets bool) error {
	if err := twice(h); err != nil {
		return err
	}
	for key := range certain.add(perhaps).add(taken{"a": 0}) {
		if forgets && key[0] == 'k' {
			continue // to look would have another forgotten
		}
		n := int64(0)
		for take(h, slowly, taken{key: 1}) != nil {
			n++
		}
		most := testBurst - certain[key]
		least := most - perhaps[key]
		if _, ok := perhaps[key]; ok {
			least-- // what is given back is short of what has filled since
		}
		if n > most || n < least {
			return fmt.Errorf("%d tokens of %s, not %d to %d: %d were taken, and perhaps %d", n, key, least, most, certain[key], perhaps[key])
		}
		if err := twice(h); err != nil {
			return err
		}
	}
	// It is of use for others.
	for i := range 2 * window {
		if take(h, slowly, taken{fmt.Sprint("new", i): 1}) == nil {
			return fmt.Errorf("a key that was not there is refused")
		}
	}
	return twice(h)
}

// twice says which key has two live entries.
func twice(h *Host) error {
	seen := map[uint64]int{}
	for i := range h.table.entries {
		e := &h.table.entries[i]
		key := e.tag.Load() & tagKeyMask
		if key == 0 || e.tat.Load() < 0 {
			continue
		}
		if j, ok := seen[key]; ok {
			return fmt.Errorf("entries %d and %d are of the same key", j, i)
		}
		seen[key] = i
	}
	return nil
}

// prepare makes the table what it is before a deed.
func (d *deed) prepare(h *Host) taken {
	for i := range h.table.entries {
		e := &h.table.entries[i]
		e.tag.Store(0)
		e.tat.Store(0)
		e.seen.Store(0)
		e.asked.Store(0)
		e.demand.Store(0)
		e.pace.Store(0)
		e.leases[0].Store(0)
		e.leases[1].Store(0)
	}
	if d.before == nil {
		return nil
	}
	return d.before(h)
}

func openHost(t tester, dir string) *Host {
	t.Helper()
	m, err := hostmem.Open(dir, hostmem.MinBuckets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return host(t, m)
}

func TestDeedsThatNobodyDisturbs(t *testing.T) {
	for _, d := range deeds {
		t.Run(d.name, func(t *testing.T) {
			dir := t.TempDir()
			h, more := openHost(t, dir), openHost(t, dir)
			before := d.prepare(h)
			did := d.do(h, more)
			if len(did) == 0 {
				t.Error("it has taken nothing")
			}
			for key, n := range did {
				if n > d.most[key] {
					t.Errorf("it has taken %d of %s", n, key)
				}
			}
			perhaps := taken{}
			if d.name == "give back" {
				perhaps["a"] = 0
				if did["a"] != 0 || did["b"] != testBurst {
					t.Errorf("nothing was given back: %v", did)
				}
			}
			if err := inspect(openHost(t, dir), before.add(did), perhaps, d.forgets); err != nil {
				t.Error(err)
			}
		})
	}
}

const (
	childEnv  = "LIMITER_TEST_DEEDS"
	hammerEnv = "LIMITER_TEST_HAMMER"
	spinEnv   = "LIMITER_TEST_SPIN"
)

// TestChild is not a test: it is the process that is killed and stopped by others.
func TestChild(t *testing.T) {
	switch {
	case os.Getenv(childEnv) != "":
		dir := os.Getenv(childEnv)
		runDeeds(openHost(t, dir), openHost(t, dir))
	case os.Getenv(hammerEnv) != "":
		hammer(t, os.Getenv(hammerEnv))
	case os.Getenv(spinEnv) != "":
		spin(openHost(t, os.Getenv(spinEnv)))
	default:
		t.Skip("it is for other tests")
	}
}

func printTaken(did taken) {
	line, err := json.Marshal(did)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", line)
}
