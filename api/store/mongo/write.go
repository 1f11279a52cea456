package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store"
)

// Every mutation shows what it makes with its last write but one, of one document,
// so that it can end anywhere: what was written before shows nothing, and what
// comes after only tidies up.

// claim is the right to make an indicator of a pattern, with all that it takes to
// make it: who finds a claim makes the indicator for whoever it was, if that one
// has not, or has died. So nobody has to know whether somebody else lives.
type claim struct {
	ID        string     `bson:"_id"` // of the pattern
	Object    object     `bson:"object"`
	Relations []relation `bson:"relations"`
}

// CreateIndicator implements [store.Store].
//
// Of all that make an indicator of one pattern at once, on whatever hosts, one
// does: the claim has the pattern's key as its _id, of which the server lets there
// be one. The order is claim, look, make, give up the claim. So who holds a claim
// and finds no indicator that holds knows that there will be none but his, for
// those made before him were there before their claims went.
//
// A crash leaves: before the claim, nothing; after it, a claim, which the next one
// to ask for the pattern fulfils, and then answers that there is such an indicator;
// after the relationships, the same, since they show nothing without the object;
// after the object, the same, and all that it does is to remove the claim.
func (s *Store) CreateIndicator(ctx context.Context, in store.NewIndicator) (_ *store.Object, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	o, err := in.Build(s.now())
	if err != nil {
		return nil, err
	}
	c := claim{ID: fmt.Sprintf("%016x", uint64(store.PatternKey(o))), Object: newObject(o), Relations: []relation{}}
	if err := s.noneHolds(ctx, &c); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, key := range in.Indicates {
		target, err := s.resolve(ctx, key)
		if err != nil {
			return nil, err
		}
		if seen[target] {
			continue
		}
		seen[target] = true
		c.join(o, store.NewID("relationship"), store.Indicates, target)
	}
	for {
		if err := s.write("claim"); err != nil {
			return nil, err
		}
		store.CountQuery(ctx)
		_, err := s.first.claims.InsertOne(ctx, &c)
		if err == nil {
			break
		}
		if !driver.IsDuplicateKeyError(err) {
			return nil, err
		}
		var other claim
		store.CountQuery(ctx)
		err = s.first.claims.FindOne(ctx, bson.D(is(fID, c.ID))).Decode(&other)
		if errors.Is(err, driver.ErrNoDocuments) {
			continue // just made
		}
		if err == nil && other.Object.ID == c.Object.ID {
			break // ours: the driver has sent it twice
		}
		if err == nil {
			err = s.fulfil(ctx, &other)
		}
		if err == nil || errors.Is(err, store.ErrConflict) {
			err = s.noneHolds(ctx, &c)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := s.fulfil(ctx, &c); err != nil {
		return nil, err
	}
	return o, nil
}

// noneHolds is a conflict if there is an indicator that holds now for the pattern.
func (s *Store) noneHolds(ctx context.Context, c *claim) error {
	var d object
	store.CountQuery(ctx)
	err := s.first.objects.FindOne(ctx, bson.D(and(kindIs(store.KindIndicator), is(fPatternKey, c.Object.V.PatternKey), is(fRetired, int64(0)),
		op(fUntil, "$gt", c.Object.V.Created))), options.FindOne().SetSort(bson.D{{Key: "_id", Value: 1}}).SetProjection(bson.D{{Key: "_id", Value: 1}})).Decode(&d)
	switch {
	case errors.Is(err, driver.ErrNoDocuments):
		return nil
	case err != nil:
		return err
	}
	return &store.ConflictError{Kind: store.KindIndicator, ID: d.ID}
}

// fulfil makes what was claimed, unless another indicator holds, and gives up the
// claim. Several may do so at once, and long after each other: nothing is made
// twice, for ids are unique, and objects stay for ever.
func (s *Store) fulfil(ctx context.Context, c *claim) error {
	var conflict *store.ConflictError
	err := s.noneHolds(ctx, c)
	switch {
	case err == nil:
		err = s.make(ctx, &c.Object, c.Relations)
	case errors.As(err, &conflict) && conflict.ID == c.Object.ID:
		err = nil // somebody was so kind
	case conflict != nil:
		return errors.Join(err, s.release(ctx, c))
	}
	if err != nil {
		return err
	}
	return s.release(ctx, c)
}

func (s *Store) release(ctx context.Context, c *claim) error {
	if err := s.write("release"); err != nil {
		return err
	}
	store.CountQuery(ctx)
	_, err := s.first.claims.DeleteOne(ctx, bson.D(and(is(fID, c.ID), is("object._id", c.Object.ID))))
	return err
}

// make writes an object and its relationships: those first, since it is the object
// that shows them. What is there already is left.
func (s *Store) make(ctx context.Context, d *object, relations []relation) error {
	if len(relations) > 0 {
		if err := s.write("relations"); err != nil {
			return err
		}
		store.CountQuery(ctx)
		if _, err := s.first.relations.InsertMany(ctx, relations, options.InsertMany().SetOrdered(false)); err != nil && !onlyDuplicates(err) {
			return err
		}
	}
	if err := s.write("object"); err != nil {
		return err
	}
	store.CountQuery(ctx)
	if _, err := s.first.objects.InsertOne(ctx, d); err != nil && !driver.IsDuplicateKeyError(err) {
		return err
	}
	return nil
}

// onlyDuplicates tells whether all that went wrong is that documents were there.
func onlyDuplicates(err error) bool {
	var bulk driver.BulkWriteException
	if !errors.As(err, &bulk) || bulk.WriteConcernError != nil || len(bulk.WriteErrors) == 0 {
		return false
	}
	for _, e := range bulk.WriteErrors {
		if !driver.IsDuplicateKeyError(e.WriteError) {
			return false
		}
	}
	return true
}

func newObject(o *store.Object) object {
	d := object{ID: o.ID, Local: o.Local}
	d.set(versionOf(o, store.Alive))
	return d
}

// join adds a relation that was made here.
func (c *claim) join(o *store.Object, id string, e store.Edge, target string) {
	r := relationOf(&store.Relationship{Edge: e, Source: o.ID, Target: target, Link: store.Link{ID: id, Created: o.Created, Modified: o.Modified}}, store.Alive)
	c.Relations = append(c.Relations, r)
	c.Object.To = append(c.Object.To, to(e, target))
	c.Object.Via = append(c.Object.Via, id)
}

// RetireIndicator implements [store.Store]. It writes one document, once.
func (s *Store) RetireIndicator(ctx context.Context, key string) (_ *store.Object, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	unknown := &store.NotFoundError{Kind: store.KindIndicator, Key: key}
	if _, ok := known(key); !ok || key == "" {
		return nil, unknown
	}
	where := and(is(fID, key), kindIs(store.KindIndicator))
	if err := s.write("retired"); err != nil {
		return nil, err
	}
	store.CountQuery(ctx)
	if _, err := s.first.objects.UpdateOne(ctx, bson.D(and(where, is(fRetired, int64(0)))),
		bson.D{{Key: "$set", Value: bson.D{{Key: string(fRetired), Value: s.now().UnixMicro()}}}}); err != nil {
		return nil, err
	}
	var d object
	store.CountQuery(ctx)
	err = s.first.objects.FindOne(ctx, bson.D(where), options.FindOne().SetProjection(fieldsShown)).Decode(&d)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	return d.object(), nil
}

// ReportSighting implements [store.Store]. The relationship is written first, and
// shows nothing without the sighting.
func (s *Store) ReportSighting(ctx context.Context, in store.NewSighting) (_ *store.Object, err error) {
	ctx, done := s.call(ctx, &err)
	defer done()
	o, err := in.Build(s.now())
	if err != nil {
		return nil, err
	}
	target, err := s.resolve(ctx, in.Of, store.KindIndicator, store.KindTechnique, store.KindSoftware, store.KindCampaign, store.KindThreatActor)
	if err != nil {
		return nil, err
	}
	c := claim{Object: newObject(o)}
	c.join(o, o.ID, store.SightingOf, target)
	if err := s.make(ctx, &c.Object, c.Relations); err != nil {
		return nil, err
	}
	return o, nil
}

// resolve finds what a STIX or ATT&CK id means, of these kinds if any are given.
func (s *Store) resolve(ctx context.Context, key string, kinds ...store.Kind) (string, error) {
	ids, attack := splitKeys([]string{key})
	if len(ids)+len(attack) == 0 {
		return "", &store.NotFoundError{Key: key}
	}
	of := allKinds
	if len(kinds) > 0 {
		of = nil
		for _, k := range kinds {
			of = append(of, string(k))
		}
	}
	var d object
	store.CountQuery(ctx)
	err := s.first.objects.FindOne(ctx, bson.D(and(in(fKind, of), oneOf(ids, attack))), options.FindOne().
		SetSort(bson.D{{Key: string(fModified), Value: -1}, {Key: "_id", Value: -1}}).SetProjection(bson.D{{Key: "_id", Value: 1}})).Decode(&d)
	if errors.Is(err, driver.ErrNoDocuments) {
		return "", &store.NotFoundError{Key: key}
	}
	return d.ID, err
}
