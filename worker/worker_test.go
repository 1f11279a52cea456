package worker

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	graphql "github.com/graph-gophers/graphql-go"
	"github.com/nekoctl/neko/logtext"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("WORKER_TEST_PROCESS") != "" {
		runAsWorker() // see run_test.go
		return
	}
	goleak.VerifyTestMain(m,
		// fasthttp's clock, one for the process, and the cleaner of a server's pool,
		// which sleeps for ten seconds before it sees that the server is gone.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// Those that compress, as many as there are processors.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp/stackless.funcWorker"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

// testSchema has one of each thing that gqlparser and graph-gophers may read
// differently.
const testSchema = `
schema { query: Query mutation: Mutation subscription: Subscription }
"What is asked."
type Query {
	hello: String!
	"An answer that comes when the test says so."
	wait: Boolean!
	fail(how: Failure!): Int
	must(how: Failure!): Int!
	echo(
		int: Int = 7, required: Int! = 8, float: Float, string: String = "none", boolean: Boolean, id: ID,
		enum: Color = RED, list: [Int!], matrix: [[Int]], input: Input, any: Any, oneOf: OneOf
	): String!
	node(id: ID!): Node
	nodes: [Node!]!
	search: [Hit!]!
}
type Mutation { touch(name: String!): String! }
type Subscription { ticks: Int! }
"Node has an identity."
interface Node { id: ID! }
type Actor implements Node { id: ID! name: String! friends(first: Int! = 2): [Actor!]! }
type Tool implements Node { id: ID! kind: Color! }
union Hit = Actor | Tool
enum Color { RED GREEN }
enum Failure { PLAIN CODED PANIC SLOW DEADLINE }
input Input { a: Int! = 5 b: String c: Input d: [Input!] e: Color = GREEN id: ID }
input OneOf @oneOf { x: Int y: String }
scalar Any
`

type testRoot struct {
	waiting, release chan struct{}
	touched          chan string
}

func newTestRoot() *testRoot {
	return &testRoot{waiting: make(chan struct{}, 100), release: make(chan struct{}), touched: make(chan string, 100)}
}

func (*testRoot) Hello() string { return "world" }

// Wait does not heed its context.
func (r *testRoot) Wait(context.Context) bool {
	r.waiting <- struct{}{}
	<-r.release
	return true
}

func (r *testRoot) Touch(args struct{ Name string }) string {
	select {
	case r.touched <- args.Name:
	default: // enough of them
	}
	return args.Name
}

func (*testRoot) Ticks(context.Context) <-chan int32 { return nil }

func (*testRoot) Fail(ctx context.Context, args struct{ How string }) (*int32, error) {
	switch args.How {
	case "CODED":
		return nil, NewError("TEAPOT", "short and stout")
	case "PANIC":
		panic("the secret of the resolver")
	case "SLOW":
		<-ctx.Done()
		return nil, ctx.Err()
	case "DEADLINE":
		return nil, context.DeadlineExceeded
	}
	return nil, errors.New("password=hunter2")
}

func (r *testRoot) Must(ctx context.Context, args struct{ How string }) (int32, error) {
	_, err := r.Fail(ctx, args)
	return 0, err
}

func newTestWorker(t testing.TB, c Config) *Worker {
	t.Helper()
	set(&c.Schema, testSchema)
	if c.Resolver == nil {
		c.Resolver = newTestRoot()
	}
	if c.Log == nil {
		c.Log = logtext.Logger(t.Output())
	}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// startWorker serves until the test ends.
func startWorker(t testing.TB, c Config) (*Worker, string) {
	t.Helper()
	w := newTestWorker(t, c)
	return w, w.serveTest(t)
}

// serveTest serves at the address that it returns, until the test ends.
func (w *Worker) serveTest(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- w.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = w.Drain(ctx)
		if err := <-served; err != nil {
			t.Error("Serve:", err)
		}
	})
	return l.Addr().String()
}

// waitUntil lets others run until cond holds.
func waitUntil(t testing.TB, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 20 s")
		}
	}
}

type testNode struct{ actor *testActor }

func (n testNode) ID() graphql.ID              { return n.actor.ID }
func (n testNode) ToActor() (*testActor, bool) { return n.actor, true }
func (n testNode) ToTool() (*testTool, bool)   { return nil, false }

type testActor struct {
	ID   graphql.ID
	Name string
}

func (a *testActor) Friends(args struct{ First int32 }) (friends []*testActor) {
	for range args.First {
		friends = append(friends, a)
	}
	return friends
}

type testTool struct {
	ID   graphql.ID
	Kind string
}

func (*testRoot) Node(args struct{ ID graphql.ID }) *testNode {
	return &testNode{&testActor{args.ID, "actor " + string(args.ID)}}
}

func (r *testRoot) Nodes() []testNode {
	return []testNode{*r.Node(struct{ ID graphql.ID }{"1"}), *r.Node(struct{ ID graphql.ID }{"2"})}
}

func (r *testRoot) Search() []testNode { return r.Nodes() }
