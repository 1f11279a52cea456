package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nekoctl/neko/api/store"
)

var _ store.Changelog = (*Store)(nil)

// Invalidate implements [store.Changelog].
func (s *Store) Invalidate(ctx context.Context, tags ...string) (err error) {
	defer s.translate(ctx, &err)
	if len(tags) == 0 {
		return nil // and wait for nobody
	}
	return s.transact(ctx, func(tx *sql.Tx) error { return note(ctx, tx, tags) })
}

// note adds an entry to the log and removes what is too old.
func note(ctx context.Context, tx interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, tags []string) error {
	if len(tags) == 0 {
		return nil
	}
	text, err := json.Marshal(tags)
	if err != nil {
		return err
	}
	store.CountQuery(ctx)
	res, err := tx.ExecContext(ctx, `INSERT INTO main.changelog (before, tags)
		SELECT coalesce((SELECT before + json_array_length(tags) FROM main.changelog ORDER BY n DESC LIMIT 1), 0), ?`, string(text))
	if err != nil {
		return err
	}
	n, err := res.LastInsertId()
	if err != nil {
		return err
	}
	store.CountQuery(ctx)
	_, err = tx.ExecContext(ctx, `DELETE FROM main.changelog WHERE n <= ?1 - ?2 OR
		n < ?1 AND before < (SELECT before FROM main.changelog WHERE n = ?1) + ?3 - ?4`, n, store.LogLength, len(tags), store.LogTags)
	return err
}

// Invalidated implements [store.Changelog]. A change of whatever kind is seen by a number in
// the memory that all who have the file open share; only then the log is read.
func (s *Store) Invalidated(ctx context.Context, after int64) (in store.Invalidated, err error) {
	defer s.translate(ctx, &err)
	s.watch.Lock()
	defer s.watch.Unlock()
	conn, err := s.watcher(ctx)
	if err != nil {
		return in, err
	}
	defer func() {
		if err != nil {
			s.forgetWatcher() // whatever is wrong with it
		}
	}()
	var version int64
	if err := conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
		return in, err
	}
	if after >= 0 && s.watched.valid && s.watched.version == version && s.watched.last == after {
		return store.Invalidated{Last: after}, nil
	}
	// One statement sees one moment. What is written after data_version was read is not
	// lost: it has another one.
	rows, err := conn.QueryContext(ctx, `SELECT (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'changelog'),
			(SELECT coalesce(min(n), 0) FROM changelog), coalesce(c.tags, '')
		FROM (SELECT 1) LEFT JOIN changelog c ON c.n > ? AND ? >= 0 ORDER BY c.n`, after, after)
	if err != nil {
		return in, err
	}
	defer rows.Close()
	var first, last int64
	var entries [][]string
	for rows.Next() {
		var text string
		if err := rows.Scan(&last, &first, &text); err != nil {
			return in, err
		}
		if text == "" {
			continue
		}
		var tags []string
		if err := json.Unmarshal([]byte(text), &tags); err != nil {
			return in, fmt.Errorf("its changelog is damaged: %w", err)
		}
		entries = append(entries, tags)
	}
	if err := rows.Err(); err != nil {
		return in, err
	}
	s.watched.valid, s.watched.version, s.watched.last = true, version, last
	return store.Entries(after, first, last, entries), nil
}

// watcher is the connection on which data_version is asked for: it tells of changes by all
// others, and so it must be one and the same, and make none.
func (s *Store) watcher(ctx context.Context) (*sql.Conn, error) {
	if s.watched.conn != nil {
		return s.watched.conn, nil
	}
	if s.closed() {
		return nil, sql.ErrConnDone
	}
	db, err := s.pool(1, readTimeout, "&_pragma=query_only(1)")
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.watched.db, s.watched.conn, s.watched.valid = db, conn, false
	return conn, nil
}

func (s *Store) forgetWatcher() {
	if s.watched.conn != nil {
		s.watched.conn.Close()
		s.watched.db.Close()
		s.watched.db, s.watched.conn, s.watched.valid = nil, nil, false
	}
}

// watched is what [Store.Invalidated] has found last.
type watched struct {
	db      *sql.DB
	conn    *sql.Conn
	valid   bool
	version int64
	last    int64
}
