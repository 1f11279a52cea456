package auth

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/worker"
)

// An API key is keyPrefix, its id, "_", and 256 random bits. Scanners for leaked
// secrets find it by neko_[0-9a-v]{24}_[0-9a-v]{52}.
const (
	keyPrefix    = "neko_"
	secretLength = 52
)

// What is said about API keys that are not good: the same of all that are not
// there and of those with another secret.
const badKey = "the API key is not valid, or no longer"

func keyText(id string, secret [32]byte) string {
	return keyPrefix + id + "_" + letters.EncodeToString(secret[:])
}

// byKey finds out whose a key is.
func (s *Service) byKey(ctx context.Context, text string) (worker.Identity, basis, error) {
	rest, ok := strings.CutPrefix(text, keyPrefix)
	id, secret, cut := strings.Cut(rest, "_")
	if !ok || !cut || len(id) != idLength || len(secret) != secretLength {
		return nobody(refused(badKey))
	}
	raw, ok := decode(secret)
	if !ok {
		return nobody(refused(badKey))
	}
	key, err := s.keys.get(ctx, id)
	if err != nil && !notFound(err) {
		return nobody(err)
	}
	if err != nil {
		key = &store.APIKey{} // whose digest nothing has
	}
	given := digest(raw)
	same := subtle.ConstantTimeCompare(key.Digest[:], given[:]) == 1
	now := s.options.Now()
	if err != nil || !same || !key.Revoked.IsZero() || !key.Expires.IsZero() && !now.Before(key.Expires) {
		return nobody(refused(badKey))
	}
	role, b := key.Role, basis{expires: key.Expires, key: key}
	if key.Owner != "" {
		owner, err := s.users.get(ctx, key.Owner)
		switch {
		case notFound(err), err == nil && owner.Disabled:
			return nobody(refused(badKey))
		case err != nil:
			return nobody(err)
		}
		role, b.user = weaker(role, owner.Role), owner
	}
	s.touch(key, now)
	return worker.Identity{Subject: KeySubject + id, Name: key.Name, Role: role, Scopes: key.Scopes}, b, nil
}

// touchEvery is how coarse the time is at which a key was last used.
const touchEvery = 10 * time.Minute

// touches remembers which keys were reported as used.
type touches struct {
	mu   sync.Mutex
	busy bool
	last map[string]time.Time
}

// touch has the store remember that a key is in use, in the background: whether
// it can makes no difference to the request.
func (s *Service) touch(k *store.APIKey, now time.Time) {
	t := &s.touches
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy || now.Sub(k.LastUsed) < touchEvery || now.Sub(t.last[k.ID]) < touchEvery {
		return
	}
	if t.last == nil {
		t.last = map[string]time.Time{}
	}
	makeRoom(t.last, maxKnown)
	t.last[k.ID], t.busy = now, true
	s.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		if err := s.accounts.TouchAPIKey(ctx, k.ID, now); err != nil {
			s.log(slog.LevelWarn, "it could not be noted when API key "+k.ID+" was used", err)
		}
		t.mu.Lock()
		t.busy = false
		t.mu.Unlock()
	})
}
