package breaker

import (
	"errors"
	"fmt"
	"time"
)

// The errors that [Do] has of its own; test with errors.Is. None of them is retried.
var (
	// ErrOpen is that the breaker is open, or half open and another call is the trial. It
	// is an [OpenError], which says until when.
	ErrOpen = errors.New("circuit breaker is open")
	// ErrBusy is that there was no place in the bulkhead for [Options.MaxWait].
	ErrBusy = errors.New("too many calls at once")
	// ErrTimeout is that there was no answer within [Options.Timeout]. Whether what was
	// asked for happens all the same is not known.
	ErrTimeout = errors.New("no answer in time")
)

// OpenError is an [ErrOpen].
type OpenError struct {
	Name  string    // of the policy
	Until time.Time // when a call may be let through again
	until int64     // the same on the host's clock
}

func (e *OpenError) Error() string { return e.Name + ": " + ErrOpen.Error() }

func (e *OpenError) Is(target error) bool { return target == ErrOpen }

// RetryAfter is how long it is until then, at least 0.
func (e *OpenError) RetryAfter() time.Duration { return max(time.Until(e.Until), 0) }

// limitError is an ErrBusy or ErrTimeout of a policy.
type limitError struct {
	kind error
	text string
}

func (e *limitError) Error() string        { return e.text }
func (e *limitError) Is(target error) bool { return target == e.kind }

// PanicError is what [Do] panics with when a call has panicked.
type PanicError struct {
	Value any
	Stack []byte // of the call, which has run in another goroutine
}

func (e *PanicError) Error() string { return fmt.Sprintf("%v\n%s", e.Value, e.Stack) }

// Unwrap is the value, if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
