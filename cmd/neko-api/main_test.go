package main

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store/mongo/mongotest"
)

// The test binary is neko-api itself if it is told so.
func TestMain(m *testing.M) {
	if os.Getenv("NEKO_API_TEST_PROCESS") != "" {
		main()
		return
	}
	// Outages are mostly waited for.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("4"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func command(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	// Under the race detector a process sleeps for a second at its end, if nobody says otherwise.
	cmd.Env = append([]string{"GORACE=atexit_sleep_ms=10"}, os.Environ()...)
	cmd.Env = append(cmd.Env, "NEKO_API_TEST_PROCESS=1", "NEKO_HOME="+home, "NEKO_API_LISTEN=127.0.0.1:0", "PORT=", "NOTIFY_SOCKET=", "LISTEN_FDS=")
	return cmd
}

// A session at the terminal: what is typed, and all that is seen.
func TestSession(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bundle := write("bundle.json", `{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000001","spec_version":"2.0","objects":[
		{"type":"intrusion-set","id":"intrusion-set--00000000-0000-4000-8000-000000000001","name":"Tabby","created":"2026-01-01T00:00:00Z","modified":"2026-01-01T00:00:00Z"}]}`)
	config := write("api.yaml", "store: x.db\nlisten_on: :80\n")
	named := write("store", filepath.Join(dir, "named.db")+"\n")
	write("trusted.json", `{"actors": "query Actors {threatActors {nodes {nickname}}}"}`)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	for _, c := range []struct {
		args string
		code int
		want string // a regular expression; DIR stands for the folder
	}{
		{"version", 0, `neko-api \S+ \(go\S+, \S+/\S+\)\n`},
		{"--help", 0, `(?s)neko-api serves threat intelligence.*\n  --store STORE\n.*NEKO_API_STORE.*`},
		{"help", 0, `(?s)neko-api serves.*`},
		{"imprt x", 2, `error: unknown command "imprt"\nhint: see neko-api --help\n`},
		{"import", 2, `error: import wants one file\nhint: neko-api import FILE, or - for standard input\n`},
		{"serve x", 2, `error: serve wants no argument, and was given "x"\nhint: .*\n`},
		{"--stor x", 2, `error: unknown flag --stor\nhint: did you mean --store\?\n`},
		{"--config " + config, 2, `error: DIR/api.yaml:2:1: unknown key "listen_on"\nhint: did you mean "listen"\?\n`},
		{"--introspection maybe", 2, `error: --introspection maybe: there is no such mode\nhint: write auto, on or off\n`},
		{"--max-depth 0", 2, `error: --max-depth: "0" is no whole number from 1\nhint: .*\n`},
		{"--store redis://localhost", 2, `error: no store for redis://\nhint: give the path of a SQLite file, or mongodb://HOST/DATABASE\n`},
		{"--store a --store-file b", 2, `error: both --store and --store-file are given\nhint: give one of them\n`},
		{"--store-file DIR/none", 2, `error: cannot read the name of the store from DIR/none: no such file or directory\nhint: .*\n`},
		{"--store-file " + config, 2, `error: cannot read the name of the store from DIR/api.yaml: it has not one line\nhint: .*\n`},
		{"migrate --store-file " + named, 0, `DIR/named.db: has the schema of this version, as any SQLite file that was opened\n`},
		{"migrate --dry-run --store DIR/none.db", 0, `DIR/none.db: .*; nothing was done\n`},
		{"migrate x", 2, `error: migrate wants no argument, and was given "x"\nhint: .*\n`},
		{"--store DIR/no/api.db", 1, `error: cannot open the store DIR/no/api.db: no such file or directory\nhint: make the folder DIR/no first\n`},
		{"--store " + bundle, 1, `error: cannot open the store DIR/bundle.json: it is not a SQLite database\nhint: .*\n`},
		{"--listen " + taken.Addr().String(), 1, `error: ` + taken.Addr().String() + ` is in use by another program\nhint: .*\n`},
		{"--listen nonsense", 1, `error: cannot listen on nonsense: address nonsense: missing port in address\nhint: .*\n`},
		{"--listen DIR/no/x.sock", 1, `error: cannot listen on DIR/no/x.sock: bind: no such file or directory\nhint: .*\n`},
		{"--tls-cert DIR/none --tls-key DIR/none", 1, `error: cannot read the TLS certificate DIR/none: no such file or directory\nhint: give the path of a PEM file\n`},
		{"--trusted-proxies 10.0.0.0/8,nginx", 1, `error: trusted proxy "nginx" is neither an address nor a network\nhint: .*\n`},
		{"--cors-origins app.example.org", 1, `error: CORS origin "app.example.org": it is not of the form scheme://host\nhint: .*\n`},
		{"--access-log DIR/no/access.log", 1, `error: cannot write the access log: open DIR/no/access.log: no such file or directory\nhint: .*\n`},
		{"--access-log-sample 2", 2, `error: --access-log-sample: "2" is no part of a whole\nhint: .*\n`},
		{"--trusted-documents DIR/none.json --store DIR/t.db", 1, `(?s).*error: trusted documents: cannot read DIR/none.json: no such file or directory\nhint: .*\n`},
		{"--trusted-documents DIR/trusted.json --store DIR/t.db", 1, `error: trusted documents: DIR/trusted.json: document "actors": 1:36: Cannot query field "nickname" on type "ThreatActor"\. .*\(GRAPHQL_VALIDATION_FAILED\)\nhint: write the file anew .*\n`},
		{"--trusted-documents-mode only", 2, `error: --trusted-documents-mode only needs a list of documents\nhint: name its file: --trusted-documents FILE\n`},
		{"--trusted-documents-mode some", 2, `error: --trusted-documents-mode: "some" is no mode\nhint: write allow or only\n`},
		{"import DIR/none.json", 1, `error: cannot read DIR/none.json: no such file or directory\nhint: .*\n`},
		{"import " + bundle + " --store DIR/b.db", 0, `(?s)bundle.json: 1 object in .*1 added, 0 updated.*`},
		{"import " + bundle + " --store DIR/b.db", 0, `(?s)bundle.json: 1 object in .*0 added, 0 updated, 1 unchanged.*`},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(strings.ReplaceAll(c.args, "DIR", dir))
			cmd := command(t, filepath.Join(dir, "home"), args...)
			out, _ := cmd.CombinedOutput()
			want := regexp.MustCompile("^" + strings.ReplaceAll(c.want, "DIR", regexp.QuoteMeta(dir)) + "$")
			if code := cmd.ProcessState.ExitCode(); code != c.code || !want.Match(out) {
				t.Errorf("exit code %d\n%s\nwant %d\n%s", code, out, c.code, want)
			}
		})
	}
}

// A store that a later version has changed is not served, nor touched.
func TestStoreNewerThanTheProgram(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, "api.db")
	if out, err := command(t, home, "import", "-").CombinedOutput(); err == nil {
		t.Fatalf("an empty bundle was imported: %s", out)
	}
	db, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	// user_version, in SQLite's header
	if _, err := db.WriteAt([]byte{0, 0, 0x27, 0x0f}, 60); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, home)
	out, _ := cmd.CombinedOutput()
	want := regexp.MustCompile(`^error: .*api\.db has schema version 9999, this program knows up to \d+\nhint: .*\n$`)
	if cmd.ProcessState.ExitCode() != 1 || !want.Match(out) {
		t.Errorf("exit code %d: %s", cmd.ProcessState.ExitCode(), out)
	}
}

// A worker that is stopped while its store opens, here because another program
// keeps it locked, ends well and at once, and has changed nothing.
func TestStoppedBeforeItServes(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, "api.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := command(t, home)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); !hasOpen(cmd.Process.Pid, path); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				_ = cmd.Process.Kill()
				t.Fatalf("the store is not opened: %v, %s", cmd.Wait(), out.String())
			}
		}
		_ = cmd.Process.Signal(s)
		if err := cmd.Wait(); err != nil || out.Len() > 0 {
			t.Errorf("%v: %v: %s", s, err, out.String())
		}
	}
	if _, err := db.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 0 {
		t.Errorf("%v, %v", info, err)
	}
}

// hasOpen tells whether a process has a file open.
func hasOpen(pid int, path string) bool {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, n := range names {
		if target, _ := os.Readlink(n); target == path {
			return true
		}
	}
	return false
}

// A session with a MongoDB; its password is in a file that only we can read.
func TestMongoSession(t *testing.T) {
	dir := t.TempDir()
	url := mongotest.URL(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bundle := write("bundle.json", `{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000001","spec_version":"2.0","objects":[
		{"type":"intrusion-set","id":"intrusion-set--00000000-0000-4000-8000-000000000001","name":"Tabby","created":"2026-01-01T00:00:00Z","modified":"2026-01-01T00:00:00Z"}]}`)
	named := write("url", url+"\n")
	dead := filepath.Join(dir, "dead")
	shared := write("secret", strings.Repeat("shared ", 8))
	const noSecret = `error: this store needs a secret that all its hosts share\nhint: give --auth-secret-file FILE, made once with: .*\n`
	wrong := write("wrong", "mongodb://hugo:secret/pass@127.0.0.1:1/neko\n")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"migrate --dry-run --store-file " + named, 0, `(?s)would make the index .*: would go from schema version 0 to 2, and make \d+ indexes\n`},
		{"migrate --store-file " + named, 0, `(?s)making the index .*: schema version 2, was 0; made \d+ indexes\n`},
		{"migrate --store-file " + named, 0, `mongodb://\S+: schema version 2, nothing to do\n`},
		{"import " + bundle + " --store-file " + named, 0, `(?s)bundle.json: 1 object in .*1 added, 0 updated.*`},
		{"import " + bundle + " --store-file " + named, 0, `(?s)bundle.json: 1 object in .*0 added, 0 updated, 1 unchanged.*`},
		{"import " + bundle + " --store-file " + dead, 1, `error: cannot open the store mongodb://127.0.0.1:1/neko: no server answers: .*refused\nhint: .*mongosh mongodb://127.0.0.1:1/neko\n`},
		{"user add mia --role viewer --password-stdin --store-file " + named, 1, `error: standard input has no password\nhint: .*\n`},
		{"user list --store-file " + named, 0, `there are no users: .*\n`},
		{"signing-key rotate --store-file " + named, 2, noSecret},
		{"--store-file " + named, 2, noSecret},
		{"--store-file " + dead, 2, noSecret},
		{"--store-file " + dead + " --auth-secret-file " + shared, 1, `error: cannot open the store mongodb://127.0.0.1:1/neko: no server answers: .*refused\nhint: .*\n`},
		{"migrate --store-file " + wrong, 1, `error: cannot open the store mongodb://127.0.0.1:1/neko: .*cannot be read\nhint: .*percent-encoded.*\n`},
	} {
		t.Run(c.args, func(t *testing.T) {
			want := regexp.MustCompile("^" + c.want + "$")
			// A busy machine may not find out in so short a time why nobody answers; then there is more.
			for patience := 200; ; patience *= 5 {
				write("dead", fmt.Sprintf("mongodb://hugo:secretpass@127.0.0.1:1/neko?serverSelectionTimeoutMS=%d\n", patience))
				cmd := command(t, filepath.Join(dir, "home"), strings.Fields(c.args)...)
				out, _ := cmd.CombinedOutput()
				if strings.Contains(string(out), "secretpass") || strings.Contains(string(out), "secret/pass") || strings.Contains(string(out), "hugo") {
					t.Errorf("tells a secret: %s", out)
				}
				code := cmd.ProcessState.ExitCode()
				if code == c.code && want.Match(out) {
					break
				}
				if patience > 20_000 || !strings.Contains(c.args, dead) {
					t.Errorf("exit code %d\n%s\nwant %d\n%s", code, out, c.code, want)
					break
				}
			}
		})
	}
}

// Several workers start at once on one socket and an empty home: one of them
// loads the sample data, all of them serve it, and all of them drain.
func TestWorkersStartTogether(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { startTogether(t, "") })
	t.Run("MongoDB", func(t *testing.T) { startTogether(t, mongotest.URL(t)) })
}

func startTogether(t *testing.T, store string) {
	home := t.TempDir()
	var args []string
	if store != "" {
		args = sharedSecret(t)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	const workers = 4
	var loaded sync.Map
	var ready, ended sync.WaitGroup
	var pids []*os.Process
	for i := range workers {
		cmd := command(t, home, args...)
		cmd.Env = append(cmd.Env, "LISTEN_FDS=1", fmt.Sprintf("NEKO_SLOT=%d", i), fmt.Sprintf("NEKO_INSTANCES=%d", workers), "NEKO_DRAIN_TIMEOUT=10s", "NEKO_API_STORE="+store)
		cmd.ExtraFiles = []*os.File{f}
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		pids = append(pids, cmd.Process)
		ready.Add(1)
		ended.Go(func() {
			said := sync.OnceFunc(ready.Done)
			defer said()
			for lines := bufio.NewScanner(stderr); lines.Scan(); {
				switch line := lines.Text(); {
				case strings.HasPrefix(line, "the store was empty"):
					loaded.Store(i, true)
				case strings.HasPrefix(line, "neko-api serves"):
					said()
				default:
					t.Errorf("worker %d: %s", i, line)
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	ready.Wait()
	if t.Failed() {
		t.FailNow() // nobody would answer
	}
	query := "http://" + l.Addr().String() + "/graphql?query=" + url.QueryEscape(`{threatActors(first: 1) {totalCount nodes {name}}}`)
	for range 20 {
		req, err := http.NewRequest("GET", query, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Apollo-Require-Preflight", "true")
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		var answer struct {
			Data struct {
				ThreatActors struct{ TotalCount int }
			}
		}
		if err != nil || json.Unmarshal(body, &answer) != nil || answer.Data.ThreatActors.TotalCount == 0 {
			t.Fatalf("%v: %s", err, body)
		}
	}
	for _, p := range pids {
		_ = p.Signal(syscall.SIGTERM)
	}
	ended.Wait()
	n := 0
	loaded.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d workers loaded the sample data", n)
	}
}
