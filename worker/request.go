package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

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
func decode(ctx *fasthttp.RequestCtx, bodies *bodies) (request, *badRequest) {
	if bad := bodies.announced(ctx); bad != nil {
		return request{}, bad
	}
	if ctx.IsPost() {
		return decodePost(ctx, bodies)
	}
	return decodeGet(ctx.QueryArgs())
}

func decodePost(ctx *fasthttp.RequestCtx, bodies *bodies) (r request, bad *badRequest) {
	if reason := unreadable(string(ctx.Request.Header.ContentType())); reason != "" {
		return r, &badRequest{fasthttp.StatusUnsupportedMediaType, CodeUnsupportedMedia, reason}
	}
	if e := ctx.Request.Header.ContentEncoding(); len(e) > 0 && string(e) != "identity" {
		return r, &badRequest{fasthttp.StatusUnsupportedMediaType, CodeUnsupportedMedia, "the body must not be compressed"}
	}
	body, done, bad := bodies.read(ctx)
	defer done()
	if bad != nil {
		return r, bad
	}
	if tooManyValues(body) {
		return r, &badRequest{fasthttp.StatusRequestEntityTooLarge, CodeTooLarge, fmt.Sprintf("the body has more than %d values", maxInputValues)}
	}
	return parseBody(body)
}

func parseBody(data []byte) (r request, bad *badRequest) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // a byte order mark, as some write
	if !utf8.Valid(data) {
		return r, malformed("the body must be in UTF-8") // encoding/json would put other characters in
	}
	var body struct {
		Query         *string                    `json:"query"`
		OperationName string                     `json:"operationName"`
		Variables     json.RawMessage            `json:"variables"`
		Extensions    map[string]json.RawMessage `json:"extensions"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		var syntax *json.SyntaxError
		var typed *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			return r, malformed("the body is no JSON: %v at byte %d", syntax, syntax.Offset)
		case errors.As(err, &typed) && typed.Field == "extensions":
			return r, malformed("%q must be an object", typed.Field)
		case errors.As(err, &typed) && typed.Field != "":
			return r, malformed("%q must be a string", typed.Field)
		}
		return r, malformed("the body must be a JSON object with a query")
	}
	if body.Query == nil {
		return r, malformed(`the body has no "query"`)
	}
	r.query, r.operationName = *body.Query, body.OperationName
	if strings.TrimSpace(r.query) == "" {
		return r, malformed("the query is empty")
	}
	if len(body.Variables) > 0 {
		r.variables, bad = parseVariables(body.Variables)
	}
	return r, bad
}

// parseVariables reads an object, or null, with its numbers as they are written.
func parseVariables(data []byte) (variables map[string]any, bad *badRequest) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&variables); err != nil {
		return nil, malformed(`"variables" must be an object`)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, malformed(`"variables" must be an object`)
	}
	return variables, nil
}

func decodeGet(args *fasthttp.Args) (r request, bad *badRequest) {
	r.get = true
	r.query = string(args.Peek("query"))
	if strings.TrimSpace(r.query) == "" {
		return r, malformed("the query is empty")
	}
	for _, name := range []string{"query", "operationName", "variables", "extensions"} {
		if !utf8.Valid(args.Peek(name)) {
			return r, malformed("%q must be in UTF-8", name)
		}
	}
	r.operationName = string(args.Peek("operationName"))
	if raw := args.Peek("extensions"); len(raw) > 0 {
		var extensions map[string]json.RawMessage
		if json.Unmarshal(raw, &extensions) != nil {
			return r, malformed(`"extensions" must be an object`)
		}
	}
	if raw := args.Peek("variables"); len(raw) > 0 {
		r.variables, bad = parseVariables(raw)
	}
	return r, bad
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
