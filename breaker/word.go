package breaker

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// word is all that a breaker is, so that one compare-and-swap takes it from one state to
// another, and whoever is killed between two instructions leaves it in one of them:
//
//	bits 0-1    closed, open or trial
//	bits 2-23   how often it was closed
//	bits 24-63  until when it is open or the trial may take, in milliseconds of the clock
//
// It never has a value again that it had before, as times and counts only grow, within
// 4 million closings and 34 years: so a swap by somebody who was stopped long ago fails.
//
//	from     to       when
//	closed   open     too many calls have failed
//	open     trial    it is over, and somebody has a call
//	trial    trial    it has taken too long: whoever makes it is stopped or dead; somebody else has a call
//	trial    open     the call has failed
//	trial    closed   it has succeeded
type word uint64

const (
	closed = iota
	open
	trial

	kindBits  = 2
	countBits = 22
	countMask = 1<<countBits - 1
)

func newWord(kind, count uint64, until int64) word {
	return word(kind | count&countMask<<kindBits | uint64(until)<<(kindBits+countBits))
}

func (w word) kind() uint64  { return uint64(w) & (1<<kindBits - 1) }
func (w word) count() uint64 { return uint64(w) >> kindBits & countMask }
func (w word) until() int64  { return int64(w >> (kindBits + countBits)) }

// opened is what becomes of it when it opens, or a trial fails.
func (w word) opened(until int64) word { return newWord(open, w.count(), until) }

// tried is what becomes of it when a trial begins.
func (w word) tried(until int64) word { return newWord(trial, w.count(), until) }

// healed is what becomes of it when a trial succeeds.
func (w word) healed() word { return newWord(closed, w.count()+1, 0) }

// healedSince says whether it was closed after it was before. The counts go round.
func (w word) healedSince(before word) bool {
	later := (w.count() - before.count()) & countMask
	return later != 0 && later <= countMask/2
}

// state is what it is at a time, if it counts until then. When it was open for long enough the
// next call is the trial, and that is half open already.
func (w word) state(now, until int64) State {
	switch {
	case w.kind() == closed:
		return Closed
	case w.kind() == open && now < until:
		return Open
	default:
		return HalfOpen
	}
}

// clock is CLOCK_MONOTONIC in milliseconds, which all processes of a host share and nobody
// sets; its epoch is the mapping's. It is read once, and Go's own monotonic clock, which is
// the same one, tells the rest. Should the process have lost its CPU between the two, it is
// late by that.
type clock struct {
	base  int64
	began time.Time
}

func newClock() (clock, error) {
	var ts unix.Timespec
	err := os.NewSyscallError("clock_gettime", unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return clock{base: ts.Nano(), began: time.Now()}, err
}

// now is at least 1.
func (c *clock) now() int64 {
	return max((c.base+int64(time.Since(c.began)))/int64(time.Millisecond), 1)
}

// timeOf is a time on the clock as others know it.
func (c *clock) timeOf(at int64) time.Time {
	return time.Now().Add(time.Duration(at-c.now()) * time.Millisecond)
}
