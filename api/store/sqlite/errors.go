package sqlite

import (
	"context"
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/nekoctl/neko/api/store"
)

// code is the primary result code of an error from SQLite, 0 for others.
func code(err error) int {
	var e *driver.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// translate makes of SQLite's errors those that [store.Store] promises: the
// context's, if that has ended, and ErrUnavailable for what may be over later.
// Methods defer it.
func (s *Store) translate(ctx context.Context, err *error) {
	switch {
	case *err == nil:
	case ctx.Err() != nil && !errors.Is(*err, ctx.Err()) && (code(*err) == sqlite3.SQLITE_INTERRUPT || code(*err) == sqlite3.SQLITE_BUSY):
		*err = fmt.Errorf("%w: %w", ctx.Err(), *err)
	case unavailable[code(*err)] || s.closed():
		*err = fmt.Errorf("%w: %w", store.ErrUnavailable, *err)
	}
}

var unavailable = map[int]bool{
	sqlite3.SQLITE_BUSY:     true,
	sqlite3.SQLITE_LOCKED:   true,
	sqlite3.SQLITE_PROTOCOL: true,
	sqlite3.SQLITE_IOERR:    true,
	sqlite3.SQLITE_FULL:     true,
	sqlite3.SQLITE_CANTOPEN: true,
	sqlite3.SQLITE_READONLY: true,
	sqlite3.SQLITE_PERM:     true,
	sqlite3.SQLITE_NOMEM:    true,
}

func (s *Store) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stmts == nil
}
