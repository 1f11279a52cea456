package mongo

import (
	"testing"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/api/store/storetest"
)

func open(t testing.TB, url string, opts Options) *Store {
	t.Helper()
	st, err := Open(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// The suite, but for what takes transactions: see the package's comment.
func TestConformance(t *testing.T) {
	storetest.RunWith(t, storetest.Options{Mixes: true, Commands: Commands}, func(t *testing.T) store.Store {
		return open(t, mongotest.URL(t), Options{})
	})
}
