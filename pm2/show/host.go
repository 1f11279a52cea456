package show

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/nekoctl/neko/pm2/object"
)

// Host is how busy the machine is.
type Host struct {
	CPU    float64 // percent of all
	Memory float64 // percent
	// Read and Written are of all disks, Received and Sent of an interface, in MiB a
	// second; Errors and Dropped are packets a minute.
	Read, Written float64
	Interfaces    []Interface
	Filesystems   []Filesystem
}

// Interface is what goes through one to the network.
type Interface struct {
	Name            string
	Received, Sent  float64
	Errors, Dropped float64
}

// Filesystem is how full one is.
type Filesystem struct {
	Mount string
	Used  float64 // percent
}

// HostMetrics is the line below the table of list. What disks do is left out where the
// table is a narrow one; so are interfaces without traffic, and filesystems that are
// not 60 percent full.
func HostMetrics(w io.Writer, h Host, list []*object.Object, s Style) {
	line := s.paint("host metrics", bold, cyan) + " | " + s.paint("cpu", bold) + ": " + s.metric(h.CPU, 1, 40, 70, "%") +
		" | " + s.paint("ram usage", bold) + ": " + s.metric(h.Memory, 1, 70, 90, "%") + " "
	for _, i := range h.Interfaces {
		received, sent := s.metric(i.Received, 3, 10, 20, "mb/s"), s.metric(i.Sent, 3, 10, 20, "mb/s")
		if rounded(i.Received, 3) == "0" && rounded(i.Sent, 3) == "0" {
			continue
		}
		line += fmt.Sprintf("| %s: ⇓ %s ⇑ %s ", s.paint(i.Name, bold), received, sent)
		if i.Errors >= 0.5 {
			line += s.paint("err", bold) + " " + s.metric(i.Errors, 0, 1, 10, "/min") + " "
		}
		if i.Dropped >= 0.5 {
			line += s.paint("drop", bold) + " " + s.metric(i.Dropped, 0, 1, 10, "/min") + " "
		}
	}
	if len(layout(list, s)) == fullColumns {
		line += fmt.Sprintf("| %s: ⇓ %s ⇑ %s ", s.paint("disk", bold),
			s.metric(h.Read, 3, 10, 20, "mb/s"), s.metric(h.Written, 3, 10, 20, "mb/s"))
		for _, f := range h.Filesystems {
			if f.Used > 60 {
				line += s.paint(f.Mount, gray) + " " + s.metric(f.Used, 2, 80, 90, "%") + " "
			}
		}
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}

// fullColumns is the number of columns of the table in its widest form.
const fullColumns = 13

// metric is a number that is green below warn, and red above alert.
func (s Style) metric(value float64, decimals int, warn, alert float64, unit string) string {
	text := rounded(value, decimals)
	value, _ = strconv.ParseFloat(text, 64)
	switch {
	case value == 0:
		return "0" + unit
	case value < warn:
		return s.paint(text+unit, green)
	case value <= alert:
		return s.paint(text+unit, bold, yellow)
	}
	return s.paint(text+unit, bold, red)
}

func rounded(value float64, decimals int) string {
	text := strconv.FormatFloat(value, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
