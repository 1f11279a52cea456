package auth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/logtext"
)

// keyOverlap is how long a new key is published before it signs: longer than any
// other service keeps our list of keys.
const keyOverlap = time.Hour

// JWKSMaxAge is how long others may keep the list of keys.
const JWKSMaxAge = 5 * time.Minute

// keyring has the keys that sign tokens. They are in the store, and so are the
// same for all workers.
type keyring struct {
	accounts store.Accounts
	seal     cipher.AEAD
	age      time.Duration
	now      func() time.Time
	keys     *fresh[[]*signingKey] // by the empty id
	rotating sync.Mutex
	failed   func(error) // is told what rotation has failed of
}

// signingKey is one key, with its private half if it was opened.
type signingKey struct {
	*store.SigningKey
	public ed25519.PublicKey
	ends   time.Time // what it has signed is good until then; zero: no end in sight
}

func newKeyring(accounts store.Accounts, o Options) (*keyring, error) {
	block, err := aes.NewCipher(derive(o.Secret, "signing keys"))
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	k := &keyring{accounts: accounts, seal: seal, age: o.KeyAge, now: o.Now, failed: func(err error) {
		if o.Log != nil {
			o.Log.Warn("no new signing key could be made, the present one signs on", logtext.Reason, err)
		}
	}}
	k.keys = newFresh(o.Now, k.load)
	return k, nil
}

func (k *keyring) load(ctx context.Context, _ string) ([]*signingKey, error) {
	stored, err := k.accounts.SigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	var keys []*signingKey
	for i, s := range stored {
		key := &signingKey{SigningKey: s, public: s.Public}
		if len(key.public) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("signing key %d in the store is damaged", s.Number)
		}
		if i+1 < len(stored) {
			key.ends = stored[i+1].NotBefore.Add(MaxTokenTTL)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// prepare sees to it that there is a key, and that this secret opens it.
func (k *keyring) prepare(ctx context.Context) error {
	keys, err := k.load(ctx, "")
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		if _, err := k.add(ctx, 1, k.now()); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
		if keys, err = k.load(ctx, ""); err != nil {
			return err
		}
	}
	_, err = k.open(keys[len(keys)-1])
	return err
}

// add makes key n. ConflictError if another process was first.
func (k *keyring) add(ctx context.Context, n int64, notBefore time.Time) (store.SigningKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return store.SigningKey{}, err
	}
	s := store.SigningKey{Number: n, ID: thumbprint(public), Public: public, Created: k.now(), NotBefore: notBefore}
	s.Sealed = k.seal.Seal(nil, nil, private.Seed(), s.Public)
	return s, k.accounts.AddSigningKey(ctx, s)
}

// open unseals the private half.
func (k *keyring) open(key *signingKey) (ed25519.PrivateKey, error) {
	seed, err := k.seal.Open(nil, nil, key.Sealed, key.Public)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, &SecretError{"the store's signing keys are sealed with another secret",
			"give the secret that this store was first served with (--auth-secret-file), the same on all hosts; if it is lost: neko-api signing-key rotate --now"}
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// signing is the key that signs now, and none that was deleted a moment ago. When its
// time comes to an end it makes its successor.
func (k *keyring) signing(ctx context.Context) (*signingKey, ed25519.PrivateKey, error) {
	keys, err := k.keys.anew(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	if len(keys) > 0 && k.due(keys) {
		if err := k.rotate(ctx); err != nil {
			k.failed(err)
		}
	}
	now := k.now()
	for i := len(keys) - 1; i >= 0; i-- {
		// The only key may be of a host whose clock is ahead.
		if !now.Before(keys[i].NotBefore) || i == 0 && !now.Add(clockSkew).Before(keys[i].NotBefore) {
			private, err := k.open(keys[i])
			return keys[i], private, err
		}
	}
	return nil, nil, errors.New("there is no signing key for now: are the clocks of all hosts right?")
}

// due tells whether the last key is so old that it needs a successor.
func (k *keyring) due(keys []*signingKey) bool {
	return !k.now().Before(keys[len(keys)-1].NotBefore.Add(k.age - keyOverlap))
}

// rotate makes the next key, if it is due, and forgets those that nothing is good
// of any more.
func (k *keyring) rotate(ctx context.Context) error {
	if !k.rotating.TryLock() {
		return nil
	}
	defer k.rotating.Unlock()
	keys, err := k.load(ctx, "")
	if err != nil || len(keys) == 0 || !k.due(keys) {
		return err
	}
	if _, err := k.add(ctx, keys[len(keys)-1].Number+1, k.now().Add(keyOverlap)); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	return k.prune(ctx, keys)
}

// prune forgets what nothing is good of any more.
func (k *keyring) prune(ctx context.Context, keys []*signingKey) error {
	for _, key := range keys {
		if key.ends.IsZero() || k.now().Before(key.ends) {
			return k.accounts.DeleteSigningKeys(ctx, key.Number)
		}
	}
	return nil
}

// public is the key of that id, if tokens of it are still good.
func (k *keyring) public(ctx context.Context, id string) (ed25519.PublicKey, error) {
	keys, err := k.keys.get(ctx, "")
	if err != nil {
		return nil, err
	}
	if p := k.choose(keys, id); p != nil {
		return p, nil
	}
	// It may be one that was made a moment ago. Whether it is must be known: the
	// token is refused for good.
	if keys, err = k.keys.anew(ctx, ""); err != nil {
		return nil, err
	}
	return k.choose(keys, id), nil
}

func (k *keyring) choose(keys []*signingKey, id string) ed25519.PublicKey {
	return choose(keys, id, k.now())
}

func choose(keys []*signingKey, id string, now time.Time) ed25519.PublicKey {
	for _, key := range keys {
		if key.ID == id && (key.ends.IsZero() || now.Before(key.ends)) {
			return key.public
		}
	}
	return nil
}

// jwk is one key of a JSON Web Key Set (RFC 7517, 8037).
type jwk struct {
	Curve string `json:"crv"`
	Type  string `json:"kty"`
	X     string `json:"x"`
	ID    string `json:"kid,omitempty"`
	Use   string `json:"use,omitempty"`
	Alg   string `json:"alg,omitempty"`
}

func newJWK(public ed25519.PublicKey) jwk {
	return jwk{Curve: "Ed25519", Type: "OKP", X: base64.RawURLEncoding.EncodeToString(public)}
}

// thumbprint is the id of a key by RFC 7638.
func thumbprint(public ed25519.PublicKey) string {
	canonical, err := json.Marshal(newJWK(public)) // its fields are in the order that the RFC wants
	if err != nil {
		panic(err) // strings are JSON
	}
	sum := sha256.Sum256(canonical)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// JWKS is the list of the keys that sign tokens, have signed some that may still
// be good, or will sign soon, as a JSON Web Key Set.
func (s *Service) JWKS(ctx context.Context) ([]byte, error) {
	keys, err := s.keyring.keys.get(ctx, "")
	if err != nil {
		return nil, err
	}
	set := struct {
		Keys []jwk `json:"keys"`
	}{[]jwk{}}
	for _, k := range keys {
		if s.keyring.choose(keys, k.ID) == nil {
			continue
		}
		j := newJWK(k.public)
		j.ID, j.Use, j.Alg = k.ID, "sig", "EdDSA"
		set.Keys = append(set.Keys, j)
	}
	return json.Marshal(set)
}

// ServeJWKS answers GET /.well-known/jwks.json.
func (s *Service) ServeJWKS(ctx *fasthttp.RequestCtx) {
	set, err := s.JWKS(context.Background()) // the store has a second
	if err != nil {
		s.log(slog.LevelError, "the list of signing keys", err)
		ctx.Error("the keys cannot be read at the moment\n", fasthttp.StatusServiceUnavailable)
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
		return
	}
	ctx.Response.Header.SetContentType("application/jwk-set+json")
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, fmt.Sprintf("public, max-age=%d", int(JWKSMaxAge.Seconds())))
	ctx.SetBody(set)
}

// RotateSigningKey makes a new signing key. It signs after an hour, when everybody
// who keeps the list of keys has it; if at is set it signs at once, and tokens of
// all others are no good any more. It needs none of the old ones to be opened.
func RotateSigningKey(ctx context.Context, accounts store.Accounts, secret []byte, atOnce bool) (*store.SigningKey, error) {
	k, err := newKeyring(accounts, Options{Secret: secret, Now: time.Now})
	if err != nil {
		return nil, err
	}
	return k.next(ctx, atOnce)
}

// next is RotateSigningKey.
func (k *keyring) next(ctx context.Context, atOnce bool) (*store.SigningKey, error) {
	for {
		keys, err := k.load(ctx, "")
		if err != nil {
			return nil, err
		}
		next, notBefore := int64(1), k.now()
		if len(keys) > 0 {
			last := keys[len(keys)-1]
			next = last.Number + 1
			if !atOnce {
				if _, err := k.open(last); err != nil {
					return nil, err // workers would not start any more
				}
				notBefore = notBefore.Add(keyOverlap)
			}
		}
		s, err := k.add(ctx, next, notBefore)
		if errors.Is(err, store.ErrConflict) {
			continue // a worker's own rotation
		}
		if err != nil {
			return nil, err
		}
		if atOnce {
			return &s, k.accounts.DeleteSigningKeys(ctx, next)
		}
		return &s, k.prune(ctx, keys)
	}
}
