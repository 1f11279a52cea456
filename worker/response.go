package worker

import (
	"encoding/json"
	"io"
	"time"

	"github.com/valyala/fasthttp"
)

// statusPartial is what GraphQL over HTTP has for data with errors.
const statusPartial = 294

// respond writes the results of x.
func respond(ctx *fasthttp.RequestCtx, x *exchange) {
	if x.batch { // each has a status of its own, and HTTP has place for one
		begin(ctx, fasthttp.StatusOK, x.media.success)
		out, sep := ctx.Response.BodyWriter(), "["
		for i := range x.operations {
			_, _ = io.WriteString(out, sep)
			envelopeOf(ctx).failed(x.operations[i].result.errors)
			x.operations[i].result.write(out)
			sep = ","
		}
		_, _ = io.WriteString(out, "]")
		return
	}
	r := x.operations[0].result
	if r.cached != nil {
		x.respondCached(ctx)
		return
	}
	status, media := r.status(), x.media.success
	switch {
	case status == fasthttp.StatusOK:
	case status == statusPartial && media == typeJSON:
		// The code is defined for the newer media type alone.
		status = fasthttp.StatusOK
	case status == statusPartial:
		ctx.Response.Header.SetStatusMessage([]byte("Partial Success"))
	case isPersistedMiss(r.errors):
		// Caches know only the address. Clients of the time before the newer media
		// type send the text only if this comes as Apollo's own servers say it.
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "private, no-cache, must-revalidate")
		if media == typeJSON {
			status = fasthttp.StatusOK
		}
	default:
		media = x.media.failure
	}
	write(ctx, status, media, r)
}

// isPersistedMiss says whether a client is to send what it has only named.
func isPersistedMiss(errs []*Error) bool {
	return len(errs) == 1 && (errs[0].code == CodeNotPersisted || errs[0].code == CodeNoPersisting)
}

// refuse writes an error about the HTTP request itself.
func refuse(ctx *fasthttp.RequestCtx, bad *badRequest) {
	refuseWith(ctx, bad.status, NewError(bad.code, bad.reason))
}

func refuseWith(ctx *fasthttp.RequestCtx, status int, err *Error) {
	media := typeJSON
	if string(ctx.Path()) == graphqlPath {
		media = typeGraphQL
		if m, ok := negotiate(accept(ctx)); ok {
			media = m.failure
		}
	}
	write(ctx, status, media, failed(err))
}

// status is the HTTP status of a result.
func (r result) status() int {
	switch {
	case r.cached != nil:
		return fasthttp.StatusOK
	case r.data == nil:
		return requestStatus(r.errors)
	case len(r.errors) > 0:
		return statusPartial
	}
	return fasthttp.StatusOK
}

// statuses are those of the codes of errors that keep an operation from running. Of
// any other it is 422: the request can be read, and it is not one for this schema.
var statuses = map[Code]int{
	CodeParseFailed:      fasthttp.StatusBadRequest,
	CodeHashMismatch:     fasthttp.StatusBadRequest,
	CodeIDAndBody:        fasthttp.StatusBadRequest,
	CodeUnauthenticated:  fasthttp.StatusUnauthorized,
	CodeForbidden:        fasthttp.StatusForbidden,
	CodeNotTrusted:       fasthttp.StatusForbidden,
	CodeNotPersisted:     fasthttp.StatusNotFound,
	CodeNotInList:        fasthttp.StatusNotFound,
	CodeMethodNotAllowed: fasthttp.StatusMethodNotAllowed,
	CodeRateLimited:      fasthttp.StatusTooManyRequests,
	CodeInternal:         fasthttp.StatusInternalServerError,
	CodeUnavailable:      fasthttp.StatusServiceUnavailable,
	CodeTimeout:          fasthttp.StatusGatewayTimeout,
}

func requestStatus(errs []*Error) int {
	for _, e := range errs {
		if status, ok := statuses[e.code]; ok {
			return status
		}
	}
	return fasthttp.StatusUnprocessableEntity
}

// begin writes the header of an answer.
func begin(ctx *fasthttp.RequestCtx, status int, media string) {
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentType(media)
	ctx.Response.Header.Add(fasthttp.HeaderVary, "Accept")
	switch status {
	case fasthttp.StatusUnauthorized:
		ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
	case fasthttp.StatusMethodNotAllowed:
		if len(ctx.Response.Header.Peek(fasthttp.HeaderAllow)) == 0 { // this operation, not any
			ctx.Response.Header.Set(fasthttp.HeaderAllow, fasthttp.MethodPost)
		}
	}
}

func write(ctx *fasthttp.RequestCtx, status int, media string, r result) {
	begin(ctx, status, media)
	envelopeOf(ctx).failed(r.errors)
	r.write(ctx.Response.BodyWriter())
}

// size is about how many bytes r is when it is written.
func (r result) size() int {
	if r.cached != nil {
		return len(r.cached.Body)
	}
	return len(r.data)
}

// write writes r in the form of the specification.
func (r result) write(out io.Writer) {
	if r.cached != nil {
		_, _ = out.Write(r.cachedBody(time.Now()))
		return
	}
	sep := "{"
	if len(r.errors) > 0 {
		encoded, err := json.Marshal(r.errors)
		if err != nil { // extensions that are no JSON
			encoded = []byte(`[{"message":"internal error","extensions":{"code":"` + string(CodeInternal) + `"}}]`)
		}
		_, _ = io.WriteString(out, `{"errors":`)
		_, _ = out.Write(encoded)
		sep = ","
	}
	if r.data != nil {
		_, _ = io.WriteString(out, sep+`"data":`)
		_, _ = out.Write(r.data)
		sep = ","
	}
	_, _ = io.WriteString(out, "}")
}

// writeJSON answers with v.
func writeJSON(ctx *fasthttp.RequestCtx, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = fasthttp.StatusInternalServerError, []byte("{}")
	}
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentType(typeJSON)
	ctx.SetBody(append(body, '\n'))
}
