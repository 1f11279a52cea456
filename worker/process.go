package worker

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processState is how it is with the process, by the kernel and the Go runtime. What cannot be found
// out is not a number, and no line of the metrics.
type processState struct {
	cpu, resident, openFiles, maxFiles, started float64

	runtime []metrics.Sample // in the order of runtimeNames
	gc      debug.GCStats
}

// runtimeNames are what is read of package runtime/metrics, by what reads it.
const (
	heapObjectsBytes = iota
	heapUnusedBytes
	heapFreeBytes
	heapReleasedBytes
	heapStacksBytes
	totalBytes
	heapAllocatedBytes
	heapAllocatedObjects
	heapFreedObjects
	heapObjects
	heapGoal
	goroutines
	maxProcs
	gcPercent
	memoryLimit
	gcSeconds
	runtimeMetrics
)

var runtimeNames = [runtimeMetrics]string{
	heapObjectsBytes:     "/memory/classes/heap/objects:bytes",
	heapUnusedBytes:      "/memory/classes/heap/unused:bytes",
	heapFreeBytes:        "/memory/classes/heap/free:bytes",
	heapReleasedBytes:    "/memory/classes/heap/released:bytes",
	heapStacksBytes:      "/memory/classes/heap/stacks:bytes",
	totalBytes:           "/memory/classes/total:bytes",
	heapAllocatedBytes:   "/gc/heap/allocs:bytes",
	heapAllocatedObjects: "/gc/heap/allocs:objects",
	heapFreedObjects:     "/gc/heap/frees:objects",
	heapObjects:          "/gc/heap/objects:objects",
	heapGoal:             "/gc/heap/goal:bytes",
	goroutines:           "/sched/goroutines:goroutines",
	maxProcs:             "/sched/gomaxprocs:threads",
	gcPercent:            "/gc/gogc:percent",
	memoryLimit:          "/gc/gomemlimit:bytes",
	gcSeconds:            "/cpu/classes/gc/total:cpu-seconds",
}

// gcQuantiles are those that client_golang tells of the pauses.
var gcQuantiles = []string{"0", "0.25", "0.5", "0.75", "1"}

func readProcess() (p processState) {
	nan := math.NaN()
	p = processState{cpu: nan, resident: nan, openFiles: nan, maxFiles: nan, started: nan}
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		p.cpu = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	}
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(text); len(fields) > 1 {
			if pages, err := strconv.ParseUint(string(fields[1]), 10, 64); err == nil {
				p.resident = float64(pages) * float64(os.Getpagesize())
			}
		}
	}
	if n, err := openFiles(); err == nil {
		p.openFiles = float64(n)
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		p.maxFiles = float64(limit.Cur)
	}
	if began, err := startTime(); err == nil {
		p.started = began
	}
	p.runtime = make([]metrics.Sample, runtimeMetrics)
	for i, name := range runtimeNames {
		p.runtime[i].Name = name
	}
	metrics.Read(p.runtime)
	p.gc.PauseQuantiles = make([]time.Duration, len(gcQuantiles))
	debug.ReadGCStats(&p.gc)
	return p
}

// of is one of the runtime's metrics.
func (p *processState) of(i int) float64 {
	switch v := p.runtime[i].Value; v.Kind() {
	case metrics.KindUint64:
		return float64(v.Uint64())
	case metrics.KindFloat64:
		return v.Float64()
	}
	return math.NaN()
}

// openFiles is how many descriptors the process has. Linux says so from 6.2 on in the size of
// the folder, which saves looking at each.
func openFiles() (n int, err error) {
	const folder = "/proc/self/fd"
	info, err := os.Stat(folder)
	if err != nil {
		return 0, err
	}
	if info.Size() > 0 {
		return int(info.Size()), nil
	}
	f, err := os.Open(folder)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(512)
		n += len(names)
		if errors.Is(err, io.EOF) {
			return n - 1, nil // this one
		}
		if err != nil {
			return 0, err
		}
	}
}

// clockTicks is how many of /proc's units of time are a second: on every Linux that Go runs on.
const clockTicks = 100

// startTime is when the process has begun, in Unix seconds.
func startTime() (float64, error) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text[bytes.LastIndexByte(text, ')')+1:]), " ") // the name may have anything in it
	fields := strings.Fields(rest)
	const startsAt = 22 - 3 // the 22nd of all, and the third comes first here
	if len(fields) <= startsAt {
		return 0, errors.New("/proc/self/stat has too few fields")
	}
	ticks, err := strconv.ParseUint(fields[startsAt], 10, 64)
	if err != nil {
		return 0, err
	}
	all, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(all)) {
		if booted, ok := strings.CutPrefix(line, "btime "); ok {
			at, err := strconv.ParseUint(strings.TrimSpace(booted), 10, 64)
			return float64(at) + float64(ticks)/clockTicks, err
		}
	}
	return 0, errors.New("/proc/stat does not say when the machine has started")
}
