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
	who, b, err := s.identify(ctx, c)
	if err == nil {
		s.known.put(c, who, b)
	}
	return who, err
}

func (s *Service) identify(ctx context.Context, c worker.Credentials) (worker.Identity, basis, error) {
	if c.Authorization == "" {
		return s.byKey(ctx, c.APIKey)
	}
	if c.APIKey != "" {
		return nobody(refused("send one of Authorization and X-API-Key, not both"))
	}
	scheme, token, _ := strings.Cut(c.Authorization, " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nobody(refused("Authorization must be: Bearer, and an access token or an API key"))
	}
	if strings.HasPrefix(token, keyPrefix) {
		return s.byKey(ctx, token)
	}
	return s.byToken(ctx, token)
}

func nobody(err error) (worker.Identity, basis, error) { return worker.Identity{}, basis{}, err }

func (s *Service) byToken(ctx context.Context, token string) (worker.Identity, basis, error) {
	v, err := s.verify(ctx, token)
	if err != nil {
		return nobody(err)
	}
	who := worker.Identity{Subject: UserSubject + v.user, Role: v.role}
	user, err := s.users.get(ctx, v.user)
	if err == nil && user.Epoch < v.epoch { // of a login after what is remembered
		user, err = s.users.anew(ctx, v.user)
	}
	switch {
	case notFound(err), err == nil && (user.Disabled || user.Epoch != v.epoch):
		return nobody(refused(isOver))
	case err == nil:
		return IdentityOf(user), basis{expires: v.expires, signer: v.key, user: user}, nil
	}
	return who, basis{}, nil
}
