package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
)

// A command that takes longer than this shows what it is doing.
const patience = time.Second

// progress shows the steps of a command: on a terminal a live line for each
// worker, which is gone when the command has ended, elsewhere a line a step.
type progress struct {
	c     *cli
	timer *time.Timer

	mu    sync.Mutex
	shown bool // patience is over
	order []string
	lines map[string]string // by worker
	drawn int               // live lines on the terminal
}

// mostLive keeps the live lines of an app with many workers on the screen.
const mostLive = 16

func (c *cli) progress() *progress {
	p := &progress{c: c, lines: map[string]string{}}
	if !c.quiet {
		p.timer = time.AfterFunc(patience, p.show)
	}
	return p
}

// step is for [control.Client].
func (p *progress) step(s control.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	worker := fmt.Sprintf("%s:%d", s.Name, s.Slot)
	line := worker + " " + p.c.err.paint(stateColor(s.State), string(s.State))
	if s.Message != "" {
		line += ": " + printable(s.Message)
	}
	if p.lines[worker] == "" {
		p.order = append(p.order, worker)
	}
	p.lines[worker] = line
	if !p.shown {
		return
	}
	if p.c.err.width > 0 {
		p.draw()
	} else {
		fmt.Fprintln(p.c.err, line)
	}
}

func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = true
	if p.c.err.width > 0 {
		p.draw()
		return
	}
	for _, worker := range p.order {
		fmt.Fprintln(p.c.err, p.lines[worker])
	}
}

func (p *progress) draw() {
	var b strings.Builder
	p.erase(&b)
	visible := p.order[max(0, len(p.order)-mostLive):]
	for _, worker := range visible {
		b.WriteString(fit(p.lines[worker], p.c.err.width-1) + "\n")
	}
	p.drawn = len(visible)
	fmt.Fprint(p.c.err, b.String())
}

func (p *progress) erase(b *strings.Builder) {
	if p.drawn > 0 {
		fmt.Fprintf(b, "\x1b[%dA\x1b[J", p.drawn)
	}
	p.drawn = 0
}

func (p *progress) end() {
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	p.erase(&b)
	fmt.Fprint(p.c.err, b.String())
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
		line := verb + " " + c.out.paint(bold, name) + ": " + c.counts(counts)
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

func (c *cli) counts(counts map[control.State]int) string {
	var parts []string
	for _, s := range []control.State{control.Online, control.Launching, control.Stopping, control.WaitingRestart, control.Stopped, control.Errored} {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c.out.paint(stateColor(s), string(s))))
		}
	}
	return strings.Join(parts, ", ")
}
