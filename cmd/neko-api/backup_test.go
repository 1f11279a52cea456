package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Backups at the terminal: what is typed, and all that is seen.
func TestBackupSession(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("NEKO_HOME", filepath.Join(dir, "home"))
	t.Setenv("TMPDIR", "")
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("not a backup, but a text"), 0o600); err != nil {
		t.Fatal(err)
	}
	const what = `1 object, 0 relations, 1 user, 1 API key; schema \d+\n`
	for _, c := range []struct {
		args, in string
		code     int
		want     string // a regular expression; DIR stands for the folder
	}{
		{"backup", "", 2, `error: backup wants FILE\|-\nhint: neko-api backup FILE\|-\n`},
		{"backup --help", "", 0, `(?s)neko-api backup writes .*Examples:.*`},
		{"restore --help", "", 0, `(?s)neko-api restore makes .*Examples:.*`},
		{"backup DIR/b.db", "", 1, `error: cannot open the store DIR/home/api.db: no such file or directory\nhint: name the one that the workers have: --store FILE\n`},
		{"import -", `{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000001","spec_version":"2.0","objects":[
			{"type":"intrusion-set","id":"intrusion-set--00000000-0000-4000-8000-000000000001","name":"Tabby","created":"2026-01-01T00:00:00Z","modified":"2026-01-01T00:00:00Z"}]}`, 0, `(?s).*1 added.*`},
		{"user add mia --role admin --password-stdin", "an honest password\n", 0, `user mia \(admin\) was added\n`},
		{"key add dashboard --role viewer", "", 0, `(?s)key .*`},
		{"backup DIR/b.db", "", 0, `DIR/b.db: \d+\.\d MB of DIR/home/api.db in \S+, checked\n  ` + what + `hint: not in it are the secret DIR/home/auth.secret, which is to be kept elsewhere, and the audit log DIR/home/audit.log\n`},
		{"backup DIR/b.db --quiet", "", 0, ``},
		{"backup DIR/b.db --json", "", 0, `\{"file":"DIR/b.db","bytes":\d+,"made":"[^"]+Z","seconds":[^,]+,"schema":\d+,"objects":1,"relations":0,"users":1,"api_keys":1,"without":\["DIR/home/auth.secret","DIR/home/audit.log"\]\}\n`},
		{"backup DIR", "", 1, `error: DIR is a folder\nhint: name a file in it, e.g. DIR/neko-\S+\.db\n`},
		{"backup DIR/none/b.db", "", 1, `error: cannot write in DIR/none: no such file or directory\nhint: .*\n`},
		{"backup DIR/home/api.db", "", 1, `error: DIR/home/api.db is the store itself\nhint: name another file, on another disk\n`},
		{"backup /dev/null", "", 1, `error: /dev/null is no regular file\nhint: to a pipe or a device: neko-api backup - > /dev/null\n`},
		{"backup b --store mongodb://user:hidden@db1/neko", "", 1, `error: the store is a MongoDB, which its own tools backup\nhint: mongodump --config=FILE .*; FILE has a line uri: mongodb://…; see .*\n`},
		{"restore b --store mongodb://user:hidden@db1/neko", "", 1, `error: the store is a MongoDB, which its own tools restore\nhint: mongorestore --config=FILE .*, then neko-api purge --all; .*\n`},
		{"restore DIR/none.db", "", 1, `error: cannot read the backup DIR/none.db: no such file or directory\nhint: .*\n`},
		{"restore DIR", "", 2, `error: DIR is a folder\nhint: give a file in it\n`},
		{"restore DIR/text", "", 1, `error: this is no backup: it is not a SQLite database\nhint: nothing was changed; .*\n`},
		{"restore DIR/home/api.db", "", 2, `error: DIR/home/api.db is the store itself\nhint: .*\n`},
		{"restore DIR/b.db --keep-accounts --revoke-keys", "", 2, `error: both --keep-accounts and --revoke-keys are given\nhint: give one of them\n`},
		{"user disable mia", "", 0, `user mia is disabled\n`},
		{"restore DIR/b.db --no-copy", "", 0, `DIR/home/api.db: restored in \S+ from a backup of \S+ \S+ \(\d+s ago\)\n  ` + what + `  writers waited for \S+ at most, readers for nothing; workers forget what they keep within 250ms\n  all sessions and access tokens have ended\n  users disabled, with another password or a weaker role since, as they are now: mia\n`},
		{"restore DIR/b.db --keep-accounts", "", 0, `(?s).*  users, sessions and keys are as they were before\nhint: what was replaced is kept in DIR/home/api.db.before-restore-\S+Z, .*\n`},
		{"restore DIR/b.db --json --no-copy", "", 0, `(?s)\{\n  "store": "DIR/home/api.db",.*"online": true,.*"users_as_changed_since": \[\n    "mia"\n  \],.*\}\n`},
		{"restore DIR/b.db --store DIR/home/new.db --revoke-keys", "", 0, `(?s)DIR/home/new.db: restored .*  all API keys are revoked\nhint: what was revoked or disabled after the backup is good again: .*\nhint: workers .*\nhint: put the secret .*\n`},
		{"key list --store DIR/home/new.db", "", 0, `(?s).* dashboard .* revoked .*`},
		{"signing-key rotate --now", "", 0, `.*\n`}, // makes the secret
		{"backup DIR/b.db --quiet", "", 0, ``},
		{"restore DIR/b.db --store DIR/home/newer.db", "", 0, `(?s)DIR/home/newer.db: restored .*\nhint: workers that .*: nekoctl reload neko-api\n`},
		{"signing-key list --store DIR/home/newer.db", "", 0, `NUMBER .*\n2 .*\n`},
	} {
		t.Run(c.args, func(t *testing.T) {
			var out bytes.Buffer
			code := run(strings.Fields(strings.ReplaceAll(c.args, "DIR", dir)), streams{strings.NewReader(c.in), &out, &out})
			if code != c.code || !regexp.MustCompile("^"+strings.ReplaceAll(c.want, "DIR", regexp.QuoteMeta(dir))+"$").Match(out.Bytes()) {
				t.Errorf("exit code %d\n%s\nwant %d\n%s", code, &out, c.code, c.want)
			}
		})
	}

	// Through a pipe: nothing but the backup is on standard output.
	var pipe, errs, out bytes.Buffer
	if code := run([]string{"backup", "-"}, streams{nil, &pipe, &errs}); code != 0 || !strings.HasPrefix(pipe.String(), "SQLite format 3\x00") {
		t.Fatalf("%d %s", code, &errs)
	}
	if code := run([]string{"restore", "-", "--quiet", "--no-copy"}, streams{&pipe, &out, &errs}); code != 0 || out.Len() > 0 {
		t.Errorf("%d %s %s", code, &errs, &out)
	}
	// Who has copied the files of a store that is in use has only a part in the one: its log has the rest.
	copied := filepath.Join(dir, "copied.db")
	for suffix, text := range map[string]string{"": "SQLite format 3", "-wal": "the last changes"} {
		if err := os.WriteFile(copied+suffix, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	errs.Reset()
	if code := run([]string{"restore", copied}, streams{nil, &out, &errs}); code != 1 ||
		errs.String() != "error: "+copied+" is no backup, but a copy of a store, whose last changes are in "+copied+"-wal\nhint: make a backup of both first: neko-api backup BACKUP --store "+copied+"\n" {
		t.Errorf("%d %s", code, &errs)
	}
	trail, err := os.ReadFile(filepath.Join(dir, "home", "audit.log"))
	if err != nil || bytes.Count(trail, []byte(`"event":"outcome","subject":"operator:`)) < 8 || !bytes.Contains(trail, []byte(`"fields":["backup"]`)) || !bytes.Contains(trail, []byte(`"fields":["restore"]`)) {
		t.Errorf("%v\n%s", err, trail)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "home", "*-*")); len(left) > 1 { // one was kept
		t.Errorf("left: %v", left)
	}
	// That it cannot be recorded keeps nobody from a backup, but from a restore.
	errs.Reset()
	if code := run([]string{"backup", filepath.Join(dir, "b.db"), "--audit-log", "/dev/full"}, streams{nil, &out, &errs}); code != 0 || !strings.Contains(errs.String(), "warning: that this was done could not be recorded: ") {
		t.Errorf("%d %s", code, &errs)
	}
	errs.Reset()
	if code := run([]string{"restore", filepath.Join(dir, "b.db"), "--audit-log", "/dev/full"}, streams{nil, &out, &errs}); code != 1 {
		t.Errorf("%d %s", code, &errs)
	}
}

// Who has typed the name of a pipe into which nobody writes gets away with Ctrl-C.
func TestRestoreOfASilentPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error, 1)
	go func() {
		_, err := openWithin(ctx, pipe)
		opened <- err
	}()
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w, err := os.OpenFile(pipe, os.O_RDWR, 0) // who still waits is let go
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
}

// What root restores belongs to who has the folder, with all that was made beside it: else no worker could start.
func TestRootRestoresForAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	t.Setenv("NEKO_HOME", filepath.Join(t.TempDir(), "home"))
	const nobody = 65534
	dir := t.TempDir()
	saved := filepath.Join(t.TempDir(), "b.db")
	var out bytes.Buffer
	for _, args := range []string{
		"migrate", "backup " + saved,
		"restore " + saved + " --store " + dir + "/api.db", // there is none yet
		"restore " + saved + " --store " + dir + "/api.db",
	} {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		if code := run(strings.Fields(args), streams{nil, &out, &out}); code != 0 {
			t.Fatalf("%s: %s", args, &out)
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) < 3 {
		t.Fatal(list, err)
	}
	for _, f := range list {
		if info, err := f.Info(); err != nil || info.Sys().(*syscall.Stat_t).Uid != nobody {
			t.Errorf("%s does not belong to who has the folder, %v", f.Name(), err)
		}
	}
}

// A name in a backup of others' does nothing to the terminal.
func TestNamesAreQuoted(t *testing.T) {
	var out bytes.Buffer
	some(&out, "users", []string{"mia", "\x1b[2Jevil", "J\u00f6rg", "a\u202eb"})
	if out.String() != "users: mia, \"\\x1b[2Jevil\", J\u00f6rg, \"a\\u202eb\"\n" {
		t.Error(out.String())
	}
}

// Workers that serve while their store is replaced: what they keep of before is gone within a second, whoever was
// logged in is not any more, and who logs in again works on.
func TestRestoreUnderWorkers(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	t.Setenv("NEKO_HOME", home)
	url, _, _ := startServer(t, home)
	run := func(in string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(args, streams{strings.NewReader(in), &out, &errs}); code != 0 {
			t.Fatalf("%v: %d %s", args, code, &errs)
		}
		return strings.TrimSpace(out.String())
	}
	run("an honest password", "user", "add", "mia", "--role", "analyst", "--password-stdin")
	login := func() string {
		t.Helper()
		_, body := post(t, url, "", `mutation { login(input: {name: "mia", password: "an honest password"}) { accessToken } }`)
		var answer struct {
			Data struct{ Login struct{ AccessToken string } }
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Data.Login.AccessToken == "" {
			t.Fatal(body)
		}
		return answer.Data.Login.AccessToken
	}
	const actor, report = `{threatActor(id: "G9001") {name}}`, `mutation { reportSighting(input: {of: "G9001"}) { sighting { count } } }`
	_, good := post(t, url, "", actor)
	saved := filepath.Join(t.TempDir(), "b.db")
	run("", "backup", saved)
	token := login()
	if status, body := post(t, url, token, report); status != 200 || strings.Contains(body, "errors") {
		t.Fatal(status, body)
	}
	run(strings.Replace(`{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000001","spec_version":"2.0","objects":[
		{"type":"intrusion-set","id":"ID","name":"Wrong","created":"2026-01-01T00:00:00Z","modified":"2099-01-01T00:00:00Z","external_references":[{"source_name":"mitre-attack","external_id":"G9001"}]}]}`,
		"ID", actorID(t, url), 1), "import", "-")
	wait(t, "the wrong import is seen", time.Minute, func() bool { _, body := post(t, url, "", actor); return strings.Contains(body, "Wrong") })

	run("", "restore", saved)
	wait(t, "the restored store is seen", time.Minute, func() bool { _, body := post(t, url, "", actor); return body == good })
	if _, body := post(t, url, "", `{sightings {totalCount}}`); !strings.Contains(body, `"totalCount":`) || strings.Contains(body, "errors") {
		t.Error(body)
	}
	wait(t, "the token of before is refused", time.Minute, func() bool { status, _ := post(t, url, token, report); return status == 401 })
	if status, body := post(t, url, login(), report); status != 200 || strings.Contains(body, "errors") {
		t.Error(status, body)
	}
}

func actorID(t *testing.T, url string) string {
	t.Helper()
	_, body := post(t, url, "", `{threatActor(id: "G9001") {id}}`)
	id := regexp.MustCompile(`intrusion-set--[0-9a-f-]{36}`).FindString(body)
	if id == "" {
		t.Fatal(body)
	}
	return id
}
