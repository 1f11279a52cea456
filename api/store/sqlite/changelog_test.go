package sqlite

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// What a mutation changes is in the log together with it, so that a process that shares
// nothing but the file is told, also if the one that has made it was killed at once.
func TestMutationsAreLogged(t *testing.T) {
	path := temp(t)
	st, other := open(t, path), open(t, path)
	at := int64(0)
	expect := func(what string, want ...string) {
		t.Helper()
		in, err := other.Invalidated(t.Context(), at)
		slices.Sort(want)
		if err != nil || !slices.Equal(in.Tags, want) {
			t.Errorf("%s: %v, %v, want %v", what, in.Tags, err, want)
		}
		at = in.Last
	}
	im, err := st.BeginImport(t.Context(), store.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.Add(t.Context(), store.Record{Object: thing(1)}); err != nil {
		t.Fatal(err)
	}
	if _, err := im.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("an import", "Software:"+thing(1).ID, "Node:"+thing(1).ID, "Software:list", "ThreatActor:list", "Campaign:list", "Indicator:list", "Sighting:list")
	ind, err := st.CreateIndicator(t.Context(), store.NewIndicator{Type: "domain-name", Value: "a.example", Indicates: []string{thing(1).ID}})
	if err != nil {
		t.Fatal(err)
	}
	expect("an indicator", "Indicator:"+ind.ID, "Node:"+ind.ID, "Indicator:list", "Sighting:list", "Software:list")
	if _, err := st.CreateIndicator(t.Context(), store.NewIndicator{Type: "domain-name", Value: "a.example"}); !errors.Is(err, store.ErrConflict) {
		t.Error(err)
	}
	expect("a conflict")
	seen, err := st.ReportSighting(t.Context(), store.NewSighting{Of: ind.ID})
	if err != nil {
		t.Fatal(err)
	}
	expect("a sighting", "Sighting:"+seen.ID, "Node:"+seen.ID, "Sighting:list", "Indicator:list")
	for range 2 {
		if _, err := st.RetireIndicator(t.Context(), ind.ID); err != nil {
			t.Fatal(err)
		}
	}
	expect("a retirement", "Indicator:"+ind.ID, "Node:"+ind.ID, "Indicator:list", "Sighting:list")
	if _, err := st.ReportSighting(t.Context(), store.NewSighting{Of: "G9999"}); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	expect("of nothing")
}

// Who looks while others write sees each entry, once.
func TestChangelogWhileOthersWrite(t *testing.T) {
	path := temp(t)
	const entries = 300
	done := make(chan error, 1)
	writer := open(t, path)
	go func() {
		for range entries {
			if err := writer.Invalidate(context.Background(), "T"); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	st := open(t, path)
	at, seen := int64(0), int64(0)
	for end := time.Now().Add(20 * time.Second); seen < entries && time.Now().Before(end); {
		in, err := st.Invalidated(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		if in.Last < at || in.Last > at && !slices.Equal(in.Tags, []string{"T"}) {
			t.Fatalf("from %d to %d: %v", at, in.Last, in.Tags)
		}
		seen += in.Last - at
		at = in.Last
	}
	if err := <-done; err != nil || seen != entries {
		t.Errorf("%d of %d, %v", seen, entries, err)
	}
}

// A connection that has gone bad is no reason to miss anything.
func TestChangelogAfterATrouble(t *testing.T) {
	path := temp(t)
	st := open(t, path)
	if _, err := st.Invalidated(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := st.Invalidate(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Invalidated(ended, 0); err == nil {
		t.Error("it has looked for somebody who has gone")
	}
	if in, err := st.Invalidated(t.Context(), 0); err != nil || !slices.Equal(in.Tags, []string{"A"}) {
		t.Errorf("%v, %v", in, err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Invalidated(t.Context(), 0); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("closed: %v", err)
	}
}
