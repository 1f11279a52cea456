package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nekoctl/neko/api/store"
)

var _ store.Accounts = (*Store)(nil)

// change runs one statement that writes, and makes sure that it is on disk: a key
// that was revoked must not come back with the power (see pool).
func (s *Store) change(ctx context.Context, text string, args ...any) (changed bool, err error) {
	conn, err := s.wr.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "PRAGMA synchronous = FULL"); err != nil {
		return false, err
	}
	defer conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA synchronous = NORMAL")
	store.CountQuery(ctx)
	res, err := conn.ExecContext(ctx, text, args...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// create is change for an INSERT … ON CONFLICT DO NOTHING.
func (s *Store) create(ctx context.Context, kind store.Kind, id string, text string, args ...any) error {
	created, err := s.change(ctx, text, args...)
	if err == nil && !created {
		return &store.ConflictError{Kind: kind, ID: id}
	}
	return err
}

// find gives the rows of a query; scan reads one.
func find[T any](ctx context.Context, s *Store, scan func(*sql.Rows) (T, error), text string, args ...any) (found []T, err error) {
	defer s.translate(ctx, &err)
	rows, err := s.query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, v)
	}
	return found, rows.Err()
}

// one is the only row of find.
func one[T any](ctx context.Context, s *Store, kind store.Kind, key string, scan func(*sql.Rows) (T, error), text string, args ...any) (v T, err error) {
	found, err := find(ctx, s, scan, text, args...)
	if err != nil {
		return v, err
	}
	if len(found) == 0 {
		return v, &store.NotFoundError{Kind: kind, Key: key}
	}
	return found[0], nil
}

const userColumns = "id, name, role, password, disabled, epoch, created, password_changed"

func scanUser(rows *sql.Rows) (*store.User, error) {
	var u store.User
	var created, changed int64
	err := rows.Scan(&u.ID, &u.Name, &u.Role, &u.Password, &u.Disabled, &u.Epoch, &created, &changed)
	u.Created, u.PasswordChanged = store.FromMicros(created), store.FromMicros(changed)
	return &u, err
}

// CreateUser implements [store.Accounts].
func (s *Store) CreateUser(ctx context.Context, u store.User) (err error) {
	defer s.translate(ctx, &err)
	return s.create(ctx, store.KindUser, u.Name, "INSERT INTO user ("+userColumns+", fold) VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
		u.ID, u.Name, u.Role, u.Password, b2i(u.Disabled), u.Epoch, store.Micros(u.Created), store.Micros(u.PasswordChanged), store.Fold(u.Name))
}

// User implements [store.Accounts].
func (s *Store) User(ctx context.Context, id string) (*store.User, error) {
	return one(ctx, s, store.KindUser, id, scanUser, "SELECT "+userColumns+" FROM user WHERE id = ?", id)
}

// UserByName implements [store.Accounts].
func (s *Store) UserByName(ctx context.Context, name string) (*store.User, error) {
	return one(ctx, s, store.KindUser, name, scanUser, "SELECT "+userColumns+" FROM user WHERE fold = ?", store.Fold(name))
}

// Users implements [store.Accounts].
func (s *Store) Users(ctx context.Context, after string, limit int) ([]*store.User, error) {
	return find(ctx, s, scanUser, "SELECT "+userColumns+" FROM user WHERE id > ? ORDER BY id LIMIT ?", after, limit)
}

// ChangeUser implements [store.Accounts].
func (s *Store) ChangeUser(ctx context.Context, id string, c store.UserChange) (_ *store.User, err error) {
	defer s.translate(ctx, &err)
	var at *int64
	if c.Password != nil {
		micros := store.Micros(c.At)
		at = &micros
	}
	if _, err := s.change(ctx, `UPDATE user SET epoch = epoch + 1, role = coalesce(?, role), password = coalesce(?, password),
		password_changed = coalesce(?, password_changed), disabled = coalesce(?, disabled) WHERE id = ?`,
		c.Role, c.Password, at, c.Disabled, id); err != nil {
		return nil, err
	}
	return s.User(ctx, id)
}

// RehashPassword implements [store.Accounts].
func (s *Store) RehashPassword(ctx context.Context, id, old, new string) (err error) {
	defer s.translate(ctx, &err)
	_, err = s.change(ctx, "UPDATE user SET password = ? WHERE id = ? AND password = ?", new, id, old)
	return err
}

// CreateSession implements [store.Accounts].
func (s *Store) CreateSession(ctx context.Context, v store.Session) (err error) {
	defer s.translate(ctx, &err)
	return s.create(ctx, store.KindSession, v.ID, "INSERT INTO session (id, user, epoch, digest, created, expires, ends, revoked) VALUES (?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
		v.ID, v.UserID, v.Epoch, v.Digest[:], store.Micros(v.Created), store.Micros(v.Expires), store.Micros(v.Ends), store.Micros(v.Revoked))
}

// Session implements [store.Accounts].
func (s *Store) Session(ctx context.Context, id string) (*store.Session, error) {
	scan := func(rows *sql.Rows) (*store.Session, error) {
		var v store.Session
		var digest []byte
		var created, expires, ends, revoked int64
		if err := rows.Scan(&v.ID, &v.UserID, &v.Epoch, &digest, &created, &expires, &ends, &revoked); err != nil {
			return nil, err
		}
		v.Created, v.Expires, v.Ends, v.Revoked = store.FromMicros(created), store.FromMicros(expires), store.FromMicros(ends), store.FromMicros(revoked)
		return &v, setDigest(&v.Digest, digest)
	}
	return one(ctx, s, store.KindSession, id, scan, "SELECT id, user, epoch, digest, created, expires, ends, revoked FROM session WHERE id = ?", id)
}

func setDigest(d *store.Digest, b []byte) error {
	if copy(d[:], b) != len(d) || len(b) != len(d) {
		return fmt.Errorf("a digest has %d bytes", len(b))
	}
	return nil
}

// RotateSession implements [store.Accounts].
func (s *Store) RotateSession(ctx context.Context, r store.Rotation) (rotated bool, err error) {
	defer s.translate(ctx, &err)
	return s.change(ctx, "UPDATE session SET digest = ?, expires = ? WHERE id = ? AND digest = ? AND revoked = 0 AND expires > ?",
		r.New[:], store.Micros(r.Expires), r.ID, r.Old[:], store.Micros(r.Now))
}

// RevokeSession implements [store.Accounts].
func (s *Store) RevokeSession(ctx context.Context, id string, at time.Time) (err error) {
	defer s.translate(ctx, &err)
	_, err = s.change(ctx, "UPDATE session SET revoked = ? WHERE id = ? AND revoked = 0", store.Micros(at), id)
	return err
}

// PruneSessions implements [store.Accounts].
func (s *Store) PruneSessions(ctx context.Context, before time.Time) (err error) {
	defer s.translate(ctx, &err)
	_, err = s.change(ctx, "DELETE FROM session WHERE expires < ?", store.Micros(before))
	return err
}

const apiKeyColumns = "id, name, digest, role, scopes, owner, created, expires, revoked, last_used"

func scanAPIKey(rows *sql.Rows) (*store.APIKey, error) {
	var k store.APIKey
	var digest []byte
	var scopes sql.NullString
	var created, expires, revoked, lastUsed int64
	if err := rows.Scan(&k.ID, &k.Name, &digest, &k.Role, &scopes, &k.Owner, &created, &expires, &revoked, &lastUsed); err != nil {
		return nil, err
	}
	k.Created, k.Expires, k.Revoked, k.LastUsed = store.FromMicros(created), store.FromMicros(expires), store.FromMicros(revoked), store.FromMicros(lastUsed)
	if scopes.Valid {
		if err := json.Unmarshal([]byte(scopes.String), &k.Scopes); err != nil {
			return nil, err
		}
	}
	return &k, setDigest(&k.Digest, digest)
}

// CreateAPIKey implements [store.Accounts].
func (s *Store) CreateAPIKey(ctx context.Context, k store.APIKey) (err error) {
	defer s.translate(ctx, &err)
	var scopes any
	if k.Scopes != nil {
		text, err := json.Marshal(k.Scopes)
		if err != nil {
			return err
		}
		scopes = string(text)
	}
	return s.create(ctx, store.KindAPIKey, k.ID, "INSERT INTO api_key ("+apiKeyColumns+") VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
		k.ID, k.Name, k.Digest[:], k.Role, scopes, k.Owner, store.Micros(k.Created), store.Micros(k.Expires), store.Micros(k.Revoked), store.Micros(k.LastUsed))
}

// APIKey implements [store.Accounts].
func (s *Store) APIKey(ctx context.Context, id string) (*store.APIKey, error) {
	return one(ctx, s, store.KindAPIKey, id, scanAPIKey, "SELECT "+apiKeyColumns+" FROM api_key WHERE id = ?", id)
}

// APIKeys implements [store.Accounts].
func (s *Store) APIKeys(ctx context.Context, after string, limit int) ([]*store.APIKey, error) {
	return find(ctx, s, scanAPIKey, "SELECT "+apiKeyColumns+" FROM api_key WHERE id > ? ORDER BY id LIMIT ?", after, limit)
}

// RevokeAPIKey implements [store.Accounts].
func (s *Store) RevokeAPIKey(ctx context.Context, id string, at time.Time) (_ *store.APIKey, err error) {
	defer s.translate(ctx, &err)
	if _, err := s.change(ctx, "UPDATE api_key SET revoked = ? WHERE id = ? AND revoked = 0", store.Micros(at), id); err != nil {
		return nil, err
	}
	return s.APIKey(ctx, id)
}

// TouchAPIKey implements [store.Accounts].
func (s *Store) TouchAPIKey(ctx context.Context, id string, at time.Time) (err error) {
	defer s.translate(ctx, &err)
	store.CountQuery(ctx)
	_, err = s.wr.ExecContext(ctx, "UPDATE api_key SET last_used = ?1 WHERE id = ?2 AND last_used < ?1", store.Micros(at), id)
	return err
}

// SigningKeys implements [store.Accounts].
func (s *Store) SigningKeys(ctx context.Context) ([]*store.SigningKey, error) {
	scan := func(rows *sql.Rows) (*store.SigningKey, error) {
		var k store.SigningKey
		var created, notBefore int64
		err := rows.Scan(&k.Number, &k.ID, &k.Public, &k.Sealed, &created, &notBefore)
		k.Created, k.NotBefore = store.FromMicros(created), store.FromMicros(notBefore)
		return &k, err
	}
	return find(ctx, s, scan, "SELECT number, id, public, sealed, created, not_before FROM signing_key ORDER BY number")
}

// AddSigningKey implements [store.Accounts].
func (s *Store) AddSigningKey(ctx context.Context, k store.SigningKey) (err error) {
	defer s.translate(ctx, &err)
	return s.create(ctx, store.KindSigningKey, fmt.Sprint(k.Number), "INSERT INTO signing_key (number, id, public, sealed, created, not_before) VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING",
		k.Number, k.ID, k.Public, k.Sealed, store.Micros(k.Created), store.Micros(k.NotBefore))
}

// DeleteSigningKeys implements [store.Accounts].
func (s *Store) DeleteSigningKeys(ctx context.Context, below int64) (err error) {
	defer s.translate(ctx, &err)
	_, err = s.change(ctx, "DELETE FROM signing_key WHERE number < ?", below)
	return err
}
