package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/nekoctl/neko/api/store"
)

// maxToken is the length of the longest thing that is taken for a token. Ours
// have about 500 bytes.
const maxToken = 2 << 10

// clockSkew is how far the clocks of hosts may be apart.
const clockSkew = 30 * time.Second

// tokenType is the header typ of our tokens (RFC 9068): no other JWT passes for one.
const tokenType = "at+jwt"

// claims are what a token says. Role is there for others who verify our tokens,
// and for us while the store does not answer.
type claims struct {
	jwt.RegisteredClaims
	Role  string `json:"role"`
	Epoch int64  `json:"epoch"` // store.User.Epoch
}

// verified is a token whose signature and claims were found good.
type verified struct {
	user    string // id
	role    string
	epoch   int64
	expires time.Time
	key     string // the id of the key
}

// issue makes an access token.
func (s *Service) issue(ctx context.Context, u *store.User) (token string, expires time.Time, err error) {
	key, private, err := s.keyring.signing(ctx)
	if err != nil {
		return "", expires, err
	}
	now := s.options.Now().Truncate(time.Second)
	expires = now.Add(s.options.TokenTTL)
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    s.options.Issuer,
			Subject:   UserSubject + u.ID,
			Audience:  jwt.ClaimStrings{s.options.Audience},
			ExpiresAt: jwt.NewNumericDate(expires),
			NotBefore: jwt.NewNumericDate(now.Add(-clockSkew)),
			IssuedAt:  jwt.NewNumericDate(now),
			ID:        newID(now),
		},
		Role:  u.Role,
		Epoch: u.Epoch,
	})
	t.Header["typ"], t.Header["kid"] = tokenType, key.ID
	token, err = t.SignedString(private)
	return token, expires, err
}

// What is said about tokens that are not good. That one has expired is told to
// who shows one of ours only: its client knows what to do.
const (
	notOurs    = "the token is not valid here"
	hasExpired = "the token has expired: refresh the session, or log in"
	isOver     = "the token is no longer good: log in again"
)

// verify finds out what a token says, or refuses it. Other errors mean that it
// could not be found out.
func (s *Service) verify(ctx context.Context, token string) (verified, error) {
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		return verified{}, refused(notOurs)
	}
	sum := sha256.Sum256([]byte(token))
	if v, ok := s.tokens.get(sum); ok {
		if !s.options.Now().Before(v.expires) {
			return verified{}, refused(hasExpired)
		}
		public, err := s.keyring.public(ctx, v.key)
		if err != nil {
			return verified{}, err
		}
		if public == nil {
			return verified{}, refused(isOver)
		}
		return v, nil
	}
	v, err := s.parse(ctx, token)
	if err == nil {
		s.tokens.put(sum, v, s.options.Now())
	}
	return v, err
}

// errKeys is that the keys could not be had.
type errKeys struct{ error }

func (s *Service) parse(ctx context.Context, token string) (verified, error) {
	var c claims
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(s.options.Issuer),
		jwt.WithAudience(s.options.Audience),
		jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(s.options.Now),
	)
	t, err := parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		_, critical := t.Header["crit"]
		kid, _ := t.Header["kid"].(string)
		if t.Header["typ"] != tokenType || critical || kid == "" {
			return nil, errors.New("not ours")
		}
		public, err := s.keyring.public(ctx, kid)
		if err != nil {
			return nil, errKeys{err}
		}
		if public == nil {
			return nil, errors.New("no such key")
		}
		return public, nil
	})
	var unknown errKeys
	if errors.As(err, &unknown) {
		return verified{}, unknown.error
	}
	user, ok := strings.CutPrefix(c.Subject, UserSubject)
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return verified{}, refused(notOurs)
	case errors.Is(err, jwt.ErrTokenExpired):
		return verified{}, refused(hasExpired)
	case err != nil, !ok, user == "", !slices.Contains(Roles, c.Role):
		return verified{}, refused(notOurs)
	}
	return verified{user: user, role: c.Role, epoch: c.Epoch, expires: c.ExpiresAt.Time, key: t.Header["kid"].(string)}, nil
}

// maxTokens bounds the tokens that a worker remembers, in number: some 2 MiB.
const maxTokens = 10_000

// tokenCache remembers tokens that were found good, by their hash, until they
// expire: a signature costs more than many a request.
type tokenCache struct {
	mu sync.Mutex
	by map[[sha256.Size]byte]verified
}

func (c *tokenCache) get(sum [sha256.Size]byte) (verified, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.by[sum]
	return v, ok
}

func (c *tokenCache) put(sum [sha256.Size]byte, v verified, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[[sha256.Size]byte]verified{}
	}
	if len(c.by) >= maxTokens {
		for sum, v := range c.by {
			if !now.Before(v.expires) {
				delete(c.by, sum)
			}
		}
		makeRoom(c.by, maxTokens)
	}
	c.by[sum] = v
}
