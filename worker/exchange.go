package worker

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/valyala/fasthttp"
	"github.com/vektah/gqlparser/v2/ast"
)

// exchange is one HTTP request to /graphql on its way.
type exchange struct {
	query string
	plan  *Plan // nil if there is none
}

type exchangeKey struct{}

// outcome is what may be said in public of one GraphQL request: no text, no
// variables.
type outcome struct {
	Kind      ast.Operation // "" if it was not planned
	Name      string        // "" if the operation has none
	Document  string        // the first 16 hex digits of the document's SHA-256, "" if it is not known
	Persisted bool          // the document was named, and not sent
}

// outcomes are those of the request that ctx has held: one, or none if it was not
// for /graphql. To be called when it is answered.
func outcomes(ctx *fasthttp.RequestCtx) []outcome {
	x, _ := ctx.UserValue(exchangeKey{}).(*exchange)
	if x == nil {
		return nil
	}
	hash := sha256.Sum256([]byte(x.query))
	o := outcome{Document: hex.EncodeToString(hash[:8])}
	if x.plan != nil {
		o.Kind, o.Name = x.plan.Kind, x.plan.Name
	}
	return []outcome{o}
}
