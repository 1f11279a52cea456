package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// Whoever can write to a backup must not get a program into the store: triggers and views run when others
// ask, and so do defaults and checks of tables that look like ours.
func TestRestoreTakesNoPrograms(t *testing.T) {
	path := temp(t)
	st := open(t, path)
	fill(t, st, 10)
	saved := backupOf(t, path)
	endless := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS %s FROM n"
	for _, c := range []struct{ name, text, want string }{
		{"a trigger", "CREATE TRIGGER evil AFTER INSERT ON session BEGIN UPDATE user SET role = 'admin'; END", "trigger evil"},
		{"a view that never ends", "CREATE VIEW pragma_user_version AS " + fmt.Sprintf(endless, "user_version"), "view pragma_user_version"},
		{"a view in the place of a table", "DROP TABLE edge; CREATE VIEW edge AS " + fmt.Sprintf(endless, "shown"), "view edge"},
		{"another table", "CREATE TABLE more (x)", "table more"},
		{"a virtual table", "CREATE VIRTUAL TABLE more USING fts5(x)", "table more"},
		{"a generated column", "ALTER TABLE session ADD COLUMN x BLOB AS (zeroblob(1000000))", "table session"},
		{"a check", "DROP TABLE signing_key; CREATE TABLE signing_key (number INTEGER NOT NULL PRIMARY KEY CHECK (number < 0))", "table signing_key"},
		{"an index", `CREATE INDEX "x` + "\x1b[2J" + `" ON session (created)`, "index x.[2J"},
		{"a table that is not there", "DROP TABLE api_key", "it has lost its table api_key"},
		{"a note of its time that is none", "DROP TABLE backup; CREATE TABLE backup (made INTEGER NOT NULL, more AS (1))", "table backup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := os.ReadFile(saved)
			if err != nil {
				t.Fatal(err)
			}
			planted := filepath.Join(t.TempDir(), "planted.db")
			write(t, planted, b)
			db, err := sql.Open("sqlite", planted)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(c.text); err != nil {
				t.Fatal(err)
			}
			db.Close()
			_, err = restore(t, path, planted, RestoreOptions{})
			if err == nil || !strings.HasSuffix(err.Error(), ": "+c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if n := count(t, st, store.KindSoftware); n != 10 {
				t.Errorf("%d things", n)
			}
			onlyFiles(t, filepath.Dir(path), "neko.db", "neko.db-shm", "neko.db-wal")
		})
	}
	// Nor one in another encoding, which cannot be read together with the store.
	wide := filepath.Join(t.TempDir(), "wide.db")
	other, err := sql.Open("sqlite", wide)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	text := "PRAGMA encoding = 'UTF-16le';"
	for _, name := range []string{"0001_init", "0002_accounts", "0003_changelog"} {
		b, err := migrationFiles.ReadFile("migrations/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		text += string(b)
	}
	if _, err := other.Exec(text + fmt.Sprintf("; PRAGMA user_version = 3; PRAGMA application_id = %d", applicationID)); err != nil {
		t.Fatal(err)
	}
	if _, err := restore(t, path, wide, RestoreOptions{}); err == nil || !strings.HasSuffix(err.Error(), ": encoding UTF-16le") {
		t.Error(err)
	}
	// What SQLite itself adds is none.
	db, err := sql.Open("sqlite", saved)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("ANALYZE; VACUUM"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	restoreFrom(t, path, saved, RestoreOptions{})
	// Who has an index of his own is told when he makes a backup, not in the night when he needs it.
	if _, err := st.wr.Exec("CREATE INDEX mine ON session (created)"); err != nil {
		t.Fatal(err)
	}
	if c, err := Backup(t.Context(), path, filepath.Join(t.TempDir(), "b.db"), time.Now(), nil); err != nil || c.Strange != "index mine" || c.Objects != 10 {
		t.Errorf("%+v, %v", c, err)
	}
}

// A backup decides who has an account that the store knows nothing of. So all of those are named.
func TestRestoreNamesWhomItBrings(t *testing.T) {
	path := temp(t)
	st := open(t, path)
	now := time.Now().UTC().Truncate(time.Microsecond)
	user := func(id string) store.User {
		return store.User{ID: id, Name: "name of " + id, Role: "viewer", Password: "p", Created: now, PasswordChanged: now}
	}
	if err := st.CreateUser(t.Context(), user("a")); err != nil {
		t.Fatal(err)
	}
	saved := backupOf(t, path)
	db, err := sql.Open("sqlite", saved)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`UPDATE user SET password = 'theirs';
		INSERT INTO user SELECT 'evil', 'evil', 'evil', 'admin', password, 0, 0, created, password_changed FROM user;
		INSERT INTO api_key (id, name, digest, role, owner, created, expires) VALUES ('key', 'k', x'00', 'admin', 'a', 1, 1)`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	r := restoreFrom(t, path, saved, RestoreOptions{Roles: []string{"viewer", "admin"}})
	if !slices.Equal(r.UsersBack, []string{"evil"}) || !slices.Equal(r.KeysBack, []string{"key"}) || !slices.Equal(r.PasswordsBack, []string{"name of a"}) {
		t.Errorf("%+v", r)
	}
}

// Nothing is removed that somebody has named after the store, and nothing that lies about in a folder of all is waited
// for: only what a killed backup or restore has left goes.
func TestOnlyLeftoversAreRemoved(t *testing.T) {
	path := temp(t)
	st := open(t, path)
	fill(t, st, 1)
	dir := filepath.Dir(path)
	own := []string{"neko.db-backup-2026-03-01", "neko.db-backup-MONDAY", "neko.db-restore-notes", "to.partial-mine"}
	for _, name := range own {
		write(t, filepath.Join(dir, name), []byte("mine"))
	}
	pipe := filepath.Join(dir, "to.partial-AAAAAAAAAAAAAAAAAAAAAAAAAA")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "to.partial-BBBBBBBBBBBBBBBBBBBBBBBBBB")
	if err := os.Symlink(own[0], link); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "to.partial-CCCCCCCCCCCCCCCCCCCCCCCCCC")
	write(t, left, nil)
	to := filepath.Join(dir, "to")
	if _, err := Backup(t.Context(), path, to, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := BackupTo(t.Context(), path, dir, io.Discard, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	restoreFrom(t, path, to, RestoreOptions{NoCopy: true})
	for _, name := range own {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != "mine" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Error(left, err)
	}
}

// looking is a writer that looks which files there are.
type looking struct {
	dir   string
	names []string
}

func (l *looking) Write(p []byte) (int, error) {
	list, err := os.ReadDir(l.dir)
	for _, f := range list {
		l.names = append(l.names, f.Name())
	}
	return len(p), err
}

// While a backup is written to a pipe its copy has no name: whoever is killed then, or whose pipe breaks,
// leaves nothing behind that has all passwords' hashes.
func TestBackupToLeavesNothing(t *testing.T) {
	path, dir := temp(t), t.TempDir()
	fill(t, open(t, path), 10)
	l := &looking{dir: dir}
	if _, err := BackupTo(t.Context(), path, dir, l, time.Now(), nil); err != nil || len(l.names) > 0 {
		t.Errorf("%v, %v", l.names, err)
	}
}

// Who waits for a pipe into which nobody writes can be interrupted.
func TestRestoreFromASilentPipe(t *testing.T) {
	path := temp(t)
	fill(t, open(t, path), 1)
	b, err := os.ReadFile(backupOf(t, path))
	if err != nil {
		t.Fatal(err)
	}
	for _, sent := range []int{0, 7, 10_000} {
		r, w := io.Pipe()
		defer w.Close()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			w.Write(b[:sent])
			cancel()
		}()
		if _, err := Restore(ctx, path, r, RestoreOptions{Now: time.Now()}); !errors.Is(err, context.Canceled) {
			t.Errorf("%d bytes: %v", sent, err)
		}
	}
	onlyFiles(t, filepath.Dir(path), "neko.db", "neko.db-shm", "neko.db-wal")
}

// A store that is a link stays one: the new one is where the old one was, on its disk.
func TestRestoreFollowsALink(t *testing.T) {
	made := temp(t)
	fill(t, open(t, made), 5)
	saved := backupOf(t, made)
	dir, disk := t.TempDir(), t.TempDir()
	path, real := filepath.Join(dir, "neko.db"), filepath.Join(disk, "real.db")
	if err := os.Symlink(real, path); err != nil {
		t.Fatal(err)
	}
	_, err := restore(t, path, saved, RestoreOptions{})
	if err == nil || !strings.Contains(err.Error(), "is a link to "+real+", which is not there") {
		t.Errorf("%v, want: its disk is not mounted", err)
	}
	write(t, real, bytes.Repeat([]byte("garbage "), 1000))
	r := restoreFrom(t, path, saved, RestoreOptions{})
	if filepath.Dir(r.Kept) != disk {
		t.Errorf("kept in %s", r.Kept)
	}
	if to, err := os.Readlink(path); err != nil || to != real {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if n := count(t, open(t, real), store.KindSoftware); n != 5 {
		t.Errorf("%d things", n)
	}
}

// A store that cannot be read just now, as it is another user's or the disk has a fault, is as good as before: it is
// not replaced as if it were none. Here its log
// is a folder, which not even root can open as a file.
func TestRestoreLeavesWhatCannotBeRead(t *testing.T) {
	path := temp(t)
	st := open(t, path)
	fill(t, st, 5)
	saved := backupOf(t, path)
	st.Close()
	os.Remove(path + "-wal")
	if err := os.Mkdir(path+"-wal", 0o700); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	r, err := restore(t, path, saved, RestoreOptions{})
	if err == nil || r.Kept != "" {
		t.Errorf("it was replaced: %+v", r)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("it was changed")
	}
}

// A backup that is copied into the place of a store has a write-ahead log as soon as it is opened.
func TestBackupAsAStore(t *testing.T) {
	made := temp(t)
	fill(t, open(t, made), 5)
	saved := backupOf(t, made)
	st := open(t, saved)
	conn, err := st.rd.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "BEGIN; SELECT count(*) FROM object"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), busyTimeout/3)
	defer cancel()
	if err := st.Invalidate(ctx, "Tactic"); err != nil { // while somebody reads
		t.Error(err)
	}
}

// Who knows how far the log of a lost store had come, as a CDN's purger does, must not take the new one's for what he
// has seen.
func TestTheLogOfALostStore(t *testing.T) {
	path := temp(t)
	st := open(t, path)
	fill(t, st, 1)
	saved := backupOf(t, path)
	for range 20 {
		if err := st.Invalidate(t.Context(), "Tactic"); err != nil {
			t.Fatal(err)
		}
	}
	before, err := st.Invalidated(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	os.Remove(path)
	restoreFrom(t, path, saved, RestoreOptions{})
	after, err := open(t, path).Invalidated(t.Context(), before.Last)
	if err != nil || after.Last <= before.Last || !slices.Equal(after.Tags, []string{store.Everything}) {
		t.Errorf("up to %d was known, and now there is %+v, %v", before.Last, after, err)
	}
}
