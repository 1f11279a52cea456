package limiter

import (
	"testing"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

// A source that has forgotten all hears of the other hosts again at their next beats.
func TestFewerHostsAreNotBelievedAtOnce(t *testing.T) {
	m, err := hostmem.Open(t.TempDir(), hostmem.MinBuckets)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s := &Shared{hostmem: m, health: newHealth(nil)}
	began := s.health.allHosts
	for _, step := range []struct {
		after  time.Duration
		counts int
		known  int
	}{
		{0, 1, 1},
		{2 * time.Second, 3, 3},
		{4 * time.Second, 1, 3}, // flushed
		{6 * time.Second, 2, 3},
		{8 * time.Second, 3, 3},
		{10 * time.Second, 2, 3}, // one has gone
		{17 * time.Second, 2, 3},
		{18 * time.Second, 2, 2},
		{19 * time.Second, 4, 4},
	} {
		if s.countHosts(step.counts, began.Add(step.after)); m.Hosts() != step.known {
			t.Errorf("%v: %d hosts are counted, and %d known", step.after, step.counts, m.Hosts())
		}
	}
}
