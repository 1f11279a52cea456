// Package ledgertest is what holds for every [edge.Ledger].
package ledgertest

import (
	"testing"
	"time"

	"github.com/nekoctl/neko/edge"
)

// Run looks at ledgers of one store, of which open makes one for each worker. Die is how a worker
// ends without a word, and within how long another takes over then.
func Run(t *testing.T, open func() edge.Ledger, die func(edge.Ledger), within time.Duration) {
	ctx := t.Context()
	a, b := open(), open()
	hold := func(l edge.Ledger, who string, want edge.Progress, should bool) {
		t.Helper()
		p, held, err := l.Hold(ctx)
		if err != nil || held != should || p != want {
			t.Fatalf("%s: %v %v %v, want %v %v", who, p, held, err, want, should)
		}
	}
	hold(a, "the first", edge.Unknown, true)
	hold(b, "the second", edge.Unknown, false)
	hold(a, "the first again", edge.Unknown, true)
	if held, err := b.Record(ctx, edge.Progress{Purged: 9, Settled: 9}); held || err != nil {
		t.Fatalf("who does not hold it writes: %v %v", held, err)
	}
	if held, err := a.Record(ctx, edge.Progress{Purged: 7, Settled: 3}); !held || err != nil {
		t.Fatalf("who holds it cannot write: %v %v", held, err)
	}
	seven := edge.Progress{Purged: 7, Settled: 3}
	if p, err := b.Progress(ctx); p != seven || err != nil {
		t.Fatalf("%v %v", p, err)
	}
	hold(b, "the second", seven, false)
	if err := a.Release(ctx); err != nil {
		t.Fatal(err)
	}
	hold(b, "the second, when the first has let go", seven, true)
	hold(a, "the first", seven, false)
	die(b)
	// Whoever waits looks every so often.
	for began := time.Now(); ; time.Sleep(within / 50) {
		p, held, err := a.Hold(ctx)
		if err != nil || p != seven {
			t.Fatal(p, err)
		}
		if held {
			break
		}
		if time.Since(began) > within+20*time.Second {
			t.Fatal("nobody takes over from who has died")
		}
	}
	// A position may go back: a backup has been restored.
	if held, err := a.Record(ctx, edge.Progress{Purged: 2, Settled: 1}); !held || err != nil {
		t.Fatal(held, err)
	}
	if p, err := open().Progress(ctx); p != (edge.Progress{Purged: 2, Settled: 1}) || err != nil {
		t.Fatal(p, err)
	}
}
