package breaker

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever stands in the memory of the host, calls are made again soon, and two workers
// that agree still open it for all.
func TestDamagedMemory(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			a, b := two(t, Options{})
			r := rand.New(rand.NewPCG(seed, 1))
			kind := uint64(seed % 4)
			a.record.word.Store(r.Uint64()&^3 | kind)
			for i := range a.record.votes {
				a.record.votes[i].Store(r.Uint64())
			}
			time.Sleep(time.Minute) // the longest that it can be open
			for _, p := range []*Policy{a, b} {
				if err := ends(t, p, nil); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				wantState(t, p, Closed)
			}
			fail(t, a)
			if w := word(a.record.word.Load()); w.kind() != closed {
				t.Fatalf("seed %d: one worker has opened it for all", seed)
			}
			wantState(t, b, Closed)
			fail(t, b)
			if w := word(a.record.word.Load()); w.kind() != open {
				t.Fatalf("seed %d: two agree, and it is not open", seed)
			}
		})
	}
}
