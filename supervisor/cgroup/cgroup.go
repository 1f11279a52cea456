// Package cgroup reads what the control groups of this process, version 1 or 2,
// grant it.
package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Limits are the least of the process's groups and of all above them that can be
// seen.
type Limits struct {
	CPUs   float64 // of a quota; 0: there is none
	Memory uint64  // bytes; 0: there is no limit
}

// Read reads the limits of this process. What cannot be read limits nothing. Root
// is "/" but in tests.
func Read(root string) (l Limits) {
	for _, folder := range folders(root, "cpu") {
		if quota := readQuota(folder); quota > 0 && (l.CPUs == 0 || quota < l.CPUs) {
			l.CPUs = quota
		}
	}
	for _, folder := range folders(root, "memory") {
		if limit := readMemory(folder); limit > 0 && (l.Memory == 0 || limit < l.Memory) {
			l.Memory = limit
		}
	}
	return l
}

// readQuota is in CPUs.
func readQuota(folder string) float64 {
	if fields := words(folder, "cpu.max"); len(fields) == 2 { // "200000 100000", "max 100000"
		return ratio(fields[0], fields[1])
	}
	quota, period := words(folder, "cpu.cfs_quota_us"), words(folder, "cpu.cfs_period_us")
	if len(quota) != 1 || len(period) != 1 {
		return 0
	}
	return ratio(quota[0], period[0]) // the quota is -1 if there is none
}

func ratio(quota, period string) float64 {
	q, err := strconv.ParseInt(quota, 10, 64)
	p, periodErr := strconv.ParseInt(period, 10, 64)
	if err != nil || periodErr != nil || q <= 0 || p <= 0 {
		return 0
	}
	return float64(q) / float64(p)
}

func readMemory(folder string) uint64 {
	for _, name := range []string{"memory.max", "memory.limit_in_bytes"} {
		fields := words(folder, name)
		if len(fields) != 1 {
			continue
		}
		// Version 1 says the greatest number of pages where version 2 says "max".
		if n, err := strconv.ParseUint(fields[0], 10, 64); err == nil && n < math.MaxInt64/2 {
			return n
		}
	}
	return 0
}

func words(folder, name string) []string {
	text, _ := os.ReadFile(filepath.Join(folder, name)) // not there: no words
	return strings.Fields(string(text))
}

// folders are those of the group of a controller and of the groups above it.
func folders(root, controller string) (list []string) {
	point, top, path := find(root, controller)
	if point == "" {
		return nil
	}
	// In a container only its own group may be mounted, or the path be one that the
	// host knows: then the group is what is mounted.
	below, err := filepath.Rel(top, path)
	if err != nil || below == ".." || strings.HasPrefix(below, "../") {
		below = "."
	}
	for {
		list = append(list, filepath.Join(root, point, below))
		if below == "." {
			return list
		}
		below = filepath.Dir(below)
	}
}

// find says where the hierarchy of a controller is mounted, of which group that
// shows the inside, and the group of this process. Version 1 goes first: where
// both are mounted a controller is in one of them only, and in version 2 if it is
// not in any of version 1.
func find(root, controller string) (point, top, path string) {
	groups, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	unified, found := "", false
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(fields) != 3:
		case fields[0] == "0":
			unified = fields[2]
		case slices.Contains(strings.Split(fields[1], ","), controller):
			path, found = fields[2], true
		}
	}
	kind := "cgroup"
	if !found {
		kind, path = "cgroup2", unified
	}
	mounts, _ := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	for line := range strings.Lines(string(mounts)) {
		// 32 31 0:29 /top /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
		where, what, _ := strings.Cut(line, " - ")
		at, of := strings.Fields(where), strings.Fields(what)
		if len(at) < 5 || len(of) < 3 || of[0] != kind || found && !slices.Contains(strings.Split(of[2], ","), controller) {
			continue
		}
		return at[4], at[3], path
	}
	return "", "", ""
}
