package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// many is what a supervisor of a thousand processes that sleep takes, and how fast
// it starts a hundred.
func many() measurement {
	started := &figure{Name: "start of 100 sleeping processes, until all are online", Unit: "ms", Goal: atMost(1000), Note: "the same"}
	memory := &figure{Name: "memory of the supervisor, 1,000 sleeping processes", Unit: "MiB", Goal: atMost(40), Note: "the same"}
	cpu := &figure{Name: "CPU of the idle supervisor, 1,000 sleeping processes", Unit: "%", Goal: atMost(1), Note: "the same"}
	rows := []*figure{started, memory, cpu}
	return measurement{"sleeping processes", rows, func(b *bench) {
		round := func(s *side, err error, result func(*figure) *rounds) {
			if err == nil {
				defer s.end()
				err = s.weighSleepers(func(row int, v float64) { result(rows[row]).add(v, nil) })
			}
			if err != nil {
				for _, f := range rows {
					result(f).add(0, err)
				}
			}
		}
		for range min(b.rounds, 3) {
			if memory.Neko.Error == "" && b.ctx.Err() == nil {
				s, err := b.neko()
				round(s, err, func(f *figure) *rounds { return &f.Neko })
			}
			if b.pm2 != "" && memory.Peer.Error == "" && b.ctx.Err() == nil {
				s, err := b.pm2Side()
				round(s, err, func(f *figure) *rounds { return &f.Peer })
			}
		}
	}}
}

// weighSleepers fills the rows of many.
func (s *side) weighSleepers(add func(row int, v float64)) error {
	// The daemon is there before it is measured.
	if err := s.startSleepers("first", 1); err != nil {
		return err
	}
	for _, group := range []struct {
		name string
		n    int
	}{{"hundred", 100}, {"rest", 899}} {
		began := time.Now()
		if err := s.startSleepers(group.name, group.n); err != nil {
			return err
		}
		if group.name == "hundred" {
			add(0, ms(time.Since(began)))
		}
		if _, err := s.online(group.name, group.n); err != nil {
			return err
		}
	}
	pids, err := s.daemon(s)
	if err != nil {
		return err
	}
	const calm, watched = 5 * time.Second, 10 * time.Second
	time.Sleep(calm)
	before, err := ticks(pids)
	if err != nil {
		return err
	}
	time.Sleep(watched)
	after, err := ticks(pids)
	if err != nil {
		return err
	}
	weight, err := pss(pids...)
	if err != nil {
		return err
	}
	add(1, weight)
	add(2, float64(after-before)/watched.Seconds()) // a tick is a hundredth of a second
	return nil
}

// startSleepers starts n processes of an app and returns when the command does.
func (s *side) startSleepers(name string, n int) error {
	if s.name == "neko" {
		_, err := s.run("start", "sleep", "--name", name, "-i", strconv.Itoa(n), "--", "infinity")
		return err
	}
	// PM2 starts several of what is no script only from a file.
	file := filepath.Join(s.home, name+".json")
	text := fmt.Sprintf(`{"apps":[{"name":%q,"script":"sleep","args":"infinity","interpreter":"none","exec_mode":"fork","instances":%d}]}`, name, n)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	_, err := s.run("start", file)
	return err
}

// ticks is the CPU time of processes in hundredths of a second.
func ticks(pids []int) (sum int, err error) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		for _, i := range []int{14 - 3, 15 - 3} { // utime and stime of proc(5)
			n, err := strconv.Atoi(fields[i])
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, nil
}

// cpuTime is the CPU time of processes in microseconds, by the clock that each of them has
// (clock_getcpuclockid(3)): as exact as the scheduler knows it.
func cpuTime(pids []int) (sum float64, err error) {
	const scheduler = 2
	for _, pid := range pids {
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|scheduler), &t); err != nil {
			return 0, fmt.Errorf("the CPU time of process %d: %w", pid, err)
		}
		sum += float64(t.Nano()) / 1000
	}
	return sum, nil
}
