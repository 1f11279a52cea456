package worker

import (
	"bytes"
	"strconv"
	"strings"

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
	accept := bytes.Join(ctx.Request.Header.PeekAll(fasthttp.HeaderAccept), []byte(","))
	if !prefersHTML(string(accept)) {
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

// rank is the weight that an Accept header gives to a media type, and how exactly
// it names that: 0 as */*, 1 as type/*, 2 by its name.
type rank struct {
	weight float64
	exact  int
}

func (r rank) above(other rank) bool {
	return r.weight > other.weight || r.weight == other.weight && r.exact > other.exact
}

// rankIn finds what names media most exactly, which is what counts (RFC 9110, 12.5.1).
func rankIn(accept, media string) (best rank) {
	best.exact = -1
	group, _, _ := strings.Cut(media, "/")
	for r := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(r, ";")
		exact := -1
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case media:
			exact = 2
		case group + "/*":
			exact = 1
		case "*/*":
			exact = 0
		}
		if exact <= best.exact {
			continue
		}
		best = rank{1, exact}
		for p := range strings.SplitSeq(params, ";") {
			if name, value, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(name, "q") {
				best.weight, _ = strconv.ParseFloat(value, 64) // 0 if it is none
			}
		}
	}
	return best
}
