package api

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/tracing"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// siblings are the objects of one kind that were fetched together: a page of a
// list, or all pages of one relation for all parents. Whatever is asked of one
// of them will be asked of all, for objects in one place of a query have one
// selection set. So the first that asks for a relation fetches it for all of
// them, the others find it fetched, and what was fetched is the next generation
// of siblings: one store query for each relation in the operation's text,
// however long the lists are.
//
// A data loader does the same by waiting a while for others to ask. This does
// not wait, depends on no clock, and is not split up by graph-gophers' bound on
// concurrent resolvers (10 unless set otherwise).
type siblings struct {
	*backend
	ids []string // STIX ids, each once, at most store.MaxKeys

	mu    sync.Mutex
	loads map[relation]func() ([]page, error)
}

// relation says which page of which relation is wanted of each sibling.
type relation struct {
	store.Relation
	window
	order store.Order
}

// member is an object and its place among its siblings.
type member struct {
	obj   *store.Object
	among *siblings
	place int // in among.ids
}

// page is a part of a list or relation; its members are siblings, together with
// those of the other pages that were fetched with it.
type page struct {
	items       []item
	total       int // -1 if nobody asked
	hasNext     bool
	hasPrevious bool
}

type item struct {
	member
	cursor store.Cursor
	link   *store.Link // nil in a list
}

// related returns this object's page of a relation.
func (m member) related(ctx context.Context, r relation) (page, error) {
	s := m.among
	s.mu.Lock()
	load := s.loads[r]
	if load == nil {
		// All siblings belong to one operation: the first one's context is as good
		// as any other's. Should the store panic, each of them panics.
		load = sync.OnceValues(func() ([]page, error) { return s.fetch(ctx, r) })
		if s.loads == nil {
			s.loads = make(map[relation]func() ([]page, error))
		}
		s.loads[r] = load
	}
	s.mu.Unlock()
	pages, err := load()
	if err != nil {
		return page{}, err
	}
	return pages[m.place], nil
}

func (s *siblings) fetch(ctx context.Context, r relation) ([]page, error) {
	ctx, span := tracing.Start(ctx, "load", trace.SpanKindInternal)
	defer span.End()
	if span.Recording() {
		span.Set(attribute.String("neko.loader.relation", r.Relation.String()), attribute.Int("neko.loader.keys", len(s.ids)))
	}
	pages, err := s.store.Related(ctx, r.Relation, s.ids, r.query(r.order))
	if err != nil {
		err = storeError(err, "")
		if own := (*Error)(nil); errors.As(err, &own) {
			span.Fail(string(own.Code))
		}
		return nil, err
	}
	if len(pages) != len(s.ids) {
		return nil, fmt.Errorf("store: %d pages for %d parents", len(pages), len(s.ids))
	}
	g := generation{backend: s.backend}
	out := make([]page, len(pages))
	for i, p := range pages {
		out[i] = g.page(p)
	}
	return out, nil
}

// generation makes siblings of what one store query answered.
type generation struct {
	*backend
	filling map[store.Kind]*siblings
	members map[string]member // by STIX id
}

func (g *generation) page(p store.Page) page {
	out := page{
		items:       make([]item, len(p.Items)),
		total:       p.Total,
		hasNext:     p.HasNext,
		hasPrevious: p.HasPrevious,
	}
	for i, it := range p.Items {
		out.items[i] = item{g.member(it.Object), it.Cursor, it.Link}
	}
	return out
}

func (g *generation) member(obj *store.Object) member {
	if m, ok := g.members[obj.ID]; ok {
		return m
	}
	s := g.filling[obj.Kind]
	if s == nil || len(s.ids) == store.MaxKeys {
		s = &siblings{backend: g.backend}
		if g.filling == nil {
			g.filling = make(map[store.Kind]*siblings)
			g.members = make(map[string]member)
		}
		g.filling[obj.Kind] = s
	}
	m := member{obj, s, len(s.ids)}
	s.ids = append(s.ids, obj.ID)
	g.members[obj.ID] = m
	return m
}

// alone is an object without siblings.
func (b *backend) alone(obj *store.Object) member {
	g := generation{backend: b}
	return g.member(obj)
}
