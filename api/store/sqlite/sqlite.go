// Package sqlite is the embedded store: one SQLite file that all workers of a
// host have open at once.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the driver
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/nekoctl/neko/api/store"
)

// busyTimeout is how long a writer waits for another one, in whatever process.
// The longest that a writer holds the lock is an import's copy, 2 to 3 s for the
// largest bundle there is on a slow machine.
const busyTimeout = 15 * time.Second

// readTimeout is the same for a reader: in WAL mode it waits for nobody but who
// puts the log of a crash in order. SQLite does not heed a context meanwhile, so
// what may wait longer tries again.
const readTimeout = 250 * time.Millisecond

// Options change what [Open] does; the zero value is right for a worker.
type Options struct {
	// Now is the clock, for tests.
	Now func() time.Time
	// Readers is the size of the read pool; 0 for one per CPU, 2 to 4. More only
	// costs memory: a query never waits for anything but the CPU and the disk.
	Readers int
}

// Store is a [store.Store] in a SQLite file.
type Store struct {
	path string
	now  func() time.Time
	rd   *sql.DB
	wr   *sql.DB // one connection: writers of one process queue here, not in SQLite's busy loop

	mu      sync.Mutex
	stmts   map[string]*sql.Stmt
	renewed time.Time // when stmts was begun anew

	watch   sync.Mutex
	watched watched
}

var _ store.Store = (*Store)(nil)

// System is what spans call the database, as OpenTelemetry does.
func (s *Store) System() string { return "sqlite" }

// Open opens the store at path, and makes or migrates it if need be. Many
// processes may do so at once.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Readers <= 0 {
		opts.Readers = min(max(runtime.GOMAXPROCS(0), 2), 4)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := touch(abs); err != nil {
		return nil, err
	}
	s := &Store{path: abs, now: opts.Now, stmts: make(map[string]*sql.Stmt)}
	if s.wr, err = s.pool(1, busyTimeout, ""); err != nil {
		return nil, s.openError(err)
	}
	if s.rd, err = s.pool(opts.Readers, readTimeout, "&_pragma=query_only(1)"); err == nil {
		err = s.migrate(ctx)
	}
	if err != nil {
		s.Close()
		return nil, s.openError(err)
	}
	return s, nil
}

// touch makes the file, so that nobody else can read it, or finds out why that
// does not go: the system says it better than SQLite.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
			err = errors.New("it is no regular file")
		}
		f.Close()
	}
	if err == nil {
		return nil
	}
	e := &store.OpenError{Where: path, Err: err, Advice: "name another file, or give this one to the user that neko-api runs as"}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		e.Err = pe.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Advice = "make the folder " + filepath.Dir(path) + " first"
	case errors.Is(err, syscall.EISDIR):
		e.Advice = "name a file in that folder, e.g. " + filepath.Join(path, "neko.db")
	case errors.Is(err, syscall.EROFS):
		e.Advice = "the store must be on a file system that can be written"
	}
	return e
}

func (s *Store) openError(err error) error {
	var known *store.OpenError
	if errors.As(err, &known) || errors.Is(err, store.ErrTooNew) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := &store.OpenError{Where: s.path, Err: err, Advice: "see whether the disk is full or the file damaged: sqlite3 " + s.path + " 'pragma integrity_check'"}
	switch code(err) {
	case sqlite3.SQLITE_NOTADB:
		e.Err = errors.New("it is not a SQLite database")
		e.Advice = "name another file; nothing in this one was changed"
	case sqlite3.SQLITE_BUSY:
		e.Err = fmt.Errorf("another process has kept it locked for %v", busyTimeout)
		e.Advice = "see who has it open: fuser -v " + s.path
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		e.Advice = "neko-api must be able to write the file and its folder (for " + filepath.Base(s.path) + "-wal and -shm)"
	}
	return e
}

// pool opens connections with the settings that all have in common.
//
// synchronous=NORMAL: in WAL mode a crash of the process loses nothing, and a
// crash of the machine loses at most the last transactions since a checkpoint
// but never harms the file. What is here can be imported again, or is a sighting
// of the last second; FULL would pay an fsync for every mutation. What was
// imported is safe on disk nevertheless: an import ends with a checkpoint.
//
// temp_store=MEMORY: sorts are small, and a container may have no /tmp.
func (s *Store) pool(size int, busy time.Duration, extra string) (*sql.DB, error) {
	dsn := s.url() + fmt.Sprintf("?_pragma=busy_timeout(%d)", busy.Milliseconds()) +
		"&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)&_pragma=temp_store(MEMORY)" +
		"&_pragma=cache_size(-2000)&_txlock=immediate" + extra
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db, nil
}

// url names the file to the driver.
func (s *Store) url() string {
	u := url.URL{Scheme: "file", Path: s.path}
	return u.String()
}

// Ping reads the schema's version through the read pool.
func (s *Store) Ping(ctx context.Context) (err error) {
	defer s.translate(ctx, &err)
	var v int
	return s.rd.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v)
}

// Parallel is how many calls that read, and how many that change something, are served at a
// time. Others wait.
func (s *Store) Parallel() (reads, changes int) { return s.rd.Stats().MaxOpenConnections, 1 }

// Close closes the store; calls in progress end first.
func (s *Store) Close() error {
	s.mu.Lock()
	for _, st := range s.stmts {
		st.Close()
	}
	s.stmts = nil
	s.mu.Unlock()
	s.watch.Lock()
	s.forgetWatcher()
	s.watch.Unlock()
	var err error
	if s.rd != nil {
		err = s.rd.Close()
	}
	if s.wr != nil {
		err = errors.Join(err, s.wr.Close())
	}
	return err
}

// maxStmts bounds the statements kept; their texts vary with the shape of the
// filter, of which clients use a few. When there are as many, they are forgotten and
// begun anew, once in renewAfter: what is asked often is soon there again, and what
// somebody has made up is not there for ever.
const (
	maxStmts   = 128
	renewAfter = time.Minute
)

// statement is the one that is kept of this text, nil if there is none. room says
// that it may be kept, then.
func (s *Store) statement(text string) (st *sql.Stmt, room bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st = s.stmts[text]; st != nil || s.stmts == nil {
		return st, false
	}
	if len(s.stmts) >= maxStmts && time.Since(s.renewed) > renewAfter {
		old := s.stmts
		s.stmts, s.renewed = make(map[string]*sql.Stmt), time.Now()
		// Later: somebody may have found one just now.
		time.AfterFunc(readTimeout+busyTimeout, func() {
			for _, st := range old {
				st.Close()
			}
		})
	}
	return nil, len(s.stmts) < maxStmts
}

// query runs a statement on the read pool; the statement is compiled once for
// each connection.
func (s *Store) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	store.CountQuery(ctx)
	st, room := s.statement(text)
	if st == nil {
		if !room {
			return s.rd.QueryContext(ctx, text, args...)
		}
		made, err := s.rd.PrepareContext(ctx, text)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		if st = s.stmts[text]; st == nil && s.stmts != nil {
			s.stmts[text], st = made, made
		}
		s.mu.Unlock()
		if st != made {
			made.Close()
		}
		if st == nil {
			return nil, sql.ErrConnDone
		}
	}
	return st.QueryContext(ctx, args...)
}
