package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/nekoctl/neko/api/store"
)

// RestoreOptions change what [Restore] does.
type RestoreOptions struct {
	Now time.Time
	// KeepAccounts leaves users, sessions and keys as they are in the store.
	KeepAccounts bool
	// RevokeKeys revokes all API keys that the store has then.
	RevokeKeys bool
	// NoCopy does not keep what is replaced.
	NoCopy bool
	// Roles are those of users, the weakest first.
	Roles []string
	// Alone is called with the store that is to be, if nothing is known of the keys that have signed tokens
	// until now, before anybody else can see it.
	Alone    func(context.Context, store.Accounts) error
	Progress Progress
}

// Restored is what [Restore] has done.
type Restored struct {
	Backup Contents
	// Online: the store was replaced by one transaction, and who has it open goes on with what is in it
	// now. Else the file is another one now, or was not there.
	Online bool
	// Kept is where what was replaced is now; "" if there was nothing, or it was not to be kept.
	Kept string
	// Blocked is how long those who write had to wait.
	Blocked time.Duration
	// Sessions is how many were ended.
	Sessions int
	// Of the accounts that the store had: what was made after the backup, and is gone …
	UsersGone, KeysGone []string
	// … and what was changed after it, and stays so.
	UsersChanged, KeysRevoked []string
	// Of the accounts that the backup has: what the store did not know, and whose password is another one than in
	// the store. Who has made the backup decides these: they are to be looked through.
	UsersBack, KeysBack, PasswordsBack []string
}

// Restore makes the store at path what a backup has. Workers may serve and write meanwhile: the store is replaced by
// one transaction, that a reader sees whole or not at all, and that a kill undoes. They read in
// its log that nothing that they keep is good any more.
//
// Only a store that is not one any more (no SQLite file, or one of a later version) is replaced as a file, and only
// if nobody has it open.
//
// What ended somebody's access must not be undone by a backup of before. So all sessions and access
// tokens end; and as long as the store can be read, keys that are revoked in it and users that are disabled stay
// so, of a password that was changed the later one counts, of two roles the weaker one, and the keys that sign tokens are those of the store.
//
// The new store is made, checked, and brought to this version's schema beside the old one, so that needs room for
// it; then the old one is copied, and at last the new one is written to the write-ahead log: room for three times the store.
func Restore(ctx context.Context, path string, from io.Reader, o RestoreOptions) (r Restored, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return r, err
	}
	if path, err = target(path); err != nil {
		return r, err
	}
	old := look(ctx, path)
	if old.foreign {
		return r, old.err
	}
	d, err := newDraft(path + "-restore")
	if err != nil {
		return r, err
	}
	defer d.discard()
	if err := receive(ctx, d, from); err != nil {
		return r, d.explain(err)
	}
	if r.Backup.Strange, err = planted(ctx, d.path); err == nil && r.Backup.Strange == "" {
		r.Backup, err = inspect(ctx, d.path)
	}
	if err != nil {
		return r, notABackup(err)
	}
	if lost, ok := strings.CutPrefix(r.Backup.Strange, "no "); ok {
		return r, notABackup(errors.New("it has lost its " + lost))
	}
	if r.Backup.Strange != "" {
		return r, &BackupError{"the backup has what no neko-api makes, and SQLite might run: " + r.Backup.Strange,
			"nothing was changed; find out who has made it. If it is yours, take it out of a copy of the backup (sqlite3 COPY 'DROP …'), and restore that"}
	}
	stage, err := Open(ctx, d.path, Options{Readers: 1}) // it is migrated
	if err != nil {
		return r, d.explain(err)
	}
	defer stage.Close()
	if err := stage.exec(ctx, "DROP TABLE IF EXISTS backup"); err != nil {
		return r, d.explain(err)
	}
	if old.usable {
		if err = online(ctx, path, stage, o, &r); code(err) == sqlite3.SQLITE_CORRUPT {
			old.usable, old.err = false, err // what is in it cannot be taken over
		}
	}
	if !old.usable {
		err = offline(ctx, path, stage, d, old, o, &r)
	}
	return r, d.explain(err)
}

// target is the file that a store's path leads to: a link stays one.
func target(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return path, nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		to, _ := os.Readlink(path)
		return "", &BackupError{fmt.Sprintf("the store %s is a link to %s, which is not there", path, to), "see whether its disk is mounted; if the link is wrong, remove it"}
	}
	return real, nil
}

// previous is what there is at the path of a store.
type previous struct {
	exists  bool
	usable  bool // it can be replaced by a transaction
	foreign bool // it is another program's, or may not be read
	inUse   bool // some process has it open
	err     error
}

func look(ctx context.Context, path string) (p previous) {
	// First: who closes a file loses his own locks on it (POSIX).
	p.inUse = inUse(path) || inUse(path+"-shm")
	info, err := os.Stat(path)
	if err != nil {
		p.err = err
		return p
	}
	if p.exists = true; info.Size() == 0 {
		p.usable = p.inUse // somebody is about to make a store of it
		return p
	}
	s := &Store{path: path}
	if s.rd, p.err = s.pool(1, busyTimeout, "&_pragma=query_only(1)"); p.err != nil {
		return p
	}
	defer s.rd.Close()
	_, p.err = s.version(ctx, s.rd, schemaVersion())
	known := (*store.OpenError)(nil)
	p.foreign, p.usable = errors.As(p.err, &known), p.err == nil
	if p.err != nil && !p.foreign && !errors.Is(p.err, store.ErrTooNew) {
		switch code(p.err) {
		case sqlite3.SQLITE_BUSY:
			p.inUse = true
		case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		default: // it may be as good as ever, and somebody else's, or the disk's fault
			p.err, p.foreign = s.openError(p.err), true
		}
	}
	return p
}

// inUse tells whether SQLite has a lock on a file, in whatever process.
func inUse(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart} // to the end: wherever SQLite has them
	return unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock) == nil && lock.Type != unix.F_UNLCK
}

// receive writes what comes to the draft. What cannot be a store is refused at its first bytes.
func receive(ctx context.Context, d *draft, from io.Reader) error {
	head := make([]byte, 16)
	from = reader{ctx, from}
	n, err := io.ReadFull(from, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if head = head[:n]; string(head) != "SQLite format 3\x00" {
		return notAStore(head)
	}
	if _, err := d.lock.Write(head); err != nil {
		return err
	}
	_, err = io.Copy(d.lock, from)
	return err
}

func notAStore(head []byte) error {
	for _, known := range []struct{ magic, what, hint string }{
		{"\x1f\x8b", "it is compressed", "gunzip -c FILE | neko-api restore -"},
		{"(\xb5\x2f\xfd", "it is compressed", "zstd -dc FILE | neko-api restore -"},
		{"age-encryption", "it is encrypted", "age -d -i KEY FILE | neko-api restore -"},
		{"-----BEGIN AGE", "it is encrypted", "age -d -i KEY FILE | neko-api restore -"},
		{"-----BEGIN PGP", "it is encrypted", "gpg -d FILE | neko-api restore -"},
		{"\x6d\xe2\x99\x81", "it is an archive of mongodump", "mongorestore --archive=FILE"},
		{"{", "it is JSON", "a bundle of STIX is imported: neko-api import FILE"},
	} {
		if strings.HasPrefix(string(head), known.magic) {
			return &BackupError{"this is no backup: " + known.what, known.hint}
		}
	}
	if len(head) == 0 {
		return &BackupError{"this is no backup: there is nothing in it", "nothing was changed; see whether what was to write it has failed"}
	}
	return &BackupError{"this is no backup: it is not a SQLite database", "nothing was changed; give a file that neko-api backup has written"}
}

func notABackup(err error) error {
	var known *store.OpenError
	switch {
	case errors.Is(err, store.ErrTooNew):
		var e *store.TooNewError
		errors.As(err, &e)
		return &BackupError{fmt.Sprintf("the backup is of a later version: it has schema version %d, and this program knows up to %d", e.Store, e.Known),
			"nothing was changed; restore it with the neko-api that has made it, or a later one"}
	case errors.As(err, &known):
		return &BackupError{"this is no backup: " + known.Err.Error(), "nothing was changed; give a file that neko-api backup has written"}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return &BackupError{"the backup is damaged: " + err.Error(), "nothing was changed; take an earlier one"}
}

func (s *Store) exec(ctx context.Context, text string, args ...any) error {
	_, err := s.wr.ExecContext(ctx, text, args...)
	return err
}

// online writes the stage over the store in one transaction.
func online(ctx context.Context, path string, stage *Store, o RestoreOptions, r *Restored) (err error) {
	live, err := Open(ctx, path, Options{Readers: 1})
	if err != nil {
		return err
	}
	defer live.Close()
	var size [2]int
	for i, s := range []*Store{live, stage} {
		if err := s.wr.QueryRowContext(ctx, "PRAGMA page_size").Scan(&size[i]); err != nil {
			return err
		}
	}
	if size[0] != size[1] { // sqlite3_backup wants the same
		if err := stage.exec(ctx, fmt.Sprintf("PRAGMA journal_mode = DELETE; PRAGMA page_size = %d; VACUUM; PRAGMA journal_mode = WAL", size[0])); err != nil {
			return err
		}
	}
	conn, err := live.wr.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "PRAGMA synchronous = FULL"); err != nil {
		return err
	}
	var began time.Time
	err = conn.Raw(func(c any) error {
		b, err := c.(interface {
			NewRestore(string) (*driver.Backup, error)
		}).NewRestore(stage.url() + "?_pragma=temp_store(MEMORY)")
		if err != nil {
			return err
		}
		// The first page takes the lock for writing. From then on the store is as it will have been: what is
		// kept of it, and what is taken over from it, is of that moment.
		more, err := b.Step(1)
		for wait := time.Now().Add(busyTimeout); code(err) == sqlite3.SQLITE_BUSY && time.Now().Before(wait) && ctx.Err() == nil; {
			time.Sleep(10 * time.Millisecond)
			more, err = b.Step(1)
		}
		began = time.Now()
		if err == nil {
			err = replaced(ctx, live, stage, o, r)
		}
		// The stage is another now, so it begins anew, still in the same transaction.
		for more = more || err == nil; more && err == nil; {
			if err = ctx.Err(); err == nil {
				more, err = b.Step(pages)
			}
			if err == nil && o.Progress != nil {
				o.Progress(int64(b.PageCount()-b.Remaining())*int64(size[0]), int64(b.PageCount())*int64(size[0]))
			}
		}
		return errors.Join(err, b.Finish())
	})
	if err != nil {
		if r.Kept != "" {
			os.Remove(r.Kept)
			r.Kept = ""
		}
		return err
	}
	r.Blocked, r.Online = time.Since(began), true
	// Into the file itself, and the log small again; if someone reads just now, the next checkpoint does it.
	conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA busy_timeout = 200; PRAGMA wal_checkpoint(TRUNCATE)")
	return nil
}

// replaced keeps a copy of the store that is replaced, and takes over from it what must go on.
func replaced(ctx context.Context, live, stage *Store, o RestoreOptions, r *Restored) error {
	if !o.NoCopy {
		if err := keep(ctx, live, o.Now, r); err != nil {
			return err
		}
	}
	if o.Alone != nil && !o.KeepAccounts {
		if keys, err := live.SigningKeys(ctx); err != nil {
			return err
		} else if len(keys) == 0 {
			if err := o.Alone(ctx, stage); err != nil {
				return err
			}
		}
	}
	conn, err := stage.wr.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// For reading alone, else the transaction wanted the lock that the first page has taken.
	if _, err := conn.ExecContext(ctx, "ATTACH ? AS live", live.url()+"?mode=ro"); err != nil {
		return err
	}
	defer conn.ExecContext(context.WithoutCancel(ctx), "DETACH live")
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if o.KeepAccounts {
		err = keepAccounts(ctx, tx)
	} else {
		err = mergeAccounts(ctx, tx, o.Roles, r)
	}
	if err == nil && o.RevokeKeys {
		_, err = tx.ExecContext(ctx, "UPDATE main.api_key SET revoked = ? WHERE revoked = 0", store.Micros(o.Now))
	}
	if err == nil {
		err = renewLog(ctx, tx, "live", 0)
	}
	if err != nil {
		return fmt.Errorf("cannot take over from the store what was revoked or changed after the backup: %w", err)
	}
	return tx.Commit()
}

// keep makes a copy of the store beside it.
func keep(ctx context.Context, live *Store, now time.Time, r *Restored) error {
	conn, err := live.rd.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	name := aside(live.path, now)
	d, err := newDraft(name + ".partial")
	if err != nil {
		return err
	}
	defer d.discard()
	if err := copyPages(ctx, conn, d.path, nil); err != nil {
		return d.explain(fmt.Errorf("cannot keep a copy of what is replaced: %w", err))
	}
	// Not looked through: it may be why there is a restore.
	if err := d.seal(ctx, now); err != nil {
		return d.explain(fmt.Errorf("cannot keep a copy of what is replaced: %w", err))
	}
	if err := give(d.lock, live.path, true); err != nil {
		return err
	}
	if err := d.become(name); err != nil {
		return err
	}
	r.Kept = name
	return nil
}

func aside(path string, now time.Time) string {
	return path + ".before-restore-" + now.UTC().Format("20060102T150405.000Z")
}

// renewLog begins the log anew, with an entry that nobody has seen, of everything: behind its
// end and that of another one, and as much further ahead.
func renewLog(ctx context.Context, tx *sql.Tx, others string, ahead int64) error {
	const end = "(SELECT coalesce(max(seq), 0) FROM %s.sqlite_sequence WHERE name = 'changelog')"
	_, err := tx.ExecContext(ctx, "DELETE FROM main.changelog")
	if err == nil {
		_, err = tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO main.changelog (n, before, tags) SELECT 1 + ? + max("+end+", "+end+"), 0, json_array(?)", "main", others), ahead, store.Everything)
	}
	return err
}

var accountTables = []string{"user", "session", "api_key", "signing_key"}

func keepAccounts(ctx context.Context, tx *sql.Tx) error {
	for _, t := range accountTables {
		if _, err := tx.ExecContext(ctx, "DELETE FROM main."+t); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO main."+t+" SELECT * FROM live."+t); err != nil {
			return err
		}
	}
	return nil
}

// mergeAccounts makes of the accounts of the backup (main) and of the store (live) those that are to be.
func mergeAccounts(ctx context.Context, tx *sql.Tx, roles []string, r *Restored) (err error) {
	ranks := "CASE %s.role WHEN NULL THEN 0"
	var args []any
	for i, role := range roles {
		ranks += fmt.Sprintf(" WHEN ? THEN %d", i)
		args = append(args, role)
	}
	ranks += " ELSE -1 END"
	weaker := fmt.Sprintf(ranks, "l") + " < " + fmt.Sprintf(ranks, "u")
	both := slices.Concat(args, args)
	for _, list := range []struct {
		to   *[]string
		text string
		args []any
	}{
		{&r.UsersGone, "SELECT name FROM live.user WHERE id NOT IN (SELECT id FROM main.user)", nil},
		{&r.KeysGone, "SELECT id FROM live.api_key WHERE revoked = 0 AND id NOT IN (SELECT id FROM main.api_key)", nil},
		{&r.KeysRevoked, "SELECT k.id FROM main.api_key k JOIN live.api_key l USING (id) WHERE k.revoked = 0 AND l.revoked <> 0", nil},
		{&r.UsersBack, "SELECT name FROM main.user WHERE id NOT IN (SELECT id FROM live.user)", nil},
		{&r.KeysBack, "SELECT id FROM main.api_key WHERE revoked = 0 AND id NOT IN (SELECT id FROM live.api_key)", nil},
		{&r.PasswordsBack, "SELECT u.name FROM main.user u JOIN live.user l USING (id) WHERE u.password <> l.password AND u.password_changed >= l.password_changed", nil},
		{&r.UsersChanged, "SELECT u.name FROM main.user u JOIN live.user l USING (id) WHERE u.disabled < l.disabled OR u.password_changed < l.password_changed OR " + weaker, both},
	} {
		if *list.to, err = texts(ctx, tx, list.text+" ORDER BY 1", list.args...); err != nil {
			return err
		}
	}
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM live.session WHERE revoked = 0").Scan(&r.Sessions); err != nil {
		return err
	}
	for _, s := range []struct {
		text string
		args []any
	}{
		{`UPDATE main.user AS u SET disabled = max(u.disabled, l.disabled), epoch = max(u.epoch, l.epoch),
			password = iif(l.password_changed > u.password_changed, l.password, u.password), password_changed = max(u.password_changed, l.password_changed),
			role = iif(` + weaker + `, l.role, u.role) FROM live.user l WHERE l.id = u.id`, both},
		// Tokens and sessions are good for one epoch.
		{"UPDATE main.user SET epoch = epoch + iif(id IN (SELECT id FROM live.user), 1, ?)", []any{unknownEpochs}},
		{"DELETE FROM main.session", nil},
		{"UPDATE main.api_key AS k SET revoked = l.revoked FROM live.api_key l WHERE l.id = k.id AND k.revoked = 0", nil},
		// One that was replaced because it had leaked must not sign again.
		{"DELETE FROM main.signing_key WHERE EXISTS (SELECT 1 FROM live.signing_key)", nil},
		{"INSERT INTO main.signing_key SELECT * FROM live.signing_key", nil},
	} {
		if _, err := tx.ExecContext(ctx, s.text, s.args...); err != nil {
			return err
		}
	}
	return nil
}

func texts(ctx context.Context, tx *sql.Tx, text string, args ...any) (list []string, err error) {
	rows, err := tx.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

// unknownEpochs is by how much users' epochs move where nobody knows which ones have been.
const unknownEpochs = 1 << 20

// offline puts the stage in the place of what is no store, or is not there.
func offline(ctx context.Context, path string, stage *Store, d *draft, old previous, o RestoreOptions, r *Restored) (err error) {
	switch {
	case old.inUse:
		return isOpen(path, old.err)
	case o.KeepAccounts:
		reason := error(fs.ErrNotExist)
		if old.err != nil {
			reason = old.err
		}
		return &BackupError{fmt.Sprintf("there are no accounts to keep in the store %s: %v", path, reason), "leave out --keep-accounts: then those of the backup are taken"}
	}
	if err := stage.transact(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE user SET epoch = epoch + ?", unknownEpochs); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM session"); err != nil {
			return err
		}
		if o.RevokeKeys {
			if _, err := tx.ExecContext(ctx, "UPDATE api_key SET revoked = ? WHERE revoked = 0", store.Micros(o.Now)); err != nil {
				return err
			}
		}
		// Nobody knows how far the log of the lost one had come, and who has seen that (a CDN's purger has
		// written it down) must not take this one's for what he knows.
		return renewLog(ctx, tx, "main", 1+mathrand.Int64N(1<<40))
	}); err != nil {
		return err
	}
	if o.Alone != nil {
		if err := o.Alone(ctx, stage); err != nil {
			return err
		}
	}
	if err := stage.Close(); err != nil { // and its log is in the file
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if old.exists && (inUse(path) || inUse(path+"-shm")) { // meanwhile: a backup through a pipe may take its time
		return isOpen(path, old.err)
	}
	if err := give(d.lock, path, old.exists); err != nil {
		return err
	}
	// What a lost file has left would be taken for the log of the new one.
	kept := aside(path, o.Now)
	if old.exists { // before its log is taken from it: not all file systems can
		if err := os.Link(path, kept); err != nil {
			return err
		}
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Rename(path+suffix, kept+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if old.exists {
		r.Kept = kept
		return d.become(path)
	}
	if err := os.Link(d.path, path); err != nil { // unless a worker has made one meanwhile
		if errors.Is(err, fs.ErrExist) {
			return &BackupError{path + " was made by another process meanwhile", "restore again: then it is replaced while workers serve"}
		}
		return err
	}
	if err := d.lock.Sync(); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func isOpen(path string, why error) error {
	return &BackupError{fmt.Sprintf("the store %s cannot be replaced while it is open: %v", path, why),
		"end who has it open (fuser -v " + path + "), e.g. nekoctl stop neko-api; then restore, and nekoctl start neko-api"}
}

// give lets a file of root's belong to whoever has the one that it replaces, else the folder. It is the
// open file, as its name may be a link by now, to what is root's: the folder is another user's.
func give(file *os.File, path string, exists bool) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if !exists {
		path = filepath.Dir(path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return file.Chown(int(owner.Uid), int(owner.Gid))
}
