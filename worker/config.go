package worker

import (
	"context"
	"log/slog"
	"os"
	"time"

	graphql "github.com/graph-gophers/graphql-go"
	"github.com/nekoctl/neko/breaker"
	"github.com/nekoctl/neko/cache"
	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/logtext"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"
)

// Config is what a worker serves and how. Schema and Resolver are required (of
// Run: at the latest when Prepare has returned), and the zero value of everything
// else is its default.
type Config struct {
	// Name and Version say in /health what answers.
	Name    string
	Version string

	// Schema is the SDL, and Resolver the root that graph-gophers/graphql-go
	// matches to it; struct fields count as resolvers.
	Schema   string
	Resolver any
	// SchemaOptions are applied after the worker's own, and override them.
	SchemaOptions []graphql.SchemaOpt

	// Prepare opens what the resolvers need, and may fill in the rest of the Config.
	// [Run] calls it when signals are heeded and the sockets are there, but nothing
	// is accepted yet. At the first signal its ctx ends: it then has to close what
	// it has opened, and Run returns nil.
	Prepare func(ctx context.Context, c *Config) error

	// Address is where to listen if no socket is inherited: "127.0.0.1:4000",
	// ":80", or the absolute path of a unix socket. Default: 127.0.0.1:4000, with
	// the port of $PORT if that is set.
	Address string

	// Checks say whether this process can serve. It becomes ready when all of
	// them pass for the first time, and /readyz runs them at each request.
	Checks []Check

	// Dependencies are what the worker calls and can be without for a while. What becomes of them
	// is in the log, in /readyz?verbose, /health and the metrics, and in what a
	// supervisor shows of the worker. None of them makes it unready.
	Dependencies []Dependency
	// OnBreaker is told of every change of their states, soon after, and of the changes of one
	// dependency in their order. It must return soon. Nil: nobody is told.
	OnBreaker func(breaker.Change)

	// NoGraphiQL leaves a browser that asks for /graphql without GraphiQL.
	NoGraphiQL bool

	// Context is called once for each execution and returns the context of its
	// resolvers, derived from ctx: the place for data loaders. Nil: ctx itself.
	Context func(ctx context.Context) context.Context

	// Identify finds out whose credentials these are, before each operation of a
	// request that has any. A *[Error] with [CodeUnauthenticated] says that they are
	// nobody's, and is answered with 401; any other error is logged, and answered with
	// 503. Its context ends after ExecutionTimeout. Nil: nobody is known, and
	// credentials count for nothing.
	Identify func(ctx context.Context, c Credentials) (Identity, error)
	// IdentifyKnown says what Identify would, if that is known without asking anybody and
	// without an allocation; else false, and Identify is called. It must not keep what it
	// is given, the values of the headers, and the Identity must not change. Nil: nothing
	// is known.
	IdentifyKnown func(authorization, apiKey []byte) (*Identity, bool)
	// DefaultRole is what a root field without @requires needs. Default: the weakest
	// role, which everybody has.
	DefaultRole string
	// Audit is told of every mutation before and after it runs, of every operation that
	// is refused for what its sender may, and of every mutation that a rate limit refuses. A mutation whose attempt it returns an
	// error for does not run, and is answered with [CodeUnavailable]. It must not keep
	// the event. Nil: nobody is told.
	Audit func(AuditEvent) error

	// Limiter keeps count of who has asked how much, and RateLimits say how much that may
	// be: all of them that apply to a request must let it pass, or it is answered with
	// 429 and [CodeRateLimited], and counts in none. Without a Limiter there are no
	// limits. Who made the Limiter closes it when [Run] has returned.
	Limiter    limiter.Limiter
	RateLimits []RateLimit
	// RateLimitFile is a YAML file of them, in the place of RateLimits: docs/graphql.md
	// has its form. It is looked at every half second, and what has changed is taken into
	// use; what cannot be used leaves the rules as they are, and the log says why.
	RateLimitFile string
	// FoldArgument makes one of the texts that mean the same in an argument that a rate
	// limit counts by: a name in any case, say. It must not be longer at work than it
	// takes to read its text. Nil: each text counts by itself.
	FoldArgument func(string) string

	// Cache keeps answers, for as long as @cacheControl in the schema says, and until a
	// mutation says by [Invalidate] that they are not true any more. Nil: nothing is kept,
	// here or by anybody. Who made it closes it when [Run] has returned. The resolvers of
	// what is not PRIVATE are run for nobody in particular: [CallerFrom] tells them a role
	// if the operation needs one, and no more.
	Cache *cache.Cache
	// CacheDefaultMaxAge is the maxAge of fields of Query, and of fields that return
	// objects, without one in the schema: Apollo's defaultMaxAge. Default: 0, so that what
	// has one of them is not kept.
	CacheDefaultMaxAge time.Duration
	// CacheMaxAge is the longest maxAge, and staleWhileRevalidate, that counts, whatever the
	// schema says. Default: a day.
	CacheMaxAge time.Duration
	// CacheStaleWhileRevalidate is for how long after its maxAge an answer is served while
	// it is made anew, where the schema does not say. Default: a tenth of maxAge; negative:
	// none. Whole seconds, as all of these.
	CacheStaleWhileRevalidate time.Duration
	// CacheStaleIfError is for how long after its maxAge an answer is served if it cannot
	// be made anew, with a warning. Default: 24 h; negative: none.
	CacheStaleIfError time.Duration
	// BrowserMaxAge, if it is not 0, is for how long browsers may use an answer, where a CDN in
	// front is told by Invalidated of what is not true any more: they cannot be. Cache-Control
	// says no more than that then, and CDN-Cache-Control (RFC 9213) what it would have said.
	BrowserMaxAge time.Duration
	// Invalidated, if it is not nil, is told which tags mutations have invalidated, when Cache
	// has been. The mutation is answered when it returns: it must not wait for anything.
	Invalidated func(tags []string)

	// ExecutionTimeout ends the context of an operation, and its answer is an
	// error then, whether its resolvers return or not. Default: 10 s.
	ExecutionTimeout time.Duration
	// MaxBody is the size of the largest request body, and a sixty-fourth of what all
	// that arrive at once may have in memory. Default: 1 MiB.
	MaxBody int
	// MaxFields bounds the answer: how many fields one operation may resolve, those
	// of each object in a list counted. Beyond it the answer is one error with
	// RESPONSE_TOO_LARGE. Default: 250,000.
	MaxFields int
	// FieldCosts are fields, by name, that count as several: those with long texts.
	// An answer takes about ten times its size in memory while it is made.
	FieldCosts map[string]int

	// What follows bounds GraphQL documents and operations before anything of them
	// is executed. A negative number is no limit.

	// MaxDocument is the length of a document, in bytes; none is parsed that is
	// longer. Default: 64 KiB.
	MaxDocument int
	// MaxTokens is how many tokens (names, braces, values, comments) a document may
	// have. Default: 10,000; Apollo Router has 15,000, GraphQL Armor 1,000.
	MaxTokens int
	// MaxDepth is how many levels of fields an operation may have, introspection
	// excluded. Default: 15; GraphQL Armor has 6, Apollo Router and Hot Chocolate have
	// none, and what people write has up to 10.
	MaxDepth int
	// MaxAliases is how many fields of an operation may have an alias, those of a
	// fragment counted wherever it is spread. Default: 100; GraphQL Armor has 15, Apollo
	// Router none (30 in its examples), which generated operations exceed.
	MaxAliases int
	// MaxSelections is how many fields and fragments a document may select, those of
	// a fragment counted wherever it is spread. Default: 20,000. Without a limit it is
	// a million.
	MaxSelections int
	// MaxCost is what an operation may cost, see [Plan.Cost]. Default: 50,000, which
	// a list of 100 objects with 100 each is below, and with 100 more in each of those
	// is not.
	MaxCost int
	// NoIntrospection refuses __schema and __type, and has errors suggest no names.
	NoIntrospection bool
	// MaxPlans and MaxPlanBytes bound the cache of operation plans, in number and
	// in bytes of memory, about. Defaults: 1,000 and 16 MiB.
	MaxPlans     int
	MaxPlanBytes int
	// MaxDocuments and MaxDocumentBytes bound what is kept of automatic persisted
	// queries, in number and in bytes: in a folder of $NEKO_RUN_DIR, for all workers
	// of the app, else in the memory of this one. Defaults: 1,000 and 16 MiB. If
	// MaxDocuments is negative, there are no automatic persisted queries.
	MaxDocuments     int
	MaxDocumentBytes int
	// TrustedDocuments is the file with the documents that clients may name by an id:
	// a JSON object of ids and texts, or Apollo's persisted query manifest. It is read
	// once, and New fails if one of them does not fit the schema.
	TrustedDocuments string
	// TrustedOnly refuses all other documents, and leaves no automatic persisted
	// queries. A text is one of them if it is the same to the byte.
	TrustedOnly bool
	// MaxBatch is how many requests a client may send as a list in one. What bounds
	// one operation bounds all of them together. Default: 0, none.
	MaxBatch int
	// MaxConnections is how many connections are open at most; another is
	// answered with 503. Default: 32,768.
	MaxConnections int
	// IdleTimeout is how long a keep-alive connection may be silent. It should be
	// longer than that of the proxies in front. Default: 75 s.
	IdleTimeout time.Duration
	// DrainTimeout bounds the drain as a whole. Default: $NEKO_DRAIN_TIMEOUT, which
	// is what the supervisor grants, else 8 s.
	DrainTimeout time.Duration

	// Handlers answer GET and HEAD of further paths, by path.
	Handlers map[string]fasthttp.RequestHandler

	// NoCSRFPrevention serves what pages of other sites can make a browser send: a GET
	// without a Content-Type, say. CSRFHeaders are the headers of which one shows that a
	// request is none of those. Default: x-apollo-operation-name and
	// apollo-require-preflight.
	NoCSRFPrevention bool
	CSRFHeaders      []string
	// CORSOrigins are those whose pages may read answers, like https://app.example.org,
	// or * for all; CORSHeaders are headers that they may send besides the usual; and
	// with CORSCredentials browsers send cookies and client certificates along.
	CORSOrigins     []string
	CORSHeaders     []string
	CORSCredentials bool
	// NoCompression sends all answers as they are.
	NoCompression bool
	// TrustedProxies are the addresses and networks of those whose X-Forwarded-For is
	// believed, and "unix" for who connects by a unix socket.
	TrustedProxies []string

	// Metrics are those that the program counts itself, besides [MetricFamilies]. One whose Read
	// panics, or takes too long, is told as it was the time before.
	Metrics []MetricFamily

	// AccessLog is the file for a line of JSON for each request, "-" for standard
	// output, "" for none. AccessLogSample is the part of the requests that get one, from
	// 0 to 1 (default: 1), and those that fail, are not allowed, or take AccessLogSlow
	// (default: 1 s), all do.
	AccessLog       string
	AccessLogSample float64
	AccessLogSlow   time.Duration

	// TLSCert and TLSKey are PEM files, with which the worker speaks TLS only. They are
	// loaded again when they change.
	TLSCert string
	TLSKey  string
	// HSTS is for how long browsers shall ask this host by TLS only: all of it, other
	// ports too. Default: it is not said.
	HSTS time.Duration

	// Tracer makes spans of a request's way, and has ended when [Run] has returned: docs/tracing.md
	// has them. It may have a method TraceStats() (exported, dropped uint64), for the metrics; and
	// Samples and WithTraceID as [github.com/nekoctl/neko/tracing/otlp.Provider] has them, with which
	// requests that are not recorded cost next to nothing. Nil: nothing is traced.
	Tracer trace.TracerProvider

	// Log receives what an operator should know: sentences, with facts as attributes (package
	// logtext writes both as a line for people). Prepare is given it with [LogHandler] around.
	// Default: plain lines on stderr.
	Log *slog.Logger
}

// Check is one thing that must be well for the worker to serve.
type Check struct {
	// Name is shown by /readyz?verbose and /health.
	Name string
	// Run returns nil or the reason. Its ctx ends after two seconds, and it may
	// be called from several goroutines at once.
	Run func(ctx context.Context) error
	// OnlyToStart is for what the worker can be without for a while: when the check has passed
	// once, its failure leaves the worker ready, and "degraded" in /health. Its ctx ends
	// after half a second then, as who probes seldom waits for longer than one.
	OnlyToStart bool
}

const (
	checkTimeout        = 2 * time.Second
	degradedTimeout     = 500 * time.Millisecond // of a check that may fail
	defaultDrainTimeout = 8 * time.Second
	readTimeout         = 30 * time.Second // of one request, and of the first byte of a connection
	writeTimeout        = 30 * time.Second
)

func (c Config) withDefaults() Config {
	set(&c.Name, "worker")
	set(&c.Version, "unknown")
	set(&c.CacheStaleIfError, 24*time.Hour)
	set(&c.ExecutionTimeout, 10*time.Second)
	set(&c.MaxBody, 1<<20)
	set(&c.MaxFields, 250_000)
	set(&c.MaxDocument, 64<<10)
	set(&c.MaxTokens, 10_000)
	set(&c.MaxDepth, 15)
	set(&c.MaxAliases, 100)
	set(&c.MaxSelections, 20_000)
	set(&c.MaxCost, 50_000)
	set(&c.MaxPlans, 1_000)
	set(&c.MaxPlanBytes, 16<<20)
	set(&c.MaxDocuments, 1_000)
	set(&c.MaxDocumentBytes, 16<<20)
	set(&c.MaxConnections, 32<<10)
	set(&c.IdleTimeout, 75*time.Second)
	set(&c.DrainTimeout, defaultDrainTimeout)
	set(&c.AccessLogSample, 1)
	set(&c.AccessLogSlow, time.Second)
	if c.Log == nil {
		c.Log = logtext.Logger(os.Stderr)
	}
	if h := c.Log.Handler(); !fromRequests(h) {
		c.Log = slog.New(requestHandler{h})
	}
	return c
}

// set gives *v its default.
func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
