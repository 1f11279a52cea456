package auth

import (
	"crypto/subtle"
	"hash/maphash"
	"sync"
	"time"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/worker"
)

// known remembers whose credentials were found to be what, so that most requests need
// not find it out again. It says nothing that Identify would not say at that moment, and
// nothing for which Identify would have to ask the store, verify a signature, or wait:
// whose it is rests on the very values that the store has given for a user, an API key
// and the signing keys, and is known no longer than they are fresh.
//
// Credentials are found by a seeded hash of them: nobody can choose one that comes to be
// compared with another's, and they are compared in constant time none the less.
type known struct {
	seed maphash.Seed
	mu   sync.Mutex
	by   map[uint64]*knownCredentials
}

// knownCredentials never change.
type knownCredentials struct {
	text     []byte // the header's value
	identity *worker.Identity
	basis
}

// basis is what an identity was made from.
type basis struct {
	expires time.Time     // zero: never
	signer  string        // the id of the key that has signed a token
	user    *store.User   // who it is, or who owns the key; nil: nobody
	key     *store.APIKey // nil: it is a token
}

// maxKnownText is the length of the longest value that is remembered: a token, and the
// name of its scheme before it.
const maxKnownText = maxToken + 16

func (k *known) hash(text []byte, asKey bool) uint64 {
	h := maphash.Bytes(k.seed, text)
	if asKey { // in the other header it may be good for nothing
		h = ^h
	}
	return h
}

func (k *known) get(hash uint64) *knownCredentials {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.by[hash]
}

func (k *known) put(c worker.Credentials, who worker.Identity, b basis) {
	text, asKey := []byte(c.Authorization), false
	if c.Authorization == "" {
		text, asKey = []byte(c.APIKey), true
	}
	if len(text) > maxKnownText || b.user == nil && b.key == nil {
		return
	}
	hash := k.hash(text, asKey)
	k.mu.Lock()
	defer k.mu.Unlock()
	makeRoom(k.by, maxKnownCredentials)
	k.by[hash] = &knownCredentials{text, &who, b}
}

// maxKnownCredentials bounds them, in number: some 8 MiB.
const maxKnownCredentials = 10_000

// IdentifyKnown is for [worker.Config]: what Identify would say, if it is known without
// asking anybody. Nothing that it is given or returns may be changed.
func (s *Service) IdentifyKnown(authorization, apiKey []byte) (*worker.Identity, bool) {
	text, asKey := authorization, false
	switch {
	case len(authorization) == 0:
		text, asKey = apiKey, true
	case len(apiKey) > 0: // which Identify refuses
		return nil, false
	}
	if len(text) > maxKnownText {
		return nil, false
	}
	c := s.known.get(s.known.hash(text, asKey))
	if c == nil || subtle.ConstantTimeCompare(c.text, text) != 1 {
		return nil, false
	}
	now := s.options.Now()
	if !c.expires.IsZero() && !now.Before(c.expires) {
		return nil, false
	}
	if c.signer != "" {
		if keys, ok := s.keyring.keys.known("", now); !ok || choose(keys, c.signer, now) == nil {
			return nil, false
		}
	}
	if c.user != nil {
		if u, ok := s.users.known(c.user.ID, now); !ok || u != c.user {
			return nil, false
		}
	}
	if c.key != nil {
		if k, ok := s.keys.known(c.key.ID, now); !ok || k != c.key {
			return nil, false
		}
	}
	return c.identity, true
}
