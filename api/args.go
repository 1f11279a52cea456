package api

import (
	"fmt"
	"time"
)

// optionalInt is a nullable Int with a default in the SDL. graph-gophers applies
// the default where the argument is not written, but takes `first: $n` without an
// n for a null, and refuses it unless the type says that it is Nullable.
type optionalInt struct {
	n   int
	set bool
}

// ImplementsGraphQLType tells graph-gophers which scalar this is.
func (optionalInt) ImplementsGraphQLType(name string) bool { return name == "Int" }

// Nullable tells graph-gophers that UnmarshalGraphQL takes nil.
func (optionalInt) Nullable() {}

// UnmarshalGraphQL reads a value that was validated before: an int32 from the
// document, or what the decoder of the variables made.
func (i *optionalInt) UnmarshalGraphQL(input any) error {
	switch v := input.(type) {
	case nil:
		*i = optionalInt{}
	case int32:
		*i = optionalInt{int(v), true}
	case int64:
		*i = optionalInt{int(v), true}
	case int:
		*i = optionalInt{v, true}
	case float64:
		*i = optionalInt{int(v), true}
	default:
		return fmt.Errorf("%v is no Int", input)
	}
	return nil
}

func (i optionalInt) orElse(def int) int {
	if i.set {
		return i.n
	}
	return def
}

// inputs reads the nullable fields of an input and keeps the first error.
type inputs struct {
	prefix string // of the fields' names in errors
	err    error
}

func (in *inputs) refuse(field, reason string) {
	if in.err == nil {
		name := in.prefix + "." + field
		in.err = badInput(name, name+": "+reason)
	}
}

// time is zero for a field that is absent.
func (in *inputs) time(field string, i *instant) time.Time {
	switch {
	case i == nil:
		return time.Time{}
	case i.err != nil:
		in.refuse(field, i.err.Error())
		return time.Time{}
	}
	return i.Time
}

// some is the text of a field, empty if the field is absent. To the store that
// is no condition, so a field that is there must not be empty: a client whose
// variable is empty by mistake would get everything.
func some[S ~string](in *inputs, field string, s *S) string {
	if s == nil {
		return ""
	}
	if *s == "" {
		in.refuse(field, "is empty: leave it out, or say what it is to be")
	}
	return string(*s)
}

// value is empty for a field that is absent, and may be.
func value[S ~string](s *S) string {
	if s == nil {
		return ""
	}
	return string(*s)
}
