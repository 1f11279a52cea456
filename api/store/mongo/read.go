package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store"
)

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, kind store.Kind, keys []string) (_ map[string]*store.Object, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	if kind != store.KindAny && !kind.Valid() {
		return nil, &store.InvalidError{Field: "kind", Reason: fmt.Sprintf("there is no kind %q", kind)}
	}
	if len(keys) > store.MaxKeys {
		return nil, &store.InvalidError{Field: "keys", Reason: fmt.Sprintf("more than %d", store.MaxKeys)}
	}
	found := make(map[string]*store.Object, len(keys))
	ids, attack := splitKeys(keys)
	if len(ids)+len(attack) == 0 {
		return found, ctx.Err()
	}
	byID := make(map[string]*store.Object, len(keys))
	byAttack := make(map[string]*store.Object, len(attack))
	err = find(ctx, s.objects, and(kindIs(kind), oneOf(ids, attack)), func(d *object) error {
		o := d.object()
		byID[o.ID] = o
		if old := byAttack[o.AttackID]; old == nil || newer(o, old) {
			byAttack[o.AttackID] = o
		}
		return nil
	}, options.Find().SetProjection(fieldsShown).SetBatchSize(inOneMessage))
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		o := byID[k]
		if id, ok := store.AttackKey(k); ok {
			o = byAttack[id]
		}
		if o != nil {
			found[k] = o
		}
	}
	return found, nil
}

// inOneMessage asks for all documents that fit into one message of the server.
const inOneMessage = 1 << 20

func newer(a, b *store.Object) bool {
	if !a.Modified.Equal(b.Modified) {
		return a.Modified.After(b.Modified)
	}
	return a.ID > b.ID
}

// maxMeant is how many objects one ATT&CK id may mean: of a kind there should be
// one.
const maxMeant = 1000

// meant finds the living objects that the keys of a filter mean, for all of its
// fields in one command: for each ref the items of [object.To] that it stands for.
// In a list without a ref there is nothing to ask.
func (s *Store) meant(ctx context.Context, refs []store.Ref) ([][]string, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	var any []cond
	for _, r := range refs {
		ids, attack := splitKeys([]string{r.Key})
		kind := r.Kind
		if len(attack) == 0 {
			kind = store.KindAny // an id says it all
		}
		any = append(any, and(kindIs(kind), oneOf(ids, attack)))
	}
	out := make([][]string, len(refs))
	err := find(ctx, s.objects, or(any...), func(d *object) error {
		for i, r := range refs {
			attack, ok := store.AttackKey(r.Key)
			if ok && d.V.AttackID == attack && (r.Kind == store.KindAny || d.V.Kind == string(r.Kind)) || !ok && d.ID == r.Key {
				out[i] = append(out[i], to(r.Edge, d.ID))
			}
		}
		return nil
	}, options.Find().SetProjection(bson.D{{Key: string(fKind), Value: 1}, {Key: string(fAttackID), Value: 1}}).SetLimit(maxMeant).SetBatchSize(maxMeant))
	return out, err
}

// conditions is what the objects of a list must meet.
func (s *Store) conditions(ctx context.Context, kind store.Kind, f store.Filter) (cond, error) {
	leads, err := s.meant(ctx, refs(f))
	if err != nil {
		return nil, err
	}
	for _, l := range leads {
		if len(l) == 0 {
			return nil, nil // what nobody has is asked of nobody
		}
	}
	return and(append([]cond{kindIs(kind)}, filter(f, leads, s.now())...)...), nil
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, kind store.Kind, q store.Query) (_ store.Page, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	q, cursor, page, asks, err := q.Begin(kind)
	if err != nil {
		return store.Page{}, err
	}
	if !asks {
		return page, ctx.Err()
	}
	where, err := s.conditions(ctx, kind, q.Filter)
	if err != nil {
		return store.Page{}, err
	}
	if where == nil {
		if q.WantTotal {
			page.Total = 0
		}
		return page, nil
	}
	if err := s.page(ctx, where, cursor, q, fieldsShown, &page, func(*object) *store.Link { return nil }); err != nil {
		return store.Page{}, err
	}
	if q.WantTotal && page.Total < 0 {
		store.CountQuery(ctx)
		n, err := s.objects.CountDocuments(ctx, bson.D(where))
		if err != nil {
			return store.Page{}, err
		}
		page.Total = int(n)
	}
	return page, nil
}

// page fills a page with the objects that meet a condition, in order. One more is
// asked for, which tells whether there is a next page. If it begins at the first
// and there is none, its length is the total.
func (s *Store) page(ctx context.Context, where cond, cursor *store.Cursor, q store.Query, fields bson.D, page *store.Page, link func(*object) *store.Link) error {
	if q.First == 0 {
		return nil
	}
	if cursor != nil {
		where = and(where, behind(cursor))
	}
	page.Items = make([]store.Item, 0, min(q.First, 64))
	err := find(ctx, s.objects, where, func(d *object) error {
		if len(page.Items) == q.First {
			page.HasNext = true
			return nil
		}
		o := d.object()
		page.Items = append(page.Items, store.Item{Object: o, Cursor: store.CursorOf(o, q.OrderBy), Link: link(d)})
		return nil
	}, options.Find().SetProjection(fields).SetSort(sortBy(q.OrderBy)).SetLimit(int64(q.First+1)).SetBatchSize(int32(q.First+2)))
	if err == nil && q.WantTotal && cursor == nil && !page.HasNext {
		page.Total = len(page.Items)
	}
	return err
}

type group struct {
	Key string `bson:"_id"`
	N   int    `bson:"n"`
}

// Counts implements [store.Store].
func (s *Store) Counts(ctx context.Context, g store.Group) (_ []store.Count, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	switch g {
	case store.ByKind:
		found, err := s.groups(ctx, kindIs(store.KindAny), fKind, "")
		if err != nil {
			return nil, err
		}
		return store.EveryKind(found), nil
	case store.SoftwareByType:
		return s.groups(ctx, kindIs(store.KindSoftware), fType, "")
	case store.ActorsByDomain:
		return s.groups(ctx, kindIs(store.KindThreatActor), fDomains, fDomains)
	case store.SoftwareByPlatform:
		return s.groups(ctx, kindIs(store.KindSoftware), fPlatformKeys, fPlatformKeys)
	case store.TechniquesByTactic:
		return s.groupsOf(ctx, store.InTactic, store.KindTactic, store.KindTechnique, store.MaxKeys)
	case store.ActorsByTechnique:
		return s.groupsOf(ctx, store.Uses, store.KindTechnique, store.KindThreatActor, store.MaxCounts)
	}
	return nil, &store.InvalidError{Field: "group", Reason: fmt.Sprintf("there is no group %q", g)}
}

// groups counts by the values of a field, the largest group first; each is that
// field if it has a set of values.
func (s *Store) groups(ctx context.Context, where cond, by, each field) ([]store.Count, error) {
	stages := bson.A{bson.D{{Key: "$match", Value: bson.D(where)}}}
	if each != "" {
		stages = append(stages, bson.D{{Key: "$project", Value: bson.D{{Key: string(each), Value: 1}}}}, bson.D{{Key: "$unwind", Value: "$" + string(each)}})
	}
	stages = append(stages, bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$" + string(by)}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}})
	var out []store.Count
	err := aggregate(ctx, s.objects, stages, func(g *group) error {
		if g.Key != "" {
			out = append(out, store.Count{Key: g.Key, Name: g.Key, N: g.N})
		}
		return nil
	})
	store.SortCounts(out)
	return out, err
}

// groupsOf counts, for each living object at the target of an edge, the living
// ones of a kind at its source: the largest groups, so many at most.
func (s *Store) groupsOf(ctx context.Context, e store.Edge, target, source store.Kind, most int) ([]store.Count, error) {
	first, last := to(e, ""), string(e)+"!" // ! comes after the space
	between := cond{{Key: string(fTo), Value: bson.D{{Key: "$gte", Value: first}, {Key: "$lt", Value: last}}}}
	store.CountQuery(ctx)
	cur, err := s.objects.Aggregate(ctx, bson.A{
		bson.D{{Key: "$match", Value: bson.D(kindIs(source))}},
		bson.D{{Key: "$project", Value: bson.D{{Key: "to", Value: 1}}}},
		bson.D{{Key: "$unwind", Value: "$to"}},
		bson.D{{Key: "$match", Value: bson.D(between)}},
		bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$to"}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}},
		bson.D{{Key: "$sort", Value: bson.D{{Key: "n", Value: -1}, {Key: "_id", Value: 1}}}},
	})
	if err != nil {
		return nil, err
	}
	var out, some []store.Count
	// A target may not be served, or be of another kind: so they are looked up, many
	// at a time, until there are enough.
	check := func() error {
		names, err := s.names(ctx, target, some)
		for _, c := range some {
			if name, ok := names[c.Key]; ok && len(out) < most {
				c.Name = name
				out = append(out, c)
			}
		}
		some = some[:0]
		return err
	}
	err = walk(ctx, cur, func(g *group) error {
		some = append(some, store.Count{Key: g.Key[len(first):], N: g.N})
		if len(some) < store.MaxFirst {
			return nil
		}
		if err := check(); err != nil {
			return err
		}
		if len(out) == most {
			return errEnough
		}
		return nil
	})
	if err == nil && len(some) > 0 {
		err = check()
	}
	return out, err
}

// names finds the names of the groups that are objects of a kind.
func (s *Store) names(ctx context.Context, kind store.Kind, of []store.Count) (map[string]string, error) {
	ids := make([]string, len(of))
	for i, c := range of {
		ids[i] = c.Key
	}
	names := make(map[string]string, len(of))
	err := find(ctx, s.objects, and(kindIs(kind), in(fID, ids)), func(d *object) error {
		names[d.ID] = d.V.Name
		return nil
	}, options.Find().SetProjection(bson.D{{Key: "v.name", Value: 1}}).SetBatchSize(inOneMessage))
	return names, err
}
