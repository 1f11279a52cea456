package mongo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/nekoctl/neko/api/store"
)

// leaseTime is how long an import that gives no sign of life keeps others waiting.
const leaseTime = 20 * time.Second

// leasesKept is how many imports are on record.
const leasesKept = 20

// lease is the record of an import, and while it lasts the right to write. Numbers
// are never used twice, and the server lets each be taken once: whoever takes the
// next number, because the last one is done or has been silent for long, is the
// only one that has. No clock is compared with another host's: who waits sees
// whether the beats go on.
//
// An import that lost its lease, because its process was stopped for long, finds
// out before its next batch. What one batch may still write then are versions,
// which replace only what they were found to be newer than, and where relations
// lead, which any later import of the same bundle puts right.
type lease struct {
	N       int64  `bson:"_id"`
	Owner   string `bson:"owner"` // for people: host and pid
	Started int64  `bson:"started"`
	Ended   int64  `bson:"ended"`
	Beat    int64  `bson:"beat"`
	Done    bool   `bson:"done"` // nobody need wait for it any more
	// Seeding: an import into an empty store has begun and not come to its end, so
	// that what is there does not make it a store in use.
	Seeding bool `bson:"seeding"`

	s    *Store
	last time.Time // of the beats
}

// latest is the import with the highest number; nil if there never was one.
func (s *Store) latest(ctx context.Context) (*lease, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var l lease
	store.CountQuery(ctx)
	err := s.first.imports.FindOne(ctx, bson.D{}, options.FindOne().SetSort(bson.D{{Key: "_id", Value: -1}})).Decode(&l)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil, nil
	}
	return &l, err
}

// acquire waits until no other import is under way.
func (s *Store) acquire(ctx context.Context) (*lease, error) {
	host, _ := os.Hostname()
	mine := &lease{Owner: fmt.Sprintf("%s/%d", host, os.Getpid()), s: s}
	var seen *lease
	var since time.Time
	for {
		l, err := s.latest(ctx)
		if err != nil {
			return nil, err
		}
		if l != nil && !l.Done {
			if seen == nil || seen.N != l.N || seen.Beat != l.Beat {
				seen, since = l, time.Now()
			}
			if time.Since(since) < s.opts.lease {
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(min(s.opts.lease/50, 100*time.Millisecond)):
				}
				continue
			}
		}
		mine.N = 1
		if l != nil {
			mine.N, mine.Seeding = l.N+1, l.Seeding
		}
		mine.Started, mine.last = s.now().UnixMicro(), time.Now()
		if err := s.write("lease"); err != nil {
			return nil, err
		}
		taken, err := mine.take(ctx)
		if err != nil {
			return nil, err
		}
		if taken {
			return mine, nil
		}
	}
}

// take writes the record, unless another import has taken the number.
func (l *lease) take(ctx context.Context) (taken bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := l.s.first.imports.InsertOne(ctx, l); err != nil {
		if driver.IsDuplicateKeyError(err) {
			return false, nil
		}
		return false, err
	}
	_, err = l.s.first.imports.DeleteMany(ctx, bson.D(op(fID, "$lte", l.N-leasesKept)))
	return err == nil, err
}

// set changes the record. Only its owner does.
func (l *lease) set(ctx context.Context, fields bson.D) error {
	if err := l.s.write("lease"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := l.s.first.imports.UpdateOne(ctx, bson.D(is(fID, l.N)), bson.D{{Key: "$set", Value: fields}})
	return err
}

// errLost is told to an import whose lease another one has taken.
var errLost = errors.New("another import has taken over, since this one gave no sign of life")

// beat shows that the import lives, and finds out whether it still may write. It is
// called before each batch.
func (l *lease) beat(ctx context.Context) error {
	if time.Since(l.last) < l.s.opts.lease/8 {
		return nil
	}
	latest, err := l.s.latest(ctx)
	if err != nil {
		return err
	}
	if latest == nil || latest.N != l.N {
		return errLost
	}
	l.Beat++
	l.last = time.Now()
	return l.set(ctx, bson.D{{Key: "beat", Value: l.Beat}})
}

// end gives up the lease. seeded: an import into an empty store has come to its end.
func (l *lease) end(ctx context.Context, seeded bool) error {
	fields := bson.D{{Key: "done", Value: true}, {Key: "ended", Value: l.s.now().UnixMicro()}}
	if seeded {
		fields = append(fields, bson.E{Key: "seeding", Value: false})
	}
	return l.set(ctx, fields)
}
