package supervisor

import (
	"errors"
	"fmt"
	"time"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// heavy is what a slot remembers of processes with more memory than they may have.
type heavy struct {
	busy  bool      // one is being replaced
	tries int       // in a row: it was over the limit again before the wait was over
	after time.Time // no other is replaced before
}

// The wait between two replacements of a slot doubles from the first of these to
// the last as long as they come to nothing: the successor fails, or is over the
// limit itself. Who first gets there after the wait has grown by itself.
const (
	firstRelief = 10 * time.Second
	lastRelief  = 10 * time.Minute
)

// relieve says whether a process that is over the limit since then is to be
// replaced now.
func (h *heavy) relieve(since, now time.Time) bool {
	if h.busy || now.Before(h.after) {
		return false
	}
	if !since.Before(h.after) {
		h.tries = 0
	}
	h.after = now.Add(min(firstRelief<<min(h.tries, 10), lastRelief))
	h.tries++
	return true
}

// weigh looks whether a process that serves has more memory than it may have, and
// lets a successor take its place.
func (m *master) weigh(p *process) {
	limit, s := int64(p.spec.MaxMemory), p.slot
	if limit == 0 || p.usage.memory <= limit {
		p.heavySince = time.Time{}
		return
	}
	if p.heavySince.IsZero() {
		p.heavySince = time.Now()
	}
	if s.serving != p || s.want != run || s.cycle || s.starting != nil || p.spec.Type == spec.Task || !s.heavy.relieve(p.heavySince, time.Now()) {
		return
	}
	s.heavy.busy = true
	what := fmt.Sprintf("it had %s of memory, and max_memory_restart is %s", megabytes(p.usage.memory), megabytes(limit))
	m.log("%s: pid %d has %s of memory, and max_memory_restart is %s: it is replaced", s, pid(p.PID), megabytes(p.usage.memory), megabytes(limit))
	go func() {
		err := m.replaceHeavy(p, cause{control.CauseMemory, what})
		m.do(func() {
			s.heavy.busy = false
			if err != nil && !m.stopping && !errors.Is(err, errGone) {
				m.log("%s (max_memory_restart): %s", s, errorText(err))
			}
		})
	}()
}

func (m *master) replaceHeavy(p *process, why cause) error {
	s := p.slot
	end, err := m.begin()
	if err != nil {
		return err
	}
	defer end()
	unlock, err := m.lock(chosen{s.app, s}, quiet{}, why)
	if err != nil {
		return err
	}
	defer unlock()
	var next *spec.App
	m.do(func() {
		if s.serving == p { // else a command has replaced it meanwhile
			next = s.app.spec
		}
	})
	if next == nil {
		return nil
	}
	began := time.Now()
	note, err := m.replace(s, next, trial(next))
	m.do(func() { m.tellOfReplacing(ofSlot(s), control.EventRestart, byMemory, 1, began, err) })
	if note != "" {
		m.log("%s", note)
	}
	return err
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
