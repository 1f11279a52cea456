package auth

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/api/store/sqlite"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/worker"
)

const password = "correct horse battery"

var secret = []byte("a secret of the tests, long enough!")

// clock is the time in tests.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(c.offset.Load()))
}
func (c *clock) add(d time.Duration) { c.offset.Add(int64(d)) }

// accounts are those of a store that can be away, and count what they are asked.
type accounts struct {
	store.Accounts
	down    atomic.Bool
	users   atomic.Int64 // lookups
	keys    atomic.Int64 // of signing keys
	apiKeys atomic.Int64
	now     atomic.Int64 // of signing keys, under way
	most    atomic.Int64 // of now
}

var errDown = errors.Join(store.ErrUnavailable, errors.New("the database is away"))

func (a *accounts) User(ctx context.Context, id string) (*store.User, error) {
	a.users.Add(1)
	if a.down.Load() {
		return nil, errDown
	}
	return a.Accounts.User(ctx, id)
}

func (a *accounts) UserByName(ctx context.Context, name string) (*store.User, error) {
	if a.down.Load() {
		return nil, errDown
	}
	return a.Accounts.UserByName(ctx, name)
}

func (a *accounts) APIKey(ctx context.Context, id string) (*store.APIKey, error) {
	a.apiKeys.Add(1)
	if a.down.Load() {
		return nil, errDown
	}
	return a.Accounts.APIKey(ctx, id)
}

func (a *accounts) SigningKeys(ctx context.Context) ([]*store.SigningKey, error) {
	a.keys.Add(1)
	if n := a.now.Add(1); n > a.most.Load() {
		a.most.Store(n)
	}
	defer a.now.Add(-1)
	if a.down.Load() {
		return nil, errDown
	}
	return a.Accounts.SigningKeys(ctx)
}

// world is a store with some users, and a worker's service on it.
type world struct {
	*testing.T
	*Service
	clock    *clock
	accounts *accounts
	manager  *Manager
	log      *bytes.Buffer
	users    map[string]*store.User
}

// stores are what accounts are kept in. Each opens an empty one.
var stores = map[string]func(t *testing.T) store.Accounts{
	"SQLite": func(t *testing.T) store.Accounts {
		st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "api.db"), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	},
	"MongoDB": func(t *testing.T) store.Accounts {
		st, err := mongo.Open(t.Context(), mongotest.URL(t), mongo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	},
}

// onEachStore runs a test of what the store takes part in.
func onEachStore(t *testing.T, test func(w *world)) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) { test(newWorldIn(t, open(t))) })
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldIn(t, stores["SQLite"](t))
}

func newWorldIn(t *testing.T, st store.Accounts) *world {
	t.Helper()
	var err error
	w := &world{T: t, clock: &clock{}, accounts: &accounts{Accounts: st}, log: &bytes.Buffer{}, users: map[string]*store.User{}}
	w.Service = w.another(Options{})
	w.manager = w.Manager()
	for name, role := range map[string]string{"vera": RoleViewer, "ana": RoleAnalyst, "adam": RoleAdmin} {
		if w.users[name], err = w.manager.CreateUser(t.Context(), name, role, password); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// another is the service of another worker.
func (w *world) another(o Options) *Service {
	w.Helper()
	o.Now, o.Log = w.clock.now, logtext.Logger(w.log)
	if o.Secret == nil {
		o.Secret = secret
	}
	s, err := New(w.Context(), w.accounts, o)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(s.Close)
	return s
}

func (w *world) login(name string) *Grant {
	w.Helper()
	g, err := w.Login(w.Context(), name, password)
	if err != nil {
		w.Fatal(err)
	}
	return g
}

// who asks a service who somebody is by a bearer token.
func who(t testing.TB, s *Service, token string) (worker.Identity, error) {
	t.Helper()
	return s.Identify(t.Context(), worker.Credentials{Authorization: "Bearer " + token})
}

// wantRefused looks for the 401 of an error, with words that it has.
func wantRefused(t testing.TB, err error, what, words string) {
	t.Helper()
	var e *worker.Error
	if !errors.As(err, &e) || e.Extensions()["code"] != worker.CodeUnauthenticated || !strings.Contains(e.Message, words) {
		t.Errorf("%s: %v, want a refusal: %s", what, err, words)
	}
}

// From login to logout, as a client sees it.
func TestSessionOfAUser(t *testing.T) { onEachStore(t, testSessionOfAUser) }

func testSessionOfAUser(w *world) {
	t := w.T
	g := w.login("ANA") // names are as people write them
	id, err := who(t, w.Service, g.AccessToken)
	if want := (worker.Identity{Subject: "user:" + w.users["ana"].ID, Name: "ana", Role: RoleAnalyst}); err != nil || id.Subject != want.Subject || id.Name != want.Name || id.Role != want.Role || id.Scopes != nil {
		t.Fatalf("%+v, %v", id, err)
	}
	if got := g.Expires.Sub(w.clock.now()); got != 10*time.Minute {
		t.Errorf("good for %v", got)
	}
	w.clock.add(10*time.Minute - time.Second)
	if _, err := who(t, w.Service, g.AccessToken); err != nil {
		t.Error(err)
	}
	w.clock.add(time.Second)
	_, err = who(t, w.Service, g.AccessToken)
	wantRefused(t, err, "after ten minutes", "expired")
	_, err = who(t, w.another(Options{}), g.AccessToken) // which has not seen it before
	wantRefused(t, err, "after ten minutes", "expired")

	next, err := w.Refresh(t.Context(), g.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := who(t, w.Service, next.AccessToken); err != nil || next.RefreshToken == g.RefreshToken {
		t.Error(err)
	}
	if err := w.Logout(t.Context(), next.RefreshToken); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"logged out": next.RefreshToken, "garbage": "nekor_", "empty": "", "an access token": next.AccessToken} {
		if _, err := w.Refresh(t.Context(), token); !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %v", name, err)
		}
		if err := w.Logout(t.Context(), token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.log.Len() > 0 {
		t.Errorf("log: %s", w.log)
	}
}

// A session moves on with each refresh, but not for ever.
func TestSessionEnds(t *testing.T) { onEachStore(t, testSessionEnds) }

func testSessionEnds(w *world) {
	t := w.T
	const day = 24 * time.Hour
	g := w.login("ana")
	begun := w.clock.now()
	idle := w.login("ana")
	for i, wait := range []time.Duration{29 * day, 29 * day, 29 * day, 2 * day} {
		w.clock.add(wait)
		var err error
		if g, err = w.Refresh(t.Context(), g.RefreshToken); err != nil {
			t.Fatal(i, err)
		}
		if g.RefreshExpires.Sub(begun) > 90*day {
			t.Errorf("%d: expires %v", i, g.RefreshExpires)
		}
	}
	w.clock.add(day)
	for name, token := range map[string]string{"idle": idle.RefreshToken, "ninety days old": g.RefreshToken} {
		if _, err := w.Refresh(t.Context(), token); !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.clock.add(2 * time.Hour)
	w.login("ana") // forgets them
	id, _, _ := w.parseRefreshToken(g.RefreshToken)
	if _, err := w.accounts.Session(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}

// A refresh token that comes a second time ends the session, for both who have it.
func TestReuse(t *testing.T) { onEachStore(t, testReuse) }

func testReuse(w *world) {
	t := w.T
	first := w.login("ana")
	second, err := w.Refresh(t.Context(), first.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	other := w.login("ana")
	if _, err := w.Refresh(t.Context(), first.RefreshToken); !errors.Is(err, ErrCredentials) {
		t.Fatal(err)
	}
	if _, err := w.Refresh(t.Context(), second.RefreshToken); !errors.Is(err, ErrCredentials) {
		t.Error("the session goes on:", err)
	}
	if _, err := w.Refresh(t.Context(), other.RefreshToken); err != nil {
		t.Error("another session has ended:", err)
	}

	// Who knows a session's id alone can do nothing to it.
	id, _, _ := w.parseRefreshToken(w.login("ana").RefreshToken)
	forged := refreshPrefix + id + "_" + letters.EncodeToString(make([]byte, 48))
	if _, err := w.Refresh(t.Context(), forged); !errors.Is(err, ErrCredentials) {
		t.Error(err)
	}
	if err := w.Logout(t.Context(), forged); err != nil {
		t.Error(err)
	}
	if s, err := w.accounts.Session(t.Context(), id); err != nil || !s.Revoked.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
}

// Of many refreshes with one token at once, in several workers, one wins, and all
// the others count as reuse: the session is over.
func TestReuseRace(t *testing.T) { onEachStore(t, testReuseRace) }

func testReuseRace(w *world) {
	t := w.T
	workers := []*Service{w.Service, w.another(Options{}), w.another(Options{})}
	for range 5 {
		g := w.login("ana")
		var mu sync.Mutex
		var won []*Grant
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				next, err := workers[i%len(workers)].Refresh(t.Context(), g.RefreshToken)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, next)
				} else if !errors.Is(err, ErrCredentials) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d won", len(won))
		}
		if _, err := w.Refresh(t.Context(), won[0].RefreshToken); !errors.Is(err, ErrCredentials) {
			t.Error("the session goes on:", err)
		}
	}
}

// What changes about a user counts in all workers within five seconds, for tokens
// that are known there already, for sessions and for the user's API keys.
func TestChangesTakeEffect(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(w *world, id string) error
		key     string // the role that the user's API key has then; "": none
		newRole string
	}{
		{"disabled", func(w *world, id string) error {
			_, err := w.manager.SetDisabled(w.Context(), id, true)
			return err
		}, "", ""},
		{"another password", func(w *world, id string) error {
			_, err := w.manager.SetPassword(w.Context(), id, "another password, and long")
			return err
		}, RoleAdmin, ""},
		{"another role", func(w *world, id string) error {
			_, err := w.manager.SetRole(w.Context(), id, RoleViewer)
			return err
		}, RoleViewer, RoleViewer},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEachStore(t, func(w *world) {
				t := w.T
				other := w.another(Options{})
				adam := w.users["adam"]
				g, bystander := w.login("adam"), w.login("vera")
				_, key, err := w.manager.CreateKey(t.Context(), NewKey{Name: "k", Role: RoleAdmin, Owner: adam.ID})
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range []*Service{w.Service, other} {
					for _, credential := range []string{g.AccessToken, key, bystander.AccessToken} {
						if _, err := who(t, s, credential); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := c.change(w, adam.ID); err != nil {
					t.Fatal(err)
				}
				w.clock.add(TakesEffect)
				for _, s := range []*Service{w.Service, other} {
					_, err := who(t, s, g.AccessToken)
					wantRefused(t, err, "a token from before", "no longer good")
					switch id, err := who(t, s, key); {
					case c.key == "":
						wantRefused(t, err, "the user's key", "not valid")
					case err != nil || id.Role != c.key:
						t.Errorf("the user's key: %+v, %v", id, err)
					}
					if _, err := who(t, s, bystander.AccessToken); err != nil {
						t.Errorf("another user: %v", err)
					}
				}
				if _, err := w.Refresh(t.Context(), g.RefreshToken); !errors.Is(err, ErrCredentials) {
					t.Errorf("the session: %v", err)
				}
				if c.newRole != "" {
					if id, err := who(t, w.Service, w.login("adam").AccessToken); err != nil || id.Role != c.newRole {
						t.Errorf("%+v, %v", id, err)
					}
				}
			})
		})
	}
}

// Who has just got other tokens is not told that they are over by a worker that
// knows the user as it was a moment ago.
func TestLoginAfterAChange(t *testing.T) {
	w := newWorld(t)
	other := w.another(Options{})
	for _, change := range []func() (*store.User, error){
		func() (*store.User, error) { return w.manager.SetPassword(t.Context(), w.users["ana"].ID, password) },
		func() (*store.User, error) { return w.manager.SetRole(t.Context(), w.users["ana"].ID, RoleViewer) },
		func() (*store.User, error) { return w.manager.SetDisabled(t.Context(), w.users["ana"].ID, true) },
		func() (*store.User, error) { return w.manager.SetDisabled(t.Context(), w.users["ana"].ID, false) },
	} {
		u, err := change()
		if err != nil {
			t.Fatal(err)
		}
		if u.Disabled {
			// What is remembered is that.
			w.clock.add(TakesEffect)
			continue
		}
		token := w.login("ana").AccessToken
		if id, err := who(t, other, token); err != nil || id.Role != u.Role {
			t.Errorf("%+v, %v", id, err)
		}
	}
	// Nor if it cannot ask: a token that verifies goes on.
	if _, err := w.manager.SetPassword(t.Context(), w.users["ana"].ID, password); err != nil {
		t.Fatal(err)
	}
	token := w.login("ana").AccessToken
	w.accounts.down.Store(true)
	if _, err := who(t, other, token); err != nil {
		t.Error(err)
	}
}

// While the store is away, who is known goes on: tokens until they expire, keys for
// some minutes; nobody new is let in.
func TestStoreAway(t *testing.T) {
	w := newWorld(t)
	g, unseen := w.login("ana"), w.login("adam")
	_, key, err := w.manager.CreateKey(t.Context(), NewKey{Name: "k", Role: RoleAnalyst, Owner: w.users["ana"].ID})
	if err != nil {
		t.Fatal(err)
	}
	_, unseenKey, err := w.manager.CreateKey(t.Context(), NewKey{Name: "k", Role: RoleAnalyst})
	if err != nil {
		t.Fatal(err)
	}
	for _, credential := range []string{g.AccessToken, key} {
		if _, err := who(t, w.Service, credential); err != nil {
			t.Fatal(err)
		}
	}
	w.accounts.down.Store(true)
	w.clock.add(5 * time.Minute)
	for credential, role := range map[string]string{g.AccessToken: RoleAnalyst, key: RoleAnalyst, unseen.AccessToken: RoleAdmin} {
		if id, err := who(t, w.Service, credential); err != nil || id.Role != role {
			t.Errorf("%.10s: %+v, %v", credential, id, err)
		}
	}
	if _, err := who(t, w.Service, unseenKey); !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := w.Login(t.Context(), "ana", password); !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
	w.clock.add(6 * time.Minute)
	_, err = who(t, w.Service, g.AccessToken)
	wantRefused(t, err, "an expired token", "expired")
	if _, err := who(t, w.Service, key); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a key after eleven minutes: %v", err)
	}
	w.accounts.down.Store(false)
	w.clock.add(askAgain)
	if _, err := who(t, w.Service, key); err != nil {
		t.Error(err)
	}
}

// A token that is known costs neither a signature nor, for some seconds, the store.
func TestKnownTokensAreCheap(t *testing.T) {
	w := newWorld(t)
	g := w.login("ana")
	if _, err := who(t, w.Service, g.AccessToken); err != nil {
		t.Fatal(err)
	}
	users, keys := w.accounts.users.Load(), w.accounts.keys.Load()
	for range 1000 {
		if _, err := who(t, w.Service, g.AccessToken); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.accounts.users.Load() + w.accounts.keys.Load() - users - keys; n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
	if n := len(w.tokens.by); n != 1 {
		t.Errorf("%d tokens are remembered", n)
	}
	for range maxTokens + 10 {
		w.tokens.put([32]byte(newSecret()), verified{expires: w.clock.now().Add(time.Hour)}, w.clock.now())
	}
	if n := len(w.tokens.by); n > maxTokens || n < maxTokens/2 {
		t.Errorf("%d tokens are remembered", n)
	}
}

func BenchmarkIdentify(b *testing.B) {
	st, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "api.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	s, err := New(b.Context(), st, Options{Secret: secret})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	u, err := s.Manager().CreateUser(b.Context(), "ana", RoleAnalyst, password)
	if err != nil {
		b.Fatal(err)
	}
	g, err := s.Login(b.Context(), "ana", password)
	if err != nil {
		b.Fatal(err)
	}
	_, key, err := s.Manager().CreateKey(b.Context(), NewKey{Name: "k", Role: RoleAnalyst, Owner: u.ID})
	if err != nil {
		b.Fatal(err)
	}
	for name, run := range map[string]func() error{
		"known token": func() error { _, err := who(b, s, g.AccessToken); return err },
		"new token":   func() error { _, err := s.parse(b.Context(), g.AccessToken); return err },
		"API key":     func() error { _, err := who(b, s, key); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
