// Package worker is the runtime that a neko worker is made of: bring a GraphQL
// schema and its resolvers, and [Run] is a whole server that keeps the worker
// contract.
//
//	func main() {
//		err := worker.Run(context.Background(), worker.Config{
//			Name:     "hello",
//			Schema:   `type Query { hello: String! }`,
//			Resolver: &root{},
//		})
//		if err != nil {
//			fmt.Fprintln(os.Stderr, "error:", err)
//			os.Exit(1)
//		}
//	}
//
// Under a supervisor it serves on the sockets that it inherits, says READY=1
// when its checks pass and drains on SIGTERM without losing a request; alone it
// listens by itself. The contract's reference is docs/worker-contract.md.
//
// A request goes one way, and each step is a file:
//
//	fasthttp → request.go (decode) → plan.go (parse, bound, validate: once per document)
//	         → identity.go (who asks) → roles.go (whether they may)
//	         → variables.go (coerce) → execute.go → resolvers → introspect.go → response.go
//
// Around it stand, for every path: a request's id and its client's address, CSRF
// prevention and CORS, security headers, compression, and the access log
// (envelope.go), and TLS (tls.go).
//
// A browser that is sent to /graphql without a query is given GraphiQL instead
// (browser.go), unless [Config].NoGraphiQL is set.
//
// What holds throughout:
//
//   - The client's text is parsed once, by gqlparser. graph-gophers executes
//     what is printed back from that tree, never the text itself.
//   - Neither a fasthttp.RequestCtx nor a byte of its buffers reaches a resolver.
//     A resolver may outlive its request.
//   - A panic in a resolver costs its request, not the process.
package worker
