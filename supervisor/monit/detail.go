package monit

import (
	"fmt"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/nekoctl/neko/supervisor/control"
)

// fact is a figure with its name.
type fact struct {
	name, text string
	style      style
}

// factWidth is how wide a fact is drawn at least.
const factWidth = 26

// facts are what is known of the selected app or worker, what people look for first
// at the front.
func facts(a *App, one *Worker) (list []fact) {
	f := &a.Figures
	if one != nil {
		f = &one.Figures
	}
	add := func(name, text string, st style) {
		if text != "" && text != none {
			list = append(list, fact{name, text, st})
		}
	}
	alarm := func(v Value, st style) style { // of what should be 0
		if v.v > 0 {
			return st
		}
		return style{}
	}
	bad, odd := style{fg: red, bold: true}, style{fg: yellow}
	add("req/s", rateOf(f.RequestsPerSecond), style{bold: true})
	add("p50", tookOf(f.P50Seconds), style{})
	add("p99", tookOf(f.P99Seconds), style{})
	add("in flight", numberOf(f.InFlight), style{})
	add("connections", numberOf(f.Connections), style{})
	add("5xx/s", rateOf(f.FailuresPerSecond), alarm(f.FailuresPerSecond, bad))
	add("cache hits", ratioOf(f.CacheHitRatio), style{})
	add("allowed/s", rateOf(f.AllowedPerSecond), style{})
	add("denied/s", rateOf(f.DeniedPerSecond), alarm(f.DeniedPerSecond, odd))
	add("rejected/s", rateOf(f.RejectedPerSecond), alarm(f.RejectedPerSecond, odd))
	add("failed/s", rateOf(f.FailedPerSecond), alarm(f.FailedPerSecond, bad))
	for _, b := range f.Breakers {
		st, text := style{fg: green}, strings.ToLower(b.State)
		if b.State != breakerStates[0] {
			st = bad
		}
		if b.Workers > 0 && one == nil {
			text += fmt.Sprintf(" in %d", b.Workers)
		}
		add(b.Name+" breaker", text, st) // what tells one from another first, should it be cut
	}
	add("cpu", percentOf(f.CPUPercent), style{})
	add("memory", bytesOf(f.MemoryBytes), style{})
	if f.QueueLength.is {
		text := short(f.QueueLength.v)
		if f.QueueMax.is && one != nil {
			text += " of " + short(f.QueueMax.v)
		}
		add("accept queue", text, alarm(f.QueueLength, odd))
	}
	if f.Draining.v > 0 {
		add("draining", numberOf(f.Draining), odd)
	}
	if f.SentBytesPerSecond.is {
		add("sent", bytesOf(f.SentBytesPerSecond)+"/s", style{})
	}
	for _, c := range f.Custom {
		add(c.Name, strings.TrimSpace(c.Value+" "+c.Unit), style{})
	}
	add("goroutines", numberOf(f.Goroutines), style{})
	add("heap", bytesOf(f.HeapBytes), style{})
	if f.GCPerSecond.is {
		text := rateOf(f.GCPerSecond) + "/s"
		if f.GCPauseSecondsPerCycle.is {
			text += " " + tookOf(f.GCPauseSecondsPerCycle)
		}
		add("gc", text, style{})
	}
	if f.OpenFiles.is {
		text := short(f.OpenFiles.v)
		if f.MaxFiles.is && one != nil {
			text += " of " + short(f.MaxFiles.v)
		}
		add("open files", text, style{})
	}
	if one != nil {
		add("id", strconv.Itoa(one.ID), style{})
		if one.PID != 0 {
			add("pid", strconv.Itoa(one.PID), style{})
			add("uptime", span2(one.UptimeSeconds), style{})
		}
		add("restarts", strconv.Itoa(one.Restarts), style{})
		if len(one.Listeners) > 0 {
			add("listening", strings.Join(one.Listeners, ", "), style{})
		}
	} else {
		add("workers", strconv.Itoa(len(a.Workers)), style{})
		add("restarts", strconv.Itoa(a.Restarts), style{})
	}
	if a.Namespace != "" && a.Namespace != "default" {
		add("namespace", a.Namespace, style{})
	}
	return list
}

// complaint is why a worker, or one of an app's, is not as it should be.
func complaint(a *App, one *Worker) (text string, st style) {
	list := a.Workers
	if one != nil {
		list = []*Worker{one}
	}
	for _, w := range list {
		what := w.Reason
		if what == "" && w.State == control.Online {
			if what = w.Unready; what != "" {
				what = "not ready: " + what
			}
		}
		if what == "" {
			continue
		}
		if one == nil {
			what = fmt.Sprintf(":%d %s: %s", w.Slot, w.State, what)
		}
		st := stateStyle(w.State)
		if st.fg == green {
			st.fg = yellow
		}
		return what, st
	}
	return "", style{}
}

func (m *model) drawDetail(c *canvas, r rect) {
	m.zones = append(m.zones, zone{r, detailPane, func() tea.Cmd { m.focus = detailPane; return nil }})
	a := m.app()
	if a == nil {
		m.rule(c, r, detailPane, "figures", "")
		return
	}
	one := workerOf(a, m.selected.slot)
	title := a.Shown()
	switch {
	case one != nil && m.selected.slot >= 0:
		title += ":" + strconv.Itoa(one.Slot)
	case len(a.Workers) > 1:
		title += ", " + workers(len(a.Workers))
	}
	list := facts(a, one)
	columns := max(1, (r.w-1)/factWidth)
	per := (len(list) + columns - 1) / columns
	y := r.y + 1
	more := ""
	if text, st := complaint(a, one); text != "" {
		c.text(r.x+1, y, r.w-2, st, text)
		y++
	}
	room := r.y + r.h - y
	first := 0
	if per > room { // the rest is below, in rows
		m.scroll = min(m.scroll, per-room)
		first = m.scroll
		more = fmt.Sprintf("%d of %d", min(len(list), (first+room)*columns), len(list))
	} else {
		m.scroll = 0
	}
	m.rule(c, r, detailPane, title, more)
	each := (r.w - 1) / columns
	for i, f := range list {
		row, column := i/columns-first, i%columns
		if row < 0 || row >= room {
			continue
		}
		x := r.x + 1 + column*each
		named := min(13, each-6)
		n := c.text(x, y+row, max(named, each-2-width(f.text)), style{dim: true}, f.name)
		n = max(n, named) + 1
		c.text(x+n, y+row, each-n-1, f.style, f.text)
	}
}
