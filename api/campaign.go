package api

import (
	"context"

	"github.com/nekoctl/neko/api/store"
)

type campaign struct {
	attackCommon
	Aliases   []string
	FirstSeen *dateTime
	LastSeen  *dateTime
}

func newCampaign(m member) *campaign {
	return &campaign{
		attackCommon: newAttackCommon(m),
		Aliases:      m.obj.Aliases,
		FirstSeen:    optionalTime(m.obj.FirstSeen),
		LastSeen:     optionalTime(m.obj.LastSeen),
	}
}

func (c *campaign) AttributedTo(ctx context.Context, a pageArgs) (*connection[threatActor], error) {
	return follow(ctx, c.member, store.Actors, a, byAttackID, newThreatActor)
}

func (c *campaign) Techniques(ctx context.Context, a pageArgs) (*connection[technique], error) {
	return follow(ctx, c.member, store.Techniques, a, byAttackID, newTechnique)
}

func (c *campaign) Software(ctx context.Context, a pageArgs) (*connection[software], error) {
	return follow(ctx, c.member, store.Software, a, byAttackID, newSoftware)
}

func (c *campaign) Indicators(ctx context.Context, a pageArgs) (*connection[indicator], error) {
	return follow(ctx, c.member, store.Indicators, a, newestFirst, newIndicator)
}

func (c *campaign) Sightings(ctx context.Context, a pageArgs) (*connection[sighting], error) {
	return follow(ctx, c.member, store.Sightings, a, latestFirst, newSighting)
}
