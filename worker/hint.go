package worker

// HintError is an error with what to do about it, for a person at a terminal.
type HintError struct {
	Err  error  // what happened
	Hint string // what to do, lower case, one line
}

func (e *HintError) Error() string { return e.Err.Error() }
func (e *HintError) Unwrap() error { return e.Err }
