package worker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/logtext"
)

// Dependency is something that the worker calls, and that may be away: a *[breaker.Policy], or
// whatever knows how it is. If it has a method Stats() [breaker.Stats], that is in the metrics; if
// it has Watch(func([breaker.Change])), that is how the worker learns of changes, else it looks
// every second.
type Dependency interface {
	Name() string
	Status() breaker.Status
}

// quiet is how long the log is silent about a dependency that comes and goes, when it has said that
// it is back, and between what it says while it is away.
const quiet = 10 * time.Second

// dependencyLook is how often a dependency is looked at that tells nobody of its changes.
const dependencyLook = time.Second

// dependencies tells the log, the supervisor and Config.OnBreaker what becomes of them.
type dependencies struct {
	w   *Worker
	mu  sync.Mutex
	all []*dependency

	sending    sync.Mutex // one after the other
	supervisor notifier
	status     string // what the supervisor was told last, without what is away
}

type dependency struct {
	Dependency
	state  breaker.State // since the last change
	said   bool          // the log says that it is away
	away   bool          // and the supervisor was told so
	saidAt time.Time
	backAt time.Time
}

func (w *Worker) watchDependencies(ctx context.Context) {
	d := &w.dependencies
	d.w = w
	for _, one := range w.config.Dependencies {
		d.all = append(d.all, &dependency{Dependency: one})
	}
	var looked []*dependency
	for _, one := range d.all {
		if watched, ok := one.Dependency.(interface{ Watch(func(breaker.Change)) }); ok {
			watched.Watch(func(c breaker.Change) { d.changed(one, c) })
		} else {
			looked = append(looked, one)
		}
	}
	if len(looked) == 0 {
		return
	}
	go func() {
		tick := time.NewTicker(dependencyLook)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for _, one := range looked {
				if s := one.Status(); s.State != one.state {
					d.changed(one, breaker.Change{Name: one.Name(), From: one.state, To: s.State, At: time.Now(), Until: s.Until, Reason: s.Reason})
				}
			}
		}
	}()
}

// changed is called for one change of a dependency after the other.
func (d *dependencies) changed(one *dependency, c breaker.Change) {
	if d.w.base.Err() != nil {
		return
	}
	d.mu.Lock()
	one.state = c.To
	if one.toSay(c) {
		level := slog.LevelInfo
		if c.To == breaker.Open {
			level = slog.LevelWarn
		}
		d.w.config.Log.Log(d.w.base, level, describeChange(c), "dependency", logtext.Said(c.Name), "state", logtext.Said(c.To.String()))
	}
	lines := []string{one.event(c)}
	d.mu.Unlock()
	if serving, line := d.line(); serving {
		lines = append([]string{line}, lines...)
	}
	d.tell(slices.DeleteFunc(lines, func(line string) bool { return line == "" })...)
	if d.w.config.OnBreaker != nil {
		d.w.config.OnBreaker(c)
	}
}

// toSay says whether a change is for the log.
func (one *dependency) toSay(c breaker.Change) bool {
	switch {
	case c.To == breaker.Closed:
		said := one.said
		if one.said = false; said {
			one.backAt = c.At
		}
		return said
	case !one.said && c.At.Sub(one.backAt) < quiet, one.said && c.At.Sub(one.saidAt) < quiet:
		return false
	}
	one.said, one.saidAt = true, c.At
	return true
}

func describeChange(c breaker.Change) string {
	line := fmt.Sprintf("breaker %s: %s → %s", c.Name, c.From, c.To)
	if !c.Until.IsZero() {
		line += " until " + c.Until.UTC().Format("15:04:05Z")
	}
	if c.Reason != "" && c.To == breaker.Open {
		line += ": " + c.Reason
	}
	return line
}

// says remembers what the supervisor is told, and adds what is away while the worker serves.
func (d *dependencies) says(supervisor notifier, assignments []string) {
	for i, a := range assignments {
		if status, ok := strings.CutPrefix(a, "STATUS="); ok {
			d.mu.Lock()
			d.supervisor, d.status = supervisor, status
			d.mu.Unlock()
			if serving, line := d.line(); serving {
				assignments[i] = line
			}
		}
	}
}

const statusServing = "serving"

// line is the STATUS= of a worker that serves.
func (d *dependencies) line() (serving bool, line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	line = "STATUS=" + statusServing
	sep := "; "
	for _, one := range d.all {
		if one.state != breaker.Closed {
			line += sep + one.Name() + " is " + one.state.String()
			sep = ", "
		}
	}
	return d.status == statusServing, line
}

// dependencyState is how one is, for /health.
type dependencyState struct {
	Name   string        `json:"name"`
	State  breaker.State `json:"state"`
	Until  *time.Time    `json:"until,omitempty"`
	Reason string        `json:"reason,omitempty"`
}

// states says how all are, and whether all are well.
func (d *dependencies) states() (all []dependencyState, well bool) {
	well = true
	for _, one := range d.all {
		s := one.Status()
		state := dependencyState{Name: one.Name(), State: s.State, Reason: s.Reason}
		if !s.Until.IsZero() {
			state.Until = &s.Until
		}
		well = well && s.State == breaker.Closed
		all = append(all, state)
	}
	return all, well
}

// verbose is what /readyz?verbose says of them. None of them makes the worker unready.
func (d *dependencies) verbose() (list string) {
	all, _ := d.states()
	for _, s := range all {
		if s.State == breaker.Closed {
			list += "[+] breaker " + s.Name + " CLOSED\n"
			continue
		}
		list += "[!] breaker " + s.Name + " " + s.State.String()
		if s.Until != nil {
			list += fmt.Sprintf(" for %v", max(time.Until(*s.Until), 0).Round(time.Second))
		}
		if s.Reason != "" {
			list += ": " + s.Reason
		}
		list += "\n"
	}
	return list
}
