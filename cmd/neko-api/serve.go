package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/nekoctl/neko/api"
	"github.com/nekoctl/neko/api/sample"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/worker"
)

// serve runs the API until it is told to stop. A store that cannot be opened
// ends it before it says that it is ready.
func serve(o *options) error {
	switch mode := *o.trustedDocumentsMode; {
	case mode != "allow" && mode != "only":
		return usageError{fmt.Sprintf("--trusted-documents-mode: %q is no mode", mode), "write allow or only"}
	case mode == "only" && *o.trustedDocuments == "":
		return usageError{"--trusted-documents-mode only needs a list of documents", "name its file: --trusted-documents FILE"}
	}
	maxDocuments := *o.maxPersistedQueries
	if !*o.persistedQueries {
		maxDocuments = -1
	}
	var st store.Store
	config := worker.Config{
		Name:    "neko-api",
		Version: programVersion(),
		Prepare: func(ctx context.Context, c *worker.Config) (err error) {
			if st, err = open(ctx, o, c.Log); err != nil {
				return err
			}
			c.Resolver = api.NewResolver(st)
			c.Checks = []worker.Check{{Name: "store", Run: st.Ping}}
			return nil
		},
		Schema:           api.Schema,
		SchemaOptions:    api.SchemaOptions(),
		FieldCosts:       api.FieldCosts,
		MaxFields:        *o.maxFields,
		Address:          *o.listen,
		ExecutionTimeout: *o.executionTimeout,
		IdleTimeout:      *o.idleTimeout,
		MaxBody:          *o.maxBody,
		MaxConnections:   *o.maxConnections,
		NoCSRFPrevention: !*o.csrfPrevention,
		CSRFHeaders:      *o.csrfHeaders,
		CORSOrigins:      *o.corsOrigins,
		CORSHeaders:      *o.corsHeaders,
		CORSCredentials:  *o.corsCredentials,
		NoCompression:    !*o.compress,
		TrustedProxies:   *o.trustedProxies,
		AccessLog:        *o.accessLog,
		AccessLogSample:  *o.accessLogSample,
		AccessLogSlow:    *o.accessLogSlow,
		TLSCert:          *o.tlsCert,
		TLSKey:           *o.tlsKey,
		HSTS:             *o.hsts,
		MaxDocuments:     maxDocuments,
		MaxDocumentBytes: *o.maxPersistedSize,
		TrustedDocuments: *o.trustedDocuments,
		TrustedOnly:      *o.trustedDocumentsMode == "only",
		MaxBatch:         *o.maxBatch,
		Log:              log.New(os.Stderr, "", 0),
	}
	if err := o.limits.apply(&config); err != nil {
		return err
	}
	err := worker.Run(context.Background(), config)
	if err == nil && st != nil { // else resolvers may still use it
		err = st.Close()
	}
	return err
}

// open opens the store, and loads the sample data if it is empty.
func open(ctx context.Context, o *options, logger *log.Logger) (store.Store, error) {
	st, err := openStore(ctx, o)
	if err != nil || !*o.loadSample {
		return st, err
	}
	loaded, err := sample.Load(ctx, st)
	if err != nil {
		st.Close()
		return nil, err
	}
	if loaded {
		logger.Print("the store was empty: loaded the sample data (neko-api import FILE loads yours)")
	}
	return st, nil
}
