package sample

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/sqlite"
)

func TestLoad(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "neko.db")
	var wg sync.WaitGroup
	var loads atomic.Int64
	for range 4 { // as four workers do
		wg.Go(func() {
			st, err := sqlite.Open(ctx, path, sqlite.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			loaded, err := Load(ctx, st)
			if err != nil {
				t.Error(err)
			}
			if loaded {
				loads.Add(1)
			}
			check(ctx, t, st)
		})
	}
	wg.Wait()
	if loads.Load() != 1 {
		t.Errorf("loaded %d times", loads.Load())
	}
}

func check(ctx context.Context, t *testing.T, st store.Store) {
	counts, err := st.Counts(ctx, store.ByKind)
	if err != nil {
		t.Error(err)
	}
	for i, want := range []int{6, 20, 5, 8, 5, 10, 6, 4} {
		if counts[i].N != want {
			t.Errorf("%s: %d, want %d", counts[i].Key, counts[i].N, want)
		}
	}
	// Every technique is in a tactic, and the example of the documentation has
	// something to show at every level.
	m, err := st.Get(ctx, store.KindThreatActor, []string{"G9001"})
	if err != nil || m["G9001"] == nil || m["G9001"].FirstSeen.Year() != 2023 || m["G9001"].LastSeen.Year() != 2025 {
		t.Errorf("G9001: %+v, %v", m["G9001"], err)
		return
	}
	p, err := st.Related(ctx, store.Techniques, []string{m["G9001"].ID}, store.Query{First: 5, WantTotal: true})
	if err != nil || len(p[0].Items) != 5 || p[0].Total != 7 {
		t.Errorf("techniques: %+v, %v", p, err)
	}
	all, err := st.List(ctx, store.KindTechnique, store.Query{First: 100})
	if err != nil {
		t.Error(err)
	}
	var ids []string
	for _, i := range all.Items {
		ids = append(ids, i.Object.ID)
	}
	for _, rel := range []store.Relation{store.Tactics, store.UsedByActors} {
		pages, err := st.Related(ctx, rel, ids, store.Query{WantTotal: true})
		if err != nil {
			t.Error(err)
		}
		for i, p := range pages {
			if p.Total == 0 && !(rel == store.UsedByActors && strings.Contains(all.Items[i].Object.AttackID, "T9004.001")) {
				t.Errorf("%s: no %v", all.Items[i].Object.AttackID, rel)
			}
		}
	}
}
