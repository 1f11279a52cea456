package api

import (
	"context"
	"time"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/auth"
	"github.com/nekoctl/neko/api/store"
)

// Resolver is the root of [Schema]: its methods are the fields of Query and
// Mutation. It keeps nothing between operations and may serve any number of
// them at once.
type Resolver struct{ *backend }

// NewResolver makes the root resolver of a store.
func NewResolver(s store.Store) *Resolver {
	return &Resolver{&backend{store: s, now: time.Now}}
}

// backend is what all resolvers of one root share.
type backend struct {
	store store.Store
	now   func() time.Time
	auth  *auth.Service // nil: there are no accounts
}

// WithAuth is r for a service with accounts: what login and the like need.
func (r *Resolver) WithAuth(a *auth.Service) *Resolver {
	b := *r.backend
	b.auth = a
	return &Resolver{&b}
}

type idArg struct{ ID graphql.ID }

// ThreatActor finds one by id.
func (r *Resolver) ThreatActor(ctx context.Context, a idArg) (*threatActor, error) {
	return lookup(ctx, r, store.KindThreatActor, a, newThreatActor)
}

// Technique finds one by id.
func (r *Resolver) Technique(ctx context.Context, a idArg) (*technique, error) {
	return lookup(ctx, r, store.KindTechnique, a, newTechnique)
}

// Software finds one by id.
func (r *Resolver) Software(ctx context.Context, a idArg) (*software, error) {
	return lookup(ctx, r, store.KindSoftware, a, newSoftware)
}

// Campaign finds one by id.
func (r *Resolver) Campaign(ctx context.Context, a idArg) (*campaign, error) {
	return lookup(ctx, r, store.KindCampaign, a, newCampaign)
}

// Mitigation finds one by id.
func (r *Resolver) Mitigation(ctx context.Context, a idArg) (*mitigation, error) {
	return lookup(ctx, r, store.KindMitigation, a, newMitigation)
}

// Tactic finds one by id.
func (r *Resolver) Tactic(ctx context.Context, a idArg) (*tactic, error) {
	return lookup(ctx, r, store.KindTactic, a, newTactic)
}

// Indicator finds one by id.
func (r *Resolver) Indicator(ctx context.Context, a idArg) (*indicator, error) {
	return lookup(ctx, r, store.KindIndicator, a, newIndicator)
}

// Sighting finds one by id.
func (r *Resolver) Sighting(ctx context.Context, a idArg) (*sighting, error) {
	return lookup(ctx, r, store.KindSighting, a, newSighting)
}

// Node finds an object of any type by id.
func (r *Resolver) Node(ctx context.Context, a idArg) (*node, error) {
	return lookup(ctx, r, store.KindAny, a, newNode)
}

// lookup gets one object; nil if it is not there or not of this kind.
func lookup[N any](ctx context.Context, r *Resolver, kind store.Kind, a idArg, wrap func(member) *N) (*N, error) {
	key := string(a.ID)
	found, err := r.store.Get(ctx, kind, []string{key})
	if err != nil {
		return nil, storeError(err, "")
	}
	obj := found[key]
	if obj == nil {
		return nil, nil
	}
	return wrap(r.alone(obj)), nil
}
