package supervisor

import (
	"testing"
	"time"

	"pgregory.net/rapid"

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
	t.Run("one of PM2's waits before the first restart too", func(t *testing.T) {
		app := app
		app.PM2, app.Backoff = []byte("{}"), spec.Backoff{Initial: spec.Duration(time.Minute), Max: spec.Duration(time.Hour)}
		var b backoff
		for _, want := range []time.Duration{time.Minute, 2 * time.Minute} {
			if delay, giveUp := b.exit(&app, now, never); delay != want || giveUp {
				t.Errorf("delay %s, give up %v, want %s", delay, giveUp, want)
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
				full = min(app.Backoff.Initial.D()<<(i-1), app.Backoff.Max.D())
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
	t.Run("what was never ready is unstable, even where no uptime is asked for", func(t *testing.T) {
		var b backoff
		app := app
		app.MinUptime = 0
		for range app.MaxRestarts {
			b.exit(&app, now, never)
		}
		if _, giveUp := b.exit(&app, now, never); !giveUp {
			t.Error("it is never given up")
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

// exit is one end of a process.
type exit struct {
	after  time.Duration // since the one before
	uptime time.Duration // 0: it was never ready
}

func drawPolicy(rt *rapid.T) spec.App {
	app := spec.Defaults()
	duration := func(name string, values ...time.Duration) spec.Duration {
		return spec.Duration(rapid.SampledFrom(values).Draw(rt, name))
	}
	app.MinUptime = duration("min_uptime", 0, time.Millisecond, time.Second, time.Minute)
	app.MaxRestarts = rapid.IntRange(0, 12).Draw(rt, "max_restarts")
	app.RestartWindow = duration("restart_window", time.Millisecond, time.Second, time.Minute, 24*time.Hour)
	app.RestartDelay = duration("restart_delay", 0, 0, time.Millisecond, time.Second, 24*time.Hour)
	app.Backoff.Initial = duration("initial", 0, 1, time.Millisecond, 100*time.Millisecond, 3*time.Second)
	app.Backoff.Max = max(app.Backoff.Initial, duration("max", time.Millisecond, 15*time.Second, 24*time.Hour))
	app.Backoff.Jitter = rapid.Float64Range(0, 1).Draw(rt, "jitter")
	return app
}

// Exits come in virtual time, never sooner than the backoff has let the next
// process start, and around the limits of the policy.
func TestEveryExitHasTheAnswerThatThePolicyGives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		app := drawPolicy(rt)
		least, most := app.RestartDelay.D(), app.Backoff.Max.D()
		around := []time.Duration{0, 1, app.MinUptime.D() - 1, app.MinUptime.D(), app.MinUptime.D() + 1, app.RestartWindow.D() - 1,
			app.RestartWindow.D(), app.RestartWindow.D() / time.Duration(app.MaxRestarts+1), time.Hour}
		exits := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) exit {
			return exit{max(0, rapid.SampledFrom(around).Draw(rt, "after")), max(0, rapid.SampledFrom(around).Draw(rt, "uptime"))}
		}), 1, 60).Draw(rt, "exits")
		var b backoff
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		var unstable []time.Time // all of them
		streak, bound := 0, time.Duration(0)
		for i, e := range exits {
			now = now.Add(e.after + e.uptime)
			delay, giveUp := b.exit(&app, now, e.uptime)
			if e.uptime > 0 && e.uptime >= app.MinUptime.D() {
				if delay != least || giveUp {
					rt.Fatalf("exit %d was stable: delay %v, give up %v", i, delay, giveUp)
				}
				streak = 0
				continue
			}
			unstable = append(unstable, now)
			within := 0
			for _, at := range unstable {
				if now.Sub(at) < app.RestartWindow.D() {
					within++
				}
			}
			if giveUp != (within > app.MaxRestarts) {
				rt.Fatalf("exit %d is the %d. within %v, and %d restarts are allowed: give up %v", i, within, app.RestartWindow.D(), app.MaxRestarts, giveUp)
			}
			if giveUp {
				return
			}
			switch streak {
			case 0:
				bound = 0
			case 1:
				bound = app.Backoff.Initial.D()
			default:
				bound = min(2*bound, most)
			}
			streak++
			shortest := bound - time.Duration(app.Backoff.Jitter*float64(bound)) - 1
			if delay < max(least, shortest) || delay > max(least, bound) {
				rt.Fatalf("exit %d, the %d. in a row: delay %v, want %v to %v and at least %v", i, streak, delay, shortest, bound, least)
			}
			now = now.Add(delay)
		}
	})
}

func TestAJitterOfTheWholeWaitUsesAllOfIt(t *testing.T) {
	b := spec.Backoff{Initial: spec.Duration(time.Second), Max: spec.Duration(time.Minute), Jitter: 1}
	short, long := false, false
	for range 1000 {
		d := wait(b, 3)
		short, long = short || d < time.Second, long || d > 3*time.Second
	}
	if !short || !long {
		t.Errorf("of waits of up to 4s: some below 1s: %v, some above 3s: %v", short, long)
	}
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
