package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/nekoctl/neko/api/store"
)

var _ store.Accounts = (*Store)(nil)

// Every method that writes is one command with all of its conditions in it: of
// what comes at once from many hosts the server takes one after the other, document
// by document. So of many rotations of a session from one digest the first changes
// the digest, and none of the others finds the old one; and a session that was
// revoked is not rotated by who has seen it before. What exists once is an _id, or
// has a unique index.

// accounts are the collections of [store.Accounts]. Whatever the URL says, they are
// read where they are written, for a key that was revoked must not be good at a
// secondary; and a write is answered when a majority has it in its journal.
type accounts struct {
	users, sessions, apiKeys, signingKeys *driver.Collection
}

func newAccounts(db *driver.Database) accounts {
	journal := true
	opts := options.Collection().SetReadPreference(readpref.Primary()).SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journal})
	return accounts{db.Collection(usersName, opts), db.Collection(sessionsName, opts), db.Collection(apiKeysName, opts), db.Collection(signingKeysName, opts)}
}

// add inserts a document. It is a conflict if the server has one that must not be
// there beside it.
func (s *Store) add(ctx context.Context, c *driver.Collection, kind store.Kind, id string, document any) (err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	if err := s.write(c.Name()); err != nil {
		return err
	}
	store.CountQuery(ctx)
	_, err = c.InsertOne(ctx, document)
	if driver.IsDuplicateKeyError(err) {
		return &store.ConflictError{Kind: kind, ID: id}
	}
	return err
}

// change updates the one document that a condition holds for, and tells whether
// there was one.
func (s *Store) change(ctx context.Context, c *driver.Collection, where cond, update bson.D) (changed bool, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	if err := s.write(c.Name()); err != nil {
		return false, err
	}
	store.CountQuery(ctx)
	res, err := c.UpdateOne(ctx, bson.D(where), update)
	return err == nil && res.MatchedCount > 0, err
}

// forget deletes all documents that a condition holds for.
func (s *Store) forget(ctx context.Context, c *driver.Collection, where cond) (err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	if err := s.write(c.Name()); err != nil {
		return err
	}
	store.CountQuery(ctx)
	_, err = c.DeleteMany(ctx, bson.D(where))
	return err
}

// one reads a document; kind and key are for the error that there is none.
func one[D any](ctx context.Context, s *Store, c *driver.Collection, kind store.Kind, key string, where cond) (_ *D, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	store.CountQuery(ctx)
	return decode[D](c.FindOne(ctx, bson.D(where)), kind, key)
}

func decode[D any](res *driver.SingleResult, kind store.Kind, key string) (*D, error) {
	var d D
	err := res.Decode(&d)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil, &store.NotFoundError{Kind: kind, Key: key}
	}
	if err != nil {
		return nil, err
	}
	return &d, nil
}

// page reads documents by ascending _id, limit at most, all if that is negative.
func page[D any, V any](ctx context.Context, s *Store, c *driver.Collection, where cond, limit int, value func(*D) (*V, error)) (list []*V, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	if limit == 0 { // which the server takes for all
		return nil, ctx.Err()
	}
	opts := options.Find().SetSort(bson.D{{Key: string(fID), Value: 1}})
	if limit > 0 {
		opts.SetLimit(int64(limit))
	}
	err = find(ctx, c, where, func(d *D) error {
		v, err := value(d)
		list = append(list, v)
		return err
	}, opts)
	return list, err
}

// set is an update of a field.
func set[T scalar | []byte](f field, v T) bson.E { return bson.E{Key: string(f), Value: v} }

func setting(fields ...bson.E) bson.D { return bson.D{{Key: "$set", Value: bson.D(fields)}} }

// user is the document of a user. Times here and below are microseconds since
// 1970, 0 for never.
type user struct {
	ID              string `bson:"_id"`
	Name            string `bson:"name"`
	Fold            string `bson:"fold"` // unique
	Role            string `bson:"role"`
	Password        string `bson:"password"`
	Disabled        bool   `bson:"disabled"`
	Epoch           int64  `bson:"epoch"`
	Created         int64  `bson:"created"`
	PasswordChanged int64  `bson:"password_changed"`
}

func (d *user) user() (*store.User, error) {
	return &store.User{ID: d.ID, Name: d.Name, Role: d.Role, Password: d.Password, Disabled: d.Disabled, Epoch: d.Epoch,
		Created: store.FromMicros(d.Created), PasswordChanged: store.FromMicros(d.PasswordChanged)}, nil
}

// CreateUser implements [store.Accounts].
func (s *Store) CreateUser(ctx context.Context, u store.User) error {
	return s.add(ctx, s.accounts.users, store.KindUser, u.Name, &user{ID: u.ID, Name: u.Name, Fold: store.Fold(u.Name), Role: u.Role, Password: u.Password,
		Disabled: u.Disabled, Epoch: u.Epoch, Created: store.Micros(u.Created), PasswordChanged: store.Micros(u.PasswordChanged)})
}

// User implements [store.Accounts].
func (s *Store) User(ctx context.Context, id string) (*store.User, error) {
	d, err := one[user](ctx, s, s.accounts.users, store.KindUser, id, is(fID, id))
	if err != nil {
		return nil, err
	}
	return d.user()
}

// UserByName implements [store.Accounts].
func (s *Store) UserByName(ctx context.Context, name string) (*store.User, error) {
	d, err := one[user](ctx, s, s.accounts.users, store.KindUser, name, is(fUserFold, store.Fold(name)))
	if err != nil {
		return nil, err
	}
	return d.user()
}

// Users implements [store.Accounts].
func (s *Store) Users(ctx context.Context, after string, limit int) ([]*store.User, error) {
	return page(ctx, s, s.accounts.users, op(fID, "$gt", after), limit, (*user).user)
}

// ChangeUser implements [store.Accounts].
func (s *Store) ChangeUser(ctx context.Context, id string, c store.UserChange) (_ *store.User, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	update := bson.D{{Key: "$inc", Value: bson.D{{Key: string(fEpoch), Value: int64(1)}}}}
	var fields []bson.E
	if c.Role != nil {
		fields = append(fields, set(fRole, *c.Role))
	}
	if c.Password != nil {
		fields = append(fields, set(fPassword, *c.Password), set(fPasswordChanged, store.Micros(c.At)))
	}
	if c.Disabled != nil {
		fields = append(fields, set(fDisabled, *c.Disabled))
	}
	if len(fields) > 0 {
		update = append(update, setting(fields...)...)
	}
	if err := s.write(usersName); err != nil {
		return nil, err
	}
	store.CountQuery(ctx)
	d, err := decode[user](s.accounts.users.FindOneAndUpdate(ctx, bson.D(is(fID, id)), update, options.FindOneAndUpdate().SetReturnDocument(options.After)), store.KindUser, id)
	if err != nil {
		return nil, err
	}
	return d.user()
}

// RehashPassword implements [store.Accounts].
func (s *Store) RehashPassword(ctx context.Context, id, old, new string) error {
	_, err := s.change(ctx, s.accounts.users, and(is(fID, id), is(fPassword, old)), setting(set(fPassword, new)))
	return err
}

// session is the document of a session.
type session struct {
	ID      string `bson:"_id"`
	User    string `bson:"user"`
	Epoch   int64  `bson:"epoch"`
	Digest  []byte `bson:"digest"`
	Created int64  `bson:"created"`
	Expires int64  `bson:"expires"`
	Ends    int64  `bson:"ends"`
	Revoked int64  `bson:"revoked"`
}

// CreateSession implements [store.Accounts].
func (s *Store) CreateSession(ctx context.Context, v store.Session) error {
	return s.add(ctx, s.accounts.sessions, store.KindSession, v.ID, &session{ID: v.ID, User: v.UserID, Epoch: v.Epoch, Digest: v.Digest[:],
		Created: store.Micros(v.Created), Expires: store.Micros(v.Expires), Ends: store.Micros(v.Ends), Revoked: store.Micros(v.Revoked)})
}

// Session implements [store.Accounts].
func (s *Store) Session(ctx context.Context, id string) (*store.Session, error) {
	d, err := one[session](ctx, s, s.accounts.sessions, store.KindSession, id, is(fID, id))
	if err != nil {
		return nil, err
	}
	v := &store.Session{ID: d.ID, UserID: d.User, Epoch: d.Epoch, Created: store.FromMicros(d.Created), Expires: store.FromMicros(d.Expires),
		Ends: store.FromMicros(d.Ends), Revoked: store.FromMicros(d.Revoked)}
	return v, setDigest(&v.Digest, d.Digest)
}

func setDigest(d *store.Digest, b []byte) error {
	if len(b) != len(d) {
		return fmt.Errorf("a digest has %d bytes", len(b))
	}
	copy(d[:], b)
	return nil
}

// RotateSession implements [store.Accounts].
func (s *Store) RotateSession(ctx context.Context, r store.Rotation) (rotated bool, err error) {
	return s.change(ctx, s.accounts.sessions,
		and(is(fID, r.ID), digestIs(fDigest, r.Old), is(fRevoked, int64(0)), op(fExpires, "$gt", store.Micros(r.Now))),
		setting(set(fDigest, r.New[:]), set(fExpires, store.Micros(r.Expires))))
}

// RevokeSession implements [store.Accounts].
func (s *Store) RevokeSession(ctx context.Context, id string, at time.Time) error {
	_, err := s.change(ctx, s.accounts.sessions, and(is(fID, id), is(fRevoked, int64(0))), setting(set(fRevoked, store.Micros(at))))
	return err
}

// PruneSessions implements [store.Accounts].
func (s *Store) PruneSessions(ctx context.Context, before time.Time) error {
	return s.forget(ctx, s.accounts.sessions, op(fExpires, "$lt", store.Micros(before)))
}

// apiKey is the document of an API key.
type apiKey struct {
	ID       string   `bson:"_id"`
	Name     string   `bson:"name"`
	Digest   []byte   `bson:"digest"`
	Role     string   `bson:"role"`
	Scopes   []string `bson:"scopes"` // null for nil: an empty list means something else
	Owner    string   `bson:"owner"`
	Created  int64    `bson:"created"`
	Expires  int64    `bson:"expires"`
	Revoked  int64    `bson:"revoked"`
	LastUsed int64    `bson:"last_used"`
}

func (d *apiKey) key() (*store.APIKey, error) {
	k := &store.APIKey{ID: d.ID, Name: d.Name, Role: d.Role, Scopes: d.Scopes, Owner: d.Owner, Created: store.FromMicros(d.Created),
		Expires: store.FromMicros(d.Expires), Revoked: store.FromMicros(d.Revoked), LastUsed: store.FromMicros(d.LastUsed)}
	return k, setDigest(&k.Digest, d.Digest)
}

// CreateAPIKey implements [store.Accounts].
func (s *Store) CreateAPIKey(ctx context.Context, k store.APIKey) error {
	return s.add(ctx, s.accounts.apiKeys, store.KindAPIKey, k.ID, &apiKey{ID: k.ID, Name: k.Name, Digest: k.Digest[:], Role: k.Role, Scopes: k.Scopes, Owner: k.Owner,
		Created: store.Micros(k.Created), Expires: store.Micros(k.Expires), Revoked: store.Micros(k.Revoked), LastUsed: store.Micros(k.LastUsed)})
}

// APIKey implements [store.Accounts].
func (s *Store) APIKey(ctx context.Context, id string) (*store.APIKey, error) {
	d, err := one[apiKey](ctx, s, s.accounts.apiKeys, store.KindAPIKey, id, is(fID, id))
	if err != nil {
		return nil, err
	}
	return d.key()
}

// APIKeys implements [store.Accounts].
func (s *Store) APIKeys(ctx context.Context, after string, limit int) ([]*store.APIKey, error) {
	return page(ctx, s, s.accounts.apiKeys, op(fID, "$gt", after), limit, (*apiKey).key)
}

// RevokeAPIKey implements [store.Accounts].
func (s *Store) RevokeAPIKey(ctx context.Context, id string, at time.Time) (*store.APIKey, error) {
	if _, err := s.change(ctx, s.accounts.apiKeys, and(is(fID, id), is(fRevoked, int64(0))), setting(set(fRevoked, store.Micros(at)))); err != nil {
		return nil, err
	}
	return s.APIKey(ctx, id)
}

// TouchAPIKey implements [store.Accounts].
func (s *Store) TouchAPIKey(ctx context.Context, id string, at time.Time) error {
	_, err := s.change(ctx, s.accounts.apiKeys, and(is(fID, id), op(fLastUsed, "$lt", store.Micros(at))), setting(set(fLastUsed, store.Micros(at))))
	return err
}

// signingKey is the document of a key that signs tokens.
type signingKey struct {
	Number    int64  `bson:"_id"`
	KID       string `bson:"kid"`
	Public    []byte `bson:"public"`
	Sealed    []byte `bson:"sealed"`
	Created   int64  `bson:"created"`
	NotBefore int64  `bson:"not_before"`
}

// SigningKeys implements [store.Accounts].
func (s *Store) SigningKeys(ctx context.Context) ([]*store.SigningKey, error) {
	return page(ctx, s, s.accounts.signingKeys, cond{}, -1, func(d *signingKey) (*store.SigningKey, error) {
		return &store.SigningKey{Number: d.Number, ID: d.KID, Public: d.Public, Sealed: d.Sealed, Created: store.FromMicros(d.Created), NotBefore: store.FromMicros(d.NotBefore)}, nil
	})
}

// AddSigningKey implements [store.Accounts].
func (s *Store) AddSigningKey(ctx context.Context, k store.SigningKey) error {
	return s.add(ctx, s.accounts.signingKeys, store.KindSigningKey, fmt.Sprint(k.Number), &signingKey{Number: k.Number, KID: k.ID, Public: k.Public, Sealed: k.Sealed,
		Created: store.Micros(k.Created), NotBefore: store.Micros(k.NotBefore)})
}

// DeleteSigningKeys implements [store.Accounts].
func (s *Store) DeleteSigningKeys(ctx context.Context, below int64) error {
	return s.forget(ctx, s.accounts.signingKeys, op(fID, "$lt", below))
}
