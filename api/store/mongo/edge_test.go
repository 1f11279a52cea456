package mongo

import (
	"testing"
	"time"

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
