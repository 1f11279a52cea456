package mongo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store"
)

// Version is the schema's version that this program knows. A later one may have
// more collections and indexes, or more in a document. 2 has the accounts.
const Version = 2

const schemaID = "schema"

type schema struct {
	ID      string `bson:"_id"`
	Version int    `bson:"version"`
}

// collections are all collections with data, each with the version of the schema
// that has brought it.
var collections = []struct {
	name  string
	since int
}{
	{objectsName, 1}, {relationsName, 1}, {claimsName, 1}, {importsName, 1},
	{usersName, 2}, {sessionsName, 2}, {apiKeysName, 2}, {signingKeysName, 2},
}

// index is one that queries need, or of unique, that the promise of it does.
type index struct {
	collection, name string
	fields           []field
	unique           bool
}

// indexes are all indexes. Those of objects begin with a kind, which only what is
// served has, and end with an order and the id: they find what a list begins with
// and give it in its order. Of the relations towards an object (to) those orders
// have an index that the API asks for; the others are sorted by the server, which
// keeps as many as are wanted.
var indexes = func() []index {
	out := []index{
		{usersName, "fold", []field{fUserFold}, true},
		{sessionsName, "expires", []field{fExpires}, false},
		{objectsName, "attack_id", []field{fAttackID}, false},
		{objectsName, "type", []field{fKind, fType, fFold, fID}, false},
		{objectsName, "subtechnique", []field{fKind, fSub, fFold, fID}, false},
		{objectsName, "value_type", []field{fKind, fValueType, fFold, fID}, false},
		{objectsName, "active", []field{fKind, fRetired, fUntil}, false},
		{objectsName, "value", []field{fValue, fFold, fID}, false},
		{objectsName, "pattern", []field{fPatternKey}, false},
		{objectsName, "words", []field{fWords, fKind}, false},
		{objectsName, "names", []field{fNames, fKind}, false},
		{objectsName, "domains", []field{fKind, fDomains}, false},
		{objectsName, "platforms", []field{fKind, fPlatformKeys}, false},
		{objectsName, "indicator_types", []field{fKind, fIndicatorType}, false},
		{objectsName, "phases", []field{fPhases, fKind}, false},
		{objectsName, "shorts", []field{fShorts, fKind}, false},
		{relationsName, "source", []field{fSource}, false},
	}
	for _, by := range []store.OrderField{store.OrderName, store.OrderAttackID, store.OrderModified, store.OrderCreated, store.OrderFirstSeen, store.OrderLastSeen} {
		out = append(out, index{objectsName, "by_" + string(by), []field{fKind, orderField(by), fID}, false})
	}
	for _, by := range []store.OrderField{store.OrderName, store.OrderCreated, store.OrderLastSeen} {
		out = append(out, index{objectsName, "to_by_" + string(by), []field{fTo, fKind, orderField(by), fID}, false})
	}
	return out
}()

func (i index) model() driver.IndexModel {
	var keys bson.D
	for _, f := range i.fields {
		keys = append(keys, bson.E{Key: string(f), Value: 1})
	}
	opts := options.Index().SetName(i.name)
	if i.unique {
		opts.SetUnique(true)
	}
	return driver.IndexModel{Keys: keys, Options: opts}
}

// setUp sees to the schema when a worker starts: it makes it in an empty database,
// and refuses one that this program does not know.
//
// Many may come here at once, and each may end anywhere. The order is look whether
// the database is empty, indexes, version, and after that data. So until there is a
// version there is nothing but empty collections, which whoever comes next makes
// complete; and where there are data of ours there is a version.
func (s *Store) setUp(ctx context.Context) error {
	version, err := s.version(ctx)
	if err == nil && version == 0 {
		version, err = s.create(ctx)
	}
	if err == nil && version < s.opts.version {
		return &store.OpenError{Where: s.where, Err: fmt.Errorf("its schema has version %d, and this program needs %d", version, s.opts.version),
			Advice: "run neko-api migrate once; the workers of the earlier version may serve meanwhile"}
	}
	return s.known(version, err)
}

// known refuses a version that is later than this program.
func (s *Store) known(version int, err error) error {
	if err == nil && version > s.opts.version {
		return &store.TooNewError{Where: s.where, Store: version, Known: s.opts.version}
	}
	return err
}

// create makes the schema in an empty database. It returns the version that there
// is then: not its own, if a program of another version was there, too.
func (s *Store) create(ctx context.Context) (version int, err error) {
	if version, err = s.ours(ctx, 0); version > 0 || err != nil {
		return version, err
	}
	if err := s.makeIndexes(ctx, func(index) bool { return true }); err != nil {
		return 0, err
	}
	return s.raise(ctx)
}

// version is the schema's; 0 if there is none.
func (s *Store) version(ctx context.Context) (int, error) {
	var d schema
	store.CountQuery(ctx)
	err := s.first.meta.FindOne(ctx, bson.D(is(fID, schemaID))).Decode(&d)
	if errors.Is(err, driver.ErrNoDocuments) {
		return 0, nil
	}
	return d.Version, err
}

// ours refuses a database that had this version and has something in a collection
// of a later one. It returns the version that there is: another one, if somebody
// has raised it since. Data come after the version, so what is found is another
// program's only if there is no version for it after it was found.
func (s *Store) ours(ctx context.Context, had int) (version int, err error) {
	for _, c := range collections {
		if c.since <= had {
			continue
		}
		store.CountQuery(ctx)
		err := s.db.Collection(c.name, onPrimary).FindOne(ctx, bson.D{}).Err()
		if errors.Is(err, driver.ErrNoDocuments) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if version, err = s.version(ctx); err != nil || version >= c.since {
			return version, err
		}
		return 0, &store.OpenError{Where: s.where, Err: fmt.Errorf("its collection %s is of another program", c.name),
			Advice: "name another database in the URL: mongodb://HOST/DATABASE; nothing in this one was changed"}
	}
	return had, nil
}

// raise writes the version, unless there is a later one, and returns what there is
// then.
func (s *Store) raise(ctx context.Context) (version int, err error) {
	for range 2 {
		store.CountQuery(ctx)
		_, err = s.first.meta.UpdateOne(ctx, bson.D(is(fID, schemaID)), bson.D{{Key: "$max", Value: bson.D{{Key: "version", Value: s.opts.version}}}}, options.UpdateOne().SetUpsert(true))
		if !driver.IsDuplicateKeyError(err) {
			break
		}
		// Another one was as fast: now there is a document to change.
	}
	if err != nil {
		return 0, err
	}
	return s.version(ctx)
}

// makeIndexes makes the indexes that are missing and that say, which is called with
// each of them, wants. It is begun anew if the server went meanwhile: what is made is
// made, perhaps by another worker.
func (s *Store) makeIndexes(ctx context.Context, say func(i index) (make bool)) error {
	for try := time.Duration(1); ; try++ {
		err := s.tryIndexes(ctx, say)
		if err == nil || try > 5 || !s.isUnavailable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(try * try * 20 * time.Millisecond):
		}
	}
}

func (s *Store) tryIndexes(ctx context.Context, say func(i index) (make bool)) error {
	for _, c := range collections {
		missing, err := s.missing(ctx, c.name)
		if err != nil {
			return err
		}
		var models []driver.IndexModel
		for _, i := range missing {
			if say(i) {
				models = append(models, i.model())
			}
		}
		if len(models) == 0 {
			continue
		}
		store.CountQuery(ctx)
		if _, err := s.db.Collection(c.name).Indexes().CreateMany(ctx, models); err != nil {
			return fmt.Errorf("cannot make the indexes of %s: %w", c.name, err)
		}
	}
	return nil
}

// missing are the indexes that a collection lacks.
func (s *Store) missing(ctx context.Context, collection string) (missing []index, err error) {
	for _, i := range indexes {
		if i.collection == collection {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	store.CountQuery(ctx)
	cur, err := s.db.Collection(collection, onPrimary).Indexes().List(ctx)
	if isMissing(err) {
		return missing, nil
	}
	if err != nil {
		return nil, err
	}
	err = walk(ctx, cur, func(d *struct{ Name string }) error {
		missing = slices.DeleteFunc(missing, func(i index) bool { return i.name == d.Name })
		return nil
	})
	return missing, err
}

// isMissing tells of an error whether there is no such collection, yet.
func isMissing(err error) bool {
	var server driver.ServerError
	return errors.As(err, &server) && server.HasErrorCode(26)
}

// Migrate brings a database to the schema of this program: it makes the indexes
// that are missing and writes the version. It says on w what it does, or with
// dry what it would do. Workers may serve meanwhile.
func Migrate(ctx context.Context, url string, opts Options, w io.Writer, dry bool) (err error) {
	opts.noSetUp = true
	s, err := Open(ctx, url, opts)
	if err != nil {
		return err
	}
	defer s.Close()
	defer func() {
		if err != nil {
			err = s.openError(ctx, err)
		}
	}()
	version, err := s.version(ctx)
	if err == nil {
		version, err = s.ours(ctx, version)
	}
	if err = s.known(version, err); err != nil {
		return err
	}
	verb := "made"
	if dry {
		verb = "would make"
	}
	said := map[string]bool{}
	if err := s.makeIndexes(ctx, func(i index) bool {
		if name := i.collection + "." + i.name; !said[name] {
			said[name] = true
			fmt.Fprintf(w, "%s the index %s of %s\n", map[bool]string{true: "would make", false: "making"}[dry], i.name, i.collection)
		}
		return !dry
	}); err != nil {
		return err
	}
	if version != s.opts.version && !dry {
		if err := s.known(s.raise(ctx)); err != nil {
			return err
		}
	}
	switch n := len(said); {
	case n == 0 && version == s.opts.version:
		fmt.Fprintf(w, "%s: schema version %d, nothing to do\n", s.where, version)
	case version == s.opts.version:
		fmt.Fprintf(w, "%s: schema version %d, %s %d indexes\n", s.where, version, verb, n)
	case dry:
		fmt.Fprintf(w, "%s: would go from schema version %d to %d, and make %d indexes\n", s.where, version, s.opts.version, n)
	default:
		fmt.Fprintf(w, "%s: schema version %d, was %d; %s %d indexes\n", s.where, s.opts.version, version, verb, n)
	}
	return nil
}
