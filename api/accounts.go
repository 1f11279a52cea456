package api

import (
	"context"
	"strings"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/worker"
)

// user resolves User.
type user struct {
	ID              graphql.ID
	Name            string
	Role            string
	Disabled        bool
	Created         dateTime
	PasswordChanged dateTime
}

func newUser(u *store.User) *user {
	return &user{graphql.ID(u.ID), u.Name, u.Role, u.Disabled, dateTime{u.Created}, dateTime{u.PasswordChanged}}
}

// apiKey resolves ApiKey.
type apiKey struct {
	ID       graphql.ID
	Name     string
	Role     string
	Scopes   *[]string
	Owner    *graphql.ID
	Created  dateTime
	Expires  *dateTime
	Revoked  *dateTime
	LastUsed *dateTime
}

func newAPIKey(k *store.APIKey) *apiKey {
	out := &apiKey{
		ID:       graphql.ID(k.ID),
		Name:     k.Name,
		Role:     k.Role,
		Owner:    optional(graphql.ID(k.Owner)),
		Created:  dateTime{k.Created},
		Expires:  optionalTime(k.Expires),
		Revoked:  optionalTime(k.Revoked),
		LastUsed: optionalTime(k.LastUsed),
	}
	if k.Scopes != nil {
		out.Scopes = &k.Scopes
	}
	return out
}

// accountPage resolves UserConnection and ApiKeyConnection.
type accountPage[N any] struct {
	Nodes    []*N
	PageInfo pageInfo
}

// accountList makes a page of what list gives by ascending id.
func accountList[N, V any](ctx context.Context, a pageArgs, list func(ctx context.Context, after string, limit int) ([]*V, error), id func(*V) string, wrap func(*V) *N) (*accountPage[N], error) {
	w, err := a.window(ctx)
	if err != nil {
		return nil, err
	}
	found, err := list(ctx, w.after, w.first+1)
	if err != nil {
		return nil, storeError(err, "")
	}
	page := &accountPage[N]{Nodes: []*N{}, PageInfo: pageInfo{HasNextPage: len(found) > w.first, HasPreviousPage: w.after != ""}}
	found = found[:min(len(found), w.first)]
	for _, v := range found {
		page.Nodes = append(page.Nodes, wrap(v))
	}
	if n := len(found); n > 0 {
		start, end := id(found[0]), id(found[n-1])
		page.PageInfo.StartCursor, page.PageInfo.EndCursor = &start, &end
	}
	return page, nil
}

// Users lists those who can log in.
func (r *Resolver) Users(ctx context.Context, a pageArgs) (*accountPage[user], error) {
	if r.auth == nil {
		return nil, noAccounts()
	}
	return accountList(ctx, a, r.auth.Accounts().Users, func(u *store.User) string { return u.ID }, newUser)
}

// APIKeys lists the credentials of programs.
func (r *Resolver) APIKeys(ctx context.Context, a pageArgs) (*accountPage[apiKey], error) {
	if r.auth == nil {
		return nil, noAccounts()
	}
	return accountList(ctx, a, r.auth.Accounts().APIKeys, func(k *store.APIKey) string { return k.ID }, newAPIKey)
}

// manager is for changes of users and keys, which only users make: a key that
// leaked must not leave others behind.
func (r *Resolver) manager(ctx context.Context) (m *auth.Manager, userID string, err error) {
	if r.auth == nil {
		return nil, "", noAccounts()
	}
	id, ok := strings.CutPrefix(worker.CallerFrom(ctx).Identity.Subject, auth.UserSubject)
	if !ok {
		return nil, "", &Error{Code: Forbidden, Message: "users and API keys are changed by who has logged in, not by an API key"}
	}
	return r.auth.Manager(), id, nil
}

type userPayload struct{ User *user }

// changed answers with a user.
func changed(ctx context.Context, u *store.User, err error) (*userPayload, error) {
	if err != nil {
		return nil, accountError(err, "input")
	}
	worker.AuditObject(ctx, auth.UserSubject+u.ID)
	return &userPayload{newUser(u)}, nil
}

type createUserArgs struct {
	Input struct{ Name, Role, Password string }
}

// CreateUser adds a user.
func (r *Resolver) CreateUser(ctx context.Context, a createUserArgs) (*userPayload, error) {
	m, _, err := r.manager(ctx)
	if err != nil {
		return nil, err
	}
	u, err := m.CreateUser(ctx, a.Input.Name, a.Input.Role, a.Input.Password)
	return changed(ctx, u, err)
}

// DisableUser shuts a user out.
func (r *Resolver) DisableUser(ctx context.Context, a idArg) (*userPayload, error) {
	m, self, err := r.manager(ctx)
	if err != nil {
		return nil, err
	}
	if string(a.ID) == self {
		return nil, badInput("id", "id: that is you, and nobody might be left to let you in again")
	}
	u, err := m.SetDisabled(ctx, string(a.ID), true)
	return changed(ctx, u, err)
}

// EnableUser lets a user log in again.
func (r *Resolver) EnableUser(ctx context.Context, a idArg) (*userPayload, error) {
	m, _, err := r.manager(ctx)
	if err != nil {
		return nil, err
	}
	u, err := m.SetDisabled(ctx, string(a.ID), false)
	return changed(ctx, u, err)
}

type createAPIKeyArgs struct {
	Input struct {
		Name, Role string
		Scopes     *[]string
		Expires    *instant
	}
}

type createAPIKeyPayload struct {
	APIKey *apiKey
	Secret string
}

// CreateAPIKey makes a key of the user who asks.
func (r *Resolver) CreateAPIKey(ctx context.Context, a createAPIKeyArgs) (*createAPIKeyPayload, error) {
	m, self, err := r.manager(ctx)
	if err != nil {
		return nil, err
	}
	fields := inputs{prefix: "input"}
	n := auth.NewKey{Name: a.Input.Name, Role: a.Input.Role, Owner: self, Expires: fields.time("expires", a.Input.Expires)}
	if fields.err != nil {
		return nil, fields.err
	}
	if a.Input.Scopes != nil {
		n.Scopes = *a.Input.Scopes
	}
	k, secret, err := m.CreateKey(ctx, n)
	if err != nil {
		return nil, accountError(err, "input")
	}
	worker.AuditObject(ctx, auth.KeySubject+k.ID)
	return &createAPIKeyPayload{newAPIKey(k), secret}, nil
}

type apiKeyPayload struct{ APIKey *apiKey }

// RevokeAPIKey ends a key.
func (r *Resolver) RevokeAPIKey(ctx context.Context, a idArg) (*apiKeyPayload, error) {
	m, _, err := r.manager(ctx)
	if err != nil {
		return nil, err
	}
	k, err := m.RevokeKey(ctx, string(a.ID))
	if err != nil {
		return nil, accountError(err, "")
	}
	worker.AuditObject(ctx, auth.KeySubject+k.ID)
	return &apiKeyPayload{newAPIKey(k)}, nil
}
