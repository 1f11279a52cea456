package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// usage is what a process uses, as sampled last.
type usage struct {
	memory int64   // resident bytes
	cpu    float64 // percent of one CPU since the sample before
	ticks  uint64  // user and system time so far
	at     time.Time
}

// clockTick is the unit of CPU times in /proc: USER_HZ is 100 on every Linux
// that Go runs on.
const clockTick = 10 * time.Millisecond

// sample looks at all processes every second, less often where there are so
// many that it would cost more than about a hundredth of a CPU; at those whose
// memory is limited every second.
func (m *master) sample() {
	var next time.Time // when all are looked at
	for {
		all := !time.Now().Before(next)
		var pids []int
		m.do(func() {
			for pid, p := range m.processes {
				if all || p.spec.MaxMemory > 0 {
					pids = append(pids, pid)
				}
			}
		})
		began := time.Now()
		taken := make(map[int]usage, len(pids))
		for _, pid := range pids {
			if u, err := readUsage(pid); err == nil {
				taken[pid] = u
			}
		}
		if all {
			next = began.Add(100 * time.Since(began))
		}
		m.do(func() {
			for pid, u := range taken {
				if p := m.processes[pid]; p != nil {
					p.usage = u.since(p.usage)
					m.weigh(p)
				}
			}
		})
		select {
		case <-time.After(time.Second):
		case <-m.ended:
			return
		}
	}
}

func readUsage(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const utime, stime, rss = 14 - 3, 15 - 3, 24 - 3 // proc(5) counts from 1, and two are before the parenthesis
	if len(fields) <= rss {
		return usage{}, fmt.Errorf("/proc/%d/stat is short", pid)
	}
	number := func(i int) uint64 {
		n, _ := strconv.ParseUint(string(fields[i]), 10, 64)
		return n
	}
	return usage{
		memory: int64(number(rss)) * int64(os.Getpagesize()),
		ticks:  number(utime) + number(stime),
		at:     time.Now(),
	}, nil
}

func (u usage) since(before usage) usage {
	if elapsed := u.at.Sub(before.at); !before.at.IsZero() && elapsed > 0 && u.ticks >= before.ticks {
		u.cpu = 100 * float64(time.Duration(u.ticks-before.ticks)*clockTick) / float64(elapsed)
	}
	return u
}
