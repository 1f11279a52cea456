// Package sample is a small data set, so that the API has something to show on a
// fresh machine. All of it is made up; its ATT&CK-like ids begin at 9001 (G9001,
// T9001.001), where MITRE has none.
package sample

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"

	"github.com/nekoctl/neko/api/stix"
	"github.com/nekoctl/neko/api/store"
)

//go:embed sample.json
var bundle []byte

// Load loads the data into a store that has nothing in it, and tells whether it
// did. Of many processes that do so at once, one loads.
func Load(ctx context.Context, st store.Store) (loaded bool, err error) {
	// The usual case, without a lock.
	counts, err := st.Counts(ctx, store.ByKind)
	if err != nil {
		return false, err
	}
	for _, c := range counts {
		if c.N > 0 {
			return false, nil
		}
	}
	sum, err := stix.Import(ctx, st, bytes.NewReader(bundle), stix.Options{
		Name: "sample.json", Store: store.ImportOptions{OnlyIfEmpty: true},
	})
	if err != nil {
		return false, fmt.Errorf("sample data: %w", err)
	}
	return !sum.Merged.Skipped, nil
}
