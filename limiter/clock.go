package limiter

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock is the time since boot that all processes of a host share, and that nobody
// sets: CLOCK_MONOTONIC. A system call for each decision would cost more than the
// decision, so it is read once, and Go's own monotonic clock, which is the same one,
// tells the rest.
type clock struct {
	base  int64
	began time.Time
}

func newClock() (clock, error) {
	var ts unix.Timespec
	c := clock{began: time.Now()}
	// Read after: at most a little ahead of others, by the time between the two.
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	c.base = ts.Nano()
	return c, err
}

// now is in nanoseconds.
func (c *clock) now() int64 { return c.base + int64(time.Since(c.began)) }
