package mongo

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/edge"
)

const edgeID = "edge"

// edgeSilence is for how long who purges a CDN may give no sign of life, while there is
// something to purge, before somebody else does.
const edgeSilence = 10 * time.Second

// edgeLedger is who of all workers of this database purges a CDN, and how far that has come.
// Like [lease] it compares no clocks: who waits sees whether the beats go on.
type edgeLedger struct {
	s       *Store
	me      string
	silence time.Duration

	mu     sync.Mutex
	holder string // as it was seen last
	beat   int64
	since  time.Time
	looked time.Time
}

// edgeRecord is its document.
type edgeRecord struct {
	ID      string `bson:"_id"`
	Holder  string `bson:"holder"` // "": nobody
	Beat    int64  `bson:"beat"`
	Purged  int64  `bson:"purged"`
	Settled int64  `bson:"settled"`
}

// EdgeLedger is the one for what [Store.Invalidated] tells of.
func (s *Store) EdgeLedger() edge.Ledger {
	return &edgeLedger{s: s, me: rand.Text(), silence: edgeSilence}
}

func (l *edgeLedger) read(ctx context.Context) (d edgeRecord, found bool, err error) {
	store.CountQuery(ctx)
	err = l.s.first.meta.FindOne(ctx, bson.D(is(fID, edgeID))).Decode(&d)
	if errors.Is(err, driver.ErrNoDocuments) {
		return edgeRecord{ID: edgeID, Purged: edge.Unknown.Purged, Settled: edge.Unknown.Settled}, false, nil
	}
	return d, err == nil, err
}

// Progress implements [edge.Ledger].
func (l *edgeLedger) Progress(ctx context.Context) (_ edge.Progress, err error) {
	ctx, done := l.s.call(ctx, &err)
	defer done()
	d, _, err := l.read(ctx)
	return edge.Progress{Purged: d.Purged, Settled: d.Settled}, err
}

// Hold implements [edge.Ledger].
func (l *edgeLedger) Hold(ctx context.Context) (_ edge.Progress, held bool, err error) {
	ctx, done := l.s.call(ctx, &err)
	defer done()
	d, found, err := l.read(ctx)
	p := edge.Progress{Purged: d.Purged, Settled: d.Settled}
	if err != nil {
		return p, false, err
	}
	if !found {
		store.CountQuery(ctx)
		_, err := l.s.first.meta.InsertOne(ctx, edgeRecord{edgeID, l.me, 1, p.Purged, p.Settled})
		if driver.IsDuplicateKeyError(err) {
			return p, false, nil
		}
		return p, err == nil, err
	}
	if d.Holder != l.me && d.Holder != "" && !l.silent(d) {
		return p, false, nil
	}
	held, err = l.change(ctx, d.Holder, d.Beat, bson.D{{Key: "holder", Value: l.me}, {Key: "beat", Value: d.Beat + 1}})
	return p, held, err
}

// silent says whether the one who purges has given no sign of life for long.
func (l *edgeLedger) silent(d edgeRecord) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.holder != d.Holder || l.beat != d.Beat || now.Sub(l.looked) > l.silence/2 { // who has nothing to do is silent, too
		l.holder, l.beat, l.since = d.Holder, d.Beat, now
	}
	l.looked = now
	return now.Sub(l.since) >= l.silence
}

// change changes the document if it is still as this holder and this beat have left it; with a
// beat of 0 if it still is that holder's.
func (l *edgeLedger) change(ctx context.Context, holder string, beat int64, set bson.D) (bool, error) {
	conds := []cond{is(fID, edgeID), is("holder", holder)}
	if beat > 0 {
		conds = append(conds, is("beat", beat))
	}
	store.CountQuery(ctx)
	res, err := l.s.first.meta.UpdateOne(ctx, bson.D(and(conds...)), bson.D{{Key: "$set", Value: set}})
	return err == nil && res.MatchedCount > 0, err
}

// Record implements [edge.Ledger].
func (l *edgeLedger) Record(ctx context.Context, p edge.Progress) (held bool, err error) {
	ctx, done := l.s.call(ctx, &err)
	defer done()
	return l.change(ctx, l.me, 0, bson.D{{Key: "purged", Value: p.Purged}, {Key: "settled", Value: p.Settled}})
}

// Release implements [edge.Ledger].
func (l *edgeLedger) Release(ctx context.Context) (err error) {
	ctx, done := l.s.call(ctx, &err)
	defer done()
	_, err = l.change(ctx, l.me, 0, bson.D{{Key: "holder", Value: ""}})
	return err
}
