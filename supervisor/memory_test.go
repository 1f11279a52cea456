package supervisor

import (
	"testing"
	"time"
)

func TestReplacementsForMemoryThatComeToNothingWaitEverLonger(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	second := func(n int) time.Time { return now.Add(time.Duration(n) * time.Second) }
	var h heavy
	// It is over the limit all the time, whoever is there.
	var at []int
	for n := range 4000 {
		if h.relieve(now, second(n)) {
			at = append(at, n)
		}
	}
	want := []int{0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030, 3630}
	if len(at) != len(want) {
		t.Fatalf("replaced at %v, want %v", at, want)
	}
	for i := range want {
		if at[i] != want[i] {
			t.Fatalf("replaced at %v, want %v", at, want)
		}
	}
	// Then one grows slowly, and so does the next.
	for _, n := range []int{10_000, 10_100, 10_111} {
		if !h.relieve(second(n), second(n)) {
			t.Errorf("not replaced at %d s", n)
		}
	}
	if h.relieve(second(10_115), second(10_115)) {
		t.Error("replaced four seconds after the one before")
	}
}
