package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo"
	"github.com/nekoctl/neko/api/store/sqlite"
)

const backupUsage = `neko-api backup writes what a SQLite store has into one file, while workers serve and write.

Usage:
  neko-api backup FILE|- [--store FILE] [--json] [--quiet]

It is the store as it was at one moment: objects, users, API keys and signing keys. FILE is written
under another name first, looked through, and only then has its name; what was there before is
replaced. With - it goes to standard output, where a pipe can encrypt it; it is checked before the
first byte, in a temporary file beside the store, or in $TMPDIR.

What is not in it: the secret that signing keys are sealed with (auth.secret, --auth-secret-file): keep that
apart from backups; and the audit log, which is a file to be shipped. Who reads a backup has the hashes of
all passwords: keep it as you keep the store.

A MongoDB is backed up by its own tools: see docs/deployment/disaster-recovery.md.

Examples:
  neko-api backup /mnt/backup/neko.db
  neko-api backup /mnt/backup/neko-$(date +%F).db --quiet
  neko-api backup - | age -r age1… > neko-$(date +%F).db.age
  neko-api backup - | gzip | ssh backup.example.org 'cat > neko.db.gz'
`

const restoreUsage = `neko-api restore makes a SQLite store what a backup has.

Usage:
  neko-api restore FILE|- [--store FILE] [--keep-accounts | --revoke-keys] [--no-copy] [--json] [--quiet]

Workers may serve meanwhile: the store is replaced in one transaction, and within a second nobody is
sent an answer from before. The backup is looked through first; one of an earlier version is brought to the
schema of this one, one of a later version is refused. What is replaced is kept beside the store, as
….before-restore-TIME. Only a store that cannot be read any more wants neko-api to be stopped first.

Everybody logs in again: all sessions and access tokens end. API keys go on as the backup has them. As long as the
present store can be read nothing comes back that was taken away after the backup: keys that are
revoked and users that are disabled stay so, of two passwords the later one counts, of two roles the weaker one.
If it cannot be read, look into the audit log for what was revoked since. Users and keys that only the
backup has, and passwords that are the backup's, are named: who made the backup has decided these.

  --keep-accounts   users, sessions and keys stay as they are now: for undoing an import
  --revoke-keys     revoke all API keys, too
  --no-copy         do not keep what is replaced

Examples:
  neko-api restore /mnt/backup/neko.db
  neko-api restore /mnt/backup/neko.db --keep-accounts     # undo an import
  age -d -i key.txt neko.db.age | neko-api restore -
`

// backup writes a SQLite store to a file or to standard output.
func backup(o *options, args []string, s streams) error {
	ctx, stop := untilSignal()
	defer stop()
	path, err := sqliteStore(o, "backup")
	if err != nil {
		return err
	}
	to := args[0]
	if to == "-" && isTerminal(s.out) {
		return usageError{"standard output is a terminal", "give a file, or a pipe: neko-api backup - | age -r RECIPIENT > FILE"}
	}
	bar := newBar(o, s.err, "backing up")
	start := time.Now()
	var c sqlite.Contents
	err = noted(o, s, "backup", func() (err error) {
		if to == "-" {
			folder := filepath.Dir(path)
			if temp := os.Getenv("TMPDIR"); temp != "" {
				folder = temp
			}
			c, err = sqlite.BackupTo(ctx, path, folder, s.out, start, bar.show)
		} else {
			c, err = sqlite.Backup(ctx, path, to, start, bar.show)
		}
		return err
	})
	bar.end()
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted: there is no backup")
	case err != nil:
		return asFile(err)
	}
	if c.Strange != "" {
		fmt.Fprintf(s.err, "warning: the store has what no neko-api makes, and restore will refuse this backup: %s\nhint: sqlite3 %s 'DROP …', and make another one\n", c.Strange, path)
	}
	secret, _ := companion(o, *o.secretFile, "auth.secret")
	audit := *o.auditLog
	if audit == "" {
		audit, _ = companion(o, "", "audit.log")
	}
	report := s.out
	if to == "-" {
		report = s.err
	}
	if o.json {
		return json.NewEncoder(report).Encode(struct {
			File     string    `json:"file"`
			Bytes    int64     `json:"bytes"`
			Made     time.Time `json:"made"`
			Seconds  float64   `json:"seconds"`
			Schema   int       `json:"schema"`
			Objects  int       `json:"objects"`
			Relation int       `json:"relations"`
			Users    int       `json:"users"`
			Keys     int       `json:"api_keys"`
			Without  []string  `json:"without"`
		}{to, c.Bytes, start.UTC(), time.Since(start).Seconds(), c.Schema, c.Objects, c.Relations, c.Users, c.Keys, []string{secret, audit}})
	}
	if o.quiet {
		return nil
	}
	if to == "-" {
		to = "standard output"
	}
	fmt.Fprintf(report, "%s: %s of %s in %v, checked\n  %s\n", to, size(c.Bytes), path, time.Since(start).Round(10*time.Millisecond), contents(c))
	fmt.Fprintf(s.err, "hint: not in it are the secret %s, which is to be kept elsewhere, and the audit log %s\n", secret, audit)
	return nil
}

// restore makes a SQLite store what a backup has.
func restore(o *options, args []string, s streams) error {
	ctx, stop := untilSignal()
	defer stop()
	if o.keepAccounts && o.revokeKeys {
		return usageError{"both --keep-accounts and --revoke-keys are given", "give one of them"}
	}
	path, err := sqliteStore(o, "restore")
	if err != nil {
		return err
	}
	in := s.in
	if from := args[0]; from == "-" {
		if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return usageError{"standard input is a terminal", "give a file, or a pipe: age -d -i KEY FILE | neko-api restore -"}
		}
	} else {
		f, err := openWithin(ctx, from)
		if ctx.Err() != nil {
			return errors.New("interrupted: nothing was changed")
		}
		if err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return hinted{fmt.Sprintf("cannot read the backup %s: %v", from, err), "give a file that neko-api backup has written, or - for standard input"}
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if own, err := os.Stat(path); err == nil && os.SameFile(own, info) {
			return usageError{from + " is the store itself", "give a file that neko-api backup has written"}
		}
		if info.IsDir() {
			return usageError{from + " is a folder", "give a file in it"}
		}
		// Who has copied a store's files has the last changes in its log, and would miss them.
		if log, err := os.Stat(from + "-wal"); err == nil && log.Size() > 0 {
			return hinted{from + " is no backup, but a copy of a store, whose last changes are in " + from + "-wal", "make a backup of both first: neko-api backup BACKUP --store " + from}
		}
		in = f
	}
	rotated := false
	ro := sqlite.RestoreOptions{
		Now: time.Now(), KeepAccounts: o.keepAccounts, RevokeKeys: o.revokeKeys, NoCopy: o.noCopy, Roles: auth.Roles,
		// Nobody can say whether a signing key of the backup has leaked since, and the secret may be another one.
		Alone: func(ctx context.Context, a store.Accounts) error {
			file, err := companion(o, *o.secretFile, "auth.secret")
			if err != nil {
				return err
			}
			secret, err := auth.ReadSecret(file, false)
			if err != nil {
				return nil // said below
			}
			_, err = auth.RotateSigningKey(ctx, a, secret, true)
			rotated = err == nil
			return err
		},
	}
	bar := newBar(o, s.err, "restoring")
	ro.Progress = bar.show
	var r sqlite.Restored
	err = recorded(o, s, "restore", func() (string, error) {
		r, err = sqlite.Restore(ctx, path, in, ro)
		return "", err
	})
	took := time.Since(ro.Now)
	bar.end()
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted: nothing was changed")
	case err != nil:
		return asFile(err)
	}
	if o.json {
		return printJSON(s.out, struct {
			Store       string     `json:"store"`
			Made        *time.Time `json:"backup_made"`
			Schema      int        `json:"backup_schema"`
			Objects     int        `json:"objects"`
			Relations   int        `json:"relations"`
			Users       int        `json:"users"`
			Keys        int        `json:"api_keys"`
			Online      bool       `json:"online"`
			Seconds     float64    `json:"seconds"`
			Blocked     float64    `json:"writers_waited_seconds"`
			Kept        string     `json:"kept,omitempty"`
			Sessions    int        `json:"sessions_ended"`
			UsersGone   []string   `json:"users_gone"`
			KeysGone    []string   `json:"api_keys_gone"`
			UsersStay   []string   `json:"users_as_changed_since"`
			KeysRevoked []string   `json:"api_keys_still_revoked"`
			UsersBack   []string   `json:"users_back"`
			KeysBack    []string   `json:"api_keys_back"`
			Passwords   []string   `json:"passwords_back"`
			Accounts    bool       `json:"accounts_kept"`
		}{path, orNull(r.Backup.Made), r.Backup.Schema, r.Backup.Objects, r.Backup.Relations, r.Backup.Users, r.Backup.Keys, r.Online, took.Seconds(), r.Blocked.Seconds(), r.Kept,
			r.Sessions, notNil(r.UsersGone), notNil(r.KeysGone), notNil(r.UsersChanged), notNil(r.KeysRevoked), notNil(r.UsersBack), notNil(r.KeysBack), notNil(r.PasswordsBack), o.keepAccounts})
	}
	if o.quiet {
		return nil
	}
	made := "of an unknown time"
	if !r.Backup.Made.IsZero() {
		made = fmt.Sprintf("of %s (%v ago)", day(r.Backup.Made), ro.Now.Sub(r.Backup.Made).Round(time.Second))
	}
	fmt.Fprintf(s.out, "%s: restored in %v from a backup %s\n  %s\n", path, took.Round(10*time.Millisecond), made, contents(r.Backup))
	if r.Online {
		fmt.Fprintf(s.out, "  writers waited for %v at most, readers for nothing; workers forget what they keep within %v\n", r.Blocked.Round(time.Millisecond), followFile)
	}
	switch {
	case o.keepAccounts:
		fmt.Fprintln(s.out, "  users, sessions and keys are as they were before")
	default:
		fmt.Fprintln(s.out, "  all sessions and access tokens have ended")
		some(s.out, "  users made after the backup, gone", r.UsersGone)
		some(s.out, "  API keys made after the backup, gone", r.KeysGone)
		some(s.out, "  users disabled, with another password or a weaker role since, as they are now", r.UsersChanged)
		some(s.out, "  API keys revoked since, still revoked", r.KeysRevoked)
		some(s.out, "  users that the store did not have, from the backup", r.UsersBack)
		some(s.out, "  API keys that the store did not have, from the backup", r.KeysBack)
		some(s.out, "  users whose password is the backup's now, not the store's", r.PasswordsBack)
	}
	if o.revokeKeys {
		fmt.Fprintln(s.out, "  all API keys are revoked")
	}
	if r.Kept != "" {
		fmt.Fprintf(s.err, "hint: what was replaced is kept in %s, with all accounts: remove it when it is not needed any more\n", r.Kept)
	}
	if !r.Online {
		fmt.Fprintln(s.err, "hint: what was revoked or disabled after the backup is good again: look into the audit log, neko-api key list and user list; --revoke-keys ends all keys")
		fmt.Fprintln(s.err, "hint: workers that were running all the time still have the old file: nekoctl reload neko-api")
		if !rotated {
			fmt.Fprintln(s.err, "hint: put the secret of that store into its place (--auth-secret-file); if it is lost: neko-api signing-key rotate --now")
		}
	}
	return nil
}

// openWithin opens a file to read it. For a named pipe that waits until somebody writes to it.
func openWithin(ctx context.Context, path string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	opened := make(chan result, 1)
	go func() {
		f, err := os.Open(path)
		opened <- result{f, err}
	}()
	select {
	case r := <-opened:
		return r.f, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sqliteStore is the path of the store of a command that works on files.
func sqliteStore(o *options, what string) (string, error) {
	name, err := storeName(o)
	if err != nil || !mongo.Is(name) {
		return name, err
	}
	tool := "mongodump --config=FILE --archive=neko.archive --gzip --oplog"
	if what == "restore" {
		tool = "mongorestore --config=FILE --archive=neko.archive --gzip --oplogReplay --drop, then neko-api purge --all"
	}
	return "", hinted{"the store is a MongoDB, which its own tools " + what, tool + "; FILE has a line uri: mongodb://…; see docs/deployment/disaster-recovery.md"}
}

// noted puts a line into the audit log, if there is one. What is only read is not refused for want of it.
func noted(o *options, s streams, what string, do func() error) error {
	path, err := companion(o, *o.auditLog, "audit.log")
	if *o.auditLog == "off" {
		return do()
	}
	if _, e := os.Stat(path); *o.auditLog != "-" && (err != nil || e != nil) {
		return do() // nobody's log is made here, by whatever user
	}
	ran := false
	var failed error
	err = recorded(o, s, what, func() (string, error) {
		ran, failed = true, do()
		return "", failed
	})
	if !ran {
		fmt.Fprintf(s.err, "warning: that this was done could not be recorded: %v\n", err)
		return do()
	}
	return failed
}

// asFile puts an error about files into the words of the command line.
func asFile(err error) error {
	var advice interface{ Hint() string }
	if errors.As(err, &advice) || !errors.Is(err, store.ErrUnavailable) && !strings.Contains(err.Error(), "SQLITE_BUSY") {
		return err
	}
	return hinted{err.Error(), "see who keeps it locked, and try again"}
}

func contents(c sqlite.Contents) string {
	return fmt.Sprintf("%s, %s, %s, %s; schema %d", plural(c.Objects, "object"), plural(c.Relations, "relation"), plural(c.Users, "user"), plural(c.Keys, "API key"), c.Schema)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func size(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// some prints a few of a list.
func some(w io.Writer, what string, list []string) {
	const most = 10
	if len(list) == 0 {
		return
	}
	shown := slices.Clone(list[:min(len(list), most)])
	for i, name := range shown { // a name out of a file of others' may have anything in it
		if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
			shown[i] = quoted
		}
	}
	text := strings.Join(shown, ", ")
	if len(list) > most {
		text += fmt.Sprintf(" and %d more", len(list)-most)
	}
	fmt.Fprintf(w, "%s: %s\n", what, text)
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// bar shows on a terminal how far something is, if it takes a while.
type bar struct {
	w    io.Writer // nil: not shown
	what string

	mu    sync.Mutex
	since time.Time
	last  time.Time
}

func newBar(o *options, w io.Writer, what string) *bar {
	b := &bar{what: what, since: time.Now()}
	if !o.quiet && !o.json && isTerminal(w) {
		b.w = w
	}
	return b
}

func (b *bar) show(done, all int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.w == nil || all == 0 || now.Sub(b.since) < 300*time.Millisecond || now.Sub(b.last) < 100*time.Millisecond {
		return
	}
	b.last = now
	fmt.Fprintf(b.w, "\r%s: %d %% of %s\x1b[K", b.what, 100*done/all, size(all))
}

func (b *bar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.last.IsZero() {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
	b.w = nil
}
