// Command bare is the smallest whole worker: one field, no store. The crash
// recovery benchmark measures it, and it is where to begin a worker of your own.
//
//	go run ./examples/bare &
//	curl 127.0.0.1:4000/graphql -H 'Content-Type: application/json' -d '{"query": "{hello}"}'
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/nekoctl/neko/worker"
)

const schema = `
type Query {
	"A greeting from this process."
	hello(name: String! = "world"): String!
}`

type root struct{}

func (root) Hello(args struct{ Name string }) string {
	return fmt.Sprintf("hello, %s, from %d", args.Name, os.Getpid())
}

func main() {
	err := worker.Run(context.Background(), worker.Config{
		Name:     "bare",
		Schema:   schema,
		Resolver: &root{},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
