package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/logtext"
)

// Contents is what a backup has in it.
type Contents struct {
	Made      time.Time // zero: not said in the file; it was made by something else
	Schema    int       // its version
	Bytes     int64
	Objects   int // served ones
	Relations int
	Users     int
	Keys      int // API keys, revoked ones too
	// Strange is what its schema has that no neko-api makes, e.g. "trigger x"; "" if there is none. SQLite would
	// run it, so [Restore] refuses it.
	Strange string
}

// Progress is told how many bytes of how many are done.
type Progress func(done, all int64)

// BackupError says why there is no backup, and what to do.
type BackupError struct{ message, hint string }

func (e *BackupError) Error() string { return e.message }

// Hint is what to do about it.
func (e *BackupError) Hint() string { return e.hint }

// pages is how many are copied between two looks at the context, 1 MiB.
const pages = 256

// Backup writes the store at path, as it is at one moment, to the file to, for its
// owner alone. Workers may serve and write meanwhile: nobody waits for it, and the store is
// neither made nor migrated. What it writes is one file without a write-ahead log.
//
// It copies pages (sqlite3_backup) within one read transaction, so that a change does not
// make it begin anew. VACUUM INTO is as fast, but cannot say how far it is, and copies nothing of a
// store that is damaged, as a restore must. Then the copy is looked through (PRAGMA integrity_check), which takes
// most of the time. Only what has passed that, and is on disk, gets the name to; until then, and after a
// kill, what was there before has it. What a killed one has left beside it the next one removes.
func Backup(ctx context.Context, path, to string, now time.Time, progress Progress) (c Contents, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return c, err
	}
	if to, err = filepath.Abs(to); err != nil {
		return c, err
	}
	if err := mayBeReplaced(path, to); err != nil {
		return c, err
	}
	d, c, err := snapshot(ctx, path, to+".partial", now, progress)
	if err != nil {
		return c, err
	}
	defer d.discard()
	return c, d.become(to)
}

// BackupTo is Backup to a stream. The copy is made in a folder first, and checked there, before
// the first byte is written to w. It has no name any more then: who is killed, or whose pipe
// breaks, leaves no copy of all accounts behind.
func BackupTo(ctx context.Context, path, folder string, w io.Writer, now time.Time, progress Progress) (c Contents, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return c, err
	}
	d, c, err := snapshot(ctx, path, filepath.Join(folder, filepath.Base(path)+"-backup"), now, progress)
	if err != nil {
		return c, err
	}
	defer d.discard()
	f, err := os.Open(d.path)
	if err != nil {
		return c, err
	}
	defer f.Close()
	d.discard()
	_, err = io.Copy(w, reader{ctx, f})
	return c, err
}

// reader ends with its context, also while it waits for a pipe into which nobody writes.
type reader struct {
	ctx  context.Context
	from io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	type result struct {
		b   []byte
		err error
	}
	read := make(chan result, 1)
	go func() { // into memory of its own: who has left may use p for something else
		b := make([]byte, len(p))
		n, err := r.from.Read(b)
		read <- result{b[:n], err}
	}()
	select {
	case got := <-read:
		return copy(p, got.b), got.err
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	}
}

// mayBeReplaced refuses to write a backup to what is something else.
func mayBeReplaced(path, to string) error {
	info, err := os.Stat(to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if own, err := os.Stat(path + suffix); err == nil && os.SameFile(own, info) {
			return &BackupError{to + " is the store itself", "name another file, on another disk"}
		}
	}
	switch {
	case info.IsDir():
		return &BackupError{to + " is a folder", "name a file in it, e.g. " + filepath.Join(to, "neko-"+time.Now().Format(time.DateOnly)+".db")}
	case !info.Mode().IsRegular():
		return &BackupError{to + " is no regular file", "to a pipe or a device: neko-api backup - > " + to}
	}
	return nil
}

// snapshot makes and checks a copy with a name that begins with prefix.
func snapshot(ctx context.Context, path, prefix string, now time.Time, progress Progress) (d *draft, c Contents, err error) {
	if _, err := os.Stat(path); err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, c, &store.OpenError{Where: path, Err: err, Advice: "name the one that the workers have: --store FILE"}
	}
	s := &Store{path: path}
	if s.rd, err = s.pool(1, busyTimeout, "&_pragma=query_only(1)"); err != nil {
		return nil, c, s.openError(err)
	}
	defer s.rd.Close()
	// One of an earlier version too, as it is: nothing is migrated here.
	if _, err := s.version(ctx, s.rd, schemaVersion()); err != nil {
		return nil, c, s.openError(err)
	}
	if d, err = newDraft(prefix); err != nil {
		return nil, c, err
	}
	defer func() {
		if err != nil {
			d.discard()
			d = nil
		}
	}()
	conn, err := s.rd.Conn(ctx)
	if err != nil {
		return d, c, s.openError(err)
	}
	defer conn.Close()
	if err := copyPages(ctx, conn, d.path, progress); err != nil {
		return d, c, fmt.Errorf("cannot copy the store %s: %w", path, d.explain(err))
	}
	if err := d.seal(ctx, now); err != nil {
		return d, c, d.explain(err)
	}
	if c, err = inspect(ctx, d.path); err != nil {
		return d, c, fmt.Errorf("the store %s is damaged, so there is no backup of it: %w", path, err)
	}
	c.Strange, err = planted(ctx, d.path)
	return d, c, err
}

// copyPages copies all pages of what conn reads to the empty file at to, as they were when it began.
func copyPages(ctx context.Context, conn *sql.Conn, to string, progress Progress) error {
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	defer conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
	var version int // a transaction begins with its first read
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&version); err != nil {
		return err
	}
	return conn.Raw(func(c any) error {
		// Who dies here leaves nothing that anybody would use: no journal, no fsync.
		b, err := c.(interface {
			NewBackup(string) (*driver.Backup, error)
		}).NewBackup(dsn(to) + "?_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)")
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			if err = ctx.Err(); err == nil {
				more, err = b.Step(pages)
			}
			if err == nil && progress != nil {
				progress(int64(b.PageCount()-b.Remaining())*pageSize, int64(b.PageCount())*pageSize)
			}
		}
		return errors.Join(err, b.Finish())
	})
}

// pageSize is what SQLite uses if nobody says otherwise; here it is for showing progress.
const pageSize = 4096

// inspect looks whether a file is a store, and whole. It must be nobody else's: it is
// locked meanwhile.
func inspect(ctx context.Context, path string) (c Contents, err error) {
	s := &Store{path: path}
	db, err := alone(path)
	if err != nil {
		return c, err
	}
	defer db.Close()
	if c.Schema, err = s.version(ctx, db, schemaVersion()); err != nil {
		return c, err
	}
	if c.Schema == 0 {
		return c, errors.New("there is nothing in it")
	}
	rows, err := db.QueryContext(ctx, "PRAGMA integrity_check(3)")
	if err != nil {
		return c, err
	}
	defer rows.Close()
	var wrong []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return c, err
		}
		if text != "ok" {
			text, _, _ = strings.Cut(strings.TrimPrefix(text, "*** in database main ***\n"), "\n")
			wrong = append(wrong, text)
		}
	}
	if err := rows.Err(); err != nil {
		return c, err
	}
	if wrong != nil {
		return c, errors.New(strings.Join(wrong, "; "))
	}
	const counts = `SELECT (SELECT count(*) FROM object WHERE gone = '' AND kind <> ''), (SELECT count(*) FROM edge WHERE shown = 1),
		(SELECT page_count * page_size FROM pragma_page_count, pragma_page_size)`
	if err := db.QueryRowContext(ctx, counts).Scan(&c.Objects, &c.Relations, &c.Bytes); err != nil {
		return c, err
	}
	if info, err := os.Stat(path); err != nil {
		return c, err
	} else if info.Size() != c.Bytes {
		return c, fmt.Errorf("it has %d bytes of %d", info.Size(), c.Bytes)
	}
	if c.Schema >= accountsVersion {
		if err := db.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM user), (SELECT count(*) FROM api_key)").Scan(&c.Users, &c.Keys); err != nil {
			return c, err
		}
	}
	var made int64
	switch err := db.QueryRowContext(ctx, "SELECT made FROM backup").Scan(&made); {
	case err == nil:
		c.Made = store.FromMicros(made)
	case !strings.Contains(err.Error(), "no such table") && !errors.Is(err, sql.ErrNoRows):
		return c, err
	}
	return c, nil
}

// accountsVersion is the first version of the schema that has accounts.
const accountsVersion = 2

func dsn(path string) string { return (&Store{path: path}).url() }

// alone opens a file that nobody else has open: then its log needs no shared memory.
func alone(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(path)+"?_pragma=locking_mode(EXCLUSIVE)&_pragma=temp_store(MEMORY)&_pragma=synchronous(OFF)")
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// draft is a file that is being made, under a name of its own. It is locked (flock) by who
// makes it: one that is not is what a killed process has left.
type draft struct {
	path string
	lock *os.File
}

var draftSuffixes = []string{"", "-wal", "-shm", "-journal"}

// newDraft makes an empty one for its owner alone, and removes what others have left.
func newDraft(prefix string) (*draft, error) {
	left, _ := filepath.Glob(escapeGlob(prefix) + "-*")
	for _, path := range left {
		if !isDraft.MatchString(strings.TrimPrefix(path, prefix)) {
			continue // somebody's own file, that is called after the store
		}
		old := &draft{path: path}
		// In a folder of all it may be anything: a link, or a pipe, for which an open would wait.
		if f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0); err == nil {
			if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
				old.discard()
			}
			f.Close()
		}
	}
	for {
		d := &draft{path: prefix + "-" + rand.Text()}
		f, err := os.OpenFile(d.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return nil, &BackupError{fmt.Sprintf("cannot write in %s: %v", filepath.Dir(prefix), err), "see whether the folder is there, has room, and is yours to write to"}
		}
		d.lock = f
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			d.discard()
			return nil, err
		}
		// Another one may have taken it for left before it was locked.
		if there, err := os.Stat(d.path); err == nil {
			if have, err := f.Stat(); err == nil && os.SameFile(there, have) {
				return d, nil
			}
		}
		f.Close()
	}
}

// isDraft matches what a draft's name has behind its prefix: rand.Text, which nobody types.
var isDraft = regexp.MustCompile(`^-[A-Z2-7]{26}$`)

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// discard removes it; after become it does nothing.
func (d *draft) discard() {
	for _, s := range draftSuffixes {
		os.Remove(d.path + s)
	}
	if d.lock != nil {
		d.lock.Close()
	}
}

// planted is something of a file's schema that no neko-api makes. It is to be asked first of a file of others':
// whatever there is in it, nothing of that runs here, be it a view or a check.
func planted(ctx context.Context, path string) (first string, err error) {
	db, err := alone(path)
	if err != nil {
		return "", err
	}
	defer db.Close()
	err = db.QueryRowContext(ctx, "SELECT type || ' ' || name FROM sqlite_schema WHERE type IN ('view', 'trigger') ORDER BY 1").Scan(&first)
	if !errors.Is(err, sql.ErrNoRows) {
		return logtext.Printable(first, 100), err
	}
	var version, app int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return "", err
	}
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app); err != nil {
		return "", err
	}
	if app != applicationID || version < 1 || version > schemaVersion() {
		return "", nil // it is no store of ours, which inspect says better
	}
	var encoding string
	if err := db.QueryRowContext(ctx, "PRAGMA encoding").Scan(&encoding); err != nil || encoding != "UTF-8" {
		return logtext.Printable("encoding "+encoding, 100), err
	}
	return strange(ctx, db, version)
}

// strange is something of a schema that the migrations up to its version do not make as it is: also a
// table of theirs with a default, a check or a generated column of somebody else's.
func strange(ctx context.Context, db *sql.DB, version int) (first string, err error) {
	made, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return "", err
	}
	defer made.Close()
	made.SetMaxOpenConns(1)
	files, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return "", err
	}
	for _, file := range files[:version] {
		text, err := migrationFiles.ReadFile(file)
		if err != nil {
			return "", err
		}
		if _, err := made.ExecContext(ctx, string(text)); err != nil {
			return "", err
		}
	}
	known := map[[4]string]bool{
		{"table", "backup", "backup", backupTable}: true,
		// What ANALYZE finds out.
		{"table", "sqlite_stat1", "sqlite_stat1", "CREATE TABLE sqlite_stat1(tbl,idx,stat)"}:                true,
		{"table", "sqlite_stat4", "sqlite_stat4", "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"}: true,
	}
	missing := map[[4]string]bool{}
	for i, q := range []*sql.DB{made, db} {
		rows, err := q.QueryContext(ctx, "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY 1, 2")
		if err != nil {
			return "", err
		}
		defer rows.Close()
		for rows.Next() {
			var o [4]string
			if err := rows.Scan(&o[0], &o[1], &o[2], &o[3]); err != nil {
				return "", err
			}
			if i == 0 {
				known[o], missing[o] = true, true
				continue
			}
			delete(missing, o)
			if !known[o] && first == "" {
				first = logtext.Printable(o[0]+" "+o[1], 100)
			}
		}
		if err := rows.Err(); err != nil {
			return "", err
		}
	}
	for o := range missing {
		if first == "" {
			first = "no " + o[0] + " " + o[1]
		}
	}
	return first, nil
}

// backupTable says when a backup was made.
const backupTable = "CREATE TABLE backup (made INTEGER NOT NULL) STRICT"

// seal makes one plain file of what was copied from a store that has a write-ahead log, and notes
// when that was.
func (d *draft) seal(ctx context.Context, now time.Time) error {
	db, err := alone(d.path)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, fmt.Sprintf(`PRAGMA journal_mode = DELETE; DROP TABLE IF EXISTS backup;
		%s; INSERT INTO backup VALUES (%d)`, backupTable, store.Micros(now)))
	return err
}

// become gives it a name, in the place of what had it, and returns when that is on disk.
func (d *draft) become(to string) error {
	if err := d.lock.Sync(); err != nil {
		return d.explain(err)
	}
	if err := os.Rename(d.path, to); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(to))
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// explain puts into words what may become of writing it.
func (d *draft) explain(err error) error {
	if code(err) == sqlite3.SQLITE_FULL || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &BackupError{"no space left in " + filepath.Dir(d.path), "nothing was changed, and nothing is left of it; make room there, or name another folder"}
	}
	return err
}
