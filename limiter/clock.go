package limiter

import (
	"os"
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

// clockReadings is how often the two clocks are compared: a process can lose its CPU
// between them.
const clockReadings = 16

func newClock() (clock, error) { return newClockFrom(readMonotonic) }

func readMonotonic() (int64, error) {
	var ts unix.Timespec
	err := os.NewSyscallError("clock_gettime", unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return ts.Nano(), err
}

// newClockFrom believes the reading that took the least time: it was made somewhere
// between the two of Go's clock, so the middle is wrong by half of that at most, which is less
// than a microsecond.
func newClockFrom(read func() (int64, error)) (clock, error) {
	c := clock{began: time.Now()}
	least := time.Duration(1<<63 - 1)
	for range clockReadings {
		before := time.Since(c.began)
		now, err := read()
		if err != nil {
			return clock{}, err
		}
		if took := time.Since(c.began) - before; took < least {
			least = took
			c.base = now - int64(before+took/2)
		}
	}
	return c, nil
}

// now is in nanoseconds, and at least 1.
func (c *clock) now() int64 { return max(c.base+int64(time.Since(c.began)), 1) }
