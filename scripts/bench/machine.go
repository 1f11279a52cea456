package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report is what -json prints: figures, and what they are of.
type report struct {
	Taken   time.Time `json:"taken"`
	Machine string    `json:"machine"`
	Data    string    `json:"data"`
	// Busy says that the machine had other things to do when it began, and how many.
	Busy    string   `json:"busy,omitempty"`
	Figures []figure `json:"figures"`
}

// newReport looks at the machine before anything is measured.
func (b *bench) newReport() report {
	r := report{Taken: time.Now().UTC().Truncate(time.Second), Machine: machine(), Data: "the sample data of neko-api"}
	if b.bundle != "" {
		r.Data = filepath.Base(b.bundle)
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Busy = busy(string(text))
	}
	return r
}

// busy reads /proc/loadavg. What has ended a minute ago still shows in it, so a
// third of a process is none.
func busy(loadavg string) string {
	first, _, _ := strings.Cut(loadavg, " ")
	if v, err := strconv.ParseFloat(first, 64); err == nil && v > 0.33 {
		return fmt.Sprintf("the load average was %s before it began", first)
	}
	return ""
}

// machine is what figures are of: processor, how many of them, kernel, Go.
func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // without it there is no model, and all else
	model := "unknown processor"
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	kernel := "unknown kernel"
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("%s, %d CPUs, %s, %s", model, runtime.NumCPU(), kernel, runtime.Version())
}
