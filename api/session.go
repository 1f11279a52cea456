package api

import (
	"context"
	"errors"
	"sync/atomic"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/worker"
)

// caller resolves Caller.
type caller struct {
	Subject graphql.ID
	Name    string
	Role    string
	Scopes  *[]string
}

func newCaller(who worker.Identity) *caller {
	c := &caller{Subject: graphql.ID(who.Subject), Name: who.Name, Role: who.Role}
	if who.Scopes != nil {
		c.Scopes = &who.Scopes
	}
	return c
}

// Me is who asks.
func (r *Resolver) Me(ctx context.Context) *caller {
	who := worker.CallerFrom(ctx).Identity
	if who.Subject == "" {
		return nil
	}
	return newCaller(who)
}

type loginsKey struct{}

// OperationContext is for [worker.Config]: the context of one operation, in which
// there can be one login.
func OperationContext(ctx context.Context) context.Context {
	return context.WithValue(ctx, loginsKey{}, new(atomic.Int32))
}

// loginsAtOnce tells whether the operation of ctx has had a login before. Without
// that, one request would try a thousand passwords.
func loginsAtOnce(ctx context.Context) bool {
	n, ok := ctx.Value(loginsKey{}).(*atomic.Int32)
	return ok && n.Add(1) > 1
}

type sessionPayload struct {
	AccessToken    string
	Expires        dateTime
	RefreshToken   string
	RefreshExpires dateTime
	Caller         *caller
}

func newSession(g *auth.Grant) *sessionPayload {
	return &sessionPayload{
		AccessToken:    g.AccessToken,
		Expires:        dateTime{g.Expires},
		RefreshToken:   g.RefreshToken,
		RefreshExpires: dateTime{g.RefreshExpires},
		Caller:         newCaller(auth.IdentityOf(g.User)),
	}
}

type loginArgs struct {
	Input struct{ Name, Password string }
}

// Login begins a session.
func (r *Resolver) Login(ctx context.Context, a loginArgs) (*sessionPayload, error) {
	if r.auth == nil {
		return nil, noAccounts()
	}
	if loginsAtOnce(ctx) {
		return nil, &Error{Code: BadUserInput, Message: "one login in one operation"}
	}
	g, err := r.auth.Login(ctx, a.Input.Name, a.Input.Password)
	if errors.Is(err, auth.ErrCredentials) {
		return nil, &Error{Code: BadCredentials, Message: "the name or the password is not right, or the user is disabled"}
	}
	if err != nil {
		return nil, accountError(err, "input")
	}
	return newSession(g), nil
}

type refreshArgs struct{ Input struct{ RefreshToken string } }

// RefreshSession gives new tokens.
func (r *Resolver) RefreshSession(ctx context.Context, a refreshArgs) (*sessionPayload, error) {
	if r.auth == nil {
		return nil, noAccounts()
	}
	g, err := r.auth.Refresh(ctx, a.Input.RefreshToken)
	if errors.Is(err, auth.ErrCredentials) {
		return nil, &Error{Code: BadCredentials, Message: "the refresh token is not good, or no longer: log in"}
	}
	if err != nil {
		return nil, accountError(err, "input")
	}
	return newSession(g), nil
}

type logoutPayload struct{ OK bool }

// Logout ends a session.
func (r *Resolver) Logout(ctx context.Context, a refreshArgs) (*logoutPayload, error) {
	if r.auth == nil {
		return nil, noAccounts()
	}
	if err := r.auth.Logout(ctx, a.Input.RefreshToken); err != nil {
		return nil, accountError(err, "input")
	}
	return &logoutPayload{true}, nil
}

func noAccounts() error {
	return &Error{Code: Unavailable, Message: "there are no accounts here"}
}

// accountError translates an error of package auth.
func accountError(err error, prefix string) error {
	if errors.Is(err, auth.ErrBusy) {
		return &Error{Code: Unavailable, Message: err.Error() + ": try again in a second", RetryAfter: 1}
	}
	return storeError(err, prefix)
}
