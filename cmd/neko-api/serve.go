package main

import (
	"context"
	"log"
	"os"

	"github.com/nekoctl/neko/api"
	"github.com/nekoctl/neko/api/sample"
	"github.com/nekoctl/neko/worker"
)

// serve runs the API until it is told to stop. A store that cannot be opened
// ends it before it says that it is ready.
func serve(o *options) error {
	ctx := context.Background()
	st, err := openStore(ctx, o)
	if err != nil {
		return err
	}
	defer st.Close()
	logger := log.New(os.Stderr, "", 0)
	if *o.loadSample {
		loaded, err := sample.Load(ctx, st)
		if err != nil {
			return err
		}
		if loaded {
			logger.Print("the store was empty: loaded the sample data (neko-api import FILE loads yours)")
		}
	}
	return worker.Run(ctx, worker.Config{
		Name:             "neko-api",
		Version:          programVersion(),
		Schema:           api.Schema,
		Resolver:         api.NewResolver(st),
		SchemaOptions:    api.SchemaOptions(),
		FieldCosts:       api.FieldCosts,
		MaxFields:        *o.maxFields,
		Address:          *o.listen,
		Checks:           []worker.Check{{Name: "store", Run: st.Ping}},
		ExecutionTimeout: *o.executionTimeout,
		IdleTimeout:      *o.idleTimeout,
		MaxBody:          *o.maxBody,
		MaxConnections:   *o.maxConnections,
		Log:              logger,
	})
}
