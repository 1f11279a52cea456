// Package mongo is the store for many hosts: a MongoDB that all workers share.
//
// It needs nothing of the server but documents, indexes and the promise that a
// write of one document is seen whole: no transactions, no $lookup, no change
// streams. What follows from that is the order of writes, which the comments
// give at each place, and this, as against the embedded store:
//
//   - An object is always whole, of one version, together with where its relations
//     lead. A call reads several documents, though, and an import is not visible
//     all at once: who reads meanwhile, or after a crash in its midst, sees a mix of
//     old and new versions. The same bundle imported again mends it.
//   - No mix shows a relation to what is not served: what is at the other end is
//     read, and left out if it is not there.
//   - A call is one command to the server, or a few: see [Commands].
package mongo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/nekoctl/neko/api/store"
)

// Commands is how many commands a call of Get, List or Related sends to the server
// at most, whatever the number of keys, parents and objects, but for two things:
// an answer that does not fit into one message (16 MiB) takes one more for each
// further 16 MiB; and of many parents, each whose objects lie behind those of much
// longer relations takes one of its own. (Once as many objects again have been
// read in vain as are wanted, those that lack some are asked for one by one.)
const Commands = 5

// Options change what [Open] does; the zero value is right for one worker.
type Options struct {
	// Now is the clock, for tests.
	Now func() time.Time
	// Workers is how many processes like this one there are on the host, for the
	// size of the pool; 1 if zero.
	Workers int

	// noSetUp opens a store whatever its schema, and makes nothing: for [Migrate].
	noSetUp bool

	// Only for tests.
	version int                          // of the schema
	lease   time.Duration                // how long an import that shows no sign of life is waited for
	spare   int                          // see spareDocuments
	batch   int                          // objects of an import handled at a time
	before  func(what string) error      // called before each write
	client  func(*options.ClientOptions) // may change anything
}

// Store is a [store.Store] in a MongoDB.
type Store struct {
	where  string // without credentials
	secret *secrets
	tls    bool
	pool   int // connections at most; 0: any number
	opts   Options
	now    func() time.Time
	client *driver.Client
	db     *driver.Database

	// For reads, by the read preference of the URL; the others go to the primary,
	// since what they read decides what is written.
	objects, relations *driver.Collection
	secondaries        bool // they may be read from
	first              primary
	accounts           accounts

	closed atomic.Bool

	silent silent
}

// silent is the import of which no sign of life was seen since then, see changelog.go.
type silent struct {
	sync.Mutex
	n, beat int64
	since   time.Time
}

// primary are the collections as writers see them.
type primary struct {
	objects, relations, claims, imports, meta *driver.Collection
}

// onPrimary reads where writes go.
var onPrimary = options.Collection().SetReadPreference(readpref.Primary())

var _ store.Store = (*Store)(nil)

// callTimeout bounds a call whose context has no deadline: a server that hangs must
// not hang its clients. A batch of an import is a call in this sense.
const callTimeout = 60 * time.Second

// ReadsSecondaries says whether what is read may be older than what was written, by the URL.
func (s *Store) ReadsSecondaries() bool { return s.secondaries }

// System is what spans call the database, as OpenTelemetry does.
func (s *Store) System() string { return "mongodb" }

// Open opens the store that a URL names: see docs/mongodb.md. In an empty database
// it makes all that it needs; one of an earlier version it refuses, for its indexes
// may take a while to build: that is for [Migrate].
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.version == 0 {
		opts.version = Version
	}
	if opts.spare == 0 {
		opts.spare = spareDocuments
	}
	if opts.lease == 0 {
		opts.lease = leaseTime
	}
	if opts.batch == 0 {
		opts.batch = batchSize
	}
	t, err := parse(url, opts.Workers)
	if err != nil {
		return nil, err
	}
	if opts.client != nil {
		opts.client(t.client)
	}
	s := &Store{where: t.where, secret: t.secret, tls: t.client.TLSConfig != nil, opts: opts, now: opts.Now}
	if t.client.MaxPoolSize != nil {
		s.pool = int(*t.client.MaxPoolSize)
	}
	if s.client, err = driver.Connect(t.client); err != nil {
		return nil, s.openError(ctx, err)
	}
	s.db = s.client.Database(t.database)
	s.secondaries = t.client.ReadPreference != nil && t.client.ReadPreference.Mode() != readpref.PrimaryMode
	s.objects, s.relations = s.db.Collection(objectsName), s.db.Collection(relationsName)
	for name, c := range map[string]**driver.Collection{
		objectsName: &s.first.objects, relationsName: &s.first.relations, claimsName: &s.first.claims, importsName: &s.first.imports, metaName: &s.first.meta,
	} {
		*c = s.db.Collection(name, onPrimary)
	}
	s.accounts = newAccounts(s.db)
	wait, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err = s.client.Ping(wait, readpref.Primary()); err == nil && !opts.noSetUp {
		err = s.setUp(wait)
	}
	if err != nil {
		err = s.openError(ctx, err)
		s.Close()
		return nil, err
	}
	return s, nil
}

// Ping implements [store.Store]: it reads the schema's version where queries go.
func (s *Store) Ping(ctx context.Context) (err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	store.CountQuery(ctx)
	err = s.db.Collection(metaName).FindOne(ctx, bson.D(is(fID, schemaID))).Err()
	if errors.Is(err, driver.ErrNoDocuments) {
		return fmt.Errorf("%w: it has no schema any more", store.ErrUnavailable)
	}
	return err
}

// Parallel is how many calls that read, and how many that change something, are served at a
// time, since each has one connection; 0 if there may be any number. Others wait.
func (s *Store) Parallel() (reads, changes int) { return s.pool, s.pool }

// closeTimeout is how long calls in progress may go on when the store is closed.
const closeTimeout = 5 * time.Second

// Close implements [store.Store]; calls in progress end first, or fail.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return s.client.Disconnect(ctx)
}

// call begins a method: its context has an end, and done, which is to be deferred,
// makes of the driver's errors those that [store.Store] promises.
func (s *Store) call(ctx context.Context, err *error) (_ context.Context, done func()) {
	outer, cancel := ctx, func() {}
	if _, ok := ctx.Deadline(); !ok {
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
	}
	return ctx, func() {
		cancel()
		*err = s.translate(outer, *err)
	}
}

// write is called before every write; tests end the world there.
func (s *Store) write(what string) error {
	if s.opts.before != nil {
		return s.opts.before(what)
	}
	return nil
}

// find runs a query and hands its documents to each, one at a time.
func find[T any](ctx context.Context, c *driver.Collection, where cond, each func(*T) error, opts ...options.Lister[options.FindOptions]) error {
	store.CountQuery(ctx)
	cur, err := c.Find(ctx, bson.D(where), opts...)
	if err != nil {
		return err
	}
	return walk(ctx, cur, each)
}

func aggregate[T any](ctx context.Context, c *driver.Collection, stages bson.A, each func(*T) error) error {
	store.CountQuery(ctx)
	cur, err := c.Aggregate(ctx, stages)
	if err != nil {
		return err
	}
	return walk(ctx, cur, each)
}

// errEnough ends a walk early.
var errEnough = errors.New("enough")

func walk[T any](ctx context.Context, cur *driver.Cursor, each func(*T) error) error {
	// The server frees what it keeps for the cursor, even if the caller has gone.
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		cur.Close(end)
	}()
	for cur.Next(ctx) {
		var d T
		if err := cur.Decode(&d); err != nil {
			return err
		}
		if err := each(&d); err != nil {
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		}
	}
	return cur.Err()
}
