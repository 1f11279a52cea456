package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nekoctl/neko/api/store"
)

// RunAccounts runs the suite of [store.Accounts]. open gives a store without
// accounts, which the test closes with t.Cleanup.
func RunAccounts(t *testing.T, open func(t *testing.T) store.Accounts) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, st store.Accounts)
	}{
		{"Users", testUsers},
		{"UserNames", testUserNames},
		{"ChangeUser", testChangeUser},
		{"Rehash", testRehash},
		{"Sessions", testSessions},
		{"RotationRace", testRotationRace},
		{"APIKeys", testAPIKeys},
		{"SigningKeys", testSigningKeys},
		{"Pages", testAccountPages},
		{"HostileStrings", testHostileStrings},
		{"Contexts", testAccountContexts},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// at is an instant of the tests, some seconds after the first.
func at(seconds int) time.Time {
	return time.Date(2026, 3, 4, 5, 6, seconds, 789_000, time.UTC)
}

func digest(b byte) (d store.Digest) {
	for i := range d {
		d[i] = b ^ byte(i) // 0 too, and what is no UTF-8
	}
	return d
}

func user(n int, name string) store.User {
	return store.User{ID: fmt.Sprintf("user-%03d", n), Name: name, Role: "VIEWER", Password: "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA", Created: at(n), PasswordChanged: at(n)}
}

func createUser(t *testing.T, st store.Accounts, u store.User) {
	t.Helper()
	if err := st.CreateUser(ctx, u); err != nil {
		t.Fatal(err)
	}
}

func wantUser(t *testing.T, st store.Accounts, want store.User) {
	t.Helper()
	if got, err := st.User(ctx, want.ID); err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

// wantNone looks for an error about what is not there.
func wantNone(t *testing.T, err error, kind store.Kind, key string) {
	t.Helper()
	var none *store.NotFoundError
	if !errors.As(err, &none) || none.Kind != kind || none.Key != key {
		t.Errorf("got %v, want no %s %q", err, kind, key)
	}
}

// wantConflict looks for an error about what is there already.
func wantConflict(t *testing.T, err error, kind store.Kind) {
	t.Helper()
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) || conflict.Kind != kind {
		t.Errorf("got %v, want a conflict with another %s", err, kind)
	}
}

func testUsers(t *testing.T, st store.Accounts) {
	_, err := st.User(ctx, "user-001")
	wantNone(t, err, store.KindUser, "user-001")
	_, err = st.UserByName(ctx, "Mia")
	wantNone(t, err, store.KindUser, "Mia")
	if all, err := st.Users(ctx, "", 10); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}

	a, b := user(1, "Mia"), user(2, "Tom")
	b.Role, b.Disabled, b.Epoch = "ADMIN", true, 7
	createUser(t, st, a)
	createUser(t, st, b)
	wantUser(t, st, a)
	wantUser(t, st, b)
	if got, err := st.UserByName(ctx, "mIA"); err != nil || !reflect.DeepEqual(*got, a) {
		t.Errorf("%+v, %v", got, err)
	}
	// Found by exactly its id.
	_, err = st.User(ctx, "USER-001")
	wantNone(t, err, store.KindUser, "USER-001")

	again := user(1, "other")
	wantConflict(t, st.CreateUser(ctx, again), store.KindUser)
	wantUser(t, st, a)
}

func testUserNames(t *testing.T, st store.Accounts) {
	createUser(t, st, user(1, "Zoë"))
	for i, name := range []string{"Zoë", "zoe", "ZOË", "Zoe\u0308", "ｚｏｅ"} {
		wantConflict(t, st.CreateUser(ctx, user(2+i, name)), store.KindUser)
		if u, err := st.UserByName(ctx, name); err != nil || u.ID != "user-001" || u.Name != "Zoë" {
			t.Errorf("%q: %+v, %v", name, u, err)
		}
	}
	createUser(t, st, user(9, "Zo"))

	// Of many that create one name at once, one does.
	const n = 8
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = st.CreateUser(ctx, user(20+i, []string{"race", "RACE"}[i%2])) })
	}
	wg.Wait()
	created := 0
	for _, err := range errs {
		if err == nil {
			created++
		} else {
			wantConflict(t, err, store.KindUser)
		}
	}
	if created != 1 {
		t.Errorf("%d of one name were created", created)
	}
}

func testChangeUser(t *testing.T, st store.Accounts) {
	u := user(1, "Mia")
	createUser(t, st, u)
	createUser(t, st, user(2, "Tom"))
	admin, password, yes, no := "ADMIN", "$argon2id$other", true, false
	for _, c := range []struct {
		change store.UserChange
		does   func()
	}{
		{store.UserChange{Role: &admin, At: at(10)}, func() { u.Role = admin }},
		{store.UserChange{Disabled: &yes, At: at(11)}, func() { u.Disabled = true }},
		{store.UserChange{Password: &password, At: at(12)}, func() { u.Password, u.PasswordChanged = password, at(12) }},
		{store.UserChange{Disabled: &no, Role: &admin, At: at(13)}, func() { u.Disabled = false }},
		{store.UserChange{At: at(14)}, func() {}}, // ends what the user has open
	} {
		got, err := st.ChangeUser(ctx, u.ID, c.change)
		c.does()
		u.Epoch++
		if err != nil || !reflect.DeepEqual(*got, u) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, u)
		}
		wantUser(t, st, u)
	}
	wantUser(t, st, user(2, "Tom"))
	_, err := st.ChangeUser(ctx, "user-003", store.UserChange{Disabled: &yes, At: at(9)})
	wantNone(t, err, store.KindUser, "user-003")

	// No change is lost among others.
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := st.ChangeUser(ctx, u.ID, store.UserChange{At: at(20)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	u.Epoch += 10
	wantUser(t, st, u)
}

func testRehash(t *testing.T, st store.Accounts) {
	u := user(1, "Mia")
	createUser(t, st, u)
	if err := st.RehashPassword(ctx, u.ID, "$argon2id$not this", "$argon2id$x"); err != nil {
		t.Error(err)
	}
	wantUser(t, st, u)
	if err := st.RehashPassword(ctx, u.ID, u.Password, "$argon2id$new"); err != nil {
		t.Error(err)
	}
	u.Password = "$argon2id$new"
	wantUser(t, st, u) // the same epoch: nobody has to log in again
	if err := st.RehashPassword(ctx, "user-002", "a", "b"); err != nil {
		t.Error(err)
	}
}

func session(n int) store.Session {
	return store.Session{ID: fmt.Sprintf("session-%03d", n), UserID: "user-001", Epoch: 3, Digest: digest(1), Created: at(0), Expires: at(30), Ends: at(50)}
}

func wantSession(t *testing.T, st store.Accounts, want store.Session) {
	t.Helper()
	if got, err := st.Session(ctx, want.ID); err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func testSessions(t *testing.T, st store.Accounts) {
	_, err := st.Session(ctx, "session-001")
	wantNone(t, err, store.KindSession, "session-001")
	s, other := session(1), session(2)
	other.Expires = at(29)
	for _, v := range []store.Session{s, other} {
		if err := st.CreateSession(ctx, v); err != nil {
			t.Fatal(err)
		}
	}
	wantConflict(t, st.CreateSession(ctx, session(1)), store.KindSession)
	wantSession(t, st, s)

	rotate := func(r store.Rotation, want bool) {
		t.Helper()
		if got, err := st.RotateSession(ctx, r); err != nil || got != want {
			t.Errorf("%+v: %t, %v", r, got, err)
		}
		if want {
			s.Digest, s.Expires = r.New, r.Expires
		}
		wantSession(t, st, s)
	}
	rotate(store.Rotation{ID: s.ID, Old: digest(1), New: digest(2), Now: at(10), Expires: at(40)}, true)
	rotate(store.Rotation{ID: s.ID, Old: digest(1), New: digest(3), Now: at(11), Expires: at(41)}, false) // an old one
	rotate(store.Rotation{ID: s.ID, Old: digest(2), New: digest(3), Now: at(40), Expires: at(45)}, false) // expired
	rotate(store.Rotation{ID: s.ID, Old: digest(2), New: digest(3), Now: at(39), Expires: at(45)}, true)
	rotate(store.Rotation{ID: "session-009", Old: digest(3), New: digest(4), Now: at(39), Expires: at(45)}, false)

	if err := st.RevokeSession(ctx, s.ID, at(42)); err != nil {
		t.Fatal(err)
	}
	s.Revoked = at(42)
	wantSession(t, st, s)
	rotate(store.Rotation{ID: s.ID, Old: digest(3), New: digest(4), Now: at(43), Expires: at(45)}, false)
	if err := st.RevokeSession(ctx, s.ID, at(43)); err != nil {
		t.Error(err)
	}
	wantSession(t, st, s)
	wantSession(t, st, other)
	if err := st.RevokeSession(ctx, "session-009", at(43)); err != nil {
		t.Error(err)
	}

	if err := st.PruneSessions(ctx, at(29)); err != nil {
		t.Error(err)
	}
	wantSession(t, st, other)
	if err := st.PruneSessions(ctx, at(30)); err != nil {
		t.Error(err)
	}
	_, err = st.Session(ctx, other.ID)
	wantNone(t, err, store.KindSession, other.ID)
	wantSession(t, st, s)
}

// Of many that use one refresh token at once, one gets the next.
func testRotationRace(t *testing.T, st store.Accounts) {
	s := session(1)
	if err := st.CreateSession(ctx, s); err != nil {
		t.Fatal(err)
	}
	for round := range byte(5) {
		const n = 8
		var mu sync.Mutex
		var won []store.Digest
		var wg sync.WaitGroup
		for i := range byte(n) {
			wg.Go(func() {
				next := digest(100 + n*round + i)
				ok, err := st.RotateSession(ctx, store.Rotation{ID: s.ID, Old: s.Digest, New: next, Now: at(1), Expires: at(31)})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if ok {
					won = append(won, next)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d won", len(won))
		}
		s.Digest, s.Expires = won[0], at(31)
		wantSession(t, st, s)
	}
}

func apiKey(n int) store.APIKey {
	return store.APIKey{ID: fmt.Sprintf("key-%03d", n), Name: "gateway", Digest: digest(byte(n)), Role: "ANALYST", Owner: "user-001", Created: at(1)}
}

func wantAPIKey(t *testing.T, st store.Accounts, want store.APIKey) {
	t.Helper()
	if got, err := st.APIKey(ctx, want.ID); err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func testAPIKeys(t *testing.T, st store.Accounts) {
	_, err := st.APIKey(ctx, "key-001")
	wantNone(t, err, store.KindAPIKey, "key-001")
	a, b := apiKey(1), apiKey(2)
	b.Scopes, b.Owner, b.Expires, b.LastUsed = []string{"Query.*", "Mutation.reportSighting"}, "", at(50), at(2)
	none := apiKey(3)
	none.Scopes = []string{} // may ask for nothing: not the same as nil
	for _, k := range []store.APIKey{a, b, none} {
		if err := st.CreateAPIKey(ctx, k); err != nil {
			t.Fatal(err)
		}
		wantAPIKey(t, st, k)
	}
	wantConflict(t, st.CreateAPIKey(ctx, apiKey(1)), store.KindAPIKey)

	for _, touch := range []struct{ at, want int }{{10, 10}, {9, 10}, {11, 11}} {
		if err := st.TouchAPIKey(ctx, a.ID, at(touch.at)); err != nil {
			t.Error(err)
		}
		a.LastUsed = at(touch.want)
		wantAPIKey(t, st, a)
	}
	if err := st.TouchAPIKey(ctx, "key-009", at(1)); err != nil {
		t.Error(err)
	}
	a.Revoked = at(20)
	for _, when := range []int{20, 21} {
		if got, err := st.RevokeAPIKey(ctx, a.ID, at(when)); err != nil || !reflect.DeepEqual(*got, a) {
			t.Errorf("%+v, %v", got, err)
		}
		wantAPIKey(t, st, a)
	}
	_, err = st.RevokeAPIKey(ctx, "key-009", at(20))
	wantNone(t, err, store.KindAPIKey, "key-009")
	wantAPIKey(t, st, b)
}

func testSigningKeys(t *testing.T, st store.Accounts) {
	if keys, err := st.SigningKeys(ctx); err != nil || len(keys) != 0 {
		t.Errorf("%v, %v", keys, err)
	}
	key := func(n int64) store.SigningKey {
		return store.SigningKey{Number: n, ID: fmt.Sprint("kid-", n), Public: []byte{0, 255, byte(n)}, Sealed: []byte{1, 0, 254}, Created: at(int(n)), NotBefore: at(int(n) + 5)}
	}
	want := func(numbers ...int64) {
		t.Helper()
		keys, err := st.SigningKeys(ctx)
		if err != nil || len(keys) != len(numbers) {
			t.Fatalf("%v, %v, want %v", keys, err, numbers)
		}
		for i, n := range numbers {
			if !reflect.DeepEqual(*keys[i], key(n)) {
				t.Errorf("got %+v, want %+v", *keys[i], key(n))
			}
		}
	}
	for _, n := range []int64{10, 2, 1} { // by number, not by text or time
		if err := st.AddSigningKey(ctx, key(n)); err != nil {
			t.Fatal(err)
		}
	}
	other := key(2)
	other.ID = "another"
	wantConflict(t, st.AddSigningKey(ctx, other), store.KindSigningKey)
	want(1, 2, 10)
	if err := st.DeleteSigningKeys(ctx, 2); err != nil {
		t.Error(err)
	}
	want(2, 10)

	// Of many that rotate at once, one makes the next.
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := st.AddSigningKey(ctx, key(11)); err != nil {
				wantConflict(t, err, store.KindSigningKey)
			}
		})
	}
	wg.Wait()
	want(2, 10, 11)
}

func testAccountPages(t *testing.T, st store.Accounts) {
	for _, n := range []int{3, 1, 5, 2, 4} {
		createUser(t, st, user(n, fmt.Sprint("name", 9-n)))
		if err := st.CreateAPIKey(ctx, apiKey(n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		after, limit int
		want         string
	}{
		{0, 10, "1 2 3 4 5"}, {0, 2, "1 2"}, {2, 2, "3 4"}, {4, 2, "5"}, {5, 2, ""}, {0, 0, ""},
	} {
		var users, keys []string
		us, err := st.Users(ctx, user(c.after, "").ID, c.limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range us {
			users = append(users, strings.TrimPrefix(u.ID, "user-00"))
		}
		ks, err := st.APIKeys(ctx, apiKey(c.after).ID, c.limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range ks {
			keys = append(keys, strings.TrimPrefix(k.ID, "key-00"))
		}
		if strings.Join(users, " ") != c.want || strings.Join(keys, " ") != c.want {
			t.Errorf("%d after %d: %v, %v, want %s", c.limit, c.after, users, keys, c.want)
		}
	}
}

// hostile are strings that mean something to a database, if they are let.
var hostile = []string{
	`' OR '1'='1`, `"; DROP TABLE user; --`, `x' UNION SELECT * FROM user --`, `%`, `_`, `*`, `\`, `\'`, "`", `?1`, `:name`, `@a`, `$ne`, `$where`, `$gt`,
	`{"$ne": null}`, `{"$gt": ""}`, `{$regex: ".*"}`, `[]`, `null`, `true`, `0`, `a.b`, `$a.b`, `..`, `user.name`, "a\nb", "a\tb", "\u2028", "\ufeffx", "日本語", "😀", "\u202ex",
}

// Whatever a name or an id is, it is that and nothing else: found by itself, and
// by nothing that was made to match all.
func testHostileStrings(t *testing.T, st store.Accounts) {
	createUser(t, st, user(1, "victim"))
	n := 1
	try := func(t interface{ Errorf(string, ...any) }, s string) {
		n++
		if u, err := st.UserByName(ctx, s); !errors.Is(err, store.ErrNotFound) && (err != nil || store.Fold(u.Name) != store.Fold(s)) {
			t.Errorf("UserByName(%q): %+v, %v", s, u, err)
		}
		if u, err := st.User(ctx, s); !errors.Is(err, store.ErrNotFound) && (err != nil || u.ID != s) {
			t.Errorf("User(%q): %+v, %v", s, u, err)
		}
		if k, err := st.APIKey(ctx, s); !errors.Is(err, store.ErrNotFound) && (err != nil || k.ID != s) {
			t.Errorf("APIKey(%q): %+v, %v", s, k, err)
		}
		if v, err := st.Session(ctx, s); !errors.Is(err, store.ErrNotFound) && (err != nil || v.ID != s) {
			t.Errorf("Session(%q): %+v, %v", s, v, err)
		}
		if ok, err := st.RotateSession(ctx, store.Rotation{ID: s, Now: at(0), Expires: at(1)}); ok || err != nil {
			t.Errorf("RotateSession(%q): %t, %v", s, ok, err)
		}
		u := store.User{ID: fmt.Sprintf("%d %s", n, s), Name: s, Role: s, Password: s, Created: at(1), PasswordChanged: at(2)}
		if err := st.CreateUser(ctx, u); errors.Is(err, store.ErrConflict) {
			return
		} else if err != nil {
			t.Errorf("CreateUser(%q): %v", s, err)
			return
		}
		for _, find := range []func() (*store.User, error){
			func() (*store.User, error) { return st.User(ctx, u.ID) },
			func() (*store.User, error) { return st.UserByName(ctx, s) },
		} {
			if got, err := find(); err != nil || !reflect.DeepEqual(*got, u) {
				t.Errorf("%q: %+v, %v", s, got, err)
			}
		}
		k := store.APIKey{ID: fmt.Sprintf("%d %s", n, s), Name: s, Role: s, Scopes: []string{s}, Owner: s, Created: at(1)}
		if err := st.CreateAPIKey(ctx, k); err != nil {
			t.Errorf("CreateAPIKey(%q): %v", s, err)
		} else if got, err := st.APIKey(ctx, k.ID); err != nil || !reflect.DeepEqual(*got, k) {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	for _, s := range hostile {
		try(t, s)
	}
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(hostile), rapid.StringN(1, 8, 24)), 1, 3).Draw(t, "parts")
		try(t, strings.ReplaceAll(strings.Join(parts, ""), "\x00", ""))
	})
	wantUser(t, st, user(1, "victim"))
}

// A method whose context has ended says so, and changes nothing.
func testAccountContexts(t *testing.T, st store.Accounts) {
	createUser(t, st, user(1, "Mia"))
	ended, cancel := context.WithCancel(ctx)
	cancel()
	yes := true
	for name, err := range map[string]error{
		"CreateUser": st.CreateUser(ended, user(2, "Tom")),
		"User":       second(st.User(ended, "user-001")),
		"ChangeUser": second(st.ChangeUser(ended, "user-001", store.UserChange{Disabled: &yes})),
		"Rotate":     second(st.RotateSession(ended, store.Rotation{})),
		"Keys":       second(st.SigningKeys(ended)),
	} {
		if !errors.Is(err, ended.Err()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantUser(t, st, user(1, "Mia"))
	_, err := st.UserByName(ctx, "Tom")
	wantNone(t, err, store.KindUser, "Tom")
}

func second[T any](_ T, err error) error { return err }
