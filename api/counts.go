package api

import (
	"context"

	"github.com/nekoctl/neko/api/store"
)

// threatCounts holds the counts by kind; each group is a store query of its own,
// and is asked for only where it is selected.
type threatCounts struct {
	*backend
	ThreatActors int32
	Techniques   int32
	Tactics      int32
	Software     int32
	Campaigns    int32
	Mitigations  int32
	Indicators   int32
	Sightings    int32
}

type groupCount struct {
	Key   string
	Name  string
	Count int32
}

// ThreatCounts counts what the store holds.
func (r *Resolver) ThreatCounts(ctx context.Context) (*threatCounts, error) {
	counts, err := r.store.Counts(ctx, store.ByKind)
	if err != nil {
		return nil, storeError(err, "")
	}
	n := make(map[string]int32, len(counts))
	for _, c := range counts {
		n[c.Key] = int32(c.N)
	}
	return &threatCounts{
		backend:      r.backend,
		ThreatActors: n[string(store.KindThreatActor)],
		Techniques:   n[string(store.KindTechnique)],
		Tactics:      n[string(store.KindTactic)],
		Software:     n[string(store.KindSoftware)],
		Campaigns:    n[string(store.KindCampaign)],
		Mitigations:  n[string(store.KindMitigation)],
		Indicators:   n[string(store.KindIndicator)],
		Sightings:    n[string(store.KindSighting)],
	}, nil
}

func (t *threatCounts) TechniquesByTactic(ctx context.Context) ([]groupCount, error) {
	return t.group(ctx, store.TechniquesByTactic)
}

func (t *threatCounts) ThreatActorsByDomain(ctx context.Context) ([]groupCount, error) {
	return t.group(ctx, store.ActorsByDomain)
}

func (t *threatCounts) ThreatActorsByTechnique(ctx context.Context) ([]groupCount, error) {
	return t.group(ctx, store.ActorsByTechnique)
}

func (t *threatCounts) SoftwareByKind(ctx context.Context) ([]groupCount, error) {
	return t.group(ctx, store.SoftwareByType)
}

func (t *threatCounts) SoftwareByPlatform(ctx context.Context) ([]groupCount, error) {
	return t.group(ctx, store.SoftwareByPlatform)
}

func (t *threatCounts) group(ctx context.Context, g store.Group) ([]groupCount, error) {
	counts, err := t.store.Counts(ctx, g)
	if err != nil {
		return nil, storeError(err, "")
	}
	out := make([]groupCount, len(counts))
	for i, c := range counts {
		out[i] = groupCount{c.Key, c.Name, int32(c.N)}
	}
	return out, nil
}
