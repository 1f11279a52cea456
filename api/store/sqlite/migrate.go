package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/nekoctl/neko/api/store"
)

// The migrations, one file for each version of the schema: 0001_….sql makes
// version 1 of version 0, an empty file. Files that are out in the world are
// never changed.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

// schemaVersion is the last version that this program knows.
var schemaVersion = sync.OnceValue(func() int {
	files, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is bad
	}
	return len(files)
})

// applicationID marks a SQLite file as ours: "neko".
const applicationID = 0x6e656b6f

// migrate brings the schema to the last version. All workers of an app may come
// here at the same moment; the exclusive lock lets the first one work and the
// others find it done.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return err
	}
	// The usual case takes no lock: readers of a store in use never wait here.
	version, err := s.version(ctx, s.rd, len(files))
	if err == nil && version == len(files) {
		// A backup that was put into the place of a store has no write-ahead log: readers and writers would wait
		// for each other for ever after.
		var mode string
		if err = s.rd.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err == nil && mode == "wal" {
			return nil
		}
	}
	if err != nil && code(err) != sqlite3.SQLITE_BUSY {
		return err
	}
	// The change to WAL mode needs the file for itself, and SQLite gives up at
	// once where it might deadlock, busy_timeout or not.
	deadline := time.Now().Add(busyTimeout)
	for {
		err := s.upgrade(ctx, files)
		if code(err) != sqlite3.SQLITE_BUSY || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *Store) upgrade(ctx context.Context, files []string) error {
	conn, err := s.wr.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := busy(ctx, conn, 50*time.Millisecond); err != nil {
		return err
	}
	defer busy(context.WithoutCancel(ctx), conn, busyTimeout)
	// Asked first in any case: a file of another program stays as it is.
	version, err := s.version(ctx, conn, len(files))
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	for version < len(files) {
		if version, err = s.step(ctx, conn, files); err != nil {
			return err
		}
	}
	return nil
}

// busy sets how long SQLite itself waits for a lock.
func busy(ctx context.Context, conn *sql.Conn, d time.Duration) error {
	_, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", d.Milliseconds()))
	return err
}

// step applies the next migration, unless another process has, and returns the
// version after it.
func (s *Store) step(ctx context.Context, conn *sql.Conn, files []string) (version int, err error) {
	if _, err = conn.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		return 0, err
	}
	defer func() {
		end := "COMMIT"
		if err != nil {
			end = "ROLLBACK"
		}
		// Not the caller's context: a connection must not go back in a transaction.
		if _, e := conn.ExecContext(context.WithoutCancel(ctx), end); err == nil {
			err = e
		}
	}()
	version, err = s.version(ctx, conn, len(files))
	if err != nil || version >= len(files) {
		return version, err
	}
	text, err := migrationFiles.ReadFile(files[version])
	if err != nil {
		return 0, err
	}
	version++
	_, err = conn.ExecContext(ctx, fmt.Sprintf("%s;\nPRAGMA user_version = %d; PRAGMA application_id = %d;", text, version, applicationID))
	if err != nil {
		err = fmt.Errorf("migration %s: %w", files[version-1], err)
	}
	return version, err
}

// version is the schema's version in the file.
func (s *Store) version(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, known int) (int, error) {
	var version, app, objects int
	err := q.QueryRowContext(ctx, `SELECT
		(SELECT user_version FROM pragma_user_version),
		(SELECT application_id FROM pragma_application_id),
		(SELECT count(*) FROM sqlite_schema)`).Scan(&version, &app, &objects)
	switch {
	case err != nil:
		return 0, err
	case app != applicationID && (app != 0 || version != 0 || objects != 0):
		return 0, &store.OpenError{Where: s.path, Err: errors.New("it is a SQLite database of another program"),
			Advice: "name another file; nothing in this one was changed"}
	case version > known:
		return version, &store.TooNewError{Where: s.path, Store: version, Known: known}
	}
	return version, nil
}
