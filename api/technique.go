package api

import (
	"context"

	"github.com/nekoctl/neko/api/store"
)

type technique struct {
	attackCommon
	Platforms      []string
	IsSubtechnique bool
}

func newTechnique(m member) *technique {
	return &technique{
		attackCommon:   newAttackCommon(m),
		Platforms:      m.obj.Platforms,
		IsSubtechnique: m.obj.Subtechnique,
	}
}

// Tactics are all of them: no technique has more than a few.
func (t *technique) Tactics(ctx context.Context) ([]*tactic, error) {
	p, err := t.related(ctx, relation{store.Tactics, window{first: maxFirst}, byAttackID})
	if err != nil {
		return nil, err
	}
	return (&connection[tactic]{p, newTactic}).Nodes(), nil
}

func (t *technique) Parent(ctx context.Context) (*technique, error) {
	return followOne(ctx, t.member, store.ParentOf, newTechnique)
}

func (t *technique) SubTechniques(ctx context.Context, a pageArgs) (*connection[technique], error) {
	return follow(ctx, t.member, store.Subtechniques, a, byAttackID, newTechnique)
}

func (t *technique) UsedByThreatActors(ctx context.Context, a pageArgs) (*connection[threatActor], error) {
	return follow(ctx, t.member, store.UsedByActors, a, byAttackID, newThreatActor)
}

func (t *technique) UsedBySoftware(ctx context.Context, a pageArgs) (*connection[software], error) {
	return follow(ctx, t.member, store.UsedBySoft, a, byAttackID, newSoftware)
}

func (t *technique) UsedByCampaigns(ctx context.Context, a pageArgs) (*connection[campaign], error) {
	return follow(ctx, t.member, store.UsedByCamps, a, byAttackID, newCampaign)
}

func (t *technique) Mitigations(ctx context.Context, a pageArgs) (*connection[mitigation], error) {
	return follow(ctx, t.member, store.Mitigations, a, byAttackID, newMitigation)
}

func (t *technique) Indicators(ctx context.Context, a pageArgs) (*connection[indicator], error) {
	return follow(ctx, t.member, store.Indicators, a, newestFirst, newIndicator)
}

func (t *technique) Sightings(ctx context.Context, a pageArgs) (*connection[sighting], error) {
	return follow(ctx, t.member, store.Sightings, a, latestFirst, newSighting)
}
