// Package auth knows who sends a request: users by the tokens that their login
// gave them, programs by API keys. It keeps nothing of its own but short-lived
// memory: users, sessions, API keys and the keys that sign tokens are in a
// [store.Accounts], which all workers of all hosts share.
//
// What holds throughout:
//
//   - Secrets are compared in constant time, and no answer, log line or error has
//     one. A login costs the same work whether the name is known, the password right
//     or the user disabled, and those fail with the same answer.
//   - What costs much is bounded: one password is hashed at a time, few wait, and
//     what cannot be a token is refused before it is looked at.
//   - A user who is disabled, a key that is revoked, a role or password that changes
//     counts in all workers within [TakesEffect].
package auth

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/worker"
)

// The roles, the weakest first: the values of the schema's enum Role.
const (
	RoleAnyone  = "ANYONE" // nobody has it: it is what everybody may
	RoleViewer  = "VIEWER"
	RoleAnalyst = "ANALYST"
	RoleAdmin   = "ADMIN"
)

var ranks = []string{RoleAnyone, RoleViewer, RoleAnalyst, RoleAdmin}

// Roles are those that a user or a key may have.
var Roles = ranks[1:]

// weaker is the weaker of two roles.
func weaker(a, b string) string {
	return ranks[max(0, min(slices.Index(ranks, a), slices.Index(ranks, b)))]
}

// TakesEffect is how soon a change of a user or a key counts in every worker, as
// long as the store answers.
const TakesEffect = 5 * time.Second

// MaxTokenTTL is the longest that a token may be good for: a signing key is kept
// so long after another has taken over.
const MaxTokenTTL = 24 * time.Hour

// Options say how a [Service] works. Secret is required; the zero value of
// everything else is its default.
type Options struct {
	// Secret seals the signing keys and signs refresh tokens: of [ReadSecret]. It
	// must be the same in all workers of one store.
	Secret []byte
	// Issuer and Audience are iss and aud of the tokens. Default: "neko-api".
	Issuer, Audience string
	// TokenTTL is how long an access token is good, at most [MaxTokenTTL]. Default:
	// 10 minutes.
	TokenTTL time.Duration
	// SessionIdle is how long a session lasts without being refreshed, and SessionMax
	// how long at all. Defaults: 30 and 90 days.
	SessionIdle, SessionMax time.Duration
	// KeyAge is how long one key signs. Default: 30 days.
	KeyAge time.Duration
	// Now is the clock, for tests.
	Now func() time.Time
	// Log receives what an operator should know. Default: nothing.
	Log *slog.Logger
}

// Service is all of it. Its methods may be called by many goroutines at once.
type Service struct {
	accounts  store.Accounts
	options   Options
	passwords *passwords
	keyring   *keyring
	tokens    tokenCache
	users     *fresh[*store.User]
	keys      *fresh[*store.APIKey]
	known     known
	macKey    []byte // of refresh tokens
	nameKey   []byte // of names that nobody has, in the audit log

	pruned     atomic.Int64 // when expired sessions were last forgotten, in Unix seconds
	touches    touches
	background sync.WaitGroup
}

// New makes a service on the accounts of a store, and the first signing key if
// there is none. With another secret than the one that the keys are sealed with
// it fails with an error that has a Hint.
func New(ctx context.Context, accounts store.Accounts, o Options) (*Service, error) {
	def(&o.Issuer, "neko-api")
	def(&o.Audience, "neko-api")
	def(&o.TokenTTL, 10*time.Minute)
	def(&o.SessionIdle, 30*24*time.Hour)
	def(&o.SessionMax, 90*24*time.Hour)
	def(&o.KeyAge, 30*24*time.Hour)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TokenTTL > MaxTokenTTL {
		return nil, fmt.Errorf("an access token cannot be good for %v: %v at most", o.TokenTTL, MaxTokenTTL)
	}
	s := &Service{
		accounts:  accounts,
		options:   o,
		passwords: newPasswords(),
		macKey:    derive(o.Secret, "refresh tokens"),
		nameKey:   derive(o.Secret, "names in the audit log"),
	}
	s.known = known{seed: maphash.MakeSeed(), by: map[uint64]*knownCredentials{}}
	s.users = newFresh(o.Now, accounts.User)
	s.keys = newFresh(o.Now, accounts.APIKey)
	var err error
	if s.keyring, err = newKeyring(accounts, o); err != nil {
		return nil, err
	}
	return s, s.keyring.prepare(ctx)
}

// Close waits for what runs in the background.
func (s *Service) Close() { s.background.Wait() }

func (s *Service) log(level slog.Level, what string, err error) {
	if s.options.Log != nil {
		s.options.Log.Log(context.Background(), level, what, logtext.Reason, err)
	}
}

// derive makes a key for one use of the secret.
func derive(secret []byte, use string) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "neko-api "+use+" v1", 32)
	if err != nil {
		panic(err) // only for more than 255 hashes
	}
	return key
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// letters is how ids and secrets are written: they sort as their bytes do, and
// have nothing that a shell, a URL or an editor would take apart.
var letters = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// decode reads what letters has written, in its only spelling: the last letter has
// bits that count for nothing, and decoders do not mind them.
func decode(text string) ([]byte, bool) {
	data, err := letters.DecodeString(text)
	return data, err == nil && letters.EncodeToString(data) == text
}

// idLength is the length of what newID makes.
const idLength = 24

// newID makes an id: the milliseconds of now, and 72 random bits.
func newID(now time.Time) string {
	var b [15]byte
	binary.BigEndian.PutUint64(b[:], uint64(now.UnixMilli())<<16)
	rand.Read(b[6:]) // never fails
	return letters.EncodeToString(b[:])
}

// newSecret makes 256 random bits.
func newSecret() (secret [32]byte) {
	rand.Read(secret[:]) // never fails
	return secret
}

// refused is what somebody is told whose credentials are not good.
func refused(message string) error { return worker.NewError(worker.CodeUnauthenticated, message) }

// notFound tells whether a store has answered that something is not there.
func notFound(err error) bool { return errors.Is(err, store.ErrNotFound) }
