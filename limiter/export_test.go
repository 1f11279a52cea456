package limiter

import (
	"log/slog"
	"time"

	"github.com/nekoctl/neko/hostmem"
)

// NewSharedWithin is NewShared whose decisions may take so long: tests of what is decided
// must not depend on how busy the machine is.
func NewSharedWithin(budget time.Duration, m *hostmem.Mapping, source Source, logger *slog.Logger) (*Shared, error) {
	t, err := newTable(m)
	if err != nil {
		return nil, err
	}
	s := newShared(m, t, source, logger, budget)
	s.start()
	return s, nil
}

// NewBank is an exact source in memory.
func NewBank() Source { return newBank() }
