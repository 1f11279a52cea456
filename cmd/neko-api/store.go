package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/sqlite"
	"github.com/nekoctl/neko/supervisor/home"
)

// openStore opens the store that the settings name, and makes it if it is not
// there.
func openStore(ctx context.Context, o *options) (store.Store, error) {
	path := *o.store
	if scheme, _, ok := strings.Cut(path, "://"); ok {
		return nil, usageError{fmt.Sprintf("no store for %s:// in this version", scheme), "give the path of a SQLite file"}
	}
	if path == "" {
		dir, err := home.Find()
		if err == nil {
			err = dir.Check()
		}
		if err == nil {
			err = os.MkdirAll(string(dir), 0o700)
		}
		if err != nil {
			return nil, &store.OpenError{Where: "in $NEKO_HOME", Err: err, Advice: "set NEKO_HOME to a folder of your own, or name the file: --store FILE"}
		}
		path = filepath.Join(string(dir), "api.db")
	}
	st, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return nil, err // and not a nil *sqlite.Store
	}
	return st, nil
}
