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
	query         string          // the document, "" if it is named instead
	documentID    string          // what names it in the list of trusted documents
	persisted     *persistedQuery // what names it by Apollo's protocol
	operationName string
	variables     map[string]any // numbers are json.Number
	get           bool
}

// persistedQuery is extensions.persistedQuery, as Apollo's clients send it.
type persistedQuery struct {
	Version    json.Number `json:"version"`
	SHA256Hash string      `json:"sha256Hash"`
}

// extensions are those that mean something here.
type extensions struct {
	PersistedQuery *persistedQuery `json:"persistedQuery"`
}

// badRequest is why an HTTP request is no GraphQL request.
type badRequest struct {
	status int
	code   Code
	reason string
}

// malformed is for what reads well and is no GraphQL request.
func malformed(format string, args ...any) *badRequest {
	return &badRequest{fasthttp.StatusUnprocessableEntity, CodeBadRequest, fmt.Sprintf(format, args...)}
}

// illegible is for what cannot be read.
func illegible(format string, args ...any) *badRequest {
	return &badRequest{fasthttp.StatusBadRequest, CodeBadRequest, fmt.Sprintf(format, args...)}
}

// decode reads what ctx holds into x: one request, or a batch of them.
func (w *Worker) decode(ctx *fasthttp.RequestCtx, x *exchange) (bad *badRequest) {
	x.operations = x.one[:]
	if !ctx.IsPost() {
		x.one[0].request, bad = decodeGet(ctx.QueryArgs())
		return bad
	}
	if reason := unreadable(string(ctx.Request.Header.ContentType())); reason != "" {
		return &badRequest{fasthttp.StatusUnsupportedMediaType, CodeUnsupportedMedia, reason}
	}
	if e := ctx.Request.Header.ContentEncoding(); len(e) > 0 && string(e) != "identity" {
		return &badRequest{fasthttp.StatusUnsupportedMediaType, CodeUnsupportedMedia, "the body must not be compressed"}
	}
	e := envelopeOf(ctx)
	body, bad := w.bodies.read(ctx, &e.arrival)
	defer w.bodies.decoded(&e.arrival)
	e.arrived()
	if bad != nil {
		return bad
	}
	if tooManyValues(body) {
		return &badRequest{fasthttp.StatusRequestEntityTooLarge, CodeTooLarge, fmt.Sprintf("the body has more than %d values", maxInputValues)}
	}
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) // a byte order mark, as some write
	if !utf8.Valid(body) {
		return illegible("the body must be in UTF-8") // encoding/json would put other characters in
	}
	if list := bytes.TrimLeft(body, " \t\r\n"); len(list) > 0 && list[0] == '[' {
		x.batch = true
		x.operations, bad = decodeBatch(list, w.config.MaxBatch)
		return bad
	}
	x.one[0].request, bad = parseBody(body)
	return bad
}

func parseBody(data []byte) (r request, bad *badRequest) {
	var body struct {
		Query         string          `json:"query"`
		DocumentID    string          `json:"documentId"`
		OperationName string          `json:"operationName"`
		Variables     json.RawMessage `json:"variables"`
		Extensions    extensions      `json:"extensions"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		var syntax *json.SyntaxError
		var typed *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			return r, illegible("the body is no JSON: %v at byte %d", syntax, syntax.Offset)
		case errors.As(err, &typed) && (typed.Field == "extensions" || typed.Field == "extensions.persistedQuery"):
			return r, malformed("%q must be an object", typed.Field)
		case errors.As(err, &typed) && typed.Field == "extensions.persistedQuery.version":
			return r, malformed("%q must be a number", typed.Field)
		case errors.As(err, &typed) && typed.Field != "":
			return r, malformed("%q must be a string", typed.Field)
		}
		return r, malformed("the body must be a JSON object with a query")
	}
	r.query, r.operationName = body.Query, body.OperationName
	r.documentID, r.persisted = body.DocumentID, body.Extensions.PersistedQuery
	if bad := r.check(); bad != nil {
		return r, bad
	}
	if len(body.Variables) > 0 {
		r.variables, bad = parseVariables(body.Variables)
	}
	return r, bad
}

// check looks for what makes r no request, whatever the document.
func (r *request) check() *badRequest {
	if strings.TrimSpace(r.query) == "" {
		r.query = ""
	}
	switch {
	case r.query == "" && r.documentID == "" && r.persisted == nil:
		return malformed("there is no query, or it is empty")
	case r.documentID != "" && (r.query != "" || r.persisted != nil):
		return &badRequest{fasthttp.StatusBadRequest, CodeIDAndBody, `send "documentId" alone: the document is known by it`}
	case r.persisted != nil && r.persisted.Version != "1":
		return illegible("Unsupported persisted query version")
	case r.persisted != nil && r.persisted.SHA256Hash == "":
		return malformed(`"extensions.persistedQuery" has no "sha256Hash"`)
	}
	return nil
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
	for _, name := range []string{"query", "documentId", "operationName", "variables", "extensions"} {
		if !utf8.Valid(args.Peek(name)) {
			return r, malformed("%q must be in UTF-8", name)
		}
	}
	r.get = true
	r.query = string(args.Peek("query"))
	r.documentID = string(args.Peek("documentId"))
	r.operationName = string(args.Peek("operationName"))
	if raw := args.Peek("extensions"); len(raw) > 0 {
		var e extensions
		if json.Unmarshal(raw, &e) != nil {
			return r, malformed(`"extensions" must be an object`)
		}
		r.persisted = e.PersistedQuery
	}
	if bad := r.check(); bad != nil {
		return r, bad
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
