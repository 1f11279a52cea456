package monit

import (
	"fmt"
	"strconv"
	"strings"
)

// textOf is a state as plain text: the header, and a line for each app and each of its
// workers. What would not fit in the columns is cut; 0: nothing is.
func textOf(st *State, columns int) string {
	var b strings.Builder
	d := st.Daemon
	fmt.Fprintf(&b, "neko %s", printable(d.Version))
	if d.UptimeSeconds > 0 {
		b.WriteString(" up " + span2(d.UptimeSeconds))
	}
	b.WriteString(" · " + plural(len(st.Apps), "app"))
	for _, s := range states {
		if n := st.Count(s); n > 0 {
			fmt.Fprintf(&b, " · %d %s", n, s)
		}
	}
	b.WriteByte('\n')
	for _, w := range d.Warnings {
		b.WriteString("warning: " + printable(w) + "\n")
	}
	if st.MetricsError != "" {
		b.WriteString("no metrics: " + printable(st.MetricsError) + "\n")
	}
	table := [][]string{{"app", "state", "pid", "up", "↺", "cpu", "memory", "req/s", "p50", "p99", "in flight", "cache", "denied/s", "queue"}}
	line := func(name, state, pid, up string, restarts int, f *Figures) {
		table = append(table, []string{name, state, pid, up, strconv.Itoa(restarts), percentOf(f.CPUPercent), bytesOf(f.MemoryBytes),
			rateOf(f.RequestsPerSecond), tookOf(f.P50Seconds), tookOf(f.P99Seconds), numberOf(f.InFlight), ratioOf(f.CacheHitRatio),
			rateOf(f.DeniedPerSecond), numberOf(f.QueueLength)})
	}
	for _, a := range st.Apps {
		if len(a.Workers) != 1 {
			state, _ := stateOf(a)
			line(a.Shown(), state, none, none, a.Restarts, &a.Figures)
		}
		for _, one := range a.Workers {
			name := "  :" + strconv.Itoa(one.Slot)
			if len(a.Workers) == 1 {
				name = a.Shown()
			}
			pid, up := none, none
			if one.PID != 0 {
				pid, up = strconv.Itoa(one.PID), span1(one.UptimeSeconds)
			}
			line(name, string(one.State), pid, up, one.Restarts, &one.Figures)
		}
	}
	widths := make([]int, len(table[0]))
	for _, cells := range table {
		for i := range cells {
			cells[i] = printable(cells[i])
			widths[i] = max(widths[i], width(cells[i]))
		}
	}
	for _, cells := range table {
		var row strings.Builder
		for i, cell := range cells {
			pad := strings.Repeat(" ", widths[i]-width(cell))
			if i > 0 {
				row.WriteString("  ")
			}
			if i < 2 {
				row.WriteString(cell + pad)
			} else {
				row.WriteString(pad + cell)
			}
		}
		text := strings.TrimRight(row.String(), " ")
		if columns > 0 {
			text = fit(text, columns)
		}
		b.WriteString(text + "\n")
	}
	for _, a := range st.Apps {
		for _, one := range a.Workers {
			if text, _ := complaint(a, one); text != "" {
				fmt.Fprintf(&b, "%s:%d %s: %s\n", printable(a.Shown()), one.Slot, one.State, printable(text))
			}
		}
	}
	return b.String()
}
