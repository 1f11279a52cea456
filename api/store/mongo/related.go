package mongo

import (
	"context"
	"errors"
	"sort"
	"strings"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store"
)

// Related implements [store.Store].
//
// Where a relation leads stands in the object that it leaves. In that direction
// the parents are read, and then what they name. In the other direction the
// objects that name a parent are found by an index, page by page however many they
// are.
func (s *Store) Related(ctx context.Context, rel store.Relation, parents []string, q store.Query) (_ []store.Page, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	q, cursor, pages, asks, err := rel.Begin(parents, q)
	if err != nil {
		return nil, err
	}
	if !asks {
		return pages, ctx.Err()
	}
	where, err := s.conditions(ctx, rel.To, q.Filter)
	if err != nil || where == nil {
		return pages, err
	}
	// A parent may be given several times; it is asked for once.
	places := make(map[string][]int, len(parents))
	for i, p := range parents {
		if _, ok := known(p); ok && p != "" {
			places[p] = append(places[p], i)
		}
	}
	r := &relatives{s: s, rel: rel, q: q, cursor: cursor, where: where, pages: make(map[string]*kin, len(places))}
	for p := range places {
		r.pages[p] = &kin{Page: pages[places[p][0]]}
	}
	if rel.Inverse {
		err = r.towards(ctx)
	} else {
		err = r.from(ctx)
	}
	if err == nil {
		err = r.links(ctx)
	}
	if err != nil {
		return nil, err
	}
	for p, at := range places {
		for _, i := range at {
			pages[i] = r.pages[p].Page
		}
	}
	return pages, nil
}

// relatives is one call of Related.
type relatives struct {
	s      *Store
	rel    store.Relation
	q      store.Query
	cursor *store.Cursor
	where  cond // of the objects wanted
	pages  map[string]*kin
}

// kin is a parent's page, and by what relationship each of its items is there.
type kin struct {
	store.Page
	via  []string
	full bool
}

// leads gives where an object's relations of one edge lead, and by what.
func (r *relatives) leads(d *object) (ids, via []string) {
	prefix := to(r.rel.Edge, "")
	for i, t := range d.To {
		if strings.HasPrefix(t, prefix) {
			ids = append(ids, t[len(prefix):])
			via = append(via, d.Via[i])
		}
	}
	return ids, via
}

// maxTargets is how many targets are looked at together.
const maxTargets = 20_000

// from follows the relations that begin at the parents. An object has few of them,
// and they are in its document; so all of them are found, by their ids, and put in
// order here. What is held at a time is an id and a value for each of at most
// [maxTargets] objects (and those of one parent).
func (r *relatives) from(ctx context.Context) error {
	parents := make([]string, 0, len(r.pages))
	for p := range r.pages {
		parents = append(parents, p)
	}
	type parent struct {
		id       string
		ids, via []string
	}
	var some []parent
	targets := make(map[string]*item)
	flush := func() error {
		if len(targets) == 0 {
			some = some[:0]
			return nil
		}
		// Where few can be left out they are read at once.
		whole := len(targets) <= 2*min(len(some)*(r.q.First+1), store.MaxFirst)
		if err := r.order(ctx, targets, whole); err != nil {
			return err
		}
		var wanted []string
		want := make(map[string]bool)
		for _, p := range some {
			k := r.pages[p.id]
			var all []*item
			via := make(map[string]string, len(p.ids))
			for i, id := range p.ids {
				if t := targets[id]; t.there {
					all = append(all, t)
					via[id] = p.via[i]
				}
			}
			sort.Slice(all, func(i, j int) bool { return r.before(all[i].at, all[j].at) })
			if r.q.WantTotal {
				k.Total = len(all)
			}
			if r.cursor != nil {
				all = all[sort.Search(len(all), func(i int) bool { return r.before(*r.cursor, all[i].at) }):]
			}
			if len(all) > r.q.First {
				all, k.HasNext = all[:r.q.First], true
			}
			for _, t := range all {
				k.Items = append(k.Items, store.Item{Cursor: t.at})
				k.via = append(k.via, via[t.at.ID])
				if !want[t.at.ID] {
					want[t.at.ID] = true
					wanted = append(wanted, t.at.ID)
				}
			}
		}
		objects := make(map[string]*store.Object, len(wanted))
		if whole {
			for _, id := range wanted {
				objects[id] = targets[id].object
			}
		} else if err := r.read(ctx, wanted, objects); err != nil {
			return err
		}
		for _, p := range some {
			k := r.pages[p.id]
			// What went between the two commands is left out.
			items, via := k.Items[:0], k.via[:0]
			for i, it := range k.Items {
				if it.Object = objects[it.Cursor.ID]; it.Object != nil {
					items, via = append(items, it), append(via, k.via[i])
				} else if r.q.WantTotal {
					k.Total--
				}
			}
			k.Items, k.via = items, via
		}
		some, targets = some[:0], make(map[string]*item)
		return nil
	}
	err := find(ctx, r.s.objects, and(kindIs(store.KindAny), in(fID, parents)), func(d *object) error {
		p := parent{id: d.ID}
		if p.ids, p.via = r.leads(d); len(p.ids) == 0 {
			return nil
		}
		if len(targets)+len(p.ids) > maxTargets {
			if err := flush(); err != nil {
				return err
			}
		}
		some = append(some, p)
		for _, id := range p.ids {
			if targets[id] == nil {
				targets[id] = new(item)
			}
		}
		return nil
	}, options.Find().SetProjection(bson.D{{Key: "to", Value: 1}, {Key: "via", Value: 1}}).SetBatchSize(inOneMessage))
	if err == nil {
		err = flush()
	}
	return err
}

// item is an object's place in the order.
type item struct {
	at     store.Cursor
	there  bool
	object *store.Object // if it was read
}

// order finds which targets are wanted at all, and the places of those.
func (r *relatives) order(ctx context.Context, targets map[string]*item, whole bool) error {
	ids := make([]string, 0, len(targets))
	for id := range targets {
		ids = append(ids, id)
	}
	// A cursor is made of the field of the order, as the object has it.
	by := orderField(r.q.OrderBy.By)
	if by == fFold {
		by = "v.name"
	}
	fields := bson.D{{Key: string(by), Value: 1}}
	if whole {
		fields = fieldsShown
	}
	return find(ctx, r.s.objects, and(in(fID, ids), r.where), func(d *object) error {
		t, o := targets[d.ID], d.object()
		t.at, t.there = store.CursorOf(o, r.q.OrderBy), true
		if whole {
			t.object = o
		}
		return nil
	}, options.Find().SetProjection(fields).SetBatchSize(inOneMessage))
}

// before is the order that the query asks for.
func (r *relatives) before(a, b store.Cursor) bool {
	if r.q.OrderBy.Desc {
		a, b = b, a
	}
	if a.By.IsTime() {
		if a.Number != b.Number {
			return a.Number < b.Number
		}
	} else if a.Text != b.Text {
		return a.Text < b.Text
	}
	return a.ID < b.ID
}

func (r *relatives) read(ctx context.Context, ids []string, out map[string]*store.Object) error {
	if len(ids) == 0 {
		return nil
	}
	return find(ctx, r.s.objects, and(kindIs(r.rel.To), in(fID, ids)), func(d *object) error {
		out[d.ID] = d.object()
		return nil
	}, options.Find().SetProjection(fieldsShown).SetBatchSize(inOneMessage))
}

// spareDocuments is how many documents are read in vain at least before the parents that
// still lack objects are asked for one by one.
const spareDocuments = 500

// towards follows the relations that end at the parents. For one parent that is a
// list like any other. For several, the objects of all of them are read in their
// order, each once, until every page is full; where a few parents have so many that
// the others' lie far behind, those are asked for by themselves.
func (r *relatives) towards(ctx context.Context) error {
	leads := make([]string, 0, len(r.pages))
	for p := range r.pages {
		leads = append(leads, to(r.rel.Edge, p))
	}
	alive, err := r.alive(ctx)
	if err != nil {
		return err
	}
	leads = leads[:0]
	for p := range alive {
		leads = append(leads, to(r.rel.Edge, p))
	}
	if len(leads) == 0 {
		return nil
	}
	if len(leads) == 1 {
		for p := range alive {
			return r.one(ctx, p)
		}
	}
	var totals sync.WaitGroup
	var totalsErr error
	if r.q.WantTotal {
		totals.Go(func() { totalsErr = r.totals(ctx, leads) })
	}
	err = r.together(ctx, leads, alive)
	totals.Wait()
	return errors.Join(err, totalsErr)
}

// alive gives the parents that are served: an object that has gone may still be
// named by others.
func (r *relatives) alive(ctx context.Context) (map[string]*kin, error) {
	ids := make([]string, 0, len(r.pages))
	for p := range r.pages {
		ids = append(ids, p)
	}
	out := make(map[string]*kin, len(ids))
	err := find(ctx, r.s.objects, and(kindIs(store.KindAny), in(fID, ids)), func(d *object) error {
		out[d.ID] = r.pages[d.ID]
		return nil
	}, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(inOneMessage))
	return out, err
}

// one fills the page of one parent.
func (r *relatives) one(ctx context.Context, p string) error {
	k := r.pages[p]
	where := and(is(fTo, to(r.rel.Edge, p)), r.where)
	if r.q.WantTotal {
		k.Total = -1
	}
	k.Items, k.via, k.HasNext = nil, nil, false
	err := r.s.page(ctx, where, r.cursor, r.q, fieldsRelated, &k.Page, func(d *object) *store.Link {
		k.via = append(k.via, r.by(d, p))
		return nil
	})
	if err == nil && r.q.WantTotal && k.Total < 0 {
		store.CountQuery(ctx)
		var n int64
		n, err = r.s.objects.CountDocuments(ctx, bson.D(where))
		k.Total = int(n)
	}
	return err
}

// by is the relationship by which an object leads to a parent.
func (r *relatives) by(d *object, p string) string {
	lead := to(r.rel.Edge, p)
	for i, t := range d.To {
		if t == lead {
			return d.Via[i]
		}
	}
	return ""
}

// together fills the pages of several parents.
func (r *relatives) together(ctx context.Context, leads []string, parents map[string]*kin) error {
	if r.q.First == 0 {
		return nil
	}
	where := and(in(fTo, leads), r.where)
	if r.cursor != nil {
		where = and(where, behind(r.cursor))
	}
	prefix := len(to(r.rel.Edge, ""))
	lacking, useful, useless := len(parents), 0, 0
	stopped := false
	// No more than that can be read before one or the other is the case; and if the
	// server has to sort, it need not keep more.
	most := 2*len(parents)*(r.q.First+1) + r.s.opts.spare + 1
	err := find(ctx, r.s.objects, where, func(d *object) error {
		var o *store.Object
		for i, t := range d.To {
			if len(t) < prefix || t[:prefix] != to(r.rel.Edge, "") {
				continue
			}
			k := parents[t[prefix:]]
			if k == nil || k.full {
				continue
			}
			if len(k.Items) == r.q.First {
				k.HasNext, k.full = true, true
				lacking--
			} else {
				if o == nil {
					o = d.object()
				}
				k.Items = append(k.Items, store.Item{Object: o, Cursor: store.CursorOf(o, r.q.OrderBy)})
				k.via = append(k.via, d.Via[i])
			}
		}
		if o != nil {
			useful++
		} else {
			useless++
		}
		if lacking == 0 {
			return errEnough
		}
		if useless > useful+r.s.opts.spare || useless+useful == most {
			stopped = true
			return errEnough
		}
		return nil
	}, options.Find().SetProjection(fieldsRelated).SetSort(sortBy(r.q.OrderBy)).SetLimit(int64(most)).SetAllowDiskUse(true).
		SetBatchSize(int32(min(most, 5000))))
	if err != nil || !stopped {
		return err
	}
	q := r.q
	q.WantTotal = false
	each := *r
	each.q = q
	for p, k := range parents {
		if !k.full {
			if err := each.one(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// totals counts the objects of all parents.
func (r *relatives) totals(ctx context.Context, leads []string) error {
	prefix := len(to(r.rel.Edge, ""))
	return aggregate(ctx, r.s.objects, bson.A{
		bson.D{{Key: "$match", Value: bson.D(and(in(fTo, leads), r.where))}},
		bson.D{{Key: "$project", Value: bson.D{{Key: "to", Value: 1}}}},
		bson.D{{Key: "$unwind", Value: "$to"}},
		bson.D{{Key: "$match", Value: bson.D(in(fTo, leads))}},
		bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$to"}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}},
	}, func(g *group) error {
		r.pages[g.Key[prefix:]].Total = g.N
		return nil
	})
}

// links reads what the relationships of all pages say.
func (r *relatives) links(ctx context.Context) error {
	want := make(map[string]*store.Link)
	ids := []string{}
	for _, k := range r.pages {
		for _, id := range k.via {
			if id != "" && want[id] == nil {
				want[id] = &store.Link{ID: id}
				ids = append(ids, id)
			}
		}
	}
	if len(ids) > 0 {
		err := find(ctx, r.s.relations, in(fID, ids), func(d *relation) error {
			*want[d.ID] = d.link()
			return nil
		}, options.Find().SetBatchSize(inOneMessage))
		if err != nil {
			return err
		}
	}
	for _, k := range r.pages {
		for i, id := range k.via {
			link := want[id]
			if link == nil || r.rel.Edge == store.SightingOf {
				link = new(store.Link)
				if want[id] != nil {
					*link = *want[id]
				}
				link.ID = ""
			}
			k.Items[i].Link = link
		}
	}
	return nil
}
