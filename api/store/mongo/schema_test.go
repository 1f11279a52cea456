package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
)

func indexNames(t *testing.T, s *Store) string {
	t.Helper()
	var out []string
	for _, name := range []string{objectsName, relationsName} {
		cur, err := s.db.Collection(name).Indexes().List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := walk(t.Context(), cur, func(d *struct{ Name string }) error {
			out = append(out, name+"."+d.Name)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Join(out, " ")
}

// Workers that start at the same moment make one schema, and all of them serve.
func TestOpenedAtOnce(t *testing.T) {
	url := mongotest.URL(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			st, err := Open(context.Background(), url, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			if err := st.Ping(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st := open(t, url, Options{})
	have := indexNames(t, st)
	for _, i := range indexes {
		if strings.Count(have+" ", i.collection+"."+i.name+" ") != 1 {
			t.Errorf("index %s of %s in %s", i.name, i.collection, have)
		}
	}
	if len(indexes) < 20 {
		t.Errorf("%d indexes", len(indexes))
	}
}

func TestMigrate(t *testing.T) {
	url := mongotest.URL(t)
	run := func(dry bool) string {
		t.Helper()
		var b strings.Builder
		if err := Migrate(t.Context(), url, Options{}, &b, dry); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	all := fmt.Sprint(len(indexes))
	if got := run(true); !strings.Contains(got, "would make the index by_name of objects\n") || !strings.HasSuffix(got, "would go from schema version 0 to 1, and make "+all+" indexes\n") {
		t.Errorf("dry: %s", got)
	}
	if got := run(true); !strings.Contains(got, "from schema version 0") {
		t.Errorf("a dry run did something: %s", got)
	}
	if got := run(false); !strings.Contains(got, "making the index by_name of objects\n") || !strings.HasSuffix(got, "schema version 1, was 0; made "+all+" indexes\n") {
		t.Errorf("%s", got)
	}
	if got := run(false); got != Where(url)+": schema version 1, nothing to do\n" {
		t.Errorf("again: %s", got)
	}
	st := open(t, url, Options{})
	mustLoad(t, st, before...)
	if err := st.objects.Indexes().DropOne(t.Context(), "by_name"); err != nil {
		t.Fatal(err)
	}
	if got := run(false); !strings.HasSuffix(got, "schema version 1, made 1 indexes\n") || !strings.Contains(indexNames(t, st), ".by_name") {
		t.Errorf("one dropped: %s", got)
	}

	set := func(version int) {
		t.Helper()
		if _, err := st.first.meta.UpdateOne(t.Context(), bson.D(is(fID, schemaID)), bson.D{{Key: "$set", Value: bson.D{{Key: "version", Value: version}}}}); err != nil {
			t.Fatal(err)
		}
	}
	set(Version + 1)
	for what, err := range map[string]error{"Open": second(Open(t.Context(), url, Options{})), "Migrate": Migrate(t.Context(), url, Options{}, new(strings.Builder), false)} {
		if !errors.Is(err, store.ErrTooNew) || !strings.Contains(err.Error(), "has schema version 2, this program knows up to 1") || !strings.Contains(err.Error(), Where(url)) {
			t.Errorf("%s of a newer store: %v", what, err)
		}
	}
	if _, err := st.first.meta.DeleteOne(t.Context(), bson.D(is(fID, schemaID))); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"Open": second(Open(t.Context(), url, Options{})), "Migrate": Migrate(t.Context(), url, Options{}, new(strings.Builder), false)} {
		var open *store.OpenError
		if !errors.As(err, &open) || !strings.Contains(err.Error(), "objects is of another program") || !strings.Contains(open.Hint(), "name another database") {
			t.Errorf("%s of another program's database: %v", what, err)
		}
	}
	if err := st.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without a schema it is alive: %v", err)
	}
}

// A store of an earlier version is not changed by those who serve, and by a command
// it is, while they serve.
func TestOlderSchema(t *testing.T) {
	url := mongotest.URL(t)
	st := open(t, url, Options{})
	mustLoad(t, st, before...)
	later := Options{version: Version + 1}
	var e *store.OpenError
	if err := second(Open(t.Context(), url, later)); !errors.As(err, &e) || !strings.Contains(err.Error(), "its schema has version 1, and this program needs 2") ||
		!strings.Contains(e.Hint(), "run neko-api migrate") {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := Migrate(t.Context(), url, later, &said, true); err != nil || !strings.Contains(said.String(), "would go from schema version 1 to 2") {
		t.Error(err, said.String())
	}
	if err := Migrate(t.Context(), url, later, &said, false); err != nil || !strings.HasSuffix(said.String(), "schema version 2, was 1; made 0 indexes\n") {
		t.Error(err, said.String())
	}
	if p, err := st.List(t.Context(), store.KindThreatActor, store.Query{First: 9}); err != nil || len(p.Items) != 3 {
		t.Errorf("%d actors, %v", len(p.Items), err)
	}
	open(t, url, later)
}

func second(_ *Store, err error) error { return err }
