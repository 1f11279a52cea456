package limiter

import (
	"testing"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

// A key that comes takes a place that nobody has, or else that of the key which was
// idle for longest: of one that is in use it is remembered how much it wants.
func TestANewKeyTakesThePlaceThatIsMissedLeast(t *testing.T) {
	m, err := hostmem.Anonymous(hostmem.MinBuckets) // one window
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	table, err := newTable(m)
	if err != nil {
		t.Fatal(err)
	}
	now := int64(time.Hour)
	table.now = func() int64 { now += int64(time.Second); return now }
	key := func(i int) uint64 { return uint64(i+1) << 32 }
	for i := range window { // all have places, though all others are idle
		if e, _ := table.insert(key(i), 1); e == nil {
			t.Fatal(i)
		}
		for j := range i {
			if e, _ := table.find(key(j)); e == nil {
				t.Fatalf("key %d has lost its place to key %d", j, i)
			}
		}
	}
	e, _ := table.find(key(0)) // it is used again
	e.tat.Store(now)
	table.insert(key(window), 1)
	for i := range window + 1 {
		if e, _ := table.find(key(i)); (e == nil) != (i == 1) {
			t.Errorf("key %d has a place: %v", i, e != nil)
		}
	}
	if n := table.forgotten.Load(); n != 0 {
		t.Errorf("%d of them were forgotten", n)
	}
}
