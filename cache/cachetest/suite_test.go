package cachetest_test

import (
	"testing"

	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/cache/cachetest"
)

func TestTheStoreKeepsToIt(t *testing.T) {
	var store *cachetest.Store
	var hosts []*cachetest.Host
	cachetest.Suite{
		Open: func(t *testing.T, n int) (all []cache.Shared) {
			store, hosts = cachetest.NewStore(), nil
			for range n {
				h := store.Open()
				hosts = append(hosts, h)
				all = append(all, h)
			}
			return all
		},
		Forget: func(t *testing.T, tags ...string) { store.Forget(tags...) },
		Cut: func(t *testing.T) {
			for _, h := range hosts {
				h.Cut()
				h.Mend()
			}
		},
	}.Run(t)
}
