package api

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/store"
)

// fakeStore answers with as many objects as it is told, and remembers what it
// was asked. What tests do not set panics, as the embedded interface is nil.
type fakeStore struct {
	store.Store
	fanout int // objects of each relation
	shared bool
	fault  func() // runs in every call
	err    error  // of every call

	mu    sync.Mutex
	calls []string
	asked []store.Query
}

func (f *fakeStore) called(q store.Query, format string, args ...any) error {
	f.mu.Lock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	f.asked = append(f.asked, q)
	f.mu.Unlock()
	if f.fault != nil {
		f.fault()
	}
	return f.err
}

func (f *fakeStore) Get(_ context.Context, kind store.Kind, keys []string) (map[string]*store.Object, error) {
	if err := f.called(store.Query{}, "get %s %v", kind, keys); err != nil {
		return nil, err
	}
	found := make(map[string]*store.Object)
	for _, k := range keys {
		found[k] = fakeObject(kind, k)
	}
	return found, nil
}

func (f *fakeStore) List(_ context.Context, kind store.Kind, q store.Query) (store.Page, error) {
	if err := f.called(q, "list %s", kind); err != nil {
		return store.Page{}, err
	}
	return f.page(kind, "", q), nil
}

func (f *fakeStore) Related(_ context.Context, rel store.Relation, parents []string, q store.Query) ([]store.Page, error) {
	if err := f.called(q, "related %s %s of %d", rel.Edge, rel.To, len(parents)); err != nil {
		return nil, err
	}
	pages := make([]store.Page, len(parents))
	for i, p := range parents {
		if f.shared {
			p = ""
		}
		pages[i] = f.page(rel.To, p, q)
	}
	return pages, nil
}

// page has as many objects as are asked for, but fanout at the most.
func (f *fakeStore) page(kind store.Kind, parent string, q store.Query) store.Page {
	p := store.Page{Total: -1}
	if q.WantTotal {
		p.Total = 1000
	}
	n := q.First
	if f.fanout > 0 {
		n = min(n, f.fanout)
	}
	for i := range n {
		o := fakeObject(kind, fmt.Sprintf("%s/%s%d", parent, kind, i))
		p.Items = append(p.Items, store.Item{Object: o, Cursor: store.CursorOf(o, q.OrderBy)})
	}
	return p
}

func fakeObject(kind store.Kind, id string) *store.Object {
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	return &store.Object{ID: id, Kind: kind, AttackID: "X" + id, Name: "N" + id, Created: at, Modified: at}
}

// schemaOn is the API on a store.
func schemaOn(t testing.TB, s store.Store, opts ...graphql.SchemaOpt) *graphql.Schema {
	t.Helper()
	schema, err := graphql.ParseSchema(Schema, NewResolver(s), append(SchemaOptions(), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}
