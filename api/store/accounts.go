package store

import (
	"context"
	"time"
)

// Accounts keeps who may use the API: users, their sessions, API keys, and the
// keys that sign tokens. A store of production implements it beside [Store], on
// the same database. The suite is storetest.RunAccounts.
//
// Every method writes one document (one row) at most, conditionally where it
// says so, and no two of them need to happen together: a store without
// transactions can keep all that is promised. What a method has written is seen
// by every later call in any process, and survives a power failure.
//
// Secrets are never kept: of a password only its argon2id hash, of tokens and API
// keys only a [Digest], of private keys only what the caller has sealed.
//
// Times are kept to the microsecond, in UTC. Any valid UTF-8 without NUL is taken
// as a name or id and found by exactly that; what makes a good name is for the
// caller to decide. Errors: [NotFoundError] and [ConflictError] with the kinds
// below, [ErrUnavailable], that of ctx.
type Accounts interface {
	// CreateUser adds a user. ConflictError if the id is taken, or the name, folded
	// ([Fold]): of many that create one name at once, one does.
	CreateUser(ctx context.Context, u User) error
	// User finds one by id, and UserByName by the name, folded. NotFoundError.
	User(ctx context.Context, id string) (*User, error)
	UserByName(ctx context.Context, name string) (*User, error)
	// Users lists users by ascending id, those after that id, limit at most.
	Users(ctx context.Context, after string, limit int) ([]*User, error)
	// ChangeUser sets what c has, adds one to Epoch, and returns the user as it is
	// then. NotFoundError.
	ChangeUser(ctx context.Context, id string, c UserChange) (*User, error)
	// RehashPassword replaces the hash old by new, of the same password, and nothing
	// else. If the hash is not old any more it does nothing.
	RehashPassword(ctx context.Context, id, old, new string) error

	// CreateSession adds a session. ConflictError if its id is taken.
	CreateSession(ctx context.Context, s Session) error
	// Session finds one by id. NotFoundError.
	Session(ctx context.Context, id string) (*Session, error)
	// RotateSession replaces old by new and sets Expires, if the session is not
	// revoked, has not expired at r.Now, and its digest is r.Old: of many that try
	// with one old digest at once, one does. Otherwise it changes nothing and returns
	// false, and so it does if there is no such session.
	RotateSession(ctx context.Context, r Rotation) (rotated bool, err error)
	// RevokeSession ends a session. One that was revoked before stays as it was,
	// and one that is not there is no error.
	RevokeSession(ctx context.Context, id string, at time.Time) error
	// PruneSessions forgets sessions that have expired before that time.
	PruneSessions(ctx context.Context, before time.Time) error

	// CreateAPIKey adds a key. ConflictError if its id is taken.
	CreateAPIKey(ctx context.Context, k APIKey) error
	// APIKey finds one by id. NotFoundError.
	APIKey(ctx context.Context, id string) (*APIKey, error)
	// APIKeys lists keys by ascending id, those after that id, limit at most.
	APIKeys(ctx context.Context, after string, limit int) ([]*APIKey, error)
	// RevokeAPIKey ends a key, and returns it as it is then. One that was revoked
	// before stays as it was. NotFoundError.
	RevokeAPIKey(ctx context.Context, id string, at time.Time) (*APIKey, error)
	// TouchAPIKey sets LastUsed, if that was earlier. It alone need not survive a
	// power failure, and a key that is not there is no error.
	TouchAPIKey(ctx context.Context, id string, at time.Time) error

	// SigningKeys are all keys that sign tokens, by ascending number.
	SigningKeys(ctx context.Context) ([]*SigningKey, error)
	// AddSigningKey adds a key. ConflictError if its number is taken: of many that
	// add one number at once, one does.
	AddSigningKey(ctx context.Context, k SigningKey) error
	// DeleteSigningKeys forgets the keys whose number is less than below.
	DeleteSigningKeys(ctx context.Context, below int64) error
}

// The kinds of what Accounts keeps, in errors.
const (
	KindUser       Kind = "user"
	KindSession    Kind = "session"
	KindAPIKey     Kind = "API key"
	KindSigningKey Kind = "signing key"
)

// Digest is the SHA-256 of a random secret.
type Digest [32]byte

// User is somebody who can log in.
type User struct {
	ID       string // never given to another
	Name     string
	Role     string // a value of the schema's enum Role
	Password string // a PHC string, "$argon2id$…"
	Disabled bool
	// Epoch counts the changes of role, password and disabled. Tokens and sessions
	// are good for one epoch: a change ends them all.
	Epoch           int64
	Created         time.Time
	PasswordChanged time.Time
}

// UserChange is what is to change of a user: what is not nil.
type UserChange struct {
	Role     *string
	Password *string // PasswordChanged becomes At
	Disabled *bool
	At       time.Time
}

// Session is what one login has begun: a family of refresh tokens, of which only
// the last one is good.
type Session struct {
	ID      string
	UserID  string
	Epoch   int64  // the user's, when it began
	Digest  Digest // of the last token
	Created time.Time
	Expires time.Time // moves with each rotation
	Ends    time.Time // never later than this
	Revoked time.Time // zero: it was not
}

// Rotation is a change of a session's token.
type Rotation struct {
	ID       string
	Old, New Digest
	Now      time.Time
	Expires  time.Time
}

// APIKey is a credential of a program.
type APIKey struct {
	ID       string
	Name     string // for people; not unique
	Digest   Digest // of the secret
	Role     string
	Scopes   []string // root fields; nil: all that the role may
	Owner    string   // id of the user without whom it is nothing; "": of the operator
	Created  time.Time
	Expires  time.Time // zero: never
	Revoked  time.Time // zero: it was not
	LastUsed time.Time // about; zero: never
}

// SigningKey is a key that signs tokens, from NotBefore until there is a newer
// one.
type SigningKey struct {
	Number    int64 // 1, 2, …
	ID        string
	Public    []byte
	Sealed    []byte // the private half
	Created   time.Time
	NotBefore time.Time
}
