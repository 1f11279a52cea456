// Package cache keeps the answers of queries: in the memory of a worker, validated by
// generations that all workers of a host share, and in a [Shared] store that all hosts do.
//
// An answer has tags, which name what it depends on. Whoever changes something invalidates
// its tags, and every answer that has one of them is gone: each tag has a generation, an
// answer carries those that its tags had before it was made, and is served only while they
// are the present ones. So an answer that was read before a change, and is stored after it,
// is never served, whoever was how slow at what point.
//
// How long an answer is used is its [Policy]:
//
//	made          MaxAge            + StaleWhileRevalidate          + StaleIfError
//	 |— Fresh ——————|— Stale, and is made anew in the background ——|— only if it cannot be made —|
//
// An answer that was invalidated is never served, not even if nothing better can be had.
package cache

import (
	"context"
	"time"
)

// Key names an answer: a part of a SHA-256 of all that it depends on besides the data: what
// is asked, with which variables, in which schema, and whose it is.
type Key [16]byte

// Policy is how long an answer may be used. The zero value is not at all.
type Policy struct {
	MaxAge               time.Duration // it is as good as new
	StaleWhileRevalidate time.Duration // after that: it is served, and made anew meanwhile
	StaleIfError         time.Duration // after MaxAge: it is served if it cannot be made anew
}

// Request is what an answer is wanted for. Tags are all that it depends on, known before it
// is made; in whatever case, each once. Nobody changes a Request that was given away.
type Request struct {
	Key    Key
	Tags   []string
	Policy Policy
	// Own is for what only one identity may see: such an answer is not put where other
	// hosts could read it if the operator does not want that. Its Key has the identity.
	Own bool
}

// Fill makes an answer. It is called at most once for each Get, maybe after Get has
// returned. ctx ends when nobody waits any more, or with the cache.
type Fill func(ctx context.Context) Filled

// Filled is what a Fill has made.
type Filled struct {
	Body     []byte // the whole of it, as it is sent; nobody changes it afterwards
	Keep     bool   // it may be kept: it has no errors
	Negative bool   // it says that there is nothing, and is kept for a short time only
	Failed   bool   // what it is made from is away: an older answer is better
	Result   any    // for whoever waits; never kept
}

// State is what an answer is, at the moment when it is served.
type State uint8

const (
	Miss         State = iota // there is none
	Fresh                     // within its MaxAge
	Stale                     // beyond it, and is being made anew
	StaleOnError              // could not be made anew
	Made                      // was made just now
)

// Served is what Get has.
type Served struct {
	State  State
	Answer *Answer // nil if what was made could not be kept
	Filled Filled  // if State is Made
	Shared bool    // somebody else has made it, for another request or on another host
}
