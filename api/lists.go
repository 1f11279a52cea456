package api

import (
	"context"

	"github.com/nekoctl/neko/api/store"
)

// listArgs are the arguments of a list; F is its …Filter.
type listArgs[F any] struct {
	pageArgs
	Filter  *F
	OrderBy *orderArg
}

// ThreatActors lists ATT&CK groups.
func (r *Resolver) ThreatActors(ctx context.Context, a listArgs[threatActorFilter]) (*connection[threatActor], error) {
	f, err := a.Filter.filter()
	if err != nil {
		return nil, err
	}
	return list(ctx, r, store.KindThreatActor, a.pageArgs, f, a.OrderBy.orElse(byAttackID), newThreatActor)
}

// Techniques lists techniques and sub-techniques.
func (r *Resolver) Techniques(ctx context.Context, a listArgs[techniqueFilter]) (*connection[technique], error) {
	f, err := a.Filter.filter()
	if err != nil {
		return nil, err
	}
	return list(ctx, r, store.KindTechnique, a.pageArgs, f, a.OrderBy.orElse(byAttackID), newTechnique)
}

// SoftwareList lists malware and tools.
func (r *Resolver) SoftwareList(ctx context.Context, a listArgs[softwareFilter]) (*connection[software], error) {
	f, err := a.Filter.filter()
	if err != nil {
		return nil, err
	}
	return list(ctx, r, store.KindSoftware, a.pageArgs, f, a.OrderBy.orElse(byAttackID), newSoftware)
}

// Campaigns lists campaigns.
func (r *Resolver) Campaigns(ctx context.Context, a listArgs[campaignFilter]) (*connection[campaign], error) {
	f, err := a.Filter.filter()
	if err != nil {
		return nil, err
	}
	return list(ctx, r, store.KindCampaign, a.pageArgs, f, a.OrderBy.orElse(byAttackID), newCampaign)
}

// Mitigations lists mitigations.
func (r *Resolver) Mitigations(ctx context.Context, a listArgs[mitigationFilter]) (*connection[mitigation], error) {
	f, err := a.Filter.filter()
	if err != nil {
		return nil, err
	}
	return list(ctx, r, store.KindMitigation, a.pageArgs, f, a.OrderBy.orElse(byAttackID), newMitigation)
}

// Tactics lists tactics.
func (r *Resolver) Tactics(ctx context.Context, a listArgs[tacticFilter]) (*connection[tactic], error) {
	f, err := a.Filter.filter()
	if err != nil {
		return nil, err
	}
	return list(ctx, r, store.KindTactic, a.pageArgs, f, a.OrderBy.orElse(byAttackID), newTactic)
}

// Indicators lists indicators.
func (r *Resolver) Indicators(ctx context.Context, a listArgs[indicatorFilter]) (*connection[indicator], error) {
	f, err := a.Filter.filter()
	if err != nil {
		return nil, err
	}
	return list(ctx, r, store.KindIndicator, a.pageArgs, f, a.OrderBy.orElse(newestFirst), newIndicator)
}

// Sightings lists sightings.
func (r *Resolver) Sightings(ctx context.Context, a listArgs[sightingFilter]) (*connection[sighting], error) {
	f, err := a.Filter.filter()
	if err != nil {
		return nil, err
	}
	return list(ctx, r, store.KindSighting, a.pageArgs, f, a.OrderBy.orElse(latestFirst), newSighting)
}
