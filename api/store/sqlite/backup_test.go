package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// Things that are changed together are in a backup together, whatever is written while it is made, and
// two that write the same file at once leave one of theirs.
func TestBackupIsOfOneMoment(t *testing.T) {
	path := temp(t)
	st := open(t, path)
	fill(t, st, 30)
	to := filepath.Join(t.TempDir(), "backup.db")
	ctx, stop := context.WithCancel(t.Context())
	var writers, backups sync.WaitGroup
	writers.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			importThings(t, st, time.Unix(2e9+int64(i), 0).UTC(), 30) // all of one time
		}
	})
	for range 2 {
		backups.Go(func() {
			for range 3 {
				if _, err := Backup(t.Context(), path, to, time.Now(), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	backups.Wait()
	stop()
	writers.Wait()
	c, err := inspect(t.Context(), to)
	if err != nil || c.Objects != 30 || c.Made.IsZero() {
		t.Errorf("%+v, %v", c, err)
	}
	db, err := alone(to)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var times int
	if err := db.QueryRow("SELECT count(DISTINCT modified) FROM object").Scan(&times); err != nil || times != 1 {
		t.Errorf("%d times in one backup, %v", times, err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode() != 0o600 {
		t.Error(info.Mode(), err)
	}
	onlyFiles(t, filepath.Dir(to), "backup.db")
}

// Readers see the one or the other, and writers wait. What others keep of before they are told to forget, and
// statements that they have ready go on.
func TestRestoreWhileOthersUseTheStore(t *testing.T) {
	path := temp(t)
	st, other := open(t, path), open(t, path)
	fill(t, st, 20)
	saved := backupOf(t, path)
	importThings(t, st, time.Unix(2e9, 0).UTC(), 30)
	in, err := other.Invalidated(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	search := func() int { // the index of words remembers what it has read
		t.Helper()
		page, err := other.List(t.Context(), store.KindSoftware, store.Query{WantTotal: true, Filter: store.Filter{Text: "thing"}})
		if err != nil {
			t.Fatal(err)
		}
		return page.Total
	}
	if n := search(); n != 30 {
		t.Fatalf("%d found", n)
	}
	ctx, stop := context.WithCancel(t.Context())
	var users sync.WaitGroup
	users.Go(func() {
		for ctx.Err() == nil {
			page, err := other.List(t.Context(), store.KindSoftware, store.Query{First: 500, WantTotal: true, OrderBy: store.Order{By: store.OrderModified}})
			if err != nil {
				t.Error(err)
				return
			}
			first, last := page.Items[0].Object.Modified, page.Items[len(page.Items)-1].Object.Modified
			if n := len(page.Items); n != page.Total || !first.Equal(last) || (n == 20) != (first.Unix() == 1e9) {
				t.Errorf("a mix: %d of %d things, from %v to %v", n, page.Total, first, last)
			}
		}
	})
	users.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := other.CreateIndicator(t.Context(), store.NewIndicator{Type: "domain-name", Value: fmt.Sprintf("h%d.example", i)}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	r := restoreFrom(t, path, saved, RestoreOptions{})
	stop()
	users.Wait()
	if !r.Online || r.Backup.Objects != 20 {
		t.Errorf("%+v", r)
	}
	if n := count(t, other, store.KindSoftware); n != 20 || search() != 20 {
		t.Errorf("%d things, %d found", n, search())
	}
	now, err := other.Invalidated(t.Context(), in.Last)
	if err != nil || !slices.Equal(now.Tags, []string{store.Everything}) || now.Last <= in.Last {
		t.Errorf("who has seen the log up to %d is told %v", in.Last, now)
	}
	whole(t, st)
	// And back: what was replaced is a backup.
	if r = restoreFrom(t, path, r.Kept, RestoreOptions{NoCopy: true}); r.Kept != "" || count(t, other, store.KindSoftware) != 30 {
		t.Errorf("%+v", r)
	}
}

// A backup of before is no way back for who has lost his access since.
func TestRestoreGivesNoAccessBack(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	path := temp(t)
	st := open(t, path)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"same", "disabled", "password", "demoted", "promoted"} {
		must(st.CreateUser(ctx, store.User{ID: name, Name: name, Role: "ANALYST", Password: "old", Created: now, PasswordChanged: now}))
	}
	for _, id := range []string{"good", "revoked"} {
		must(st.CreateAPIKey(ctx, store.APIKey{ID: id, Name: id, Role: "VIEWER", Created: now}))
	}
	must(st.CreateSession(ctx, store.Session{ID: "before", UserID: "same", Created: now, Expires: now.Add(time.Hour), Ends: now.Add(time.Hour)}))
	must(st.AddSigningKey(ctx, store.SigningKey{Number: 1, ID: "leaked", Public: []byte{1}, Sealed: []byte{1}, Created: now, NotBefore: now}))
	saved := backupOf(t, path)

	change := func(id string, c store.UserChange) { t.Helper(); _, err := st.ChangeUser(ctx, id, c); must(err) }
	yes, other, viewer, admin := true, "new", "VIEWER", "ADMIN"
	change("disabled", store.UserChange{Disabled: &yes})
	change("password", store.UserChange{Password: &other, At: now.Add(time.Second)})
	change("demoted", store.UserChange{Role: &viewer})
	change("promoted", store.UserChange{Role: &admin})
	must(st.CreateUser(ctx, store.User{ID: "late", Name: "late", Role: "ADMIN", Password: "x", Created: now, PasswordChanged: now}))
	must(st.CreateAPIKey(ctx, store.APIKey{ID: "late", Name: "late", Role: "VIEWER", Created: now}))
	_, err := st.RevokeAPIKey(ctx, "revoked", now)
	must(err)
	must(st.CreateSession(ctx, store.Session{ID: "after", UserID: "same", Created: now, Expires: now.Add(time.Hour), Ends: now.Add(time.Hour)}))
	must(st.DeleteSigningKeys(ctx, 2))
	must(st.AddSigningKey(ctx, store.SigningKey{Number: 2, ID: "new", Public: []byte{1}, Sealed: []byte{1}, Created: now, NotBefore: now}))
	before := snapshotOfUsers(t, st)
	there := backupOf(t, path)

	r := restoreFrom(t, path, saved, RestoreOptions{Roles: []string{"VIEWER", "ANALYST", "ADMIN"}})
	if fmt.Sprint(r.UsersGone, r.KeysGone, r.UsersChanged, r.KeysRevoked, r.Sessions) != "[late] [late] [demoted disabled password] [revoked] 2" {
		t.Errorf("%+v", r)
	}
	for _, u := range snapshotOfUsers(t, st) {
		want := store.User{ID: u.ID, Name: u.ID, Role: "ANALYST", Password: "old", Created: now, PasswordChanged: now, Epoch: u.Epoch}
		switch u.ID {
		case "disabled":
			want.Disabled = true
		case "password":
			want.Password, want.PasswordChanged = "new", now.Add(time.Second)
		case "demoted":
			want.Role = "VIEWER"
		}
		if u != want {
			t.Errorf("%+v, want %+v", u, want)
		}
		for _, b := range before {
			if b.ID == u.ID && b.Epoch >= u.Epoch {
				t.Errorf("tokens of %s go on: epoch %d was %d", u.ID, u.Epoch, b.Epoch)
			}
		}
	}
	for _, id := range []string{"before", "after"} {
		if _, err := st.Session(ctx, id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("session %s: %v", id, err)
		}
	}
	if k, err := st.APIKey(ctx, "good"); err != nil || !k.Revoked.IsZero() {
		t.Error(k, err)
	}
	if k, err := st.APIKey(ctx, "revoked"); err != nil || k.Revoked.IsZero() {
		t.Error(k, err)
	}
	if keys, err := st.SigningKeys(ctx); err != nil || len(keys) != 1 || keys[0].ID != "new" {
		t.Error(keys, err)
	}

	// To undo an import nobody need log in again.
	restoreFrom(t, path, there, RestoreOptions{})
	must(st.CreateSession(ctx, store.Session{ID: "now", UserID: "same", Created: now, Expires: now.Add(time.Hour), Ends: now.Add(time.Hour)}))
	before = snapshotOfUsers(t, st)
	restoreFrom(t, path, saved, RestoreOptions{KeepAccounts: true})
	if _, err := st.Session(ctx, "now"); err != nil || !slices.Equal(before, snapshotOfUsers(t, st)) {
		t.Errorf("%v, %v, was %v", err, snapshotOfUsers(t, st), before)
	}
	// And after a break-in no key goes on.
	restoreFrom(t, path, saved, RestoreOptions{RevokeKeys: true})
	if k, err := st.APIKey(ctx, "good"); err != nil || k.Revoked.IsZero() {
		t.Error(k, err)
	}
}

// What is no backup changes nothing, and the error says what it is.
func TestBadBackups(t *testing.T) {
	path := temp(t)
	st := open(t, path)
	fill(t, st, 10)
	saved, err := os.ReadFile(backupOf(t, path))
	if err != nil {
		t.Fatal(err)
	}
	altered := func(at int, with ...byte) []byte {
		b := bytes.Clone(saved)
		copy(b[at:], with)
		return b
	}
	torn := bytes.Clone(saved)
	for i := 8 * pageSize; i < 12*pageSize; i++ {
		torn[i] = byte(i * 7)
	}
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "nothing in it"},
		{"text", []byte("hello, this is a text of some length"), "not a SQLite database"},
		{"gzip", []byte("\x1f\x8b\x08\x00 and so on and on"), "compressed"},
		{"zstd", []byte("\x28\xb5\x2f\xfd and so on and on"), "compressed"},
		{"age", []byte("age-encryption.org/v1\n-> X25519 …"), "encrypted"},
		{"bundle", []byte(`{"type": "bundle", "objects": []}`), "JSON"},
		{"truncated to its header", saved[:100], "damaged"},
		{"truncated", saved[:len(saved)/2], "damaged"},
		{"without its end", saved[:len(saved)-1], "damaged"},
		{"torn", torn, "damaged"},
		{"of another program", altered(68, 1, 2, 3, 4), "another program"},
		{"of a later version", altered(60, 0, 0, 0x27, 0x0f), "later version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Restore(t.Context(), path, bytes.NewReader(c.file), RestoreOptions{Now: time.Now()})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if n := count(t, st, store.KindSoftware); n != 10 {
				t.Errorf("%d things", n)
			}
			onlyFiles(t, filepath.Dir(path), "neko.db", "neko.db-shm", "neko.db-wal")
		})
	}
	whole(t, st)
}

// A store that is not there, or is none any more, becomes a file of the backup's; but not under a process that has it
// open. What its log had must not get into the new one.
func TestRestoreOfAStoreThatIsGone(t *testing.T) {
	made := temp(t)
	st := open(t, made)
	fill(t, st, 10)
	if err := st.CreateUser(t.Context(), store.User{ID: "u", Name: "u", Created: time.Now(), PasswordChanged: time.Now(), Epoch: 7}); err != nil {
		t.Fatal(err)
	}
	saved := backupOf(t, made)
	garbage := bytes.Repeat([]byte("not a database "), 1000)
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		kept  bool
	}{
		{"missing", func(t *testing.T, path string) {}, false},
		{"missing, and its log is there", func(t *testing.T, path string) { write(t, path+"-wal", garbage); write(t, path+"-shm", garbage) }, false},
		{"empty", func(t *testing.T, path string) { write(t, path, nil) }, true},
		{"garbage", func(t *testing.T, path string) { write(t, path, garbage); write(t, path+"-wal", garbage) }, true},
		{"of a later version", func(t *testing.T, path string) {
			b, err := os.ReadFile(saved)
			if err != nil {
				t.Fatal(err)
			}
			copy(b[60:], []byte{0, 0, 0x27, 0x0f})
			write(t, path, b)
		}, true},
		{"damaged", func(t *testing.T, path string) {
			b, err := os.ReadFile(saved)
			if err != nil {
				t.Fatal(err)
			}
			for i := pageSize; i < len(b); i++ {
				b[i] = byte(i * 7)
			}
			write(t, path, b)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "neko.db")
			c.spoil(t, path)
			_, err := restore(t, path, saved, RestoreOptions{KeepAccounts: true})
			if err == nil || !strings.Contains(err.Error(), "accounts") {
				t.Errorf("%v, want: there are no accounts to keep", err)
			}
			told := 0
			r := restoreFrom(t, path, saved, RestoreOptions{Alone: func(_ context.Context, a store.Accounts) error {
				told++
				return a.AddSigningKey(t.Context(), store.SigningKey{Number: 9, ID: "nine", Public: []byte{1}, Sealed: []byte{1}})
			}})
			if (r.Kept != "") != c.kept || r.Online || told != 1 {
				t.Errorf("%+v, told %d times", r, told)
			}
			if r.Kept != "" {
				if _, err := os.Stat(r.Kept); err != nil {
					t.Error(err)
				}
			}
			if b, err := os.ReadFile(path); err != nil || b[18] != 2 { // SQLite's mark of a write-ahead log
				t.Errorf("readers and writers of it wait for each other, %v", err)
			}
			st := open(t, path)
			whole(t, st)
			if n := count(t, st, store.KindSoftware); n != 10 {
				t.Errorf("%d things", n)
			}
			if u, err := st.User(t.Context(), "u"); err != nil || u.Epoch < 1000 {
				t.Errorf("%+v, %v: tokens of an epoch that the backup does not know go on", u, err)
			}
			if keys, err := st.SigningKeys(t.Context()); err != nil || len(keys) != 1 {
				t.Error(keys, err)
			}
		})
	}
	t.Run("in use", func(t *testing.T) {
		path := temp(t)
		holdOpen(t, path)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(garbage, 0); err != nil {
			t.Fatal(err)
		}
		os.Remove(path + "-wal")
		before, _ := os.ReadFile(path)
		if _, err = restore(t, path, saved, RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "while it is open") {
			t.Error(err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Error("it was changed")
		}
	})
	t.Run("another program's", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "theirs.db")
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("CREATE TABLE theirs (x)"); err != nil {
			t.Fatal(err)
		}
		db.Close()
		if _, err = restore(t, path, saved, RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "another program") {
			t.Error(err)
		}
	})
}

// One of version 1, before there were accounts, is brought to this version's schema; the file that was
// made with other pages fits as well; and what is backed up is not migrated.
func TestBackupsOfEarlierVersionsAndOtherPages(t *testing.T) {
	first := filepath.Join(t.TempDir(), "first.db")
	db, err := sql.Open("sqlite", first)
	if err != nil {
		t.Fatal(err)
	}
	text, err := migrationFiles.ReadFile("migrations/0001_init.sql")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(fmt.Sprintf("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; %s; PRAGMA user_version = 1; PRAGMA application_id = %d;", text, applicationID)); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO object (id, kind, name) VALUES ('a', 'tactic', 'a')"); err == nil {
		t.Fatal("there is no such column")
	}
	if _, err := db.Exec("INSERT INTO object (id, kind, fold, doc) VALUES ('x-mitre-tactic--1', 'tactic', 'a', '{}')"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	saved := backupOf(t, first)
	if c, err := inspect(t.Context(), saved); err != nil || c.Schema != 1 || c.Objects != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	path := temp(t)
	st := open(t, path)
	fill(t, st, 10)
	if r := restoreFrom(t, path, saved, RestoreOptions{}); !r.Online || r.Backup.Schema != 1 {
		t.Errorf("%+v", r)
	}
	whole(t, st)
	if _, err := st.Users(t.Context(), "", 1); err != nil || count(t, st, store.KindTactic) != 1 {
		t.Error(err)
	}
}

// Whoever is killed, and whenever: the store is what it was or what it is to be, a backup has its name or has
// none, and the next one clears up.
func TestKilledBackupsAndRestores(t *testing.T) {
	path := temp(t)
	st := open(t, path)
	fill(t, st, 50)
	saved := backupOf(t, path)
	importThings(t, st, time.Unix(2e9, 0).UTC(), 70)
	to := filepath.Join(t.TempDir(), "b.db")
	for i := range 6 {
		mode := []string{"backup " + to, "restore " + saved}[i%2]
		cmd := start(t, mode, path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond) // at any moment
		cmd.Process.Kill()
		cmd.Wait()
		switch n := count(t, st, store.KindSoftware); n {
		case 70:
		case 50:
			importThings(t, st, time.Unix(2e9, 0).UTC(), 70)
		default:
			t.Fatalf("%d things", n)
		}
		whole(t, st)
		if c, err := inspect(t.Context(), to); err == nil && c.Objects != 70 {
			t.Errorf("%+v", c)
		} else if err != nil && !strings.Contains(err.Error(), "nothing in it") {
			t.Error(err)
		}
		if info, err := os.Stat(to); err == nil && info.Size() == 0 {
			os.Remove(to) // inspect has made it
		}
	}
	if _, err := Backup(t.Context(), path, to, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	restoreFrom(t, path, saved, RestoreOptions{NoCopy: true})
	onlyFiles(t, filepath.Dir(to), "b.db")
	left, _ := filepath.Glob(path + "-restore*")
	if left != nil {
		t.Errorf("left: %v", left)
	}
}

// A disk that is full: nothing is changed, and nothing is left.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("cannot mount a small tmpfs: ", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	big := temp(t)
	fill(t, open(t, big), 200)
	saved := backupOf(t, big)
	if info, err := os.Stat(saved); err != nil || info.Size() < 3<<20 {
		t.Fatalf("too small to fill the disk: %v, %v", info.Size(), err)
	}
	to := filepath.Join(dir, "b.db")
	write(t, to, []byte("the one before"))
	_, err := Backup(t.Context(), big, to, time.Now(), nil)
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Error(err)
	}
	if b, err := os.ReadFile(to); err != nil || string(b) != "the one before" {
		t.Errorf("%q, %v", b, err)
	}
	onlyFiles(t, dir, "b.db")
	os.Remove(to)

	path := filepath.Join(dir, "neko.db")
	st := open(t, path)
	fill(t, st, 20)
	for _, things := range []int{200, 80} { // no room for the new store; for that, but not for the change

		from := temp(t)
		fill(t, open(t, from), things)
		_, err = restore(t, path, backupOf(t, from), RestoreOptions{})
		if err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Error(err)
		}
		if n := count(t, st, store.KindSoftware); n != 20 {
			t.Errorf("%d things", n)
		}
		whole(t, st)
		onlyFiles(t, dir, "neko.db", "neko.db-shm", "neko.db-wal")
	}
}

// holdOpen has another process make the store, and keep it open until the test is over.
func holdOpen(t *testing.T, path string) {
	t.Helper()
	cmd := start(t, "hold", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait() // whatever it thinks of what has become of its store
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open\n" {
		t.Fatal(line, err)
	}
}

// large is what an object has in it, so that few of them take many pages.
var large = strings.Repeat("0123456789abcdef", 1<<10)

func fill(t *testing.T, st *Store, n int) { importThings(t, st, time.Unix(1e9, 0).UTC(), n) }

func importThings(t *testing.T, st *Store, modified time.Time, n int) {
	t.Helper()
	im, err := st.BeginImport(t.Context(), store.ImportOptions{})
	if err != nil {
		t.Error(err)
		return
	}
	defer im.Abort()
	for i := range n {
		o := thing(i)
		o.Modified, o.References = modified, []store.Reference{{URL: large}}
		if err := im.Add(t.Context(), store.Record{Object: o}); err != nil {
			t.Error(err)
			return
		}
	}
	if _, err := im.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}

func backupOf(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "backup.db")
	if _, err := Backup(t.Context(), path, to, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	return to
}

func restore(t *testing.T, path, from string, o RestoreOptions) (Restored, error) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o.Now = time.Now()
	return Restore(t.Context(), path, f, o)
}

func restoreFrom(t *testing.T, path, from string, o RestoreOptions) Restored {
	t.Helper()
	r, err := restore(t, path, from, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func snapshotOfUsers(t *testing.T, st *Store) (users []store.User) {
	t.Helper()
	list, err := st.Users(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range list {
		users = append(users, *u)
	}
	return users
}

func count(t *testing.T, st *Store, kind store.Kind) int {
	t.Helper()
	page, err := st.List(t.Context(), kind, store.Query{WantTotal: true})
	if err != nil {
		t.Fatal(err)
	}
	return page.Total
}

// whole has SQLite look for damage.
func whole(t *testing.T, st *Store) {
	t.Helper()
	var text string
	if err := st.rd.QueryRow("PRAGMA integrity_check").Scan(&text); err != nil || text != "ok" {
		t.Errorf("the store is damaged: %s, %v", text, err)
	}
}

func onlyFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, f := range list {
		have = append(have, f.Name())
	}
	if !slices.Equal(have, names) {
		t.Errorf("there are %v, want %v", have, names)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
