package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"

	"github.com/nekoctl/neko/api/store"
)

// transact runs f in a transaction that has the write lock from its beginning, so
// that what f reads stays true until it writes.
func (s *Store) transact(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.wr.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		tx.Rollback()
		return err
	}
	return tx.Commit()
}

// CreateIndicator implements [store.Store].
func (s *Store) CreateIndicator(ctx context.Context, in store.NewIndicator) (_ *store.Object, err error) {
	defer s.translate(ctx, &err)
	o, err := in.Build(s.now())
	if err != nil {
		return nil, err
	}
	err = s.transact(ctx, func(tx *sql.Tx) error {
		var id string
		store.CountQuery(ctx)
		err := tx.QueryRowContext(ctx, `SELECT id FROM object WHERE gone = '' AND kind = 'indicator' AND pattern_key = ?
			AND retired = 0 AND valid_until > ? ORDER BY id LIMIT 1`, store.PatternKey(o), o.Created.UnixMicro()).Scan(&id)
		if err == nil {
			return &store.ConflictError{Kind: store.KindIndicator, ID: id}
		} else if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		pk, err := insert(ctx, tx, o)
		if err != nil {
			return err
		}
		var changed store.Changes
		changed.Object(o.Kind, o.ID)
		done := map[int64]bool{}
		for _, key := range in.Indicates {
			target, kind, err := resolve(ctx, tx, key)
			if err != nil {
				return err
			}
			if done[target] {
				continue
			}
			done[target] = true
			changed.Relation(o.Kind, kind)
			if err := join(ctx, tx, store.NewID("relationship"), store.Indicates, pk, target, o); err != nil {
				return err
			}
		}
		return note(ctx, tx, changed.Tags())
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

// RetireIndicator implements [store.Store].
func (s *Store) RetireIndicator(ctx context.Context, key string) (_ *store.Object, err error) {
	defer s.translate(ctx, &err)
	var out *store.Object
	err = s.transact(ctx, func(tx *sql.Tx) error {
		store.CountQuery(ctx)
		res, err := tx.ExecContext(ctx, `UPDATE object SET retired = ? WHERE id = ? AND gone = '' AND kind = 'indicator' AND retired = 0`,
			s.now().UnixMicro(), key)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n > 0 {
			var changed store.Changes
			changed.Object(store.KindIndicator, key)
			if err := note(ctx, tx, changed.Tags()); err != nil {
				return err
			}
		}
		var r row
		store.CountQuery(ctx)
		err = tx.QueryRowContext(ctx, "SELECT "+objectColumns+" FROM object o WHERE o.id = ? AND o.gone = '' AND o.kind = 'indicator'", key).Scan(r.dest()...)
		if errors.Is(err, sql.ErrNoRows) {
			return &store.NotFoundError{Kind: store.KindIndicator, Key: key}
		}
		if err == nil {
			out = r.object()
		}
		return err
	})
	return out, err
}

// ReportSighting implements [store.Store].
func (s *Store) ReportSighting(ctx context.Context, in store.NewSighting) (_ *store.Object, err error) {
	defer s.translate(ctx, &err)
	o, err := in.Build(s.now())
	if err != nil {
		return nil, err
	}
	err = s.transact(ctx, func(tx *sql.Tx) error {
		target, kind, err := resolve(ctx, tx, in.Of, store.KindIndicator, store.KindTechnique, store.KindSoftware, store.KindCampaign, store.KindThreatActor)
		if err != nil {
			return err
		}
		pk, err := insert(ctx, tx, o)
		if err != nil {
			return err
		}
		if err := join(ctx, tx, o.ID, store.SightingOf, pk, target, o); err != nil {
			return err
		}
		var changed store.Changes
		changed.Object(o.Kind, o.ID)
		changed.Relation(o.Kind, kind)
		return note(ctx, tx, changed.Tags())
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

// resolve finds what a STIX or ATT&CK id means, of these kinds if any are given.
func resolve(ctx context.Context, tx *sql.Tx, key string, kinds ...store.Kind) (int64, store.Kind, error) {
	var st statement
	st.add("SELECT o.pk, o.kind FROM object o WHERE o.gone = '' AND ", kindIs("o", store.KindAny))
	if id, ok := store.AttackKey(key); ok {
		st.add(" AND o.attack_id = ", st.arg(id))
	} else {
		st.add(" AND o.id = ", st.arg(key))
	}
	if len(kinds) > 0 {
		list := make([]string, len(kinds))
		for i, k := range kinds {
			list[i] = "'" + string(k) + "'"
		}
		st.add(" AND o.kind IN (", strings.Join(list, ","), ")")
	}
	st.add(" ORDER BY o.modified DESC, o.id DESC LIMIT 1")
	var pk int64
	var kind string
	store.CountQuery(ctx)
	err := tx.QueryRowContext(ctx, st.String(), st.args...).Scan(&pk, &kind)
	if errors.Is(err, sql.ErrNoRows) || key == "" {
		return 0, "", &store.NotFoundError{Key: key}
	}
	return pk, store.Kind(kind), err
}

// objectInsert fills the columns that an import and a mutation write, in the
// order of [columns].
const objectFields = `id, kind, gone, type, attack_id, fold, created, modified, first_seen, last_seen, own_first, own_last,
	subtechnique, value_type, value, valid_from, valid_until, pattern_key, local, hash, doc`

const objectMarks = "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?"

// columns are the values of [objectFields] for an object, or for its tombstone.
func columns(o *store.Object, gone store.Gone) []any {
	kind := string(o.Kind)
	v, doc := store.ObjectVersion(o, gone)
	if gone != store.Alive {
		// Nothing of a tombstone is ever shown.
		o = &store.Object{ID: o.ID, Kind: o.Kind, Type: o.Type, Modified: o.Modified}
	}
	first, last := store.Micros(o.FirstSeen), store.Micros(o.LastSeen)
	until := int64(math.MaxInt64)
	if !o.ValidUntil.IsZero() {
		until = o.ValidUntil.UnixMicro()
	}
	fold, attack := store.Fold(store.Clean(o.Name)), store.Clean(o.AttackID)
	return []any{o.ID, kind, string(gone), o.Type, attack, fold, store.Micros(o.Created), store.Micros(o.Modified),
		first, last, first, last, b2i(o.Subtechnique), store.Clean(o.ValueType), store.Clean(o.Value), store.Micros(o.ValidFrom), until, store.PatternKey(o), b2i(o.Local),
		v.Hash, doc}
}

const insertLabel = "INSERT OR IGNORE INTO label (field, value, obj) VALUES (?, ?, ?)"

// insert adds an object that is not there yet, with all that it is found by.
func insert(ctx context.Context, tx *sql.Tx, o *store.Object) (pk int64, err error) {
	store.CountQuery(ctx)
	res, err := tx.ExecContext(ctx, "INSERT INTO object ("+objectFields+") VALUES ("+objectMarks+")", columns(o, store.Alive)...)
	if err != nil {
		return 0, err
	}
	if pk, err = res.LastInsertId(); err != nil {
		return 0, err
	}
	for _, l := range labelsOf(o) {
		store.CountQuery(ctx)
		if _, err := tx.ExecContext(ctx, insertLabel, l.field, l.value, pk); err != nil {
			return 0, err
		}
	}
	store.CountQuery(ctx)
	_, err = tx.ExecContext(ctx, "INSERT INTO words (rowid, folded) VALUES (?, ?)", pk, strings.Join(store.SearchWords(o), " "))
	return pk, err
}

// join adds a relation that was made here.
func join(ctx context.Context, tx *sql.Tx, id string, e store.Edge, src, dst int64, o *store.Object) error {
	store.CountQuery(ctx)
	_, err := tx.ExecContext(ctx, `INSERT INTO edge (id, type, src, dst, shown, created, modified, local, doc) VALUES (?, ?, ?, ?, 1, ?, ?, 1, ?)`,
		id, string(e), src, dst, store.Micros(o.Created), store.Micros(o.Modified), store.LinkContent(&store.Link{}))
	return err
}
