// Package breaker stands between a program and what it depends on: a store, a Redis,
// somebody else's service.
//
// A [Policy] is for one dependency, by name, and every call to it goes through [Do]:
//
//	retry → breaker → bulkhead → timeout → the call
//
// The timeout is for all of it: Do returns within [Options.Timeout], whatever the call does
// and however often it is tried. A call that does not heed its context is left to itself
// then, and keeps its place in the bulkhead until it has really ended, so a dependency
// that hangs holds no more goroutines than the bulkhead has places.
//
// The breaker is CLOSED until [Options.FailureRate] of the calls in [Options.Window] have
// failed. Then it is OPEN, and calls end at once with [ErrOpen]; after [Options.OpenFor]
// it is HALF_OPEN: the next call is a trial, the only one at a time, and whether it
// succeeds decides.
//
// The workers of a host have a [Host] in common. When the breakers of two of them have
// opened within the same window, the breaker is open for all of them: not each has to
// learn for itself, and one of them alone, whose own network is down maybe, opens only its
// own. One of them makes the trial for all.
//
// How calls are counted, and when that is too many failures, and how many run at once, is
// failsafe-go's (packages circuitbreaker and bulkhead). Its executors are not used: they
// wait for calls that do not heed their context, and cost some microseconds. Nor are its
// HALF_OPEN state, which cannot be shared by processes, takes late answers of earlier calls for its
// trial's and has no way to give a trial back; nor its budget for retries, which bounds how
// many run at once and not how many there are.
package breaker
