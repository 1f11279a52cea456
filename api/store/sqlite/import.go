package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// An import stages its objects in a database of its own, attached to a connection
// of its own, and so blocks nobody while it reads. Commit then copies what is
// new in one transaction: other writers wait for that, readers never do.
type importer struct {
	s    *Store
	opts store.ImportOptions
	db   *sql.DB
	conn *sql.Conn
	n    int64 // objects staged

	object, label, words, edge *sql.Stmt
}

const stageSchema = `
CREATE TABLE stage.object (
	n INTEGER PRIMARY KEY, id TEXT UNIQUE, kind, gone, type, attack_id, fold, created, modified, first_seen, last_seen, own_first, own_last,
	subtechnique, value_type, value, valid_from, valid_until, pattern_key, local, hash, doc);
CREATE TABLE stage.label (n INTEGER, field TEXT, value TEXT);
CREATE TABLE stage.words (n INTEGER PRIMARY KEY, words TEXT);
CREATE TABLE stage.edge (n INTEGER PRIMARY KEY, id TEXT UNIQUE, type, src, dst, gone, created, modified, hash, doc);
CREATE TABLE stage.newobject (n INTEGER PRIMARY KEY, pk INTEGER, was TEXT, now TEXT, wasattack TEXT);
CREATE TABLE stage.newedge (n INTEGER PRIMARY KEY, was TEXT, wassrc INTEGER, wasdst INTEGER);
CREATE TABLE stage.ends (type TEXT, src INTEGER, dst INTEGER);
`

// BeginImport implements [store.Store].
func (s *Store) BeginImport(ctx context.Context, opts store.ImportOptions) (_ store.Import, err error) {
	im := &importer{s: s, opts: opts}
	defer s.translate(ctx, &err)
	defer func() {
		if err != nil {
			im.Abort()
		}
	}()
	// A larger cache: the copy changes many pages.
	if im.db, err = s.pool(1, busyTimeout, "&_pragma=cache_size(-32000)"); err != nil {
		return nil, err
	}
	if im.conn, err = im.db.Conn(ctx); err != nil {
		return nil, err
	}
	// Beside the store, because that folder can be written and has room for it; and
	// without a name, once it is open: then nothing is left of it, however we end.
	stage := fmt.Sprintf("%s-import-%d-%s", s.path, os.Getpid(), rand.Text()[:8])
	f, err := os.OpenFile(stage, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	_, err = im.conn.ExecContext(ctx, "ATTACH ? AS stage", stage)
	os.Remove(stage)
	if err != nil {
		return nil, err
	}
	// Whatever goes wrong, the stage is thrown away: it needs no journal.
	if _, err = im.conn.ExecContext(ctx, "PRAGMA stage.journal_mode = OFF; PRAGMA stage.synchronous = OFF; PRAGMA stage.locking_mode = EXCLUSIVE;"+stageSchema); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&im.object, "INSERT INTO stage.object (n, " + objectFields + ") VALUES (?," + objectMarks + ")"},
		{&im.label, "INSERT INTO stage.label (n, field, value) VALUES (?, ?, ?)"},
		{&im.words, "INSERT INTO stage.words (n, words) VALUES (?, ?)"},
		{&im.edge, "INSERT INTO stage.edge (id, type, src, dst, gone, created, modified, hash, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"},
	} {
		if *p.to, err = im.conn.PrepareContext(ctx, p.text); err != nil {
			return nil, err
		}
	}
	// DEFERRED: a lock on main is not taken as long as only the stage is written.
	_, err = im.conn.ExecContext(ctx, "BEGIN DEFERRED")
	return im, err
}

// Add implements [store.Import].
func (im *importer) Add(ctx context.Context, r store.Record) (err error) {
	defer im.s.translate(ctx, &err)
	if im.conn == nil {
		return errors.New("import has ended")
	}
	if l := r.Link; l != nil {
		v, doc := store.LinkVersion(l, r.Gone)
		_, err := im.edge.ExecContext(ctx, l.ID, string(l.Edge), l.Source, l.Target, string(r.Gone), store.Micros(l.Created), store.Micros(l.Modified),
			v.Hash, doc)
		return err
	}
	im.n++
	if _, err := im.object.ExecContext(ctx, append([]any{im.n}, columns(r.Object, r.Gone)...)...); err != nil {
		return err
	}
	if r.Gone != store.Alive {
		return nil
	}
	for _, l := range labelsOf(r.Object) {
		if _, err := im.label.ExecContext(ctx, im.n, l.field, l.value); err != nil {
			return err
		}
	}
	_, err = im.words.ExecContext(ctx, im.n, strings.Join(store.SearchWords(r.Object), " "))
	return err
}

// Abort implements [store.Import].
func (im *importer) Abort() error {
	for _, st := range []**sql.Stmt{&im.object, &im.label, &im.words, &im.edge} {
		if *st != nil {
			(*st).Close()
			*st = nil
		}
	}
	if im.conn != nil {
		im.conn.ExecContext(context.Background(), "ROLLBACK") // an error if there is none: no matter
		im.conn.Close()
		im.conn = nil
	}
	if im.db != nil {
		err := im.db.Close()
		im.db = nil
		return err
	}
	return nil
}

// Commit implements [store.Import].
func (im *importer) Commit(ctx context.Context) (m store.Merged, err error) {
	if im.conn == nil {
		return m, errors.New("import has ended")
	}
	defer im.s.translate(ctx, &err)
	defer func() {
		if e := im.Abort(); err == nil {
			err = e
		}
	}()
	if err := im.exec(ctx, "COMMIT"); err != nil {
		return m, err
	}
	if err := im.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return m, err
	}
	start := time.Now()
	if im.opts.OnlyIfEmpty {
		var any bool
		if err := im.scan(ctx, "SELECT EXISTS (SELECT 1 FROM main.object WHERE gone = '' AND kind IN ("+allKinds+"))", &any); err != nil {
			return m, err
		}
		if any {
			m.Skipped = true
			return m, nil
		}
	}
	if err := im.merge(ctx, &m); err != nil {
		return m, err
	}
	// Not to be interrupted: the caller must know whether it is done.
	if err := im.exec(context.WithoutCancel(ctx), "COMMIT"); err != nil {
		return m, err
	}
	m.Blocked = time.Since(start)
	// Into the file itself, and the log small again; if someone reads just now, the
	// next checkpoint does it.
	im.exec(ctx, "PRAGMA main.busy_timeout = 200; PRAGMA main.wal_checkpoint(TRUNCATE)")
	return m, nil
}

func (im *importer) exec(ctx context.Context, text string) error {
	_, err := im.conn.ExecContext(ctx, text)
	return err
}

func (im *importer) scan(ctx context.Context, text string, dest ...any) error {
	return im.conn.QueryRowContext(ctx, text).Scan(dest...)
}

// newerThan is true if the staged version s replaces the stored one o. It is a
// total order of versions, so the last one standing does not depend on who came
// first: time, then tombstones, then content.
const newerThan = "(s.modified, s.gone <> '', s.hash) > (o.modified, o.gone <> '', o.hash)"

// merge copies from the stage what is new or newer. It runs within the
// transaction; every statement handles all objects at once.
func (im *importer) merge(ctx context.Context, m *store.Merged) error {
	var staged, fresh, newer, edges, freshEdges, newerEdges, removedEdges int
	set := strings.Builder{}
	for f := range strings.SplitSeq(objectFields, ",") {
		if f = strings.TrimSpace(f); f != "id" && f != "local" {
			if set.Len() > 0 {
				set.WriteString(", ")
			}
			set.WriteString(f + " = excluded." + f)
		}
	}
	for _, text := range []string{
		// Which staged objects count.
		`INSERT INTO stage.newobject (n, pk, was, now, wasattack)
		 SELECT s.n, o.pk, coalesce(o.gone, 'missing'), s.gone, coalesce(o.attack_id, '') FROM stage.object s LEFT JOIN main.object o ON o.id = s.id
		 WHERE o.pk IS NULL OR o.gone = 'missing' OR ` + newerThan,
		`INSERT INTO main.object (` + objectFields + `)
		 SELECT ` + objectFields + ` FROM stage.newobject JOIN stage.object USING (n) WHERE true
		 ON CONFLICT (id) DO UPDATE SET ` + set.String(),
		`UPDATE stage.newobject SET pk = (SELECT o.pk FROM stage.object s JOIN main.object o ON o.id = s.id WHERE s.n = newobject.n) WHERE pk IS NULL`,
		// What they are found by.
		`DELETE FROM main.label WHERE obj IN (SELECT pk FROM stage.newobject WHERE was = '')`,
		`INSERT OR IGNORE INTO main.label (field, value, obj)
		 SELECT l.field, l.value, w.pk FROM stage.newobject w JOIN stage.label l USING (n) ORDER BY 1, 2, 3`,
		`DELETE FROM main.words WHERE rowid IN (SELECT pk FROM stage.newobject WHERE was = '')`,
		`INSERT INTO main.words (rowid, folded) SELECT w.pk, s.words FROM stage.newobject w JOIN stage.words s USING (n) ORDER BY 1`,
		// Ends that nobody has brought.
		`INSERT INTO main.object (id, kind, gone)
		 SELECT id, '', 'missing' FROM (SELECT src AS id FROM stage.edge UNION SELECT dst FROM stage.edge) e
		 WHERE NOT EXISTS (SELECT 1 FROM main.object o WHERE o.id = e.id)`,
		// The same for relationships. Their ends may differ between versions.
		`INSERT INTO stage.newedge (n, was, wassrc, wasdst)
		 SELECT s.n, coalesce(o.gone, 'missing'), o.src, o.dst FROM stage.edge s LEFT JOIN main.edge o ON o.id = s.id
		 WHERE o.pk IS NULL OR ` + newerThan,
		`INSERT INTO stage.ends (type, src, dst)
		 SELECT o.type, o.src, o.dst FROM stage.newedge w JOIN stage.edge s USING (n) JOIN main.edge o ON o.id = s.id WHERE w.was <> 'missing'`,
		`INSERT INTO main.edge (id, type, src, dst, gone, shown, created, modified, hash, doc)
		 SELECT s.id, s.type, a.pk, b.pk, s.gone, s.gone = '', s.created, s.modified, s.hash, s.doc
		 FROM stage.newedge w JOIN stage.edge s USING (n) JOIN main.object a ON a.id = s.src JOIN main.object b ON b.id = s.dst WHERE true
		 ON CONFLICT (id) DO UPDATE SET type = excluded.type, src = excluded.src, dst = excluded.dst, gone = excluded.gone, shown = excluded.shown,
			created = excluded.created, modified = excluded.modified, hash = excluded.hash, doc = excluded.doc`,
		// Where there are several between the same ends, the newest living one is shown.
		`INSERT INTO stage.ends (type, src, dst)
		 SELECT o.type, o.src, o.dst FROM stage.newedge w JOIN stage.edge s USING (n) JOIN main.edge o ON o.id = s.id
		 WHERE EXISTS (SELECT 1 FROM main.edge b WHERE b.type = o.type AND b.src = o.src AND b.dst = o.dst AND b.pk <> o.pk)`,
		`UPDATE main.edge SET shown = gone = '' AND NOT EXISTS (SELECT 1 FROM main.edge b
			WHERE b.type = edge.type AND b.src = edge.src AND b.dst = edge.dst AND b.gone = '' AND (b.modified, b.id) > (edge.modified, edge.id))
		 WHERE pk IN (SELECT e.pk FROM stage.ends t CROSS JOIN main.edge e ON e.type = t.type AND e.src = t.src AND e.dst = t.dst)`,
	} {
		if err := im.exec(ctx, text); err != nil {
			return fmt.Errorf("%w, in %.60s", err, text)
		}
	}
	var changed store.Changes
	if err := im.derive(ctx, &changed); err != nil {
		return err
	}
	if err := im.note(ctx, &changed); err != nil {
		return err
	}
	if err := im.scan(ctx, `SELECT (SELECT count(*) FROM stage.object WHERE gone = ''),
		count(*) FILTER (WHERE now = '' AND was <> ''), count(*) FILTER (WHERE now = '' AND was = ''), count(*) FILTER (WHERE now <> '' AND was = '')
		FROM stage.newobject`, &staged, &fresh, &newer, &m.Removed); err != nil {
		return err
	}
	if err := im.scan(ctx, `SELECT (SELECT count(*) FROM stage.edge WHERE gone = ''),
		count(*) FILTER (WHERE s.gone = '' AND was <> ''), count(*) FILTER (WHERE s.gone = '' AND was = ''), count(*) FILTER (WHERE s.gone <> '' AND was = '')
		FROM stage.newedge w JOIN stage.edge s USING (n)`, &edges, &freshEdges, &newerEdges, &removedEdges); err != nil {
		return err
	}
	m.Added, m.Updated, m.Removed = fresh+freshEdges, newer+newerEdges, m.Removed+removedEdges
	m.Unchanged = staged + edges - m.Added - m.Updated
	return im.scan(ctx, `SELECT count(*) FROM stage.edge s JOIN main.edge e ON e.id = s.id JOIN main.object a ON a.pk = e.src JOIN main.object b ON b.pk = e.dst
		WHERE e.gone = '' AND (a.gone = 'missing' OR b.gone = 'missing')`, &m.Dangling)
}

// derive brings up to date what follows from several objects: which techniques
// are in which tactics, and when actors were seen. Actors are all that it changes by that
// alone: techniques change their tactics when they or those have changed.
func (im *importer) derive(ctx context.Context, changed *store.Changes) error {
	for _, text := range []string{
		`DELETE FROM main.edge WHERE type = 'in-tactic'`,
		`INSERT INTO main.edge (id, type, src, dst, shown)
		 SELECT DISTINCT t.id || ' ' || c.id, 'in-tactic', t.pk, c.pk, 1
		 FROM main.object c CROSS JOIN main.label a ON a.obj = c.pk AND a.field = 'phase'
		 CROSS JOIN main.label b ON b.field = 'phase' AND b.value = a.value CROSS JOIN main.object t ON t.pk = b.obj
		 WHERE c.gone = '' AND c.kind = 'tactic' AND t.gone = '' AND t.kind = 'technique'`,
	} {
		if err := im.exec(ctx, text); err != nil {
			return fmt.Errorf("%w, in %.60s", err, text)
		}
	}
	return im.each(ctx, `WITH seen AS MATERIALIZED (
		SELECT a.pk AS pk,
			coalesce(min(nullif(a.own_first, 0)), 9223372036854775807) AS first, max(a.own_last) AS last,
			coalesce(min(nullif(c.first_seen, 0)), 9223372036854775807) AS cfirst, coalesce(max(c.last_seen), 0) AS clast
		FROM main.object a LEFT JOIN main.edge e ON e.type = 'attributed-to' AND e.dst = a.pk AND e.shown = 1
		LEFT JOIN main.object c ON c.pk = e.src AND c.gone = '' AND c.kind = 'campaign'
		WHERE a.gone = '' AND a.kind = 'threat-actor' GROUP BY a.pk)
	 UPDATE main.object SET
		first_seen = coalesce(nullif(min(seen.first, seen.cfirst), 9223372036854775807), 0),
		last_seen = max(seen.last, seen.clast)
	 FROM seen WHERE seen.pk = object.pk AND (first_seen, last_seen) <>
		(coalesce(nullif(min(seen.first, seen.cfirst), 9223372036854775807), 0), max(seen.last, seen.clast))
		RETURNING id, attack_id`, func(rows *sql.Rows) error {
		var id, attack string
		err := rows.Scan(&id, &attack)
		changed.Object(store.KindThreatActor, id, attack)
		return err
	})
}

// note puts what changes of what is served into the log, in the same transaction.
func (im *importer) note(ctx context.Context, changed *store.Changes) error {
	err := im.each(ctx, `SELECT o.kind, o.id, o.attack_id, w.wasattack FROM stage.newobject w JOIN main.object o USING (pk)
		WHERE w.was = '' OR w.now = ''`, func(rows *sql.Rows) error {
		var kind, id, attack, before string
		err := rows.Scan(&kind, &id, &attack, &before)
		changed.Object(store.Kind(kind), id, attack, before)
		return err
	})
	if err != nil {
		return err
	}
	// The ends that relationships have, and that they had.
	if err := im.each(ctx, `SELECT DISTINCT substr(a.id, 1, 1 + instr(a.id, '--')), substr(b.id, 1, 1 + instr(b.id, '--')) FROM (
			SELECT e.src, e.dst FROM stage.newedge w JOIN stage.edge s USING (n) JOIN main.edge e ON e.id = s.id WHERE w.was = '' OR s.gone = ''
			UNION SELECT wassrc, wasdst FROM stage.newedge WHERE was = '') c
		JOIN main.object a ON a.pk = c.src JOIN main.object b ON b.pk = c.dst`, func(rows *sql.Rows) error {
		var source, target string
		err := rows.Scan(&source, &target)
		changed.Relation(store.KindOf(source), store.KindOf(target)) // their types
		return err
	}); err != nil {
		return err
	}
	return note(ctx, im.conn, changed.Tags())
}

func (im *importer) each(ctx context.Context, text string, f func(*sql.Rows) error) error {
	rows, err := im.conn.QueryContext(ctx, text)
	if err == nil {
		defer rows.Close()
		for err == nil && rows.Next() {
			err = f(rows)
		}
		err = errors.Join(err, rows.Err())
	}
	if err != nil {
		return fmt.Errorf("%w, in %.60s", err, text)
	}
	return nil
}
