package mongo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store"
)

// Version is the schema's version that this program knows. A later one may have
// more indexes, or more in a document.
const Version = 1

const schemaID = "schema"

type schema struct {
	ID      string `bson:"_id"`
	Version int    `bson:"version"`
}

// index is one that queries need.
type index struct {
	collection, name string
	fields           []field
}

// indexes are all indexes. Those of objects begin with a kind, which only what is
// served has, and end with an order and the id: they find what a list begins with
// and give it in its order. Of the relations towards an object (to) those orders
// have an index that the API asks for; the others are sorted by the server, which
// keeps as many as are wanted.
var indexes = func() []index {
	out := []index{
		{objectsName, "attack_id", []field{fAttackID}},
		{objectsName, "type", []field{fKind, fType, fFold, fID}},
		{objectsName, "subtechnique", []field{fKind, fSub, fFold, fID}},
		{objectsName, "value_type", []field{fKind, fValueType, fFold, fID}},
		{objectsName, "active", []field{fKind, fRetired, fUntil}},
		{objectsName, "value", []field{fValue, fFold, fID}},
		{objectsName, "pattern", []field{fPatternKey}},
		{objectsName, "words", []field{fWords, fKind}},
		{objectsName, "names", []field{fNames, fKind}},
		{objectsName, "domains", []field{fKind, fDomains}},
		{objectsName, "platforms", []field{fKind, fPlatformKeys}},
		{objectsName, "indicator_types", []field{fKind, fIndicatorType}},
		{objectsName, "phases", []field{fPhases, fKind}},
		{objectsName, "shorts", []field{fShorts, fKind}},
		{relationsName, "source", []field{fSource}},
	}
	for _, by := range []store.OrderField{store.OrderName, store.OrderAttackID, store.OrderModified, store.OrderCreated, store.OrderFirstSeen, store.OrderLastSeen} {
		out = append(out, index{objectsName, "by_" + string(by), []field{fKind, orderField(by), fID}})
	}
	for _, by := range []store.OrderField{store.OrderName, store.OrderCreated, store.OrderLastSeen} {
		out = append(out, index{objectsName, "to_by_" + string(by), []field{fTo, fKind, orderField(by), fID}})
	}
	return out
}()

func (i index) model() driver.IndexModel {
	var keys bson.D
	for _, f := range i.fields {
		keys = append(keys, bson.E{Key: string(f), Value: 1})
	}
	return driver.IndexModel{Keys: keys, Options: options.Index().SetName(i.name)}
}

// setUp sees to the schema when a worker starts: it makes it in an empty database,
// and refuses one that this program does not know. Many may come here at once:
// making an index that is there is nothing, and the version is written last.
func (s *Store) setUp(ctx context.Context) error {
	version, err := s.version(ctx)
	switch {
	case err != nil:
		return err
	case version > s.opts.version:
		return &store.TooNewError{Where: s.where, Store: version, Known: s.opts.version}
	case version == s.opts.version:
		return nil
	case version > 0:
		return &store.OpenError{Where: s.where, Err: fmt.Errorf("its schema has version %d, and this program needs %d", version, s.opts.version),
			Advice: "run neko-api migrate once; the workers of the earlier version may serve meanwhile"}
	}
	if err := s.ours(ctx); err != nil {
		return err
	}
	// It is begun anew if the server went meanwhile: what is made is made, perhaps by
	// another worker.
	for try := time.Duration(1); ; try++ {
		_, err := s.makeIndexes(ctx, nil)
		if err == nil {
			return s.setVersion(ctx)
		}
		if try > 5 || !s.isUnavailable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(try * try * 20 * time.Millisecond):
		}
	}
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

// ours refuses a database without a version that has anything in it.
func (s *Store) ours(ctx context.Context) error {
	for _, c := range []*driver.Collection{s.first.objects, s.first.relations, s.first.claims, s.first.imports} {
		err := c.FindOne(ctx, bson.D{}).Err()
		if err == nil {
			return &store.OpenError{Where: s.where, Err: fmt.Errorf("its collection %s is of another program", c.Name()),
				Advice: "name another database in the URL: mongodb://HOST/DATABASE; nothing in this one was changed"}
		}
		if !errors.Is(err, driver.ErrNoDocuments) {
			return err
		}
	}
	return nil
}

func (s *Store) setVersion(ctx context.Context) error {
	_, err := s.first.meta.UpdateOne(ctx, bson.D(is(fID, schemaID)), bson.D{{Key: "$set", Value: bson.D{{Key: "version", Value: s.opts.version}}}}, options.UpdateOne().SetUpsert(true))
	if driver.IsDuplicateKeyError(err) {
		return nil // another one was as fast
	}
	return err
}

// makeIndexes makes the indexes that are missing, and tells their names. say is
// called with each of them first, if it is not nil; made is false for one to be
// left as it is.
func (s *Store) makeIndexes(ctx context.Context, say func(i index) (make bool)) (made []string, err error) {
	have := map[string]bool{}
	for _, name := range []string{objectsName, relationsName} {
		cur, err := s.db.Collection(name).Indexes().List(ctx)
		if err != nil {
			var server driver.ServerError
			if errors.As(err, &server) && server.HasErrorCode(26) { // no such collection yet
				continue
			}
			return nil, err
		}
		if err := walk(ctx, cur, func(d *struct{ Name string }) error {
			have[name+"."+d.Name] = true
			return nil
		}); err != nil {
			return nil, err
		}
	}
	missing := map[string][]driver.IndexModel{}
	for _, i := range indexes {
		name := i.collection + "." + i.name
		if have[name] || say != nil && !say(i) {
			continue
		}
		missing[i.collection] = append(missing[i.collection], i.model())
		made = append(made, name)
	}
	for name, models := range missing {
		if _, err := s.db.Collection(name).Indexes().CreateMany(ctx, models); err != nil {
			return made, fmt.Errorf("cannot make the indexes of %s: %w", name, err)
		}
	}
	return made, nil
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
	switch {
	case err != nil:
		return err
	case version > s.opts.version:
		return &store.TooNewError{Where: s.where, Store: version, Known: s.opts.version}
	case version == 0:
		if err := s.ours(ctx); err != nil {
			return err
		}
	}
	verb := "made"
	if dry {
		verb = "would make"
	}
	n := 0
	if _, err := s.makeIndexes(ctx, func(i index) bool {
		n++
		fmt.Fprintf(w, "%s the index %s of %s\n", map[bool]string{true: "would make", false: "making"}[dry], i.name, i.collection)
		return !dry
	}); err != nil {
		return err
	}
	if version != s.opts.version && !dry {
		if err := s.setVersion(ctx); err != nil {
			return err
		}
	}
	switch {
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
