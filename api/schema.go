// Package api is the Neko Defense API: the GraphQL schema of threat
// intelligence (schema.graphql, which comes first) and its resolvers on a
// [store.Store].
//
// What holds throughout:
//
//   - The number of store queries of an operation depends on its shape, never on
//     how many objects its lists have: see siblings.go.
//   - A field that costs nothing to answer is a struct field or a plain method.
//     graph-gophers runs one goroutine for each field whose method takes a
//     context or arguments or returns an error, so only relations do.
//   - Every error that a client sees has an extensions.code, and none tells what
//     the store said: see errors.go.
package api

import (
	_ "embed"

	graphql "github.com/graph-gophers/graphql-go"
)

// Schema is the SDL. Both gqlparser and graph-gophers accept it.
//
//go:embed schema.graphql
var Schema string

// parallelism is how many elements of one list graph-gophers resolves at once,
// and fields of one operation. What siblings fetch does not depend on it, and
// every further one multiplies the goroutines and buffers that lists in lists
// take: 2 GB at 100, for what takes a tenth of that at 4.
const parallelism = 4

// FieldCosts are for the worker's bound on one answer: descriptions have about a
// kilobyte, everything else a few words.
var FieldCosts = map[string]int{"description": 10}

// SchemaOptions are the options without which graph-gophers does not match
// [Schema] to a [Resolver] (struct fields that resolve) or answers otherwise
// than documented (descriptions, panics). Do not add DisableFieldSelections:
// the resolvers look ahead to count only what is asked for.
func SchemaOptions() []graphql.SchemaOpt {
	return []graphql.SchemaOpt{
		graphql.UseFieldResolvers(),
		graphql.UseStringDescriptions(),
		graphql.PanicHandler(panicHandler{}),
		graphql.MaxParallelism(parallelism),
	}
}
