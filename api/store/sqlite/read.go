package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// objectColumns are what [row.object] reads, of an alias o.
const objectColumns = "o.id, o.kind, o.type, o.attack_id, o.created, o.modified, o.first_seen, o.last_seen, o.retired, o.local, o.doc"

// noObject stands for them where a row has none.
const noObject = "'', '', '', '', 0, 0, 0, 0, 0, 0, ''"

type row struct {
	id, kind, typ, attackID                         string
	created, modified, first, last, retired, local_ int64
	doc                                             string
}

func (r *row) dest(before ...any) []any {
	return append(before, &r.id, &r.kind, &r.typ, &r.attackID, &r.created, &r.modified, &r.first, &r.last, &r.retired, &r.local_, &r.doc)
}

func (r *row) object() *store.Object {
	o := &store.Object{
		ID: r.id, Kind: store.Kind(r.kind), Type: r.typ, AttackID: r.attackID,
		Created: store.FromMicros(r.created), Modified: store.FromMicros(r.modified),
		FirstSeen: store.FromMicros(r.first), LastSeen: store.FromMicros(r.last),
		Retired: store.FromMicros(r.retired), Local: r.local_ != 0,
	}
	decode(r.doc, o)
	return o
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, kind store.Kind, keys []string) (_ map[string]*store.Object, err error) {
	defer s.translate(ctx, &err)
	if kind != store.KindAny && !kind.Valid() {
		return nil, &store.InvalidError{Field: "kind", Reason: fmt.Sprintf("there is no kind %q", kind)}
	}
	if len(keys) > store.MaxKeys {
		return nil, &store.InvalidError{Field: "keys", Reason: fmt.Sprintf("more than %d", store.MaxKeys)}
	}
	ids, attack := splitKeys(keys)
	found := make(map[string]*store.Object, len(keys))
	if len(ids)+len(attack) == 0 {
		return found, nil
	}
	var q statement
	// The joins say CROSS because SQLite then keeps their order: keys outside.
	if len(ids) > 0 {
		q.add("SELECT ", objectColumns, " FROM json_each(", q.arg(jsonList(ids)), ") j CROSS JOIN object o ON o.id = j.value",
			" WHERE o.gone = '' AND ", kindIs("o", kind))
	}
	if len(attack) > 0 {
		if len(ids) > 0 {
			q.add(" UNION ALL ")
		}
		q.add("SELECT ", objectColumns, " FROM json_each(", q.arg(jsonList(attack)), ") j CROSS JOIN object o ON ",
			kindIs("o", kind), " AND o.attack_id = j.value WHERE o.gone = ''")
	}
	rows, err := s.query(ctx, q.String(), q.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	byID := make(map[string]*store.Object, len(keys))
	byAttack := make(map[string]*store.Object, len(attack))
	var r row
	dest := r.dest()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		o := byID[r.id]
		if o == nil {
			o = r.object()
			byID[o.ID] = o
		}
		if old := byAttack[o.AttackID]; old == nil || newer(o, old) {
			byAttack[o.AttackID] = o
		}
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
	return found, rows.Err()
}

func newer(a, b *store.Object) bool {
	if !a.Modified.Equal(b.Modified) {
		return a.Modified.After(b.Modified)
	}
	return a.ID > b.ID
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, kind store.Kind, q store.Query) (_ store.Page, err error) {
	defer s.translate(ctx, &err)
	q, cursor, page, asks, err := q.Begin(kind)
	if err != nil {
		return store.Page{}, err
	}
	if !asks {
		return page, nil
	}
	text, args := listStatement(kind, q, cursor, s.now())
	rows, err := s.query(ctx, text, args...)
	if err != nil {
		return store.Page{}, err
	}
	defer rows.Close()
	var (
		r     row
		total int
	)
	page.Items = make([]store.Item, 0, min(q.First, 64))
	dest := r.dest(&total)
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return store.Page{}, err
		}
		switch {
		case r.id == "":
			page.Total = total
		case len(page.Items) == q.First:
			page.HasNext = true
		default:
			o := r.object()
			page.Items = append(page.Items, store.Item{Object: o, Cursor: store.CursorOf(o, q.OrderBy)})
		}
	}
	return page, rows.Err()
}

// listStatement selects a total in a row without an object, and one object more
// than asked for, which tells whether there is a next page.
func listStatement(kind store.Kind, q store.Query, cursor *store.Cursor, now time.Time) (string, []any) {
	var st statement
	where, found := st.from(kind, q.Filter, now)
	if q.WantTotal {
		st.add("SELECT count(*), ", noObject, where)
	}
	if q.First > 0 {
		if q.WantTotal {
			st.add(" UNION ALL ")
		}
		k := orderColumn(q.OrderBy.By)
		open, columns, end := "SELECT * FROM (SELECT 0, ", objectColumns, ")"
		order := " ORDER BY " + orderBy("o", k, q.OrderBy.Desc) + " LIMIT " + st.arg(q.First+1)
		if found { // to be sorted, and that without the documents, which are read afterwards
			open, columns = "SELECT * FROM (SELECT 0, "+objectColumns+" FROM (SELECT ", "o.pk AS pk"
			end = ") t CROSS JOIN object o ON o.pk = t.pk" + order + ")"
		}
		st.add(open, columns, where)
		if cursor != nil {
			st.add(" AND ", st.behind("o", k, cursor))
		}
		st.add(order, end)
	}
	return st.String(), st.args
}

// Related implements [store.Store].
func (s *Store) Related(ctx context.Context, rel store.Relation, parents []string, q store.Query) (_ []store.Page, err error) {
	defer s.translate(ctx, &err)
	q, cursor, pages, asks, err := rel.Begin(parents, q)
	if err != nil {
		return nil, err
	}
	if !asks {
		return pages, nil
	}
	text, args := relatedStatement(rel, parents, q, cursor, s.now())
	rows, err := s.query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var (
		r                    row
		parent, place, total int
		linkID               string
		linkCreated, linkMod int64
		linkDoc              string
		seen                 = make(map[string]*store.Object) // many parents have the same children
		dest                 = r.dest(&parent, &place, &total, &linkID, &linkCreated, &linkMod, &linkDoc)
	)
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		page := &pages[parent]
		if r.id == "" {
			page.Total = total
			continue
		}
		if place > q.First {
			page.HasNext = true
			continue
		}
		o := seen[r.id]
		if o == nil {
			o = r.object()
			seen[o.ID] = o
		}
		link := &store.Link{ID: linkID, Created: store.FromMicros(linkCreated), Modified: store.FromMicros(linkMod)}
		decodeLink(linkDoc, link)
		if rel.Edge == store.InTactic || rel.Edge == store.SightingOf {
			link.ID = ""
		}
		// By its number, since rows of a UNION come in no order that SQL promises.
		for len(page.Items) < place {
			page.Items = append(page.Items, store.Item{})
		}
		page.Items[place-1] = store.Item{Object: o, Cursor: store.CursorOf(o, q.OrderBy), Link: link}
	}
	return pages, rows.Err()
}

// relatedStatement finds the children of all parents (m), numbers them within each
// parent and keeps the first few; only for those it reads what is to be shown.
func relatedStatement(rel store.Relation, parents []string, q store.Query, cursor *store.Cursor, now time.Time) (string, []any) {
	var st statement
	near, far := "src", "dst"
	if rel.Inverse {
		near, far = far, near
	}
	k := orderColumn(q.OrderBy.By)
	st.add("WITH m AS ")
	if q.WantTotal {
		st.add("MATERIALIZED ")
	}
	st.add("(SELECT j.key AS n, e.pk AS e, o.pk AS o, o.", k, " AS k, o.id AS id",
		" FROM json_each(", st.arg(jsonList(parents)), ") j",
		" CROSS JOIN object p ON p.id = j.value AND p.gone = ''",
		" CROSS JOIN edge e ON e.type = '", string(rel.Edge), "' AND e.", near, " = p.pk AND e.shown = 1",
		" CROSS JOIN object o ON o.pk = e.", far, " AND o.gone = '' AND ", kindIs("o", rel.To),
		" WHERE 1", st.where(rel.To, q.Filter, now), ")")
	if q.WantTotal {
		st.add(" SELECT m.n, 0, count(*), '', 0, 0, '', ", noObject, " FROM m GROUP BY m.n")
	}
	if q.First > 0 {
		if q.WantTotal {
			st.add(" UNION ALL")
		}
		st.add(" SELECT t.n, t.r, 0, e.id, e.created, e.modified, e.doc, ", objectColumns, " FROM (",
			"SELECT m.n AS n, m.e AS e, m.o AS o, row_number() OVER (PARTITION BY m.n ORDER BY ", orderBy("m", "k", q.OrderBy.Desc), ") AS r FROM m")
		if cursor != nil {
			st.add(" WHERE ", st.behind("m", "k", cursor))
		}
		st.add(") t CROSS JOIN edge e ON e.pk = t.e CROSS JOIN object o ON o.pk = t.o WHERE t.r <= ", st.arg(q.First+1))
	}
	return st.String(), st.args
}

// labelCount counts the living objects of a kind by a label.
func labelCount(field string, kind store.Kind) string {
	return "SELECT l.value, l.value, count(*) FROM label l CROSS JOIN object o ON o.pk = l.obj AND o.gone = '' AND " + kindIs("o", kind) +
		" WHERE l.field = '" + field + "' GROUP BY l.value"
}

// edgeCount counts, for each living object at the target of an edge, the living
// ones of a kind at its source.
func edgeCount(edge store.Edge, target, source store.Kind) string {
	return "SELECT t.id, t.doc, c FROM (SELECT e.dst AS dst, count(*) AS c FROM object t CROSS JOIN edge e ON e.type = '" + string(edge) +
		"' AND e.dst = t.pk AND e.shown = 1 CROSS JOIN object o ON o.pk = e.src AND o.gone = '' AND " + kindIs("o", source) +
		" WHERE t.gone = '' AND " + kindIs("t", target) + " GROUP BY e.dst) CROSS JOIN object t ON t.pk = dst"
}

var countStatements = map[store.Group]string{
	store.ByKind:             "SELECT o.kind, o.kind, count(*) FROM object o WHERE o.gone = '' AND o.kind IN (" + allKinds + ") GROUP BY o.kind",
	store.SoftwareByType:     "SELECT o.type, o.type, count(*) FROM object o WHERE o.gone = '' AND o.kind = 'software' GROUP BY o.type",
	store.ActorsByDomain:     labelCount(labelDomain, store.KindThreatActor),
	store.SoftwareByPlatform: labelCount(labelPlatform, store.KindSoftware),
	store.TechniquesByTactic: edgeCount(store.InTactic, store.KindTactic, store.KindTechnique),
	store.ActorsByTechnique:  edgeCount(store.Uses, store.KindTechnique, store.KindThreatActor),
}

// Counts implements [store.Store].
func (s *Store) Counts(ctx context.Context, g store.Group) (_ []store.Count, err error) {
	defer s.translate(ctx, &err)
	text, ok := countStatements[g]
	if !ok {
		return nil, &store.InvalidError{Field: "group", Reason: fmt.Sprintf("there is no group %q", g)}
	}
	rows, err := s.query(ctx, text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []store.Count
	for rows.Next() {
		var c store.Count
		if err := rows.Scan(&c.Key, &c.Name, &c.N); err != nil {
			return nil, err
		}
		if g == store.TechniquesByTactic || g == store.ActorsByTechnique {
			c.Name = (&docReader{c.Name}).text()
		}
		out = append(out, c)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if g == store.ByKind {
		return store.EveryKind(out), nil
	}
	store.SortCounts(out)
	if g == store.ActorsByTechnique && len(out) > store.MaxCounts {
		out = out[:store.MaxCounts]
	}
	return out, nil
}
