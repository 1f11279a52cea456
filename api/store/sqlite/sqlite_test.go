package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/storetest"
)

func open(t testing.TB, path string) *Store {
	t.Helper()
	st, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, filepath.Join(t.TempDir(), "neko.db")) })
}
