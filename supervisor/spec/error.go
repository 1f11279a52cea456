package spec

import (
	"fmt"
	"strings"
)

// Pos is a place in a file. Line and Column count from 1; 0 is unknown.
type Pos struct {
	File         string
	Line, Column int
}

func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Error is one thing that is wrong with a spec, and what to do about it.
type Error struct {
	Pos     Pos    // zero if the spec is not from a file
	Key     string // of neko.yaml, "" if none is to blame
	Message string // what is wrong, lower case, one line
	Hint    string // what to do, lower case; "" if the message says it
}

func (e *Error) Error() string {
	if e.Pos == (Pos{}) {
		return e.Message
	}
	return e.Pos.String() + ": " + e.Message
}

// Errors is everything that is wrong with a spec, in the order of the file.
// It is never empty.
type Errors []*Error

func (l Errors) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find an [*Error].
func (l Errors) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}

// Nearest is the one of words that somebody who typed word most likely meant,
// or "" if none is near: at most one edit for every three letters.
func Nearest(word string, words []string) string {
	best, bestDistance := "", len(word)/3+1
	if len(word) > 64 {
		return ""
	}
	word = strings.ToLower(strings.ReplaceAll(word, "-", "_"))
	for _, w := range words {
		if d := distance(word, strings.ToLower(w)); d < bestDistance || d == 0 {
			best, bestDistance = w, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to make b from a.
func distance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
