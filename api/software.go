package api

import (
	"context"

	"github.com/nekoctl/neko/api/store"
)

type software struct {
	attackCommon
	Aliases   []string
	Platforms []string
	Kind      string
}

// The values of the enum SoftwareKind.
const (
	malware = "MALWARE"
	tool    = "TOOL"
)

func newSoftware(m member) *software {
	s := &software{
		attackCommon: newAttackCommon(m),
		Aliases:      m.obj.Aliases,
		Platforms:    m.obj.Platforms,
		Kind:         malware,
	}
	if m.obj.Type == "tool" {
		s.Kind = tool
	}
	return s
}

func (s *software) Techniques(ctx context.Context, a pageArgs) (*connection[technique], error) {
	return follow(ctx, s.member, store.Techniques, a, byAttackID, newTechnique)
}

func (s *software) UsedByThreatActors(ctx context.Context, a pageArgs) (*connection[threatActor], error) {
	return follow(ctx, s.member, store.UsedByActors, a, byAttackID, newThreatActor)
}

func (s *software) UsedByCampaigns(ctx context.Context, a pageArgs) (*connection[campaign], error) {
	return follow(ctx, s.member, store.UsedByCamps, a, byAttackID, newCampaign)
}

func (s *software) Indicators(ctx context.Context, a pageArgs) (*connection[indicator], error) {
	return follow(ctx, s.member, store.Indicators, a, newestFirst, newIndicator)
}

func (s *software) Sightings(ctx context.Context, a pageArgs) (*connection[sighting], error) {
	return follow(ctx, s.member, store.Sightings, a, latestFirst, newSighting)
}
