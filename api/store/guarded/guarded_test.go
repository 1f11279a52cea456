package guarded

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/api/store/sqlite"
	"github.com/nekoctl/neko/api/store/storetest"
	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/scripts/slowproxy"
)

func policy(t testing.TB, name string, o breaker.Options) *breaker.Policy {
	t.Helper()
	o.Name, o.IsFailure = name, IsFailure
	p, err := breaker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func guard(t testing.TB, db Database, o breaker.Options) *Store {
	t.Helper()
	s := New(db, policy(t, "store", o), policy(t, "store-changes", o))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openSQLite(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	st, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// It is a store like the one behind it.
func TestStore(t *testing.T) {
	storetest.RunWith(t, storetest.Options{Decorator: true}, func(t *testing.T) store.Store {
		return guard(t, openSQLite(t, filepath.Join(t.TempDir(), "s.db")), breaker.Options{})
	})
	storetest.RunAccounts(t, func(t *testing.T) store.Accounts {
		return guard(t, openSQLite(t, filepath.Join(t.TempDir(), "s.db")), breaker.Options{})
	})
}

// Every method goes through a policy, and none through the wrong one: a change is not made twice.
func TestEveryMethodIsGuarded(t *testing.T) {
	changes := map[string]bool{}
	for _, name := range []string{
		"CreateIndicator", "RetireIndicator", "ReportSighting", "CreateUser", "ChangeUser", "RehashPassword", "CreateSession", "RotateSession",
		"RevokeSession", "PruneSessions", "CreateAPIKey", "RevokeAPIKey", "TouchAPIKey", "AddSigningKey", "DeleteSigningKeys", "Invalidate",
	} {
		changes[name] = true
	}
	direct := map[string]bool{"BeginImport": true, "Close": true, "Invalidated": true}
	db := openSQLite(t, filepath.Join(t.TempDir(), "s.db"))
	s := guard(t, db, breaker.Options{OpenFor: time.Hour})
	v := reflect.ValueOf(s)
	called := 0
	for i := range v.NumMethod() {
		name := v.Type().Method(i).Name
		if direct[name] {
			continue
		}
		called++
		before := [2]uint64{s.reads.Stats().Calls, s.changes.Stats().Calls}
		m := v.Method(i)
		args := []reflect.Value{reflect.ValueOf(t.Context())}
		for j := 1; j < m.Type().NumIn(); j++ {
			args = append(args, reflect.Zero(m.Type().In(j)))
		}
		call := m.Call
		if m.Type().IsVariadic() {
			call = m.CallSlice
		}
		call(args) // it may well fail
		now := [2]uint64{s.reads.Stats().Calls, s.changes.Stats().Calls}
		want := [2]uint64{before[0] + 1, before[1]}
		if changes[name] {
			want = [2]uint64{before[0], before[1] + 1}
		}
		if now != want {
			t.Errorf("%s: %d reads and %d changes, not %d and %d", name, now[0], now[1], want[0], want[1])
		}
	}
	if called != reflect.TypeFor[Database]().NumMethod()-len(direct) {
		t.Errorf("%d methods", called)
	}
}

// errorStore is a database whose every answer to Ping and TouchAPIKey is an error.
type errorStore struct {
	Database
	err   error
	calls int
}

func (s *errorStore) Ping(context.Context) error { s.calls++; return s.err }

func (s *errorStore) TouchAPIKey(context.Context, string, time.Time) error { s.calls++; return s.err }

func TestWhatIsAFailure(t *testing.T) {
	for _, c := range []struct {
		err     error
		failure bool
	}{
		{fmt.Errorf("%w: the disk is full", store.ErrUnavailable), true},
		{context.DeadlineExceeded, true}, // of the store's own
		{&store.NotFoundError{Kind: store.KindUser, Key: "u"}, false},
		{&store.ConflictError{Kind: store.KindUser, ID: "u"}, false},
		{&store.InvalidError{Field: "f", Reason: "r"}, false},
		{store.ErrCursor, false},
		{errors.New("no such column"), false},
	} {
		db := &errorStore{err: c.err}
		s := New(db, policy(t, "store", breaker.Options{MinCalls: 1, OpenFor: time.Hour}), policy(t, "store-changes", breaker.Options{MinCalls: 1, OpenFor: time.Hour}))
		for name, call := range map[string]func() error{
			"a read":   func() error { return s.Ping(t.Context()) },
			"a change": func() error { return s.TouchAPIKey(t.Context(), "", time.Time{}) },
		} {
			db.calls = 0
			if err := call(); err != c.err || db.calls != 1 {
				t.Errorf("%s: %v after %d calls, not %v", name, err, db.calls, c.err)
			}
			err := call()
			if got := errors.Is(err, breaker.ErrOpen); got != c.failure {
				t.Errorf("%s: %v: then %v", name, c.err, err)
			}
			var retry interface{ RetryAfter() time.Duration }
			if errors.Is(err, store.ErrNotMade) != c.failure {
				t.Errorf("%s: whether the call was made cannot be told: %v", name, err)
			}
			if c.failure && (!errors.Is(err, store.ErrUnavailable) || !errors.As(err, &retry) || retry.RetryAfter() < 30*time.Minute || db.calls != 1) {
				t.Errorf("%s: %v, %d calls", name, err, db.calls)
			}
		}
	}
}

// quick are options with which outages of tests are short.
var quick = breaker.Options{Timeout: 300 * time.Millisecond, MinCalls: 5, OpenFor: 100 * time.Millisecond, Retries: -1}

// until calls f until it has the outcome that is waited for.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}

// Somebody keeps the file locked for writing: changes are refused at once after a while, and
// queries go on.
func TestSQLiteIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	o := quick
	o.OpenFor = 2 * time.Second
	s := guard(t, openSQLite(t, path), o)
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	sight := func() error {
		_, err := s.CreateIndicator(t.Context(), store.NewIndicator{Type: "domain-name", Value: "a.example"})
		return err
	}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if err := sight(); !errors.Is(err, store.ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	until(t, "refused at once", func() bool { return errors.Is(sight(), breaker.ErrOpen) })
	until(t, "queries go on", func() bool {
		_, err := s.Counts(t.Context(), store.ByKind)
		return err == nil && s.reads.State() == breaker.Closed
	})
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	until(t, "changes again", func() bool { return sight() == nil || errors.Is(sight(), store.ErrConflict) })
	// What was given up has not been made behind our back.
	until(t, "nothing under way", func() bool { return s.changes.Stats().InFlight == 0 })
	until(t, "a list", func() bool {
		page, err := s.List(t.Context(), store.KindIndicator, store.Query{First: 10})
		if err == nil && len(page.Items) != 1 {
			t.Error(len(page.Items))
		}
		return err == nil
	})
}

// A MongoDB is paused, killed and cut off. Each time the breaker opens, and then nobody
// waits, and when the server is back all is as before.
func TestMongoGoes(t *testing.T) {
	if mongotest.Real() {
		t.Skip("needs a server of its own")
	}
	server := mongotest.Start(t)
	proxy, err := slowproxy.New(server.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	db, err := mongo.Open(t.Context(), "mongodb://"+proxy.Addr()+"/neko", mongo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := guard(t, db, quick)
	count := func() error {
		_, err := s.Counts(t.Context(), store.ByKind)
		return err
	}
	until(t, "answers", func() bool { return count() == nil })
	descriptors := func() int {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(open)
	}
	before := descriptors()
	for _, c := range []struct {
		name       string
		goes, back func()
	}{
		{"paused", func() { server.Stop(t) }, func() { server.Continue(t) }},
		{"killed", server.Kill, func() { server.Restart(t) }},
		{"stalled", proxy.Stall, func() { resume(t, proxy) }},
		{"refused", proxy.Refuse, func() { resume(t, proxy) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 {
				c.goes()
				for s.reads.State() == breaker.Closed {
					began := time.Now()
					var all sync.WaitGroup
					for range 5 {
						all.Go(func() {
							if err := count(); !errors.Is(err, store.ErrUnavailable) {
								t.Error(err)
							}
						})
					}
					all.Wait()
					if took := time.Since(began); took > 20*quick.Timeout {
						t.Fatalf("calls took %v", took)
					}
				}
				refused := s.reads.Stats()
				until(t, "refused", func() bool { return errors.Is(count(), breaker.ErrOpen) })
				if now := s.reads.Stats(); now.Rejected == refused.Rejected {
					t.Errorf("%+v", now)
				}
				c.back()
				until(t, "back", func() bool { return count() == nil && s.reads.State() == breaker.Closed })
				until(t, "nothing under way", func() bool { return s.reads.Stats().InFlight == 0 })
			}
		})
	}
	// As many connections as there were calls at once, on either side of the proxy, are kept.
	until(t, "no descriptors left", func() bool { return descriptors() <= before+2*5 })
}

func resume(t *testing.T, p *slowproxy.Proxy) {
	t.Helper()
	if err := p.Resume(); err != nil {
		t.Error(err)
	}
}

func TestMain(m *testing.M) {
	// The stores' own tests draw many cases; here it is about whether all comes through.
	flag.Parse()
	if err := flag.Set("rapid.checks", "1"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// Secrets that a store has in its errors are no secret to who reads the state of a breaker; stores
// take them out.
func TestReasonsSayWhatTheStoreSays(t *testing.T) {
	p := policy(t, "store", breaker.Options{MinCalls: 1})
	s := New(&errorStore{err: fmt.Errorf("%w: no server\nanswers", store.ErrUnavailable)}, p, p)
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	if r := p.Status().Reason; !strings.Contains(r, "1 of 1 calls failed, the last: store is not available: no server answers") {
		t.Error(r)
	}
}
