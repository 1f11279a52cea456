package limits

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shiftedClock is loaded into redis-server (LD_PRELOAD) and has its clock be off by as many
// microseconds as a file says. Debian's libfaketime does the like, and ends it in its
// allocator's first call for the time.
const shiftedClock = `
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *shift;

__attribute__((constructor)) static void begin(void) {
	int fd = open(getenv("NEKO_SHIFT"), O_RDONLY);
	void *p = mmap(0, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) abort();
	shift = p;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
	struct timespec now;
	if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
	int64_t us = now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000 + (shift ? *shift : 0);
	t->tv_sec = us / 1000000;
	t->tv_usec = us % 1000000;
	return 0;
}
`

// shiftable is a Redis whose clock can be set.
type shiftable struct {
	file *os.File
	at   time.Duration
}

func (c *shiftable) serve(s *stage) string {
	s.Helper()
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	if _, err := exec.LookPath(cc); err != nil {
		if os.Getenv("CI") == "true" {
			s.Fatal(err)
		}
		s.Skip("no C compiler: ", err)
	}
	source, library := filepath.Join(s.dir, "shift.c"), filepath.Join(s.dir, "shift.so")
	must(s.T, os.WriteFile(source, []byte(shiftedClock), 0o600))
	_, err := run(nil, cc, "-shared", "-fPIC", "-O1", "-o", library, source)
	must(s.T, err)
	c.file, err = os.Create(filepath.Join(s.dir, "shift"))
	must(s.T, err)
	s.Cleanup(func() { c.file.Close() })
	c.set(s, 0)
	return "redis://" + s.serve(6379, []string{"LD_PRELOAD=" + library, "NEKO_SHIFT=" + c.file.Name()}).address
}

func (c *shiftable) set(s *stage, d time.Duration) {
	s.Helper()
	_, err := c.file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(d.Microseconds())), 0)
	must(s.T, err)
	c.at = d
}

func TestRedisClockIsSet(t *testing.T) {
	sideBySide(t)
	policies := []policy{
		{Name: "leased", rule: rule{200, time.Second, 200}},
		{Name: "slow", rule: rule{1200, time.Minute, 1200}},
		{Name: "exact", rule: rule{15, time.Second, 15}},
	}
	var streams []stream
	for i, p := range policies {
		perSec := float64(p.Limit) / p.Window.Seconds()
		streams = append(streams,
			stream{Charges: []charge{{Policy: i, Key: "above"}}, Arrive: "poisson", PerSec: 1.5 * perSec},
			stream{Charges: []charge{{Policy: i, Key: "below"}}, Arrive: "steady", PerSec: .8 * perSec})
	}
	var clock shiftable
	s := newStage(t, policies, streams, clock.serve)
	s.arrive()
	type step struct {
		from, to int64
		by       time.Duration
	}
	var steps []step
	for _, at := range []time.Duration{0, time.Second, -500 * time.Millisecond, 100 * time.Second, 0, time.Hour, -time.Hour} {
		x := step{from: monotonic(), by: at - clock.at}
		clock.set(s, at)
		x.to = monotonic()
		steps = append(steps, x)
		time.Sleep(duration(t) / 8)
	}
	s.leave()
	e := s.evidence()
	all := e.describe()
	var below fairness
	for i, f := range all {
		if strings.HasSuffix(e.name(i), "/below") {
			below.exact, below.real = below.exact+f.exact, below.real+f.real
		}
	}
	// A step back leaves buckets empty, and they fill again from then on.
	if most := .15 + e.tolerance(); below.lost() > most {
		t.Errorf("who kept to the limits has lost %.1f %% to the steps, and not %.1f", 100*below.lost(), 100*most)
	}
	e.bound(func(o owner) (gains []taking) {
		p := policies[o.policy]
		for _, x := range steps {
			if x.by > 0 { // set on, it fills what would have come back
				tokens := int64(p.tokens(p.grown(int64(min(x.by, time.Hour))))) + 1
				gains = append(gains, gain(x.from-e.began, x.to-e.began, min(tokens, p.Burst), 0))
			}
		}
		return gains
	})
}
