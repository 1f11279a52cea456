package worker

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/vektah/gqlparser/v2/gqlerror"
)

// Code is extensions.code of a GraphQL error: what a program can act on.
type Code string

// The codes that the worker itself gives, for ever. Where Apollo Server and Apollo
// Router have a code for the same, it is theirs: clients know it. Resolvers may give
// others. docs/graphql.md explains them all.
const (
	CodeBadRequest          Code = "BAD_REQUEST"                   // the HTTP request is no GraphQL request
	CodeMethodNotAllowed    Code = "METHOD_NOT_ALLOWED"            // as is a mutation by GET
	CodeUnsupportedMedia    Code = "UNSUPPORTED_MEDIA_TYPE"        // the body is not application/json
	CodeNotAcceptable       Code = "NOT_ACCEPTABLE"                // no media type that the client takes
	CodeTooLarge            Code = "PAYLOAD_TOO_LARGE"             // see Config.MaxBody
	CodeNotFound            Code = "NOT_FOUND"                     // no such path
	CodeParseFailed         Code = "GRAPHQL_PARSE_FAILED"          // the document's syntax
	CodeValidationFailed    Code = "GRAPHQL_VALIDATION_FAILED"     // the document against the schema
	CodeOperationUnresolved Code = "OPERATION_RESOLUTION_FAILURE"  // operationName
	CodeDocumentTooLarge    Code = "DOCUMENT_TOO_LARGE"            // see Config.MaxDocument, MaxTokens
	CodeMaxDepth            Code = "MAX_DEPTH_LIMIT"               // see Config.MaxDepth; values too
	CodeMaxAliases          Code = "MAX_ALIASES_LIMIT"             // see Config.MaxAliases
	CodeMaxSelections       Code = "MAX_SELECTIONS_LIMIT"          // see Config.MaxSelections
	CodeTooExpensive        Code = "COST_ESTIMATED_TOO_EXPENSIVE"  // see Config.MaxCost
	CodeNoIntrospection     Code = "INTROSPECTION_DISABLED"        // see Config.NoIntrospection
	CodeBadUserInput        Code = "BAD_USER_INPUT"                // variables and arguments
	CodeTimeout             Code = "TIMEOUT"                       // see Config.ExecutionTimeout
	CodeResponseTooLarge    Code = "RESPONSE_TOO_LARGE"            // see Config.MaxFields
	CodeUnauthenticated     Code = "UNAUTHENTICATED"               // who asks is not known, or is not who they say
	CodeForbidden           Code = "FORBIDDEN"                     // who asks may not, see @requires
	CodeUnavailable         Code = "UNAVAILABLE"                   // it may work later; the log knows more
	CodeNotPersisted        Code = "PERSISTED_QUERY_NOT_FOUND"     // this hash is not known: send the text with it
	CodeNoPersisting        Code = "PERSISTED_QUERY_NOT_SUPPORTED" // see Config.MaxDocuments
	CodeHashMismatch        Code = "PERSISTED_QUERY_HASH_MISMATCH" // the hash is not that of the text
	CodeNotInList           Code = "PERSISTED_QUERY_NOT_IN_LIST"   // no trusted document is named so
	CodeNotTrusted          Code = "QUERY_NOT_IN_SAFELIST"         // see Config.TrustedOnly
	CodeIDAndBody           Code = "CANNOT_SEND_PQ_ID_AND_BODY"    // a document is named and sent
	CodeBatchTooLarge       Code = "BATCH_TOO_LARGE"               // see Config.MaxBatch
	CodeRateLimited         Code = "REQUEST_RATE_LIMITED"          // see Config.RateLimits
	CodeInternal            Code = "INTERNAL"                      // a fault of the program; the log knows more
)

// Error is one error of a GraphQL response. A resolver returns one (or wraps
// one, or any error with an Extensions method) to say something to the client.
// The text of any other error goes to the log only: the client reads "internal
// error".
type Error struct {
	Message    string
	Locations  []Location
	Path       []any
	extensions map[string]any
	code       Code
}

// Location is a place in the client's document, from 1.
type Location struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

// NewError is an error for the client with a code.
func NewError(code Code, message string) *Error { return &Error{Message: message, code: code} }

func (e *Error) Error() string { return e.Message }

// Extensions implements what graph-gophers asks of a resolver's error.
func (e *Error) Extensions() map[string]any {
	if e.extensions["code"] != nil || e.code == "" {
		return e.extensions
	}
	all := map[string]any{"code": e.code}
	for k, v := range e.extensions {
		all[k] = v
	}
	return all
}

// publicCode is the code that the client reads, "" if it reads none.
func (e *Error) publicCode() Code {
	switch code := e.extensions["code"].(type) {
	case Code:
		return code
	case string:
		return Code(code)
	}
	return e.code
}

// MarshalJSON implements json.Marshaler: the form of the specification.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Message    string         `json:"message"`
		Locations  []Location     `json:"locations,omitempty"`
		Path       []any          `json:"path,omitempty"`
		Extensions map[string]any `json:"extensions,omitempty"`
	}{e.Message, e.Locations, e.Path, e.Extensions()})
}

func fromGQL(err error, code Code) *Error {
	e := &Error{Message: err.Error(), code: code}
	var g *gqlerror.Error
	if errors.As(err, &g) {
		e.Message = shorten(g.Message)
		for _, l := range g.Locations {
			e.Locations = append(e.Locations, Location{l.Line, l.Column})
		}
	}
	return e
}

// maxMessage bounds messages that quote the document: a name in it may have as many
// bytes as the document, and be quoted by every error.
const maxMessage = 500

func shorten(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "") + "…"
}
