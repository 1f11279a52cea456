package worker

import (
	"bytes"

	"github.com/nekoctl/neko/worker/graphiql"
	"github.com/valyala/fasthttp"
)

const graphiqlAssets = graphqlPath + "/assets/"

// serveBrowser answers what a person's browser asks for, and returns whether it
// was that: GraphiQL, where a program would have been told that it sent no query.
func (w *Worker) serveBrowser(ctx *fasthttp.RequestCtx) bool {
	if w.config.NoGraphiQL || !ctx.IsGet() && !ctx.IsHead() {
		return false
	}
	if name, ok := bytes.CutPrefix(ctx.Path(), []byte(graphiqlAssets)); ok {
		return graphiql.ServeAsset(ctx, string(name))
	}
	if string(ctx.Path()) != graphqlPath || asksByURL(ctx.QueryArgs()) {
		return false
	}
	if !prefersHTML(string(accept(ctx))) {
		return false
	}
	graphiql.ServePage(ctx)
	return true
}

// asksByURL says whether a GET is a GraphQL request, a bad one perhaps.
func asksByURL(args *fasthttp.Args) bool {
	for _, name := range []string{"query", "documentId", "operationName", "variables", "extensions"} {
		if args.Has(name) {
			return true
		}
	}
	return false
}

// prefersHTML says whether an Accept header ranks HTML above both media types of
// GraphQL: by weight, or, in the same weight, as what is named and not only meant
// along with others. So does what browsers send for a page, and "*/*" does not.
func prefersHTML(accept string) bool {
	html := rankIn(accept, "text/html")
	return html.weight > 0 &&
		html.above(rankIn(accept, "application/json")) &&
		html.above(rankIn(accept, "application/graphql-response+json"))
}
