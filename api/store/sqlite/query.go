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

// pks is a subquery: the living object that a STIX or ATT&CK id means.
func (s *statement) pks(key string, kind store.Kind) string {
	if id, ok := store.AttackKey(key); ok {
		return "(SELECT x.pk FROM object x WHERE x.gone = '' AND " + kindIs("x", kind) + " AND x.attack_id = " + s.arg(id) + ")"
	}
	return "(SELECT x.pk FROM object x WHERE x.gone = '' AND x.id = " + s.arg(key) + ")"
}

func (s *statement) labelled(field, value string) string {
	return "o.pk IN (SELECT l.obj FROM label l WHERE l.field = '" + field + "' AND l.value = " + s.arg(value) + ")"
}

// sources is a condition: o is at the beginning of an edge to what key means.
func (s *statement) sources(e store.Edge, key string, kind store.Kind) string {
	return "o.pk IN (SELECT e.src FROM edge e WHERE e.type = '" + string(e) + "' AND e.dst IN " + s.pks(key, kind) + " AND e.shown = 1)"
}

// where gives the conditions for objects o of a kind, each with AND before it.
func (s *statement) where(kind store.Kind, f store.Filter, now time.Time) string {
	var conds []string
	and := func(c string) { conds = append(conds, c) }
	if f.Text != "" {
		var m strings.Builder
		for i, w := range store.Words(f.Text) {
			if i > 0 {
				m.WriteString(" AND ")
			}
			m.WriteString(`"` + w + `" *`) // words have no quotes
		}
		and("o.pk IN (SELECT w.rowid FROM words w WHERE words MATCH " + s.arg(m.String()) + ")")
	}
	if f.Name != "" {
		and("o.fold = " + s.arg(store.Fold(f.Name)))
	}
	if f.Alias != "" {
		and(s.labelled(labelAlias, store.Fold(f.Alias)))
	}
	if f.Keys != nil {
		ids, attack := splitKeys(f.Keys)
		and("o.pk IN (SELECT x.pk FROM json_each(" + s.arg(jsonList(ids)) + ") j CROSS JOIN object x ON x.id = j.value UNION ALL " +
			"SELECT x.pk FROM json_each(" + s.arg(jsonList(attack)) + ") j CROSS JOIN object x ON x.gone = '' AND " + kindIs("x", kind) + " AND x.attack_id = j.value)")
	}
	if f.UsesTechnique != "" {
		and(s.sources(store.Uses, f.UsesTechnique, store.KindTechnique))
	}
	if f.UsesSoftware != "" {
		and(s.sources(store.Uses, f.UsesSoftware, store.KindSoftware))
	}
	if f.AttributedTo != "" {
		and(s.sources(store.AttributedTo, f.AttributedTo, store.KindThreatActor))
	}
	if f.Mitigates != "" {
		and(s.sources(store.Mitigates, f.Mitigates, store.KindTechnique))
	}
	if f.Indicates != "" {
		and(s.sources(store.Indicates, f.Indicates, store.KindAny))
	}
	if f.SightingOf != "" {
		and(s.sources(store.SightingOf, f.SightingOf, store.KindAny))
	}
	if f.Tactic != "" {
		if isAttackTactic(f.Tactic) || strings.Contains(f.Tactic, "--") {
			and(s.sources(store.InTactic, f.Tactic, store.KindTactic))
		} else {
			and(s.labelled(labelShort, strings.ToLower(f.Tactic)))
		}
	}
	if f.Domain != "" {
		and(s.labelled(labelDomain, f.Domain))
	}
	if f.Platform != "" {
		and(s.labelled(labelPlatform, store.Fold(f.Platform)))
	}
	if f.IndicatorType != "" {
		and(s.labelled(labelType, f.IndicatorType))
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
	if f.Value != "" {
		and("o.value = " + s.arg(f.Value))
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
	if len(conds) == 0 {
		return ""
	}
	return " AND " + strings.Join(conds, " AND ")
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
