package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/nekoctl/neko/api/store"
)

// published are the ids in a worker's key list.
func published(t *testing.T, s *Service) (ids []string) {
	t.Helper()
	data, err := s.JWKS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		x, err := base64.RawURLEncoding.DecodeString(k["x"])
		if k["kty"] != "OKP" || k["crv"] != "Ed25519" || k["alg"] != "EdDSA" || k["use"] != "sig" || err != nil || len(x) != 32 || len(k) != 6 {
			t.Errorf("%v", k)
		}
		ids = append(ids, k["kid"])
	}
	return ids
}

func TestServeJWKS(t *testing.T) {
	w := newWorld(t)
	var ctx fasthttp.RequestCtx
	w.ServeJWKS(&ctx)
	want, err := w.JWKS(t.Context())
	if err != nil || string(ctx.Response.Body()) != string(want) || string(ctx.Response.Header.ContentType()) != "application/jwk-set+json" ||
		string(ctx.Response.Header.Peek("Cache-Control")) != "public, max-age=300" {
		t.Errorf("%v\n%s", err, ctx.Response.String())
	}
	other := w.another(Options{})
	w.accounts.down.Store(true)
	ctx.Response.Reset()
	other.ServeJWKS(&ctx)
	if ctx.Response.StatusCode() != 503 || strings.Contains(ctx.Response.String(), "database") {
		t.Error(ctx.Response.String())
	}
}

// The example of RFC 8037, appendix A.3.
func TestThumbprint(t *testing.T) {
	x, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	if got := thumbprint(x); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Error(got)
	}
}

// A key signs for thirty days. Its successor is in the list for an hour before it
// signs, and it stays there until all that it has signed is over. Nobody is ever
// shut out, in whatever worker.
func TestRotationByAge(t *testing.T) { onEachStore(t, testRotationByAge) }

func testRotationByAge(w *world) {
	t := w.T
	other := w.another(Options{TokenTTL: MaxTokenTTL})
	signer := func(s *Service) string {
		t.Helper()
		key, _, err := s.keyring.signing(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return key.ID
	}
	first := published(t, w.Service)
	if len(first) != 1 || signer(w.Service) != first[0] || signer(other) != first[0] {
		t.Fatal(first)
	}
	w.clock.add(30*24*time.Hour - keyOverlap - time.Second)
	if signer(w.Service) != first[0] || len(published(t, other)) != 1 {
		t.Error("too early")
	}
	w.clock.add(time.Second)
	if signer(w.Service) != first[0] { // and makes the next
		t.Error("too early")
	}
	w.clock.add(TakesEffect)
	both := published(t, other)
	if len(both) != 2 || both[0] != first[0] || signer(other) != first[0] {
		t.Fatal(both)
	}
	w.clock.add(keyOverlap - 2*TakesEffect)
	long, _, err := other.issue(t.Context(), w.users["ana"])
	if err != nil {
		t.Fatal(err)
	}
	w.clock.add(2 * TakesEffect)
	if signer(w.Service) != both[1] || signer(other) != both[1] {
		t.Error("the successor does not sign")
	}
	w.clock.add(MaxTokenTTL - 3*TakesEffect)
	if _, err := who(t, w.Service, long); err != nil {
		t.Errorf("what the old one has signed: %v", err)
	}
	w.clock.add(3 * TakesEffect)
	if got := published(t, w.Service); !reflect.DeepEqual(got, both[1:]) {
		t.Errorf("%v", got)
	}
	if _, err := who(t, w.Service, w.login("ana").AccessToken); err != nil {
		t.Error(err)
	}
	// After months without a login the key signs on until its successor may.
	w.clock.add(200 * 24 * time.Hour)
	if signer(w.Service) != both[1] {
		t.Error("another signs")
	}
	w.clock.add(keyOverlap)
	third := signer(other)
	if third == both[1] {
		t.Error("the old one signs on")
	}
	if keys, err := w.accounts.SigningKeys(t.Context()); err != nil || len(keys) != 2 || keys[1].ID != third {
		t.Errorf("%v, %v: the first is kept", keys, err)
	}
}

// Of many workers that start at once, or find at once that the key is old, one
// makes the next.
func TestRotationRace(t *testing.T) { onEachStore(t, testRotationRace) }

func testRotationRace(w *world) {
	t := w.T
	var workers []*Service
	for range 6 {
		workers = append(workers, w.another(Options{}))
	}
	w.clock.add(30 * 24 * time.Hour)
	var wg sync.WaitGroup
	for range 4 {
		for _, s := range workers {
			wg.Go(func() {
				if _, _, err := s.keyring.signing(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if keys, err := w.accounts.SigningKeys(t.Context()); err != nil || len(keys) != 2 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

// After a leak: a new key signs at once, and what the old ones have signed is good
// nowhere any more.
func TestRotationAtOnce(t *testing.T) { onEachStore(t, testRotationAtOnce) }

func testRotationAtOnce(w *world) {
	t := w.T
	other := w.another(Options{})
	g := w.login("ana")
	for _, s := range []*Service{w.Service, other} {
		if _, err := who(t, s, g.AccessToken); err != nil {
			t.Fatal(err)
		}
	}
	key, err := w.keyring.next(t.Context(), true)
	if err != nil || key.Number != 2 {
		t.Fatal(key, err)
	}
	w.clock.add(TakesEffect)
	_, err = who(t, w.Service, g.AccessToken) // which it knows
	wantRefused(t, err, "the old token", isOver)
	_, err = who(t, w.another(Options{}), g.AccessToken)
	wantRefused(t, err, "the old token", notOurs)
	if got := published(t, other); !reflect.DeepEqual(got, []string{key.ID}) {
		t.Errorf("%v", got)
	}
	next := w.login("ana")
	if _, err := who(t, other, next.AccessToken); err != nil {
		t.Error(err)
	}
}

// Out of turn, but in no hurry: the new key is published before it signs.
func TestRotationOutOfTurn(t *testing.T) {
	w := newWorld(t)
	key, err := w.keyring.next(t.Context(), false)
	if err != nil || key.Number != 2 || key.NotBefore.Sub(key.Created) < keyOverlap {
		t.Fatal(key, err)
	}
	if keys, err := w.accounts.SigningKeys(t.Context()); err != nil || len(keys) != 2 {
		t.Errorf("%v, %v", keys, err)
	}
}

// A key that was made a moment ago is looked up, whatever was asked for in that
// moment: no token of it is refused.
func TestUnknownKey(t *testing.T) {
	w := newWorld(t)
	other := w.another(Options{})
	if got := published(t, other); len(got) != 1 {
		t.Fatal(got)
	}
	_, err := who(t, other, unknownKey(t, w.login("ana").AccessToken))
	wantRefused(t, err, "a token of no key", notOurs)
	if _, err := w.keyring.next(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	token := w.login("ana").AccessToken // with no key that was deleted
	w.accounts.down.Store(true)
	if _, err := who(t, other, token); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("it is not known whether there is such a key: %v", err)
	}
	w.accounts.down.Store(false)
	w.clock.add(askAgain)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := who(t, other, token); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// unknownKey is token, as if a key had signed it that nobody knows.
func unknownKey(t *testing.T, token string) string {
	t.Helper()
	_, rest, _ := strings.Cut(token, ".")
	head, err := json.Marshal(map[string]string{"alg": "EdDSA", "typ": tokenType, "kid": "nobody's"})
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(head) + "." + rest
}

// The first key may be of a host whose clock is ahead, as far as clocks may be: who
// is behind signs with it nevertheless.
func TestKeyOfAHostThatIsAhead(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		behind time.Duration
		signs  bool
	}{{clockSkew, true}, {clockSkew + time.Second, false}} {
		if _, err := w.keyring.next(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		w.clock.add(-c.behind)
		g, err := w.Login(t.Context(), "ana", password)
		if (err == nil) != c.signs {
			t.Fatalf("%v behind: %v", c.behind, err)
		}
		if c.signs {
			if _, err := who(t, w.Service, g.AccessToken); err != nil {
				t.Error(err)
			}
		}
		w.clock.add(c.behind)
	}
}

// The private halves are sealed, each for its own key.
func TestSealedKeys(t *testing.T) { onEachStore(t, testSealedKeys) }

func testSealedKeys(w *world) {
	t := w.T
	_, err := New(t.Context(), w.accounts, Options{Secret: []byte("another secret that is long enough")})
	var bad *SecretError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "another secret") || !strings.Contains(bad.Hint(), "--auth-secret-file") {
		t.Error(err)
	}
	if _, err := RotateSigningKey(t.Context(), w.accounts, []byte("another secret that is long enough"), false); !errors.As(err, &bad) {
		t.Error(err)
	}
	keys, err := w.keyring.load(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	private, err := w.keyring.open(keys[0])
	if err != nil || strings.Contains(string(keys[0].Sealed), string(private.Seed())) {
		t.Fatal(err)
	}
	second, err := w.keyring.add(t.Context(), 2, w.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	swapped := &signingKey{SigningKey: &store.SigningKey{Public: keys[0].Public, Sealed: second.Sealed}}
	if _, err := w.keyring.open(swapped); err == nil {
		t.Error("the half of another key was opened")
	}
}

// Processes that start at once on an empty home share one secret.
func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.secret")
	if _, err := ReadSecret(path, false); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	var mu sync.Mutex
	made := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			secret, err := ReadSecret(path, true)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || len(secret) < minSecret {
				t.Error(len(secret), err)
			}
			made[string(secret)] = true
		})
	}
	wg.Wait()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || len(made) != 1 {
		t.Errorf("%v, %v, %d secrets", info.Mode(), err, len(made))
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	for _, c := range []struct {
		data string
		mode os.FileMode
		want string
	}{
		{strings.Repeat("a", 32), 0o644, "can be used by everybody"},
		{"short\n", 0o600, "has 5 bytes"},
		{"", 0o600, "has 0 bytes"},
		{strings.Repeat("a", 5000), 0o600, "must have from 32 to 4096"},
	} {
		bad := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(bad, []byte(c.data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(bad, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := ReadSecret(bad, true)
		var known *SecretError
		if !errors.As(err, &known) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), bad) || known.Hint() == "" {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
