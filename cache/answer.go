package cache

import "time"

// Answer is what was made for a request. It never changes, and may be sent as it is.
type Answer struct {
	// Body is the whole of it.
	Body []byte
	// Made is when its making began, in Unix milliseconds: what it says was true then.
	Made   int64
	Policy Policy
	Tags   []string
	// ETag is strong for Body, in quotes.
	ETag []byte
}

// Age is how old the answer is at a time in Unix milliseconds, not less than 0.
func (a *Answer) Age(now int64) time.Duration {
	return time.Duration(max(now-a.Made, 0)) * time.Millisecond
}
