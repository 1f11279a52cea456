package main

import (
	"fmt"

	"github.com/nekoctl/neko/api/store/mongo"
	"github.com/nekoctl/neko/api/store/sqlite"
)

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
