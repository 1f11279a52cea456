package auth

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nekoctl/neko/api/store"
)

// goodName is what a user may be called: what nothing takes apart, and people can
// say to each other. It begins with a letter or digit, and has 64 characters at most.
// (As a regular expression that takes 2 ms at each start of the program.)
func goodName(name string) bool {
	for i, r := range name {
		if !unicode.In(r, unicode.L, unicode.N) && (i == 0 || !unicode.Is(unicode.M, r) && !strings.ContainsRune("._@+-", r)) {
			return false
		}
	}
	return name != "" && utf8.ValidString(name) && utf8.RuneCountInString(name) <= 64
}

// A Manager changes users and API keys. It needs no secret, so that the command
// line can be one.
type Manager struct {
	accounts  store.Accounts
	passwords *passwords
	now       func() time.Time
}

// NewManager is a manager of the accounts in a store.
func NewManager(accounts store.Accounts) *Manager {
	return &Manager{accounts, newPasswords(), time.Now}
}

// Manager shares the turn to hash passwords with logins.
func (s *Service) Manager() *Manager {
	return &Manager{s.accounts, s.passwords, s.options.Now}
}

// Accounts is what the service works on.
func (s *Service) Accounts() store.Accounts { return s.accounts }

func checkRole(role string) error {
	if !slices.Contains(Roles, role) {
		return &store.InvalidError{Field: "role", Reason: fmt.Sprintf("%q is none of %s", role, strings.Join(Roles, ", "))}
	}
	return nil
}

// CreateUser adds a user. The error is an InvalidError, a ConflictError if there is
// one of that name, [ErrBusy], or the store's.
func (m *Manager) CreateUser(ctx context.Context, name, role, password string) (*store.User, error) {
	if !goodName(name) || len(name) > maxName {
		return nil, &store.InvalidError{Field: "name", Reason: "must be 1 to 64 letters, digits and . _ @ + -, and begin with a letter or digit"}
	}
	if err := checkRole(role); err != nil {
		return nil, err
	}
	if err := checkPassword(name, password); err != nil {
		return nil, err
	}
	phc, err := m.passwords.hash(ctx, password)
	if err != nil {
		return nil, err
	}
	now := micros(m.now())
	u := store.User{ID: newID(now), Name: name, Role: role, Password: phc, Created: now, PasswordChanged: now}
	if err := m.accounts.CreateUser(ctx, u); err != nil {
		return nil, err
	}
	return &u, nil
}

// SetPassword gives a user another password, and ends what the user has open.
func (m *Manager) SetPassword(ctx context.Context, id, password string) (*store.User, error) {
	u, err := m.accounts.User(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := checkPassword(u.Name, password); err != nil {
		return nil, err
	}
	phc, err := m.passwords.hash(ctx, password)
	if err != nil {
		return nil, err
	}
	return m.accounts.ChangeUser(ctx, id, store.UserChange{Password: &phc, At: m.now()})
}

// SetRole gives a user another role, and ends what the user has open.
func (m *Manager) SetRole(ctx context.Context, id, role string) (*store.User, error) {
	if err := checkRole(role); err != nil {
		return nil, err
	}
	return m.accounts.ChangeUser(ctx, id, store.UserChange{Role: &role, At: m.now()})
}

// SetDisabled shuts a user out, with all of the user's sessions, tokens and API
// keys, or lets the user log in again. Of these only the API keys come back then.
func (m *Manager) SetDisabled(ctx context.Context, id string, disabled bool) (*store.User, error) {
	return m.accounts.ChangeUser(ctx, id, store.UserChange{Disabled: &disabled, At: m.now()})
}

// NewKey is what an API key is made from.
type NewKey struct {
	Name    string
	Role    string
	Scopes  []string  // "Query.*", "Mutation.reportSighting"; nil: all that the role may
	Owner   string    // the id of a user; "": the operator
	Expires time.Time // zero: never
}

var goodScope = regexp.MustCompile(`^(Query|Mutation)\.(\*|[_A-Za-z][_0-9A-Za-z]*)$`)

// Bounds of the scopes of one key, and of one of them.
const (
	maxScopes      = 64
	maxScopeLength = 128
)

// CreateKey makes an API key. Its text is returned this once, and kept nowhere.
func (m *Manager) CreateKey(ctx context.Context, n NewKey) (*store.APIKey, string, error) {
	now := micros(m.now())
	invalid := func(field, reason string) (*store.APIKey, string, error) {
		return nil, "", &store.InvalidError{Field: field, Reason: reason}
	}
	if n.Name = strings.TrimSpace(n.Name); n.Name == "" || utf8.RuneCountInString(n.Name) > 64 || len(n.Name) > maxName ||
		!utf8.ValidString(n.Name) || strings.ContainsFunc(n.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return invalid("name", "must be 1 to 64 characters that can be seen")
	}
	if err := checkRole(n.Role); err != nil {
		return nil, "", err
	}
	if len(n.Scopes) > maxScopes {
		return invalid("scopes", fmt.Sprintf("has more than %d", maxScopes))
	}
	for _, scope := range n.Scopes {
		if len(scope) > maxScopeLength || !goodScope.MatchString(scope) {
			return invalid("scopes", fmt.Sprintf("%q is no root field: write it like Query.threatActors, Mutation.reportSighting or Query.*", scope))
		}
	}
	if !n.Expires.IsZero() && !n.Expires.After(now) {
		return invalid("expires", "is over already")
	}
	secret := newSecret()
	k := store.APIKey{ID: newID(now), Name: n.Name, Digest: digest(secret[:]), Role: n.Role, Scopes: n.Scopes, Owner: n.Owner, Created: now, Expires: micros(n.Expires)}
	if err := m.accounts.CreateAPIKey(ctx, k); err != nil {
		return nil, "", err
	}
	return &k, keyText(k.ID, secret), nil
}

// RevokeKey ends an API key.
func (m *Manager) RevokeKey(ctx context.Context, id string) (*store.APIKey, error) {
	return m.accounts.RevokeAPIKey(ctx, id, m.now())
}

// micros is t as a store keeps it.
func micros(t time.Time) time.Time { return store.FromMicros(store.Micros(t)) }
