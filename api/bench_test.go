package api

import (
	"strings"
	"testing"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/store"
)

// BenchmarkSample asks the sample data; BenchmarkAttack the real bundles, if
// they are there.
func BenchmarkSample(b *testing.B) { benchmark(b, newSample(b), "G9001") }

func BenchmarkAttack(b *testing.B) {
	c, _ := attackClient(b)
	benchmark(b, c, "G0034")
}

func benchmark(b *testing.B, c client, actor string) {
	for _, q := range []struct{ name, query string }{
		{"the issue's", strings.Replace(theQuery, "G0034", actor, 1)},
		{"lookup", `{ threatActor(id: "` + actor + `") { attackId name aliases } }`},
		{"20 techniques by 8 fields", `{ techniques { nodes { id attackId name description created modified isSubtechnique platforms } } }`},
		{"16 actors to mitigations", `{ threatActors(first: 16) { nodes { name techniques(first: 5) { nodes { name mitigations(first: 5) { nodes { name } } } } } } }`},
	} {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			var counter store.Counter
			ctx := store.WithCounter(b.Context(), &counter)
			for b.Loop() {
				if res := c.schema.Exec(ctx, q.query, "", nil); res.Errors != nil {
					b.Fatal(res.Errors)
				}
			}
			b.ReportMetric(float64(counter.Queries())/float64(b.N), "queries/op")
		})
	}
}

// BenchmarkWithoutStore is what the resolvers and graph-gophers cost.
func BenchmarkWithoutStore(b *testing.B) {
	schema := graphql.MustParseSchema(Schema, NewResolver(&fakeStore{}), SchemaOptions()...)
	for _, q := range []struct{ name, query string }{
		{"the issue's", theQuery},
		{"20 techniques by 8 fields", `{ techniques { nodes { id attackId name description created modified isSubtechnique platforms } } }`},
	} {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if res := schema.Exec(b.Context(), q.query, "", nil); res.Errors != nil {
					b.Fatal(res.Errors)
				}
			}
		})
	}
}
