package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/valyala/fasthttp"
)

// request is a GraphQL request. It shares no memory with the RequestCtx that it
// was read from.
type request struct {
	query         string
	operationName string
	variables     map[string]any // numbers are json.Number
	get           bool
}

// badRequest is why an HTTP request is no GraphQL request.
type badRequest struct {
	status int
	code   Code
	reason string
}

func malformed(format string, args ...any) *badRequest {
	return &badRequest{fasthttp.StatusBadRequest, CodeBadRequest, fmt.Sprintf(format, args...)}
}

// decode reads the request that ctx holds.
func decode(ctx *fasthttp.RequestCtx) (request, *badRequest) {
	if ctx.IsPost() {
		return decodePost(ctx)
	}
	return decodeGet(ctx.QueryArgs())
}

func decodePost(ctx *fasthttp.RequestCtx) (r request, bad *badRequest) {
	if reason := unreadable(string(ctx.Request.Header.ContentType())); reason != "" {
		return r, &badRequest{fasthttp.StatusUnsupportedMediaType, CodeUnsupportedMedia, reason}
	}
	if e := ctx.Request.Header.ContentEncoding(); len(e) > 0 && string(e) != "identity" {
		return r, &badRequest{fasthttp.StatusUnsupportedMediaType, CodeUnsupportedMedia, "the body must not be compressed"}
	}
	return parseBody(ctx.PostBody())
}

func parseBody(data []byte) (r request, bad *badRequest) {
	var body struct {
		Query         *json.RawMessage `json:"query"`
		OperationName *json.RawMessage `json:"operationName"`
		Variables     *json.RawMessage `json:"variables"`
		Extensions    *json.RawMessage `json:"extensions"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return r, malformed("the body is no JSON: %v at byte %d", syntax, syntax.Offset)
		}
		return r, malformed("the body must be a JSON object with a query")
	}
	if body.Query == nil {
		return r, malformed(`the body has no "query"`)
	}
	if bad = field("query", body.Query, &r.query, "a string"); bad != nil {
		return r, bad
	}
	if bad = field("operationName", body.OperationName, &r.operationName, "a string"); bad != nil {
		return r, bad
	}
	if bad = field("variables", body.Variables, &r.variables, "an object"); bad != nil {
		return r, bad
	}
	var extensions map[string]json.RawMessage
	if bad = field("extensions", body.Extensions, &extensions, "an object"); bad != nil {
		return r, bad
	}
	if strings.TrimSpace(r.query) == "" {
		return r, malformed("the query is empty")
	}
	return r, nil
}

// field reads a part of the body that may be absent or null.
func field(name string, raw *json.RawMessage, v any, want string) *badRequest {
	if raw == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(*raw))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return malformed("%q must be %s", name, want)
	}
	if _, err := d.Token(); err != io.EOF {
		return malformed("%q must be %s", name, want)
	}
	return nil
}

func decodeGet(args *fasthttp.Args) (r request, bad *badRequest) {
	r.get = true
	r.query = string(args.Peek("query"))
	if strings.TrimSpace(r.query) == "" {
		return r, malformed("the query is empty")
	}
	r.operationName = string(args.Peek("operationName"))
	var extensions map[string]json.RawMessage
	for name, v := range map[string]any{"variables": &r.variables, "extensions": &extensions} {
		if raw := json.RawMessage(args.Peek(name)); len(raw) > 0 {
			if bad = field(name, &raw, v, "a JSON object"); bad != nil {
				return r, bad
			}
		}
	}
	return r, nil
}

// unreadable says why a body of this content type is not read, "" if it is. What
// HTML forms can send is among it, and so a page of another site cannot.
func unreadable(contentType string) string {
	media, params, _ := strings.Cut(contentType, ";")
	if !strings.EqualFold(strings.TrimSpace(media), "application/json") {
		return "the body must be application/json"
	}
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "charset") && !strings.EqualFold(strings.Trim(value, `"`), "utf-8") {
			return "the body must be in UTF-8"
		}
	}
	return ""
}
