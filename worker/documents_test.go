package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/logtext"
)

// persistedHash is an extension of Apollo's for a document.
func persistedHash(text string) string {
	return fmt.Sprintf(`{"persistedQuery":{"version":1,"sha256Hash":"%s"}}`, hashOf(text))
}

// Automatic persisted queries as Apollo's servers have them.
func TestPersistedQueries(t *testing.T) {
	const (
		miss     = `{"errors":[{"message":"PersistedQueryNotFound","extensions":{"code":"PERSISTED_QUERY_NOT_FOUND"}}]}`
		off      = `{"errors":[{"message":"PersistedQueryNotSupported","extensions":{"code":"PERSISTED_QUERY_NOT_SUPPORTED"}}]}`
		mismatch = `{"errors":[{"message":"provided sha does not match query","extensions":{"code":"PERSISTED_QUERY_HASH_MISMATCH"}}]}`
		ok       = `{"data":{"hello":"world"}}`
		doc      = `query A {hello}`
	)
	on := newTestWorker(t, Config{})
	without := newTestWorker(t, Config{MaxDocuments: -1})
	byGet := func(extensions, more string) string {
		return "/graphql?extensions=" + url.QueryEscape(extensions) + more
	}
	with := func(text, extensions string) string {
		return fmt.Sprintf(`{"query":%q,"extensions":%s}`, text, extensions)
	}
	named := persistedHash(doc)
	// In this order: what one has sent the next may name.
	for _, c := range []struct {
		what         string
		w            *Worker
		target, body string // GET without a body
		newer        bool
		status       int
		want         string
	}{
		{"not known, as Apollo's servers say it", on, "/graphql", `{"extensions":` + named + `}`, false, 200, miss},
		{"not known, in the newer media type", on, "/graphql", `{"extensions":` + named + `}`, true, 404, miss},
		{"not known, by GET", on, byGet(named, ""), "", false, 200, miss},
		{"null for a text", on, "/graphql", `{"query":null,"extensions":` + named + `}`, false, 200, miss},
		{"an empty one", on, "/graphql", with("", named), false, 200, miss},
		{"no hash at all", on, "/graphql", `{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"0123"}}}`, false, 200, miss},
		{"sent with the hash of another", on, "/graphql", with(`{hello}`, named), true, 400, mismatch},
		{"which is not kept", on, "/graphql", `{"extensions":` + named + `}`, false, 200, miss},
		{"sent, and not for this schema", on, "/graphql", with(`{nope}`, persistedHash(`{nope}`)), true, 422, `"code":"GRAPHQL_VALIDATION_FAILED"`},
		{"which is not kept", on, "/graphql", `{"extensions":` + persistedHash(`{nope}`) + `}`, false, 200, miss},
		{"sent without its hash", on, "/graphql", `{"query":"query A {hello}"}`, true, 200, ok},
		{"which tells nobody who guesses that it was sent", on, "/graphql", `{"extensions":` + named + `}`, false, 200, miss},
		{"sent", on, "/graphql", with(doc, named), true, 200, ok},
		{"known", on, "/graphql", `{"extensions":` + named + `}`, true, 200, ok},
		{"known by GET", on, byGet(named, "&operationName=A&variables={}"), "", true, 200, ok},
		{"in capitals", on, "/graphql", `{"extensions":` + strings.Replace(named, hashOf(doc).String(), strings.ToUpper(hashOf(doc).String()), 1) + `}`, true, 200, ok},
		{"by a documentId", on, "/graphql?documentId=sha256:" + hashOf(doc).String(), "", true, 200, ok},
		{"another operation of it", on, byGet(named, "&operationName=B"), "", true, 422, `"code":"OPERATION_RESOLUTION_FAILURE"`},
		{"another documentId", on, "/graphql?documentId=1", "", true, 404, `"code":"PERSISTED_QUERY_NOT_IN_LIST"`},
		{"a mutation by GET", on, "/graphql", with(`mutation{touch(name:"x")}`, persistedHash(`mutation{touch(name:"x")}`)), true, 200, `"touch":"x"`},
		{"a mutation by GET", on, byGet(persistedHash(`mutation{touch(name:"x")}`), ""), "", true, 405, `"code":"METHOD_NOT_ALLOWED"`},
		{"another version", on, "/graphql", `{"extensions":{"persistedQuery":{"version":2,"sha256Hash":"x"}}}`, true, 400, `Unsupported persisted query version`},
		{"no version", on, "/graphql", `{"extensions":{"persistedQuery":{"sha256Hash":"x"}}}`, true, 400, `Unsupported persisted query version`},
		{"without a hash", on, "/graphql", `{"extensions":{"persistedQuery":{"version":1}}}`, true, 422, `has no \"sha256Hash\"`},
		{"null", on, "/graphql", `{"extensions":{"persistedQuery":null}}`, true, 422, `there is no query`},
		{"no object", on, "/graphql", `{"query":"{hello}","extensions":{"persistedQuery":[]}}`, true, 422, `\"extensions.persistedQuery\" must be an object`},
		{"no number", on, "/graphql", `{"query":"{hello}","extensions":{"persistedQuery":{"version":true}}}`, true, 422, `\"extensions.persistedQuery.version\" must be a number`},
		{"no string", on, "/graphql", `{"query":"{hello}","extensions":{"persistedQuery":{"version":1,"sha256Hash":1}}}`, true, 422, `\"extensions.persistedQuery.sha256Hash\" must be a string`},

		{"off", without, "/graphql", `{"extensions":` + named + `}`, false, 200, off},
		{"off, by a documentId", without, "/graphql?documentId=sha256:" + hashOf(doc).String(), "", true, 422, off},
		{"off, in the newer media type", without, "/graphql", with(doc, named), true, 422, off},
		{"off, and not asked for", without, "/graphql", with(doc, `{}`), true, 200, ok},
	} {
		method, header := "POST", asJSON
		if c.body == "" {
			method, header = "GET", "X: x"
		}
		if c.newer {
			header += "\nAccept: application/graphql-response+json"
		}
		ctx := c.w.ask(method, c.target, header, c.body)
		body := string(ctx.Response.Body())
		if ctx.Response.StatusCode() != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s:\n got %d %s\nwant %d %s", c.what, ctx.Response.StatusCode(), body, c.status, c.want)
		}
		cache := string(ctx.Response.Header.Peek("Cache-Control"))
		if again := c.want == miss || c.want == off; again != (cache == "private, no-cache, must-revalidate") {
			t.Errorf("%s: Cache-Control: %s", c.what, cache)
		}
	}
}

// Who may not ask for a document does not make it known either.
func TestWhatIsRefusedIsNotKept(t *testing.T) {
	w := rolesWorker(t, Config{})
	const doc = `mutation {write {id}}`
	body := fmt.Sprintf(`{"query":%q,"extensions":%s}`, doc, persistedHash(doc))
	if status := w.ask("POST", "/graphql", asGraphQL, body).Response.StatusCode(); status != 401 {
		t.Fatal(status)
	}
	if w.documents.get(hashOf(doc)) != "" {
		t.Error("kept")
	}
	if status := w.ask("POST", "/graphql", asGraphQL+"\nAuthorization: Bearer WRITER", body).Response.StatusCode(); status != 200 {
		t.Fatal(status)
	}
	if w.documents.get(hashOf(doc)) != doc {
		t.Error("not kept")
	}
}

// A document can be named once somebody has registered it who may ask for it, and not
// because a plan of it is in the cache: else each worker would know others.
func TestPlannedIsNotRegistered(t *testing.T) {
	w := rolesWorker(t, Config{})
	const query = `mutation {write {id}}`
	named := fmt.Sprintf(`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":%q}}}`, hashOf(query))
	sent := fmt.Sprintf(`{"query":%q}`, query)
	registered := strings.Replace(named, "{", fmt.Sprintf(`{"query":%q,`, query), 1)
	for i, c := range []struct {
		who, body, want string
	}{
		{"", registered, "UNAUTHENTICATED"},
		{"", named, "PERSISTED_QUERY_NOT_FOUND"},
		{"Bearer READER", registered, "FORBIDDEN"},
		{"Bearer WRITER", sent, `"data"`},
		{"Bearer WRITER", named, "PERSISTED_QUERY_NOT_FOUND"},
		{"Bearer WRITER", registered, `"data"`},
		{"Bearer WRITER", named, `"data"`},
		{"", named, "UNAUTHENTICATED"},
	} {
		header := asGraphQL
		if c.who != "" {
			header += "\nAuthorization: " + c.who
		}
		if got := string(w.ask("POST", "/graphql", header, c.body).Response.Body()); !strings.Contains(got, c.want) {
			t.Errorf("%d, by %q: %s", i, c.who, got)
		}
	}
}

// Both places for documents keep the same promises.
func TestDocuments(t *testing.T) {
	texts := make([]string, 50)
	for i := range texts {
		texts[i] = fmt.Sprintf("{hello} # %d", i)
	}
	const maxNumber, maxBytes = 10, 80 << 10
	clock := time.Now().Add(-24 * time.Hour) // what is written meanwhile is newer
	for name, d := range map[string]documents{
		"own":  newOwnDocuments(maxNumber, maxBytes),
		"host": testHostDocuments(t, t.TempDir(), maxNumber, maxBytes, &clock),
	} {
		t.Run(name, func(t *testing.T) {
			has := func(i int) bool {
				got := d.get(hashOf(texts[i]))
				if got != "" && got != texts[i] {
					t.Fatalf("%q for %q", got, texts[i])
				}
				return got != ""
			}
			put := func(i int) {
				clock = clock.Add(2 * markEvery)
				d.put(hashOf(texts[i]), texts[i])
			}
			for i := range 10 {
				if has(i) {
					t.Fatal("before it was put")
				}
				put(i)
				if !has(i) {
					t.Fatal("after it was put")
				}
			}
			clock = clock.Add(2 * markEvery)
			d.used(hashOf(texts[0]))
			put(2)
			if !has(4) {
				t.Fatal("has lost one")
			}
			for i := 10; i < 13; i++ {
				put(i)
			}
			for i, want := range []bool{true, false, true, false, true, false, true} {
				if has(i) != want {
					t.Errorf("document %d: %v: the one used longest ago goes first", i, !want)
				}
			}
			large := strings.Repeat("#", maxBytes/8+1)
			if d.put(hashOf(large), large); d.get(hashOf(large)) != "" {
				t.Error("one that would drive out the others")
			}
			for i := range 12 {
				text := fmt.Sprint(i, strings.Repeat("#", maxBytes/8-10))
				clock = clock.Add(2 * markEvery)
				d.put(hashOf(text), text)
			}
			n := 0
			for i := range texts {
				if has(i) {
					n++
				}
			}
			if n > 0 {
				t.Errorf("%d small ones are left where large ones have no room", n)
			}
		})
	}
}

func testHostDocuments(t testing.TB, dir string, maxNumber, maxBytes int, clock *time.Time) *hostDocuments {
	t.Helper()
	d, err := newHostDocuments(dir, maxNumber, maxBytes, logtext.Logger(t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	if clock != nil {
		d.now = func() time.Time { return *clock }
	}
	return d
}

// What others leave in the folder, and what becomes of it.
func TestHostDocumentsAreVerified(t *testing.T) {
	const text = `{hello}`
	hash := hashOf(text)
	for what, damage := range map[string]func(path string) error{
		"cut off": func(path string) error { return os.Truncate(path, 3) },
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"another": func(path string) error { return os.WriteFile(path, []byte(`{secrets}`), 0o600) },
		"huge":    func(path string) error { return os.Truncate(path, 1<<40) },
		"a link": func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path+"x", []byte(text), 0o600), os.Symlink(path+"x", path))
		},
		"a pipe":   func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) },
		"a folder": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"secret":   func(path string) error { return errors.Join(os.Remove(path), os.Symlink(path, path)) },
	} {
		t.Run(what, func(t *testing.T) {
			var out bytes.Buffer
			d := testHostDocuments(t, t.TempDir(), 10, 64<<10, nil)
			d.log = logtext.Logger(&out)
			d.put(hash, text)
			if err := damage(d.path(hash)); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if got := d.get(hash); got != "" {
					t.Fatalf("%q", got)
				}
			}
			if n := strings.Count(out.String(), "\n"); n != 1 || !strings.HasPrefix(out.String(), "warning: persisted queries") {
				t.Errorf("said %d times: %s", n, out.String())
			}
		})
	}
}

// A folder that cannot be written, one that is gone, one that is a file: a request
// is served all the same, and the log has one line.
func TestHostDocumentsNeverFail(t *testing.T) {
	const text = `{hello}`
	var out bytes.Buffer
	dir := t.TempDir()
	d := testHostDocuments(t, dir, 10, 64<<10, nil)
	d.log = logtext.Logger(&out)
	if err := os.RemoveAll(d.dir); err != nil {
		t.Fatal(err)
	}
	if d.put(hashOf(text), text); d.get(hashOf(text)) != text || out.Len() > 0 {
		t.Errorf("the folder is not made again: %s", out.String())
	}
	if err := errors.Join(os.RemoveAll(d.dir), os.WriteFile(d.dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d.put(hashOf(text), text)
		if d.get(hashOf(text)) != "" {
			t.Error("from where?")
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("said %d times: %s", n, out.String())
	}

	t.Setenv("NEKO_RUN_DIR", filepath.Join(dir, "none"))
	out.Reset()
	w := newTestWorker(t, Config{Log: logtext.Logger(&out)})
	ask := func(query string) string {
		return string(w.ask("POST", "/graphql", asGraphQL, fmt.Sprintf(`{%s"extensions":%s}`, query, persistedHash(text))).Response.Body())
	}
	if a, b, c := ask(""), ask(`"query":"{hello}",`), ask(""); !strings.Contains(a, "NotFound") || b != c || !strings.Contains(c, "world") {
		t.Errorf("%s, %s, %s", a, b, c)
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("said %d times: %s", n, out.String())
	}
}

// Several processes add and remove at once: what is read is what was written, and
// at the end the folder is within its bounds.
func TestHostDocumentsTogether(t *testing.T) {
	const workers, each, maxNumber = 6, 150, 64
	dir := t.TempDir()
	left := filepath.Join(dir, hostDocumentsName, aside+"1")
	var all sync.WaitGroup
	for i := range workers {
		d := testHostDocuments(t, dir, maxNumber, 1<<20, nil)
		if i == 0 { // of one that was killed while it wrote, long ago
			old := time.Now().Add(-2 * asideFor)
			if err := errors.Join(os.WriteFile(left, []byte("{hel"), 0o600), os.Chtimes(left, old, old)); err != nil {
				t.Fatal(err)
			}
		}
		all.Go(func() {
			for j := range each {
				text := fmt.Sprintf("{hello} # %d", (i+1)*j%200)
				d.put(hashOf(text), text)
				for k := range 200 {
					if k%9 == j%9 {
						text := fmt.Sprintf("{hello} # %d", k)
						if got := d.get(hashOf(text)); got != "" && got != text {
							t.Errorf("%q for %q", got, text)
						}
					}
				}
			}
		})
	}
	all.Wait()
	entries, err := os.ReadDir(filepath.Join(dir, hostDocumentsName))
	if err != nil || len(entries) == 0 || len(entries) > maxNumber+workers*(maxNumber/64) {
		t.Errorf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		if _, ok := parseHash(e.Name()); !ok {
			t.Errorf("left behind: %s", e.Name())
		}
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", left, err)
	}
}

// A full disk costs nothing but that the document is not kept, and leaves nothing
// half written.
func TestHostDocumentsOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("a small file system: ", err) // wants root
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	var out bytes.Buffer
	d := testHostDocuments(t, dir, 1000, 1<<20, nil)
	d.log = logtext.Logger(&out)
	kept := 0
	for i := range 50 {
		text := fmt.Sprint(i, strings.Repeat("#", 5000))
		d.put(hashOf(text), text)
		switch d.get(hashOf(text)) {
		case text:
			kept++
		case "":
		default:
			t.Fatal("another text")
		}
	}
	if kept == 0 || kept > 16 || strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), "no space left") {
		t.Errorf("%d kept: %s", kept, out.String())
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil || len(entries) != kept {
		t.Errorf("%d files for %d documents, %v", len(entries), kept, err)
	}
}

// A document that is asked for by its hash all the time is not forgotten, though its
// plan is known and its text never needed.
func TestNamedDocumentsAreKept(t *testing.T) {
	w := newTestWorker(t, Config{MaxDocuments: 2})
	ask := func(query, named string) string {
		return string(w.ask("POST", "/graphql", asGraphQL, fmt.Sprintf(`{%s"extensions":%s}`, query, persistedHash(named))).Response.Body())
	}
	docs := []string{`{a: hello}`, `{b: hello}`, `{c: hello}`}
	for _, d := range docs {
		if got := ask(fmt.Sprintf(`"query":%q,`, d), d); !strings.Contains(got, "world") {
			t.Fatal(got)
		}
		if got := ask("", docs[0]); !strings.Contains(got, "world") {
			t.Fatal(got)
		}
	}
	if w.documents.get(hashOf(docs[0])) == "" || w.documents.get(hashOf(docs[1])) != "" {
		t.Error("the one used longest ago goes first")
	}
}
