package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
)

// sharedSecret is the option that a store needs which other hosts have, too.
func sharedSecret(t *testing.T) []string {
	t.Helper()
	return []string{"--auth-secret-file", writeSecret(t, "shared ")}
}

func writeSecret(t *testing.T, word string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(strings.Repeat(word, 8)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// onEachStore runs a test in a home of its own on each store. The environment is
// set for the processes and commands that it starts.
func onEachStore(t *testing.T, test func(t *testing.T, home string)) {
	for _, name := range []string{"SQLite", "MongoDB"} {
		t.Run(name, func(t *testing.T) {
			home := filepath.Join(t.TempDir(), "home")
			t.Setenv("NEKO_HOME", home)
			if name == "MongoDB" {
				file := filepath.Join(t.TempDir(), "store")
				if err := os.WriteFile(file, []byte(mongotest.URL(t)), 0o600); err != nil {
					t.Fatal(err)
				}
				t.Setenv("NEKO_API_STORE_FILE", file)
				t.Setenv("NEKO_API_AUTH_SECRET_FILE", writeSecret(t, "shared "))
			}
			test(t, home)
		})
	}
}

// Users and keys at the terminal: what is typed and piped in, and all that is seen.
func TestAccountCommands(t *testing.T) { onEachStore(t, testAccountCommands) }

func testAccountCommands(t *testing.T, home string) {
	const id = `[0-9a-v]{24}`
	for _, c := range []struct {
		args, in string
		code     int
		want     string // a regular expression
	}{
		{"user", "", 2, `error: user wants a command\nhint: see neko-api user --help\n`},
		{"user --help", "", 0, `(?s)neko-api user: who can log in\..*Examples:.*`},
		{"key --help", "", 0, `(?s)neko-api key: credentials of programs\..*`},
		{"signing-key --help", "", 0, `(?s)neko-api signing-key: .*`},
		{"user ad mia", "", 2, `error: unknown command "user ad"\nhint: see neko-api user --help\n`},
		{"user list", "", 0, `there are no users: neko-api user add NAME --role analyst makes one\n`},
		{"user list --json", "", 0, `\[\]\n`},
		{"user add", "", 2, `error: user add wants NAME\nhint: neko-api user add NAME\n`},
		{"user add mia", "", 2, `error: which role\?\nhint: say --role viewer, analyst or admin\n`},
		{"user add mia --role boss", "", 2, `error: "boss" is no role\nhint: write viewer, analyst or admin\n`},
		{"user add mia tom --role viewer", "", 2, `error: user add was given "tom" beyond what it wants\nhint: neko-api user add NAME\n`},
		{"user add mia --role viewer --expires 1d", "", 2, `error: --expires is not for user add\nhint: see neko-api --help\n`},
		{"user add mia --role viewer --password-stdin", "", 1, `error: standard input has no password\nhint: .*\n`},
		{"user add mia --role viewer --password-stdin", "short\n", 1, `error: the password must have at least 15 characters; any are good, spaces too\nhint: .*\n`},
		{"user add mia --role viewer --password-stdin", "an honest password\nand more\n", 1, `error: standard input has more than one line\nhint: .*\n`},
		{"user add $ne --role viewer", "", 2, `error: the name must be 1 to 64 letters, .*\nhint: .*\n`},
		{"user add mia --role Analyst --password-stdin", "an honest password\r\n", 0, `user mia \(analyst\) was added\n`},
		{"user add MIA --role viewer", "", 1, `error: there is a user "MIA" already\nhint: neko-api user password MIA, or user role, change that one\n`},
		{"user add tom --role viewer", "", 0, `user tom \(viewer\) was added\nthe password, which is shown this once:\n[a-z2-7]{26}\n`},
		{"user list", "", 0, `NAME +ROLE +STATE +ADDED +PASSWORD OF +ID\nmia +analyst +enabled .* ` + id + `\ntom +viewer +enabled .* ` + id + `\n`},
		{"user role tom", "", 2, `error: user role wants ROLE\nhint: neko-api user role NAME ROLE\n`},
		{"user role tom admin", "", 0, `user tom is admin now\n`},
		{"user disable TOM", "", 0, `user tom is disabled\n`},
		{"user list", "", 0, `(?s).*\ntom +admin +disabled .*`},
		{"user enable tom", "", 0, `user tom can log in\n`},
		{"user password tom", "", 0, `user tom has another password\nthe password, which is shown this once:\n[a-z2-7]{26}\n`},
		{"user disable nobody", "", 1, `error: there is no user "nobody"\nhint: neko-api user list shows all\n`},
		{"user list --json", "", 0, `(?s)\[\n  \{\n    "id": "` + id + `",\n    "name": "mia",\n    "role": "analyst",\n    "disabled": false,\n    "created": "[^"]+Z",\n    "password_changed": "[^"]+Z"\n  \},.*\]\n`},
		{"key list", "", 0, `there are no keys: .*\n`},
		{"key add gateway", "", 2, `error: which role\?\nhint: .*\n`},
		{"key add gateway --role analyst --expires soon", "", 2, `error: --expires: "soon" is no time span\nhint: write it like 90d or 12h\n`},
		{"key add gateway --role analyst --scope everything", "", 2, `error: the scopes "everything" is no root field: .*\nhint: .*\n`},
		{"key add gateway --role analyst --scope Mutation.reprtSighting", "", 2, `error: there is no root field "Mutation.reprtSighting"\nhint: did you mean Mutation.reportSighting\?\n`},
		{"key add gateway --role analyst --scope Query.zzzzzzzzzzzz", "", 2, `error: there is no root field "Query.zzzzzzzzzzzz"\nhint: api/schema.graphql has all root fields\n`},
		{"key add gateway --role analyst --owner nobody", "", 1, `error: there is no user "nobody"\nhint: .*\n`},
		{"key add gateway --role analyst --scope Mutation.reportSighting --scope Query.* --expires 90d --owner mia", "", 0, `key (` + id + `) \(gateway, analyst\) was made; it is shown this once:\nneko_` + id + `_[0-9a-v]{52}\n`},
		{"key list", "", 0, `ID +NAME +ROLE +SCOPES +OWNER +STATE +EXPIRES +LAST USED\n` + id + ` +gateway +analyst +Mutation.reportSighting Query.\* +mia +good +20\S+ \S+ +-\n`},
		{"key list --json", "", 0, `(?s)\[\n  \{\n    "id": "` + id + `",.*"expires": "[^"]+",\n    "revoked": null,\n    "last_used": null\n  \}\n\]\n`},
		{"key revoke none", "", 1, `error: there is no key "none"\nhint: neko-api key list shows all\n`},
		{"signing-key rotate --now", "", 0, `signing key 1 signs from .*\n`},
		{"signing-key rotate", "", 0, `signing key 2 signs from .*\n`},
		{"signing-key list", "", 0, `NUMBER +KID +MADE +SIGNS FROM\n1 .*\n2 .*\n`},
		{"user disable mia --audit-log /dev/full", "", 1, `error: cannot write the audit log /dev/full: no space left on device\nhint: .*\n`},
		{"user list", "", 0, `(?s).*\nmia +analyst +enabled .*`}, // it was not done
		{"user disable mia --audit-log -", "", 0, `\{.*"event":"attempt".*\}\n\{.*"event":"outcome".*\}\nuser mia is disabled\n`},
		{"user disable mia --audit-log off", "", 0, `user mia is disabled\n`},
		{"key add watcher --role viewer --scope Query.*", "", 0, `(?s)key .*`},
		{"key list", "", 0, `(?s).* gateway +.* mia +owner disabled +.* watcher +viewer +Query.\* +- +good +.*`},
	} {
		t.Run(c.args, func(t *testing.T) {
			var out bytes.Buffer
			code := run(strings.Fields(c.args), streams{strings.NewReader(c.in), &out, &out})
			if code != c.code || !regexp.MustCompile("^"+c.want+"$").Match(out.Bytes()) {
				t.Errorf("exit code %d\n%s\nwant %d\n%s", code, &out, c.code, c.want)
			}
		})
	}
	trail, err := os.ReadFile(filepath.Join(home, "audit.log"))
	if err != nil || !regexp.MustCompile(`"event":"outcome","subject":"operator:\d+",.*"kind":"command","fields":\["user add"\],"objects":\["user:`+id+`"\]`).Match(trail) ||
		bytes.Contains(trail, []byte("honest")) || bytes.Contains(trail, []byte("neko_")) {
		t.Errorf("%v\n%s", err, trail)
	}
	files := []string{"audit.log"}
	if os.Getenv("NEKO_API_STORE_FILE") == "" {
		files = append(files, "auth.secret", "api.db")
	}
	for _, name := range files {
		if info, err := os.Stat(filepath.Join(home, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}

	// What a script keeps is on standard output alone.
	var out, errs bytes.Buffer
	if code := run([]string{"key", "add", "dashboard", "--role", "viewer"}, streams{strings.NewReader(""), &out, &errs}); code != 0 || !regexp.MustCompile(`^neko_`+id+`_[0-9a-v]{52}\n$`).Match(out.Bytes()) {
		t.Errorf("%d: %q", code, &out)
	}
}

// What was done is told, with what is shown once, also if the disk is full from then
// on.
func TestOutcomeThatCannotBeRecorded(t *testing.T) {
	t.Setenv("NEKO_HOME", filepath.Join(t.TempDir(), "home"))
	path := filepath.Join(t.TempDir(), "audit.log")
	o := newOptions()
	o.auditLog = &path
	var errs bytes.Buffer
	err := recorded(o, streams{nil, nil, &errs}, "user add", func() (string, error) {
		return "", errors.Join(os.Remove(path), os.Symlink("/dev/full", path))
	})
	if err != nil || !strings.Contains(errs.String(), "warning: that this was done could not be recorded: cannot write the audit log") {
		t.Errorf("%v, %s", err, &errs)
	}
}

// A password is never asked for where everybody can read it.
func TestNoPasswordOnTheCommandLine(t *testing.T) {
	var out bytes.Buffer
	code := run([]string{"user", "add", "mia", "--role", "viewer", "--password", "an honest password"}, streams{strings.NewReader(""), &out, &out})
	if code != 2 || !strings.Contains(out.String(), "unknown flag --password") {
		t.Errorf("%d: %s", code, &out)
	}
}

// startServer runs neko-api and waits until it serves; it returns its address.
func startServer(t *testing.T, home string, args ...string) (url string, cmd *exec.Cmd, ended <-chan error) {
	t.Helper()
	cmd = command(t, home, args...)
	url, ended = serving(t, cmd)
	return url, cmd, ended
}

// serving starts a command that serves, and returns when it does.
func serving(t *testing.T, cmd *exec.Cmd) (url string, ended <-chan error) {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	serving := make(chan string, 1)
	go func() {
		said := ""
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			said += lines.Text() + "\n"
			if _, address, ok := strings.Cut(lines.Text(), "serves GraphQL on "); ok {
				serving <- strings.TrimSuffix(address, "/graphql")
			}
		}
		serving <- ""
		if err := cmd.Wait(); err != nil {
			done <- fmt.Errorf("%w\n%s", err, said)
		}
		close(done)
	}()
	t.Cleanup(func() {
		// A drain waits for idle connections, as their clients may be about to send something.
		outageClient.CloseIdleConnections()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
	})
	if url = <-serving; url == "" {
		t.Fatal(<-done)
	}
	return url, done
}

func post(t *testing.T, url, token, query string) (status int, body string) {
	t.Helper()
	data, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/graphql", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/graphql-response+json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// Two workers and the command line share users, keys and the secret: who logs in
// at one is known at the other, and who is disabled is out at both within five
// seconds.
func TestUsersAcrossWorkers(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		testUsersAcrossWorkers(t)
	})
	t.Run("MongoDB", func(t *testing.T) {
		t.Parallel()
		testUsersAcrossWorkers(t, append(sharedSecret(t), "--store", mongotest.URL(t))...)
	})
}

func testUsersAcrossWorkers(t *testing.T, settings ...string) {
	home := filepath.Join(t.TempDir(), "home")
	a, _, _ := startServer(t, home, settings...)
	b, _, _ := startServer(t, home, settings...)
	run := func(in string, args ...string) string {
		t.Helper()
		cmd := command(t, home, append(args, settings...)...)
		var errs bytes.Buffer
		cmd.Stdin, cmd.Stderr = strings.NewReader(in), &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v %s", args, err, &errs)
		}
		return strings.TrimSpace(string(out))
	}
	for _, url := range []string{a, b} {
		resp, err := oneByOne.Get(url + "/.well-known/jwks.json")
		if err != nil {
			t.Fatal(err)
		}
		keys, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !regexp.MustCompile(`^\{"keys":\[\{"crv":"Ed25519",[^{}]*\}\]\}$`).Match(keys) {
			t.Errorf("%v: %d %s", err, resp.StatusCode, keys)
		}
	}
	run("an honest password", "user", "add", "mia", "--role", "analyst", "--password-stdin")
	key := run("", "key", "add", "k", "--role", "viewer", "--owner", "mia")
	_, body := post(t, a, "", `mutation { login(input: {name: "mia", password: "an honest password"}) { accessToken } }`)
	var login struct {
		Data struct{ Login struct{ AccessToken string } }
	}
	if err := json.Unmarshal([]byte(body), &login); err != nil || login.Data.Login.AccessToken == "" {
		t.Fatal(body)
	}
	const report, me = `mutation { reportSighting(input: {of: "G9001"}) { sighting { count } } }`, `{ me { name } }`
	if status, body := post(t, b, login.Data.Login.AccessToken, report); status != 200 || strings.Contains(body, "errors") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := post(t, b, "", report); status != 401 {
		t.Errorf("%d %s", status, body)
	}
	for _, url := range []string{a, b} {
		if status, body := post(t, url, key, me); status != 200 {
			t.Errorf("%d %s", status, body)
		}
	}
	run("", "user", "disable", "mia")
	began := time.Now()
	for _, url := range []string{a, b} {
		for _, credential := range []string{login.Data.Login.AccessToken, key} {
			for {
				asked := time.Since(began)
				status, body := post(t, url, credential, me)
				if status == 401 {
					break
				}
				if asked > auth.TakesEffect {
					t.Fatalf("after %v: %d %s", asked, status, body)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
}

// Reads are for everybody or not, as the operator wants; a secret that does not
// fit the store is a clear end.
func TestAuthSettings(t *testing.T) { onEachStore(t, testAuthSettings) }

func testAuthSettings(t *testing.T, home string) {
	url, cmd, ended := startServer(t, home, "--anonymous-reads=false")
	if status, body := post(t, url, "", `{ threatCounts { tactics } }`); status != 401 {
		t.Errorf("%d %s", status, body)
	}
	if status, body := post(t, url, "", `{ me { name } }`); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		t.Error(err)
	}

	// A full disk: what cannot be recorded is not done, and reads go on.
	url, _, _ = startServer(t, home, "--audit-log", "/dev/full")
	if status, body := post(t, url, "", `mutation { login(input: {name: "mia", password: "an honest password"}) { accessToken } }`); !strings.Contains(body, "UNAVAILABLE") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := post(t, url, "", `{ threatCounts { tactics } }`); status != 200 {
		t.Errorf("%d %s", status, body)
	}

	other := writeSecret(t, "another ")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--auth-secret-file", other}, `error: the store's signing keys are sealed with another secret\nhint: give the secret that this store was first served with .*\n`},
		{[]string{"--auth-secret-file", other + "-none"}, `error: cannot read the secret .*: no such file or directory\nhint: make one with: .*\n`},
		{[]string{"--audit-log", filepath.Join(home, "no", "audit.log")}, `error: cannot write the audit log .*: no such file or directory\nhint: name a file .*\n`},
		{[]string{"--token-ttl", "25h"}, `error: an access token cannot be good for 25h0m0s: 24h0m0s at most\n`},
	} {
		cmd := command(t, home, c.args...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || !regexp.MustCompile("^"+c.want+"$").Match(out) {
			t.Errorf("%v: %d %s", c.args, cmd.ProcessState.ExitCode(), out)
		}
	}
}
