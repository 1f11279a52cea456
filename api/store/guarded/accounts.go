package guarded

import (
	"context"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// CreateUser implements [store.Accounts].
func (s *Store) CreateUser(ctx context.Context, u store.User) error {
	return s.do(ctx, call{"CreateUser", "users"}, func(ctx context.Context) error { return s.db.CreateUser(ctx, u) })
}

// User implements [store.Accounts].
func (s *Store) User(ctx context.Context, id string) (*store.User, error) {
	return read(ctx, s, call{"User", "users"}, func(ctx context.Context) (*store.User, error) { return s.db.User(ctx, id) })
}

// UserByName implements [store.Accounts].
func (s *Store) UserByName(ctx context.Context, name string) (*store.User, error) {
	return read(ctx, s, call{"UserByName", "users"}, func(ctx context.Context) (*store.User, error) { return s.db.UserByName(ctx, name) })
}

// Users implements [store.Accounts].
func (s *Store) Users(ctx context.Context, after string, limit int) ([]*store.User, error) {
	return read(ctx, s, call{"Users", "users"}, func(ctx context.Context) ([]*store.User, error) { return s.db.Users(ctx, after, limit) })
}

// ChangeUser implements [store.Accounts].
func (s *Store) ChangeUser(ctx context.Context, id string, c store.UserChange) (*store.User, error) {
	return change(ctx, s, call{"ChangeUser", "users"}, func(ctx context.Context) (*store.User, error) { return s.db.ChangeUser(ctx, id, c) })
}

// RehashPassword implements [store.Accounts].
func (s *Store) RehashPassword(ctx context.Context, id, old, new string) error {
	return s.do(ctx, call{"RehashPassword", "users"}, func(ctx context.Context) error { return s.db.RehashPassword(ctx, id, old, new) })
}

// CreateSession implements [store.Accounts].
func (s *Store) CreateSession(ctx context.Context, v store.Session) error {
	return s.do(ctx, call{"CreateSession", "sessions"}, func(ctx context.Context) error { return s.db.CreateSession(ctx, v) })
}

// Session implements [store.Accounts].
func (s *Store) Session(ctx context.Context, id string) (*store.Session, error) {
	return read(ctx, s, call{"Session", "sessions"}, func(ctx context.Context) (*store.Session, error) { return s.db.Session(ctx, id) })
}

// RotateSession implements [store.Accounts].
func (s *Store) RotateSession(ctx context.Context, r store.Rotation) (bool, error) {
	return change(ctx, s, call{"RotateSession", "sessions"}, func(ctx context.Context) (bool, error) { return s.db.RotateSession(ctx, r) })
}

// RevokeSession implements [store.Accounts].
func (s *Store) RevokeSession(ctx context.Context, id string, at time.Time) error {
	return s.do(ctx, call{"RevokeSession", "sessions"}, func(ctx context.Context) error { return s.db.RevokeSession(ctx, id, at) })
}

// PruneSessions implements [store.Accounts].
func (s *Store) PruneSessions(ctx context.Context, before time.Time) error {
	return s.do(ctx, call{"PruneSessions", "sessions"}, func(ctx context.Context) error { return s.db.PruneSessions(ctx, before) })
}

// CreateAPIKey implements [store.Accounts].
func (s *Store) CreateAPIKey(ctx context.Context, k store.APIKey) error {
	return s.do(ctx, call{"CreateAPIKey", "api_keys"}, func(ctx context.Context) error { return s.db.CreateAPIKey(ctx, k) })
}

// APIKey implements [store.Accounts].
func (s *Store) APIKey(ctx context.Context, id string) (*store.APIKey, error) {
	return read(ctx, s, call{"APIKey", "api_keys"}, func(ctx context.Context) (*store.APIKey, error) { return s.db.APIKey(ctx, id) })
}

// APIKeys implements [store.Accounts].
func (s *Store) APIKeys(ctx context.Context, after string, limit int) ([]*store.APIKey, error) {
	return read(ctx, s, call{"APIKeys", "api_keys"}, func(ctx context.Context) ([]*store.APIKey, error) { return s.db.APIKeys(ctx, after, limit) })
}

// RevokeAPIKey implements [store.Accounts].
func (s *Store) RevokeAPIKey(ctx context.Context, id string, at time.Time) (*store.APIKey, error) {
	return change(ctx, s, call{"RevokeAPIKey", "api_keys"}, func(ctx context.Context) (*store.APIKey, error) { return s.db.RevokeAPIKey(ctx, id, at) })
}

// TouchAPIKey implements [store.Accounts].
func (s *Store) TouchAPIKey(ctx context.Context, id string, at time.Time) error {
	return s.do(ctx, call{"TouchAPIKey", "api_keys"}, func(ctx context.Context) error { return s.db.TouchAPIKey(ctx, id, at) })
}

// SigningKeys implements [store.Accounts].
func (s *Store) SigningKeys(ctx context.Context) ([]*store.SigningKey, error) {
	return read(ctx, s, call{"SigningKeys", "signing_keys"}, s.db.SigningKeys)
}

// AddSigningKey implements [store.Accounts].
func (s *Store) AddSigningKey(ctx context.Context, k store.SigningKey) error {
	return s.do(ctx, call{"AddSigningKey", "signing_keys"}, func(ctx context.Context) error { return s.db.AddSigningKey(ctx, k) })
}

// DeleteSigningKeys implements [store.Accounts].
func (s *Store) DeleteSigningKeys(ctx context.Context, below int64) error {
	return s.do(ctx, call{"DeleteSigningKeys", "signing_keys"}, func(ctx context.Context) error { return s.db.DeleteSigningKeys(ctx, below) })
}
