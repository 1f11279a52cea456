package store

import (
	"errors"
	"fmt"
)

// The errors that a caller can do something about; test with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
	ErrInvalid  = errors.New("invalid")
	ErrCursor   = errors.New("not a cursor of this list")
	ErrTooNew   = errors.New("store is newer than this program")

	// ErrUnavailable is the store not answering for the moment: busy, closed, out of reach.
	ErrUnavailable = errors.New("store is not available")
	// ErrNotMade is an ErrUnavailable of a call that was not made: what it was to change has
	// not changed, and will not.
	ErrNotMade = errors.New("not made")
)

// NotFoundError is an ErrNotFound about an object.
type NotFoundError struct {
	Kind Kind // KindAny if it could have been any
	Key  string
}

func (e *NotFoundError) Error() string {
	kind := string(e.Kind)
	if kind == "" {
		kind = "object"
	}
	return fmt.Sprintf("no %s %q", kind, e.Key)
}

func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// ConflictError is an ErrConflict: what was to be made exists.
type ConflictError struct {
	Kind Kind
	ID   string // of the one that exists; a user's name, a signing key's number
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("there is such %s already: %s", article(e.Kind), e.ID)
}

func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

func article(k Kind) string {
	switch k {
	case KindIndicator, KindAPIKey:
		return "an " + string(k)
	default:
		return "a " + string(k)
	}
}

// InvalidError is an ErrInvalid: an argument makes no sense. Field is its name in
// the words of the API, "filter.tactic".
type InvalidError struct {
	Field  string
	Reason string
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Reason }

func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// TooNewError is an ErrTooNew: a later version of the program has migrated the
// store.
type TooNewError struct {
	Where        string // path or address, without credentials
	Store, Known int    // schema versions: the store's, and the last this program knows
}

func (e *TooNewError) Error() string {
	return fmt.Sprintf("%s has schema version %d, this program knows up to %d", e.Where, e.Store, e.Known)
}

func (e *TooNewError) Is(target error) bool { return target == ErrTooNew }

// PartialError is about an import that ended in the midst of being written, in a
// store that cannot undo it: old and new versions are mixed, each of them whole.
type PartialError struct{ Err error }

func (e *PartialError) Error() string {
	return "the import ended before all of it was written: " + e.Err.Error()
}

func (e *PartialError) Unwrap() error { return e.Err }

// Hint is what to do about it, for the line below the error.
func (e *PartialError) Hint() string {
	return "run the same import again: it writes what is missing"
}

// OpenError says why a store cannot be opened, and what to do.
type OpenError struct {
	Where  string // path or address, without credentials
	Err    error
	Advice string
}

func (e *OpenError) Error() string { return "cannot open the store " + e.Where + ": " + e.Err.Error() }

func (e *OpenError) Unwrap() error { return e.Err }

// Hint is what to do about it, for the line below the error.
func (e *OpenError) Hint() string { return e.Advice }

// Hint is what to do about it, for the line below the error.
func (e *TooNewError) Hint() string {
	return "a newer neko-api has used this store: run that version, or name another store"
}
