package keeper

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Child is one life of a process: the pid alone may be used again.
type Child struct {
	PID   int
	Start uint64 // clock ticks since boot, field 22 of /proc/PID/stat
}

// Exit is the end of a child.
type Exit struct {
	Child
	Status unix.WaitStatus
}

// StartTime reads the start time of a process, zombies included.
func StartTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything, so count from its end.
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	fields := bytes.Fields(rest)
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// children lists the living and the dead children of this process, by whatever
// thread they were started.
func children() ([]Child, error) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil, err
	}
	if len(lists) == 0 {
		return nil, fmt.Errorf("the kernel does not list children (CONFIG_PROC_CHILDREN)")
	}
	var all []Child
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended; its children are another thread's now
		}
		for _, word := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", list, err)
			}
			start, err := StartTime(pid)
			if err != nil {
				continue // reaped in between
			}
			all = append(all, Child{PID: pid, Start: start})
		}
	}
	return all, nil
}

// reapNext waits for one child without blocking. It looks before it reaps, so
// that the start time can be read while the zombie still holds its pid.
func reapNext() (exit Exit, ok bool) {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Exit{}, false
		}
		break
	}
	pid := siginfoPID(&info)
	if pid == 0 {
		return Exit{}, false
	}
	exit.PID = pid
	exit.Start, _ = StartTime(pid) // 0 matches no record; the pid is ours until reaped
	for {
		_, err := unix.Wait4(pid, &exit.Status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		return exit, err == nil
	}
}

// siginfoPID is si_pid: the first field of the union that follows si_signo,
// si_errno, si_code, aligned to the machine's word.
func siginfoPID(info *unix.Siginfo) int {
	const word = unsafe.Sizeof(uintptr(0))
	offset := (3*unsafe.Sizeof(int32(0)) + word - 1) / word * word
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}
