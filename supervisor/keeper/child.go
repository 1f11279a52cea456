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

// Alive says whether c is a process that has not ended.
func (c Child) Alive() bool {
	if start, err := StartTime(c.PID); err != nil || start != c.Start {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.PID))
	return err == nil && !bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" Z"))
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

// Peek is how a child of this process, which has ended, ended. It stays a zombie.
func Peek(pid int) (unix.WaitStatus, error) {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		break
	}
	if siginfoPID(&info) != pid {
		return 0, fmt.Errorf("it has not ended")
	}
	const exited, dumped = 1, 3 // CLD_EXITED, CLD_DUMPED of waitid(2)
	status := unix.WaitStatus(siginfoStatus(&info))
	switch info.Code {
	case exited:
		status <<= 8
	case dumped:
		status |= 0x80
	}
	return status, nil
}

// Reap ends a zombie.
func Reap(pid int) error {
	for {
		_, err := unix.Wait4(pid, nil, 0, nil)
		if err != unix.EINTR {
			return err
		}
	}
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
func siginfoPID(info *unix.Siginfo) int { return siginfoField(info, 0) }

// siginfoStatus is si_status, after si_pid and si_uid.
func siginfoStatus(info *unix.Siginfo) int { return siginfoField(info, 2) }

func siginfoField(info *unix.Siginfo, i uintptr) int {
	const int32s, word = unsafe.Sizeof(int32(0)), unsafe.Sizeof(uintptr(0))
	union := (3*int32s + word - 1) / word * word
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), union+i*int32s)))
}
