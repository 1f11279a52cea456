package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
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

// many processes leave memory behind that is worth the cost of giving it back.
const many = 100

// sample looks at all processes every second, less often where there are so
// many that it would cost more than about half a hundredth of a CPU; at those whose
// memory is limited every second. When nothing has changed for some seconds it gives
// back the memory of what was before.
func (m *master) sample() {
	var revision, trimmed int64
	var next time.Time // when all are looked at
	most := 0          // processes since memory was given back
	var pids []int     // what is used again makes no garbage
	taken := map[int]usage{}
	for {
		all := !time.Now().Before(next)
		quiet := false
		m.do(func() {
			quiet = revision == m.conn.Revision()
			revision, pids = m.conn.Revision(), pids[:0]
			for pid, p := range m.processes {
				if all || p.spec.MaxMemory > 0 {
					pids = append(pids, pid)
				}
			}
		})
		began := time.Now()
		clear(taken)
		for _, pid := range pids {
			if u, err := readUsage(pid); err == nil {
				taken[pid] = u
			}
		}
		if all {
			next = began.Add(200 * time.Since(began))
		}
		m.do(func() {
			for pid, u := range taken {
				if p := m.processes[pid]; p != nil {
					p.usage = u.since(p.usage)
					m.weigh(p)
				}
			}
		})
		if most = max(most, len(pids)); quiet && trimmed != revision && most >= many {
			trimmed, most = revision, len(pids)
			debug.FreeOSMemory()
		}
		select {
		case <-time.After(time.Second):
		case <-m.ended:
			return
		}
	}
}

// statBuffers are for /proc/PID/stat: about 300 bytes, read for every process.
var statBuffers = sync.Pool{New: func() any { return new([1024]byte) }}

func readUsage(pid int) (usage, error) {
	buf := statBuffers.Get().(*[1024]byte)
	defer statBuffers.Put(buf)
	fd, err := openStat(pid)
	if err != nil {
		return usage{}, err
	}
	n, err := unix.Read(fd, buf[:])
	unix.Close(fd)
	if err != nil {
		return usage{}, err
	}
	stat := buf[:n]
	const utime, stime, rss = 14, 15, 24 // proc(5) counts from 1
	u := usage{at: time.Now()}
	field := 2 // is in parentheses, and may hold anything
	for word := range bytes.FieldsSeq(stat[bytes.LastIndexByte(stat, ')')+1:]) {
		number := uint64(0)
		for _, digit := range word {
			number = number*10 + uint64(digit-'0')
		}
		switch field++; field {
		case utime, stime:
			u.ticks += number
		case rss:
			u.memory = int64(number) * int64(os.Getpagesize())
			return u, nil
		}
	}
	return usage{}, fmt.Errorf("/proc/%d/stat is short", pid)
}

// openStat opens /proc/PID/stat, without a string for its path.
func openStat(pid int) (int, error) {
	var room [32]byte
	path := strconv.AppendInt(append(room[:0], "/proc/"...), int64(pid), 10)
	path = append(path, "/stat\x00"...)
	here := unix.AT_FDCWD
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(here), uintptr(unsafe.Pointer(&path[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func (u usage) since(before usage) usage {
	if elapsed := u.at.Sub(before.at); !before.at.IsZero() && elapsed > 0 && u.ticks >= before.ticks {
		u.cpu = 100 * float64(time.Duration(u.ticks-before.ticks)*clockTick) / float64(elapsed)
	}
	return u
}
