package worker

import (
	"slices"

	"github.com/valyala/fasthttp"
	"github.com/vektah/gqlparser/v2/ast"
)

// exchange is one HTTP request to /graphql on its way: what it asks for, and what
// has come of it.
type exchange struct {
	media      media
	operations []operation // one, or those of a batch
	batch      bool
	refused    Code   // why the HTTP request was refused without regard to its operations, "" if it was not
	over       *Error // why all that could run was refused: a rate limit
	status     int    // of a request that was refused as a whole, else 0

	one [1]operation // room for the usual case
}

// operation is one GraphQL request of an exchange.
type operation struct {
	request
	document   documentHash // of the text, zero if that is not known
	plan       *Plan        // nil if there is none
	register   string       // the text that is to be kept for other requests, by its hash
	registered bool         // it is
	input      input        // what it runs with, if it may
	result     result       // the answer; its errors before it runs are why it does not
	cacheState string       // what the cache had, as spans call it; "" if it was not asked
}

// pending says whether nothing has spoken against running op yet.
func (op *operation) pending() bool { return op.plan != nil && op.result.errors == nil }

func (op *operation) fail(errs ...*Error) { op.result = failed(errs...) }

type exchangeKey struct{}

// outcome is what may be said in public of one GraphQL request and its answer:
// no text, no variables.
type outcome struct {
	Kind     ast.Operation // "" if it was not planned
	Name     string        // "" if the operation has none
	Document string        // the first 16 hex digits of the document's SHA-256, "" if it is not known
	Codes    []Code        // of the answer's errors, each once

	Persisted bool // the document was named, and not sent
}

// outcomes are those of the request that ctx has held, in its order: one, those of
// a batch, or none if it was not for /graphql. To be called when it is answered.
func outcomes(ctx *fasthttp.RequestCtx) (list []outcome) {
	if k := envelopeOf(ctx).known; k != nil {
		return []outcome{{Kind: k.plan.Kind, Name: k.plan.Name, Document: k.document.short(), Persisted: k.persisted}}
	}
	x, _ := ctx.UserValue(exchangeKey{}).(*exchange)
	if x == nil {
		return nil
	}
	if x.refused != "" {
		return []outcome{{Codes: []Code{x.refused}}}
	}
	for i := range x.operations {
		op := &x.operations[i]
		o := outcome{Persisted: op.named()}
		if op.plan != nil {
			o.Kind, o.Name = op.plan.Kind, op.plan.Name
		}
		if op.document != (documentHash{}) {
			o.Document = op.document.short()
		}
		for _, e := range op.result.errors {
			if code := e.publicCode(); !slices.Contains(o.Codes, code) {
				o.Codes = append(o.Codes, code)
			}
		}
		list = append(list, o)
	}
	return list
}
