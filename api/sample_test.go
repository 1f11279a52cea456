package api

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/sample"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/sqlite"
)

// now is the time in tests.
var now = time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)

// openStore opens an empty SQLite store.
func openStore(t testing.TB) store.Store {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "api.db"), sqlite.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// client is the API as a client sees it, on a store of its own.
type client struct {
	testing.TB
	schema *graphql.Schema
}

// newSample is the API on the sample data.
func newSample(t testing.TB) client {
	t.Helper()
	return newClient(t, openSample(t))
}

// openSample opens a store with the sample data.
func openSample(t testing.TB) store.Store {
	t.Helper()
	st := openStore(t)
	if _, err := sample.Load(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	return st
}

func newClient(t testing.TB, st store.Store) client {
	t.Helper()
	r := NewResolver(st)
	r.now = func() time.Time { return now }
	schema, err := graphql.ParseSchema(Schema, r, SchemaOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	return client{t, schema}
}

// ask returns the whole answer as JSON.
func (c client) ask(query string, vars map[string]any) string {
	c.Helper()
	res := c.schema.Exec(c.Context(), query, "", vars)
	out, err := json.Marshal(res)
	if err != nil {
		c.Fatal(err)
	}
	return string(out)
}

// get asks for data into v and fails on any error.
func (c client) get(v any, query string, vars map[string]any) {
	c.Helper()
	res := c.schema.Exec(c.Context(), query, "", vars)
	if len(res.Errors) > 0 {
		c.Fatalf("%s: %v", query, res.Errors)
	}
	if err := json.Unmarshal(res.Data, v); err != nil {
		c.Fatal(err)
	}
}

// wantJSON compares two documents, however they are spaced.
func wantJSON(t testing.TB, got, want string) {
	t.Helper()
	indent := func(doc string) []string {
		var b bytes.Buffer
		if err := json.Indent(&b, []byte(strings.TrimSpace(doc)), "", "  "); err != nil {
			t.Fatalf("%v: %s", err, doc)
		}
		return strings.Split(b.String(), "\n")
	}
	g, w := indent(got), indent(want)
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Errorf("line %d differs; got\n%s\nwant\n%s", i+1, strings.Join(g[i:min(i+9, len(g))], "\n"), strings.Join(w[i:min(i+9, len(w))], "\n"))
			return
		}
	}
}
