package api

import (
	"context"
	"fmt"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/nekoctl/neko/api/store"
)

// The bounds of `first`. The default is also in the SDL, where clients and the
// worker's cost model see it.
const (
	defaultFirst = 20
	maxFirst     = 100
)

// pageArgs are the arguments that every connection has.
type pageArgs struct {
	First optionalInt
	After *string
}

// window is the part of a list that a field asks for, and what it wants of it.
type window struct {
	first int
	after string
	total bool
}

// window checks the arguments and looks ahead: totals are counted only where
// they are selected, and objects are fetched only where something is selected
// that needs them.
func (a pageArgs) window(ctx context.Context) (window, error) {
	w := window{first: a.First.orElse(defaultFirst)}
	if w.first < 1 || w.first > maxFirst {
		return w, badInput("first", fmt.Sprintf("first is %d, but must be from 1 to %d", w.first, maxFirst))
	}
	if a.After != nil {
		w.after = *a.After
		if w.after == "" {
			return w, badInput("after", "after is empty: leave it out, or give the endCursor of a page")
		}
	}
	w.total = graphql.HasSelectedField(ctx, "totalCount")
	if !graphql.HasSelectedField(ctx, "nodes") && !graphql.HasSelectedField(ctx, "edges") && !graphql.HasSelectedField(ctx, "pageInfo") {
		w.first = 0
	}
	return w, nil
}

func (w window) query(o store.Order) store.Query {
	return store.Query{First: w.first, After: w.after, OrderBy: o, WantTotal: w.total}
}
