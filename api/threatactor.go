package api

import (
	"context"

	"github.com/nekoctl/neko/api/store"
)

type threatActor struct {
	attackCommon
	Aliases   []string
	FirstSeen *dateTime
	LastSeen  *dateTime
}

func newThreatActor(m member) *threatActor {
	return &threatActor{
		attackCommon: newAttackCommon(m),
		Aliases:      m.obj.Aliases,
		FirstSeen:    optionalTime(m.obj.FirstSeen),
		LastSeen:     optionalTime(m.obj.LastSeen),
	}
}

func (t *threatActor) Techniques(ctx context.Context, a pageArgs) (*connection[technique], error) {
	return follow(ctx, t.member, store.Techniques, a, byAttackID, newTechnique)
}

func (t *threatActor) Software(ctx context.Context, a pageArgs) (*connection[software], error) {
	return follow(ctx, t.member, store.Software, a, byAttackID, newSoftware)
}

func (t *threatActor) Campaigns(ctx context.Context, a pageArgs) (*connection[campaign], error) {
	return follow(ctx, t.member, store.Campaigns, a, byAttackID, newCampaign)
}

func (t *threatActor) Indicators(ctx context.Context, a pageArgs) (*connection[indicator], error) {
	return follow(ctx, t.member, store.Indicators, a, newestFirst, newIndicator)
}

func (t *threatActor) Sightings(ctx context.Context, a pageArgs) (*connection[sighting], error) {
	return follow(ctx, t.member, store.Sightings, a, latestFirst, newSighting)
}
