package limiter

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func TestClocksOfAHostAgree(t *testing.T) {
	const rounds = 20
	wrong := 0
	for range rounds {
		a, err := newClock()
		if err != nil {
			t.Fatal(err)
		}
		b, err := newClock()
		if err != nil {
			t.Fatal(err)
		}
		// Both are read between two readings of the kernel's.
		before, err := readMonotonic()
		if err != nil {
			t.Fatal(err)
		}
		x, y := a.now(), b.now()
		after, err := readMonotonic()
		if err != nil {
			t.Fatal(err)
		}
		const off = int64(20 * time.Microsecond) // under the race detector, on a busy machine
		if x < before-off || y < before-off || x > after+off || y > after+off {
			t.Logf("clocks say %d and %d, the kernel %d to %d", x, y, before, after)
			wrong++
		}
	}
	if wrong > rounds/2 { // a process that is never left alone for so long cannot do better
		t.Errorf("%d of %d", wrong, rounds)
	}
}

// A process loses its CPU between the readings of two clocks: most of the time, and
// before or after.
func TestAClockIsNotSetByAReadingThatTookLong(t *testing.T) {
	for name, slow := range map[string]func(read func() (int64, error)) (int64, error){
		"before": func(read func() (int64, error)) (int64, error) {
			time.Sleep(2 * time.Millisecond)
			return read()
		},
		"after": func(read func() (int64, error)) (int64, error) {
			now, err := read()
			time.Sleep(2 * time.Millisecond)
			return now, err
		},
	} {
		n := 0
		c, err := newClockFrom(func() (int64, error) {
			if n++; n%4 != 0 {
				return slow(readMonotonic)
			}
			return readMonotonic()
		})
		if err != nil {
			t.Fatal(err)
		}
		before, _ := readMonotonic()
		now := c.now()
		after, _ := readMonotonic()
		if off := int64(time.Millisecond) / 2; now < before-off || now > after+off {
			t.Errorf("%s: the clock says %d, the kernel %d to %d", name, now, before, after)
		}
	}
}

// Nobody sets CLOCK_MONOTONIC, and Go's clock reads nothing else for time.Since as long as
// the time that it starts from has it.
func TestAClockDoesNotFollowTheWallClock(t *testing.T) {
	c, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(c.began.String(), " m=") {
		t.Fatalf("%v has no monotonic reading", c.began)
	}
	// As if the wall clock had been set back by a year since. Such a time cannot be made
	// otherwise: in its first word the seconds of the wall clock begin at the 30th bit.
	began, before := c.began, c.now()
	*(*uint64)(unsafe.Pointer(&c.began)) += 365 * 24 * 3600 << 30
	if c.began.Year() != began.AddDate(1, 0, 0).Year() {
		t.Fatalf("%v is not a year after %v: times are made otherwise by now", c.began, began)
	}
	if now := c.now(); now < before || now-before > int64(time.Minute) {
		t.Errorf("%d, and then %d", before, now)
	}
}

func TestNoClock(t *testing.T) {
	wrong := errors.New("no clock")
	if _, err := newClockFrom(func() (int64, error) { return 0, wrong }); !errors.Is(err, wrong) {
		t.Error(err)
	}
}
