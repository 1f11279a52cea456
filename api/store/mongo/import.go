package mongo

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/nekoctl/neko/api/store"
)

// batchSize is how many objects of an import are handled at a time.
const batchSize = 500

// An import keeps what it is given on this side, checked and in the form that is
// written, and the server hears nothing of it before Commit.
type importer struct {
	s         *Store
	opts      store.ImportOptions
	objects   spool
	relations spool
	ended     bool
}

// spooled is an object on its way into the store.
type spooled struct {
	ID    string  `bson:"_id"`
	Kind  string  `bson:"kind"`
	Local bool    `bson:"local"`
	V     version `bson:"v"`
}

var errEnded = errors.New("import has ended")

// BeginImport implements [store.Store].
func (s *Store) BeginImport(ctx context.Context, opts store.ImportOptions) (_ store.Import, err error) {
	if s.closed.Load() {
		return nil, store.ErrUnavailable
	}
	return &importer{s: s, opts: opts}, ctx.Err()
}

// Add implements [store.Import].
func (im *importer) Add(_ context.Context, r store.Record) error {
	switch {
	case im.ended:
		return errEnded
	case r.Link != nil:
		return im.relations.add(relationOf(r.Link, r.Gone))
	default:
		return im.objects.add(&spooled{ID: r.Object.ID, Kind: string(r.Object.Kind), Local: r.Object.Local, V: versionOf(r.Object, r.Gone)})
	}
}

// Abort implements [store.Import].
func (im *importer) Abort() error {
	im.ended = true
	im.objects.close()
	im.relations.close()
	return nil
}

// Commit implements [store.Import]. An error before the first write is the store as
// it was; one after it is a [store.PartialError].
func (im *importer) Commit(ctx context.Context) (out store.Merged, err error) {
	if im.ended {
		return out, errEnded
	}
	defer im.Abort()
	s := im.s
	defer func() { err = s.translate(ctx, err) }()
	if im.opts.OnlyIfEmpty {
		// Who comes late need not wait for anybody.
		l, err := s.latest(ctx)
		if err != nil {
			return out, err
		}
		if used, err := s.used(ctx, l); used || err != nil {
			return store.Merged{Skipped: used}, err
		}
	}
	l, err := s.acquire(ctx)
	if err != nil {
		return out, err
	}
	finish := func(seeded bool) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return l.end(ctx, seeded)
	}
	if im.opts.OnlyIfEmpty {
		used, err := s.used(ctx, l)
		if err == nil && !used {
			// On record before the first object is: if this import dies, the next one of its
			// kind still finds a store that is not in use.
			err = l.set(ctx, bson.D{{Key: "seeding", Value: true}})
		}
		if used || err != nil {
			return store.Merged{Skipped: used}, errors.Join(err, finish(false))
		}
	}
	m := &merge{s: s, im: im, lease: l}
	err = m.run(ctx)
	m.lost = errors.Is(err, errLost)
	// In any case, and before anybody else may write: who keeps answers must know.
	noted := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return m.note(ctx)
	}()
	if err != nil {
		if !m.lost {
			_ = finish(false) // else others wait for a while; what matters is err
		}
		if m.wrote {
			err = &store.PartialError{Err: s.translate(ctx, err)}
		}
		return store.Merged{}, err
	}
	if err := errors.Join(noted, finish(im.opts.OnlyIfEmpty)); err != nil {
		// All is there, but it is not on record that this is over.
		return store.Merged{}, &store.PartialError{Err: s.translate(ctx, err)}
	}
	return m.sum, nil
}

// used tells whether the store has an object, and not only such as an import into
// an empty store has left half-way.
func (s *Store) used(ctx context.Context, l *lease) (used bool, err error) {
	if l != nil && l.Seeding {
		return false, nil
	}
	ctx, done := s.call(ctx, &err)
	defer done()
	store.CountQuery(ctx)
	err = s.first.objects.FindOne(ctx, bson.D(kindIs(store.KindAny))).Err()
	if errors.Is(err, driver.ErrNoDocuments) {
		return false, nil
	}
	return err == nil, err
}
