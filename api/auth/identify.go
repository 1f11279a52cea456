package auth

import (
	"context"
	"strings"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/worker"
)

// How a subject begins: by what it is.
const (
	UserSubject = "user:"
	KeySubject  = "key:"
)

// IdentityOf is who a user is.
func IdentityOf(u *store.User) worker.Identity {
	return worker.Identity{Subject: UserSubject + u.ID, Name: u.Name, Role: u.Role}
}

// Identify is for [worker.Config]: it finds out whose credentials these are.
//
// While the store does not answer, a token that verifies goes on until it
// expires, with the role that it names, and a key that was used a moment ago goes
// on for some minutes.
func (s *Service) Identify(ctx context.Context, c worker.Credentials) (worker.Identity, error) {
	if c.Authorization == "" {
		return s.byKey(ctx, c.APIKey)
	}
	if c.APIKey != "" {
		return worker.Identity{}, refused("send one of Authorization and X-API-Key, not both")
	}
	scheme, token, _ := strings.Cut(c.Authorization, " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return worker.Identity{}, refused("Authorization must be: Bearer, and an access token or an API key")
	}
	if strings.HasPrefix(token, keyPrefix) {
		return s.byKey(ctx, token)
	}
	return s.byToken(ctx, token)
}

func (s *Service) byToken(ctx context.Context, token string) (worker.Identity, error) {
	v, err := s.verify(ctx, token)
	if err != nil {
		return worker.Identity{}, err
	}
	who := worker.Identity{Subject: UserSubject + v.user, Role: v.role}
	user, err := s.users.get(ctx, v.user)
	if err == nil && user.Epoch < v.epoch { // of a login after what is remembered
		user, err = s.users.anew(ctx, v.user)
	}
	switch {
	case notFound(err), err == nil && (user.Disabled || user.Epoch != v.epoch):
		return worker.Identity{}, refused(isOver)
	case err == nil:
		who = IdentityOf(user)
	}
	return who, nil
}
