package api

import (
	"context"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/store"
)

// connection resolves every …Connection type; N is its node.
type connection[N any] struct {
	page page
	wrap func(member) *N
}

// edge resolves every …Edge type.
type edge[N any] struct {
	Cursor       string
	Node         *N
	Relationship *relationship
}

type pageInfo struct {
	HasNextPage     bool
	HasPreviousPage bool
	StartCursor     *string
	EndCursor       *string
}

// TotalCount is there if it was selected: see window.
func (c *connection[N]) TotalCount() int32 {
	if c.page.total < 0 {
		panic("totalCount is resolved, but was not found selected: is DisableFieldSelections set?")
	}
	return int32(c.page.total)
}

// Nodes are the page's objects.
func (c *connection[N]) Nodes() []*N {
	out := make([]*N, len(c.page.items))
	for i, it := range c.page.items {
		out[i] = c.wrap(it.member)
	}
	return out
}

// Edges are the page's objects with what belongs to their places.
func (c *connection[N]) Edges() []edge[N] {
	out := make([]edge[N], len(c.page.items))
	for i, it := range c.page.items {
		out[i] = edge[N]{it.cursor.String(), c.wrap(it.member), newRelationship(it.link)}
	}
	return out
}

// PageInfo says where the page lies.
func (c *connection[N]) PageInfo() pageInfo {
	info := pageInfo{HasNextPage: c.page.hasNext, HasPreviousPage: c.page.hasPrevious}
	if n := len(c.page.items); n > 0 {
		start, end := c.page.items[0].cursor.String(), c.page.items[n-1].cursor.String()
		info.StartCursor, info.EndCursor = &start, &end
	}
	return info
}

// follow resolves a connection that hangs on an object.
func follow[N any](ctx context.Context, from member, rel store.Relation, a pageArgs, o store.Order, wrap func(member) *N) (*connection[N], error) {
	w, err := a.window(ctx)
	if err != nil {
		return nil, err
	}
	p, err := from.related(ctx, relation{rel, w, o})
	if err != nil {
		return nil, err
	}
	return &connection[N]{p, wrap}, nil
}

// followOne resolves a relation that has one object at its other end, or none.
func followOne[N any](ctx context.Context, from member, rel store.Relation, wrap func(member) *N) (*N, error) {
	p, err := from.related(ctx, relation{rel, window{first: 1}, byAttackID})
	if err != nil || len(p.items) == 0 {
		return nil, err
	}
	return wrap(p.items[0].member), nil
}

// list resolves a connection of Query.
func list[N any](ctx context.Context, r *Resolver, kind store.Kind, a pageArgs, f store.Filter, o store.Order, wrap func(member) *N) (*connection[N], error) {
	w, err := a.window(ctx)
	if err != nil {
		return nil, err
	}
	q := w.query(o)
	q.Filter = f
	p, err := r.store.List(ctx, kind, q)
	if err != nil {
		return nil, storeError(err, "")
	}
	g := generation{backend: r.backend}
	return &connection[N]{g.page(p), wrap}, nil
}

// relationship is what the edge to a node says.
type relationship struct {
	ID          *graphql.ID
	Description string
	References  []reference
	Created     *dateTime
	Modified    *dateTime
}

func newRelationship(l *store.Link) *relationship {
	if l == nil {
		return nil
	}
	return &relationship{
		ID:          optional(graphql.ID(l.ID)),
		Description: l.Description,
		References:  newReferences(l.References),
		Created:     optionalTime(l.Created),
		Modified:    optionalTime(l.Modified),
	}
}
