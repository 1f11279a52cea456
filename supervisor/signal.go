package supervisor

import (
	"errors"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// sendSignal sends a signal to the processes of the targets that serve. What comes of
// it is theirs: who ends has ended by itself.
func (m *master) sendSignal(q control.SignalRequest) error {
	signal, err := spec.ParseSignal(q.Signal)
	if err != nil {
		return specError(err)
	}
	list, err := m.choose(q.Targets)
	if err != nil {
		return err
	}
	var errs []error
	sent := 0
	m.do(func() {
		for _, c := range list {
			for _, s := range c.slots() {
				if s.serving == nil {
					continue
				}
				sent++
				if err := m.system.signal(s.serving, signal); err != nil {
					errs = append(errs, failure("", "%s (pid %d): %v", s, s.serving.PID, err))
				}
			}
		}
	})
	if sent == 0 {
		return failure("`nekoctl list` shows what runs", "none of these is online, and nobody got the signal")
	}
	return errors.Join(errs...)
}
