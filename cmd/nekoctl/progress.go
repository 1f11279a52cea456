package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/nekoctl/neko/supervisor/control"
)

// A command that takes longer than this shows what it is doing.
var patience = time.Second

// ticking is how often the times on live lines go on.
const ticking = 200 * time.Millisecond

// progress shows the steps of a command: on a terminal a live line for each
// worker, which is gone when the command has ended, elsewhere a line a step.
type progress struct {
	c     *cli
	timer *time.Timer
	ended chan struct{}

	mu    sync.Mutex
	shown bool // patience is over
	order []string
	lines map[string]*workerLine // by worker
	drawn []int                  // widths of the live lines on the terminal
}

// workerLine is what is known of one worker, of an app or of the daemon.
type workerLine struct {
	name    string // "web:0", "web"; "": the daemon
	last    control.Progress
	since   time.Time
	printed map[string]bool // where lines are not live
}

// mostLive keeps the live lines of an app with many workers on the screen, and mostPrinted
// what an app prints that waits for ever other things.
const (
	mostLive    = 16
	mostPrinted = 16
)

func (c *cli) progress() *progress {
	p := &progress{c: c, lines: map[string]*workerLine{}, ended: make(chan struct{})}
	if !c.quiet {
		p.timer = time.AfterFunc(patience, p.show)
		c.live = p
	}
	return p
}

// step is for [control.Client].
func (p *progress) step(s control.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := s.Name
	if !s.Whole {
		name = fmt.Sprintf("%s:%d", s.Name, s.Slot)
	}
	line := p.lines[name]
	if s.Whole && s.Message == "" {
		delete(p.lines, name)
		p.order = slices.DeleteFunc(p.order, func(other string) bool { return other == name })
		p.refresh()
		return
	}
	if line == nil {
		line = &workerLine{name: name, printed: map[string]bool{}}
		p.lines[name], p.order = line, append(p.order, name)
	}
	if s.SinceMS > 0 || line.last.Message != s.Message || line.last.State != s.State {
		line.since = time.Now().Add(-time.Duration(s.SinceMS) * time.Millisecond)
	}
	line.last = s
	switch {
	case !p.shown:
	case p.c.err.live:
		p.draw()
	default:
		p.print(line)
	}
}

// waitsFor is a step of the command line's own.
func (p *progress) waitsFor(what string) { p.step(control.Progress{Whole: true, Message: what}) }

func (p *progress) refresh() {
	if p.shown && p.c.err.live {
		p.draw()
	}
}

// print prints a line that is not live, once: what is waited for may change to and fro.
func (p *progress) print(line *workerLine) {
	text := line.text(p.c.err, time.Time{})
	if !line.printed[text] && len(line.printed) < mostPrinted {
		line.printed[text] = true
		fmt.Fprintln(p.c.err, text)
	}
}

// text is a line, with the time that has passed by now, or where that is zero with how
// much may.
func (l *workerLine) text(t terminal, now time.Time) string {
	s := l.last
	text, message := printable(l.name), printable(s.Message)
	if !s.Whole {
		text += " " + t.paint(stateColor(s.State), string(s.State))
	}
	if message == "" {
		return text
	}
	if text != "" {
		text += ": "
	}
	text += message
	limit := time.Duration(s.LimitMS) * time.Millisecond
	if now.IsZero() {
		if limit > 0 {
			text += " (at most " + seconds(limit) + ")"
		}
		return text
	}
	if s.Connections > 0 {
		text += ", " + count(s.Connections, "connection")
	}
	passed := now.Sub(l.since)
	if limit > 0 && passed <= limit {
		return text + fmt.Sprintf(" (%s of %s)", seconds(passed), seconds(limit))
	}
	return text + " (" + seconds(passed) + ")"
}

// seconds is a time as a line has it that ticks: in tenths of seconds up to a minute.
func seconds(d time.Duration) string {
	if d = max(d, 0); d >= time.Minute {
		return d.Round(time.Second).String()
	}
	text := fmt.Sprintf("%.1f", d.Seconds())
	return strings.TrimSuffix(text, ".0") + "s"
}

func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ended:
		return
	default:
	}
	p.shown = true
	if len(p.order) == 0 { // it has not even begun
		p.lines[""], p.order = &workerLine{last: control.Progress{Whole: true, Message: "waits for the daemon"}, since: time.Now().Add(-patience), printed: map[string]bool{}}, []string{""}
	}
	if !p.c.err.live {
		for _, name := range p.order {
			p.print(p.lines[name])
		}
		return
	}
	p.draw()
	go func() {
		tick := time.NewTicker(ticking)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.mu.Lock()
				p.refresh()
				p.mu.Unlock()
			case <-p.ended:
				return
			}
		}
	}()
}

// visible are the lines that there is room for, those first of who waits, in the order in
// which they came; and what there is to be said of the others.
func (p *progress) visible(room int) (names []string, rest string) {
	if len(p.order) <= room {
		return p.order, ""
	}
	chosen := map[string]bool{}
	for _, waits := range []bool{true, false} {
		for _, name := range p.order {
			if (p.lines[name].last.Message != "") == waits && len(chosen) < room-1 {
				chosen[name] = true
			}
		}
	}
	counts := map[control.State]int{}
	for _, name := range p.order {
		if chosen[name] {
			names = append(names, name)
		} else if !p.lines[name].last.Whole {
			counts[p.lines[name].last.State]++
		}
	}
	return names, fmt.Sprintf("and %d more: %s", len(p.order)-len(names), p.c.err.counts(counts))
}

func (p *progress) draw() {
	width, height := p.c.err.size()
	room := mostLive
	if height > 0 {
		room = max(min(room, height-1), 1)
	}
	var b strings.Builder
	p.erase(&b, width)
	names, rest := p.visible(room)
	add := func(text string) {
		text = fit(text, width-1)
		b.WriteString(text + "\n")
		p.drawn = append(p.drawn, ansi.StringWidth(text))
	}
	now := time.Now()
	for _, name := range names {
		add(p.lines[name].text(p.c.err, now))
	}
	if rest != "" {
		add(rest)
	}
	fmt.Fprint(p.c.err, b.String())
}

// erase goes back to where the first live line is. A terminal that has become narrower has
// broken them.
func (p *progress) erase(b *strings.Builder, width int) {
	rows := 0
	for _, drawn := range p.drawn {
		rows += max((drawn+width-1)/max(width, 1), 1)
	}
	if rows > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r\x1b[J", rows)
	}
	p.drawn = p.drawn[:0]
}

// aside prints something else while lines are live.
func (p *progress) aside(print func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	print()
	p.refresh()
}

func (p *progress) clear() {
	if len(p.drawn) == 0 {
		return
	}
	var b strings.Builder
	width, _ := p.c.err.size()
	p.erase(&b, width)
	fmt.Fprint(p.c.err, b.String())
}

func (p *progress) end() {
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	if p.c.live == p {
		p.c.live = nil
	}
	select {
	case <-p.ended:
	default:
		close(p.ended)
	}
	p.shown = false
}

// carryOut runs a command of the master, and shows its steps and its outcome.
func (c *cli) carryOut(verb string, command func(step func(control.Progress)) (control.Done, error)) (control.Done, error) {
	p := c.progress()
	done, err := command(p.step)
	p.end()
	if err == nil {
		c.outcome(verb, done)
	}
	return done, err
}

func stateColor(s control.State) color {
	switch s {
	case control.Online:
		return green
	case control.Errored:
		return red
	case control.Stopped:
		return dim
	}
	return yellow
}

// outcome tells what a command has done: a line for each app, and the notes.
func (c *cli) outcome(verb string, done control.Done) {
	for i := 0; i < len(done.Processes); {
		name, n := done.Processes[i].Name, i
		counts := map[control.State]int{}
		var listeners []string
		for ; i < len(done.Processes) && done.Processes[i].Name == name; i++ {
			counts[done.Processes[i].State]++
			if listeners == nil {
				listeners = done.Processes[i].Listeners
			}
		}
		line := verb + " " + c.out.paint(bold, name) + ": " + c.out.counts(counts)
		if counts[control.Online] > 0 && len(listeners) > 0 {
			line += " on " + strings.Join(listeners, ", ")
		}
		c.say("%s", line)
		for _, p := range done.Processes[n:i] {
			if p.Reason != "" {
				c.note("  %s:%d %s: %s", p.Name, p.Slot, p.State, p.Reason)
			}
		}
	}
	for _, note := range done.Notes {
		c.note("%s", note)
	}
}

func (t terminal) counts(counts map[control.State]int) string {
	var parts []string
	for _, s := range []control.State{control.Online, control.Launching, control.Stopping, control.WaitingRestart, control.Stopped, control.Errored} {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, t.paint(stateColor(s), string(s))))
		}
	}
	return strings.Join(parts, ", ")
}
