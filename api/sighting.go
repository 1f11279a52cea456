package api

import (
	"context"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/store"
)

type sighting struct {
	member
	ID          graphql.ID
	Description string
	FirstSeen   dateTime
	LastSeen    dateTime
	Count       int32
	Reporter    *string
	Created     dateTime
	Modified    dateTime
}

func newSighting(m member) *sighting {
	o := m.obj
	return &sighting{
		member:      m,
		ID:          graphql.ID(o.ID),
		Description: o.Description,
		FirstSeen:   dateTime{o.FirstSeen},
		LastSeen:    dateTime{o.LastSeen},
		Count:       int32(o.Count),
		Reporter:    optional(o.Reporter),
		Created:     dateTime{o.Created},
		Modified:    dateTime{o.Modified},
	}
}

func (s *sighting) SightingOf(ctx context.Context) (*node, error) {
	return followOne(ctx, s.member, store.Sighted, newNode)
}
