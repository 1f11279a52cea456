package supervisor

import (
	"testing"
	"time"

	"github.com/nekoctl/neko/supervisor/spec"
)

func TestBackoff(t *testing.T) {
	app := spec.Defaults()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const never, long = time.Duration(0), time.Hour

	t.Run("a worker that ran is replaced at once, however often", func(t *testing.T) {
		var b backoff
		for range 1000 {
			if delay, giveUp := b.exit(&app, now, long); delay != 0 || giveUp {
				t.Fatalf("delay %s, give up %v", delay, giveUp)
			}
		}
	})
	t.Run("one that keeps dying waits twice as long each time, and is given up", func(t *testing.T) {
		var b backoff
		clock := now
		for i := range app.MaxRestarts {
			delay, giveUp := b.exit(&app, clock, never)
			full := time.Duration(0)
			if i > 0 {
				full = min(firstBackoff<<(i-1), lastBackoff)
			}
			if giveUp || delay > full || delay < full/2 {
				t.Fatalf("exit %d: delay %s, want %s to %s; give up %v", i, delay, full/2, full, giveUp)
			}
			clock = clock.Add(full) // the longest way to the limit still lies within the window
		}
		if _, giveUp := b.exit(&app, clock, never); !giveUp {
			t.Errorf("after %d restarts it goes on", app.MaxRestarts)
		}
	})
	t.Run("old exits fall out of the window", func(t *testing.T) {
		var b backoff
		for i := range 100 {
			if _, giveUp := b.exit(&app, now.Add(time.Duration(i)*10*time.Second), never); giveUp {
				t.Fatalf("given up at exit %d, with one in 10 s", i)
			}
		}
	})
	t.Run("a good run ends the row", func(t *testing.T) {
		var b backoff
		for range 5 {
			b.exit(&app, now, never)
		}
		b.exit(&app, now, long)
		if delay, _ := b.exit(&app, now, never); delay != 0 {
			t.Errorf("the first crash after a good run waits %s", delay)
		}
	})
}

func TestEveryStateCanBeLeft(t *testing.T) {
	for from, targets := range transitions {
		if len(targets) == 0 {
			t.Errorf("nothing follows %s", from)
		}
		for _, to := range targets {
			if _, known := transitions[to]; !known {
				t.Errorf("%s leads to %s, which is no state", from, to)
			}
			if from == to {
				t.Errorf("%s leads to itself", from)
			}
		}
	}
}
