package mongo

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/edge"
	"github.com/nekoctl/neko/edge/ledgertest"
)

// Of the workers of a database, on whatever hosts, one purges a CDN; and another does if that one dies.
func TestEdgeLedger(t *testing.T) {
	const silence = 500 * time.Millisecond
	st := open(t, mongotest.URL(t), Options{})
	ledgertest.Run(t, func() edge.Ledger {
		l := st.EdgeLedger().(*edgeLedger)
		l.silence = silence
		return l
	}, func(edge.Ledger) {}, silence)
}

// Who seemed dead, and has given a sign of life since, goes on.
func TestEdgeComesBack(t *testing.T) {
	st := open(t, mongotest.URL(t), Options{})
	a, b := st.EdgeLedger().(*edgeLedger), st.EdgeLedger().(*edgeLedger)
	if _, held, err := a.Hold(t.Context()); !held || err != nil {
		t.Fatal(held, err)
	}
	seen, _, err := b.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	take := func() bool {
		t.Helper()
		took, err := b.change(t.Context(), seen.Holder, seen.Beat, bson.D{{Key: "holder", Value: b.me}, {Key: "beat", Value: seen.Beat + 1}})
		if err != nil {
			t.Fatal(err)
		}
		return took
	}
	if _, held, err := a.Hold(t.Context()); !held || err != nil {
		t.Fatal(held, err)
	}
	if take() {
		t.Error("it is taken over from who is alive")
	}
	if seen, _, err = b.read(t.Context()); err != nil || !take() {
		t.Error("it cannot be taken over", err)
	}
}

// Who has had nothing to do for long is not taken for dead by who looks for the first time since.
func TestEdgeIsQuiet(t *testing.T) {
	l := &edgeLedger{silence: time.Hour}
	d := edgeRecord{Holder: "somebody", Beat: 7}
	if l.silent(d) {
		t.Error("at the first look")
	}
	l.since, l.looked = l.since.Add(-2*time.Hour), l.looked.Add(-2*time.Hour)
	if l.silent(d) {
		t.Error("who was not looked at is taken for silent")
	}
	l.since = l.since.Add(-2 * time.Hour)
	if !l.silent(d) {
		t.Error("who was silent all the time is not")
	}
}
