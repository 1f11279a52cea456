package supervisor

import (
	"math/rand/v2"
	"time"

	"github.com/nekoctl/neko/supervisor/spec"
)

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 15 * time.Second
)

// backoff decides when a slot whose process has ended gets another one. It has
// no clock of its own.
type backoff struct {
	unstable []time.Time // unstable exits within the window
	streak   int         // unstable exits in a row
}

// exit accounts for a process that ended at now after it had run for uptime.
// The first of a row is replaced at once, the others after 100 ms, 200 ms and so
// on up to 15 s, less up to half of that at random, so that the slots of an app
// do not all come at the same time. Too many within the window: give up.
func (b *backoff) exit(app *spec.App, now time.Time, uptime time.Duration) (delay time.Duration, giveUp bool) {
	if uptime >= app.MinUptime.D() {
		b.streak = 0
		return 0, false
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
	if b.streak > 0 {
		delay = min(firstBackoff<<min(b.streak-1, 20), lastBackoff)
		delay -= rand.N(delay/2 + 1)
	}
	b.streak++
	return delay, false
}
