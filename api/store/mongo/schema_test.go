package mongo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
)

func indexNames(t *testing.T, s *Store) string {
	t.Helper()
	var out []string
	for _, c := range collections {
		name := c.name
		cur, err := s.db.Collection(name).Indexes().List(t.Context())
		if isMissing(err) {
			continue // it comes with its first document
		}
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
	if got := run(true); !strings.Contains(got, "would make the index by_name of objects\n") || !strings.HasSuffix(got, fmt.Sprintf("would go from schema version 0 to %d, and make ", Version)+all+" indexes\n") {
		t.Errorf("dry: %s", got)
	}
	if got := run(true); !strings.Contains(got, "from schema version 0") {
		t.Errorf("a dry run did something: %s", got)
	}
	if got := run(false); !strings.Contains(got, "making the index by_name of objects\n") || !strings.HasSuffix(got, fmt.Sprintf("schema version %d, was 0; made ", Version)+all+" indexes\n") {
		t.Errorf("%s", got)
	}
	if got := run(false); got != Where(url)+fmt.Sprintf(": schema version %d, nothing to do\n", Version) {
		t.Errorf("again: %s", got)
	}
	st := open(t, url, Options{})
	mustLoad(t, st, before...)
	if err := st.objects.Indexes().DropOne(t.Context(), "by_name"); err != nil {
		t.Fatal(err)
	}
	if got := run(false); !strings.HasSuffix(got, fmt.Sprintf("schema version %d, made 1 indexes\n", Version)) || !strings.Contains(indexNames(t, st), ".by_name") {
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
		if !errors.Is(err, store.ErrTooNew) || !strings.Contains(err.Error(), fmt.Sprintf("has schema version %d, this program knows up to %d", Version+1, Version)) || !strings.Contains(err.Error(), Where(url)) {
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
	if err := second(Open(t.Context(), url, later)); !errors.As(err, &e) || !strings.Contains(err.Error(), fmt.Sprintf("its schema has version %d, and this program needs %d", Version, Version+1)) ||
		!strings.Contains(e.Hint(), "run neko-api migrate") {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := Migrate(t.Context(), url, later, &said, true); err != nil || !strings.Contains(said.String(), fmt.Sprintf("would go from schema version %d to %d", Version, Version+1)) {
		t.Error(err, said.String())
	}
	if err := Migrate(t.Context(), url, later, &said, false); err != nil || !strings.HasSuffix(said.String(), fmt.Sprintf("schema version %d, was %d; made 0 indexes\n", Version+1, Version)) {
		t.Error(err, said.String())
	}
	if p, err := st.List(t.Context(), store.KindThreatActor, store.Query{First: 9}); err != nil || len(p.Items) != 3 {
		t.Errorf("%d actors, %v", len(p.Items), err)
	}
	open(t, url, later)
}

// atCommand calls do before the nth command that a store sends, and before no other.
func atCommand(n int, do func()) func(*options.ClientOptions) {
	var sent atomic.Int64
	return func(o *options.ClientOptions) {
		o.SetMonitor(&event.CommandMonitor{Started: func(context.Context, *event.CommandStartedEvent) {
			if sent.Add(1) == int64(n) {
				do()
			}
		}})
	}
}

// use writes what the collections of each version have, as a worker does.
func use(t *testing.T, s *Store) {
	t.Helper()
	mustLoad(t, s, before...)
	if err := s.CreateUser(t.Context(), store.User{ID: "1", Name: "Mia"}); err != nil {
		t.Fatal(err)
	}
}

func wantUsed(t *testing.T, s *Store, at string) {
	t.Helper()
	if p, err := s.List(t.Context(), store.KindThreatActor, store.Query{First: 9}); err != nil || len(p.Items) != 3 {
		t.Errorf("%s: %d actors, %v", at, len(p.Items), err)
	}
	if _, err := s.UserByName(t.Context(), "mia"); err != nil {
		t.Errorf("%s: %v", at, err)
	}
	have := indexNames(t, s)
	for _, i := range indexes {
		if strings.Count(have+" ", i.collection+"."+i.name+" ") != 1 {
			t.Errorf("%s: index %s of %s in %s", at, i.name, i.collection, have)
		}
	}
}

// However long a worker that sets up an empty database is stopped, and wherever,
// another one completes it and serves, and writes. When the first goes on it finds
// its own store, and not another program's.
func TestSetUpStoppedAnywhere(t *testing.T) {
	for what, setUp := range map[string]func(url string, opts Options) error{
		"Open": func(url string, opts Options) error {
			s, err := Open(context.Background(), url, opts)
			if err != nil {
				return err
			}
			return errors.Join(s.Ping(context.Background()), s.Close())
		},
		"Migrate": func(url string, opts Options) error {
			return Migrate(context.Background(), url, opts, io.Discard, false)
		},
	} {
		t.Run(what, func(t *testing.T) {
			for n, stopped := 1, true; stopped; n++ {
				url := mongotest.URL(t)
				reached, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
				go func() {
					done <- setUp(url, Options{client: atCommand(n, func() { close(reached); <-goOn })})
				}()
				at := fmt.Sprintf("stopped before command %d", n)
				select {
				case <-reached:
					use(t, open(t, url, Options{}))
					close(goOn)
					if err := <-done; err != nil {
						t.Errorf("%s: %v", at, err)
					}
				case err := <-done: // it sends fewer
					if err != nil {
						t.Error(err)
					}
					if stopped = false; n < 15 {
						t.Errorf("only %d commands", n-1)
					}
					use(t, open(t, url, Options{}))
				}
				wantUsed(t, open(t, url, Options{}), at)
			}
		})
	}
}

// Wherever a worker that sets up an empty database dies, the next one completes it.
func TestSetUpDiesAnywhere(t *testing.T) {
	for n, died := 1, true; died; n++ {
		url := mongotest.URL(t)
		ctx, die := context.WithCancel(t.Context())
		s, err := Open(ctx, url, Options{client: atCommand(n, die)})
		if died = err != nil; !died {
			if n < 15 {
				t.Errorf("only %d commands", n-1)
			}
			s.Close()
		} else if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		die()
		next := open(t, url, Options{})
		use(t, next)
		wantUsed(t, next, fmt.Sprintf("dead at command %d", n))
	}
}

// A program of an earlier version that sets up the same database at the same time
// does not take it back, and does not serve it.
func TestSetUpByTwoVersions(t *testing.T) {
	url := mongotest.URL(t)
	later := Options{version: Version + 1}
	var once sync.Once
	_, err := Open(t.Context(), url, Options{client: func(o *options.ClientOptions) {
		o.SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if e.CommandName == "update" { // of the version
				once.Do(func() { use(t, open(t, url, later)) })
			}
		}})
	}})
	if !errors.Is(err, store.ErrTooNew) {
		t.Errorf("the earlier one: %v", err)
	}
	wantUsed(t, open(t, url, later), "the later one")
}

// The first version had no accounts: what is in their collections then is of
// another program, and stays untouched.
func TestAccountsOfAnotherProgram(t *testing.T) {
	url := mongotest.URL(t)
	first := open(t, url, Options{version: 1})
	mustLoad(t, first, before...)
	if _, err := first.db.Collection(usersName).InsertOne(t.Context(), bson.D{{Key: "name", Value: "somebody"}}); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), url, Options{}, io.Discard, false); err == nil || !strings.Contains(err.Error(), "its collection users is of another program") {
		t.Errorf("%v", err)
	}
	if v, err := first.version(t.Context()); err != nil || v != 1 {
		t.Errorf("version %d, %v", v, err)
	}
	if err := first.db.Collection(usersName).Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), url, Options{}, io.Discard, false); err != nil {
		t.Error(err)
	}
	if _, err := open(t, url, Options{}).Users(t.Context(), "", 9); err != nil {
		t.Error(err)
	}
}

func second(_ *Store, err error) error { return err }
