package sqlite

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// statement is SQL in the making. Arguments are numbered, so that one can occur
// in several places; everything that comes from a client is an argument.
type statement struct {
	strings.Builder
	args []any
}

func (s *statement) arg(v any) string {
	s.args = append(s.args, v)
	return "?" + strconv.Itoa(len(s.args))
}

func (s *statement) add(parts ...string) {
	for _, p := range parts {
		s.WriteString(p)
	}
}

func jsonList(l []string) string {
	b, _ := json.Marshal(l) // a slice of strings cannot fail
	return string(b)
}

// allKinds is every kind for an IN: with it the indexes, which all begin with
// the kind, serve questions about any kind.
var allKinds = func() string {
	var q []string
	for _, k := range store.Kinds {
		q = append(q, "'"+string(k)+"'")
	}
	return strings.Join(q, ",")
}()

func kindIs(alias string, kind store.Kind) string {
	if kind == store.KindAny {
		return alias + ".kind IN (" + allKinds + ")"
	}
	return alias + ".kind = '" + string(kind) + "'" // validated
}

// meant is a condition on x: the living object that a STIX or ATT&CK id means.
func (s *statement) meant(key string, kind store.Kind) string {
	if id, ok := store.AttackKey(key); ok {
		return "x.gone = '' AND " + kindIs("x", kind) + " AND x.attack_id = " + s.arg(id)
	}
	return "x.gone = '' AND x.id = " + s.arg(key)
}

// labelled is a subquery: the objects with a label.
func (s *statement) labelled(field, value string) string {
	return "SELECT l.obj AS pk FROM label l WHERE l.field = '" + field + "' AND l.value = " + s.arg(value)
}

// hasLabel is a condition on o. It looks the one object up, and so costs the same
// however many have the label.
func (s *statement) hasLabel(field, value string) string {
	return "EXISTS (SELECT 1 FROM label l WHERE l.field = '" + field + "' AND l.value = " + s.arg(value) + " AND l.obj = o.pk)"
}

// sources is a subquery: the objects at the beginning of an edge to what key
// means.
func (s *statement) sources(e store.Edge, key string, kind store.Kind) string {
	return "SELECT e.src AS pk FROM object x CROSS JOIN edge e ON e.type = '" + string(e) + "' AND e.dst = x.pk AND e.shown = 1 WHERE " + s.meant(key, kind)
}

// from gives FROM and WHERE for the objects o of a kind that a filter lets through.
//
// Left to itself SQLite walks through the whole kind in the order asked for, and
// looks for each object whether it is in the result of a subquery. That is right
// for conditions that many objects meet, and slow for those that few of a million
// indicators do. So if there is a narrow condition its objects are found first,
// and then sorted: a CROSS JOIN is never reordered. found tells which it is.
func (s *statement) from(kind store.Kind, f store.Filter, now time.Time) (out string, found bool) {
	narrow, conds := s.filter(kind, f, now)
	out = " FROM object o WHERE "
	if found = len(narrow) > 0; found {
		out = " FROM (SELECT DISTINCT pk FROM (" + narrow[0] + ")) d CROSS JOIN object o ON o.pk = d.pk WHERE "
		narrow = narrow[1:]
	}
	return out + "o.gone = '' AND " + kindIs("o", kind) + and(narrow, conds), found
}

// where gives the conditions alone, each with AND before it.
func (s *statement) where(kind store.Kind, f store.Filter, now time.Time) string {
	return and(s.filter(kind, f, now))
}

func and(narrow, conds []string) string {
	var b strings.Builder
	for _, n := range narrow {
		b.WriteString(" AND o.pk IN (" + n + ")")
	}
	for _, c := range conds {
		b.WriteString(" AND " + c)
	}
	return b.String()
}

// filter gives the conditions of a filter: subqueries that few objects are in (pk),
// the narrowest first, and conditions on o.
func (s *statement) filter(kind store.Kind, f store.Filter, now time.Time) (narrow, conds []string) {
	and := func(c string) { conds = append(conds, c) }
	in := func(q string) { narrow = append(narrow, q) }
	if f.Keys != nil {
		ids, attack := splitKeys(f.Keys)
		in("SELECT x.pk AS pk FROM json_each(" + s.arg(jsonList(ids)) + ") j CROSS JOIN object x ON x.id = j.value UNION ALL " +
			"SELECT x.pk FROM json_each(" + s.arg(jsonList(attack)) + ") j CROSS JOIN object x ON x.gone = '' AND " + kindIs("x", kind) + " AND x.attack_id = j.value")
	}
	if f.Value != "" {
		in("SELECT x.pk AS pk FROM object x WHERE x.gone = '' AND x.kind = 'indicator' AND x.value = " + s.arg(f.Value))
	}
	if f.Name != "" {
		in("SELECT x.pk AS pk FROM object x WHERE x.gone = '' AND " + kindIs("x", kind) + " AND x.fold = " + s.arg(store.Fold(f.Name)))
	}
	if f.Alias != "" {
		in(s.labelled(labelAlias, store.Fold(f.Alias)))
	}
	for _, r := range f.Refs() {
		in(s.sources(r.Edge, r.Key, r.Kind))
	}
	if f.Text != "" {
		var m strings.Builder
		for i, w := range store.Words(f.Text) {
			if i > 0 {
				m.WriteString(" AND ")
			}
			m.WriteString(`"` + w + `" *`) // words have no quotes
		}
		in("SELECT w.rowid AS pk FROM words w WHERE words MATCH " + s.arg(m.String()))
	}
	if f.Tactic != "" {
		if isAttackTactic(f.Tactic) || strings.Contains(f.Tactic, "--") {
			in(s.sources(store.InTactic, f.Tactic, store.KindTactic))
		} else {
			in(s.labelled(labelShort, strings.ToLower(f.Tactic)))
		}
	}
	if f.Domain != "" {
		and(s.hasLabel(labelDomain, f.Domain))
	}
	if f.Platform != "" {
		and(s.hasLabel(labelPlatform, store.Fold(f.Platform)))
	}
	if f.IndicatorType != "" {
		and(s.hasLabel(labelType, f.IndicatorType))
	}
	if f.Type != "" {
		and("o.type = " + s.arg(f.Type))
	}
	if f.Subtechnique != nil {
		and("o.subtechnique = " + s.arg(b2i(*f.Subtechnique)))
	}
	if f.ValueType != "" {
		and("o.value_type = " + s.arg(f.ValueType))
	}
	if f.Active != nil {
		t := s.arg(now.UnixMicro())
		if *f.Active {
			and("o.retired = 0 AND o.valid_until > " + t + " AND o.valid_from <= " + t)
		} else {
			and("(o.retired <> 0 OR o.valid_until <= " + t + " OR o.valid_from > " + t + ")")
		}
	}
	after := func(col string, t time.Time) {
		if !t.IsZero() {
			and("o." + col + " >= " + s.arg(t.UnixMicro()))
		}
	}
	before := func(col string, t time.Time) {
		if !t.IsZero() { // 0 is no time
			and("o." + col + " <= " + s.arg(t.UnixMicro()) + " AND o." + col + " <> 0")
		}
	}
	after("created", f.CreatedAfter)
	before("created", f.CreatedBefore)
	after("modified", f.ModifiedAfter)
	before("modified", f.ModifiedBefore)
	after("last_seen", f.SeenAfter)
	before("first_seen", f.SeenBefore)
	return narrow, conds
}

func isAttackTactic(s string) bool {
	return len(s) > 2 && strings.EqualFold(s[:2], "TA") && strings.Trim(s[2:], "0123456789") == ""
}

func splitKeys(keys []string) (ids, attack []string) {
	ids, attack = []string{}, []string{}
	for _, k := range keys {
		if id, ok := store.AttackKey(k); ok {
			attack = append(attack, id)
		} else if k != "" {
			ids = append(ids, k)
		}
	}
	return ids, attack
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// orderColumn is where the order's value is.
func orderColumn(f store.OrderField) string {
	switch f {
	case store.OrderAttackID:
		return "attack_id"
	case store.OrderModified:
		return "modified"
	case store.OrderCreated:
		return "created"
	case store.OrderFirstSeen:
		return "first_seen"
	case store.OrderLastSeen:
		return "last_seen"
	default:
		return "fold"
	}
}

// orderBy is the ORDER BY list over columns k and id of an alias.
func orderBy(alias, k string, desc bool) string {
	dir := ""
	if desc {
		dir = " DESC"
	}
	return alias + "." + k + dir + ", " + alias + ".id" + dir
}

// behind is the condition that a row comes after the cursor.
func (s *statement) behind(alias, k string, c *store.Cursor) string {
	op := " > "
	if c.Desc {
		op = " < "
	}
	var v any = c.Text
	if c.By.IsTime() {
		v = c.Number
	}
	return "(" + alias + "." + k + ", " + alias + ".id)" + op + "(" + s.arg(v) + ", " + s.arg(c.ID) + ")"
}
