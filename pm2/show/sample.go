package show

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Sample is what the kernel has counted at one moment. Two of them make a [Host].
type Sample struct {
	At         time.Time
	Busy, Idle uint64 // of CPUs, in ticks
	Total      uint64 // memory, in KiB
	Available  uint64
	Interfaces map[string]Counters
	Read       uint64 // by all disks, in bytes
	Written    uint64
	Mounts     []Filesystem
}

// Counters are what an interface has counted.
type Counters struct {
	Received, Sent  uint64 // bytes
	Errors, Dropped uint64 // packets
}

// ReadSample looks at /proc and /sys. What is not there is 0.
func ReadSample() Sample {
	s := Sample{At: time.Now(), Interfaces: map[string]Counters{}}
	each("/proc/stat", func(f []string) {
		if f[0] != "cpu" || len(f) < 8 {
			return
		}
		for i, text := range f[1:8] {
			ticks := count(text)
			switch i {
			case 3:
				s.Idle = ticks
			case 0, 1, 2, 5: // what Node counts: not waiting for disks, nor what a hypervisor took
				s.Busy += ticks
			}
		}
	})
	each("/proc/meminfo", func(f []string) {
		switch f[0] {
		case "MemTotal:":
			s.Total = count(f[1])
		case "MemAvailable:":
			s.Available = count(f[1])
		}
	})
	each("/proc/net/dev", func(f []string) {
		if name, ok := strings.CutSuffix(f[0], ":"); ok && len(f) > 12 {
			s.Interfaces[name] = Counters{count(f[1]), count(f[9]), count(f[3]) + count(f[11]), count(f[4]) + count(f[12])}
		}
	})
	disks, _ := filepath.Glob("/sys/block/*/stat")
	for _, path := range disks {
		disk := filepath.Base(filepath.Dir(path))
		if strings.HasPrefix(disk, "loop") || strings.HasPrefix(disk, "ram") || strings.HasPrefix(disk, "dm-") || strings.HasPrefix(disk, "fd") {
			continue
		}
		each(path, func(f []string) {
			if len(f) > 6 {
				s.Read += 512 * count(f[2])
				s.Written += 512 * count(f[6])
			}
		})
	}
	each("/proc/mounts", func(f []string) {
		var st unix.Statfs_t
		if !strings.HasPrefix(f[0], "/dev/") || unix.Statfs(f[1], &st) != nil {
			return
		}
		if used := st.Blocks - st.Bfree; used+st.Bavail > 0 {
			s.Mounts = append(s.Mounts, Filesystem{f[1], 100 * float64(used) / float64(used+st.Bavail)})
		}
	})
	return s
}

// each calls what for the fields of each line that has two or more.
func each(path string, what func(fields []string)) {
	text, err := os.ReadFile(path)
	if err != nil {
		return
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 {
			what(f)
		}
	}
}

func count(text string) uint64 {
	n, _ := strconv.ParseUint(text, 10, 64)
	return n
}

// Since is how busy the machine was from before to s. With a zero before, its CPUs
// are those since it was booted, and nothing else went on.
func (s Sample) Since(before Sample) Host {
	h := Host{Filesystems: s.Mounts}
	busy, idle := more(s.Busy, before.Busy), more(s.Idle, before.Idle)
	if busy+idle > 0 {
		h.CPU = 100 * busy / (busy + idle)
	}
	if s.Total > 0 {
		h.Memory = 100 * (1 - float64(s.Available)/float64(s.Total))
	}
	seconds := s.At.Sub(before.At).Seconds()
	if before.At.IsZero() || seconds <= 0 {
		return h
	}
	const mib = 1 << 20
	h.Read, h.Written = more(s.Read, before.Read)/mib/seconds, more(s.Written, before.Written)/mib/seconds
	for name, now := range s.Interfaces {
		if then, ok := before.Interfaces[name]; ok {
			h.Interfaces = append(h.Interfaces, Interface{
				Name:     name,
				Received: more(now.Received, then.Received) / mib / seconds,
				Sent:     more(now.Sent, then.Sent) / mib / seconds,
				Errors:   more(now.Errors, then.Errors) * 60 / seconds,
				Dropped:  more(now.Dropped, then.Dropped) * 60 / seconds,
			})
		}
	}
	slices.SortFunc(h.Interfaces, func(a, b Interface) int { return strings.Compare(a.Name, b.Name) })
	return h
}

// more is how much more there is than before; a counter that began anew counts 0.
func more(now, before uint64) float64 {
	if now < before {
		return 0
	}
	return float64(now - before)
}
