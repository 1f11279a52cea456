package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/valyala/fasthttp"

	"github.com/nekoctl/neko/api"
	"github.com/nekoctl/neko/api/audit"
	"github.com/nekoctl/neko/api/auth"
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
	if err := o.breakers.check(); err != nil {
		return err
	}
	if c, err := o.cdn.open(); err != nil {
		return err
	} else if c != nil && o.answers.off() {
		return usageError{"--cloudflare-zone needs a cache, and --cache is off", "no CDN keeps anything then: leave one of them out"}
	}
	logger, err := o.logging.logger(os.Stderr)
	if err != nil {
		return err
	}
	traces, err := openTraces(*o.traces, logger)
	if err != nil {
		return err
	}
	defer endTraces(traces)
	var st database
	var who *auth.Service
	var record *audit.Log
	var counts counter
	var guards guards
	var answers answerCache
	config := worker.Config{
		Name:    "neko-api",
		Version: programVersion(),
		Prepare: func(ctx context.Context, c *worker.Config) (err error) {
			if err = wantSecret(o); err != nil {
				return err
			}
			memory, err := hostMemory(c.Log)
			if err != nil {
				return fmt.Errorf("cannot have memory to share: %w", err)
			}
			if counts, err = o.rateLimits.connect(ctx, c.Log); err != nil {
				return err
			}
			if st, err = open(ctx, o, c.Log); err != nil {
				return errors.Join(err, counts.close())
			}
			if guards, err = o.breakers.open(memory, st, c.Log); err != nil {
				return errors.Join(err, counts.close(), st.Close())
			}
			if who, err = identify(ctx, o, guards.store, c.Log); err == nil {
				record, err = openAudit(o, os.Stdout)
			}
			if err == nil && *o.rateLimits.file != off {
				err = counts.open(memory, c.Log)
			}
			if err == nil && !o.answers.off() {
				answers, err = o.openAnswers(ctx, st, memory, &guards, c.Log)
			}
			if err != nil {
				return errors.Join(err, answers.close(), counts.close(), st.Close())
			}
			c.Resolver = api.NewResolver(guards.store).WithAuth(who)
			c.Identify, c.IdentifyKnown = who.Identify, who.IdentifyKnown
			c.Handlers = map[string]fasthttp.RequestHandler{"/.well-known/jwks.json": who.ServeJWKS}
			if record != nil {
				c.Audit = record.Event
			}
			c.Limiter = counts.Limiter
			c.Cache, c.Metrics = answers.Cache, answers.metrics
			c.Invalidated = answers.tell.told()
			c.Dependencies = guards.dependencies(counts)
			c.Checks = []worker.Check{{Name: "store", Run: guards.store.Ping, OnlyToStart: *o.breakers.readyWithoutStore}}
			return nil
		},
		Context:          api.OperationContext,
		DefaultRole:      defaultRole(o),
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
		Log:              logger,
	}
	if traces != nil {
		config.Tracer = traces
	}
	if err := o.limits.apply(&config); err != nil {
		return err
	}
	if err := o.rateLimits.apply(&config); err != nil {
		return err
	}
	o.answers.apply(&config)
	o.cdn.apply(&config)
	err = worker.Run(context.Background(), config)
	if err != nil || st == nil { // requests may still use it
		return err
	}
	err = errors.Join(answers.close(), counts.close())
	guards.close()
	if who != nil {
		who.Close()
	}
	if record != nil {
		err = errors.Join(err, record.Close())
	}
	return errors.Join(err, st.Close())
}

// defaultRole is what a root field needs that says nothing.
func defaultRole(o *options) string {
	if *o.anonymousReads {
		return auth.RoleAnyone
	}
	return auth.RoleViewer
}

// identify makes what knows who sends a request.
func identify(ctx context.Context, o *options, accounts store.Accounts, logger *slog.Logger) (*auth.Service, error) {
	secret, err := secret(o)
	if err != nil {
		return nil, err
	}
	return auth.New(ctx, accounts, auth.Options{
		Secret:      secret,
		Issuer:      *o.issuer,
		Audience:    *o.audience,
		TokenTTL:    *o.tokenTTL,
		SessionIdle: *o.sessionIdle,
		SessionMax:  *o.sessionMax,
		KeyAge:      *o.signingKeyAge,
		Log:         logger,
	})
}

// open opens the store, and loads the sample data if it is empty.
func open(ctx context.Context, o *options, logger *slog.Logger) (database, error) {
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
		logger.Info("the store was empty: loaded the sample data (neko-api import FILE loads yours)")
	}
	return st, nil
}
