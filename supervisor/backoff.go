package supervisor

import (
	"math/rand/v2"
	"time"

	"github.com/nekoctl/neko/supervisor/spec"
)

// backoff decides when a slot whose process has ended gets another one. It has
// no clock of its own.
type backoff struct {
	unstable []time.Time // unstable exits within the window
	streak   int         // unstable exits in a row
}

// exit accounts for a process that ended at now after it had run for uptime, 0 if
// it was never ready. The first of a row that was unstable is replaced at once,
// the others after ever longer waits; RestartDelay is the least for all. Too many
// within the window: give up.
func (b *backoff) exit(app *spec.App, now time.Time, uptime time.Duration) (delay time.Duration, giveUp bool) {
	least := app.RestartDelay.D()
	if uptime > 0 && uptime >= app.MinUptime.D() {
		b.streak = 0
		return least, false
	}
	window := now.Add(-app.RestartWindow.D())
	recent := b.unstable[:0]
	for _, t := range b.unstable {
		if t.After(window) {
			recent = append(recent, t)
		}
	}
	b.unstable = append(recent, now)
	if len(b.unstable) > app.MaxRestarts {
		return 0, true
	}
	streak := b.streak
	b.streak++
	if app.PM2 != nil { // PM2 waits before the first restart too
		streak++
	}
	delay = wait(app.Backoff, streak)
	return max(delay, least), false
}

// left is how many more unstable ends there may be, now, before it is given up.
func (b *backoff) left(app *spec.App, now time.Time) int {
	left := app.MaxRestarts
	for _, t := range b.unstable {
		if t.After(now.Add(-app.RestartWindow.D())) {
			left--
		}
	}
	return max(left, 0)
}

// wait is how long is waited after so many unstable exits in a row: not at all,
// Initial, twice that and so on up to Max, less up to Jitter of it at random, so
// that the slots of an app do not all come at the same time.
func wait(b spec.Backoff, streak int) time.Duration {
	if streak == 0 || b.Initial <= 0 {
		return 0
	}
	d := b.Initial.D()
	for ; streak > 1 && d < b.Max.D(); streak-- {
		d *= 2 // of at most a day
	}
	d = min(d, b.Max.D())
	return d - time.Duration(rand.Float64()*b.Jitter*float64(d))
}
