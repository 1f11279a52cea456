package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/worker"
)

// ErrCredentials is that a name and a password, or a refresh token, are not good.
// It is the same whatever the reason.
var ErrCredentials = errors.New("these credentials are not good")

// Grant is what a login gives, and each refresh of its session.
type Grant struct {
	AccessToken    string
	Expires        time.Time // of the access token
	RefreshToken   string
	RefreshExpires time.Time
	User           *store.User
}

// maxName is the length of the longest name that is looked up, in bytes.
const maxName = 256

// Login begins a session. The error is [ErrCredentials], [ErrBusy], or that of
// the store. Whoever is unknown costs as much as who is known.
func (s *Service) Login(ctx context.Context, name, password string) (*Grant, error) {
	user, err := s.named(ctx, name)
	if err != nil {
		return nil, err
	}
	phc := s.passwords.dummy
	if user != nil {
		phc = user.Password
		worker.AuditObject(ctx, UserSubject+user.ID)
	} else {
		// What was typed may be a password in the wrong field.
		worker.AuditObject(ctx, "unknown:"+s.disguise(name))
	}
	possible := len(password) <= maxPassword && utf8.ValidString(password)
	if !possible {
		password = "" // which nobody has, and costs the same
	}
	ok, outdated, err := s.passwords.verify(ctx, phc, password)
	switch {
	case errors.Is(err, ErrBusy), ctx.Err() != nil && err != nil:
		return nil, err
	case err != nil:
		s.log(slog.LevelError, "user "+user.ID, err)
		return nil, ErrCredentials
	case !ok || !possible || user == nil || user.Disabled:
		return nil, ErrCredentials
	}
	if outdated {
		s.rehash(ctx, user, password)
	}
	now := s.options.Now()
	secret := newSecret()
	session := store.Session{
		ID:      newID(now),
		UserID:  user.ID,
		Epoch:   user.Epoch,
		Digest:  digest(secret[:]),
		Created: now,
		Ends:    now.Add(s.options.SessionMax),
	}
	session.Expires = earlier(now.Add(s.options.SessionIdle), session.Ends)
	g, err := s.grant(ctx, user, session.ID, secret, session.Expires)
	if err != nil {
		return nil, err
	}
	s.prune(ctx, now)
	return g, s.accounts.CreateSession(ctx, session)
}

// named finds a user by name, nil if there is none, or can be none.
func (s *Service) named(ctx context.Context, name string) (*store.User, error) {
	if len(name) > maxName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return nil, nil
	}
	u, err := s.accounts.UserByName(ctx, name)
	if notFound(err) {
		return nil, nil
	}
	return u, err
}

// disguise is a text by which attempts with one unknown name can be put together,
// and the name not be found.
func (s *Service) disguise(name string) string {
	mac := hmac.New(sha256.New, s.nameKey)
	mac.Write([]byte(store.Fold(name)))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// rehash stores the password at today's costs. It can be done another time.
func (s *Service) rehash(ctx context.Context, u *store.User, password string) {
	phc, err := s.passwords.hash(ctx, password)
	if err == nil {
		err = s.accounts.RehashPassword(ctx, u.ID, u.Password, phc)
	}
	if err != nil {
		s.log(slog.LevelWarn, "the password of user "+u.ID+" could not be hashed anew", err)
	}
}

// grant makes the tokens.
func (s *Service) grant(ctx context.Context, u *store.User, session string, secret [32]byte, expires time.Time) (*Grant, error) {
	g := &Grant{RefreshToken: s.refreshToken(session, secret), RefreshExpires: expires, User: u}
	var err error
	g.AccessToken, g.Expires, err = s.issue(ctx, u)
	return g, err
}

// Refresh gives new tokens for a refresh token, which is good no more. The error
// is [ErrCredentials] or that of the store.
//
// A token that comes a second time has been in two hands, whose cannot be told:
// it ends the session. That holds for two that come at once, too; and if the
// answer of a refresh got lost, whoever asks again has to log in.
func (s *Service) Refresh(ctx context.Context, token string) (*Grant, error) {
	id, secret, ok := s.parseRefreshToken(token)
	if !ok {
		return nil, ErrCredentials
	}
	worker.AuditObject(ctx, "session:"+id)
	session, err := s.accounts.Session(ctx, id)
	if notFound(err) {
		return nil, ErrCredentials
	}
	if err != nil {
		return nil, err
	}
	worker.AuditObject(ctx, UserSubject+session.UserID)
	now := s.options.Now()
	if !session.Revoked.IsZero() || !now.Before(session.Expires) {
		return nil, ErrCredentials
	}
	old := digest(secret[:])
	if subtle.ConstantTimeCompare(session.Digest[:], old[:]) != 1 {
		return nil, s.reused(ctx, id)
	}
	user, err := s.accounts.User(ctx, session.UserID)
	if err != nil && !notFound(err) {
		return nil, err
	}
	if err != nil || user.Disabled || user.Epoch != session.Epoch {
		return nil, ErrCredentials
	}
	next := newSecret()
	expires := earlier(now.Add(s.options.SessionIdle), session.Ends)
	g, err := s.grant(ctx, user, id, next, expires)
	if err != nil {
		return nil, err
	}
	rotated, err := s.accounts.RotateSession(ctx, store.Rotation{ID: id, Old: old, New: digest(next[:]), Now: now, Expires: expires})
	if err != nil {
		return nil, err
	}
	if !rotated {
		return nil, s.reused(ctx, id)
	}
	return g, nil
}

// reused ends the session of a token that came a second time.
func (s *Service) reused(ctx context.Context, id string) error {
	worker.AuditNote(ctx, "a refresh token came a second time: its session is revoked")
	if err := s.accounts.RevokeSession(ctx, id, s.options.Now()); err != nil {
		return err
	}
	return ErrCredentials
}

// Logout ends the session of a refresh token, whichever of it. That there is none
// is no error. Access tokens are good until they expire.
func (s *Service) Logout(ctx context.Context, token string) error {
	id, _, ok := s.parseRefreshToken(token)
	if !ok {
		return nil
	}
	worker.AuditObject(ctx, "session:"+id)
	return s.accounts.RevokeSession(ctx, id, s.options.Now())
}

// prune forgets expired sessions, once an hour.
func (s *Service) prune(ctx context.Context, now time.Time) {
	last := s.pruned.Load()
	if now.Unix()-last < 3600 || !s.pruned.CompareAndSwap(last, now.Unix()) {
		return
	}
	if err := s.accounts.PruneSessions(ctx, now.Add(-time.Hour)); err != nil {
		s.log(slog.LevelWarn, "expired sessions could not be removed", err)
	}
}

// A refresh token is refreshPrefix, the session's id, "_", and a secret with a
// MAC: what was not made here is refused before the store is asked, and cannot be
// taken for an old token of a session.
const (
	refreshPrefix = "nekor_"
	macLength     = 16
)

func (s *Service) refreshToken(session string, secret [32]byte) string {
	return refreshPrefix + session + "_" + letters.EncodeToString(append(secret[:], s.mac(session, secret)...))
}

func (s *Service) mac(session string, secret [32]byte) []byte {
	mac := hmac.New(sha256.New, s.macKey)
	mac.Write([]byte(session))
	mac.Write(secret[:])
	return mac.Sum(nil)[:macLength]
}

func (s *Service) parseRefreshToken(token string) (session string, secret [32]byte, ok bool) {
	rest, ok := strings.CutPrefix(token, refreshPrefix)
	session, text, cut := strings.Cut(rest, "_")
	if !ok || !cut || len(session) != idLength || len(text) != letters.EncodedLen(len(secret)+macLength) {
		return "", secret, false
	}
	data, ok := decode(text)
	if !ok {
		return "", secret, false
	}
	copy(secret[:], data)
	return session, secret, hmac.Equal(data[len(secret):], s.mac(session, secret))
}

func digest(secret []byte) store.Digest { return sha256.Sum256(secret) }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
