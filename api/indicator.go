package api

import (
	"context"
	"slices"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/store"
)

type indicator struct {
	member
	ID             graphql.ID
	Name           string
	Description    string
	Pattern        string
	PatternType    string
	ValueType      *string
	Value          *string
	IndicatorTypes []string
	ValidFrom      dateTime
	ValidUntil     *dateTime
	RetiredAt      *dateTime
	Active         bool
	Created        dateTime
	Modified       dateTime
}

func newIndicator(m member) *indicator {
	o := m.obj
	return &indicator{
		member:         m,
		ID:             graphql.ID(o.ID),
		Name:           o.Name,
		Description:    o.Description,
		Pattern:        o.Pattern,
		PatternType:    o.PatternType,
		ValueType:      optional(o.ValueType),
		Value:          optional(o.Value),
		IndicatorTypes: o.IndicatorTypes,
		ValidFrom:      dateTime{o.ValidFrom},
		ValidUntil:     optionalTime(o.ValidUntil),
		RetiredAt:      optionalTime(o.Retired),
		Active:         o.Active(m.among.now()),
		Created:        dateTime{o.Created},
		Modified:       dateTime{o.Modified},
	}
}

// Indicates are what it points to. A bundle may have it point to what is no
// AttackObject, which STIX does not foresee; that is left out of the page.
func (i *indicator) Indicates(ctx context.Context, a pageArgs) (*connection[node], error) {
	c, err := follow(ctx, i.member, store.Indicated, a, byAttackID, newNode)
	if err != nil {
		return nil, err
	}
	c.page.items = slices.DeleteFunc(slices.Clone(c.page.items), func(it item) bool {
		return it.obj.Kind == store.KindIndicator || it.obj.Kind == store.KindSighting
	})
	return c, nil
}

func (i *indicator) Sightings(ctx context.Context, a pageArgs) (*connection[sighting], error) {
	return follow(ctx, i.member, store.Sightings, a, latestFirst, newSighting)
}
