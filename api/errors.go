package api

import (
	"context"
	"errors"
	"time"

	gqlerrors "github.com/graph-gophers/graphql-go/errors"

	"github.com/nekoctl/neko/api/store"
)

// Code is what an error has as extensions.code. Clients decide by it, so a code
// never changes its meaning.
type Code string

// The codes.
const (
	BadUserInput Code = "BAD_USER_INPUT" // the arguments cannot be used as they are
	NotFound     Code = "NOT_FOUND"      // a mutation names an object that is not there
	Conflict     Code = "CONFLICT"       // what exists does not allow the change
	Unavailable  Code = "UNAVAILABLE"    // the store did not answer; it may later
	Internal     Code = "INTERNAL"       // a fault of the program

	BadCredentials Code = "BAD_CREDENTIALS" // of a login or a refresh; nothing says why
	Forbidden      Code = "FORBIDDEN"       // these credentials are not for this
)

// Error is every error that a resolver returns. Its text and extensions are for
// clients. What the store said is for logs, and found by errors.Unwrap.
type Error struct {
	Code    Code
	Message string
	Field   string // the argument that is wrong, "filter.tactic"; may be empty
	ID      string // the object that stands in the way of a change; may be empty
	cause   error

	RetryAfter int // seconds, of what is Unavailable; may be 0
}

// Error is the message for clients.
func (e *Error) Error() string { return e.Message }

// Unwrap is the cause, which is not for clients.
func (e *Error) Unwrap() error { return e.cause }

// Extensions are what graph-gophers puts beside the message.
func (e *Error) Extensions() map[string]any {
	ext := map[string]any{"code": string(e.Code)}
	if e.Field != "" {
		ext["field"] = e.Field
	}
	if e.ID != "" {
		ext["id"] = e.ID
	}
	if e.RetryAfter > 0 {
		ext["retryAfter"] = e.RetryAfter
	}
	return ext
}

func badInput(field, message string) error {
	return &Error{Code: BadUserInput, Field: field, Message: message}
}

// storeError translates an error of the store. Fields that the store names are
// put under prefix: "input" makes "input.count" of "count".
func storeError(err error, prefix string) *Error {
	var (
		invalid  *store.InvalidError
		notFound *store.NotFoundError
		conflict *store.ConflictError
	)
	switch {
	case errors.As(err, &invalid):
		field := invalid.Field
		if name, ok := schemaNames[field]; ok {
			field = name
		}
		if prefix != "" {
			field = prefix + "." + field
		}
		return &Error{Code: BadUserInput, Field: field, Message: field + ": " + invalid.Reason, cause: err}
	case errors.Is(err, store.ErrCursor):
		return &Error{Code: BadUserInput, Field: "after", cause: err,
			Message: "after is no cursor of this list: it must come from a page of the same list in the same order"}
	case errors.As(err, &notFound):
		return &Error{Code: NotFound, Message: "there is " + notFound.Error(), cause: err}
	case errors.As(err, &conflict):
		return &Error{Code: Conflict, ID: conflict.ID, Message: conflict.Error(), cause: err}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{Code: Unavailable, Message: "the operation took too long and was given up", cause: err}
	case errors.Is(err, store.ErrUnavailable):
		return &Error{Code: Unavailable, Message: "the store does not answer at the moment", RetryAfter: retryAfter(err), cause: err}
	default:
		return &Error{Code: Internal, Message: internalMessage, cause: err}
	}
}

// retryAfter is in how many seconds the store is asked again, 0 if nobody knows.
func retryAfter(err error) int {
	var until interface{ RetryAfter() time.Duration }
	if !errors.As(err, &until) {
		return 0
	}
	return int((until.RetryAfter() + time.Second - 1) / time.Second)
}

// schemaNames are the names that the schema has for fields which the store calls
// otherwise.
var schemaNames = map[string]string{
	"type":                "valueType",
	"filter.type":         "filter.kind",
	"filter.subtechnique": "filter.isSubtechnique",
	"filter.keys":         "filter.ids",
}

const internalMessage = "internal error"

// panicHandler makes an error of a panic in a resolver. graph-gophers has
// written the value and the stack to its logger by then; clients get neither.
type panicHandler struct{}

func (panicHandler) MakePanicError(context.Context, any) *gqlerrors.QueryError {
	return &gqlerrors.QueryError{
		Message:    internalMessage,
		Extensions: map[string]any{"code": string(Internal)},
	}
}
