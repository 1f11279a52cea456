package mongo

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store"
)

// merge writes an import, a batch at a time. There is no transaction around it, so
// each step looks at what is there and not at what an earlier step has done, and
// looks at all that the bundle names, changed or not: a rerun finds whatever a
// crash has left undone. The order is such that what can be seen is right as early
// as can be:
//
//  1. Relationships. Alone they show nothing. Where a newer version has another
//     source, the document also keeps the earlier one (stale), for until step 2
//     that one still leads where it no longer should, and a rerun could not know.
//  2. Where the relations of their sources lead, of those that are there.
//  3. Objects, tactics first. A new object comes with all that its relations lead
//     to, an actor with the dates of its campaigns, a technique with its tactics.
//  4. Techniques whose tactics are others now, and
//  5. actors whose dates are others now. Both are few, and looked at as a whole.
type merge struct {
	s     *Store
	im    *importer
	lease *lease
	sum   store.Merged
	wrote bool
	lost  bool // another import has the lease

	changed store.Changes
}

func (m *merge) run(ctx context.Context) error {
	size := m.s.opts.batch
	for _, step := range []func() error{
		func() error { return batches(&m.im.relations, size, nil, m.batch(ctx, m.addRelations)) },
		func() error { return batches(&m.im.relations, size, nil, m.batch(ctx, m.addSources)) },
		func() error { return m.eachObject(ctx, true) },
		func() error { return m.eachObject(ctx, false) },
		func() error { return m.inTactics(ctx) },
		func() error { return m.seen(ctx) },
		func() error { return batches(&m.im.relations, size, nil, m.batch(ctx, m.dangling)) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (m *merge) eachObject(ctx context.Context, tactics bool) error {
	return batches(&m.im.objects, m.s.opts.batch, func(o *spooled) bool { return (o.Kind == string(store.KindTactic)) == tactics },
		func(some []*spooled) error {
			return m.alone(ctx, func(ctx context.Context) error { return m.addObjects(ctx, some) })
		})
}

func (m *merge) batch(ctx context.Context, f func(context.Context, []*relation) error) func([]*relation) error {
	return func(some []*relation) error {
		return m.alone(ctx, func(ctx context.Context) error { return f(ctx, some) })
	}
}

// alone runs a batch, which has its own time, while the lease lasts.
func (m *merge) alone(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := m.lease.beat(ctx); err != nil {
		return err
	}
	return f(ctx)
}

// tries is how often a batch is looked at anew because somebody else has written.
const tries = 5

// put writes new documents and newer versions. again: another writer was there
// first, and the batch is to be looked at once more.
func (m *merge) put(ctx context.Context, what string, c *driver.Collection, inserts []any, updates []driver.WriteModel) (again bool, err error) {
	if !m.wrote && len(inserts)+len(updates) > 0 {
		if err := m.begin(ctx); err != nil {
			return false, err
		}
	}
	if len(inserts) > 0 {
		if err := m.s.write("insert " + what); err != nil {
			return false, err
		}
		m.wrote = true
		store.CountQuery(ctx)
		if _, err := c.InsertMany(ctx, inserts, options.InsertMany().SetOrdered(false)); err != nil {
			if !onlyDuplicates(err) {
				return false, err
			}
			again = true
		}
	}
	if len(updates) > 0 {
		if err := m.s.write("update " + what); err != nil {
			return false, err
		}
		m.wrote = true
		store.CountQuery(ctx)
		res, err := c.BulkWrite(ctx, updates, options.BulkWrite().SetOrdered(false))
		if err != nil {
			return false, err
		}
		again = again || res.MatchedCount < int64(len(updates))
	}
	return again, nil
}

// count adds one item to the summary.
func (m *merge) count(newer, there bool, was, is store.Gone) {
	alive := there && was == store.Alive
	switch {
	case is != store.Alive:
		if newer && alive {
			m.sum.Removed++
		}
	case !newer:
		m.sum.Unchanged++
	case alive:
		m.sum.Updated++
	default:
		m.sum.Added++
	}
}

func (m *merge) addRelations(ctx context.Context, some []*relation) error {
	some = newest(some, func(r *relation) (string, store.Version) { return r.ID, r.is() })
	ids := make([]string, len(some))
	for i, r := range some {
		ids[i] = r.ID
	}
	for try := range tries {
		old := make(map[string]*relation, len(some))
		if err := find(ctx, m.s.first.relations, in(fID, ids), func(r *relation) error {
			old[r.ID] = r
			return nil
		}, options.Find().SetProjection(bson.D{{Key: "description", Value: 0}, {Key: "references", Value: 0}})); err != nil {
			return err
		}
		var inserts []any
		var updates []driver.WriteModel
		for _, r := range some {
			was := old[r.ID]
			newer := was == nil || r.is().NewerThan(was.is())
			if try == 0 {
				gone := store.Alive
				if was != nil {
					gone = store.Gone(was.Gone)
				}
				m.count(newer, was != nil, gone, store.Gone(r.Gone))
			}
			if newer && store.Gone(r.Gone) == store.Alive {
				m.changed.Relation(store.KindOf(r.Source), store.KindOf(r.Target))
			}
			if newer && was != nil && store.Gone(was.Gone) == store.Alive {
				m.changed.Relation(store.KindOf(was.Source), store.KindOf(was.Target))
			}
			switch {
			case was == nil:
				inserts = append(inserts, r)
			case newer:
				r.Stale = was.Stale
				if was.Source != r.Source && !slices.Contains(r.Stale, was.Source) {
					r.Stale = append(r.Stale, was.Source)
				}
				updates = append(updates, driver.NewReplaceOneModel().SetReplacement(r).
					SetFilter(bson.D(and(is(fID, r.ID), is("modified", was.Modified), is("hash", was.Hash)))))
			}
		}
		again, err := m.put(ctx, "relations", m.s.first.relations, inserts, updates)
		if err != nil || !again {
			return err
		}
	}
	return errRace
}

var errRace = fmt.Errorf("%w: others keep writing the same objects", store.ErrUnavailable)

// newest leaves of several versions of one thing in a batch the one that stays.
func newest[T any](some []*T, of func(*T) (string, store.Version)) []*T {
	at := make(map[string]int, len(some))
	out := make([]*T, 0, len(some))
	for _, d := range some {
		id, v := of(d)
		i, ok := at[id]
		if !ok {
			at[id] = len(out)
			out = append(out, d)
			continue
		}
		if _, have := of(out[i]); v.NewerThan(have) {
			out[i] = d
		}
	}
	return out
}

// addSources brings up to date where the relations of those objects lead that are
// at the source of one in the bundle, or were.
func (m *merge) addSources(ctx context.Context, some []*relation) error {
	ids := make([]string, 0, len(some))
	sources := map[string]bool{}
	for _, r := range some {
		ids = append(ids, r.ID)
		sources[r.Source] = true
	}
	var stale []string
	if err := find(ctx, m.s.first.relations, and(in(fID, ids), cond{{Key: "stale", Value: bson.D{{Key: "$exists", Value: true}}}}), func(r *relation) error {
		stale = append(stale, r.ID)
		sources[r.Source] = true
		for _, id := range r.Stale {
			sources[id] = true
		}
		return nil
	}); err != nil {
		return err
	}
	list := make([]string, 0, len(sources))
	for id := range sources {
		if id != "" {
			list = append(list, id)
		}
	}
	sort.Strings(list)
	for part := range slices.Chunk(list, m.s.opts.batch) {
		var there []*object
		if err := find(ctx, m.s.first.objects, and(kindIs(store.KindAny), in(fID, part)), func(d *object) error {
			there = append(there, d)
			return nil
		}, options.Find().SetProjection(bson.D{{Key: "to", Value: 1}, {Key: "via", Value: 1}})); err != nil {
			return err
		}
		if len(there) == 0 {
			continue
		}
		found := make([]string, len(there))
		for i, d := range there {
			found[i] = d.ID
		}
		lead, err := m.leads(ctx, found)
		if err != nil {
			return err
		}
		var updates []driver.WriteModel
		for _, d := range there {
			for i, t := range d.To {
				if strings.HasPrefix(t, to(store.InTactic, "")) {
					lead.add(d.ID, t, d.Via[i]) // follows from other things
				}
			}
			if list, via := lead.of(d.ID); !slices.Equal(list, d.To) || !slices.Equal(via, d.Via) {
				updates = append(updates, setLeads(d.ID, list, via))
			}
		}
		if _, err := m.put(ctx, "sources", m.s.first.objects, nil, updates); err != nil {
			return err
		}
	}
	if len(stale) > 0 {
		if err := m.s.write("stale"); err != nil {
			return err
		}
		_, err := m.s.first.relations.UpdateMany(ctx, bson.D(in(fID, stale)), bson.D{{Key: "$unset", Value: bson.D{{Key: "stale", Value: ""}}}})
		return err
	}
	return nil
}

func setLeads(id string, list, via []string) driver.WriteModel {
	return driver.NewUpdateOneModel().SetFilter(bson.D(is(fID, id))).
		SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "to", Value: list}, {Key: "via", Value: via}}}})
}

// leading is where the relations of some objects lead, and by what.
type leading map[string]map[string]string // source, item of to, item of via

func (l leading) add(source, lead, via string) {
	if l[source] == nil {
		l[source] = map[string]string{}
	}
	l[source][lead] = via
}

// of gives them for one object, in an order that is always the same.
func (l leading) of(source string) (list, via []string) {
	list = make([]string, 0, len(l[source]))
	for t := range l[source] {
		list = append(list, t)
	}
	sort.Strings(list)
	via = make([]string, len(list))
	for i, t := range list {
		via[i] = l[source][t]
	}
	return list, via
}

// leads finds where the relationships of objects lead. Of several living ones
// between the same two objects the newest counts.
func (m *merge) leads(ctx context.Context, sources []string) (leading, error) {
	out := leading{}
	when := map[string]int64{} // of a relationship
	err := find(ctx, m.s.first.relations, and(in(fSource, sources), is("gone", "")), func(r *relation) error {
		t := to(store.Edge(r.Edge), r.Target)
		if old, ok := out[r.Source][t]; ok && (when[old] > r.Modified || when[old] == r.Modified && old > r.ID) {
			return nil
		}
		when[r.ID] = r.Modified
		out.add(r.Source, t, r.ID)
		return nil
	}, options.Find().SetProjection(bson.D{{Key: "edge", Value: 1}, {Key: "source", Value: 1}, {Key: "target", Value: 1}, {Key: "modified", Value: 1}}))
	return out, err
}

func (m *merge) addObjects(ctx context.Context, some []*spooled) error {
	some = newest(some, func(o *spooled) (string, store.Version) { return o.ID, o.V.is() })
	ids := make([]string, len(some))
	for i, o := range some {
		ids[i] = o.ID
	}
	for try := range tries {
		old := make(map[string]*object, len(some))
		if err := find(ctx, m.s.first.objects, in(fID, ids), func(d *object) error {
			old[d.ID] = d
			return nil
		}, options.Find().SetProjection(bson.D{{Key: string(fGone), Value: 1}, {Key: string(fModified), Value: 1}, {Key: string(fHash), Value: 1}, {Key: string(fAttackID), Value: 1}})); err != nil {
			return err
		}
		var fresh []*spooled
		var sources []string
		for _, o := range some {
			was := old[o.ID]
			newer := was == nil || o.V.is().NewerThan(was.V.is())
			if try == 0 {
				gone := store.Alive
				if was != nil {
					gone = store.Gone(was.V.Gone)
				}
				m.count(newer, was != nil, gone, store.Gone(o.V.Gone))
			}
			if newer {
				fresh = append(fresh, o)
				switch {
				case was != nil && store.Gone(was.V.Gone) == store.Alive:
					m.changed.Object(store.Kind(o.Kind), o.ID, o.V.AttackID, was.V.AttackID)
				case store.Gone(o.V.Gone) == store.Alive:
					m.changed.Object(store.Kind(o.Kind), o.ID, o.V.AttackID)
				}
				if o.V.Kind != "" {
					sources = append(sources, o.ID)
				}
			}
		}
		if len(fresh) == 0 {
			return nil
		}
		lead := leading{}
		if len(sources) > 0 {
			var err error
			if lead, err = m.leads(ctx, sources); err != nil {
				return err
			}
		}
		if err := m.follow(ctx, fresh, lead); err != nil {
			return err
		}
		var inserts []any
		var updates []driver.WriteModel
		for _, o := range fresh {
			d := &object{ID: o.ID, Local: o.Local}
			d.set(o.V)
			d.To, d.Via = lead.of(o.ID)
			was := old[o.ID]
			if was == nil {
				inserts = append(inserts, d)
				continue
			}
			updates = append(updates, driver.NewUpdateOneModel().
				SetFilter(bson.D(and(is(fID, o.ID), is(fModified, was.V.Modified), is(fHash, was.V.Hash)))).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "v", Value: &d.V}, {Key: "to", Value: d.To}, {Key: "via", Value: d.Via},
					{Key: string(fDomains), Value: d.Domains}, {Key: string(fPlatformKeys), Value: d.Platforms}}}}))
		}
		again, err := m.put(ctx, "objects", m.s.first.objects, inserts, updates)
		if err != nil || !again {
			return err
		}
	}
	return errRace
}

// follow adds to new versions what follows from other objects: the tactics of
// techniques, and the dates of actors.
func (m *merge) follow(ctx context.Context, some []*spooled, lead leading) error {
	phases := map[string][]string{}
	actors := map[string]*version{}
	for _, o := range some {
		switch store.Kind(o.V.Kind) {
		case store.KindTechnique:
			phases[o.ID] = o.V.Phases
		case store.KindThreatActor:
			o.V.First, o.V.Last = o.V.OwnFirst, o.V.OwnLast
			actors[o.ID] = &o.V
		}
	}
	tactics, err := m.tactics(ctx, phases)
	if err != nil {
		return err
	}
	for id, of := range tactics {
		for _, t := range of {
			lead.add(id, t, "")
		}
	}
	return m.span(ctx, actors)
}

// tactics finds the tactics of techniques (by their phases), as items of to.
func (m *merge) tactics(ctx context.Context, phases map[string][]string) (map[string][]string, error) {
	var all []string
	for _, of := range phases {
		all = append(all, of...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) == 0 {
		return nil, nil
	}
	by := map[string][]string{}
	if err := find(ctx, m.s.first.objects, and(kindIs(store.KindTactic), in(fPhases, all)), func(d *object) error {
		for _, p := range d.V.Phases {
			by[p] = append(by[p], to(store.InTactic, d.ID))
		}
		return nil
	}, options.Find().SetProjection(bson.D{{Key: string(fPhases), Value: 1}})); err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for id, of := range phases {
		var list []string
		for _, p := range of {
			if p != "" {
				list = append(list, by[p]...)
			}
		}
		slices.Sort(list)
		out[id] = slices.Compact(list)
	}
	return out, nil
}

// span widens the dates of actors by those of the campaigns attributed to them.
func (m *merge) span(ctx context.Context, actors map[string]*version) error {
	if len(actors) == 0 {
		return nil
	}
	var leads []string
	for id := range actors {
		leads = append(leads, to(store.AttributedTo, id))
	}
	slices.Sort(leads)
	prefix := len(to(store.AttributedTo, ""))
	return find(ctx, m.s.first.objects, and(kindIs(store.KindCampaign), in(fTo, leads)), func(d *object) error {
		for _, t := range d.To {
			if len(t) < prefix || t[:prefix] != to(store.AttributedTo, "") {
				continue
			}
			a := actors[t[prefix:]]
			if a == nil {
				continue
			}
			if d.V.First != 0 && (a.First == 0 || d.V.First < a.First) {
				a.First = d.V.First
			}
			a.Last = max(a.Last, d.V.Last)
		}
		return nil
	}, options.Find().SetProjection(bson.D{{Key: "to", Value: 1}, {Key: string(fFirst), Value: 1}, {Key: string(fLast), Value: 1}}))
}

// each hands out all living objects of a kind, a batch at a time.
func (m *merge) each(ctx context.Context, kind store.Kind, fields bson.D, f func(context.Context, []*object) error) error {
	var some []*object
	flush := func() error {
		defer func() { some = some[:0] }()
		return m.alone(ctx, func(ctx context.Context) error { return f(ctx, some) })
	}
	err := find(ctx, m.s.first.objects, kindIs(kind), func(d *object) error {
		if some = append(some, d); len(some) < m.s.opts.batch {
			return nil
		}
		return flush()
	}, options.Find().SetProjection(fields))
	if err == nil && len(some) > 0 {
		err = flush()
	}
	return err
}

// inTactics brings the tactics of all techniques up to date.
func (m *merge) inTactics(ctx context.Context) error {
	prefix := to(store.InTactic, "")
	return m.each(ctx, store.KindTechnique, bson.D{{Key: "to", Value: 1}, {Key: "via", Value: 1}, {Key: string(fPhases), Value: 1}}, func(ctx context.Context, some []*object) error {
		phases := map[string][]string{}
		for _, d := range some {
			phases[d.ID] = d.V.Phases
		}
		tactics, err := m.tactics(ctx, phases)
		if err != nil {
			return err
		}
		var updates []driver.WriteModel
		for _, d := range some {
			lead := leading{}
			for i, t := range d.To {
				if !strings.HasPrefix(t, prefix) {
					lead.add(d.ID, t, d.Via[i])
				}
			}
			for _, t := range tactics[d.ID] {
				lead.add(d.ID, t, "")
			}
			if list, via := lead.of(d.ID); !slices.Equal(list, d.To) {
				updates = append(updates, setLeads(d.ID, list, via))
			}
		}
		_, err = m.put(ctx, "tactics", m.s.first.objects, nil, updates)
		return err
	})
}

// seen brings the dates of all actors up to date.
func (m *merge) seen(ctx context.Context) error {
	return m.each(ctx, store.KindThreatActor, bson.D{{Key: string(fFirst), Value: 1}, {Key: string(fLast), Value: 1}, {Key: "v.own_first", Value: 1}, {Key: "v.own_last", Value: 1}, {Key: string(fAttackID), Value: 1}},
		func(ctx context.Context, some []*object) error {
			actors := map[string]*version{}
			for _, d := range some {
				actors[d.ID] = &version{First: d.V.OwnFirst, Last: d.V.OwnLast}
			}
			if err := m.span(ctx, actors); err != nil {
				return err
			}
			var updates []driver.WriteModel
			for _, d := range some {
				if a := actors[d.ID]; a.First != d.V.First || a.Last != d.V.Last {
					m.changed.Object(store.KindThreatActor, d.ID, d.V.AttackID)
					updates = append(updates, driver.NewUpdateOneModel().SetFilter(bson.D(is(fID, d.ID))).
						SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: string(fFirst), Value: a.First}, {Key: string(fLast), Value: a.Last}}}}))
				}
			}
			_, err := m.put(ctx, "dates", m.s.first.objects, nil, updates)
			return err
		})
}

// dangling counts the relationships of the bundle that wait for an end.
func (m *merge) dangling(ctx context.Context, some []*relation) error {
	ids := make([]string, len(some))
	for i, r := range some {
		ids[i] = r.ID
	}
	ends := map[string]bool{}
	var alive []*relation
	if err := find(ctx, m.s.first.relations, and(in(fID, ids), is("gone", "")), func(r *relation) error {
		alive = append(alive, r)
		ends[r.Source], ends[r.Target] = false, false
		return nil
	}, options.Find().SetProjection(bson.D{{Key: "source", Value: 1}, {Key: "target", Value: 1}})); err != nil {
		return err
	}
	ids = ids[:0]
	for id := range ends {
		ids = append(ids, id)
	}
	if err := find(ctx, m.s.first.objects, in(fID, ids), func(d *object) error {
		ends[d.ID] = true
		return nil
	}, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}})); err != nil {
		return err
	}
	for _, r := range alive {
		if !ends[r.Source] || !ends[r.Target] {
			m.sum.Dangling++
		}
	}
	return nil
}
