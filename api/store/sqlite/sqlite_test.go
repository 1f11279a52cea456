package sqlite

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/storetest"
)

// The test binary is also the other processes of the tests: see child.
func TestMain(m *testing.M) {
	if mode := os.Getenv("NEKO_TEST_CHILD"); mode != "" {
		if err := child(mode, os.Getenv("NEKO_TEST_STORE")); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(mode, path string) error {
	ctx := context.Background()
	switch what, file, _ := strings.Cut(mode, " "); what {
	case "backup":
		_, err := Backup(ctx, path, file, time.Now(), nil)
		return err
	case "restore":
		f, err := os.Open(file)
		if err == nil {
			_, err = Restore(ctx, path, f, RestoreOptions{Now: time.Now(), NoCopy: true})
		}
		return err
	}
	st, err := Open(ctx, path, Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	switch mode {
	case "write":
		for i := range 5 {
			_, err := st.CreateIndicator(ctx, store.NewIndicator{Type: "domain-name", Value: fmt.Sprintf("h%d.example", i)})
			if err != nil && !errors.Is(err, store.ErrConflict) {
				return err
			}
			if _, err := st.CreateIndicator(ctx, store.NewIndicator{Type: "domain-name", Value: fmt.Sprintf("h%d.p%d.example", i, os.Getpid())}); err != nil {
				return err
			}
		}
	case "hold": // it open until standard input ends
		fmt.Println("open")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	case "import": // and wait to be killed, before the commit
		im, err := st.BeginImport(ctx, store.ImportOptions{})
		if err != nil {
			return err
		}
		if err := im.Add(ctx, store.Record{Object: thing(1)}); err != nil {
			return err
		}
		fmt.Println("staged")
		time.Sleep(time.Minute)
	}
	return st.Ping(ctx)
}

func start(t *testing.T, mode, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "NEKO_TEST_CHILD="+mode, "NEKO_TEST_STORE="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

func thing(n int) *store.Object {
	return &store.Object{ID: fmt.Sprintf("malware--00000000-0000-4000-8000-%012d", n), Kind: store.KindSoftware, Type: "malware",
		Name: fmt.Sprint("thing ", n), Created: time.Unix(1e9, 0).UTC(), Modified: time.Unix(1e9, 0).UTC()}
}

func open(t testing.TB, path string) *Store {
	t.Helper()
	st, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func temp(t testing.TB) string { return filepath.Join(t.TempDir(), "neko.db") }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, temp(t)) })
}

func TestAccounts(t *testing.T) {
	storetest.RunAccounts(t, func(t *testing.T) store.Accounts { return open(t, temp(t)) })
}

// Processes that start at the same moment make one store, and share it.
func TestProcesses(t *testing.T) {
	path := temp(t)
	const n = 6
	var cmds []*exec.Cmd
	for range n {
		cmd := start(t, "write", path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	p, err := open(t, path).List(t.Context(), store.KindIndicator, store.Query{WantTotal: true})
	if err != nil || p.Total != 5+5*n {
		t.Errorf("%d indicators, want %d; %v", p.Total, 5+5*n, err)
	}
}

// A process killed in an import leaves nothing: no data, no lock, no file.
func TestKilledImport(t *testing.T) {
	path := temp(t)
	cmd := start(t, "import", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "staged\n" {
		t.Fatal(line, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	st := open(t, path)
	if p, err := st.List(t.Context(), store.KindSoftware, store.Query{WantTotal: true}); err != nil || p.Total != 0 {
		t.Errorf("%d objects, %v", p.Total, err)
	}
	if _, err := st.CreateIndicator(t.Context(), store.NewIndicator{Type: "domain-name", Value: "a.example"}); err != nil {
		t.Error(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 {
		t.Errorf("files: %v, %v; want the store, -wal and -shm", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sqlFile := func(name, text string) string {
		path := filepath.Join(dir, name)
		db, err := sql.Open("sqlite", path)
		if err == nil {
			_, err = db.Exec(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
		return path
	}
	newer := filepath.Join(dir, "newer.db")
	open(t, newer).Close()
	sqlFile("newer.db", "PRAGMA user_version = 99")
	for _, c := range []struct{ path, err, hint string }{
		{file("text.db", strings.Repeat("this is no database\n", 100)), "it is not a SQLite database", "nothing in this one was changed"},
		{sqlFile("other.db", "CREATE TABLE songs (name TEXT)"), "another program", "nothing in this one was changed"},
		{filepath.Join(dir, "no", "such", "neko.db"), "no such file or directory", "make the folder"},
		{dir, "is a directory", "name a file in that folder"},
		{"/dev/null", "no regular file", "name another file"},
		{newer, "schema version 99, this program knows up to 3", "a newer neko-api has used this store"},
	} {
		before, _ := os.ReadFile(c.path)
		_, err := Open(t.Context(), c.path, Options{})
		if err == nil {
			t.Errorf("%s: opened", c.path)
			continue
		}
		if !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: %v, want %q", c.path, err, c.err)
		}
		hint, ok := err.(interface{ Hint() string })
		if !ok || !strings.Contains(hint.Hint(), c.hint) {
			t.Errorf("%s: hint of %v (%T)", c.path, err, err)
		}
		if after, _ := os.ReadFile(c.path); string(after) != string(before) {
			t.Errorf("%s: was changed", c.path)
		}
		if errors.Is(err, store.ErrTooNew) != (c.path == newer) {
			t.Errorf("%s: ErrTooNew is wrong", c.path)
		}
	}
	if os.Getuid() != 0 {
		path := file("readonly.db", "")
		os.Chmod(path, 0o400)
		if _, err := Open(t.Context(), path, Options{}); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Error("a file that may not be written:", err)
		}
	}
}

// A path with characters that mean something in a URI.
func TestOddPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?mode=ro&x#é%41.db")
	open(t, path).Close()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// TestIndexes: no list, relation or count looks at all objects or all relations.
func TestIndexes(t *testing.T) {
	st := open(t, temp(t))
	plan := func(text string, args []any) (scans []string, all string) {
		rows, err := st.rd.Query("EXPLAIN QUERY PLAN "+text, args...)
		if err != nil {
			t.Fatal(err, text)
		}
		defer rows.Close()
		for rows.Next() {
			var a, b, c int
			var detail string
			if err := rows.Scan(&a, &b, &c, &detail); err != nil {
				t.Fatal(err)
			}
			all += detail + "\n"
			// The tables by their aliases; the rest are the JSON list of keys, the text
			// index, and results of subqueries.
			for _, table := range []string{"o", "x", "e", "l", "p", "object", "edge", "label"} {
				if detail == "SCAN "+table || strings.HasPrefix(detail, "SCAN "+table+" ") {
					scans = append(scans, detail)
				}
			}
			if strings.HasSuffix(detail, "VIRTUAL TABLE INDEX 0:") && strings.Contains(detail, "SCAN w") {
				scans = append(scans, detail)
			}
		}
		return scans, all
	}
	now := time.Now()
	// Which index finds the objects, whatever the order.
	narrow := map[string]string{
		"text": "VIRTUAL TABLE INDEX 0:M", "name": "object_name (kind=? AND fold=?)", "alias": "PRIMARY KEY (field=? AND value=?)", "keys": "(id=?)",
		"usesTechnique": "edge_in (type=? AND dst=?", "usesSoftware": "edge_in (type=? AND dst=?", "attributedTo": "edge_in (type=? AND dst=?",
		"mitigates": "edge_in (type=? AND dst=?", "indicates": "edge_in (type=? AND dst=?", "sightingOf": "edge_in (type=? AND dst=?",
		"tactic": "PRIMARY KEY (field=? AND value=?)", "tactic by id": "edge_in (type=? AND dst=?", "value": "object_value (value=?",
	}
	// Which index serves the condition that many objects may meet.
	wide := map[string]string{
		"domain": "label_obj (obj=? AND field=? AND value=?)", "platform": "label_obj (obj=? AND field=? AND value=?)",
		"indicatorType": "label_obj (obj=? AND field=? AND value=?)", "type": "object_type (kind=? AND type=?",
		"subtechnique": "object_sub (kind=? AND subtechnique=?", "valueType": "object_valtype (value_type=?", "active": "object_valid (retired=? AND valid_until>?)",
		"createdAfter": "object_created (kind=? AND created>?)", "createdBefore": "object_created (kind=? AND created<?)",
		"modifiedAfter": "object_modified (kind=? AND modified>?)", "modifiedBefore": "object_modified (kind=? AND modified<?)",
		"seenAfter": "object_last (kind=? AND last_seen>?)", "seenBefore": "object_first (kind=? AND first_seen<?)",
	}
	for i, c := range storetest.FilterCases() {
		for k, order := range storetest.Orders() {
			if i > 0 && k > 0 && (i+k)%5 > 0 {
				continue // every order alone, and every filter with some
			}
			q, _, err := store.Query{First: 10, Filter: c.Filter, OrderBy: order}.Validate(c.Kind)
			if err != nil {
				t.Fatal(err)
			}
			cursor := &store.Cursor{By: q.OrderBy.By, Desc: order.Desc, ID: "x"}
			for _, cur := range []*store.Cursor{nil, cursor} {
				text, args := listStatement(c.Kind, q, cur, now)
				scans, all := plan(text, args)
				if len(scans) > 0 {
					t.Errorf("%s by %v: %v", c.Name, order, scans)
				}
				if want := narrow[c.Name]; want != "" && (!strings.Contains(all, want) || !strings.Contains(all, "SEARCH o USING INTEGER PRIMARY KEY (rowid=?)")) {
					t.Errorf("%s by %v: %q does not find the objects in\n%s", c.Name, order, want, all)
				}
				if want := wide[c.Name]; want != "" && order.By == "" && cur == nil && !strings.Contains(all, want) {
					t.Errorf("%s: no %q in\n%s", c.Name, want, all)
				}
				if c.Name == "none" && (strings.Contains(all, "TEMP B-TREE") || cur != nil && !strings.Contains(all, ",id)>(?,?)") && !strings.Contains(all, ",id)<(?,?)")) {
					t.Errorf("order by %v is sorted, or its cursor searched for one by one:\n%s", order, all)
				}
			}
			total := q
			total.First, total.WantTotal = 0, true
			text, args := listStatement(c.Kind, total, nil, now)
			if scans, _ := plan(text, args); len(scans) > 0 {
				t.Errorf("total of %s: %v", c.Name, scans)
			}
		}
	}
	for i, rel := range storetest.Relations {
		for k, order := range storetest.Orders() {
			if i > 0 && (i+k)%7 > 0 {
				continue
			}
			q, _, err := store.Query{First: 10, OrderBy: order, WantTotal: true}.Validate(rel.To)
			if err != nil {
				t.Fatal(err)
			}
			text, args := relatedStatement(rel, []string{"a", "b"}, q, &store.Cursor{By: q.OrderBy.By, ID: "x"}, now)
			if scans, all := plan(text, args); len(scans) > 0 || !strings.Contains(all, "edge_") {
				t.Errorf("%v by %v: %v\n%s", rel, order, scans, all)
			}
		}
	}
	for g, text := range countStatements {
		if scans, _ := plan(text, nil); len(scans) > 0 {
			t.Errorf("%s: %v", g, scans)
		}
	}
}

// The statements kept are bounded, and closing while they are in use is no crash.
func TestStatements(t *testing.T) {
	st := open(t, temp(t))
	for i := range maxStmts + 20 {
		var q store.Query
		q.First = 1
		for b := range 10 {
			if i&(1<<b) == 0 {
				continue
			}
			f := []func(){
				func() { q.Filter.Text = "a" }, func() { q.Filter.Name = "a" }, func() { q.Filter.Alias = "a" }, func() { q.Filter.Domain = "a" },
				func() { q.Filter.Platform = "a" }, func() { q.Filter.Tactic = "a" }, func() { q.Filter.CreatedAfter = time.Now() },
				func() { q.Filter.ModifiedAfter = time.Now() }, func() { q.WantTotal = true }, func() { q.OrderBy.Desc = true },
			}[b]
			f()
		}
		if _, err := st.List(t.Context(), store.KindTechnique, q); err != nil {
			t.Fatal(err)
		}
	}
	if len(st.stmts) > maxStmts {
		t.Errorf("%d statements kept", len(st.stmts))
	}
	st.Close()
	if _, err := st.List(t.Context(), store.KindTechnique, store.Query{First: 1}); err == nil {
		t.Error("a closed store answers")
	}
}

func TestDocument(t *testing.T) {
	in := &store.Object{Name: "a\x1eb\x00", Description: "line\r\n\ttab \x1f\xff", Aliases: []string{"x\x1fy", "é"},
		References: []store.Reference{{Source: "s", URL: "u\x1d"}, {}, {Description: "d", ID: "i"}}, Count: -5}
	var out store.Object
	decode(store.Content(in), &out)
	if out.Name != "ab" || out.Description != "line\r\n\ttab \uFFFD" || len(out.Aliases) != 2 || out.Aliases[0] != "xy" || len(out.References) != 3 ||
		out.References[0].URL != "u" || out.References[2].ID != "i" || out.Count != -5 {
		t.Errorf("%+v", out)
	}
	decode("", &out) // a row of a future that has less
	if out.Name != "" || out.References != nil {
		t.Errorf("%+v", out)
	}
}

func BenchmarkOpen(b *testing.B) {
	path := temp(b)
	open(b, path).Close()
	for b.Loop() {
		st, err := Open(b.Context(), path, Options{})
		if err == nil {
			err = st.Ping(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
		st.Close()
	}
}

// Statements that somebody makes up do not keep those that are asked all the time
// from being compiled once.
func TestStatementsAreForgotten(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "api.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ask := func(text string) {
		t.Helper()
		rows, err := s.query(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		rows.Close()
	}
	s.renewed = time.Now()
	for i := range 2 * maxStmts {
		ask(fmt.Sprintf("SELECT %d", i))
	}
	if n := len(s.stmts); n != maxStmts || s.stmts["SELECT 0"] == nil {
		t.Fatalf("%d statements are kept", n)
	}
	s.renewed = time.Now().Add(-2 * renewAfter)
	ask("SELECT 'often'")
	if s.stmts["SELECT 'often'"] == nil || len(s.stmts) != 1 {
		t.Errorf("%d statements are kept, and this is none of them", len(s.stmts))
	}
	ask("SELECT 0")
}
