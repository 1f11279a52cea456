package limiter

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// Who has many addresses fills the table. Memory stays as it is, the buckets with the
// most debt are the last to be forgotten, and what was forgotten is counted.
func TestManyMoreKeysThanThereIsPlaceFor(t *testing.T) {
	n := 60_000
	if s := os.Getenv("NEKO_TEST_KEYS"); s != "" { // 10000000 takes half a minute
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	h := host(t, anonymous(t, n/32))
	login := policy(t, "login", 5, time.Minute, 5)
	ctx := context.Background()
	key := make([]byte, 8)
	charges := []Charge{{Policy: login, Key: key, Cost: 1}}

	// Who has used up all that he has.
	hot := []Charge{{Policy: login, Key: []byte("hot"), Cost: 5}}
	if !h.Decide(ctx, hot).OK() {
		t.Fatal("a full bucket refuses")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	for i := range n {
		binary.NativeEndian.PutUint64(key, uint64(i))
		if !h.Decide(ctx, charges).OK() {
			t.Fatalf("key %d is refused", i)
		}
		if i%1024 == 0 {
			hot[0].Cost = 1
			if d := h.Decide(ctx, hot); d.OK() && time.Since(began) < 12*time.Second {
				t.Fatalf("the bucket with the most debt was forgotten after %d keys", i)
			}
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes allocated", grown)
	}
	s := h.Stats()
	t.Logf("%d keys in %d entries, %v each: %d forgotten, %d tokens forgiven", n, len(h.table.entries), time.Since(began)/time.Duration(n), s.Forgotten, s.Forgiven)
	if want := uint64(n - len(h.table.entries)); s.Forgotten < want*9/10 && time.Since(began) < 12*time.Second {
		t.Errorf("%d forgotten, of about %d", s.Forgotten, want)
	}
	if s.Forgiven != s.Forgotten && time.Since(began) < 12*time.Second {
		t.Errorf("%d tokens forgiven for %d buckets that lacked one", s.Forgiven, s.Forgotten)
	}
}

// What has filled again is not counted as forgotten, and nothing is lost with it.
func TestFullBucketsMakePlace(t *testing.T) {
	w := newWorld(t, 64, 1)
	h := w.hosts[0]
	p := policy(t, "p", 1000, time.Second, 5)
	for i := range 20_000 {
		w.now += int64(p.Window) / p.Limit // until the last one is full
		if take(h, p, taken{strconv.Itoa(i): 1}) == nil {
			t.Fatalf("key %d is refused", i)
		}
	}
	if s := h.Stats(); s.Forgotten != 0 || s.Forgiven != 0 {
		t.Errorf("%d buckets forgotten, %d tokens forgiven", s.Forgotten, s.Forgiven)
	}
}

func TestWhatIsForgottenIsCounted(t *testing.T) {
	w := newWorld(t, window, 1)
	h := w.hosts[0]
	p := policy(t, "p", 1, time.Second, 100)
	for i := range int64(window) {
		take(h, p, taken{strconv.FormatInt(i, 10): 10 + i})
	}
	w.now += int64(3 * time.Second)
	take(h, p, taken{"new": 50})
	if s := h.Stats(); s.Forgotten != 1 || s.Forgiven != 7 {
		t.Errorf("the one with the least debt, of 7 tokens: %d forgotten, %d forgiven", s.Forgotten, s.Forgiven)
	}
	for i := range int64(window) {
		e, _ := h.table.find(p.keyHash(h.table.seed, []byte(strconv.FormatInt(i, 10))))
		if (e == nil) != (i == 0) {
			t.Errorf("bucket %d: %v", i, e)
		}
	}
}

// Where keys meet follows from a secret: keys that meet on one host do not on another.
func TestKeysThatMeetCannotBeMade(t *testing.T) {
	p := policy(t, "p", 1, time.Second, 0)
	a, b := host(t, anonymous(t, 1<<12)), host(t, anonymous(t, 1<<12))
	key := func(i int) []byte { return strconv.AppendInt(nil, int64(i), 10) }
	var met [][]byte // by the first seed
	for i := 0; len(met) < 64; i++ {
		if k := key(i); p.keyHash(a.table.seed, k)&a.table.mask < 8 {
			met = append(met, k)
		}
	}
	places := map[uint64]bool{}
	for _, k := range met {
		places[p.keyHash(b.table.seed, k)&b.table.mask] = true
	}
	if len(places) < 50 {
		t.Errorf("64 keys have %d places", len(places))
	}
}

// Of a key's hash 48 bits stand in the tag, and more for its place.
func TestAHundredThousandKeysAreApart(t *testing.T) {
	seed := [2]uint64{rand.Uint64(), rand.Uint64()}
	p := policy(t, "p", 1, time.Second, 0)
	seen := map[uint64]bool{}
	for i := range 100_000 {
		tag := keyBits(p.keyHash(seed, strconv.AppendInt(nil, int64(i), 10)))
		if tag == 0 || seen[tag] {
			t.Fatalf("key %d has the tag of another", i)
		}
		seen[tag] = true
	}
	if keyBits(0) == 0 || keyBits(tagGenMask) == 0 {
		t.Error("a key has nobody's tag")
	}
}
