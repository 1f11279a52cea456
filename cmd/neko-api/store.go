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
		dir, err := homeDir()
		if err != nil {
			return nil, &store.OpenError{Where: "in $NEKO_HOME", Err: err, Advice: "set NEKO_HOME to a folder of your own, or name the file: --store FILE"}
		}
		path = filepath.Join(dir, "api.db")
	}
	st, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return nil, err // and not a nil *sqlite.Store
	}
	return st, nil
}

// homeDir is $NEKO_HOME, made if it is not there.
func homeDir() (string, error) {
	dir, err := home.Find()
	if err == nil {
		err = dir.Check()
	}
	if err == nil {
		err = os.MkdirAll(string(dir), 0o700)
	}
	return string(dir), err
}

// embedded tells whether the store is a file of this host.
func (o *options) embedded() bool { return !strings.Contains(*o.store, "://") }

// file is the path that a setting gives, else that of a file of this name beside
// the SQLite file, or in $NEKO_HOME if there is none.
func (o *options) file(given, name string) (string, error) {
	if given != "" {
		return given, nil
	}
	if *o.store != "" && o.embedded() {
		return filepath.Join(filepath.Dir(*o.store), name), nil
	}
	dir, err := homeDir()
	if err != nil {
		return "", hinted{"cannot keep " + name + " in $NEKO_HOME: " + err.Error(), "set NEKO_HOME to a folder of your own"}
	}
	return filepath.Join(dir, name), nil
}
