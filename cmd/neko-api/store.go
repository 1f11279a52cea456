package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo"
	"github.com/nekoctl/neko/api/store/sqlite"
	"github.com/nekoctl/neko/supervisor/home"
)

// database is a store with the users and keys beside its content, and what has changed it.
type database interface {
	store.Store
	store.Accounts
	store.Changelog
}

// openStore opens the store that the settings name, and makes it if it is not
// there.
func openStore(ctx context.Context, o *options) (database, error) {
	name, err := storeName(o)
	if err != nil {
		return nil, err
	}
	if mongo.Is(name) {
		st, err := mongo.Open(ctx, name, mongoOptions())
		if err != nil {
			return nil, err // and not a nil *mongo.Store
		}
		return st, nil
	}
	st, err := sqlite.Open(ctx, name, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	return st, nil
}

// migrate brings the store to the schema of this program.
func migrate(o *options, _ []string, s streams) error {
	ctx, stop := untilSignal()
	defer stop()
	name, err := storeName(o)
	if err != nil {
		return err
	}
	if mongo.Is(name) {
		return mongo.Migrate(ctx, name, mongoOptions(), s.out, o.dryRun)
	}
	if o.dryRun {
		fmt.Fprintf(s.out, "%s: a SQLite file is made or migrated whenever it is opened; nothing was done\n", name)
		return nil
	}
	st, err := sqlite.Open(ctx, name, sqlite.Options{})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s: has the schema of this version, as any SQLite file that was opened\n", name)
	return st.Close()
}

func mongoOptions() mongo.Options {
	n, _ := strconv.Atoi(os.Getenv("NEKO_INSTANCES")) // alone if it is not set
	return mongo.Options{Workers: n}
}

// storeName is the URL of a MongoDB, or the path of a SQLite file. Messages about a
// URL must not have it in them.
func storeName(o *options) (string, error) {
	name := *o.store
	if *o.storeFile != "" {
		if name != "" {
			return "", usageError{"both --store and --store-file are given", "give one of them"}
		}
		b, err := readSmall(*o.storeFile)
		if err != nil {
			return "", usageError{fmt.Sprintf("cannot read the name of the store from %s: %v", *o.storeFile, err), "it is to have one line, as --store would be given"}
		}
		name = b
	}
	if scheme, _, ok := strings.Cut(name, "://"); ok && !mongo.Is(name) {
		if len(scheme) > 20 {
			scheme = scheme[:20]
		}
		return "", usageError{fmt.Sprintf("no store for %s://", scheme), "give the path of a SQLite file, or mongodb://HOST/DATABASE"}
	}
	if name != "" {
		return name, nil
	}
	dir, err := homeDir()
	if err != nil {
		return "", &store.OpenError{Where: "in $NEKO_HOME", Err: err, Advice: "set NEKO_HOME to a folder of your own, or name the file: --store FILE"}
	}
	return filepath.Join(dir, "api.db"), nil
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

// companion is the path that a setting gives, else that of a file of this name
// beside the SQLite file, or in $NEKO_HOME if the store is none.
func companion(o *options, given, name string) (string, error) {
	if given != "" {
		return given, nil
	}
	st, err := storeName(o)
	if err != nil {
		return "", err
	}
	if !mongo.Is(st) {
		return filepath.Join(filepath.Dir(st), name), nil
	}
	dir, err := homeDir()
	if err != nil {
		return "", hinted{"cannot keep " + name + " in $NEKO_HOME: " + err.Error(), "set NEKO_HOME to a folder of your own"}
	}
	return filepath.Join(dir, name), nil
}

// readSmall reads the one line of a file.
func readSmall(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 8<<10))
	if err != nil {
		return "", err
	}
	line := strings.TrimSpace(string(b))
	if line == "" || strings.ContainsAny(line, "\r\n") {
		return "", errors.New("it has not one line")
	}
	return line, nil
}
