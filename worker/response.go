package worker

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// The media types of GraphQL over HTTP.
const (
	typeJSON    = "application/json; charset=utf-8"
	typeGraphQL = "application/graphql-response+json; charset=utf-8"
)

// wantsGraphQL says whether an Accept header prefers the media type under which
// the status code tells how the request fared. Without a preference it is
// application/json, which older clients expect.
func wantsGraphQL(accept []byte) bool {
	if !bytes.Contains(accept, []byte("graphql-response")) { // nearly always
		return false
	}
	var graphql, json float64
	for r := range strings.SplitSeq(string(accept), ",") {
		media, params, _ := strings.Cut(r, ";")
		q := 1.0
		for p := range strings.SplitSeq(params, ";") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
				q, _ = strconv.ParseFloat(v, 64)
			}
		}
		switch strings.ToLower(strings.TrimSpace(media)) {
		case "application/graphql-response+json":
			graphql = q
		case "application/json":
			json = q
		}
	}
	return graphql > 0 && graphql >= json
}

// respond writes r as the answer to a well-formed request. Under
// application/json the status is 200 whatever happened, as an answer of another
// status might come from a proxy; under application/graphql-response+json it is
// that of the error that prevented execution.
func respond(ctx *fasthttp.RequestCtx, r result) {
	status, media := fasthttp.StatusOK, typeJSON
	if wantsGraphQL(ctx.Request.Header.Peek(fasthttp.HeaderAccept)) {
		media = typeGraphQL
		if r.data == nil {
			status = requestStatus(r.errors)
		}
		if status == fasthttp.StatusUnauthorized {
			ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
		}
	}
	write(ctx, status, media, r)
}

// refuse writes an error about the HTTP request itself.
func refuse(ctx *fasthttp.RequestCtx, bad *badRequest) {
	media := typeJSON
	if wantsGraphQL(ctx.Request.Header.Peek(fasthttp.HeaderAccept)) {
		media = typeGraphQL
	}
	write(ctx, bad.status, media, failed(Errorf(bad.code, bad.reason)))
}

func requestStatus(errs []*Error) int {
	for _, e := range errs {
		switch e.code {
		case CodeTimeout:
			return fasthttp.StatusGatewayTimeout
		case CodeInternal:
			return fasthttp.StatusInternalServerError
		case CodeUnauthenticated:
			return fasthttp.StatusUnauthorized
		case CodeForbidden:
			return fasthttp.StatusForbidden
		}
	}
	return fasthttp.StatusBadRequest
}

func write(ctx *fasthttp.RequestCtx, status int, media string, r result) {
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentType(media)
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.Response.Header.Add(fasthttp.HeaderVary, "Accept")
	out := ctx.Response.BodyWriter()
	sep := "{"
	if len(r.errors) > 0 {
		encoded, err := json.Marshal(r.errors)
		if err != nil { // extensions that are no JSON
			encoded = []byte(`[{"message":"internal error","extensions":{"code":"` + string(CodeInternal) + `"}}]`)
		}
		_, _ = out.Write([]byte(`{"errors":`))
		_, _ = out.Write(encoded)
		sep = ","
	}
	if r.data != nil {
		_, _ = out.Write([]byte(sep + `"data":`))
		_, _ = out.Write(r.data)
		sep = ","
	}
	_, _ = out.Write([]byte("}"))
}

// writeJSON answers with v.
func writeJSON(ctx *fasthttp.RequestCtx, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = fasthttp.StatusInternalServerError, []byte("{}")
	}
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentType(typeJSON)
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	ctx.SetBody(append(body, '\n'))
}
