package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nekoctl/neko/tracing/otlp"
	"github.com/nekoctl/neko/worker/settings"
)

// options is all that neko-api can be told.
type options struct {
	*settings.Set
	listen           *string
	store            *string
	storeFile        *string
	loadSample       *bool
	executionTimeout *time.Duration
	idleTimeout      *time.Duration
	maxBody          *int
	maxFields        *int
	maxConnections   *int
	limits           limits
	rateLimits       rateLimits
	answers          answers
	cdn              cdn
	breakers         breakers
	csrfPrevention   *bool
	csrfHeaders      *[]string
	corsOrigins      *[]string
	corsHeaders      *[]string
	corsCredentials  *bool
	compress         *bool
	trustedProxies   *[]string
	logging          logging
	traces           *string
	accessLog        *string
	accessLogSample  *float64
	accessLogSlow    *time.Duration
	tlsCert          *string
	tlsKey           *string
	hsts             *time.Duration

	persistedQueries     *bool
	maxPersistedQueries  *int
	maxPersistedSize     *int
	trustedDocuments     *string
	trustedDocumentsMode *string
	maxBatch             *int

	anonymousReads *bool
	secretFile     *string
	auditLog       *string
	tokenTTL       *time.Duration
	sessionIdle    *time.Duration
	sessionMax     *time.Duration
	signingKeyAge  *time.Duration
	issuer         *string
	audience       *string

	// Options of single commands.
	role          string
	scopes        []string
	expires       time.Duration
	owner         string
	passwordStdin bool
	json          bool
	now           bool
	dryRun        bool
	quiet         bool
	all           bool
	keepAccounts  bool
	revokeKeys    bool
	noCopy        bool
}

func newOptions() *options {
	s := settings.New("NEKO_API")
	o := &options{
		Set:              s,
		listen:           s.String("listen", "127.0.0.1:4000", "ADDR", "where to listen, if no socket is inherited: an address, or the path of a unix socket"),
		store:            s.String("store", "", "STORE", "the SQLite file, or mongodb://HOST/DATABASE; if not given, api.db in $NEKO_HOME (~/.neko)"),
		storeFile:        s.String("store-file", "", "FILE", "a file that has what --store would have: for a URL with a password, which nobody is to see in a list of processes"),
		loadSample:       s.Bool("load-sample", true, "do not load the sample data that comes with neko-api if the store is empty"),
		executionTimeout: s.Duration("execution-timeout", 10*time.Second, "how long one operation may take"),
		idleTimeout:      s.Duration("idle-timeout", 75*time.Second, "how long a keep-alive connection may be silent; longer than the proxy in front waits"),
		maxBody:          s.Size("max-body", 1<<20, "the largest request body"),
		maxFields:        s.Int("max-fields", 250_000, "how many fields one answer may have, those of every object counted, and a description as ten; 250,000 take up to 300 MiB while they are put together"),
		maxConnections:   s.Int("max-connections", 32<<10, "how many connections one worker has open at most"),
		limits:           newLimits(s),
		rateLimits:       newRateLimits(s),
		answers:          newAnswers(s),
		cdn:              newCDN(s),
		breakers:         newBreakers(s),
		csrfPrevention:   s.Bool("csrf-prevention", true, "serve what pages of other sites can make a browser send: GETs without a header of --csrf-headers"),
		csrfHeaders:      s.List("csrf-headers", "NAME,...", "the headers of which a GET without a Content-Type needs one; if not given, x-apollo-operation-name and apollo-require-preflight"),
		corsOrigins:      s.List("cors-origins", "URL,...", "the origins whose pages may read answers, like https://app.example.org, or * for all; if not given, none"),
		corsHeaders:      s.List("cors-headers", "NAME,...", "headers that those pages may send besides the usual ones"),
		corsCredentials:  s.Bool("cors-credentials", false, "let browsers send cookies and client certificates along"),
		compress:         s.Bool("compress", true, "send all answers as they are, and not by zstd, br or gzip"),
		trustedProxies:   s.List("trusted-proxies", "CIDR,...", "the proxies whose X-Forwarded-For is believed: addresses and networks, and unix for who connects by a unix socket; if not given, none"),
		logging:          newLogging(s),
		traces:           s.String("traces", otlp.Auto, "auto|off|URL", "where spans of requests go, as OTLP over HTTP: a URL like http://localhost:4318/v1/traces; auto: where the environment says, by OTEL_EXPORTER_OTLP_ENDPOINT and the other variables of OpenTelemetry, and nowhere if it says nothing"),
		accessLog:        s.String("access-log", "off", "FILE", "where a line of JSON for each request goes: a file, - for standard output, or off"),
		accessLogSample:  s.Fraction("access-log-sample", 1, "the part of the requests that get a line; those that fail, are not allowed or are slow all do"),
		accessLogSlow:    s.Duration("access-log-slow", time.Second, "from which time on a request is slow"),
		tlsCert:          s.String("tls-cert", "", "FILE", "a certificate and those between it and the root, in PEM: serve TLS only; loaded again when it changes"),
		tlsKey:           s.String("tls-key", "", "FILE", "its key, in PEM"),
		hsts:             s.Duration("hsts", 0, "for how long browsers shall ask this host by TLS only, on all its ports, like 8760h; only with --tls-cert"),

		persistedQueries:     s.Bool("persisted-queries", true, "let clients name a document by its hash when they have sent it once (automatic persisted queries)"),
		maxPersistedQueries:  s.Int("max-persisted-queries", 1_000, "how many such documents are kept, for all workers together"),
		maxPersistedSize:     s.Size("max-persisted-size", 16<<20, "how large they may be together"),
		trustedDocuments:     s.String("trusted-documents", "", "FILE", "documents that clients may name by an id: a JSON object of ids and documents, or Apollo's persisted query manifest"),
		trustedDocumentsMode: s.String("trusted-documents-mode", "allow", "MODE", "allow: other documents are served, too; only: nothing else is"),
		maxBatch:             s.Int("max-batch", 0, "how many requests one may have in it, as a list; 0 is no lists"),

		anonymousReads: s.Bool("anonymous-reads", true, "reads need credentials, as changes always do"),
		secretFile:     s.String("auth-secret-file", "", "FILE", "a secret of 32 bytes or more that all hosts of one store share; if not given, auth.secret beside the SQLite file, which is made at the first start"),
		auditLog:       s.String("audit-log", "", "FILE|-|off", "who has changed what, and who was refused, in lines of JSON; - is standard output; if not given, audit.log beside the SQLite file, or in $NEKO_HOME"),
		tokenTTL:       s.Duration("token-ttl", 10*time.Minute, "how long an access token is good, 24h at most"),
		sessionIdle:    s.Duration("session-idle", 30*24*time.Hour, "how long a session lasts without being refreshed"),
		sessionMax:     s.Duration("session-max", 90*24*time.Hour, "how long a session lasts at all"),
		signingKeyAge:  s.Duration("signing-key-age", 30*24*time.Hour, "how long one key signs tokens"),
		issuer:         s.String("auth-issuer", "neko-api", "NAME", "iss of the tokens"),
		audience:       s.String("auth-audience", "neko-api", "NAME", "aud of the tokens"),
	}
	text := func(v *string) func(string) error { return func(s string) error { *v = s; return nil } }
	flag := func(v *bool) func(string) error {
		return func(s string) error {
			if *v = s == "true"; s != "true" {
				return settings.BadValue(fmt.Sprintf("%q is no value for it", s), "give the flag alone, or leave it out")
			}
			return nil
		}
	}
	s.Option("role", "ROLE", text(&o.role))
	s.Option("scope", "FIELD", func(s string) error { o.scopes = append(o.scopes, s); return nil })
	s.Option("expires", "TIME", func(s string) (err error) { o.expires, err = parseSpan(s); return err })
	s.Option("owner", "USER", text(&o.owner))
	s.Option("password-stdin", "", flag(&o.passwordStdin))
	s.Option("json", "", flag(&o.json))
	s.Option("now", "", flag(&o.now))
	s.Option("dry-run", "", flag(&o.dryRun))
	s.Option("quiet", "", flag(&o.quiet))
	s.Option("all", "", flag(&o.all))
	s.Option("keep-accounts", "", flag(&o.keepAccounts))
	s.Option("revoke-keys", "", flag(&o.revokeKeys))
	s.Option("no-copy", "", flag(&o.noCopy))
	s.Alias("listen", "PORT", func(port string) (string, error) {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", settings.BadValue(fmt.Sprintf("%q is no port", port), "write a number from 1 to 65535")
		}
		return "127.0.0.1:" + port, nil
	})
	return o
}
