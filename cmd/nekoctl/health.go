package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// ends shows why the last process of a slot has ended, with what it printed last, and of
// those before in a line.
func (c *cli) ends(p control.ProcessExtra) {
	if len(p.Ends) == 0 {
		if p.LastExit != "" { // of a master that knew no more
			c.fact("  ", "last exit", p.LastExit+date(", at", p.LastExitAt))
		}
		return
	}
	for i, e := range p.Ends {
		name := "before"
		switch {
		case i > 0:
		case p.PID != 0 && e.Cause != control.CauseExit:
			name = "restarted"
		default:
			name = "ended"
		}
		c.fact("  ", name, end(e))
		if i == 0 {
			for _, line := range e.Output {
				text := "             " + c.out.paint(dim, "| ") + printable(line)
				if width := c.out.columns(); width > 0 {
					text = fit(text, width)
				}
				fmt.Fprintln(c.out, text)
			}
		}
	}
}

// end is when, why and how a process has ended.
func end(e control.End) string {
	text := e.At.Local().Format("2006-01-02 15:04:05")
	if d := time.Since(e.At); d >= time.Second {
		text += " (" + uptime(d) + " ago)"
	}
	text += ": " + why(e)
	if !strings.HasSuffix(text, e.How) {
		text += "; " + e.How
	}
	if !e.StartedAt.IsZero() {
		text += fmt.Sprintf("; pid %d had run for %v", e.PID, rounded(e.At.Sub(e.StartedAt)))
	}
	return text
}

// why is a cause in words.
func why(e control.End) string {
	name := map[control.Cause]string{
		control.CauseExit: "it ended by itself", control.CauseCommand: "command", control.CauseCron: "cron_restart", control.CauseMemory: "max_memory_restart",
	}[e.Cause]
	if name == "" {
		name = string(e.Cause)
	}
	switch e.Detail {
	case "", name:
		return name
	}
	return name + ": " + e.Detail
}

// rounded is a time in as many digits as people read.
func rounded(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond)
	case d < time.Minute:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// restartsLeft is how near a process is to being errored, if some have ended too soon.
func restartsLeft(p control.ProcessExtra, app spec.App) string {
	if p.RestartsLeft == nil || p.State == control.Stopped || *p.RestartsLeft >= app.MaxRestarts {
		return ""
	}
	return fmt.Sprintf("; %d of %d left before it is errored", *p.RestartsLeft, app.MaxRestarts)
}

func queues(list []control.Queue) string {
	var parts []string
	for _, q := range list {
		part := fmt.Sprintf("%d of %d wait on %s", q.Length, q.Max, q.Address)
		if q.Shared {
			part += " (all slots)"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

func connections(p control.ProcessExtra) string {
	if p.Connections == nil || len(p.Queues) == 0 && *p.Connections == 0 {
		return ""
	}
	return count(*p.Connections, "client")
}

func probes(list []control.ProbeState) string {
	var parts []string
	for _, p := range list {
		part := p.Kind + ": "
		switch {
		case p.At.IsZero() && p.Error != "":
			part += p.Error
		case p.At.IsZero():
			part += "not asked yet"
		case p.OK:
			part += fmt.Sprintf("passed %s ago, in %v", ago(p.At), latency(p))
		default:
			part += fmt.Sprintf("failed %s ago, in %v, %d in a row: %s", ago(p.At), latency(p), p.Failures, p.Error)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

func latency(p control.ProbeState) time.Duration {
	return time.Duration(p.LatencyMS * float64(time.Millisecond)).Round(100 * time.Microsecond)
}

func watchdog(w *control.WatchdogState) string {
	if w == nil {
		return ""
	}
	limit := time.Duration(w.LimitMS) * time.Millisecond
	if w.At.IsZero() {
		return fmt.Sprintf("no sign of life yet; within %v", limit)
	}
	return fmt.Sprintf("last sign of life %s ago, of %v", ago(w.At), limit)
}

// ago is how long ago t was.
func ago(t time.Time) string { return max(rounded(time.Since(t)), 0).String() }

// dueAt is when something is to happen; "" for a zero time.
func dueAt(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s, in %v", t.Local().Format("2006-01-02 15:04:05"), max(rounded(time.Until(t)), 0))
}

func dueIn(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return "; next " + dueAt(t)
}
