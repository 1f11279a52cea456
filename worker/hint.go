package worker

// adviceError is an error with what to do about it, for a person at a terminal:
// programs print Hint on a line of its own.
type adviceError struct {
	error
	advice string
}

// Hint is what to do, lower case, one line.
func (e *adviceError) Hint() string { return e.advice }

func (e *adviceError) Unwrap() error { return e.error }
