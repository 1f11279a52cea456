package mongo

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store"
)

var _ store.Changelog = (*Store)(nil)

const changelogID = "changelog"

// changelog is the document of the log. It changes as a whole, each time from one revision to
// the next, so that nothing is asked of the server but that one of several does it.
//
// Writing is the number of the lease of an import that has begun to write, and has no entry
// yet. It goes with that entry. If the import has died, whoever finds that out, the next
// import or any worker that follows the log, makes an entry of everything instead: nobody
// knows how far it has come.
type changelog struct {
	ID       string  `bson:"_id"`
	Store    string  `bson:"store"` // a name that no other database has
	Revision int64   `bson:"revision"`
	Last     int64   `bson:"last"`
	Writing  int64   `bson:"writing"`
	Entries  []entry `bson:"entries,omitempty"` // the latest last
}

type entry struct {
	N    int64    `bson:"n"`
	Tags []string `bson:"tags"`
}

func (d *changelog) add(tags []string) {
	if len(tags) == 0 {
		return
	}
	d.Last++
	d.Entries = append(d.Entries, entry{d.Last, tags})
	from, room := len(d.Entries)-1, store.LogTags
	for from > 0 && len(d.Entries)-from < store.LogLength {
		if room -= len(d.Entries[from-1].Tags); room < len(tags) {
			break
		}
		from--
	}
	d.Entries = d.Entries[from:]
}

// changelog reads it; what there is not yet is empty.
func (s *Store) changelog(ctx context.Context, opts ...options.Lister[options.FindOneOptions]) (*changelog, error) {
	d := &changelog{ID: changelogID}
	store.CountQuery(ctx)
	err := s.first.meta.FindOne(ctx, bson.D(is(fID, changelogID)), opts...).Decode(d)
	if errors.Is(err, driver.ErrNoDocuments) {
		err = nil
	}
	return d, err
}

// changeLog changes it by f, which may be called several times, and which says whether
// there is anything to change. What happens twice, as an answer was lost, adds an entry twice.
func (s *Store) changeLog(ctx context.Context, f func(*changelog) bool) error {
	for {
		d, err := s.changelog(ctx)
		if err != nil {
			return err
		}
		if !f(d) {
			return nil
		}
		if err := s.write("changelog"); err != nil {
			return err
		}
		store.CountQuery(ctx)
		if d.Revision++; d.Revision == 1 {
			d.Store = rand.Text()
			if _, err = s.first.meta.InsertOne(ctx, d); err == nil {
				return nil
			}
			if !driver.IsDuplicateKeyError(err) {
				return err
			}
		} else {
			res, err := s.first.meta.ReplaceOne(ctx, bson.D(and(is(fID, changelogID), is("revision", d.Revision-1))), d)
			if err != nil || res.MatchedCount > 0 {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// Invalidate implements [store.Changelog]. What invalidates everything goes to a random place ahead: after the
// database was restored the log is shorter than it was, and nobody who has seen the one of before may take an entry for
// one that he knows.
func (s *Store) Invalidate(ctx context.Context, tags ...string) (err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	ahead := int64(0)
	if slices.Contains(tags, store.Everything) {
		ahead = 1 + mathrand.Int64N(1<<40)
	}
	return s.changeLog(ctx, func(d *changelog) bool {
		d.Last += ahead
		d.add(tags)
		return len(tags) > 0
	})
}

// Invalidated implements [store.Changelog]. It is one small query where nothing has changed.
func (s *Store) Invalidated(ctx context.Context, after int64) (in store.Invalidated, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	d, err := s.changelog(ctx, options.FindOne().SetProjection(bson.D{{Key: "last", Value: 1}, {Key: "writing", Value: 1}}))
	if err != nil {
		return in, err
	}
	if d.Writing != 0 {
		dead, err := s.dead(ctx, d.Writing)
		if err != nil {
			return in, err
		}
		if dead {
			n := d.Writing
			if err := s.changeLog(ctx, func(d *changelog) bool {
				if d.Writing != n {
					return false
				}
				d.Writing = 0
				d.add([]string{store.Everything})
				return true
			}); err != nil {
				return in, err
			}
		}
	}
	if d.Last == after && d.Writing == 0 || after < 0 {
		return store.Invalidated{Last: d.Last}, nil
	}
	if d, err = s.changelog(ctx); err != nil {
		return in, err
	}
	var entries [][]string
	first := d.Last + 1
	for _, e := range d.Entries {
		first = min(first, e.N)
		if e.N > after {
			entries = append(entries, e.Tags)
		}
	}
	return store.Entries(after, first, d.Last, entries), nil
}

// dead tells whether the import with this lease is over, or has given no sign of life for so
// long that others need not wait for it.
func (s *Store) dead(ctx context.Context, n int64) (bool, error) {
	l, err := s.latest(ctx)
	if err != nil {
		return false, err
	}
	if l == nil || l.N != n || l.Done {
		return true, nil
	}
	s.silent.Lock()
	defer s.silent.Unlock()
	if w := &s.silent; w.n != n || w.beat != l.Beat {
		w.n, w.beat, w.since = n, l.Beat, time.Now()
	}
	return time.Since(s.silent.since) >= s.opts.lease, nil
}

// Identity is a name that no other database has, made when it is asked for first: what is
// kept elsewhere of two databases is told apart by it.
func (s *Store) Identity(ctx context.Context) (name string, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	for {
		d, err := s.changelog(ctx, options.FindOne().SetProjection(bson.D{{Key: "store", Value: 1}}))
		if d.Store != "" || err != nil {
			return d.Store, err
		}
		if err := s.changeLog(ctx, func(d *changelog) bool { return d.Store == "" }); err != nil {
			return "", err
		}
	}
}

// begin says in the log that the import begins to write.
func (m *merge) begin(ctx context.Context) error {
	return m.s.changeLog(ctx, func(d *changelog) bool {
		if d.Writing != 0 && d.Writing != m.lease.N {
			m.changed.All() // that one has died
		}
		d.Writing = m.lease.N
		return true
	})
}

// note makes the entry of the import, however far it has come. If that fails the log
// says that it writes, still.
func (m *merge) note(ctx context.Context) error {
	return m.s.changeLog(ctx, func(d *changelog) bool {
		writing := d.Writing
		switch writing {
		case 0:
		case m.lease.N:
			d.Writing = 0
		default:
			if m.lost {
				break // who has taken over sees to it
			}
			m.changed.All()
			d.Writing = 0
		}
		tags := m.changed.Tags()
		d.add(tags)
		return len(tags) > 0 || d.Writing != writing
	})
}
